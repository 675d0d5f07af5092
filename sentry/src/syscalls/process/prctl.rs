//! prctl(2), arch_prctl(2).

use super::super::{Args, Cx, SysResult};
use crate::abi::{Errno, Result};
use crate::kernel::task::job;
use crate::usermem::{UserPtr, UserStr};
use std::sync::atomic::Ordering;

/// `arch_prctl(code, addr)`.
pub fn arch_prctl(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    const GET_CPUID: u32 = 0x1011;
    const SET_CPUID: u32 = 0x1012;
    let addr: u64 = a.get(1);
    match a.get::<u32>(0) {
        SET_FS | SET_GS if addr >= 0x7fff_ffff_f000 => return Err(Errno::EPERM.into()),
        SET_FS => cx.regs().fs_base = addr,
        SET_GS => cx.regs().gs_base = addr,
        GET_FS => cx.mem().put(UserPtr::new(addr), &cx.regs().fs_base)?,
        GET_GS => cx.mem().put(UserPtr::new(addr), &cx.regs().gs_base)?,
        // CPUID never traps.
        GET_CPUID => return Ok(1),
        SET_CPUID => return Err(Errno::ENODEV.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// `prctl(option, …)`.
pub fn prctl(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let option: i32 = a.get(0);
    let arg2: u64 = a.get(1);
    match option {
        libc::PR_SET_NAME => {
            let mut raw = [0u8; 16];
            let got = cx.mem().read_partial(arg2, &mut raw);
            let name = raw.get(..got.min(15)).unwrap_or_default();
            let end = name.iter().position(|b| *b == 0);
            if end.is_none() && got < 15 {
                return Err(Errno::EFAULT.into());
            }
            cx.task
                .set_name(name.get(..end.unwrap_or(name.len())).unwrap_or_default());
        }
        libc::PR_GET_NAME => {
            let mut raw = [0u8; 16];
            for (to, from) in raw.iter_mut().zip(cx.task.name()) {
                *to = from;
            }
            cx.mem().write_bytes(arg2, &raw)?;
        }
        libc::PR_SET_PDEATHSIG => {
            if arg2 > 64 {
                return Err(Errno::EINVAL.into());
            }
            cx.task.set_parent_death_signal(arg2 as i32);
        }
        libc::PR_GET_PDEATHSIG => {
            let sig = cx.task.parent_death_signal();
            cx.mem().put(UserPtr::new(arg2), &sig)?;
        }
        libc::PR_SET_CHILD_SUBREAPER => job::set_subreaper(cx, arg2 != 0),
        libc::PR_GET_CHILD_SUBREAPER => {
            let on = i32::from(job::is_subreaper(cx));
            cx.mem().put(UserPtr::new(arg2), &on)?;
        }
        libc::PR_GET_DUMPABLE => return Ok(cx.group().dumpable.load(Ordering::Relaxed).into()),
        libc::PR_SET_DUMPABLE => {
            if arg2 > 1 {
                return Err(Errno::EINVAL.into());
            }
            cx.group().dumpable.store(arg2 as i32, Ordering::Relaxed);
        }
        libc::PR_SET_TIMERSLACK => {
            let sched = &cx.task.sched;
            // As a signed number, for tests of it in Linux: 0 and below mean the default.
            let ns = if arg2.cast_signed() <= 0 {
                sched.default_timer_slack.load(Ordering::Relaxed)
            } else {
                arg2
            };
            cx.task.sched.timer_slack.store(ns, Ordering::Relaxed);
        }
        libc::PR_GET_TIMERSLACK => {
            return Ok(cx
                .task
                .sched
                .timer_slack
                .load(Ordering::Relaxed)
                .cast_signed());
        }
        libc::PR_GET_TSC => cx.mem().put(UserPtr::new(arg2), &libc::PR_TSC_ENABLE)?,
        libc::PR_SET_TSC if arg2 == libc::PR_TSC_ENABLE as u64 => {}
        libc::PR_GET_TIMING => return Ok(0),
        libc::PR_SET_TIMING if arg2 == 0 => {}
        libc::PR_SET_THP_DISABLE if [a.0[2], a.0[3], a.0[4]] != [0; 3] => {
            return Err(Errno::EINVAL.into());
        }
        libc::PR_GET_THP_DISABLE if [arg2, a.0[2], a.0[3], a.0[4]] != [0; 4] => {
            return Err(Errno::EINVAL.into());
        }
        // Huge pages are never given.
        libc::PR_SET_THP_DISABLE | libc::PR_GET_THP_DISABLE => return Ok(0),
        libc::PR_GET_SPECULATION_CTRL if [a.0[2], a.0[3], a.0[4]] != [0; 3] => {
            return Err(Errno::EINVAL.into());
        }
        libc::PR_GET_SPECULATION_CTRL => return Err(Errno::ENODEV.into()),
        libc::PR_GET_TID_ADDRESS => {
            let addr = cx.local.clear_child_tid;
            cx.mem().put(UserPtr::new(arg2), &addr)?;
        }
        libc::PR_SET_VMA => {
            if arg2 != PR_SET_VMA_ANON_NAME {
                return Err(Errno::EINVAL.into());
            }
            let name = anon_name(cx, a.get(4))?;
            cx.mm.set_anon_name(a.get(2), a.get(3), name.as_deref())?;
        }
        _ => return crate::kernel::identity::prctl(cx, option, a),
    }
    Ok(0)
}

const PR_SET_VMA_ANON_NAME: u64 = 0;
/// Longest name with its NUL (ANON_VMA_NAME_MAX_LEN).
const ANON_NAME_MAX: usize = 80;

/// A name for anonymous memory, as /proc/PID/maps can show it (`is_valid_name_char`).
fn anon_name(cx: &Cx<'_>, name: UserStr) -> Result<Option<Vec<u8>>> {
    if name.is_null() {
        return Ok(None);
    }
    let name = match cx.mem().read_cstr(name, ANON_NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => Err(Errno::EINVAL),
        other => other,
    }?;
    let valid = |c: &u8| (b' '..0x7f).contains(c) && !b"\\`$[]".contains(c);
    if name.iter().all(valid) {
        Ok(Some(name))
    } else {
        Err(Errno::EINVAL)
    }
}
