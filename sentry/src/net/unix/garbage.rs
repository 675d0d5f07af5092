//! Sockets that only messages refer to: cycles of sockets sent over each other would never be freed.
//!
//! A socket in flight is garbage if every reference to it is a message in the queue of a socket that is garbage itself. Their
//! queues are emptied, which breaks the cycles (as unix_gc does in Linux).

use super::UnixSocket;
use crate::net::socket::socket_of;
use crate::sync::{Mutex, Rank};
use crate::vfs::File;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

struct Entry {
    file: Weak<File>,
    /// In how many messages it is.
    count: usize,
}

struct Registry {
    /// AF_UNIX sockets in flight, by address of their file.
    sockets: HashMap<usize, Entry>,
    /// Number of sockets at which garbage is looked for.
    collect_at: usize,
}

const MIN_COLLECT: usize = 256;

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(|| {
    Mutex::new(
        Rank::LEAF,
        Registry {
            sockets: HashMap::new(),
            collect_at: MIN_COLLECT,
        },
    )
});

fn address(file: &Arc<File>) -> usize {
    Arc::as_ptr(file) as usize
}

fn unix_socket(file: &File) -> Option<&UnixSocket> {
    socket_of(file)?.as_any().downcast_ref()
}

/// Files go into flight.
pub(super) fn sent(files: &[Arc<File>]) {
    if !files.iter().any(|f| unix_socket(f).is_some()) {
        return;
    }
    let full = {
        let mut r = REGISTRY.lock();
        for f in files.iter().filter(|f| unix_socket(f).is_some()) {
            r.sockets
                .entry(address(f))
                .or_insert_with(|| Entry {
                    file: Arc::downgrade(f),
                    count: 0,
                })
                .count += 1;
        }
        r.sockets.len() >= r.collect_at
    };
    if full {
        collect();
        let mut r = REGISTRY.lock();
        r.collect_at = r.sockets.len().saturating_mul(2).max(MIN_COLLECT);
    }
}

/// Files leave flight.
pub(super) fn received(files: &[Arc<File>]) {
    if !files.iter().any(|f| unix_socket(f).is_some()) {
        return;
    }
    let mut r = REGISTRY.lock();
    for f in files.iter().filter(|f| unix_socket(f).is_some()) {
        if let Some(e) = r.sockets.get_mut(&address(f)) {
            e.count = e.count.saturating_sub(1);
            if e.count == 0 {
                r.sockets.remove(&address(f));
            }
        }
    }
}

/// A socket that only messages refer to.
struct Candidate {
    file: Arc<File>,
    count: usize,
    /// Addresses of the files in its queue.
    queued: Vec<usize>,
    /// How many of the messages with it are in candidates' queues.
    internal: usize,
    live: bool,
}

/// Empties the queues of garbage. No lock may be held.
pub(super) fn collect() {
    let mut candidates: HashMap<usize, Candidate> = HashMap::new();
    {
        let r = REGISTRY.lock();
        for (at, e) in &r.sockets {
            let Some(file) = e.file.upgrade() else {
                continue;
            };
            // One reference is ours.
            if Arc::strong_count(&file) == e.count + 1 {
                candidates.insert(
                    *at,
                    Candidate {
                        file,
                        count: e.count,
                        queued: Vec::new(),
                        internal: 0,
                        live: false,
                    },
                );
            }
        }
    }
    for c in candidates.values_mut() {
        if let Some(s) = unix_socket(&c.file) {
            s.for_each_queued(&mut |f| c.queued.push(address(f)));
        }
    }
    let edges: Vec<usize> = candidates
        .values()
        .flat_map(|c| c.queued.iter().copied())
        .collect();
    for at in edges {
        if let Some(c) = candidates.get_mut(&at) {
            c.internal += 1;
        }
    }
    let mut reached: Vec<usize> = candidates
        .iter()
        .filter(|(_, c)| c.internal < c.count)
        .map(|(at, _)| *at)
        .collect();
    while let Some(at) = reached.pop() {
        if let Some(c) = candidates.get_mut(&at)
            && !c.live
        {
            c.live = true;
            reached.extend_from_slice(&c.queued);
        }
    }
    for c in candidates.values().filter(|c| !c.live) {
        if let Some(s) = unix_socket(&c.file) {
            s.purge();
        }
    }
}
