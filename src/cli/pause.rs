//! `cofferdam pause`: stops all of a container's processes until `resume`.

use super::runtime::Global;
use crate::container::store::Status;
use crate::container::{Container, Error, Result, cgroup::Cgroup};
use std::process::ExitCode;

/// Suspend all processes of a container
#[derive(Debug, clap::Args)]
pub struct Pause {
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl Pause {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let (container, _claim) = global.store().load_claimed(&self.id)?;
            match container.status() {
                Status::Running | Status::Created => group(&container)?.freeze()?,
                Status::Paused => {
                    return Err(Error::Other(
                        "container not running or created: paused".into(),
                    ));
                }
                _ => {
                    return Err(Error::Other(
                        "container not running or created: stopped".into(),
                    ));
                }
            }
            Ok(0)
        })
    }
}

/// The group to freeze.
pub fn group(container: &Container) -> Result<&Cgroup> {
    container.saved.cgroup.as_ref().ok_or(Error::Other(
        "this container has no control group to be paused with (rootless without delegation)"
            .into(),
    ))
}
