//! Builds the mount tree that becomes the gofer's whole world.
//!
//! In its own mount namespace the process makes an empty in-memory root, attaches to it what it is to
//! serve, and detaches everything else ([`enter`]). From then on no path, however it is come by,
//! names anything that is not served. [`check`] finds what is missing or unreadable
//! before any process is started.
//!
//! Mounts are read-only (unless asked otherwise), without set-user-ID and without devices, the ones
//! below them too. Kernel 5.12 or later is needed.
#![allow(unsafe_code)] // the new mount API has no wrappers

use crate::host::ProcFds;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{AccessFlags, chdir, faccessat, fchdir, pivot_root};
use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Something of the host that is to be in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Where it is on the host: absolute.
    pub source: PathBuf,
    /// Where it is to be in the tree: absolute, without `.` and `..`.
    pub target: PathBuf,
    /// Whether it may be changed through the tree.
    pub writable: bool,
    /// If the source is a symbolic link, make the same link instead of mounting what it leads to
    /// (`/bin` to `usr/bin`).
    pub keep_symlink: bool,
}

impl TreeEntry {
    /// `path` of the host at the same place, read-only, links as links.
    pub fn same(path: impl Into<PathBuf>) -> Self {
        let source = path.into();
        Self {
            target: source.clone(),
            source,
            writable: false,
            keep_symlink: true,
        }
    }
}

/// Why the tree cannot be built. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The source cannot be used.
    #[error("cannot serve {path}: {reason}", path = path.display(), reason = source.desc())]
    Source {
        /// The path on the host.
        path: PathBuf,
        /// What the host said.
        source: Errno,
    },
    /// Neither directory nor regular file.
    #[error("cannot serve {path}: only directories and regular files can be served", path = .0.display())]
    Type(PathBuf),
    /// The place in the tree is not one.
    #[error("cannot serve {host} at {target}: the place must be an absolute path without dots",
        host = host.display(), target = target.display())]
    Target {
        /// The path on the host.
        host: PathBuf,
        /// The place asked for.
        target: PathBuf,
    },
    /// The place in the tree cannot be made.
    #[error("cannot put {host} at {target}: {reason}",
        host = host.display(), target = target.display())]
    Place {
        /// The path on the host.
        host: PathBuf,
        /// The place asked for.
        target: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A step that does not depend on the sources.
    #[error("cannot build the gofer's mount tree: {step}: {reason}", reason = source.desc())]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the host said.
        source: Errno,
    },
}

/// Checks that every source is there and readable to this process, and every target is a proper
/// place. Changes nothing.
///
/// # Errors
/// The first entry that is not, with its path.
pub fn check(entries: &[TreeEntry]) -> Result<(), TreeError> {
    for entry in entries {
        check_target(entry)?;
        let failed = |source| TreeError::Source {
            path: entry.source.clone(),
            source,
        };
        let meta = fs::symlink_metadata(&entry.source).map_err(|e| failed(errno_of(&e)))?;
        if meta.is_symlink() && entry.keep_symlink {
            continue;
        }
        let meta = fs::metadata(&entry.source).map_err(|e| failed(errno_of(&e)))?;
        if !meta.is_dir() && !meta.is_file() {
            return Err(TreeError::Type(entry.source.clone()));
        }
        let search = if meta.is_dir() {
            AccessFlags::X_OK
        } else {
            AccessFlags::empty()
        };
        let write = if entry.writable {
            AccessFlags::W_OK
        } else {
            AccessFlags::empty()
        };
        let wanted = AccessFlags::R_OK | search | write;
        let flags = AtFlags::AT_EACCESS;
        faccessat(nix::fcntl::AT_FDCWD, &entry.source, wanted, flags).map_err(failed)?;
    }
    Ok(())
}

fn check_target(entry: &TreeEntry) -> Result<(), TreeError> {
    let mut components = entry.target.components();
    let proper = components.next() == Some(Component::RootDir)
        && components.all(|c| matches!(c, Component::Normal(_)));
    if proper {
        return Ok(());
    }
    Err(TreeError::Target {
        host: entry.source.clone(),
        target: entry.target.clone(),
    })
}

/// What an entry becomes.
enum Piece<'e> {
    Mount {
        entry: &'e TreeEntry,
        tree: OwnedFd,
        is_dir: bool,
    },
    Link {
        entry: &'e TreeEntry,
        to: PathBuf,
    },
}

/// Makes the tree the root of this process. To be called once, single-threaded, in a mount namespace of
/// its own and with `CAP_SYS_ADMIN` over it. Returns the directory of own descriptors for
/// [`crate::server::run`], which can only be had before the old root is gone; so exports are
/// opened after this, by their places in the tree.
///
/// # Errors
/// What went wrong; the process is then not fit for anything and must end.
pub fn enter(entries: &[TreeEntry]) -> Result<ProcFds, TreeError> {
    let step = |step| move |source| TreeError::Step { step, source };
    mount(
        None::<&CStr>,
        c"/",
        None::<&CStr>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&CStr>,
    )
    .map_err(step("making mounts private"))?;
    let proc_fds = ProcFds::isolated().map_err(step("opening /proc/self/fd"))?;
    let mut pieces = entries.iter().map(take).collect::<Result<Vec<_>, _>>()?;
    // Outer places before inner ones, links last so that no place is made through one.
    pieces.sort_by_key(|piece| match piece {
        Piece::Mount { entry, .. } => (0, entry.target.components().count()),
        Piece::Link { entry, .. } => (1, entry.target.components().count()),
    });

    let root = empty_root().map_err(step("making an in-memory root"))?;
    move_mount(&root, c"/").map_err(step("mounting the in-memory root"))?;
    fchdir(&root).map_err(step("entering the in-memory root"))?;
    // The old root ends up on top of the new one, from where it is taken off (pivot_root(2)).
    pivot_root(c".", c".").map_err(step("changing the root"))?;
    umount2(c".", MntFlags::MNT_DETACH).map_err(step("detaching the old root"))?;
    chdir(c"/").map_err(step("entering the new root"))?;

    for piece in &pieces {
        place(piece)?;
    }
    set_mount_flags(&root, false, libc::MOUNT_ATTR_RDONLY)
        .map_err(step("making the in-memory root read-only"))?;
    Ok(proc_fds)
}

/// Gets hold of an entry's source while it can still be named.
fn take(entry: &TreeEntry) -> Result<Piece<'_>, TreeError> {
    check_target(entry)?;
    let failed = |source| TreeError::Source {
        path: entry.source.clone(),
        source,
    };
    let meta = fs::symlink_metadata(&entry.source).map_err(|e| failed(errno_of(&e)))?;
    if meta.is_symlink() && entry.keep_symlink {
        let to = fs::read_link(&entry.source).map_err(|e| failed(errno_of(&e)))?;
        return Ok(Piece::Link { entry, to });
    }
    let path =
        CString::new(entry.source.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
    let tree = open_tree(&path).map_err(failed)?;
    let read_only = if entry.writable {
        0
    } else {
        libc::MOUNT_ATTR_RDONLY
    };
    let flags = read_only | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    set_mount_flags(&tree, true, flags).map_err(failed)?;
    let is_dir = fs::metadata(&entry.source)
        .map_err(|e| failed(errno_of(&e)))?
        .is_dir();
    Ok(Piece::Mount {
        entry,
        tree,
        is_dir,
    })
}

/// Puts a piece into the new root, which is the process's root by now.
fn place(piece: &Piece<'_>) -> Result<(), TreeError> {
    let (Piece::Mount { entry, .. } | Piece::Link { entry, .. }) = piece;
    let failed = |reason: String| TreeError::Place {
        host: entry.source.clone(),
        target: entry.target.clone(),
        reason,
    };
    if let Some(parent) = entry.target.parent() {
        make_dirs(parent).map_err(|e| failed(e.to_string()))?;
    }
    match piece {
        Piece::Link { to, .. } => {
            std::os::unix::fs::symlink(to, &entry.target).map_err(|e| failed(e.to_string()))
        }
        Piece::Mount { tree, is_dir, .. } => {
            let made = if *is_dir {
                make_dirs(&entry.target)
            } else {
                make_file(&entry.target)
            };
            made.map_err(|e| failed(e.to_string()))?;
            let target = CString::new(entry.target.as_os_str().as_bytes())
                .map_err(|_| failed("it holds NUL".to_owned()))?;
            move_mount(tree, &target).map_err(|e| failed(e.desc().to_owned()))
        }
    }
}

fn make_dirs(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
}

fn make_file(path: &Path) -> std::io::Result<()> {
    if path.is_file() {
        return Ok(());
    }
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(path)
        .map(|_| ())
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// # Safety
/// `result` is a descriptor that a system call has just returned to this caller alone.
unsafe fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the caller's duty.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A detached copy of the mounts at `path` and below it.
fn open_tree(path: &CStr) -> Result<OwnedFd, Errno> {
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_RECURSIVE;
    // SAFETY: `path` is NUL-terminated; the call returns a new descriptor.
    unsafe {
        owned(libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
        ))
    }
}

/// Sets flags on a mount, with `recursive` on those below it too.
fn set_mount_flags(tree: &OwnedFd, recursive: bool, flags: u64) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: flags,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let at = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated constant, `attr` is a mount_attr of the length given.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            at,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(ret).map(|_| ())
}

/// Attaches a detached mount at `target`.
fn move_mount(tree: &OwnedFd, target: &CStr) -> Result<(), Errno> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    // SAFETY: both paths are NUL-terminated.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(ret).map(|_| ())
}

/// A detached tmpfs, small: it holds directories, mount points and links.
fn empty_root() -> Result<OwnedFd, Errno> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    // SAFETY: the name is a NUL-terminated constant; the call returns a new descriptor.
    let context = unsafe {
        owned(libc::syscall(
            libc::SYS_fsopen,
            c"tmpfs".as_ptr(),
            FSOPEN_CLOEXEC,
        ))
    }?;
    let null = std::ptr::null::<libc::c_char>();
    let config = |command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char| {
        // SAFETY: `key` and `value` are NUL-terminated constants or null where the command takes none.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                command,
                key,
                value,
                0,
            )
        };
        Errno::result(ret)
    };
    for (key, value) in [(c"mode", c"755"), (c"size", c"4m")] {
        config(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?;
    }
    config(FSCONFIG_CMD_CREATE, null, null)?;
    let flags = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    // SAFETY: takes no pointers; the call returns a new descriptor.
    let mount = unsafe {
        owned(libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            flags,
        ))
    }?;
    Ok(mount)
}
