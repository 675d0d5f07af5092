//! Loading real and broken programs into a fake host process.

use super::*;
use crate::mm::fake::{FakeSpace, FakeThread};
use crate::mm::{GUARD_GAP, Label, PAGE};
use crate::usermem::{GuestMemory, KernelSource, UserPtr};
use proptest::prelude::*;
use std::collections::HashMap;

fn file(content: &[u8]) -> Arc<File> {
    let f = crate::fs::tmpfs::memfd_create(&KernelCaller, b"program", 0).unwrap();
    let mut pos = 0;
    let mut source = KernelSource::new(content);
    while pos < content.len() as u64 {
        f.ops()
            .write(&f, &KernelCaller, &mut source, &mut pos, false)
            .unwrap();
    }
    f
}

struct World {
    files: HashMap<Vec<u8>, Vec<u8>>,
    limits: MmLimits,
    argv: Vec<Vec<u8>>,
    envp: Vec<Vec<u8>>,
}

impl World {
    fn new() -> World {
        World {
            files: HashMap::new(),
            limits: MmLimits {
                stack: 8 << 20,
                ..MmLimits::NONE
            },
            argv: vec![b"zero".to_vec(), b"one".to_vec()],
            envp: vec![b"A=b".to_vec()],
        }
    }
    fn load(&self, content: &[u8]) -> (Result<Loaded>, MemoryManager) {
        let space = Arc::new(FakeSpace::default());
        let mm = MemoryManager::new(space.clone());
        let request = LoadRequest {
            file: file(content),
            path: b"/prog".to_vec(),
            path_inaccessible: false,
            argv: self.argv.clone(),
            envp: self.envp.clone(),
            limits: self.limits,
            random_addresses: true,
            vdso: None,
            identify: &mut |_| Ok(Identity::default()),
            open: &mut |p| self.files.get(p).map(|c| file(c)).ok_or(Errno::ENOENT),
        };
        let r = load(request, &mm, &FakeThread(space));
        (r, mm)
    }
}

fn cstr(mem: &dyn GuestMemory, at: u64) -> Vec<u8> {
    mem.read_cstr(crate::usermem::UserStr(at), 4096).unwrap()
}

/// argv, envp, auxv.
type InitialStack = (Vec<Vec<u8>>, Vec<Vec<u8>>, HashMap<u64, u64>);

/// argv, envp, auxv as the program will see them.
fn read_stack(mm: &MemoryManager, sp: u64) -> InitialStack {
    let mem: &dyn GuestMemory = mm;
    let mut at = UserPtr::<u64>::new(sp);
    let mut next = || {
        let v = mem.get(at).unwrap();
        at = at.offset(1);
        v
    };
    let argc = next();
    let mut argv = Vec::new();
    for _ in 0..argc {
        argv.push(cstr(mem, next()));
    }
    assert_eq!(next(), 0);
    let mut envp = Vec::new();
    loop {
        match next() {
            0 => break,
            p => envp.push(cstr(mem, p)),
        }
    }
    let mut auxv = HashMap::new();
    loop {
        match (next(), next()) {
            (0, _) => break,
            (k, v) => assert!(auxv.insert(k, v).is_none()),
        }
    }
    (argv, envp, auxv)
}

#[test]
fn a_dynamic_program_of_the_host() {
    let mut w = World::new();
    let ld = b"/lib64/ld-linux-x86-64.so.2".to_vec();
    w.files.insert(
        ld.clone(),
        std::fs::read("/lib64/ld-linux-x86-64.so.2").unwrap(),
    );
    let content = std::fs::read("/bin/true").unwrap();
    let (r, mm) = w.load(&content);
    let loaded = r.unwrap();
    assert_eq!(loaded.stack_pointer % 16, 0);
    let (argv, envp, auxv) = read_stack(&mm, loaded.stack_pointer);
    assert_eq!((argv, envp), (w.argv.clone(), w.envp.clone()));
    let mem: &dyn GuestMemory = &mm;
    assert_eq!(cstr(mem, auxv[&libc::AT_EXECFN]), b"/prog");
    assert_eq!(cstr(mem, auxv[&libc::AT_PLATFORM]), b"x86_64");
    assert_eq!(auxv[&libc::AT_PAGESZ], PAGE);
    // The headers really are where AT_PHDR says, and the interpreter starts at AT_BASE.
    let headers: [u8; 56] = mem.get(UserPtr::new(auxv[&libc::AT_PHDR])).unwrap();
    assert_eq!(headers, content[64..120]);
    let base: [u8; 4] = mem.get(UserPtr::new(auxv[&libc::AT_BASE])).unwrap();
    assert_eq!(&base, elf::MAGIC);
    let vma = mm.find_vma(loaded.entry).unwrap();
    assert!(vma.prot.contains(cofferdam_platform::Prot::EXEC));
    assert!(auxv[&libc::AT_BASE] < loaded.entry);
    assert_ne!(auxv[&libc::AT_ENTRY], loaded.entry);
    let l = mm.layout();
    assert!(l.start_code <= auxv[&libc::AT_ENTRY] && auxv[&libc::AT_ENTRY] < l.end_code);
    assert!(l.brk >= l.end_data);
    let arguments = (l.arg_end - l.arg_start) as usize;
    let mut raw = vec![0; arguments];
    mem.read_bytes(l.arg_start, &mut raw).unwrap();
    assert_eq!(raw, b"zero\0one\0");
    let stack = mm
        .maps()
        .into_iter()
        .find(|e| e.label == Label::Stack)
        .unwrap();
    assert!(stack.vma.end - stack.vma.reserve >= 8 << 20);
    assert!(l.mmap_base + GUARD_GAP <= stack.vma.reserve);
}

#[test]
fn bss_is_zero_and_writable() {
    // One segment: 0x100 bytes of file, two pages of memory.
    let elf = Elf {
        filesz: 0x100,
        memsz: 0x2000,
        ..Elf::default()
    };
    let mut content = elf.bytes();
    content.resize(0x1000, 0xaa);
    let (r, mm) = World::new().load(&content);
    let loaded = r.unwrap();
    assert_eq!(loaded.entry, 0x40_0078);
    let mem: &dyn GuestMemory = &mm;
    let mut all = vec![1; 0x2000];
    mem.read_bytes(0x40_0000, &mut all).unwrap();
    assert_eq!(&all[..0x100], &content[..0x100]);
    assert!(all[0x100..].iter().all(|b| *b == 0));
    mem.write_bytes(0x40_1000, b"x").unwrap();
}

struct Elf {
    kind: u16,
    machine: u16,
    phentsize: u16,
    phnum: u16,
    vaddr: u64,
    filesz: u64,
    memsz: u64,
    flags: u32,
    offset: u64,
}

impl Default for Elf {
    fn default() -> Elf {
        Elf {
            kind: 2,
            machine: 62,
            phentsize: 56,
            phnum: 1,
            vaddr: 0x40_0000,
            filesz: 0x1000,
            memsz: 0x1000,
            flags: 7,
            offset: 0,
        }
    }
}

impl Elf {
    fn bytes(&self) -> Vec<u8> {
        let mut b = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        b.extend(self.kind.to_le_bytes());
        b.extend(self.machine.to_le_bytes());
        b.extend(1u32.to_le_bytes());
        b.extend((self.vaddr + 0x78).to_le_bytes());
        b.extend(64u64.to_le_bytes());
        b.extend(0u64.to_le_bytes());
        b.extend(0u32.to_le_bytes());
        b.extend(64u16.to_le_bytes());
        b.extend(self.phentsize.to_le_bytes());
        b.extend(self.phnum.to_le_bytes());
        b.extend([0; 6]);
        b.extend(1u32.to_le_bytes());
        b.extend(self.flags.to_le_bytes());
        for v in [
            self.offset,
            self.vaddr,
            self.vaddr,
            self.filesz,
            self.memsz,
            0x1000,
        ] {
            b.extend(v.to_le_bytes());
        }
        b.resize(0x1000, 0x90);
        b
    }
    fn load(&self) -> Errno {
        World::new().load(&self.bytes()).0.err().unwrap()
    }
}

#[test]
fn malformed_headers_have_linux_errors() {
    let d = Elf::default;
    assert!(World::new().load(&d().bytes()).0.is_ok());
    assert_eq!(Elf { kind: 1, ..d() }.load(), Errno::ENOEXEC);
    assert_eq!(Elf { machine: 3, ..d() }.load(), Errno::ENOEXEC);
    assert_eq!(
        Elf {
            phentsize: 55,
            ..d()
        }
        .load(),
        Errno::ENOEXEC
    );
    assert_eq!(Elf { phnum: 0, ..d() }.load(), Errno::ENOEXEC);
    assert_eq!(
        Elf {
            phnum: u16::MAX,
            ..d()
        }
        .load(),
        Errno::ENOEXEC
    );
    assert_eq!(Elf { phnum: 1000, ..d() }.load(), Errno::EIO);
    assert_eq!(Elf { memsz: 1, ..d() }.load(), Errno::EINVAL);
    assert_eq!(
        Elf {
            memsz: u64::MAX,
            ..d()
        }
        .load(),
        Errno::EINVAL
    );
    assert_eq!(
        Elf {
            offset: 0x10,
            ..d()
        }
        .load(),
        Errno::EINVAL
    );
    assert_eq!(Elf { vaddr: 0, ..d() }.load(), Errno::EPERM);
    assert_eq!(World::new().load(b"").0.err(), Some(Errno::ENOEXEC));
    assert_eq!(World::new().load(b"\x7fELF").0.err(), Some(Errno::ENOEXEC));
    assert_eq!(
        World::new().load(b"echo hi\n").0.err(),
        Some(Errno::ENOEXEC)
    );
}

#[test]
fn scripts_get_their_arguments() {
    let mut w = World::new();
    w.files.insert(b"/interp".to_vec(), Elf::default().bytes());
    w.files
        .insert(b"/outer".to_vec(), b"#!/interp  -x  y \n".to_vec());
    let (r, mm) = w.load(b"#! /outer\trest of it \nbody");
    let (argv, _, auxv) = read_stack(&mm, r.unwrap().stack_pointer);
    let expected: [&[u8]; 6] = [
        b"/interp",
        b"-x  y",
        b"/outer",
        b"rest of it",
        b"/prog",
        b"one",
    ];
    assert_eq!(argv, expected);
    assert_eq!(cstr(&mm, auxv[&libc::AT_EXECFN]), b"/prog");
    let (r, _) = w.load(b"#!/nowhere\n");
    assert_eq!(r.err(), Some(Errno::ENOENT));
}

#[test]
fn scripts_nest_five_deep_and_no_deeper() {
    let mut w = World::new();
    w.files.insert(b"/0".to_vec(), Elf::default().bytes());
    for i in 1..7 {
        let line = format!("#!/{}\n", i - 1).into_bytes();
        w.files.insert(format!("/{i}").into_bytes(), line);
    }
    assert!(w.load(b"#!/4\n").0.is_ok());
    assert_eq!(w.load(b"#!/5\n").0.err(), Some(Errno::ELOOP));
}

#[test]
fn first_lines_are_parsed_as_linux_does() {
    let parse = |s: &[u8]| script::parse(s).map(|l| (l.interpreter, l.argument));
    let ok =
        |i: &str, a: Option<&str>| Ok((i.as_bytes().to_vec(), a.map(|a| a.as_bytes().to_vec())));
    assert_eq!(parse(b"#!/bin/sh"), ok("/bin/sh", None));
    assert_eq!(parse(b"#!\t /bin/sh \t\n"), ok("/bin/sh", None));
    assert_eq!(parse(b"#!/bin/sh -e\0junk"), ok("/bin/sh", Some("-e")));
    assert_eq!(parse(b"#!\n"), Err(Errno::ENOEXEC));
    assert_eq!(parse(b"#!  \t"), Err(Errno::ENOEXEC));
    let mut long = b"#!/".to_vec();
    long.resize(HEAD, b'x');
    assert_eq!(parse(&long), Err(Errno::ENOEXEC), "name cut off");
    long[100] = b' ';
    let (name, argument) = parse(&long).unwrap();
    assert_eq!(name.len(), 98);
    // The last byte of the buffer is the terminator's.
    assert_eq!(argument.map(|a| a.len()), Some(HEAD - 1 - 101));
}

#[test]
fn too_many_arguments_are_e2big() {
    let elf = Elf::default().bytes();
    let mut w = World::new();
    w.argv = vec![vec![b'x'; 131_072]];
    assert_eq!(w.load(&elf).0.err(), Some(Errno::E2BIG), "one too long");
    w.argv = vec![vec![b'x'; 131_071]];
    assert!(w.load(&elf).0.is_ok());
    w.argv = vec![vec![b'x'; 1000]; 2090];
    assert_eq!(
        w.load(&elf).0.err(),
        Some(Errno::E2BIG),
        "a quarter of 8 MiB"
    );
    w.limits.stack = 16 << 20;
    let (r, mm) = w.load(&elf);
    let (argv, ..) = read_stack(&mm, r.unwrap().stack_pointer);
    assert_eq!(argv.len(), 2090);
    w.argv.clear();
    let (r, mm) = w.load(&elf);
    let (argv, ..) = read_stack(&mm, r.unwrap().stack_pointer);
    assert_eq!(argv, [b""], "there is always an argv[0]");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn hostile_files_do_not_panic(
        edits in prop::collection::vec((0..0x200usize, any::<u8>()), 1..8),
        cut in 0..0x1000usize,
    ) {
        let mut content = Elf::default().bytes();
        for (at, b) in edits {
            content[at] = b;
        }
        content.truncate(cut.max(0x40));
        let mut w = World::new();
        // Keeps the fake host small.
        w.limits.address_space = 64 << 20;
        let _ = w.load(&content);
    }
}
