//! `cofferdam resume`: the end of `pause`.

use super::pause::group;
use super::runtime::Global;
use crate::container::Error;
use crate::container::store::Status;
use std::process::ExitCode;

/// Let a paused container go on
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl Resume {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let (container, _claim) = global.store().load_claimed(&self.id)?;
            if container.status() != Status::Paused {
                return Err(Error::Other("container not paused".into()));
            }
            group(&container)?.thaw()?;
            Ok(0)
        })
    }
}
