//! eventfd(2): a counter to wait for.

use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonKind, anon_file};
use crate::sync::{Charge, Events, Mutex, Quota, Rank, WaitQueue};
use crate::usermem::{Sink, Source, put_all};
use crate::vfs::{Caller, File, FileOps, OpenFlags};
use std::any::Any;
use std::sync::Arc;

/// Most eventfds in the sandbox.
static QUOTA: Quota = Quota::new(1 << 16);

/// The counter.
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    queue: Arc<WaitQueue>,
    _charge: Charge,
}

impl EventFd {
    /// A new eventfd open for reading and writing. With `semaphore`, reads take one at a time.
    ///
    /// # Errors
    /// ENFILE if there are too many.
    pub fn create(
        cx: &dyn Caller,
        initial: u64,
        semaphore: bool,
        flags: OpenFlags,
    ) -> Result<Arc<File>> {
        let ops = EventFd {
            count: Mutex::new(Rank::OBJECT, initial),
            semaphore,
            queue: Arc::new(WaitQueue::new()),
            _charge: QUOTA.charge(1).ok_or(Errno::ENFILE)?,
        };
        Ok(anon_file(
            cx,
            Box::new(ops),
            AnonKind::Other("[eventfd]"),
            OpenFlags::RDWR | flags,
        ))
    }
    /// Adds `n`, stopping at the highest count (the kernel's own signalling, e.g. of asynchronous I/O).
    pub fn signal(&self, n: u64) {
        {
            let mut c = self.count.lock();
            *c = c.saturating_add(n);
        }
        self.queue.wake(Events::IN);
    }
    /// The count, for fdinfo.
    pub fn count(&self) -> u64 {
        *self.count.lock()
    }
}

impl FileOps for EventFd {
    fn read(&self, _: &File, _: &dyn Caller, dst: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let taken = {
            let mut c = self.count.lock();
            if *c == 0 {
                return Err(Errno::EAGAIN);
            }
            let taken = if self.semaphore { 1 } else { *c };
            *c -= taken;
            taken
        };
        self.queue.wake(Events::OUT);
        if put_all(dst, &taken.to_ne_bytes())? < 8 {
            return Err(Errno::EFAULT);
        }
        Ok(8)
    }
    fn write(
        &self,
        _: &File,
        _: &dyn Caller,
        src: &mut dyn Source,
        _: &mut u64,
        _: bool,
    ) -> Result<usize> {
        // Exactly 8 since Linux 6.5; earlier ones ignored further bytes.
        if src.remaining() != 8 {
            return Err(Errno::EINVAL);
        }
        let mut raw = [0u8; 8];
        let mut got = 0;
        while let Some(rest) = raw.get_mut(got..).filter(|r| !r.is_empty()) {
            match src.take(rest)? {
                0 => return Err(Errno::EFAULT),
                n => got += n,
            }
        }
        let add = u64::from_ne_bytes(raw);
        if add == u64::MAX {
            return Err(Errno::EINVAL);
        }
        {
            let mut c = self.count.lock();
            // ULLONG_MAX itself is never reached by write(2).
            match c.checked_add(add).filter(|s| *s < u64::MAX) {
                Some(sum) => *c = sum,
                None => {
                    src.unread(8);
                    return Err(Errno::EAGAIN);
                }
            }
        }
        self.queue.wake(Events::IN);
        Ok(8)
    }
    fn poll(&self, _: &File) -> Events {
        let c = *self.count.lock();
        let mut e = Events::empty();
        if c > 0 {
            e |= Events::IN;
        }
        if c < u64::MAX - 1 {
            e |= Events::OUT;
        }
        // An overflow, which only the kernel's own signals reach (eventfd(2)).
        if c == u64::MAX {
            e |= Events::ERR;
        }
        e
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.queue.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usermem::{KernelSink, KernelSource};
    use crate::vfs::caller::KernelCaller;

    fn read(f: &File) -> Result<u64> {
        let mut s = KernelSink::new(8);
        f.ops().read(f, &KernelCaller, &mut s, &mut 0)?;
        Ok(u64::from_ne_bytes(s.data.try_into().unwrap()))
    }
    fn write(f: &File, v: u64) -> Result<usize> {
        f.ops().write(
            f,
            &KernelCaller,
            &mut KernelSource::new(&v.to_ne_bytes()),
            &mut 0,
            false,
        )
    }

    #[test]
    fn counts_and_overflows_as_linux() {
        let f = EventFd::create(&KernelCaller, 0, false, OpenFlags::empty()).unwrap();
        assert_eq!(read(&f), Err(Errno::EAGAIN));
        assert_eq!(f.poll(), Events::OUT);
        write(&f, 3).unwrap();
        write(&f, 4).unwrap();
        assert_eq!(read(&f), Ok(7));
        assert_eq!(write(&f, u64::MAX), Err(Errno::EINVAL));
        assert_eq!(write(&f, u64::MAX - 1), Ok(8));
        assert_eq!(f.poll(), Events::IN);
        assert_eq!(write(&f, 1), Err(Errno::EAGAIN));
        assert_eq!(read(&f), Ok(u64::MAX - 1));
    }

    #[test]
    fn semaphore_mode_takes_one_at_a_time() {
        let f = EventFd::create(&KernelCaller, 2, true, OpenFlags::empty()).unwrap();
        assert_eq!(read(&f), Ok(1));
        assert_eq!(read(&f), Ok(1));
        assert_eq!(read(&f), Err(Errno::EAGAIN));
    }
}
