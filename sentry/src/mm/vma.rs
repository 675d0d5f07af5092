//! One mapping of a guest address space (`struct vm_area_struct`).

use super::rewrite::Rewritten;
use super::shared::SharedAnon;
use crate::vfs::{File, MapSource};
use cofferdam_platform::Prot;
use std::sync::Arc;

/// Bytes per page.
pub const PAGE: u64 = 4096;

/// Rounds down to a page.
pub const fn page_floor(addr: u64) -> u64 {
    addr & !(PAGE - 1)
}

/// Rounds up to a page; `None` on overflow.
pub fn page_ceil(addr: u64) -> Option<u64> {
    addr.checked_add(PAGE - 1).map(page_floor)
}

bitflags::bitflags! {
    /// Properties of a mapping, Linux's VM_* (the values are our own).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VmFlags: u32 {
        /// Created with MAP_SHARED (VM_MAYSHARE).
        const SHARED = 1;
        /// mprotect may add PROT_READ.
        const MAYREAD = 1 << 1;
        /// mprotect may add PROT_WRITE.
        const MAYWRITE = 1 << 2;
        /// mprotect may add PROT_EXEC.
        const MAYEXEC = 1 << 3;
        /// Grows downward on faults below it.
        const GROWSDOWN = 1 << 4;
        /// mlock(2)ed (accounted only).
        const LOCKED = 1 << 5;
        /// MADV_DONTFORK.
        const DONTFORK = 1 << 6;
        /// MADV_WIPEONFORK.
        const WIPEONFORK = 1 << 7;
        /// MADV_DONTDUMP.
        const DONTDUMP = 1 << 8;
        /// MAP_NORESERVE.
        const NORESERVE = 1 << 9;
        /// MLOCK_ONFAULT.
        const LOCKONFAULT = 1 << 10;
        /// MADV_SEQUENTIAL.
        const SEQ_READ = 1 << 11;
        /// MADV_RANDOM.
        const RAND_READ = 1 << 12;
        /// MADV_HUGEPAGE (tracked only).
        const HUGEPAGE = 1 << 13;
        /// MADV_NOHUGEPAGE (tracked only).
        const NOHUGEPAGE = 1 << 14;
        /// mseal(2)ed.
        const SEALED = 1 << 15;
        /// A private mapping of a file that was writable at some time: its pages may not be the file's.
        const WRITTEN = 1 << 16;
        /// A program or library: other mappings are not put right below it, where trampolines may go.
        const KEEPS_GAP = 1 << 17;
        /// The NUMA policy: see [`VmFlags::policy`].
        const POLICY = 0x1f << 20;
        /// All of MAYREAD, MAYWRITE, MAYEXEC.
        const MAY_ALL = Self::MAYREAD.bits() | Self::MAYWRITE.bits() | Self::MAYEXEC.bits();
    }
}

/// Where the pages of a mapping come from.
#[derive(Clone)]
pub enum Backing {
    /// Private anonymous memory.
    Anonymous,
    /// Shared anonymous memory or a System V segment, from this byte offset.
    SharedAnon {
        /// The memory.
        mem: Arc<SharedAnon>,
        /// Offset of the first byte.
        offset: u64,
    },
    /// A file, from this byte offset.
    File {
        /// The open file; keeps it and its path alive.
        file: Arc<File>,
        /// What the stub maps.
        source: MapSource,
        /// Offset of the first byte.
        offset: u64,
    },
}

impl Backing {
    /// The same object, `by` bytes further on.
    pub fn advanced(&self, by: u64) -> Backing {
        let mut b = self.clone();
        match &mut b {
            Backing::Anonymous => {}
            Backing::SharedAnon { offset, .. } | Backing::File { offset, .. } => {
                *offset = offset.wrapping_add(by);
            }
        }
        b
    }
    /// Whether `next` continues this backing `len` bytes later.
    fn continued_by(&self, len: u64, next: &Backing) -> bool {
        match (self, next) {
            (Backing::Anonymous, Backing::Anonymous) => true,
            (
                Backing::SharedAnon { mem, offset },
                Backing::SharedAnon {
                    mem: m2,
                    offset: o2,
                },
            ) => Arc::ptr_eq(mem, m2) && offset.wrapping_add(len) == *o2,
            (
                Backing::File { file, offset, .. },
                Backing::File {
                    file: f2,
                    offset: o2,
                    ..
                },
            ) => Arc::ptr_eq(file, f2) && offset.wrapping_add(len) == *o2,
            _ => false,
        }
    }
}

/// One mapping: pages `start..end` with one protection, one set of flags and one backing.
#[derive(Clone)]
pub struct Vma {
    /// First byte; page-aligned.
    pub start: u64,
    /// One past the last byte; page-aligned, greater than `start`.
    pub end: u64,
    /// Protection as the guest asked for it.
    pub prot: Prot,
    /// Properties.
    pub flags: VmFlags,
    /// Source of the pages.
    pub backing: Backing,
    /// Name by PR_SET_VMA_ANON_NAME.
    pub anon_name: Option<Arc<[u8]>>,
    /// Lowest address that the host has mapped for a stack to grow into without a fault; `start` for all other mappings.
    pub reserve: u64,
    /// The rewritten version of a program's text that stands for the file's own.
    pub text: Option<Rewritten>,
}

impl Vma {
    /// Private anonymous memory.
    pub fn anonymous(start: u64, end: u64, prot: Prot) -> Vma {
        Vma {
            start,
            end,
            prot,
            flags: VmFlags::MAY_ALL,
            backing: Backing::Anonymous,
            anon_name: None,
            reserve: start,
            text: None,
        }
    }
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }
    /// Never: a VMA has at least one page.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
    /// Whether it was made with MAP_SHARED.
    pub fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }
    /// Byte offset in the backing object; 0 for private anonymous memory.
    pub fn offset(&self) -> u64 {
        match &self.backing {
            Backing::Anonymous => 0,
            Backing::SharedAnon { offset, .. } | Backing::File { offset, .. } => *offset,
        }
    }
    /// The mapped file.
    pub fn file(&self) -> Option<&Arc<File>> {
        match &self.backing {
            Backing::File { file, .. } => Some(file),
            _ => None,
        }
    }
    /// Whether it counts against RLIMIT_DATA: private, writable and not a stack (`is_data_mapping`).
    pub fn is_data(&self) -> bool {
        is_data(self.prot, self.flags)
    }
    /// Remembers that the guest may write here.
    pub(crate) fn note_writable(&mut self) {
        let private_file = matches!(self.backing, Backing::File { .. }) && !self.shared();
        if private_file && self.prot.contains(Prot::WRITE) {
            self.flags |= VmFlags::WRITTEN;
        }
    }
    /// Whether `next` starts where this ends and has the same properties.
    pub(super) fn merges_with(&self, next: &Vma) -> bool {
        self.end == next.start
            && next.reserve == next.start
            && self.prot == next.prot
            && self.flags - VmFlags::WRITTEN == next.flags - VmFlags::WRITTEN
            && self.anon_name == next.anon_name
            && self.text == next.text
            && self.backing.continued_by(self.len(), &next.backing)
    }
    /// Cuts off and returns what lies at and above `at`, which is inside and page-aligned.
    pub(super) fn split_off(&mut self, at: u64) -> Vma {
        let upper = Vma {
            start: at,
            reserve: at,
            backing: self.backing.advanced(at - self.start),
            ..self.clone()
        };
        self.end = at;
        upper
    }
}

/// Whether a mapping with these properties counts against RLIMIT_DATA.
pub(super) fn is_data(prot: Prot, flags: VmFlags) -> bool {
    prot.contains(Prot::WRITE) && !flags.intersects(VmFlags::SHARED | VmFlags::GROWSDOWN)
}

/// The protection to give to the host. x86 pages that can be written or executed can be read (there are no
/// protection keys for the guest), and copies by the sentry must see that too.
pub(super) fn host_prot(prot: Prot) -> Prot {
    if prot.is_empty() {
        prot
    } else {
        prot | Prot::READ
    }
}
