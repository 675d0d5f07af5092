//! Small files: auxv, cmdline, comm, environ, io, limits, OOM scores, id maps.

use super::{Live, Subject};
use crate::abi::{Errno, Result};
use crate::auth::user_ns::IdKind;
use crate::auth::{Caps, Credentials, UserNamespace};
use crate::fs::pseudo::{PseudoFile, StaticDir};
use crate::kernel::limits::INFINITY;
use crate::kernel::{IdMaps, ptrace};
use crate::usermem::GuestMemory;
use crate::vfs::{Caller, InodeRef};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most bytes of arguments or environment that are shown.
const MAX_AREA: u64 = 4 << 20;

pub(super) fn auxv(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(l.task
        .as_ref()
        .map(|t| t.mm().layout().auxv)
        .unwrap_or_default())
}

/// A range of the process's memory, as far as it can be read.
fn area(l: &Live, pick: fn(&crate::mm::Layout) -> (u64, u64)) -> Vec<u8> {
    let Some(task) = &l.task else {
        return Vec::new();
    };
    let mm = task.mm();
    let (start, end) = pick(&mm.layout());
    let len = end.saturating_sub(start).min(MAX_AREA);
    let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
    let got = mm.read_partial(start, &mut out);
    out.truncate(got);
    out
}

pub(super) fn cmdline(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut args = area(l, |y| (y.arg_start, y.arg_end));
    // A process that overwrote the final NUL set its title: it extends to the first NUL, into the environment if need be.
    if args.last().is_some_and(|b| *b != 0) {
        args.extend(area(l, |y| (y.env_start, y.env_end)));
        let end = args.iter().position(|b| *b == 0).unwrap_or(args.len());
        args.truncate(end);
    }
    Ok(args)
}

pub(super) fn environ(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(area(l, |y| (y.env_start, y.env_end)))
}

pub(super) fn name(l: &Live) -> Vec<u8> {
    l.task
        .as_ref()
        .map_or_else(|| l.group.last_name.lock().clone(), |t| t.name())
}

pub(super) fn comm(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok([name(l).as_slice(), b"\n"].concat())
}

pub(super) fn set_comm(l: &Live, cx: &dyn Caller, data: &[u8]) -> Result<()> {
    // Only the process itself may (same thread group).
    if cx.tgid() != l.group.pid() {
        return Err(Errno::EINVAL);
    }
    // A newline is part of the name.
    let end = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    l.task()?.set_name(data.get(..end).unwrap_or_default());
    Ok(())
}

pub(super) fn io(_: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(b"rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n".to_vec())
}

pub(super) fn uid_map(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    show_map(l, cx, IdKind::Users, |maps| &maps.users)
}

pub(super) fn gid_map(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    show_map(l, cx, IdKind::Groups, |maps| &maps.groups)
}

pub(super) fn projid_map(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    let ns = user_ns(l)?;
    Ok(ns
        .show_map(IdKind::Projects, &cx.credentials().user_ns)
        .into_bytes())
}

pub(super) fn setgroups(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(user_ns(l)?.show_setgroups().as_bytes().to_vec())
}

fn user_ns(l: &Live) -> Result<Arc<UserNamespace>> {
    Ok(l.task()?.creds().user_ns.clone())
}

fn show_map(
    l: &Live,
    cx: &dyn Caller,
    kind: IdKind,
    which: impl FnOnce(&IdMaps) -> &Vec<[u32; 3]>,
) -> Result<Vec<u8>> {
    let ns = user_ns(l)?;
    if ns.is_initial() {
        return Ok(id_map(l, which));
    }
    Ok(ns.show_map(kind, &cx.credentials().user_ns).into_bytes())
}

fn set_map(l: &Live, kind: IdKind, opener: &Credentials, text: &[u8]) -> Result<usize> {
    let ns = user_ns(l)?;
    ns.write_map(kind, text, opener)?;
    if let Some(kernel) = l.group.kernel() {
        // What their ids are called has changed.
        for task in kernel.tasks() {
            if task.creds().user_ns.is_within(&ns) {
                task.forget_answers();
            }
        }
    }
    Ok(text.len())
}

pub(super) fn set_uid_map(l: &Live, opener: &Credentials, text: &[u8]) -> Result<usize> {
    set_map(l, IdKind::Users, opener, text)
}

pub(super) fn set_gid_map(l: &Live, opener: &Credentials, text: &[u8]) -> Result<usize> {
    set_map(l, IdKind::Groups, opener, text)
}

pub(super) fn set_projid_map(l: &Live, opener: &Credentials, text: &[u8]) -> Result<usize> {
    set_map(l, IdKind::Projects, opener, text)
}

/// Who opened the file for writing had the right.
pub(super) fn set_setgroups(l: &Live, _: &Credentials, text: &[u8]) -> Result<usize> {
    user_ns(l)?.write_setgroups(text)?;
    Ok(text.len())
}

/// Of the namespace that its children are born in.
pub(super) fn time_offsets(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let shown = l
        .task
        .as_ref()
        .map(|t| t.namespaces().time_for_children.show());
    // A zombie has no namespaces.
    Ok(shown.unwrap_or_default().into_bytes())
}

pub(super) fn set_time_offsets(l: &Live, opener: &Credentials, text: &[u8]) -> Result<usize> {
    l.task()?.namespaces().time_for_children.write(opener, text)
}

fn id_line([inside, outside, n]: &[u32; 3]) -> String {
    format!("{inside:>10} {outside:>10} {n:>10}\n")
}

fn id_map(l: &Live, which: impl FnOnce(&IdMaps) -> &Vec<[u32; 3]>) -> Vec<u8> {
    let kernel = l.group.kernel();
    let maps = kernel.as_ref().and_then(|k| k.id_maps.get());
    let initial = [[0, 0, u32::MAX]];
    let lines = maps.map_or(&initial[..], |maps| which(maps));
    lines.iter().map(id_line).collect::<String>().into_bytes()
}

pub(super) fn refuse(_: &Live, _: &dyn Caller, _: &[u8]) -> Result<()> {
    Err(Errno::EPERM)
}

const LIMITS: &[(&str, u32, &str)] = &[
    ("Max cpu time", libc::RLIMIT_CPU, "seconds"),
    ("Max file size", libc::RLIMIT_FSIZE, "bytes"),
    ("Max data size", libc::RLIMIT_DATA, "bytes"),
    ("Max stack size", libc::RLIMIT_STACK, "bytes"),
    ("Max core file size", libc::RLIMIT_CORE, "bytes"),
    ("Max resident set", libc::RLIMIT_RSS, "bytes"),
    ("Max processes", libc::RLIMIT_NPROC, "processes"),
    ("Max open files", libc::RLIMIT_NOFILE, "files"),
    ("Max locked memory", libc::RLIMIT_MEMLOCK, "bytes"),
    ("Max address space", libc::RLIMIT_AS, "bytes"),
    ("Max file locks", libc::RLIMIT_LOCKS, "locks"),
    ("Max pending signals", libc::RLIMIT_SIGPENDING, "signals"),
    ("Max msgqueue size", libc::RLIMIT_MSGQUEUE, "bytes"),
    ("Max nice priority", libc::RLIMIT_NICE, ""),
    ("Max realtime priority", libc::RLIMIT_RTPRIO, ""),
    ("Max realtime timeout", libc::RLIMIT_RTTIME, "us"),
];

pub(super) fn limits(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let all = *l.group.limits().lock();
    let show = |v: u64| {
        if v == INFINITY {
            "unlimited".to_owned()
        } else {
            v.to_string()
        }
    };
    let mut out = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    for (name, which, unit) in LIMITS {
        let (soft, hard) = all
            .0
            .get(*which as usize)
            .copied()
            .unwrap_or((INFINITY, INFINITY));
        let _ = writeln!(
            out,
            "{name:<25} {:<20} {:<20} {unit:<width$}",
            show(soft),
            show(hard),
            width = if unit.is_empty() { 0 } else { 10 },
        );
    }
    Ok(out.into_bytes())
}

/// Pids of the processes whose parent this is. The sandbox does not keep which thread forked: the first one shows all.
pub(super) fn children(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let (Some(kernel), Some(task)) = (l.group.kernel(), &l.task) else {
        return Ok(Vec::new());
    };
    let pid = l.group.pid();
    if task.tid() != pid {
        return Ok(Vec::new());
    }
    let all = kernel.processes();
    let own = all.iter().filter(|g| g.parent_pid() == pid);
    Ok(own
        .flat_map(|g| format!("{} ", l.seen(g.pid())).into_bytes())
        .collect())
}

/// attr/: without a security module there is nothing to read or write (EINVAL).
pub(super) fn security(s: &Subject) -> InodeRef {
    let mut dir = StaticDir::new();
    for (i, name) in [
        "current",
        "exec",
        "fscreate",
        "keycreate",
        "prev",
        "sockcreate",
    ]
    .iter()
    .enumerate()
    {
        let nothing = |_: &dyn Caller| -> Result<Vec<u8>> { Err(Errno::EINVAL) };
        dir.add(
            name,
            PseudoFile::new(
                s.attr(if *name == "prev" { 0o444 } else { 0o666 }, 211 + i as u64),
                nothing,
            ),
        );
    }
    dir.into_inode(s.attr(0o555, 210))
}

pub(super) fn schedstat(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let (u, s) = l.group.cpu_time();
    Ok(format!("{} 0 0\n", u.saturating_add(s)).into_bytes())
}

fn number(data: &[u8]) -> Result<i64> {
    std::str::from_utf8(data)
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .ok_or(Errno::EINVAL)
}

fn set_oom(l: &Live, cx: &dyn Caller, value: i64) -> Result<()> {
    let value = i32::try_from(value)
        .ok()
        .filter(|v| (-1000..=1000).contains(v))
        .ok_or(Errno::EINVAL)?;
    if value < l.group.oom_score_adj.load(Ordering::Relaxed)
        && !cx.credentials().has(Caps::SYS_RESOURCE)
    {
        return Err(Errno::EACCES);
    }
    l.group.oom_score_adj.store(value, Ordering::Relaxed);
    Ok(())
}

pub(super) fn personality(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let shown = l.task()?.sched.personality.load(Ordering::Relaxed);
    Ok(format!("{shown:08x}\n").into_bytes())
}

pub(super) fn coredump_filter(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    if l.task.is_none() {
        return Ok(Vec::new());
    }
    let filter = l.group.coredump_filter.load(Ordering::Relaxed);
    Ok(format!("{filter:08x}\n").into_bytes())
}

/// Takes what kstrtouint takes: decimal, 0x and 0 for octal.
pub(super) fn set_coredump_filter(l: &Live, _: &dyn Caller, data: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    let filter = u32::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)?;
    // MMF_DUMP_FILTER_BITS: nine kinds of mappings.
    l.group
        .coredump_filter
        .store(filter & 0x1ff, Ordering::Relaxed);
    Ok(())
}

pub(super) fn oom_score_adj(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(format!("{}\n", l.group.oom_score_adj.load(Ordering::Relaxed)).into_bytes())
}

pub(super) fn set_oom_score_adj(l: &Live, cx: &dyn Caller, data: &[u8]) -> Result<()> {
    set_oom(l, cx, number(data)?)
}

/// The old scale of -17 to 15.
pub(super) fn oom_adj(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let adj = l.group.oom_score_adj.load(Ordering::Relaxed);
    let old = if adj == 1000 { 15 } else { adj * 17 / 1000 };
    Ok(format!("{old}\n").into_bytes())
}

pub(super) fn set_oom_adj(l: &Live, cx: &dyn Caller, data: &[u8]) -> Result<()> {
    match number(data)? {
        15 => set_oom(l, cx, 1000),
        n @ -17..=14 => set_oom(l, cx, n * 1000 / 17),
        _ => Err(Errno::EINVAL),
    }
}

/// Nothing keeps what it would clear: pages count as referenced, and not as soft-dirty.
pub(super) fn clear_refs(_: &Live, _: &dyn Caller, data: &[u8]) -> Result<()> {
    match number(data)? {
        1..=5 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

/// Of another process it is for those who may set priorities (proc_pid_timerslack_ns(5)).
fn may_see_slack(l: &Live, cx: &dyn Caller) -> Result<()> {
    let own = cx.tgid() == l.group.pid();
    if own || cx.credentials().has_in(&*user_ns(l)?, Caps::SYS_NICE) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub(super) fn timer_slack(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    may_see_slack(l, cx)?;
    Ok(format!("{}\n", l.task()?.sched.timer_slack.load(Ordering::Relaxed)).into_bytes())
}

pub(super) fn set_timer_slack(l: &Live, cx: &dyn Caller, data: &[u8]) -> Result<()> {
    may_see_slack(l, cx)?;
    let ns = u64::try_from(number(data)?).map_err(|_| Errno::EINVAL)?;
    l.task()?
        .sched
        .timer_slack
        .store(if ns == 0 { 50_000 } else { ns }, Ordering::Relaxed);
    Ok(())
}

/// The system call that a task is in, and where: known of one that stands for a tracer.
pub(super) fn syscall(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let Some(regs) = l.task.as_ref().and_then(|t| ptrace::stopped_registers(t)) else {
        return Ok(b"running\n".to_vec());
    };
    let number = regs.syscall_number().cast_signed();
    let mut s = number.to_string();
    if number >= 0 {
        for arg in regs.syscall_args() {
            let _ = write!(s, " {arg:#x}");
        }
    }
    let _ = writeln!(s, " {:#x} {:#x}", regs.rsp, regs.rip);
    Ok(s.into_bytes())
}
