//! What the stub answers of paths by itself: stat, lstat and access, if it was told of exactly this call and path ([`crate::Thread::tell`]).
//!
//! A thread's slot has [`ENTRIES`] entries. Which one a call and a path may be in follows from both ([`hash`]), so that the stub needs to look at one only; there it compares
//! the call, the length, the whole path, and where the answer's counters stand ([`crate::epochs`]). The instructions are in `paths.s`.
use super::slot::{INTEREST, PATHS};
use crate::{PATH_LONGEST, PathCall};

/// How many entries there are.
pub(crate) const ENTRIES: usize = 1 << BITS;
/// Binary logarithm of it.
pub(crate) const BITS: u32 = 4;
/// Length of an entry in bytes.
pub(crate) const LEN: usize = 512;
/// Binary logarithm of it.
pub(crate) const SHIFT: u32 = LEN.trailing_zeros();
/// From the lowest byte: the call's number ([`number`]), how many words the text has, and what [`super::slot::answer::PATHS`] says as long as the entry counts. 0 if
/// there is none.
pub(crate) const KEY: usize = 0;
/// Where the counters stood.
pub(crate) const EPOCH: usize = 8;
/// Which counter it is besides the first.
pub(crate) const COUNTER: usize = 16;
/// How often the stub has given the answer.
pub(crate) const USES: usize = 24;
/// The result.
pub(crate) const RESULT: usize = 32;
/// What stat(2) gives, a `struct stat`.
pub(crate) const ATTRIBUTES: usize = 64;
/// The path, filled up with NULs to whole words, with one at least.
pub(crate) const TEXT: usize = 208;
/// Most words of a path.
pub(crate) const WORDS: usize = (LEN - TEXT) / 8;
const _: () = assert!(ATTRIBUTES + size_of::<libc::stat>() <= TEXT && WORDS < 256);
const _: () = assert!(PATH_LONGEST + 1 == WORDS * 8 && LEN.is_power_of_two());
const _: () = assert!(PATHS + ENTRIES * LEN <= INTEREST);

/// What words are mixed with: an odd number without pattern.
pub(crate) const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Calls as numbers. Those that give attributes are the smaller ones.
pub(crate) const STAT: u8 = 1;
pub(crate) const LSTAT: u8 = 2;
/// With the mode in the three lowest bits.
pub(crate) const ACCESS: u8 = 8;
pub(crate) const ACCESS_EFFECTIVE: u8 = 16;

/// A call's number.
pub(crate) fn number(call: PathCall) -> u8 {
    match call {
        PathCall::Stat => STAT,
        PathCall::Lstat => LSTAT,
        PathCall::Access { mode, effective } => {
            (if effective { ACCESS_EFFECTIVE } else { ACCESS }) | (mode & 7)
        }
    }
}

/// The words of a path.
pub(crate) fn words(path: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = path.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    whole
        .iter()
        .map(|w| u64::from_le_bytes(*w))
        .chain([u64::from_le_bytes(last)])
}

/// Mixes a call and a path; the upper bits say where they may be.
pub(crate) fn hash(call: PathCall, path: &[u8]) -> u64 {
    words(path).fold(u64::from(number(call)), |h, word| {
        (h.rotate_left(5) ^ word).wrapping_mul(FACTOR)
    })
}

/// The number of the entry that something with this hash may be in.
pub(crate) fn entry(hash: u64) -> usize {
    (hash >> (u64::BITS - BITS)) as usize
}
