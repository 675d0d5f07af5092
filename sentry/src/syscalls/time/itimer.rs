//! alarm(2), setitimer(2), getitimer(2).

use crate::abi::Errno;
use crate::kernel::Cx;
use crate::kernel::timers::{self, Which};
use crate::syscalls::{Args, SysResult};
use crate::time::spec::{Pair, Setting};
use crate::usermem::UserPtr;

pub(super) fn alarm(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let seconds: u32 = args.get(0);
    let setting = Setting {
        interval: 0,
        value: u64::from(seconds.min(i32::MAX.unsigned_abs())).saturating_mul(1_000_000_000),
    };
    let old = timers::setitimer(cx.group(), Which::Real, setting).value;
    let (whole, part) = (old / 1_000_000_000, old % 1_000_000_000);
    // Rounded, but never to "none was set".
    let round = part >= 500_000_000 || (whole == 0 && part > 0);
    Ok(whole.saturating_add(u64::from(round)).cast_signed())
}

pub(super) fn setitimer(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (new, old): (UserPtr<Pair>, UserPtr<Pair>) = (args.get(1), args.get(2));
    let setting = match new.non_null() {
        Some(p) => Setting::from_val(cx.mem().get(p)?)?,
        // Linux takes NULL as "disarm", with a complaint in the log.
        None => Setting::default(),
    };
    let which = Which::new(args.get(0)).ok_or(Errno::EINVAL)?;
    let before = timers::setitimer(cx.group(), which, setting);
    cx.mem().put_opt(old, &before.val())?;
    Ok(0)
}

pub(super) fn getitimer(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let which = Which::new(args.get(0)).ok_or(Errno::EINVAL)?;
    let now = timers::getitimer(cx.group(), which);
    cx.mem().put(args.get(1), &now.val())?;
    Ok(0)
}
