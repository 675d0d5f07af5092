//! Functions as `.eh_frame` describes them: exact ranges, and whether they have landing pads.

use super::Source;
use super::elf::{Bytes, Image, MAX_TABLE, read};
use super::functions::Function;

/// Most entries that are looked at.
const MAX_FDES: usize = 1 << 20;
/// Longest augmentation string, in bytes: compilers need half a dozen. It is read again whenever the next entry names another
/// CIE, so a long one would cost the entries' number times its length.
const MAX_AUGMENTATION: usize = 32;

/// What a common information entry says of those that refer to it.
#[derive(Clone, Copy)]
struct Cie {
    /// Encoding of addresses.
    address: u8,
    /// Encoding of the pointer to a table of landing pads, if there is one.
    lsda: Option<u8>,
    /// Entries describe signal frames.
    signal: bool,
    /// Entries have augmentation data.
    augmented: bool,
}

/// All functions that the unwind tables name, with positions in the text.
pub(super) fn functions(file: &(impl Source + ?Sized), image: &Image) -> Vec<Function> {
    let mut out = Vec::new();
    if let Some((vaddr, bytes)) = table(file, image) {
        parse(image, vaddr, &bytes, &mut out);
    }
    out
}

/// Address and contents of `.eh_frame`.
fn table(file: &(impl Source + ?Sized), image: &Image) -> Option<(u64, Vec<u8>)> {
    if let Some(s) = image.section(b".eh_frame") {
        return Some((s.vaddr, read(file, s.offset, s.size.min(MAX_TABLE))));
    }
    // Without section headers: by way of the search table, whose second field points to it (relative to itself, four bytes).
    let hdr = image.eh_frame_hdr?;
    let (offset, _) = image.file_range(hdr)?;
    let head = read(file, offset, 8);
    let h = Bytes(&head);
    if h.u8(0)? != 1 || h.u8(1)? != 0x1b {
        return None;
    }
    let vaddr = hdr
        .wrapping_add(4)
        .wrapping_add_signed(i64::from(h.i32(4)?));
    let (offset, len) = image.file_range(vaddr)?;
    Some((vaddr, read(file, offset, len.min(MAX_TABLE))))
}

fn parse(image: &Image, vaddr: u64, bytes: &[u8], out: &mut Vec<Function>) -> Option<()> {
    let b = Bytes(bytes);
    let mut at = 0usize;
    let mut last: Option<(usize, Option<Cie>)> = None;
    for _ in 0..MAX_FDES {
        let len = b.u32(at)?;
        // 0 ends the table; what is in the 64-bit form is left out with all after it.
        if len == 0 || len == u32::MAX {
            return None;
        }
        let start = at + 4;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        let entry = bytes.get(start..end)?;
        at = end;
        let back = usize::try_from(Bytes(entry).u32(0)?).ok()?;
        if back == 0 {
            continue;
        }
        let Some(cie_at) = start.checked_sub(back) else {
            continue;
        };
        let cie = match last {
            Some((c, cie)) if c == cie_at => cie,
            _ => {
                let cie = read_cie(bytes, cie_at);
                last = Some((cie_at, cie));
                cie
            }
        };
        let place = vaddr.wrapping_add(start as u64);
        if let Some(f) = cie.and_then(|c| read_fde(image, &c, entry, place)) {
            out.push(f);
        }
    }
    None
}

fn read_cie(bytes: &[u8], at: usize) -> Option<Cie> {
    let len = usize::try_from(Bytes(bytes).u32(at)?).ok()?;
    let start = at.checked_add(4)?;
    let entry = bytes.get(start..start.checked_add(len)?)?;
    let b = Bytes(entry);
    if b.u32(0)? != 0 {
        return None;
    }
    let version = b.u8(4)?;
    let rest = entry.get(5..)?;
    let nul = rest.iter().take(MAX_AUGMENTATION).position(|c| *c == 0)?;
    let augmentation = rest.get(..nul)?;
    let mut at = 5 + nul + 1;
    let mut cie = Cie {
        address: 0,
        lsda: None,
        signal: false,
        augmented: false,
    };
    let Some(letters) = augmentation.strip_prefix(b"z") else {
        return augmentation.is_empty().then_some(cie);
    };
    cie.augmented = true;
    skip_leb(entry, &mut at)?;
    skip_leb(entry, &mut at)?;
    if version == 1 {
        at += 1;
    } else {
        skip_leb(entry, &mut at)?;
    }
    skip_leb(entry, &mut at)?;
    for letter in letters {
        match letter {
            b'R' => {
                cie.address = b.u8(at)?;
                at += 1;
            }
            b'L' => {
                cie.lsda = Some(b.u8(at)?);
                at += 1;
            }
            b'P' => {
                let encoding = b.u8(at)?;
                at += 1 + size(encoding)?;
            }
            b'S' => cie.signal = true,
            b'B' => {}
            _ => return None,
        }
    }
    Some(cie)
}

/// `entry` begins behind the length, at address `place`.
fn read_fde(image: &Image, cie: &Cie, entry: &[u8], place: u64) -> Option<Function> {
    let b = Bytes(entry);
    let width = size(cie.address)?;
    let first = value(&b, 4, cie.address)?;
    let first = match cie.address & 0x70 {
        0x00 => first,
        0x10 => first.wrapping_add(place.wrapping_add(4)),
        _ => return None,
    };
    let len = value(&b, 4 + width, cie.address & 0x07)?;
    let start = image.position(first)?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    if end <= start || end > image.code.end {
        return None;
    }
    let mut landing_pads = false;
    if cie.augmented {
        let mut at = 4 + 2 * width;
        skip_leb(entry, &mut at)?;
        if let Some(encoding) = cie.lsda.filter(|e| *e != 0xff) {
            landing_pads = value(&b, at, encoding).is_none_or(|v| v != 0);
        }
    }
    Some(Function {
        start,
        end,
        opaque: landing_pads,
        // Begins a byte before its first instruction.
        untouchable: cie.signal,
    })
}

/// Bytes that a value in this encoding takes.
fn size(encoding: u8) -> Option<usize> {
    match encoding & 0x0f {
        0x00 | 0x04 | 0x0c => Some(8),
        0x03 | 0x0b => Some(4),
        0x02 | 0x0a => Some(2),
        _ => None,
    }
}

fn value(b: &Bytes<'_>, at: usize, encoding: u8) -> Option<u64> {
    Some(match encoding & 0x0f {
        0x00 | 0x04 | 0x0c => b.u64(at)?,
        0x03 => b.u32(at)?.into(),
        0x0b => i64::from(b.i32(at)?).cast_unsigned(),
        0x02 => b.u16(at)?.into(),
        0x0a => i64::from(b.u16(at)?.cast_signed()).cast_unsigned(),
        _ => return None,
    })
}

fn skip_leb(bytes: &[u8], at: &mut usize) -> Option<()> {
    for _ in 0..10 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if byte & 0x80 == 0 {
            return Some(());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if two such entries were named in turn by all the others.
    #[test]
    fn entries_without_end_cost_nothing() {
        let mut bytes = vec![b'z'; 16 << 20];
        let len = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes[4..9].copy_from_slice(&[0, 0, 0, 0, 1]);
        let begin = std::time::Instant::now();
        for _ in 0..MAX_FDES / 8 {
            assert!(read_cie(&bytes, 0).is_none());
        }
        assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    }
}
