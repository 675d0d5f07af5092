//! A container's directory as held by the one verb that makes, freezes, thaws or removes the container.
//!
//! The lock is flock(2) on the directory itself: it ends with the process, however that ends, and nothing is left behind. Whoever has got it looks whether
//! the directory is still the one of that name: what it waited for may have been the removal.

use super::{Error, Result, at};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another verb may hold it: those that take long wait for hooks.
const PATIENCE: Duration = Duration::from_secs(2);

/// The directory, held until this is dropped.
#[derive(Debug)]
pub struct Claim {
    dir: PathBuf,
    held: Flock<File>,
}

impl Claim {
    /// Waits until no other verb holds it, but not for long: then `None`.
    ///
    /// # Errors
    /// [`Error::NotExist`], also if it was removed meanwhile, or what the host says.
    pub fn take(dir: &Path) -> Result<Option<Claim>> {
        let cannot = || at(format!("cannot open {}", dir.display()));
        let mut file = match File::open(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(Error::NotExist),
            other => other.map_err(cannot())?,
        };
        let deadline = Instant::now() + PATIENCE;
        let held = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => break held,
                Err((_, e)) if e != nix::errno::Errno::EWOULDBLOCK => {
                    return Err(at(format!("cannot lock {}", dir.display()))(e));
                }
                Err(_) if Instant::now() > deadline => return Ok(None),
                Err((back, _)) => file = back,
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let claim = Claim {
            dir: dir.to_owned(),
            held,
        };
        if claim.is_current() {
            Ok(Some(claim))
        } else {
            Err(Error::NotExist)
        }
    }

    /// Whether the name still leads to what is held.
    fn is_current(&self) -> bool {
        let key = |m: fs::Metadata| (m.dev(), m.ino());
        match (fs::symlink_metadata(&self.dir), self.held.metadata()) {
            (Ok(named), Ok(held)) => key(named) == key(held),
            _ => false,
        }
    }

    /// Removes the directory, if it is still there.
    ///
    /// # Errors
    /// What the host says.
    pub fn remove(&self) -> Result<()> {
        if !self.is_current() {
            return Ok(());
        }
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(at(format!("cannot remove {}", self.dir.display()))(e))
            }
            _ => Ok(()),
        }
    }
}
