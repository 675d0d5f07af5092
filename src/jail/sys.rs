//! System calls that have no safe wrapper elsewhere, each with the narrowest type that does.
#![allow(unsafe_code)] // raw system calls whose pointers come from references alive for the call

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn new_fd(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd =
        RawFd::try_from(check(result)?).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A fresh tmpfs as a detached mount.
pub fn detached_tmpfs(mount_attrs: u64) -> io::Result<OwnedFd> {
    let options = [(c"size", c"64k"), (c"nr_inodes", c"16"), (c"mode", c"0555")];
    detached(c"tmpfs", &options, mount_attrs)
}

/// The processes of the calling process's pid namespace, and nothing else of procfs, as a detached mount. The host lets
/// nobody have one whose own `/proc` is partly hidden.
pub fn detached_processes(mount_attrs: u64) -> io::Result<OwnedFd> {
    detached(c"proc", &[(c"subset", c"pid")], mount_attrs)
}

/// fsopen(2), fsmount(2).
fn detached(kind: &CStr, options: &[(&CStr, &CStr)], mount_attrs: u64) -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    // SAFETY: a NUL-terminated string and no other pointer.
    let context =
        new_fd(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    for (key, value) in options {
        // SAFETY: NUL-terminated strings; the descriptor is open.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                FSCONFIG_SET_STRING,
                key.as_ptr(),
                value.as_ptr(),
                0,
            )
        })?;
    }
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: the create command takes no pointers.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        )
    })?;
    // SAFETY: no pointers.
    new_fd(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            mount_attrs,
        )
    })
}

/// Attaches a detached mount at `target` (move_mount(2)).
pub fn attach_mount(mount: BorrowedFd<'_>, target: &CStr) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    // SAFETY: both strings are NUL-terminated and live through the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Closes descriptors `first..=last` (close_range(2)).
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: no pointers. Whoever owns a descriptor in the range is gone or never existed: callers run it right
    // after a fork, with a list of what the child keeps.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3, for the calling thread.
const CAP_HEADER: CapHeader = CapHeader {
    version: 0x2008_0522,
    pid: 0,
};

/// Sets effective, permitted and inheritable capabilities of the calling thread (capset(2)), by bit.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let half = |shift: u32| CapData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let (header, data) = (CAP_HEADER, [half(0), half(32)]);
    // SAFETY: version 3 takes a header and two data elements, as laid out above.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// Permitted capabilities of the calling thread (capget(2)), by bit.
pub fn permitted_caps() -> io::Result<u64> {
    let mut header = CAP_HEADER;
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 fills two data elements; the kernel may write the version into the header.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let [low, high] = data;
    Ok(u64::from(low.permitted) | u64::from(high.permitted) << 32)
}

/// prctl(2) with plain numbers.
pub fn prctl(
    option: libc::c_int,
    arg2: libc::c_ulong,
    arg3: libc::c_ulong,
) -> io::Result<libc::c_int> {
    // SAFETY: callers use only options whose arguments are numbers.
    let result = unsafe { libc::prctl(option, arg2, arg3, 0, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Whether the kernel knows a seccomp action (SECCOMP_GET_ACTION_AVAIL).
pub fn seccomp_action_available(action: u32) -> io::Result<()> {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_uint = 2;
    // SAFETY: the pointer is to a u32, as the operation wants.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    })
    .map(drop)
}

/// NS_GET_NSTYPE (ioctl_ns(2)): the CLONE_NEW flag of a namespace's type; ENOTTY if it is something else.
pub fn namespace_type(fd: BorrowedFd<'_>) -> io::Result<libc::c_int> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request has no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) }.into())
        .and_then(|n| libc::c_int::try_from(n).map_err(io::Error::other))
}

/// TIOCGWINSZ: rows and columns of a terminal.
pub fn window_size(fd: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    // SAFETY: zero is a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request fills a winsize.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }.into())?;
    Ok((size.ws_row, size.ws_col))
}

/// _exit(2): no destructors, no exit handlers.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: takes a number.
    unsafe { libc::_exit(status.into()) }
}

/// TIOCSCTTY: makes a terminal the controlling one of the calling session leader, which has none.
pub fn set_controlling_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request takes a number.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// TIOCSWINSZ: sets rows and columns of a terminal.
pub fn set_window_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    // SAFETY: zero is a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    (size.ws_row, size.ws_col) = (rows, columns);
    // SAFETY: the request reads a winsize.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into())
        .map(drop)
}

/// prctl_mm_map of linux/prctl.h.
#[repr(C)]
#[derive(Debug, Default)]
struct MmMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// Shows other arguments in /proc/PID/cmdline (PR_SET_MM_MAP, which unlike its siblings needs no capability): all else is
/// as `stat`, this process's /proc/self/stat, says.
pub fn set_command_line(stat: &str, line: &'static [u8]) -> io::Result<()> {
    let bad = || io::Error::from_raw_os_error(libc::EINVAL);
    let (_, fields) = stat.rsplit_once(')').ok_or_else(bad)?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // As proc_pid_stat(5) numbers them; the first of these is the third.
    let field = |n: usize| {
        fields
            .get(n - 3)
            .and_then(|f| f.parse::<u64>().ok())
            .ok_or_else(bad)
    };
    let start = line.as_ptr() as u64;
    // SAFETY: asks for the current break.
    let brk = unsafe { libc::sbrk(0) } as u64;
    let map = MmMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk,
        arg_start: start,
        arg_end: start + line.len() as u64,
        env_start: field(50)?,
        env_end: field(51)?,
        exe_fd: u32::MAX,
        ..MmMap::default()
    };
    // SAFETY: the kernel reads a prctl_mm_map of this size and notes addresses of this process's: its own ones, and one
    // of memory that is never freed.
    check(
        unsafe {
            libc::prctl(
                libc::PR_SET_MM,
                libc::c_long::from(libc::PR_SET_MM_MAP),
                &raw const map,
                size_of::<MmMap>(),
                0_u64,
            )
        }
        .into(),
    )
    .map(drop)
}

/// A descriptor for a process (pidfd_open(2)).
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    new_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Whether this process has a descriptor of this number.
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0
}

/// Takes over a descriptor that this process has inherited under this number and nobody in it owns; EBADF if there is none.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    // SAFETY: it is open, and by the caller's word nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has all threads of this process allocate from one arena. glibc shrinks those of threads, and opens /proc/sys/vm/overcommit_memory to find out how
/// (`check_may_shrink_heap`), which a confined process cannot. Before there are threads.
pub fn use_one_arena() {
    // SAFETY: sets a parameter of the allocator.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
