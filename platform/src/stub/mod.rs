//! The stub: the few instructions in every guest process that act on the sentry's order, and where they lie.
//!
//! [`asm`] holds the code, [`mailbox`] the memory through which work is handed over, [`filter`] the system
//! calls the stub may make. The layout above [`GUEST_END`] is chosen once per sandbox:
//! ```text
//! base             text (r-x): one page, or, untraced, two and behind them the table of eager copies
//! base + 64 KiB    counters (r--, shared with the sentry): see [`crate::epochs`]
//! base + 1 MiB     host [vvar…] and [vdso]
//! base + 16 MiB    windows on files (untraced, shared, not inherited by fork)
//! base + 128 MiB   mailboxes, one per thread (rw-, shared with the sentry, not inherited by fork)
//! ```
#![allow(unsafe_code)] // names the symbols of the assembly in asm.rs
mod asm;
pub(crate) mod eager;
pub(crate) mod filter;
pub(crate) mod free;
pub(crate) mod futex;
pub(crate) mod interest;
pub(crate) mod mailbox;
pub(crate) mod ops;
pub(crate) mod paths;
pub(crate) mod slot;

use crate::{Error, GUEST_END, Result, Vdso};

/// Page size in bytes.
pub(crate) const PAGE: u64 = 4096;
/// One past the last user address of the host.
pub(crate) const TASK_END: u64 = 0x7fff_ffff_f000;
/// Length of the whole region, and distance between possible bases, in bytes.
const SPAN: u64 = 256 << 20;
const STEP: u64 = 128 << 20;
const VDSO_OFFSET: u64 = 1 << 20;
pub(crate) const EPOCHS_OFFSET: u64 = 64 << 10;
const WINDOWS_OFFSET: u64 = 16 << 20;
const _: () = assert!(WINDOWS_OFFSET + crate::WINDOWS as u64 * crate::WINDOW_LEN <= MAILBOX_OFFSET);
pub(crate) const MAILBOX_OFFSET: u64 = 128 << 20;

unsafe extern "C" {
    static cofferdam_stub_start: u8;
    static cofferdam_stub_park: u8;
    static cofferdam_stub_syscall: u8;
    static cofferdam_stub_syscall_done: u8;
    static cofferdam_stub_execute: u8;
    static cofferdam_stub_execute_done: u8;
    static cofferdam_stub_map: u8;
    static cofferdam_stub_map_done: u8;
    static cofferdam_stub_cas: u8;
    static cofferdam_stub_cas_done: u8;
    static cofferdam_stub_exit: u8;
    static cofferdam_stub_end: u8;
}

/// A place in the stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Rests.
    Park,
    /// One system call from registers.
    Syscall,
    /// Behind the `int3` of `Syscall`.
    SyscallDone,
    /// Carries out the mailbox's list.
    Execute,
    /// Behind the `int3` of `Execute`.
    ExecuteDone,
    /// Rings for a descriptor and maps it, from registers.
    Map,
    /// Behind the `int3` of `Map`.
    MapDone,
    /// Compare and exchange.
    Cas,
    /// Behind the `int3` of `Cas`.
    CasDone,
    /// Ends the thread.
    Exit,
}

/// The stub's instructions, to be copied to [`Layout::base`].
pub(crate) fn text() -> &'static [u8] {
    let start = &raw const cofferdam_stub_start;
    let len = (&raw const cofferdam_stub_end).addr() - start.addr();
    // SAFETY: both symbols bound one read-only section that the assembly fills.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// Where things lie in every guest process of one sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Address of the stub's text, page-aligned.
    pub base: u64,
    /// The host's vDSO after it was moved.
    pub vdso: Option<Vdso>,
}

/// One line of `/proc/self/maps`.
#[derive(Clone, Debug)]
pub(crate) struct MapsLine {
    pub start: u64,
    pub end: u64,
    pub name: String,
}

/// Parses `/proc/self/maps`.
pub(crate) fn parse_maps(text: &str) -> Vec<MapsLine> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            Some(MapsLine {
                start: u64::from_str_radix(start, 16).ok()?,
                end: u64::from_str_radix(end, 16).ok()?,
                name: words.nth(4).unwrap_or("").to_owned(),
            })
        })
        .collect()
}

/// A piece of `[vvar…]`/`[vdso]` and where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move {
    pub from: u64,
    pub to: u64,
    pub len: u64,
    /// Its protection changes at times ([`crate::MemOp::Vdso`]).
    pub changes: bool,
}

impl Layout {
    /// Finds room for the stub beside the mappings that the launching process has, and plans how the vDSO moves.
    pub fn choose(maps: &[MapsLine]) -> Result<(Layout, Vec<Move>)> {
        let base = (1..)
            .map(|i| GUEST_END + i * STEP)
            .take_while(|base| base + SPAN <= TASK_END)
            .find(|base| {
                maps.iter()
                    .all(|m| m.end <= *base || m.start >= base + SPAN)
            })
            .ok_or_else(|| {
                Error::Host("no room for the stub above the guest's addresses".into())
            })?;
        let special: Vec<&MapsLine> = maps
            .iter()
            .filter(|m| m.name.starts_with("[vvar") || m.name == "[vdso]")
            .collect();
        let mut moves = Vec::new();
        let mut vdso = None;
        let lowest = special.iter().map(|m| m.start).min();
        if let (Some(low), Some(code)) = (lowest, special.iter().find(|m| m.name == "[vdso]")) {
            let target = base + VDSO_OFFSET;
            for m in &special {
                moves.push(Move {
                    from: m.start,
                    to: target + (m.start - low),
                    len: m.end - m.start,
                    changes: m.name == "[vdso]",
                });
            }
            let at = target + (code.start - low);
            vdso = Some(Vdso {
                vvar: (target, at - target),
                vdso: (at, code.end - code.start),
            });
        }
        Ok((Layout { base, vdso }, moves))
    }

    /// Address of a place in the stub.
    pub fn at(&self, entry: Entry) -> u64 {
        let symbol = match entry {
            Entry::Park => &raw const cofferdam_stub_park,
            Entry::Syscall => &raw const cofferdam_stub_syscall,
            Entry::SyscallDone => &raw const cofferdam_stub_syscall_done,
            Entry::Execute => &raw const cofferdam_stub_execute,
            Entry::ExecuteDone => &raw const cofferdam_stub_execute_done,
            Entry::Map => &raw const cofferdam_stub_map,
            Entry::MapDone => &raw const cofferdam_stub_map_done,
            Entry::Cas => &raw const cofferdam_stub_cas,
            Entry::CasDone => &raw const cofferdam_stub_cas_done,
            Entry::Exit => &raw const cofferdam_stub_exit,
        };
        self.base + (symbol.addr() - (&raw const cofferdam_stub_start).addr()) as u64
    }

    /// Address of the mailbox window.
    pub fn mailboxes(&self) -> u64 {
        self.base + MAILBOX_OFFSET
    }

    /// Address of the page of counters.
    pub fn epochs(&self) -> u64 {
        self.base + EPOCHS_OFFSET
    }

    /// Address of a window on a file; `None` if there is none with this number.
    pub fn window(&self, index: usize) -> Option<u64> {
        let at = self.base + WINDOWS_OFFSET + index as u64 * crate::WINDOW_LEN;
        (index < crate::WINDOWS).then_some(at)
    }

    /// One past the last address of the region.
    pub fn end(&self) -> u64 {
        self.base + SPAN
    }
}

/// Guest memory that a call writes to, as far as its arguments say: address and length in bytes, cut to what the stub looks at.
pub(crate) fn written_by(call: &crate::Call) -> Option<(u64, u64)> {
    eager::buffers(call, 0).output
}
