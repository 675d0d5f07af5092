//! The bytes of a pipe in memory that its ends share, so that stubs move them without the sentry ([`crate::Thread::describe`]).
//!
//! Two memfds: one page with the writer's word and one with the bytes, which the reader only sees; and one page with the reader's word, which the
//! writer only sees. A word is [`HELD`], a number that is new each time the ring is given, and how many bytes have been written, or read, so far. Whoever holds an
//! end moves its word by compare-and-exchange after it has copied; who takes the ring takes [`HELD`] away first, and what was copied meanwhile did not happen.
//! The number protects the words, not the bytes: a copy that was overtaken may still be under way, so only its own thread may be given that end again; another
//! one needs another ring.
//!
//! Both words, and the bytes, are what guests say: of a ring that lies nothing is believed but that it is empty.
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use crate::Result;
use crate::stub::mailbox::Memory;

/// How many bytes are under way at most.
pub const RING_SIZE: usize = 16384;
/// Length in bytes of what the writer writes: a page with its word, and the bytes.
pub const RING_BYTES_LEN: u64 = (BYTES + RING_SIZE) as u64;
/// Length in bytes of what the reader writes.
pub const RING_READER_LEN: u64 = 4096;
/// Where the bytes begin.
pub(crate) const BYTES: usize = 4096;
/// Bit of both words: the ring is given.
pub(crate) const HELD: u32 = 63;

const HELD_BIT: u64 = 1 << HELD;
/// The number of a giving lies above the count of bytes, which may carry into it.
const GIVEN: u32 = 32;
const GIVINGS: u32 = (1 << 30) - 1;

/// See the module.
#[derive(Debug)]
pub struct Ring {
    bytes: Memory,
    reader: Memory,
    bytes_fd: OwnedFd,
    reader_fd: OwnedFd,
    /// How often it was given.
    given: AtomicU32,
    /// Where both words began then.
    began: AtomicU32,
}

/// What is there when a ring is taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Written and not read.
    pub bytes: Vec<u8>,
    /// How many bytes were read since it was given.
    pub read: u32,
}

impl Ring {
    /// An empty ring that nobody holds.
    pub fn new() -> Result<Ring> {
        let (bytes, bytes_fd) = Memory::new(RING_BYTES_LEN as usize)?;
        let (reader, reader_fd) = Memory::new(RING_READER_LEN as usize)?;
        Ok(Ring {
            bytes,
            reader,
            bytes_fd,
            reader_fd,
            given: AtomicU32::new(0),
            began: AtomicU32::new(0),
        })
    }

    /// The memfd of what the writer writes ([`RING_BYTES_LEN`]), for reading and writing.
    pub fn bytes_fd(&self) -> &OwnedFd {
        &self.bytes_fd
    }

    /// The memfd of what the reader writes ([`RING_READER_LEN`]), for reading and writing.
    pub fn reader_fd(&self) -> &OwnedFd {
        &self.reader_fd
    }

    fn words(&self) -> [&AtomicU64; 2] {
        [self.bytes.word(), self.reader.word()]
    }

    /// Gives the empty ring to who holds its ends. Not while it is given.
    pub fn give(&self) {
        let number = self.given.load(SeqCst).wrapping_add(1) & GIVINGS;
        self.given.store(number, SeqCst);
        let word = HELD_BIT | u64::from(number) << GIVEN | u64::from(self.began.load(SeqCst));
        // The writer's last: with that somebody may begin.
        let [writer, reader] = self.words();
        reader.store(word, SeqCst);
        writer.store(word, SeqCst);
    }

    /// Nobody holds it any more; what is in it stays until it is taken. From any thread.
    pub fn stop(&self) {
        for word in self.words() {
            word.fetch_and(!HELD_BIT, SeqCst);
        }
    }

    /// Takes the ring and what is in it, which is then empty.
    pub fn take(&self) -> Taken {
        let [written, read] = self.words().map(|w| w.fetch_and(!HELD_BIT, SeqCst) as u32);
        let began = self.began.swap(written, SeqCst);
        self.reader.word().store(written.into(), SeqCst);
        let count = written.wrapping_sub(read) as usize;
        let mut bytes = vec![0; if count <= RING_SIZE { count } else { 0 }];
        let first = read as usize % RING_SIZE;
        let middle = bytes.len().min(RING_SIZE - first);
        let (head, tail) = bytes.split_at_mut(middle);
        self.bytes.copy_out(BYTES + first, head);
        self.bytes.copy_out(BYTES, tail);
        Taken {
            bytes,
            read: read.wrapping_sub(began),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a stub writes.
    fn write(ring: &Ring, data: &[u8]) {
        let word = ring.bytes.word();
        let at = word.load(SeqCst);
        assert!(at & HELD_BIT != 0);
        for (i, byte) in data.iter().enumerate() {
            let offset = (at as usize).wrapping_add(i) % RING_SIZE;
            assert!(ring.bytes.copy_in(BYTES + offset, &[*byte]));
        }
        word.store(at + data.len() as u64, SeqCst);
    }

    #[test]
    fn what_was_written_is_there() {
        let ring = Ring::new().unwrap();
        for round in 0..40u8 {
            ring.give();
            let data: Vec<u8> = (0..999).map(|i| round ^ i as u8).collect();
            write(&ring, &data);
            // A part was read.
            ring.reader.word().fetch_add(400, SeqCst);
            let taken = ring.take();
            assert_eq!(taken.bytes, data[400..]);
            assert_eq!(taken.read, 400);
            assert_eq!(ring.take(), Taken::default());
        }
    }

    #[test]
    fn each_giving_has_words_of_its_own() {
        let ring = Ring::new().unwrap();
        ring.give();
        let before = ring.bytes.word().load(SeqCst);
        assert_eq!(ring.take(), Taken::default());
        ring.give();
        assert_ne!(ring.bytes.word().load(SeqCst), before);
        ring.stop();
        assert_eq!(ring.bytes.word().load(SeqCst) & HELD_BIT, 0);
    }

    #[test]
    fn lies_are_an_empty_ring() {
        let ring = Ring::new().unwrap();
        for lie in [u64::MAX, 0, 20_000, 1 << 31] {
            ring.give();
            ring.reader.word().store(lie, SeqCst);
            assert!(ring.take().bytes.len() <= RING_SIZE);
            assert!(ring.take().bytes.len() <= RING_SIZE);
        }
    }
}
