//! Open files in flight (SCM_RIGHTS).
//!
//! A file in a queue may itself be a socket whose queue holds files, and so on: files are dropped one after the other
//! by the outermost drop, never recursively, and never under a lock.

use crate::abi::{Errno, Result};
use crate::sync::{Charge, Quota};
use crate::vfs::File;
use std::cell::RefCell;
use std::sync::Arc;

/// Most files in one message (SCM_MAX_FD).
pub const MAX_FILES: usize = 253;
/// Files in flight in the whole sandbox. Linux limits them per user to RLIMIT_NOFILE.
static IN_FLIGHT: Quota = Quota::new(1 << 14);

/// Files on their way from one process to another.
pub(super) struct Rights {
    files: Vec<Arc<File>>,
    _charge: Charge,
}

impl Rights {
    /// Takes files into flight; `None` for none.
    ///
    /// # Errors
    /// EINVAL for more than [`MAX_FILES`]; ETOOMANYREFS if the sandbox has too many in flight, even after a collection
    /// of those that nobody can receive any more.
    pub fn new(files: Vec<Arc<File>>) -> Result<Option<Rights>> {
        if files.is_empty() {
            return Ok(None);
        }
        if files.len() > MAX_FILES {
            return Err(Errno::EINVAL);
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
