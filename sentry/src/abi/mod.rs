//! Linux's numbers, structures and error codes as the guest sees them. No behaviour.

pub mod errno;
pub mod sysno;

pub use errno::{Errno, Result};
