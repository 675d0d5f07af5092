//! The command line: one file per command, and what they share.
//!
//! Every failure of Cofferdam itself ends here as one sentence on standard error and an exit status of 125, 126 or 127.

mod bench;
mod r#do;
mod options;
mod platforms;
mod syscalls;
mod workload;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit status when Cofferdam itself failed (as docker run and env(1) have it).
pub const FAILED: u8 = 125;

/// A user-space kernel that runs untrusted Linux programs unchanged.
#[derive(Parser)]
#[command(name = "cofferdam", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one program in a fresh sandbox
    Do(Box<r#do::Do>),
    /// List the platforms and whether this machine can run them
    Platforms,
    /// Show which system calls the sandbox's kernel implements
    Syscalls(syscalls::Syscalls),
    /// Measure system calls natively and inside, side by side
    Bench(Box<bench::Bench>),
    #[command(hide = true)]
    Workload(workload::Workload),
}

/// Parses and runs; the result is the process's exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => {
            // --help and --version; a closed pipe is not worth a word.
            let _ = e.print();
            return ExitCode::SUCCESS;
        }
        Err(e) => return usage(&e),
    };
    match cli.command {
        Command::Do(command) => command.run(),
        Command::Platforms => platforms::run(),
        Command::Syscalls(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Workload(command) => command.run(),
    }
}

/// One sentence on standard error.
pub fn complain(sentence: impl std::fmt::Display) {
    use std::io::Write;
    // If standard error is closed, the exit status still tells.
    let _ = writeln!(std::io::stderr(), "cofferdam: {sentence}");
}

/// Clap's first line is the sentence; its usage block is a --help away.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    ) {
        complain("no command given; try 'cofferdam --help'");
        return ExitCode::from(FAILED);
    }
    let text = error.to_string();
    let mut lines = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"))
        .filter(|l| !l.is_empty() && !l.starts_with("tip:"));
    let first = lines.next().unwrap_or("bad command line");
    let rest: Vec<&str> = lines.collect();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let joined = if rest.is_empty() {
        first.to_owned()
    } else {
        format!("{first} {}", rest.join(" "))
    };
    complain(format_args!("{joined}; try 'cofferdam --help'"));
    ExitCode::from(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
