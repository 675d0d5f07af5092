//! Ownership and permissions of IPC objects (`struct kern_ipc_perm`).

use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials, UserNamespace};
use std::sync::Arc;

/// Owner, creator and mode.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Permission bits 0o777, and flags of shared memory above.
    pub mode: u32,
    pub seq: i32,
    /// Of the IPC namespace: where capabilities over the object count.
    pub owner: Arc<UserNamespace>,
}

impl Perm {
    /// Of a new object.
    pub fn new(
        creds: &Credentials,
        owner: &Arc<UserNamespace>,
        key: i32,
        flags: i32,
        seq: i32,
    ) -> Perm {
        Perm {
            owner: owner.clone(),
            key,
            uid: creds.euid,
            gid: creds.egid,
            cuid: creds.euid,
            cgid: creds.egid,
            mode: flags.cast_unsigned() & 0o777,
            seq,
        }
    }

    /// EACCES unless the mode grants what `wanted` asks for: rwx bits of any of owner, group and others (`ipcperms`).
    pub fn check(&self, creds: &Credentials, wanted: i32) -> Result<()> {
        let wanted = wanted.cast_unsigned();
        let wanted = (wanted >> 6) | (wanted >> 3) | wanted;
        let granted = if creds.euid == self.cuid || creds.euid == self.uid {
            self.mode >> 6
        } else if in_group(creds, self.cgid) || in_group(creds, self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 0o7 == 0 || creds.has_in(&self.owner, Caps::IPC_OWNER) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// EPERM unless the caller may change or remove the object.
    pub fn check_control(&self, creds: &Credentials) -> Result<()> {
        if creds.euid == self.cuid
            || creds.euid == self.uid
            || creds.has_in(&self.owner, Caps::SYS_ADMIN)
        {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// IPC_SET with ids of the caller's user namespace `ns`.
    pub fn set(&mut self, ns: &UserNamespace, uid: u32, gid: u32, mode: u32) -> Result<()> {
        (self.uid, self.gid) = (ns.user_arg(uid)?, ns.group_arg(gid)?);
        self.mode = (self.mode & !0o777) | (mode & 0o777);
        Ok(())
    }
}

fn in_group(creds: &Credentials, gid: u32) -> bool {
    creds.egid == gid || creds.groups.contains(&gid)
}
