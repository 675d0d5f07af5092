//! Functions that no table of the file names (musl's libc has no unwind tables, and a stripped program no symbols): found by following calls and
//! branches from code that is known.
//!
//! Roots are the entry point, what known functions call directly, and the addresses that relocations put into data. The start-up code of C hands `main` over
//! as an address, so those in the first functions count, too. From there only what control reaches is decoded: what lies behind a
//! return or a jump may be anything. Each stretch of instructions without a gap becomes a [`Function`], and every target of a branch a label.

use super::elf::{Bytes, Image, MAX_TABLE, read};
use super::functions::{Function, Functions};
use super::sites::{BIAS, MAX_FUNCTION, candidates};
use super::{MAX_TEXT, Source};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

const SHT_RELA: u32 = 4;
const R_X86_64_RELATIVE: u64 = 8;
/// Most instructions that are decoded in one file.
const MAX_INSTRUCTIONS: usize = 2 << 20;
/// How many calls away from the entry point addresses of functions are looked for.
const START_UP: u8 = 2;

const _: () = assert!(MAX_TEXT < BIAS);

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// Stretches of certain instructions, by start.
    pub functions: Vec<Function>,
    /// Where branches and calls lead.
    pub labels: Vec<usize>,
}

struct Walk<'a> {
    image: &'a Image,
    known: &'a Functions,
    found: Found,
    /// A bit per byte of text: an instruction begins there that was reached.
    reached: Vec<u64>,
    /// Functions to be looked at, and how many calls away from the entry point they are.
    roots: Vec<(usize, u8)>,
    left: usize,
}

/// Finds what `known` lacks, if there are `syscall` instructions outside of it.
pub(super) fn find(file: &(impl Source + ?Sized), image: &Image, known: &Functions) -> Found {
    let within = |at: &usize| image.code.contains(at);
    let covered = |at: usize| known.containing(at).is_some();
    if candidates(&image.text).filter(within).all(covered) {
        return Found::default();
    }
    let mut walk = Walk {
        image,
        known,
        found: Found::default(),
        reached: vec![0; image.text.len() / 64 + 1],
        roots: Vec::new(),
        left: MAX_INSTRUCTIONS,
    };
    walk.called_by_known();
    for s in image.sections.iter().filter(|s| s.kind == SHT_RELA) {
        for entry in read(file, s.offset, s.size.min(MAX_TABLE)).chunks_exact(24) {
            let entry = Bytes(entry);
            if entry.u64(8) == Some(R_X86_64_RELATIVE) {
                walk.root(entry.u64(16).and_then(|a| image.position(a)), START_UP);
            }
        }
    }
    // Last in, first out: what addresses are taken for depends on the way there.
    walk.root(image.position(image.entry), 0);
    while let Some((start, depth)) = walk.roots.pop() {
        walk.function(start, depth);
    }
    walk.found.functions.sort_unstable_by_key(|f| f.start);
    walk.found
}

impl Walk<'_> {
    fn root(&mut self, at: Option<usize>, depth: u8) {
        // Bounded by what is decoded, and by the size of tables.
        if let Some(at) =
            at.filter(|at| !self.is_reached(*at) && self.known.containing(*at).is_none())
        {
            self.roots.push((at, depth));
        }
    }

    fn is_reached(&self, at: usize) -> bool {
        self.reached
            .get(at / 64)
            .is_some_and(|w| w >> (at % 64) & 1 != 0)
    }

    /// The position whose address this instruction puts into a register, if it is code.
    fn address(&self, i: &Instruction) -> Option<usize> {
        match (i.mnemonic(), i.op1_kind()) {
            (Mnemonic::Lea, _) if i.is_ip_rel_memory_operand() => {
                self.position(i.ip_rel_memory_address())
            }
            (
                Mnemonic::Mov,
                OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64,
            ) => self.image.position(i.immediate(1)),
            _ => None,
        }
    }

    /// The position that a branch of this instruction leads to, if it is code.
    fn target(&self, i: &Instruction) -> Option<usize> {
        self.position(i.near_branch_target())
    }

    /// What the decoder has as an address.
    fn position(&self, ip: u64) -> Option<usize> {
        let at = usize::try_from(ip.checked_sub(BIAS)?).ok()?;
        self.image.code.contains(&at).then_some(at)
    }

    fn decoder(&self, start: usize, end: usize) -> Option<Decoder<'_>> {
        let code = self.image.text.get(start..end)?;
        Some(Decoder::with_ip(
            64,
            code,
            BIAS + start as u64,
            DecoderOptions::NONE,
        ))
    }

    /// What functions that tables name call directly.
    fn called_by_known(&mut self) {
        let mut calls = Vec::new();
        let mut left = self.left;
        let mut until = 0;
        for f in self.known.extents() {
            let end = f.end.min(f.start.saturating_add(MAX_FUNCTION));
            let start = f.start.max(until);
            until = until.max(end);
            let Some(decoder) = self.decoder(start, end).filter(|_| !f.untouchable) else {
                continue;
            };
            for i in decoder {
                left = left.saturating_sub(1);
                if i.is_invalid() || left == 0 {
                    break;
                }
                if matches!(
                    i.flow_control(),
                    FlowControl::Call | FlowControl::UnconditionalBranch
                ) {
                    calls.extend(self.target(&i));
                }
            }
        }
        self.left = left;
        calls.sort_unstable();
        calls.dedup();
        for at in calls {
            self.root(Some(at), START_UP);
        }
    }

    /// Follows one function.
    fn function(&mut self, start: usize, depth: u8) {
        if self.is_reached(start) {
            return;
        }
        self.found.labels.push(start);
        let mut blocks = vec![start];
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let mut opaque = false;
        while let Some(at) = blocks.pop() {
            opaque |= self.block(at, depth, &mut blocks, &mut spans);
        }
        spans.sort_unstable();
        let mut stretch: Option<Function> = None;
        for (start, end) in spans {
            match &mut stretch {
                Some(f) if f.end == start => f.end = end,
                _ => {
                    self.found.functions.extend(stretch.replace(Function {
                        start,
                        end,
                        opaque,
                        untouchable: false,
                    }));
                }
            }
        }
        self.found.functions.extend(stretch);
    }

    /// Decodes until control goes elsewhere. Whether it may go where nobody can tell.
    fn block(
        &mut self,
        at: usize,
        depth: u8,
        blocks: &mut Vec<usize>,
        spans: &mut Vec<(usize, usize)>,
    ) -> bool {
        let image = self.image;
        let Some(code) = image.text.get(at..image.code.end) else {
            return true;
        };
        let mut decoder = Decoder::with_ip(64, code, BIAS + at as u64, DecoderOptions::NONE);
        let mut next = at;
        loop {
            if self.is_reached(next) || self.known.containing(next).is_some() {
                return false;
            }
            if !decoder.can_decode() || self.left == 0 {
                return true;
            }
            self.left -= 1;
            let i = decoder.decode();
            if i.is_invalid() {
                return true;
            }
            if let Some(word) = self.reached.get_mut(next / 64) {
                *word |= 1 << (next % 64);
            }
            spans.push((next, next + i.len()));
            next += i.len();
            let target = self.target(&i);
            if matches!(i.mnemonic(), Mnemonic::Int3 | Mnemonic::Hlt) {
                return false;
            }
            match i.flow_control() {
                FlowControl::Next | FlowControl::IndirectCall | FlowControl::Interrupt => {}
                FlowControl::Call => {
                    self.found.labels.extend(target);
                    self.root(target, depth.saturating_add(1).min(START_UP));
                }
                FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
                    self.found.labels.extend(target);
                    blocks.extend(target);
                }
                FlowControl::UnconditionalBranch => {
                    self.found.labels.extend(target);
                    blocks.extend(target);
                    return target.is_none();
                }
                FlowControl::IndirectBranch => return true,
                FlowControl::Return | FlowControl::Exception => return false,
            }
            if depth < START_UP {
                self.root(self.address(&i), START_UP);
            }
        }
    }
}
