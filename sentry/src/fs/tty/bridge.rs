//! The host's terminal as the far end of a guest terminal.
//!
//! The guest gets a pty of its own; the sentry holds its master and pumps bytes between it and the host terminal, which the
//! launcher has put in raw mode. So job control, signals and settings of the guest never touch the host's.
//!
//! Pumping happens in whoever brings the news: the host poller when the terminal is ready, the guest's own write when
//! there is output. Neither waits.

use super::devpts::Devpts;
use super::pty::{Pty, WinSize};
use super::termios::Termios;
use crate::abi::Errno;
use crate::fs::host::{HostPoller, HostWatch, sys};
use crate::sync::{Events, Mutex, Notify, Rank};
use crate::vfs::caller::KernelCaller;
use nix::errno::Errno as HostErrno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use zerocopy::FromBytes;

/// Most bytes moved by one host call.
const CHUNK: usize = 4096;

/// Ctrl-D.
const END_KEY: u8 = 4;

/// A guest terminal connected to a host terminal.
pub struct HostBridge {
    pty: Arc<Pty>,
    fd: Arc<OwnedFd>,
    /// Whether `fd` is a description of our own with O_NONBLOCK.
    nonblocking: bool,
    watch: Arc<HostWatch>,
    /// Bytes taken from one side that the other had no room for. Locked by the one that pumps.
    pending: Mutex<Pending>,
    /// Calls of [`HostBridge::pump`] that the running one has not answered yet; 0: nobody pumps.
    news: AtomicUsize,
}

#[derive(Default)]
struct Pending {
    to_guest: VecDeque<u8>,
    to_host: VecDeque<u8>,
    closed: bool,
    /// The guest has been told of an end of file typed at the host terminal.
    end_typed: bool,
}

struct Pump(Weak<HostBridge>);

impl Notify for Pump {
    fn notify(&self, _: Events) {
        if let Some(b) = self.0.upgrade() {
            b.pump();
        }
    }
}

impl HostBridge {
    /// Makes a guest terminal in `devpts` for this host terminal and starts pumping. Call before lock-down, and before the
    /// host terminal is made raw: the guest's starts with the host's settings and size.
    ///
    /// # Errors
    /// What epoll and ioctl give for the descriptor; ENOSPC without room for a terminal.
    pub fn new(
        host: OwnedFd,
        devpts: &Arc<Devpts>,
        poller: &Arc<HostPoller>,
    ) -> io::Result<Arc<HostBridge>> {
        let raw = |e: Errno| io::Error::from_raw_os_error(e.raw());
        let (host, nonblocking) = own_description(host);
        let fd = Arc::new(host);
        let watch = poller
            .watch(fd.clone())?
            .ok_or(io::Error::from_raw_os_error(libc::ENOTTY))?;
        let pty = devpts.new_pty(&KernelCaller).map_err(raw)?;
        pty.with(|s| s.locked = false);
        if let Ok(size) = sys::winsize(&*fd) {
            pty.set_winsize(size);
        }
        if let Ok(given) = sys::tcgets(&*fd) {
            let mut bytes = [0u8; size_of::<Termios>()];
            for (to, from) in bytes.iter_mut().zip(given) {
                *to = from;
            }
            if let Ok(t) = Termios::read_from_bytes(&bytes) {
                pty.set_termios(t, false);
            }
        }
        let bridge = Arc::new(HostBridge {
            pty,
            fd,
            nonblocking,
            watch,
            pending: Mutex::new(Rank::BRIDGE, Pending::default()),
            news: AtomicUsize::new(0),
        });
        let pump = Arc::new(Pump(Arc::downgrade(&bridge)));
        bridge.watch.queue().register(
            pump.clone(),
            Events::READABLE | Events::WRITABLE | Events::RDHUP,
        );
        bridge
            .pty
            .master_queue()
            .register(pump, Events::READABLE | Events::WRITABLE);
        bridge.watch.arm();
        Ok(bridge)
    }

    /// The guest's terminal.
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }
    /// The path of the slave, for opening it as standard input.
    pub fn path(&self) -> String {
        format!("/dev/pts/{}", self.pty.index())
    }
    /// Leaves all processing to the guest's terminal. The launcher does so itself where it knows when the guest's has taken
    /// the settings over, and before the program runs.
    ///
    /// # Errors
    /// What TCGETS and TCSETS give.
    pub fn make_host_raw(&self) -> crate::abi::Result<()> {
        let mut t = sys::tcgets(&*self.fd)?;
        super::termios::make_raw(&mut t);
        sys::tcsets(&*self.fd, libc::TCSETS as u32, &t)
    }
    /// The host terminal's size changed.
    pub fn set_winsize(&self, size: WinSize) {
        self.pty.set_winsize(size);
    }

    /// Writes what the guest has printed to the host terminal before the sandbox ends; gives up after `limit` without progress.
    pub fn drain(&self, limit: std::time::Duration) {
        use nix::poll::{PollFd, PollFlags, PollTimeout};
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        loop {
            self.pump();
            let left = self.pty.output_pending() + self.pending.lock().to_host.len();
            if left == 0 {
                return;
            }
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
            match nix::poll::poll(&mut fds, timeout) {
                Ok(n) if n > 0 => {}
                Err(HostErrno::EINTR) => {}
                _ => return,
            }
            let events = fds.first().and_then(PollFd::revents);
            if events.is_none_or(|e| e.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)) {
                return;
            }
        }
    }

    /// Moves what can be moved. One pumps at a time (echo of moved input is news to the one that moves it); the others
    /// only leave word.
    fn pump(&self) {
        if self.news.fetch_add(1, Ordering::SeqCst) != 0 {
            return;
        }
        loop {
            let seen = self.news.load(Ordering::SeqCst);
            self.pump_once();
            let last = self
                .news
                .compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst);
            if last.is_ok() {
                return;
            }
        }
    }

    fn pump_once(&self) {
        let hung_up = {
            let mut p = self.pending.lock();
            if p.closed {
                return;
            }
            self.pump_out(&mut p);
            p.closed = self.pump_in(&mut p);
            p.closed
        };
        if hung_up {
            log::info!("the host terminal is gone: hanging up the guest's");
            self.pty.close_master();
        }
    }

    fn pump_out(&self, p: &mut Pending) {
        loop {
            if p.to_host.is_empty() {
                match self.pty.read_master(CHUNK) {
                    Ok(data) if !data.is_empty() => p.to_host.extend(data),
                    _ => return,
                }
            }
            if !self.nonblocking && !self.host_ready(libc::POLLOUT) {
                return;
            }
            match nix::unistd::write(&*self.fd, p.to_host.make_contiguous()) {
                Ok(n) => {
                    p.to_host.drain(..n.min(p.to_host.len()));
                }
                Err(HostErrno::EINTR) => {}
                Err(HostErrno::EAGAIN) => return,
                Err(_) => {
                    // Nobody will ever see it.
                    p.to_host.clear();
                    return;
                }
            }
        }
    }

    /// True: the host terminal is gone.
    fn pump_in(&self, p: &mut Pending) -> bool {
        loop {
            if !p.to_guest.is_empty() {
                match self.pty.write_master(p.to_guest.make_contiguous()) {
                    Ok(n) => {
                        p.to_guest.drain(..n.min(p.to_guest.len()));
                    }
                    Err(_) => return false,
                }
                continue;
            }
            if !self.nonblocking && !self.host_ready(libc::POLLIN) {
                return false;
            }
            let mut buf = [0u8; CHUNK];
            match nix::unistd::read(&*self.fd, &mut buf) {
                // An end of file that was typed before the terminal was made raw: the guest's line discipline is told. Once,
                // for a terminal that does not wait for bytes (VMIN 0) reads so for ever.
                Ok(0) if !p.end_typed && !self.host_hung_up() => {
                    p.end_typed = true;
                    p.to_guest.push_back(END_KEY);
                }
                Ok(0) => return true,
                Ok(n) => p.to_guest.extend(buf.iter().take(n)),
                Err(HostErrno::EINTR) => {}
                Err(HostErrno::EAGAIN) => return false,
                Err(_) => return true,
            }
        }
    }

    fn host_ready(&self, events: i16) -> bool {
        self.poll_host(events) != 0
    }

    fn host_hung_up(&self) -> bool {
        self.poll_host(0) & libc::POLLHUP != 0
    }

    fn poll_host(&self, events: i16) -> i16 {
        use nix::poll::{PollFd, PollFlags, PollTimeout};
        let mut fds = [PollFd::new(
            self.fd.as_fd(),
            PollFlags::from_bits_retain(events),
        )];
        match nix::poll::poll(&mut fds, PollTimeout::ZERO) {
            Ok(n) if n > 0 => {
                let [fd] = fds;
                fd.revents().map_or(0, |e| e.bits())
            }
            _ => 0,
        }
    }
}

impl Drop for HostBridge {
    fn drop(&mut self) {
        if !self.pending.get_mut().closed {
            self.pty.close_master();
        }
    }
}

/// A description of our own of the same terminal, with O_NONBLOCK, if the given one has not got it; else the given one.
fn own_description(fd: OwnedFd) -> (OwnedFd, bool) {
    let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).unwrap_or(0);
    if flags & libc::O_NONBLOCK != 0 {
        return (fd, true);
    }
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    match opened {
        Ok(f) => (OwnedFd::from(f), true),
        Err(_) => (fd, false),
    }
}
