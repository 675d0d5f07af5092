//! signalfd(2): pending signals as something to read.

use super::info::{SigInfo, code};
use super::own::take;
use super::set::{SigSet, Signal};
use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonKind, anon_file};
use crate::kernel::task_of;
use crate::kernel::{Task, ThreadGroup};
use crate::sync::{Charge, Events, Mutex, Quota, Rank, WaitQueue};
use crate::usermem::{Sink, put_all};
use crate::vfs::{Caller, File, FileOps, OpenFlags};
use std::any::Any;
use std::sync::{Arc, Weak};
use zerocopy::{Immutable, IntoBytes};

/// Most signalfds in the sandbox.
static QUOTA: Quota = Quota::new(1 << 16);

/// The signals it takes, and whose they are. Linux asks whoever reads or polls; here that is the task that made it or
/// last read from it.
pub struct SignalFd {
    inner: Mutex<Inner>,
    _charge: Charge,
}

struct Inner {
    mask: SigSet,
    task: Weak<Task>,
    group: Weak<ThreadGroup>,
}

/// `struct signalfd_siginfo`, 128 bytes.
#[repr(C)]
#[derive(IntoBytes, Immutable, Default)]
struct Record {
    signo: i32,
    errno: i32,
    code: i32,
    pid: i32,
    uid: u32,
    fd: i32,
    tid: i32,
    band: u32,
    overrun: u32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    addr_lsb: u16,
    pad2: u16,
    syscall: i32,
    call_addr: u64,
    arch: u32,
    pad: [u32; 7],
}

impl Record {
    /// As `signalfd_copyinfo`: what is filled depends on the kind of signal.
    fn of(i: &SigInfo) -> Record {
        let mut r = Record {
            signo: i.signo,
            errno: i.errno,
            code: i.code,
            ..Record::default()
        };
        let signal = i.signal();
        match (signal, i.code) {
            (_, code::SI_TIMER) => {
                r.tid = i.pid();
                r.overrun = i.uid();
                r.set_value(i.value());
            }
            (Some(Signal::CHLD), c) if (1..=code::CLD_CONTINUED).contains(&c) => {
                r.set_sender(i);
                r.status = (i.word(1) as u32).cast_signed();
                r.utime = i.word(2);
                r.stime = i.word(3);
            }
            (Some(Signal::SYS), code::SYS_SECCOMP) => {
                r.call_addr = i.word(0);
                r.syscall = (i.word(1) as u32).cast_signed();
                r.arch = (i.word(1) >> 32) as u32;
            }
            (
                Some(Signal::ILL | Signal::FPE | Signal::SEGV | Signal::BUS | Signal::TRAP),
                1..code::SI_KERNEL,
            ) => r.addr = i.addr(),
            (Some(Signal::IO), c) if c > 0 && c != code::SI_KERNEL => {
                r.band = i.word(0) as u32;
                r.fd = (i.word(1) as u32).cast_signed();
            }
            (_, code::SI_SIGIO) => {
                r.band = i.word(0) as u32;
                r.fd = (i.word(1) as u32).cast_signed();
            }
            (_, c) if c < 0 && c != code::SI_TKILL => {
                r.set_sender(i);
                r.set_value(i.value());
            }
            _ => r.set_sender(i),
        }
        r
    }
    fn set_sender(&mut self, i: &SigInfo) {
        self.pid = i.pid();
        self.uid = i.uid();
    }
    fn set_value(&mut self, v: u64) {
        self.ptr = v;
        self.int = (v as u32).cast_signed();
    }
}

impl SignalFd {
    /// A new signalfd for `mask` (without SIGKILL and SIGSTOP).
    ///
    /// # Errors
    /// ENFILE if there are too many.
    pub fn create(
        task: &Arc<Task>,
        cx: &dyn Caller,
        mask: SigSet,
        flags: OpenFlags,
    ) -> Result<Arc<File>> {
        let ops = SignalFd {
            inner: Mutex::new(
                Rank::OBJECT,
                Inner {
                    mask: mask.blockable(),
                    task: Arc::downgrade(task),
                    group: Arc::downgrade(task.group()),
                },
            ),
            _charge: QUOTA.charge(1).ok_or(Errno::ENFILE)?,
        };
        Ok(anon_file(
            cx,
            Box::new(ops),
            AnonKind::Other("[signalfd]"),
            OpenFlags::RDWR | flags,
        ))
    }
    /// Signals it takes (fdinfo's sigmask).
    pub fn mask(&self) -> SigSet {
        self.inner.lock().mask
    }
    /// signalfd(2) on an existing one.
    pub fn set_mask(&self, mask: SigSet) {
        self.inner.lock().mask = mask.blockable();
        if let Some(q) = self.queue() {
            q.wake(Events::READABLE);
        }
    }
    fn queue(&self) -> Option<Arc<WaitQueue>> {
        let group = self.inner.lock().group.upgrade()?;
        let queue = group.signals.lock().arrivals().clone();
        Some(queue)
    }
}

impl FileOps for SignalFd {
    fn read(&self, _: &File, cx: &dyn Caller, dst: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        if dst.remaining() < size_of::<Record>() {
            return Err(Errno::EINVAL);
        }
        let task = task_of(cx).ok_or(Errno::EINVAL)?;
        let mask = {
            let mut i = self.inner.lock();
            i.task = Arc::downgrade(task);
            i.group = Arc::downgrade(task.group());
            i.mask
        };
        let mut done = 0;
        while dst.remaining() >= size_of::<Record>() {
            let Some(info) = take(task, mask) else { break };
            let put = put_all(dst, Record::of(&info).as_bytes());
            match put {
                Ok(n) if n == size_of::<Record>() => done += n,
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT),
            }
        }
        if done == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(done)
        }
    }
    fn poll(&self, _: &File) -> Events {
        let (mask, task, group) = {
            let i = self.inner.lock();
            (i.mask, i.task.upgrade(), i.group.upgrade())
        };
        let Some(group) = group else {
            return Events::empty();
        };
        let shared = group.signals.lock().pending();
        let own = task.map_or(SigSet::EMPTY, |t| t.signals.lock().pending());
        if ((shared | own) & mask).is_empty() {
            Events::empty()
        } else {
            Events::IN
        }
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        // Without its process nothing will ever come; epoll still accepts it.
        Some(self.queue().unwrap_or_default())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_laid_out_as_linux_does() {
        assert_eq!(size_of::<Record>(), size_of::<libc::signalfd_siginfo>());
        let at = |b: &[u8], o: usize| u32::from_ne_bytes(b[o..o + 4].try_into().unwrap());
        let r = Record::of(&SigInfo::queued(Signal::USR1, code::SI_QUEUE, 5, 6, 77));
        let b = r.as_bytes();
        assert_eq!((at(b, 0), at(b, 12), at(b, 16)), (10, 5, 6));
        assert_eq!(
            at(b, std::mem::offset_of!(libc::signalfd_siginfo, ssi_int)),
            77
        );
        assert_eq!(
            at(b, std::mem::offset_of!(libc::signalfd_siginfo, ssi_ptr)),
            77
        );
        let r = Record::of(&SigInfo::child(code::CLD_EXITED, 9, 1, 3, 11, 12));
        let b = r.as_bytes();
        assert_eq!(
            at(b, std::mem::offset_of!(libc::signalfd_siginfo, ssi_status)),
            3
        );
        assert_eq!(
            at(b, std::mem::offset_of!(libc::signalfd_siginfo, ssi_stime)),
            12
        );
        let r = Record::of(&SigInfo::seccomp(0x55, 39, 0));
        let b = r.as_bytes();
        assert_eq!(
            at(
                b,
                std::mem::offset_of!(libc::signalfd_siginfo, ssi_call_addr)
            ),
            0x55
        );
        assert_eq!(
            at(b, std::mem::offset_of!(libc::signalfd_siginfo, ssi_syscall)),
            39
        );
    }
}
