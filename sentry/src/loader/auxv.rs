//! The auxiliary vector (getauxval(3)).
#![allow(unsafe_code)] // Reason: getauxval, which no safe wrapper offers.

/// What the host tells programs of its processor: the guest runs on the same one.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostValues {
    /// AT_HWCAP: CPUID 1 EDX.
    pub hwcap: u64,
    /// AT_HWCAP2: FSGSBASE and MONITOR/MWAIT at ring 3.
    pub hwcap2: u64,
    /// AT_MINSIGSTKSZ: size of the largest signal frame in bytes.
    pub min_signal_stack: u64,
}

impl HostValues {
    pub fn get() -> HostValues {
        HostValues {
            hwcap: host(libc::AT_HWCAP),
            hwcap2: host(libc::AT_HWCAP2),
            min_signal_stack: host(libc::AT_MINSIGSTKSZ).max(2048),
        }
    }
}

/// Where this process has the host's vDSO; 0 for none.
pub(crate) fn own_vdso() -> u64 {
    host(libc::AT_SYSINFO_EHDR)
}

fn host(kind: libc::c_ulong) -> u64 {
    // SAFETY: getauxval takes any number, reads only the process's own auxiliary vector, and returns 0 for unknown ones.
    unsafe { libc::getauxval(kind) }
}
