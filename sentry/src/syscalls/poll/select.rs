//! select(2), pselect6(2).

use super::waits::Waits;
use super::{mask, timeout};
use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::sync::Events;
use crate::syscalls::{Args, OnSignal, SysResult};
use crate::usermem::UserPtr;

/// What makes a descriptor readable, writable, exceptional to select (fs/select.c).
const READ: Events = Events::READABLE
    .union(Events::RDBAND)
    .union(Events::HUP)
    .union(Events::ERR);
const WRITE: Events = Events::WRITABLE.union(Events::WRBAND).union(Events::ERR);
const EXCEPT: Events = Events::PRI;

pub(super) fn select(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let time: UserPtr<[i64; 2]> = args.get(4);
    let ns = match cx.progress().deadline {
        Some(_) => Some(0),
        None => timeout::from_timeval(cx.mem(), time)?,
    };
    let outcome = do_select(cx, args, ns);
    let deadline = timeout::to_show(cx);
    timeout::put_remaining(cx.mem(), time, deadline, 1000);
    outcome
}

pub(super) fn pselect6(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let time: UserPtr<[i64; 2]> = args.get(4);
    let ns = match cx.progress().deadline {
        Some(_) => Some(0),
        None => timeout::from_timespec(cx.mem(), time)?,
    };
    // The sixth argument points to { sigset_t *, size_t }.
    let [set, size] = match args.get::<UserPtr<[u64; 2]>>(5).non_null() {
        Some(p) => cx.mem().get(p)?,
        None => [0, 0],
    };
    mask::with_mask(cx, UserPtr::new(set), size, |cx| {
        let outcome = do_select(cx, args, ns);
        let deadline = timeout::to_show(cx);
        timeout::put_remaining(cx.mem(), time, deadline, 1);
        outcome
    })
}

/// One of the three sets.
struct Set {
    ptr: UserPtr<u64>,
    asked: Vec<u64>,
    found: Vec<u64>,
    events: Events,
}

impl Set {
    fn read(cx: &Cx<'_>, ptr: UserPtr<u64>, words: usize, events: Events) -> Result<Set> {
        let asked = if ptr.is_null() {
            vec![0; words]
        } else {
            cx.mem().get_array(ptr, words)?
        };
        Ok(Set {
            ptr,
            asked,
            found: vec![0; words],
            events,
        })
    }
    fn word(&self, i: usize) -> u64 {
        self.asked.get(i).copied().unwrap_or(0)
    }
}

fn do_select(cx: &mut Cx<'_>, args: &Args, ns: Option<u64>) -> SysResult {
    let n: i32 = args.get(0);
    let table = cx.fds();
    // Bits beyond the descriptor table are not looked at.
    let n = usize::try_from(n)
        .map_err(|_| Errno::EINVAL)?
        .min(table.capacity());
    let words = n.div_ceil(64);
    let mut sets = [
        Set::read(cx, args.get(1), words, READ)?,
        Set::read(cx, args.get(2), words, WRITE)?,
        Set::read(cx, args.get(3), words, EXCEPT)?,
    ];
    let deadline = cx.deadline_after(ns);
    let mut waits = Waits::default();
    let mut ready = 0;
    for w in 0..words {
        let mut any = sets.iter().fold(0, |bits, s| bits | s.word(w));
        if w + 1 == words && n % 64 != 0 {
            any &= (1u64 << (n % 64)) - 1;
        }
        while any != 0 {
            let bit = any & any.wrapping_neg();
            any &= !bit;
            let fd = w * 64 + usize::try_from(bit.trailing_zeros()).unwrap_or(0);
            let file = table.get(i32::try_from(fd).map_err(|_| Errno::EBADF)?)?;
            let now = file.poll();
            let mut want = Events::empty();
            for s in &mut sets {
                if s.word(w) & bit == 0 {
                    continue;
                }
                want |= s.events;
                if now.intersects(s.events) {
                    if let Some(f) = s.found.get_mut(w) {
                        *f |= bit;
                    }
                    ready += 1;
                }
            }
            if ready == 0
                && let Some(queue) = file.ops().wait_queue()
            {
                waits.add(queue, want);
            }
        }
    }
    if ready == 0 && !cx.expired() {
        return Err(waits.park(cx, deadline, OnSignal::RestartNoHand));
    }
    for s in &sets {
        if !s.ptr.is_null() {
            cx.mem().put_array(s.ptr, &s.found)?;
        }
    }
    Ok(ready)
}
