//! How Cofferdam confines its own processes: namespaces, capabilities, limits, descriptors and system call filters.
//!
//! The order in a child is: namespaces (they come with the clone), [`root::enter_empty`], [`process`]'s limits and
//! capabilities, and last [`seccomp::confine`] with the role's list from [`filters`]. The zygote and the stubs are
//! confined by the platform, which must do so without a C library.

pub mod caps;
pub mod filters;
pub mod oom;
pub mod process;
pub mod root;
pub mod seccomp;
pub mod sys;
pub mod violation;

/// A step of the jail that the host refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct Error {
    /// What was to be done, as a verb phrase.
    pub step: &'static str,
    /// The host's answer.
    pub source: std::io::Error,
}

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Names the step that failed.
fn at<E: Into<std::io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |e| Error {
        step,
        source: e.into(),
    }
}

/// Whether the kernel has seccomp user notifications, which the stubs need.
///
/// # Errors
/// What the kernel says.
pub fn user_notification_available() -> std::io::Result<()> {
    sys::seccomp_action_available(libc::SECCOMP_RET_USER_NOTIF)
}
