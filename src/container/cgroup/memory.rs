//! The control group of one `cofferdam do --memory`: it holds gofer, sentry and guest, but not the monitor.
//!
//! The monitor makes it, enters it while it makes its children, and removes it at the end, under its system call filter: so all
//! that this takes is opened before. A killed monitor leaves the empty directory behind; the next one beside it removes it.

use super::hierarchy::Hierarchy;
use super::{Cgroup, Version};
use crate::container::{Error, Result, at};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use oci_spec::runtime::{LinuxMemoryBuilder, LinuxResources, LinuxResourcesBuilder};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names of such groups: this and the monitor's pid.
const PREFIX: &str = "cofferdam-do-";
/// How long the last of the killed processes may take to be gone, in steps of a millisecond.
const PATIENCE: u32 = 2000;

/// See the module.
#[derive(Debug)]
pub struct MemoryGroup {
    group: Cgroup,
    /// Where the calling process is.
    home: Cgroup,
    /// Counts who was killed for want of memory.
    events: File,
    parent: OwnedFd,
    name: String,
}

impl MemoryGroup {
    /// A group with a limit in bytes, below the caller's own or, where that has no room for it, at the top.
    ///
    /// # Errors
    /// The host has no memory controller, or none for this user.
    pub fn create(limit: u64) -> Result<MemoryGroup> {
        let host = Hierarchy::of_host()?;
        let name = format!("{PREFIX}{}", std::process::id());
        Self::create_at(&host, &name, &name, limit).or_else(|e| {
            // What hinders the top (a cgroup namespace, no rights) says less than what hinders the own group.
            Self::create_at(&host, &format!("/{name}"), &name, limit).map_err(|_| e)
        })
    }

    fn create_at(host: &Hierarchy, path: &str, name: &str, limit: u64) -> Result<MemoryGroup> {
        let (group, dir) = memory_only(host.place(path))?;
        let (home, _) = memory_only(host.place(""))?;
        let parent = dir.parent().unwrap_or(Path::new("/"));
        sweep(parent);
        group
            .make_dirs()
            .map_err(at(format!("cannot make {}", dir.display())))?;
        let limited = group.apply(&resources(limit)?).and_then(|()| {
            let events = group.memory_events();
            events.ok_or(Error::Other(format!(
                "cannot read who is killed in {}",
                dir.display()
            )))
        });
        let events = match limited {
            Ok(events) => events,
            Err(e) => {
                // Empty, so that it goes.
                let _ = fs::remove_dir(&dir);
                return Err(e);
            }
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let parent =
            open(parent, flags, Mode::empty()).map_err(at("cannot open the control group"))?;
        Ok(MemoryGroup {
            group,
            home,
            events,
            parent,
            name: name.to_owned(),
        })
    }

    /// Has the processes that `make` makes in the group.
    ///
    /// # Errors
    /// Those of `make`, and what the host refuses.
    pub fn around<T, E: From<Error>>(
        &self,
        make: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.group.join_self()?;
        let made = make();
        self.home.join_self()?;
        made
    }

    /// The file that counts them, for the sandbox itself; read there from its beginning.
    pub fn events(&self) -> Option<File> {
        self.group.memory_events()
    }

    /// How many processes were killed because there was no memory for them. To be asked once, at the end.
    pub fn kills(&mut self) -> u64 {
        let mut buf = [0; 4096];
        let n = self.events.read(&mut buf).unwrap_or(0);
        let text = String::from_utf8_lossy(buf.get(..n).unwrap_or_default());
        count(&text)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        for _ in 0..PATIENCE {
            let gone = unlinkat(&self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir);
            if gone != Err(nix::errno::Errno::EBUSY) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// `oom_kill N` of either version's file.
fn count(events: &str) -> u64 {
    let line = events.lines().find_map(|l| l.strip_prefix("oom_kill "));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// The same group as far as memory is concerned, and its directory.
fn memory_only(mut group: Cgroup) -> Result<(Cgroup, PathBuf)> {
    let controller = match group.version {
        Version::V1 => "memory",
        Version::V2 => "",
    };
    let dir = group.dirs.remove(controller);
    let dir = dir.ok_or(Error::Other("the host has no memory controller".into()))?;
    group.dirs = [(controller.to_owned(), dir.clone())].into();
    Ok((group, dir))
}

/// No swap beside it: the limit is the limit.
fn resources(limit: u64) -> Result<LinuxResources> {
    let bad = |e: oci_spec::OciSpecError| Error::Other(e.to_string());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let memory = LinuxMemoryBuilder::default().limit(limit).swap(limit);
    LinuxResourcesBuilder::default()
        .memory(memory.build().map_err(bad)?)
        .build()
        .map_err(bad)
}

/// Removes what killed monitors left.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix(PREFIX));
        let Some(pid) = pid.and_then(|p| p.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            // Refused while there are processes in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        let v2 = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(count(v2), 1);
        assert_eq!(count(""), 0);
    }
}
