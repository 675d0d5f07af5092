//! Vector registers as bytes: what XSAVE stores, checked before a stub loads it.
use crate::bell;

/// Offset of MXCSR and of its mask.
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
/// The bytes that the processor leaves to software; Linux keeps the components there.
const SOFTWARE: std::ops::Range<usize> = 464..512;
const HEADER: usize = 512;
const DEFAULT_MXCSR: u32 = 0x1f80;

/// What this processor stores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Length in bytes.
    pub len: usize,
    /// Components.
    pub mask: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

impl Shape {
    /// Of this processor.
    pub fn detect() -> Shape {
        let (len, mask) = bell::xsave_shape();
        Shape { len, mask }
    }

    /// As at process start: no component present, which loads as the initial state.
    pub fn initial(&self) -> Vec<u8> {
        let mut image = vec![0; self.len];
        if let Some(mxcsr) = image.get_mut(MXCSR..MXCSR + 4) {
            mxcsr.copy_from_slice(&DEFAULT_MXCSR.to_le_bytes());
        }
        image
    }

    /// Whether XRSTOR would take it.
    pub fn is_valid(&self, image: &[u8]) -> bool {
        let known = match u32_at(image, MXCSR_MASK) {
            0 => 0xffbf,
            mask => mask & 0xffff,
        };
        image.len() == self.len
            && u32_at(image, MXCSR) & !known == 0
            && u64_at(image, HEADER) & !self.mask == 0
            && image
                .get(HEADER + 8..HEADER + 64)
                .is_some_and(|rest| rest.iter().all(|b| *b == 0))
    }

    /// As PTRACE_GETREGSET shows it: the components in the bytes for software.
    pub fn export(&self, mut image: Vec<u8>) -> Vec<u8> {
        if let Some(software) = image.get_mut(SOFTWARE) {
            software.fill(0);
            if let Some(mask) = software.get_mut(..8) {
                mask.copy_from_slice(&self.mask.to_le_bytes());
            }
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_processor_takes() {
        let shape = Shape::detect();
        let good = shape.initial();
        assert!(shape.is_valid(&good) && shape.is_valid(&shape.export(good.clone())));
        assert!(!shape.is_valid(&good[1..]) && !shape.is_valid(&[]));
        for (at, value) in [(27, 0x80), (519, 0x80), (520, 1), (527, 0x80), (575, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(!shape.is_valid(&bad), "{at}");
        }
    }
}
