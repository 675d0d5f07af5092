//! What lies where in the slot of a thread of an untraced stub, and what it and the sentry say to each other.
//!
//! ```text
//! 0       list of host system calls      ops, 64 bytes each
//! 0xc00   control words                  registers, vector register pointer, arguments of orders, results
//! 0x1000  vector registers (XSAVE)       when they are not in a signal frame
//! 0x2000  alternate signal stack         to the end of the slot
//! ```
use super::mailbox::Op;

/// Length of a slot in bytes: a power of two, so that the stack pointer tells where it begins.
pub(crate) const SLOT: usize = 32 << 10;
/// How many threads a process may have.
pub(crate) const SLOTS: usize = 2048;
/// Length of all slots of a process in bytes.
pub(crate) const WINDOW: usize = SLOT * SLOTS;
/// How many operations the list holds.
pub(crate) const MAX_OPS: usize = 48;
/// The guest's registers, as [`crate::Registers`] lays them out; rip and the four after it are what `iretq` takes.
pub(crate) const REGS: usize = 0xc00;
/// Address of the vector registers to load on the way to the guest; 0 if they are live.
pub(crate) const FP: usize = 0xd00;
/// A `stack_t` for sigaltstack(2).
pub(crate) const STACK: usize = 0xd08;
/// Arguments of an order: three words.
pub(crate) const ARGS: usize = 0xd20;
/// Where the stub's host system calls put results: 256 bytes.
pub(crate) const RESULT: usize = 0xe00;
/// Vector registers as XSAVE stores them.
pub(crate) const FP_AREA: usize = 0x1000;
/// Length of [`FP_AREA`] in bytes.
pub(crate) const FP_LEN: usize = 0x1000;
/// The alternate signal stack.
pub(crate) const STACK_START: usize = 0x2000;
/// Low half of the XSAVE components that the stub stores: all but AMX tiles, for which no program here has leave.
pub(crate) const FP_MASK_LOW: i32 = !(3 << 17);

const _: () = assert!(MAX_OPS * size_of::<Op>() <= REGS);
const _: () = assert!(REGS + size_of::<crate::Registers>() <= FP);

/// What a ring says, in its first argument.
pub(crate) mod kind {
    /// The guest trapped: signal number, `si_code`, `si_addr` or `si_call_addr`, and `si_syscall` with `si_arch`.
    pub const TRAP: u64 = 1;
    /// An order was carried out: count of successes, last result.
    pub const DONE: u64 = 2;
    /// The list needs a descriptor: index in the list.
    pub const WANT_FD: u64 = 3;
    /// A new process asks for its mailboxes: nonce.
    pub const HELLO: u64 = 4;
    /// A new task waits for orders: nonce.
    pub const READY: u64 = 5;
}

/// What the sentry answers, in the low byte.
pub(crate) mod order {
    /// Run guest code with the registers in the slot.
    pub const RESUME: u64 = 1;
    /// Carry out the list; its length in the higher bytes.
    pub const EXECUTE: u64 = 2;
    /// Compare and exchange: address, expected, new.
    pub const CAS: u64 = 3;
    /// Clone: flags, slot of the child, nonce.
    pub const CLONE: u64 = 4;
    /// Store live vector registers into the slot.
    pub const SAVE_FP: u64 = 5;
    /// End this thread.
    pub const EXIT: u64 = 6;
}
