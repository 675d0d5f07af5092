//! Who asks: what a file system or file may know of the calling task.

use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::time::Instant;
use crate::usermem::GuestMemory;
use std::any::Any;
use std::sync::{Arc, LazyLock};

/// The calling task as files see it. The kernel implements it for tasks; [`KernelCaller`] stands for the sentry itself.
pub trait Caller {
    /// Identity for permission checks and ownership of new files.
    fn credentials(&self) -> &Arc<Credentials>;
    /// The caller's memory, for ioctl arguments.
    fn memory(&self) -> &dyn GuestMemory;
    /// Thread-group id, as the initial PID namespace has it; so are all process ids here.
    fn tgid(&self) -> i32;
    /// When the process began, which tells it from a later one of its number; of the sandbox's clock.
    fn born(&self) -> u64 {
        0
    }
    /// Process-group id.
    fn pgid(&self) -> i32;
    /// Session id.
    fn sid(&self) -> i32;
    /// What a process or group is called in the caller's PID namespace; 0 if it is not seen there.
    fn pid_seen(&self, pid: i32) -> i32 {
        pid
    }
    /// What a number means in the caller's PID namespace.
    fn pid_named(&self, number: i32) -> Option<i32> {
        Some(number)
    }
    /// File-mode creation mask.
    fn umask(&self) -> u32;
    /// RLIMIT_FSIZE soft limit in bytes.
    fn file_size_limit(&self) -> u64;
    /// RLIMIT_NOFILE soft limit.
    fn open_files_limit(&self) -> u64 {
        u64::MAX
    }
    /// The controlling terminal of the process (`signal_struct.tty`), an object of `fs::tty`.
    fn controlling_terminal(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
    /// Gives the process a controlling terminal, or takes it away.
    fn set_controlling_terminal(&self, _tty: Option<Arc<dyn Any + Send + Sync>>) {}
    /// Whether the calling task blocks or its process ignores `signal`.
    fn ignores_signal(&self, _signal: i32) -> bool {
        false
    }
    /// When the current call first had to wait; `None` in its first run.
    fn waiting_since(&self) -> Option<Instant> {
        None
    }
    /// A signal was sent that stops or ends the current call: whatever error it returns now, treat it as ERESTARTSYS.
    fn restart_after_signal(&self) {}
    /// The calling task (`Arc<kernel::Task>`), for objects that need more of the kernel.
    fn task(&self) -> Option<&dyn Any> {
        None
    }
}

/// The sentry acting for itself: root, no guest memory.
pub struct KernelCaller;

/// Memory of a caller that has none: every address faults.
pub struct NoMemory;
impl GuestMemory for NoMemory {
    fn read_partial(&self, _: u64, _: &mut [u8]) -> usize {
        0
    }
    fn write_partial(&self, _: u64, _: &[u8]) -> usize {
        0
    }
}

impl Caller for KernelCaller {
    fn credentials(&self) -> &Arc<Credentials> {
        static ROOT: LazyLock<Arc<Credentials>> = LazyLock::new(|| Arc::new(Credentials::root()));
        &ROOT
    }
    fn memory(&self) -> &dyn GuestMemory {
        &NoMemory
    }
    fn tgid(&self) -> i32 {
        0
    }
    fn pgid(&self) -> i32 {
        0
    }
    fn sid(&self) -> i32 {
        0
    }
    fn umask(&self) -> u32 {
        0
    }
    fn file_size_limit(&self) -> u64 {
        u64::MAX
    }
}

/// EPERM unless the caller has all of `caps`.
pub fn require(cx: &dyn Caller, caps: crate::auth::Caps) -> Result<()> {
    if cx.credentials().has(caps) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}
