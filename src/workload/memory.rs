//! Rows: mappings and page faults.

use super::sys::{PAGE, Pages};
use super::{Row, done, each};

pub(super) const ROWS: &[Row] = &[
    Row::new("memory", "mmap+munmap 4 KiB", || {
        each(|| done(Pages::map(PAGE)?))
    }),
    Row::new("memory", "mmap+touch+munmap 64 KiB", || {
        each(|| {
            Pages::map(16 * PAGE)?.touch();
            Ok(())
        })
    }),
    Row::new("memory", "mprotect twice", || {
        let mut pages = Pages::map(PAGE)?;
        each(move || pages.protect_and_back())
    }),
    Row::new("memory", "256 page faults", || {
        let mut pages = Pages::map(256 * PAGE)?;
        each(move || {
            pages.touch();
            pages.forget()
        })
    }),
];
