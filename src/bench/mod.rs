//! `cofferdam bench`: the same work natively, on each platform and under other runtimes, in interleaved rounds.
//!
//! A [`Target`](target::Target) is a way to run a command. [`micro`] has the targets run the built-in rows of
//! [`crate::workload`], [`whole`] a command of the user's; both give a [`Report`](report::Report), which is shown as a
//! table, written as JSON, and drawn. Each round visits every target, so that whatever else the machine does meets all of
//! them; ratios are taken within a round.

mod child;
pub mod machine;
pub mod micro;
mod oci;
pub mod report;
pub mod stats;
pub mod svg;
pub mod table;
pub mod target;
pub mod whole;

/// Why there is no result: one sentence.
pub type Result<T> = std::result::Result<T, String>;

/// Tells whoever waits what is under way, on a terminal.
fn progress(what: std::fmt::Arguments<'_>) {
    use std::io::{IsTerminal, Write, stderr};
    if stderr().is_terminal() {
        // A line that the next one replaces; nobody misses it.
        let _ = write!(stderr(), "\r\x1b[K{what}");
    }
}

/// Takes the last line of [`progress`] away.
fn progress_done() {
    progress(format_args!(""));
}
