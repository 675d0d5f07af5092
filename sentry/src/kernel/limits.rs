//! Resource limits (getrlimit(2)).

use crate::auth::{Caps, Credentials};
use crate::mm::MmLimits;

/// RLIM_INFINITY.
pub const INFINITY: u64 = u64::MAX;

/// Soft and hard limit per RLIMIT_* resource.
#[derive(Clone, Copy, Debug)]
pub struct Limits(pub [(u64, u64); 16]);

impl Default for Limits {
    /// What a shell on Debian has.
    fn default() -> Limits {
        let mut l = [(INFINITY, INFINITY); 16];
        let mut set = |which: u32, soft, hard| {
            if let Some(slot) = l.get_mut(which as usize) {
                *slot = (soft, hard);
            }
        };
        set(libc::RLIMIT_STACK, 8 << 20, INFINITY);
        set(libc::RLIMIT_CORE, 0, INFINITY);
        set(libc::RLIMIT_NPROC, 16384, 16384);
        set(libc::RLIMIT_NOFILE, 1024, 1 << 20);
        set(libc::RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
        set(libc::RLIMIT_SIGPENDING, 16384, 16384);
        set(libc::RLIMIT_MSGQUEUE, 819_200, 819_200);
        set(libc::RLIMIT_NICE, 0, 0);
        set(libc::RLIMIT_RTPRIO, 0, 0);
        Limits(l)
    }
}

impl Limits {
    /// Soft limit of a resource.
    pub fn soft(&self, resource: u32) -> u64 {
        self.0.get(resource as usize).map_or(INFINITY, |l| l.0)
    }
    /// Those on memory, for a process with this identity.
    pub fn memory(&self, creds: &Credentials) -> MmLimits {
        MmLimits {
            address_space: self.soft(libc::RLIMIT_AS),
            data: self.soft(libc::RLIMIT_DATA),
            stack: self.soft(libc::RLIMIT_STACK),
            memlock: self.soft(libc::RLIMIT_MEMLOCK),
            ipc_lock: creds.has(Caps::IPC_LOCK),
        }
    }
}
