//! `fd/` and `fdinfo/`.

use super::{Subject, ino};
use crate::abi::{Errno, Result};
use crate::fs::pseudo::{Child, Directory, LinkTarget, PseudoDir, PseudoFile, PseudoLink};
use crate::fs::{epoll, eventfd::EventFd, inotify};
use crate::kernel::{FdEntry, pidfd::PidFd, signal::SignalFd};
use crate::vfs::{Caller, File, FileType, InodeRef, MagicTarget};
use std::fmt::Write;
use std::sync::Arc;

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
            let text = move |_: &dyn Caller| {
                let live = s.live()?;
                info(&entry(&s, fd)?, &|pid| live.seen(pid))
            };
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
        let fds = l.inspect(cx, |t| Ok(t.map(|t| t.fds().list()).unwrap_or_default()))?;
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
    fn size(&self) -> u64 {
        // Since Linux 6.2 it tells how many there are.
        let live = self.subject.live().ok().filter(|_| !self.info);
        let fds = live.and_then(|l| l.task).map(|t| t.fds().list().len());
        fds.unwrap_or(0) as u64
    }
    fn permission(&self, cx: &dyn Caller) -> Option<Result<()>> {
        Some(self.subject.live().and_then(|l| l.may_inspect(cx)))
    }
}

struct FdLink {
    subject: Subject,
    fd: i32,
}

impl FdLink {
    fn file(&self, cx: &dyn Caller) -> Result<Arc<File>> {
        let live = self.subject.live().map_err(|_| Errno::ENOENT)?;
        live.inspect(cx, |_| Ok(entry(&self.subject, self.fd)?.file))
    }
}

impl LinkTarget for FdLink {
    fn text(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        let file = self.file(cx)?;
        Ok(match super::task_of(cx) {
            Some(c) => file.display(&c.fs().root()),
            None => file.inode().describe(),
        })
    }
    fn magic(&self, cx: &dyn Caller) -> Option<Result<MagicTarget>> {
        Some(self.file(cx).map(MagicTarget::File))
    }
}

fn info(e: &FdEntry, seen: &dyn Fn(i32) -> i32) -> Result<Vec<u8>> {
    let file = &e.file;
    let pos = if file.ops().seekable() {
        file.position()
    } else {
        0
    };
    let cloexec = if e.cloexec { 0o2000000 } else { 0 };
    let ino = file.inode().stat().map_or(0, |s| s.ino);
    let flags = file.flags().bits() | cloexec;
    let mut text = format!(
        "pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{ino}\n",
        file.path().map_or(13, |p| p.mount.id())
    );
    // Writing to a string does not fail.
    let _ = of_kind(file, seen, &mut text);
    Ok(text.into_bytes())
}

/// What proc_pid_fdinfo(5) shows of kernel objects of their own kinds.
fn of_kind(file: &File, seen: &dyn Fn(i32) -> i32, out: &mut String) -> std::fmt::Result {
    if let Some(e) = file.downcast::<EventFd>() {
        writeln!(out, "eventfd-count: {:16x}", e.count())?;
    } else if let Some(s) = file.downcast::<SignalFd>() {
        writeln!(out, "sigmask:\t{:016x}", s.mask().0)?;
    } else if let Some(p) = file.downcast::<PidFd>() {
        writeln!(out, "Pid:\t{0}\nNSpid:\t{0}", seen(p.pid()))?;
    } else if let Ok(i) = inotify::instance(file) {
        for (wd, inode, mask) in i.watches() {
            let (ino, dev) = inode.stat().map_or((0, 0), |s| (s.ino, s.dev));
            writeln!(
                out,
                "inotify wd:{wd:x} ino:{ino:x} sdev:{dev:x} mask:{:x} ignored_mask:0",
                mask.bits()
            )?;
        }
    } else if let Some(e) = epoll::epoll_of(file) {
        for (fd, events, data) in e.targets() {
            writeln!(out, "tfd: {fd:8} events: {events:8x} data: {data:16x}")?;
        }
    }
    Ok(())
}
