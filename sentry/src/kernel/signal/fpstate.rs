//! x87/SSE/AVX state in signal frames: XSAVE's layout with Linux's marks around it (`fpu/signal.c`, `asm/sigcontext.h`).

use crate::abi::{Errno, Result};
use crate::usermem::GuestMemory;

/// `_fpx_sw_bytes.magic1` when the frame holds more than the 512 bytes of FXSAVE.
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// Follows the extended state.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// FXSAVE area, in bytes.
const LEGACY: usize = 512;
/// Where `_fpx_sw_bytes` starts in it.
const SW_BYTES: usize = 464;
/// XSAVE header, in bytes; it follows the FXSAVE area.
const HEADER: usize = 64;
/// x87 and SSE.
const FP_SSE: u64 = 3;

/// What the host's XSAVE state looks like: same for all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whole size in bytes; 512 without XSAVE.
    size: usize,
    /// Components (XCR0).
    features: u64,
    /// Bits that MXCSR may have.
    mxcsr_mask: u32,
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    let mut v = [0; 4];
    if let Some(s) = b.get(at..at.saturating_add(4)) {
        v.copy_from_slice(s);
    }
    u32::from_le_bytes(v)
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | (u64::from(u32_at(b, at.saturating_add(4))) << 32)
}

fn put(b: &mut [u8], at: usize, value: &[u8]) {
    if let Some(s) = b.get_mut(at..at.saturating_add(value.len())) {
        s.copy_from_slice(value);
    }
}

impl Layout {
    /// From a state as the platform gives it (NT_X86_XSTATE: the enabled components stand at offset 464).
    pub fn of(state: &[u8]) -> Layout {
        let features = match u64_at(state, SW_BYTES) {
            0 => u64_at(state, LEGACY) | FP_SSE,
            f => f,
        };
        let mask = u32_at(state, 28);
        Layout {
            size: state.len(),
            features,
            mxcsr_mask: if mask == 0 { 0xffbf } else { mask },
        }
    }
    fn extended(&self) -> bool {
        self.size >= LEGACY + HEADER
    }
    /// Bytes that the state takes in a frame.
    pub fn frame_size(&self) -> usize {
        if self.extended() {
            self.size + 4
        } else {
            self.size
        }
    }
    /// The state at program start, which is also what a handler finds.
    pub fn initial(&self) -> Vec<u8> {
        let mut s = vec![0; self.size];
        put(&mut s, 0, &0x37fu16.to_le_bytes());
        put(&mut s, 24, &0x1f80u32.to_le_bytes());
        put(&mut s, 28, &self.mxcsr_mask.to_le_bytes());
        if self.extended() {
            put(&mut s, LEGACY, &FP_SSE.to_le_bytes());
        }
        s
    }
    /// `state` as it goes into a frame, and whether it is extended (UC_FP_XSTATE).
    pub fn to_frame(self, mut state: Vec<u8>) -> (Vec<u8>, bool) {
        put(&mut state, SW_BYTES, &[0; 48]);
        if !self.extended() {
            return (state, false);
        }
        let size = u32::try_from(self.size).unwrap_or(0);
        put(&mut state, SW_BYTES, &FP_XSTATE_MAGIC1.to_le_bytes());
        put(
            &mut state,
            SW_BYTES + 4,
            &size.saturating_add(4).to_le_bytes(),
        );
        put(&mut state, SW_BYTES + 8, &self.features.to_le_bytes());
        put(&mut state, SW_BYTES + 16, &size.to_le_bytes());
        state.extend_from_slice(&FP_XSTATE_MAGIC2.to_le_bytes());
        (state, true)
    }
    /// Reads back what a frame holds at `addr`; 0 stands for the initial state. The result is of this layout.
    ///
    /// # Errors
    /// EFAULT for memory or contents that the CPU would refuse.
    pub fn read_frame(&self, mem: &dyn GuestMemory, addr: u64) -> Result<Vec<u8>> {
        let mut state = self.initial();
        if addr == 0 {
            return Ok(state);
        }
        let legacy = state.get_mut(..LEGACY).ok_or(Errno::EFAULT)?;
        mem.read_bytes(addr, legacy)?;
        let mxcsr = u32_at(legacy, 24);
        if mxcsr & !self.mxcsr_mask != 0 {
            return Err(Errno::EFAULT);
        }
        put(legacy, 28, &self.mxcsr_mask.to_le_bytes());
        let extended = self.extended_size(mem, addr, legacy);
        let features = u64_at(legacy, SW_BYTES + 8) & self.features;
        put(legacy, SW_BYTES, &[0; 48]);
        let Some(size) = extended else {
            return Ok(state);
        };
        let rest = state.get_mut(LEGACY..size).ok_or(Errno::EFAULT)?;
        mem.read_bytes(addr.checked_add(LEGACY as u64).ok_or(Errno::EFAULT)?, rest)?;
        // The header: components present, then 56 bytes that must be 0 (XRSTOR faults otherwise).
        let present = u64_at(rest, 0);
        if present & !self.features != 0
            || !rest
                .get(8..HEADER)
                .is_some_and(|h| h.iter().all(|b| *b == 0))
        {
            return Err(Errno::EFAULT);
        }
        put(rest, 0, &(present & features).to_le_bytes());
        Ok(state)
    }
    /// Size of the extended state if the frame says that it has one and the marks are right; else only the FXSAVE
    /// area counts, as on Linux.
    fn extended_size(&self, mem: &dyn GuestMemory, addr: u64, legacy: &[u8]) -> Option<usize> {
        let size = usize::try_from(u32_at(legacy, SW_BYTES + 16)).ok()?;
        let whole = usize::try_from(u32_at(legacy, SW_BYTES + 4)).ok()?;
        if u32_at(legacy, SW_BYTES) != FP_XSTATE_MAGIC1
            || size < LEGACY + HEADER
            || size > self.size
            || size > whole
        {
            return None;
        }
        let mut magic = [0; 4];
        mem.read_bytes(addr.checked_add(size as u64)?, &mut magic)
            .ok()?;
        (u32::from_le_bytes(magic) == FP_XSTATE_MAGIC2).then_some(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flat(Vec<u8>);
    impl GuestMemory for Flat {
        fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize {
            let at = usize::try_from(addr).unwrap().saturating_sub(0x1000);
            let n = buf.len().min(self.0.len().saturating_sub(at));
            buf[..n].copy_from_slice(&self.0[at..at + n]);
            n
        }
        fn write_partial(&self, _: u64, _: &[u8]) -> usize {
            0
        }
    }

    fn sample() -> (Layout, Vec<u8>) {
        let mut s = vec![0u8; 832];
        put(&mut s, 0, &0x27fu16.to_le_bytes());
        put(&mut s, 24, &0x1fa0u32.to_le_bytes());
        put(&mut s, 28, &0xffffu32.to_le_bytes());
        put(&mut s, 160, &[0xab; 16]);
        put(&mut s, SW_BYTES, &7u64.to_le_bytes());
        put(&mut s, LEGACY, &7u64.to_le_bytes());
        put(&mut s, 576, &[0xcd; 16]);
        (Layout::of(&s), s)
    }

    #[test]
    fn state_survives_a_frame() {
        let (layout, state) = sample();
        let (frame, extended) = layout.to_frame(state.clone());
        assert!(extended);
        assert_eq!(frame.len(), layout.frame_size());
        assert_eq!(u32_at(&frame, 464), FP_XSTATE_MAGIC1);
        assert_eq!(u32_at(&frame, 468), 836);
        assert_eq!(u64_at(&frame, 472), 7);
        assert_eq!(u32_at(&frame, 480), 832);
        assert_eq!(u32_at(&frame, 832), FP_XSTATE_MAGIC2);
        let back = layout.read_frame(&Flat(frame), 0x1000).unwrap();
        assert_eq!(back[..SW_BYTES], state[..SW_BYTES]);
        assert_eq!(back[LEGACY..], state[LEGACY..]);
    }

    #[test]
    fn without_marks_only_the_legacy_part_counts() {
        let (layout, state) = sample();
        let (mut frame, _) = layout.to_frame(state);
        put(&mut frame, 832, &[0; 4]);
        let back = layout.read_frame(&Flat(frame), 0x1000).unwrap();
        assert_eq!(back[160], 0xab);
        assert_eq!(u64_at(&back, LEGACY), FP_SSE);
        assert_eq!(back[576], 0);
    }

    #[test]
    fn what_the_cpu_would_refuse_is_refused() {
        let (layout, state) = sample();
        for (at, value) in [(24, 0xff), (27, 0xff), (LEGACY + 3, 1), (LEGACY + 20, 1)] {
            let (mut frame, _) = layout.to_frame(state.clone());
            frame[at] = value;
            let ok = layout.read_frame(&Flat(frame), 0x1000).is_ok();
            assert_eq!(ok, at == 24, "byte {at}");
        }
        let (frame, _) = layout.to_frame(state);
        assert!(
            layout
                .read_frame(&Flat(frame[..300].to_vec()), 0x1000)
                .is_err()
        );
    }

    #[test]
    fn null_is_the_initial_state() {
        let (layout, _) = sample();
        let s = layout.read_frame(&Flat(Vec::new()), 0).unwrap();
        assert_eq!(s, layout.initial());
        assert_eq!((u32_at(&s, 0) & 0xffff, u32_at(&s, 24)), (0x37f, 0x1f80));
    }
}
