//! Open ends of pipes and FIFOs.

use super::lent::{self, End};
use super::{Pipe, State};
use crate::abi::{Errno, Result};
use crate::fs::anon::{AnonInode, AnonKind};
use crate::sync::{Events, Mutex, Rank, WaitQueue};
use crate::usermem::{Sink, Source, UserPtr};
use crate::vfs::loan::Fixed;
use crate::vfs::{Caller, File, FileOps, Inode, InodeMeta, InodeRef, OpenFlags};
use std::any::Any;
use std::sync::{Arc, Weak};

/// An open end: reading, writing or (FIFOs) both.
pub struct PipeFile {
    pipe: Arc<Pipe>,
    read: bool,
    write: bool,
    /// The open is complete once the partner's counter differs from this; `None`: it is complete.
    wait_for: Option<u64>,
    /// No hang-up is reported until the count of write opens differs from this (`f_version` in Linux).
    quiet_until: Option<u64>,
}

/// What a FIFO's inode keeps: its pipe while someone has it open.
struct Slot(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    pipe: Weak<Pipe>,
    /// A pipe(2) pipe opened again through /proc/PID/fd: opens never wait.
    anonymous: bool,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot(Mutex::new(Rank::NET_TABLE, Inner::default()))
    }
}

/// The pipe behind a file, if it is a pipe or FIFO (fcntl, splice, tee).
pub fn pipe_of(file: &File) -> Option<&Arc<Pipe>> {
    file.downcast::<PipeFile>().map(|p| &p.pipe)
}

/// pipe2(2): the read end and the write end. `flags`: O_NONBLOCK, O_DIRECT.
///
/// # Errors
/// ENFILE if the sandbox has too many pipes.
pub fn create(cx: &dyn Caller, flags: OpenFlags) -> Result<(Arc<File>, Arc<File>)> {
    let pipe = Pipe::new()?;
    let anon = AnonInode::new(cx, AnonKind::Pipe);
    {
        let slot = anon.meta().extension::<Slot>();
        let mut s = slot.0.lock();
        s.pipe = Arc::downgrade(&pipe);
        s.anonymous = true;
    }
    let inode: InodeRef = anon;
    let end = |read: bool, write: bool| {
        pipe.lock().open(read, write);
        Box::new(PipeFile {
            pipe: pipe.clone(),
            read,
            write,
            wait_for: None,
            quiet_until: None,
        })
    };
    // The read end takes O_NONBLOCK only: packets are the writer's business.
    let r = File::new(
        end(true, false),
        inode.clone(),
        None,
        flags & OpenFlags::NONBLOCK,
    );
    let w = File::new(end(false, true), inode, None, OpenFlags::WRONLY | flags);
    Ok((r, w))
}

/// Opens the FIFO whose inode has this `meta`: what [`Inode::open`] of a FIFO returns in every file system. The open call
/// then waits for [`FileOps::open_ready`].
///
/// # Errors
/// ENXIO for O_WRONLY | O_NONBLOCK without readers; EINVAL for access mode 3; ENFILE.
pub fn open_fifo(meta: &InodeMeta, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let (read, write) = (flags.readable(), flags.writable());
    let nonblock = flags.contains(OpenFlags::NONBLOCK);
    if !read && !write {
        return Err(Errno::EINVAL);
    }
    let slot = meta.extension::<Slot>();
    let mut s = slot.0.lock();
    let pipe = match s.pipe.upgrade() {
        Some(p) => p,
        None => {
            let p = Pipe::new()?;
            s.pipe = Arc::downgrade(&p);
            p
        }
    };
    let anonymous = s.anonymous;
    let (wait_for, quiet_until) = {
        let mut st = pipe.lock();
        if write && !read && nonblock && !anonymous && st.readers == 0 {
            return Err(Errno::ENXIO);
        }
        st.open(read, write);
        match (read, write) {
            _ if anonymous => (None, None),
            (true, false) if st.writers == 0 && nonblock => (None, Some(st.write_opens)),
            (true, false) if st.writers == 0 => (Some(st.write_opens), None),
            (false, true) if st.readers == 0 => (Some(st.read_opens), None),
            _ => (None, None),
        }
    };
    drop(s);
    pipe.queue
        .wake(Events::READABLE | Events::WRITABLE | Events::HUP);
    Ok(Box::new(PipeFile {
        pipe,
        read,
        write,
        wait_for,
        quiet_until,
    }))
}

impl PipeFile {
    /// Which end it is; `None` if it is both.
    pub(super) fn end(&self) -> Option<End> {
        match (self.read, self.write) {
            (true, false) => Some(End::Read),
            (false, true) => Some(End::Write),
            _ => None,
        }
    }
}

impl State {
    fn open(&mut self, read: bool, write: bool) {
        if read {
            self.readers += 1;
            self.read_opens += 1;
        }
        if write {
            self.writers += 1;
            self.write_opens += 1;
        }
    }
}

impl Drop for PipeFile {
    fn drop(&mut self) {
        let (no_readers, no_writers) = {
            let mut s = self.pipe.lock();
            s.readers -= usize::from(self.read);
            s.writers -= usize::from(self.write);
            (self.read && s.readers == 0, self.write && s.writers == 0)
        };
        let mut e = Events::empty();
        if no_readers {
            e |= Events::WRITABLE | Events::ERR;
        }
        if no_writers {
            e |= Events::READABLE | Events::HUP;
        }
        if !e.is_empty() {
            self.pipe.queue.wake(e);
        }
    }
}

impl FileOps for PipeFile {
    fn read(&self, file: &File, _: &dyn Caller, dst: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        let n = self.pipe.read(dst)?;
        if n > 0 {
            file.accessed();
        }
        Ok(n)
    }
    fn write(
        &self,
        file: &File,
        _: &dyn Caller,
        src: &mut dyn Source,
        _: &mut u64,
        _: bool,
    ) -> Result<usize> {
        let n = self
            .pipe
            .write(src, file.flags().contains(OpenFlags::DIRECT))?;
        if n > 0 && file.path().is_some() {
            file.inode().modified();
        }
        Ok(n)
    }
    fn fixed(&self) -> Fixed {
        match self.end() {
            Some(_) => Fixed::RING,
            None => Fixed::empty(),
        }
    }
    fn flags_changed(&self, _: &File, _: OpenFlags) {
        lent::end(&self.pipe);
    }
    fn open_ready(&self, _: &File) -> Result<()> {
        let Some(before) = self.wait_for else {
            return Ok(());
        };
        let s = self.pipe.lock();
        let now = if self.read {
            s.write_opens
        } else {
            s.read_opens
        };
        if now == before {
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        }
    }
    fn poll(&self, _: &File) -> Events {
        let s = self.pipe.lock();
        let mut e = Events::empty();
        if self.read {
            if !s.slots.is_empty() {
                e |= Events::READABLE;
            }
            if s.writers == 0 && self.quiet_until != Some(s.write_opens) {
                e |= Events::HUP;
            }
        }
        if self.write {
            if !s.slots.is_full() {
                e |= Events::WRITABLE;
            }
            if s.readers == 0 {
                e |= Events::ERR;
            }
        }
        e
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.pipe.queue.clone())
    }
    fn ioctl(&self, _: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        if u64::from(cmd) != libc::FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = i32::try_from(self.pipe.len()).unwrap_or(i32::MAX);
        cx.memory().put(UserPtr::<i32>::new(arg), &n)?;
        Ok(0)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
