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
#[command(name = "cofferdam")]
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

impl Command {
    /// The name of a command that has nothing to do with containers, and so with the options before it.
    fn not_of_containers(&self) -> Option<&'static str> {
        match self {
            Command::Do(_) => Some("do"),
            Command::Platforms => Some("platforms"),
            Command::Syscalls(_) => Some("syscalls"),
            Command::Bench(_) => Some("bench"),
            _ => None,
        }
    }
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
    if let (Some(option), Some(name)) = (global.given(), command.not_of_containers()) {
        complain(format_args!(
            "{option} before '{name}' is for containers; see 'cofferdam {name} --help' for the options after it"
        ));
        return ExitCode::from(FAILED);
    }
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

/// The text on one line and without what a terminal would obey: the names in it may come from images and guests. Nor with
/// numbers of errors that are there in words.
pub fn printable(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.parse::<u32>().is_ok() => plain += rest,
            _ => {
                plain += " (os error ";
                plain += part;
            }
        }
    }
    plain
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
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    complain(sentence(&error.to_string(), &args));
    ExitCode::from(match command_in(&args) {
        "" | "do" | "platforms" | "syscalls" | "bench" | "workload" => FAILED,
        // As with runc, for all verbs alike.
        _ => runtime::FAILED,
    })
}

/// The command that a command line is about; empty if there is none.
fn command_in(args: &[String]) -> &str {
    let commands = <Cli as clap::CommandFactory>::command();
    let known = |arg: &&String| commands.find_subcommand(arg.as_str()).is_some();
    args.iter().find(known).map_or("", String::as_str)
}

/// One sentence of what clap says in several lines, with its advice. `args`: the command line, for the command that it is about.
fn sentence(text: &str, args: &[String]) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"))
        .filter(|l| !l.is_empty())
        .collect();
    let (advice, said): (Vec<&str>, Vec<&str>) = lines.iter().partition(|l| l.starts_with("tip:"));
    let said = said.join(" ");
    let mut said = said
        .strip_prefix("error: ")
        .unwrap_or(&said)
        .trim_end_matches(':')
        .to_owned();
    // That an unknown option could be an argument of the program is not what somebody means who mistyped one.
    let advice = advice
        .iter()
        .filter_map(|tip| tip.strip_prefix("tip: "))
        .find(|tip| !tip.starts_with("to pass '-"));
    let command = command_in(args);
    let quoted = said.split('\'').nth(1).unwrap_or_default();
    let advice = match advice {
        Some(advice) => Some((*advice).to_owned()),
        None if said.starts_with("unrecognized subcommand") => {
            Some(format!("to run a program: cofferdam do -- {quoted}"))
        }
        None if command == "bench"
            && said.starts_with("unexpected argument '")
            && !quoted.starts_with('-') =>
        {
            Some("write '--' before the command to be measured".to_owned())
        }
        None => None,
    };
    if let Some(advice) = advice {
        said += &format!(" ({advice})");
    }
    let space = if command.is_empty() { "" } else { " " };
    format!("{said}; try 'cofferdam {command}{space}--help'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// What is said of these arguments.
    fn said_of(args: &[&str]) -> String {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let whole = std::iter::once("cofferdam".to_owned()).chain(args.clone());
        match Cli::try_parse_from(whole) {
            Ok(_) => String::new(),
            Err(e) => sentence(&e.to_string(), &args),
        }
    }

    #[test]
    fn mistakes_are_told_with_advice() {
        for (args, said) in [
            (
                &["doo"][..],
                "unrecognized subcommand 'doo' (a similar subcommand exists: 'do'); try 'cofferdam --help'",
            ),
            (
                &["gcc"],
                "unrecognized subcommand 'gcc' (to run a program: cofferdam do -- gcc); try 'cofferdam --help'",
            ),
            (
                &["do", "--bindd", "/x", "ls"],
                "unexpected argument '--bindd' found (a similar argument exists: '--bind'); try 'cofferdam do --help'",
            ),
            (
                &["do", "-v", "/x:/x", "ls"],
                "unexpected argument '-v' found; try 'cofferdam do --help'",
            ),
            (
                &["do"],
                "the following required arguments were not provided: <COMMAND>...; try 'cofferdam do --help'",
            ),
            (
                &["bench", "--rounds", "0"],
                "invalid value '0' for '--rounds <N>': 0 is not in 1..=1000; try 'cofferdam bench --help'",
            ),
            (
                &["bench", "true"],
                "unexpected argument 'true' found (write '--' before the command to be measured); try 'cofferdam bench --help'",
            ),
        ] {
            assert_eq!(said_of(args), said);
        }
    }

    #[test]
    fn numbers_of_errors_are_left_out() {
        let said = "no: Permission denied (os error 13); become root";
        assert_eq!(printable(said), "no: Permission denied; become root");
        assert_eq!(
            printable("(os error x) (os error"),
            "(os error x) (os error"
        );
    }
}
