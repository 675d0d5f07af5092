//! A network namespace: names, ports and interfaces that sockets share.

use super::unix::UnixTable;

/// What `CLONE_NEWNET` would make another of. A sandbox has one.
#[derive(Default)]
pub struct NetNamespace {
    /// Abstract AF_UNIX names.
    pub unix: UnixTable,
}
