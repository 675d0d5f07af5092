//! Where functions begin and end, from the file's own tables: unwind tables, symbols, Go's table; and by following control from there.

use super::elf::{Bytes, Image, MAX_TABLE, Section, read};
use super::{Source, flow, frames, golang};

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const STT_SECTION: u8 = 3;
const STT_FILE: u8 = 4;
const STT_TLS: u8 = 6;

/// A function; positions in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub start: usize,
    pub end: usize,
    /// Control may come in by ways that its instructions do not show.
    pub opaque: bool,
    /// Nothing in it is certain, or may change.
    pub untouchable: bool,
}

/// All that is known.
pub(super) struct Functions {
    /// From the unwind tables, by start.
    framed: Vec<Function>,
    /// From symbols with a size, by start.
    named: Vec<Function>,
    /// Every position that something in the file names, ascending.
    pub labels: Vec<usize>,
    /// Where code certainly begins though its end is not known (Go), ascending.
    starts: Vec<usize>,
    /// What no table names but control reaches, by start.
    reached: Vec<Function>,
}

impl Functions {
    pub fn find(file: &(impl Source + ?Sized), image: &Image) -> Functions {
        let mut f = Functions {
            framed: frames::functions(file, image),
            named: Vec::new(),
            labels: Vec::new(),
            starts: golang::starts(file, image),
            reached: Vec::new(),
        };
        // Of all tables together: section headers may name the same one a thousand times.
        let mut left = MAX_TABLE;
        for s in &image.sections {
            if matches!(s.kind, SHT_SYMTAB | SHT_DYNSYM) {
                left -= f.symbols(file, image, s, left);
            }
        }
        f.framed.sort_unstable_by_key(|f| f.start);
        f.named.sort_unstable_by_key(|f| f.start);
        f.starts.sort_unstable();
        f.labels.extend(f.framed.iter().map(|f| f.start));
        f.labels.extend(&f.starts);
        f.labels.sort_unstable();
        let found = flow::find(file, image, &f);
        f.reached = found.functions;
        f.labels.extend(found.labels);
        f.labels.sort_unstable();
        f.labels.dedup();
        f
    }

    /// All that tables tell, by start.
    pub fn extents(&self) -> Vec<Function> {
        let ends = self.starts.iter().skip(1);
        let unframed = self.starts.iter().zip(ends).map(|(start, end)| Function {
            start: *start,
            end: *end,
            opaque: false,
            untouchable: false,
        });
        let mut all = [&self.framed[..], &self.named].concat();
        all.extend(unframed);
        all.sort_unstable_by_key(|f| f.start);
        all
    }

    /// Takes in at most `most` bytes of a symbol table; how many.
    fn symbols(
        &mut self,
        file: &(impl Source + ?Sized),
        image: &Image,
        s: &Section,
        most: u64,
    ) -> u64 {
        let table = read(file, s.offset, s.size.min(most));
        let taken = table.len() as u64;
        for symbol in table.chunks_exact(24).map(Bytes) {
            let (Some(info), Some(section), Some(value), Some(size)) =
                (symbol.u8(4), symbol.u16(6), symbol.u64(8), symbol.u64(16))
            else {
                break;
            };
            let kind = info & 0xf;
            if section == 0 || matches!(kind, STT_SECTION | STT_FILE | STT_TLS) {
                continue;
            }
            let Some(start) = image.position(value) else {
                continue;
            };
            self.labels.push(start);
            let end = usize::try_from(size)
                .ok()
                .and_then(|n| start.checked_add(n))
                .filter(|e| *e > start && *e <= image.code.end);
            // STT_NOTYPE with a size is hand-written assembly; STT_FUNC and STT_GNU_IFUNC are functions.
            if let (Some(end), 0 | 2 | 10) = (end, kind) {
                self.named.push(Function {
                    start,
                    end,
                    opaque: false,
                    untouchable: false,
                });
            }
        }
        taken
    }

    /// The function that contains a position.
    pub fn containing(&self, at: usize) -> Option<Function> {
        let within = |list: &[Function]| {
            let next = list.partition_point(|f| f.start <= at);
            let f = list.get(next.checked_sub(1)?)?;
            (at < f.end).then_some(*f)
        };
        within(&self.framed)
            .or_else(|| within(&self.named))
            .or_else(|| within(&self.reached))
            .or_else(|| {
                let next = self.starts.partition_point(|s| *s <= at);
                let start = *self.starts.get(next.checked_sub(1)?)?;
                let label = self.labels.partition_point(|l| *l <= start);
                let end = self.labels.get(label).copied()?;
                (at < end).then_some(Function {
                    start,
                    end,
                    opaque: false,
                    untouchable: false,
                })
            })
    }

    /// Everything named strictly between these.
    pub fn labels_between(&self, start: usize, end: usize) -> &[usize] {
        let from = self.labels.partition_point(|l| *l <= start);
        let to = self.labels.partition_point(|l| *l < end);
        self.labels.get(from..to).unwrap_or_default()
    }

    /// Whether something in the file names a position strictly between these.
    pub fn label_between(&self, start: usize, end: usize) -> bool {
        !self.labels_between(start, end).is_empty()
    }
}
