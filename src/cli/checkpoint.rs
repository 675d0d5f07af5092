//! `cofferdam checkpoint` and `restore`: not there yet.

use super::runtime::Global;
use crate::container::Error;
use std::process::ExitCode;

/// Whatever callers say.
#[derive(Debug, clap::Args)]
pub struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// Says so.
pub fn run(global: &Global, verb: &str) -> ExitCode {
    global.run(|_| Err(Error::Other(format!("{verb} is not supported yet"))))
}
