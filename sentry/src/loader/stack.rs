//! The initial stack: strings, auxiliary vector, environment, arguments (System V ABI, "Process Initialization").

use super::auxv::HostValues;
use super::elf::PHENT;
use super::image::Image;
use super::{Identity, LoadRequest};
use crate::mm::{self, Layout, PAGE, VmFlags, Vma, page_floor};
use cofferdam_platform::Prot;

/// What Linux adds to the pages in use when it makes the stack, in bytes.
const EXPAND: u64 = 128 << 10;
/// Most of the stack's limit that is mapped on the host at once, in bytes; faults add the rest.
const RESERVE_MAX: u64 = 256 << 20;
/// AT_PLATFORM.
const PLATFORM: &[u8] = b"x86_64\0";
/// Clock ticks per second (`USER_HZ`).
const CLOCK_TICKS: u64 = 100;

/// Where the stack goes.
pub(super) struct Stack {
    /// Address of the first string (argv[0]).
    strings: u64,
    /// Address of the auxiliary strings' end, at a random distance below.
    tables_top: u64,
    /// Stack pointer at the start; 16-byte aligned.
    pointer: u64,
    /// One past the last byte.
    top: u64,
    limit: u64,
    executable: bool,
    random: [u8; 16],
}

/// The stack's contents.
pub(super) struct Filled {
    /// argc is there.
    pub stack_pointer: u64,
    /// Tables and strings, and where they go. Between them and behind are zeroes.
    pub parts: [(u64, Vec<u8>); 2],
    args: (u64, u64, u64),
    auxv: Vec<u8>,
}

/// Number of (type, value) pairs in the auxiliary vector, AT_NULL included.
const AUX_PAIRS: u64 = 22;

impl Stack {
    /// Decides addresses; sizes are those of the request.
    pub fn plan(req: &LoadRequest<'_>, executable: bool) -> Stack {
        let top = page_floor(mm::random_stack_top(req.random_addresses));
        let strings_len: u64 = req
            .argv
            .iter()
            .chain(&req.envp)
            .map(|s| s.len() as u64 + 1)
            .sum();
        let strings = top - 8 - (req.path.len() as u64 + 1) - strings_len;
        // A random distance, so that the low bits cannot be known (`arch_align_stack`).
        let distance = if req.random_addresses {
            mm::random_u64() % 8192
        } else {
            0
        };
        let tables_top = (strings - distance) & !0xf;
        let below = tables_top - PLATFORM.len() as u64 - 16;
        let words = 1 + req.argv.len() as u64 + 1 + req.envp.len() as u64 + 1 + 2 * AUX_PAIRS;
        let pointer = (below - words * 8) & !0xf;
        let mut random = [0; 16];
        let (a, b) = random.split_at_mut(8);
        a.copy_from_slice(&mm::random_u64().to_le_bytes());
        b.copy_from_slice(&mm::random_u64().to_le_bytes());
        Stack {
            strings,
            tables_top,
            pointer,
            top,
            limit: req.limits.stack,
            executable,
            random,
        }
    }

    /// The mapping.
    pub fn vma(&self) -> Vma {
        let used = page_floor(self.pointer);
        let lowest = page_floor(self.top.saturating_sub(self.limit.min(RESERVE_MAX)));
        let start = (used - EXPAND).max(lowest).min(used);
        let mut prot = Prot::READ | Prot::WRITE;
        prot.set(Prot::EXEC, self.executable);
        Vma {
            flags: VmFlags::MAY_ALL | VmFlags::GROWSDOWN,
            reserve: lowest.min(start),
            ..Vma::anonymous(start, self.top.max(start + PAGE), prot)
        }
    }

    /// The contents, for a program mapped like `image`.
    pub fn fill(&self, req: &LoadRequest<'_>, who: &Identity, image: &Image) -> Filled {
        // Strings, from the bottom up.
        let mut text = Vec::new();
        let mut argv = Vec::new();
        let mut envp = Vec::new();
        let at = |text: &Vec<u8>| self.strings + text.len() as u64;
        for s in &req.argv {
            argv.push(at(&text));
            text.extend_from_slice(s);
            text.push(0);
        }
        let env_start = at(&text);
        for s in &req.envp {
            envp.push(at(&text));
            text.extend_from_slice(s);
            text.push(0);
        }
        let exec_name = at(&text);
        text.extend_from_slice(&req.path);
        text.push(0);
        text.extend_from_slice(&[0; 8]);

        let platform = self.tables_top - PLATFORM.len() as u64;
        let random = platform - 16;
        let auxv = self.auxv(req, who, image, [platform, random, exec_name]);

        let mut words: Vec<u64> = vec![argv.len() as u64];
        words.extend(&argv);
        words.push(0);
        words.extend(&envp);
        words.push(0);
        let mut tables: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        tables.extend_from_slice(&auxv);
        let len = usize::try_from(random - self.pointer).unwrap_or(0);
        tables.resize(len.max(tables.len()), 0);
        tables.extend_from_slice(&self.random);
        tables.extend_from_slice(PLATFORM);
        Filled {
            stack_pointer: self.pointer,
            parts: [(self.pointer, tables), (self.strings, text)],
            args: (self.strings, env_start, exec_name),
            auxv,
        }
    }

    fn auxv(
        &self,
        req: &LoadRequest<'_>,
        who: &Identity,
        image: &Image,
        [platform, random, exec_name]: [u64; 3],
    ) -> Vec<u8> {
        let host = HostValues::get();
        let mut pairs: Vec<(u64, u64)> = Vec::new();
        if let Some(v) = req.vdso {
            pairs.push((libc::AT_SYSINFO_EHDR, v.vdso.0));
        }
        pairs.extend([
            (libc::AT_MINSIGSTKSZ, host.min_signal_stack),
            (libc::AT_HWCAP, host.hwcap),
            (libc::AT_PAGESZ, PAGE),
            (libc::AT_CLKTCK, CLOCK_TICKS),
            (libc::AT_PHDR, image.phdr),
            (libc::AT_PHENT, PHENT),
            (libc::AT_PHNUM, image.phnum),
            (libc::AT_BASE, image.base),
            (libc::AT_FLAGS, 0),
            (libc::AT_ENTRY, image.program_entry),
            (libc::AT_UID, who.uid.into()),
            (libc::AT_EUID, who.euid.into()),
            (libc::AT_GID, who.gid.into()),
            (libc::AT_EGID, who.egid.into()),
            (libc::AT_SECURE, who.secure.into()),
            (libc::AT_RANDOM, random),
            (libc::AT_HWCAP2, host.hwcap2),
            (libc::AT_EXECFN, exec_name),
            (libc::AT_PLATFORM, platform),
            (libc::AT_NULL, 0),
        ]);
        pairs
            .iter()
            .flat_map(|(k, v)| [k.to_le_bytes(), v.to_le_bytes()].concat())
            .collect()
    }
}

impl Filled {
    /// Length in bytes from the stack pointer to the last string's end.
    pub fn len(&self) -> usize {
        let [_, (strings, text)] = &self.parts;
        usize::try_from(strings - self.stack_pointer).unwrap_or(usize::MAX) + text.len()
    }

    /// Enters where things lie.
    pub fn describe(&self, l: &mut Layout) {
        l.start_stack = self.stack_pointer;
        (l.arg_start, l.arg_end, l.env_end) = self.args;
        l.env_start = l.arg_end;
        l.auxv.clone_from(&self.auxv);
    }
}
