//! `cofferdam features`: what this runtime can do, for engines.

use super::print_json;
use super::runtime::Global;
use crate::oci::features;
use std::process::ExitCode;

/// Runs it.
pub fn run(global: &Global) -> ExitCode {
    global.run(|_| {
        print_json(&features::document())?;
        Ok(0)
    })
}
