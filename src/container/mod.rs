//! Containers: their life from create to delete, and what is kept of them on disk.
//!
//! `create` ([`create`]) forks the container's **monitor** ([`monitor`]), which outlives it: the process whose pid the engine
//! knows, and whose exit status is the workload's. Later verbs find the container in the state directory ([`store`]) and
//! talk to its monitor over a Unix socket there ([`protocol`]); file permissions say who may.

pub mod cgroup;
pub mod claim;
pub mod console;
pub mod create;
pub mod delete;
pub mod exec;
pub mod foreground;
mod fork;
pub mod hooks;
mod monitor;
pub mod protocol;
pub mod settings;
pub mod start;
pub mod store;

pub use settings::Settings;
pub use store::{Container, Store};

/// Why a verb failed: one sentence, in the words that callers of OCI runtimes look for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such container.
    #[error("container does not exist")]
    NotExist,
    /// There is one already.
    #[error("container with given ID already exists")]
    Exists,
    /// Its process has ended.
    #[error("container not running")]
    NotRunning,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

impl From<crate::oci::Invalid> for Error {
    fn from(e: crate::oci::Invalid) -> Error {
        Error::Other(e.to_string())
    }
}

impl From<crate::sandbox::Error> for Error {
    fn from(e: crate::sandbox::Error) -> Error {
        Error::Other(e.to_string())
    }
}

impl From<crate::jail::Error> for Error {
    fn from(e: crate::jail::Error) -> Error {
        Error::Other(e.to_string())
    }
}

/// Names what failed, for `map_err`.
pub fn at<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Error {
    move |e| Error::Other(format!("{what}: {e}"))
}

/// Why a program was not started, as runc says it: engines make 126 and 127 of these words.
pub fn cannot_start(program: &[u8], status: u8, sentence: &str) -> String {
    let name = String::from_utf8_lossy(program);
    let prefix = "unable to start container process";
    match status {
        127 if name.contains('/') => {
            format!("{prefix}: exec: \"{name}\": stat {name}: no such file or directory")
        }
        127 => format!("{prefix}: exec: \"{name}\": executable file not found in $PATH"),
        126 => {
            let why = sentence.rsplit(": ").next().unwrap_or(sentence);
            format!("{prefix}: exec: \"{name}\": {why}")
        }
        _ => format!("{prefix}: {sentence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_find_their_words() {
        let said = cannot_start(
            b"nope",
            127,
            "nope: command not found in PATH of the sandbox",
        );
        assert!(said.contains("exec: \"nope\": executable file not found in $PATH"));
        let said = cannot_start(b"/x", 127, "whatever");
        assert!(said.ends_with("stat /x: no such file or directory"));
        let said = cannot_start(b"/etc", 126, "cannot execute /etc: permission denied");
        assert!(said.ends_with("exec: \"/etc\": permission denied"));
    }
}
