//! Sending and receiving on datagram and sequenced-packet sockets.

use super::addr::Name;
use super::message::Message;
use super::rights::Rights;
use super::{Phase, UnixSocket, outgoing_control, wake_all};
use crate::abi::{Errno, Result};
use crate::net::filter::Facts;
use crate::net::socket::{MsgFlags, Received, RecvMsg, SendMsg, SockCx, SockType};
use crate::sync::Events;
use crate::usermem::{Segment, put_all};
use std::sync::Arc;

impl UnixSocket {
    /// Where a datagram goes; whether that is the connected peer.
    fn destination(&self, cx: &SockCx<'_>, msg: &SendMsg<'_>) -> Result<(Arc<UnixSocket>, bool)> {
        let packet = self.sock_type == SockType::SeqPacket;
        if let Some(to) = msg.to.filter(|_| !packet) {
            let target = Name::parse_target(to)?;
            self.autobind_if_passing()?;
            let other = self.namespace.unix.find(cx, &target)?;
            if other.sock_type != SockType::Dgram {
                return Err(Errno::EPROTOTYPE);
            }
            return Ok((other, false));
        }
        let peer = {
            let s = self.state.lock();
            if packet && !matches!(s.phase, Phase::Connected) {
                return Err(Errno::ENOTCONN);
            }
            s.peer.clone().ok_or(Errno::ENOTCONN)?
        };
        self.autobind_if_passing()?;
        match peer.socket.upgrade() {
            Some(p) => Ok((p, true)),
            None => Err(self.lost_peer()),
        }
    }

    /// The peer is gone.
    fn lost_peer(&self) -> Errno {
        if self.sock_type == SockType::SeqPacket {
            return Errno::EPIPE;
        }
        self.state.lock().peer = None;
        Errno::ECONNREFUSED
    }

    pub(super) fn send_dgram(&self, cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (peer, connected) = self.destination(cx, msg)?;
        let len = msg.src.remaining();
        if len > self.account.limit().saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        self.common.check_error()?;
        if self.state.lock().shut.write {
            return Err(Errno::EPIPE);
        }
        if !self.account.has_room() {
            return Err(Errno::EAGAIN);
        }
        if !peer.accepts_from(self) {
            return Err(Errno::EPERM);
        }
        if !self.has_room_at(&peer) {
            return Err(Errno::EAGAIN);
        }
        let mut data = Vec::new();
        while data.len() < len {
            let seg = Segment::fill(msg.src, len - data.len())?;
            if seg.is_empty() {
                return Err(Errno::EFAULT);
            }
            if data.is_empty() {
                data = seg.into_vec();
            } else {
                data.extend_from_slice(seg.bytes());
            }
        }
        if let Some(f) = peer.common.options.with(|v| v.filter.clone()) {
            match f.run(&data, &Facts::default()) {
                // Tossed, and the sender does not hear of it.
                0 => return Ok(len),
                n => data.truncate(n),
            }
        }
        let (creds, rights) = outgoing_control(cx.caller, std::mem::take(&mut msg.control))?;
        let creds = self.outgoing_creds(cx, &peer, creds);
        let mut unsent = Some(Message {
            data: Segment::new(data),
            from: self.name.clone(),
            creds,
            rights,
            bill: self.account.charge(len)?,
        });
        let outcome = {
            let mut s = peer.state.lock();
            if s.is_closed() {
                Err(Errno::ECONNREFUSED)
            } else if s.shut.read {
                Err(Errno::EPIPE)
            } else {
                unsent.take().into_iter().for_each(|m| s.push(m));
                Ok(len)
            }
        };
        drop(unsent);
        match outcome {
            Err(Errno::ECONNREFUSED) if connected => return Err(self.lost_peer()),
            Err(e) => return Err(e),
            Ok(_) => {}
        }
        peer.common.queue.wake(Events::READABLE);
        Ok(len)
    }

    pub(super) fn recv_dgram(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let peek = msg.flags.contains(MsgFlags::PEEK);
        let offset = self.common.options.with(|v| v.peek_off);
        let mut out = Received::default();
        let (data, whole, from, creds, files, message, waiting) = {
            let mut s = self.state.lock();
            if self.sock_type == SockType::SeqPacket && !matches!(s.phase, Phase::Connected) {
                return Err(Errno::ENOTCONN);
            }
            if s.queue.is_empty() {
                self.common.check_error()?;
                return if s.shut.read {
                    Ok(out)
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            if peek {
                // SO_PEEK_OFF counts through all that waits.
                let mut skip = usize::try_from(offset).unwrap_or(0);
                let found = s.queue.iter().find(|m| {
                    let here = skip < m.data.len() || skip == 0;
                    if !here {
                        skip -= m.data.len();
                    }
                    here
                });
                let Some(m) = found else {
                    return Err(Errno::EAGAIN);
                };
                let rest = m.data.bytes().get(skip..).unwrap_or(&[]);
                let n = rest.len().min(msg.dst.remaining());
                let data = rest.get(..n).unwrap_or(&[]).to_vec();
                let files = m.rights.as_ref().map(|r| r.files().to_vec());
                (
                    Segment::new(data),
                    rest.len(),
                    m.from.clone(),
                    m.creds,
                    files.unwrap_or_default(),
                    None,
                    Vec::new(),
                )
            } else {
                let was_full = s.is_full();
                let Some(mut m) = s.pop() else {
                    return Err(Errno::EAGAIN);
                };
                let waiting = if was_full {
                    std::mem::take(&mut s.waiting)
                } else {
                    Vec::new()
                };
                let data = std::mem::take(&mut m.data);
                (
                    Segment::default(),
                    data.len(),
                    m.from.clone(),
                    m.creds,
                    Vec::new(),
                    Some((m, data)),
                    waiting,
                )
            }
        };
        wake_all(waiting);
        let (data, files, _spent) = match message {
            Some((mut m, data)) => {
                let files = m.rights.take().map(Rights::receive).unwrap_or_default();
                (data, files, Some(m))
            }
            None => (data, files, None),
        };
        let room = msg.dst.remaining();
        let part = data.bytes().get(..data.len().min(room)).unwrap_or(&[]);
        let did = put_all(msg.dst, part)?;
        if did < part.len() {
            return Err(Errno::EFAULT);
        }
        self.peek_moved(if peek { did } else { whole }, peek);
        if whole > did {
            out.flags |= MsgFlags::TRUNC;
        }
        out.len = if msg.flags.contains(MsgFlags::TRUNC) {
            whole
        } else {
            did
        };
        out.from = from.get().encode_source();
        self.incoming_control(msg, creds, files, &mut out);
        Ok(out)
    }
}
