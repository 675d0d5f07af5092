//! The sentry's side: one typed, blocking method per operation.
//!
//! [`Client`] is cheap to clone and may be used from any thread; requests of one connection are
//! carried out one after the other. [`Handle`] closes itself when dropped: closes are queued and
//! travel with the next request, so dropping costs nothing.
//!
//! When the gofer is gone, or has sent anything that breaks the protocol, the connection is dead:
//! every call, also those under way, returns [`GoferError::Dead`] at once.
//!
//! Who uses it may let others work while it waits long ([`Client::wait_by`]).
//!
//! Locks: `channel` may be held across a round trip; `pending` never is, and is taken inside
//! `channel`. Neither calls out, but for that wait with `channel`.

mod calls;
mod types;

pub use types::{Created, DirBatch, DirEntry, NodeRef, Walked};

use crate::protocol::{Attr, HandleId, MAGIC, MAX_CLOSES, MAX_MESSAGE, Reply, Request, VERSION};
use crate::transport::{Aside, SeqPacket, Transport};
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GoferError {
    /// The host refused with this errno.
    #[error("host error {0}")]
    Errno(i32),
    /// The gofer is gone. To a guest this is `EIO`.
    #[error("the gofer is gone")]
    Dead,
}

impl GoferError {
    /// The errno a guest sees.
    pub fn errno(self) -> i32 {
        match self {
            Self::Errno(errno) => errno,
            Self::Dead => libc::EIO,
        }
    }
}

/// Result of a call.
pub type GoferResult<T> = Result<T, GoferError>;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The gofer ended before it answered.
    #[error("the gofer ended before it was ready")]
    Dead,
    /// It speaks another version.
    #[error("the gofer speaks another version of the protocol than {VERSION}")]
    Version,
}

struct Channel {
    transport: Box<dyn Transport>,
    next_id: u64,
    request: Vec<u8>,
    reply: Vec<u8>,
    closes: Vec<HandleId>,
}

struct Inner {
    channel: Mutex<Channel>,
    pending: Mutex<Vec<HandleId>>,
    dead: AtomicBool,
    aside: OnceLock<Box<Aside>>,
}

/// A connection to a gofer.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    exports: u32,
    handles: u32,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("exports", &self.exports)
            .field("dead", &self.is_dead())
            .finish()
    }
}

/// A node of the host that this client holds. Dropping it closes it.
pub struct Handle {
    id: HandleId,
    inner: Arc<Inner>,
}

impl Handle {
    /// The client that this handle belongs to shares this connection.
    fn belongs_to(&self, client: &Client) -> bool {
        Arc::ptr_eq(&self.inner, &client.inner)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({:#x})", self.id.0)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Only queued: a drop may happen anywhere and must not wait for a round trip.
        if !self.inner.dead.load(Ordering::Relaxed) {
            self.inner.pending.lock().push(self.id);
        }
    }
}

impl Inner {
    /// Sends a request with as many queued closes as fit and waits for the reply, which is then in
    /// `channel.reply`.
    fn exchange(
        &self,
        channel: &mut Channel,
        request: &Request<'_>,
        fd: Option<BorrowedFd<'_>>,
    ) -> GoferResult<Message> {
        if self.dead.load(Ordering::Acquire) {
            return Err(GoferError::Dead);
        }
        {
            let mut pending = self.pending.lock();
            let keep = pending.len().saturating_sub(MAX_CLOSES);
            channel.closes.clear();
            channel.closes.extend(pending.drain(keep..));
        }
        let id = channel.next_id;
        channel.next_id = id.wrapping_add(1);
        if request
            .encode(id, &channel.closes, &mut channel.request)
            .is_err()
        {
            // Too long together with the closes: those can wait.
            self.pending.lock().append(&mut channel.closes);
            request
                .encode(id, &[], &mut channel.request)
                .map_err(|_| GoferError::Errno(libc::EMSGSIZE))?;
        }
        let aside = self.aside.get().map(AsRef::as_ref);
        let message = channel.round_trip(id, fd, aside);
        if message.is_none() {
            self.dead.store(true, Ordering::Release);
            channel.transport.shutdown();
        }
        message.ok_or(GoferError::Dead)
    }

    /// The channel, once nobody else uses it.
    fn channel(&self) -> MutexGuard<'_, Channel> {
        let mut guard = self.channel.try_lock();
        if guard.is_none()
            && let Some(aside) = self.aside.get()
        {
            aside(&mut || guard = Some(self.channel.lock()));
        }
        guard.unwrap_or_else(|| self.channel.lock())
    }

    fn kill(&self, channel: &mut Channel) {
        self.dead.store(true, Ordering::Release);
        channel.transport.shutdown();
    }
}

/// A received message: its length in the channel's buffer, and its descriptor.
struct Message {
    len: usize,
    fd: Option<OwnedFd>,
    /// There was no room for its descriptor.
    lost: bool,
}

impl Channel {
    fn round_trip(
        &mut self,
        id: u64,
        fd: Option<BorrowedFd<'_>>,
        aside: Option<&Aside>,
    ) -> Option<Message> {
        self.transport.send(&self.request, fd).ok()?;
        let received = self.transport.recv(&mut self.reply, aside).ok()?;
        let (header, _) = Reply::decode(self.reply.get(..received.len)?).ok()?;
        let fds = u16::from(received.fd.is_some() || received.lost);
        (header.id == id && header.fds == fds).then_some(Message {
            len: received.len,
            fd: received.fd,
            lost: received.lost,
        })
    }
}

impl Client {
    /// Greets the gofer at the other end of `socket`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(socket: OwnedFd) -> Result<Self, ConnectError> {
        Self::over(Box::new(SeqPacket::new(socket)))
    }

    /// The same over any transport.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn over(transport: Box<dyn Transport>) -> Result<Self, ConnectError> {
        let channel = Channel {
            transport,
            next_id: 1,
            request: Vec::with_capacity(MAX_MESSAGE),
            reply: vec![0; MAX_MESSAGE],
            closes: Vec::new(),
        };
        let inner = Inner {
            channel: Mutex::new(channel),
            pending: Mutex::new(Vec::new()),
            dead: AtomicBool::new(false),
            aside: OnceLock::new(),
        };
        let mut client = Self {
            inner: Arc::new(inner),
            exports: 0,
            handles: 0,
        };
        let hello = Request::Hello {
            magic: MAGIC,
            version: VERSION,
        };
        let answer = client.call(&hello, |reply, _| match reply {
            Reply::Hello {
                version: VERSION,
                exports,
                handles,
            } => Some((exports, handles)),
            _ => None,
        });
        match answer {
            Ok((exports, handles)) => {
                client.exports = exports;
                client.handles = handles;
                Ok(client)
            }
            Err(GoferError::Errno(_)) => Err(ConnectError::Version),
            Err(GoferError::Dead) => Err(ConnectError::Dead),
        }
    }

    /// From now on answers that take long are waited for by `aside`, and so are other threads' round trips. Works once.
    pub fn wait_by(&self, aside: Box<Aside>) {
        let _ = self.inner.aside.set(aside);
    }

    /// How many exports there are to attach to.
    pub fn exports(&self) -> u32 {
        self.exports
    }

    /// How many handles the gofer lets this client hold; beyond, calls fail with `ENFILE`.
    pub fn handle_quota(&self) -> u32 {
        self.handles
    }

    /// Whether the gofer is gone. May turn true at any time.
    pub fn is_dead(&self) -> bool {
        self.inner.dead.load(Ordering::Acquire)
    }

    /// One round trip. `take` turns the reply into the result; returning none says that the reply
    /// is not one to this request, which ends the connection.
    fn call<T>(
        &self,
        request: &Request<'_>,
        take: impl FnOnce(Reply<'_>, Option<OwnedFd>) -> Option<T>,
    ) -> GoferResult<T> {
        self.call_with(request, None, take)
    }

    /// The same with a descriptor for the gofer.
    fn call_with<T>(
        &self,
        request: &Request<'_>,
        fd: Option<BorrowedFd<'_>>,
        take: impl FnOnce(Reply<'_>, Option<OwnedFd>) -> Option<T>,
    ) -> GoferResult<T> {
        let mut channel = self.inner.channel();
        let message = self.inner.exchange(&mut channel, request, fd)?;
        let bytes = channel.reply.get(..message.len).unwrap_or_default();
        let taken = match Reply::decode(bytes) {
            Ok((_, Reply::Error { errno })) if message.fd.is_none() => {
                return Err(GoferError::Errno(errno));
            }
            Ok((_, reply)) if message.lost => {
                self.give_back(&reply);
                return Err(GoferError::Errno(libc::ENFILE));
            }
            Ok((_, reply)) => take(reply, message.fd),
            Err(_) => None,
        };
        if taken.is_none() {
            log::error!("the gofer broke the protocol; its connection is ended");
            self.inner.kill(&mut channel);
        }
        taken.ok_or(GoferError::Dead)
    }

    /// Closes what a reply that cannot be used has opened.
    fn give_back(&self, reply: &Reply<'_>) {
        match reply {
            Reply::Walked { nodes, .. } => nodes.iter().for_each(|n| drop(self.handle(n.handle))),
            Reply::Created { node, .. } => drop(self.handle(node.handle)),
            _ => {}
        }
    }

    fn handle(&self, id: HandleId) -> Handle {
        Handle {
            id,
            inner: Arc::clone(&self.inner),
        }
    }

    /// The wire name of a handle.
    fn id(&self, handle: &Handle) -> GoferResult<HandleId> {
        if handle.belongs_to(self) {
            Ok(handle.id)
        } else {
            Err(GoferError::Errno(libc::EXDEV))
        }
    }

    fn node(&self, node: crate::protocol::WireNode) -> NodeRef {
        let attr: Attr = node.attr;
        NodeRef {
            handle: self.handle(node.handle),
            attr,
        }
    }
}
