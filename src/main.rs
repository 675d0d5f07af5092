//! The `cofferdam` program: parses the command line and dispatches to [`cli`].

mod bench;
mod cli;
mod jail;
mod profile;
mod sandbox;
mod workload;

fn main() -> std::process::ExitCode {
    cli::main()
}
