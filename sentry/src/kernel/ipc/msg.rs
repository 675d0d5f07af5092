//! Message queues (msgget(2), msgop(2), msgctl(2)).

use super::{IpcNamespace, now};
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Knob, Quota};
use std::collections::VecDeque;

/// Most queues.
pub const MSGMNI: usize = 32000;
/// `kernel.msgmni`.
pub static MAX_QUEUES: Knob = Knob::new(0, MSGMNI as u64);
/// Queues of all namespaces.
pub(super) static QUEUES: Quota = Quota::new(MSGMNI);
/// Bytes of messages in them.
static BYTES: Quota = Quota::new(TOTAL_MAX as usize);
/// Longest message in bytes.
pub const MSGMAX: usize = 8192;
/// Default size of a queue in bytes.
pub const MSGMNB: u64 = 16384;
/// Most bytes in all queues together: they are the sentry's memory.
const TOTAL_MAX: u64 = 64 << 20;
/// What a message costs beside its text, in bytes.
const OVERHEAD: u64 = 64;

/// One message.
pub struct Message {
    /// Positive.
    pub kind: i64,
    /// The text.
    pub text: Vec<u8>,
}

/// A queue.
pub struct Queue {
    /// Oldest first.
    pub messages: VecDeque<Message>,
    /// Bytes of text in it.
    pub bytes: u64,
    /// What its messages cost.
    charge: Charge,
    /// Most bytes of text.
    pub max_bytes: u64,
    /// Last send, receive, and creation or change, in seconds since the epoch.
    pub stime: i64,
    /// See `stime`.
    pub rtime: i64,
    /// See `stime`.
    pub ctime: i64,
    /// Who sent last.
    pub lspid: i32,
    /// Who received last.
    pub lrpid: i32,
}

/// Which message a receiver wants.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// The first of this type.
    Kind(i64),
    /// The first of any other type (MSG_EXCEPT).
    Except(i64),
    /// The first.
    Any,
    /// The first of the lowest type not above this.
    UpTo(i64),
}

impl Queue {
    fn cost(&self) -> usize {
        let messages = self.messages.len().saturating_mul(OVERHEAD as usize);
        messages.saturating_add(usize::try_from(self.bytes).unwrap_or(usize::MAX))
    }
    /// Whether a message of this length fits now.
    pub fn has_room(&self, len: usize) -> bool {
        (len as u64).saturating_add(self.bytes) <= self.max_bytes
            && (self.messages.len() as u64) < self.max_bytes
    }
    /// Appends.
    pub fn push(&mut self, message: Message, pid: i32) {
        self.bytes += message.text.len() as u64;
        self.messages.push_back(message);
        self.charge.settle(self.cost());
        self.lspid = pid;
        self.stime = now();
    }
    /// Where the wanted message is.
    pub fn position(&self, wanted: Wanted) -> Option<usize> {
        let mut of = self.messages.iter().map(|m| m.kind);
        match wanted {
            Wanted::Any => (!self.messages.is_empty()).then_some(0),
            Wanted::Kind(k) => of.position(|m| m == k),
            Wanted::Except(k) => of.position(|m| m != k),
            Wanted::UpTo(max) => of
                .enumerate()
                .filter(|(_, k)| *k <= max)
                .min_by_key(|(i, k)| (*k, *i))
                .map(|(i, _)| i),
        }
    }
    /// Takes a message out.
    pub fn take(&mut self, at: usize, pid: i32) -> Option<Message> {
        let m = self.messages.remove(at)?;
        self.bytes -= m.text.len() as u64;
        self.charge.settle(self.cost());
        self.lrpid = pid;
        self.rtime = now();
        Some(m)
    }
}

impl IpcNamespace {
    /// msgget(2).
    ///
    /// # Errors
    /// Those of [`super::Table::get`].
    pub fn msgget(&self, creds: &crate::auth::Credentials, key: i32, flags: i32) -> Result<i32> {
        self.msg.get(
            creds,
            key,
            flags,
            |_| Ok(()),
            || {
                Ok(Queue {
                    messages: VecDeque::new(),
                    bytes: 0,
                    charge: BYTES.nothing(),
                    max_bytes: MSGMNB,
                    stime: 0,
                    rtime: 0,
                    ctime: now(),
                    lspid: 0,
                    lrpid: 0,
                })
            },
        )
    }

    /// ENOMEM if all queues together hold too much for another message of this length.
    pub fn check_message_memory(len: usize) -> Result<()> {
        if BYTES.has_room(len.saturating_add(OVERHEAD as usize)) {
            Ok(())
        } else {
            Err(Errno::ENOMEM)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_chosen_by_type() {
        let mut q = Queue {
            messages: VecDeque::new(),
            bytes: 0,
            charge: BYTES.nothing(),
            max_bytes: 8,
            stime: 0,
            rtime: 0,
            ctime: 0,
            lspid: 0,
            lrpid: 0,
        };
        for kind in [3, 1, 2, 1] {
            assert!(q.has_room(2));
            let text = vec![0; 2];
            q.push(Message { kind, text }, 1);
        }
        assert!(!q.has_room(1), "full by bytes");
        assert_eq!(q.position(Wanted::Any), Some(0));
        assert_eq!(q.position(Wanted::Kind(1)), Some(1));
        assert_eq!(q.position(Wanted::Except(3)), Some(1));
        assert_eq!(q.position(Wanted::UpTo(2)), Some(1));
        assert_eq!(q.position(Wanted::UpTo(0)), None);
        assert_eq!(q.position(Wanted::Kind(9)), None);
        assert_eq!(q.take(1, 5).map(|m| m.kind), Some(1));
        assert_eq!((q.bytes, q.lrpid), (6, 5));
        assert_eq!(q.position(Wanted::UpTo(5)), Some(2));
    }
}
