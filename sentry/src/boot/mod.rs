//! Puts a kernel together and runs it until init has exited.

pub mod config;
pub mod control;

pub use config::{BootConfig, BootError, MountConfig, MountSource, RootConfig, Stdio, UserConfig};

use crate::kernel::ExitStatus;

/// Boots the sandbox and returns how its first process ended.
///
/// # Errors
/// Nothing ran; the sentence says why.
pub fn run(_config: BootConfig) -> Result<ExitStatus, BootError> {
    Err(BootError::Failed("not built yet".into()))
}
