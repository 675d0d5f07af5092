//! What a role's process gives up besides namespaces, capabilities and system calls.

use super::{Result, at, sys};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

/// Has the kernel kill this process when the thread that made it ends. A change of user id undoes it, so it
/// comes after that; the caller then checks that its parent still lives.
///
/// # Errors
/// Names the step.
pub fn die_with_parent() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(at("tie its life to its parent's"))
}

/// Makes memory, descriptors and `/proc` entries of this process unreachable for others of its user.
///
/// # Errors
/// Names the step.
pub fn undumpable() -> Result<()> {
    nix::sys::prctl::set_dumpable(false).map_err(at("become non-dumpable"))
}

/// Undoes [`undumpable`], and what a change of user id did. Children inherit it: a process of one's own user that is not
/// dumpable cannot be traced.
///
/// # Errors
/// Names the step.
pub fn dumpable() -> Result<()> {
    nix::sys::prctl::set_dumpable(true).map_err(at("become dumpable"))
}

/// No execve gains rights from here on; seccomp filters need it.
///
/// # Errors
/// Names the step.
pub fn no_new_privs() -> Result<()> {
    nix::sys::prctl::set_no_new_privs().map_err(at("set no_new_privs"))
}

/// No core file: it would hold guest memory.
///
/// # Errors
/// Names the step.
pub fn no_core() -> Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(at("forbid core files"))
}

/// As many descriptors as the host allows: what a guest has open is open here.
pub fn many_descriptors() {
    let limit = getrlimit(Resource::RLIMIT_NOFILE);
    if let Ok((_, hard)) = limit
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::warn!("cannot raise the limit on descriptors to {hard}: {e}");
    }
}

/// Files in memory may be as large as the host allows: those of guests, of which each process has a limit of its own, are ours.
pub fn large_files() {
    let limit = getrlimit(Resource::RLIMIT_FSIZE);
    if let Ok((soft, hard)) = limit
        && soft != hard
        && let Err(e) = setrlimit(Resource::RLIMIT_FSIZE, hard, hard)
    {
        log::warn!("cannot raise the limit on file sizes to {hard}: {e}");
    }
}

/// Leaves the caller's session: no controlling terminal, no signals from its keyboard.
///
/// # Errors
/// Names the step.
pub fn own_session() -> Result<()> {
    nix::unistd::setsid()
        .map(drop)
        .map_err(at("start a session"))
}

/// Closes every descriptor that is not in `keep`. The standard streams among them lead to /dev/null instead, if it is there: what the process or its
/// libraries say on standard error must not end in a file that got that number.
///
/// # Errors
/// Names the step.
pub fn close_all_but(keep: &[RawFd]) -> Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    keep.sort_unstable();
    let mut next = 0;
    for fd in keep {
        if let Some(last) = fd.checked_sub(1)
            && next <= last
        {
            sys::close_range(next, last).map_err(at("close descriptors"))?;
        }
        next = fd.saturating_add(1).max(next);
    }
    sys::close_range(next, u32::MAX).map_err(at("close descriptors"))?;
    let mut null = std::fs::OpenOptions::new();
    null.read(true).write(true);
    // The lowest free number is that of a standard stream, until none is free.
    while let Ok(stream) = null.open("/dev/null") {
        if stream.as_raw_fd() > 2 {
            break;
        }
        let _ = stream.into_raw_fd();
    }
    Ok(())
}

/// Becomes user and group 0 of the own user namespace, in no other group where the host lets go of those.
///
/// # Errors
/// Names the step.
pub fn become_root_of_namespace(may_drop_groups: bool) -> Result<()> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    if may_drop_groups {
        setgroups(&[]).map_err(at("leave the caller's groups"))?;
    }
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid).map_err(at("change its group"))?;
    setresuid(uid, uid, uid).map_err(at("change its user"))
}

/// Makes this process look like the program that it stands for, in ps(1) and the like, as far as the host allows.
pub fn set_title(argv: &[Vec<u8>]) {
    let name = argv.first().map_or(&[][..], Vec::as_slice);
    let name = name.rsplit(|b| *b == b'/').next().unwrap_or(name);
    if let Ok(name) = std::ffi::CString::new(name) {
        // A name is a courtesy.
        let _ = nix::sys::prctl::set_name(&name);
    }
    let line: Vec<u8> = argv
        .iter()
        .flat_map(|a| [a.as_slice(), b"\0"].concat())
        .collect();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Err(e) = sys::set_command_line(&stat, line.leak()) {
        log::debug!("the command line in /proc stays: {e}");
    }
}

/// Ends the process with all its threads at once, running nothing.
pub fn exit_now(status: u8) -> ! {
    sys::exit_now(status)
}
