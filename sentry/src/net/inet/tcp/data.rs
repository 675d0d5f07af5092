//! Bytes of a connection.

use super::{Phase, TcpSocket, roomy};
use crate::abi::{Errno, Result};
use crate::net::socket::{MsgFlags, Received, RecvMsg, SendMsg};
use crate::sync::{Events, Notify};
use crate::usermem::{CHUNK, Segment, put_all};
use std::sync::{Arc, Weak};

/// Bytes of a full segment over the loopback.
const SEGMENT: usize = 32741;
/// How long data is kept back at most, in nanoseconds.
const CORK_TIME: u64 = 200_000_000;

/// Sends what a socket keeps back.
struct Uncork(Weak<TcpSocket>);

impl Notify for Uncork {
    fn notify(&self, _: Events) {
        if let Some(s) = self.0.upgrade() {
            s.uncork();
        }
    }
}

/// What became of a piece.
enum Push {
    Taken,
    /// The window is full.
    Full,
    /// The peer's program is gone: it answers with a reset.
    Reset,
    /// The sandbox's sockets hold too much.
    NoMemory,
}

impl TcpSocket {
    /// The peer, if this socket can send.
    fn sender(&self) -> Result<Option<Arc<TcpSocket>>> {
        if let Some(e) = self.common.take_error() {
            return Err(e);
        }
        let s = self.state.lock();
        match s.phase {
            Phase::Connecting(_) => Err(Errno::EAGAIN),
            Phase::Established if !s.shut.write => Ok(s.peer.upgrade()),
            _ => Err(Errno::EPIPE),
        }
    }

    pub(super) fn do_send(&self, msg: &mut SendMsg<'_>) -> Result<usize> {
        let peer = self.sender()?;
        let Some(peer) = peer else {
            return Ok(self.send_to_nobody(msg));
        };
        let mut sent = 0;
        let urgent = msg.flags.contains(MsgFlags::OOB) && msg.src.remaining() > 0;
        let more = !urgent
            && (msg.flags.contains(MsgFlags::MORE) || self.options.lock().on(libc::TCP_CORK));
        if more {
            self.arm_cork();
        }
        let outcome = loop {
            let left = msg.src.remaining();
            if left == 0 {
                break Ok(());
            }
            let window = self.window_to(&peer);
            let room = window.saturating_sub(peer.state.lock().queue.len());
            if room == 0 {
                break Err(Errno::EAGAIN);
            }
            let seg = match Segment::fill(msg.src, room.min(CHUNK)) {
                Ok(s) if s.is_empty() => break Ok(()),
                Ok(s) => s,
                Err(e) => break Err(e),
            };
            let n = seg.len();
            let oob = urgent && n == left;
            match peer.push(seg, oob, window, more) {
                Push::Taken => sent += n,
                Push::Full => {
                    msg.src.unread(n);
                    break Err(Errno::EAGAIN);
                }
                Push::Reset => {
                    // The data was sent; the reset comes back for the next call.
                    sent += n;
                    self.reset();
                    break Ok(());
                }
                Push::NoMemory => {
                    msg.src.unread(n);
                    break Err(Errno::ENOBUFS);
                }
            }
        };
        match outcome {
            Err(e) if sent == 0 => Err(e),
            _ => Ok(sent),
        }
    }

    /// The peer's socket is no more.
    fn send_to_nobody(&self, msg: &mut SendMsg<'_>) -> usize {
        let n = msg.src.remaining();
        while Segment::fill(msg.src, CHUNK).is_ok_and(|s| !s.is_empty()) {}
        let ends = {
            let s = self.state.lock();
            s.local.zip(s.remote)
        };
        if let Some((l, r)) = ends {
            self.core.namespace.inet.tcp.no_longer_waits(r, l);
        }
        self.reset();
        n
    }

    /// Takes a piece from the peer. `urgent`: its last byte is; `more`: it is to wait for more.
    fn push(&self, seg: Segment, urgent: bool, window: usize, more: bool) -> Push {
        let n = seg.len();
        let last = seg.bytes().last().copied();
        let mut events = Events::READABLE;
        {
            let mut s = self.state.lock();
            if s.orphan || !matches!(s.phase, Phase::Established) {
                return Push::Reset;
            }
            if s.queue.len() + n > window {
                return Push::Full;
            }
            if !s.recharge(n) {
                return Push::NoMemory;
            }
            s.window = window;
            s.queue.push(seg);
            // Only what fills no segment waits.
            s.hidden = if more { (s.hidden + n) % SEGMENT } else { 0 };
            if urgent {
                // An earlier urgent byte becomes an ordinary one.
                s.urgent.mark = Some(s.queue.len().saturating_sub(1));
                s.urgent.byte = last;
                events |= Events::PRI;
            }
        }
        self.common.queue.wake(events);
        Push::Taken
    }

    /// What the peer kept back is sent.
    pub(super) fn reveal(&self) {
        let hidden = std::mem::take(&mut self.state.lock().hidden);
        if hidden > 0 {
            self.common.queue.wake(Events::READABLE);
        }
    }

    /// Sends what TCP_CORK and MSG_MORE kept back.
    pub(super) fn uncork(&self) {
        let peer = self.state.lock().peer.upgrade();
        if let Some(p) = peer {
            p.reveal();
        }
    }

    /// Lets data that is kept back go after 200 ms (tcp(7), TCP_CORK).
    fn arm_cork(&self) {
        let timer = crate::net::timer(CORK_TIME, Arc::new(Uncork(self.me.clone())));
        let old = std::mem::replace(&mut *self.timer.lock(), timer);
        drop(old);
    }

    /// Whether poll says writable: a third of the way to `peer` is free.
    pub(super) fn has_room_at(&self, peer: &TcpSocket) -> bool {
        let window = self.window_to(peer);
        roomy(peer.state.lock().queue.len(), window)
    }

    /// SIOCOUTQ: what the peer has not acknowledged, that is what exceeds its receive buffer.
    pub(super) fn unsent(&self) -> Result<usize> {
        let peer = {
            let s = self.state.lock();
            if matches!(s.phase, Phase::Listening { .. }) {
                return Err(Errno::EINVAL);
            }
            s.peer.upgrade()
        };
        Ok(peer.map_or(0, |p| {
            let rcvbuf = p.common.options.with(|v| v.rcvbuf);
            p.state.lock().queue.len().saturating_sub(rcvbuf)
        }))
    }

    pub(super) fn do_recv(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        if msg.flags.contains(MsgFlags::ERRQUEUE) {
            return self.errors.recv(&self.common, self.core.family(), msg);
        }
        if msg.flags.contains(MsgFlags::OOB) {
            return self.recv_urgent(msg);
        }
        if msg.flags.contains(MsgFlags::PEEK) {
            return self.peek(msg);
        }
        let mut out = Received::default();
        let mut freed = false;
        let discard = msg.flags.contains(MsgFlags::TRUNC);
        let inline = self.common.options.with(|v| v.oobinline);
        let mut left = msg.dst.remaining();
        let outcome = loop {
            if left == 0 {
                break if out.len > 0 {
                    Ok(())
                } else {
                    self.check_readable()
                };
            }
            let (mut seg, at_mark) = {
                let mut s = self.state.lock();
                if s.urgent.mark == Some(0) {
                    // Reads stop at the mark, and the next one passes it.
                    if !inline {
                        s.queue.discard(1);
                    }
                    s.urgent.byte = None;
                    s.urgent.mark = None;
                }
                if s.visible() == 0 {
                    s.recharge(0);
                    if out.len > 0 {
                        break Ok(());
                    }
                    drop(s);
                    break self.nothing();
                }
                let before = s.queue.len();
                let max = left
                    .min(s.visible())
                    .min(s.urgent.mark.unwrap_or(usize::MAX));
                let seg = s.queue.pop(max);
                s.urgent.mark = s.urgent.mark.map(|m| m.saturating_sub(seg.len()));
                let at_mark = s.urgent.mark == Some(0);
                s.recharge(0);
                freed |= !roomy(before, s.window) && roomy(s.queue.len(), s.window);
                (seg, at_mark)
            };
            let want = seg.len();
            let did = if discard {
                want
            } else {
                match put_all(msg.dst, seg.bytes()) {
                    Ok(n) => n,
                    Err(e) => {
                        self.put_back(seg);
                        break Err(e);
                    }
                }
            };
            out.len += did;
            left -= did;
            if did < want {
                seg.advance(did);
                self.put_back(seg);
                break Ok(());
            }
            if at_mark {
                break Ok(());
            }
        };
        if out.len > 0 {
            self.peek_moved(out.len, false);
        }
        if freed {
            let peer = self.state.lock().peer.upgrade();
            if let Some(p) = peer {
                p.common.queue.wake(Events::WRITABLE);
            }
        }
        match outcome {
            Err(e) if out.len == 0 => Err(e),
            _ => Ok(out),
        }
    }

    fn put_back(&self, seg: Segment) {
        let mut s = self.state.lock();
        s.urgent.mark = s.urgent.mark.map(|m| m + seg.len());
        s.queue.unpop(seg);
        // The memory was charged a moment ago; if it is gone meanwhile the data is kept all the same.
        let _ = s.recharge(0);
    }

    /// For reads of nothing: errors as if there were no data, but no waiting once there is.
    fn check_readable(&self) -> Result<()> {
        let inline = self.common.options.with(|v| v.oobinline);
        if self.state.lock().readable(inline) == 0 {
            self.nothing()
        } else {
            Ok(())
        }
    }

    /// There is nothing to read: end of file, an error, or not yet.
    fn nothing(&self) -> Result<()> {
        let s = self.state.lock();
        if s.fin {
            return Ok(());
        }
        self.common.check_error()?;
        if s.shut.read {
            return Ok(());
        }
        match s.phase {
            Phase::Closed | Phase::Listening { .. } => Err(Errno::ENOTCONN),
            Phase::Connecting(_) | Phase::Established => Err(Errno::EAGAIN),
        }
    }

    fn peek(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        let (inline, offset) = self.common.options.with(|v| (v.oobinline, v.peek_off));
        let data = {
            let s = self.state.lock();
            let skip = usize::from(!inline && s.urgent.mark == Some(0));
            let skip = skip + usize::try_from(offset).unwrap_or(0);
            let end = match s.urgent.mark {
                Some(m) if m > skip => m.min(s.visible()),
                _ => s.visible(),
            };
            let n = msg.dst.remaining().min(end.saturating_sub(skip));
            s.queue.peek(skip, n)
        };
        if data.is_empty() {
            if offset > 0 {
                return self.nothing().map(|()| Received::default());
            }
            self.check_readable()?;
            return Ok(Received::default());
        }
        let len = if msg.flags.contains(MsgFlags::TRUNC) {
            data.len()
        } else {
            put_all(msg.dst, &data)?
        };
        self.peek_moved(len, true);
        Ok(Received {
            len,
            ..Received::default()
        })
    }

    /// Moves SO_PEEK_OFF.
    fn peek_moved(&self, n: usize, forward: bool) {
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        self.common.options.with(|v| {
            if v.peek_off >= 0 {
                v.peek_off = if forward {
                    v.peek_off.saturating_add(n)
                } else {
                    v.peek_off.saturating_sub(n).max(0)
                };
            }
        });
    }

    /// tcp_recv_urg.
    fn recv_urgent(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        let inline = self.common.options.with(|v| v.oobinline);
        let byte = {
            let mut s = self.state.lock();
            let byte = s.urgent.byte.filter(|_| !inline).ok_or(Errno::EINVAL)?;
            if s.is_closed() && !s.fin {
                return Err(Errno::ENOTCONN);
            }
            if !msg.flags.contains(MsgFlags::PEEK) {
                s.urgent.byte = None;
            }
            byte
        };
        let mut out = Received {
            flags: MsgFlags::OOB,
            ..Received::default()
        };
        if msg.dst.remaining() == 0 {
            out.flags |= MsgFlags::TRUNC;
        } else {
            out.len = put_all(msg.dst, &[byte])?;
        }
        Ok(out)
    }
}
