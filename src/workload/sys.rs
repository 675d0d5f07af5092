//! Host calls of the workload that have no safe wrapper, each as small as possible: their time is what is measured.
#![allow(unsafe_code)] // raw system calls, fork and memory of its own

use nix::unistd::Pid;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::AtomicU32;

/// getpid(2) as the C library calls it.
pub fn getpid() -> i32 {
    // SAFETY: no arguments, no failure.
    unsafe { libc::getpid() }
}

/// gettid(2) through the C library's syscall(2).
pub fn gettid() -> i64 {
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

/// Tells a profiler that the section with this number begins: a write that fails at once everywhere.
pub fn mark(section: u64) {
    // SAFETY: descriptor -1 is never open, so nothing is read at the address.
    unsafe {
        libc::syscall(
            libc::SYS_write,
            -1,
            cofferdam_sentry::profile::MARK,
            section,
        )
    };
}

fn futex(word: &AtomicU32, op: libc::c_int, value: u32, timeout: Option<&libc::timespec>) -> i64 {
    let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
    let op = op | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word lives as long as the reference; the timeout is null or valid.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), op, value, timeout) }
}

/// FUTEX_WAKE of one waiter; how many there were.
pub fn futex_wake(word: &AtomicU32) -> i64 {
    futex(word, libc::FUTEX_WAKE, 1, None)
}

/// FUTEX_WAIT while the word is `value`, for at most a second.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    let second = libc::timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    futex(word, libc::FUTEX_WAIT, value, Some(&second));
}

/// Forks; `in_child` runs in the child, which then ends. The child's pid.
pub fn fork(in_child: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: the workload's child does nothing but system calls and _exit: no lock of another thread is needed.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            in_child();
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(0) }
        }
    }
}

/// A program to be executed: path and arguments, each ending in NUL, and an empty environment.
pub struct Program {
    strings: Vec<CString>,
    stack: Vec<u8>,
}

/// What the child needs, in memory that it shares with its parent.
struct Exec {
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
}

extern "C" fn exec(argument: *mut libc::c_void) -> libc::c_int {
    let environment = [ptr::null()];
    // SAFETY: the parent passes an `Exec` that lives while it is suspended; nothing but two system calls is done here.
    unsafe {
        let exec = &*argument.cast::<Exec>();
        libc::execve(exec.path, exec.argv, environment.as_ptr());
        libc::_exit(127)
    }
}

impl Program {
    /// The program at a path, with these arguments after its name.
    pub fn new(path: &Path, args: &[&str]) -> io::Result<Program> {
        let mut strings = vec![CString::new(path.as_os_str().as_bytes())?];
        for arg in args {
            strings.push(CString::new(*arg)?);
        }
        Ok(Program {
            strings,
            stack: vec![0; 64 << 10],
        })
    }

    /// Starts it as vfork(2) and execve(2) do: the child borrows this process until it has another program. posix_spawn(3)
    /// would ask for every signal's action in between.
    pub fn start(&mut self) -> io::Result<Pid> {
        let mut argv: Vec<_> = self.strings.iter().map(|s| s.as_ptr()).collect();
        argv.push(ptr::null());
        let exec_arguments = Exec {
            path: argv.first().copied().unwrap_or(ptr::null()),
            argv: argv.as_ptr(),
        };
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let argument = ptr::from_ref(&exec_arguments).cast_mut().cast();
        // SAFETY: the end of the stack is aligned and only the child uses it; all that it reads outlives the call, which
        // returns when the child has executed or ended.
        let pid = unsafe {
            let end = self.stack.as_mut_ptr().add(self.stack.len());
            let end = end.sub(end.addr() % 16);
            libc::clone(exec, end.cast(), flags, argument)
        };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            pid => Ok(Pid::from_raw(pid)),
        }
    }
}

extern "C" fn thread_main(argument: *mut libc::c_void) -> *mut libc::c_void {
    argument
}

/// pthread_create(3) of a thread that returns, and pthread_join(3). `std::thread` would add a signal stack per thread.
pub fn create_and_join() -> io::Result<()> {
    let mut thread = 0;
    // SAFETY: default attributes; the thread touches nothing.
    let error =
        unsafe { libc::pthread_create(&mut thread, ptr::null(), thread_main, ptr::null_mut()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: the thread was just made and is joined once.
    match unsafe { libc::pthread_join(thread, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

extern "C" fn handler(_: libc::c_int) {}

/// Handles a signal by doing nothing.
pub fn handle(signal: nix::sys::signal::Signal) -> io::Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    let action = SigAction::new(
        SigHandler::Handler(handler),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing at all.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// Private anonymous memory, unmapped when dropped.
pub struct Pages {
    start: *mut u8,
    len: usize,
}

/// Length of a page in bytes.
pub const PAGE: usize = 4096;

impl Pages {
    /// Fresh memory of so many bytes.
    pub fn map(len: usize) -> io::Result<Pages> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Pages {
            start: start.cast(),
            len,
        })
    }

    /// Writes a byte to each page.
    pub fn touch(&mut self) {
        for offset in (0..self.len).step_by(PAGE) {
            // SAFETY: within the mapping, which is writable.
            unsafe { self.start.add(offset).write_volatile(1) };
        }
    }

    /// Gives the pages back: each is fresh when it is touched next.
    pub fn forget(&mut self) -> io::Result<()> {
        // SAFETY: exactly this mapping.
        let r = unsafe { libc::madvise(self.start.cast(), self.len, libc::MADV_DONTNEED) };
        if r == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// mprotect(2) of all of it, to read-only and back.
    pub fn protect_and_back(&mut self) -> io::Result<()> {
        for prot in [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
            // SAFETY: exactly this mapping; nothing writes to it meanwhile, since it is borrowed.
            if unsafe { libc::mprotect(self.start.cast(), self.len, prot) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly this mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Keeps a processor busy for some nanoseconds, which a slow one takes longer for: the work is the same everywhere, however
/// often it is interrupted.
pub fn compute(nanoseconds: u64) {
    // A step is a multiplication and an addition that wait for one another, four cycles or so.
    let mut x = std::hint::black_box(1_u64);
    for _ in 0..nanoseconds * 3 / 4 {
        x = std::hint::black_box(x.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
    }
}
