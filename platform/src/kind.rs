//! Which backend: by name, or the fastest that this host supports.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::backend::{notify, ptrace};
use crate::{NotifyPlatform, Platform, PtracePlatform, Result};

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PTRACE_SYSEMU: works on any kernel; slow.
    Ptrace,
    /// Seccomp user notifications.
    Notify,
    /// Rewritten call sites and mailboxes; what is not rewritten as `Notify`.
    Inline,
}

/// All backends, in the order in which [`launch`] tries them. The fastest first.
pub const KINDS: &[Kind] = &[Kind::Inline, Kind::Notify, Kind::Ptrace];

impl Kind {
    /// As [`Platform::name`] says it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ptrace => "ptrace",
            Kind::Notify => "notify",
            Kind::Inline => "inline",
        }
    }

    /// The host system calls that the sentry makes for this backend after launch, with the reason for each.
    pub const fn sentry_syscalls(self) -> &'static [(i64, &'static str)] {
        match self {
            Kind::Ptrace => ptrace::SENTRY_SYSCALLS,
            Kind::Notify | Kind::Inline => notify::SENTRY_SYSCALLS,
        }
    }

    fn launch(self) -> Result<Arc<dyn Platform>> {
        Ok(match self {
            Kind::Ptrace => Arc::new(PtracePlatform::launch()?),
            Kind::Notify => Arc::new(NotifyPlatform::launch()?),
            Kind::Inline => Arc::new(NotifyPlatform::launch_inline()?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Kind, String> {
        KINDS
            .iter()
            .copied()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let known: Vec<&str> = KINDS.iter().map(|kind| kind.name()).collect();
                format!("unknown platform {name}: {}", known.join(", "))
            })
    }
}

/// Launches the backend of this kind, or the fastest that works here. The calling thread becomes its worker; see
/// [`PtracePlatform::launch`] for what the caller must hold.
///
/// # Errors
/// Why the wanted backend, or the last of all, cannot run here.
pub fn launch(kind: Option<Kind>) -> Result<(Kind, Arc<dyn Platform>)> {
    if let Some(kind) = kind {
        return Ok((kind, kind.launch()?));
    }
    let mut rest = KINDS;
    while let [kind, slower @ ..] = rest {
        match kind.launch() {
            Ok(platform) => {
                log::info!("platform {kind}");
                return Ok((*kind, platform));
            }
            Err(e) if slower.is_empty() => return Err(e),
            Err(e) => log::warn!("platform {kind} does not work here: {e}"),
        }
        rest = slower;
    }
    Ok((Kind::Ptrace, Kind::Ptrace.launch()?))
}
