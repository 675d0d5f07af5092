//! Credentials, capabilities and user namespaces (credentials(7), capabilities(7), user_namespaces(7)).

mod caps;
mod common;
mod exec;
mod groups;
pub mod securebits;
mod setid;
pub mod user_ns;

pub use caps::CapSets;
pub use common::NsCommon;
pub use exec::{FileOwner, exec_credentials};
pub use groups::Groups;
pub use setid::NO_CHANGE;
pub use user_ns::UserNamespace;

use std::sync::Arc;

bitflags::bitflags! {
    /// A capability set; bit n is capability n of `linux/capability.h`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Caps: u64 {
        #[allow(missing_docs)] const CHOWN = 1 << 0;
        #[allow(missing_docs)] const DAC_OVERRIDE = 1 << 1;
        #[allow(missing_docs)] const DAC_READ_SEARCH = 1 << 2;
        #[allow(missing_docs)] const FOWNER = 1 << 3;
        #[allow(missing_docs)] const FSETID = 1 << 4;
        #[allow(missing_docs)] const KILL = 1 << 5;
        #[allow(missing_docs)] const SETGID = 1 << 6;
        #[allow(missing_docs)] const SETUID = 1 << 7;
        #[allow(missing_docs)] const SETPCAP = 1 << 8;
        #[allow(missing_docs)] const LINUX_IMMUTABLE = 1 << 9;
        #[allow(missing_docs)] const NET_BIND_SERVICE = 1 << 10;
        #[allow(missing_docs)] const NET_BROADCAST = 1 << 11;
        #[allow(missing_docs)] const NET_ADMIN = 1 << 12;
        #[allow(missing_docs)] const NET_RAW = 1 << 13;
        #[allow(missing_docs)] const IPC_LOCK = 1 << 14;
        #[allow(missing_docs)] const IPC_OWNER = 1 << 15;
        #[allow(missing_docs)] const SYS_MODULE = 1 << 16;
        #[allow(missing_docs)] const SYS_RAWIO = 1 << 17;
        #[allow(missing_docs)] const SYS_CHROOT = 1 << 18;
        #[allow(missing_docs)] const SYS_PTRACE = 1 << 19;
        #[allow(missing_docs)] const SYS_PACCT = 1 << 20;
        #[allow(missing_docs)] const SYS_ADMIN = 1 << 21;
        #[allow(missing_docs)] const SYS_BOOT = 1 << 22;
        #[allow(missing_docs)] const SYS_NICE = 1 << 23;
        #[allow(missing_docs)] const SYS_RESOURCE = 1 << 24;
        #[allow(missing_docs)] const SYS_TIME = 1 << 25;
        #[allow(missing_docs)] const SYS_TTY_CONFIG = 1 << 26;
        #[allow(missing_docs)] const MKNOD = 1 << 27;
        #[allow(missing_docs)] const LEASE = 1 << 28;
        #[allow(missing_docs)] const AUDIT_WRITE = 1 << 29;
        #[allow(missing_docs)] const AUDIT_CONTROL = 1 << 30;
        #[allow(missing_docs)] const SETFCAP = 1 << 31;
        #[allow(missing_docs)] const MAC_OVERRIDE = 1 << 32;
        #[allow(missing_docs)] const MAC_ADMIN = 1 << 33;
        #[allow(missing_docs)] const SYSLOG = 1 << 34;
        #[allow(missing_docs)] const WAKE_ALARM = 1 << 35;
        #[allow(missing_docs)] const BLOCK_SUSPEND = 1 << 36;
        #[allow(missing_docs)] const AUDIT_READ = 1 << 37;
        #[allow(missing_docs)] const PERFMON = 1 << 38;
        #[allow(missing_docs)] const BPF = 1 << 39;
        #[allow(missing_docs)] const CHECKPOINT_RESTORE = 1 << 40;
    }
}

/// A task's identity and rights (`struct cred`). Immutable; a change makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Credentials {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    /// Supplementary groups, at most 65536.
    pub groups: Arc<Groups>,
    pub permitted: Caps,
    pub effective: Caps,
    pub inheritable: Caps,
    pub bounding: Caps,
    pub ambient: Caps,
    /// SECBIT_* of prctl(PR_SET_SECUREBITS).
    pub securebits: u32,
    pub no_new_privs: bool,
    /// Where the capabilities count.
    pub user_ns: Arc<UserNamespace>,
}

impl Credentials {
    /// A process of this user and group; root gets every capability in `bounding`.
    pub fn new(uid: u32, gid: u32, groups: &[u32], bounding: Caps) -> Credentials {
        let caps = if uid == 0 { bounding } else { Caps::empty() };
        Credentials {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: Arc::new(Groups::few(groups)),
            permitted: caps,
            effective: caps,
            inheritable: Caps::empty(),
            bounding,
            ambient: Caps::empty(),
            securebits: 0,
            no_new_privs: false,
            user_ns: UserNamespace::initial().clone(),
        }
    }

    /// The sentry's own identity, for files it makes itself.
    pub fn root() -> Credentials {
        Credentials::new(0, 0, &[], Caps::all())
    }

    /// Whether it has all of `caps` over the whole sandbox (`capable`): in the initial user namespace.
    pub fn has(&self, caps: Caps) -> bool {
        self.user_ns.is_initial() && self.effective.contains(caps)
    }

    /// Whether it has all of `caps` in its own user namespace.
    pub fn has_own(&self, caps: Caps) -> bool {
        self.effective.contains(caps)
    }

    /// Whether it has all of `caps` over what belongs to user namespace `ns` (`ns_capable`): they count there and in what is
    /// below, and who made a namespace has all of them in it.
    pub fn has_in(&self, ns: &UserNamespace, caps: Caps) -> bool {
        let mut at = ns;
        loop {
            if *at == *self.user_ns {
                return self.effective.contains(caps);
            }
            let Some(parent) = at.parent() else {
                return false;
            };
            if **parent == *self.user_ns && at.owner() == self.euid {
                return true;
            }
            at = parent;
        }
    }

    /// Whether it has all of `caps` over an object of these owners (`capable_wrt_inode_uidgid`): both must have ids in its
    /// user namespace.
    pub fn has_over(&self, uid: u32, gid: u32, caps: Caps) -> bool {
        self.effective.contains(caps) && self.user_ns.maps_both(uid, gid)
    }

    /// As the first task of a new user namespace, or one that enters it: every right there, none elsewhere.
    pub fn in_new(&self, ns: Arc<UserNamespace>) -> Credentials {
        Credentials {
            permitted: Caps::all(),
            effective: Caps::all(),
            inheritable: Caps::empty(),
            bounding: Caps::all(),
            ambient: Caps::empty(),
            securebits: 0,
            user_ns: ns,
            ..self.clone()
        }
    }

    /// Whether `new` holds no right that these credentials did not (`cred_cap_issubset`).
    pub fn covers(&self, new: &Credentials) -> bool {
        if self.user_ns == new.user_ns {
            return self.permitted.contains(new.permitted);
        }
        let mut at = &new.user_ns;
        while let Some(parent) = at.parent() {
            if *parent == self.user_ns && at.owner() == self.euid {
                return true;
            }
            at = parent;
        }
        false
    }

    /// Whether `gid` is the file-system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
