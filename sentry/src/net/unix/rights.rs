//! Open files in flight (SCM_RIGHTS).
//!
//! A file in a queue may itself be a socket whose queue holds files, and so on: files are dropped one after the other
//! by the outermost drop, never recursively, and never under a lock.

use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::sync::{Charge, Mutex, Quota, Rank};
use crate::vfs::{Caller, File};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most files in one message (SCM_MAX_FD).
pub const MAX_FILES: usize = 253;
/// Files in flight in the whole sandbox, whatever the limits of its users are.
static IN_FLIGHT: Quota = Quota::new(1 << 14);
/// Files in flight by the real user who sent them.
static BY_USER: Mutex<BTreeMap<u32, usize>> = Mutex::new(Rank::LEAF, BTreeMap::new());

/// Some of a user's files in flight.
struct Share {
    uid: u32,
    n: usize,
}

impl Share {
    fn take(uid: u32, n: usize) -> Share {
        *BY_USER.lock().entry(uid).or_default() += n;
        Share { uid, n }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut users = BY_USER.lock();
        if let Some(used) = users.get_mut(&self.uid) {
            *used = used.saturating_sub(self.n);
            if *used == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

/// Whether the caller has more files in flight than it may have open (`too_many_unix_fds`).
fn too_many(caller: &dyn Caller) -> bool {
    let creds = caller.credentials();
    let used = BY_USER.lock().get(&creds.uid).copied().unwrap_or(0);
    used as u64 > caller.open_files_limit()
        && !creds.has(Caps::SYS_RESOURCE)
        && !creds.has(Caps::SYS_ADMIN)
}

/// Files on their way from one process to another.
pub(super) struct Rights {
    files: Vec<Arc<File>>,
    _charge: Charge,
    _share: Share,
}

impl Rights {
    /// Takes files into flight; `None` for none.
    ///
    /// # Errors
    /// EINVAL for more than [`MAX_FILES`]; ETOOMANYREFS if the user or the sandbox has too many in flight, even after a
    /// collection of those that nobody can receive any more.
    pub fn new(caller: &dyn Caller, files: Vec<Arc<File>>) -> Result<Option<Rights>> {
        if files.is_empty() {
            return Ok(None);
        }
        if files.len() > MAX_FILES {
            return Err(Errno::EINVAL);
        }
        if too_many(caller) {
            super::garbage::collect();
            if too_many(caller) {
                return Err(Errno::ETOOMANYREFS);
            }
        }
        let charge = match IN_FLIGHT.charge(files.len()) {
            Some(c) => c,
            None => {
                super::garbage::collect();
                IN_FLIGHT.charge(files.len()).ok_or(Errno::ETOOMANYREFS)?
            }
        };
        super::garbage::sent(&files);
        Ok(Some(Rights {
            _share: Share::take(caller.credentials().uid, files.len()),
            files,
            _charge: charge,
        }))
    }
    /// The files, for another receiver that looks (MSG_PEEK).
    pub fn files(&self) -> &[Arc<File>] {
        &self.files
    }
    /// The files, out of flight.
    pub fn receive(mut self) -> Vec<Arc<File>> {
        super::garbage::received(&self.files);
        std::mem::take(&mut self.files)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        if !self.files.is_empty() {
            super::garbage::received(&self.files);
            drop_later(std::mem::take(&mut self.files));
        }
    }
}

thread_local!(static PENDING: RefCell<Option<Vec<Arc<File>>>> = const { RefCell::new(None) });

/// Drops files without recursion.
fn drop_later(files: Vec<Arc<File>>) {
    let outermost = PENDING.with_borrow_mut(|p| match p {
        Some(list) => {
            list.extend(files);
            false
        }
        None => {
            *p = Some(files);
            true
        }
    });
    if !outermost {
        return;
    }
    while let Some(file) = PENDING.with_borrow_mut(|p| p.as_mut().and_then(Vec::pop)) {
        drop(file);
    }
    PENDING.with_borrow_mut(|p| *p = None);
}
