//! The host system calls of this crate, each as a safe function.
#![allow(unsafe_code)] // raw system calls: libc has no safe form of ptrace, waitid, process_vm_*, seccomp ioctls
use std::ffi::CStr;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use libc::{c_int, c_long, c_ulong, c_void, pid_t, siginfo_t};

use crate::arch::Registers;

pub(crate) fn check(ret: c_long) -> io::Result<c_long> {
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// PTRACE_SYSEMU of `<sys/ptrace.h>`.
pub(crate) const PTRACE_SYSEMU: u32 = 31;
/// PTRACE_EVENT_STOP.
pub(crate) const EVENT_STOP: i32 = 128;
const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
const NT_X86_XSTATE: usize = 0x202;
const OPTIONS: i32 = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACESYSGOOD;

fn ptrace(request: u32, tid: pid_t, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: every caller passes an address and data that its request expects; the kernel writes only into
    // buffers that outlive the call.
    check(unsafe { libc::ptrace(request, tid, addr as *mut c_void, data as *mut c_void) }).map(drop)
}

/// Attaches without stopping; children are attached too, and all die with the tracer.
pub(crate) fn seize(tid: pid_t) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, tid, 0, OPTIONS as usize)
}

/// Continues a stopped tracee (`PTRACE_CONT` or [`PTRACE_SYSEMU`]) without delivering a signal.
pub(crate) fn restart(request: u32, tid: pid_t) -> io::Result<()> {
    ptrace(request, tid, 0, 0)
}

/// PTRACE_GETREGS.
pub(crate) fn get_registers(tid: pid_t) -> io::Result<Registers> {
    let mut regs = Registers::default();
    ptrace(libc::PTRACE_GETREGS, tid, 0, (&raw mut regs).addr())?;
    Ok(regs)
}

/// PTRACE_SETREGS.
pub(crate) fn set_registers(tid: pid_t, regs: &Registers) -> io::Result<()> {
    ptrace(
        libc::PTRACE_SETREGS,
        tid,
        0,
        std::ptr::from_ref(regs).addr(),
    )
}

/// PTRACE_GETEVENTMSG.
pub(crate) fn event_message(tid: pid_t) -> io::Result<u64> {
    let mut message: c_ulong = 0;
    ptrace(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut message).addr())?;
    Ok(message)
}

/// PTRACE_GETSIGINFO.
pub(crate) fn signal_info(tid: pid_t) -> io::Result<siginfo_t> {
    // SAFETY: siginfo_t is plain data for which zero is a value.
    let mut info: siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
    ptrace(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info).addr())?;
    Ok(info)
}

/// `si_addr` of a fault.
pub(crate) fn fault_address(info: &siginfo_t) -> u64 {
    // SAFETY: any siginfo_t is 128 bytes of plain data; for a fault this field is the address.
    unsafe { info.si_addr() as u64 }
}

/// `si_syscall` of a SIGSYS that seccomp raised.
pub(crate) fn sigsys_number(info: &siginfo_t) -> u32 {
    // SAFETY: plain data of 128 bytes; `si_syscall` follows the pointer `si_call_addr` at offset 16.
    unsafe {
        std::ptr::from_ref(info)
            .cast::<u8>()
            .add(24)
            .cast::<u32>()
            .read_unaligned()
    }
}

/// The `AUDIT_ARCH_*` of the entry by which a tracee in a syscall stop came.
pub(crate) fn syscall_arch(tid: pid_t) -> io::Result<u32> {
    let mut info = [0u64; 11];
    ptrace(
        PTRACE_GET_SYSCALL_INFO,
        tid,
        size_of::<[u64; 11]>(),
        (&raw mut info).addr(),
    )?;
    Ok((info[0] >> 32) as u32)
}

/// The XSAVE area of a stopped tracee.
pub(crate) fn get_xstate(tid: pid_t) -> io::Result<Vec<u8>> {
    let mut buf = vec![0u8; 32 << 10];
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    ptrace(
        libc::PTRACE_GETREGSET,
        tid,
        NT_X86_XSTATE,
        (&raw mut iov).addr(),
    )?;
    buf.truncate(iov.iov_len);
    Ok(buf)
}

/// Replaces the XSAVE area of a stopped tracee; the kernel validates it.
pub(crate) fn set_xstate(tid: pid_t, state: &[u8]) -> io::Result<()> {
    let iov = libc::iovec {
        iov_base: state.as_ptr().cast_mut().cast(),
        iov_len: state.len(),
    };
    ptrace(
        libc::PTRACE_SETREGSET,
        tid,
        NT_X86_XSTATE,
        (&raw const iov).addr(),
    )
}

/// What a wait found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A system call stop.
    Syscall,
    /// A PTRACE_EVENT stop.
    Event(i32),
    /// A signal about to be delivered.
    Signal(i32),
    /// Dead, not yet reaped.
    Dead,
}

/// Reads what `waitid` stored.
pub(crate) fn change(info: &siginfo_t) -> (pid_t, Change) {
    // SAFETY: plain data that waitid filled in.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let change = match info.si_code {
        libc::CLD_TRAPPED | libc::CLD_STOPPED => {
            let (signal, event) = (status & 0xff, status >> 8);
            if event != 0 {
                Change::Event(event)
            } else if signal == libc::SIGTRAP | 0x80 {
                Change::Syscall
            } else {
                Change::Signal(signal)
            }
        }
        _ => Change::Dead,
    };
    (pid, change)
}

/// The options of all waits here: look without reaping, own tracees only.
pub(crate) const WAIT: c_int =
    libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;

/// Waits for one tracee, or any, without reaping it; `None` if `now` and nothing happened.
pub(crate) fn wait_for(tid: Option<pid_t>, now: bool) -> io::Result<Option<(pid_t, Change)>> {
    wait(tid, WAIT | if now { libc::WNOHANG } else { 0 })
}

/// Looks whether `tid` died, from any thread of the tracer's process.
pub(crate) fn wait_for_any_thread(tid: pid_t) -> io::Result<Option<(pid_t, Change)>> {
    wait(
        Some(tid),
        libc::WEXITED | libc::WNOWAIT | libc::__WALL | libc::WNOHANG,
    )
}

fn wait(tid: Option<pid_t>, options: c_int) -> io::Result<Option<(pid_t, Change)>> {
    // SAFETY: siginfo_t is plain data for which zero is a value.
    let mut info: siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
    let (kind, id) = tid.map_or((libc::P_ALL, 0), |tid| (libc::P_PID, tid.cast_unsigned()));
    loop {
        // SAFETY: `info` outlives the call.
        match check(unsafe { libc::waitid(kind, id, &raw mut info, options) }.into()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(_) => break,
        }
    }
    let (pid, change) = change(&info);
    Ok((pid != 0).then_some((pid, change)))
}

/// Takes what [`wait_for`] saw: a stop is not reported again, a dead task is reaped and its id free.
/// Returns the (user, system) time in nanoseconds that the kernel reports with it.
pub(crate) fn consume(tid: pid_t) -> io::Result<(u64, u64)> {
    // SAFETY: rusage is plain data for which zero is a value.
    let mut usage: libc::rusage = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut status = 0;
    let options = libc::__WALL | libc::WNOHANG;
    // SAFETY: both outputs outlive the call.
    check(unsafe { libc::wait4(tid, &raw mut status, options, &raw mut usage) }.into())?;
    let ns = |t: libc::timeval| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1000;
    Ok((ns(usage.ru_utime), ns(usage.ru_stime)))
}

/// Blocks until `tid` dies, then reaps it. From any thread of the tracer's process.
pub(crate) fn reap(tid: pid_t) {
    let mut status = 0;
    loop {
        // SAFETY: the output outlives the call.
        let r = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
        if r == tid && (libc::WIFEXITED(status) || libc::WIFSIGNALED(status)) {
            return;
        }
        if r < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// tgkill(2).
pub(crate) fn tgkill(pid: pid_t, tid: pid_t, signal: c_int) -> io::Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) }).map(drop)
}

/// Tells threads of this process apart, for as long as they live, without a system call.
pub(crate) fn thread_mark() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// How many mappings a process may have, unless the host's administrator changed it (vm.max_map_count).
const MAPPINGS: u64 = 65530;

/// Whether the host may refuse a mapping that is in order: it promises no memory that it lacks (vm.overcommit_memory 2), this process has limits on memory, which stubs
/// inherit (ulimit -v, -d), or the host allows fewer mappings than usual; or it does not say.
pub(crate) fn commits_strictly() -> bool {
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/vm/{name}"));
    let limited = |resource| {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: the output outlives the call.
        let r = unsafe { libc::getrlimit(resource, &raw mut limit) };
        r != 0 || limit.rlim_cur != libc::RLIM_INFINITY
    };
    let overcommits = setting("overcommit_memory").is_ok_and(|m| matches!(m.trim(), "0" | "1"));
    let mappings = setting("max_map_count")
        .ok()
        .and_then(|n| n.trim().parse::<u64>().ok());
    !overcommits
        || limited(libc::RLIMIT_AS)
        || limited(libc::RLIMIT_DATA)
        || mappings.is_none_or(|n| n < MAPPINGS)
}

/// gettid(2).
pub(crate) fn gettid() -> pid_t {
    // SAFETY: no memory involved.
    unsafe { libc::gettid() }
}

/// getpid(2).
pub(crate) fn getpid() -> pid_t {
    // SAFETY: no memory involved.
    unsafe { libc::getpid() }
}

/// A memfd of fixed size that nobody can shrink or grow.
pub(crate) fn memfd(name: &CStr, len: u64) -> io::Result<OwnedFd> {
    let fd = unsealed_memfd(name, len)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    seal(fd.as_fd(), seals)?;
    Ok(fd)
}

/// Seals a memfd.
pub(crate) fn seal(fd: BorrowedFd<'_>, seals: c_int) -> io::Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into()).map(drop)
}

/// A memfd that is to be sealed.
pub(crate) fn unsealed_memfd(name: &CStr, len: u64) -> io::Result<OwnedFd> {
    const MFD_NOEXEC_SEAL: u32 = 8;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` is a valid C string; a returned descriptor is ours alone.
    let fd = unsafe {
        let mut fd = libc::memfd_create(name.as_ptr(), flags | MFD_NOEXEC_SEAL);
        if fd < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
            fd = libc::memfd_create(name.as_ptr(), flags); // before Linux 6.3
        }
        check(fd.into())?;
        OwnedFd::from_raw_fd(fd)
    };
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: no memory involved.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), len) }.into())?;
    Ok(fd)
}

/// Frees the first `len` bytes of a memfd: they read as zero.
pub(crate) fn punch_hole(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: no memory involved.
    check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, 0, len) }.into()).map(drop)
}

/// pidfd_open(2) and pidfd_getfd(2): copies descriptor `fd` of process `pid`.
pub(crate) fn take_fd(pid: pid_t, fd: c_int) -> io::Result<OwnedFd> {
    // SAFETY: descriptors returned by the kernel are ours alone.
    unsafe {
        let pidfd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        let pidfd = OwnedFd::from_raw_fd(pidfd as c_int);
        let fd = check(libc::syscall(
            libc::SYS_pidfd_getfd,
            pidfd.as_raw_fd(),
            fd,
            0,
        ))?;
        let fd = OwnedFd::from_raw_fd(fd as c_int);
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC).into())?;
        Ok(fd)
    }
}

/// A set of processor cores.
pub(crate) type CpuSet = libc::cpu_set_t;

/// The cores that the calling thread may use.
pub(crate) fn affinity() -> Option<CpuSet> {
    // SAFETY: cpu_set_t is plain data for which zero is a value; the kernel fills it.
    unsafe {
        let mut set: CpuSet = MaybeUninit::zeroed().assume_init();
        (libc::sched_getaffinity(0, size_of::<CpuSet>(), &raw mut set) == 0).then_some(set)
    }
}

/// How many cores are in the set.
pub(crate) fn cpu_count(set: &CpuSet) -> usize {
    // SAFETY: reads the set.
    usize::try_from(unsafe { libc::CPU_COUNT(set) }).unwrap_or(0)
}

/// The cores in the set.
pub(crate) fn cpus(set: &CpuSet) -> Vec<usize> {
    // SAFETY: reads the set, at indexes that it can hold.
    let has = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, set) };
    (0..libc::CPU_SETSIZE as usize).filter(has).collect()
}

/// The set of one core; empty beyond what a set can hold.
pub(crate) fn single_cpu(cpu: usize) -> CpuSet {
    // SAFETY: cpu_set_t is plain data for which zero is a value; the index is checked.
    unsafe {
        let mut set: CpuSet = MaybeUninit::zeroed().assume_init();
        if cpu < libc::CPU_SETSIZE as usize {
            libc::CPU_SET(cpu, &mut set);
        }
        set
    }
}

/// The set without one core.
pub(crate) fn without_cpu(set: &CpuSet, cpu: usize) -> CpuSet {
    let mut rest = *set;
    if cpu < libc::CPU_SETSIZE as usize {
        // SAFETY: the index is checked.
        unsafe { libc::CPU_CLR(cpu, &mut rest) };
    }
    rest
}

/// sched_setaffinity(2); `tid` 0 is the caller.
pub(crate) fn set_affinity(tid: pid_t, set: &CpuSet) -> io::Result<()> {
    // SAFETY: reads the set.
    check(unsafe { libc::sched_setaffinity(tid, size_of::<CpuSet>(), set) }.into()).map(drop)
}

/// Has the calling thread's short waits end when they should: Linux would let them last 50 µs longer (PR_SET_TIMERSLACK(2const)).
pub(crate) fn be_punctual() {
    // SAFETY: no memory involved; it cannot fail.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000 as libc::c_ulong) };
}

/// The core that the caller runs on; -1 if unknown.
pub(crate) fn current_cpu() -> c_int {
    // SAFETY: no memory involved.
    unsafe { libc::sched_getcpu() }
}

/// Sleeps, by poll(2).
pub(crate) fn pause(ms: c_int) {
    // SAFETY: an empty set of descriptors.
    unsafe { libc::poll(std::ptr::null_mut(), 0, ms) };
}

/// Waits until `fd` is readable; false after `timeout_ms`.
pub(crate) fn readable(fd: BorrowedFd<'_>, timeout_ms: c_int) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd that outlives the call.
    match check(unsafe { libc::poll(&raw mut poll, 1, timeout_ms) }.into()) {
        Ok(n) => Ok(n > 0 && poll.revents & libc::POLLIN != 0),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(false),
        Err(e) => Err(e),
    }
}

/// The same whatever signals come.
pub(crate) fn readable_within(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let ms = c_int::try_from(left.as_millis()).unwrap_or(c_int::MAX);
        match readable(fd, ms) {
            Ok(false) if !left.is_zero() => {}
            outcome => return outcome.unwrap_or(false),
        }
    }
}

pub(crate) fn ioctl<T>(
    fd: BorrowedFd<'_>,
    request: c_ulong,
    argument: &mut T,
) -> io::Result<c_long> {
    // SAFETY: each caller pairs the request with the structure it takes; the fd is a seccomp listener.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) }.into())
}

const NOTIF_RECV: c_ulong = 0xc050_2100;
const NOTIF_SEND: c_ulong = 0xc018_2101;
const NOTIF_ADDFD: c_ulong = 0x4018_2103;
const ADDFD_FLAG_SEND: u32 = 2;

/// A task waiting at the doorbell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    /// Cookie for the answer.
    pub id: u64,
    /// Host thread id.
    pub tid: pid_t,
    /// System call number.
    pub number: i32,
    /// First argument.
    pub arg: u64,
}

/// Receives one notification; `None` if its sender vanished meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Ring>> {
    let mut notif = libc::seccomp_notif {
        id: 0,
        pid: 0,
        flags: 0,
        data: libc::seccomp_data {
            nr: 0,
            arch: 0,
            instruction_pointer: 0,
            args: [0; 6],
        },
    };
    match ioctl(listener, NOTIF_RECV, &mut notif) {
        Ok(_) => Ok(Some(Ring {
            id: notif.id,
            tid: notif.pid.cast_signed(),
            number: notif.data.nr,
            arg: notif.data.args[0],
        })),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Answers with a copy of `fd`.
pub(crate) fn answer_fd(listener: BorrowedFd<'_>, id: u64, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut add = libc::seccomp_notif_addfd {
        id,
        flags: ADDFD_FLAG_SEND,
        srcfd: fd.as_raw_fd().cast_unsigned(),
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
    };
    ioctl(listener, NOTIF_ADDFD, &mut add).map(drop)
}

/// Answers with a negated errno.
pub(crate) fn answer_error(listener: BorrowedFd<'_>, id: u64, errno: i32) -> io::Result<()> {
    let mut response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -errno,
        flags: 0,
    };
    ioctl(listener, NOTIF_SEND, &mut response).map(drop)
}

/// One process_vm_readv of a contiguous range; how many bytes were copied, 0 on error.
pub(crate) fn read_memory(pid: pid_t, addr: u64, buf: &mut [u8]) -> usize {
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let remote = libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: buf.len(),
    };
    // SAFETY: `local` is the exclusive buffer; `remote` is only an address in another process.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).unwrap_or(0)
}

/// Whether a read of a process's memory says that there is no such process, or none with memory (ESRCH).
pub(crate) fn has_no_memory(pid: pid_t, addr: u64) -> bool {
    let mut byte = 0u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: 1,
    };
    // SAFETY: `local` is the byte; `remote` is only an address in another process.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    n == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// One process_vm_writev of a contiguous range; how many bytes were copied, 0 on error.
pub(crate) fn write_memory(pid: pid_t, addr: u64, buf: &[u8]) -> usize {
    let local = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    let remote = libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: buf.len(),
    };
    // SAFETY: `local` is only read; `remote` is only an address in another process.
    let n = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).unwrap_or(0)
}

/// CPU time of a process in nanoseconds (user, system) from its CPU clocks; `None` if it is gone.
pub(crate) fn process_time(pid: pid_t) -> Option<(u64, u64)> {
    // MAKE_PROCESS_CPUCLOCK of the kernel's posix-timers: 0 is user and system, 1 is user.
    let read = |which: i32| {
        let mut t = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the output outlives the call.
        let r = unsafe { libc::clock_gettime((!pid << 3) | which, &raw mut t) };
        (r == 0).then_some(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
    };
    let user = read(1)?;
    Some((user, read(0)?.saturating_sub(user)))
}

/// The processor's time stamp counter.
pub(crate) fn cycles() -> u64 {
    // SAFETY: reads a register; every x86-64 processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Which file a descriptor is of: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

/// Which file a descriptor is of.
pub(crate) fn file_id(fd: BorrowedFd<'_>) -> Option<FileId> {
    // SAFETY: the descriptor is valid; fstat fills a local for which zero is a value.
    unsafe {
        let mut stat: libc::stat = MaybeUninit::zeroed().assume_init();
        (libc::fstat(fd.as_raw_fd(), &raw mut stat) == 0)
            .then_some(FileId(stat.st_dev, stat.st_ino))
    }
}

/// Whether a descriptor is read-only, and of a file of which nothing can change or grow in memory that the sandbox pays for: not a memfd, unless
/// it is sealed.
pub(crate) fn is_safe_to_keep(fd: BorrowedFd<'_>) -> bool {
    let sealed = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;
    let fd = fd.as_raw_fd();
    // SAFETY: the descriptor is valid.
    let (flags, seals) = unsafe {
        (
            libc::fcntl(fd, libc::F_GETFL),
            libc::fcntl(fd, libc::F_GET_SEALS),
        )
    };
    let read_only = flags != -1 && (flags & libc::O_ACCMODE == libc::O_RDONLY || seals != -1);
    read_only && (seals == -1 || seals & sealed == sealed)
}

/// Gives free memory of this process's heap back to the host, if it is more than `worth` bytes (malloc_trim(3)).
pub fn trim_heap(worth: usize) {
    // SAFETY: both take the allocator's own locks, and give nothing to read.
    unsafe {
        if libc::mallinfo2().fordblks > worth {
            libc::malloc_trim(0);
        }
    }
}

/// Returns when every thread of the host that runs, guests' too, has passed a memory barrier: MEMBARRIER_CMD_GLOBAL of membarrier(2).
pub fn barrier_for_all() -> io::Result<()> {
    // SAFETY: no memory is given.
    match unsafe { libc::syscall(libc::SYS_membarrier, 1, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
