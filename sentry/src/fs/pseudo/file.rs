//! Files with generated contents.

use super::Attr;
use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::sync::{Changes, Charge, Events, Mutex, Quota, Rank, WaitQueue};
use crate::usermem::{Sink, Source};
use crate::vfs::{
    Caller, File, FileOps, FileType, Inode, InodeMeta, OpenFlags, SetAttr, Stat, StatFs, Whence,
};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most bytes that one write hands to a [`Content`].
const MAX_WRITE: usize = 64 << 10;
/// Most bytes of one file.
const MAX_SIZE: usize = 16 << 20;

/// Makes a file's contents.
pub trait Content: Send + Sync + 'static {
    /// The whole text now. Bounded by what the guest may create.
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>>;
    /// Takes one write; how many bytes were used.
    fn write(&self, _cx: &dyn Caller, _data: &[u8]) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// The same for contents to which it matters who opened the file, and where in it is written.
    fn write_opened(
        &self,
        cx: &dyn Caller,
        _opener: &Credentials,
        _at: u64,
        data: &[u8],
    ) -> Result<usize> {
        self.write(cx, data)
    }
    /// Who may read (4) and write (2) it, where not the permission bits say so.
    fn permission(&self, _cx: &dyn Caller, _mask: u32) -> Option<Result<()>> {
        None
    }
    /// Whether the caller may open the file at all, beyond its permission bits.
    fn may_open(&self, _cx: &dyn Caller, _flags: OpenFlags) -> Result<()> {
        Ok(())
    }
    /// ioctl(2) of the open file.
    fn ioctl(&self, _cx: &dyn Caller, _cmd: u32, _arg: u64) -> Result<i64> {
        Err(Errno::ENOTTY)
    }
    /// What changes of the contents poll(2) tells of, if any.
    fn changes(&self) -> Option<Arc<Changes>> {
        None
    }
}

impl<F: Fn(&dyn Caller) -> Result<Vec<u8>> + Send + Sync + 'static> Content for F {
    fn read(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        self(cx)
    }
}

/// A file with generated contents.
pub struct PseudoFile {
    meta: InodeMeta,
    attr: Attr,
    content: Arc<dyn Content>,
}

impl PseudoFile {
    /// A file.
    pub fn new(attr: Attr, content: impl Content) -> Arc<PseudoFile> {
        Arc::new(PseudoFile {
            meta: InodeMeta::default(),
            attr,
            content: Arc::new(content),
        })
    }
    /// A file whose text never changes.
    pub fn fixed(attr: Attr, text: impl Into<Vec<u8>>) -> Arc<PseudoFile> {
        let text: Vec<u8> = text.into();
        PseudoFile::new(attr, move |_: &dyn Caller| Ok(text.clone()))
    }
}

impl Inode for PseudoFile {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn stat(&self) -> Result<Stat> {
        Ok(self.attr.stat(FileType::Regular, 1, 0))
    }
    fn set_attr(&self, cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        super::set_attr(cx, changes)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.attr.statfs())
    }
    fn open(self: Arc<Self>, cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
        self.content.may_open(cx, flags)?;
        Ok(Box::new(Opened {
            content: self.content.clone(),
            opener: cx.credentials().clone(),
            kept: Mutex::new(Rank::FILE_POS, None),
            followed: self.content.changes().map(|changes| Followed {
                seen: AtomicU64::new(changes.count()),
                changes,
            }),
        }))
    }
    fn permission(&self, cx: &dyn Caller, mask: u32) -> Option<Result<()>> {
        self.content.permission(cx, mask)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An open generated file: the text is made at the first read and again whenever reading starts at 0.
struct Opened {
    content: Arc<dyn Content>,
    opener: Arc<Credentials>,
    kept: Mutex<Option<Kept>>,
    followed: Option<Followed>,
}

/// Changes that poll(2) tells of, each once (`mounts_poll`).
struct Followed {
    changes: Arc<Changes>,
    seen: AtomicU64,
}

/// Texts that open files keep for their next reads. Beyond that they are made anew for each read: a guest may have many
/// files open whose texts it made long.
static KEPT: Quota = Quota::new(64 << 20);

struct Kept {
    text: Arc<[u8]>,
    _charge: Charge,
}

impl FileOps for Opened {
    fn read(&self, _: &File, cx: &dyn Caller, dst: &mut dyn Sink, pos: &mut u64) -> Result<usize> {
        let known = if *pos == 0 {
            None
        } else {
            self.kept.lock_nested().as_ref().map(|k| k.text.clone())
        };
        let text = match known {
            Some(t) => t,
            None => {
                // Made without the lock: contents may take any lock themselves.
                let mut t = self.content.read(cx)?;
                t.truncate(MAX_SIZE);
                let text: Arc<[u8]> = t.into();
                let mut kept = self.kept.lock_nested();
                // The old one's room first.
                *kept = None;
                *kept = KEPT.charge(text.len()).map(|_charge| Kept {
                    text: text.clone(),
                    _charge,
                });
                text
            }
        };
        let at = usize::try_from(*pos).map_err(|_| Errno::EOVERFLOW)?;
        let n = dst.put(text.get(at..).unwrap_or_default())?;
        *pos += n as u64;
        Ok(n)
    }
    fn write(
        &self,
        _: &File,
        cx: &dyn Caller,
        src: &mut dyn Source,
        pos: &mut u64,
        _: bool,
    ) -> Result<usize> {
        let mut data = vec![0u8; src.remaining().min(MAX_WRITE)];
        let got = src.take(&mut data)?;
        let data = data.get(..got).unwrap_or_default();
        let used = self.content.write_opened(cx, &self.opener, *pos, data)?;
        *pos = pos.saturating_add(used as u64);
        Ok(used)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        match whence {
            // seq_lseek knows no end.
            Whence::Set | Whence::Current => crate::vfs::file::default_seek(0, pos, offset, whence),
            Whence::End | Whence::Data | Whence::Hole => Err(Errno::EINVAL),
        }
    }
    fn ioctl(&self, _: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        self.content.ioctl(cx, cmd, arg)
    }
    fn poll(&self, _: &File) -> Events {
        let mut now = Events::READABLE;
        match &self.followed {
            None => now |= Events::WRITABLE,
            Some(f) => {
                let count = f.changes.count();
                if f.seen.swap(count, Ordering::SeqCst) != count {
                    now |= Events::PRI | Events::ERR;
                }
            }
        }
        now
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        self.followed.as_ref().map(|f| f.changes.queue().clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
