//! Guest memory by `process_vm_readv(2)`/`process_vm_writev(2)`, with exact partial counts.
use libc::pid_t;

use crate::stub::PAGE;
use crate::{GUEST_END, GUEST_START, sys};

/// How much of `[addr, addr + len)` lies in the guest range, from its start.
fn clamp(addr: u64, len: usize) -> usize {
    if !(GUEST_START..GUEST_END).contains(&addr) {
        return 0;
    }
    usize::try_from(GUEST_END - addr).map_or(len, |room| len.min(room))
}

/// Bytes from `addr` to the end of its page.
fn to_page_end(addr: u64) -> usize {
    (PAGE - addr % PAGE) as usize
}

/// Copies from the process; returns how many leading bytes could be read.
pub(crate) fn read(pid: pid_t, addr: u64, buf: &mut [u8]) -> usize {
    let len = clamp(addr, buf.len());
    transfer(addr, len, |done, n| {
        buf.get_mut(done..done + n)
            .map_or(0, |part| sys::read_memory(pid, addr + done as u64, part))
    })
}

/// Copies to the process; returns how many leading bytes were written.
pub(crate) fn write(pid: pid_t, addr: u64, buf: &[u8]) -> usize {
    let len = clamp(addr, buf.len());
    transfer(addr, len, |done, n| {
        buf.get(done..done + n)
            .map_or(0, |part| sys::write_memory(pid, addr + done as u64, part))
    })
}

/// Whether the process has no memory any more: it is dead, or about to be.
pub(crate) fn is_gone(pid: pid_t) -> bool {
    sys::has_no_memory(pid, GUEST_START)
}

/// The whole at once; where that falls short, page by page, since the man page promises partial
/// transfers per iovec element only.
fn transfer(addr: u64, len: usize, mut copy: impl FnMut(usize, usize) -> usize) -> usize {
    if len == 0 {
        return 0;
    }
    let mut done = copy(0, len).min(len);
    while done < len {
        let n = to_page_end(addr + done as u64).min(len - done);
        let copied = copy(done, n).min(n);
        done += copied;
        if copied < n {
            break;
        }
    }
    done
}
