//! A directory of the workload's own, on a file system in memory where there is one, gone when dropped.

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The directory.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A fresh one below `/dev/shm` or `/tmp`.
    pub fn new() -> io::Result<Scratch> {
        Scratch::below(Scratch::in_memory())
    }

    /// A fresh one where programs may be executed, which `/dev/shm` often forbids.
    pub fn executable() -> io::Result<Scratch> {
        Scratch::below(&["/tmp"])
    }

    fn in_memory() -> &'static [&'static str] {
        let in_memory = statfs("/dev/shm").is_ok_and(|s| s.filesystem_type() == TMPFS_MAGIC);
        if in_memory {
            &["/dev/shm", "/tmp"]
        } else {
            &["/tmp"]
        }
    }

    fn below(places: &[&str]) -> io::Result<Scratch> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for place in places {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("cofferdam-bench-{}-{number}", std::process::id());
            let path = Path::new(place).join(name);
            result = fs::DirBuilder::new().mode(0o700).create(&path);
            if result.is_ok() {
                return Ok(Scratch(path));
            }
        }
        result.map(|()| Scratch(PathBuf::new()))
    }

    /// A name in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file of this length in it.
    pub fn file(&self, name: &str, len: usize) -> io::Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, vec![1; len])?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is small, and lies where such things are cleared away.
        let _ = fs::remove_dir_all(&self.0);
    }
}
