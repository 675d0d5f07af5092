//! Messages from the monitor to the sentry: fixed 8-byte datagrams on a SOCK_SEQPACKET socket.

use crate::fs::tty::HostBridge;
use crate::kernel::{Kernel, signal};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Send this signal to init, as if from outside its pid namespace.
    Signal(i32),
    /// The host terminal's size: rows, columns.
    WindowSize(u16, u16),
    /// End everything at once.
    Kill,
}

/// Length of an encoded message in bytes.
pub const LEN: usize = 8;

impl Message {
    /// Bytes on the wire: kind (u32, little-endian), value (u32).
    pub fn encode(self) -> [u8; LEN] {
        let (kind, value) = match self {
            Message::Signal(n) => (1u32, n.cast_unsigned()),
            Message::WindowSize(rows, cols) => (2, u32::from(rows) << 16 | u32::from(cols)),
            Message::Kill => (3, 0),
        };
        let mut out = [0; LEN];
        for (to, from) in out
            .iter_mut()
            .zip(kind.to_le_bytes().into_iter().chain(value.to_le_bytes()))
        {
            *to = from;
        }
        out
    }
    /// From the wire; `None` for anything malformed.
    pub fn decode(raw: &[u8]) -> Option<Message> {
        let raw: [u8; LEN] = raw.try_into().ok()?;
        let word = u64::from_le_bytes(raw);
        let (kind, value) = (word as u32, (word >> 32) as u32);
        match kind {
            1 if (1..=64).contains(&value) => Some(Message::Signal(value.cast_signed())),
            2 => Some(Message::WindowSize((value >> 16) as u16, value as u16)),
            3 => Some(Message::Kill),
            _ => None,
        }
    }
}

/// Starts the thread that obeys the monitor. When the monitor is gone, so is the sandbox.
pub(super) fn listen(
    socket: OwnedFd,
    kernel: &Arc<Kernel>,
    terminal: Option<Arc<HostBridge>>,
) -> std::io::Result<()> {
    let kernel = kernel.clone();
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            loop {
                let mut buf = [0u8; LEN];
                match nix::unistd::read(&socket, &mut buf) {
                    Ok(0) => kernel.shut_down(),
                    Ok(n) => match Message::decode(buf.get(..n).unwrap_or_default()) {
                        Some(Message::Signal(signal)) => {
                            if let (Some(init), Some(s)) =
                                (kernel.process(1), signal::Signal::new(signal))
                            {
                                let _ = signal::send_group(
                                    &init,
                                    signal::SigInfo::user(s, 0, 0),
                                    signal::Origin::Outside,
                                );
                            }
                            continue;
                        }
                        Some(Message::WindowSize(rows, columns)) => {
                            if let Some(t) = &terminal {
                                t.set_winsize([rows, columns, 0, 0]);
                            }
                            continue;
                        }
                        None => continue,
                        Some(Message::Kill) => kernel.shut_down(),
                    },
                    Err(nix::errno::Errno::EINTR) => continue,
                    Err(_) => kernel.shut_down(),
                }
                return;
            }
        })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_and_nonsense_does_not() {
        for m in [
            Message::Signal(15),
            Message::WindowSize(24, 80),
            Message::Kill,
        ] {
            assert_eq!(Message::decode(&m.encode()), Some(m));
        }
        assert_eq!(Message::decode(&[0; LEN]), None);
        assert_eq!(Message::decode(&Message::Kill.encode()[..7]), None);
        assert_eq!(Message::decode(&[1, 0, 0, 0, 99, 0, 0, 0]), None);
    }
}
