//! Extended attributes of an open file or directory.
#![allow(unsafe_code)] // the f*xattr(2) family has no wrappers

use super::HostResult;
use crate::protocol::{MAX_XATTR_VALUE, XattrName, XattrValue};
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

fn c_name(name: XattrName<'_>) -> HostResult<CString> {
    CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)
}

fn length(result: isize) -> HostResult<usize> {
    usize::try_from(Errno::result(result)?).map_err(|_| Errno::EIO)
}

/// Value of an attribute.
///
/// # Errors
/// What `fgetxattr(2)` reports.
pub fn get(fd: BorrowedFd<'_>, name: XattrName<'_>) -> HostResult<Vec<u8>> {
    let name = c_name(name)?;
    let mut buf = vec![0; MAX_XATTR_VALUE];
    // SAFETY: `name` is NUL-terminated and `buf` has the length given.
    let len = length(unsafe {
        libc::fgetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            buf.as_mut_ptr().cast(),
            buf.len(),
        )
    })?;
    buf.truncate(len);
    Ok(buf)
}

/// Sets an attribute; `flags` are `XATTR_CREATE`, `XATTR_REPLACE`.
///
/// # Errors
/// What `fsetxattr(2)` reports.
pub fn set(
    fd: BorrowedFd<'_>,
    name: XattrName<'_>,
    value: XattrValue<'_>,
    flags: i32,
) -> HostResult<()> {
    let name = c_name(name)?;
    let value = value.as_bytes();
    // SAFETY: `name` is NUL-terminated and `value` has the length given.
    let ret = unsafe {
        libc::fsetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    };
    Errno::result(ret).map(|_| ())
}

/// All attribute names, each ended by NUL.
///
/// # Errors
/// What `flistxattr(2)` reports.
pub fn list(fd: BorrowedFd<'_>) -> HostResult<Vec<u8>> {
    let mut buf = vec![0_u8; MAX_XATTR_VALUE];
    // SAFETY: `buf` has the length given.
    let len =
        length(unsafe { libc::flistxattr(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len()) })?;
    buf.truncate(len);
    Ok(buf)
}

/// Removes an attribute.
///
/// # Errors
/// What `fremovexattr(2)` reports.
pub fn remove(fd: BorrowedFd<'_>, name: XattrName<'_>) -> HostResult<()> {
    let name = c_name(name)?;
    // SAFETY: `name` is NUL-terminated.
    Errno::result(unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) }).map(|_| ())
}
