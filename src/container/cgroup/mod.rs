//! The host's control group that holds all processes of one container (cgroups(7)): version 2, or version 1's hierarchies.
//!
//! [`Cgroup`] knows its directories; `resources` writes limits, `stats` reads usage. Devices need no rules here: no process
//! of a sandbox can open any.

mod allowance;
mod dbus;
mod hierarchy;
mod memory;
mod resources;
mod stats;
mod systemd;

pub use memory::MemoryGroup;

use super::{Error, Result, at};
use hierarchy::Hierarchy;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use systemd::Scope;

/// Which interface files there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// One directory per controller.
    V1,
    /// One directory.
    V2,
}

/// A container's control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Of the files.
    pub version: Version,
    /// By controller; the empty name in version 2.
    pub dirs: BTreeMap<String, PathBuf>,
    /// systemd has it made, and knows its limits.
    #[serde(default)]
    scope: Option<Scope>,
}

/// A guest thread that waits in a system call waits killably for the sentry's answer (seccomp_unotify(2)), where the freezer
/// does not reach it; it freezes on its way back. The group is then never reported as frozen as a whole. It is at rest all
/// the same if nothing in it ran at any of this many looks, a millisecond apart, since the order was given.
const IDLE_LOOKS: u32 = 20;
/// How long freezing and the end of killed processes may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// The group for a configuration's `cgroupsPath`, with its directories unless systemd is to make them.
    ///
    /// # Errors
    /// The path's syntax is wrong, or the host refuses. An ordinary user without delegation gets `None`.
    pub fn create(
        path: Option<&Path>,
        id: &str,
        systemd: bool,
        may_lack: bool,
    ) -> Result<Option<Cgroup>> {
        let host = Hierarchy::of_host()?;
        if systemd {
            let given = path.map_or(String::new(), |p| p.to_string_lossy().into_owned());
            let scope = Scope::parse(&given, id, may_lack)?;
            return Ok(Some(Cgroup {
                scope: Some(scope.clone()),
                ..host.place(&scope.path()?)
            }));
        }
        let path = host.for_container(hierarchy::path_for(path, id)?);
        let cgroup = host.place(&path);
        match cgroup.make_dirs() {
            Ok(()) => {
                cgroup.check_unused()?;
                Ok(Some(cgroup))
            }
            Err(e)
                if may_lack
                    && matches!(
                        e.kind(),
                        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                    ) =>
            {
                Ok(None)
            }
            Err(e) => Err(Error::Other(format!(
                "cannot make the control group {path}: {e}"
            ))),
        }
    }

    /// Makes a new container's group around its monitor, with its limits, if systemd makes it; then it is the caller's to remove.
    ///
    /// # Errors
    /// systemd refuses; the sentence says what.
    pub fn begin(&self, id: &str, monitor: u32, limits: Option<&LinuxResources>) -> Result<()> {
        if let Some(scope) = &self.scope {
            scope.start(monitor, id, self.version, limits)?;
        }
        Ok(())
    }

    /// Whether systemd makes it, in [`Cgroup::begin`]: before that, what has its name is somebody else's.
    pub fn is_scope(&self) -> bool {
        self.scope.is_some()
    }

    /// Writes a new container's limits into the control files.
    ///
    /// # Errors
    /// The host refuses; the sentence says what.
    pub fn limit(&self, limits: Option<&LinuxResources>) -> Result<()> {
        if let Some(scope) = &self.scope {
            // Version 1 has hierarchies that systemd does not use.
            self.make_dirs()
                .map_err(|e| Error::Other(format!("the control group of {}: {e}", scope.unit)))?;
        }
        limits.map_or(Ok(()), |limits| self.write(limits))
    }

    fn make_dirs(&self) -> std::io::Result<()> {
        for (controller, dir) in &self.dirs {
            fs::create_dir_all(dir)?;
            if self.version == Version::V2 {
                hierarchy::enable_controllers(dir);
            } else if controller == "cpuset" {
                hierarchy::inherit_cpuset(dir)?;
            }
        }
        Ok(())
    }

    /// What is in a container's group is the container's, and ends with it: others may not be there before.
    fn check_unused(&self) -> Result<()> {
        for dir in self.dirs.values() {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            match text.lines().count() {
                0 => {}
                n => {
                    return Err(Error::Other(format!(
                        "container's cgroup is not empty: {n} process(es) found in {}",
                        dir.display()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Puts the calling process in.
    ///
    /// # Errors
    /// The host refuses.
    pub fn join_self(&self) -> Result<()> {
        for dir in self.dirs.values() {
            write(&dir.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Changes limits.
    ///
    /// # Errors
    /// The host refuses one; the sentence says which.
    pub fn apply(&self, resources: &LinuxResources) -> Result<()> {
        let mut resources = resources.clone();
        if self.version == Version::V2
            && let Some(dir) = self.dirs.values().next()
        {
            let now = fs::read_to_string(dir.join("cpu.max")).unwrap_or_default();
            resources::keep_bandwidth(&mut resources, &now);
        }
        if let Some(scope) = &self.scope {
            scope.set(self.version, &resources)?;
        }
        self.write(&resources)
    }

    fn write(&self, resources: &LinuxResources) -> Result<()> {
        for setting in resources::settings(self.version, resources) {
            let Some(dir) = self.dir(setting.controller) else {
                if setting.required {
                    return Err(Error::Other(format!(
                        "the host has no {} controller for the limit {}",
                        setting.controller, setting.file
                    )));
                }
                continue;
            };
            match write(&dir.join(&setting.file), &setting.value) {
                Err(e) if setting.required => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    fn dir(&self, controller: &str) -> Option<&PathBuf> {
        match self.version {
            Version::V1 => self.dirs.get(controller),
            Version::V2 => self.dirs.get(""),
        }
    }

    /// The file that counts processes killed for want of memory.
    pub fn memory_events(&self) -> Option<fs::File> {
        let name = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        fs::File::open(self.dir("memory")?.join(name)).ok()
    }

    fn freezer(&self) -> Option<(PathBuf, &'static str, &'static str)> {
        let dir = self.dir("freezer")?;
        Some(match self.version {
            Version::V1 => (dir.join("freezer.state"), "FROZEN", "THAWED"),
            Version::V2 => (dir.join("cgroup.freeze"), "1", "0"),
        })
    }

    /// Whether `pause` has stopped it.
    pub fn is_frozen(&self) -> bool {
        self.freezer().is_some_and(|(file, frozen, _)| {
            fs::read_to_string(file)
                .is_ok_and(|s| matches!(s.trim(), s if s == frozen || s == "FREEZING"))
        })
    }

    /// Stops every process.
    ///
    /// # Errors
    /// There is no freezer, or it does not come to rest.
    pub fn freeze(&self) -> Result<()> {
        let (file, frozen, thawed) = self.freezer().ok_or(Error::Other(
            "the host has no freezer controller to pause with".into(),
        ))?;
        write(&file, frozen)?;
        let deadline = Instant::now() + PATIENCE;
        let mut idle = 0;
        while !self.is_at_rest(&file) && idle < IDLE_LOOKS {
            idle = if self.runs() { 0 } else { idle + 1 };
            if Instant::now() > deadline {
                write(&file, thawed)?;
                return Err(Error::Other("unable to freeze".into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether a thread in it is on a processor or waits for one.
    fn runs(&self) -> bool {
        let file = match self.version {
            Version::V1 => "tasks",
            Version::V2 => "cgroup.threads",
        };
        let threads = self
            .dir("freezer")
            .map(|d| fs::read_to_string(d.join(file)));
        let threads = threads.and_then(std::io::Result::ok).unwrap_or_default();
        threads.lines().any(|tid| {
            let stat = fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_some_and(|(_, s)| s.starts_with('R'))
        })
    }

    fn is_at_rest(&self, file: &Path) -> bool {
        match self.version {
            Version::V1 => fs::read_to_string(file).is_ok_and(|s| s.trim() == "FROZEN"),
            Version::V2 => {
                let events = file.with_file_name("cgroup.events");
                fs::read_to_string(events).is_ok_and(|s| s.lines().any(|l| l == "frozen 1"))
            }
        }
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// The host refuses.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer() {
            Some((file, _, thawed)) if file.exists() => write(&file, thawed),
            _ => Ok(()),
        }
    }

    /// Processes in it.
    pub fn processes(&self) -> Vec<i32> {
        let Some(dir) = self.dir("pids").or(self.dirs.values().next()) else {
            return vec![];
        };
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|l| l.parse().ok()).collect()
    }

    /// Kills whatever is in it.
    pub fn kill_all(&self) {
        // At once, and whatever else is made meanwhile (Linux 5.14).
        if self.version == Version::V2
            && let Some(dir) = self.dirs.values().next()
            && write(&dir.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for pid in self.processes() {
            if pid > 0 {
                // It may have ended.
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }

    /// Removes the directories, waiting for what ends.
    ///
    /// # Errors
    /// Something stays in it.
    pub fn remove(&self) -> Result<()> {
        if let Some(scope) = &self.scope {
            scope.stop()?;
        }
        let deadline = Instant::now() + PATIENCE;
        for dir in self.dirs.values() {
            loop {
                match fs::remove_dir(dir) {
                    Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                        if Instant::now() > deadline {
                            return Err(at(format!("cannot remove {}", dir.display()))(e));
                        }
                        self.kill_all();
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(e) if e.kind() != ErrorKind::NotFound => {
                        return Err(at(format!("cannot remove {}", dir.display()))(e));
                    }
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// Writes a control file at once.
fn write(path: &Path, value: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path);
    file.and_then(|mut f| f.write_all(value.as_bytes()))
        .map_err(|e| Error::Other(format!("cannot write {value} to {}: {e}", path.display())))
}
