//! What waits in a socket's receive queue, and who is charged for it.

use super::addr::NameCell;
use super::rights::Rights;
use crate::abi::{Errno, Result};
use crate::net::socket::{MEMORY, Sender};
use crate::sync::{Charge, Events, WaitQueue};
use crate::usermem::Segment;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a message costs beyond its bytes (`struct sk_buff` and its company).
const OVERHEAD: usize = 256;

/// A sender's account: messages that it sent and nobody has read (`sk_wmem_alloc`).
pub(super) struct Account {
    used: AtomicUsize,
    limit: AtomicUsize,
    /// The sender's.
    queue: Arc<WaitQueue>,
}

impl Account {
    pub fn new(limit: usize, queue: Arc<WaitQueue>) -> Arc<Account> {
        Arc::new(Account {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            queue,
        })
    }
    /// SIOCOUTQ.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }
    /// SO_SNDBUF in bytes.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::SeqCst)
    }
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
        self.queue.wake(Events::WRITABLE);
    }
    /// Whether another message may be begun: it may overshoot the limit.
    pub fn has_room(&self) -> bool {
        self.used() < self.limit()
    }
    /// Whether poll says writable: at most a quarter is in use (unix_writable).
    pub fn writable(&self) -> bool {
        self.used().saturating_mul(4) <= self.limit()
    }
    /// Pays for a message of `len` bytes.
    ///
    /// # Errors
    /// ENOBUFS if the sandbox's sockets hold too much.
    pub fn charge(self: &Arc<Self>, len: usize) -> Result<Bill> {
        let n = len.saturating_add(OVERHEAD);
        let memory = MEMORY.charge(n).ok_or(Errno::ENOBUFS)?;
        self.used.fetch_add(n, Ordering::SeqCst);
        Ok(Bill {
            account: self.clone(),
            memory,
        })
    }
}

/// Bytes charged to a sender until dropped.
pub(super) struct Bill {
    account: Arc<Account>,
    memory: Charge,
}

impl Bill {
    /// Charges `more` bytes; false if the sandbox has no room.
    pub fn grow(&mut self, more: usize) -> bool {
        let ok = self
            .memory
            .resize(self.memory.amount().saturating_add(more));
        if ok {
            self.account.used.fetch_add(more, Ordering::SeqCst);
        }
        ok
    }
    /// Whether `account` pays.
    pub fn is_of(&self, account: &Arc<Account>) -> bool {
        Arc::ptr_eq(&self.account, account)
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        self.account
            .used
            .fetch_sub(self.memory.amount(), Ordering::SeqCst);
        if self.account.writable() {
            self.account.queue.wake(Events::WRITABLE);
        }
    }
}

/// A message, or a piece of a stream.
pub(super) struct Message {
    pub data: Segment,
    /// Who sent it.
    pub from: Arc<NameCell>,
    /// The sender's credentials, if either side had asked for them (SO_PASSCRED).
    pub creds: Option<Sender>,
    pub rights: Option<Rights>,
    pub bill: Bill,
}

/// Small pieces of a stream are merged up to this size.
const MERGE: usize = 4096;

impl Message {
    /// Appends a small piece of the same stream; the piece is given back if it must stand alone.
    pub fn absorb(
        &mut self,
        piece: Segment,
        creds: Option<Sender>,
        account: &Arc<Account>,
    ) -> Option<Segment> {
        let fits = piece.len() <= self.data.spare(MERGE)
            && self.creds == creds
            && self.rights.is_none()
            && self.bill.is_of(account);
        if !fits || !self.bill.grow(piece.len()) {
            return Some(piece);
        }
        self.data.append(piece.bytes());
        None
    }
}
