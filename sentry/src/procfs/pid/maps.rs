//! maps, smaps, smaps_rollup.

use super::Live;
use crate::abi::Result;
use crate::kernel::{ptrace, task_of};
use crate::mm::{Backing, Label, MapEntry, VmFlags, Vma};
use crate::vfs::Caller;
use cofferdam_platform::Prot;
use std::io::Write;

/// Device and inode number of what is mapped.
pub(super) fn object(e: &MapEntry) -> (u64, u64) {
    let stat = e.vma.file().and_then(|f| f.inode().stat().ok());
    match (&stat, &e.label) {
        (Some(s), _) => (s.dev, s.ino),
        (None, Label::Object(_, ino)) => (1, *ino),
        _ => (0, 0),
    }
}

/// What the last column says; nothing of anonymous memory.
pub(super) fn name(e: &MapEntry, l: &Live) -> Vec<u8> {
    match (&e.label, e.vma.file()) {
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
    }
}

fn line(out: &mut Vec<u8>, e: &MapEntry, l: &Live) {
    let v = &e.vma;
    let bit = |p, c| if v.prot.contains(p) { c } else { '-' };
    let (dev, ino) = object(e);
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
    let name = name(e, l);
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

pub(super) fn entries(l: &Live) -> Vec<MapEntry> {
    l.task.as_ref().map(|t| t.mm().maps()).unwrap_or_default()
}

pub(super) fn maps(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for e in entries(l) {
        line(&mut out, &e, l);
    }
    Ok(out)
}

/// What is in memory of one mapping, or of all, in bytes.
#[derive(Clone, Copy, Default)]
struct Counters {
    resident: u64,
    /// Of it what belongs to no file.
    anonymous: u64,
    /// Of it what others may have as well.
    shared: u64,
    /// Of it what a file or shared object has not, or may not have, on storage.
    dirty: u64,
    locked: u64,
}

impl Counters {
    fn of(v: &Vma, resident: u64) -> Counters {
        let locked = if v.flags.contains(VmFlags::LOCKED) {
            resident
        } else {
            0
        };
        // Pages of a private mapping that was writable are taken for the program's own.
        let own = matches!(v.backing, Backing::Anonymous)
            || (!v.shared() && v.flags.contains(VmFlags::WRITTEN) && v.prot.contains(Prot::WRITE));
        let object = matches!(v.backing, Backing::SharedAnon { .. });
        Counters {
            resident,
            anonymous: if own { resident } else { 0 },
            shared: if own || object { 0 } else { resident },
            dirty: if own || object { resident } else { 0 },
            locked,
        }
    }

    fn show(&self, out: &mut Vec<u8>) {
        let Counters {
            resident,
            anonymous,
            shared,
            dirty,
            locked,
        } = *self;
        let clean = resident.saturating_sub(shared).saturating_sub(dirty);
        for (name, bytes) in [
            ("Rss", resident),
            // How many share a page is not known: as if nobody did.
            ("Pss", resident),
            ("Pss_Dirty", dirty),
            ("Shared_Clean", shared),
            ("Shared_Dirty", 0),
            ("Private_Clean", clean),
            ("Private_Dirty", dirty),
            ("Referenced", resident),
            ("Anonymous", anonymous),
            ("KSM", 0),
            ("LazyFree", 0),
            ("AnonHugePages", 0),
            ("ShmemPmdMapped", 0),
            ("FilePmdMapped", 0),
            ("Shared_Hugetlb", 0),
            ("Private_Hugetlb", 0),
            ("Swap", 0),
            ("SwapPss", 0),
            ("Locked", locked),
        ] {
            let name = format!("{name}:");
            let _ = writeln!(out, "{name:<16}{:>8} kB", bytes / 1024);
        }
    }
}

/// How much of each mapping is in memory: known of the reader's own memory, and of a process that stands for a tracer.
fn resident(l: &Live, cx: &dyn Caller, all: &[MapEntry]) -> Vec<u64> {
    let looked = || {
        let mm = l.task.as_ref()?.mm();
        ptrace::with_thread_in(task_of(cx)?, &mm, |t| mm.look_at_all(t, all))
    };
    looked().unwrap_or_else(|| vec![0; all.len()])
}

/// The two-letter names of proc_pid_smaps(5), in the kernel's order.
fn vm_flags(v: &Vma) -> String {
    let has = |f| v.flags.contains(f);
    let prot = |p| v.prot.contains(p);
    let file = v.file().is_some();
    let accounted = !has(VmFlags::NORESERVE) && !v.shared() && prot(Prot::WRITE);
    let names = [
        (prot(Prot::READ), "rd"),
        (prot(Prot::WRITE), "wr"),
        (prot(Prot::EXEC), "ex"),
        (v.shared() && (!file || has(VmFlags::MAYWRITE)), "sh"),
        (has(VmFlags::MAYREAD), "mr"),
        (has(VmFlags::MAYWRITE), "mw"),
        (has(VmFlags::MAYEXEC), "me"),
        (v.shared(), "ms"),
        (has(VmFlags::GROWSDOWN), "gd"),
        (has(VmFlags::LOCKED), "lo"),
        (has(VmFlags::SEQ_READ), "sr"),
        (has(VmFlags::RAND_READ), "rr"),
        (has(VmFlags::DONTFORK), "dc"),
        (has(VmFlags::LOCKONFAULT), "lf"),
        (accounted, "ac"),
        (has(VmFlags::NORESERVE), "nr"),
        (has(VmFlags::WIPEONFORK), "wf"),
        (has(VmFlags::DONTDUMP), "dd"),
        (has(VmFlags::HUGEPAGE), "hg"),
        (has(VmFlags::NOHUGEPAGE), "nh"),
        (has(VmFlags::SEALED), "sl"),
    ];
    let shown = names.iter().filter(|(on, _)| *on);
    shown.fold(String::new(), |s, (_, name)| s + name + " ")
}

pub(super) fn smaps(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    let all = entries(l);
    let resident = resident(l, cx, &all);
    let mut out = Vec::new();
    for (e, resident) in all.iter().zip(resident) {
        line(&mut out, e, l);
        let _ = writeln!(
            out,
            "Size:           {:>8} kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB",
            e.vma.len() / 1024
        );
        Counters::of(&e.vma, resident).show(&mut out);
        let _ = writeln!(
            out,
            "THPeligible:           0\nVmFlags: {}",
            vm_flags(&e.vma)
        );
    }
    Ok(out)
}

pub(super) fn smaps_rollup(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    let all = entries(l);
    let mm = l.task()?.mm();
    let mut out = Vec::new();
    if let (Some(first), Some(last)) = (all.first(), all.last()) {
        let _ = writeln!(
            out,
            "{:08x}-{:08x} ---p 00000000 00:00 0                          [rollup]",
            first.vma.start, last.vma.end
        );
    }
    let parts = all.iter().zip(resident(l, cx, &all));
    let mut sum = parts.fold(Counters::default(), |a, (e, resident)| {
        let b = Counters::of(&e.vma, resident);
        Counters {
            resident: a.resident + b.resident,
            anonymous: a.anonymous + b.anonymous,
            shared: a.shared + b.shared,
            dirty: a.dirty + b.dirty,
            locked: a.locked + b.locked,
        }
    });
    if sum.resident == 0 {
        // A process that runs: the host knows the sums.
        let r = mm.sizes().resident;
        let anonymous = r.total.saturating_sub(r.shared);
        sum = Counters {
            resident: r.total,
            anonymous,
            shared: r.shared,
            dirty: anonymous,
            locked: 0,
        };
    }
    sum.show(&mut out);
    Ok(out)
}
