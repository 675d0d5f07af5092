//! What the gofer serves: its mount tree, the exports in it, and where the sentry mounts them.

use super::spec::{Mount, Root, Spec};
use cofferdam_gofer::server::ExportOptions;
use cofferdam_gofer::tree::TreeEntry;
use cofferdam_sentry::boot::{MountConfig, MountSource, RootConfig};
use cofferdam_sentry::vfs::MountFlags;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The host's directories that programs need, if they are there.
pub const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt",
];

/// Where the root is in the gofer's tree.
const ROOT: &str = "/root";

/// The gofer's side: what its process builds and serves.
#[derive(Debug)]
pub struct Served {
    /// Its whole world.
    pub entries: Vec<TreeEntry>,
    /// What of it the sentry may ask for, by export index.
    pub exports: Vec<Exported>,
}

/// A place in the gofer's world.
#[derive(Debug)]
pub struct Exported {
    /// The place.
    pub place: PathBuf,
    /// What it is on the host, for messages.
    pub source: PathBuf,
    /// The terms.
    pub options: ExportOptions,
}

/// The sentry's side.
#[derive(Debug)]
pub struct Mounted {
    /// What `/` is.
    pub root: RootConfig,
    /// All else.
    pub mounts: Vec<MountConfig>,
}

impl Served {
    /// Whether the caller's own rights beyond those of everybody matter (files that only root may read).
    pub fn needs_rights(&self) -> bool {
        self.exports.iter().any(|e| !e.options.world_readable_only)
    }

    /// Whether anything can be changed on the host.
    pub fn writable(&self) -> bool {
        self.exports.iter().any(|e| e.options.writable)
    }
}

/// Both sides of what a sandbox sees of the host. `overflow`: owners other than the caller look like the overflow id to
/// the gofer.
pub fn plan(spec: &Spec, overflow: bool) -> (Served, Mounted) {
    let terms = |writable, world_readable_only| ExportOptions {
        writable,
        world_readable_only,
        overflow_to_root: overflow,
        ..ExportOptions::read_only()
    };
    let mut served = Served {
        entries: Vec::new(),
        exports: Vec::new(),
    };
    match &spec.root {
        Root::System => {
            for dir in SYSTEM
                .iter()
                .map(Path::new)
                .filter(|d| d.symlink_metadata().is_ok())
            {
                served.entries.push(TreeEntry {
                    target: below(ROOT, dir),
                    ..TreeEntry::same(dir)
                });
            }
        }
        Root::Directory(dir) => served.entries.push(TreeEntry {
            source: dir.clone(),
            target: ROOT.into(),
            writable: false,
            keep_symlink: false,
        }),
    }
    served.exports.push(Exported {
        place: ROOT.into(),
        source: match &spec.root {
            Root::System => "/".into(),
            Root::Directory(dir) => dir.clone(),
        },
        options: terms(false, spec.root == Root::System),
    });
    let root = RootConfig {
        export: Some(0),
        // A read-only one has an in-memory layer too: the mount points are made there.
        overlay: true,
        read_only: spec.read_only,
    };
    let mut mounts = Vec::new();
    for mount in &spec.mounts {
        mounts.push(match mount {
            Mount::Bind {
                source,
                target,
                writable,
                overlay,
                world_readable_only,
            } => {
                let index = served.exports.len();
                let place = PathBuf::from(format!("/bind/{index}"));
                served.entries.push(TreeEntry {
                    source: source.clone(),
                    target: place.clone(),
                    writable: *writable,
                    keep_symlink: false,
                });
                served.exports.push(Exported {
                    place,
                    source: source.clone(),
                    options: terms(*writable, *world_readable_only),
                });
                MountConfig {
                    target: bytes(target),
                    source: MountSource::Export(u32::try_from(index).unwrap_or(u32::MAX)),
                    name: None,
                    flags: flags(!writable && !overlay),
                    overlay: *overlay,
                }
            }
            Mount::Tmpfs { target, size } => MountConfig {
                target: bytes(target),
                source: MountSource::Tmpfs(size.map_or(String::new(), |n| format!("size={n}"))),
                name: None,
                flags: flags(false),
                overlay: false,
            },
        });
    }
    (served, Mounted { root, mounts })
}

fn flags(read_only: bool) -> MountFlags {
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::READONLY, read_only);
    flags
}

fn below(base: &str, absolute: &Path) -> PathBuf {
    Path::new(base).join(absolute.strip_prefix("/").unwrap_or(absolute))
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
