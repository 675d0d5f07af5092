//! Which `syscall` instructions can be rewritten, and what has to move for it.

use super::PAGE;
use super::elf::Image;
use super::functions::{Function, Functions};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

/// Bytes of a `jmp rel32`.
pub(super) const JUMP: usize = 5;
/// Added to positions for the decoder, so that no target is negative.
pub(super) const BIAS: u64 = 1 << 40;
/// Most bytes of one function that are decoded; what follows is not known.
pub(super) const MAX_FUNCTION: usize = 256 << 10;
/// Most bytes that are decoded in one file.
const MAX_DECODED: usize = 8 << 20;

/// A site that can be rewritten; positions in the text.
pub(super) struct Found {
    pub start: usize,
    pub syscall: usize,
    /// The instructions from `start` to `syscall`, at their place in the file plus [`BIAS`].
    pub moved: Vec<Instruction>,
}

/// All sites, and how many `syscall` instructions there are in known functions.
pub(super) struct Sites {
    pub list: Vec<Found>,
    pub seen: usize,
}

/// Positions of the bytes 0f 05.
pub(super) fn candidates(text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    text.windows(2)
        .enumerate()
        .filter(|(_, w)| *w == [0x0f, 0x05])
        .map(|(at, _)| at)
}

/// Finds them.
pub(super) fn find(image: &Image, functions: &Functions) -> Sites {
    let mut out = Sites {
        list: Vec::new(),
        seen: 0,
    };
    let mut budget = MAX_DECODED;
    let mut done_until = image.code.start;
    for at in candidates(&image.text) {
        if at < done_until || at >= image.code.end {
            continue;
        }
        let Some(f) = functions.containing(at) else {
            continue;
        };
        let len = (f.end - f.start).min(MAX_FUNCTION);
        if len > budget {
            break;
        }
        budget -= len;
        // Overlapping functions (aliases, hostile tables) are looked at once.
        done_until = f.end.max(at + 2);
        function(image, functions, f, &mut out);
    }
    drop_entered(image, &mut out.list);
    out
}

/// Looks at all sites of one function.
fn function(image: &Image, functions: &Functions, f: Function, out: &mut Sites) {
    if f.untouchable {
        return;
    }
    let end = f.end.min(f.start + MAX_FUNCTION);
    let Some(code) = image.text.get(f.start..end) else {
        return;
    };
    let base = BIAS + image.offset;
    let mut decoder = Decoder::with_ip(64, code, base + f.start as u64, DecoderOptions::NONE);
    let mut all: Vec<Instruction> = Vec::with_capacity(code.len() / 4);
    let mut targets: Vec<u64> = Vec::new();
    let mut calls: Vec<usize> = Vec::new();
    // Whether all ways into the middle of the function are known.
    let mut opaque = f.opaque || end < f.end;
    while decoder.can_decode() {
        let mut i = Instruction::default();
        decoder.decode_out(&mut i);
        if i.is_invalid() {
            opaque = true;
            break;
        }
        match i.flow_control() {
            FlowControl::IndirectBranch => opaque = true,
            FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::Call
            | FlowControl::XbeginXabortXend => targets.push(i.near_branch_target()),
            _ => {}
        }
        if i.is_ip_rel_memory_operand() {
            targets.push(i.ip_rel_memory_address());
        }
        if i.code() == Code::Syscall && i.len() == 2 {
            calls.push(all.len());
        }
        all.push(i);
    }
    // A name that is at no instruction: what begins the function is none either.
    let known = all.last().map_or(f.start as u64, |i| i.next_ip() - base);
    for label in functions.labels_between(f.start, end) {
        let at = *label as u64;
        if at < known && all.binary_search_by_key(&(base + at), |i| i.ip()).is_err() {
            return;
        }
    }
    targets.sort_unstable();
    out.seen += calls.len();
    for index in calls {
        if let Some(site) = site(&all, index, base, opaque, &targets)
            && !functions.label_between(site.start, site.syscall)
            // Functions overlap only in tables that lie.
            && out.list.last().is_none_or(|l| l.syscall + 2 <= site.start)
        {
            out.list.push(site);
        }
    }
}

/// The site whose `syscall` is instruction `index`, if enough before it can move.
fn site(
    all: &[Instruction],
    index: usize,
    base: u64,
    opaque: bool,
    targets: &[u64],
) -> Option<Found> {
    let syscall = all.get(index)?;
    let mut first = index;
    let mut len = 0;
    while len < JUMP {
        first = first.checked_sub(1)?;
        let i = all.get(first)?;
        if !movable(i) {
            return None;
        }
        len += i.len();
    }
    let moved = all.get(first..index)?;
    let start = moved.first()?.ip();
    let page = PAGE as u64;
    // Both pages may not be replaced, or restored, at once.
    if start / page != (syscall.ip() - 1) / page {
        return None;
    }
    if moved.len() > 1 && opaque {
        return None;
    }
    let next = targets.partition_point(|t| *t <= start);
    if targets.get(next).is_some_and(|t| *t < syscall.ip()) {
        return None;
    }
    if returns_from_signal(moved.last()?) {
        return None;
    }
    Some(Found {
        start: usize::try_from(start - base).ok()?,
        syscall: usize::try_from(syscall.ip() - base).ok()?,
        moved: moved.to_vec(),
    })
}

/// Whether the instruction does the same elsewhere.
fn movable(i: &Instruction) -> bool {
    match i.flow_control() {
        FlowControl::Next => true,
        // One that stays one instruction when its target is far (loop and jrcxz do not).
        FlowControl::ConditionalBranch => i.is_jcc_short_or_near(),
        _ => false,
    }
}

/// `mov $15,%eax` (rt_sigreturn): unwinders know signal frames by these very bytes.
fn returns_from_signal(i: &Instruction) -> bool {
    i.mnemonic() == Mnemonic::Mov
        && i.op_count() == 2
        && i.op0_kind() == OpKind::Register
        && matches!(i.op0_register(), Register::EAX | Register::RAX)
        && matches!(
            i.op1_kind(),
            OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64
        )
        && i.immediate(1) == 15
}

/// Takes out sites that a branch from anywhere else in the text might enter between the instructions (a function's cold part is a
/// function of its own). Every byte is taken for the start of a branch: what is wrongly taken out only stays slow.
fn drop_entered(image: &Image, list: &mut Vec<Found>) {
    let text = &image.text;
    let mut inner = vec![0u64; text.len() / 64 + 1];
    for s in list.iter() {
        for at in s.start + 1..s.syscall {
            if let Some(word) = inner.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
        }
    }
    let mut entered: Vec<usize> = Vec::new();
    let mut before = 0u8;
    for (at, &byte) in text.iter().enumerate() {
        let branch = matches!(byte, 0xe8 | 0xe9) || (byte & 0xf0 == 0x80 && before == 0x0f);
        before = byte;
        if !branch {
            continue;
        }
        let Some(rel) = text.get(at + 1..at + 5) else {
            break;
        };
        let rel = rel.try_into().map_or(0, i32::from_le_bytes);
        let Some(to) = i64::try_from(at + 5)
            .ok()
            .and_then(|n| usize::try_from(n + i64::from(rel)).ok())
        else {
            continue;
        };
        if inner.get(to / 64).is_some_and(|w| w >> (to % 64) & 1 != 0) {
            entered.push(to);
        }
    }
    entered.sort_unstable();
    list.retain(|s| {
        let next = entered.partition_point(|t| *t <= s.start);
        entered.get(next).is_none_or(|t| *t >= s.syscall)
    });
}
