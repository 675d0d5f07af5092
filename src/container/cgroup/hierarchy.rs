//! Where control groups are on this host, and where a container's go.

use super::{Cgroup, Version};
use crate::container::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The host's hierarchies that matter.
#[derive(Debug, PartialEq, Eq)]
pub struct Hierarchy {
    version: Version,
    /// By controller (the empty name in version 2): mount point, and the calling process's own group below it.
    roots: BTreeMap<String, (PathBuf, String)>,
}

/// Version 1's controllers that containers use.
const CONTROLLERS: [&str; 8] = [
    "blkio", "cpu", "cpuacct", "cpuset", "freezer", "hugetlb", "memory", "pids",
];

impl Hierarchy {
    /// Looks.
    ///
    /// # Errors
    /// Nothing is mounted.
    pub fn of_host() -> Result<Hierarchy> {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Hierarchy::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
            .ok_or(Error::Other(
            "no control groups are mounted; mount version 2: mount -t cgroup2 none /sys/fs/cgroup"
                .into(),
        ))
    }

    fn parse(mountinfo: &str, own: &str) -> Option<Hierarchy> {
        let own_of = |controller: &str| {
            own.lines()
                .find_map(|line| {
                    let mut fields = line.splitn(3, ':');
                    let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
                    names.split(',').any(|n| n == controller).then_some(path)
                })
                .unwrap_or("/")
                .to_owned()
        };
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1).unwrap_or_default());
            let mut left = left.split(' ');
            let (root, place) = (left.nth(3)?, left.next()?);
            // In a cgroup namespace or a bind, paths are relative to the mount's root.
            let below = |path: String| match path.strip_prefix(root) {
                Some(rest) if root != "/" => format!("/{}", rest.trim_start_matches('/')),
                _ => path,
            };
            match kind {
                "cgroup2" => {
                    v2.get_or_insert((PathBuf::from(place), below(own_of(""))));
                }
                "cgroup" => {
                    for name in options.split(',').filter(|o| CONTROLLERS.contains(o)) {
                        v1.entry(name.to_owned())
                            .or_insert((PathBuf::from(place), below(own_of(name))));
                    }
                }
                _ => {}
            }
        }
        if v1.is_empty() {
            let root = v2?;
            return Some(Hierarchy {
                version: Version::V2,
                roots: BTreeMap::from([(String::new(), root)]),
            });
        }
        Some(Hierarchy {
            version: Version::V1,
            roots: v1,
        })
    }

    /// A container's path from the top. A relative one is meant from the caller's own group; but in version 2 a group with
    /// processes gives its children no controllers ("no internal processes", cgroups(7)), so that it goes beside that, as runc's do.
    pub fn for_container(&self, path: String) -> String {
        match self.roots.get("") {
            Some((_, own)) if !path.starts_with('/') => {
                let above = own.rsplit_once('/').map_or("", |(above, _)| above);
                format!("{above}/{path}")
            }
            _ => path,
        }
    }

    /// The directories of a group: an absolute path from the roots, a relative one below the calling process's own.
    pub fn place(&self, path: &str) -> Cgroup {
        let dirs = self.roots.iter().map(|(name, (mount, own))| {
            let dir = match path.strip_prefix('/') {
                Some(absolute) => mount.join(absolute),
                None => mount.join(own.trim_start_matches('/')).join(path),
            };
            (name.clone(), dir)
        });
        Cgroup {
            version: self.version,
            dirs: dirs.collect(),
            scope: None,
        }
    }
}

/// `cgroupsPath` as a path without tricks.
pub fn path_for(given: Option<&Path>, id: &str) -> Result<String> {
    let given = given.map_or(String::new(), |p| p.to_string_lossy().into_owned());
    if given.is_empty() {
        return Ok(id.to_owned());
    }
    let parts: Vec<&str> = given
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(Error::Other(format!(
            "cgroupsPath {given} must not contain '..'"
        )));
    }
    // The root group is everybody's: all in it would be killed with the container.
    if parts.is_empty() {
        return Err(Error::Other(format!(
            "cgroupsPath {given} names no control group below the root"
        )));
    }
    let slash = if given.starts_with('/') { "/" } else { "" };
    Ok(format!("{slash}{}", parts.join("/")))
}

/// The slice and the scope `prefix-name.scope` that `slice:prefix:name` stands for.
pub fn scope_of(given: &str, id: &str, user: bool) -> Result<(String, String)> {
    let default = if user { "user.slice" } else { "system.slice" };
    let parts: Vec<&str> = given.split(':').collect();
    let (slice, prefix, name) = match parts.as_slice() {
        [""] => (default, "cofferdam", id),
        ["", prefix, name] => (default, *prefix, *name),
        [slice, prefix, name] => (*slice, *prefix, *name),
        _ => {
            return Err(Error::Other(format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{given}\" instead"
            )));
        }
    };
    slice_path(slice)?;
    let unit = match prefix {
        "" => format!("{name}.scope"),
        _ => format!("{prefix}-{name}.scope"),
    };
    if unit.contains('/') {
        return Err(Error::Other(format!(
            "cgroupsPath {given}: {unit} is not a scope"
        )));
    }
    Ok((slice.to_owned(), unit))
}

/// Slices nest by their dashes: a-b.slice is in a.slice.
pub fn slice_path(slice: &str) -> Result<String> {
    let bad = || Error::Other(format!("cgroupsPath: {slice} is not a slice"));
    let stem = slice.strip_suffix(".slice").ok_or_else(bad)?;
    let mut path = String::new();
    // The root's.
    if stem == "-" {
        return Ok(path);
    }
    let mut so_far = String::new();
    for part in stem.split('-') {
        if part.is_empty() || part.contains('/') || part == ".." {
            return Err(bad());
        }
        if !so_far.is_empty() {
            so_far.push('-');
        }
        so_far.push_str(part);
        path.push_str(&format!("/{so_far}.slice"));
    }
    Ok(path)
}

/// Makes the controllers of a new version 2 group's ancestors available in it, as far as they let us.
pub fn enable_controllers(dir: &Path) {
    let mut ancestors: Vec<&Path> = dir.ancestors().skip(1).collect();
    ancestors.reverse();
    for parent in ancestors {
        let Ok(available) = fs::read_to_string(parent.join("cgroup.controllers")) else {
            continue;
        };
        for controller in available.split_whitespace() {
            // A group with processes of its own refuses; the limit that needs the controller then says so.
            let _ = fs::write(
                parent.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
    }
}

/// A new version 1 cpuset has no processors until somebody says which.
pub fn inherit_cpuset(dir: &Path) -> std::io::Result<()> {
    let mut ancestors: Vec<&Path> = dir.ancestors().collect();
    ancestors.reverse();
    for group in ancestors {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Ok(now) = fs::read_to_string(group.join(file)) else {
                continue;
            };
            let Some(parent) = group.parent() else {
                continue;
            };
            if now.trim().is_empty()
                && let Ok(value) = fs::read_to_string(parent.join(file))
            {
                fs::write(group.join(file), value.trim())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_1_has_a_directory_per_controller() {
        let h = Hierarchy::parse(V1, "4:memory:/me\n3:cpu,cpuacct:/\n0::/u\n").unwrap();
        let c = h.place("/docker/x");
        assert_eq!(c.version, Version::V1);
        assert_eq!(c.dirs.len(), 3);
        assert_eq!(
            c.dirs["cpu"],
            Path::new("/sys/fs/cgroup/cpu,cpuacct/docker/x")
        );
        assert_eq!(
            h.place("x").dirs["memory"],
            Path::new("/sys/fs/cgroup/memory/me/x")
        );
        assert_eq!(h.for_container("x".into()), "x");
    }

    #[test]
    fn version_2_has_one() {
        let info = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let h = Hierarchy::parse(info, "0::/user.slice/a\n").unwrap();
        assert_eq!(h.version, Version::V2);
        assert_eq!(
            h.place("x").dirs[""],
            Path::new("/sys/fs/cgroup/user.slice/a/x")
        );
        assert_eq!(h.for_container("x/y".into()), "/user.slice/x/y");
        assert_eq!(h.for_container("/x".into()), "/x");
        let top = Hierarchy::parse(info, "0::/\n").unwrap();
        assert_eq!(top.for_container("x".into()), "/x");
        assert_eq!(Hierarchy::parse("1 1 0:1 / / rw - ext4 x rw\n", ""), None);
    }

    #[test]
    fn paths() {
        let path = |s: &str| path_for(Some(Path::new(s)), "id");
        assert_eq!(path("/a//b/").unwrap(), "/a/b");
        assert_eq!(path("a/./b").unwrap(), "a/b");
        assert_eq!(path_for(None, "id").unwrap(), "id");
        assert!(path("/a/../b").is_err());
        assert!(path("/").is_err() && path("./").is_err());
    }

    #[test]
    fn scopes() {
        let scope = |given, user| {
            let (slice, unit) = scope_of(given, "id", user)?;
            Ok::<_, Error>(format!("{}/{unit}", slice_path(&slice)?))
        };
        assert_eq!(
            scope("user-1000.slice:libpod:abc", false).unwrap(),
            "/user.slice/user-1000.slice/libpod-abc.scope"
        );
        assert_eq!(
            scope("", false).unwrap(),
            "/system.slice/cofferdam-id.scope"
        );
        assert_eq!(scope(":p:n", true).unwrap(), "/user.slice/p-n.scope");
        assert_eq!(scope("-.slice:p:n", false).unwrap(), "/p-n.scope");
        for bad in ["/a/b", "a/b.slice:p:n", "a--b.slice:p:n", "a.slice:p:../n"] {
            assert!(scope(bad, false).is_err(), "{bad}");
        }
    }
}
