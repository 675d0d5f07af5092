//! A container's `config.json` (the OCI runtime specification): reading, checking, and what it means to a sandbox.
//!
//! [`load`] reads and checks; [`process`], [`mounts`] and [`seccomp`] translate parts into the sentry's terms. What cannot be
//! given to a container is an error, or a sentence in [`Notes`] where the specification lets a runtime go on.

pub mod features;
pub mod mounts;
pub mod process;
pub mod seccomp;
pub mod template;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The version of the specification that we follow.
pub const VERSION: &str = "1.2.0";

/// A sentence about what the configuration asks for and cannot have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Shorthand.
pub type Result<T> = std::result::Result<T, Invalid>;

fn invalid<T>(sentence: impl Into<String>) -> Result<T> {
    Err(Invalid(sentence.into()))
}

/// What was asked for and is not done, to be logged once.
#[derive(Debug, Default)]
pub struct Notes(pub Vec<String>);

impl Notes {
    /// Adds a sentence.
    pub fn add(&mut self, sentence: impl Into<String>) {
        self.0.push(sentence.into());
    }
}

/// Reads `config.json` of a bundle.
///
/// # Errors
/// It is missing, malformed, or asks for what cannot be.
pub fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return invalid(format!(
                "JSON specification file {} not found",
                path.display()
            ));
        }
        other => other.map_err(|e| Invalid(format!("cannot read {}: {e}", path.display())))?,
    };
    let spec: Spec = serde_json::from_slice(&text)
        .map_err(|e| Invalid(format!("{} is malformed: {e}", path.display())))?;
    check(&spec)?;
    Ok(spec)
}

fn check(spec: &Spec) -> Result<()> {
    let version = spec.version();
    if !version.starts_with("1.") {
        return invalid(format!(
            "version {version} of the specification is not supported; 1.0 to {VERSION} are"
        ));
    }
    if spec.root().is_none() {
        return invalid("the configuration has no root");
    }
    if spec.linux().is_none() {
        return invalid("the configuration has no linux section: only Linux containers are run");
    }
    for mount in spec.mounts().iter().flatten() {
        if mount.destination().as_os_str().is_empty() {
            return invalid("a mount has no destination");
        }
    }
    for hook in all_hooks(spec) {
        if !hook.path().is_absolute() {
            return invalid(format!(
                "the hook {} must be an absolute path",
                hook.path().display()
            ));
        }
        if hook.timeout().is_some_and(|t| t <= 0) {
            return invalid(format!(
                "the timeout of hook {} must be positive",
                hook.path().display()
            ));
        }
    }
    Ok(())
}

fn all_hooks(spec: &Spec) -> impl Iterator<Item = &oci_spec::runtime::Hook> {
    #[allow(deprecated)] // callers still use prestart
    spec.hooks().iter().flat_map(|h| {
        [
            h.prestart(),
            h.create_runtime(),
            h.create_container(),
            h.start_container(),
            h.poststart(),
            h.poststop(),
        ]
        .into_iter()
        .flatten()
        .flatten()
    })
}

/// The network namespace: none of its own, a fresh one, or one by path.
#[derive(Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// The caller's.
    Host,
    /// A new one.
    Own,
    /// An existing one.
    Path(&'a Path),
}

/// Which network namespace the monitor belongs to, where the engine finds and equips it.
pub fn network(spec: &Spec) -> Network<'_> {
    let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let ns = all
        .into_iter()
        .flatten()
        .find(|n| n.typ() == LinuxNamespaceType::Network);
    match ns {
        None => Network::Host,
        Some(ns) => match ns.path() {
            Some(path) => Network::Path(path),
            None => Network::Own,
        },
    }
}

/// Whether hooks run that may put interfaces into the network namespace.
fn equips_network(spec: &Spec) -> bool {
    #[allow(deprecated)] // Docker uses prestart
    spec.hooks().as_ref().is_some_and(|h| {
        let some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|l| !l.is_empty());
        some(h.prestart()) || some(h.create_runtime())
    })
}

/// Opens a namespace's path, without waiting for somebody to open the other end if it is a FIFO.
///
/// # Errors
/// It is not there, or not for us.
pub fn open_namespace(typ: impl std::fmt::Display, path: &Path) -> Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| Invalid(format!("{typ} namespace {}: {e}", path.display())))
}

/// Whether a namespace's path leads to one of its type.
fn check_namespace(typ: LinuxNamespaceType, path: &Path) -> Result<()> {
    use LinuxNamespaceType as T;
    let file = open_namespace(typ, path)?;
    let flag = match typ {
        T::Mount => libc::CLONE_NEWNS,
        T::Cgroup => libc::CLONE_NEWCGROUP,
        T::Uts => libc::CLONE_NEWUTS,
        T::Ipc => libc::CLONE_NEWIPC,
        T::User => libc::CLONE_NEWUSER,
        T::Pid => libc::CLONE_NEWPID,
        T::Network => libc::CLONE_NEWNET,
        T::Time => libc::CLONE_NEWTIME,
    };
    // Not by its link `type:[number]`: where it is mounted, as Docker and ip-netns(8) have it, that is the path.
    if crate::jail::sys::namespace_type(file.as_fd()).is_ok_and(|n| n == flag) {
        return Ok(());
    }
    invalid(format!("namespace {} is not of type {typ}", path.display()))
}

/// Says what about namespaces is not as asked.
///
/// # Errors
/// One is given twice, or its path leads to something else.
pub fn note_namespaces(spec: &Spec, notes: &mut Notes) -> Result<()> {
    use LinuxNamespaceType as T;
    let all = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let all: Vec<_> = all.into_iter().flatten().collect();
    for (i, ns) in all.iter().enumerate() {
        if all.iter().skip(i + 1).any(|other| other.typ() == ns.typ()) {
            return invalid(format!("the {} namespace is given twice", ns.typ()));
        }
        if let Some(path) = ns.path() {
            check_namespace(ns.typ(), path)?;
        }
        if let (Some(path), T::Pid | T::Ipc | T::Uts | T::Mount | T::Time | T::Cgroup) =
            (ns.path(), ns.typ())
        {
            notes.add(format!(
                "the {} namespace {} is not joined: a sandbox has its own",
                ns.typ(),
                path.display()
            ));
        }
    }
    for (typ, what) in [(T::Pid, "processes"), (T::Ipc, "System V IPC")] {
        if !all.iter().any(|n| n.typ() == typ) {
            notes.add(format!(
                "the host's {what} are not shared with the container"
            ));
        }
    }
    // A fresh namespace that nobody equips is as good as our loopback: `--network none`.
    if network(spec) != Network::Own || equips_network(spec) {
        notes.add("the container has no network but its own loopback");
    }
    Ok(())
}

/// What of the Linux section has no meaning inside, each with one sentence.
pub fn note_rest(spec: &Spec, notes: &mut Notes) {
    let Some(linux) = spec.linux() else { return };
    let process = spec.process().as_ref();
    for (given, what) in [
        (linux.mount_label().is_some(), "SELinux mount labels"),
        (linux.intel_rdt().is_some(), "Intel RDT"),
        (linux.personality().is_some(), "the personality"),
        (linux.time_offsets().is_some(), "time offsets"),
        (linux.net_devices().is_some(), "network devices"),
        (linux.memory_policy().is_some(), "the memory policy"),
        (
            process.is_some_and(|p| p.selinux_label().is_some()),
            "the SELinux label",
        ),
        (
            process.is_some_and(|p| p.exec_cpu_affinity().is_some()),
            "the CPU affinity of exec",
        ),
    ] {
        if given {
            notes.add(format!("{what} of the configuration cannot be applied"));
        }
    }
    if process.is_some_and(|p| p.apparmor_profile().is_some()) {
        notes.add(
            "the AppArmor profile is not applied: the program meets no host kernel to be confined in",
        );
    }
    let resources = linux.resources().as_ref();
    let memory = resources.and_then(|r| r.memory().as_ref());
    for (given, what) in [
        (
            resources.is_some_and(|r| r.network().is_some()),
            "network classes and priorities",
        ),
        (resources.is_some_and(|r| r.rdma().is_some()), "RDMA limits"),
        (
            memory.is_some_and(|m| m.kernel().is_some() || m.kernel_tcp().is_some()),
            "limits of the host kernel's own memory",
        ),
        (
            linux.rootfs_propagation().is_some(),
            "the propagation of the root's mounts",
        ),
    ] {
        if given {
            notes.add(format!("{what} of the configuration cannot be applied"));
        }
    }
}

/// Sysctls that a sandbox can be given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sysctls {
    /// `kernel.domainname`, as Docker sets it.
    pub domainname: Option<String>,
    /// `net.ipv4.ip_unprivileged_port_start`.
    pub unprivileged_ports: Option<u16>,
}

/// Those of a configuration; for the others a word, unless the sandbox has that value anyway.
///
/// # Errors
/// A value is none.
pub fn sysctls(spec: &Spec, notes: &mut Notes) -> Result<Sysctls> {
    let mut out = Sysctls::default();
    let all = spec.linux().as_ref().and_then(|l| l.sysctl().as_ref());
    for (key, value) in all.into_iter().flatten() {
        let words = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
        match key.replace('/', ".").as_str() {
            "kernel.domainname" => out.domainname = Some(value.clone()),
            "net.ipv4.ip_unprivileged_port_start" => {
                let port = value.trim().parse();
                out.unprivileged_ports =
                    Some(port.map_err(|_| Invalid(format!("sysctl {key}: {value} is no port")))?);
            }
            dotted => {
                let own = cofferdam_sentry::procfs::sysctl(&dotted.replace('.', "/"));
                if own.is_none_or(|own| words(&own) != words(value)) {
                    notes.add(format!(
                        "the sysctl {key} is not modelled; the sandbox has its own value"
                    ));
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(linux: &str) -> Spec {
        serde_json::from_str(&format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"rootfs"}},"linux":{linux}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn sysctls_are_taken_where_they_are_modelled() {
        let spec = parse(
            r#"{"sysctl":{"kernel.domainname":"d","net.ipv4.ip_unprivileged_port_start":"0","kernel.sem":"32000 1024000000 500 32000"}}"#,
        );
        let mut notes = Notes::default();
        let wanted = Sysctls {
            domainname: Some("d".into()),
            unprivileged_ports: Some(0),
        };
        assert_eq!(sysctls(&spec, &mut notes).unwrap(), wanted);
        assert!(notes.0.is_empty(), "{:?}", notes.0);
        let bad = parse(r#"{"sysctl":{"net.ipv4.ip_unprivileged_port_start":"x"}}"#);
        assert!(sysctls(&bad, &mut notes).is_err());
    }

    #[test]
    fn network_namespaces() {
        assert_eq!(network(&parse("{}")), Network::Host);
        let own = parse(r#"{"namespaces":[{"type":"network"}]}"#);
        assert_eq!(network(&own), Network::Own);
        let path = parse(r#"{"namespaces":[{"type":"network","path":"/x"}]}"#);
        assert_eq!(network(&path), Network::Path(Path::new("/x")));
    }

    #[test]
    fn what_has_no_meaning_is_said() {
        let spec = parse(
            r#"{"namespaces":[{"type":"pid","path":"/proc/self/ns/pid"}],"sysctl":{"a.b":"1"}}"#,
        );
        let mut notes = Notes::default();
        note_namespaces(&spec, &mut notes).unwrap();
        note_rest(&spec, &mut notes);
        sysctls(&spec, &mut notes).unwrap();
        let text = notes.0.join("\n");
        for part in [
            "pid namespace /proc/self/ns/pid",
            "System V IPC",
            "loopback",
            "a.b",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
