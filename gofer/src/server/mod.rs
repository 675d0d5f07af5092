//! The server: one connection, one thread, one request at a time.
//!
//! [`run`] is the whole life of a gofer process after its set-up. Per connection there is a
//! [`session::Session`] with a [`table::HandleTable`]; [`export::Export`] says what is served and
//! how. The operations are in `read_ops`, `write_ops`, `xattr_ops` and `passed_ops`.
//!
//! Whatever a client sends, the server answers with an error or ends the connection; it never
//! panics, never opens anything but a regular file or a directory, and holds no more descriptors
//! than its quota.

pub mod export;
pub mod session;
pub mod table;

mod passed_ops;
mod read_ops;
mod write_ops;
mod xattr_ops;

pub use export::{Export, ExportError, ExportOptions};
pub use session::Session;

use crate::host::ProcFds;
use crate::protocol::MAX_MESSAGE;
use crate::transport::{SeqPacket, Transport};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Descriptors that the process needs besides handles: streams, socket, exports, one being opened.
const RESERVED_FDS: u64 = 64;
/// Most handles of a connection, whatever the descriptor limit is.
const MAX_HANDLES: u32 = 1 << 16;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The connection broke other than by the client's closing it.
    #[error("gofer connection failed: {0}")]
    Connection(#[from] io::Error),
}

/// Serves `exports` on `socket` until the client closes it. Before this, the process has made
/// itself at home: [`prepare_process`], its mount tree ([`crate::tree`]) and its jail.
///
/// # Errors
/// [`ServerError::Connection`] if the connection breaks.
pub fn run(socket: OwnedFd, exports: Vec<Export>, proc_fds: ProcFds) -> Result<(), ServerError> {
    let handles = handle_quota(exports.len());
    serve(
        &mut SeqPacket::new(socket),
        Session::new(exports, proc_fds, handles),
    )
}

/// Serves one session over any transport.
///
/// # Errors
/// [`ServerError::Connection`] if the connection breaks.
pub fn serve(transport: &mut dyn Transport, mut session: Session) -> Result<(), ServerError> {
    let mut request = vec![0; MAX_MESSAGE];
    let mut reply = Vec::with_capacity(MAX_MESSAGE);
    loop {
        let received = match transport.recv(&mut request, None) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(message) = request.get(..received.len).filter(|m| !m.is_empty()) else {
            return Ok(());
        };
        let Some(fd) = session.handle(message, received.fd, &mut reply) else {
            transport.shutdown();
            return Err(io::Error::new(io::ErrorKind::InvalidData, "malformed request").into());
        };
        match transport.send(&reply, fd.as_ref().map(AsFd::as_fd)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
}

/// Process-wide set-up that the server relies on: the descriptor limit is raised as far as it goes
/// (every handle is a descriptor) and the umask is cleared (modes come from the sentry, which has
/// applied the guest's). To be called before the jail closes.
pub fn prepare_process() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::warn!("cannot raise the descriptor limit to {hard}: {error}");
    }
}

fn handle_quota(exports: usize) -> u32 {
    use nix::sys::resource::{Resource, getrlimit};
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let reserved = RESERVED_FDS.saturating_add(u64::try_from(exports).unwrap_or(u64::MAX));
    u32::try_from(soft.saturating_sub(reserved))
        .unwrap_or(MAX_HANDLES)
        .clamp(16, MAX_HANDLES)
}
