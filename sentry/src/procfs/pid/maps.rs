//! maps, smaps, smaps_rollup.

use super::Live;
use crate::abi::Result;
use crate::mm::{Label, MapEntry, Resident};
use crate::vfs::Caller;
use cofferdam_platform::Prot;
use std::io::Write;

fn line(out: &mut Vec<u8>, e: &MapEntry, l: &Live) {
    let v = &e.vma;
    let bit = |p, c| if v.prot.contains(p) { c } else { '-' };
    let stat = v.file().and_then(|f| f.inode().stat().ok());
    let (dev, ino) = match (&stat, &e.label) {
        (Some(s), _) => (s.dev, s.ino),
        (None, Label::Object(_, ino)) => (1, *ino),
        _ => (0, 0),
    };
    let head = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {ino} ",
        v.start,
        v.end,
        bit(Prot::READ, 'r'),
        bit(Prot::WRITE, 'w'),
        bit(Prot::EXEC, 'x'),
        if v.shared() { 's' } else { 'p' },
        v.offset(),
        crate::fs::devices::major(dev),
        crate::fs::devices::minor(dev),
    );
    let name: Vec<u8> = match (&e.label, v.file()) {
        (Label::None, Some(f)) => match &l.task {
            Some(t) => f.display(&t.fs().root()),
            None => f.inode().describe(),
        },
        (Label::None, None) => Vec::new(),
        (Label::Heap, _) => b"[heap]".to_vec(),
        (Label::Stack, _) => b"[stack]".to_vec(),
        (Label::Vvar, _) => b"[vvar]".to_vec(),
        (Label::Vdso, _) => b"[vdso]".to_vec(),
        (Label::Anon(n), _) => [b"[anon:", n.as_slice(), b"]"].concat(),
        (Label::Object(n, _), _) => n.clone(),
    };
    if name.is_empty() {
        out.extend_from_slice(head.as_bytes());
    } else {
        let _ = write!(out, "{head:<73}");
        // A newline in a name would forge a line.
        for b in name {
            if b == b'\n' {
                out.extend_from_slice(b"\\012");
            } else {
                out.push(b);
            }
        }
    }
    out.push(b'\n');
}

fn entries(l: &Live) -> Vec<MapEntry> {
    l.task.as_ref().map(|t| t.mm().maps()).unwrap_or_default()
}

pub(super) fn maps(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for e in entries(l) {
        line(&mut out, &e, l);
    }
    Ok(out)
}

/// The counters of one mapping, or of all. Which pages of one mapping are resident only the host knows: they are shown as none.
fn counters(out: &mut Vec<u8>, size: Option<u64>, r: Resident) {
    if let Some(bytes) = size {
        let _ = writeln!(
            out,
            "Size:           {:>8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB",
            bytes / 1024
        );
    }
    let anon = r.total.saturating_sub(r.shared);
    for (name, bytes) in [
        ("Rss", r.total),
        // How many share a page is not known: as if nobody did.
        ("Pss", r.total),
        ("Pss_Dirty", anon),
        ("Shared_Clean", r.shared),
        ("Shared_Dirty", 0),
        ("Private_Clean", 0),
        ("Private_Dirty", anon),
        ("Referenced", r.total),
        ("Anonymous", anon),
        ("KSM", 0),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", 0),
        ("SwapPss", 0),
        ("Locked", 0),
    ] {
        let name = format!("{name}:");
        let _ = writeln!(out, "{name:<16}{:>8} kB", bytes / 1024);
    }
}

pub(super) fn smaps(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for e in entries(l) {
        line(&mut out, &e, l);
        counters(&mut out, Some(e.vma.len()), Resident::default());
        out.extend_from_slice(b"THPeligible:           0\n");
    }
    Ok(out)
}

pub(super) fn smaps_rollup(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let all = entries(l);
    let mut out = Vec::new();
    if let (Some(first), Some(last)) = (all.first(), all.last()) {
        let _ = writeln!(
            out,
            "{:08x}-{:08x} ---p 00000000 00:00 0                          [rollup]",
            first.vma.start, last.vma.end
        );
    }
    let r = l.task.as_ref().map(|t| t.mm().sizes().resident);
    counters(&mut out, None, r.unwrap_or_default());
    Ok(out)
}
