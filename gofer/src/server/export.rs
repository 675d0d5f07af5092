//! What is served, and on which terms.

use crate::host::{attr, kernel_fs::kernel_fs};
use crate::protocol::{Attr, FileType};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The terms of an [`Export`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    /// The client may change what is in it. Otherwise every such operation is `EROFS`.
    pub writable: bool,
    /// Serve only what "other" may read on the host: files with o+r, directories with o+x (to pass)
    /// and o+r (to list). A stranger's program then reads no private key, even when the gofer runs
    /// as root. Not together with `writable`.
    pub world_readable_only: bool,
    /// Report the overflow ids (65534: owners that the user namespace does not map) as root.
    pub overflow_to_root: bool,
    /// Go on into mounts that lie below the root; otherwise they are `EXDEV`.
    pub cross_mounts: bool,
    /// Let the client set the set-user-ID and set-group-ID bits of host files. Otherwise they are
    /// dropped silently, so that it cannot leave a way to its own rights on the host.
    pub keep_setid: bool,
}

impl ExportOptions {
    /// Read-only, everything the gofer itself may read, mounts included.
    pub fn read_only() -> Self {
        Self {
            writable: false,
            world_readable_only: false,
            overflow_to_root: false,
            cross_mounts: true,
            keep_setid: false,
        }
    }

    /// As [`ExportOptions::read_only`], but writable.
    pub fn read_write() -> Self {
        Self {
            writable: true,
            ..Self::read_only()
        }
    }
}

/// Why something cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The path cannot be opened.
    #[error("cannot serve {path}: {source}", path = path.display(), source = source.desc())]
    Open {
        /// The path.
        path: PathBuf,
        /// What the host said.
        source: Errno,
    },
    /// Neither directory nor regular file.
    #[error("cannot serve {path}: only directories and regular files can be served", path = .0.display())]
    Type(PathBuf),
    /// It lies on `/proc`, `/sys` or the like.
    #[error("cannot serve {path}: {kind} shows the host's kernel and is never served", path = path.display())]
    KernelFs {
        /// The path.
        path: PathBuf,
        /// Type of the file system.
        kind: &'static str,
    },
    /// `world_readable_only` on a writable export.
    #[error("cannot serve {path}: world-readable-only and writable exclude each other", path = .0.display())]
    Options(PathBuf),
}

/// A directory tree or a single regular file that is served.
#[derive(Debug)]
pub struct Export {
    root: OwnedFd,
    file_type: FileType,
    options: ExportOptions,
}

impl Export {
    /// Exports what is at `path` now. The last component may be a symbolic link, which is
    /// followed: the path is the operator's word, not the client's.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn open(path: &Path, options: ExportOptions) -> Result<Self, ExportError> {
        let root =
            open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|source| {
                ExportError::Open {
                    path: path.to_owned(),
                    source,
                }
            })?;
        Self::from_fd(root, path, options)
    }

    /// Exports what `root` names; `path` is only for error messages.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub fn from_fd(
        root: OwnedFd,
        path: &Path,
        options: ExportOptions,
    ) -> Result<Self, ExportError> {
        let path = || path.to_owned();
        if options.writable && options.world_readable_only {
            return Err(ExportError::Options(path()));
        }
        let failed = |source| ExportError::Open {
            path: path(),
            source,
        };
        if let Some(kind) = kernel_fs(root.as_fd()).map_err(failed)? {
            return Err(ExportError::KernelFs { path: path(), kind });
        }
        let file_type = attr::stat(root.as_fd()).map_err(failed)?.file_type();
        if !matches!(file_type, FileType::Directory | FileType::Regular) {
            return Err(ExportError::Type(path()));
        }
        Ok(Self {
            root,
            file_type,
            options,
        })
    }

    /// The root's descriptor.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Directory or regular file.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The terms.
    pub fn options(&self) -> ExportOptions {
        self.options
    }

    /// Owners as this export reports them.
    pub(super) fn present(&self, mut attr: Attr) -> Attr {
        const OVERFLOW: u32 = 65534;
        if self.options.overflow_to_root {
            for id in [&mut attr.uid, &mut attr.gid] {
                if *id == OVERFLOW {
                    *id = 0;
                }
            }
        }
        attr
    }

    /// # Errors
    /// `EROFS` unless writable.
    pub(super) fn check_writable(&self) -> Result<(), Errno> {
        if self.options.writable {
            Ok(())
        } else {
            Err(Errno::EROFS)
        }
    }

    /// # Errors
    /// `EACCES` if strangers may not use the file in the way of `bits` (04 read, 01 search).
    pub(super) fn check_other(&self, attr: &Attr, bits: u32) -> Result<(), Errno> {
        if self.options.world_readable_only && attr.mode & bits != bits {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// Permission bits that the client may set on a file of this type. On a directory the
    /// set-group-ID bit only passes on the group.
    pub(super) fn allowed_mode(&self, file_type: FileType, mode: u32) -> u32 {
        if self.options.keep_setid || file_type == FileType::Directory {
            mode
        } else {
            mode & !(libc::S_ISUID | libc::S_ISGID)
        }
    }
}
