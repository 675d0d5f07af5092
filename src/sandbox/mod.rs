//! One sandbox's processes: the monitor (the calling process), the gofer and the sentry.
//!
//! [`Spec`] says what is wanted; [`run`] starts everything, waits, and returns how the program ended. The monitor
//! clones gofer and sentry into their namespaces ([`spawn`]), talks with them over [`control`] connections, and each
//! child confines itself (`gofer`, `sentry`). Whoever ends, by whatever cause, takes the others along: children die
//! with their parent, the sentry is init of its pid namespace, and every process holds a connection whose end of file
//! it notices.

mod backtrace;
pub mod control;
mod gofer;
mod host;
pub mod ids;
pub mod logging;
mod monitor;
mod sentry;
pub mod signals;
pub mod spawn;
mod spec;
pub mod start;
pub mod streams;
pub mod terminal;
pub mod tree;

pub use host::{AUTO, PLATFORMS, check_namespaces, check_platform};
pub use monitor::run;
pub use spec::{Identity, Limits, Mount, Root, Spec};
pub use tree::SYSTEM;

/// Why a sandbox could not run its program. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that the user asked for cannot be had.
    #[error("{0}")]
    Request(String),
    /// The host lacks or forbids something.
    #[error("{0}")]
    Host(String),
    /// A process of the sandbox reported why it could not go on, with the exit status that stands for it.
    #[error("{1}")]
    Reported(u8, String),
    /// A process of the sandbox ended without a word.
    #[error("{0}")]
    Died(String),
}

impl Error {
    /// Exit status of `cofferdam`: 126 not executable, 127 not found, 125 all else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Reported(status, _) => *status,
            _ => crate::cli::FAILED,
        }
    }
}

impl From<crate::container::Error> for Error {
    fn from(e: crate::container::Error) -> Error {
        Error::Host(e.to_string())
    }
}

impl From<crate::jail::Error> for Error {
    fn from(e: crate::jail::Error) -> Error {
        Error::Host(e.to_string())
    }
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;
