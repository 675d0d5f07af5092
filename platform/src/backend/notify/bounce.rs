//! Guest memory that the stub copies along with a call, so that the sentry needs no system call to reach it.
//!
//! The stub says with a call whether it copied what that reads to the slot, and whether it found what that writes writable; where both are follows
//! from the call ([`eager::buffers`]). While the worker handles that call, reads within the first come from the slot, and writes within the second go to the slot
//! in the end (a few bytes with the answer) and are copied by the stub on its way back. Whatever else happens to the task first (an exchange, another event before it runs again, new registers) carries out the
//! deferred writes at once.
//!
//! All of it is hostile: a guest that lies here reads or writes other places of its own memory than it said.
use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::{Inner, Process, Task};
use crate::stub::eager;
use crate::stub::slot::{BOUNCE, IN, OUT, SHORT, SHORT_OUT, windows};
use crate::{Call, GUEST_END, GUEST_START, mem};

/// What the bounce buffer of the call in hand holds.
#[derive(Debug, Default)]
pub(super) struct Bounce {
    /// There is a call in hand; looked at before `windows` is locked.
    open: AtomicBool,
    windows: Mutex<Windows>,
}

#[derive(Debug)]
struct Windows {
    slot: usize,
    /// Address and length in bytes of what was copied in, and whether it is a whole string.
    input: (u64, usize),
    string: bool,
    /// Address and length in bytes of what may be written, and how much of it was.
    output: (u64, usize),
    written: usize,
    /// What was written, until it is more than fits here: then it is in the slot.
    short: [u8; SHORT_OUT],
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            slot: 0,
            input: (0, 0),
            string: false,
            output: (0, 0),
            written: 0,
            short: [0; SHORT_OUT],
        }
    }
}

/// A buffer as a window; empty if it is not inside the guest's memory.
fn window((addr, len): (u64, u64)) -> (u64, usize) {
    let inside =
        (GUEST_START..GUEST_END).contains(&addr) && len <= BOUNCE as u64 && len <= GUEST_END - addr;
    if inside { (addr, len as usize) } else { (0, 0) }
}

/// Offset of `addr` in a window.
fn offset(addr: u64, (start, len): (u64, usize)) -> Option<usize> {
    let offset = usize::try_from(addr.checked_sub(start)?).ok()?;
    (offset < len).then_some(offset)
}

impl Process {
    /// Serves a read of guest memory; `None` if it is not all in the slot.
    pub(super) fn bounced_read(&self, addr: u64, buf: &mut [u8]) -> Option<usize> {
        if !self.bounce.open.load(Relaxed) {
            return None;
        }
        let mut w = self.bounce.windows.lock();
        if w.written > 0
            && addr < w.output.0 + w.written as u64
            && addr.saturating_add(buf.len() as u64) > w.output.0
        {
            self.carry_out(&mut w);
        }
        let offset = offset(addr, w.input)?;
        let left = w.input.1 - offset;
        let n = match buf.len() {
            n if n <= left => n,
            // Whoever asks for more of a string stops at its end.
            _ if w.string => left,
            _ => return None,
        };
        let buf = buf.get_mut(..n)?;
        self.mailboxes
            .copy_out(w.slot, IN + offset, buf)
            .then_some(n)
    }

    /// Takes a write to guest memory; `None` if it must be done at once.
    pub(super) fn bounced_write(&self, addr: u64, buf: &[u8]) -> Option<usize> {
        if !self.bounce.open.load(Relaxed) {
            return None;
        }
        let mut w = self.bounce.windows.lock();
        let (start, len) = w.input;
        if addr < start + len as u64 && addr.saturating_add(buf.len() as u64) > start {
            w.input = (0, 0);
        }
        let offset = offset(addr, w.output)?;
        // Only what is contiguous: all bytes below `written` are the sentry's.
        if offset > w.written || buf.len() > w.output.1 - offset {
            return None;
        }
        let (end, before) = (offset + buf.len(), w.written);
        if let (true, Some(short)) = (before <= SHORT_OUT, w.short.get_mut(offset..end)) {
            short.copy_from_slice(buf);
        } else {
            if before <= SHORT_OUT {
                let short = w.short.get(..before)?;
                self.mailboxes.copy_in(w.slot, OUT, short);
            }
            if !self.mailboxes.copy_in(w.slot, OUT + offset, buf) {
                return None;
            }
        }
        w.written = before.max(end);
        Some(buf.len())
    }

    /// Writes to guest memory what was deferred.
    fn carry_out(&self, w: &mut Windows) {
        let n = std::mem::take(&mut w.written);
        if n == 0 {
            return;
        }
        let mut long = [0; BOUNCE];
        let bytes = match (w.short.get(..n), long.get_mut(..n)) {
            (Some(short), _) => short,
            (None, Some(long)) => {
                self.mailboxes.copy_out(w.slot, OUT, long);
                &*long
            }
            (None, None) => return,
        };
        let dead = self.dead.read();
        if !*dead {
            // What became unwritable since the stub looked is lost, as if the guest had unmapped it just after.
            mem::write(self.pid, w.output.0, bytes);
        }
    }
}

impl Inner {
    /// A call is in hand: its windows (see [`windows`]) are open.
    pub(super) fn open_bounce(&self, task: &Arc<Task>, call: &Call, said: u64) {
        if said & (windows::IN | windows::OUT) == 0 {
            return;
        }
        let buffers = eager::buffers(call, said >> windows::STRING_SHIFT);
        let given = |flag: u64, buffer: Option<(u64, u64)>| match buffer {
            Some(buffer) if said & flag != 0 => window(buffer),
            _ => (0, 0),
        };
        let mut w = task.process.bounce.windows.lock();
        *w = Windows {
            slot: task.slot,
            input: given(windows::IN, buffers.input),
            string: buffers.string,
            output: given(windows::OUT, buffers.output),
            ..Windows::default()
        };
        let mailboxes = &task.process.mailboxes;
        mailboxes.prefetch::<_MM_HINT_T0>(task.slot, IN, w.input.1);
        if w.output.1 > SHORT_OUT {
            mailboxes.prefetch::<_MM_HINT_ET0>(task.slot, OUT, w.output.1);
        }
        drop(w);
        task.process.bounce.open.store(true, Relaxed);
        self.bounced.push(Arc::clone(task));
    }

    /// The call in hand is about to end where it began: the stub carries out the deferred writes. How many bytes there are.
    pub(super) fn leave_bounce_to_stub(&self, task: &Task) -> u16 {
        let process = &task.process;
        if !process.bounce.open.load(Relaxed) {
            return 0;
        }
        let Some(in_hand) = self.bounced.pop() else {
            return 0;
        };
        process.bounce.open.store(false, Relaxed);
        if !std::ptr::eq(&*in_hand, task) {
            // Another thread's, of the same process since windows are open: what went there is there before this one runs.
            process.carry_out(&mut process.bounce.windows.lock());
            return 0;
        }
        let mut w = process.bounce.windows.lock();
        let written = std::mem::take(&mut w.written);
        if let Some(short) = w.short.get(..written) {
            process.mailboxes.copy_in(w.slot, SHORT, short);
        }
        drop(w);
        // At most the buffer's length.
        u16::try_from(written).unwrap_or(u16::MAX)
    }

    /// Carries out deferred writes of whatever call is in hand and closes its windows.
    pub(super) fn close_bounce(&self) {
        if let Some(task) = self.bounced.pop() {
            let process = &task.process;
            process.bounce.open.store(false, Relaxed);
            process.carry_out(&mut process.bounce.windows.lock());
        }
    }
}
