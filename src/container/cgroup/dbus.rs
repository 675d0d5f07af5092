//! As much of D-Bus as it takes to give systemd orders: method calls with their answers, and waiting for a signal.
//!
//! [`Bus`] is a connection to a message bus or to systemd's own socket. The protocol is that of the D-Bus specification
//! ("Message Protocol", "Authentication Protocol"); what comes is a peer's of the same or more privilege, and is checked all the same.

use crate::container::{Error, Result, at};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long systemd may take to answer or to finish a job.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest message taken; ours are answered with far less.
const MOST: usize = 1 << 20;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// Header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// Values in the order and alignment of the wire format, little-endian.
#[derive(Debug, Default)]
pub struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `u` or `i`.
    pub fn u32(&mut self, n: u32) {
        self.align(4);
        self.0.extend(n.to_le_bytes());
    }

    /// `t`.
    pub fn u64(&mut self, n: u64) {
        self.align(8);
        self.0.extend(n.to_le_bytes());
    }

    /// `b`.
    pub fn bool(&mut self, b: bool) {
        self.u32(b.into());
    }

    /// `s` or `o`.
    pub fn string(&mut self, s: &str) {
        self.u32(u32::try_from(s.len()).unwrap_or(u32::MAX));
        self.0.extend(s.as_bytes());
        self.0.push(0);
    }

    /// `g`.
    pub fn signature(&mut self, s: &str) {
        self.0.push(u8::try_from(s.len()).unwrap_or(u8::MAX));
        self.0.extend(s.as_bytes());
        self.0.push(0);
    }

    /// `y`.
    fn byte(&mut self, b: u8) {
        self.0.push(b);
    }

    /// An array of elements so aligned, which `fill` adds.
    pub fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Body)) {
        self.u32(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        fill(self);
        let len = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        for (to, from) in self.0.iter_mut().skip(at).zip(len.to_le_bytes()) {
            *to = from;
        }
    }

    /// `ay`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.array(1, |b| b.0.extend(bytes));
    }

    /// The beginning of a structure.
    pub fn structure(&mut self) {
        self.align(8);
    }
}

/// The same way back. Every reading fails at the end of the message.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At its beginning.
    pub fn new(all: &'a [u8]) -> Reader<'a> {
        Reader { all, at: 0 }
    }

    fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        (self.at <= self.all.len()).then_some(())
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n)?;
        let taken = self.all.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// `u`.
    pub fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// `s` or `o`.
    pub fn string(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.u32()?).ok()?;
        let text = self.take(len)?;
        self.byte()?;
        std::str::from_utf8(text).ok()
    }

    /// `g`.
    pub fn signature(&mut self) -> Option<&'a str> {
        let len = usize::from(self.byte()?);
        let text = self.take(len)?;
        self.byte()?;
        std::str::from_utf8(text).ok()
    }
}

/// What came: the header's fields that matter, and the body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    sender: String,
    body: Vec<u8>,
}

/// Length of the whole message that begins with these 16 bytes.
fn length(start: &[u8]) -> Option<usize> {
    if start.first() != Some(&b'l') {
        return None;
    }
    let mut r = Reader::new(start);
    r.take(4)?;
    let body = usize::try_from(r.u32()?).ok()?;
    r.u32()?;
    let fields = usize::try_from(r.u32()?).ok()?;
    let header = fields.checked_add(16)?.checked_next_multiple_of(8)?;
    header.checked_add(body).filter(|n| *n <= MOST)
}

fn parse(all: &[u8]) -> Option<Message> {
    let mut r = Reader::new(all);
    let mut message = Message {
        kind: r.take(4)?.get(1).copied()?,
        ..Message::default()
    };
    let body = usize::try_from(r.u32()?).ok()?;
    r.u32()?;
    let end = usize::try_from(r.u32()?).ok()?.checked_add(r.at)?;
    while r.at < end {
        r.align(8)?;
        let field = r.byte()?;
        match (field, r.signature()?) {
            (MEMBER, "s") => message.member = r.string()?.to_owned(),
            (ERROR_NAME, "s") => message.error = r.string()?.to_owned(),
            (SENDER, "s") => message.sender = r.string()?.to_owned(),
            (REPLY_SERIAL, "u") => message.reply_to = r.u32()?,
            (_, "s" | "o") => {
                r.string()?;
            }
            (_, "g") => {
                r.signature()?;
            }
            (_, "u") => {
                r.u32()?;
            }
            _ => return None,
        }
    }
    r.align(8)?;
    message.body = r.take(body)?.to_vec();
    Some(message)
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The bus name; not said on a socket without a bus.
    pub name: &'a str,
    /// The object.
    pub path: &'a str,
    /// Its interface.
    pub interface: &'a str,
}

/// A call that was refused: the error's name, and in words.
#[derive(Debug, thiserror::Error)]
#[error("{words} ({name})")]
pub struct Refused {
    /// As programs know it.
    pub name: String,
    /// As people do.
    pub words: String,
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    /// There is a bus between us and systemd.
    routed: bool,
    serial: u32,
    /// Signals that came while something else was awaited.
    signals: Vec<Message>,
    /// Who answered the last call, as the bus calls it: on a bus anybody may send us signals.
    peer: String,
}

/// Most signals that are kept while something else is awaited.
const MOST_SIGNALS: usize = 1024;

impl Bus {
    /// To the socket at `path`, a message bus's if `routed`.
    ///
    /// # Errors
    /// Nobody listens, or we are not let in.
    pub fn connect(path: &Path, routed: bool) -> Result<Bus> {
        let failed = || at(format!("cannot reach systemd at {}", path.display()));
        let mut stream = UnixStream::connect(path).map_err(failed())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed())?;
        // No name of ours: the peer takes the socket's own, which is right in a user namespace too.
        stream
            .write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
            .map_err(failed())?;
        for expected in ["DATA", "OK"] {
            let line = line(&mut stream).map_err(failed())?;
            if !line.starts_with(expected) {
                return Err(Error::Other(format!(
                    "systemd at {} does not let us in: {}",
                    path.display(),
                    line.trim()
                )));
            }
        }
        let mut bus = Bus {
            stream,
            routed,
            serial: 0,
            signals: vec![],
            peer: String::new(),
        };
        if routed {
            bus.ask_bus("Hello", "", Body::default())?;
        }
        Ok(bus)
    }

    fn ask_bus(&mut self, member: &str, signature: &str, body: Body) -> Result<()> {
        let target = Target {
            name: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
        };
        self.call(target, member, signature, body)?
            .map_err(at(format!("the message bus refuses {member}")))?;
        Ok(())
    }

    /// Has signals of this interface sent to us.
    ///
    /// # Errors
    /// The bus refuses.
    pub fn listen_to(&mut self, interface: &str) -> Result<()> {
        if !self.routed {
            return Ok(());
        }
        let mut body = Body::default();
        body.string(&format!("type='signal',interface='{interface}'"));
        self.ask_bus("AddMatch", "s", body)
    }

    /// Calls a method; the body of its answer.
    ///
    /// # Errors
    /// The connection breaks. That the callee refuses is the inner error.
    pub fn call(
        &mut self,
        target: Target<'_>,
        member: &str,
        signature: &str,
        body: Body,
    ) -> Result<std::result::Result<Vec<u8>, Refused>> {
        self.serial += 1;
        let mut message = header(self.serial, body.0.len(), |fields| {
            let mut text = |field: u8, signature: &str, value: &str| {
                fields.structure();
                fields.byte(field);
                fields.signature(signature);
                fields.string(value);
            };
            text(PATH, "o", target.path);
            text(INTERFACE, "s", target.interface);
            text(MEMBER, "s", member);
            if self.routed {
                text(DESTINATION, "s", target.name);
            }
            if !signature.is_empty() {
                fields.structure();
                fields.byte(SIGNATURE);
                fields.signature("g");
                fields.signature(signature);
            }
        });
        message.extend(&body.0);
        let failed = || at(format!("systemd does not answer {member}"));
        self.stream.write_all(&message).map_err(failed())?;
        loop {
            let came = self.receive().map_err(failed())?;
            match came.kind {
                RETURN if came.reply_to == self.serial => {
                    self.peer = came.sender;
                    return Ok(Ok(came.body));
                }
                ERROR if came.reply_to == self.serial => {
                    let words = Reader::new(&came.body).string().unwrap_or_default();
                    return Ok(Err(Refused {
                        words: words.to_owned(),
                        name: came.error,
                    }));
                }
                SIGNAL => self.keep(came),
                _ => {}
            }
        }
    }

    fn keep(&mut self, signal: Message) {
        if self.signals.len() < MOST_SIGNALS {
            self.signals.push(signal);
        }
    }

    /// Waits for a signal of this name, from whoever answered the last call, that `wanted` recognizes by its body.
    ///
    /// # Errors
    /// It does not come.
    pub fn await_signal<T>(
        &mut self,
        member: &str,
        wanted: impl Fn(Reader<'_>) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for signal in self.signals.drain(..) {
                if signal.member == member
                    && signal.sender == self.peer
                    && let Some(found) = wanted(Reader::new(&signal.body))
                {
                    return Ok(found);
                }
            }
            if Instant::now() > deadline {
                return Err(Error::Other(format!("systemd sends no {member}")));
            }
            let came = self.receive().map_err(at("systemd does not answer"))?;
            if came.kind == SIGNAL {
                self.keep(came);
            }
        }
    }

    fn receive(&mut self) -> std::io::Result<Message> {
        let bad = || std::io::Error::other("not a message of D-Bus");
        let mut all = vec![0; 16];
        self.stream.read_exact(&mut all)?;
        all.resize(length(&all).ok_or_else(bad)?, 0);
        let rest = all.get_mut(16..).ok_or_else(bad)?;
        self.stream.read_exact(rest)?;
        parse(&all).ok_or_else(bad)
    }
}

/// Everything of a method call before its body.
fn header(serial: u32, body: usize, fields: impl FnOnce(&mut Body)) -> Vec<u8> {
    let mut message = Body(vec![b'l', CALL, 0, 1]);
    message.u32(u32::try_from(body).unwrap_or(u32::MAX));
    message.u32(serial);
    message.array(8, fields);
    message.structure();
    message.0
}

/// One line of the authentication, and nothing behind it.
fn line(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with('\n') && text.len() < 1024 {
        stream.read_exact(&mut byte)?;
        text.extend(byte.map(char::from));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test ends where it fails
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn values_are_aligned() {
        let mut b = Body::default();
        b.signature("s");
        b.string("ab");
        b.array(8, |b| {
            b.u64(7);
        });
        assert_eq!(
            b.0,
            [
                1, b's', 0, 0, 2, 0, 0, 0, b'a', b'b', 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn wild_messages_are_refused() {
        assert_eq!(length(b"B234567890123456"), None);
        let mut huge = *b"l234567890123456";
        huge[4..8].fill(0xff);
        assert_eq!(length(&huge), None);
        let good = header(1, 0, |f| {
            f.structure();
            f.byte(MEMBER);
            f.signature("s");
            f.string("x");
        });
        assert_eq!(length(&good), Some(good.len()));
        assert_eq!(parse(&good).unwrap().member, "x");
        for n in 0..good.len() {
            assert_eq!(parse(&good[..n]), None, "{n}");
            for value in [0, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[n] = value;
                // Whatever comes of it, it comes to an end.
                let _ = parse(&bad);
            }
        }
    }

    /// A peer that lets us in, reads one call, sends a signal, and answers.
    #[test]
    fn a_call_is_answered_and_a_signal_kept() {
        let dir = std::env::temp_dir().join(format!("dbus-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = std::thread::spawn(move || {
            let (mut s, _) = listener.accept().unwrap();
            let mut said = [0; 29];
            s.read_exact(&mut said).unwrap();
            assert_eq!(&said, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
            s.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
            let mut start = [0; 16];
            s.read_exact(&mut start).unwrap();
            let mut rest = vec![0; length(&start).unwrap() - 16];
            s.read_exact(&mut rest).unwrap();
            let call = parse(&[&start[..], &rest].concat()).unwrap();
            assert_eq!((call.kind, call.member.as_str()), (CALL, "Do"));
            for (kind, field) in [(SIGNAL, false), (ERROR, true)] {
                let mut body = Body::default();
                body.string("words");
                let mut m = header(9, body.0.len(), |f| {
                    f.structure();
                    f.byte(if field { REPLY_SERIAL } else { MEMBER });
                    f.signature(if field { "u" } else { "s" });
                    if field { f.u32(1) } else { f.string("Done") }
                });
                m[1] = kind;
                m.extend(&body.0);
                s.write_all(&m).unwrap();
            }
        });
        let mut bus = Bus::connect(&path, false).unwrap();
        let target = Target {
            name: "n",
            path: "/p",
            interface: "i",
        };
        let refused = bus.call(target, "Do", "", Body::default()).unwrap();
        assert_eq!(refused.unwrap_err().words, "words");
        let words = bus.await_signal("Done", |mut r| r.string().map(str::to_owned));
        assert_eq!(words.unwrap(), "words");
        peer.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
