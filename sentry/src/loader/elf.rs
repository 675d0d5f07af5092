//! ELF headers, read and checked (elf(5)).

use super::read_exact_at;
use crate::abi::{Errno, Result};
use crate::mm::PAGE;
use crate::vfs::File;
use cofferdam_platform::Prot;
use std::borrow::Cow;
use std::sync::Arc;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The first bytes of an ELF file.
pub(super) const MAGIC: &[u8] = b"\x7fELF";

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;
/// Most bytes of program headers.
const MAX_HEADERS: usize = 65536;
/// What is read of a file at once; the headers of nearly all programs lie in it.
pub(super) const HEAD: usize = 4096;
/// Longest interpreter path with its NUL.
const PATH_MAX: u64 = 4096;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    ident: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    phoff: u64,
    shoff: u64,
    flags: u32,
    ehsize: u16,
    phentsize: u16,
    phnum: u16,
    shentsize: u16,
    shnum: u16,
    shstrndx: u16,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    paddr: u64,
    filesz: u64,
    memsz: u64,
    align: u64,
}

/// Size of one program header in bytes.
pub(super) const PHENT: u64 = size_of::<ProgramHeader>() as u64;

/// One PT_LOAD; addresses are before relocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub offset: u64,
    pub vaddr: u64,
    pub filesz: u64,
    pub memsz: u64,
    pub prot: Prot,
}

impl Segment {
    /// First page.
    pub fn start(&self) -> u64 {
        crate::mm::page_floor(self.vaddr)
    }
}

/// What there is to know of an ELF file in order to load it.
pub(super) struct Program {
    /// ET_DYN: may be loaded anywhere.
    pub relocatable: bool,
    /// Entry point before relocation.
    pub entry: u64,
    /// Number of program headers.
    pub phnum: u16,
    /// Address of the program headers before relocation.
    pub phdr: u64,
    /// PT_LOADs in file order.
    pub segments: Vec<Segment>,
    /// Greatest alignment wanted, in bytes; a power of two.
    pub align: u64,
    /// PT_INTERP.
    pub interpreter: Option<Vec<u8>>,
    /// PT_GNU_STACK asks for an executable stack.
    pub executable_stack: bool,
}

impl Program {
    /// Reads the headers of a program whose first [`HEAD`] bytes are `head`.
    ///
    /// # Errors
    /// ENOEXEC if it is not for this machine or malformed; EIO if it is cut off; EINVAL for impossible segments.
    pub fn read(file: &Arc<File>, head: &[u8]) -> Result<Program> {
        Self::read_headers(file, head, Errno::ENOEXEC, true)
    }

    /// The same for a program interpreter, whose defects are ELIBBAD.
    pub fn read_interpreter(file: &Arc<File>) -> Result<Program> {
        let head = super::read_at(file, 0, HEAD)?;
        Self::read_headers(file, &head, Errno::from_raw(libc::ELIBBAD), false)
    }

    fn read_headers(file: &Arc<File>, head: &[u8], bad: Errno, main: bool) -> Result<Program> {
        let raw = head.get(..size_of::<Header>()).unwrap_or(head);
        let header = match Header::read_from_bytes(raw) {
            Ok(h) => h,
            // The kernel has read a zero-filled buffer of the program itself, but reads the interpreter to the letter.
            Err(_) if main => {
                let mut h = Header::new_zeroed();
                let n = raw.len();
                if let (Some(to), Some(from)) = (h.as_mut_bytes().get_mut(..n), raw.get(..n)) {
                    to.copy_from_slice(from);
                }
                h
            }
            Err(_) => return Err(Errno::EIO),
        };
        if !header.ident.starts_with(MAGIC)
            || !matches!(header.kind, ET_EXEC | ET_DYN)
            || header.machine != EM_X86_64
            || usize::from(header.phentsize) != size_of::<ProgramHeader>()
        {
            return Err(bad);
        }
        let size = usize::from(header.phnum) * size_of::<ProgramHeader>();
        if size == 0 || size > MAX_HEADERS || i64::try_from(header.phoff).is_err() {
            return Err(bad);
        }
        let table = part(file, head, header.phoff, size)?;
        let headers: Vec<ProgramHeader> = table
            .chunks_exact(size_of::<ProgramHeader>())
            .filter_map(|c| ProgramHeader::read_from_bytes(c).ok())
            .collect();
        Self::from_headers(file, head, &header, &headers, main)
    }

    fn from_headers(
        file: &Arc<File>,
        head: &[u8],
        header: &Header,
        headers: &[ProgramHeader],
        main: bool,
    ) -> Result<Program> {
        let mut p = Program {
            relocatable: header.kind == ET_DYN,
            entry: header.entry,
            phnum: header.phnum,
            phdr: 0,
            segments: Vec::new(),
            align: PAGE,
            interpreter: None,
            executable_stack: false,
        };
        for h in headers {
            match h.kind {
                PT_LOAD => {
                    let s = segment(h)?;
                    if h.align.is_power_of_two() && h.align <= 1 << 30 {
                        p.align = p.align.max(h.align);
                    }
                    // Linux does not look at PT_PHDR.
                    if (h.offset..h.offset.saturating_add(h.filesz)).contains(&header.phoff) {
                        p.phdr = header.phoff - h.offset + h.vaddr;
                    }
                    p.segments.push(s);
                }
                PT_INTERP if main && p.interpreter.is_none() => {
                    p.interpreter = Some(interpreter(file, head, h)?);
                }
                PT_GNU_STACK => p.executable_stack = h.flags & PF_X != 0,
                _ => {}
            }
        }
        if p.segments.is_empty() {
            return Err(Errno::EINVAL);
        }
        Ok(p)
    }

    /// Range from the first page to past the last byte of all segments, before relocation.
    pub fn extent(&self) -> Result<(u64, u64)> {
        let low = self
            .segments
            .iter()
            .map(Segment::start)
            .min()
            .ok_or(Errno::EINVAL)?;
        let high = self
            .segments
            .iter()
            .map(|s| s.vaddr.saturating_add(s.memsz))
            .max()
            .ok_or(Errno::EINVAL)?;
        Ok((low, high))
    }
}

fn segment(h: &ProgramHeader) -> Result<Segment> {
    let end = h.vaddr.checked_add(h.memsz);
    if h.filesz > h.memsz || end.is_none_or(|e| e > cofferdam_platform::GUEST_END) {
        return Err(Errno::EINVAL);
    }
    if h.filesz > 0 && h.offset % PAGE != h.vaddr % PAGE {
        return Err(Errno::EINVAL);
    }
    if i64::try_from(h.offset.saturating_add(h.filesz).saturating_add(PAGE)).is_err() {
        return Err(Errno::EINVAL);
    }
    let mut prot = Prot::empty();
    prot.set(Prot::READ, h.flags & PF_R != 0);
    prot.set(Prot::WRITE, h.flags & PF_W != 0);
    prot.set(Prot::EXEC, h.flags & PF_X != 0);
    Ok(Segment {
        offset: h.offset,
        vaddr: h.vaddr,
        filesz: h.filesz,
        memsz: h.memsz,
        prot,
    })
}

/// Bytes of a file whose first bytes are `head`.
fn part<'a>(file: &Arc<File>, head: &'a [u8], offset: u64, len: usize) -> Result<Cow<'a, [u8]>> {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    match head.get(at..at.saturating_add(len)) {
        Some(bytes) => Ok(Cow::Borrowed(bytes)),
        None => read_exact_at(file, offset, len).map(Cow::Owned),
    }
}

fn interpreter(file: &Arc<File>, head: &[u8], h: &ProgramHeader) -> Result<Vec<u8>> {
    if h.filesz > PATH_MAX || h.filesz < 2 {
        return Err(Errno::ENOEXEC);
    }
    let len = usize::try_from(h.filesz).map_err(|_| Errno::ENOEXEC)?;
    if i64::try_from(h.offset).is_err() {
        return Err(Errno::EINVAL);
    }
    let raw = part(file, head, h.offset, len)?;
    if raw.last() != Some(&0) {
        return Err(Errno::ENOEXEC);
    }
    Ok(raw.split(|b| *b == 0).next().unwrap_or(&[]).to_vec())
}
