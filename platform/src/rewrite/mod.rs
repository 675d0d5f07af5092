//! Rewriting of `syscall` instructions in program files, so that they jump to the stub instead of trapping.
//!
//! [`rewrite`] reads an ELF file (hostile input) and returns its text with jumps in it, and *trampolines* for them. It does no
//! system calls and knows nothing of processes: whoever calls it maps the result.
//!
//! # The scheme
//! The `syscall` instruction itself stays where it is: jumps to it, a restart that sets rip back by two, and the
//! slow way through SIGSYS stay right. The whole instructions right before it, as few as have five bytes, give
//! way to a `jmp` to a trampoline. That holds copies of them, then puts the address behind the `syscall` into r11, which the
//! call clobbers anyway, and jumps to the gate.
//!
//! # What makes it safe
//! A site is taken only if the instructions before it are certain: decoded without a gap from a function start that the file itself
//! names ([`functions`]) or that calls lead to ([`flow`]), and no known branch, symbol or function start leads between them ([`sites`]). Where branches cannot all be known
//! (jump tables, landing pads), only a single instruction is moved, which nobody enters in the middle.
//!
//! # Coordinates
//! All positions are *file offsets as mapped*: a mapping shows file offset `o` at its base + `o`. Trampolines
//! lie at a fixed distance, [`GAP`] below the base, so one result serves all processes.

mod elf;
mod emit;
mod flow;
mod frames;
mod functions;
mod golang;
mod sites;
#[cfg(test)]
mod tests;

/// Distance from the trampolines to the address where file offset 0 would be mapped, in bytes.
pub const GAP: u64 = 1 << 20;
/// Most bytes of trampolines; they lie at the low end of the gap.
pub const MAX_TRAMPOLINES: usize = 512 << 10;
/// Largest text segment that is looked at, in bytes.
pub const MAX_TEXT: u64 = 64 << 20;
/// Text segments up to this size are replaced as a whole, others in [`MAX_RUNS`] pieces.
const WHOLE: usize = 4 << 20;
/// Most runs of pages of one file.
pub const MAX_RUNS: usize = 8;
/// Most bytes in all runs of a file.
const MAX_RUN_BYTES: usize = 16 << 20;
/// Bytes per page.
const PAGE: usize = 4096;

/// A file's bytes.
pub trait Source {
    /// Fills `buf` from `offset`; how many bytes there were (fewer at the end of the file or after an error).
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> usize;
}

impl Source for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> usize {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(rest) = self.get(from..) else {
            return 0;
        };
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        n
    }
}

/// Consecutive pages with jumps in them.
#[derive(Debug)]
pub struct Run {
    /// File offset of the first page.
    pub offset: u64,
    /// Whole pages.
    pub bytes: Vec<u8>,
}

/// One rewritten call site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// File offset of the first overwritten instruction; a jump is there now.
    pub start: u64,
    /// File offset of the `syscall` instruction, which is unchanged.
    pub syscall: u64,
    /// Where the instructions went: offset from `start`, offset in the trampolines. The last one is for `syscall` itself:
    /// from there on the trampoline only does what stands for it.
    pub pieces: Vec<(u8, u32)>,
    /// End of the trampoline.
    pub end: u32,
}

/// What [`rewrite`] makes of a file.
#[derive(Debug)]
pub struct Rewritten {
    /// Replaced pages, ascending.
    pub runs: Vec<Run>,
    /// To be mapped, readable and executable, [`GAP`] below the base.
    pub trampolines: Vec<u8>,
    /// Rewritten sites, ascending; so are their trampolines.
    pub sites: Vec<Site>,
    /// `syscall` instructions found in known functions, rewritten or not.
    pub found: usize,
}

impl Rewritten {
    /// The original position (file offset) of an address in the trampolines, if an instruction starts or ended there.
    pub fn original(&self, trampoline: u32) -> Option<u64> {
        original(&self.sites, trampoline)
    }
    /// Where in the trampolines the instruction is that was at this file offset, if it lies *between* overwritten ones.
    pub fn moved(&self, offset: u64) -> Option<u32> {
        moved(&self.sites, offset)
    }
}

/// See [`Rewritten::original`].
pub fn original(sites: &[Site], trampoline: u32) -> Option<u64> {
    let next = sites.partition_point(|s| s.pieces.first().is_some_and(|p| p.1 <= trampoline));
    let site = sites.get(next.checked_sub(1)?)?;
    let last = site.pieces.last()?.1;
    if trampoline >= last {
        return (trampoline < site.end).then_some(site.syscall);
    }
    let piece = site.pieces.iter().find(|p| p.1 == trampoline)?;
    Some(site.start + u64::from(piece.0))
}

/// See [`Rewritten::moved`].
pub fn moved(sites: &[Site], offset: u64) -> Option<u32> {
    let next = sites.partition_point(|s| s.start < offset);
    let site = sites.get(next.checked_sub(1)?)?;
    if offset >= site.syscall {
        return None;
    }
    let piece = site
        .pieces
        .iter()
        .find(|p| site.start + u64::from(p.0) == offset)?;
    Some(piece.1)
}

/// Rewrites what is safe to rewrite; `None` if nothing is, or the file is no x86-64 ELF file. `gate` is where trampolines jump to.
pub fn rewrite(file: &(impl Source + ?Sized), gate: u64) -> Option<Rewritten> {
    let image = elf::Image::read(file)?;
    sites::candidates(&image.text).next()?;
    let functions = functions::Functions::find(file, &image);
    let found = sites::find(&image, &functions);
    emit::emit(&image, &found, gate)
}
