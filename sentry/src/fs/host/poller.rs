//! Wakes wait queues when host descriptors become ready.
//!
//! One thread in epoll_wait. A descriptor is in the epoll set, edge-triggered, only while somebody waits for it: it is
//! taken out at the first edge that finds the queue empty, and put back by [`HostWatch::arm`].
//!
//! Lock order: a watch's `armed` lock is a leaf; wait queues are woken without it.

use crate::sync::{Events, Mutex, Rank, WaitQueue};
use nix::errno::Errno as HostErrno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// The thread that watches host descriptors.
pub struct HostPoller {
    epoll: Epoll,
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    next: u64,
    by_key: HashMap<u64, Weak<HostWatch>>,
}

/// One watched descriptor.
pub struct HostWatch {
    poller: Arc<HostPoller>,
    key: u64,
    fd: Arc<OwnedFd>,
    queue: Arc<WaitQueue>,
    /// Whether the descriptor is in the epoll set.
    armed: Mutex<bool>,
}

impl HostPoller {
    /// Makes the epoll set and starts the thread. Call before lock-down.
    pub fn start() -> io::Result<Arc<HostPoller>> {
        let poller = Arc::new(HostPoller {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            watches: Mutex::new(Rank::LEAF, Watches::default()),
        });
        let p = poller.clone();
        std::thread::Builder::new()
            .name("host-poller".into())
            .spawn(move || p.run())?;
        Ok(poller)
    }

    /// Watches `fd` from now on. `None` if it is always ready (regular files: epoll's EPERM).
    pub fn watch(self: &Arc<Self>, fd: Arc<OwnedFd>) -> io::Result<Option<Arc<HostWatch>>> {
        let probe = EpollEvent::new(EpollFlags::EPOLLET | EpollFlags::EPOLLONESHOT, u64::MAX);
        match self.epoll.add(&fd, probe) {
            Err(HostErrno::EPERM) => return Ok(None),
            other => other?,
        }
        self.epoll.delete(&fd)?;
        let mut w = self.watches.lock();
        let key = w.next;
        w.next += 1;
        let watch = Arc::new(HostWatch {
            poller: self.clone(),
            key,
            fd,
            queue: Arc::new(WaitQueue::new()),
            armed: Mutex::new(Rank::LEAF, false),
        });
        w.by_key.insert(key, Arc::downgrade(&watch));
        Ok(Some(watch))
    }

    fn run(&self) {
        let mut events = [EpollEvent::empty(); 32];
        loop {
            let n = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(n) => n,
                Err(HostErrno::EINTR) => continue,
                Err(e) => {
                    log::error!("host poller: epoll_wait: {e}; standard streams no longer wake");
                    return;
                }
            };
            for e in events.iter().take(n) {
                let watch = self
                    .watches
                    .lock()
                    .by_key
                    .get(&e.data())
                    .and_then(Weak::upgrade);
                if let Some(w) = watch {
                    w.edge(Events::from_bits_truncate(
                        e.events().bits().cast_unsigned(),
                    ));
                }
            }
        }
    }
}

impl HostWatch {
    /// Woken when the descriptor's readiness changes, while armed.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }

    /// Makes sure that the next change (or the present readiness) wakes the queue. Call it *after* registering with the
    /// queue, or before, if readiness is looked at again after registering.
    pub fn arm(&self) {
        let mut armed = self.armed.lock();
        if *armed {
            return;
        }
        let all = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLPRI
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        match self
            .poller
            .epoll
            .add(&*self.fd, EpollEvent::new(all, self.key))
        {
            Ok(()) => *armed = true,
            Err(e) => log::error!("host poller: epoll_ctl: {e}"),
        }
    }

    fn edge(&self, events: Events) {
        self.queue.wake(events);
        let mut armed = self.armed.lock();
        // A waiter registers, then arms: either it is seen here, or its arm() finds the descriptor taken out.
        if *armed && self.queue.is_empty() {
            *armed = false;
            if let Err(e) = self.poller.epoll.delete(&*self.fd) {
                log::error!("host poller: epoll_ctl: {e}");
            }
        }
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        // Other descriptors of the same description would keep the entry alive.
        if *self.armed.lock() {
            let _ = self.poller.epoll.delete(&*self.fd);
        }
        self.poller.watches.lock().by_key.remove(&self.key);
    }
}
