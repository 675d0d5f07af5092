//! A queue of bytes that pass from a writer to a reader: what pipes and stream sockets hold.
//!
//! Guest memory is touched without the object's lock: a writer fills a buffer first and then gives it to the queue; a
//! reader takes buffers out, copies them to the guest and puts back what could not be copied.

use super::{Sink, Source};
use crate::abi::Result;
use std::collections::VecDeque;

/// Small pieces are merged into buffers of at most this size.
const MERGE: usize = 4096;
/// Most bytes taken from a guest at once.
pub const CHUNK: usize = 65536;

/// A run of bytes: `data[start..]`.
#[derive(Debug, Default)]
pub struct Segment {
    data: Vec<u8>,
    start: usize,
}

impl Segment {
    /// All bytes of a vector.
    pub fn new(data: Vec<u8>) -> Segment {
        Segment { data, start: 0 }
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or(&[])
    }
    /// Their number.
    pub fn len(&self) -> usize {
        self.data.len() - self.start
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Drops the first `n` bytes (at most all).
    pub fn advance(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.data.len());
    }
    /// Takes the first `n` bytes (at most all) out as a segment of their own.
    pub fn split_to(&mut self, n: usize) -> Segment {
        if n >= self.len() {
            return std::mem::take(self);
        }
        let part = self.bytes().get(..n).unwrap_or(&[]).to_vec();
        self.advance(n);
        Segment::new(part)
    }
    /// How many bytes can be appended without growing beyond `max` in all.
    pub fn spare(&self, max: usize) -> usize {
        max.saturating_sub(self.data.len())
    }
    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }
    /// Adds bytes before the first.
    pub fn prepend(&mut self, head: Segment) {
        let mut data = head.into_vec();
        data.extend_from_slice(self.bytes());
        *self = Segment::new(data);
    }
    /// Takes the last byte off.
    pub fn pop_last(&mut self) -> Option<u8> {
        if self.is_empty() {
            None
        } else {
            self.data.pop()
        }
    }
    /// The bytes as a vector of their own.
    pub fn into_vec(mut self) -> Vec<u8> {
        if self.start > 0 {
            self.data.drain(..self.start);
        }
        self.data
    }
    /// Keeps the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.data.truncate(self.start.saturating_add(n));
    }
    /// Reads up to `max` bytes (at most [`CHUNK`]) from a source.
    ///
    /// # Errors
    /// EFAULT if there was something to read and no byte of it could be.
    pub fn fill(src: &mut dyn Source, max: usize) -> Result<Segment> {
        let n = max.min(CHUNK).min(src.remaining());
        let mut data = vec![0; n];
        let mut got = 0;
        while let Some(rest) = data.get_mut(got..).filter(|r| !r.is_empty()) {
            match src.take(rest) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if got == 0 => return Err(e),
                Err(_) => break,
            }
        }
        data.truncate(got);
        Ok(Segment::new(data))
    }
}

/// Bytes in order.
#[derive(Debug, Default)]
pub struct ByteQueue {
    segments: VecDeque<Segment>,
    len: usize,
}

impl ByteQueue {
    /// Bytes queued.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Adds at the end.
    pub fn push(&mut self, seg: Segment) {
        let n = seg.len();
        if n == 0 {
            return;
        }
        self.len += n;
        // Grows by and by: a queue that is read as fast as it is written never needs a large buffer.
        if n < MERGE
            && let Some(last) = self.segments.back_mut()
            && last.data.len() + n <= MERGE
        {
            last.data.extend_from_slice(seg.bytes());
            return;
        }
        self.segments.push_back(seg);
    }
    /// Takes out up to `max` bytes from the front as one run: a whole segment if it fits, so possibly fewer than are
    /// queued. Empty only if the queue or `max` is.
    pub fn pop(&mut self, max: usize) -> Segment {
        let Some(first) = self.segments.front_mut() else {
            return Segment::default();
        };
        if first.len() <= max {
            let seg = self.segments.pop_front().unwrap_or_default();
            self.len -= seg.len();
            return seg;
        }
        let part = first.bytes().get(..max).unwrap_or(&[]).to_vec();
        first.advance(part.len());
        self.len -= part.len();
        Segment::new(part)
    }
    /// Puts bytes back at the front.
    pub fn unpop(&mut self, seg: Segment) {
        if !seg.is_empty() {
            self.len += seg.len();
            self.segments.push_front(seg);
        }
    }
    /// Drops up to `n` bytes from the front; how many.
    pub fn discard(&mut self, n: usize) -> usize {
        let mut left = n.min(self.len);
        let did = left;
        while left > 0 {
            let Some(first) = self.segments.front_mut() else {
                break;
            };
            let k = left.min(first.len());
            first.advance(k);
            left -= k;
            if first.is_empty() {
                self.segments.pop_front();
            }
        }
        self.len -= did - left;
        did - left
    }
    /// A copy of up to `max` bytes that start `skip` bytes from the front.
    pub fn peek(&self, skip: usize, max: usize) -> Vec<u8> {
        let want = max.min(self.len.saturating_sub(skip));
        let mut out = Vec::with_capacity(want);
        let mut skip = skip;
        for seg in &self.segments {
            if out.len() >= want {
                break;
            }
            let b = seg.bytes();
            if skip >= b.len() {
                skip -= b.len();
                continue;
            }
            let b = b.get(skip..).unwrap_or(&[]);
            skip = 0;
            out.extend_from_slice(b.get(..b.len().min(want - out.len())).unwrap_or(b));
        }
        out
    }
    /// Drops everything.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.len = 0;
    }
}

/// Gives all of `data` to a sink; how many bytes it took (fewer before an unmapped page).
///
/// # Errors
/// EFAULT if none could be given.
pub fn put_all(dst: &mut dyn Sink, data: &[u8]) -> Result<usize> {
    let mut n = 0;
    while let Some(rest) = data.get(n..).filter(|r| !r.is_empty()) {
        match dst.put(rest) {
            Ok(0) => break,
            Ok(k) => n += k,
            Err(e) if n == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usermem::{KernelSink, KernelSource};

    #[test]
    fn bytes_come_out_in_order_whatever_the_pieces() {
        let mut q = ByteQueue::default();
        let data: Vec<u8> = (0..20000u32).map(|i| (i % 251) as u8).collect();
        let mut src = KernelSource::new(&data);
        for n in [1, 2, 4000, 100, 5000, 10897] {
            q.push(Segment::fill(&mut src, n).unwrap());
        }
        assert_eq!(q.len(), 20000);
        assert_eq!(q.peek(3, 5000), &data[3..5003]);
        let mut dst = KernelSink::new(usize::MAX);
        for n in [1usize, 1, 5000, 3] {
            let s = q.pop(n);
            assert!(s.len() <= n && !s.is_empty());
            put_all(&mut dst, s.bytes()).unwrap();
        }
        let mut s = q.pop(10);
        s.advance(4);
        put_all(&mut dst, &q.peek(0, 0)).unwrap();
        q.unpop(s);
        // Four bytes of the segment were lost above on purpose.
        let at = dst.data.len();
        assert_eq!(q.discard(1), 1);
        while !q.is_empty() {
            let s = q.pop(usize::MAX);
            put_all(&mut dst, s.bytes()).unwrap();
        }
        assert_eq!(&dst.data[..at], &data[..at]);
        assert_eq!(&dst.data[at..], &data[at + 5..]);
    }
}
