//! The doorbell as the untraced backends use it, and what they wait on besides: host system calls as safe functions.
#![allow(unsafe_code)] // raw system calls: seccomp ioctls, pidfds, epoll, eventfd
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_ulong, pid_t};

use crate::sys::{check, ioctl};

const NOTIF_RECV: c_ulong = 0xc050_2100;
const NOTIF_SEND: c_ulong = 0xc018_2101;
const NOTIF_SET_FLAGS: c_ulong = 0x4008_2104;
const FLAG_CONTINUE: u32 = 1;
const FD_SYNC_WAKE_UP: u64 = 1;

/// A ring: a host thread that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    /// Cookie for the answer.
    pub id: u64,
    /// Host thread id.
    pub tid: pid_t,
    /// System call number.
    pub number: i64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// Receives one ring; `None` if its sender vanished meanwhile. Blocks unless the listener is readable.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<Option<Ring>> {
    // SAFETY: seccomp_notif is plain data for which zero is a value, and which must be zero here.
    let mut notif: libc::seccomp_notif = unsafe { MaybeUninit::zeroed().assume_init() };
    match ioctl(listener, NOTIF_RECV, &mut notif) {
        Ok(_) => Ok(Some(Ring {
            id: notif.id,
            tid: notif.pid.cast_signed(),
            number: notif.data.nr.into(),
            args: notif.data.args,
        })),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
        Err(e) => Err(e),
    }
}

fn send(listener: BorrowedFd<'_>, id: u64, val: i64, flags: u32) -> io::Result<()> {
    let mut response = libc::seccomp_notif_resp {
        id,
        val,
        error: 0,
        flags,
    };
    ioctl(listener, NOTIF_SEND, &mut response).map(drop)
}

/// Answers with a value.
pub(crate) fn answer(listener: BorrowedFd<'_>, id: u64, value: u64) -> io::Result<()> {
    send(listener, id, value.cast_signed(), 0)
}

/// Lets the host kernel carry out the call.
pub(crate) fn let_pass(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    send(listener, id, 0, FLAG_CONTINUE)
}

/// Whether an answer, and a ring, run the other side on the same core at once (Linux 6.6).
pub(crate) fn set_sync(listener: BorrowedFd<'_>, sync: bool) -> io::Result<()> {
    let flags = if sync { FD_SYNC_WAKE_UP } else { 0 };
    // SAFETY: this request takes its flags by value.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS as _, flags) };
    check(ret.into()).map(drop)
}

/// pidfd_open(2).
pub(crate) fn pidfd(pid: pid_t) -> io::Result<OwnedFd> {
    // SAFETY: a returned descriptor is ours alone.
    unsafe {
        let fd = check(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as c_int))
    }
}

/// SIGKILL by pidfd_send_signal(2).
pub(crate) fn kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory involved.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            0,
            0,
        )
    })
    .map(drop)
}

/// An eventfd(2).
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: a returned descriptor is ours alone.
    unsafe {
        let fd = check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as c_int))
    }
}

/// Makes an eventfd readable.
pub(crate) fn raise(event: BorrowedFd<'_>) {
    let one = 1u64;
    // SAFETY: writes eight bytes of a local. It fails only when the counter is full, and then it is readable anyway.
    let _ = unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Makes it unreadable.
pub(crate) fn lower(event: BorrowedFd<'_>) {
    let mut count = 0u64;
    // SAFETY: reads eight bytes into a local; fails if it is not readable.
    let _ = unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8) };
}

/// A set of descriptors that become readable once (epoll(7)).
pub(crate) fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: a returned descriptor is ours alone.
    unsafe {
        let fd = check(libc::epoll_create1(libc::EPOLL_CLOEXEC).into())?;
        Ok(OwnedFd::from_raw_fd(fd as c_int))
    }
}

/// Adds `fd` under `key`; reported once.
pub(crate) fn watch(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLONESHOT).cast_unsigned(),
        u64: key,
    };
    // SAFETY: the event outlives the call.
    let ret = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd.as_raw_fd(),
            &raw mut event,
        )
    };
    check(ret.into()).map(drop)
}

/// Keys of up to 16 descriptors that became readable.
pub(crate) fn watched(epoll: BorrowedFd<'_>) -> Vec<u64> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
    // SAFETY: room for 16 events.
    let n = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 16, 0) };
    events
        .iter()
        .take(usize::try_from(n).unwrap_or(0))
        .map(|e| e.u64)
        .collect()
}

/// Waits until one of three descriptors is readable, if there is one; which are. Without a limit for ever.
pub(crate) fn poll(
    fds: [Option<BorrowedFd<'_>>; 3],
    limit: Option<std::time::Duration>,
) -> io::Result<[bool; 3]> {
    let limit = limit.map(|d| libc::timespec {
        tv_sec: d.as_secs().cast_signed(),
        tv_nsec: d.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mut polls = fds.map(|fd| libc::pollfd {
        // Linux leaves out negative ones.
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: three pollfds and a time that outlive the call; no signal mask.
    match check(unsafe { libc::ppoll(polls.as_mut_ptr(), 3, limit, std::ptr::null()) }.into()) {
        Ok(_) => Ok(polls.map(|p| p.revents & libc::POLLIN != 0)),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok([false; 3]),
        Err(e) => Err(e),
    }
}

/// What the processor stores as vector registers: length in bytes and components, without AMX tiles.
pub(crate) fn xsave_shape() -> (usize, u64) {
    use std::arch::x86_64::{__cpuid_count, _xgetbv};
    #[target_feature(enable = "xsave")]
    fn xcr0() -> u64 {
        // SAFETY: the caller checks that the processor and the kernel support XSAVE.
        unsafe { _xgetbv(0) }
    }
    if !std::arch::is_x86_feature_detected!("xsave") {
        return (0, 0);
    }
    // SAFETY: just checked.
    let enabled = unsafe { xcr0() };
    let mask = enabled & !(3 << 17);
    let len = (2..63)
        .filter(|i| mask >> i & 1 == 1)
        .map(|i| {
            let leaf = __cpuid_count(0xd, i);
            leaf.eax as usize + leaf.ebx as usize
        })
        .fold(576, usize::max);
    (len, mask)
}

/// Whether programs may use rdfsbase and wrgsbase (AT_HWCAP2).
pub(crate) fn has_fsgsbase() -> bool {
    const HWCAP2_FSGSBASE: c_ulong = 2;
    // SAFETY: no memory involved.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

const _: () = assert!(size_of::<libc::seccomp_notif>() == 80);
