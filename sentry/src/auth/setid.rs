//! Changing user and group ids (`kernel/sys.c`), and what that does to capabilities (`cap_task_fix_setuid`).

use super::securebits::{KEEP_CAPS, NO_SETUID_FIXUP};
use super::{Caps, Credentials, Groups};
use crate::abi::{Errno, Result};
use std::sync::Arc;

/// Capabilities that follow the file-system uid (CAP_FS_SET).
const FS_CAPS: Caps = Caps::CHOWN
    .union(Caps::DAC_OVERRIDE)
    .union(Caps::DAC_READ_SEARCH)
    .union(Caps::FOWNER)
    .union(Caps::FSETID)
    .union(Caps::LINUX_IMMUTABLE)
    .union(Caps::MKNOD)
    .union(Caps::MAC_OVERRIDE);

/// -1: leave the id as it is.
pub const NO_CHANGE: u32 = u32::MAX;

impl Credentials {
    fn after_uid_change(mut self, old: &Credentials) -> Credentials {
        if old.securebits & NO_SETUID_FIXUP != 0 {
            return self;
        }
        let root = self.user_ns.root();
        let had_root = [old.uid, old.euid, old.suid].contains(&root);
        let has_root = [self.uid, self.euid, self.suid].contains(&root);
        if had_root && !has_root {
            if old.securebits & KEEP_CAPS == 0 {
                self.permitted = Caps::empty();
                self.effective = Caps::empty();
            }
            self.ambient = Caps::empty();
        }
        if old.euid == root && self.euid != root {
            self.effective = Caps::empty();
        }
        if old.euid != root && self.euid == root {
            self.effective = self.permitted;
        }
        self
    }
    fn is_own_uid(&self, id: u32) -> bool {
        id == self.uid || id == self.euid || id == self.suid
    }
    fn is_own_gid(&self, id: u32) -> bool {
        id == self.gid || id == self.egid || id == self.sgid
    }

    /// setuid(2).
    ///
    /// # Errors
    /// EINVAL for -1, EPERM.
    pub fn setuid(&self, id: u32) -> Result<Credentials> {
        if id == NO_CHANGE {
            return Err(Errno::EINVAL);
        }
        let mut new = self.clone();
        if self.has_own(Caps::SETUID) {
            (new.uid, new.suid) = (id, id);
        } else if id != self.uid && id != self.suid {
            return Err(Errno::EPERM);
        }
        (new.euid, new.fsuid) = (id, id);
        Ok(new.after_uid_change(self))
    }
    /// setreuid(2).
    ///
    /// # Errors
    /// EPERM.
    pub fn setreuid(&self, real: u32, effective: u32) -> Result<Credentials> {
        let any = self.has_own(Caps::SETUID);
        let mut new = self.clone();
        if real != NO_CHANGE {
            if !any && real != self.uid && real != self.euid {
                return Err(Errno::EPERM);
            }
            new.uid = real;
        }
        if effective != NO_CHANGE {
            if !any && !self.is_own_uid(effective) {
                return Err(Errno::EPERM);
            }
            new.euid = effective;
        }
        if real != NO_CHANGE || (effective != NO_CHANGE && effective != self.uid) {
            new.suid = new.euid;
        }
        new.fsuid = new.euid;
        Ok(new.after_uid_change(self))
    }
    /// setresuid(2).
    ///
    /// # Errors
    /// EPERM.
    pub fn setresuid(&self, real: u32, effective: u32, saved: u32) -> Result<Credentials> {
        let foreign = |id| id != NO_CHANGE && !self.is_own_uid(id);
        if !self.has_own(Caps::SETUID) && (foreign(real) || foreign(effective) || foreign(saved)) {
            return Err(Errno::EPERM);
        }
        let pick = |new, old| if new == NO_CHANGE { old } else { new };
        let mut new = self.clone();
        new.uid = pick(real, self.uid);
        new.euid = pick(effective, self.euid);
        new.suid = pick(saved, self.suid);
        new.fsuid = new.euid;
        Ok(new.after_uid_change(self))
    }
    /// setfsuid(2); `None` if it may not be changed so.
    pub fn setfsuid(&self, id: u32) -> Option<Credentials> {
        if id == NO_CHANGE
            || !(self.is_own_uid(id) || id == self.fsuid || self.has_own(Caps::SETUID))
        {
            return None;
        }
        let mut new = self.clone();
        new.fsuid = id;
        if self.securebits & NO_SETUID_FIXUP == 0 {
            let root = self.user_ns.root();
            if self.fsuid == root && id != root {
                new.effective -= FS_CAPS;
            }
            if self.fsuid != root && id == root {
                new.effective |= FS_CAPS & self.permitted;
            }
        }
        Some(new)
    }
    /// setgid(2).
    ///
    /// # Errors
    /// EINVAL for -1, EPERM.
    pub fn setgid(&self, id: u32) -> Result<Credentials> {
        if id == NO_CHANGE {
            return Err(Errno::EINVAL);
        }
        let mut new = self.clone();
        if self.has_own(Caps::SETGID) {
            (new.gid, new.sgid) = (id, id);
        } else if id != self.gid && id != self.sgid {
            return Err(Errno::EPERM);
        }
        (new.egid, new.fsgid) = (id, id);
        Ok(new)
    }
    /// setregid(2).
    ///
    /// # Errors
    /// EPERM.
    pub fn setregid(&self, real: u32, effective: u32) -> Result<Credentials> {
        let any = self.has_own(Caps::SETGID);
        let mut new = self.clone();
        if real != NO_CHANGE {
            if !any && real != self.gid && real != self.egid {
                return Err(Errno::EPERM);
            }
            new.gid = real;
        }
        if effective != NO_CHANGE {
            if !any && !self.is_own_gid(effective) {
                return Err(Errno::EPERM);
            }
            new.egid = effective;
        }
        if real != NO_CHANGE || (effective != NO_CHANGE && effective != self.gid) {
            new.sgid = new.egid;
        }
        new.fsgid = new.egid;
        Ok(new)
    }
    /// setresgid(2).
    ///
    /// # Errors
    /// EPERM.
    pub fn setresgid(&self, real: u32, effective: u32, saved: u32) -> Result<Credentials> {
        let foreign = |id| id != NO_CHANGE && !self.is_own_gid(id);
        if !self.has_own(Caps::SETGID) && (foreign(real) || foreign(effective) || foreign(saved)) {
            return Err(Errno::EPERM);
        }
        let pick = |new, old| if new == NO_CHANGE { old } else { new };
        let mut new = self.clone();
        new.gid = pick(real, self.gid);
        new.egid = pick(effective, self.egid);
        new.sgid = pick(saved, self.sgid);
        new.fsgid = new.egid;
        Ok(new)
    }
    /// setfsgid(2); `None` if it may not be changed so.
    pub fn setfsgid(&self, id: u32) -> Option<Credentials> {
        if id == NO_CHANGE
            || !(self.is_own_gid(id) || id == self.fsgid || self.has_own(Caps::SETGID))
        {
            return None;
        }
        Some(Credentials {
            fsgid: id,
            ..self.clone()
        })
    }
    /// Whether setgroups(2) is allowed.
    pub fn may_setgroups(&self) -> bool {
        self.has_own(Caps::SETGID) && self.user_ns.allows_setgroups()
    }
    /// setgroups(2).
    ///
    /// # Errors
    /// EPERM without CAP_SETGID or where the user namespace forbids it, EINVAL for the id -1, ENOMEM.
    pub fn setgroups(&self, groups: Vec<u32>) -> Result<Credentials> {
        if !self.may_setgroups() {
            return Err(Errno::EPERM);
        }
        if groups.contains(&NO_CHANGE) {
            return Err(Errno::EINVAL);
        }
        Ok(Credentials {
            groups: Arc::new(Groups::set(groups)?),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uids(c: &Credentials) -> [u32; 4] {
        [c.uid, c.euid, c.suid, c.fsuid]
    }

    #[test]
    fn root_drops_everything_for_good() {
        let root = Credentials::new(0, 0, &[], Caps::all());
        let user = root.setuid(1000).unwrap();
        assert_eq!(uids(&user), [1000; 4]);
        assert_eq!(
            (user.permitted, user.effective),
            (Caps::empty(), Caps::empty())
        );
        assert_eq!(user.bounding, Caps::all());
        assert_eq!(user.setuid(0), Err(Errno::EPERM));
        assert_eq!(root.setuid(NO_CHANGE), Err(Errno::EINVAL));
    }

    #[test]
    fn keep_caps_keeps_permitted_but_not_effective() {
        let root = Credentials::new(0, 0, &[], Caps::all())
            .with_keep_caps(true)
            .unwrap();
        let user = root.setresuid(5, 5, 5).unwrap();
        assert_eq!(
            (user.permitted, user.effective),
            (Caps::all(), Caps::empty())
        );
        let back = Credentials::new(0, 0, &[], Caps::all());
        let fixed = Credentials {
            securebits: NO_SETUID_FIXUP,
            ..back
        };
        assert_eq!(fixed.setuid(5).unwrap().effective, Caps::all());
    }

    #[test]
    fn seteuid_and_back() {
        let root = Credentials::new(0, 0, &[], Caps::all());
        let low = root.setresuid(NO_CHANGE, 1000, NO_CHANGE).unwrap();
        assert_eq!(uids(&low), [0, 1000, 0, 1000]);
        assert_eq!((low.permitted, low.effective), (Caps::all(), Caps::empty()));
        assert_eq!(low.setresuid(NO_CHANGE, 7, NO_CHANGE), Err(Errno::EPERM));
        let back = low.setresuid(NO_CHANGE, 0, NO_CHANGE).unwrap();
        assert_eq!(back.effective, Caps::all());
    }

    #[test]
    fn setreuid_sets_the_saved_id() {
        let mut c = Credentials::new(1, 1, &[], Caps::all());
        c.euid = 2;
        c.suid = 3;
        // Swapping real and effective ids.
        assert_eq!(uids(&c.setreuid(2, 1).unwrap()), [2, 1, 1, 1]);
        assert_eq!(uids(&c.setreuid(NO_CHANGE, 1).unwrap()), [1, 1, 3, 1]);
        assert_eq!(uids(&c.setreuid(NO_CHANGE, 3).unwrap()), [1, 3, 3, 3]);
        assert_eq!(c.setreuid(3, NO_CHANGE), Err(Errno::EPERM));
        // setuid of an unprivileged task: real or saved id only.
        assert_eq!(uids(&c.setuid(3).unwrap()), [1, 3, 3, 3]);
        assert_eq!(c.setuid(2), Err(Errno::EPERM));
    }

    #[test]
    fn setfsuid_moves_file_capabilities_alone() {
        let root = Credentials::new(0, 0, &[], Caps::all());
        let low = root.setfsuid(9).unwrap();
        assert_eq!(low.effective, Caps::all() - FS_CAPS);
        assert_eq!(low.setfsuid(0).unwrap().effective, Caps::all());
        let user = Credentials::new(1, 1, &[], Caps::all());
        assert!(user.setfsuid(2).is_none() && user.setfsuid(1).is_some());
        assert!(root.setfsuid(NO_CHANGE).is_none());
    }

    #[test]
    fn groups() {
        let root = Credentials::new(0, 0, &[], Caps::all());
        let g = root.setgid(4).unwrap();
        assert_eq!([g.gid, g.egid, g.sgid, g.fsgid], [4; 4]);
        assert_eq!(**root.setgroups(vec![9, 3]).unwrap().groups, [3, 9]);
        assert_eq!(root.setgroups(vec![NO_CHANGE]), Err(Errno::EINVAL));
        let user = Credentials::new(1, 1, &[], Caps::all());
        assert_eq!(user.setgroups(vec![]), Err(Errno::EPERM));
        assert_eq!(user.setregid(2, NO_CHANGE), Err(Errno::EPERM));
        assert_eq!(user.setresgid(1, 1, 2), Err(Errno::EPERM));
    }
}
