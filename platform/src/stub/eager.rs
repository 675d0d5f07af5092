//! What the stub copies for the sentry before it hands over a system call: data, one line a call.
//!
//! At a rewritten call site the stub copies small buffers and strings that the call reads into the slot, and checks that small buffers that it writes are
//! writable, so that the sentry needs no system call to reach them. All of this is a hint: what is not listed, too
//! long or faults, the sentry fetches itself, and finds out about the fault then.
//!
//! An entry is 32 bits, from the lowest: the register with the address of the input, the register with its length, the constant length in
//! words of 8 bytes; the same for the output. Registers are counted as in [`crate::Registers`]. Of a call without output, [`VECTOR_BIT`] of that half says
//! that the vector registers are copied too: a thread that it makes begins with them.
use super::slot::BOUNCE;
use crate::Call;

/// How many calls the table covers.
pub(crate) const CALLS: usize = 512;

// Registers that hold arguments, as their index in `Registers`.
const ARG: [u32; 6] = [14, 13, 12, 7, 9, 8];
/// No such buffer.
const NONE: u32 = 15;
/// The length is the constant.
const CONSTANT: u32 = 15;
/// The input is a string. (No length is in the first argument, whose number this would be.)
const STRING: u32 = 14;

#[derive(Clone, Copy)]
enum Len {
    /// In this argument (counted from 0), in bytes.
    Arg(usize),
    /// Constant, in bytes: a multiple of 8.
    Bytes(u32),
    /// Up to the NUL.
    Str,
}
use Len::{Arg, Bytes, Str};

/// A buffer: the argument with its address, and its length.
type Buffer = Option<(usize, Len)>;

/// See above: a bit of the half of the output.
pub(crate) const VECTOR_BIT: u32 = 4;

const fn half(buffer: Buffer) -> u32 {
    match buffer {
        None => NONE,
        Some((arg, Arg(len))) => ARG[arg] | ARG[len] << 4,
        Some((arg, Str)) => ARG[arg] | STRING << 4,
        Some((arg, Bytes(n))) => {
            assert!(n % 8 == 0 && n / 8 < 256 && n as usize <= BOUNCE);
            ARG[arg] | CONSTANT << 4 | (n / 8) << 8
        }
    }
}

const fn entry(input: Buffer, output: Buffer) -> u32 {
    half(input) | half(output) << 16
}

const STAT: u32 = 144;
const TIMESPEC: u32 = 16;

/// Number, input, output.
const LINES: &[(i64, Buffer, Buffer)] = &[
    (libc::SYS_read, None, Some((1, Arg(2)))),
    (libc::SYS_write, Some((1, Arg(2))), None),
    (libc::SYS_pread64, None, Some((1, Arg(2)))),
    (libc::SYS_pwrite64, Some((1, Arg(2))), None),
    (libc::SYS_open, Some((0, Str)), None),
    (libc::SYS_openat, Some((1, Str)), None),
    (libc::SYS_stat, Some((0, Str)), Some((1, Bytes(STAT)))),
    (libc::SYS_lstat, Some((0, Str)), Some((1, Bytes(STAT)))),
    (libc::SYS_newfstatat, Some((1, Str)), Some((2, Bytes(STAT)))),
    (libc::SYS_fstat, None, Some((1, Bytes(STAT)))),
    (libc::SYS_statx, Some((1, Str)), Some((4, Bytes(256)))),
    (libc::SYS_access, Some((0, Str)), None),
    (libc::SYS_faccessat, Some((1, Str)), None),
    (libc::SYS_faccessat2, Some((1, Str)), None),
    (libc::SYS_readlink, Some((0, Str)), Some((1, Arg(2)))),
    (libc::SYS_readlinkat, Some((1, Str)), Some((2, Arg(3)))),
    (libc::SYS_unlink, Some((0, Str)), None),
    (libc::SYS_unlinkat, Some((1, Str)), None),
    (libc::SYS_mkdir, Some((0, Str)), None),
    (libc::SYS_mkdirat, Some((1, Str)), None),
    (libc::SYS_rmdir, Some((0, Str)), None),
    (libc::SYS_creat, Some((0, Str)), None),
    (libc::SYS_chdir, Some((0, Str)), None),
    (libc::SYS_chmod, Some((0, Str)), None),
    (libc::SYS_getcwd, None, Some((0, Arg(1)))),
    (libc::SYS_getdents64, None, Some((1, Arg(2)))),
    (libc::SYS_sendto, Some((1, Arg(2))), None),
    (libc::SYS_recvfrom, None, Some((1, Arg(2)))),
    (
        libc::SYS_rt_sigprocmask,
        Some((1, Bytes(8))),
        Some((2, Bytes(8))),
    ),
    (
        libc::SYS_rt_sigaction,
        Some((1, Bytes(32))),
        Some((2, Bytes(32))),
    ),
    (libc::SYS_clock_gettime, None, Some((1, Bytes(TIMESPEC)))),
    (libc::SYS_clock_nanosleep, Some((2, Bytes(TIMESPEC))), None),
    (libc::SYS_nanosleep, Some((0, Bytes(TIMESPEC))), None),
    (libc::SYS_poll, Some((0, Bytes(8))), Some((0, Bytes(8)))),
    (libc::SYS_epoll_ctl, Some((3, Bytes(16))), None),
    (libc::SYS_epoll_wait, None, Some((1, Bytes(256)))),
    (libc::SYS_epoll_pwait, None, Some((1, Bytes(256)))),
    (libc::SYS_pipe, None, Some((0, Bytes(8)))),
    (libc::SYS_pipe2, None, Some((0, Bytes(8)))),
    (libc::SYS_socketpair, None, Some((3, Bytes(8)))),
    (libc::SYS_wait4, None, Some((1, Bytes(8)))),
    (libc::SYS_clone3, Some((0, Bytes(88))), None),
    (libc::SYS_getrandom, None, Some((0, Arg(1)))),
    (
        libc::SYS_prlimit64,
        Some((2, Bytes(16))),
        Some((3, Bytes(16))),
    ),
    (libc::SYS_uname, None, None),
    (libc::SYS_writev, Some((1, Bytes(16))), None),
    (libc::SYS_readv, Some((1, Bytes(16))), None),
];

/// The guest memory that a call reads and writes, as far as the table knows: addresses and lengths in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffers {
    pub input: Option<(u64, u64)>,
    /// The input is a string: of all of it.
    pub string: bool,
    /// At most as much as the bounce buffer holds: of a long one the beginning.
    pub output: Option<(u64, u64)>,
}

/// What the stub looks at for a call, if it says that it did; `string` is how long it says that the string is.
pub(crate) fn buffers(call: &Call, string: u64) -> Buffers {
    let Some(entry) = usize::try_from(call.number).ok().and_then(|n| TABLE.get(n)) else {
        return Buffers::default();
    };
    let argument = |register: u32| {
        let index = ARG.iter().position(|r| *r == register)?;
        call.args.get(index).copied()
    };
    let buffer = |half: u32| {
        let addr = argument(half & 15)?;
        let len = match half >> 4 & 15 {
            CONSTANT => u64::from(half >> 8 & 0xff) * 8,
            STRING => string,
            register => argument(register)?,
        };
        Some((addr, len))
    };
    let (input, output) = (entry & 0xffff, entry >> 16);
    Buffers {
        input: buffer(input),
        string: input & 15 != NONE && input >> 4 & 15 == STRING,
        output: buffer(output).map(|(addr, len)| (addr, len.min(BOUNCE as u64))),
    }
}

/// Calls without output that may make a thread.
const MAKE_TASKS: &[i64] = &[libc::SYS_clone, libc::SYS_clone3, libc::SYS_vfork];

/// The table as the stub reads it.
pub(crate) const TABLE: [u32; CALLS] = {
    let mut table = [entry(None, None); CALLS];
    let mut i = 0;
    while i < LINES.len() {
        let (number, input, output) = LINES[i];
        table[number as usize] = entry(input, output);
        i += 1;
    }
    let mut i = 0;
    while i < MAKE_TASKS.len() {
        table[MAKE_TASKS[i] as usize] |= 1 << (16 + VECTOR_BIT);
        i += 1;
    }
    table
};
