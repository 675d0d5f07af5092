//! What execve makes of credentials (capabilities(7), "Transformation of capabilities during execve()"; `security/commoncap.c`).

use super::securebits::{KEEP_CAPS, NOROOT};
use super::{Caps, Credentials};

/// Owner and permission bits of an executable.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct FileOwner {
    pub uid: u32,
    pub gid: u32,
    /// 0o7777.
    pub perm: u32,
}

/// Credentials after executing a file with these attributes. `honour_set_id`: the mount allows set-user-id and set-group-id
/// (they are also ignored with no_new_privs). File capabilities are not supported: as on a file without any.
pub fn exec_credentials(old: &Credentials, file: FileOwner, honour_set_id: bool) -> Credentials {
    let mut new = old.clone();
    // Owners without ids in the user namespace pass nothing on.
    if honour_set_id && !old.no_new_privs && old.user_ns.maps_both(file.uid, file.gid) {
        if file.perm & 0o4000 != 0 {
            new.euid = file.uid;
        }
        // S_ISGID without group execute is mandatory locking, not set-group-id.
        if file.perm & 0o2010 == 0o2010 {
            new.egid = file.gid;
        }
    }
    let set_id = new.euid != old.euid || new.egid != old.egid;
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);
    new.securebits &= !KEEP_CAPS;
    if set_id {
        new.ambient = Caps::empty();
    }
    let by_root = old.securebits & NOROOT == 0;
    let (mut permitted, mut full) = (Caps::empty(), false);
    let root = new.user_ns.root();
    if by_root && (new.uid == root || new.euid == root) {
        permitted = new.inheritable | new.bounding;
        full = new.euid == root;
    }
    if old.no_new_privs {
        // Even root gains nothing that it had given up.
        permitted &= old.permitted;
    }
    new.permitted = permitted | new.ambient;
    new.effective = if full { new.permitted } else { new.ambient };
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(uid: u32, perm: u32) -> FileOwner {
        FileOwner {
            uid,
            gid: uid,
            perm,
        }
    }

    #[test]
    fn set_user_id_root_gains_the_bounding_set_unless_forbidden() {
        let user = Credentials::new(1000, 1000, &[], Caps::KILL | Caps::CHOWN);
        let new = exec_credentials(&user, file(0, 0o4755), true);
        assert_eq!((new.uid, new.euid, new.suid), (1000, 0, 0));
        assert_eq!(new.effective, Caps::KILL | Caps::CHOWN);
        assert_eq!(exec_credentials(&user, file(0, 0o4755), false), user);
        let bound = Credentials {
            no_new_privs: true,
            ..user
        };
        assert_eq!(exec_credentials(&bound, file(0, 0o4755), true), bound);
    }

    #[test]
    fn root_that_lowered_its_capabilities_has_them_again() {
        let mut root = Credentials::new(0, 0, &[], Caps::KILL | Caps::CHOWN);
        root.effective = Caps::empty();
        root.permitted = Caps::empty();
        assert_eq!(
            exec_credentials(&root, file(0, 0o755), true).effective,
            Caps::KILL | Caps::CHOWN
        );
    }

    #[test]
    fn with_no_new_privs_even_root_regains_nothing() {
        let mut root = Credentials::new(0, 0, &[], Caps::KILL | Caps::CHOWN);
        root.permitted = Caps::KILL;
        root.effective = Caps::empty();
        root.no_new_privs = true;
        let new = exec_credentials(&root, file(0, 0o755), true);
        assert_eq!((new.permitted, new.effective), (Caps::KILL, Caps::KILL));
    }

    #[test]
    fn capabilities_of_a_user_survive_only_as_ambient() {
        let mut user = Credentials::new(1000, 1000, &[], Caps::all());
        user.permitted = Caps::KILL | Caps::CHOWN;
        user.effective = user.permitted;
        user.ambient = Caps::KILL;
        let new = exec_credentials(&user, file(0, 0o755), true);
        assert_eq!((new.permitted, new.effective), (Caps::KILL, Caps::KILL));
    }
}
