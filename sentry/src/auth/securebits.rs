//! Secure bits of capabilities(7): what uid 0 still means.

use super::{Caps, Credentials};
use crate::abi::{Errno, Result};

/// SECBIT_NOROOT: uid 0 gains nothing by execve.
pub const NOROOT: u32 = 1;
/// SECBIT_NO_SETUID_FIXUP: changes of user ids leave capabilities alone.
pub const NO_SETUID_FIXUP: u32 = 1 << 2;
/// SECBIT_KEEP_CAPS: permitted capabilities survive leaving uid 0; cleared by execve.
pub const KEEP_CAPS: u32 = 1 << 4;
/// SECBIT_KEEP_CAPS_LOCKED.
pub const KEEP_CAPS_LOCKED: u32 = 1 << 5;
/// SECBIT_NO_CAP_AMBIENT_RAISE.
pub const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
/// All bits that mean something.
const ALL: u32 = 0x55;
/// Each bit's lock is the next higher one.
const LOCKS: u32 = ALL << 1;

impl Credentials {
    /// prctl(PR_SET_SECUREBITS).
    ///
    /// # Errors
    /// EPERM without CAP_SETPCAP, for unknown or locked bits.
    pub fn with_securebits(&self, bits: u64) -> Result<Credentials> {
        let bits = u32::try_from(bits).map_err(|_| Errno::EPERM)?;
        let old = self.securebits;
        let locked = (old & LOCKS) >> 1;
        if locked & (old ^ bits) != 0
            || old & LOCKS & !bits != 0
            || bits & !(ALL | LOCKS) != 0
            || !self.has_own(Caps::SETPCAP)
        {
            return Err(Errno::EPERM);
        }
        Ok(Credentials {
            securebits: bits,
            ..self.clone()
        })
    }
    /// prctl(PR_SET_KEEPCAPS).
    ///
    /// # Errors
    /// EPERM if the bit is locked.
    pub fn with_keep_caps(&self, on: bool) -> Result<Credentials> {
        if self.securebits & KEEP_CAPS_LOCKED != 0 {
            return Err(Errno::EPERM);
        }
        let mut new = self.clone();
        if on {
            new.securebits |= KEEP_CAPS;
        } else {
            new.securebits &= !KEEP_CAPS;
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_hold() {
        let root = Credentials::root();
        let a = root
            .with_securebits(u64::from(NOROOT | NOROOT << 1))
            .unwrap();
        assert_eq!(a.with_securebits(0), Err(Errno::EPERM));
        assert_eq!(a.with_securebits(u64::from(NOROOT << 1)), Err(Errno::EPERM));
        assert!(
            a.with_securebits(u64::from(NOROOT | NOROOT << 1 | KEEP_CAPS))
                .is_ok()
        );
        assert_eq!(root.with_securebits(1 << 8), Err(Errno::EPERM));
        assert_eq!(root.with_securebits(1 << 40), Err(Errno::EPERM));
        let user = Credentials::new(1, 1, &[], Caps::all());
        assert_eq!(user.with_securebits(u64::from(NOROOT)), Err(Errno::EPERM));
        let locked = root.with_securebits(u64::from(KEEP_CAPS_LOCKED)).unwrap();
        assert_eq!(locked.with_keep_caps(true), Err(Errno::EPERM));
    }
}
