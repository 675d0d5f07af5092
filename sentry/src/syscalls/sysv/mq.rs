//! mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2), mq_notify(2), mq_getsetattr(2).

use crate::abi::{Errno, Result};
use crate::kernel::ipc::mq::{
    COOKIE, Capacity, MqInode, MqNamespace, Notification, PRIO_MAX, Receiver, Registration,
    queue_of,
};
use crate::kernel::signal::{Origin, SigInfo, Signal, send_group, uid_for};
use crate::net::netlink;
use crate::net::socket::socket_of;
use crate::sync::Events;
use crate::syscalls::time::read_timespec;
use crate::syscalls::{Args, Block, Cx, Fd, OnSignal, SysErr, SysResult};
use crate::time::{Instant, realtime_ns};
use crate::usermem::{UserPtr, UserStr};
use crate::vfs::{File, OpenFlags};
use std::sync::Arc;

/// `si_code` of a message that arrived (SI_MESGQ).
const SI_MESGQ: i32 = -3;

fn namespace(cx: &Cx<'_>) -> Arc<MqNamespace> {
    cx.task.namespaces().ipc.queues.clone()
}

/// mq_open(2).
pub fn mq_open(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (flags, mode): (u32, u32) = (a.get(1), a.get(2));
    let attr: UserPtr<[i64; 8]> = a.get(3);
    let flags = OpenFlags::from_bits_retain(flags);
    let capacity = match attr.non_null() {
        Some(p) if flags.contains(OpenFlags::CREAT) => {
            let [_, max_messages, message_size, ..] = cx.mem().get(p)?;
            Some(Capacity {
                max_messages,
                message_size,
            })
        }
        // Linux reads it all the same.
        Some(p) => {
            cx.mem().get(p)?;
            None
        }
        None => None,
    };
    let name = cx.mem().read_path(UserStr(a.get(0)))?;
    let limit = cx.limit(libc::RLIMIT_MSGQUEUE);
    let file = namespace(cx).open(&cx.caller(), &name, flags, mode, capacity, limit)?;
    // Message queue descriptors are always close-on-exec.
    Ok(cx.install_fd(file, true)?.into())
}

/// mq_unlink(2).
pub fn mq_unlink(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let name = cx.mem().read_path(UserStr(a.get(0)))?;
    namespace(cx).unlink(&cx.caller(), &name)?;
    Ok(0)
}

/// The absolute CLOCK_REALTIME timeout of this call, as a deadline.
fn deadline(cx: &mut Cx<'_>, ptr: UserPtr<[i64; 2]>) -> Result<Option<Instant>> {
    let Some(ptr) = ptr.non_null() else {
        return Ok(None);
    };
    if let Some(d) = cx.progress().deadline {
        return Ok(Some(d));
    }
    let ns = read_timespec(cx.mem(), ptr)?;
    let at = Instant::now().after(ns.saturating_sub(realtime_ns()));
    cx.progress().deadline = Some(at);
    Ok(Some(at))
}

/// What a full or empty queue means for this call.
fn wait(
    cx: &mut Cx<'_>,
    file: &File,
    queue: &Arc<MqInode>,
    deadline: Option<Instant>,
    events: Events,
) -> SysErr {
    if file.nonblocking() {
        return Errno::EAGAIN.into();
    }
    if cx.expired() {
        return Errno::ETIMEDOUT.into();
    }
    if events.intersects(Events::READABLE) && cx.progress().object.is_none() {
        cx.progress().object = Some(Arc::new(Receiver::new(queue)));
    }
    Block::on(queue.queue().clone(), events)
        .deadline(deadline)
        .on_signal(OnSignal::RestartSys)
        .into()
}

/// mq_timedsend(2).
pub fn mq_timedsend(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (ptr, len, priority): (u64, usize, u32) = (a.get(1), a.get(2), a.get(3));
    let deadline = deadline(cx, a.get(4))?;
    if priority >= PRIO_MAX {
        return Err(Errno::EINVAL.into());
    }
    let file = cx.file(a.get::<Fd>(0))?;
    let queue = queue_of(&file)?;
    if !file.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    if len > queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    let mut text = vec![0; len];
    cx.mem().read_bytes(ptr, &mut text)?;
    match queue.send(priority, text) {
        Ok(registration) => {
            if let Some(r) = registration {
                notify(cx, r);
            }
            Ok(0)
        }
        Err(Errno::EAGAIN) => Err(wait(cx, &file, &queue, deadline, Events::WRITABLE)),
        Err(e) => Err(e.into()),
    }
}

/// Tells a registered process of a message.
fn notify(cx: &Cx<'_>, r: Registration) {
    let Notification::Signal(number, value) = r.how else {
        return r.tell_thread(true);
    };
    let (Some(signal), Some(group)) = (Signal::new(number), cx.kernel().process(r.tgid)) else {
        return;
    };
    let pid = cx.kernel().pid_seen(group.pid_ns(), cx.group().pid());
    let uid = uid_for(&group, cx.creds().uid);
    let info = SigInfo::queued(signal, SI_MESGQ, pid, uid, value);
    if let Err(e) = send_group(&group, info, Origin::Kernel) {
        log::debug!("notification of a message was lost: {e}");
    }
}

/// mq_timedreceive(2).
pub fn mq_timedreceive(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (ptr, len): (u64, usize) = (a.get(1), a.get(2));
    let priority_at: UserPtr<u32> = a.get(3);
    let deadline = deadline(cx, a.get(4))?;
    let file = cx.file(a.get::<Fd>(0))?;
    let queue = queue_of(&file)?;
    if !file.flags().readable() {
        return Err(Errno::EBADF.into());
    }
    if len < queue.message_size() {
        return Err(Errno::EMSGSIZE.into());
    }
    match queue.receive() {
        Ok((priority, text)) => {
            // As in Linux, a bad address loses the message.
            cx.mem().put_opt(priority_at, &priority)?;
            cx.mem().write_bytes(ptr, &text)?;
            Ok(i64::try_from(text.len()).unwrap_or(i64::MAX))
        }
        Err(Errno::EAGAIN) => Err(wait(cx, &file, &queue, deadline, Events::READABLE)),
        Err(e) => Err(e.into()),
    }
}

/// mq_notify(2).
pub fn mq_notify(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    const SIGEV_SIGNAL: i32 = 0;
    const SIGEV_NONE: i32 = 1;
    const SIGEV_THREAD: i32 = 2;
    let event: UserPtr<[u64; 8]> = a.get(1);
    let registration = match event.non_null() {
        None => None,
        Some(p) => {
            let [value, numbers, ..] = cx.mem().get(p)?;
            let signal = (numbers as u32).cast_signed();
            let how = ((numbers >> 32) as u32).cast_signed();
            let how = match how {
                SIGEV_NONE => Notification::None,
                SIGEV_SIGNAL if Signal::new(signal).is_some() => {
                    Notification::Signal(signal, value)
                }
                // The C library's helper thread waits on a netlink socket, named in place of the signal.
                SIGEV_THREAD => {
                    let cookie = cx.mem().get(UserPtr::<[u8; COOKIE]>::new(value))?;
                    let socket = cx.file(Fd(signal))?;
                    if socket_of(&socket).is_none() {
                        return Err(Errno::ENOTSOCK.into());
                    }
                    if !netlink::is_netlink(&socket) {
                        return Err(Errno::EINVAL.into());
                    }
                    Notification::Thread(socket, cookie)
                }
                _ => return Err(Errno::EINVAL.into()),
            };
            Some(Registration {
                tgid: cx.group().pid(),
                how,
            })
        }
    };
    let file = cx.file(a.get::<Fd>(0))?;
    queue_of(&file)?.register(cx.group().pid(), registration)?;
    Ok(0)
}

/// mq_getsetattr(2).
pub fn mq_getsetattr(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let (new, old): (UserPtr<[i64; 8]>, UserPtr<[i64; 8]>) = (a.get(1), a.get(2));
    let nonblock = i64::from(OpenFlags::NONBLOCK.bits());
    let wanted = match new.non_null() {
        Some(p) => {
            let [flags, ..] = cx.mem().get(p)?;
            if flags & !nonblock != 0 {
                return Err(Errno::EINVAL.into());
            }
            Some(flags & nonblock != 0)
        }
        None => None,
    };
    let file = cx.file(a.get::<Fd>(0))?;
    let (capacity, count) = queue_of(&file)?.attributes();
    let flags = i64::from(file.flags().bits()) & nonblock;
    if let Some(on) = wanted {
        let mut flags = file.flags();
        flags.set(OpenFlags::NONBLOCK, on);
        file.set_flags(flags);
    }
    let attributes = [
        flags,
        capacity.max_messages,
        capacity.message_size,
        count,
        0,
        0,
        0,
        0,
    ];
    cx.mem().put_opt(old, &attributes)?;
    Ok(0)
}
