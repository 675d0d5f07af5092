//! `start`, `kill`, and the container's state as the specification has it.

use super::store::{Container, Status};
use super::{Error, Result, hooks, protocol};
use crate::oci;
use serde_json::{Value, json};

/// Lets the program of a created container run.
///
/// # Errors
/// It is not merely created, or a hook failed.
pub fn start(container: &Container) -> Result<()> {
    match container.status() {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::Other(
                "cannot start a container that has stopped".into(),
            ));
        }
        Status::Creating => {
            return Err(Error::Other(
                "cannot start a container that is being created".into(),
            ));
        }
        Status::Running | Status::Paused => {
            return Err(Error::Other(
                "cannot start an already running container".into(),
            ));
        }
    }
    let hooks = container.saved.spec.hooks().as_ref();
    let bundle = &container.saved.bundle;
    let before = hooks::inside::run(
        container,
        hooks.and_then(|h| h.start_container().as_ref()),
        &state(container, Status::Created),
    );
    or_end(container, before)?;
    container.ask(&protocol::Request::Start)?;
    let after = hooks::run(
        "poststart",
        hooks.and_then(|h| h.poststart().as_ref()),
        &state(container, Status::Running),
        bundle,
    );
    or_end(container, after)
}

/// The specification: a container whose hook failed is stopped.
fn or_end(container: &Container, outcome: Result<()>) -> Result<()> {
    if outcome.is_err() {
        // It may have ended by itself.
        let _ = kill(container, libc::SIGKILL, false);
        super::delete::await_end(container);
    }
    outcome
}

/// Sends a signal to init, or to every process.
///
/// # Errors
/// [`Error::NotRunning`].
pub fn kill(container: &Container, signal: i32, all: bool) -> Result<()> {
    match container.status() {
        // Nobody of all is left.
        Status::Stopped if all => Ok(()),
        Status::Stopped => Err(Error::NotRunning),
        Status::Paused => {
            // The monitor cannot answer; what it gets it passes on when it thaws. SIGKILL ends it even now.
            super::delete::signal_monitor(container, signal);
            if signal == libc::SIGKILL
                && let Some(cgroup) = &container.saved.cgroup
            {
                cgroup.thaw()?;
            }
            Ok(())
        }
        // The monitor takes no orders yet.
        Status::Creating if signal == libc::SIGKILL => {
            super::delete::signal_monitor(container, signal);
            Ok(())
        }
        _ => container
            .ask(&protocol::Request::Signal { signal, all })
            .map(drop),
    }
}

/// What `state` prints and hooks read.
pub fn state(container: &Container, status: Status) -> Value {
    let saved = &container.saved;
    let pid = if status == Status::Stopped {
        0
    } else {
        saved.pid
    };
    let mut value = json!({
        "ociVersion": oci::VERSION,
        "id": saved.id,
        "pid": pid,
        "status": status.name(),
        "bundle": saved.bundle,
        "rootfs": saved.rootfs,
        "created": saved.created,
        "owner": owner(saved.owner),
    });
    if let (Some(annotations), Some(map)) = (saved.spec.annotations(), value.as_object_mut()) {
        map.insert("annotations".into(), json!(annotations));
    }
    value
}

/// A user's name; empty for root, as runc has it.
fn owner(uid: u32) -> String {
    if uid == 0 {
        return String::new();
    }
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    user.ok().flatten().map_or(uid.to_string(), |u| u.name)
}
