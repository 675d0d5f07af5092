//! The state directory: one subdirectory per container with what must outlive the verb that made it.

use super::cgroup::Cgroup;
use super::claim::Claim;
use super::{Error, Result, at, protocol};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is saved of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Its name.
    pub id: String,
    /// The monitor's.
    pub pid: i32,
    /// When the monitor started, in clock ticks since the host's boot: with the pid, which process it is.
    pub start_time: u64,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// Who created it.
    pub owner: u32,
    /// The host's control group, if there is one.
    pub cgroup: Option<Cgroup>,
    /// The configuration.
    pub spec: Spec,
}

/// How long the monitor may take to say how it is, in milliseconds; who asks for all containers' states waits for each.
const ANSWER: u16 = 2000;

/// The specification's states, and `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Hooks run, or the sandbox is being set up.
    Creating,
    /// Waits for `start`.
    Created,
    /// Runs.
    Running,
    /// Frozen by `pause`.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl Status {
    /// As in `state`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// All containers below one `--root`.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

/// One container.
#[derive(Debug)]
pub struct Container {
    dir: PathBuf,
    /// What is known of it.
    pub saved: Saved,
}

/// Names that are safe as a directory.
fn check_id(id: &str) -> Result<()> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(ok) {
        return Err(Error::Other(format!("invalid container ID format: '{id}'")));
    }
    Ok(())
}

const STATE: &str = "state.json";
/// The control group while there is no state yet.
const UNFINISHED: &str = "cgroup.json";
const SOCKET: &str = "control.sock";

impl Store {
    /// At this directory, which need not exist.
    pub fn at(root: PathBuf) -> Store {
        Store(root)
    }

    /// `$XDG_RUNTIME_DIR/cofferdam` for ordinary users and root of a user namespace, else `/run/cofferdam`.
    pub fn default_root(rootless: bool) -> PathBuf {
        match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(dir) if rootless && !dir.is_empty() => PathBuf::from(dir).join("cofferdam"),
            _ => "/run/cofferdam".into(),
        }
    }

    /// Reserves a name: makes its directory, and holds it.
    ///
    /// # Errors
    /// The name is taken or unfit, or the directory cannot be made.
    pub fn reserve(&self, id: &str) -> Result<(PathBuf, Claim)> {
        check_id(id)?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder
            .recursive(true)
            .create(&self.0)
            .map_err(self.refused(&self.0))?;
        let dir = self.0.join(id);
        match builder.recursive(false).create(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::Exists),
            other => {
                other.map_err(self.refused(&dir))?;
                let claim = Claim::take(&dir)?;
                claim.is_held().then_some((dir, claim)).ok_or(Error::Exists)
            }
        }
    }

    /// Holds a container's directory, unless another verb does so for long.
    ///
    /// # Errors
    /// [`Error::NotExist`], or what the host says.
    pub fn claim(&self, id: &str) -> Result<Claim> {
        check_id(id)?;
        Claim::take(&self.0.join(id))
    }

    /// A container that nobody makes or removes before the claim is dropped.
    ///
    /// # Errors
    /// It does not exist, or another verb holds it for long.
    pub fn load_claimed(&self, id: &str) -> Result<(Container, Claim)> {
        let claim = self.claim(id)?;
        if !claim.is_held() {
            return Err(Error::Other(format!(
                "container {id} is being created or deleted"
            )));
        }
        Ok((self.load(id)?, claim))
    }

    /// What to say of a directory that cannot be made.
    fn refused(&self, dir: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let dir = dir.display().to_string();
        move |e| {
            let hint = match e.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "; name a directory of your own by --root, or set XDG_RUNTIME_DIR"
                }
                _ => "",
            };
            Error::Other(format!("cannot make {dir}: {e}{hint}"))
        }
    }

    /// A container by name.
    ///
    /// # Errors
    /// [`Error::NotExist`], or its state cannot be read.
    pub fn load(&self, id: &str) -> Result<Container> {
        check_id(id)?;
        let dir = self.0.join(id);
        let text = match fs::read(dir.join(STATE)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NotExist),
            other => other.map_err(at(format!("cannot read the state of {id}")))?,
        };
        let saved = serde_json::from_slice(&text)
            .map_err(at(format!("the saved state of {id} is malformed")))?;
        Ok(Container { dir, saved })
    }

    /// Removes what a crash between making the directory and saving the state has left.
    ///
    /// # Errors
    /// What the host says.
    pub fn remove_unfinished(&self, id: &str, claim: &Claim) -> Result<()> {
        let group = fs::read(self.0.join(id).join(UNFINISHED)).ok();
        let group = group.and_then(|text| serde_json::from_slice::<Cgroup>(&text).ok());
        if let Some(group) = group {
            group.thaw()?;
            group.kill_all();
            group.remove()?;
        }
        claim.remove()
    }

    /// All of them, by name. Those whose state cannot be read are left out.
    pub fn all(&self) -> Vec<Container> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return vec![];
        };
        let mut ids: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        ids.sort();
        ids.iter().filter_map(|id| self.load(id).ok()).collect()
    }
}

impl Container {
    /// A new one, saved.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn save_new(dir: PathBuf, saved: Saved) -> Result<Container> {
        let c = Container { dir, saved };
        c.save()?;
        Ok(c)
    }

    /// Writes the state anew.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<()> {
        let what = format!("cannot save the state of {}", self.saved.id);
        let text = serde_json::to_vec(&self.saved).map_err(at(&what))?;
        let new = self.dir.join(".state.json");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(at(&what))?;
        std::io::Write::write_all(&mut file, &text).map_err(at(&what))?;
        fs::rename(&new, self.dir.join(STATE)).map_err(at(&what))
    }

    /// Where it is.
    pub fn status(&self) -> Status {
        if !is_alive(self.saved.pid, self.saved.start_time) {
            return Status::Stopped;
        }
        if self.saved.cgroup.as_ref().is_some_and(Cgroup::is_frozen) {
            return Status::Paused;
        }
        match self.ask_within(&protocol::Request::State, ANSWER.into()) {
            Ok(Some(protocol::Reply::State { running: true })) => Status::Running,
            Ok(Some(protocol::Reply::State { running: false })) => Status::Created,
            // It may have ended in the meantime.
            _ if !is_alive(self.saved.pid, self.saved.start_time) => Status::Stopped,
            // Frozen after we looked, or stopped from outside.
            Ok(None) if self.saved.cgroup.as_ref().is_some_and(Cgroup::is_frozen) => Status::Paused,
            Ok(None) => Status::Running,
            _ => Status::Creating,
        }
    }

    /// A connection with the monitor.
    ///
    /// # Errors
    /// It does not listen (any more).
    pub fn connect(&self) -> Result<protocol::Connection> {
        protocol::Connection::connect(&self.dir, SOCKET).map_err(|e| match e.raw_os_error() {
            Some(libc::ECONNREFUSED | libc::ENOENT) => Error::NotRunning,
            _ => Error::Other(format!("cannot reach the container's monitor: {e}")),
        })
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// The monitor cannot be reached, or refuses.
    pub fn ask(&self, request: &protocol::Request) -> Result<protocol::Reply> {
        let answer = self.ask_within(request, PollTimeout::NONE)?;
        answer.ok_or(Error::NotRunning)
    }

    /// The same; `None` if there is no answer in time.
    fn ask_within(
        &self,
        request: &protocol::Request,
        within: PollTimeout,
    ) -> Result<Option<protocol::Reply>> {
        let connection = self.connect()?;
        connection.send(request, &[])?;
        let mut fds = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, within).map_err(at("cannot wait for the monitor"))? == 0 {
            return Ok(None);
        }
        match connection.receive()? {
            Some(protocol::Reply::Refused { sentence }) => Err(Error::Other(sentence)),
            Some(reply) => Ok(Some(reply)),
            None => Err(Error::NotRunning),
        }
    }

    /// Has the sentry show inside what the control group allows now.
    ///
    /// # Errors
    /// The monitor cannot be reached.
    pub fn show_allowance(&self) -> Result<()> {
        let Some(cgroup) = &self.saved.cgroup else {
            return Ok(());
        };
        let text = serde_json::to_vec(&cgroup.allowance()).map_err(at("the limits"))?;
        let file = super::exec::file_with("limits", &text)?;
        let connection = self.connect()?;
        connection.send(&protocol::Request::Allow, &[file.as_fd()])?;
        // A frozen monitor reads it when it thaws.
        if !cgroup.is_frozen() {
            connection.receive::<protocol::Reply>()?;
        }
        Ok(())
    }
}

/// Says which control group a container has whose state is saved only later.
///
/// # Errors
/// It cannot be written.
pub fn save_unfinished(dir: &Path, group: Option<&Cgroup>) -> Result<()> {
    let Some(group) = group else { return Ok(()) };
    let what = "cannot save the control group's name";
    let text = serde_json::to_vec(group).map_err(at(what))?;
    fs::write(dir.join(UNFINISHED), text).map_err(at(what))
}

/// The control socket in a container's directory. Nobody can connect before the monitor listens.
///
/// # Errors
/// It cannot be made.
pub fn bind(dir: &Path) -> Result<OwnedFd> {
    protocol::bind(dir, SOCKET).map_err(at("cannot make the control socket"))
}

/// State and start time of a process: fields 3 and 22 of /proc/PID/stat (proc_pid_stat(5)).
fn stat_of(pid: i32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// When a process started; `None` if there is no such process.
pub fn start_time(pid: i32) -> Option<u64> {
    stat_of(pid).map(|(_, start)| start)
}

/// Whether this very process still runs. A zombie does not.
pub fn is_alive(pid: i32, start: u64) -> bool {
    stat_of(pid).is_some_and(|(state, s)| s == start && !matches!(state, 'Z' | 'X' | 'x'))
}

/// Writes a pid as engines want it: digits only, appearing at once.
///
/// # Errors
/// What the host says.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    let failed = || at(format!("cannot write the pid file {}", path.display()));
    // Anew: in a directory that others write to, what has that name may lead elsewhere, or be a FIFO.
    let create = || File::create_new(&new);
    let mut file = match create() {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::remove_file(&new).and_then(|()| create())
        }
        other => other,
    }
    .map_err(failed())?;
    std::io::Write::write_all(&mut file, pid.to_string().as_bytes()).map_err(failed())?;
    fs::rename(&new, path).map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "web-1", "x_y.z+1", "0123"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "../x"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pid_file_is_made_anew() {
        let dir = std::env::temp_dir().join(format!("cofferdam-pid-file-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (victim, file) = (dir.join("victim"), dir.join("pid"));
        fs::write(&victim, "precious").unwrap();
        for name in [".pid", "pid"] {
            std::os::unix::fs::symlink(&victim, dir.join(name)).unwrap();
        }
        write_pid_file(&file, 12).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::symlink_metadata(&file).unwrap().is_file());
        nix::unistd::mkfifo(&dir.join(".pid"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        write_pid_file(&file, 34).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "34");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn processes_are_told_apart() {
        let line = "12 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21";
        assert_eq!(parse_stat(line), Some(('S', 777)));
        let me = std::process::id().cast_signed();
        let start = start_time(me).unwrap();
        assert!(is_alive(me, start));
        assert!(!is_alive(me, start + 1));
        assert_eq!(start_time(-1), None);
    }
}
