//! The `cofferdam` program: parses the command line and dispatches to [`cli`].

mod bench;
mod cli;
mod clock;
mod container;
mod jail;
mod oci;
mod profile;
mod sandbox;
mod workload;

fn main() -> std::process::ExitCode {
    cli::main()
}
