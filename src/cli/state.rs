//! `cofferdam state`: a container's state, as the specification has it.

use super::print_json;
use super::runtime::Global;
use crate::container::start;
use std::process::ExitCode;

/// Print a container's state
#[derive(Debug, clap::Args)]
pub struct State {
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl State {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let container = global.store().load(&self.id)?;
            print_json(&start::state(&container, container.status()))?;
            Ok(0)
        })
    }
}
