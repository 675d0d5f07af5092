//! A wait that another thread can end without a race and without a second descriptor.
//!
//! The worker announces that it waits, then runs a few instructions that look at a flag and enter `waitid(2)`. A
//! [`Waker`] sets the flag and, if the worker announced itself, sends it a signal. The handler moves a worker that is
//! between the look and the kernel (or back before it by a restart, SA_RESTART) to the end of the sequence, so the
//! flag is never missed; in every other place the signal changes nothing.
#![allow(unsafe_code)] // a signal handler and the instructions it guards
use std::arch::global_asm;
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use libc::{c_int, c_long, c_void, pid_t, siginfo_t};

use crate::sys;

/// The signal: one that nothing else uses, and a classic one, so that it coalesces instead of queueing.
pub(crate) const SIGNAL: c_int = libc::SIGSTKFLT;

global_asm!(
    ".pushsection .text.cofferdam_wait, \"ax\", @progbits",
    ".global cofferdam_wait",
    "cofferdam_wait:", // (idtype, id, info, options, flag)
    "  mov r10, rcx",
    "  mov r9, r8",
    "  xor r8d, r8d",
    "  mov eax, {waitid}",
    ".global cofferdam_wait_begin",
    "cofferdam_wait_begin:",
    "  cmp dword ptr [r9], 0",
    "  jne 1f",
    "  syscall",
    ".global cofferdam_wait_end",
    "cofferdam_wait_end:",
    "  ret",
    ".global cofferdam_wait_abort",
    "cofferdam_wait_abort:",
    "1: mov rax, -{eintr}",
    "  ret",
    ".popsection",
    waitid = const libc::SYS_waitid,
    eintr = const libc::EINTR,
);

unsafe extern "C" {
    fn cofferdam_wait(
        kind: u64,
        id: u64,
        info: *mut siginfo_t,
        options: c_long,
        flag: *const u32,
    ) -> c_long;
    static cofferdam_wait_begin: u8;
    static cofferdam_wait_end: u8;
    static cofferdam_wait_abort: u8;
}

extern "C" fn handler(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes the interrupted context to a SA_SIGINFO handler; only rip is changed, and only
    // from inside the sequence above to its end, which expects nothing of the registers.
    unsafe {
        let rip = &mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize];
        let at = *rip as usize;
        if ((&raw const cofferdam_wait_begin).addr()..(&raw const cofferdam_wait_end).addr())
            .contains(&at)
        {
            *rip = (&raw const cofferdam_wait_abort).addr() as i64;
        }
    }
}

/// Ends waits of one worker thread.
#[derive(Debug)]
pub(crate) struct Waker {
    pid: pid_t,
    tid: pid_t,
    waiting: AtomicBool,
    flag: AtomicU32,
}

impl Waker {
    /// For the calling thread; installs the handler and unblocks the signal.
    pub fn for_this_thread() -> io::Result<Waker> {
        // SAFETY: sigaction and sigset_t are plain data; the handler is async-signal-safe.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction =
                handler as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            if libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let mut set: libc::sigset_t = MaybeUninit::zeroed().assume_init();
            libc::sigaddset(&raw mut set, SIGNAL);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        }
        Ok(Waker {
            pid: sys::getpid(),
            tid: sys::gettid(),
            waiting: AtomicBool::new(false),
            flag: AtomicU32::new(0),
        })
    }

    /// The worker's thread id.
    pub fn worker(&self) -> pid_t {
        self.tid
    }

    /// Makes the current or the next [`Waker::wait`] return `None`.
    pub fn wake(&self) {
        self.flag.store(1, SeqCst);
        if self.waiting.load(SeqCst) {
            // The worker may be gone with its process only; then nobody cares.
            let _ = sys::tgkill(self.pid, self.tid, SIGNAL);
        }
    }

    /// Forgets earlier wakes; to be called before looking at what they announced.
    pub fn clear(&self) {
        self.flag.store(0, SeqCst);
    }

    /// Waits for a change of any tracee of this thread; `None` if woken. Nothing is reaped.
    pub fn wait(&self) -> io::Result<Option<(pid_t, sys::Change)>> {
        // SAFETY: siginfo_t is plain data for which zero is a value.
        let mut info: siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
        self.waiting.store(true, SeqCst);
        // SAFETY: the pointers outlive the call; the function follows the C calling convention.
        let ret = unsafe {
            cofferdam_wait(
                libc::P_ALL.into(),
                0,
                &raw mut info,
                sys::WAIT.into(),
                self.flag.as_ptr(),
            )
        };
        self.waiting.store(false, SeqCst);
        match ret {
            0 => Ok(Some(sys::change(&info))),
            e if e == -c_long::from(libc::EINTR) => Ok(None),
            e => Err(io::Error::from_raw_os_error((-e) as i32)),
        }
    }
}
