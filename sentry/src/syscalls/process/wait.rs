//! wait4(2), waitid(2).

use super::super::{Args, Block, Cx, SysResult};
use super::limits::Rusage;
use crate::abi::Errno;
use crate::kernel::ExitStatus;
use crate::kernel::pidfd::PidFd;
use crate::kernel::task::wait::{Change, Found, Wanted, Which, find};
use crate::sync::Events;
use crate::usermem::UserPtr;

const WNOHANG: u32 = 1;
const WUNTRACED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x0100_0000;
const WNOTHREAD: u32 = 0x2000_0000;
const WALL: u32 = 0x4000_0000;
const WCLONE: u32 = 0x8000_0000;

fn wanted(options: u32) -> Wanted {
    Wanted {
        exited: options & WEXITED != 0,
        stopped: options & WUNTRACED != 0,
        continued: options & WCONTINUED != 0,
        keep: options & WNOWAIT != 0,
        all: options & WALL != 0,
        clone_only: options & WCLONE != 0,
        own_only: options & WNOTHREAD != 0,
    }
}

/// The change found, or `None` with WNOHANG; parks the task otherwise.
fn search(
    cx: &mut Cx<'_>,
    which: Which,
    options: u32,
) -> Result<Option<Found>, super::super::SysErr> {
    match find(cx, which, wanted(options))? {
        Some(f) => Ok(Some(f)),
        None if options & WNOHANG != 0 => Ok(None),
        None => Err(Block::on(cx.group().child_events.clone(), Events::IN).into()),
    }
}

/// `wait4(pid, *status, options, *rusage)`.
pub fn wait4(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let options: u32 = a.get(2);
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let which = match a.get::<i32>(0) {
        -1 => Which::Any,
        0 => Which::Group(cx.group().pgid()),
        i32::MIN => return Err(Errno::ESRCH.into()),
        // What the caller cannot see is no child of its.
        p if p < 0 => Which::Group(cx.named(-p).unwrap_or(0)),
        p => Which::Pid(cx.named(p).unwrap_or(0)),
    };
    let Some(found) = search(cx, which, options | WEXITED)? else {
        return Ok(0);
    };
    let word = match found.change {
        Change::Ended(s) => s.wait_status(),
        Change::Stopped(code) | Change::Trapped(code) => (code << 8) | 0x7f,
        Change::Continued => 0xffff,
    };
    cx.mem().put_opt(UserPtr::<i32>::new(a.get(1)), &word)?;
    cx.mem()
        .put_opt(UserPtr::new(a.get(3)), &Rusage::of(found.usage))?;
    Ok(found.pid.into())
}

/// `waitid(idtype, id, *siginfo, options, *rusage)`.
pub fn waitid(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let options: u32 = a.get(3);
    let known = WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 || options & (WEXITED | WUNTRACED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let id: i32 = a.get(1);
    let mut nonblock = false;
    let which = match a.get::<u32>(0) {
        libc::P_ALL => Which::Any,
        libc::P_PID if id > 0 => Which::Pid(cx.named(id).unwrap_or(0)),
        libc::P_PGID if id > 0 => Which::Group(cx.named(id).unwrap_or(0)),
        libc::P_PGID if id == 0 => Which::Group(cx.group().pgid()),
        libc::P_PIDFD if id >= 0 => {
            let file = cx.file(super::super::Fd(id))?;
            nonblock = file.nonblocking();
            Which::Pid(file.downcast::<PidFd>().ok_or(Errno::EBADF)?.group().pid())
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let hang = if nonblock { options | WNOHANG } else { options };
    let found = search(cx, which, hang)?;
    if found.is_none() && nonblock && options & WNOHANG == 0 {
        return Err(Errno::EAGAIN.into());
    }
    if let Some(f) = &found {
        cx.mem()
            .put_opt(UserPtr::new(a.get(4)), &Rusage::of(f.usage))?;
    }
    let info: u64 = a.get(2);
    if info != 0 {
        // si_signo, si_errno, si_code, pad, si_pid, si_uid, si_status.
        let words: [i32; 7] = match &found {
            None => [0; 7],
            Some(f) => {
                let (code, status) = match f.change {
                    Change::Ended(ExitStatus::Exited(c)) => (1, i32::from(c)),
                    Change::Ended(ExitStatus::Signaled(s, core)) => (if core { 3 } else { 2 }, s),
                    Change::Stopped(s) => (5, s),
                    Change::Trapped(code) => (4, code),
                    Change::Continued => (6, libc::SIGCONT),
                };
                [
                    libc::SIGCHLD,
                    0,
                    code,
                    0,
                    f.pid,
                    f.uid.cast_signed(),
                    status,
                ]
            }
        };
        // Linux leaves the padding word alone.
        let p = UserPtr::<i32>::new(info);
        for (i, w) in words.iter().enumerate().filter(|(i, _)| *i != 3) {
            cx.mem().put(p.offset(i), w)?;
        }
    }
    Ok(0)
}
