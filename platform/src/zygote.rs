//! The zygote: the first stub process, init of its own pid namespace and ancestor of all others.
//!
//! [`launch`] forks it from the sentry before the sentry locks itself down. The child gives up everything it inherited
//! (files, namespaces, capabilities, signal handlers, rseq, its libc's thread area), maps the stub, installs the
//! stub's filter and rests in the stub. From then on the tracer drives it, or the answers to its doorbell do ([`launch_free`]).
#![allow(unsafe_code)] // runs between fork and the stub: raw system calls only, nothing that allocates or locks
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};

use libc::{c_int, c_long, pid_t, sock_filter, sock_fprog};

use crate::stub::{self, Entry, Layout, Move, filter, free, slot};
use crate::{Error, Result, sys, wake};

/// A zygote that rests in the stub, traced by the calling thread.
#[derive(Debug)]
pub(crate) struct Zygote {
    /// Its process id as the sentry sees it.
    pub pid: pid_t,
    /// Receives the doorbell.
    pub listener: OwnedFd,
    /// The listener's number in the zygote, still open there.
    pub inner_listener: u64,
}

/// What the child tells its parent by shared memory until it is traced.
#[repr(C)]
struct Report {
    go: AtomicU32,
    step: AtomicU32,
    errno: AtomicI32,
    mount_errno: AtomicI32,
    /// Of an untraced zygote: the listener's number there, plus 1.
    listener: AtomicU32,
}

/// All that the child needs, prepared before the fork.
struct Plan {
    layout: Layout,
    moves: Vec<Move>,
    /// What lies at the stub's base: instructions and tables.
    image: Vec<u8>,
    /// The descriptor of the mailboxes and the address of the signal handler, if nobody traces.
    free: Option<(c_int, u64)>,
    /// The descriptor of the page of counters, if the stub reads them.
    epochs: Option<c_int>,
    header: sock_fprog,
    /// Where glibc's rseq area lies relative to the thread pointer, and the lengths it may be registered with.
    rseq: Option<(usize, [u32; 3])>,
    report: *const Report,
}

/// How many descriptors a stub may have.
pub(crate) const FILES: u64 = 32;

const STEPS: &[&str] = &[
    "start",
    "wait for its tracer",
    "start a session",
    "unregister rseq (is the C library newer than this program knows?)",
    "reset signal handlers",
    "set resource limits",
    "close files",
    "map the stub",
    "move the vDSO (is CONFIG_MSEAL_SYSTEM_MAPPINGS set in the host kernel?)",
    "drop capabilities",
    "set no_new_privs",
    "become traceable",
    "install its seccomp filter (the host kernel needs seccomp user notifications, Linux 5.9 or newer)",
];

const NAMESPACES: c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Forks the zygote and brings it to rest in the stub. The calling thread becomes the tracer of all stubs.
pub(crate) fn launch(layout: Layout, moves: Vec<Move>) -> Result<Zygote> {
    fork(layout, moves, None)
}

/// What a zygote that nobody traces has besides.
#[derive(Clone, Copy)]
pub(crate) struct Free<'a> {
    /// It maps them.
    pub mailboxes: BorrowedFd<'a>,
    /// There is a gate.
    pub gate: bool,
    /// It maps these counters, which the code behind the gate reads.
    pub epochs: Option<BorrowedFd<'a>>,
    /// See [`free::MARK`].
    pub mark: u64,
}

/// Forks a zygote that nobody traces; it waits for orders at its doorbell, with slot 0 of its mailboxes.
pub(crate) fn launch_free(layout: Layout, moves: Vec<Move>, free: Free<'_>) -> Result<Zygote> {
    fork(layout, moves, Some(free))
}

fn fork(layout: Layout, moves: Vec<Move>, free: Option<Free<'_>>) -> Result<Zygote> {
    let host = |what: &str, e: io::Error| Error::Host(format!("cannot {what}: {e}"));
    // SAFETY: a fresh anonymous page, shared with the child; all access is atomic; zero is a valid Report.
    let report: &'static Report = unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            stub::PAGE as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if page == libc::MAP_FAILED {
            return Err(host("map a page", io::Error::last_os_error()));
        }
        &*page.cast::<Report>()
    };
    let mut code: Vec<sock_filter> = match free {
        None => filter::program(filter::RULES),
        Some(Free { gate: false, .. }) => filter::program_at(&[filter::FREE_RULES], layout.base),
        Some(Free { gate: true, .. }) => {
            filter::program_at(&[filter::GATE_RULES, filter::FREE_RULES], layout.base)
        }
    };
    let plan = Plan {
        layout,
        moves,
        image: match free {
            None => stub::text().to_vec(),
            Some(f) => free::image(&layout, f.mark),
        },
        free: free.map(|f| {
            let handler = layout.base + free::handler();
            (f.mailboxes.as_raw_fd(), handler)
        }),
        epochs: free.and_then(|f| f.epochs).map(|fd| fd.as_raw_fd()),
        header: filter::header(&mut code),
        rseq: rseq_area(),
        report,
    };
    let flags = (NAMESPACES | libc::SIGCHLD) as c_long;
    // SAFETY: like fork(2): no new stack, no shared memory. The child runs only `child`, which neither
    // allocates nor takes locks, so other threads of this process do not matter.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        // SAFETY: in the single-threaded child of a fork.
        unsafe { child(&plan) }
    }
    if pid < 0 {
        let e = io::Error::last_os_error();
        return Err(match e.raw_os_error() {
            Some(libc::EPERM) => Error::Host(
                "cannot make namespaces for guest processes: run as root, or allow unprivileged user namespaces \
                 (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)"
                    .into(),
            ),
            Some(libc::ENOSPC | libc::EUSERS) => Error::Host(
                "cannot make namespaces for guest processes: too many exist (sysctl user.max_*_namespaces)".into(),
            ),
            _ => host("fork the zygote", e),
        });
    }
    let pid = pid as pid_t;
    let result = match free {
        None => attach(pid, &layout, report),
        Some(_) => meet(pid, report),
    };
    if result.is_err() {
        let _ = sys::tgkill(pid, pid, libc::SIGKILL);
        sys::reap(pid);
    }
    // SAFETY: the page mapped above; `report` is not used after this.
    unsafe {
        libc::munmap(
            std::ptr::from_ref(report).cast_mut().cast(),
            stub::PAGE as usize,
        )
    };
    result
}

fn attach(pid: pid_t, layout: &Layout, report: &Report) -> Result<Zygote> {
    let host = |what: &str, e: io::Error| Error::Host(format!("cannot {what}: {e}"));
    sys::seize(pid).map_err(|e| {
        host("trace the zygote (is ptrace forbidden, e.g. by kernel.yama.ptrace_scope=3 or a container's seccomp profile?)", e)
    })?;
    report.go.store(1, SeqCst);
    // SAFETY: wakes waiters of a valid word.
    unsafe { libc::syscall(libc::SYS_futex, report.go.as_ptr(), libc::FUTEX_WAKE, 1) };
    loop {
        let change = sys::wait_for(Some(pid), false).map_err(|e| host("wait for the zygote", e))?;
        if matches!(change, Some((_, sys::Change::Dead))) {
            return Err(failure(report));
        }
        let _ = sys::consume(pid);
        let regs = sys::get_registers(pid).map_err(|e| host("read the zygote's registers", e))?;
        if matches!(change, Some((_, sys::Change::Signal(libc::SIGTRAP))))
            && regs.rip == layout.at(Entry::Park) + 1
        {
            return ready(pid, regs.rax, report);
        }
        sys::restart(libc::PTRACE_CONT, pid).map_err(|e| host("continue the zygote", e))?;
    }
}

/// Waits until an untraced zygote has its filter.
fn meet(pid: pid_t, report: &Report) -> Result<Zygote> {
    report.go.store(1, SeqCst);
    // SAFETY: wakes waiters of a valid word.
    unsafe { libc::syscall(libc::SYS_futex, report.go.as_ptr(), libc::FUTEX_WAKE, 1) };
    loop {
        let listener = report.listener.load(SeqCst);
        if listener != 0 {
            return ready(pid, u64::from(listener) - 1, report);
        }
        if !matches!(sys::wait_for_any_thread(pid), Ok(None)) {
            return Err(failure(report));
        }
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}

/// Why the zygote died.
fn failure(report: &Report) -> Error {
    let step = report.step.load(SeqCst) as usize;
    let errno = report.errno.load(SeqCst);
    Error::Host(format!(
        "a new guest process could not {}: {}",
        STEPS.get(step).unwrap_or(&"?"),
        if errno == 0 {
            "it died".to_owned()
        } else {
            io::Error::from_raw_os_error(errno).to_string()
        },
    ))
}

fn ready(pid: pid_t, inner_listener: u64, report: &Report) -> Result<Zygote> {
    let mount = report.mount_errno.load(SeqCst);
    if mount != 0 {
        log::warn!(
            "stub processes keep the sentry's root directory: {}",
            io::Error::from_raw_os_error(mount)
        );
    }
    let listener = sys::take_fd(pid, inner_listener as c_int).map_err(|e| {
        Error::Host(format!(
            "cannot take the seccomp listener (pidfd_getfd, Linux 5.6 or newer): {e}"
        ))
    })?;
    Ok(Zygote {
        pid,
        listener,
        inner_listener,
    })
}

/// Finds glibc's rseq area (`__rseq_offset`, since glibc 2.35); `None` if the C library does not use rseq.
fn rseq_area() -> Option<(usize, [u32; 3])> {
    const AT_RSEQ_FEATURE_SIZE: u64 = 27;
    // SAFETY: dlsym with valid names; if the symbols exist they are a ptrdiff_t and an unsigned int.
    unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        let size = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()).cast::<u32>();
        if offset.is_null() || size.is_null() || *size == 0 {
            return None;
        }
        let feature = libc::getauxval(AT_RSEQ_FEATURE_SIZE) as u32;
        let thread: usize;
        std::arch::asm!("mov {}, qword ptr fs:[0]", out(reg) thread, options(nostack, readonly, pure));
        Some((
            thread.wrapping_add_signed(*offset),
            [32, feature.next_multiple_of(32), *size],
        ))
    }
}

/// A raw system call: the negated errno on failure. Needs no thread-local storage.
unsafe fn call(number: c_long, a: [u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: the caller vouches for the arguments.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => ret,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            out("rcx") _, out("r11") _,
            options(nostack),
        );
    }
    ret
}

/// Everything between the fork and the stub.
///
/// # Safety
/// Only in the single-threaded child of a fork.
unsafe fn child(plan: &Plan) -> ! {
    // SAFETY: `report` is a shared page that is mapped until the stub unmaps everything.
    let report = unsafe { &*plan.report };
    // SAFETY (all of this function): plain system calls on this process; pointers are to live locals or statics.
    unsafe {
        let must = |ret: i64| {
            if ret < 0 {
                report.errno.store((-ret) as i32, SeqCst);
                call(libc::SYS_exit_group, [1, 0, 0, 0, 0, 0]);
            }
            ret
        };
        let next = || report.step.fetch_add(1, SeqCst);

        next(); // wait for its tracer
        must(call(
            libc::SYS_prctl,
            [
                libc::PR_SET_PDEATHSIG as u64,
                libc::SIGKILL as u64,
                0,
                0,
                0,
                0,
            ],
        ));
        while report.go.load(SeqCst) == 0 {
            call(
                libc::SYS_futex,
                [
                    report.go.as_ptr() as u64,
                    libc::FUTEX_WAIT as u64,
                    0,
                    0,
                    0,
                    0,
                ],
            );
        }
        next(); // start a session
        must(call(libc::SYS_setsid, [0; 6]));
        report.mount_errno.store((-empty_root()) as i32, SeqCst);

        next(); // unregister rseq
        if let Some((area, sizes)) = plan.rseq {
            const SIGNATURE: u64 = 0x5305_3053;
            let mut ret = -i64::from(libc::EINVAL);
            for size in sizes {
                ret = call(
                    libc::SYS_rseq,
                    [area as u64, u64::from(size), 1, SIGNATURE, 0, 0],
                );
                if ret == 0 {
                    break;
                }
            }
            must(ret);
        }
        call(libc::SYS_set_robust_list, [0, 24, 0, 0, 0, 0]);
        call(libc::SYS_set_tid_address, [0; 6]);

        next(); // reset signal handlers
        let stack = libc::stack_t {
            ss_sp: std::ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: 0,
        };
        must(call(
            libc::SYS_sigaltstack,
            [&raw const stack as u64, 0, 0, 0, 0, 0],
        ));
        // The kernel's struct sigaction: handler, flags, restorer, mask.
        let default = [libc::SIG_DFL as u64, 0, 0, 0];
        let ignore = [libc::SIG_IGN as u64, 0, 0, 0];
        const SA_RESTORER: u64 = 0x0400_0000;
        let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER) as u64 | SA_RESTORER;
        // The handler never returns: any address will do as restorer.
        let handler = plan.free.map_or(0, |(_, address)| address);
        let handle = [handler, flags, handler, 0];
        for signal in (1..=64).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s)) {
            let action = match (plan.free, signal) {
                (None, libc::SIGCHLD) => &ignore,
                (None, _) => &default,
                // Untraced stubs stay zombies until the sentry has them reaped.
                (Some(_), libc::SIGCHLD | libc::SIGCONT) => &default,
                (
                    Some(_),
                    libc::SIGSYS
                    | libc::SIGSEGV
                    | libc::SIGBUS
                    | libc::SIGFPE
                    | libc::SIGILL
                    | libc::SIGTRAP
                    | wake::SIGNAL,
                ) => &handle,
                (Some(_), _) => &ignore,
            };
            must(call(
                libc::SYS_rt_sigaction,
                [signal as u64, action.as_ptr() as u64, 0, 8, 0, 0],
            ));
        }
        let none = 0u64;
        must(call(
            libc::SYS_rt_sigprocmask,
            [libc::SIG_SETMASK as u64, &raw const none as u64, 0, 8, 0, 0],
        ));

        next(); // set resource limits
        for (resource, limit) in [
            (libc::RLIMIT_CORE as u64, 1),
            (libc::RLIMIT_NOFILE as u64, FILES),
        ] {
            let mut old = [0u64; 2];
            must(call(
                libc::SYS_prlimit64,
                [0, resource, 0, old.as_mut_ptr() as u64, 0, 0],
            ));
            let new = [limit.min(old[1]); 2];
            must(call(
                libc::SYS_prlimit64,
                [0, resource, new.as_ptr() as u64, 0, 0, 0],
            ));
        }
        // The mailboxes of a zygote that nobody traces, and its alternate stack there.
        let slots = plan.layout.mailboxes();
        if let Some((fd, _)) = plan.free {
            let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
            let len = slot::WINDOW as u64;
            must(call(libc::SYS_mmap, [slots, len, 3, flags, fd as u64, 0]));
            must(call(
                libc::SYS_madvise,
                [slots, len, libc::MADV_DONTFORK as u64, 0, 0, 0],
            ));
            let stack = libc::stack_t {
                ss_sp: (slots + slot::STACK_START as u64) as *mut libc::c_void,
                ss_flags: 0,
                ss_size: slot::SLOT - slot::STACK_START,
            };
            must(call(
                libc::SYS_sigaltstack,
                [&raw const stack as u64, 0, 0, 0, 0, 0],
            ));
        }
        if let Some(fd) = plan.epochs {
            let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
            let (at, read) = (plan.layout.epochs(), libc::PROT_READ as u64);
            must(call(
                libc::SYS_mmap,
                [at, stub::PAGE, read, flags, fd as u64, 0],
            ));
            call(libc::SYS_mseal, [at, stub::PAGE, 0, 0, 0, 0]);
        }
        next(); // close files
        must(call(
            libc::SYS_close_range,
            [0, u64::from(u32::MAX), 0, 0, 0, 0],
        ));

        next(); // map the stub
        let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let rx = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let fixed = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        let base = plan.layout.base;
        let len = (plan.image.len() as u64).next_multiple_of(stub::PAGE);
        must(call(libc::SYS_mmap, [base, len, rw, fixed, u64::MAX, 0]));
        std::ptr::copy_nonoverlapping(plan.image.as_ptr(), base as *mut u8, plan.image.len());
        must(call(libc::SYS_mprotect, [base, len, rx, 0, 0, 0]));

        next(); // move the vDSO
        for m in &plan.moves {
            let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
            must(call(
                libc::SYS_mremap,
                [m.from, m.len, m.len, flags, m.to, 0],
            ));
            if !m.changes {
                call(libc::SYS_mseal, [m.to, m.len, 0, 0, 0, 0]);
            }
        }
        call(libc::SYS_mseal, [base, len, 0, 0, 0, 0]); // Linux 6.10; else only the sentry's care protects it

        next(); // drop capabilities
        call(
            libc::SYS_prctl,
            [
                libc::PR_CAP_AMBIENT as u64,
                libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
                0,
                0,
                0,
                0,
            ],
        );
        for capability in 0..64 {
            if call(
                libc::SYS_prctl,
                [libc::PR_CAPBSET_DROP as u64, capability, 0, 0, 0, 0],
            ) == -i64::from(libc::EINVAL)
            {
                break;
            }
        }
        const VERSION_3: u32 = 0x2008_0522;
        let header = [VERSION_3, 0];
        let empty = [0u32; 6];
        must(call(
            libc::SYS_capset,
            [header.as_ptr() as u64, empty.as_ptr() as u64, 0, 0, 0, 0],
        ));

        next(); // set no_new_privs
        must(call(
            libc::SYS_prctl,
            [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0],
        ));
        next(); // become traceable
        must(call(
            libc::SYS_prctl,
            [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0],
        ));

        next(); // install its seccomp filter
        const WAIT_KILLABLE_RECV: u64 = 1 << 5; // Linux 5.19
        let filter = |flags: u64| {
            let program = &raw const plan.header as u64;
            call(
                libc::SYS_seccomp,
                [
                    libc::SECCOMP_SET_MODE_FILTER.into(),
                    flags,
                    program,
                    0,
                    0,
                    0,
                ],
            )
        };
        let mut listener = filter(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV);
        if listener == -i64::from(libc::EINVAL) && plan.free.is_none() {
            listener = filter(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        }
        // After the filter exit_group is not allowed either: `must` cannot be used, but its report can.
        if listener < 0 {
            must(listener);
        }
        if plan.free.is_some() {
            report.listener.store(listener as u32 + 1, SeqCst);
            std::arch::asm!(
                "mov r15, rcx", "jmp rax", in("rcx") slots, in("rax") plan.layout.base + free::first(), options(noreturn)
            );
        }
        std::arch::asm!("jmp {}", in(reg) plan.layout.at(Entry::Park), in("rax") listener, options(noreturn));
    }
}

/// Moves to an empty root; 0 or a negated errno.
unsafe fn empty_root() -> i64 {
    // SAFETY: plain system calls with constant strings.
    unsafe {
        let root = c"/".as_ptr() as u64;
        let dot = c".".as_ptr() as u64;
        let tmpfs = c"tmpfs".as_ptr() as u64;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let ret = call(libc::SYS_mount, [0, root, 0, private, 0, 0]);
        if ret < 0 {
            return ret;
        }
        let mut ret = -i64::from(libc::ENOENT);
        for place in [c"/proc", c"/tmp", c"/dev", c"/sys", c"/run", c"/usr"] {
            let place = place.as_ptr() as u64;
            let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            ret = call(
                libc::SYS_mount,
                [
                    tmpfs,
                    place,
                    tmpfs,
                    flags,
                    c"size=4k,mode=555".as_ptr() as u64,
                    0,
                ],
            );
            if ret == 0 {
                ret = call(libc::SYS_chdir, [place, 0, 0, 0, 0, 0]);
                break;
            }
        }
        if ret == -i64::from(libc::ENOENT) {
            return 0; // the sentry's root is empty already
        }
        if ret < 0 {
            return ret;
        }
        let ret = call(libc::SYS_pivot_root, [dot, dot, 0, 0, 0, 0]);
        if ret < 0 {
            return ret;
        }
        call(
            libc::SYS_umount2,
            [dot, libc::MNT_DETACH as u64, 0, 0, 0, 0],
        )
    }
}
