//! pagemap: a word for each page of a process (proc_pid_pagemap(5)). Frames are nobody's business here, as for those without CAP_SYS_ADMIN.

use super::Subject;
use super::mem::{MemoryInode, seek};
use crate::abi::{Errno, Result};
use crate::fs::pseudo::Attr;
use crate::kernel::{ptrace, task_of};
use crate::mm::{Backing, MemoryManager, PAGE};
use crate::usermem::Sink;
use crate::vfs::{Caller, File, FileOps, Whence};
use cofferdam_platform::{GUEST_END, RESIDENT_MAX, Thread};
use std::any::Any;
use std::sync::Arc;

/// Most words of one read; the reader comes again for more.
const MOST: usize = 1 << 17;
/// Most times that one read asks the host.
const QUESTIONS: usize = 4096;

/// The page is in memory.
const PRESENT: u64 = 1 << 63;
/// It is of a file or of shared memory.
const FILE: u64 = 1 << 61;
/// Nobody else has it.
const EXCLUSIVE: u64 = 1 << 56;

/// The file.
pub(super) fn make(subject: &Subject, attr: Attr) -> Arc<MemoryInode> {
    MemoryInode::new(subject, attr, |mm| Box::new(Pagemap { mm }))
}

/// An open pagemap.
struct Pagemap {
    mm: Option<Arc<MemoryManager>>,
}

/// The words of pages from `addr` on; fewer than asked for if it took many questions.
fn words(mm: &MemoryManager, thread: &dyn Thread, addr: u64, count: usize) -> Vec<u64> {
    let end = addr.saturating_add(count as u64 * PAGE).min(GUEST_END);
    let mut out = Vec::new();
    let mut pages = [0u8; RESIDENT_MAX];
    let mut at = addr;
    for _ in 0..QUESTIONS {
        if at >= end {
            break;
        }
        let Some(v) = mm.next_vma(at).filter(|v| v.start < end) else {
            at = end;
            break;
        };
        let from = v.start.max(at);
        let to = v.end.min(end);
        let index = |a: u64| usize::try_from((a - addr) / PAGE).unwrap_or(count);
        out.resize(index(from), 0);
        at = from;
        let want = index(to) - index(from);
        let part = pages.get_mut(..want.min(RESIDENT_MAX)).unwrap_or_default();
        let Ok(n) = mm.look(thread, from, part) else {
            out.resize(index(to), 0);
            at = to;
            continue;
        };
        let word = match v.backing {
            Backing::Anonymous => PRESENT | EXCLUSIVE,
            _ => PRESENT | FILE,
        };
        let each = part.iter().take(n);
        out.extend(each.map(|p| if p & 1 != 0 { word } else { 0 }));
        at += n as u64 * PAGE;
    }
    if at >= end {
        out.resize(count, 0);
    }
    out
}

impl FileOps for Pagemap {
    fn read(&self, _: &File, cx: &dyn Caller, dst: &mut dyn Sink, pos: &mut u64) -> Result<usize> {
        let Some(mm) = &self.mm else {
            return Ok(0);
        };
        if !pos.is_multiple_of(8) || !dst.remaining().is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let addr = (*pos / 8).saturating_mul(PAGE);
        // Up to the end of the addresses that Linux gives.
        const LAST: u64 = 0x7fff_ffff_f000;
        let left = LAST.saturating_sub(addr) / PAGE;
        let count = (dst.remaining() / 8)
            .min(MOST)
            .min(usize::try_from(left).unwrap_or(MOST));
        if count == 0 {
            return Ok(0);
        }
        // Of a process that runs it is not known.
        let words = task_of(cx)
            .and_then(|me| ptrace::with_thread_in(me, mm, |t| words(mm, t, addr, count)))
            .unwrap_or_else(|| vec![0; count]);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let put = dst.put(&bytes)?;
        *pos = pos.wrapping_add(put as u64);
        Ok(put)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        seek(pos, offset, whence)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
