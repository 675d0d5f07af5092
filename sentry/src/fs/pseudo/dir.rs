//! Directories whose children are looked up when they are wanted.

use super::Attr;
use crate::abi::{Errno, Result};
use crate::usermem::Sink;
use crate::vfs::{
    Caller, DirEntry, File, FileOps, FileType, Inode, InodeMeta, InodeRef, OpenFlags, Readdir,
    SetAttr, Stat, StatFs,
};
use std::any::Any;
use std::sync::Arc;

/// One child in a listing.
pub struct Child {
    /// Name.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub file_type: FileType,
    /// Sort key and readdir cookie: unique and ascending within the directory, below 2^62.
    pub key: u64,
}

/// Makes a directory's children.
pub trait Directory: Send + Sync + 'static {
    /// Child by name; ENOENT.
    fn lookup(&self, name: &[u8]) -> Result<InodeRef>;
    /// All children, ascending by key.
    fn list(&self, cx: &dyn Caller) -> Result<Vec<Child>>;
    /// Whether children come and go by themselves.
    fn changes(&self) -> bool {
        true
    }
    /// st_nlink.
    fn nlink(&self) -> u32 {
        2
    }
    /// st_size.
    fn size(&self) -> u64 {
        0
    }
    /// Whether the caller may search and list it, beyond its permission bits.
    fn permission(&self, _cx: &dyn Caller) -> Option<Result<()>> {
        None
    }
    /// For those who know what kind of directory it may be.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// A directory.
pub struct PseudoDir {
    meta: InodeMeta,
    attr: Attr,
    dir: Arc<dyn Directory>,
}

impl PseudoDir {
    /// A directory with these children.
    pub fn new(attr: Attr, dir: impl Directory) -> Arc<PseudoDir> {
        Arc::new(PseudoDir {
            meta: InodeMeta::default(),
            attr,
            dir: Arc::new(dir),
        })
    }
    /// What makes its children.
    pub fn directory(&self) -> &dyn Directory {
        &*self.dir
    }
}

/// A fixed set of children.
#[derive(Default)]
pub struct StaticDir {
    entries: Vec<(Vec<u8>, InodeRef)>,
}

impl StaticDir {
    /// Without children.
    pub fn new() -> StaticDir {
        StaticDir::default()
    }
    /// With one more child.
    pub fn with(mut self, name: &str, inode: InodeRef) -> StaticDir {
        self.entries.push((name.as_bytes().to_vec(), inode));
        self
    }
    /// Adds a child.
    pub fn add(&mut self, name: &str, inode: InodeRef) {
        self.entries.push((name.as_bytes().to_vec(), inode));
    }
    /// As a directory inode.
    pub fn into_inode(self, attr: Attr) -> InodeRef {
        PseudoDir::new(attr, self)
    }
    /// The children, as a part of another directory's listing.
    pub fn children(&self) -> Vec<Child> {
        let each = |(i, (name, inode)): (usize, &(Vec<u8>, InodeRef))| Child {
            name: name.clone(),
            ino: inode.stat().map_or(0, |s| s.ino),
            file_type: inode.file_type(),
            key: i as u64,
        };
        self.entries.iter().enumerate().map(each).collect()
    }
    /// Child by name.
    pub fn find(&self, name: &[u8]) -> Option<InodeRef> {
        self.entries
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, i)| i.clone())
    }
}

impl Directory for StaticDir {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        self.find(name).ok_or(Errno::ENOENT)
    }
    fn list(&self, _: &dyn Caller) -> Result<Vec<Child>> {
        Ok(self.children())
    }
    fn changes(&self) -> bool {
        false
    }
    fn nlink(&self) -> u32 {
        let dirs = self
            .entries
            .iter()
            .filter(|(_, i)| i.file_type() == FileType::Directory)
            .count();
        2 + u32::try_from(dirs).unwrap_or(0)
    }
}

impl Inode for PseudoDir {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::Directory
    }
    fn stat(&self) -> Result<Stat> {
        Ok(self
            .attr
            .stat(FileType::Directory, self.dir.nlink(), self.dir.size()))
    }
    fn set_attr(&self, cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        super::set_attr(cx, changes)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.attr.statfs())
    }
    fn open(self: Arc<Self>, _: &dyn Caller, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(Opened {
            dir: self.dir.clone(),
            ino: self.attr.ino,
        }))
    }
    fn lookup(&self, name: &[u8]) -> Result<InodeRef> {
        self.dir.lookup(name)
    }
    fn cacheable(&self) -> bool {
        !self.dir.changes()
    }
    fn permission(&self, cx: &dyn Caller, _mask: u32) -> Option<Result<()>> {
        self.dir.permission(cx)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An open directory. Positions: 0 ".", 1 "..", then key + 2.
struct Opened {
    dir: Arc<dyn Directory>,
    ino: u64,
}

impl FileOps for Opened {
    fn read(&self, _: &File, _: &dyn Caller, _: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
    fn seekable(&self) -> bool {
        true
    }
    fn readdir(
        &self,
        _: &File,
        cx: &dyn Caller,
        pos: &mut u64,
        emit: &mut Readdir<'_>,
    ) -> Result<()> {
        for (at, name) in [(0u64, b".".as_slice()), (1, b"..")] {
            if *pos == at {
                let e = DirEntry {
                    ino: self.ino,
                    file_type: FileType::Directory,
                    name,
                    next: at + 1,
                };
                if !emit(&e) {
                    return Ok(());
                }
                *pos = at + 1;
            }
        }
        for c in self.dir.list(cx)? {
            let here = c.key + 2;
            if here < *pos {
                continue;
            }
            let e = DirEntry {
                ino: c.ino,
                file_type: c.file_type,
                name: &c.name,
                next: here + 1,
            };
            if !emit(&e) {
                return Ok(());
            }
            *pos = here + 1;
        }
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
