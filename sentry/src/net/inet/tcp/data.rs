//! Bytes of a connection.

use super::{Phase, TcpSocket, roomy};
use crate::abi::{Errno, Result};
use crate::net::socket::{MsgFlags, Received, RecvMsg, SendMsg};
use crate::sync::Events;
use crate::usermem::{CHUNK, Segment, put_all};
use std::sync::Arc;

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
            Phase::Connecting => Err(Errno::EAGAIN),
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
            let mut seg = match Segment::fill(msg.src, room.min(CHUNK)) {
                Ok(s) if s.is_empty() => break Ok(()),
                Ok(s) => s,
                Err(e) => break Err(e),
            };
            let n = seg.len();
            let oob = (urgent && n == left).then(|| seg.pop_last()).flatten();
            match peer.push(seg, oob, window) {
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
        self.reset();
        n
    }

    /// Takes a piece from the peer.
    fn push(&self, seg: Segment, oob: Option<u8>, window: usize) -> Push {
        let n = seg.len();
        let inline = self.common.options.with(|v| v.oobinline);
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
            if let Some(b) = oob {
                s.urgent.mark = Some(s.queue.len());
                s.urgent.byte = Some(b);
                events |= Events::PRI;
                if inline {
                    s.queue.push(Segment::new(vec![b]));
                }
            }
        }
        self.common.queue.wake(events);
        Push::Taken
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
            return Err(Errno::EAGAIN);
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
                if s.queue.is_empty() {
                    if out.len > 0 {
                        break Ok(());
                    }
                    drop(s);
                    break self.nothing();
                }
                let before = s.queue.len();
                // Reads stop at the urgent mark.
                let max = match s.urgent.mark {
                    Some(m) if m > 0 => left.min(m),
                    _ => left,
                };
                let seg = s.queue.pop(max);
                if s.urgent.mark == Some(0) {
                    s.urgent.mark = None;
                }
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
        if self.state.lock().queue.is_empty() {
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
            Phase::Connecting | Phase::Established => Err(Errno::EAGAIN),
        }
    }

    fn peek(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        let data = self.state.lock().queue.peek(0, msg.dst.remaining());
        if data.is_empty() {
            self.check_readable()?;
            return Ok(Received::default());
        }
        Ok(Received {
            len: put_all(msg.dst, &data)?,
            ..Received::default()
        })
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
