//! What the host must offer, and the sentences for a host that does not: which setting it is and how to change it.

use super::{Error, Result};
use nix::errno::Errno;
use std::fs;

/// Oldest kernel that has all that is needed: mount_setattr (5.12), and user notifications whose receiver a
/// signal cannot interrupt (5.19).
const OLDEST_KERNEL: (u32, u32) = (5, 19);

/// Descriptors that a sandbox needs to start, and a simple program to run.
const FEWEST_DESCRIPTORS: u64 = 64;

/// Names of the platforms, in the order in which they are tried.
pub const PLATFORMS: &[&str] = &["inline", "notify", "ptrace"];

/// In place of a name: the first that works.
pub const AUTO: &str = "auto";

/// Whether this machine can run sandboxes on a platform, as far as can be told without starting one.
///
/// # Errors
/// The sentence that says what is missing.
pub fn check_platform(name: &str) -> Result<()> {
    if name != AUTO && !PLATFORMS.contains(&name) {
        return Err(Error::Request(format!(
            "there is no platform '{name}'; choose from: {AUTO}, {} (see 'cofferdam platforms')",
            PLATFORMS.join(", ")
        )));
    }
    check_descriptors()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    check_kernel(&release)?;
    if !fs::exists("/proc/self/status").unwrap_or(false) {
        return Err(Error::Host(
            "/proc is not mounted; Cofferdam needs it: mount -t proc proc /proc".into(),
        ));
    }
    // As `unshare --pid` without --mount-proc leaves it.
    let own = fs::read_link("/proc/self").ok();
    if own.is_none_or(|name| name.as_os_str() != std::process::id().to_string().as_str()) {
        return Err(Error::Host(
            "/proc is that of another PID namespace; mount one of this: mount -t proc proc /proc"
                .into(),
        ));
    }
    if let Err(e) = crate::jail::user_notification_available() {
        if release.trim() == cofferdam_sentry::kernel::RELEASE {
            return Err(Error::Host(
                "this is inside a Cofferdam sandbox, and sandboxes cannot be nested; run the program here without it".into(),
            ));
        }
        return Err(Error::Host(format!(
            "the host kernel lacks seccomp user notifications ({e}); it must be built with CONFIG_SECCOMP_FILTER"
        )));
    }
    match setting("kernel/yama/ptrace_scope") {
        Some(scope) if scope >= 2 => Err(Error::Host(format!(
            "kernel.yama.ptrace_scope={scope} forbids tracing one's own children, which the {name} platform does; \
             allow it: sysctl kernel.yama.ptrace_scope=1{}",
            if scope >= 3 {
                " (3 can only be left by a reboot)"
            } else {
                ""
            }
        ))),
        _ => Ok(()),
    }
}

/// Whether the limit on descriptors lets a sandbox start. A low soft limit is raised: those of the programs inside are their own.
fn check_descriptors() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(());
    };
    if hard < FEWEST_DESCRIPTORS {
        return Err(Error::Host(format!(
            "no more than {hard} descriptors are allowed here (ulimit -n), too few for a sandbox, where one process holds those of all programs inside; \
             allow 1024 or more"
        )));
    }
    if soft < FEWEST_DESCRIPTORS {
        // Else some later step says what is missing.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, FEWEST_DESCRIPTORS, hard);
    }
    Ok(())
}

/// Whether this machine lets the processes of a sandbox be made: makes one, which ends at once. The caller must be single-threaded.
///
/// # Errors
/// The sentence that says what forbids it.
pub fn check_namespaces() -> Result<()> {
    let plan = super::ids::Plan::for_caller()?;
    for maps in [plan.gofer_maps()?, plan.sentry_maps()] {
        super::spawn::spawn(&maps, || 0)?.wait();
    }
    Ok(())
}

fn check_kernel(release: &str) -> Result<()> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if release.is_empty() || version >= OLDEST_KERNEL {
        return Ok(());
    }
    let (major, minor) = OLDEST_KERNEL;
    Err(Error::Host(format!(
        "the host kernel is {}, too old for Cofferdam; boot Linux {major}.{minor} or newer",
        release.trim()
    )))
}

/// A number under /proc/sys, if there is one.
fn setting(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{name}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Why a process in new namespaces could not be cloned.
pub fn explain_clone(errno: Errno) -> Error {
    let zero = |name: &str| setting(name) == Some(0);
    let sentence = match errno {
        _ if zero("user/max_user_namespaces") => {
            "the host allows no user namespaces (user.max_user_namespaces=0); allow them: sysctl user.max_user_namespaces=10000"
                .into()
        }
        Errno::ENOSPC | Errno::EUSERS => {
            "the host allows no more namespaces; raise the limits: sysctl user.max_user_namespaces and the other user.max_*_namespaces, \
             or nest sandboxes less deeply"
                .into()
        }
        Errno::EPERM | Errno::EACCES if zero("kernel/unprivileged_userns_clone") => {
            "the host forbids unprivileged user namespaces (kernel.unprivileged_userns_clone=0); \
             allow them (sysctl kernel.unprivileged_userns_clone=1) or run as root"
                .into()
        }
        Errno::EPERM | Errno::EACCES if apparmor_restricts() => APPARMOR.into(),
        Errno::EPERM | Errno::EACCES => {
            "the host forbids new namespaces to this process (a container's seccomp profile or a chroot does that); \
             run Cofferdam outside of it, or loosen it (Docker: --security-opt seccomp=unconfined)"
                .into()
        }
        Errno::EINVAL => {
            "the host kernel lacks user, pid or network namespaces; it must be built with CONFIG_USER_NS, CONFIG_PID_NS and CONFIG_NET_NS"
                .into()
        }
        Errno::ENOSYS => "the host does not know clone3(2); boot Linux 5.19 or newer, or loosen the seccomp profile that hides it \
             (Docker: --security-opt seccomp=unconfined)"
                .into(),
        Errno::EAGAIN | Errno::ENOMEM => {
            format!("cannot start a process of the sandbox: {}; raise RLIMIT_NPROC (ulimit -u) or free memory", errno.desc())
        }
        _ => format!("cannot start a process of the sandbox: {}", errno.desc()),
    };
    Error::Host(sentence)
}

const APPARMOR: &str = "AppArmor restricts unprivileged user namespaces (kernel.apparmor_restrict_unprivileged_userns=1); \
     allow them (sysctl kernel.apparmor_restrict_unprivileged_userns=0), give cofferdam a profile with 'userns,', or run as root";

fn apparmor_restricts() -> bool {
    setting("kernel/apparmor_restrict_unprivileged_userns") == Some(1)
        && !nix::unistd::geteuid().is_root()
}

/// Why a user namespace's map could not be written.
pub fn explain_map(file: &str, error: &std::io::Error) -> Error {
    if apparmor_restricts() {
        return Error::Host(APPARMOR.into());
    }
    if nix::unistd::geteuid().is_root() && !may_map() {
        return Error::Host(format!(
            "root lacks the capabilities to map users of a sandbox, so {file} cannot be set ({error}); give it CAP_SETUID, CAP_SETGID and \
             CAP_SETFCAP (Docker: --cap-add SETUID --cap-add SETGID --cap-add SETFCAP), or run Cofferdam as another user (Docker: --user 1000)"
        ));
    }
    Error::Host(format!(
        "cannot set {file} of the sandbox's user namespace: {error}; run as root or as a user whom the host lets do that"
    ))
}

/// Whether this process has CAP_SETUID, CAP_SETGID and, to map root, CAP_SETFCAP (user_namespaces(7)).
fn may_map() -> bool {
    const ALL: u64 = 1 << 6 | 1 << 7 | 1 << 31;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    effective.is_none_or(|c| u64::from_str_radix(c.trim(), 16).is_ok_and(|c| c & ALL == ALL))
}

/// Adds the likely cause to what was refused while the gofer's mount tree was built.
pub fn explain_tree(error: &cofferdam_gofer::tree::TreeError) -> String {
    use cofferdam_gofer::tree::TreeError;
    let refused = matches!(error, TreeError::Step { source, .. } if matches!(source, Errno::EPERM | Errno::EACCES));
    if refused && apparmor_restricts() {
        return APPARMOR.into();
    }
    if refused {
        return format!(
            "{error}; does a container's seccomp profile forbid it (Docker: --security-opt seccomp=unconfined)?"
        );
    }
    error.to_string()
}

/// Adds the likely cause to a step of the jail that was refused after the namespaces had been made.
pub fn explain_jail(error: &crate::jail::Error) -> String {
    if matches!(
        error.source.raw_os_error(),
        Some(libc::EPERM | libc::EACCES)
    ) && apparmor_restricts()
    {
        return APPARMOR.into();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_too_old_are_named() {
        assert!(check_kernel("6.1.0-18-amd64\n").is_ok());
        assert!(check_kernel("5.19.0").is_ok());
        let e = check_kernel("5.10.0-28-amd64\n").unwrap_err().to_string();
        assert!(e.contains("5.10.0-28-amd64") && e.contains("5.19"), "{e}");
    }

    #[test]
    fn all_platforms_are_listed() {
        let known: Vec<&str> = cofferdam_platform::KINDS.iter().map(|k| k.name()).collect();
        assert_eq!(known, PLATFORMS);
    }

    #[test]
    fn unknown_platforms_are_named() {
        let e = check_platform("kvm").unwrap_err().to_string();
        assert!(e.contains("'kvm'") && e.contains("ptrace"), "{e}");
    }
}
