//! The command line: one file per command, and what they share.
//!
//! Every failure of Cofferdam itself ends here as one sentence on standard error. The exit status is then 125, 126 or 127, for
//! the verbs of an OCI runtime 1 ([`runtime`]).

mod bench;
mod checkpoint;
mod create;
mod delete;
mod r#do;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod options;
mod pause;
mod platforms;
mod ps;
mod resume;
pub mod runtime;
mod spec;
mod start;
mod state;
mod syscalls;
mod update;
mod workload;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit status when Cofferdam itself failed (as docker run and env(1) have it).
pub const FAILED: u8 = 125;

/// A user-space kernel that runs untrusted Linux programs unchanged.
#[derive(Parser)]
#[command(name = "cofferdam", disable_help_subcommand = true)]
struct Cli {
    /// Print version
    #[arg(short = 'V', short_alias = 'v', long)]
    version: bool,
    #[command(flatten)]
    global: runtime::Global,
    #[command(subcommand)]
    command: Option<Command>,
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
    Create(create::Create),
    Start(start::Start),
    Run(create::Run),
    State(state::State),
    Kill(kill::Kill),
    Delete(delete::Delete),
    Exec(Box<exec::Exec>),
    Ps(ps::Ps),
    List(list::List),
    Pause(pause::Pause),
    Resume(resume::Resume),
    Events(events::Events),
    Update(Box<update::Update>),
    Spec(spec::Spec),
    /// Print what this runtime can do
    Features,
    /// Not supported yet
    Checkpoint(checkpoint::Anything),
    /// Not supported yet
    Restore(checkpoint::Anything),
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
    if cli.version {
        return match print(&version()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        };
    }
    let Some(command) = cli.command else {
        complain("no command given; try 'cofferdam --help'");
        return ExitCode::from(FAILED);
    };
    let global = &cli.global;
    match command {
        Command::Do(command) => command.run(),
        Command::Platforms => platforms::run(),
        Command::Syscalls(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Workload(command) => command.run(),
        Command::Create(verb) => verb.run(global),
        Command::Start(verb) => verb.run(global),
        Command::Run(verb) => verb.run(global),
        Command::State(verb) => verb.run(global),
        Command::Kill(verb) => verb.run(global),
        Command::Delete(verb) => verb.run(global),
        Command::Exec(verb) => verb.run(global),
        Command::Ps(verb) => verb.run(global),
        Command::List(verb) => verb.run(global),
        Command::Pause(verb) => verb.run(global),
        Command::Resume(verb) => verb.run(global),
        Command::Events(verb) => verb.run(global),
        Command::Update(verb) => verb.run(global),
        Command::Spec(verb) => verb.run(global),
        Command::Features => features::run(global),
        Command::Checkpoint(_) => checkpoint::run(global, "checkpoint"),
        Command::Restore(_) => checkpoint::run(global, "restore"),
    }
}

/// What `--version` prints: engines look for the word "version" and what follows it, and for "spec:".
fn version() -> String {
    format!(
        "cofferdam version {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        crate::oci::VERSION
    )
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), crate::container::Error> {
    use std::io::Write;
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(crate::container::at("cannot write to standard output"))
}

/// Writes a document to standard output, in many lines.
fn print_json(value: &serde_json::Value) -> Result<(), crate::container::Error> {
    print(&format!("{value:#}\n"))
}

/// One sentence on standard error.
pub fn complain(sentence: impl std::fmt::Display) {
    use std::io::Write;
    let sentence = printable(&sentence.to_string());
    // If standard error is closed, the exit status still tells.
    let _ = writeln!(std::io::stderr(), "cofferdam: {sentence}");
}

/// The text on one line and without what a terminal would obey: the names in it may come from images and guests.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
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
