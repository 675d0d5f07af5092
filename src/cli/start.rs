//! `cofferdam start`: lets a created container's program run.

use super::runtime::Global;
use crate::container::start;
use std::process::ExitCode;

/// Run the program of a created container
#[derive(Debug, clap::Args)]
pub struct Start {
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl Start {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            start::start(&global.store().load(&self.id)?)?;
            Ok(0)
        })
    }
}
