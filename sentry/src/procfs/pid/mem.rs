//! mem: a process's memory, at its addresses (proc_pid_mem(5)).

use super::Subject;
use crate::abi::{Errno, Result};
use crate::fs::pseudo::Attr;
use crate::kernel::{ptrace, task_of};
use crate::mm::MemoryManager;
use crate::usermem::{GuestMemory, Sink, Source};
use crate::vfs::{
    Caller, File, FileOps, FileType, Inode, InodeMeta, OpenFlags, SetAttr, Stat, StatFs, Whence,
};
use cofferdam_platform::Thread;
use std::any::Any;
use std::sync::Arc;

/// Bytes moved at a time.
const CHUNK: usize = 4096;

/// What is opened of a process's memory; nothing of one that has none.
type Open = fn(Option<Arc<MemoryManager>>) -> Box<dyn FileOps>;

/// A file about a process's memory as it is when the file is opened: what a later execve makes is out of reach.
pub(super) struct MemoryInode {
    meta: InodeMeta,
    attr: Attr,
    subject: Subject,
    open: Open,
}

pub(super) fn make(subject: &Subject, attr: Attr) -> Arc<MemoryInode> {
    MemoryInode::new(subject, attr, |mm| Box::new(Memory { mm }))
}

impl MemoryInode {
    pub fn new(subject: &Subject, attr: Attr, open: Open) -> Arc<MemoryInode> {
        Arc::new(MemoryInode {
            meta: InodeMeta::default(),
            attr,
            subject: subject.clone(),
            open,
        })
    }
}

impl Inode for MemoryInode {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn stat(&self) -> Result<Stat> {
        Ok(self.attr.stat(FileType::Regular, 1, 0))
    }
    fn set_attr(&self, _: &dyn Caller, changes: &SetAttr) -> Result<()> {
        match (changes.perm, changes.uid, changes.gid) {
            (None, None, None) => Ok(()),
            _ => Err(Errno::EPERM),
        }
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.attr.statfs())
    }
    fn open(self: Arc<Self>, cx: &dyn Caller, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        let live = self.subject.live()?;
        let mm = live.inspect(cx, |task| Ok(task.map(|t| t.mm())))?;
        Ok((self.open)(mm))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An open mem file.
struct Memory {
    mm: Option<Arc<MemoryManager>>,
}

/// Every offset is an address, also those that are negative as numbers (mem_lseek).
pub(super) fn seek(pos: u64, offset: i64, whence: Whence) -> Result<u64> {
    match whence {
        Whence::Set => Ok(offset.cast_unsigned()),
        Whence::Current => Ok(pos.wrapping_add_signed(offset)),
        Whence::End | Whence::Data | Whence::Hole => Err(Errno::EINVAL),
    }
}

/// With a thread that carries out what protections forbid: the caller's, of its own memory, or one that a tracer has stopped.
fn stopped(
    cx: &dyn Caller,
    mm: &Arc<MemoryManager>,
    f: impl FnOnce(&dyn Thread) -> usize,
) -> Option<usize> {
    ptrace::with_thread_in(task_of(cx)?, mm, f)
}

impl FileOps for Memory {
    fn read(&self, _: &File, cx: &dyn Caller, dst: &mut dyn Sink, pos: &mut u64) -> Result<usize> {
        let Some(mm) = &self.mm else {
            return Ok(0);
        };
        let mut buf = [0u8; CHUNK];
        let mut total = 0;
        while dst.remaining() > 0 {
            // Page by page, as Linux does: what ends at a hole is short, what starts in one is EIO.
            let room = CHUNK - usize::try_from(*pos % CHUNK as u64).unwrap_or(0);
            let want = dst.remaining().min(room);
            let part = buf.get_mut(..want).unwrap_or_default();
            let mut got = mm.read_partial(*pos, part).min(want);
            if got == 0
                && let Some(n) = stopped(cx, mm, |t| mm.read_forced(t, *pos, part))
            {
                got = n.min(want);
            }
            if got == 0 {
                return if total > 0 {
                    Ok(total)
                } else {
                    Err(Errno::EIO)
                };
            }
            let put = match dst.put(buf.get(..got).unwrap_or_default()) {
                Ok(n) => n,
                Err(_) if total > 0 => break,
                Err(e) => return Err(e),
            };
            *pos = pos.wrapping_add(put as u64);
            total += put;
            if put < want {
                break;
            }
        }
        Ok(total)
    }
    fn write(
        &self,
        _: &File,
        cx: &dyn Caller,
        src: &mut dyn Source,
        pos: &mut u64,
        _: bool,
    ) -> Result<usize> {
        let Some(mm) = &self.mm else {
            return Ok(0);
        };
        let mut buf = [0u8; CHUNK];
        let mut total = 0;
        while src.remaining() > 0 {
            let room = CHUNK - usize::try_from(*pos % CHUNK as u64).unwrap_or(0);
            let got = match src.take(buf.get_mut(..room).unwrap_or_default()) {
                Ok(n) => n,
                Err(_) if total > 0 => break,
                Err(e) => return Err(e),
            };
            let data = buf.get(..got).unwrap_or_default();
            let put = stopped(cx, mm, |t| mm.write_forced(t, *pos, data))
                .unwrap_or_else(|| mm.write_partial(*pos, data))
                .min(got);
            src.unread(got - put);
            *pos = pos.wrapping_add(put as u64);
            total += put;
            if put == 0 && total == 0 {
                return Err(Errno::EIO);
            }
            if put < got {
                break;
            }
        }
        Ok(total)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        seek(pos, offset, whence)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
