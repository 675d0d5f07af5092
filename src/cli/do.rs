//! `cofferdam do`: one program in a fresh sandbox that is gone when it ends.

use super::options::{
    Bind, EnvVar, Tmpfs, User, bind, duration, env_var, hostname, log_level, memory, tasks, tmpfs,
    user,
};
use super::{FAILED, complain};
use crate::profile;
use crate::sandbox::{self, Identity, Limits, Mount, Root, Spec};
use clap::builder::{OsStringValueParser, TypedValueParser};
use cofferdam_gofer::tree::{self, TreeEntry};
use log::LevelFilter;
use nix::unistd::{getegid, geteuid, getgroups};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
The program sees the system directories as far as everybody may read them, the current directory, and an empty /tmp and
/dev/shm; its network is a loopback of its own. Of a current directory that is the caller's home or above it, it sees what
everybody may read. What is written vanishes, but for what '--bind …:rw' shows.

Examples:
  cofferdam do -- bash                                     a shell inside
  cofferdam do --bind ./out:/out:rw -- ./job /out          one directory really written
  cofferdam do --rootfs ./image --user 0 -- /bin/sh        another root, as root inside
  cofferdam do --memory 512m --pids 50 --time 30 -- ./job  limits
  cofferdam do --log-level info -- ./job                   say once which calls are not there
  cofferdam do --strace=trace -- ./job                     every call, in a file";

/// Run one program in a fresh sandbox
///
/// By default the program sees the host's system directories and the current directory; what it writes goes to memory
/// and vanishes. The exit status is the program's, 128+n if signal n ended it, 125 if Cofferdam failed, 126 if the
/// program cannot be executed, 127 if it is not found.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Do {
    /// Use this directory of the host as the root instead of its system directories ('/' for the whole host)
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
    /// Refuse writes to the root and to the current directory instead of keeping them in memory
    #[arg(long)]
    read_only: bool,
    /// Show a file or directory of the host inside, at DST or else at the same path, read-only unless 'rw' (repeatable)
    #[arg(long, value_name = "SRC[:DST][:ro|rw]", value_parser = bind)]
    bind: Vec<Bind>,
    /// Mount an empty in-memory directory (repeatable)
    #[arg(long, value_name = "DST[:size=N]", value_parser = tmpfs)]
    tmpfs: Vec<Tmpfs>,
    /// Set a variable in the program's environment (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = OsStringValueParser::new().try_map(|s| env_var(&s)))]
    env: Vec<EnvVar>,
    /// Start with an empty environment instead of this one
    #[arg(long)]
    clear_env: bool,
    /// Working directory inside; default: the current one, or / if that is not there
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Run as this user, and with this group instead of all of the user's; numbers, or names of the sandbox; default: the caller
    #[arg(long, value_name = "USER[:GROUP]", value_parser = user)]
    user: Option<User>,
    /// Name of the machine inside
    #[arg(long, value_name = "NAME", default_value = "cofferdam", value_parser = hostname)]
    hostname: String,
    /// Most memory of all processes together with files in memory and Cofferdam's own part, in bytes or with k, m, g; a process is
    /// killed when it runs out. Needs a control group: root, or a delegated one
    #[arg(long, value_name = "SIZE", value_parser = memory, allow_negative_numbers = true)]
    memory: Option<u64>,
    /// Most processes and threads at a time; more fail with EAGAIN
    #[arg(long, value_name = "N", value_parser = tasks, allow_negative_numbers = true)]
    pids: Option<u64>,
    /// End the program after this many seconds (or with m, h), with status 124
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    time: Option<Duration>,
    /// End the program when all its processes together have used this much CPU time (seconds, or with m, h), with status 124
    #[arg(long, value_name = "TIME", value_parser = duration, allow_negative_numbers = true)]
    cpu_time: Option<Duration>,
    /// How system calls are trapped; see 'cofferdam platforms'. auto: the first of them that works
    #[arg(long, value_name = "NAME", default_value = sandbox::AUTO)]
    platform: String,
    /// Show every system call of every task, decoded, on standard error or in FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    strace: Option<OsString>,
    /// At the end, show how often each system call was made and where the time went, on standard error or in FILE (as
    /// JSON if its name ends in .json)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    profile: Option<OsString>,
    /// Append log lines to FILE
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Least severe lines to log: off, error, warn, info, debug or trace; without --log they go to standard error
    #[arg(long, value_name = "LEVEL", value_parser = log_level)]
    log_level: Option<LevelFilter>,
    /// The program and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = false,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,
}

impl Do {
    /// Runs it; the exit status is the program's or tells what failed.
    pub fn run(self) -> ExitCode {
        match self
            .spec()
            .and_then(|spec| sandbox::run(spec).map_err(|e| (e.exit_status(), e.to_string())))
        {
            Ok(status) => ExitCode::from(status),
            Err((status, sentence)) => {
                complain(sentence);
                ExitCode::from(status)
            }
        }
    }

    fn spec(self) -> Result<Spec, (u8, String)> {
        self.checked_spec().map_err(|sentence| (FAILED, sentence))
    }

    fn checked_spec(self) -> Result<Spec, String> {
        let here = std::env::current_dir().ok();
        let mut mounts = Vec::new();
        let root = match self.rootfs {
            Some(dir) => Root::Directory(rootfs(&dir)?),
            None => {
                mounts.extend(
                    here.as_deref()
                        .and_then(|here| current_directory(here, !self.read_only)),
                );
                Root::System
            }
        };
        for b in &self.bind {
            mounts.push(bind_mount(b)?);
        }
        mounts.extend(self.tmpfs.into_iter().map(|t| Mount::Tmpfs {
            target: t.target,
            size: t.size,
        }));
        let cwd_may_miss = self.cwd.is_none();
        let cwd = match self.cwd {
            Some(dir) if !dir.is_absolute() => {
                return Err(format!(
                    "--cwd {}: the path inside must be absolute",
                    dir.display()
                ));
            }
            Some(dir) => dir,
            None => here.unwrap_or_else(|| "/".into()),
        };
        Ok(Spec {
            root,
            read_only: self.read_only,
            mounts,
            argv: self.command,
            env: environment(self.clear_env, self.env),
            cwd,
            cwd_may_miss,
            identity: identity(self.user)?,
            hostname: self.hostname,
            limits: Limits {
                memory: self.memory,
                tasks: self.pids,
                time: self.time,
                cpu_time: self.cpu_time,
            },
            platform: self.platform,
            strace: self.strace.map(|file| strace(&file)).transpose()?,
            profile: self.profile.map(|file| profile(&file)).transpose()?,
            log: log(self.log.as_deref(), self.log_level)?,
        })
    }
}

fn rootfs(dir: &Path) -> Result<PathBuf, String> {
    let path = dir.canonicalize().map_err(|e| {
        format!(
            "--rootfs {}: {}; name an existing directory",
            dir.display(),
            plain(&e)
        )
    })?;
    if !path.is_dir() {
        return Err(format!("--rootfs {}: not a directory", dir.display()));
    }
    Ok(path)
}

/// The caller's directory, in memory where it is written to. At or above a home directory only what everybody may read
/// is shown, so that keys stay out. Nothing if it is there anyway (a system directory, which is shown on the same terms), if
/// the sandbox has its own (`/proc`), or if the caller may not read it.
fn current_directory(here: &Path, overlay: bool) -> Option<Mount> {
    let own = ["/proc", "/sys", "/dev"];
    if here == Path::new("/")
        || sandbox::SYSTEM.iter().any(|dir| here == Path::new(dir))
        || own.iter().any(|dir| here.starts_with(dir))
        || tree::check(&[TreeEntry::same(here)]).is_err()
    {
        return None;
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.and_then(|h| h.canonicalize().ok());
    Some(Mount::Bind {
        source: here.to_owned(),
        target: here.to_owned(),
        writable: false,
        overlay,
        world_readable_only: home.is_some_and(|home| home.starts_with(here)),
    })
}

fn bind_mount(b: &Bind) -> Result<Mount, String> {
    let source = b.source.canonicalize().map_err(|e| {
        format!(
            "--bind {}: {}; name an existing file or directory",
            b.source.display(),
            plain(&e)
        )
    })?;
    let target = match &b.target {
        Some(target) => target.clone(),
        None => std::path::absolute(&b.source)
            .map_err(|e| format!("--bind {}: {}", b.source.display(), plain(&e)))?,
    };
    Ok(Mount::Bind {
        source,
        target,
        writable: b.writable,
        overlay: false,
        world_readable_only: false,
    })
}

fn environment(clear: bool, set: Vec<EnvVar>) -> Vec<OsString> {
    let mut vars: Vec<(OsString, OsString)> = if clear {
        vec![]
    } else {
        std::env::vars_os().collect()
    };
    for EnvVar { key, value } in set {
        vars.retain(|(k, _)| *k != key);
        vars.push((key, value));
    }
    vars.into_iter()
        .map(|(mut k, v)| {
            k.push("=");
            k.push(v);
            k
        })
        .collect()
}

fn identity(user: Option<User>) -> Result<Identity, String> {
    Ok(match user {
        Some(User::Ids(uid, gid)) => Identity::Ids(uid, gid, vec![]),
        Some(User::Name(name)) => Identity::Name(name),
        None => {
            let groups = getgroups()
                .map_err(|e| format!("cannot read the caller's groups: {}", e.desc()))?;
            Identity::Ids(
                geteuid().as_raw(),
                getegid().as_raw(),
                groups.into_iter().map(|g| g.as_raw()).collect(),
            )
        }
    })
}

fn strace(file: &OsStr) -> Result<File, String> {
    if file.is_empty() {
        return duplicate_of_stderr();
    }
    create(file.as_ref())
        .map_err(|e| format!("--strace={}: {}", Path::new(file).display(), plain(&e)))
}

fn profile(file: &OsStr) -> Result<profile::Output, String> {
    if file.is_empty() {
        let file = duplicate_of_stderr()?;
        return Ok(profile::Output { file, json: false });
    }
    let path = Path::new(file);
    let file =
        File::create(path).map_err(|e| format!("--profile={}: {}", path.display(), plain(&e)))?;
    let json = path.extension().is_some_and(|e| e == "json");
    Ok(profile::Output { file, json })
}

fn log(
    file: Option<&Path>,
    level: Option<LevelFilter>,
) -> Result<Option<(File, LevelFilter)>, String> {
    match (file, level) {
        (None, None) => Ok(None),
        (None, Some(level)) => Ok(Some((duplicate_of_stderr()?, level))),
        (Some(path), level) => {
            let failed = |e: std::io::Error| {
                format!("--log {}: cannot write: {}", path.display(), plain(&e))
            };
            let mut file = create(path).map_err(failed)?;
            // A full disk is found out now, not when something has to be logged.
            writeln!(file, "cofferdam {} starts", env!("CARGO_PKG_VERSION")).map_err(failed)?;
            Ok(Some((file, level.unwrap_or(LevelFilter::Info))))
        }
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn duplicate_of_stderr() -> Result<File, String> {
    let fd = std::io::stderr().as_fd().try_clone_to_owned();
    Ok(fd
        .map_err(|e| format!("cannot use standard error: {}", plain(&e)))?
        .into())
}

/// The error in words, without its number.
fn plain(e: &std::io::Error) -> String {
    let text = e.to_string();
    match text.rfind(" (os error") {
        Some(at) => text.get(..at).unwrap_or(&text).to_lowercase(),
        None => text,
    }
}
