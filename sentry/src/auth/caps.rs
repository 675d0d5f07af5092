//! Changing capability sets: capset(2) and the prctl(2) operations on them (`security/commoncap.c`).

use super::securebits::NO_CAP_AMBIENT_RAISE;
use super::{Caps, Credentials};
use crate::abi::{Errno, Result};

/// What capget(2) and capset(2) carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CapSets {
    pub effective: Caps,
    pub permitted: Caps,
    pub inheritable: Caps,
}

impl Caps {
    /// The capability with this number, if there is one.
    pub fn from_number(n: u64) -> Option<Caps> {
        Caps::from_bits(1u64.checked_shl(u32::try_from(n).ok()?)?)
    }
}

impl Credentials {
    /// capset(2).
    ///
    /// # Errors
    /// EPERM.
    pub fn with_caps(&self, new: CapSets) -> Result<Credentials> {
        let may_inherit = self.inheritable | self.permitted;
        if (!self.has_own(Caps::SETPCAP) && !may_inherit.contains(new.inheritable))
            || !(self.inheritable | self.bounding).contains(new.inheritable)
            || !self.permitted.contains(new.permitted)
            || !new.permitted.contains(new.effective)
        {
            return Err(Errno::EPERM);
        }
        Ok(Credentials {
            effective: new.effective,
            permitted: new.permitted,
            inheritable: new.inheritable,
            ambient: self.ambient & new.permitted & new.inheritable,
            ..self.clone()
        })
    }
    /// prctl(PR_CAPBSET_DROP).
    ///
    /// # Errors
    /// EPERM without CAP_SETPCAP.
    pub fn without_bounding(&self, cap: Caps) -> Result<Credentials> {
        if !self.has_own(Caps::SETPCAP) {
            return Err(Errno::EPERM);
        }
        Ok(Credentials {
            bounding: self.bounding - cap,
            ..self.clone()
        })
    }
    /// prctl(PR_CAP_AMBIENT): raises or lowers.
    ///
    /// # Errors
    /// EPERM if a capability to raise is not both permitted and inheritable, or raising is forbidden.
    pub fn with_ambient(&self, cap: Caps, raise: bool) -> Result<Credentials> {
        let mut new = self.clone();
        if !raise {
            new.ambient -= cap;
            return Ok(new);
        }
        let allowed = self.permitted & self.inheritable;
        if !allowed.contains(cap) || self.securebits & NO_CAP_AMBIENT_RAISE != 0 {
            return Err(Errno::EPERM);
        }
        new.ambient |= cap;
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(Caps::from_number(0), Some(Caps::CHOWN));
        assert_eq!(Caps::from_number(40), Some(Caps::CHECKPOINT_RESTORE));
        assert_eq!(Caps::from_number(41), None);
        assert_eq!(Caps::from_number(64), None);
        assert_eq!(Caps::from_number(u64::MAX), None);
    }

    #[test]
    fn capset_never_adds_to_permitted_and_trims_ambient() {
        let mut c = Credentials::new(0, 0, &[], Caps::all());
        c.inheritable = Caps::KILL;
        let c = c.with_ambient(Caps::KILL, true).unwrap();
        assert_eq!(c.with_ambient(Caps::CHOWN, true), Err(Errno::EPERM));
        let fewer = CapSets {
            effective: Caps::empty(),
            permitted: Caps::CHOWN,
            inheritable: Caps::KILL,
        };
        let less = c.with_caps(fewer).unwrap();
        assert_eq!(less.ambient, Caps::empty());
        let more = CapSets {
            permitted: Caps::CHOWN | Caps::KILL,
            ..fewer
        };
        assert_eq!(less.with_caps(more), Err(Errno::EPERM));
        // Effective must be within the new permitted set.
        let odd = CapSets {
            effective: Caps::KILL,
            ..fewer
        };
        assert_eq!(less.with_caps(odd), Err(Errno::EPERM));
        // Without CAP_SETPCAP only what is permitted or inherited may become inheritable.
        let inherit = CapSets {
            inheritable: Caps::SYS_ADMIN,
            ..fewer
        };
        assert_eq!(less.with_caps(inherit), Err(Errno::EPERM));
    }
}
