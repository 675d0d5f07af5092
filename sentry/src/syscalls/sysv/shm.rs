//! shmget(2), shmat(2), shmdt(2), shmctl(2).

use super::words::{Words, read_perm};
use super::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, namespace};
use crate::abi::Errno;
use crate::auth::Caps;
use crate::kernel::ipc::shm::{MAX_SEGMENTS, MAX_SIZE, SHM_LOCKED, Segment};
use crate::kernel::ipc::{Object, now};
use crate::mm::{MapFlags, MapRequest, MapWhat, PAGE};
use crate::syscalls::{Args, Cx, SysErr, SysResult};
use cofferdam_platform::Prot;
use std::sync::Arc;

/// shmget(2).
pub fn shmget(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const HUGETLB: i32 = 0o4000;
    let (key, size, flags): (i32, u64, i32) = (a.get(0), a.get(1), a.get(2));
    if flags & HUGETLB != 0 {
        // No huge pages are set aside.
        return Err(Errno::ENOMEM.into());
    }
    let pid = cx.group().pid();
    Ok(namespace(cx)
        .shmget(cx.creds(), pid, key, size, flags)?
        .into())
}

/// shmat(2).
pub fn shmat(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const RDONLY: i32 = 0o10000;
    const RND: i32 = 0o20000;
    const REMAP: i32 = 0o40000;
    const EXEC: i32 = 0o100000;
    let (id, mut addr, flags): (i32, u64, i32) = (a.get(0), a.get(1), a.get(2));
    let has = |f| flags & f != 0;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut map = MapFlags::SHARED;
    if addr != 0 {
        if !addr.is_multiple_of(PAGE) {
            if !has(RND) {
                return Err(Errno::EINVAL.into());
            }
            addr -= addr % PAGE;
            if addr == 0 && has(REMAP) {
                return Err(Errno::EINVAL.into());
            }
        }
        map |= if has(REMAP) {
            MapFlags::FIXED
        } else {
            MapFlags::FIXED_NOREPLACE
        };
    } else if has(REMAP) {
        return Err(Errno::EINVAL.into());
    }
    let mut prot = Prot::READ;
    prot.set(Prot::WRITE, !has(RDONLY));
    prot.set(Prot::EXEC, has(EXEC));
    let mut wanted = if has(RDONLY) { 0o444 } else { 0o666 };
    if has(EXEC) {
        wanted |= 0o111;
    }
    let object = namespace(cx).shm.find(id)?;
    let mem = {
        let s = object.state.lock();
        s.perm.check(cx.creds(), wanted)?;
        s.data.memory().ok_or(Errno::EIDRM)?
    };
    let request = MapRequest {
        addr,
        len: mem.size(),
        prot,
        flags: map,
        what: MapWhat::Object(mem, !has(RDONLY)),
        offset: 0,
    };
    let limits = cx.mm_limits();
    let at = cx
        .mm
        .mmap(cx.thread()?, &request, &limits)
        .map_err(|e| match SysErr::from(e) {
            SysErr::Errno(Errno::EEXIST) => Errno::EINVAL.into(),
            e => e,
        })?;
    let mut s = object.state.lock();
    s.data.atime = now();
    s.data.lpid = cx.group().pid();
    Ok(at.cast_signed())
}

/// shmdt(2).
pub fn shmdt(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let mem = cx.mm.detach(cx.thread()?, a.get(0))?;
    let ns = namespace(cx);
    for o in ns.shm.all() {
        let mut s = o.state.lock();
        if s.data.memory().is_some_and(|m| Arc::ptr_eq(&m, &mem)) {
            s.data.dtime = now();
            s.data.lpid = cx.group().pid();
        }
    }
    drop(mem);
    ns.reap_segments();
    Ok(0)
}

/// shmctl(2).
pub fn shmctl(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const LOCK: i32 = 11;
    const UNLOCK: i32 = 12;
    const STAT: i32 = 13;
    const INFO: i32 = 14;
    const STAT_ANY: i32 = 15;
    let (id, command, buf): (i32, i32, u64) = (a.get(0), a.get(1), a.get(2));
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let ns = namespace(cx);
    ns.reap_segments();
    let creds = cx.creds();
    match command {
        IPC_INFO => {
            let all = u64::MAX - (1 << 24);
            let most = MAX_SEGMENTS.get();
            let info = [MAX_SIZE.get(), 1, most, most, all, 0, 0, 0, 0];
            let w = info.iter().fold(Words::default(), |w, v| w.u64(*v));
            w.put(cx.mem(), buf)?;
            Ok(ns.shm.highest_index().into())
        }
        INFO => {
            let all = ns.shm.all();
            let pages = |f: &dyn Fn(&Segment) -> u64| -> u64 {
                all.iter()
                    .map(|o| f(&o.state.lock().data).div_ceil(PAGE))
                    .sum()
            };
            let w = Words::default()
                .i32(i32::try_from(all.len()).unwrap_or(i32::MAX))
                .i32(0)
                .u64(pages(&|s| s.size))
                .u64(pages(&Segment::allocated))
                .u64(0)
                .u64(0)
                .u64(0);
            w.put(cx.mem(), buf)?;
            Ok(ns.shm.highest_index().into())
        }
        IPC_STAT | STAT | STAT_ANY => {
            let object = if command == IPC_STAT {
                ns.shm.find(id)?
            } else {
                ns.shm.at_index(id)?
            };
            let (w, result) = stat(cx, &object, |p| match command {
                STAT_ANY => Ok(()),
                _ => p.check(creds, 0o444),
            })?;
            w.put(cx.mem(), buf)?;
            Ok(if command == IPC_STAT {
                0
            } else {
                result.into()
            })
        }
        IPC_SET => {
            let (uid, gid, mode) = read_perm(cx.mem(), buf)?;
            let object = ns.shm.find(id)?;
            let mut s = object.state.lock();
            s.perm.check_control(creds)?;
            s.perm.set(&creds.user_ns, uid, gid, mode)?;
            s.data.ctime = now();
            Ok(0)
        }
        IPC_RMID => {
            let object = ns.shm.find(id)?;
            object.state.lock().perm.check_control(creds)?;
            ns.shm_remove(&object);
            Ok(0)
        }
        LOCK | UNLOCK => {
            let object = ns.shm.find(id)?;
            let limit = cx.limit(libc::RLIMIT_MEMLOCK);
            let mut s = object.state.lock();
            if !creds.has_in(&s.perm.owner, Caps::IPC_LOCK) {
                if creds.euid != s.perm.uid && creds.euid != s.perm.cuid {
                    return Err(Errno::EPERM.into());
                }
                if command == LOCK && limit == 0 {
                    return Err(Errno::EPERM.into());
                }
            }
            if command == LOCK {
                s.perm.mode |= SHM_LOCKED;
            } else {
                s.perm.mode &= !SHM_LOCKED;
            }
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `struct shmid64_ds`, and the id.
fn stat(
    cx: &Cx<'_>,
    object: &Object<Segment>,
    check: impl FnOnce(&crate::kernel::ipc::Perm) -> Result<(), Errno>,
) -> Result<(Words, i32), Errno> {
    let s = object.state.lock();
    check(&s.perm)?;
    let d = &s.data;
    let w = Words::default()
        .perm(&cx.creds().user_ns, &s.perm)
        .u64(d.size)
        .i64(d.atime)
        .i64(d.dtime)
        .i64(d.ctime)
        .i32(cx.seen(d.cpid))
        .i32(cx.seen(d.lpid))
        .u64(d.attached())
        .u64(0)
        .u64(0);
    Ok((w, object.id))
}
