//! What a pipe holds: bytes, and the page-sized slots that Linux accounts them in.
//!
//! Linux fills an array of pages. How full a pipe is, when it becomes writable and how much a write may take all
//! depend on pages, not bytes, and programs see it (fs/pipe.c). The bytes themselves are kept in larger runs.

use super::PAGE;
use crate::usermem::{ByteQueue, Segment};
use std::collections::VecDeque;

/// One page's worth: bytes `start..end` of the page are in use.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: usize,
    end: usize,
    packet: bool,
}

/// Bytes taken out at once.
pub(super) struct Run {
    pub data: Segment,
    /// They are a packet of their own.
    pub packet: bool,
}

/// The buffer of a pipe.
pub(super) struct Slots {
    data: ByteQueue,
    slots: VecDeque<Slot>,
    max: usize,
}

impl Slots {
    pub fn new(max: usize) -> Slots {
        Slots {
            data: ByteQueue::default(),
            slots: VecDeque::new(),
            max,
        }
    }
    /// Bytes.
    pub fn len(&self) -> usize {
        self.data.len()
    }
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
    pub fn is_full(&self) -> bool {
        self.slots.len() >= self.max
    }
    /// Slots in use.
    pub fn used(&self) -> usize {
        self.slots.len()
    }
    /// Slots there are.
    pub fn max(&self) -> usize {
        self.max
    }
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }
    pub fn peek(&self, max: usize) -> Vec<u8> {
        self.data.peek(0, max)
    }

    /// How many bytes of the odd part of a write of `n` bytes can be merged into the last slot: all or none.
    fn mergeable(&self, n: usize) -> usize {
        let odd = n % PAGE;
        match self.slots.back() {
            Some(s) if odd > 0 && !s.packet && s.end + odd <= PAGE => odd,
            _ => 0,
        }
    }

    /// How many bytes of a write of `n` fit now.
    pub fn room_for(&self, n: usize) -> usize {
        let free = self.max.saturating_sub(self.slots.len());
        // Even a packet writer merges into a page that is open for it (pipe_write).
        let merged = self.mergeable(n);
        n.min(merged.saturating_add(free.saturating_mul(PAGE)))
    }

    /// Adds what fits of `seg`; how many bytes.
    pub fn push(&mut self, mut seg: Segment, packets: bool) -> usize {
        let n = self.room_for(seg.len());
        let mut left = n;
        let merged = self.mergeable(seg.len());
        if merged > 0
            && let Some(last) = self.slots.back_mut()
        {
            last.end += merged;
            left -= merged;
        }
        while left > 0 {
            let k = left.min(PAGE);
            self.slots.push_back(Slot {
                start: 0,
                end: k,
                packet: packets,
            });
            left -= k;
        }
        seg.truncate(n);
        self.data.push(seg);
        n
    }

    /// Takes out up to `max` bytes, `max` > 0; the rest of a packet is dropped.
    pub fn pop(&mut self, max: usize) -> Run {
        let packet = self.slots.front().filter(|s| s.packet).copied();
        if let Some(slot) = packet {
            self.slots.pop_front();
            let len = slot.end - slot.start;
            let data = self.data.peek(0, len.min(max));
            self.data.discard(len);
            return Run {
                data: Segment::new(data),
                packet: true,
            };
        }
        // Up to the next packet.
        let plain = self
            .slots
            .iter()
            .take_while(|s| !s.packet)
            .map(|s| s.end - s.start)
            .sum::<usize>();
        let data = self.data.pop(max.min(plain));
        let mut left = data.len();
        while left > 0 {
            let Some(slot) = self.slots.front_mut() else {
                break;
            };
            let k = left.min(slot.end - slot.start);
            slot.start += k;
            left -= k;
            if slot.start == slot.end {
                self.slots.pop_front();
            }
        }
        Run {
            data,
            packet: false,
        }
    }

    /// Puts back what could not be copied to the reader. The pipe may exceed its slots until it is read again.
    pub fn unpop(&mut self, run: Run) {
        let mut left = run.data.len();
        if run.packet {
            self.slots.push_front(Slot {
                start: 0,
                end: left,
                packet: true,
            });
        } else {
            while left > 0 {
                let k = left.min(PAGE);
                self.slots.push_front(Slot {
                    start: 0,
                    end: k,
                    packet: false,
                });
                left -= k;
            }
        }
        self.data.unpop(run.data);
    }
}
