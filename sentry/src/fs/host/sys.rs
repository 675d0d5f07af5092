//! Host system calls that have no safe wrapper.
// Raw ioctl(2), preadv2(2) and pwritev2(2): each call passes pointers to live, correctly sized values.
#![allow(unsafe_code)]

use crate::abi::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd};

/// An ioctl(2) that fills or reads a plain structure.
///
/// # Safety
/// `cmd` must access at most `size_of::<T>()` bytes at its argument, and any bytes it writes must be a valid `T`.
unsafe fn ioctl_struct<T>(fd: impl AsFd, cmd: libc::c_ulong, value: &mut T) -> Result<()> {
    // SAFETY: `value` is live and exclusively borrowed; the caller vouches for the size.
    let r = unsafe {
        libc::ioctl(
            fd.as_fd().as_raw_fd(),
            cmd,
            std::ptr::from_mut(value).cast::<libc::c_void>(),
        )
    };
    if r < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// The kernel's `struct termios` (36 bytes on x86-64), as bytes.
pub type RawTermios = [u8; 36];

/// TCGETS.
pub fn tcgets(fd: impl AsFd) -> Result<RawTermios> {
    let mut t: RawTermios = [0; 36];
    // SAFETY: TCGETS writes a `struct termios` of 36 bytes; any bytes are a valid array.
    unsafe { ioctl_struct(fd, libc::TCGETS, &mut t)? };
    Ok(t)
}

/// TCSETS, TCSETSW or TCSETSF (`cmd`).
pub fn tcsets(fd: impl AsFd, cmd: u32, termios: &RawTermios) -> Result<()> {
    let cmd = libc::c_ulong::from(cmd);
    if ![libc::TCSETS, libc::TCSETSW, libc::TCSETSF].contains(&cmd) {
        return Err(Errno::EINVAL);
    }
    let mut t = *termios;
    // SAFETY: these three read a `struct termios` of 36 bytes.
    unsafe { ioctl_struct(fd, cmd, &mut t) }
}

/// TIOCGWINSZ: rows, columns, x and y pixels.
pub fn winsize(fd: impl AsFd) -> Result<[u16; 4]> {
    let mut w = [0u16; 4];
    // SAFETY: TIOCGWINSZ writes a `struct winsize` of four u16.
    unsafe { ioctl_struct(fd, libc::TIOCGWINSZ, &mut w)? };
    Ok(w)
}

/// FIONREAD (TIOCINQ): bytes that a read would get.
pub fn bytes_readable(fd: impl AsFd) -> Result<i32> {
    let mut n = 0i32;
    // SAFETY: FIONREAD writes an int.
    unsafe { ioctl_struct(fd, libc::FIONREAD, &mut n)? };
    Ok(n)
}

/// TIOCOUTQ: bytes in the output queue.
pub fn bytes_queued(fd: impl AsFd) -> Result<i32> {
    let mut n = 0i32;
    // SAFETY: TIOCOUTQ writes an int.
    unsafe { ioctl_struct(fd, libc::TIOCOUTQ, &mut n)? };
    Ok(n)
}

/// pwritev2(2) of one buffer with RWF_APPEND: to the end of the file, whatever the description's flags. `at` -1 moves the
/// description's own offset.
pub fn append(fd: impl AsFd, data: &[u8], at: i64) -> Result<usize> {
    let iov = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: `iov` describes `data`, which the call only reads.
    let n = unsafe {
        libc::pwritev2(
            fd.as_fd().as_raw_fd(),
            &raw const iov,
            1,
            at,
            libc::RWF_APPEND,
        )
    };
    usize::try_from(n).map_err(|_| Errno::last())
}

/// preadv2(2) into one buffer with RWF_NOWAIT: what is in memory of what is to be read.
///
/// # Errors
/// EAGAIN if nothing is; EOPNOTSUPP if that cannot be asked of this file.
pub fn read_cached(fd: impl AsFd, buf: &mut [u8], at: i64) -> Result<usize> {
    let iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: `iov` describes `buf`, which is exclusively borrowed.
    let n = unsafe {
        libc::preadv2(
            fd.as_fd().as_raw_fd(),
            &raw const iov,
            1,
            at,
            libc::RWF_NOWAIT,
        )
    };
    usize::try_from(n).map_err(|_| Errno::last())
}
