//! `create`: checks the configuration, forks the monitor, runs the hooks, and leaves a container that waits for `start`.

use super::cgroup::Cgroup;
use super::claim::Claim;
use super::console::{self, Console};
use super::monitor::{Monitor, Network, Setup};
use super::protocol::Connection;
use super::settings::Overlay;
use super::store::{self, Container, Saved, Status, Store};
use super::{
    Error, Result, Settings, at, cannot_start, exec, foreground, fork, hooks, monitor, start,
};
use crate::jail::sys;
use crate::oci::{self, Notes, mounts, process};
use crate::sandbox::start::Start;
use cofferdam_sentry::boot::GuestConfig;
use cofferdam_sentry::kernel::{Allowance, IdMaps};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime::{Hook, Hooks, Linux, LinuxIdMapping, Spec};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// The runtime's global options.
#[derive(Debug)]
pub struct Runtime {
    /// Where containers are.
    pub store: Store,
    /// Our own settings, before annotations.
    pub settings: Settings,
    /// `cgroupsPath` is `slice:prefix:name`.
    pub systemd_cgroup: bool,
    /// The caller may be without a control group.
    pub rootless: bool,
    /// Log descriptors to keep open in the container's processes.
    pub log_fds: Vec<RawFd>,
}

/// What a caller of `create` and `run` says.
#[derive(Debug, Default)]
pub struct Request {
    /// The container's name.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Where the terminal's master goes.
    pub console_socket: Option<PathBuf>,
    /// Where the monitor's pid goes.
    pub pid_file: Option<PathBuf>,
    /// Where a descriptor of the monitor goes.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// The caller itself looks at the terminal.
    pub foreground: bool,
}

/// A created container; with the terminal's master if the caller looks at it itself.
#[derive(Debug)]
pub struct Created {
    /// The container.
    pub container: Container,
    /// The terminal.
    pub master: Option<OwnedFd>,
}

/// Creates.
///
/// # Errors
/// In the words that callers know; nothing is left behind.
pub fn create(runtime: &Runtime, request: &Request) -> Result<Created> {
    let bundle = request
        .bundle
        .canonicalize()
        .map_err(at(format!("bundle {}", request.bundle.display())))?;
    let spec = oci::load(&bundle)?;
    let (dir, claim) = runtime.store.reserve(&request.id)?;
    let mut undo = Undo {
        claim: Some(claim),
        cgroup: None,
        monitor: None,
    };
    let created = create_in(runtime, request, &bundle, spec, &dir, &mut undo)?;
    undo.claim = None;
    Ok(created)
}

/// What to take back if something fails.
struct Undo {
    /// Held until everything is there, or taken back.
    claim: Option<Claim>,
    cgroup: Option<Cgroup>,
    monitor: Option<Pid>,
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else {
            return;
        };
        if let Some(pid) = self.monitor {
            // It may have ended.
            let _ = kill(pid, Signal::SIGKILL);
            // What is frozen does not die.
            if let Some(Err(e)) = self.cgroup.as_ref().map(Cgroup::thaw) {
                log::warn!("{e}");
            }
            let _ = waitpid(pid, None);
        }
        let group = self.cgroup.as_ref().map_or(Ok(()), Cgroup::remove);
        for e in [group, claim.remove()].into_iter().filter_map(Result::err) {
            log::warn!("{e}");
        }
    }
}

fn create_in(
    runtime: &Runtime,
    request: &Request,
    bundle: &Path,
    spec: Spec,
    dir: &Path,
    undo: &mut Undo,
) -> Result<Created> {
    let mut notes = Notes::default();
    let mut settings = runtime.settings.clone();
    if let Some(annotations) = spec.annotations() {
        settings.annotate(annotations)?;
    }
    crate::sandbox::check_platform(&settings.platform)?;
    let linux = spec.linux().as_ref();
    let overflow = crate::sandbox::ids::overflows();
    let terms = mounts::Terms {
        overlay: settings.overlay == Overlay::Memory,
        overflow,
    };
    let files = mounts::plan(&spec, bundle, terms, &mut notes)?;
    oci::note_namespaces(&spec, &mut notes)?;
    oci::note_rest(&spec, &mut notes);
    let rootfs = files
        .served
        .exports
        .first()
        .map(|e| e.source.clone())
        .unwrap_or_default();
    let guest = guest(&spec, files.mounted, files.devices, &mut notes)?;
    cofferdam_gofer::tree::check(&files.served.entries).map_err(at("rootfs"))?;

    let limits = linux.and_then(|l| l.resources().clone());
    let cgroup = Cgroup::create(
        linux.and_then(|l| l.cgroups_path().as_deref()),
        &request.id,
        runtime.systemd_cgroup,
        runtime.rootless,
    )?;
    let ours = cgroup.as_ref().filter(|group| !group.is_scope());
    undo.cgroup = ours.cloned();
    store::save_unfinished(dir, ours)?;
    if cgroup.is_none() {
        notes.add(
            "there is no control group for this container: its limits are not enforced by the host",
        );
    }

    let console = console(request, guest.process.terminal)?;
    let listener = store::bind(dir)?;
    let (ours, theirs) = monitor::handshake()?;
    let strace = settings.strace.as_ref().map(|path| {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        file.map_err(at(format!("cannot write {}", path.display())))
    });
    let strace = strace.transpose()?;
    let program = guest.process.argv.first().cloned().unwrap_or_default();
    let (master, slave) = match console {
        Some(c) => (Some(c.master), Some(c.slave)),
        None => (None, None),
    };
    let isolated = !runtime.rootless;
    let setup = Setup {
        parent: theirs,
        isolated,
        listener,
        slave,
        preserve_fds: request.preserve_fds,
        cgroup: cgroup.clone(),
        network: match oci::network(&spec) {
            oci::Network::Host => Network::Host,
            oci::Network::Own => Network::Own,
            oci::Network::Path(path) => Network::At(oci::open_namespace("network", path)?),
        },
        oom_score_adj: guest.process.oom_score_adj,
        hooks: (
            hooks_of(&spec, |h| h.create_container().as_ref()).to_vec(),
            bundle.to_owned(),
        ),
        mappings: linux.and_then(|l| {
            let uid = l.uid_mappings().as_deref().filter(|m| !m.is_empty())?;
            Some(crate::sandbox::ids::Maps::from_lines(
                &lines(uid),
                &lines(l.gid_mappings().as_deref().unwrap_or_default()),
            ))
        }),
        start: Start {
            gofer_maps: Default::default(),
            served: files.served,
            guest,
            streams: vec![],
            guest_oom_score_adj: 0,
            platform: settings.platform.clone(),
            // The monitor opens it when the group is there.
            memory_events: None,
            strace,
            profile: None,
            sentry_keeps: runtime.log_fds.clone(),
            keep: runtime.log_fds.clone(),
        },
    };
    let flags = if isolated {
        libc::CLONE_NEWPID | libc::CLONE_NEWNS
    } else {
        0
    };
    let pid = fork::fork(flags, move || Monitor::run(setup))?;
    undo.monitor = Some(pid);
    let mut talk = Talk {
        with: ours,
        program,
    };
    if let Some(cgroup) = &cgroup {
        cgroup.begin(&request.id, pid.as_raw().unsigned_abs(), limits.as_ref())?;
        undo.cgroup = Some(cgroup.clone());
        store::save_unfinished(dir, Some(cgroup))?;
        cgroup.limit(limits.as_ref())?;
    }
    talk.with.send(&monitor::Limited, &[])?;
    talk.expect_namespaces()?;
    let container = Container::save_new(
        dir.to_owned(),
        Saved {
            id: request.id.clone(),
            pid: pid.as_raw(),
            start_time: store::start_time(pid.as_raw()).unwrap_or(0),
            bundle: bundle.to_owned(),
            rootfs,
            created: crate::clock::rfc3339_now(),
            owner: nix::unistd::getuid().as_raw(),
            cgroup,
            spec,
        },
    )?;
    runtime_hooks(&container)?;
    talk.go(&container)?;
    for note in notes.0 {
        log::warn!("{note}");
    }
    if let (Some(master), Some(path)) = (&master, &request.console_socket) {
        console::send_fd(path, master, b"/dev/ptmx")?;
    }
    if let Some(path) = &request.pidfd_socket {
        let pidfd = sys::pidfd(pid.as_raw()).map_err(at("cannot open the monitor's pidfd"))?;
        console::send_fd(path, &pidfd, b"pidfd")?;
    }
    if let Some(path) = &request.pid_file {
        store::write_pid_file(path, pid.as_raw())?;
    }
    Ok(Created {
        container,
        master: master.filter(|_| request.foreground),
    })
}

fn lines(mappings: &[LinuxIdMapping]) -> String {
    let line = |m: &LinuxIdMapping| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size());
    mappings.iter().map(line).collect()
}

/// The conversation with the monitor while it sets up.
struct Talk {
    with: Connection,
    program: Vec<u8>,
}

impl Talk {
    fn expect_namespaces(&mut self) -> Result<()> {
        match self.with.receive()? {
            Some(monitor::Progress::Namespaces) => Ok(()),
            other => Err(self.failed(other)),
        }
    }

    /// Everything is ready for the sandbox itself; waits until it is there.
    fn go(&mut self, container: &Container) -> Result<()> {
        let hooks = hooks_of(&container.saved.spec, |h| h.create_container().as_ref());
        if hooks.is_empty() {
            self.with.send(&monitor::Go, &[])?;
        } else {
            let state = start::state(container, Status::Creating).to_string();
            let state = exec::file_with("state", state.as_bytes())?;
            self.with.send(&monitor::Go, &[state.as_fd()])?;
        }
        match self.with.receive()? {
            Some(monitor::Progress::Ready) => Ok(()),
            other => Err(self.failed(other)),
        }
    }

    fn failed(&self, said: Option<monitor::Progress>) -> Error {
        Error::Other(match said {
            Some(monitor::Progress::Failed { status, sentence }) => {
                cannot_start(&self.program, status, &sentence)
            }
            _ => "unable to start container process: the monitor ended without a word".into(),
        })
    }
}

fn hooks_of(spec: &Spec, kind: impl FnOnce(&Hooks) -> Option<&Vec<Hook>>) -> &[Hook] {
    let list = spec.hooks().as_ref().and_then(kind);
    list.map_or(&[], Vec::as_slice)
}

/// Those that run on the host.
fn runtime_hooks(container: &Container) -> Result<()> {
    let Some(hooks) = container.saved.spec.hooks() else {
        return Ok(());
    };
    let state = start::state(container, Status::Creating);
    let bundle = &container.saved.bundle;
    #[allow(deprecated)] // Docker uses prestart
    let kinds = [
        ("prestart", hooks.prestart().as_ref()),
        ("createRuntime", hooks.create_runtime().as_ref()),
    ];
    for (kind, list) in kinds {
        hooks::run(kind, list, &state, bundle)?;
    }
    Ok(())
}

fn console(request: &Request, terminal: Option<(u16, u16)>) -> Result<Option<Console>> {
    match (terminal, &request.console_socket) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Error::Other(
            "cannot use console socket if the process has no terminal".into(),
        )),
        (Some(_), None) if !request.foreground => Err(Error::Other(
            "cannot allocate tty if the container is detached without setting console socket"
                .into(),
        )),
        (Some(size), socket) => {
            if socket.is_none() {
                foreground::own_terminal()?;
            }
            Console::open(size).map(Some)
        }
    }
}

/// The sentry's part of a configuration.
fn guest(
    spec: &Spec,
    mounted: crate::sandbox::tree::Mounted,
    devices: Vec<cofferdam_sentry::boot::DeviceConfig>,
    notes: &mut Notes,
) -> Result<GuestConfig> {
    let process = spec.process().as_ref();
    let process = process.ok_or(Error::Other("the configuration has no process".into()))?;
    let linux = spec.linux().as_ref();
    let paths = |list: Option<&Vec<String>>| -> Vec<Vec<u8>> {
        list.into_iter()
            .flatten()
            .map(|p| p.clone().into_bytes())
            .collect()
    };
    let resources = linux.and_then(|l| l.resources().as_ref());
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    let hostname = spec.hostname().clone();
    let sysctls = oci::sysctls(spec, notes)?;
    let domainname = spec.domainname().clone().or(sysctls.domainname);
    Ok(GuestConfig {
        root: mounted.root,
        kernel_mounts: false,
        mounts: mounted.mounts,
        devices,
        masked: paths(linux.and_then(|l| l.masked_paths().as_ref())),
        read_only_paths: paths(linux.and_then(|l| l.readonly_paths().as_ref())),
        process: process::translate(
            process,
            linux.and_then(|l| l.seccomp().as_ref()),
            true,
            notes,
        )?,
        is_init: true,
        wait_for_start: true,
        hostname: hostname.unwrap_or_else(host_name).into_bytes(),
        domainname: domainname.map(String::into_bytes),
        cpu_time: None,
        unprivileged_ports: sysctls.unprivileged_ports,
        machine_memory: nix::sys::sysinfo::sysinfo().ok().map(|s| s.ram_total()),
        id_maps: linux.and_then(id_maps),
        // Without a control group; else what that says.
        allowance: Allowance {
            memory: resources
                .and_then(|r| r.memory().as_ref())
                .and_then(|m| m.limit())
                .and_then(positive),
            tasks: resources
                .and_then(|r| r.pids().as_ref())
                .and_then(|p| positive(p.limit())),
            ..Allowance::default()
        },
    })
}

/// What the program sees of its user namespace.
fn id_maps(linux: &Linux) -> Option<IdMaps> {
    let triples = |lines: &Option<Vec<LinuxIdMapping>>| -> Vec<[u32; 3]> {
        let triple = |m: &LinuxIdMapping| [m.container_id(), m.host_id(), m.size()];
        lines.iter().flatten().map(triple).collect()
    };
    let users = triples(linux.uid_mappings());
    (!users.is_empty()).then(|| IdMaps {
        users,
        groups: triples(linux.gid_mappings()),
    })
}

/// Without a name of its own a container has the host's, as if it shared the UTS namespace.
fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|n| n.into_string().ok())
        .unwrap_or("cofferdam".into())
}
