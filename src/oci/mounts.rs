//! `root` and `mounts` of a configuration: what the gofer serves and what the sentry mounts where.

use super::{Invalid, Notes, Result, invalid};
use crate::sandbox::tree::{Exported, Mounted, Served};
use cofferdam_gofer::server::ExportOptions;
use cofferdam_gofer::tree::TreeEntry;
use cofferdam_sentry::boot::{DeviceConfig, MountConfig, MountSource, RootConfig};
use cofferdam_sentry::vfs::MountFlags;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount, Spec};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the root is in the gofer's tree.
const ROOT: &str = "/root";

/// Both sides of what a container sees of files.
#[derive(Debug)]
pub struct Files {
    /// The gofer's.
    pub served: Served,
    /// The sentry's.
    pub mounted: Mounted,
    /// Nodes beyond the usual ones.
    pub devices: Vec<DeviceConfig>,
}

/// How to see the host's files.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Writes to the root go to memory and vanish.
    pub overlay: bool,
    /// The gofer sees owners other than the caller as the overflow id.
    pub overflow: bool,
}

/// Plans.
///
/// # Errors
/// A source is missing or of a kind that cannot be served.
pub fn plan(spec: &Spec, bundle: &Path, terms: Terms, notes: &mut Notes) -> Result<Files> {
    let root = spec.root().as_ref();
    let root = root.ok_or(Invalid("the configuration has no root".into()))?;
    let rootfs = bundle.join(root.path());
    let rootfs = rootfs
        .canonicalize()
        .ok()
        .filter(|p| p.is_dir())
        .ok_or(Invalid(format!(
            "invalid rootfs: {} is not a directory",
            rootfs.display()
        )))?;
    let read_only = root.readonly().unwrap_or(false);
    let overlay = terms.overlay || read_only;
    let mut planner = Planner {
        terms,
        bundle,
        served: Served {
            entries: vec![],
            exports: vec![],
        },
        mounts: vec![],
        devices: vec![],
    };
    planner.export(rootfs, ROOT.into(), !overlay);
    for mount in spec.mounts().iter().flatten() {
        planner.mount(mount, notes)?;
    }
    let linux = spec.linux().as_ref();
    for device in linux
        .and_then(|l| l.devices().as_ref())
        .into_iter()
        .flatten()
    {
        planner.device(device, notes);
    }
    Ok(Files {
        served: planner.served,
        mounted: Mounted {
            root: RootConfig {
                export: Some(0),
                // A read-only one has an in-memory layer too: the mount points are made there.
                overlay,
                read_only,
            },
            mounts: planner.mounts,
        },
        devices: planner.devices,
    })
}

struct Planner<'a> {
    terms: Terms,
    bundle: &'a Path,
    served: Served,
    mounts: Vec<MountConfig>,
    devices: Vec<DeviceConfig>,
}

/// What a mount's options come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    flags: MountFlags,
    bind: bool,
    copy_up: bool,
    data: Vec<String>,
}

/// Options that set a flag, and those that clear it.
const FLAGS: &[(&str, &str, MountFlags)] = &[
    ("ro", "rw", MountFlags::READONLY),
    ("nosuid", "suid", MountFlags::NOSUID),
    ("nodev", "dev", MountFlags::NODEV),
    ("noexec", "exec", MountFlags::NOEXEC),
    ("noatime", "atime", MountFlags::NOATIME),
    ("nodiratime", "diratime", MountFlags::NODIRATIME),
    ("relatime", "norelatime", MountFlags::RELATIME),
    ("strictatime", "nostrictatime", MountFlags::STRICTATIME),
    ("nosymfollow", "symfollow", MountFlags::NOSYMFOLLOW),
    // Their recursive forms: what is bound here has no mounts of its own inside.
    ("rro", "rrw", MountFlags::READONLY),
    ("rnosuid", "rsuid", MountFlags::NOSUID),
    ("rnodev", "rdev", MountFlags::NODEV),
    ("rnoexec", "rexec", MountFlags::NOEXEC),
    ("rnoatime", "ratime", MountFlags::NOATIME),
    ("rnodiratime", "rdiratime", MountFlags::NODIRATIME),
    ("rrelatime", "rnorelatime", MountFlags::RELATIME),
    ("rstrictatime", "rnostrictatime", MountFlags::STRICTATIME),
    ("rnosymfollow", "rsymfollow", MountFlags::NOSYMFOLLOW),
];

/// Options without a meaning inside: there is nobody to propagate mounts to or from, and writes are never put off.
const IDLE: &[&str] = &[
    "defaults",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
    "async",
    "sync",
    "dirsync",
    "mand",
    "nomand",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "lazytime",
    "nolazytime",
];

/// All options that are understood, for `features`.
pub fn known_options() -> Vec<String> {
    let flags = FLAGS.iter().flat_map(|(set, clear, _)| [*set, *clear]);
    let mut all: Vec<String> = flags
        .chain(IDLE.iter().copied())
        .chain(["bind", "rbind", "tmpcopyup", "shared", "rshared"])
        .map(str::to_owned)
        .collect();
    all.sort();
    all
}

fn options(mount: &Mount, notes: &mut Notes) -> Options {
    let mut o = Options::default();
    for option in mount.options().iter().flatten() {
        if let Some((set, _, flag)) = FLAGS.iter().find(|(s, c, _)| s == option || c == option) {
            o.flags.set(*flag, set == option);
            continue;
        }
        match option.as_str() {
            "bind" | "rbind" => o.bind = true,
            "tmpcopyup" => o.copy_up = true,
            "shared" | "rshared" => notes.add(format!(
                "{}: mounts do not propagate out of a sandbox",
                mount.destination().display()
            )),
            idle if IDLE.contains(&idle) => {}
            "" => {}
            data => o.data.push(data.to_owned()),
        }
    }
    o.bind |= mount.typ().as_deref() == Some("bind");
    o
}

impl Planner<'_> {
    fn export(&mut self, source: PathBuf, place: PathBuf, writable: bool) -> u32 {
        let index = u32::try_from(self.served.exports.len()).unwrap_or(u32::MAX);
        self.served.entries.push(TreeEntry {
            source: source.clone(),
            target: place.clone(),
            writable,
            keep_symlink: false,
        });
        self.served.exports.push(Exported {
            place,
            source,
            options: ExportOptions {
                writable,
                overflow_to_root: self.terms.overflow,
                keep_setid: true,
                ..ExportOptions::read_only()
            },
        });
        index
    }

    fn mount(&mut self, mount: &Mount, notes: &mut Notes) -> Result<()> {
        let o = options(mount, notes);
        let target = Path::new("/").join(mount.destination());
        let source = if o.bind {
            match self.bind(mount, &target, o.flags, notes)? {
                Some(source) => source,
                None => return Ok(()),
            }
        } else {
            self.check_place(mount, &target)?;
            match mount.typ().as_deref().unwrap_or("none") {
                "tmpfs" if o.copy_up => MountSource::TmpfsCopy(tmpfs_options(&o.data)),
                "tmpfs" => MountSource::Tmpfs(tmpfs_options(&o.data)),
                "proc" => MountSource::Proc,
                "sysfs" => MountSource::Sysfs,
                "cgroup" | "cgroup2" => MountSource::Cgroup,
                "devpts" => MountSource::Devpts,
                "mqueue" => MountSource::Mqueue,
                other => {
                    return invalid(format!(
                        "mount {}: a file system of type '{other}' cannot be mounted inside; \
                         bind, tmpfs, proc, sysfs, devpts, mqueue and cgroup can",
                        target.display()
                    ));
                }
            }
        };
        let name = match &source {
            // The host's paths are not the guest's business.
            MountSource::Export(_) => None,
            _ => mount.source().as_ref(),
        };
        self.mounts.push(MountConfig {
            target: target.as_os_str().as_bytes().to_vec(),
            name: name.map(|n| n.as_os_str().as_bytes().to_vec()),
            source,
            flags: o.flags,
            overlay: false,
        });
        Ok(())
    }

    /// Nobody is to be led elsewhere by an image whose /proc is a link.
    fn check_place(&self, mount: &Mount, target: &Path) -> Result<()> {
        let kind = mount.typ().as_deref().unwrap_or_default();
        let Some(root) = self.served.exports.first() else {
            return Ok(());
        };
        let place = root.source.join(target.strip_prefix("/").unwrap_or(target));
        match place.symlink_metadata() {
            Ok(meta) if !meta.is_dir() && matches!(kind, "proc" | "sysfs") => invalid(format!(
                "error mounting \"{kind}\" to rootfs at \"{}\": filesystem \"{kind}\" must be mounted on ordinary directory",
                target.display()
            )),
            _ => Ok(()),
        }
    }

    /// `None`: it became a device node.
    fn bind(
        &mut self,
        mount: &Mount,
        target: &Path,
        flags: MountFlags,
        notes: &mut Notes,
    ) -> Result<Option<MountSource>> {
        let given = mount.source().as_deref().unwrap_or(Path::new(""));
        let failed = |why: &str| {
            Invalid(format!(
                "error mounting \"{}\" to rootfs at \"{}\": {why}",
                given.display(),
                target.display()
            ))
        };
        let source = self
            .bundle
            .join(given)
            .canonicalize()
            .map_err(|e| failed(&plain(&e)))?;
        let meta = fs::metadata(&source).map_err(|e| failed(&plain(&e)))?;
        if let Some(own) = own_instead(&source, &meta) {
            notes.add(format!(
                "{} shows the sandbox's own kernel, not the host's",
                target.display()
            ));
            return Ok(Some(own));
        }
        let kind = meta.file_type();
        if kind.is_char_device() && is_memory_device(meta.rdev()) {
            self.devices.push(DeviceConfig {
                path: target.as_os_str().as_bytes().to_vec(),
                kind: 'c',
                major: libc::major(meta.rdev()),
                minor: libc::minor(meta.rdev()),
                mode: meta.mode() & 0o7777,
                uid: 0,
                gid: 0,
            });
            return Ok(None);
        }
        if !kind.is_dir() && !kind.is_file() {
            return Err(failed(
                "only directories, regular files and the memory devices can be shown inside",
            ));
        }
        let place = PathBuf::from(format!("/bind/{}", self.served.exports.len()));
        let writable = !flags.contains(MountFlags::READONLY);
        Ok(Some(MountSource::Export(
            self.export(source, place, writable),
        )))
    }

    fn device(&mut self, device: &LinuxDevice, notes: &mut Notes) {
        let kind = match device.typ() {
            LinuxDeviceType::B => 'b',
            LinuxDeviceType::P => 'p',
            _ => 'c',
        };
        let number = |n: i64| u32::try_from(n).unwrap_or(0);
        let (major, minor) = (number(device.major()), number(device.minor()));
        let known = kind == 'p'
            || kind == 'c' && (is_memory_device(libc::makedev(major, minor)) || major == 5);
        if !known {
            notes.add(format!(
                "the device {} ({kind} {major}:{minor}) has a node but no driver inside",
                device.path().display()
            ));
        }
        self.devices.push(DeviceConfig {
            path: device.path().as_os_str().as_bytes().to_vec(),
            kind,
            major,
            minor,
            mode: device.file_mode().unwrap_or(0o666),
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
}

/// The sandbox's own file system of a kind whose root on the host engines bind where a namespace is shared (rootless
/// `--network host`, `--pid host`, `--ipc host`).
fn own_instead(source: &Path, meta: &fs::Metadata) -> Option<MountSource> {
    use nix::sys::statfs as t;
    let kind = t::statfs(source).ok()?.filesystem_type();
    let is_root = meta.ino() == 1;
    match kind {
        t::SYSFS_MAGIC if is_root => Some(MountSource::Sysfs),
        t::PROC_SUPER_MAGIC if is_root => Some(MountSource::Proc),
        t::CGROUP_SUPER_MAGIC | t::CGROUP2_SUPER_MAGIC => Some(MountSource::Cgroup),
        MQUEUE_MAGIC => Some(MountSource::Mqueue),
        _ => None,
    }
}

/// Of statfs(2); not among nix's.
const MQUEUE_MAGIC: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x1980_0202);

/// null, zero, full, random, urandom.
fn is_memory_device(rdev: u64) -> bool {
    libc::major(rdev) == 1 && matches!(libc::minor(rdev), 3 | 5 | 7 | 8 | 9)
}

/// Those that tmpfs of the sentry takes; SELinux contexts and the like have no meaning there.
fn tmpfs_options(data: &[String]) -> String {
    let known = |o: &&String| {
        let key = o.split('=').next().unwrap_or_default();
        matches!(
            key,
            "size" | "nr_blocks" | "nr_inodes" | "mode" | "uid" | "gid" | "huge" | "mpol"
        )
    };
    let kept: Vec<&str> = data.iter().filter(known).map(String::as_str).collect();
    kept.join(",")
}

/// The error in words, without its number.
fn plain(e: &std::io::Error) -> String {
    let text = e.to_string();
    let end = text.rfind(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(json: &str) -> Mount {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn options_become_flags_binds_and_data() {
        let mut notes = Notes::default();
        let o = options(
            &mount(
                r#"{"destination":"/t","type":"tmpfs","options":["nosuid","ro","rw","mode=755","size=64k","rshared","rprivate"]}"#,
            ),
            &mut notes,
        );
        assert_eq!(o.flags, MountFlags::NOSUID);
        assert_eq!(o.data, ["mode=755", "size=64k"]);
        assert!(!o.bind);
        assert_eq!(notes.0.len(), 1);
        let o = options(
            &mount(r#"{"destination":"/t","options":["rbind","ro"]}"#),
            &mut notes,
        );
        assert!(o.bind && o.flags == MountFlags::READONLY);
        assert_eq!(
            tmpfs_options(&["context=x".into(), "size=1m".into()]),
            "size=1m"
        );
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_by_name() {
        let dir = std::env::temp_dir();
        let plan_of = |mounts: &str| {
            let spec: Spec = serde_json::from_str(&format!(
                r#"{{"ociVersion":"1.0.2","root":{{"path":"/"}},"linux":{{}},"mounts":[{mounts}]}}"#
            ))
            .unwrap();
            let terms = Terms {
                overlay: false,
                overflow: false,
            };
            plan(&spec, &dir, terms, &mut Notes::default())
        };
        let e = plan_of(r#"{"destination":"/x","type":"nfs"}"#)
            .unwrap_err()
            .to_string();
        assert!(e.contains("nfs"), "{e}");
        let e = plan_of(r#"{"destination":"/x","type":"bind","source":"/no/such"}"#)
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("/no/such") && e.contains("no such file or directory"),
            "{e}"
        );
        let files = plan_of(r#"{"destination":"/n","type":"bind","source":"/dev/null"}"#).unwrap();
        assert_eq!(
            files.devices.first().map(|d| (d.major, d.minor)),
            Some((1, 3))
        );
    }
}
