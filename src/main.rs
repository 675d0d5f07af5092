//! The `cofferdam` program: parses the command line and dispatches to [`cli`].

mod cli;
mod jail;
mod sandbox;

fn main() -> std::process::ExitCode {
    cli::main()
}
