//! epoll_create(2), epoll_ctl(2), epoll_wait(2) and their variants.

use super::{mask, timeout};
use crate::abi::Errno;
use crate::fs::epoll::{EXCLUSIVE, EpollEvent, WAKEUP, create, epoll_of};
use crate::kernel::{Cx, loan};
use crate::sync::Events;
use crate::syscalls::{Args, Block, Fd, OnSignal, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::OpenFlags;

pub(super) fn epoll_create(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    if args.get::<i32>(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    make(cx, false)
}

pub(super) fn epoll_create1(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let flags = OpenFlags::from_bits_retain(args.get(0));
    if !OpenFlags::CLOEXEC.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    make(cx, !flags.is_empty())
}

fn make(cx: &mut Cx<'_>, cloexec: bool) -> SysResult {
    let file = create(&cx.caller())?;
    Ok(i64::from(cx.install_fd(file, cloexec)?))
}

pub(super) fn epoll_ctl(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let outcome = change(cx, args);
    if outcome.is_err() {
        loan::set_unknown(cx, args.get(2));
    }
    outcome
}

fn change(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let op: i32 = args.get(1);
    let (epfd, fd): (Fd, Fd) = (args.get(0), args.get(2));
    let event = if op == libc::EPOLL_CTL_DEL {
        EpollEvent { events: 0, data: 0 }
    } else {
        cx.mem().get(args.get::<UserPtr<EpollEvent>>(3))?
    };
    let event = EpollEvent {
        events: event.events & !WAKEUP,
        ..event
    };
    let ep_file = cx.file(epfd)?;
    let file = cx.file(fd)?;
    if file.ops().wait_queue().is_none() {
        return Err(Errno::EPERM.into());
    }
    if std::sync::Arc::ptr_eq(&ep_file, &file) {
        return Err(Errno::EINVAL.into());
    }
    let epoll = epoll_of(&ep_file).ok_or(Errno::EINVAL)?;
    epoll.settle(Some(cx.task.token().0));
    match op {
        libc::EPOLL_CTL_ADD => epoll.add(fd.0, &file, event)?,
        libc::EPOLL_CTL_MOD => epoll.modify(fd.0, &file, event)?,
        libc::EPOLL_CTL_DEL => epoll.remove(fd.0, &file)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    if event.events & EXCLUSIVE == 0 {
        let is_in = op != libc::EPOLL_CTL_DEL;
        loan::set_changed(cx, (epfd.0, &ep_file), (fd.0, &file), is_in);
    } else {
        loan::set_unknown(cx, fd.0);
    }
    Ok(0)
}

pub(super) fn epoll_wait(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    wait(cx, args, timeout::from_ms(args.get(3)))
}

pub(super) fn epoll_pwait(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    mask::with_mask(cx, args.get(4), args.get(5), |cx| {
        wait(cx, args, timeout::from_ms(args.get(3)))
    })
}

pub(super) fn epoll_pwait2(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let ns = match cx.progress().deadline {
        Some(_) => Some(0),
        None => timeout::from_timespec(cx.mem(), args.get(3))?,
    };
    mask::with_mask(cx, args.get(4), args.get(5), |cx| wait(cx, args, ns))
}

fn wait(cx: &mut Cx<'_>, args: &Args, ns: Option<u64>) -> SysResult {
    let out: UserPtr<EpollEvent> = args.get(1);
    let max: i32 = args.get(2);
    let max = usize::try_from(max)
        .ok()
        .filter(|m| (1..=i32::MAX as usize / size_of::<EpollEvent>()).contains(m))
        .ok_or(Errno::EINVAL)?;
    let file = cx.file(args.get(0))?;
    let epoll = epoll_of(&file).ok_or(Errno::EINVAL)?;
    let deadline = cx.deadline_after(ns);
    epoll.settle(Some(cx.task.token().0));
    let mem = cx.mem();
    let n = epoll.collect(max, &mut |events| mem.put_array(out, events))?;
    if n == 0 && !cx.expired() {
        return Err(Block::on(epoll.queue().clone(), Events::IN)
            .deadline(deadline)
            .on_signal(OnSignal::Eintr)
            .into());
    }
    Ok(i64::try_from(n).unwrap_or(i64::MAX))
}
