//! fcntl(2).

use super::lock;
use crate::abi::{Errno, Result};
use crate::fs::{pipe, tmpfs};
use crate::kernel::async_io::{self, owner};
use crate::kernel::dnotify;
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::file::FileOwner;
use crate::vfs::{File, OpenFlags, permission};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

// Commands of linux/fcntl.h that libc does not name.
const F_GETOWNER_UIDS: i32 = 17;
const F_DUPFD_QUERY: i32 = 1027;
const F_CREATED_QUERY: i32 = 1028;
const F_GET_RW_HINT: i32 = 1035;
const F_SET_RW_HINT: i32 = 1036;
const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;

/// RWH_WRITE_LIFE_* of an inode.
#[derive(Default)]
struct RwHint(AtomicU64);

pub(super) fn fcntl(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let fd: Fd = args.get(0);
    let cmd: i32 = args.get(1);
    let file = cx.file_any(fd)?;
    let path_only = file.flags().contains(OpenFlags::PATH);
    let on_paths = [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        F_DUPFD_QUERY,
    ];
    if path_only && !on_paths.contains(&cmd) {
        return Err(Errno::EBADF.into());
    }
    match cmd {
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => lock::record(cx, fd, &file, cmd, args.get(2)),
        _ => Ok(simple(cx, fd, &file, cmd, args)?),
    }
}

fn simple(cx: &mut Cx<'_>, fd: Fd, file: &Arc<File>, cmd: i32, args: &Args) -> Result<i64> {
    let arg: i32 = args.get(2);
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let limit = cx.limit(libc::RLIMIT_NOFILE);
            if u64::try_from(arg).map_or(true, |n| n >= limit) {
                return Err(Errno::EINVAL);
            }
            let cloexec = cmd == libc::F_DUPFD_CLOEXEC;
            let new = cx.fds().install(file.clone(), cloexec, arg, limit)?;
            Ok(new.into())
        }
        libc::F_GETFD => Ok(i64::from(cx.fds().entry(fd.0)?.cloexec)),
        libc::F_SETFD => {
            cx.fds().set_cloexec(fd.0, arg & libc::FD_CLOEXEC != 0)?;
            Ok(0)
        }
        libc::F_GETFL => Ok(file.flags().bits().into()),
        libc::F_SETFL => set_flags(cx, fd, file, OpenFlags::from_bits_retain(args.get(2))),
        libc::F_SETOWN => set_owner(cx, file, arg),
        libc::F_GETOWN => Ok(get_owner(cx, file).into()),
        F_SETSIG => {
            if !(0..=64).contains(&arg) {
                return Err(Errno::EINVAL);
            }
            file.owner().lock().signal = arg;
            Ok(0)
        }
        F_GETSIG => Ok(file.owner().lock().signal.into()),
        F_SETOWN_EX => set_owner_ex(cx, file, args.get(2)),
        F_GETOWN_EX => {
            let o = current_owner(cx, file);
            let pid = cx.seen(o.pid);
            let out = UserPtr::<[i32; 2]>::new(args.get(2));
            cx.mem().put(out, &[o.kind, pid])?;
            Ok(0)
        }
        F_GETOWNER_UIDS => Err(Errno::EINVAL),
        libc::F_SETPIPE_SZ => {
            let p = pipe::pipe_of(file).ok_or(Errno::EBADF)?;
            Ok(super::count(p.set_capacity(&cx.caller(), args.get(2))?))
        }
        libc::F_GETPIPE_SZ => {
            let p = pipe::pipe_of(file).ok_or(Errno::EBADF)?;
            Ok(super::count(p.capacity()))
        }
        libc::F_ADD_SEALS => {
            let seals = args.get(2);
            let mut outcome = tmpfs::add_seals(file, seals);
            // By whom? The dead map nothing.
            if outcome == Err(Errno::EBUSY) && cx.kernel().await_ends() {
                outcome = tmpfs::add_seals(file, seals);
            }
            outcome?;
            Ok(0)
        }
        libc::F_GET_SEALS => Ok(tmpfs::seals(file)?.into()),
        libc::F_SETLEASE => crate::kernel::leases::set(cx, fd.0, file, arg),
        libc::F_GETLEASE => Ok(crate::kernel::leases::get(file).into()),
        // A life-time hint for storage: kept, without effect.
        F_GET_RW_HINT => {
            let kept = file.inode().meta().existing::<RwHint>();
            let hint = kept.map_or(0, |h| h.0.load(Ordering::Relaxed));
            cx.mem().put(UserPtr::<u64>::new(args.get(2)), &hint)?;
            Ok(0)
        }
        F_SET_RW_HINT => {
            let hint = cx.mem().get(UserPtr::<u64>::new(args.get(2)))?;
            if hint > 5 {
                return Err(Errno::EINVAL);
            }
            let kept = file.inode().meta().extension::<RwHint>();
            kept.0.store(hint, Ordering::Relaxed);
            Ok(0)
        }
        F_DUPFD_QUERY => {
            let other = cx.file_any(args.get(2))?;
            Ok(i64::from(Arc::ptr_eq(file, &other)))
        }
        F_CREATED_QUERY => Ok(file.created().into()),
        libc::F_NOTIFY => {
            dnotify::set(cx, fd.0, file, args.get(2))?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn set_flags(cx: &Cx<'_>, fd: Fd, file: &Arc<File>, new: OpenFlags) -> Result<i64> {
    let old = file.flags();
    if new.contains(OpenFlags::NOATIME)
        && !old.contains(OpenFlags::NOATIME)
        && !permission::owner_or_capable(cx.creds(), file.inode().permissions()?)
    {
        return Err(Errno::EPERM);
    }
    if (old ^ new).contains(OpenFlags::APPEND)
        && permission::flags(file.inode()) & permission::APPEND != 0
    {
        return Err(Errno::EPERM);
    }
    let on = new.contains(OpenFlags::ASYNC) && async_io::supported(file);
    let mut kept = new;
    kept.set(OpenFlags::ASYNC, on);
    file.set_flags(kept);
    if on != old.contains(OpenFlags::ASYNC) {
        async_io::switch(cx, fd.0, file, on);
    }
    Ok(0)
}

/// The owner, none if it has ended.
fn current_owner(cx: &Cx<'_>, file: &File) -> FileOwner {
    let mut o = *file.owner().lock();
    if o.pid != 0 && !exists(cx, o.kind, o.pid) {
        o.pid = 0;
    }
    o
}

/// F_GETOWN: a process group is negative.
pub(super) fn get_owner(cx: &Cx<'_>, file: &File) -> i32 {
    let o = current_owner(cx, file);
    let pid = cx.seen(o.pid);
    if o.kind == owner::PGRP { -pid } else { pid }
}

/// F_SETOWN.
pub(super) fn set_owner(cx: &Cx<'_>, file: &File, arg: i32) -> Result<i64> {
    // INT_MIN has no positive counterpart.
    let (kind, pid) = if arg < 0 {
        (owner::PGRP, arg.checked_neg().ok_or(Errno::EINVAL)?)
    } else {
        (owner::PID, arg)
    };
    change_owner(cx, file, kind, pid)
}

fn set_owner_ex(cx: &Cx<'_>, file: &File, addr: u64) -> Result<i64> {
    let [kind, pid] = cx.mem().get(UserPtr::<[i32; 2]>::new(addr))?;
    if !(owner::TID..=owner::PGRP).contains(&kind) {
        return Err(Errno::EINVAL);
    }
    change_owner(cx, file, kind, pid)
}

fn change_owner(cx: &Cx<'_>, file: &File, kind: i32, pid: i32) -> Result<i64> {
    let pid = match pid {
        0 => 0,
        n => cx.named(n).ok_or(Errno::ESRCH)?,
    };
    if pid != 0 && !exists(cx, kind, pid) {
        return Err(Errno::ESRCH);
    }
    let creds = cx.creds();
    let mut o = file.owner().lock();
    *o = FileOwner {
        kind,
        pid,
        signal: o.signal,
        uid: creds.uid,
        euid: creds.euid,
    };
    Ok(0)
}

fn exists(cx: &Cx<'_>, kind: i32, pid: i32) -> bool {
    let kernel = cx.kernel();
    match kind {
        owner::TID => kernel.task(pid).is_some(),
        owner::PID => kernel.process(pid).is_some(),
        _ => !kernel.process_group(pid).is_empty(),
    }
}
