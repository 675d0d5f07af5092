//! Global options of an OCI runtime, and how its verbs report.

use super::complain;
use crate::container::create::Runtime;
use crate::container::settings::Overlay;
use crate::container::{Error, Result, Settings, Store};
use crate::jail::sys;
use crate::sandbox::logging::{self, Format};
use log::LevelFilter;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status of a verb that failed, as runc has it.
pub const FAILED: u8 = 1;

/// That of an `exec` that failed, so that it is less likely to be the process's own.
pub const EXEC_FAILED: u8 = 255;

/// Options before the verb.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options for containers")]
pub struct Global {
    /// Where containers' states are; default: /run/cofferdam, or $XDG_RUNTIME_DIR/cofferdam without root
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Append log lines to FILE
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: Format,
    /// Log more than errors and warnings
    #[arg(long)]
    pub debug: bool,
    /// cgroupsPath is slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Do without what only root may: true, false, or auto
    #[arg(long, value_name = "BOOL", default_value = "auto")]
    pub rootless: String,
    /// How system calls are trapped; see 'cofferdam platforms'
    #[arg(long, value_name = "NAME")]
    pub platform: Option<String>,
    /// Where a container's writes to its root go
    #[arg(long, value_name = "WHERE")]
    pub overlay: Option<Overlay>,
    /// Show every system call of containers, decoded, in FILE
    #[arg(long, value_name = "FILE")]
    pub strace: Option<PathBuf>,
    /// Ignored: there is no criu to find
    #[arg(long, hide = true, value_name = "PATH")]
    pub criu: Option<PathBuf>,
}

/// To be asked before anything is opened, whose descriptor would be taken for one to pass on (`--preserve-fds`).
pub fn check_preserved(count: u32) -> Result<()> {
    for number in 3..count.saturating_add(3) {
        if !i32::try_from(number).is_ok_and(sys::is_open) {
            return Err(Error::Other(format!(
                "unable to stat preserved-fd {} (of {count}): descriptor {number} is not open",
                number - 3
            )));
        }
    }
    Ok(())
}

/// Whether this process lacks what root of the host has.
fn is_rootless(wanted: &str) -> bool {
    match wanted {
        "true" => true,
        "false" => false,
        _ => {
            let whole = std::fs::read_to_string("/proc/self/uid_map")
                .is_ok_and(|m| m.split_whitespace().eq(["0", "0", "4294967295"]));
            !nix::unistd::geteuid().is_root() || !whole
        }
    }
}

impl Global {
    /// An option that was given.
    pub fn given(&self) -> Option<&'static str> {
        [
            (self.root.is_some(), "--root"),
            (self.log.is_some(), "--log"),
            (self.debug, "--debug"),
            (self.systemd_cgroup, "--systemd-cgroup"),
            (self.platform.is_some(), "--platform"),
            (self.overlay.is_some(), "--overlay"),
            (self.strace.is_some(), "--strace"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    /// Where containers are.
    pub fn store(&self) -> Store {
        let rootless = is_rootless(&self.rootless);
        let root = self.root.clone();
        let root = root.unwrap_or_else(|| Store::default_root(rootless));
        Store::at(std::path::absolute(&root).unwrap_or(root))
    }

    /// For verbs that start something.
    ///
    /// # Errors
    /// The configuration file is malformed.
    pub fn runtime(&self, log_fds: &[i32]) -> Result<Runtime> {
        let mut settings = Settings::load()?;
        if let Some(platform) = &self.platform {
            settings.platform.clone_from(platform);
        }
        if let Some(overlay) = self.overlay {
            settings.overlay = overlay;
        }
        if self.strace.is_some() {
            settings.strace.clone_from(&self.strace);
        }
        Ok(Runtime {
            store: self.store(),
            settings,
            systemd_cgroup: self.systemd_cgroup,
            rootless: is_rootless(&self.rootless),
            log_fds: log_fds.to_vec(),
        })
    }

    /// Runs a verb. An error is one line in the log and one on standard error, with exit status 1. `f` gets the log's
    /// descriptors, for processes that outlive the verb.
    pub fn run(&self, f: impl FnOnce(&[i32]) -> Result<u8>) -> ExitCode {
        self.run_or(FAILED, f)
    }

    /// The same with another exit status for errors.
    pub fn run_or(&self, failed: u8, f: impl FnOnce(&[i32]) -> Result<u8>) -> ExitCode {
        let result = self.start_log().and_then(|fds| f(&fds));
        match result {
            Ok(status) => {
                logging::flush_deferred();
                ExitCode::from(status)
            }
            Err(e) => {
                logging::drop_deferred();
                log::error!("{e}");
                complain(format_args!("error: {e}"));
                ExitCode::from(failed)
            }
        }
    }

    fn start_log(&self) -> Result<Vec<i32>> {
        let level = if self.debug {
            LevelFilter::Debug
        } else {
            LevelFilter::Warn
        };
        let file: File = match &self.log {
            None => return Ok(vec![]),
            Some(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|e| {
                    Error::Other(format!("cannot write the log {}: {e}", path.display()))
                })?,
        };
        logging::start_runtime(file, level, self.log_format, self.debug)
            .map_err(|e| Error::Other(format!("cannot log: {}", e.desc())))
    }
}
