//! `cofferdam delete`: removes what is left of a container.

use super::runtime::Global;
use crate::container::delete;
use std::process::ExitCode;

/// Remove a container
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Kill it if it runs; a missing one is no error
    #[arg(short, long)]
    force: bool,
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl Delete {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            delete::delete(&global.store(), &self.id, self.force)?;
            Ok(0)
        })
    }
}
