//! What prctl(2) sets of an address space: PR_SET_MDWE, PR_SET_MEMORY_MERGE, PR_SET_THP_DISABLE.

use super::MemoryManager;
use super::vma::{VmFlags, Vma};
use crate::abi::Errno;
use cofferdam_platform::Prot;
use std::sync::atomic::{AtomicU8, Ordering};

bitflags::bitflags! {
    /// Settings; fork and execve hand them on.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Settings: u8 {
        /// PR_MDWE_REFUSE_EXEC_GAIN.
        const REFUSE_EXEC_GAIN = 1;
        /// PR_MDWE_NO_INHERIT: none of the two is handed on.
        const NO_INHERIT = 2;
        /// PR_SET_MEMORY_MERGE; pages are never merged.
        const MERGE = 4;
        /// PR_SET_THP_DISABLE; huge pages are never given.
        const NO_HUGE_PAGES = 8;
        /// What PR_SET_MDWE sets.
        const MDWE = 3;
    }
}

/// The settings of one address space.
#[derive(Default)]
pub(super) struct Kept(AtomicU8);

impl MemoryManager {
    /// Settings now.
    pub fn settings(&self) -> Settings {
        Settings::from_bits_truncate(self.settings.0.load(Ordering::Relaxed))
    }

    /// Sets `set` out of `mask`.
    pub fn change_settings(&self, mask: Settings, set: Settings) {
        // The caller is one of few who could do both at once, and its next call sees its own.
        let new = (self.settings() - mask) | (set & mask);
        self.settings.0.store(new.bits(), Ordering::Relaxed);
    }

    /// What a child or the next program inherits (`mmf_init_flags`).
    pub fn inherited_settings(&self) -> Settings {
        let s = self.settings();
        if s.contains(Settings::NO_INHERIT) {
            s - Settings::MDWE
        } else {
            s
        }
    }

    /// With these settings from the start.
    pub fn with_settings(self, settings: Settings) -> MemoryManager {
        self.change_settings(Settings::all(), settings);
        self
    }

    /// EACCES for a protection that PR_SET_MDWE forbids: writable and executable, or executable when it was not (`map_deny_write_exec`).
    pub(super) fn deny_write_exec(
        &self,
        old: Option<&Vma>,
        new: Prot,
    ) -> std::result::Result<(), Errno> {
        if !self.settings().contains(Settings::REFUSE_EXEC_GAIN) || !new.contains(Prot::EXEC) {
            return Ok(());
        }
        if new.contains(Prot::WRITE) || old.is_some_and(|v| !v.prot.contains(Prot::EXEC)) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }
}

/// The NUMA policy of a mapping (mbind(2)) among its flags: the mode, and MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES.
impl VmFlags {
    /// With this policy; 0 is none of its own.
    pub fn policy(mode: u32) -> VmFlags {
        VmFlags::from_bits_retain((mode & 7 | (mode >> 14 & 3) << 3) << POLICY_SHIFT)
    }
    /// The policy.
    pub fn policy_mode(self) -> u32 {
        let bits = (self & VmFlags::POLICY).bits() >> POLICY_SHIFT;
        bits & 7 | (bits >> 3) << 14
    }
}

const POLICY_SHIFT: u32 = 20;
