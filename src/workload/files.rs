//! Rows: descriptors, paths and directories.

use super::scratch::Scratch;
use super::{Batch, Row, done, each};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{AccessFlags, Whence, access, lseek, read, unlink, write};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A file that every system has.
const PROGRAM: &str = "/usr/bin/env";
/// One that no system has.
const MISSING: &str = "/usr/bin/cofferdam-is-not-here";
/// How deep the deep directory is.
const DEPTH: usize = 8;
/// How many files the listed directory has.
const LISTED: usize = 100;

pub(super) const ROWS: &[Row] = &[
    Row::new("file", "read /dev/zero 1 B", || device_read(1)),
    Row::new("file", "read /dev/zero 64 KiB", || device_read(65536)),
    Row::new("file", "write /dev/null 1 B", || {
        let null = opened("/dev/null", OFlag::O_WRONLY)?;
        each(move || done(write(&null, &[1])?))
    }),
    Row::new("file", "pread tmpfs 4 KiB", || {
        let (dir, file) = on_tmpfs()?;
        let mut buffer = [0; 4096];
        each(move || {
            let _ = &dir;
            done(pread(&file, &mut buffer, 0)?)
        })
    }),
    Row::new("file", "pwrite tmpfs 4 KiB", || {
        let (dir, file) = on_tmpfs()?;
        each(move || {
            let _ = &dir;
            done(pwrite(&file, &[1; 4096], 0)?)
        })
    }),
    Row::new("file", "fstat", || {
        let (dir, file) = on_tmpfs()?;
        each(move || {
            let _ = &dir;
            done(fstat(&file)?)
        })
    }),
    Row::new("file", "lseek", || {
        let (dir, file) = on_tmpfs()?;
        each(move || {
            let _ = &dir;
            done(lseek(&file, 0, Whence::SeekSet)?)
        })
    }),
    Row::new("path", "stat tmpfs", || on_path(|path| done(stat(path)?))),
    Row::new("path", "stat /usr/bin/env", || {
        each(|| done(stat(PROGRAM)?))
    }),
    Row::new("path", "stat ENOENT", || {
        each(|| match stat(MISSING) {
            Err(Errno::ENOENT) => Ok(()),
            other => Err(io::Error::other(format!("stat {MISSING}: {other:?}"))),
        })
    }),
    Row::new("path", "stat 8 directories deep", deep),
    Row::new("path", "access tmpfs", || {
        on_path(|path| Ok(access(path, AccessFlags::R_OK)?))
    }),
    Row::new("path", "open+close tmpfs", || {
        on_path(|path| closed(open(path, OFlag::O_RDONLY, Mode::empty())?))
    }),
    Row::new("path", "open+close /usr/bin/env", || {
        each(|| closed(opened(PROGRAM, OFlag::O_RDONLY)?))
    }),
    Row::new("path", "open+read 4 KiB+close /usr/bin/env", || {
        let mut buffer = [0; 4096];
        each(move || {
            let file = opened(PROGRAM, OFlag::O_RDONLY)?;
            read(&file, &mut buffer)?;
            closed(file)
        })
    }),
    Row::new("path", "create+unlink tmpfs", || {
        let dir = Scratch::new()?;
        let path = dir.path("new");
        each(move || {
            let _ = &dir;
            let flags = OFlag::O_RDWR | OFlag::O_CREAT;
            closed(open(&path, flags, Mode::S_IRUSR | Mode::S_IWUSR)?)?;
            Ok(unlink(&path)?)
        })
    }),
    Row::new("path", "list tmpfs, 100 files", || {
        let dir = Scratch::new()?;
        for n in 0..LISTED {
            dir.file(&format!("file-{n}"), 0)?;
        }
        each(move || listed(&dir.path(""), LISTED))
    }),
    Row::new("path", "list /usr/bin", || {
        let bin = PathBuf::from("/usr/bin");
        each(move || listed(&bin, 1))
    }),
];

fn opened(path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    Ok(open(path, flags, Mode::empty())?)
}

/// Closes it with one call; a development build's drop makes another to see whether it is open.
fn closed(file: OwnedFd) -> io::Result<()> {
    Ok(nix::unistd::close(file)?)
}

fn device_read(len: usize) -> io::Result<Batch> {
    let zero = opened("/dev/zero", OFlag::O_RDONLY)?;
    let mut buffer = vec![1; len];
    each(move || done(read(&zero, &mut buffer)?))
}

/// A file of 64 KiB, open for reading and writing. It lives in the directory, which must be kept.
fn on_tmpfs() -> io::Result<(Scratch, OwnedFd)> {
    let dir = Scratch::new()?;
    let path = dir.file("file", 65536)?;
    let file = open(&path, OFlag::O_RDWR, Mode::empty())?;
    Ok((dir, file))
}

/// An operation on the path of a file.
fn on_path(operation: impl Fn(&Path) -> io::Result<()> + 'static) -> io::Result<Batch> {
    let dir = Scratch::new()?;
    let path = dir.file("file", 4096)?;
    each(move || {
        let _ = &dir;
        operation(&path)
    })
}

fn deep() -> io::Result<Batch> {
    let dir = Scratch::new()?;
    let below: PathBuf = std::iter::repeat_n("directory", DEPTH).collect();
    std::fs::create_dir_all(dir.path("").join(&below))?;
    let file = dir.file(&below.join("file").to_string_lossy(), 1)?;
    each(move || {
        let _ = &dir;
        done(stat(&file)?)
    })
}

/// Opens, lists and closes a directory that has at least so many entries.
fn listed(path: &Path, least: usize) -> io::Result<()> {
    let mut dir = nix::dir::Dir::open(path, OFlag::O_DIRECTORY, Mode::empty())?;
    if dir.iter().count() < least {
        return Err(io::Error::other("entries are missing"));
    }
    Ok(())
}
