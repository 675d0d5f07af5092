//! What happens when one of our own processes makes a system call that its filter forbids.
//!
//! The filter answers with SIGSYS, whose handler tells the call's number to the monitor (which says it on standard
//! error itself) and ends the process. The call itself is never made, and the lists do not contain rt_sigaction, so that code that took
//! over a process cannot remove the handler; with SIGSYS blocked the kernel kills.
#![allow(unsafe_code)] // a signal handler and access to siginfo

use super::{Result, at};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU8, AtomicUsize, Ordering::Relaxed};

/// Exit status of a process that its filter ended: 128 + SIGSYS.
pub const EXIT_STATUS: i32 = 128 + libc::SIGSYS;

static FD: AtomicI32 = AtomicI32::new(2);
/// Bytes before the sentence; both 0: none.
static PREFIX: [AtomicU8; 2] = [AtomicU8::new(0), AtomicU8::new(0)];
static ROLE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static ROLE_LEN: AtomicUsize = AtomicUsize::new(0);

/// Where the handler writes its sentence, and what before it, in one write(2); standard error until set.
pub fn report_to(fd: RawFd, prefix: [u8; 2]) {
    FD.store(fd, Relaxed);
    for (to, from) in PREFIX.iter().zip(prefix) {
        to.store(from, Relaxed);
    }
}

/// Installs the handler.
pub(super) fn report_violations(role: &'static str) -> Result<()> {
    ROLE.store(role.as_ptr().cast_mut(), Relaxed);
    ROLE_LEN.store(role.len(), Relaxed);
    // SAFETY: zero is a valid sigaction; the handler has SA_SIGINFO's signature and is async-signal-safe.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigsys as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut())
    };
    nix::errno::Errno::result(result)
        .map(drop)
        .map_err(at("handle SIGSYS"))
}

/// Puts `n` in decimal at the end of `buffer`; the digits.
fn decimal(mut n: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at = at.saturating_sub(1);
        if let Some(slot) = buffer.get_mut(at) {
            *slot = b'0' + (n % 10) as u8;
        }
        n /= 10;
        if n == 0 {
            return buffer.get(at..).unwrap_or(&[]);
        }
    }
}

extern "C" fn on_sigsys(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    /// The start of siginfo_t as SIGSYS fills it (sigaction(2)).
    #[repr(C)]
    struct SigSys {
        signo: i32,
        errno: i32,
        code: i32,
        pad: i32,
        call_addr: u64,
        syscall: i32,
        arch: u32,
    }
    // SAFETY: the kernel passes a siginfo_t of 128 bytes; the role was a &'static str.
    let (number, role) = unsafe {
        let number = (*info.cast::<SigSys>()).syscall;
        (
            number,
            std::slice::from_raw_parts(ROLE.load(Relaxed), ROLE_LEN.load(Relaxed)),
        )
    };
    let mut digits = [0; 20];
    let number = decimal(u64::from(number.unsigned_abs()), &mut digits);
    let mut line = [0_u8; 128];
    let mut len = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(slot) = line.get_mut(len) {
                *slot = *byte;
                len += 1;
            }
        }
    };
    let prefix = [PREFIX[0].load(Relaxed), PREFIX[1].load(Relaxed)];
    let direct = prefix == [0; 2];
    put(if direct { b"cofferdam: " } else { &prefix });
    for part in [
        b"the ".as_slice(),
        role,
        b" made system call ",
        number,
        b", which its filter forbids; please report this",
    ] {
        put(part);
    }
    put(if direct { b"\n" } else { b"" });
    // SAFETY: async-signal-safe calls on a local buffer.
    unsafe {
        libc::write(FD.load(Relaxed), line.as_ptr().cast(), len);
        libc::_exit(EXIT_STATUS)
    }
}
