//! Files about tasks and the sandbox: /proc (proc(5)).
//!
//! [`superblock`] makes the file system; [`root`] holds the top directory, `pid/` what each process shows (a file of ours per
//! /proc file or group of like ones), `system` the machine-wide files, `sys` the sysctls, `net` the network tables. Everything shown is the sandbox's; nothing is the host's.

mod net;
mod pid;
mod root;
mod sys;
mod system;
mod sysvipc;

pub use pid::{mount_part, process_of};
pub use sys::fixed as sysctl;
pub use system::{filesystem_names, prepare};

use crate::abi::{Errno, Result};
use crate::auth::UserNamespace;
use crate::fs::pseudo::FsId;
use crate::kernel::{Kernel, PidNamespace, task_of};
use crate::time::Offsets;
use crate::vfs::{Caller, SuperBlock};
use std::sync::{Arc, Weak};

/// What the clocks of who reads are shifted by.
fn offsets(cx: &dyn Caller) -> Offsets {
    task_of(cx).map_or_else(Offsets::default, |t| t.time_offsets())
}

/// What every procfs object knows.
#[derive(Clone)]
struct Proc {
    kernel: Weak<Kernel>,
    fs: FsId,
    /// Whose processes it shows.
    ns: Arc<PidNamespace>,
}

impl Proc {
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or(Errno::ESRCH)
    }
}

/// The procfs of this sandbox.
pub fn superblock(kernel: &Arc<Kernel>) -> Arc<SuperBlock> {
    superblock_of(
        kernel,
        &kernel.namespaces.pid_for_children,
        UserNamespace::initial(),
    )
}

/// A procfs that shows a PID namespace, mounted by somebody of a user namespace.
pub fn superblock_of(
    kernel: &Arc<Kernel>,
    ns: &Arc<PidNamespace>,
    user_ns: &Arc<UserNamespace>,
) -> Arc<SuperBlock> {
    // st_dev of a kernel-made file system: major 0.
    let fs = FsId {
        dev: 0x15,
        magic: 0x9fa0,
    };
    let proc = Proc {
        kernel: Arc::downgrade(kernel),
        fs,
        ns: ns.clone(),
    };
    SuperBlock::owned_by(user_ns, root::make(&proc), "proc", "rw")
}
