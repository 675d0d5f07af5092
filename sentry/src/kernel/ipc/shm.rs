//! Shared memory segments (shmget(2), shmop(2), shmctl(2)).

use super::{IpcNamespace, Object, now};
use crate::abi::{Errno, Result};
use crate::mm::{SharedAnon, page_ceil};
use crate::sync::{Knob, Quota};
use std::sync::{Arc, Weak};

/// Most segments.
pub const SHMMNI: usize = 4096;
/// Longest segment in bytes, as Linux reports it.
pub const SHMMAX: u64 = u64::MAX - (1 << 24);
/// `kernel.shmmax`, in bytes.
pub static MAX_SIZE: Knob = Knob::new(0, SHMMAX);
/// `kernel.shmmni`.
pub static MAX_SEGMENTS: Knob = Knob::new(0, SHMMNI as u64);
/// Segments of all namespaces.
pub(super) static SEGMENTS: Quota = Quota::new(SHMMNI);
/// Most bytes in all segments together (storage is taken as it is touched).
const TOTAL_MAX: u64 = 1 << 40;
/// SHM_DEST: removed, but still attached.
pub const SHM_DEST: u32 = 0o1000;
/// SHM_LOCKED.
pub const SHM_LOCKED: u32 = 0o2000;

/// One segment.
pub struct Segment {
    /// The memory; `None` once IPC_RMID left it to those who have it attached.
    owned: Option<Arc<SharedAnon>>,
    mem: Weak<SharedAnon>,
    /// Size in bytes as asked for.
    pub size: u64,
    /// Last attach, in seconds since the epoch.
    pub atime: i64,
    /// Last detach.
    pub dtime: i64,
    /// Creation or change.
    pub ctime: i64,
    /// Creator.
    pub cpid: i32,
    /// Who attached or detached last.
    pub lpid: i32,
}

impl Segment {
    /// The memory, if it still exists.
    pub fn memory(&self) -> Option<Arc<SharedAnon>> {
        self.mem.upgrade()
    }
    /// How many times it is attached: each mapping holds a reference.
    pub fn attached(&self) -> u64 {
        let own = usize::from(self.owned.is_some());
        self.mem.strong_count().saturating_sub(own) as u64
    }
    /// Bytes that have storage.
    pub fn allocated(&self) -> u64 {
        self.memory().map_or(0, |m| m.allocated())
    }
}

impl IpcNamespace {
    /// shmget(2).
    ///
    /// # Errors
    /// EINVAL for a bad size; ENOSPC; ENFILE; those of [`super::Table::get`].
    pub fn shmget(
        &self,
        creds: &crate::auth::Credentials,
        pid: i32,
        key: i32,
        size: u64,
        flags: i32,
    ) -> Result<i32> {
        self.reap_segments();
        let used: u64 = self
            .shm
            .all()
            .iter()
            .map(|s| s.state.lock().data.size)
            .sum();
        self.shm.get(
            creds,
            key,
            flags,
            |s| {
                if size > s.size {
                    Err(Errno::EINVAL)
                } else {
                    Ok(())
                }
            },
            || {
                let len = page_ceil(size)
                    .filter(|l| *l > 0 && size <= MAX_SIZE.get())
                    .ok_or(Errno::EINVAL)?;
                if used.saturating_add(len) > TOTAL_MAX {
                    return Err(Errno::ENOSPC);
                }
                let name = format!("/SYSV{:08x} (deleted)", key.cast_unsigned());
                let mem = SharedAnon::segment(len, name.as_bytes())?;
                Ok(Segment {
                    mem: Arc::downgrade(&mem),
                    owned: Some(mem),
                    size,
                    atime: 0,
                    dtime: 0,
                    ctime: now(),
                    cpid: pid,
                    lpid: 0,
                })
            },
        )
    }

    /// IPC_RMID: the segment goes when nobody has it attached any more.
    pub fn shm_remove(&self, object: &Arc<Object<Segment>>) {
        self.shm.forget_key(object);
        let owned = {
            let mut s = object.state.lock();
            s.perm.key = super::IPC_PRIVATE;
            s.perm.mode |= SHM_DEST;
            s.data.owned.take()
        };
        drop(owned);
        self.reap_segments();
    }

    /// Forgets removed segments that nobody has attached any more.
    pub fn reap_segments(&self) {
        for o in self.shm.all() {
            let gone = {
                let s = o.state.lock();
                s.data.owned.is_none() && s.data.mem.strong_count() == 0
            };
            if gone {
                self.shm.remove(&o);
            }
        }
    }
}
