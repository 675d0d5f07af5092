//! Pipes and FIFOs (pipe(7), fifo(7)).
//!
//! [`Pipe`] is the buffer; each open end is a [`PipeFile`]. A FIFO's pipe hangs on its inode's
//! `InodeMeta` and lives while someone has it open.
//!
//! Locks: [`Pipe`]'s state (`OBJECT`) only; never held while guest memory is touched or the queue is woken.

mod buffer;
mod file;
pub mod lent;
#[cfg(test)]
mod tests;

pub use file::{PipeFile, create, open_fifo, pipe_of};

use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::sync::{Charge, Events, Knob, Mutex, MutexGuard, Quota, Rank, WaitQueue};
use crate::usermem::{Segment, Sink, Source, put_all};
use crate::vfs::Caller;
use buffer::Slots;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Bytes per slot, and the most that is written atomically (PIPE_BUF).
pub const PAGE: usize = 4096;
/// Slots of a new pipe: 64 KiB.
const DEFAULT_SLOTS: usize = 16;
/// Slots of a new pipe when the sandbox already has many (PIPE_MIN_DEF_BUFFERS).
const MIN_SLOTS: usize = 2;
/// Largest pipe without CAP_SYS_RESOURCE: `fs.pipe-max-size`.
pub static MAX_SIZE: Knob = Knob::new(4096, 1 << 20);
/// Pages above which new pipes are small (`fs.pipe-user-pages-soft`).
const SOFT_PAGES: usize = 16384;
/// Pages that all pipes together may have. Linux has no such limit by default; a sandbox needs one.
static PAGES: Quota = Quota::new(4 * SOFT_PAGES);

/// A pipe: a bounded queue of bytes, or of packets.
pub struct Pipe {
    /// To be locked by [`Pipe::lock`].
    state: Mutex<State>,
    /// An end was lent once.
    is_lent: AtomicBool,
    queue: Arc<WaitQueue>,
}

struct State {
    slots: Slots,
    readers: usize,
    writers: usize,
    /// How often an end was opened for reading, writing: openers wait for these to change.
    read_opens: u64,
    write_opens: u64,
    charge: Charge,
    lent: Option<lent::Lending>,
    pace: lent::Pace,
}

impl Pipe {
    /// An empty pipe that nobody has open.
    ///
    /// # Errors
    /// ENFILE if the sandbox has too many pipes.
    fn new() -> Result<Arc<Pipe>> {
        let want = if PAGES.used() + DEFAULT_SLOTS > SOFT_PAGES {
            MIN_SLOTS
        } else {
            DEFAULT_SLOTS
        };
        Ok(Arc::new(Pipe {
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    slots: Slots::new(want),
                    readers: 0,
                    writers: 0,
                    read_opens: 0,
                    write_opens: 0,
                    charge: PAGES.charge(want).ok_or(Errno::ENFILE)?,
                    lent: None,
                    pace: lent::Pace::default(),
                },
            ),
            is_lent: AtomicBool::new(false),
            queue: Arc::new(WaitQueue::new()),
        }))
    }

    /// The state, with all that has been written.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut s = self.state.lock();
        s.take_ring();
        s
    }

    /// Woken when data, room or an end comes or goes.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }

    /// Bytes buffered (FIONREAD).
    pub fn len(&self) -> usize {
        self.lock().slots.len()
    }

    /// Whether nothing is buffered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Capacity in bytes (F_GETPIPE_SZ).
    pub fn capacity(&self) -> usize {
        self.lock().slots.max() * PAGE
    }

    /// F_SETPIPE_SZ: the new capacity, rounded up to a power of two pages.
    ///
    /// # Errors
    /// EINVAL over 2^31; EPERM over [`MAX_SIZE`] without CAP_SYS_RESOURCE or over the sandbox's limit; EBUSY if
    /// what is buffered does not fit.
    pub fn set_capacity(&self, cx: &dyn Caller, size: u32) -> Result<usize> {
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let bytes = usize::try_from(size)
            .unwrap_or(usize::MAX)
            .max(PAGE)
            .next_power_of_two();
        let pages = bytes / PAGE;
        let grown = {
            let mut s = self.lock();
            if pages > s.slots.max()
                && !MAX_SIZE.allows(bytes)
                && !cx.credentials().has(Caps::SYS_RESOURCE)
            {
                return Err(Errno::EPERM);
            }
            if s.slots.used() > pages {
                return Err(Errno::EBUSY);
            }
            let was_full = s.slots.is_full();
            if !s.charge.resize(pages) {
                return Err(Errno::EPERM);
            }
            s.slots.set_max(pages);
            was_full && !s.slots.is_full()
        };
        if grown {
            self.queue.wake(Events::WRITABLE);
        }
        Ok(bytes)
    }

    /// Moves bytes to `dst`: 0 at end of file or for an empty request. In packet mode one packet, its rest is dropped.
    ///
    /// # Errors
    /// EAGAIN if there is nothing and writers exist; EFAULT.
    pub fn read(&self, dst: &mut dyn Sink) -> Result<usize> {
        let mut total = 0;
        let mut outcome = Ok(());
        let mut freed = false;
        while dst.remaining() > 0 {
            let (mut run, was_full) = {
                let mut s = self.lock();
                if s.slots.is_empty() {
                    if total == 0 && s.writers > 0 {
                        s.reader_waits();
                        return Err(Errno::EAGAIN);
                    }
                    break;
                }
                let was_full = s.slots.is_full();
                (s.slots.pop(dst.remaining()), was_full)
            };
            freed |= was_full;
            let want = run.data.len();
            let did = match put_all(dst, run.data.bytes()) {
                Ok(n) => n,
                Err(e) => {
                    outcome = Err(e);
                    0
                }
            };
            total += did;
            if did < want {
                run.data.advance(did);
                self.lock().slots.unpop(run);
                break;
            }
            if run.packet {
                break;
            }
        }
        if freed {
            self.queue.wake(Events::WRITABLE);
        }
        match outcome {
            Err(e) if total == 0 => Err(e),
            _ => Ok(total),
        }
    }

    /// Takes bytes from `src`; `packets`: each write (at most a page) is a packet. A short count means that the pipe is full.
    ///
    /// # Errors
    /// EPIPE without readers (the caller sends SIGPIPE); EAGAIN if nothing could be taken; EFAULT.
    pub fn write(&self, src: &mut dyn Source, packets: bool) -> Result<usize> {
        let whole = src.remaining();
        if whole == 0 {
            return Ok(0);
        }
        let mut total = 0;
        let outcome = loop {
            let left = whole - total;
            if left == 0 {
                break Ok(());
            }
            let room = {
                let s = self.lock();
                if s.readers == 0 {
                    break Err(Errno::EPIPE);
                }
                s.slots.room_for(left)
            };
            if room == 0 {
                break Err(Errno::EAGAIN);
            }
            let mut seg = match Segment::fill(src, room) {
                Ok(seg) => seg,
                Err(e) => break Err(e),
            };
            let short = seg.len() < room.min(crate::usermem::CHUNK);
            if short {
                // The source ended before an unmapped page: what fills no page of the pipe is not written (`pipe_write`).
                let whole_pages = seg.len() - seg.len() % PAGE;
                src.unread(seg.len() - whole_pages);
                seg = seg.split_to(whole_pages);
                if seg.is_empty() {
                    break Err(Errno::EFAULT);
                }
            }
            let got = seg.len();
            let mut keep_pace = None;
            let (did, readers) = {
                let mut s = self.lock();
                s.pace.message(got);
                if !self.queue.is_empty() {
                    keep_pace = s.wakes_reader();
                }
                if s.readers == 0 {
                    (0, false)
                } else if s.slots.room_for(got) < got && left <= PAGE {
                    // Another writer was faster; a write of up to PIPE_BUF bytes goes in whole or not at all.
                    (0, true)
                } else {
                    (s.slots.push(seg, packets), true)
                }
            };
            if did < got {
                src.unread(got - did);
            }
            total += did;
            for loan in keep_pace.into_iter().flatten() {
                loan.part();
            }
            if did > 0 {
                self.queue.wake(Events::READABLE);
            }
            if !readers {
                break Err(Errno::EPIPE);
            }
            if short {
                break Err(Errno::EFAULT);
            }
        };
        match outcome {
            Err(e) if total == 0 => Err(e),
            _ => Ok(total),
        }
    }

    /// Bytes that a write would take now, 0 if it would have to wait.
    ///
    /// # Errors
    /// EPIPE without readers.
    pub fn room(&self) -> Result<usize> {
        let s = self.lock();
        if s.readers == 0 {
            return Err(Errno::EPIPE);
        }
        Ok(s.slots.room_for(usize::MAX))
    }

    /// A copy of up to `max` bytes without taking them (tee(2)).
    ///
    /// # Errors
    /// EAGAIN if there is nothing and writers exist.
    pub fn peek(&self, max: usize) -> Result<Vec<u8>> {
        let s = self.lock();
        if s.slots.is_empty() && s.writers > 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(s.slots.peek(max))
    }
}
