//! maps, smaps, smaps_rollup.

use super::Live;
use crate::abi::Result;
use crate::mm::{Label, MapEntry};
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

/// The counters of one mapping. Which of its pages are resident only the host knows: they are shown as none.
fn counters(out: &mut Vec<u8>, size: Option<u64>) {
    if let Some(bytes) = size {
        let _ = writeln!(
            out,
            "Size:           {:>8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB",
            bytes / 1024
        );
    }
    for name in [
        "Rss",
        "Pss",
        "Pss_Dirty",
        "Shared_Clean",
        "Shared_Dirty",
        "Private_Clean",
        "Private_Dirty",
        "Referenced",
        "Anonymous",
        "KSM",
        "LazyFree",
        "AnonHugePages",
        "ShmemPmdMapped",
        "FilePmdMapped",
        "Shared_Hugetlb",
        "Private_Hugetlb",
        "Swap",
        "SwapPss",
        "Locked",
    ] {
        let _ = writeln!(out, "{:<16}{:>8} kB", format!("{name}:"), 0);
    }
}

pub(super) fn smaps(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for e in entries(l) {
        line(&mut out, &e, l);
        counters(&mut out, Some(e.vma.len()));
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
    counters(&mut out, None);
    Ok(out)
}
