//! `fd/` and `fdinfo/`.

use super::{Subject, ino};
use crate::abi::{Errno, Result};
use crate::fs::pseudo::{Child, Directory, LinkTarget, PseudoDir, PseudoFile, PseudoLink};
use crate::kernel::FdEntry;
use crate::vfs::{Caller, FileType, InodeRef, MagicTarget};

/// Entry numbers of descriptors lie above those of other entries.
const BASE: u64 = 1 << 16;

fn entry(s: &Subject, fd: i32) -> Result<FdEntry> {
    let l = s.live().map_err(|_| Errno::ENOENT)?;
    let task = l.task.ok_or(Errno::ENOENT)?;
    task.fds().entry(fd).map_err(|_| Errno::ENOENT)
}

fn parse(name: &[u8]) -> Result<i32> {
    match name {
        b"0" => Ok(0),
        _ => super::parse(name).ok_or(Errno::ENOENT),
    }
}

struct Fds {
    subject: Subject,
    info: bool,
}

pub(super) fn dir(s: &Subject) -> InodeRef {
    PseudoDir::new(
        s.attr(0o500, 104),
        Fds {
            subject: s.clone(),
            info: false,
        },
    )
}

pub(super) fn info_dir(s: &Subject) -> InodeRef {
    PseudoDir::new(
        s.attr(0o555, 105),
        Fds {
            subject: s.clone(),
            info: true,
        },
    )
}

impl Directory for Fds {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        let fd = parse(name)?;
        let e = entry(&self.subject, fd)?;
        let index = BASE + u64::from(fd.unsigned_abs());
        if self.info {
            let s = self.subject.clone();
            let text = move |_: &dyn Caller| info(&entry(&s, fd)?);
            return Ok(PseudoFile::new(self.subject.attr(0o444, index), text));
        }
        let f = e.file.flags();
        let perm =
            0o100 | if f.readable() { 0o400 } else { 0 } | if f.writable() { 0o200 } else { 0 };
        let link = FdLink {
            subject: self.subject.clone(),
            fd,
        };
        Ok(PseudoLink::new(self.subject.attr(perm, index), link))
    }
    fn list(&self, cx: &dyn Caller) -> Result<Vec<Child>> {
        let l = self.subject.live()?;
        l.may_inspect(cx)?;
        let fds = l.task.map(|t| t.fds().list()).unwrap_or_default();
        let each = |fd: i32| Child {
            name: fd.to_string().into_bytes(),
            ino: ino(self.subject.number(), BASE + u64::from(fd.unsigned_abs())),
            file_type: if self.info {
                FileType::Regular
            } else {
                FileType::Symlink
            },
            key: u64::from(fd.unsigned_abs()),
        };
        Ok(fds.into_iter().map(each).collect())
    }
    fn permission(&self, cx: &dyn Caller) -> Option<Result<()>> {
        Some(self.subject.live().and_then(|l| l.may_inspect(cx)))
    }
}

struct FdLink {
    subject: Subject,
    fd: i32,
}

impl LinkTarget for FdLink {
    fn text(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        self.subject
            .live()
            .map_err(|_| Errno::ENOENT)?
            .may_inspect(cx)?;
        let file = entry(&self.subject, self.fd)?.file;
        Ok(match super::task_of(cx) {
            Some(c) => file.display(&c.task.fs().root()),
            None => file.inode().describe(),
        })
    }
    fn magic(&self, cx: &dyn Caller) -> Option<Result<MagicTarget>> {
        let file = (|| {
            self.subject
                .live()
                .map_err(|_| Errno::ENOENT)?
                .may_inspect(cx)?;
            Ok(MagicTarget::File(entry(&self.subject, self.fd)?.file))
        })();
        Some(file)
    }
}

fn info(e: &FdEntry) -> Result<Vec<u8>> {
    let file = &e.file;
    let pos = if file.ops().seekable() {
        file.position()
    } else {
        0
    };
    let cloexec = if e.cloexec { 0o2000000 } else { 0 };
    let ino = file.inode().stat().map_or(0, |s| s.ino);
    let flags = file.flags().bits() | cloexec;
    Ok(format!(
        "pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{ino}\n",
        file.path().map_or(13, |p| p.mount.id())
    )
    .into_bytes())
}
