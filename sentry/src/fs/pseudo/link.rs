//! Symbolic links with generated targets, and magic links.

use super::Attr;
use crate::abi::{Errno, Result};
use crate::vfs::{
    Caller, FileOps, FileType, Inode, InodeMeta, MagicTarget, OpenFlags, SetAttr, Stat, StatFs,
};
use std::any::Any;
use std::sync::Arc;

/// Where a link leads.
pub trait LinkTarget: Send + Sync + 'static {
    /// Its text.
    fn text(&self, cx: &dyn Caller) -> Result<Vec<u8>>;
    /// The object itself, for magic links.
    fn magic(&self, _cx: &dyn Caller) -> Option<Result<MagicTarget>> {
        None
    }
}

impl<F: Fn(&dyn Caller) -> Result<Vec<u8>> + Send + Sync + 'static> LinkTarget for F {
    fn text(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        self(cx)
    }
}

/// A link.
pub struct PseudoLink {
    meta: InodeMeta,
    attr: Attr,
    target: Box<dyn LinkTarget>,
}

impl PseudoLink {
    /// A link.
    pub fn new(attr: Attr, target: impl LinkTarget) -> Arc<PseudoLink> {
        Arc::new(PseudoLink {
            meta: InodeMeta::default(),
            attr,
            target: Box::new(target),
        })
    }
    /// A link that always leads to the same place.
    pub fn fixed(attr: Attr, target: &'static str) -> Arc<PseudoLink> {
        PseudoLink::new(attr, move |_: &dyn Caller| Ok(target.as_bytes().to_vec()))
    }
}

impl Inode for PseudoLink {
    fn meta(&self) -> &InodeMeta {
        &self.meta
    }
    fn file_type(&self) -> FileType {
        FileType::Symlink
    }
    fn stat(&self) -> Result<Stat> {
        Ok(self.attr.stat(FileType::Symlink, 1, 0))
    }
    fn set_attr(&self, cx: &dyn Caller, changes: &SetAttr) -> Result<()> {
        super::set_attr(cx, changes)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(self.attr.statfs())
    }
    fn open(self: Arc<Self>, _: &dyn Caller, _: OpenFlags) -> Result<Box<dyn FileOps>> {
        Err(Errno::ELOOP)
    }
    fn readlink(&self, cx: &dyn Caller) -> Result<Vec<u8>> {
        self.target.text(cx)
    }
    fn magic_target(&self, cx: &dyn Caller) -> Option<Result<MagicTarget>> {
        self.target.magic(cx)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
