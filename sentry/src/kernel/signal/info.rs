//! `siginfo_t`: what a signal says about itself (sigaction(2)), in Linux's 128-byte layout.

use super::set::Signal;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `si_code` values (`asm-generic/siginfo.h`).
#[allow(missing_docs)]
pub mod code {
    pub const SI_USER: i32 = 0;
    pub const SI_KERNEL: i32 = 0x80;
    pub const SI_QUEUE: i32 = -1;
    pub const SI_TIMER: i32 = -2;
    pub const SI_MESGQ: i32 = -3;
    pub const SI_SIGIO: i32 = -5;
    pub const SI_TKILL: i32 = -6;
    pub const CLD_EXITED: i32 = 1;
    pub const CLD_KILLED: i32 = 2;
    pub const CLD_DUMPED: i32 = 3;
    pub const CLD_TRAPPED: i32 = 4;
    pub const CLD_STOPPED: i32 = 5;
    pub const CLD_CONTINUED: i32 = 6;
    pub const SYS_SECCOMP: i32 = 1;
    pub const SEGV_ACCERR: i32 = 2;
}

/// `AUDIT_ARCH_X86_64`, as `si_arch` and `seccomp_data.arch` carry it.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// `siginfo_t` of x86-64.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SigInfo {
    /// Signal number.
    pub signo: i32,
    /// `si_errno`; almost always 0.
    pub errno: i32,
    /// `si_code`: why it was sent.
    pub code: i32,
    pad: i32,
    /// The union `_sifields`, 112 bytes.
    payload: [u64; 14],
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

impl SigInfo {
    /// With an empty payload.
    pub fn new(signo: Signal, code: i32) -> SigInfo {
        SigInfo {
            signo: signo.number(),
            errno: 0,
            code,
            pad: 0,
            payload: [0; 14],
        }
    }
    fn with(mut self, at: usize, value: u64) -> SigInfo {
        if let Some(slot) = self.payload.get_mut(at) {
            *slot = value;
        }
        self
    }
    /// From the kernel itself (SEND_SIG_PRIV): SI_KERNEL.
    pub fn kernel(signo: Signal) -> SigInfo {
        SigInfo::new(signo, code::SI_KERNEL)
    }
    /// kill(2): SI_USER with sender.
    pub fn user(signo: Signal, pid: i32, uid: u32) -> SigInfo {
        SigInfo::new(signo, code::SI_USER).with(0, pair(pid.cast_unsigned(), uid))
    }
    /// tkill(2), tgkill(2): SI_TKILL with sender.
    pub fn tkill(signo: Signal, pid: i32, uid: u32) -> SigInfo {
        SigInfo::new(signo, code::SI_TKILL).with(0, pair(pid.cast_unsigned(), uid))
    }
    /// A POSIX timer: id, overrun count so far, `sigev_value`.
    pub fn timer(signo: Signal, id: i32, overrun: i32, value: u64) -> SigInfo {
        SigInfo::new(signo, code::SI_TIMER)
            .with(0, pair(id.cast_unsigned(), overrun.cast_unsigned()))
            .with(1, value)
    }
    /// A message queue notification (SI_MESGQ) or sigqueue-like payload with any code.
    pub fn queued(signo: Signal, code: i32, pid: i32, uid: u32, value: u64) -> SigInfo {
        SigInfo::new(signo, code)
            .with(0, pair(pid.cast_unsigned(), uid))
            .with(1, value)
    }
    /// SIGCHLD: child, its real uid, exit code or signal, its CPU time in clock ticks (1/100 s).
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> SigInfo {
        SigInfo::new(Signal::CHLD, code).with_child(pid, uid, status, utime, stime)
    }
    /// The payload of SIGCHLD under another number (clone's exit signal).
    pub fn with_child(self, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> SigInfo {
        self.with(0, pair(pid.cast_unsigned(), uid))
            .with(1, u64::from(status.cast_unsigned()))
            .with(2, utime.cast_unsigned())
            .with(3, stime.cast_unsigned())
    }
    /// A synchronous fault at `addr`.
    pub fn fault(signo: Signal, code: i32, addr: u64) -> SigInfo {
        SigInfo::new(signo, code).with(0, addr)
    }
    /// SIGIO and kin: readiness `band` (poll bits) of descriptor `fd`; `code` is POLL_IN … or SI_SIGIO.
    pub fn poll(signo: Signal, code: i32, band: i64, fd: i32) -> SigInfo {
        SigInfo::new(signo, code)
            .with(0, band.cast_unsigned())
            .with(1, u64::from(fd.cast_unsigned()))
    }
    /// SIGSYS of a seccomp filter: address behind the call, number, and the filter's data as `si_errno`.
    pub fn seccomp(addr: u64, number: i32, data: i32) -> SigInfo {
        let mut info = SigInfo::new(Signal::SYS, code::SYS_SECCOMP)
            .with(0, addr)
            .with(1, pair(number.cast_unsigned(), AUDIT_ARCH_X86_64));
        info.errno = data;
        info
    }
    /// The signal, if its number is one.
    pub fn signal(&self) -> Option<Signal> {
        Signal::new(self.signo)
    }
    /// Word `n` of the payload (0 to 13).
    pub fn word(&self, n: usize) -> u64 {
        self.payload.get(n).copied().unwrap_or(0)
    }
    /// `si_pid` (kill, sigqueue, SIGCHLD) or timer id.
    pub fn pid(&self) -> i32 {
        (self.word(0) as u32).cast_signed()
    }
    /// `si_uid`, or a timer's overrun count.
    pub fn uid(&self) -> u32 {
        (self.word(0) >> 32) as u32
    }
    /// `si_value`, or `si_status` in the low half.
    pub fn value(&self) -> u64 {
        self.word(1)
    }
    /// `si_addr`.
    pub fn addr(&self) -> u64 {
        self.word(0)
    }
    /// Sets a timer's `si_overrun`.
    pub fn set_overrun(&mut self, overrun: i32) {
        let id = self.pid();
        *self = self.with(0, pair(id.cast_unsigned(), overrun.cast_unsigned()));
    }
    /// Sets `si_pid` and `si_uid`.
    pub fn set_sender(&mut self, pid: i32, uid: u32) {
        *self = self.with(0, pair(pid.cast_unsigned(), uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_that_of_linux() {
        assert_eq!(size_of::<SigInfo>(), 128);
        let i = SigInfo::queued(Signal::USR1, code::SI_QUEUE, 7, 1000, 0x1122_3344_5566_7788);
        let b = i.as_bytes();
        assert_eq!(&b[0..4], &10i32.to_ne_bytes());
        assert_eq!(&b[8..12], &(-1i32).to_ne_bytes());
        assert_eq!(&b[16..20], &7i32.to_ne_bytes());
        assert_eq!(&b[20..24], &1000u32.to_ne_bytes());
        assert_eq!(&b[24..32], &0x1122_3344_5566_7788u64.to_ne_bytes());
        let c = SigInfo::child(code::CLD_EXITED, 9, 1, 3, 11, 12);
        let b = c.as_bytes();
        assert_eq!(&b[24..28], &3i32.to_ne_bytes());
        assert_eq!(&b[32..40], &11i64.to_ne_bytes());
        assert_eq!(&b[40..48], &12i64.to_ne_bytes());
        let s = SigInfo::seccomp(0x1000, 39, 5);
        let b = s.as_bytes();
        assert_eq!(&b[4..8], &5i32.to_ne_bytes());
        assert_eq!(&b[16..24], &0x1000u64.to_ne_bytes());
        assert_eq!(&b[24..28], &39i32.to_ne_bytes());
        assert_eq!(&b[28..32], &AUDIT_ARCH_X86_64.to_ne_bytes());
    }
}
