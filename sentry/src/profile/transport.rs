//! Times the gofer's answers.

use super::{Part, Profile};
use cofferdam_gofer::transport::{Aside, Received, Transport};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A connection to the gofer whose waits are counted: one for each round trip.
pub struct Timed {
    inner: Box<dyn Transport>,
    profile: Arc<Profile>,
}

impl Timed {
    /// Around `inner`.
    pub fn new(inner: Box<dyn Transport>, profile: &Arc<Profile>) -> Timed {
        Timed {
            inner,
            profile: Arc::clone(profile),
        }
    }
}

impl Transport for Timed {
    // Sending is work of the sentry's own; it does not wait.
    fn send(&mut self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.inner.send(message, fd)
    }

    fn recv(&mut self, buf: &mut [u8], aside: Option<&Aside>) -> io::Result<Received> {
        let inner = &mut self.inner;
        self.profile.time(Part::Gofer, || inner.recv(buf, aside))
    }

    fn shutdown(&mut self) {
        self.inner.shutdown();
    }
}
