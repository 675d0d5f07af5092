//! Names, connections, and their end.

use super::addr::Name;
use super::{Peer, Phase, State, UnixSocket, wake_all};
use crate::abi::{Errno, Result};
use crate::auth::Groups;
use crate::net::options::MAX_BACKLOG;
use crate::net::socket::{Sender, Shutdown, SockCx, SockType, Socket};
use crate::sync::Events;
use std::collections::VecDeque;
use std::sync::Arc;

const BOTH: Shutdown = Shutdown {
    read: true,
    write: true,
};
/// Anything may have changed.
const ALL: Events = Events::READABLE
    .union(Events::WRITABLE)
    .union(Events::RDHUP)
    .union(Events::HUP)
    .union(Events::ERR);

/// Effective identity, as SO_PEERCRED shows it.
fn own_cred(cx: &SockCx<'_>) -> Sender {
    let c = cx.caller.credentials();
    Sender::of(cx.caller, c.euid, c.egid)
}

fn own_groups(cx: &SockCx<'_>) -> Option<Arc<Groups>> {
    Some(cx.caller.credentials().groups.clone())
}

impl UnixSocket {
    fn me(&self) -> Result<Arc<UnixSocket>> {
        self.me.upgrade().ok_or(Errno::EINVAL)
    }

    pub(super) fn do_bind(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        let name = Name::parse(addr)?;
        if name == Name::Unnamed {
            return self.autobind();
        }
        if self.name.is_set() {
            // A path is made first, and taken back: an existing one is the error that Linux reports.
            if let Name::Path(p) = &name {
                super::table::try_path(cx, p)?;
            }
            return Err(Errno::EINVAL);
        }
        let me = self.me()?;
        match &name {
            Name::Path(p) => super::table::bind_path(cx, p, &me)?,
            Name::Abstract(n) => self.namespace.unix.bind(n, &me)?,
            Name::Unnamed => {}
        }
        if !self.name.set(name.clone()) {
            match &name {
                Name::Abstract(n) => self.namespace.unix.unbind(n, self),
                Name::Path(p) => super::table::remove_path(cx, p),
                Name::Unnamed => {}
            }
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Gives a nameless socket an abstract name.
    pub(super) fn autobind(&self) -> Result<()> {
        if self.name.is_set() {
            return Ok(());
        }
        let n = self.namespace.unix.autobind(&self.me()?)?;
        if !self.name.set(Name::Abstract(n.clone())) {
            self.namespace.unix.unbind(&n, self);
        }
        Ok(())
    }

    /// Sockets that pass credentials get a name before they speak.
    pub(super) fn autobind_if_passing(&self) -> Result<()> {
        if self.common.options.with(|v| v.passcred) {
            self.autobind()
        } else {
            Ok(())
        }
    }

    pub(super) fn do_listen(&self, cx: &SockCx<'_>, backlog: usize) -> Result<()> {
        if self.is_datagram() {
            return Err(Errno::EOPNOTSUPP);
        }
        if !self.name.is_set() {
            return Err(Errno::EINVAL);
        }
        let max = backlog.min(MAX_BACKLOG);
        let waiting = {
            let mut s = self.state.lock();
            match &mut s.phase {
                Phase::Idle => {
                    s.phase = Phase::Listening {
                        backlog: max,
                        pending: VecDeque::new(),
                    };
                    s.peer_cred = Some(own_cred(cx));
                    s.peer_groups = own_groups(cx);
                    Vec::new()
                }
                Phase::Listening { backlog, .. } => {
                    *backlog = max;
                    s.peer_cred = Some(own_cred(cx));
                    s.peer_groups = own_groups(cx);
                    std::mem::take(&mut s.waiting)
                }
                _ => return Err(Errno::EINVAL),
            }
        };
        wake_all(waiting);
        Ok(())
    }

    pub(super) fn connect_stream(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        let target = Name::parse_target(addr)?;
        self.autobind_if_passing()?;
        let listener = self.namespace.unix.find(cx, &target)?;
        if listener.sock_type != self.sock_type {
            return Err(Errno::EPROTOTYPE);
        }
        match self.state.lock().phase {
            Phase::Idle => {}
            Phase::Connected => return Err(Errno::EISCONN),
            Phase::Listening { .. } | Phase::Closed => return Err(Errno::EINVAL),
        }
        // The server's end: it has the listener's name and options.
        let server = UnixSocket::with(&self.namespace, self.sock_type, listener.name.clone())?;
        let passcred = listener.common.options.with(|l| l.passcred);
        server.common.options.with(|v| v.passcred = passcred);
        {
            let mut s = server.state.lock();
            s.phase = Phase::Connected;
            s.peer = Some(self.as_peer());
            s.peer_cred = Some(own_cred(cx));
            s.peer_groups = own_groups(cx);
        }
        let listener_cred = {
            let mut s = listener.state.lock();
            let cred = (s.peer_cred, s.peer_groups.clone());
            let shut = s.shut.read;
            match &mut s.phase {
                Phase::Listening { backlog, pending } if !shut => {
                    if pending.len() > *backlog {
                        s.wait_for_room(&self.me);
                        return Err(Errno::EAGAIN);
                    }
                    pending.push_back(server.clone());
                    cred
                }
                _ => return Err(Errno::ECONNREFUSED),
            }
        };
        let raced = {
            let mut s = self.state.lock();
            if matches!(s.phase, Phase::Idle) {
                s.phase = Phase::Connected;
                s.peer = Some(server.as_peer());
                (s.peer_cred, s.peer_groups) = listener_cred;
                false
            } else {
                true
            }
        };
        if raced {
            // Another thread connected this socket meanwhile: take the embryo back.
            if let Phase::Listening { pending, .. } = &mut listener.state.lock().phase {
                pending.retain(|p| !Arc::ptr_eq(p, &server));
            }
            return Err(Errno::EISCONN);
        }
        self.common.queue.wake(Events::WRITABLE);
        listener.common.queue.wake(Events::READABLE);
        Ok(())
    }

    pub(super) fn do_accept(&self) -> Result<Arc<dyn Socket>> {
        if self.is_datagram() {
            return Err(Errno::EOPNOTSUPP);
        }
        let (server, waiting) = {
            let mut s = self.state.lock();
            let shut = s.shut.read;
            let Phase::Listening { pending, .. } = &mut s.phase else {
                return Err(Errno::EINVAL);
            };
            let server = match pending.pop_front() {
                Some(p) => p,
                None if shut => return Err(Errno::EINVAL),
                None => return Err(Errno::EAGAIN),
            };
            (server, std::mem::take(&mut s.waiting))
        };
        wake_all(waiting);
        Ok(server)
    }

    /// Connects two fresh sockets with each other.
    ///
    /// # Errors
    /// ENFILE.
    pub fn pair(
        cx: &SockCx<'_>,
        namespace: &Arc<crate::net::NetNamespace>,
        sock_type: SockType,
    ) -> Result<(Arc<UnixSocket>, Arc<UnixSocket>)> {
        let (a, b) = (
            UnixSocket::new(namespace, sock_type)?,
            UnixSocket::new(namespace, sock_type)?,
        );
        for (one, other) in [(&a, &b), (&b, &a)] {
            let mut s = one.state.lock();
            s.peer = Some(other.as_peer());
            s.peer_cred = Some(own_cred(cx));
            s.peer_groups = own_groups(cx);
            if !one.is_datagram() {
                s.phase = Phase::Connected;
            }
        }
        Ok((a, b))
    }

    pub(super) fn connect_dgram(&self, cx: &SockCx<'_>, addr: &[u8]) -> Result<()> {
        let family = addr
            .get(..2)
            .and_then(|b| b.try_into().ok())
            .map(u16::from_ne_bytes);
        let new = if family.map(i32::from) == Some(libc::AF_UNSPEC) {
            None
        } else {
            let target = Name::parse_target(addr)?;
            self.autobind_if_passing()?;
            let other = self.namespace.unix.find(cx, &target)?;
            if other.sock_type != SockType::Dgram {
                return Err(Errno::EPROTOTYPE);
            }
            if !other.accepts_from(self) {
                return Err(Errno::EPERM);
            }
            Some(other.as_peer())
        };
        let (old, dropped) = {
            let mut s = self.state.lock();
            let old = std::mem::replace(&mut s.peer, new.clone());
            let changed = old
                .as_ref()
                .is_some_and(|o| new.as_ref().is_none_or(|n| !n.socket.ptr_eq(&o.socket)));
            // What the old peer sent must not look like the new one's.
            let dropped = if changed {
                s.bytes = 0;
                std::mem::take(&mut s.queue)
            } else {
                VecDeque::new()
            };
            (old.filter(|_| changed), dropped)
        };
        drop(dropped);
        if let Some(old) = old.and_then(|o| o.socket.upgrade())
            && old.is_connected_to(self)
        {
            old.common.set_error(Errno::ECONNRESET);
            old.common.queue.wake(ALL);
        }
        self.common.queue.wake(Events::WRITABLE);
        Ok(())
    }

    fn is_connected_to(&self, other: &UnixSocket) -> bool {
        self.state
            .lock()
            .peer
            .as_ref()
            .is_some_and(|p| p.socket.ptr_eq(&other.me))
    }

    /// Whether `sender` may send datagrams here (unix_may_send): not if this is connected to another.
    pub(super) fn accepts_from(&self, sender: &UnixSocket) -> bool {
        self.state
            .lock()
            .peer
            .as_ref()
            .is_none_or(|p| p.socket.ptr_eq(&sender.me))
    }

    pub(super) fn do_shutdown(&self, how: Shutdown) -> Result<()> {
        let peer = {
            let mut s = self.state.lock();
            s.shut.read |= how.read;
            s.shut.write |= how.write;
            match s.phase {
                Phase::Connected => s.peer.clone(),
                _ => None,
            }
        };
        if let Some(p) = peer.and_then(|p| p.socket.upgrade()) {
            {
                let mut s = p.state.lock();
                s.shut.read |= how.write;
                s.shut.write |= how.read;
            }
            p.common.queue.wake(ALL);
        }
        self.common.queue.wake(ALL);
        Ok(())
    }

    pub(super) fn do_close(&self) {
        let (phase, peer, unread, waiting) = {
            let mut s = self.state.lock();
            s.shut = BOTH;
            s.bytes = 0;
            (
                std::mem::replace(&mut s.phase, Phase::Closed),
                s.peer.take(),
                std::mem::take(&mut s.queue),
                std::mem::take(&mut s.waiting),
            )
        };
        if let Name::Abstract(n) = self.name.get() {
            self.namespace.unix.unbind(&n, self);
        }
        match phase {
            Phase::Listening { pending, .. } => {
                for embryo in pending {
                    embryo.hang_up(true);
                }
            }
            Phase::Connected => self.reset_peer(peer, !unread.is_empty()),
            Phase::Idle | Phase::Closed => {}
        }
        drop(unread);
        wake_all(waiting);
        self.common.queue.wake(ALL);
    }

    /// Ends a connection that nobody accepted.
    fn hang_up(&self, reset: bool) {
        let (peer, unread) = {
            let mut s = self.state.lock();
            s.phase = Phase::Closed;
            s.shut = BOTH;
            s.bytes = 0;
            (s.peer.take(), std::mem::take(&mut s.queue))
        };
        self.reset_peer(peer, reset);
        drop(unread);
    }

    fn reset_peer(&self, peer: Option<Peer>, reset: bool) {
        let Some(p) = peer.and_then(|p| p.socket.upgrade()) else {
            return;
        };
        p.state.lock().shut = BOTH;
        if reset {
            p.common.set_error(Errno::ECONNRESET);
        }
        p.common.queue.wake(ALL);
    }

    /// Whether a datagram for `peer` would be queued; if not, this socket is woken when it would.
    pub(super) fn has_room_at(&self, peer: &UnixSocket) -> bool {
        if !self.is_datagram() {
            return true;
        }
        let mut s = peer.state.lock();
        // Sockets connected to each other limit each other by SO_SNDBUF alone.
        let mutual = s.peer.as_ref().is_some_and(|p| p.socket.ptr_eq(&self.me));
        if mutual || s.is_closed() || !s.is_full() {
            return true;
        }
        s.wait_for_room(&self.me);
        false
    }
}

impl State {
    /// Whether another datagram must wait.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() > super::MAX_DGRAM_QLEN
    }
}
