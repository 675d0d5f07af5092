//! Registers as ptrace(2) lays them out: `struct user` and the register sets of core files (`arch/x86/kernel/ptrace.c`).

use crate::abi::{Errno, Result};
use cofferdam_platform::{GUEST_END, Registers};

/// Bytes of `struct user_regs_struct`.
#[cfg(test)]
const REGS: usize = 27 * 8;
/// Bytes of `struct user_fpregs_struct`: the FXSAVE area.
const LEGACY: usize = 512;
/// Bytes of `struct user` (`<sys/user.h>`).
pub const USER_SIZE: u64 = 912;
/// Where its debug registers are.
const DEBUG: u64 = 848;
/// Bytes of the FXSAVE area that are software's.
const SOFTWARE: std::ops::Range<usize> = 464..512;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
const XSTATE_BV: usize = 512;
/// Components of XSAVE: x87 and SSE.
const FP: u64 = 1;
const SSE: u64 = 2;

/// Flags that a tracer may change: CF PF AF ZF SF TF DF OF NT RF AC.
const FLAGS: u64 = 0x5_4dd5;

/// A register set by its note type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegSet {
    /// NT_PRSTATUS.
    General,
    /// NT_PRFPREG.
    Float,
    /// NT_X86_XSTATE.
    Extended,
}

impl RegSet {
    /// By note type.
    ///
    /// # Errors
    /// EINVAL for one that there is not.
    pub fn of(note: u64) -> Result<RegSet> {
        match note {
            1 => Ok(RegSet::General),
            2 => Ok(RegSet::Float),
            0x202 => Ok(RegSet::Extended),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// As PTRACE_GETREGS gives them.
pub(super) fn to_bytes(regs: &Registers) -> Vec<u8> {
    regs.to_words()
        .iter()
        .flat_map(|w| w.to_ne_bytes())
        .collect()
}

/// Sets those of which `bytes` has whole words, from the first one on.
///
/// # Errors
/// EIO for a selector or base that no program could have; what came before is set, as on Linux.
pub(super) fn set_bytes(regs: &mut Registers, bytes: &[u8]) -> Result<()> {
    for (i, word) in bytes.chunks_exact(8).enumerate() {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        set_word(regs, i, u64::from_ne_bytes(value))?;
    }
    Ok(())
}

/// Index of a register among the words.
mod index {
    pub const CS: usize = 17;
    pub const EFLAGS: usize = 18;
    pub const SS: usize = 20;
    pub const FS_BASE: usize = 21;
    pub const GS_BASE: usize = 22;
    pub const DS: usize = 23;
    pub const GS: usize = 26;
}

fn set_word(regs: &mut Registers, at: usize, value: u64) -> Result<()> {
    let mut words = regs.to_words();
    let slot = words.get_mut(at).ok_or(Errno::EIO)?;
    let user = value & 0xffff == 0 || value & 3 == 3;
    let value = match at {
        index::CS | index::SS if value & 0xffff == 0 || !user => return Err(Errno::EIO),
        index::DS..=index::GS if !user => return Err(Errno::EIO),
        // Only 64-bit code runs here.
        index::CS | index::SS | index::DS..=index::GS => *slot,
        index::FS_BASE | index::GS_BASE if value >= GUEST_END => return Err(Errno::EIO),
        index::EFLAGS => (*slot & !FLAGS) | (value & FLAGS),
        _ => value,
    };
    *slot = value;
    *regs = Registers::from_words(words);
    Ok(())
}

/// Which of the debug registers with addresses a word of `struct user` is.
pub(super) fn debug_address(at: u64) -> Option<usize> {
    let offset = at.checked_sub(DEBUG).filter(|o| o.is_multiple_of(8))?;
    usize::try_from(offset / 8).ok().filter(|i| *i < 4)
}

/// A word of `struct user` (PTRACE_PEEKUSER); addresses of breakpoints are elsewhere.
///
/// # Errors
/// EIO.
pub(super) fn peek_user(regs: &Registers, at: u64) -> Result<u64> {
    if !at.is_multiple_of(8) || at >= USER_SIZE {
        return Err(Errno::EIO);
    }
    let word = usize::try_from(at / 8).map_err(|_| Errno::EIO)?;
    // Of the debug registers, status and control are as if never used.
    Ok(regs.to_words().get(word).copied().unwrap_or(0))
}

/// Sets a word of `struct user` (PTRACE_POKEUSER).
///
/// # Errors
/// EIO. ENOSPC for a hardware breakpoint: there are none.
pub(super) fn poke_user(regs: &mut Registers, at: u64, value: u64) -> Result<()> {
    if !at.is_multiple_of(8) || at >= USER_SIZE {
        return Err(Errno::EIO);
    }
    if at >= DEBUG {
        return match (at - DEBUG) / 8 {
            // Addresses without anything enabled; status.
            0..=3 | 6 if value < GUEST_END => Ok(()),
            0..=3 => Err(Errno::EINVAL),
            7 if value & 0xff == 0 => Ok(()),
            7 => Err(Errno::ENOSPC),
            _ => Err(Errno::EIO),
        };
    }
    set_word(
        regs,
        usize::try_from(at / 8).map_err(|_| Errno::EIO)?,
        value,
    )
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut v = [0; 8];
    if let Some(s) = bytes.get(at..at.saturating_add(8)) {
        v.copy_from_slice(s);
    }
    u64::from_ne_bytes(v)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(s) = bytes.get_mut(at..at.saturating_add(value.len())) {
        s.copy_from_slice(value);
    }
}

/// The FXSAVE area of a state, with what is initial spelled out.
pub(super) fn legacy(state: &[u8]) -> Vec<u8> {
    let mut area = state.get(..LEGACY).unwrap_or_default().to_vec();
    area.resize(LEGACY, 0);
    if state.len() > XSTATE_BV {
        let present = u64_at(state, XSTATE_BV);
        let mxcsr: [u8; 8] = u64_at(&area, MXCSR).to_ne_bytes();
        if present & FP == 0 {
            put(&mut area, 0, &[0; 160]);
            put(&mut area, 0, &0x37fu16.to_ne_bytes());
            put(&mut area, MXCSR, &mxcsr);
        }
        if present & SSE == 0 {
            put(&mut area, 160, &[0; 256]);
        }
    }
    if u64_at(&area, MXCSR) >> 32 == 0 {
        put(&mut area, MXCSR_MASK, &0xffffu32.to_ne_bytes());
    }
    if let Some(s) = area.get_mut(SOFTWARE) {
        s.fill(0);
    }
    area
}

/// A whole state, with what is initial of its legacy part spelled out.
pub(super) fn extended(mut state: Vec<u8>) -> Vec<u8> {
    let software = state.get(SOFTWARE).map(<[u8]>::to_vec).unwrap_or_default();
    let area = legacy(&state);
    put(&mut state, 0, &area);
    put(&mut state, SOFTWARE.start, &software);
    state
}

/// Replaces the start of the FXSAVE area.
pub(super) fn set_legacy(state: &mut [u8], bytes: &[u8]) {
    let mut area = legacy(state);
    put(
        &mut area,
        0,
        bytes.get(..bytes.len().min(LEGACY)).unwrap_or_default(),
    );
    let software = state.get(SOFTWARE).map(<[u8]>::to_vec).unwrap_or_default();
    put(&mut area, SOFTWARE.start, &software);
    put(state, 0, &area);
    let present = u64_at(state, XSTATE_BV) | FP | SSE;
    put(state, XSTATE_BV, &present.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_that_of_user_h() {
        assert_eq!(size_of::<libc::user>() as u64, USER_SIZE);
        assert_eq!(std::mem::offset_of!(libc::user, u_debugreg) as u64, DEBUG);
        assert_eq!(size_of::<libc::user_regs_struct>(), REGS);
        let at = |n: usize| n / 8;
        use std::mem::offset_of;
        assert_eq!(at(offset_of!(libc::user_regs_struct, cs)), index::CS);
        assert_eq!(
            at(offset_of!(libc::user_regs_struct, eflags)),
            index::EFLAGS
        );
        assert_eq!(at(offset_of!(libc::user_regs_struct, ss)), index::SS);
        assert_eq!(
            at(offset_of!(libc::user_regs_struct, fs_base)),
            index::FS_BASE
        );
        assert_eq!(at(offset_of!(libc::user_regs_struct, gs)), index::GS);
    }

    #[test]
    fn a_tracer_cannot_set_what_a_program_cannot_have() {
        let mut r = Registers {
            cs: 0x33,
            ss: 0x2b,
            eflags: 0x202,
            ..Registers::default()
        };
        assert_eq!(set_word(&mut r, index::CS, 0), Err(Errno::EIO));
        assert_eq!(set_word(&mut r, index::SS, 0x18), Err(Errno::EIO));
        assert_eq!(set_word(&mut r, index::FS_BASE, 1 << 47), Err(Errno::EIO));
        set_word(&mut r, index::EFLAGS, u64::MAX).unwrap();
        assert_eq!(r.eflags, 0x202 | FLAGS);
        assert_eq!(poke_user(&mut r, DEBUG + 56, 0x401), Err(Errno::ENOSPC));
        assert_eq!(peek_user(&r, USER_SIZE), Err(Errno::EIO));
        assert_eq!(peek_user(&r, 4), Err(Errno::EIO));
    }
}
