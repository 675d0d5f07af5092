//! FUTEX_WAKE_OP: changes one word, wakes on both.

use super::{FutexTable, MATCH_ANY, Target};
use crate::abi::{Errno, Result};
use crate::sync::before_exchange;
use crate::usermem::{GuestMemory, UserPtr};
use cofferdam_platform::Thread;

/// How often a word may change under the sentry before it gives up; a guest that races this long only delays itself.
pub(super) const MAX_TRIES: usize = 1000;

/// Does the encoded operation on the word at `addr2`, wakes `count1` at the first futex, and `count2` at the second if
/// the old value fulfils the encoded comparison. How many were woken.
///
/// # Errors
/// EFAULT; ENOSYS for an unknown operation or comparison.
pub fn wake_op(
    table: &FutexTable,
    mem: &dyn GuestMemory,
    thread: &dyn Thread,
    (first, count1): (Target, usize),
    (second, addr2, count2): (Target, u64, usize),
    encoded: u32,
) -> Result<usize> {
    let old = change(mem, thread, addr2, encoded)?;
    let holds = compare(old, encoded)?;
    let mut woken = table.wake(first.key, count1, MATCH_ANY)?;
    if holds {
        woken += table.wake(second.key, count2, MATCH_ANY)?;
    }
    Ok(woken)
}

/// The operand fields are 12 bits, signed.
fn operand(encoded: u32, shift: u32) -> u32 {
    let raw = (encoded >> shift) & 0xfff;
    if raw & 0x800 != 0 {
        raw | 0xffff_f000
    } else {
        raw
    }
}

fn change(mem: &dyn GuestMemory, thread: &dyn Thread, addr: u64, encoded: u32) -> Result<u32> {
    const SHIFT: u32 = 8;
    let op = (encoded >> 28) & 0xf;
    let mut arg = operand(encoded, 12);
    if op & SHIFT != 0 {
        arg = 1u32.wrapping_shl(arg & 31);
    }
    let apply = |old: u32| match op & 7 {
        0 => Ok(arg),
        1 => Ok(old.wrapping_add(arg)),
        2 => Ok(old | arg),
        3 => Ok(old & !arg),
        4 => Ok(old ^ arg),
        _ => Err(Errno::ENOSYS),
    };
    let mut old = mem.get(UserPtr::<u32>::new(addr))?;
    for _ in 0..MAX_TRIES {
        let found = exchange(thread, addr, old, apply(old)?)?;
        if found == old {
            return Ok(old);
        }
        old = found;
    }
    Err(Errno::EAGAIN)
}

/// One compare-and-exchange; the value found.
pub(super) fn exchange(thread: &dyn Thread, addr: u64, old: u32, new: u32) -> Result<u32> {
    before_exchange();
    match thread.compare_exchange(addr, old, new) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Errno::EFAULT),
        Err(e) => {
            log::debug!("compare-and-exchange in the guest failed: {e}");
            Err(Errno::EFAULT)
        }
    }
}

fn compare(old: u32, encoded: u32) -> Result<bool> {
    let (old, arg) = (old.cast_signed(), operand(encoded, 0).cast_signed());
    Ok(match (encoded >> 24) & 0xf {
        0 => old == arg,
        1 => old != arg,
        2 => old < arg,
        3 => old <= arg,
        4 => old > arg,
        5 => old >= arg,
        _ => return Err(Errno::ENOSYS),
    })
}
