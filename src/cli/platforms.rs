//! `cofferdam platforms`: what traps system calls, and what this machine can run.

use crate::sandbox;
use std::process::ExitCode;

/// Prints one line per platform; success if at least one works.
pub fn run() -> ExitCode {
    use std::io::Write;
    let mut any = false;
    for name in sandbox::PLATFORMS {
        let checked = sandbox::check_platform(name).and_then(|()| sandbox::check_namespaces());
        let verdict = match checked {
            Ok(()) => {
                any = true;
                "works here".to_owned()
            }
            Err(e) => format!("does not work here: {e}"),
        };
        // A closed pipe has read enough.
        let _ = writeln!(std::io::stdout(), "{name:8} {verdict}");
    }
    if any {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(super::FAILED)
    }
}
