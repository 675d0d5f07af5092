//! Record locks of fcntl(2), and flock(2).

use crate::abi::{Errno, Result};
use crate::sync::Events;
use crate::syscalls::{Args, Block, Cx, Fd, SysResult};
use crate::usermem::UserPtr;
use crate::vfs::File;
use crate::vfs::locks::{FileLocks, LockKind, LockOwner, OFFSET_MAX, RecordLock};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct flock` of x86-64.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Flock {
    kind: i16,
    whence: i16,
    pad1: u32,
    start: i64,
    len: i64,
    pid: i32,
    pad2: u32,
}

/// The range that a `struct flock` means, inclusive (`flock64_to_posix_lock`).
fn range(file: &File, l: &Flock) -> Result<(u64, u64)> {
    let base = match i32::from(l.whence) {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => {
            let pos = file.with_position(|p| *p);
            let pos = if file.ops().own_position() {
                file.seek(0, crate::vfs::Whence::Current).unwrap_or(0)
            } else {
                pos
            };
            i64::try_from(pos).map_err(|_| Errno::EOVERFLOW)?
        }
        libc::SEEK_END => {
            i64::try_from(file.ops().stat(file)?.size).map_err(|_| Errno::EOVERFLOW)?
        }
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(l.start).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match l.len {
        0 => (start, i64::MAX),
        n if n > 0 => (start, start.checked_add(n - 1).ok_or(Errno::EOVERFLOW)?),
        n => (
            start.checked_add(n).ok_or(Errno::EINVAL)?,
            start.checked_sub(1).ok_or(Errno::EINVAL)?,
        ),
    };
    let first = u64::try_from(first).map_err(|_| Errno::EINVAL)?;
    Ok((first, u64::try_from(last).map_err(|_| Errno::EINVAL)?))
}

/// F_GETLK, F_SETLK, F_SETLKW and their F_OFD_ forms.
pub(super) fn record(cx: &mut Cx<'_>, fd: Fd, file: &Arc<File>, cmd: i32, addr: u64) -> SysResult {
    let ptr = UserPtr::<Flock>::new(addr);
    let mut arg = cx.mem().get(ptr)?;
    let ofd = matches!(
        cmd,
        libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW
    );
    let get = matches!(cmd, libc::F_GETLK | libc::F_OFD_GETLK);
    if ofd && arg.pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = match i32::from(arg.kind) {
        libc::F_RDLCK => Some(LockKind::Read),
        libc::F_WRLCK => Some(LockKind::Write),
        libc::F_UNLCK if !get => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let (start, end) = range(file, &arg)?;
    let owner = if ofd {
        file.lock_owner()
    } else {
        LockOwner::Table(cx.fds().id())
    };
    let locks = file.inode().meta().extension::<FileLocks>();
    let Some(kind) = kind else {
        locks.unlock(owner, start, end)?;
        return Ok(0);
    };
    let lock = RecordLock {
        kind,
        start,
        end,
        owner,
        pid: if ofd { -1 } else { cx.group().pid() },
    };
    if get {
        match locks.test(&lock) {
            None => arg.kind = libc::F_UNLCK as i16,
            Some(l) => {
                arg = Flock {
                    kind: match l.kind {
                        LockKind::Read => libc::F_RDLCK as i16,
                        LockKind::Write => libc::F_WRLCK as i16,
                    },
                    whence: libc::SEEK_SET as i16,
                    pad1: 0,
                    start: l.start.cast_signed(),
                    len: if l.end == OFFSET_MAX {
                        0
                    } else {
                        (l.end - l.start).cast_signed().saturating_add(1)
                    },
                    pid: if l.pid == -1 { -1 } else { cx.seen(l.pid) },
                    pad2: 0,
                };
            }
        }
        cx.mem().put(ptr, &arg)?;
        return Ok(0);
    }
    let allowed = match kind {
        LockKind::Read => file.flags().readable(),
        LockKind::Write => file.flags().writable(),
    };
    if !allowed {
        return Err(Errno::EBADF.into());
    }
    let wait = matches!(cmd, libc::F_SETLKW | libc::F_OFD_SETLKW);
    match locks.set(lock) {
        Ok(()) => {
            // A close in another thread may have come before the lock: it must not stay for ever.
            if !ofd && !cx.file_any(fd).is_ok_and(|f| Arc::ptr_eq(&f, file)) {
                locks.unlock(owner, start, end)?;
                return Err(Errno::EBADF.into());
            }
            Ok(0)
        }
        Err(Errno::EAGAIN) if wait => {
            // Dropped first: one's own earlier entry is no deadlock.
            cx.progress().object = None;
            let waiting = locks.wait_for(&lock)?;
            cx.progress().object = Some(Arc::new(waiting));
            Err(Block::on(locks.queue.clone(), Events::IN).into())
        }
        Err(e) => Err(e.into()),
    }
}

/// LOCK_MAND.
const LOCK_MAND: i32 = 32;

pub(super) fn flock(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let file = cx.file(args.get(0))?;
    let operation: i32 = args.get(1);
    // Mandatory locks are gone since Linux 5.15: a warning there.
    if operation & LOCK_MAND != 0 {
        return Ok(0);
    }
    let kind = match operation & !libc::LOCK_NB {
        libc::LOCK_SH => Some(LockKind::Read),
        libc::LOCK_EX => Some(LockKind::Write),
        libc::LOCK_UN => None,
        _ => return Err(Errno::EINVAL.into()),
    };
    let LockOwner::Description(who) = file.lock_owner() else {
        return Err(Errno::EINVAL.into());
    };
    let locks = file.inode().meta().extension::<FileLocks>();
    match locks.flock(who, kind) {
        Err(Errno::EAGAIN) if operation & libc::LOCK_NB == 0 => {
            Err(Block::on(locks.queue.clone(), Events::IN).into())
        }
        outcome => {
            outcome?;
            Ok(0)
        }
    }
}
