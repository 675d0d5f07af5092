//! The alternate signal stack (sigaltstack(2)).

use crate::abi::{Errno, Result};

/// SS_ONSTACK.
pub const SS_ONSTACK: u32 = 1;
/// SS_DISABLE.
pub const SS_DISABLE: u32 = 2;
/// SS_AUTODISARM.
pub const SS_AUTODISARM: u32 = 1 << 31;
/// MINSIGSTKSZ of the x86-64 kernel, in bytes.
pub const MINSIGSTKSZ: u64 = 2048;

/// A task's alternate stack; `size` 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AltStack {
    /// Lowest address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// SS_DISABLE, SS_AUTODISARM.
    pub flags: u32,
}

impl AltStack {
    /// Whether `sp` lies on it, for a stack without SS_AUTODISARM (which is never seen in use).
    pub fn in_use(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.contains(sp)
    }
    /// Whether `sp` lies on it (`__on_sig_stack`).
    pub fn contains(&self, sp: u64) -> bool {
        sp > self.addr && sp.wrapping_sub(self.addr) <= self.size
    }
    /// SS_DISABLE if there is none, SS_ONSTACK if `sp` is on it, else 0 (`sas_ss_flags`).
    pub fn status(&self, sp: u64) -> u32 {
        if self.size == 0 {
            SS_DISABLE
        } else if self.in_use(sp) {
            SS_ONSTACK
        } else {
            0
        }
    }
    /// None (`sas_ss_reset`).
    pub fn none() -> AltStack {
        AltStack {
            flags: SS_DISABLE,
            ..AltStack::default()
        }
    }
    /// Sets another one (`do_sigaltstack`), with the stack pointer at `sp`.
    ///
    /// # Errors
    /// EPERM while it is in use, EINVAL for unknown flags, ENOMEM if it is too small.
    pub fn replace(&mut self, new: AltStack, sp: u64) -> Result<()> {
        if self.in_use(sp) {
            return Err(Errno::EPERM);
        }
        let mode = new.flags & !SS_AUTODISARM;
        if !matches!(mode, 0 | SS_ONSTACK | SS_DISABLE) {
            return Err(Errno::EINVAL);
        }
        if mode == SS_DISABLE {
            *self = AltStack {
                addr: 0,
                size: 0,
                flags: new.flags,
            };
            return Ok(());
        }
        if new.size < MINSIGSTKSZ && *self != new {
            return Err(Errno::ENOMEM);
        }
        *self = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_sigaltstack() {
        let mut a = AltStack::none();
        let ok = AltStack {
            addr: 0x1000,
            size: 8192,
            flags: 0,
        };
        assert_eq!(a.status(0x2000), SS_DISABLE);
        let small = AltStack { size: 2047, ..ok };
        assert_eq!(a.replace(small, 0), Err(Errno::ENOMEM));
        let odd = AltStack { flags: 4, ..ok };
        assert_eq!(a.replace(odd, 0), Err(Errno::EINVAL));
        a.replace(ok, 0).unwrap();
        assert_eq!(a.status(0x2000), SS_ONSTACK);
        assert_eq!(a.status(0x1000), 0);
        assert_eq!(a.status(0x3000), SS_ONSTACK);
        assert_eq!(a.status(0x3001), 0);
        assert_eq!(a.replace(AltStack::none(), 0x2000), Err(Errno::EPERM));
        a.replace(AltStack::none(), 0).unwrap();
        assert_eq!(a, AltStack::none());
    }
}
