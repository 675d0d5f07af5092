//! System V IPC (svipc(7)) and POSIX message queues (mq_overview(7)).

mod mq;
mod msg;
mod sem;
mod shm;
mod words;

use super::ArgKind::{Fd, Hex, InBuf, Int, Mode, OpenFlags, OutBuf, Path, Ptr, Timespec, Uint};
use super::{Cx, Syscall};
use crate::kernel::ipc::IpcNamespace;
use crate::kernel::namespaces::Ipc;
use std::sync::Arc;

/// This family's calls.
pub static TABLE: &[Syscall] = &[
    Syscall::new(libc::SYS_shmget, "shmget", shm::shmget, &[Hex, Uint, Hex]),
    Syscall::new(libc::SYS_shmat, "shmat", shm::shmat, &[Int, Ptr, Hex]),
    Syscall::new(libc::SYS_shmdt, "shmdt", shm::shmdt, &[Ptr]),
    Syscall::new(libc::SYS_shmctl, "shmctl", shm::shmctl, &[Int, Int, Ptr]),
    Syscall::new(libc::SYS_semget, "semget", sem::semget, &[Hex, Int, Hex]),
    Syscall::new(libc::SYS_semop, "semop", sem::semop, &[Int, Ptr, Uint]),
    Syscall::new(
        libc::SYS_semtimedop,
        "semtimedop",
        sem::semtimedop,
        &[Int, Ptr, Uint, Timespec],
    ),
    Syscall::new(
        libc::SYS_semctl,
        "semctl",
        sem::semctl,
        &[Int, Int, Int, Hex],
    ),
    Syscall::new(libc::SYS_msgget, "msgget", msg::msgget, &[Hex, Hex]),
    Syscall::new(
        libc::SYS_msgsnd,
        "msgsnd",
        msg::msgsnd,
        &[Int, Ptr, Uint, Hex],
    ),
    Syscall::new(
        libc::SYS_msgrcv,
        "msgrcv",
        msg::msgrcv,
        &[Int, Ptr, Uint, Int, Hex],
    ),
    Syscall::new(libc::SYS_msgctl, "msgctl", msg::msgctl, &[Int, Int, Ptr]),
    Syscall::new(
        libc::SYS_mq_open,
        "mq_open",
        mq::mq_open,
        &[Path, OpenFlags, Mode, Ptr],
    ),
    Syscall::new(libc::SYS_mq_unlink, "mq_unlink", mq::mq_unlink, &[Path]),
    Syscall::new(
        libc::SYS_mq_timedsend,
        "mq_timedsend",
        mq::mq_timedsend,
        &[Fd, InBuf(2), Uint, Uint, Timespec],
    ),
    Syscall::new(
        libc::SYS_mq_timedreceive,
        "mq_timedreceive",
        mq::mq_timedreceive,
        &[Fd, OutBuf, Uint, Ptr, Timespec],
    ),
    Syscall::new(libc::SYS_mq_notify, "mq_notify", mq::mq_notify, &[Fd, Ptr]),
    Syscall::new(
        libc::SYS_mq_getsetattr,
        "mq_getsetattr",
        mq::mq_getsetattr,
        &[Fd, Ptr, Ptr],
    ),
];

/// IPC_RMID and the other commands that all kinds have.
const IPC_RMID: i32 = 0;
const IPC_SET: i32 = 1;
const IPC_STAT: i32 = 2;
const IPC_INFO: i32 = 3;

/// The caller's IPC namespace.
fn namespace(cx: &Cx<'_>) -> Objects {
    Objects(cx.task.namespaces().ipc.clone())
}

struct Objects(Arc<Ipc>);

impl std::ops::Deref for Objects {
    type Target = IpcNamespace;
    fn deref(&self) -> &IpcNamespace {
        &self.0.objects
    }
}
