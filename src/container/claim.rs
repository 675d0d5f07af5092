//! A container's directory as held by the one verb that makes, freezes, thaws or removes the container.
//!
//! The lock is flock(2) on the directory itself: it ends with the process, however that ends, and nothing is left behind. Whoever has got it looks whether
//! the directory is still the one of that name: what it waited for may have been the removal.

use super::{Error, Result, at};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another verb may hold it: those that take long wait for hooks.
const PATIENCE: Duration = Duration::from_secs(2);

/// The directory, held until this is dropped, or only looked at while another verb holds it.
#[derive(Debug)]
pub struct Claim {
    dir: PathBuf,
    file: Dir,
}

#[derive(Debug)]
enum Dir {
    Held(Flock<File>),
    Seen(File),
}

impl Dir {
    fn file(&self) -> &File {
        match self {
            Dir::Held(held) => held,
            Dir::Seen(file) => file,
        }
    }
}

impl Claim {
    /// Waits until no other verb holds it, but not for long: then it is not held.
    ///
    /// # Errors
    /// [`Error::NotExist`], also if it was removed meanwhile, or what the host says.
    pub fn take(dir: &Path) -> Result<Claim> {
        let cannot = || at(format!("cannot open {}", dir.display()));
        let mut file = match File::open(dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(Error::NotExist),
            other => other.map_err(cannot())?,
        };
        let deadline = Instant::now() + PATIENCE;
        let file = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => break Dir::Held(held),
                Err((_, e)) if e != nix::errno::Errno::EWOULDBLOCK => {
                    return Err(at(format!("cannot lock {}", dir.display()))(e));
                }
                Err((back, _)) if Instant::now() > deadline => break Dir::Seen(back),
                Err((back, _)) => file = back,
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let claim = Claim {
            dir: dir.to_owned(),
            file,
        };
        if claim.is_current() {
            Ok(claim)
        } else {
            Err(Error::NotExist)
        }
    }

    /// Whether no other verb has it.
    pub fn is_held(&self) -> bool {
        matches!(self.file, Dir::Held(_))
    }

    /// Whether the name still leads to this directory.
    pub fn is_current(&self) -> bool {
        let key = |m: fs::Metadata| (m.dev(), m.ino());
        match (fs::symlink_metadata(&self.dir), self.file.file().metadata()) {
            (Ok(named), Ok(held)) => key(named) == key(held),
            _ => false,
        }
    }

    /// Removes the directory, if it is still there. If it is not held its name may come to be another container's at any moment:
    /// what is in it is found by its descriptor.
    ///
    /// # Errors
    /// What the host says.
    pub fn remove(&self) -> Result<()> {
        if !self.is_current() {
            return Ok(());
        }
        let cannot = at(format!("cannot remove {}", self.dir.display()));
        let fd = self.file.file().as_raw_fd();
        match self.clear(&PathBuf::from(format!("/proc/self/fd/{fd}"))) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(cannot(e)),
            _ => Ok(()),
        }
    }

    fn clear(&self, here: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(here)? {
            let entry = entry?;
            let gone = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            // Whoever holds it may remove it, too.
            match gone {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if self.is_current() {
            fs::remove_dir(&self.dir)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test ends where it fails
mod tests {
    use super::*;

    #[test]
    fn what_is_not_held_is_removed_and_its_successor_is_not() {
        let dir = std::env::temp_dir().join(format!("claim-{}", std::process::id()));
        let fill = || {
            fs::create_dir(&dir).unwrap();
            fs::create_dir(dir.join("sub")).unwrap();
            fs::write(dir.join("sub/file"), "x").unwrap();
        };
        fill();
        let held = Claim::take(&dir).unwrap();
        assert!(held.is_held());
        let (first, second) = (Claim::take(&dir).unwrap(), Claim::take(&dir).unwrap());
        assert!(!first.is_held() && first.is_current());
        first.remove().unwrap();
        assert!(!dir.exists() && !held.is_current());
        fill();
        second.remove().unwrap();
        held.remove().unwrap();
        assert!(dir.join("sub/file").exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
