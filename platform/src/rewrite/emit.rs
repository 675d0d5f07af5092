//! Writes trampolines, and jumps to them.

use super::elf::Image;
use super::sites::{BIAS, Found, JUMP, Sites};
use super::{GAP, MAX_RUN_BYTES, MAX_RUNS, MAX_TRAMPOLINES, PAGE, Rewritten, Run, Site, WHOLE};
use iced_x86::{BlockEncoder, BlockEncoderOptions, Instruction, InstructionBlock};

/// The gate's address lies at the start of the trampolines; they follow at a cache line.
const FIRST: usize = 64;
/// Trampolines start at multiples of this.
const ALIGN: usize = 16;

/// The result; `None` if nothing was rewritten.
pub(super) fn emit(image: &Image, sites: &Sites, gate: u64) -> Option<Rewritten> {
    let mut text = image.text.clone();
    let mut trampolines = gate.to_le_bytes().to_vec();
    trampolines.resize(FIRST, 0xcc);
    let mut done: Vec<Site> = Vec::new();
    for found in &sites.list {
        let at = trampolines.len();
        match one(image, found, &mut trampolines) {
            Some(site) if trampolines.len() <= MAX_TRAMPOLINES => {
                if jump(image, &mut text, found, at).is_none() {
                    trampolines.truncate(at);
                    continue;
                }
                done.push(site);
                trampolines.resize(trampolines.len().next_multiple_of(ALIGN), 0xcc);
            }
            other => {
                trampolines.truncate(at);
                if other.is_some() {
                    break;
                }
            }
        }
    }
    let runs = runs(image, &text, &mut done);
    if done.is_empty() {
        return None;
    }
    Some(Rewritten {
        runs,
        trampolines,
        sites: done,
        found: sites.seen,
    })
}

/// Where a position in the trampolines lies in the decoder's coordinates.
fn place(at: usize) -> u64 {
    BIAS - GAP + at as u64
}

/// Appends the trampoline of one site.
fn one(image: &Image, found: &Found, out: &mut Vec<u8>) -> Option<Site> {
    let mut pieces = Vec::new();
    let first = found.moved.first()?.ip();
    for i in &found.moved {
        pieces.push((
            u8::try_from(i.ip() - first).ok()?,
            u32::try_from(out.len()).ok()?,
        ));
        if i.is_ip_rel_memory_operand() || i.is_jcc_short_or_near() {
            out.extend(encoded(*i, place(out.len()))?);
        } else {
            // As it was, byte for byte.
            let at = found.start + usize::try_from(i.ip() - first).ok()?;
            out.extend(image.text.get(at..at + i.len())?);
        }
    }
    pieces.push((
        u8::try_from(found.syscall - found.start).ok()?,
        u32::try_from(out.len()).ok()?,
    ));
    let behind = BIAS + image.offset + found.syscall as u64 + 2;
    // lea r11, [rip + behind]
    let next = place(out.len() + 7);
    out.extend([0x4c, 0x8d, 0x1d]);
    out.extend(distance(next, behind)?);
    // jmp [rip + gate]
    let next = place(out.len() + 6);
    out.extend([0xff, 0x25]);
    out.extend(distance(next, place(0))?);
    Some(Site {
        start: image.offset + found.start as u64,
        syscall: image.offset + found.syscall as u64,
        pieces,
        end: u32::try_from(out.len()).ok()?,
    })
}

/// One instruction with its relative operand as it must be at `ip`.
fn encoded(i: Instruction, ip: u64) -> Option<Vec<u8>> {
    let block = InstructionBlock::new(std::slice::from_ref(&i), ip);
    let done = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).ok()?;
    Some(done.code_buffer)
}

/// Displacement from the end of an instruction.
fn distance(next: u64, to: u64) -> Option<[u8; 4]> {
    i32::try_from(to.wrapping_sub(next).cast_signed())
        .ok()
        .map(i32::to_le_bytes)
}

/// Puts a jump to the trampoline over the moved instructions.
fn jump(image: &Image, text: &mut [u8], found: &Found, trampoline: usize) -> Option<()> {
    let next = BIAS + image.offset + (found.start + JUMP) as u64;
    let rel = distance(next, place(trampoline))?;
    let hole = text.get_mut(found.start..found.syscall)?;
    let (jump, rest) = hole.split_at_mut_checked(JUMP)?;
    jump.first_chunk_mut::<1>()?.copy_from_slice(&[0xe9]);
    jump.last_chunk_mut::<4>()?.copy_from_slice(&rel);
    rest.fill(0xcc);
    Some(())
}

/// Cuts the pages that hold sites out of the text; sites that have no place in them are taken out of `sites`.
fn runs(image: &Image, text: &[u8], sites: &mut Vec<Site>) -> Vec<Run> {
    let page_of = |s: &Site| usize::try_from((s.start - image.offset) / PAGE as u64).unwrap_or(0);
    let (Some(low), Some(high)) = (sites.first().map(page_of), sites.last().map(page_of)) else {
        return Vec::new();
    };
    let mut pieces: Vec<(usize, usize)> = vec![(low, high + 1)];
    if text.len() > WHOLE {
        pieces = sites.iter().map(|s| (page_of(s), page_of(s) + 1)).collect();
        pieces.dedup();
        // Close the smallest holes until few enough are left.
        let mut holes: Vec<usize> = pieces.windows(2).filter_map(hole).collect();
        holes.sort_unstable_by(|a, b| b.cmp(a));
        let limit = holes.get(MAX_RUNS - 1).copied().unwrap_or(0);
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for p in pieces {
            match joined.last_mut() {
                Some(last) if p.0 - last.1 <= limit => last.1 = p.1,
                _ => joined.push(p),
            }
        }
        let mut room = MAX_RUN_BYTES / PAGE;
        joined.retain(|p| {
            let fits = p.1 - p.0 <= room;
            if fits {
                room -= p.1 - p.0;
            }
            fits
        });
        pieces = joined;
        sites.retain(|s| pieces.iter().any(|p| (p.0..p.1).contains(&page_of(s))));
    }
    pieces
        .iter()
        .filter_map(|(from, to)| {
            let bytes = text.get(from * PAGE..to * PAGE)?.to_vec();
            Some(Run {
                offset: image.offset + (from * PAGE) as u64,
                bytes,
            })
        })
        .collect()
}

/// Pages between two pieces.
fn hole(pair: &[(usize, usize)]) -> Option<usize> {
    match pair {
        [a, b] => Some(b.0 - a.1),
        _ => None,
    }
}
