//! Function starts from Go's own table (`.gopclntab`), which stripped programs keep. Layout: Go's `debug/gosym`, versions 1.18 and 1.20.

use super::Source;
use super::elf::{Bytes, Image, MAX_TABLE, read};

/// Positions in the text where Go functions start, ascending as the table has them, the end of the last one included.
pub(super) fn starts(file: &(impl Source + ?Sized), image: &Image) -> Vec<usize> {
    parse(file, image).unwrap_or_default()
}

fn parse(file: &(impl Source + ?Sized), image: &Image) -> Option<Vec<usize>> {
    let s = image
        .section(b".gopclntab")
        .or_else(|| image.section(b".data.rel.ro.gopclntab"))?;
    let bytes = read(file, s.offset, s.size.min(MAX_TABLE));
    let b = Bytes(&bytes);
    if !matches!(b.u32(0)?, 0xffff_fff0 | 0xffff_fff1) || b.u8(7)? != 8 {
        return None;
    }
    let count = usize::try_from(b.u64(8)?).ok()?;
    let text = b.u64(24)?;
    let table = usize::try_from(b.u64(64)?).ok()?;
    let rows = bytes.get(table..)?;
    let mut out = Vec::new();
    for row in rows.chunks_exact(8).take(count).map(Bytes) {
        let at = text.wrapping_add(row.u32(0)?.into());
        out.extend(image.position(at));
    }
    // The last row has no second field, only where the last function ends.
    let end = Bytes(rows).u32(count.checked_mul(8)?)?;
    let end = text.wrapping_add(end.into()).wrapping_sub(1);
    out.extend(image.position(end).map(|p| p + 1));
    Some(out)
}
