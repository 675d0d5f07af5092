//! Credentials and capabilities (credentials(7), capabilities(7)).

mod caps;
mod exec;
mod groups;
pub mod securebits;
mod setid;

pub use caps::CapSets;
pub use exec::{FileOwner, exec_credentials};
pub use groups::Groups;

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
        }
    }

    /// The sentry's own identity, for files it makes itself.
    pub fn root() -> Credentials {
        Credentials::new(0, 0, &[], Caps::all())
    }

    /// Whether the effective set holds all of `caps`.
    pub fn has(&self, caps: Caps) -> bool {
        self.effective.contains(caps)
    }

    /// Whether `gid` is the file-system group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
