//! Guest memory that the stub copies along with a call, so that the sentry needs no system call to reach it.
//!
//! The stub says in the slot which guest memory it copied to the slot ([`IN_WINDOW`]) and which it found writable ([`OUT_WINDOW`]). While the worker
//! handles that call, reads within the first come from the slot, and writes within the second go there and are copied by the stub on its way
//! back. Whatever else happens to the task first (an exchange, another event before it runs again, new registers) carries out the
//! deferred writes at once.
//!
//! All of it is hostile: a guest that lies here reads or writes other places of its own memory than it said.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::{Inner, Process, Task};
use crate::stub::slot::{BOUNCE, IN, IN_STRING, IN_WINDOW, OUT, OUT_WINDOW, windows};
use crate::{GUEST_END, GUEST_START, mem};

/// What the bounce buffer of the call in hand holds.
#[derive(Debug, Default)]
pub(super) struct Bounce {
    /// There is a call in hand; looked at before `windows` is locked.
    open: AtomicBool,
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    slot: usize,
    /// Address and length in bytes of what was copied in, and whether it is a whole string.
    input: (u64, usize),
    string: bool,
    /// Address and length in bytes of what may be written, and how much of it was.
    output: (u64, usize),
    written: usize,
}

/// A window as the stub says it; empty if it is not inside the guest's memory.
fn window([addr, len]: [u64; 2]) -> (u64, usize) {
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
        if !self.mailboxes.copy_in(w.slot, OUT + offset, buf) {
            return None;
        }
        w.written = w.written.max(offset + buf.len());
        Some(buf.len())
    }

    /// Writes to guest memory what was deferred.
    fn carry_out(&self, w: &mut Windows) {
        let n = std::mem::take(&mut w.written);
        let mut bytes = [0; BOUNCE];
        let Some(bytes) = bytes.get_mut(..n) else {
            return;
        };
        if n == 0 || !self.mailboxes.copy_out(w.slot, OUT, bytes) {
            return;
        }
        let dead = self.dead.read();
        if !*dead {
            // What became unwritable since the stub looked is lost, as if the guest had unmapped it just after.
            mem::write(self.pid, w.output.0, bytes);
        }
    }
}

impl Inner {
    /// A call is in hand: its windows (see [`windows`]) are open.
    pub(super) fn open_bounce(&self, task: &Arc<Task>, said: u64) {
        if said & (windows::IN | windows::OUT) == 0 {
            return;
        }
        let [in_addr, in_len, out_addr, out_len] =
            task.process.mailboxes.words(task.slot, IN_WINDOW);
        const _: () = assert!(OUT_WINDOW == IN_WINDOW + 16);
        let given = |flag: u64, addr: u64, len: u64| match said & flag {
            0 => (0, 0),
            _ => window([addr, len]),
        };
        let mut w = task.process.bounce.windows.lock();
        *w = Windows {
            slot: task.slot,
            input: given(windows::IN, in_addr, in_len & !IN_STRING),
            string: in_len & IN_STRING != 0,
            output: given(windows::OUT, out_addr, out_len),
            written: 0,
        };
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
        let written = std::mem::take(&mut process.bounce.windows.lock().written);
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
