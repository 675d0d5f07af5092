//! What lies where in the slot of a thread of an untraced stub, and what it and the sentry say to each other.
//!
//! ```text
//! 0       list of host system calls      ops, 64 bytes each
//! 0xc00   control words                  registers, vector register pointer, arguments of orders, results, hot exchange
//! 0x1000  vector registers (XSAVE)       when they are not in a signal frame
//! 0x2000  bounce buffer, in              guest memory that the stub copied for the sentry
//! 0x3000  bounce buffer, out             what the stub copies to guest memory on the way back
//! 0x4000  descriptors                    what the stub answers of them itself: see [`descriptor`]
//! 0x5000  paths                          what the stub answers of them itself: see [`super::paths`]
//! 0x7000  epoll set                      what the stub notes of it: see [`super::interest`]
//! 0x8000  alternate signal stack         to the end of the slot
//! ```
//!
//! # The hot exchange
//! While the sentry watches a slot ([`HOT`] is not 0), the stub says what it has to say by [`STATE`] (and, if it is more than a call, [`MESSAGE`])
//! instead of ringing, and spins a moment for the answer. The low byte of [`STATE`] is where the two are, the rest is what is
//! said: a message's kind and, of a call, its windows and number; or the order. Each change is atomic, and only these happen:
//! ```text
//! any      ──stub──▶ POSTED     a message waits, or is being handled: the sentry takes it by a look
//! POSTED   ──sentry▶ DOZING     the call waits: the stub shall not look any longer
//! POSTED, DOZING
//!          ──sentry▶ ANSWERED   the order is there
//!          ───stub─▶ ASLEEP     the stub rings the same message
//! ASLEEP   ──sentry▶ ANSWERED   nobody looks: the ring that comes is answered with the order
//! ```
//! Arguments and address of a call are in the same line as the state ([`LINE`]), and so are a result that does not fit the order and up to
//! [`SHORT_OUT`] bytes that the call wrote: a call that the sentry answers at once costs one line that goes there and back.
use super::mailbox::Op;

/// Length of a slot in bytes: a power of two, so that the stack pointer tells where it begins.
pub(crate) const SLOT: usize = 64 << 10;
/// How many threads a process may have.
pub(crate) const SLOTS: usize = 2048;
/// Length of all slots of a process in bytes.
pub(crate) const WINDOW: usize = SLOT * SLOTS;
/// How many operations the list holds.
pub(crate) const MAX_OPS: usize = 45;
/// What a host thread had used when a guest thread took it over: a `struct rusage`.
pub(crate) const USED_BEFORE: usize = 0xb40;
/// The guest's registers, as [`crate::Registers`] lays them out; rip and the four after it are what `iretq` takes.
pub(crate) const REGS: usize = 0xc00;
/// What the sentry reads first of a call by a ring, one cache line of the registers: r9, r8, rax, r10 (in the place of rcx, which a call changes), rdx, rsi, rdi, and
/// the address behind the instruction (in the place of orig_rax).
pub(crate) const CALL: usize = REGS + 64;
const _: () = assert!(CALL.is_multiple_of(64));
/// Address of the vector registers to load on the way to the guest; 0 if they are live.
pub(crate) const FP: usize = 0xd00;
/// A `stack_t` for sigaltstack(2).
pub(crate) const STACK: usize = 0xd08;
/// Arguments of an order: three words.
pub(crate) const ARGS: usize = 0xd20;
/// Where the stub's host system calls put results, and take what does not fit [`ARGS`]: 256 bytes.
pub(crate) const RESULT: usize = 0xe00;
/// Vector registers as XSAVE stores them.
pub(crate) const FP_AREA: usize = 0x1000;
/// Length of [`FP_AREA`] in bytes.
pub(crate) const FP_LEN: usize = 0x1000;
/// The alternate signal stack: room for a frame of every signal that has a handler, since all may come at once from outside.
pub(crate) const STACK_START: usize = 0x8000;
/// What the stub knows of descriptors: [`crate::DESCRIPTORS`] entries, see [`descriptor`].
pub(crate) const DESCRIPTORS: usize = 0x4000;
const _: () = assert!(DESCRIPTORS + crate::DESCRIPTORS * descriptor::LEN <= STACK_START);
const _: () = assert!(crate::DESCRIPTORS.is_power_of_two() && descriptor::LEN.is_power_of_two());
/// What the stub knows of paths: see [`super::paths`].
pub(crate) const PATHS: usize = 0x5000;
/// What the stub notes of an epoll set: see [`super::interest`].
pub(crate) const INTEREST: usize = 0x7000;
const _: () = assert!(INTEREST + super::interest::LEN <= STACK_START);
/// What the stub answers itself, as value plus 1, 0 if it must ask: see [`answer`].
pub(crate) const ANSWERS: usize = 0xd40;
/// An interrupt met the stub since its last message: it says so before it runs the guest.
pub(crate) const PENDING: usize = 0xd98;
/// Stack pointer of the handler whose signal frame holds the vector registers, or of the stack's top.
pub(crate) const FRAME: usize = 0xda0;
/// The thread is in a futex call on the host, for all the sentry knows: it likely sleeps. Written by the stub alone.
pub(crate) const NAP: usize = 0xda8;
/// How often the stub looks for bytes in a pipe's ring before it asks. Written by the sentry alone.
pub(crate) const RING_LOOKS: usize = 0xdb0;
/// The list that an [`order::EXECUTE_RESUME`] gave has been carried out. Written by the stub, and emptied before by the sentry.
pub(crate) const BEGUN: usize = 0xdb8;
/// Where the stub and the sentry are with each other: see [`state`]. The first word of [`LINE`].
pub(crate) const STATE: usize = LINE;
/// One cache line. Behind the state, of a call that is posted there: rdi, rsi, rdx, r10, r8, r9, and the address behind the instruction.
/// Of an answer: [`VALUE`] and [`SHORT`].
pub(crate) const LINE: usize = 0xf00;
/// The result of the call, for [`order::RETURN`].
pub(crate) const VALUE: usize = LINE + 8;
/// What the call wrote, if it is not more than [`SHORT_OUT`] bytes; else that is in [`OUT`].
pub(crate) const SHORT: usize = LINE + 16;
/// Length of [`SHORT`] in bytes.
pub(crate) const SHORT_OUT: usize = 48;
/// 0: ring. Else the sentry watches [`STATE`] from the processor with this number less 1. Written by the sentry alone.
pub(crate) const HOT: usize = 0xf40;
/// How often the stub looks for a reply before it falls asleep. Written by the sentry alone.
pub(crate) const SPIN: usize = 0xf48;
/// What the stub says, if it is not a call: the five words of a ring.
pub(crate) const MESSAGE: usize = 0xf80;
/// Where what the call writes is copied to on the way back. The stub's own.
pub(crate) const OUT_ADDRESS: usize = 0xfc0;
/// Bounce buffer from the guest.
pub(crate) const IN: usize = 0x2000;
/// Bounce buffer to the guest.
pub(crate) const OUT: usize = 0x3000;
/// Length of each in bytes.
pub(crate) const BOUNCE: usize = 0x1000;
/// The longest string that is copied, in bytes with its NUL.
pub(crate) const STRING: usize = 512;
/// Low half of the XSAVE components that the stub stores: all but AMX tiles, for which no program here has leave.
pub(crate) const FP_MASK_LOW: i32 = !(3 << 17);

const _: () = assert!(MAX_OPS * size_of::<Op>() <= USED_BEFORE);
const _: () = assert!(USED_BEFORE + size_of::<libc::rusage>() <= REGS);
const _: () = assert!(ANSWERS + 8 * answer::COUNT <= PENDING);
const _: () = assert!(REGS + size_of::<crate::Registers>() <= FP);
const _: () = assert!(RESULT + 256 <= STATE);
const _: () =
    assert!(LINE.is_multiple_of(64) && SHORT + SHORT_OUT == LINE + 64 && LINE + 64 == HOT);
// What a call says of its windows fits beside its number.
const _: () =
    assert!(((STRING as u64) << windows::STRING_SHIFT) < 1 << (state::NUMBER - state::WINDOWS));
// The stub tells by the upper bits of %gs whether it points into the window.
const _: () = assert!(WINDOW == 1 << WINDOW_SHIFT && super::MAILBOX_OFFSET as usize == WINDOW);
/// Binary logarithm of [`WINDOW`].
pub(crate) const WINDOW_SHIFT: u32 = 27;

/// The low byte of [`STATE`]; 0 before the first message.
pub(crate) mod state {
    /// The stub waits for an answer.
    pub const POSTED: u64 = 1;
    /// The answer is there.
    pub const ANSWERED: u64 = 2;
    /// The stub rings or is about to.
    pub const ASLEEP: u64 = 3;
    /// The stub waits for an answer, and shall ring for it.
    pub const DOZING: u64 = 4;
    /// Where what is said begins, in bits.
    pub const SAID: u32 = 8;
    /// Of a call: where [`super::windows`] and its number begin, in bits.
    pub const WINDOWS: u32 = 16;
    /// See [`WINDOWS`].
    pub const NUMBER: u32 = 32;
}

/// What a call's message says of its memory, in its second word. Where that is follows from the call: see [`super::eager`].
pub(crate) mod windows {
    /// What the call reads is in [`super::IN`].
    pub const IN: u64 = 1;
    /// What the call writes was found writable (its ends).
    pub const OUT: u64 = 2;
    /// The vector registers, which are live, are in [`super::FP_AREA`] too.
    pub const VECTOR: u64 = 4;
    /// Where the length of a string that was copied begins, in bytes with its NUL.
    pub const STRING_SHIFT: u32 = 3;
}

/// Words of [`ANSWERS`], by the call they answer.
pub(crate) mod answer {
    /// getpid(2).
    pub const PID: usize = 0;
    /// gettid(2).
    pub const TID: usize = 1;
    /// getuid(2).
    pub const UID: usize = 2;
    /// getgid(2).
    pub const GID: usize = 3;
    /// geteuid(2).
    pub const EUID: usize = 4;
    /// getegid(2).
    pub const EGID: usize = 5;
    /// getppid(2).
    pub const PPID: usize = 6;
    /// Not an answer: whether the stub makes futex calls itself; see [`super::super::futex`].
    pub const FUTEX: usize = 7;
    /// Not an answer: whether there is an entry in [`super::DESCRIPTORS`].
    pub const DESCRIPTORS: usize = 8;
    /// Not an answer: what the keys of entries in [`super::PATHS`] say that count, another number each time; 0 if none does.
    pub const PATHS: usize = 9;
    /// How many there are.
    pub const COUNT: usize = 10;
}

/// An entry of [`DESCRIPTORS`]: that of descriptor `fd` is the one with number `fd` modulo their count.
pub(crate) mod descriptor {
    /// Length of an entry in bytes.
    pub const LEN: usize = 256;
    /// Binary logarithm of it.
    pub const SHIFT: u32 = LEN.trailing_zeros();
    /// `fd` plus 1, 0 if there is none, and in the upper half [`crate::Known`].
    pub const KEY: usize = 0;
    /// [`HELD`] and the position, which is the file's own as long as that bit is set: the stub moves it by compare-and-exchange.
    pub const POSITION: usize = 8;
    /// See [`POSITION`].
    pub const HELD: u32 = 63;
    /// Whether [`STAT`] is right.
    pub const HAS_STAT: usize = 16;
    /// What it answers from the file's own memory.
    pub mod pages {
        /// Address of the window that shows the beginning of the file.
        pub const WINDOW: usize = 24;
        /// How many bytes of it can be read so, and in the upper half how many can be written. Said by the sentry alone.
        pub const VALID: usize = 32;
        /// Time stamp of the last write, 0 if there was none since the sentry asked.
        pub const WRITTEN_AT: usize = 40;
        /// Time stamp of the first read after that.
        pub const READ_AT: usize = 48;
        /// A copy is under way, which began with what [`VALID`] was.
        pub const COPYING: usize = 56;
        const _: () = assert!(COPYING + 8 <= super::STAT);
    }
    /// What fstat(2) gives, a `struct stat`. It changes only while the thread is stopped.
    pub const STAT: usize = 64;
    /// Address of the window with the bytes of a pipe's ring; the reader's page is in the one behind.
    pub const RING: usize = 208;
    const _: () = assert!(RING >= STAT + size_of::<libc::stat>() && RING + 8 <= LEN);
}

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
    /// The guest made a system call at a rewritten site, its registers are in the slot: [`super::windows`].
    pub const CALL: u64 = 6;
    /// An interrupt ended a futex call of the guest on the host: as [`CALL`], for the registers are those before it. The second word:
    /// [`super::woken`].
    pub const WOKEN: u64 = 7;
}

/// How far a call got that ended so: the second word of [`kind::WOKEN`].
pub(crate) mod woken {
    /// The stub made it at the gate by itself; it slept.
    pub const OWN: u64 = 0;
    /// By order; it slept.
    pub const ORDERED: u64 = 1;
    /// By order; it did not come to that.
    pub const BEFORE: u64 = 2;
}

/// Where the nonce begins in a [`order::CLONE`] without its low byte, in bits; the number of the child's slot is below it.
pub(crate) const NONCE_SHIFT: u32 = 16;
const _: () = assert!(SLOTS.is_power_of_two() && SLOTS <= 1 << NONCE_SHIFT);

/// What the sentry answers, in the low byte.
pub(crate) mod order {
    /// Run guest code with the registers in the slot.
    pub const RESUME: u64 = 1;
    /// Carry out the list; its length in the higher bytes.
    pub const EXECUTE: u64 = 2;
    /// Compare and exchange: address, expected, new.
    pub const CAS: u64 = 3;
    /// Clone: flags. The higher bytes are the child's slot and a nonce: see [`clone`].
    pub const CLONE: u64 = 4;
    /// Store live vector registers into the slot.
    pub const SAVE_FP: u64 = 5;
    /// End this thread.
    pub const EXIT: u64 = 6;
    /// Run guest code behind the call it made at a rewritten site: only its result ([`super::VALUE`]) has changed, and as many bytes of its
    /// memory as the higher bits say ([`super::OUT`]).
    pub const RETURN: u64 = 7;
    /// Carry out the list, whose length is in the higher bytes; if all of it worked, [`RETURN`] with nothing to copy, else say how far it went.
    pub const EXECUTE_RETURN: u64 = 8;

    /// [`RETURN`], with a result that fits 32 bits in the order itself: as many bytes as two bytes say, then the result. The line of the order
    /// is then written once.
    pub const RETURN_SHORT: u64 = 9;

    /// Carry out the list, whose length is in the higher bytes; if all of it worked, [`RESUME`], else say how far it went.
    pub const EXECUTE_RESUME: u64 = 11;

    /// The order to return with a result that is or is not in [`super::VALUE`] (false), and `bytes` of memory.
    pub fn returning(value: u64, bytes: u16) -> (u64, bool) {
        let bytes = u64::from(bytes) << 8;
        match i32::try_from(value.cast_signed()) {
            Ok(short) => (
                RETURN_SHORT | bytes | u64::from(short.cast_unsigned()) << 24,
                false,
            ),
            Err(_) => (RETURN | bytes, true),
        }
    }
    /// A futex call on the host, with all arguments but the second in [`super::RESULT`]. In the higher bits: see
    /// [`super::super::futex::order`].
    pub const FUTEX: u64 = 10;

    /// The order to clone, and the nonce that the child says.
    pub fn clone(slot: usize, random: u64) -> (u64, u64) {
        let nonce = random >> (8 + super::NONCE_SHIFT);
        (
            CLONE | (slot as u64) << 8 | nonce << (8 + super::NONCE_SHIFT),
            nonce,
        )
    }
}
