//! How messages travel: one packet each, with at most one descriptor.
//!
//! [`Transport`] keeps the rest of the crate ignorant of the means, so that a shared-memory ring can
//! replace the packets later; [`SeqPacket`] is a `SOCK_SEQPACKET` Unix socket.
#![allow(unsafe_code)] // sendmsg/recvmsg with SCM_RIGHTS

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// What one receive brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes of the message at the front of the caller's buffer; 0 if the peer is gone.
    pub len: usize,
    /// The descriptor that came along.
    pub fd: Option<OwnedFd>,
    /// One came along, but this process may have no more.
    pub lost: bool,
}

/// Runs a wait that may take long, while its caller's other work goes on elsewhere.
pub type Aside = dyn Fn(&mut dyn FnMut()) + Send + Sync;

/// How long a message may take before its receiver waits aside, in nanoseconds. Debug builds do so every time, which tests it.
const PATIENCE: i64 = if cfg!(debug_assertions) { 0 } else { 200_000 };

/// Carries whole messages between two processes that do not trust each other.
pub trait Transport: Send {
    /// Sends one message, and with it a duplicate of `fd`.
    ///
    /// # Errors
    /// The connection is unusable (`EPIPE` when the peer is gone).
    fn send(&mut self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()>;

    /// Waits for one message, `aside` if it takes long.
    ///
    /// # Errors
    /// The connection is unusable, the message does not fit into `buf`, or it carries more
    /// descriptors than this end accepts.
    fn recv(&mut self, buf: &mut [u8], aside: Option<&Aside>) -> io::Result<Received>;

    /// Ends the connection in both directions, so that the peer notices at once.
    fn shutdown(&mut self);
}

/// Bytes of control data for exactly one descriptor. `CMSG_SPACE` would round up to two.
const ONE_FD: usize = size_of::<libc::cmsghdr>() + size_of::<RawFd>();

/// Control buffer, aligned as a `cmsghdr` must be.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    fd: RawFd,
    pad: RawFd,
}

impl Control {
    fn empty() -> Self {
        Self {
            header: libc::cmsghdr {
                cmsg_len: 0,
                cmsg_level: 0,
                cmsg_type: 0,
            },
            fd: -1,
            pad: 0,
        }
    }
}

/// A `SOCK_SEQPACKET` Unix socket.
#[derive(Debug)]
pub struct SeqPacket(OwnedFd);

impl SeqPacket {
    /// One end; accepts one descriptor a message.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// A connected pair of sockets, close-on-exec.
    ///
    /// # Errors
    /// What `socketpair(2)` reports.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let mut fds = [-1; 2];
        // SAFETY: `fds` has room for the two descriptors.
        let ret = unsafe {
            libc::socketpair(
                libc::AF_UNIX,
                libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
                0,
                fds.as_mut_ptr(),
            )
        };
        if ret != 0 {
            return Err(io::Error::last_os_error());
        }
        let [a, b] = fds;
        // SAFETY: socketpair succeeded, so both are open descriptors that nobody else owns.
        Ok(unsafe { (OwnedFd::from_raw_fd(a), OwnedFd::from_raw_fd(b)) })
    }
}

impl SeqPacket {
    /// Whether something is there to be received, at once or within so many nanoseconds (`None`: however long it takes). If it cannot be told, yes.
    fn is_ready(&self, within: Option<i64>) -> bool {
        let mut fd = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = within.map(|tv_nsec| libc::timespec { tv_sec: 0, tv_nsec });
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one pollfd, and a timeout or none, which live as long as the call; no signal mask.
        unsafe { libc::ppoll(&raw mut fd, 1, timeout, std::ptr::null()) != 0 }
    }
}

impl Transport for SeqPacket {
    fn send(&mut self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut iov = libc::iovec {
            iov_base: message.as_ptr().cast_mut().cast(),
            iov_len: message.len(),
        };
        let mut control = Control::empty();
        // SAFETY: msghdr is plain data for which all zeroes is "no name, no control, no flags".
        let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        if let Some(fd) = fd {
            control.header.cmsg_len = ONE_FD;
            control.header.cmsg_level = libc::SOL_SOCKET;
            control.header.cmsg_type = libc::SCM_RIGHTS;
            control.fd = fd.as_raw_fd();
            msg.msg_control = (&raw mut control).cast();
            msg.msg_controllen = ONE_FD;
        }
        loop {
            // SAFETY: `msg` points to `iov`, `message` and `control`, all alive across the call;
            // sendmsg only reads them.
            let sent =
                unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const msg, libc::MSG_NOSIGNAL) };
            if sent >= 0 {
                return Ok(()); // a sequenced packet is sent whole or not at all
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn recv(&mut self, buf: &mut [u8], aside: Option<&Aside>) -> io::Result<Received> {
        if let Some(aside) = aside
            && !self.is_ready(Some(PATIENCE))
        {
            aside(&mut || {
                self.is_ready(None);
            });
        }
        let mut iov = libc::iovec {
            iov_base: buf.as_mut_ptr().cast(),
            iov_len: buf.len(),
        };
        loop {
            let mut control = Control::empty();
            // SAFETY: as in `send`.
            let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
            msg.msg_iov = &raw mut iov;
            msg.msg_iovlen = 1;
            msg.msg_control = (&raw mut control).cast();
            msg.msg_controllen = ONE_FD;
            // SAFETY: `msg` points to `buf` and `control`, exclusively borrowed here, with their
            // true lengths.
            let got =
                unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut msg, libc::MSG_CMSG_CLOEXEC) };
            let Ok(len) = usize::try_from(got) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            };
            let has_fd = msg.msg_controllen >= ONE_FD
                && control.header.cmsg_level == libc::SOL_SOCKET
                && control.header.cmsg_type == libc::SCM_RIGHTS
                && control.header.cmsg_len == ONE_FD
                && control.fd >= 0;
            // SAFETY: the kernel has just installed this descriptor for us (SCM_RIGHTS with room
            // for one), so nobody else owns it.
            let fd = has_fd.then(|| unsafe { OwnedFd::from_raw_fd(control.fd) });
            let cut = msg.msg_flags & libc::MSG_CTRUNC != 0;
            if msg.msg_flags & libc::MSG_TRUNC != 0 || (cut && fd.is_some()) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "message too long, or with too many descriptors",
                ));
            }
            let lost = cut;
            return Ok(Received { len, fd, lost });
        }
    }

    fn shutdown(&mut self) {
        // SAFETY: takes no pointers.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_RDWR) };
    }
}
