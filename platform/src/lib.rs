//! How guest code runs and how its system calls reach the sentry.
//!
//! A guest process is an ordinary host process (a *stub* process, [`AddressSpace`]) and a guest
//! thread is an ordinary host thread in it ([`Thread`]). The sentry lets a thread run with
//! [`Thread::resume`] and learns from [`Platform::next_event`] why it stopped ([`Trap`]).
//! Whatever a guest process must do to itself (map memory, clone, exit) is done by the stub code
//! inside it on the sentry's order ([`Thread::execute`], [`Thread::fork`], …).
//!
//! This crate knows nothing of the sentry above it: backends never call upward.
//!
//! # Duties of a backend
//! 1. `resume` returns at once. Exactly one event follows for it, or none if the thread is terminated first.
//! 2. Between a `Trap` event and the next `resume` the thread runs no guest code.
//! 3. A guest system call never reaches the host kernel, whichever entry (syscall, int 0x80,
//!    sysenter) and whichever number it uses.
//! 4. `interrupt` may be called from any thread at any time. If the guest thread runs guest code, a
//!    trap follows soon; if it is stopped, the call has no effect except at most one spurious
//!    [`Trap::Interrupted`] after a later `resume`. No guest can prevent it.
//! 5. `execute`, `fork`, `spawn` and `terminate` on a stopped thread finish in bounded time whatever other
//!    threads of that guest process do; if the process dies meanwhile they return [`Error::Gone`].
//! 6. Registers not named in a `resume`d [`Registers`] (x87/SSE/AVX state) survive traps unchanged;
//!    `fork` and `spawn` copy them to the new thread.
//! 7. When the last [`Thread`] of an [`AddressSpace`] is dropped or terminated, its host process ends. Dropping
//!    the [`Platform`] ends every stub process; so does the death of the sentry.
//! 8. A host thread that dies without having been asked yields [`Trap::Gone`] (once, if it was resumed).
//! 9. Host addresses outside [`GUEST_START`]..[`GUEST_END`] belong to the stub; the backend refuses operations on them.
#![warn(missing_docs)]

pub mod arch;
pub mod backend;
mod bell;
mod epochs;
mod kind;
mod mem;
pub mod rewrite;
mod ring;
mod stub;
mod sys;
mod wake;
mod zygote;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

pub use arch::Registers;
pub use backend::notify::NotifyPlatform;
pub use backend::ptrace::{PtracePlatform, SENTRY_SYSCALLS};
pub use epochs::{EPOCHS, end_epoch, epoch};
pub use kind::{KINDS, Kind, launch};
pub use ring::{RING_BYTES_LEN, RING_READER_LEN, RING_SIZE, Ring, Taken};
pub use sys::{barrier_for_all, trim_heap};

/// Lowest address that a guest may map, in bytes (Linux's usual `vm.mmap_min_addr`).
pub const GUEST_START: u64 = 0x1_0000;
/// One past the highest address a guest may map, in bytes. The stub, its mailboxes and the host vDSO lie above.
pub const GUEST_END: u64 = 0x7ffe_0000_0000;

/// The sentry's own number for a guest thread; handed back with every event of that thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Why a guest thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// A 64-bit system call. Number in `orig_rax`, arguments in rdi, rsi, rdx, r10, r8, r9; rip is behind the instruction.
    Syscall,
    /// A system call through a 32-bit entry (int 0x80, sysenter).
    Syscall32,
    /// A synchronous CPU exception, described as Linux would in `siginfo_t`.
    Fault {
        /// SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGTRAP.
        signo: i32,
        /// `si_code`.
        code: i32,
        /// `si_addr`: the faulting address.
        addr: u64,
    },
    /// [`Thread::interrupt`] asked for it, or the backend has another harmless reason.
    Interrupted,
    /// The host thread no longer exists (killed from outside, out of memory).
    Gone,
}

/// What [`Platform::next_event`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The thread with this token stopped.
    Trap(Token, Trap),
    /// [`Platform::wake`] was called.
    Woken,
}

/// What an operation on a guest thread or process can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host kernel refused an operation that the stub carried out (e.g. ENOMEM for a mapping); operations
    /// before `index` in the batch took effect, later ones did not.
    #[error("operation {index} of a batch failed in the stub: errno {errno}")]
    Op {
        /// Which operation of the batch failed.
        index: usize,
        /// The host's errno, a positive number.
        errno: i32,
    },
    /// The guest process or thread is dead or dying.
    #[error("the guest process is gone")]
    Gone,
    /// The host lacks something or refuses it; the sentence says what and what to do.
    #[error("{0}")]
    Host(String),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

bitflags::bitflags! {
    /// Page protection, PROT_* values of mmap(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Prot: u32 {
        /// Readable.
        const READ = 1;
        /// Writable.
        const WRITE = 2;
        /// Executable.
        const EXEC = 4;
    }
}

/// Most pages that [`Thread::resident`] looks at.
pub const RESIDENT_MAX: usize = 1024;

/// One thing that the stub does to its own address space. Addresses and lengths are page-aligned and inside the guest range.
#[derive(Clone, Debug)]
pub enum MemOp<'a> {
    /// mmap(MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE): replaces what was there.
    MapAnon {
        /// Start address.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// Protection.
        prot: Prot,
    },
    /// mmap(MAP_FIXED) of a file. The descriptor is handed to the stub for just this operation.
    MapFile {
        /// Start address.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// Protection.
        prot: Prot,
        /// The sentry's descriptor.
        fd: BorrowedFd<'a>,
        /// Offset in the file, in bytes, page-aligned.
        offset: u64,
        /// MAP_SHARED instead of MAP_PRIVATE.
        shared: bool,
        /// Every guest process may read this file, and might map it: all may be given a descriptor.
        common: bool,
    },
    /// munmap.
    Unmap {
        /// Start address.
        addr: u64,
        /// Length in bytes.
        len: u64,
    },
    /// mprotect.
    Protect {
        /// Start address.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// New protection.
        prot: Prot,
    },
    /// mremap(MREMAP_MAYMOVE | MREMAP_FIXED) when `new_addr != addr`, else in place.
    Remap {
        /// Old start address.
        addr: u64,
        /// Old length in bytes (0: duplicate a shared mapping).
        old_len: u64,
        /// New start address.
        new_addr: u64,
        /// New length in bytes.
        new_len: u64,
        /// MREMAP_DONTUNMAP.
        keep_old: bool,
    },
    /// madvise with a harmless advice (MADV_DONTNEED, MADV_FREE, MADV_WILLNEED, MADV_POPULATE_READ/WRITE, MADV_DONTFORK, …).
    Advise {
        /// Start address.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// MADV_* value.
        advice: i32,
    },
    /// mprotect of the host's vDSO, which nothing else may touch: whether the guest can call it. Who calls it all the same faults.
    Vdso {
        /// Start address, as [`Platform::vdso`] says.
        addr: u64,
        /// Length in bytes.
        len: u64,
        /// Whether it can be called.
        callable: bool,
    },
    /// mmap(MAP_FIXED | MAP_SHARED) of the beginning of a file into one of the stub's windows, from which it answers calls
    /// ([`Thread::describe`]); without a file munmap. No fork inherits it. Only backends that can be told of descriptors have windows.
    Window {
        /// Which one, below [`WINDOWS`].
        index: usize,
        /// Length in bytes, at most [`WINDOW_LEN`], page-aligned.
        len: u64,
        /// The sentry's descriptor.
        file: Option<BorrowedFd<'a>>,
        /// Whether the stub, and so the guest, may write there.
        writable: bool,
    },
    /// Copies these bytes to memory that can be written then. Only for [`Thread::execute_later`] of a thread that has not run.
    Write {
        /// Address, which need not be page-aligned.
        addr: u64,
        /// What goes there.
        bytes: &'a [u8],
        /// If it faults the process dies; else what comes after is done all the same.
        vital: bool,
    },
    /// membarrier(2) within this process: MEMBARRIER_CMD_(REGISTER_)PRIVATE_EXPEDITED(_SYNC_CORE) only.
    Membarrier {
        /// MEMBARRIER_CMD_* value.
        command: i32,
    },
}

/// How many windows a process has ([`MemOp::Window`]).
pub const WINDOWS: usize = 64;
/// Length of a window in bytes.
pub const WINDOW_LEN: u64 = 1 << 20;

/// A host process that holds one guest address space. Memory access works from any thread, whether the guest runs or not.
pub trait AddressSpace: Send + Sync {
    /// Copies guest memory at `addr` into `buf`; returns how many leading bytes could be read (0 if the
    /// first byte cannot). Honours page protections. Never fails otherwise; a dead process reads 0 bytes.
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize;
    /// Copies `buf` into guest memory at `addr`; returns how many leading bytes were written. Honours page protections.
    fn write(&self, addr: u64, buf: &[u8]) -> usize;
    /// Kills the host process with all its threads. Any thread may call it; idempotent.
    fn kill(&self);
    /// Id of the host process in the namespace of the platform's owner; `None` once it is dead.
    fn host_pid(&self) -> Option<u32>;
    /// Whether the host process has given up its memory for good, although it may not have been reported as gone yet.
    fn has_ended(&self) -> bool {
        self.host_pid().is_none()
    }
    /// Waits until the host process has given up its memory, if it has been killed or its last thread has ended, no longer than this; whether it has. Its end
    /// is not put off any more. Any thread may call it.
    fn await_end(&self, _limit: Duration) -> bool {
        self.has_ended()
    }
    /// CPU time used by the host process so far in nanoseconds (user, system).
    fn cpu_time(&self) -> (u64, u64);
}

/// Results of calls that change nothing, and that stay the same until somebody says otherwise: the stub may give them itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is named after its call
pub struct Answers {
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
    pub ppid: u32,
    /// Futex calls with FUTEX_PRIVATE_FLAG and without priority inheritance need not be asked either: see [`Thread::host_futexes`].
    pub futexes: bool,
}

bitflags::bitflags! {
    /// What of a descriptor never changes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Known: u32 {
        /// read(2) finds the end.
        const READ_END = 1;
        /// read(2) gives as many zeroes as are asked for.
        const READ_ZEROES = 2;
        /// write(2) takes everything and looks at nothing.
        const WRITE_ALL = 4;
        /// It is the read end of a pipe: see [`Descriptor::ring`].
        const READ_RING = 8;
        /// It is the write end.
        const WRITE_RING = 16;
    }
}

/// Of how many descriptors a stub may know at a time, for each thread.
pub const DESCRIPTORS: usize = 16;

/// Of which descriptors a stub may note what epoll_ctl(2) asks for: those below.
pub const INTEREST_FDS: u32 = 960;
/// How much it notes until it asks.
pub const NOTED: usize = stub::interest::NOTES;

/// What epoll_ctl(2) asked for, as the guest says: see [`Thread::lend_interest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// EPOLL_CTL_ADD, EPOLL_CTL_MOD or EPOLL_CTL_DEL, unless the guest lies.
    pub op: i32,
    /// Of which descriptor, below [`INTEREST_FDS`] unless the guest lies.
    pub fd: u32,
    /// EPOLL* bits.
    pub events: u32,
    /// The caller's own.
    pub data: u64,
}

/// What the stub may say itself of an open file, by one of its descriptors: see [`Thread::describe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The descriptor.
    pub fd: u32,
    /// What read(2) and write(2) do.
    pub known: Known,
    /// Where the file is, below 2⁶³, if lseek(2) may set it to any such place. From then on the stub has the position.
    pub position: Option<u64>,
    /// What fstat(2) gives: a `struct stat` of the guest.
    pub stat: Option<[u8; 144]>,
    /// The beginning of the file lies in a window.
    pub pages: Option<Pages>,
    /// The pipe's [`Ring`]: in which window ([`MemOp::Window`]) its bytes are, with the reader's page in the one behind.
    pub ring: Option<usize>,
}

/// Of a file whose beginning a window shows ([`MemOp::Window`]), what pread64(2), pwrite64(2) and, if the stub has the position, read(2) may do there without
/// asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// The number of the window.
    pub window: usize,
    /// How many bytes are valid: see [`Valid`].
    pub valid: Valid,
    /// See [`Thread::mark_read`].
    pub read_at: u64,
}

/// How many bytes from the beginning of a file on may be read and written where a window shows it. The stub touches no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Valid {
    pub read: u32,
    pub write: u32,
}

/// When the stub last wrote a file through a window, and when it first read it after that ([`ticks`]; 0: it did not, or need not say). The guest's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stamps {
    pub written: u64,
    pub read: u64,
}

/// The time as stubs take it: the processor's time stamp counter.
#[must_use]
pub fn ticks() -> u64 {
    sys::cycles()
}

/// A call on a path that a stub may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathCall {
    /// stat(2), and newfstatat(2) that follows links.
    Stat,
    /// lstat(2), and newfstatat(2) that does not.
    Lstat,
    /// access(2), faccessat(2), faccessat2(2).
    Access {
        /// R_OK, W_OK, X_OK: below 8.
        mode: u8,
        /// AT_EACCESS.
        effective: bool,
    },
}

/// The longest path that a stub can be told of, in bytes without its NUL.
pub const PATH_LONGEST: usize = 303;

/// What a stub may say of an absolute path, by one call: see [`Thread::tell`].
#[derive(Clone, Copy, Debug)]
pub struct PathAnswer<'a> {
    /// The call.
    pub call: PathCall,
    /// The path, without a NUL.
    pub path: &'a [u8],
    /// Its counter ([`end_epoch`]).
    pub counter: usize,
    /// What [`epoch`] said of the counter before anybody looked at what the answer is made of.
    pub epoch: u64,
    /// What stat(2) and lstat(2) give, a `struct stat` of the guest; of the others nothing counts. Or an errno.
    pub result: std::result::Result<&'a [u8; 144], i32>,
}

/// Mixes a call and a path; what a stub is told of both has a place for each of the upper four bits.
#[must_use]
pub fn path_hash(call: PathCall, path: &[u8]) -> u64 {
    stub::paths::hash(call, path)
}

impl Descriptor {
    /// The number of its entry: it takes the place of the descriptor that had that.
    #[must_use]
    pub fn entry(fd: u32) -> usize {
        fd as usize % DESCRIPTORS
    }
}

/// What a handler needs to know of a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Its number, as [`Registers::syscall_number`].
    pub number: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// Address behind the instruction.
    pub rip: u64,
}

impl Call {
    /// Guest memory that the call writes to if it succeeds, as far as that can be told from the call: address and length in bytes (of long buffers the
    /// first 4096). What the stub looks at when the call comes by way of [`Platform::gate`] and makes the pages of.
    pub fn writes_to(&self) -> Option<(u64, u64)> {
        stub::written_by(self)
    }
}

/// A host thread that runs one guest thread. All methods but `interrupt` are called on a worker
/// thread (one that calls [`Platform::next_event`]) while the guest thread is stopped.
pub trait Thread: Send + Sync {
    /// Runs guest code with these registers until the next trap.
    fn resume(&self, regs: &Registers) -> Result<()>;
    /// Makes a running thread trap soon. Callable from any thread.
    fn interrupt(&self);
    /// Lets the stub answer these calls at the gate from now on, or has it ask each time (`None`, as at first). Callable from any thread; a
    /// call that the guest makes at the same time may still have the old answer.
    fn answer(&self, _answers: Option<&Answers>) {}
    /// Lets the stub answer calls on this descriptor at the gate, until [`Thread::answer`] says anything or it is forgotten; false if it cannot. The thread is
    /// stopped. The other methods with the number of an entry ([`Descriptor::entry`]) may be called from any thread.
    fn describe(&self, _descriptor: &Descriptor) -> bool {
        false
    }
    /// Lets the stub answer this call on this path at the gate, until [`Thread::answer`] says anything or its counters have moved. It takes the place of another answer: how often that
    /// was given, as the guest says, if it was for the same call and path. `None` if the stub cannot. The thread is stopped.
    fn tell(&self, _answer: &PathAnswer<'_>) -> Option<u32> {
        None
    }
    /// Where the guest has moved the position to that the stub was given; 0 if it has none. Whatever the guest says, it is below 2⁶³.
    fn position(&self, _entry: usize) -> u64 {
        0
    }
    /// Takes the position back for a while: until [`Thread::give_position`] the stub asks. What it was, as [`Thread::position`].
    fn take_position(&self, _entry: usize) -> u64 {
        0
    }
    /// Gives the stub the position again.
    fn give_position(&self, _entry: usize, _position: u64) {}
    /// The attributes have changed, or are about to.
    fn forget_stat(&self, _entry: usize) {}
    /// Changes how much of the file may be read and written in its window. A copy that began before may still be under way: [`Thread::is_copying`].
    fn set_valid(&self, _entry: usize, _valid: Valid) {}
    /// Whether the stub copies from or to the window, for all it says. Never while the thread is stopped, unless the guest lies.
    fn is_copying(&self, _entry: usize) -> bool {
        false
    }
    /// Takes the stamps: there was no write since then, and the read counts as known.
    fn take_stamps(&self, _entry: usize) -> Stamps {
        Stamps::default()
    }
    /// If the stamp of the last read is `from`, makes it `to`. The stub stamps a read if that of the last one is not later than that of the last write: 0 is
    /// as if there had been none yet, 1 as if it was known, [`u64::MAX`] keeps it from doing that for ever.
    fn mark_read(&self, _entry: usize, _from: u64, _to: u64) {}
    /// The stub knows nothing of the entry any more (its stamps remain); its position, as [`Thread::position`].
    fn forget(&self, _entry: usize) -> u64 {
        0
    }
    /// Lets the stub note at the gate what epoll_ctl(2) by descriptor `epoll` asks for, and say that it was done; of descriptors that [`Thread::set_interest`] names. Until
    /// [`Thread::answer`] says anything, or the notes are taken for good. False if it cannot. The thread is stopped.
    fn lend_interest(&self, _epoll: u32) -> bool {
        false
    }
    /// Whether the descriptor is in that set, so that the stub knows which operations cannot fail; it asks if `None`.
    fn set_interest(&self, _fd: u32, _is_in: Option<bool>) {}
    /// Takes what the stub has noted since the last time, oldest first: at most [`NOTED`]. `end`: it notes nothing any more, from before this returns on. Callable from any thread,
    /// by one at a time.
    fn take_noted(&self, _end: bool) -> Vec<Noted> {
        Vec::new()
    }
    /// After the end, the stub notes on. What it began before does not count.
    fn note_on(&self) {}
    /// The thread is going to talk by rings ([`Descriptor::ring`]) to the one whose call is in hand, or is that one: each is to have a processor, and its stub
    /// to look for bytes for a while before it asks. On the worker.
    fn part(&self) {}
    /// It does not talk to another one any more: its stub asks at once.
    fn unite(&self) {}
    /// Whether the last [`Trap::Syscall`] came from a `syscall` instruction itself, not by way of [`Platform::gate`].
    fn by_instruction(&self) -> bool {
        true
    }
    /// Whether futex calls with FUTEX_PRIVATE_FLAG and without priority inheritance can be made on the host, by [`Thread::futex`] and
    /// [`Thread::resume_asleep`]: WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET. If [`Answers::futexes`] is set, the stub makes
    /// them at the gate itself but for relative timeouts and for what faults. They meet with each other there, and with nothing else.
    fn host_futexes(&self) -> bool {
        false
    }
    /// Makes a futex call on the host that does not wait, with these arguments; what the host returns. An operation that waits, or that is not
    /// for the host, is EINVAL.
    fn futex(&self, _args: [u64; 6]) -> Result<i64> {
        Err(Error::Op {
            index: 0,
            errno: libc::ENOSYS,
        })
    }
    /// As [`Thread::resume`], but makes a futex call on the host first that waits, the guest's result being that call's. With `until` it waits
    /// until then (CLOCK_MONOTONIC, in nanoseconds), not until what the fourth argument says. If the thread is interrupted before it is over, the trap is
    /// a [`Trap::Syscall`] with a [`Thread::cut_short`].
    fn resume_asleep(&self, _regs: &Registers, _args: [u64; 6], _until: Option<u64>) -> Result<()> {
        Err(Error::Op {
            index: 0,
            errno: libc::ENOSYS,
        })
    }
    /// Whether the last [`Trap::Syscall`] is a futex call on the host that was to wait and was ended by an interrupt; nothing came of it. Its number is that in
    /// `orig_rax` when it was resumed.
    fn cut_short(&self) -> Option<CutShort> {
        None
    }
    /// Whether the thread, if it runs, is in such a call, as it says itself.
    fn asleep(&self) -> bool {
        false
    }
    /// Registers at the last trap.
    fn registers(&self) -> Result<Registers>;
    /// The call of the last [`Trap::Syscall`], if that costs less than [`Thread::registers`], which may be asked later.
    fn call(&self) -> Option<Call> {
        None
    }
    /// As [`Thread::resume`] with the registers of the last trap but for the result of the call.
    fn return_from_call(&self, result: u64) -> Result<()> {
        let regs = Registers {
            rax: result,
            ..self.registers()?
        };
        self.resume(&regs)
    }
    /// The x87/SSE/AVX state as XSAVE lays it out (Linux's NT_X86_XSTATE), for signal frames and ptrace.
    fn fpstate(&self) -> Result<Vec<u8>>;
    /// Replaces the x87/SSE/AVX state; hostile bytes give an error, never a crash.
    fn set_fpstate(&self, state: &[u8]) -> Result<()>;
    /// Has the stub carry out a batch of memory operations in order.
    fn execute(&self, ops: &[MemOp<'_>]) -> Result<()>;
    /// The same on the way back to the guest, if nothing but the host's want of memory can make an operation fail: then the process dies. False: not
    /// possible, and nothing was done. Until then the guest's memory is as before: [`Thread::settle`] comes before whoever looks at it. A thread that has not
    /// run carries the operations out on its way to its first instruction; [`MemOp::Write`] may be among them.
    fn execute_later(&self, _ops: &[MemOp<'_>]) -> bool {
        false
    }
    /// Carries out now what [`Thread::execute_later`] took.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
    /// Atomically compares and exchanges the aligned u32 at `addr`; the value found, or `None` on a fault
    /// (unmapped or not writable).
    fn compare_exchange(&self, addr: u64, old: u32, new: u32) -> Result<Option<u32>>;
    /// A new guest thread in the same host process, stopped, its registers and FPU state copied from this one. It has nothing of an earlier one that its
    /// host thread may have run.
    fn spawn(&self, token: Token) -> Result<Box<dyn Thread>>;
    /// A new host process with a copy-on-write copy of this address space and one stopped thread,
    /// its registers and FPU state copied from this one.
    fn fork(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)>;
    /// Ends this guest thread (the host process too, if it was the last one; the host thread may wait for another one). Later calls give [`Error::Gone`]. Dropping does the same.
    fn terminate(&self);
    /// CPU time used by this guest thread so far in nanoseconds (user, system).
    fn cpu_time(&self) -> (u64, u64);
    /// Greatest resident size of its process so far, in bytes; 0 if the thread is not stopped.
    fn peak_memory(&self) -> u64;
    /// Which of at most [`RESIDENT_MAX`] pages from `addr` on are in memory, by mincore(2) in the stub: a byte each, not 0 for one that is. An error if
    /// not all are mapped. What the guest's other threads write meanwhile may get among it.
    fn resident(&self, addr: u64, pages: &mut [u8]) -> Result<()>;
}

/// How far a futex call got that an interrupt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutShort {
    /// It slept: the word was as expected. The stub had made it by itself.
    Own,
    /// It slept; it is the call of [`Thread::resume_asleep`].
    Ordered,
    /// It is that call, but was not made.
    Before,
}

/// Runs a wait that may take long, while another thread is the worker.
pub type Aside = dyn Fn(&mut dyn FnMut()) + Send + Sync;

/// A way to run guest threads and trap their system calls.
pub trait Platform: Send + Sync {
    /// `ptrace`, `notify` or `inline`.
    fn name(&self) -> &'static str;
    /// Where rewritten call sites jump to instead of executing `syscall`: r11 holds the address behind the `syscall` instruction, every other
    /// register is as at the instruction (rcx is free, flags are preserved by the gate). `None`: this backend takes no rewritten sites.
    fn gate(&self) -> Option<u64> {
        None
    }
    /// How many worker threads may call `next_event` at once.
    fn max_workers(&self) -> usize;
    /// Whether the worker's part can go from thread to thread, by [`Platform::leave`] and [`Platform::take_over`].
    fn is_movable(&self) -> bool {
        false
    }
    /// The caller, a worker, ceases to be one until it takes over again; the threads in its hands stay so. Whether guest threads run, which may want a
    /// worker meanwhile.
    fn leave(&self) -> bool {
        false
    }
    /// The caller is a worker from now on, in place of one that has left.
    fn take_over(&self) {}
    /// Exchanges with guest processes that take long are waited for by `aside`, which leaves and takes over again around the wait. Works once.
    fn wait_by(&self, _aside: Box<Aside>) {}
    /// An empty address space (nothing mapped in the guest range) with one stopped thread, from the pool
    /// if one is ready. FPU state is as at process start.
    fn new_process(&self, token: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)>;
    /// Those that end, but may not have given up their memory yet: see [`AddressSpace::await_end`].
    fn ending(&self) -> Vec<Arc<dyn AddressSpace>> {
        Vec::new()
    }
    /// Waits for the next event. Called by worker threads only.
    fn next_event(&self) -> Result<Event>;
    /// Makes one call of `next_event`, current or next, return [`Event::Woken`]. Callable from any thread; calls coalesce.
    fn wake(&self);
    /// Host vDSO as mapped in every stub: start address and length in bytes of `[vvar]`+`[vdso]` ranges, and the
    /// address for AT_SYSINFO_EHDR; `None` if there is none.
    fn vdso(&self) -> Option<Vdso>;
}

/// Where the host vDSO lies in every guest process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vdso {
    /// `[vvar]` start address and length in bytes.
    pub vvar: (u64, u64),
    /// `[vdso]` start address (also AT_SYSINFO_EHDR) and length in bytes.
    pub vdso: (u64, u64),
}
