//! Terminals: the line discipline, pseudo-terminals and devpts, job control, and the bridge to the host's terminal.
//!
//! ```text
//!   program ── slave (/dev/pts/N) ── line discipline ── master (/dev/ptmx or the host bridge) ── emulator
//! ```
//! [`ldisc`] is pure and knows no locks; [`Pty`] puts a lock, wait queues and job control around it.

mod bridge;
mod devpts;
mod drivers;
mod effects;
mod ioctl;
mod jobs;
pub mod ldisc;
mod master;
mod output;
mod pty;
mod slave;
pub mod termios;

pub use bridge::HostBridge;
pub use devpts::{Devpts, DevptsOptions};
pub use drivers::register_drivers;
pub use jobs::{Jobs, Terminal, leader_exits};
pub use master::Master;
pub use pty::{Pty, WinSize};
pub use slave::{Slave, open_controlling};
pub use termios::Termios;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
