//! Calls on paths: open, stat, link, rename, chmod, mount, xattrs.

mod at;
mod attr;
mod fs_context;
mod handle;
mod inotify;
mod mount;
mod mount_api;
mod mount_query;
mod names;
mod open;
mod place;
mod stat;
mod xattr;

pub(super) use stat::asked;

use super::{ArgKind, Handler, Syscall, strace};
use ArgKind::{DirFd, Fd, Hex, Int, Mode, OpenFlags, OutBuf, Path, Ptr, Str, Uint};

const fn call(
    number: i64,
    name: &'static str,
    handler: Handler,
    args: &'static [ArgKind],
) -> Syscall {
    Syscall::new(number, name, handler, args)
}

/// This family's calls.
#[rustfmt::skip]
pub static TABLE: &[Syscall] = &[
    call(libc::SYS_open, "open", open::open, &[Path, OpenFlags, Mode]),
    call(libc::SYS_creat, "creat", open::creat, &[Path, Mode]),
    call(libc::SYS_openat, "openat", open::openat, &[DirFd, Path, OpenFlags, Mode]),
    call(libc::SYS_openat2, "openat2", open::openat2, &[DirFd, Path, Ptr, Uint]),
    call(libc::SYS_stat, "stat", stat::stat, &[Path, Ptr]),
    call(libc::SYS_lstat, "lstat", stat::lstat, &[Path, Ptr]),
    call(libc::SYS_fstat, "fstat", stat::fstat, &[Fd, Ptr]),
    call(libc::SYS_newfstatat, "newfstatat", stat::newfstatat, &[DirFd, Path, Ptr, strace::AT]),
    call(libc::SYS_statx, "statx", stat::statx, &[DirFd, Path, strace::AT, Hex, Ptr]),
    call(libc::SYS_statfs, "statfs", stat::statfs, &[Path, Ptr]),
    call(libc::SYS_fstatfs, "fstatfs", stat::fstatfs, &[Fd, Ptr]),
    call(libc::SYS_access, "access", stat::access, &[Path, strace::ACCESS]),
    call(libc::SYS_faccessat, "faccessat", stat::faccessat, &[DirFd, Path, strace::ACCESS]),
    call(libc::SYS_faccessat2, "faccessat2", stat::faccessat2, &[DirFd, Path, strace::ACCESS, strace::AT_ACCESS]),
    call(libc::SYS_readlink, "readlink", stat::readlink, &[Path, OutBuf, Uint]),
    call(libc::SYS_readlinkat, "readlinkat", stat::readlinkat, &[DirFd, Path, OutBuf, Uint]),
    call(libc::SYS_mkdir, "mkdir", names::mkdir, &[Path, Mode]),
    call(libc::SYS_mkdirat, "mkdirat", names::mkdirat, &[DirFd, Path, Mode]),
    call(libc::SYS_mknod, "mknod", names::mknod, &[Path, Mode, Hex]),
    call(libc::SYS_mknodat, "mknodat", names::mknodat, &[DirFd, Path, Mode, Hex]),
    call(libc::SYS_link, "link", names::link, &[Path, Path]),
    call(libc::SYS_linkat, "linkat", names::linkat, &[DirFd, Path, DirFd, Path, strace::AT]),
    call(libc::SYS_symlink, "symlink", names::symlink, &[Str, Path]),
    call(libc::SYS_symlinkat, "symlinkat", names::symlinkat, &[Str, DirFd, Path]),
    call(libc::SYS_unlink, "unlink", names::unlink, &[Path]),
    call(libc::SYS_unlinkat, "unlinkat", names::unlinkat, &[DirFd, Path, strace::UNLINK]),
    call(libc::SYS_rmdir, "rmdir", names::rmdir, &[Path]),
    call(libc::SYS_rename, "rename", names::rename, &[Path, Path]),
    call(libc::SYS_renameat, "renameat", names::renameat, &[DirFd, Path, DirFd, Path]),
    call(libc::SYS_renameat2, "renameat2", names::renameat2, &[DirFd, Path, DirFd, Path, Hex]),
    call(libc::SYS_chmod, "chmod", attr::chmod, &[Path, Mode]),
    call(libc::SYS_fchmod, "fchmod", attr::fchmod, &[Fd, Mode]),
    call(libc::SYS_fchmodat, "fchmodat", attr::fchmodat, &[DirFd, Path, Mode]),
    call(libc::SYS_fchmodat2, "fchmodat2", attr::fchmodat2, &[DirFd, Path, Mode, Hex]),
    call(libc::SYS_chown, "chown", attr::chown, &[Path, Int, Int]),
    call(libc::SYS_lchown, "lchown", attr::lchown, &[Path, Int, Int]),
    call(libc::SYS_fchown, "fchown", attr::fchown, &[Fd, Int, Int]),
    call(libc::SYS_fchownat, "fchownat", attr::fchownat, &[DirFd, Path, Int, Int, strace::AT]),
    call(libc::SYS_truncate, "truncate", attr::truncate, &[Path, Int]),
    call(libc::SYS_utime, "utime", attr::utime, &[Path, Ptr]),
    call(libc::SYS_utimes, "utimes", attr::utimes, &[Path, Ptr]),
    call(libc::SYS_futimesat, "futimesat", attr::futimesat, &[DirFd, Path, Ptr]),
    call(libc::SYS_utimensat, "utimensat", attr::utimensat, &[DirFd, Path, Ptr, strace::AT]),
    call(libc::SYS_chdir, "chdir", place::chdir, &[Path]),
    call(libc::SYS_fchdir, "fchdir", place::fchdir, &[Fd]),
    call(libc::SYS_chroot, "chroot", place::chroot, &[Path]),
    call(libc::SYS_getcwd, "getcwd", place::getcwd, &[Ptr, Uint]),
    call(libc::SYS_umask, "umask", place::umask, &[Mode]),
    call(libc::SYS_setxattr, "setxattr", xattr::setxattr, &[Path, Str, Ptr, Uint, Hex]),
    call(libc::SYS_lsetxattr, "lsetxattr", xattr::lsetxattr, &[Path, Str, Ptr, Uint, Hex]),
    call(libc::SYS_fsetxattr, "fsetxattr", xattr::fsetxattr, &[Fd, Str, Ptr, Uint, Hex]),
    call(libc::SYS_getxattr, "getxattr", xattr::getxattr, &[Path, Str, OutBuf, Uint]),
    call(libc::SYS_lgetxattr, "lgetxattr", xattr::lgetxattr, &[Path, Str, OutBuf, Uint]),
    call(libc::SYS_fgetxattr, "fgetxattr", xattr::fgetxattr, &[Fd, Str, OutBuf, Uint]),
    call(libc::SYS_listxattr, "listxattr", xattr::listxattr, &[Path, OutBuf, Uint]),
    call(libc::SYS_llistxattr, "llistxattr", xattr::llistxattr, &[Path, OutBuf, Uint]),
    call(libc::SYS_flistxattr, "flistxattr", xattr::flistxattr, &[Fd, OutBuf, Uint]),
    call(libc::SYS_removexattr, "removexattr", xattr::removexattr, &[Path, Str]),
    call(libc::SYS_lremovexattr, "lremovexattr", xattr::lremovexattr, &[Path, Str]),
    call(libc::SYS_fremovexattr, "fremovexattr", xattr::fremovexattr, &[Fd, Str]),
    call(libc::SYS_mount, "mount", mount::mount, &[Str, Path, Str, Hex, Ptr])
        .partial("tmpfs, proc, sysfs, devpts, mqueue, cgroup2, bind, move, remount, propagation"),
    call(libc::SYS_umount2, "umount2", mount::umount2, &[Path, Hex]),
    call(libc::SYS_pivot_root, "pivot_root", mount::pivot_root, &[Path, Path]),
    call(libc::SYS_open_tree, "open_tree", mount_api::open_tree, &[DirFd, Path, Hex]),
    call(libc::SYS_move_mount, "move_mount", mount_api::move_mount, &[DirFd, Path, DirFd, Path, Hex]),
    call(libc::SYS_mount_setattr, "mount_setattr", mount_api::mount_setattr, &[DirFd, Path, Hex, Ptr, Uint])
        .partial("no mapping of ids"),
    call(libc::SYS_fsopen, "fsopen", fs_context::fsopen, &[Str, Hex])
        .partial("tmpfs, proc, sysfs, devpts, mqueue, cgroup2"),
    call(libc::SYS_fsconfig, "fsconfig", fs_context::fsconfig, &[Fd, Int, Str, Str, Int]),
    call(libc::SYS_fsmount, "fsmount", fs_context::fsmount, &[Fd, Hex, Hex]),
    call(libc::SYS_fspick, "fspick", fs_context::fspick, &[DirFd, Path, Hex]),
    call(457, "statmount", mount_query::statmount, &[Ptr, Ptr, Uint, Hex])
        .partial("neither options one by one nor maps of ids; of the caller's namespace"),
    call(458, "listmount", mount_query::listmount, &[Ptr, Ptr, Uint, Hex])
        .partial("of the caller's namespace"),
    call(libc::SYS_inotify_init, "inotify_init", inotify::inotify_init, &[]),
    call(libc::SYS_inotify_init1, "inotify_init1", inotify::inotify_init1, &[OpenFlags]),
    call(libc::SYS_inotify_add_watch, "inotify_add_watch", inotify::inotify_add_watch, &[Fd, Path, Hex]),
    call(libc::SYS_inotify_rm_watch, "inotify_rm_watch", inotify::inotify_rm_watch, &[Fd, Int]),
    call(libc::SYS_name_to_handle_at, "name_to_handle_at", handle::name_to_handle_at, &[DirFd, Path, Ptr, Ptr, Hex])
        .partial("no connectable handles"),
    call(libc::SYS_open_by_handle_at, "open_by_handle_at", handle::open_by_handle_at, &[Fd, Ptr, OpenFlags])
        .partial("finds what handles were asked of"),
];
