//! System V IPC (svipc(7)) and POSIX message queues (mq_overview(7)).

mod msg;
mod sem;
mod shm;
mod words;

use super::ArgKind::{Hex, Int, Ptr, Timespec, Uint};
use super::{Cx, Syscall};
use crate::kernel::ipc::IpcNamespace;
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
];

/// IPC_RMID and the other commands that all kinds have.
const IPC_RMID: i32 = 0;
const IPC_SET: i32 = 1;
const IPC_STAT: i32 = 2;
const IPC_INFO: i32 = 3;

fn namespace(cx: &Cx<'_>) -> Arc<IpcNamespace> {
    cx.kernel().extensions.extension()
}
