//! The alternate signal stack (sigaltstack(2)).

/// SS_ONSTACK.
pub const SS_ONSTACK: u32 = 1;
/// SS_DISABLE.
pub const SS_DISABLE: u32 = 2;
/// SS_AUTODISARM.
pub const SS_AUTODISARM: u32 = 1 << 31;
/// MINSIGSTKSZ of the x86-64 kernel, in bytes.
pub const MINSIGSTKSZ: u64 = 2048;

/// A task's alternate stack; `size` 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AltStack {
    /// Lowest address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// SS_DISABLE, SS_AUTODISARM.
    pub flags: u32,
}

impl AltStack {
    /// Whether `sp` lies on it, for a stack without SS_AUTODISARM (which is never seen in use).
    pub fn in_use(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.contains(sp)
    }
    /// Whether `sp` lies on it (`__on_sig_stack`).
    pub fn contains(&self, sp: u64) -> bool {
        sp > self.addr && sp.wrapping_sub(self.addr) <= self.size
    }
    /// SS_DISABLE if there is none, SS_ONSTACK if `sp` is on it, else 0 (`sas_ss_flags`).
    pub fn status(&self, sp: u64) -> u32 {
        if self.size == 0 {
            SS_DISABLE
        } else if self.in_use(sp) {
            SS_ONSTACK
        } else {
            0
        }
    }
    /// None (`sas_ss_reset`).
    pub fn none() -> AltStack {
        AltStack {
            flags: SS_DISABLE,
            ..AltStack::default()
        }
    }
}
