//! prctl(2), arch_prctl(2).

use super::super::{Args, Cx, SysResult};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::task::job;
use crate::mm::{Layout, Settings};
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
        libc::PR_SET_THP_DISABLE => {
            let on = Settings::NO_HUGE_PAGES;
            cx.mm
                .change_settings(on, if arg2 != 0 { on } else { Settings::empty() });
        }
        libc::PR_GET_THP_DISABLE => {
            return Ok(cx.mm.settings().contains(Settings::NO_HUGE_PAGES).into());
        }
        PR_SET_MDWE | PR_GET_MDWE | PR_SET_MEMORY_MERGE | PR_GET_MEMORY_MERGE => {
            return memory_setting(cx, option, a);
        }
        PR_GET_AUXV => return auxv(cx, a),
        // No counters are there to be stopped.
        libc::PR_TASK_PERF_EVENTS_DISABLE | libc::PR_TASK_PERF_EVENTS_ENABLE => {}
        libc::PR_MCE_KILL | libc::PR_MCE_KILL_GET => return memory_failure(cx, option, a),
        libc::PR_SET_MM => return set_mm(cx, a),
        PR_SET_IO_FLUSHER | PR_GET_IO_FLUSHER if !cx.creds().has(Caps::SYS_RESOURCE) => {
            return Err(Errno::EPERM.into());
        }
        libc::PR_GET_SPECULATION_CTRL if [a.0[2], a.0[3], a.0[4]] != [0; 3] => {
            return Err(Errno::EINVAL.into());
        }
        // What the host does about each flaw is not for the guest to change: PR_SPEC_ENABLE without PR_SPEC_PRCTL.
        libc::PR_GET_SPECULATION_CTRL if arg2 <= 2 => return Ok(PR_SPEC_ENABLE),
        libc::PR_GET_SPECULATION_CTRL => return Err(Errno::ENODEV.into()),
        libc::PR_SET_SPECULATION_CTRL if [a.0[3], a.0[4]] != [0; 2] => {
            return Err(Errno::EINVAL.into());
        }
        libc::PR_SET_SPECULATION_CTRL if arg2 <= 2 => return Err(Errno::ENXIO.into()),
        libc::PR_SET_SPECULATION_CTRL => return Err(Errno::ENODEV.into()),
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

const PR_SPEC_ENABLE: i64 = 2;
const PR_SET_IO_FLUSHER: i32 = 57;
const PR_GET_IO_FLUSHER: i32 = 58;
const PR_SET_MDWE: i32 = 65;
const PR_GET_MDWE: i32 = 66;
const PR_SET_MEMORY_MERGE: i32 = 67;
const PR_GET_MEMORY_MERGE: i32 = 68;
const PR_GET_AUXV: i32 = 0x4155_5856;

/// PR_SET_MDWE, PR_SET_MEMORY_MERGE and what asks for them.
fn memory_setting(cx: &mut Cx<'_>, option: i32, a: &Args) -> SysResult {
    let [_, arg2, arg3, arg4, arg5, _] = a.0;
    let asks = matches!(option, PR_GET_MDWE | PR_GET_MEMORY_MERGE);
    if [arg3, arg4, arg5] != [0; 3] || (asks && arg2 != 0) {
        return Err(Errno::EINVAL.into());
    }
    let now = cx.mm.settings();
    match option {
        PR_GET_MDWE => return Ok((now & Settings::MDWE).bits().into()),
        PR_GET_MEMORY_MERGE => return Ok(now.contains(Settings::MERGE).into()),
        PR_SET_MEMORY_MERGE => {
            let set = if arg2 != 0 {
                Settings::MERGE
            } else {
                Settings::empty()
            };
            cx.mm.change_settings(Settings::MERGE, set);
        }
        _ => {
            let bits = u8::try_from(arg2).map_err(|_| Errno::EINVAL)?;
            let new = Settings::from_bits(bits)
                .filter(|s| Settings::MDWE.contains(*s))
                .ok_or(Errno::EINVAL)?;
            if new == Settings::NO_INHERIT {
                return Err(Errno::EINVAL.into());
            }
            let old = now & Settings::MDWE;
            // Once set it stays.
            if !old.is_empty() && old != new {
                return Err(Errno::EPERM.into());
            }
            cx.mm.change_settings(Settings::MDWE, new);
        }
    }
    Ok(0)
}

/// PR_GET_AUXV: as much of the auxiliary vector as fits, and how long it is.
fn auxv(cx: &Cx<'_>, a: &Args) -> SysResult {
    let [_, to, room, arg4, arg5, _] = a.0;
    if arg4 != 0 || arg5 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let auxv = cx.mm.layout().auxv;
    let n = usize::try_from(room).unwrap_or(usize::MAX).min(auxv.len());
    cx.mem()
        .write_bytes(to, auxv.get(..n).unwrap_or_default())?;
    Ok(i64::try_from(auxv.len()).unwrap_or(0))
}

/// PR_MCE_KILL: what to do about memory that fails, which nobody here is told of. Kept and reported back.
fn memory_failure(cx: &mut Cx<'_>, option: i32, a: &Args) -> SysResult {
    const CLEAR: u64 = 0;
    const SET: u64 = 1;
    const LATE: u64 = 0;
    const DEFAULT: u64 = 2;
    let [_, arg2, arg3, arg4, arg5, _] = a.0;
    if arg4 != 0 || arg5 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kept = &cx.task.sched.memory_failure;
    if option == libc::PR_MCE_KILL_GET {
        if arg2 != 0 || arg3 != 0 {
            return Err(Errno::EINVAL.into());
        }
        return Ok(kept.load(Ordering::Relaxed).into());
    }
    let policy = match (arg2, arg3) {
        (CLEAR, 0) => DEFAULT,
        (SET, LATE..=DEFAULT) => arg3,
        _ => return Err(Errno::EINVAL.into()),
    };
    kept.store(policy as u8, Ordering::Relaxed);
    Ok(0)
}

/// PR_SET_MM: where parts of the program are said to lie. The operations that programs use for their title, and those next to them.
fn set_mm(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const MAP_SIZE: u64 = 15;
    /// Length of `struct prctl_mm_map`.
    const MAP_LEN: u32 = 104;
    const LOWEST: u64 = 0x1_0000;
    const TASK_SIZE: u64 = 0x7fff_ffff_f000;
    let [_, what, addr, arg4, arg5, _] = a.0;
    if what == MAP_SIZE && arg5 == 0 {
        cx.mem().put(UserPtr::new(addr), &MAP_LEN)?;
        return Ok(0);
    }
    if arg4 != 0 || arg5 != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !cx.creds().has(Caps::SYS_RESOURCE) {
        return Err(Errno::EPERM.into());
    }
    if !(LOWEST..TASK_SIZE).contains(&addr) {
        return Err(Errno::EINVAL.into());
    }
    let field: fn(&mut Layout) -> &mut u64 = match what {
        1 => |y| &mut y.start_code,
        2 => |y| &mut y.end_code,
        3 => |y| &mut y.start_data,
        4 => |y| &mut y.end_data,
        5 => |y| &mut y.start_stack,
        8 => |y| &mut y.arg_start,
        9 => |y| &mut y.arg_end,
        10 => |y| &mut y.env_start,
        11 => |y| &mut y.env_end,
        _ => return Err(Errno::EINVAL.into()),
    };
    let mut new = cx.mm.layout();
    *field(&mut new) = addr;
    let ordered = [
        (new.start_code, new.end_code),
        (new.start_data, new.end_data),
        (new.arg_start, new.arg_end),
        (new.env_start, new.env_end),
    ];
    if ordered.iter().any(|(start, end)| start > end) {
        return Err(Errno::EINVAL.into());
    }
    // Stack, arguments and environment must be there.
    if what >= 5 && cx.mm.next_vma(addr).is_none() {
        return Err(Errno::EFAULT.into());
    }
    cx.mm.set_layout(|y| *field(y) = addr);
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
