//! Sending and receiving on stream sockets.

use super::message::Message;
use super::rights::Rights;
use super::{Phase, State, UnixSocket, outgoing_control};
use crate::abi::{Errno, Result};
use crate::net::socket::{MsgFlags, Received, RecvMsg, SendMsg, Sender, SockCx};
use crate::sync::Events;
use crate::usermem::{Segment, put_all};
use crate::vfs::File;
use std::sync::Arc;

/// Most bytes in one message of a stream (`SKB_MAX_HEAD(0) + UNIX_SKB_FRAGS_SZ`).
const PIECE: usize = 36_544;

impl UnixSocket {
    pub(super) fn send_stream(&self, cx: &SockCx<'_>, msg: &mut SendMsg<'_>) -> Result<usize> {
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (peer, shut) = {
            let s = self.state.lock();
            let connected = matches!(s.phase, Phase::Connected);
            if msg.to.is_some() {
                return Err(if connected {
                    Errno::EISCONN
                } else {
                    Errno::EOPNOTSUPP
                });
            }
            let peer = s
                .peer
                .clone()
                .filter(|_| connected)
                .ok_or(Errno::ENOTCONN)?;
            (peer, s.shut.write)
        };
        let peer = peer
            .socket
            .upgrade()
            .filter(|_| !shut)
            .ok_or(Errno::EPIPE)?;
        self.common.check_error()?;
        let mut control = Some(std::mem::take(&mut msg.control));
        let mut sent = 0;
        let outcome = loop {
            let left = msg.src.remaining();
            if left == 0 {
                break Ok(());
            }
            if !self.account.has_room() {
                break Err(Errno::EAGAIN);
            }
            let piece = PIECE.min((self.account.limit() / 2).saturating_sub(64));
            let seg = match Segment::fill(msg.src, piece.max(1)) {
                Ok(s) if s.is_empty() => break Ok(()),
                Ok(s) => s,
                Err(e) => break Err(e),
            };
            let n = seg.len();
            // Files travel with the first piece.
            let (creds, rights) =
                match outgoing_control(cx.caller, control.take().unwrap_or_default()) {
                    Ok(c) => c,
                    Err(e) => break Err(e),
                };
            let creds = self.outgoing_creds(cx, &peer, creds);
            match self.push_piece(&peer, seg, creds, rights) {
                Ok(()) => sent += n,
                Err(e) => {
                    msg.src.unread(n);
                    break Err(e);
                }
            }
        };
        if sent == 0 {
            // Nothing went out: a later run of this call needs them again.
            msg.control.extend(control.into_iter().flatten());
        }
        match outcome {
            Err(e) if sent == 0 => Err(e),
            _ => Ok(sent),
        }
    }

    fn push_piece(
        &self,
        peer: &UnixSocket,
        seg: Segment,
        creds: Option<Sender>,
        rights: Option<Rights>,
    ) -> Result<()> {
        let n = seg.len();
        let mut seg = seg;
        if rights.is_none() {
            let mut s = peer.state.lock();
            check_open(&s)?;
            if let Some(last) = s.queue.back_mut() {
                match last.absorb(seg, creds, &self.account) {
                    None => {
                        s.bytes += n;
                        drop(s);
                        peer.common.queue.wake(Events::READABLE);
                        return Ok(());
                    }
                    Some(back) => seg = back,
                }
            }
        }
        let message = Message {
            data: seg,
            from: self.name.clone(),
            creds,
            rights,
            bill: self.account.charge(n)?,
        };
        // An unsent message is dropped after the lock.
        let mut unsent = Some(message);
        let outcome = {
            let mut s = peer.state.lock();
            let open = check_open(&s);
            if open.is_ok() {
                unsent.take().into_iter().for_each(|m| s.push(m));
            }
            open
        };
        drop(unsent);
        outcome?;
        peer.common.queue.wake(Events::READABLE);
        Ok(())
    }

    pub(super) fn recv_stream(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        if msg.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if msg.flags.contains(MsgFlags::PEEK) {
            return self.peek_stream(msg);
        }
        let mut out = Received::default();
        let mut glue: Option<Option<Sender>> = None;
        let mut files: Vec<Arc<File>> = Vec::new();
        let passcred = self.common.options.with(|v| v.passcred);
        let asked = msg.dst.remaining();
        let outcome = loop {
            if glue.is_some() && msg.dst.remaining() == 0 {
                break Ok(());
            }
            let taken = {
                let mut s = self.state.lock();
                match s.take(msg.dst.remaining(), glue.filter(|_| passcred)) {
                    Some(t) => t,
                    None if glue.is_some() => break Ok(()),
                    None => break self.nothing(&s),
                }
            };
            let Taken {
                mut message,
                mut data,
                creds,
                rights,
            } = taken;
            glue = Some(creds);
            out.from = message
                .as_ref()
                .map_or(out.from.take(), |m| m.from.get().encode_source());
            let want = data.len();
            let did = match put_all(msg.dst, data.bytes()) {
                Ok(n) => n,
                Err(e) => {
                    self.put_back(message, data, rights);
                    break Err(e);
                }
            };
            out.len += did;
            let had_rights = rights.is_some();
            files.extend(rights.map(Rights::receive).into_iter().flatten());
            if did < want {
                data.advance(did);
                self.put_back(message.take(), data, None);
                break Ok(());
            }
            drop(message);
            if had_rights || asked == 0 {
                break Ok(());
            }
        };
        match outcome {
            Err(e) if out.len == 0 => return Err(e),
            _ => {}
        }
        self.peek_moved(out.len, false);
        if let Some(creds) = glue {
            self.incoming_control(msg, creds, files, &mut out);
        }
        Ok(out)
    }

    /// There is nothing to read: an error, end of file, or not yet.
    fn nothing(&self, s: &State) -> Result<()> {
        if !matches!(s.phase, Phase::Connected) {
            return Err(Errno::EINVAL);
        }
        self.common.check_error()?;
        if s.shut.read {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        }
    }

    /// Returns what could not be copied to the head of the queue.
    fn put_back(&self, message: Option<Message>, data: Segment, rights: Option<Rights>) {
        let mut s = self.state.lock();
        s.bytes += data.len();
        match message {
            Some(mut m) => {
                m.data = data;
                m.rights = rights;
                s.queue.push_front(m);
            }
            // It was a part of what is still the first message.
            None => {
                if let Some(first) = s.queue.front_mut() {
                    first.data.prepend(data);
                    if first.rights.is_none() {
                        first.rights = rights;
                    }
                }
            }
        }
    }

    fn peek_stream(&self, msg: &mut RecvMsg<'_>) -> Result<Received> {
        let mut out = Received::default();
        let (passcred, offset) = self.common.options.with(|v| (v.passcred, v.peek_off));
        let want = msg.dst.remaining();
        let mut data = Vec::new();
        let mut files = Vec::new();
        let mut glue: Option<Option<Sender>> = None;
        {
            let s = self.state.lock();
            let mut skip = usize::try_from(offset).unwrap_or(0);
            if s.bytes <= skip {
                self.nothing(&s)?;
                return Ok(out);
            }
            for m in &s.queue {
                if glue.is_some() && (data.len() >= want || (passcred && glue != Some(m.creds))) {
                    break;
                }
                // SO_PEEK_OFF counts through all that waits.
                if skip >= m.data.len() {
                    skip -= m.data.len();
                    continue;
                }
                if glue.is_none() {
                    out.from = m.from.get().encode_source();
                }
                glue = Some(m.creds);
                let b = m.data.bytes().get(skip..).unwrap_or(&[]);
                skip = 0;
                data.extend_from_slice(b.get(..b.len().min(want - data.len())).unwrap_or(b));
                if let Some(r) = &m.rights {
                    files = r.files().to_vec();
                    break;
                }
            }
        }
        out.len = put_all(msg.dst, &data)?;
        self.peek_moved(out.len, true);
        if let Some(creds) = glue {
            self.incoming_control(msg, creds, files, &mut out);
        }
        Ok(out)
    }
}

/// EPIPE unless the peer can still read.
fn check_open(peer: &State) -> Result<()> {
    if peer.is_closed() || peer.shut.read {
        Err(Errno::EPIPE)
    } else {
        Ok(())
    }
}

/// Bytes taken from the head of a queue.
struct Taken {
    /// The message, if it was taken whole (its data is in `data`).
    message: Option<Message>,
    data: Segment,
    creds: Option<Sender>,
    rights: Option<Rights>,
}

impl State {
    /// Takes up to `max` bytes of the first message, unless its sender differs from `glue`.
    fn take(&mut self, max: usize, glue: Option<Option<Sender>>) -> Option<Taken> {
        let first = self.queue.front_mut()?;
        if glue.is_some_and(|g| g != first.creds) {
            return None;
        }
        let creds = first.creds;
        let rights = first.rights.take();
        let data = if first.data.len() <= max {
            std::mem::take(&mut first.data)
        } else {
            first.data.split_to(max)
        };
        self.bytes -= data.len();
        let message = if first.data.is_empty() {
            self.queue.pop_front()
        } else {
            None
        };
        Some(Taken {
            message,
            data,
            creds,
            rights,
        })
    }
}
