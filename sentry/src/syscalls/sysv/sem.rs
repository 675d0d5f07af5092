//! semget(2), semop(2), semtimedop(2), semctl(2).

use super::words::{Words, read_perm};
use super::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, namespace};
use crate::abi::Errno;
use crate::auth::UserNamespace;
use crate::kernel::ipc::sem::{
    NotNow, SEM_UNDO, SEMMNI, SEMMNS, SEMMSL, SEMOPM, SEMVMX, SemOp, Set, Waiting,
};
use crate::kernel::ipc::{Object, Perm, now};
use crate::sync::Events;
use crate::syscalls::time::read_timespec;
use crate::syscalls::{Args, Block, Cx, OnSignal, SysResult};
use crate::usermem::UserPtr;
use std::sync::Arc;

/// semget(2).
pub fn semget(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (key, count, flags): (i32, i32, i32) = (a.get(0), a.get(1), a.get(2));
    Ok(namespace(cx).semget(cx.creds(), key, count, flags)?.into())
}

/// semop(2).
pub fn semop(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    operate(cx, a, None)
}

/// semtimedop(2).
pub fn semtimedop(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let time: UserPtr<[i64; 2]> = a.get(3);
    let timeout = match time.non_null() {
        Some(p) => Some(read_timespec(cx.mem(), p)?),
        None => None,
    };
    operate(cx, a, timeout)
}

fn operate(cx: &mut Cx<'_>, a: &Args, timeout: Option<u64>) -> SysResult {
    let (id, ops, count): (i32, u64, usize) = (a.get(0), a.get(1), a.get(2));
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > SEMOPM {
        return Err(Errno::E2BIG.into());
    }
    let raw: Vec<[u16; 3]> = cx.mem().get_array(UserPtr::new(ops), count)?;
    let ops: Vec<SemOp> = raw
        .into_iter()
        .map(|[num, op, flags]| SemOp {
            num,
            op: op.cast_signed(),
            flags: flags.cast_signed(),
        })
        .collect();
    let waiting = cx
        .progress()
        .object
        .clone()
        .and_then(|o| o.downcast::<Waiting>().ok());
    let set = match &waiting {
        Some(w) => w.set.clone(),
        None => namespace(cx).sem.find(id)?,
    };
    let (num, zero) = match attempt(cx, &set, &ops)? {
        None => return Ok(0),
        Some(why) => why,
    };
    let deadline = cx.deadline_after(timeout);
    if cx.expired() {
        return Err(Errno::EAGAIN.into());
    }
    match waiting {
        Some(w) => w.change(num, zero),
        None => cx.progress().object = Some(Arc::new(Waiting::new(&set, num, zero))),
    }
    Err(Block::on(set.queue.clone(), Events::READABLE)
        .deadline(deadline)
        .on_signal(OnSignal::Eintr)
        .into())
}

/// Does the operations, or says what they wait for.
fn attempt(
    cx: &Cx<'_>,
    set: &Arc<Object<Set>>,
    ops: &[SemOp],
) -> Result<Option<(u16, bool)>, Errno> {
    let pid = cx.group().pid();
    let outcome = {
        let mut s = set.state.lock();
        if s.removed {
            return Err(Errno::EIDRM);
        }
        if ops.iter().any(|o| usize::from(o.num) >= s.data.sems.len()) {
            return Err(Errno::EFBIG);
        }
        let alters = ops.iter().any(|o| o.op != 0);
        s.perm
            .check(cx.creds(), if alters { 0o222 } else { 0o444 })?;
        s.data.perform(pid, ops)
    };
    match outcome {
        Ok(changed) => {
            if ops.iter().any(|o| o.flags & SEM_UNDO != 0) {
                namespace(cx).note_undo(pid);
            }
            if changed {
                set.queue.wake(Events::READABLE);
            }
            Ok(None)
        }
        Err(NotNow::Errno(e)) => Err(e),
        Err(NotNow::Wait(num, zero)) => Ok(Some((num, zero))),
    }
}

const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const STAT: i32 = 18;
const INFO: i32 = 19;
const STAT_ANY: i32 = 20;

/// semctl(2).
pub fn semctl(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (id, num, command, arg): (i32, i32, i32, u64) = (a.get(0), a.get(1), a.get(2), a.get(3));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let ns = namespace(cx);
    let creds = cx.creds();
    match command {
        IPC_INFO | INFO => info(cx, command, arg),
        IPC_STAT | STAT | STAT_ANY => {
            let set = if command == IPC_STAT {
                ns.sem.find(id)?
            } else {
                ns.sem.at_index(id)?
            };
            let w = {
                let s = set.state.lock();
                if command != STAT_ANY {
                    s.perm.check(creds, 0o444)?;
                }
                stat(&creds.user_ns, &s.perm, &s.data)
            };
            w.put(cx.mem(), arg)?;
            Ok(if command == IPC_STAT {
                0
            } else {
                set.id.into()
            })
        }
        IPC_SET => {
            let (uid, gid, mode) = read_perm(cx.mem(), arg)?;
            let set = ns.sem.find(id)?;
            let mut s = set.state.lock();
            s.perm.check_control(creds)?;
            s.perm.set(&creds.user_ns, uid, gid, mode)?;
            s.data.ctime = now();
            Ok(0)
        }
        IPC_RMID => {
            let set = ns.sem.find(id)?;
            set.state.lock().perm.check_control(creds)?;
            ns.sem.remove(&set);
            Ok(0)
        }
        GETVAL | GETPID | GETNCNT | GETZCNT | SETVAL => {
            one(cx, &ns.sem.find(id)?, num, command, arg)
        }
        GETALL => {
            let set = ns.sem.find(id)?;
            let values: Vec<u16> = {
                let s = set.state.lock();
                s.perm.check(creds, 0o444)?;
                let value = |v: i32| u16::try_from(v).unwrap_or(0);
                s.data.sems.iter().map(|sem| value(sem.value)).collect()
            };
            cx.mem().put_array(UserPtr::<u16>::new(arg), &values)?;
            Ok(0)
        }
        SETALL => {
            let set = ns.sem.find(id)?;
            let len = {
                let s = set.state.lock();
                s.perm.check(creds, 0o222)?;
                s.data.sems.len()
            };
            let values: Vec<u16> = cx.mem().get_array(UserPtr::new(arg), len)?;
            {
                let mut s = set.state.lock();
                if s.removed {
                    return Err(Errno::EIDRM.into());
                }
                s.data.set_all(&values, cx.group().pid())?;
            }
            set.queue.wake(Events::READABLE);
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// The commands on one semaphore.
fn one(cx: &Cx<'_>, set: &Arc<Object<Set>>, num: i32, command: i32, arg: u64) -> SysResult {
    let creds = cx.creds();
    let result = {
        let mut s = set.state.lock();
        if command == SETVAL {
            // The argument is an int; Linux checks it before the index.
            let value = (arg as u32).cast_signed();
            if !(0..=SEMVMX).contains(&value) {
                return Err(Errno::ERANGE.into());
            }
            let index = usize::try_from(num).map_err(|_| Errno::EINVAL)?;
            if index >= s.data.sems.len() {
                return Err(Errno::EINVAL.into());
            }
            s.perm.check(creds, 0o222)?;
            s.data.set_value(index, value, cx.group().pid())?;
            0
        } else {
            s.perm.check(creds, 0o444)?;
            let index = u16::try_from(num).map_err(|_| Errno::EINVAL)?;
            let sem = s
                .data
                .sems
                .get(usize::from(index))
                .copied()
                .ok_or(Errno::EINVAL)?;
            let counted = |zero| i32::try_from(s.data.waiting_for(index, zero)).unwrap_or(i32::MAX);
            match command {
                GETVAL => sem.value,
                GETPID => cx.seen(sem.pid),
                GETNCNT => counted(false),
                _ => counted(true),
            }
        }
    };
    if command == SETVAL {
        set.queue.wake(Events::READABLE);
    }
    Ok(result.into())
}

/// `struct semid64_ds`.
fn stat(reader: &UserNamespace, perm: &Perm, set: &Set) -> Words {
    Words::default()
        .perm(reader, perm)
        .i64(set.otime)
        .u64(0)
        .i64(set.ctime)
        .u64(0)
        .u64(set.sems.len() as u64)
        .u64(0)
        .u64(0)
}

/// `struct seminfo`.
fn info(cx: &Cx<'_>, command: i32, at: u64) -> SysResult {
    let ns = namespace(cx);
    let int = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let (used, total) = if command == INFO {
        (int(ns.sem.all().len()), int(ns.semaphores()))
    } else {
        (20, SEMVMX)
    };
    let max = int(SEMMNI);
    let ops = int(SEMOPM);
    let fields = [
        SEMMNS, max, SEMMNS, SEMMNS, SEMMSL, ops, ops, used, SEMVMX, total,
    ];
    fields
        .iter()
        .fold(Words::default(), |w, v| w.i32(*v))
        .put(cx.mem(), at)?;
    Ok(ns.sem.highest_index().into())
}
