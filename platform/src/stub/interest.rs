//! What the stub notes of epoll_ctl(2) instead of asking: a page of the slot.
//!
//! ```text
//! 0       [held│number of notes]   moved by the stub by compare-and-exchange; the sentry takes *held* away
//! 8       the epoll instance's descriptor plus 1
//! 16      how many notes the sentry has taken
//! 64      for each descriptor: which operations cannot fail now, a bit each     960 bytes
//! 1024    notes: descriptor and operation, events, data                         128 of 24 bytes
//! ```
use super::slot::{INTEREST, SLOT};

/// See [`HELD`].
pub(crate) const NOTED: usize = INTEREST;
/// The bit of [`NOTED`] without which the stub notes nothing.
pub(crate) const HELD: u32 = 63;
/// The descriptor of the instance, plus 1.
pub(crate) const EPOLL: usize = INTEREST + 8;
/// How many notes were taken. Written by the sentry alone.
pub(crate) const TAKEN: usize = INTEREST + 16;
/// A byte for each descriptor below [`FDS`]: [`IN`], [`OUT`] or 0.
pub(crate) const ALLOWED: usize = INTEREST + 64;
/// Of how many descriptors something is known.
pub(crate) const FDS: usize = crate::INTEREST_FDS as usize;
/// The notes.
pub(crate) const LIST: usize = ALLOWED + FDS;
/// Length of a note in bytes.
pub(crate) const NOTE: usize = 24;
/// How many there are.
pub(crate) const NOTES: usize = 128;
/// Length of all of it.
pub(crate) const LEN: usize = LIST + NOTES * NOTE - INTEREST;
const _: () = assert!(NOTES.is_power_of_two() && LIST.is_multiple_of(8) && INTEREST + LEN <= SLOT);

/// In the set: it can be changed and taken out.
pub(crate) const IN: u64 = 1 << libc::EPOLL_CTL_MOD | 1 << libc::EPOLL_CTL_DEL;
/// Not in the set: it can be put in.
pub(crate) const OUT: u64 = 1 << libc::EPOLL_CTL_ADD;
const _: () = assert!(
    libc::EPOLL_CTL_ADD < 4 && libc::EPOLL_CTL_DEL < 4 && libc::EPOLL_CTL_MOD < 4 && IN < 256
);
