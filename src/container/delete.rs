//! `delete`: everything of a container goes.

use super::store::{Container, Status, Store, is_alive};
use super::{Error, Result, hooks, start};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long the processes of a killed sandbox may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a stopped container; with `force` a running one too, and a missing one is no error.
///
/// # Errors
/// It still runs, or something of it cannot be removed.
pub fn delete(store: &Store, id: &str, force: bool) -> Result<()> {
    let claim = match store.claim(id) {
        Err(Error::NotExist) if force => return Ok(()),
        other => other?,
    };
    let loaded = store.load(id);
    if !claim.is_current() {
        // Deleted by another verb; what has the name now is another container.
        return if force { Ok(()) } else { Err(Error::NotExist) };
    }
    let container = match loaded {
        Err(Error::NotExist) if claim.is_held() && force => {
            return store.remove_unfinished(id, &claim);
        }
        Err(Error::NotExist) if !claim.is_held() => {
            return Err(Error::Other(format!("container {id} is being created")));
        }
        // A `create` or `delete` that waits for a hook ends, at the latest, when it finds its container gone.
        loaded => loaded?,
    };
    let status = container.status();
    if status != Status::Stopped {
        if !force && status != Status::Created {
            return Err(Error::Other(format!(
                "cannot delete container {id} that is not stopped: {}",
                status.name()
            )));
        }
        end(&container);
    }
    if let Some(cgroup) = &container.saved.cgroup {
        // What a killed monitor has left behind ends by itself; this only makes sure.
        cgroup.kill_all();
        cgroup.remove()?;
    }
    let saved = &container.saved;
    let state = start::state(&container, Status::Stopped);
    let poststop = saved
        .spec
        .hooks()
        .as_ref()
        .and_then(|h| h.poststop().as_ref());
    claim.remove()?;
    drop(claim);
    // The specification: a failing poststop hook is logged, and everything goes on.
    for e in hooks::run_all("poststop", poststop, &state, &saved.bundle) {
        log::warn!("{e}");
    }
    Ok(())
}

/// Kills the monitor, with which the sandbox ends, and waits until it is gone.
fn end(container: &Container) {
    signal_monitor(container, libc::SIGKILL);
    if let Some(cgroup) = &container.saved.cgroup
        && let Err(e) = cgroup.thaw()
    {
        log::warn!("{e}");
    }
    await_end(container);
}

/// Waits until a killed monitor is gone, and the sandbox with it.
pub fn await_end(container: &Container) {
    let deadline = Instant::now() + PATIENCE;
    while is_alive(container.saved.pid, container.saved.start_time) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A signal to the monitor itself, if it is still that process.
pub fn signal_monitor(container: &Container, signal: i32) {
    let saved = &container.saved;
    if is_alive(saved.pid, saved.start_time)
        && let Ok(signal) = nix::sys::signal::Signal::try_from(signal)
    {
        // It may end at any moment.
        let _ = kill(Pid::from_raw(saved.pid), signal);
    }
}
