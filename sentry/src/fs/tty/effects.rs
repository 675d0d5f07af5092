//! What a change of a terminal means for others, collected under its lock and carried out after it.

use smallvec::SmallVec;

/// Consequences of one operation on a terminal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Signals for the foreground process group, in order.
    pub signals: SmallVec<[i32; 2]>,
    /// TIOCPKT_* bits for a master in packet mode.
    pub packet: u8,
}

/// TIOCPKT_* of ioctl_tty(2).
pub mod packet {
    #![allow(missing_docs)]
    pub const FLUSHREAD: u8 = 1;
    pub const FLUSHWRITE: u8 = 2;
    pub const STOP: u8 = 4;
    pub const START: u8 = 8;
    pub const NOSTOP: u8 = 16;
    pub const DOSTOP: u8 = 32;
    pub const IOCTL: u8 = 64;
}
