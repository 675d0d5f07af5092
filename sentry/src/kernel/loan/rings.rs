//! Ends of pipes that are lent: see [`crate::fs::pipe::lent`].

use super::Lent;
use crate::fs::pipe::lent::{self, End};
use crate::kernel::Cx;
use crate::sync::before_exchange;
use crate::vfs::loan::Loan;
use crate::vfs::{File, notify};
use cofferdam_platform::{Descriptor, Known};
use std::sync::Arc;

/// Lends an end of a pipe.
pub(super) fn lend(cx: &Cx<'_>, fd: u32, file: &Arc<File>) {
    let (Ok(number), Some(thread)) = (i32::try_from(fd), &cx.own.thread) else {
        return;
    };
    let entry = Descriptor::entry(fd);
    if cx.task.loans.has(entry, |l| lent::is_lent_to(file, l)) || notify::is_watched() {
        return;
    }
    let task = cx.task.tid();
    let windows = cx.mm.extensions.extension::<lent::Windows>();
    let Some((ring, end)) = lent::ring_of(file, task, || windows.has_room(task)) else {
        return;
    };
    let new = Lent::new(entry, file, thread, Some(ring.clone()));
    let loan: Arc<dyn Loan> = new.clone();
    let Some((window, there)) = windows.take(&ring, end, &loan, task) else {
        return;
    };
    if !there {
        before_exchange();
        if thread.execute(&ring.windows(end, window)).is_err() {
            return new.end();
        }
        windows.show(window, &loan);
    }
    cx.task.loans.put(&new);
    let known = match end {
        End::Read => Known::READ_RING,
        End::Write => Known::WRITE_RING,
    };
    let begun = cx.fds().lend(number, file, loan.clone())
        && lent::lend(file, &ring, &loan, task)
        && new.begin(&Descriptor {
            fd,
            known,
            position: None,
            stat: None,
            pages: None,
            ring: Some(window),
        });
    if !begun {
        new.end();
    }
}
