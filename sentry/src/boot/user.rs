//! Who the first process runs as, and which program it is.

use super::{BootError, UserConfig, reason, show};
use crate::abi::Errno;
use crate::auth::Credentials;
use crate::usermem::{GuestMemory, KernelSink};
use crate::vfs::{self, At, Caller, File, FsContext, KernelCaller, OpenFlags, OpenHow, WalkFlags};
use std::sync::Arc;

/// Most bytes of /etc/passwd and /etc/group that are read.
const MAX_TABLE: usize = 4 << 20;

/// A user of the guest's.
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Option<Vec<u8>>,
}

/// Looks the user up in the guest's own tables.
pub(super) fn find(user: &UserConfig, fs: &FsContext) -> Result<Account, BootError> {
    match user {
        UserConfig::Ids { uid, gid, groups } => Ok(Account {
            uid: *uid,
            gid: *gid,
            groups: groups.clone(),
            home: None,
        }),
        UserConfig::Name(name) => match name.split_once(':') {
            Some((user, group)) => with_group(user, group, fs),
            None => named(name, fs),
        },
    }
}

/// A user, by name or number, with this group alone.
fn with_group(user: &str, group: &str, fs: &FsContext) -> Result<Account, BootError> {
    let mut account = match user.parse() {
        Ok(uid) => Account {
            uid,
            gid: 0,
            groups: vec![],
            home: None,
        },
        Err(_) => named(user, fs)?,
    };
    account.groups.clear();
    account.gid = match group.parse() {
        Ok(gid) => gid,
        Err(_) => {
            let table = read_file(fs, b"/etc/group").unwrap_or_default();
            let found = String::from_utf8_lossy(&table)
                .lines()
                .map(fields)
                .find(|f| f.first() == Some(&group))
                .and_then(|f| f.get(2)?.parse().ok());
            found.ok_or_else(|| {
                BootError::Failed(format!(
                    "group {group} is not in /etc/group of the sandbox; give a number instead"
                ))
            })?
        }
    };
    Ok(account)
}

/// The user of this name with all groups of theirs.
fn named(name: &str, fs: &FsContext) -> Result<Account, BootError> {
    let passwd = read_file(fs, b"/etc/passwd").map_err(|e| {
        BootError::Failed(format!(
            "user {name}: cannot read /etc/passwd of the sandbox: {}; give a number (UID:GID) instead",
            reason(e)
        ))
    })?;
    let group = read_file(fs, b"/etc/group").unwrap_or_default();
    account(name, &passwd, &group).ok_or_else(|| {
        BootError::Failed(format!(
            "user {name} is not in /etc/passwd of the sandbox; give a number (UID:GID) instead"
        ))
    })
}

/// Home directory: of a user found by name, or with `by_id` of any in the table; `/` for strangers.
pub(super) fn home(account: &Account, fs: &FsContext, by_id: bool) -> Option<Vec<u8>> {
    if account.home.is_some() || !by_id {
        return account.home.clone();
    }
    let passwd = read_file(fs, b"/etc/passwd").unwrap_or_default();
    let uid = account.uid.to_string();
    let home = String::from_utf8_lossy(&passwd)
        .lines()
        .map(fields)
        .find(|f| f.get(2) == Some(&uid.as_str()))
        .and_then(|f| f.get(5).map(|h| h.as_bytes().to_vec()));
    Some(home.filter(|h| !h.is_empty()).unwrap_or(b"/".to_vec()))
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}

fn account(name: &str, passwd: &[u8], group: &[u8]) -> Option<Account> {
    let passwd = String::from_utf8_lossy(passwd);
    let entry = passwd
        .lines()
        .map(fields)
        .find(|f| f.first() == Some(&name))?;
    let gid = entry.get(3)?.parse().ok()?;
    let mut groups = vec![];
    for f in String::from_utf8_lossy(group).lines().map(fields) {
        if f.get(3)
            .is_some_and(|members| members.split(',').any(|m| m == name))
        {
            groups.extend(f.get(2).and_then(|g| g.parse::<u32>().ok()));
        }
    }
    Some(Account {
        uid: entry.get(2)?.parse().ok()?,
        gid,
        groups,
        home: entry.get(5).map(|h| h.as_bytes().to_vec()),
    })
}

fn read_file(fs: &FsContext, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let file = vfs::open(
        &KernelCaller,
        fs,
        &At::Cwd,
        path,
        &OpenHow::new(OpenFlags::empty()),
    )?;
    let mut sink = KernelSink::new(MAX_TABLE);
    let mut pos = 0;
    while file.ops().read(&file, &KernelCaller, &mut sink, &mut pos)? > 0 {}
    Ok(sink.data)
}

/// Path lookups as the first process would do them.
pub(super) struct AsUser {
    pub creds: Arc<Credentials>,
}

impl Caller for AsUser {
    fn credentials(&self) -> &Arc<Credentials> {
        &self.creds
    }
    fn memory(&self) -> &dyn GuestMemory {
        &crate::vfs::caller::NoMemory
    }
    fn tgid(&self) -> i32 {
        0
    }
    fn pgid(&self) -> i32 {
        0
    }
    fn sid(&self) -> i32 {
        0
    }
    fn umask(&self) -> u32 {
        0o022
    }
    fn file_size_limit(&self) -> u64 {
        u64::MAX
    }
}

/// Finds the program as execvp(3) does: names without '/' are looked up in PATH.
pub(super) fn find_program(
    cx: &dyn Caller,
    fs: &FsContext,
    argv: &[Vec<u8>],
    envp: &[Vec<u8>],
) -> Result<(Arc<File>, Vec<u8>), BootError> {
    let name = argv.first().filter(|n| !n.is_empty());
    let name = name.ok_or_else(|| BootError::Failed("no command given".into()))?;
    let candidates: Vec<Vec<u8>> = if name.contains(&b'/') {
        vec![name.clone()]
    } else {
        let path = envp.iter().find_map(|e| e.strip_prefix(b"PATH="));
        let path = path.unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        path.split(|b| *b == b':')
            .map(|dir| {
                if dir.is_empty() {
                    name.clone()
                } else {
                    [dir, b"/", name].concat()
                }
            })
            .collect()
    };
    let mut denied = None;
    for path in candidates {
        match vfs::open_exec(cx, fs, &At::Cwd, &path, WalkFlags::FOLLOW) {
            Ok(file) => return Ok((file, path)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(e) => denied = denied.or(Some((path, e))),
        }
    }
    Err(match denied {
        Some((path, e)) => {
            BootError::NotExecutable(format!("cannot execute {}: {}", show(&path), reason(e)))
        }
        None if name.contains(&b'/') => BootError::NotFound(format!(
            "{}: no such file or directory in the sandbox",
            show(name)
        )),
        None => BootError::NotFound(format!(
            "{}: command not found in PATH of the sandbox",
            show(name)
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_ids_groups_and_home() {
        let a = account(
            "bob",
            b"root:x:0:0:r:/root:/bin/sh\nbob:x:7:8::/home/bob:/bin/sh\n",
            b"g:x:9:al,bob\nh:x:10:al\n",
        );
        let a = a.unwrap();
        assert_eq!(
            (a.uid, a.gid, a.groups, a.home),
            (7, 8, vec![9], Some(b"/home/bob".to_vec()))
        );
        assert!(account("eve", b"root:x:0:0:r:/root:/bin/sh\n", b"").is_none());
    }
}
