//! Futexes that the stub leaves to the host: those that Linux names by address space and address (FUTEX_PRIVATE_FLAG), without priority
//! inheritance. Nobody but the threads of one guest process can meet there, so the host kernel, which has the same threads in the same memory, does
//! what it would do natively.
//!
//! At the gate the stub makes such a call itself ([`mask`]), if the slot allows it. A relative timeout is the sentry's, which can tell afterwards
//! what is left of it. A fault is reported as if nothing had been tried.
use super::slot::{order, woken};

const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;
const REALTIME: u32 = libc::FUTEX_CLOCK_REALTIME as u32;

/// What the stub makes: the commands without [`PRIVATE`].
const COMMANDS: [i32; 7] = [
    libc::FUTEX_WAIT,
    libc::FUTEX_WAKE,
    libc::FUTEX_REQUEUE,
    libc::FUTEX_CMP_REQUEUE,
    libc::FUTEX_WAKE_OP,
    libc::FUTEX_WAIT_BITSET,
    libc::FUTEX_WAKE_BITSET,
];
/// The one that may be measured by another clock, without [`PRIVATE`].
pub(crate) const WAIT_REALTIME: u32 = libc::FUTEX_WAIT_BITSET as u32 | REALTIME;
/// FUTEX_WAIT_BITSET: waits until a point in time.
pub(crate) const WAIT_UNTIL: u32 = libc::FUTEX_WAIT_BITSET as u32 | PRIVATE;

/// A bit for each of [`COMMANDS`].
pub(crate) const fn mask() -> u32 {
    let mut mask = 0;
    let mut i = 0;
    while i < COMMANDS.len() {
        mask |= 1 << COMMANDS[i];
        i += 1;
    }
    mask
}

/// What the filter lets pass: the second arguments in full.
pub(crate) const OPERATIONS: &[u64] = &{
    let mut all = [(WAIT_REALTIME | PRIVATE) as u64; COMMANDS.len() + 1];
    let mut i = 0;
    while i < COMMANDS.len() {
        all[i] = (COMMANDS[i] as u32 | PRIVATE) as u64;
        i += 1;
    }
    all
};

/// Whether the host may make a call with this second argument.
pub(crate) fn is_for_host(operation: u32) -> bool {
    OPERATIONS.contains(&operation.into())
}

/// Whether such a call can sleep.
pub(crate) fn waits(operation: u32) -> bool {
    let command = operation & !(PRIVATE | REALTIME);
    command == libc::FUTEX_WAIT as u32 || command == libc::FUTEX_WAIT_BITSET as u32
}

/// What the stub does after an ordered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Runs the guest, with the result in rax.
    Run = 1,
    /// Says the result, as of any order.
    Say = 2,
}

// The stub says in a message how the call was made.
const _: () = assert!(woken::OWN == 0 && woken::ORDERED == Then::Run as u64);

/// The order. The operation is in it, since a thread of the guest could rewrite it in the slot.
pub(crate) fn order(operation: u32, then: Then) -> u64 {
    order::FUTEX | (then as u64) << 8 | u64::from(operation) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations() {
        let all: Vec<u32> = (0..=0x1ff).filter(|op| is_for_host(*op)).collect();
        assert_eq!(all, [128, 129, 131, 132, 133, 137, 138, 0x189]);
        assert_eq!(mask(), 0b110_0011_1011);
        assert!(all.iter().all(|op| op & PRIVATE != 0));
        let sleeping: Vec<u32> = all.into_iter().filter(|op| waits(*op)).collect();
        assert_eq!(sleeping, [128, 137, 0x189]);
        // FUTEX_LOCK_PI, and what only looks like an operation.
        for other in [0, 1, 6, 134, 139, 140, 141, 0x180, 0x189 | 1 << 31] {
            assert!(!is_for_host(other), "{other:#x}");
        }
    }
}
