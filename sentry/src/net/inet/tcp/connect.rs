//! Into a connection (bind, listen, connect, accept) and out of it (shutdown, close, reset).

use super::super::ports::matches;
use super::super::{Count, addr};
use super::{Phase, State, TcpSocket};
use crate::abi::{Errno, Result};
use crate::net::interface::Route;
use crate::net::options::MAX_BACKLOG;
use crate::net::socket::{Shutdown, SockCx, Socket};
use crate::sync::{Events, Notify};
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};

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

/// Whose request is too old.
struct GiveUp(Weak<TcpSocket>);

impl Notify for GiveUp {
    fn notify(&self, _: Events) {
        if let Some(s) = self.0.upgrade() {
            s.give_up();
        }
    }
}

/// What a listener made of a connection request.
enum Answer {
    /// The other end waits for accept.
    Accepted,
    /// The backlog is full; the listener will answer later.
    Later,
    /// Nobody listens, or cannot.
    Refused,
}

impl TcpSocket {
    pub(super) fn do_bind(&self, cx: &SockCx<'_>, raw: &[u8]) -> Result<()> {
        let want = self.core.bind_addr(cx, raw)?;
        {
            let s = self.state.lock();
            if s.local.is_some() || !s.is_closed() {
                return Err(Errno::EINVAL);
            }
        }
        self.bind_to(want, want.port() != 0)
    }

    /// Takes a place in the port table.
    fn bind_to(&self, want: SocketAddr, locked: bool) -> Result<()> {
        let tables = &self.core.namespace.inet;
        let bound = tables.tcp.bind(self.core.id, want, &self.me()?)?;
        let mut s = self.state.lock();
        if s.local.is_some() {
            drop(s);
            tables.tcp.unbind(self.core.id, bound.port());
            return Err(Errno::EINVAL);
        }
        s.local = Some(bound);
        s.port_locked = locked;
        Ok(())
    }

    pub(super) fn do_listen(&self, backlog: usize) -> Result<()> {
        let max = backlog.min(MAX_BACKLOG);
        let local = {
            let mut s = self.state.lock();
            let unreported = s.unreported;
            match &mut s.phase {
                Phase::Listening { backlog, .. } => {
                    *backlog = max;
                    drop(s);
                    self.admit();
                    return Ok(());
                }
                Phase::Closed if !unreported => s.local,
                _ => return Err(Errno::EINVAL),
            }
        };
        let tables = &self.core.namespace.inet;
        match local {
            Some(l) => tables.tcp.check(self.core.id, l, self)?,
            None => self.bind_to(self.core.any(), false)?,
        }
        let local = {
            let mut s = self.state.lock();
            if !s.is_closed() {
                return Err(Errno::EINVAL);
            }
            s.phase = Phase::Listening {
                backlog: max,
                pending: VecDeque::new(),
                waiting: VecDeque::new(),
            };
            s.shut = Shutdown {
                read: false,
                write: false,
            };
            s.local.ok_or(Errno::EINVAL)?
        };
        tables.listeners.share(self.core.id, local, &self.me()?);
        Ok(())
    }

    pub(super) fn do_connect(&self, raw: &[u8]) -> Result<()> {
        if addr::family(raw)? == libc::AF_UNSPEC {
            self.disconnect();
            return Ok(());
        }
        {
            let mut s = self.state.lock();
            match s.phase {
                Phase::Established if s.unreported => {
                    s.unreported = false;
                    return Ok(());
                }
                Phase::Established => return Err(Errno::EISCONN),
                Phase::Connecting(_) => return Err(Errno::EALREADY),
                Phase::Listening { .. } => return Err(Errno::EISCONN),
                Phase::Closed if s.unreported => {
                    s.reported();
                    return Err(self.common.take_error().unwrap_or(Errno::ECONNABORTED));
                }
                Phase::Closed => {}
            }
        }
        let to = self.core.target(raw)?;
        let (default, away) = match self.core.namespace.interfaces.route(to.ip()) {
            Route::Local(a) => (a, false),
            Route::Away(a, _) => (a, true),
            _ => return Err(Errno::ENETUNREACH),
        };
        let bound = self.state.lock().local;
        let mut from = match bound {
            Some(b) => b,
            None => {
                self.bind_to(self.core.any(), false)?;
                self.state.lock().local.ok_or(Errno::EINVAL)?
            }
        };
        from.set_ip(self.core.source(bound, default));
        if from.is_ipv4() != to.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let others = self.core.namespace.inet.tcp.on_port(from.port());
        let taken = others.into_iter().any(|(_, other)| {
            let s = other.state.lock();
            let live = matches!(s.phase, Phase::Connecting(_) | Phase::Established);
            live && s.local == Some(from) && s.remote == Some(to)
        });
        if taken {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let patience = self.options.lock().patience();
        let until = Instant::now().after(patience);
        {
            let mut s = self.state.lock();
            if !s.is_closed() {
                return Err(Errno::EALREADY);
            }
            let window = s.window;
            let (local, locked) = (from, s.port_locked);
            *s = State {
                phase: Phase::Connecting(until),
                local: Some(local),
                port_locked: locked,
                remote: Some(to),
                unreported: true,
                window,
                ..State::new()
            };
        }
        self.common.take_error();
        self.core.namespace.inet.tcp.set_addr(self.core.id, from);
        if from == to {
            // It is its own peer: its request meets itself (a simultaneous open, RFC 9293, 3.5).
            self.establish(self);
            return Err(Errno::EINPROGRESS);
        }
        let counters = &self.core.namespace.inet.counters;
        counters.add(Count::ActiveOpens);
        // Nobody answers out there.
        let answer = if away {
            Answer::Later
        } else {
            self.request(from, to, until)
        };
        match answer {
            Answer::Accepted => {}
            Answer::Later => self.arm_request(patience),
            Answer::Refused => {
                counters.add(Count::AttemptFails);
                self.fail(Errno::ECONNREFUSED);
            }
        }
        Err(Errno::EINPROGRESS)
    }

    /// Gives the request up after a while (tcp_write_timeout).
    fn arm_request(&self, patience: u64) {
        let timer = crate::net::timer(patience, Arc::new(GiveUp(self.me.clone())));
        let old = std::mem::replace(&mut *self.timer.lock(), timer);
        drop(old);
        // It was answered before there was the timer.
        if !matches!(self.state.lock().phase, Phase::Connecting(_)) {
            self.disarm();
        }
    }

    fn disarm(&self) {
        let timer = self.timer.lock().take();
        drop(timer);
    }

    fn give_up(&self) {
        // It may be answered at the same time.
        let late =
            |s: &State| matches!(s.phase, Phase::Connecting(until) if until.remaining() == 0);
        if self.fail_if(Errno::ETIMEDOUT, late) {
            let counters = &self.core.namespace.inet.counters;
            counters.add(Count::AttemptFails);
        }
    }

    /// Asks the listener at `to` for a connection, for as long as it is [`Phase::Connecting`] until then.
    fn request(&self, from: SocketAddr, to: SocketAddr, until: Instant) -> Answer {
        let mut best: Vec<Arc<TcpSocket>> = Vec::new();
        let mut score = 0;
        for (addr, l) in self.core.namespace.inet.listeners.on_port(to.port()) {
            match matches(addr.ip(), l.core.v6_only(), to.ip()) {
                Some(s) if best.is_empty() || s > score => {
                    score = s;
                    best = vec![l];
                }
                Some(s) if s == score => best.push(l),
                _ => {}
            }
        }
        // Among SO_REUSEPORT listeners the client's port decides.
        let pick = usize::from(from.port()) % best.len().max(1);
        match best.into_iter().nth(pick) {
            Some(l) => l.offer(self, from, to, until),
            None => Answer::Refused,
        }
    }

    /// A client asks this listener for a connection.
    fn offer(
        &self,
        client: &TcpSocket,
        from: SocketAddr,
        to: SocketAddr,
        until: Instant,
    ) -> Answer {
        {
            let mut s = self.state.lock();
            let Phase::Listening {
                backlog,
                pending,
                waiting,
            } = &mut s.phase
            else {
                return Answer::Refused;
            };
            if pending.len() > *backlog {
                waiting.retain(|(w, _)| w.strong_count() > 0 && !w.ptr_eq(&client.me));
                waiting.push_back((client.me.clone(), until));
                return Answer::Later;
            }
        }
        let Ok(server) = self.child(client, from, to) else {
            return Answer::Refused;
        };
        if !client.establish(&server) {
            server.end(false);
            return Answer::Later;
        }
        let refused = {
            let mut s = self.state.lock();
            match &mut s.phase {
                Phase::Listening { pending, .. } => {
                    pending.push_back(server.clone());
                    false
                }
                _ => true,
            }
        };
        if refused {
            // The listener was closed at this very moment: its connections are reset.
            server.end(true);
            return Answer::Accepted;
        }
        self.core.namespace.inet.counters.add(Count::PassiveOpens);
        self.common.queue.wake(Events::READABLE);
        Answer::Accepted
    }

    /// The server's end of a new connection.
    fn child(
        &self,
        client: &TcpSocket,
        from: SocketAddr,
        to: SocketAddr,
    ) -> Result<Arc<TcpSocket>> {
        let server = TcpSocket::with(self.core.child())?;
        server.common.options.inherit(&self.common.options);
        let options = self.options.lock().clone();
        *server.options.lock() = options;
        let window = client.window_to(&server);
        {
            let mut s = server.state.lock();
            s.phase = Phase::Established;
            s.local = Some(to);
            s.port_locked = true;
            s.remote = Some(from);
            s.peer = client.me.clone();
            s.window = window;
        }
        let tables = &self.core.namespace.inet;
        tables.tcp.share(server.core.id, to, &server);
        Ok(server)
    }

    /// This client's connection is there; false if the client has gone meanwhile.
    fn establish(&self, server: &TcpSocket) -> bool {
        let window = server.window_to(self);
        {
            let mut s = self.state.lock();
            if !matches!(s.phase, Phase::Connecting(_)) {
                return false;
            }
            s.phase = Phase::Established;
            s.peer = server.me.clone();
            s.window = window;
        }
        self.disarm();
        self.common.queue.wake(Events::WRITABLE);
        true
    }

    /// Whether it still asks for the connection that it asked for until then: another one is another listener's.
    fn requests_until(&self, until: Instant) -> bool {
        matches!(self.state.lock().phase, Phase::Connecting(u) if u == until)
    }

    /// Lets waiting clients in while there is room.
    fn admit(&self) {
        loop {
            let next = {
                let mut s = self.state.lock();
                let Phase::Listening {
                    backlog,
                    pending,
                    waiting,
                } = &mut s.phase
                else {
                    return;
                };
                if pending.len() > *backlog {
                    return;
                }
                match waiting.pop_front() {
                    Some((w, until)) => w.upgrade().map(|client| (client, until)),
                    None => return,
                }
            };
            let Some((client, until)) = next else {
                continue;
            };
            if !client.requests_until(until) {
                continue;
            }
            let ends = {
                let s = client.state.lock();
                s.local.zip(s.remote)
            };
            if let Some((from, to)) = ends
                && matches!(self.offer(&client, from, to, until), Answer::Refused)
            {
                client.fail(Errno::ECONNREFUSED);
            }
        }
    }

    /// The outcome of a connect in progress.
    pub(super) fn connect_outcome(&self) -> Result<()> {
        let mut s = self.state.lock();
        match s.phase {
            Phase::Connecting(_) => Err(Errno::EAGAIN),
            Phase::Established => {
                s.unreported = false;
                Ok(())
            }
            _ => {
                s.reported();
                Err(self.common.take_error().unwrap_or(Errno::ECONNABORTED))
            }
        }
    }

    pub(super) fn do_accept(&self) -> Result<Arc<dyn Socket>> {
        let server = {
            let mut s = self.state.lock();
            let Phase::Listening { pending, .. } = &mut s.phase else {
                return Err(Errno::EINVAL);
            };
            pending.pop_front().ok_or(Errno::EAGAIN)?
        };
        self.admit();
        Ok(server)
    }

    /// An error ends the socket's connection (tcp_reset, tcp_done).
    pub(super) fn fail(&self, e: Errno) {
        self.fail_if(e, |_| true);
    }

    /// The same, in a state that is `meant`; whether it is.
    fn fail_if(&self, e: Errno, meant: impl FnOnce(&State) -> bool) -> bool {
        let free = {
            let mut s = self.state.lock();
            if !meant(&s) {
                return false;
            }
            s.phase = Phase::Closed;
            s.shut = BOTH;
            s.peer = Weak::new();
            // A port that bind(2) did not choose is given back.
            if s.port_locked {
                None
            } else {
                s.stale = s.local;
                s.local.take()
            }
        };
        self.unbind(free);
        self.common.set_error(e);
        self.common.queue.wake(ALL);
        true
    }

    /// The peer has reset the connection.
    pub(super) fn reset(&self) {
        let e = {
            let s = self.state.lock();
            match s.phase {
                Phase::Connecting(_) => Errno::ECONNREFUSED,
                // In CLOSE_WAIT.
                Phase::Established if s.fin && !s.shut.write => Errno::EPIPE,
                Phase::Established => Errno::ECONNRESET,
                _ => return,
            }
        };
        self.core.namespace.inet.counters.add(Count::Resets);
        self.fail(e);
    }

    /// The peer will send no more.
    fn finish(&self) {
        {
            let mut s = self.state.lock();
            if !matches!(s.phase, Phase::Established) {
                return;
            }
            s.fin = true;
            s.hidden = 0;
            s.shut.read = true;
            // Both directions are shut: the connection is gone (LAST_ACK, TIME_WAIT).
            if s.shut.write {
                s.phase = Phase::Closed;
                s.closed_first = true;
            }
        }
        self.common.queue.wake(ALL);
    }

    /// MSG_FASTOPEN: data with the connection request; here the connection is there at once.
    pub(super) fn fast_open(&self, to: Option<&[u8]>) -> Result<()> {
        if matches!(self.state.lock().phase, Phase::Established) {
            return Err(Errno::EISCONN);
        }
        let to = to.ok_or(Errno::EOPNOTSUPP)?;
        if addr::family(to)? == libc::AF_UNSPEC {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.do_connect(to) {
            Err(Errno::EINPROGRESS) => match self.connect_outcome() {
                Err(Errno::EAGAIN) => Err(Errno::EINPROGRESS),
                other => other,
            },
            other => other,
        }
    }

    pub(super) fn do_shutdown(&self, how: Shutdown) -> Result<()> {
        let peer = {
            let mut s = self.state.lock();
            match &s.phase {
                Phase::Established => {}
                Phase::Listening { .. } | Phase::Connecting(_) => {
                    let listening = matches!(s.phase, Phase::Listening { .. });
                    drop(s);
                    if how.read || !listening {
                        self.disconnect();
                    }
                    return Ok(());
                }
                Phase::Closed => {
                    // Refused, but remembered: reads end here (inet_shutdown).
                    s.shut.read |= how.read;
                    s.shut.write |= how.write;
                    drop(s);
                    self.common.queue.wake(ALL);
                    return Err(Errno::ENOTCONN);
                }
            }
            let fin = how.write && !s.shut.write;
            s.shut.read |= how.read;
            s.shut.write |= how.write;
            let peer = s.peer.upgrade().filter(|_| fin);
            if fin && s.fin {
                s.phase = Phase::Closed;
            }
            peer
        };
        if let Some(p) = peer {
            p.finish();
        }
        self.common.queue.wake(ALL);
        Ok(())
    }

    /// Back to a fresh socket (connect to AF_UNSPEC, shutdown of a listener).
    fn disconnect(&self) {
        let old = {
            let mut s = self.state.lock();
            let keep = State {
                local: s.local.filter(|_| s.port_locked),
                port_locked: s.port_locked,
                ..State::new()
            };
            std::mem::replace(&mut *s, keep)
        };
        let (local, locked) = (old.local, old.port_locked);
        let cut = matches!(old.phase, Phase::Established | Phase::Connecting(_));
        self.release(old, true);
        if let (Some(l), false) = (local, locked) {
            let mut any = self.core.any();
            any.set_port(l.port());
            self.state.lock().stale = Some(any);
        }
        if !locked {
            self.unbind(local);
        } else if let Some(l) = local {
            let tables = &self.core.namespace.inet;
            tables.listeners.unbind(self.core.id, l.port());
        }
        // The connection's end is an error of its own (tcp_disconnect).
        if cut {
            self.common.set_error(Errno::ECONNRESET);
        } else {
            self.common.take_error();
        }
        self.common.queue.wake(ALL);
    }

    /// Leaves the port tables.
    fn unbind(&self, local: Option<SocketAddr>) {
        if let Some(l) = local {
            let tables = &self.core.namespace.inet;
            tables.listeners.unbind(self.core.id, l.port());
            tables.tcp.unbind(self.core.id, l.port());
        }
    }

    /// Ends what `old` was in: tells the peer, resets connections nobody accepted.
    fn release(&self, old: State, abort: bool) {
        let unread = !old.queue.is_empty();
        match old.phase {
            Phase::Listening {
                pending, waiting, ..
            } => {
                for p in pending {
                    p.end(true);
                }
                for (w, until) in &waiting {
                    if let Some(w) = w.upgrade().filter(|w| w.requests_until(*until)) {
                        w.fail(Errno::ECONNREFUSED);
                    }
                }
            }
            Phase::Established => {
                if abort || unread {
                    // What resets a connection ends the other end's TIME_WAIT.
                    if let (Some(l), Some(r)) = (old.local, old.remote) {
                        self.core.namespace.inet.tcp.no_longer_waits(r, l);
                    }
                }
                if let Some(p) = old.peer.upgrade() {
                    if abort || unread {
                        p.reset();
                    } else if !old.shut.write {
                        p.finish();
                    }
                }
            }
            Phase::Connecting(_) | Phase::Closed => {}
        }
    }

    pub(super) fn do_close(&self) {
        // SO_LINGER with no time: a reset.
        let abort = self.common.options.with(|v| v.linger == Some(0));
        self.end(abort);
    }

    fn end(&self, abort: bool) {
        let old = {
            let mut s = self.state.lock();
            let gone = State {
                shut: BOTH,
                orphan: true,
                ..State::new()
            };
            std::mem::replace(&mut *s, gone)
        };
        let (local, remote) = (old.local, old.remote);
        let first =
            matches!(old.phase, Phase::Established) && !old.fin && !abort && old.queue.is_empty();
        if let (true, Some(l), Some(r), Ok(me)) =
            (first || old.closed_first, local, remote, self.me())
        {
            self.core.namespace.inet.tcp.waits(l, r, &*me);
        }
        self.release(old, abort);
        self.unbind(local);
        self.core.close();
        self.errors.clear();
        self.disarm();
        self.common.queue.wake(ALL);
    }
}

impl State {
    /// connect(2) has told of its failure: the socket is as new, but for its name's port (tcp_disconnect).
    fn reported(&mut self) {
        self.unreported = false;
        self.shut = Shutdown {
            read: false,
            write: false,
        };
        if let Some(a) = &mut self.stale {
            a.set_ip(match a.ip() {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            });
        }
    }
}
