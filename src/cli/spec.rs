//! `cofferdam spec`: a config.json to start from.

use super::runtime::Global;
use crate::container::{Error, at};
use crate::oci::template;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write a config.json to start from
#[derive(Debug, clap::Args)]
pub struct Spec {
    /// Where
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For an ordinary user
    #[arg(long)]
    rootless: bool,
}

impl Spec {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let ids = self.rootless.then(|| {
                let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
                (uid.as_raw(), gid.as_raw())
            });
            let path = self.bundle.join("config.json");
            let file = OpenOptions::new().write(true).create_new(true).open(&path);
            let mut file = file.map_err(|e| match e.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Error::Other(format!("File {} exists. Remove it first", path.display()))
                }
                _ => Error::Other(format!("cannot write {}: {e}", path.display())),
            })?;
            let text = format!("{:#}\n", template::document(ids));
            file.write_all(text.as_bytes())
                .map_err(at(format!("cannot write {}", path.display())))?;
            Ok(0)
        })
    }
}
