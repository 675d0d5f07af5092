//! Windows on files in guest processes, from which their stubs answer reads and writes ([`MemOp::Window`]; what is lent: [`crate::vfs::pages`]).
//!
//! A window belongs to an address space, whose threads share it, and shows one open file for as long as one of them borrows from it. It keeps the file
//! open, as a mapping does, so it is emptied when a descriptor is closed, before the guest goes on; and its place is used for another file only when
//! no copy can be under way there.
//!
//! Locks: the table's own ([`Rank::PAGES`]), not across an exchange with the stub: whoever changes windows says so in the table.

use super::Cx;
use super::loan::Lent;
use crate::mm::MemoryManager;
use crate::sync::{Mutex, Rank};
use crate::vfs::File;
use crate::vfs::loan::Loan;
use crate::vfs::pages::{LentPages, MOST, PageLoan, Reads, WINDOWS};
use cofferdam_platform::{MemOp, Pages, Thread, Valid};
use std::os::fd::AsFd;
use std::sync::Arc;

/// The windows of an address space.
struct Windows(Mutex<Table>);

#[derive(Default)]
struct Table {
    windows: [Window; WINDOWS],
    /// Somebody changes windows.
    busy: bool,
    /// Somebody else wanted to meanwhile.
    again: bool,
    /// Where the next one is looked for that gives way.
    hand: usize,
}

#[derive(Default)]
struct Window {
    /// What it shows.
    file: Option<Arc<File>>,
    /// Who borrows or borrowed from it and may still copy.
    users: Vec<Arc<Lent>>,
    /// It is to be emptied.
    stale: bool,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows(Mutex::new(Rank::PAGES, Table::default()))
    }
}

impl Window {
    fn shows(&self, file: &Arc<File>) -> bool {
        self.file.as_ref().is_some_and(|f| Arc::ptr_eq(f, file))
    }
    /// No copy can be under way there.
    fn is_free(&mut self) -> bool {
        self.users.retain(|u| !u.is_settled());
        self.users.is_empty()
    }
    fn is_unused(&self) -> bool {
        self.users.iter().all(|u| u.is_over())
    }
}

/// Where a file is or is to be shown.
enum Place {
    There(usize),
    /// With what was there before.
    New(usize, Option<Arc<File>>),
}

impl Table {
    fn place(&mut self, file: &Arc<File>, user: &Arc<Lent>) -> Option<Place> {
        if let Some(at) = self.windows.iter().position(|w| w.shows(file)) {
            let window = self.windows.get_mut(at)?;
            window.users.retain(|u| !u.is_settled());
            window.users.push(user.clone());
            return Some(Place::There(at));
        }
        let mut windows = self.windows.iter_mut();
        let free = windows
            .position(|w| w.file.is_none() && w.is_free())
            .or_else(|| self.windows.iter_mut().position(Window::is_free));
        let at = match free {
            Some(at) => at,
            None => {
                // One gives way.
                let at = self.hand % WINDOWS;
                self.hand = at + 1;
                let window = self.windows.get_mut(at)?;
                window.users.iter().for_each(|u| u.end());
                window.is_free().then_some(at)?
            }
        };
        let window = self.windows.get_mut(at)?;
        window.users.push(user.clone());
        window.stale = false;
        self.busy = true;
        Some(Place::New(at, window.file.replace(file.clone())))
    }
    /// Takes the files that nobody borrows any more.
    fn unused(&mut self) -> Vec<Arc<File>> {
        let mut files = Vec::new();
        for w in self.windows.iter_mut().filter(|w| w.is_unused()) {
            w.stale |= w.file.is_some();
            files.extend(w.file.take());
        }
        files
    }
}

/// Lends `to` the beginning of `file`, for writing too or not, and shows it to the calling process. `None` if that cannot be.
pub(super) fn lend(cx: &Cx<'_>, file: &Arc<File>, to: &Arc<Lent>, write: bool) -> Option<Pages> {
    let thread = cx.thread().ok()?;
    let limit = cx.limit(libc::RLIMIT_FSIZE);
    let lent = file.ops().lend_pages(file, to.clone(), write, limit)?;
    let windows = cx.mm.extensions.extension::<Windows>();
    let place = {
        let mut t = windows.0.lock();
        if t.busy {
            return None;
        }
        t.place(file, to)?
    };
    let window = match place {
        Place::There(at) => at,
        Place::New(at, before) => {
            let shown = fill(thread, at, &lent, file.flags().writable());
            let failed = {
                let mut t = windows.0.lock();
                t.busy = false;
                let window = t.windows.get_mut(at).filter(|_| !shown);
                window.map(std::mem::take)
            };
            drop((before, failed));
            windows.resume(thread);
            shown.then_some(at)?
        }
    };
    Some(Pages {
        window,
        valid: Valid {
            read: lent.read,
            write: lent.write,
        },
        read_at: match lent.reads {
            Reads::Due => 0,
            Reads::AfterWrite => 1,
            Reads::Never => u64::MAX,
        },
    })
}

fn fill(thread: &dyn Thread, index: usize, lent: &LentPages, writable: bool) -> bool {
    let window = MemOp::Window {
        index,
        len: MOST,
        file: Some(lent.fd.as_fd()),
        writable,
    };
    thread.execute(&[window]).is_ok()
}

/// Whether a window shows `file`.
pub(super) fn show(mm: &MemoryManager, file: &Arc<File>) -> bool {
    mm.extensions
        .existing::<Windows>()
        .is_some_and(|w| w.0.lock().windows.iter().any(|w| w.shows(file)))
}

/// Descriptors were closed: what nobody borrows any more is not kept open.
pub(super) fn closed(cx: &Cx<'_>) {
    if let (Some(windows), Ok(thread)) = (cx.mm.extensions.existing::<Windows>(), cx.thread()) {
        windows.sweep(thread);
    }
}

/// The caller leaves that address space.
pub(super) fn left(mm: &MemoryManager) {
    if let Some(windows) = mm.extensions.existing::<Windows>() {
        let files = windows.0.lock().unused();
        drop(files);
    }
}

impl Windows {
    fn sweep(&self, thread: &dyn Thread) {
        let (files, stale) = {
            let mut t = self.0.lock();
            if t.busy {
                t.again = true;
                return;
            }
            t.again = false;
            let files = t.unused();
            let indexes = 0..WINDOWS;
            let stale: Vec<usize> = indexes
                .zip(&mut t.windows)
                .filter_map(|(i, w)| std::mem::take(&mut w.stale).then_some(i))
                .collect();
            t.busy = !stale.is_empty();
            (files, stale)
        };
        if stale.is_empty() {
            return;
        }
        let empty: Vec<MemOp<'_>> = stale
            .iter()
            .map(|index| MemOp::Window {
                index: *index,
                len: MOST,
                file: None,
                writable: false,
            })
            .collect();
        if !thread.execute_later(&empty) {
            // A process that is gone shows nothing.
            let _ = thread.execute(&empty);
        }
        self.0.lock().busy = false;
        drop(files);
        self.resume(thread);
    }
    /// Somebody may have found the table busy.
    fn resume(&self, thread: &dyn Thread) {
        if std::mem::take(&mut self.0.lock().again) {
            self.sweep(thread);
        }
    }
}
