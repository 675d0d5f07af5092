//! `cofferdam workload`: the program that `cofferdam bench` measures; not for people.

use crate::workload;
use std::ffi::OsString;
use std::process::ExitCode;

/// What 'cofferdam bench' runs
#[derive(clap::Args)]
pub struct Workload {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Measure rows and print JSON lines
    Rows {
        /// Their numbers
        #[arg(value_delimiter = ',', required = true)]
        numbers: Vec<usize>,
        /// Tell a profiler about it
        #[arg(long)]
        marks: bool,
    },
    /// Run a command some times over and print how long each took, in nanoseconds
    Repeat {
        /// How many times
        times: u32,
        /// The command
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
    /// Do nothing
    Nothing,
}

impl Workload {
    /// Does it.
    pub fn run(&self) -> ExitCode {
        match &self.what {
            What::Rows { numbers, marks } => workload::rows(numbers, *marks),
            What::Repeat { times, command } => workload::repeat(*times, command),
            What::Nothing => ExitCode::SUCCESS,
        }
    }
}
