//! Capabilities: which a role keeps, and dropping the others for good.

use super::{Result, at, sys};

/// A set of capabilities by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSet(u64);

/// chown files.
pub const CHOWN: CapSet = CapSet(1 << 0);
/// Pass over permission bits of files.
pub const DAC_OVERRIDE: CapSet = CapSet(1 << 1);
/// Read files and search directories whatever their permission bits.
pub const DAC_READ_SEARCH: CapSet = CapSet(1 << 2);
/// Be as the owner of any file.
pub const FOWNER: CapSet = CapSet(1 << 3);
/// Keep set-id bits when a file changes.
pub const FSETID: CapSet = CapSet(1 << 4);
/// Signal any process.
pub const KILL: CapSet = CapSet(1 << 5);

const SETPCAP: CapSet = CapSet(1 << 8);

impl CapSet {
    /// No capability.
    pub const NONE: CapSet = CapSet(0);

    /// Both sets.
    pub const fn with(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }
}

/// Keeps only `keep` (of what there is) in the calling thread: nothing else can come back, not even by an execve.
///
/// # Errors
/// Names the step.
pub fn keep_only(keep: CapSet) -> Result<()> {
    use libc::{
        PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAPBSET_DROP, PR_CAPBSET_READ,
        PR_SET_SECUREBITS,
    };
    let held = held()?;
    if held & SETPCAP.0 != 0 {
        for cap in 0..64 {
            // EINVAL: the kernel knows no higher capability.
            if sys::prctl(PR_CAPBSET_READ, cap, 0).is_err() {
                break;
            }
            if keep.0 & (1 << cap) == 0 {
                sys::prctl(PR_CAPBSET_DROP, cap, 0)
                    .map_err(at("shrink the capability bounding set"))?;
            }
        }
        // SECBIT_NOROOT and its like, all locked: uid 0 is just a number from here on.
        const NO_ROOT: libc::c_ulong = 0b1110_1111;
        sys::prctl(PR_SET_SECUREBITS, NO_ROOT, 0).map_err(at("set secure bits"))?;
    }
    sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0)
        .map_err(at("clear ambient capabilities"))?;
    let kept = keep.0 & held;
    sys::capset(kept, kept, 0).map_err(at("drop capabilities"))
}

/// Permitted capabilities of the calling thread, by bit.
fn held() -> Result<u64> {
    sys::permitted_caps().map_err(at("read its capabilities"))
}
