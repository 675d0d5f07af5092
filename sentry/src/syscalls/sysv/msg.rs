//! msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use super::words::{Words, read_perm};
use super::{IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, namespace};
use crate::abi::Errno;
use crate::auth::Caps;
use crate::kernel::ipc::msg::{MAX_QUEUES, MSGMAX, MSGMNB, Message, Queue, Wanted};
use crate::kernel::ipc::{IPC_NOWAIT, IpcNamespace, Object, Perm, now};
use crate::sync::Events;
use crate::syscalls::{Args, Block, Cx, OnSignal, SysErr, SysResult};
use crate::usermem::UserPtr;
use std::sync::Arc;

/// msgget(2).
pub fn msgget(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    Ok(namespace(cx).msgget(cx.creds(), a.get(0), a.get(1))?.into())
}

/// The queue of this call: the one of its first run, if it has waited.
fn queue_of(cx: &mut Cx<'_>, id: i32) -> Result<Arc<Object<Queue>>, Errno> {
    if let Some(o) = cx.progress().object.clone()
        && let Ok(q) = o.downcast::<Object<Queue>>()
    {
        return Ok(q);
    }
    namespace(cx).msg.find(id)
}

fn wait(cx: &mut Cx<'_>, queue: &Arc<Object<Queue>>, events: Events) -> SysErr {
    cx.progress().object = Some(queue.clone());
    Block::on(queue.queue.clone(), events)
        .on_signal(OnSignal::RestartNoHand)
        .into()
}

/// msgsnd(2).
pub fn msgsnd(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (id, at, len, flags): (i32, u64, u64, i32) = (a.get(0), a.get(1), a.get(2), a.get(3));
    let kind: i64 = cx.mem().get(UserPtr::new(at))?;
    let len = usize::try_from(len)
        .ok()
        .filter(|l| *l <= MSGMAX)
        .ok_or(Errno::EINVAL)?;
    if id < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut text = vec![0; len];
    cx.mem().read_bytes(at.wrapping_add(8), &mut text)?;
    let queue = queue_of(cx, id)?;
    IpcNamespace::check_message_memory(len)?;
    let pid = cx.group().pid();
    let creds = cx.creds();
    let sent = {
        let mut s = queue.state.lock();
        if s.removed {
            return Err(Errno::EIDRM.into());
        }
        s.perm.check(creds, 0o222)?;
        let room = s.data.has_room(len);
        if room {
            s.data.push(Message { kind, text }, pid);
        }
        room
    };
    if sent {
        queue.queue.wake(Events::READABLE);
        return Ok(0);
    }
    if flags & IPC_NOWAIT != 0 {
        return Err(Errno::EAGAIN.into());
    }
    Err(wait(cx, &queue, Events::WRITABLE))
}

/// msgrcv(2).
pub fn msgrcv(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const NOERROR: i32 = 0o10000;
    const EXCEPT: i32 = 0o20000;
    const COPY: i32 = 0o40000;
    let (id, at, len, kind, flags): (i32, u64, u64, i64, i32) =
        (a.get(0), a.get(1), a.get(2), a.get(3), a.get(4));
    let has = |f| flags & f != 0;
    let len = usize::try_from(len)
        .ok()
        .filter(|l| i64::try_from(*l).is_ok())
        .ok_or(Errno::EINVAL)?;
    if id < 0 || (has(COPY) && (has(EXCEPT) || !has(IPC_NOWAIT))) {
        return Err(Errno::EINVAL.into());
    }
    let wanted = match kind {
        0 => Wanted::Any,
        i64::MIN..0 => Wanted::UpTo(kind.checked_neg().unwrap_or(i64::MAX)),
        _ if has(EXCEPT) => Wanted::Except(kind),
        _ => Wanted::Kind(kind),
    };
    let queue = queue_of(cx, id)?;
    let pid = cx.group().pid();
    let creds = cx.creds();
    let message = {
        let mut s = queue.state.lock();
        if s.removed {
            return Err(Errno::EIDRM.into());
        }
        s.perm.check(creds, 0o444)?;
        let position = if has(COPY) {
            usize::try_from(kind)
                .ok()
                .filter(|i| *i < s.data.messages.len())
        } else {
            s.data.position(wanted)
        };
        match position.and_then(|i| s.data.messages.get(i).map(|m| (i, m))) {
            Some((_, m)) if m.text.len() > len && !has(NOERROR) => {
                return Err(Errno::E2BIG.into());
            }
            Some((_, m)) if has(COPY) => Some(Message {
                kind: m.kind,
                text: m.text.clone(),
            }),
            Some((i, _)) => s.data.take(i, pid),
            None => None,
        }
    };
    let Some(m) = message else {
        if has(IPC_NOWAIT) {
            return Err(Errno::ENOMSG.into());
        }
        return Err(wait(cx, &queue, Events::READABLE));
    };
    if !has(COPY) {
        queue.queue.wake(Events::WRITABLE);
    }
    // As in Linux, a bad address loses the message.
    cx.mem().put(UserPtr::new(at), &m.kind)?;
    let n = m.text.len().min(len);
    cx.mem()
        .write_bytes(at.wrapping_add(8), m.text.get(..n).unwrap_or(&[]))?;
    Ok(i64::try_from(n).unwrap_or(i64::MAX))
}

/// msgctl(2).
pub fn msgctl(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const STAT: i32 = 11;
    const INFO: i32 = 12;
    const STAT_ANY: i32 = 13;
    let (id, command, buf): (i32, i32, u64) = (a.get(0), a.get(1), a.get(2));
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let ns = namespace(cx);
    let creds = cx.creds();
    match command {
        IPC_INFO | INFO => info(cx, command == INFO, buf),
        IPC_STAT | STAT | STAT_ANY => {
            let queue = if command == IPC_STAT {
                ns.msg.find(id)?
            } else {
                ns.msg.at_index(id)?
            };
            let w = {
                let s = queue.state.lock();
                if command != STAT_ANY {
                    s.perm.check(creds, 0o444)?;
                }
                stat(cx, &s.perm, &s.data)
            };
            w.put(cx.mem(), buf)?;
            Ok(if command == IPC_STAT {
                0
            } else {
                queue.id.into()
            })
        }
        IPC_SET => {
            let (uid, gid, mode) = read_perm(cx.mem(), buf)?;
            // msg_qbytes, behind the permissions, three times and two counters.
            let max: u64 = cx.mem().get(UserPtr::new(buf.wrapping_add(88)))?;
            let queue = ns.msg.find(id)?;
            {
                let mut s = queue.state.lock();
                s.perm.check_control(creds)?;
                if max > MSGMNB && !creds.has(Caps::SYS_RESOURCE) {
                    return Err(Errno::EPERM.into());
                }
                s.perm.set(&creds.user_ns, uid, gid, mode)?;
                s.data.max_bytes = max;
                s.data.ctime = now();
            }
            queue.queue.wake(Events::READABLE | Events::WRITABLE);
            Ok(0)
        }
        IPC_RMID => {
            let queue = ns.msg.find(id)?;
            queue.state.lock().perm.check_control(creds)?;
            ns.msg.remove(&queue);
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `struct msqid64_ds`.
fn stat(cx: &Cx<'_>, perm: &Perm, q: &Queue) -> Words {
    Words::default()
        .perm(&cx.creds().user_ns, perm)
        .i64(q.stime)
        .i64(q.rtime)
        .i64(q.ctime)
        .u64(q.bytes)
        .u64(q.messages.len() as u64)
        .u64(q.max_bytes)
        .i32(cx.seen(q.lspid))
        .i32(cx.seen(q.lrpid))
        .u64(0)
        .u64(0)
}

/// `struct msginfo`.
fn info(cx: &Cx<'_>, in_use: bool, at: u64) -> SysResult {
    let ns = namespace(cx);
    let int = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
    let max = int(MAX_QUEUES.get());
    let (pool, map, tql) = if in_use {
        let all = ns.msg.all();
        let sum = |f: &dyn Fn(&Queue) -> u64| all.iter().map(|q| f(&q.state.lock().data)).sum();
        (
            int(all.len() as u64),
            int(sum(&|q| q.messages.len() as u64)),
            int(sum(&|q| q.bytes)),
        )
    } else {
        let pool = max.saturating_mul(int(MSGMNB)) / 1024;
        (pool, int(MSGMNB), int(MSGMNB))
    };
    let w = [pool, map, int(MSGMAX as u64), int(MSGMNB), max, 16, tql]
        .iter()
        .fold(Words::default(), |w, v| w.i32(*v))
        .u16(0xffff)
        .u16(0);
    w.put(cx.mem(), at)?;
    Ok(ns.msg.highest_index().into())
}
