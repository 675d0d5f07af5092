//! Reading of ELF files: the text segment and the tables that name functions. Every byte is hostile.

use super::{MAX_TEXT, PAGE, Source};

/// Most program headers that are looked at.
const MAX_PHDRS: usize = 64;
/// Most section headers that are looked at.
const MAX_SECTIONS: usize = 4096;
/// Largest table that is read, in bytes.
pub(super) const MAX_TABLE: u64 = 32 << 20;

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;

/// Little-endian fields of a slice.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let end = at.checked_add(N)?;
        self.0.get(at..end)?.try_into().ok()
    }
    pub fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }
    pub fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }
    pub fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }
    pub fn i32(&self, at: usize) -> Option<i32> {
        self.array(at).map(i32::from_le_bytes)
    }
    pub fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

/// One PT_LOAD.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub offset: u64,
    pub vaddr: u64,
    pub filesz: u64,
}

/// One section header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub name: u32,
    pub kind: u32,
    pub vaddr: u64,
    pub offset: u64,
    pub size: u64,
}

/// A parsed file.
pub(super) struct Image {
    /// Whole pages of the (largest) executable segment.
    pub text: Vec<u8>,
    /// File offset of its first page.
    pub offset: u64,
    /// What to subtract from an address in the segment (`p_vaddr`) for a file offset as mapped.
    pub delta: u64,
    /// Code proper, as positions in `text`: the segment without what else its pages hold.
    pub code: std::ops::Range<usize>,
    pub entry: u64,
    pub loads: Vec<Load>,
    /// Address of .eh_frame_hdr.
    pub eh_frame_hdr: Option<u64>,
    pub sections: Vec<Section>,
    names: Vec<u8>,
}

/// Up to `len` bytes from `offset`.
pub(super) fn read(file: &(impl Source + ?Sized), offset: u64, len: u64) -> Vec<u8> {
    let len = usize::try_from(len.min(MAX_TEXT)).unwrap_or(0);
    let mut out = vec![0; len];
    let mut at = 0;
    while let Some(rest) = out.get_mut(at..).filter(|r| !r.is_empty()) {
        let Some(from) = offset.checked_add(at as u64) else {
            break;
        };
        match file.read_at(from, rest) {
            0 => break,
            n => at += n.min(rest.len()),
        }
    }
    out.truncate(at);
    out
}

impl Image {
    pub fn read(file: &(impl Source + ?Sized)) -> Option<Image> {
        let head = read(file, 0, 64);
        let h = Bytes(&head);
        // 64 bit, little-endian, for x86-64.
        if !head.starts_with(b"\x7fELF\x02\x01") || h.u16(18)? != 62 {
            return None;
        }
        let (phoff, shoff) = (h.u64(32)?, h.u64(40)?);
        let (phentsize, phnum) = (h.u16(54)?, h.u16(56)?);
        if phentsize != 56 {
            return None;
        }
        let phnum = usize::from(phnum).min(MAX_PHDRS);
        let table = read(file, phoff, phnum as u64 * 56);
        let mut loads = Vec::new();
        let mut eh_frame_hdr = None;
        let mut text: Option<Load> = None;
        for p in table.chunks_exact(56).map(Bytes) {
            let load = Load {
                offset: p.u64(8)?,
                vaddr: p.u64(16)?,
                filesz: p.u64(32)?,
            };
            match p.u32(0)? {
                PT_LOAD => {
                    loads.push(load);
                    if p.u32(4)? & PF_X != 0 && text.is_none_or(|t| t.filesz < load.filesz) {
                        text = Some(load);
                    }
                }
                PT_GNU_EH_FRAME => eh_frame_hdr = Some(load.vaddr),
                _ => {}
            }
        }
        let t = text.filter(|t| t.filesz > 0 && t.filesz <= MAX_TEXT)?;
        let page = PAGE as u64;
        if t.vaddr % page != t.offset % page || t.vaddr.checked_add(t.filesz)? > 1 << 47 {
            return None;
        }
        let offset = t.offset & !(page - 1);
        let len = t
            .offset
            .checked_add(t.filesz)?
            .checked_next_multiple_of(page)?
            - offset;
        if i64::try_from(offset.checked_add(len)?).is_err() {
            return None;
        }
        let mut bytes = read(file, offset, len);
        let in_page = usize::try_from(t.offset - offset).ok()?;
        let code_end = in_page.checked_add(usize::try_from(t.filesz).ok()?)?;
        let code = in_page..code_end.min(bytes.len());
        // The file's last page is filled up with zeros, as a mapping of it is.
        bytes.resize(bytes.len().checked_next_multiple_of(PAGE)?, 0);
        let (sections, names) = sections(file, &h, shoff);
        Some(Image {
            text: bytes,
            offset,
            delta: t.vaddr.wrapping_sub(t.offset),
            code,
            entry: h.u64(24)?,
            loads,
            eh_frame_hdr,
            sections,
            names,
        })
    }

    /// Position in `text` of an address, if it is code.
    pub fn position(&self, vaddr: u64) -> Option<usize> {
        let at = vaddr
            .wrapping_sub(self.delta)
            .checked_sub(self.offset)
            .and_then(|p| usize::try_from(p).ok())?;
        self.code.contains(&at).then_some(at)
    }

    /// A section by its name.
    pub fn section(&self, name: &[u8]) -> Option<&Section> {
        self.sections.iter().find(|s| {
            usize::try_from(s.name)
                .ok()
                .and_then(|at| self.names.get(at..))
                .and_then(|n| n.strip_prefix(name))
                .is_some_and(|rest| rest.first() == Some(&0))
        })
    }

    /// File offset of an address and how many bytes of its segment follow.
    pub fn file_range(&self, vaddr: u64) -> Option<(u64, u64)> {
        self.loads.iter().find_map(|l| {
            let at = vaddr.checked_sub(l.vaddr).filter(|a| *a < l.filesz)?;
            Some((l.offset.checked_add(at)?, l.filesz - at))
        })
    }
}

fn sections(file: &(impl Source + ?Sized), h: &Bytes<'_>, shoff: u64) -> (Vec<Section>, Vec<u8>) {
    let header = || {
        if shoff == 0 || h.u16(58)? != 64 {
            return None;
        }
        let count = usize::from(h.u16(60)?).min(MAX_SECTIONS);
        let table = read(file, shoff, count as u64 * 64);
        let sections: Vec<Section> = table
            .chunks_exact(64)
            .map(Bytes)
            .map(|s| {
                Some(Section {
                    name: s.u32(0)?,
                    kind: s.u32(4)?,
                    vaddr: s.u64(16)?,
                    offset: s.u64(24)?,
                    size: s.u64(32)?,
                })
            })
            .collect::<Option<_>>()?;
        let names = sections.get(usize::from(h.u16(62)?))?;
        let names = read(file, names.offset, names.size.min(1 << 20));
        Some((sections, names))
    };
    header().unwrap_or_default()
}
