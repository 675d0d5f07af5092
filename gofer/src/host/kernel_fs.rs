//! File systems through which the host's kernel shows or steers itself. They are never served,
//! even when a mount of one lies inside an export: their files are not data, and `/proc`
//! is full of other processes.

use crate::host::{HostResult, attr};
use std::os::fd::BorrowedFd;

/// Magic numbers from `linux/magic.h` and the file systems' sources.
const KERNEL_FS: &[(u64, &str)] = &[
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x1cd1, "devpts"),
    (0xcafe_4a11, "bpf"),
    (0xde5e_81e4, "efivarfs"),
    (0x6165_676c, "pstore"),
    (0x1980_0202, "mqueue"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6265_6570, "configfs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x4341_5d53, "smackfs"),
    (0x5a3c_69f0, "apparmorfs"),
    (0x6e73_6673, "nsfs"),
    (0x6573_5543, "fusectl"),
    (0x6759_6969, "rpc_pipefs"),
    (0x7275_6e63, "resctrl"),
    (0xabba_1974, "xenfs"),
    (0x5049_4446, "pidfs"),
    (0x6462_6d6d, "dmabuf"),
];

/// Name of the kernel file system that holds `node`, or none if it is an ordinary one.
///
/// # Errors
/// What `fstatfs(2)` reports.
pub fn kernel_fs(node: BorrowedFd<'_>) -> HostResult<Option<&'static str>> {
    let magic = attr::statfs(node)?.kind;
    Ok(KERNEL_FS
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, name)| *name))
}
