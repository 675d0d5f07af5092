//! What procfs and others may know of an address space.

use super::vma::{Backing, VmFlags, Vma};
use super::{MemoryManager, Resident, State};
use cofferdam_platform::Prot;

/// What the last column of `/proc/PID/maps` says of a mapping that has no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// Nothing, or the path of the mapped file.
    None,
    /// `[heap]`
    Heap,
    /// `[stack]`
    Stack,
    /// `[vvar]`
    Vvar,
    /// `[vdso]`
    Vdso,
    /// `[anon:NAME]`, given by prctl(PR_SET_VMA).
    Anon(Vec<u8>),
    /// A shared object: its name and inode number.
    Object(Vec<u8>, u64),
}

/// One line of `/proc/PID/maps`.
#[derive(Clone)]
pub struct MapEntry {
    /// Range, protection, flags, backing.
    pub vma: Vma,
    /// Name if it is no file.
    pub label: Label,
}

/// Sizes in bytes, for `/proc/PID/{stat,statm,status}` and getrusage.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Sizes {
    /// VmSize.
    pub total: u64,
    /// VmPeak.
    pub peak: u64,
    /// VmLck.
    pub locked: u64,
    /// VmData.
    pub data: u64,
    /// VmStk.
    pub stack: u64,
    /// VmExe: the program's own text.
    pub exe: u64,
    /// VmLib: other executable file mappings.
    pub lib: u64,
    /// VmRSS and RssFile with RssShmem, as the host sees them; 0 if they cannot be had.
    pub resident: Resident,
    /// Number of mappings.
    pub count: usize,
}

impl MemoryManager {
    /// All mappings, ascending, with the vDSO.
    pub fn maps(&self) -> Vec<MapEntry> {
        let s = self.state.lock();
        s.map
            .iter()
            .map(|v| entry(&s, v))
            .chain(special(&s))
            .collect()
    }

    /// The first mapping that ends above `addr` and `fits`, with the vDSO; only the first of all if not `or_later`.
    pub fn first_map(
        &self,
        addr: u64,
        or_later: bool,
        fits: impl Fn(&Vma) -> bool,
    ) -> Option<MapEntry> {
        let s = self.state.lock();
        let most = if or_later { usize::MAX } else { 1 };
        let mut found = s.map.overlapping(addr, u64::MAX).take(most);
        if let Some(v) = found.by_ref().find(|v| fits(v)) {
            return Some(entry(&s, v));
        }
        if !or_later && s.map.first_ending_above(addr).is_some() {
            return None;
        }
        let mut rest = special(&s).filter(|e| e.vma.end > addr).take(most);
        rest.find(|e| fits(&e.vma))
    }

    /// The mapping that contains `addr`.
    pub fn find_vma(&self, addr: u64) -> Option<Vma> {
        self.state.lock().map.find(addr).cloned()
    }

    /// The mapping that contains `addr`, or the next one above.
    pub fn next_vma(&self, addr: u64) -> Option<Vma> {
        self.state.lock().map.first_ending_above(addr).cloned()
    }

    /// Sizes now.
    pub fn sizes(&self) -> Sizes {
        let mut out = {
            let s = self.state.lock();
            let mut out = Sizes {
                total: s.map.total(),
                peak: s.peak_total,
                locked: s.map.locked(),
                data: s.map.data(),
                count: s.map.count(),
                ..Sizes::default()
            };
            for v in s.map.iter() {
                let file = !matches!(v.backing, Backing::Anonymous);
                if v.flags.contains(VmFlags::GROWSDOWN) {
                    out.stack += v.len();
                }
                if file && v.prot.contains(Prot::EXEC) && !v.prot.contains(Prot::WRITE) {
                    if v.start < s.layout.end_code && v.end > s.layout.start_code {
                        out.exe += v.len();
                    } else {
                        out.lib += v.len();
                    }
                }
            }
            out
        };
        // The host's count has the stub in it.
        let r = self.resident();
        out.resident = Resident {
            total: r.total.min(out.total),
            shared: r.shared.min(out.total),
        };
        out
    }
}

fn entry(s: &State, v: &Vma) -> MapEntry {
    MapEntry {
        vma: v.clone(),
        label: label(s, v),
    }
}

/// The vDSO and its data, above everything else.
fn special(s: &State) -> impl Iterator<Item = MapEntry> {
    let both = [
        (s.layout.vvar, Prot::READ, Label::Vvar),
        (s.layout.vdso, Prot::READ | Prot::EXEC, Label::Vdso),
    ];
    both.into_iter().filter_map(|(range, prot, label)| {
        let (start, len) = range.filter(|r| r.1 > 0)?;
        let vma = Vma::anonymous(start, start.saturating_add(len), prot);
        Some(MapEntry { vma, label })
    })
}

fn label(s: &State, v: &Vma) -> Label {
    match &v.backing {
        Backing::File { .. } => return Label::None,
        Backing::SharedAnon { mem, .. } => return Label::Object(mem.name().to_vec(), mem.ino()),
        Backing::Anonymous => {}
    }
    let l = &s.layout;
    if v.start < l.brk && v.end > l.start_brk {
        Label::Heap
    } else if v.start <= l.start_stack && l.start_stack < v.end {
        Label::Stack
    } else if let Some(name) = &v.anon_name {
        Label::Anon(name.to_vec())
    } else {
        Label::None
    }
}
