//! Real files, files made by hand, and hostile bytes.

use super::*;
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl};

/// Where the gate would be.
const GATE: u64 = 0x7fff_1234_5678;

/// A minimal ELF file: one executable segment with `code` at file offset and address 0x1000 and, behind it, `symbols`
/// (name-less, position in the code and size).
pub(super) fn file(code: &[u8], symbols: &[(u64, u64)]) -> Vec<u8> {
    let mut f = vec![0u8; 0x1000];
    f[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let mut put = |at: usize, bytes: &[u8]| f[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &3u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &1u16.to_le_bytes());
    put(58, &64u16.to_le_bytes());
    put(64, &1u32.to_le_bytes());
    put(68, &5u32.to_le_bytes());
    put(72, &0x1000u64.to_le_bytes());
    put(80, &0x1000u64.to_le_bytes());
    put(96, &(code.len() as u64).to_le_bytes());
    f.extend(code);
    f.resize(f.len().next_multiple_of(8), 0);
    let table = f.len() as u64;
    for (at, size) in symbols {
        f.extend([0, 0, 0, 0, 2, 0, 1, 0]);
        f.extend((0x1000 + at).to_le_bytes());
        f.extend(size.to_le_bytes());
    }
    let sections = f.len() as u64;
    let mut s = [0u8; 64];
    s[4..8].copy_from_slice(&2u32.to_le_bytes());
    s[24..32].copy_from_slice(&table.to_le_bytes());
    s[32..40].copy_from_slice(&(sections - table).to_le_bytes());
    f.extend(s);
    f[40..48].copy_from_slice(&sections.to_le_bytes());
    f[60..62].copy_from_slice(&1u16.to_le_bytes());
    f
}

/// Rewrites one function that is all of the file's code.
fn function(code: &[u8]) -> Option<Rewritten> {
    rewrite(file(code, &[(0, code.len() as u64)]).as_slice(), GATE)
}

/// Checks everything about a result that can be checked from outside: what lies in the runs and trampolines is
/// the original but for jumps, and each jump leads to a copy that ends in the gate.
fn check(file: &[u8], r: &Rewritten) {
    assert!(r.trampolines.len() <= MAX_TRAMPOLINES && r.runs.len() <= MAX_RUNS);
    assert_eq!(r.trampolines[..8], GATE.to_le_bytes());
    let mut patched: std::collections::BTreeMap<u64, u8> = Default::default();
    for run in &r.runs {
        assert!(run.offset % 4096 == 0 && run.bytes.len() % 4096 == 0);
        for (i, b) in run.bytes.iter().enumerate() {
            let at = run.offset + i as u64;
            assert!(patched.insert(at, *b).is_none());
        }
    }
    for s in &r.sites {
        assert!(s.start + 5 <= s.syscall && s.start / 4096 == (s.syscall - 1) / 4096);
        let byte = |at: u64| patched.get(&at).copied().unwrap_or(file[at as usize]);
        assert_eq!((byte(s.syscall), byte(s.syscall + 1)), (0x0f, 0x05));
        assert_eq!(byte(s.start), 0xe9);
        let rel = i32::from_le_bytes(std::array::from_fn(|i| byte(s.start + 1 + i as u64)));
        let to = (s.start + 5) as i64 + i64::from(rel) + GAP as i64;
        assert_eq!(to, i64::from(s.pieces[0].1));
        // The copies do what the originals do.
        let bias = 1u64 << 40;
        let original = &file[s.start as usize..s.syscall as usize];
        let copy = &r.trampolines[s.pieces[0].1 as usize..s.end as usize];
        let mut a = Decoder::with_ip(64, original, bias + s.start, DecoderOptions::NONE);
        let mut b = Decoder::with_ip(
            64,
            copy,
            (bias - GAP).wrapping_add(to as u64),
            DecoderOptions::NONE,
        );
        for (at, tramp) in &s.pieces[..s.pieces.len() - 1] {
            let (x, y) = (a.decode(), b.decode());
            assert_eq!(
                (x.ip(), y.ip()),
                (
                    bias + s.start + u64::from(*at),
                    bias - GAP + u64::from(*tramp)
                )
            );
            assert_eq!(x.mnemonic(), y.mnemonic());
            assert_eq!(x.op_count(), y.op_count());
            if x.flow_control() == FlowControl::ConditionalBranch {
                assert_eq!(x.near_branch_target(), y.near_branch_target());
            } else if x.is_ip_rel_memory_operand() {
                assert_eq!(x.ip_rel_memory_address(), y.ip_rel_memory_address());
            } else {
                assert_eq!(
                    &original[(x.ip() - bias - s.start) as usize..][..x.len()],
                    &copy[(y.ip() - (bias - GAP) - s.pieces[0].1 as u64) as usize..][..y.len()]
                );
            }
            let there = r.original(*tramp);
            assert_eq!(there, Some(s.start + u64::from(*at)));
            assert_eq!(
                r.moved(s.start + u64::from(*at)),
                (*at > 0).then_some(*tramp)
            );
        }
        assert!(!a.can_decode());
        let lea = b.decode();
        assert_eq!(lea.code(), Code::Lea_r64_m);
        assert_eq!(lea.ip_rel_memory_address(), bias + s.syscall + 2);
        let jmp = b.decode();
        assert_eq!(jmp.code(), Code::Jmp_rm64);
        assert_eq!(jmp.ip_rel_memory_address(), bias - GAP);
        assert!(!b.can_decode());
        for t in [lea.ip(), jmp.ip()] {
            assert_eq!(r.original((t - (bias - GAP)) as u32), Some(s.syscall));
        }
        assert_eq!(r.moved(s.syscall), None);
        for at in s.start..s.syscall {
            patched.remove(&at);
        }
    }
    for (at, b) in patched {
        assert_eq!(file.get(at as usize).copied().unwrap_or(0), b, "at {at:#x}");
    }
    for w in r.sites.windows(2) {
        assert!(w[0].syscall + 2 <= w[1].start && w[0].end <= w[1].pieces[0].1);
    }
}

fn real(path: &str) -> Option<(Vec<u8>, Rewritten)> {
    let file = std::fs::read(path).ok()?;
    let start = std::time::Instant::now();
    let r = rewrite(file.as_slice(), GATE);
    let time = start.elapsed();
    let r = r?;
    check(&file, &r);
    println!(
        "{path}: {} of {} sites ({} times the bytes), {} bytes of trampolines, {} pages in {} runs, {time:?}",
        r.sites.len(),
        r.found,
        sites::candidates(&file).count(),
        r.trampolines.len(),
        r.runs.iter().map(|r| r.bytes.len() / 4096).sum::<usize>(),
        r.runs.len(),
    );
    Some((file, r))
}

#[test]
fn most_of_the_c_library() {
    let (_, r) = real("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    assert!(r.found > 300);
    assert!(
        r.sites.len() * 100 > r.found * 90,
        "{} of {}",
        r.sites.len(),
        r.found
    );
    let (_, r) = real("/lib64/ld-linux-x86-64.so.2").unwrap();
    assert!(
        r.sites.len() * 100 > r.found * 80,
        "{} of {}",
        r.sites.len(),
        r.found
    );
}

/// Whatever else is there.
#[test]
fn other_programs() {
    for path in [
        "/usr/bin/python3",
        "/usr/bin/bash",
        "/usr/lib/go-1.19/bin/go",
        "/usr/bin/busybox",
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    ] {
        real(path);
    }
    for path in std::env::var("REWRITE_FILES")
        .unwrap_or_default()
        .split(':')
    {
        real(path);
    }
    real(std::env::current_exe().unwrap().to_str().unwrap());
}

#[test]
fn the_common_site() {
    // mov $39,%eax; syscall; ret
    let r = function(&[0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3]).unwrap();
    assert_eq!((r.found, r.sites.len()), (1, 1));
    assert_eq!((r.sites[0].start, r.sites[0].syscall), (0x1000, 0x1005));
}

#[test]
fn several_instructions_move() {
    // cmpb $0,0x100(%rip); je +8; xor %eax,%eax; syscall; ret; int3…
    let code = [
        0x80, 0x3d, 0, 1, 0, 0, 0, 0x74, 8, 0x31, 0xc0, 0x0f, 5, 0xc3, 0xcc, 0xcc, 0xcc, 0xc3,
    ];
    let r = function(&code).unwrap();
    check(&file(&code, &[(0, code.len() as u64)]), &r);
    assert_eq!(r.sites[0].pieces.len(), 4);
}

/// Code, and why its `syscall` must stay as it is.
#[test]
fn what_is_not_certain_stays() {
    let cases: &[(&str, &[u8])] = &[
        ("too near to the start", &[0x31, 0xc0, 0x0f, 5, 0xc3]),
        (
            "a branch between the instructions",
            &[
                0x89, 0xf7, 0x89, 0xd6, 0x31, 0xc0, 0x0f, 5, 0xeb, 0xfa, 0xc3,
            ],
        ),
        ("a call before", &[0xe8, 0, 0, 0, 0, 0x0f, 5, 0xc3]),
        ("a jump before", &[0xe9, 0, 0, 0, 0, 0x0f, 5, 0xc3]),
        (
            "another system call before",
            &[0x31, 0xc0, 0x90, 0x0f, 5, 0x31, 0xc0, 0x0f, 5],
        ),
        (
            "a loop instruction",
            &[0x90, 0x31, 0xc0, 0xe2, 0xfb, 0x0f, 5],
        ),
        (
            "bytes that are no instruction before",
            &[0x06, 0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3],
        ),
        (
            "a jump table, and two instructions",
            &[0xff, 0xe0, 0x89, 0xd6, 0x89, 0xd6, 0x31, 0xc0, 0x0f, 5],
        ),
        (
            "the middle's address is taken",
            &[
                0x48, 0x8d, 0x05, 2, 0, 0, 0, 0x89, 0xd6, 0x48, 0x31, 0xc0, 0x0f, 5,
            ],
        ),
        (
            "no boundary",
            &[0xb8, 1, 2, 3, 4, 0xb8, 39, 0, 0x0f, 5, 0xc3],
        ),
        ("rt_sigreturn", &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 5]),
        ("a prefix", &[0xb8, 39, 0, 0, 0, 0x48, 0x0f, 5, 0xc3]),
    ];
    for (why, code) in cases {
        assert!(function(code).is_none(), "{why}");
    }
}

#[test]
fn names_in_the_middle_stay() {
    let code = [0x89, 0xf7, 0x89, 0xd6, 0x31, 0xc0, 0x0f, 5, 0xc3];
    let with = |symbols: &[(u64, u64)]| rewrite(file(&code, symbols).as_slice(), GATE);
    assert!(with(&[(0, 9)]).is_some());
    assert!(with(&[(0, 9), (2, 0)]).is_none());
    assert!(with(&[(0, 9), (0, 0), (6, 0)]).is_some());
    // No function at all.
    assert!(with(&[]).is_none());
    assert!(with(&[(0, 6)]).is_none());
}

/// glibc's `__restore_rt`: unwinders know it by its bytes, and its entry in the unwind table begins before it.
#[test]
fn signal_trampolines_of_real_libraries_stay() {
    let bytes = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 5];
    let (file, r) = real("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let at = file.windows(9).position(|w| w == bytes).unwrap() as u64;
    assert!(
        r.sites
            .iter()
            .all(|s| s.syscall + 2 <= at || s.start >= at + 9)
    );
}

/// A function whose name is right but whose range begins elsewhere.
#[test]
fn names_between_bytes_of_an_instruction_spoil_the_function() {
    let code = [0x90, 0x90, 0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3];
    let with = |symbols: &[(u64, u64)]| rewrite(file(&code, symbols).as_slice(), GATE);
    assert!(with(&[(0, 10)]).is_some());
    assert!(with(&[(0, 10), (1, 0), (9, 0)]).is_some());
    let code = [0x00, 0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 5, 0xc3];
    assert!(rewrite(file(&code, &[(0, 11), (1, 0)]).as_slice(), GATE).is_none());
}

#[test]
fn branches_from_other_functions_count() {
    // A function with a site of three instructions, and another that jumps to the second of them.
    let mut code = vec![0x89, 0xf7, 0x89, 0xd6, 0x31, 0xc0, 0x0f, 5, 0xc3];
    code.resize(0x400, 0xcc);
    code.push(0xe9);
    code.extend((2i32 - 0x405).to_le_bytes());
    let symbols = [(0, 9), (0x400, 5)];
    assert!(rewrite(file(&code, &symbols).as_slice(), GATE).is_none());
    code[0x401..].copy_from_slice(&(0i32 - 0x405).to_le_bytes());
    assert!(rewrite(file(&code, &symbols).as_slice(), GATE).is_some());
}

#[test]
fn no_site_across_pages() {
    for at in 0..12 {
        let mut code = vec![0x90; 4096 - at];
        code.extend([0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3]);
        let r = function(&code);
        assert_eq!(r.is_some(), at == 0 || at >= 5, "{at}");
        if let Some(r) = r {
            check(&file(&code, &[(0, code.len() as u64)]), &r);
        }
    }
}

/// A large text becomes few runs, and what is in no run is no site.
#[test]
fn large_text() {
    let mut code = vec![0x90u8; 9 << 20];
    let mut symbols = Vec::new();
    for i in 0..20u64 {
        let at = (i * i * 23_000 / 16 * 16) as usize;
        code[at..at + 8].copy_from_slice(&[0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3]);
        symbols.push((at as u64, 8));
    }
    let f = file(&code, &symbols);
    let r = rewrite(f.as_slice(), GATE).unwrap();
    check(&f, &r);
    assert_eq!(r.runs.len(), MAX_RUNS);
    assert_eq!(r.sites.len(), 20);
}

/// Changed bytes in real headers and tables: no panic, and a result that is right for the text as it is.
#[test]
fn hostile_files() {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let original = std::fs::read("/lib64/ld-linux-x86-64.so.2").unwrap();
    let seed = RandomState::new().build_hasher().finish();
    println!("seed {seed}");
    let mut x = seed | 1;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let image = elf::Image::read(original.as_slice()).unwrap();
    let frames = image.section(b".eh_frame").unwrap();
    let (from, len) = (frames.offset as usize, frames.size as usize);
    for round in 0..120 {
        let mut f = original.clone();
        for _ in 0..1 + random() % 20 {
            let at = match round % 4 {
                0 => random() as usize % 64,
                1 => 64 + random() as usize % (56 * 10),
                2 => from + random() as usize % len,
                _ => random() as usize % f.len(),
            };
            f[at] = match random() % 3 {
                0 => 0xff,
                1 => 0,
                _ => random() as u8,
            };
        }
        if round % 5 == 0 {
            f.truncate(random() as usize % f.len());
        }
        if let Some(r) = rewrite(f.as_slice(), GATE) {
            check(&f, &r);
        }
    }
}

#[test]
fn short_files() {
    let f = file(&[0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3], &[(0, 8)]);
    for n in 0..f.len() {
        if let Some(r) = rewrite(&f[..n], GATE) {
            check(&f[..n], &r);
        }
    }
}

/// A file whose section headers name the same bytes again and again; counts what is read of it.
struct Counted {
    bytes: Vec<u8>,
    read: std::cell::Cell<u64>,
}

impl Source for Counted {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> usize {
        let n = self.bytes.as_slice().read_at(offset, buf);
        self.read.set(self.read.get() + n as u64);
        n
    }
}

#[test]
fn a_symbol_table_that_is_named_often_costs_no_more() {
    let code = [&[0x90; 8][..], &[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]].concat();
    let symbols = vec![(0, code.len() as u64); 20_000];
    let mut bytes = file(&code, &symbols);
    let header = bytes[bytes.len() - 64..].to_vec();
    for _ in 1..4096 {
        bytes.extend(&header);
    }
    bytes[60..62].copy_from_slice(&4096u16.to_le_bytes());
    let counted = Counted {
        bytes,
        read: std::cell::Cell::new(0),
    };
    let r = rewrite(&counted, GATE).unwrap();
    assert_eq!(r.sites.len(), 1);
    let read = counted.read.get();
    assert!(read < 2 * elf::MAX_TABLE, "{read} bytes read");
}

/// A `mov $39,%eax; syscall; ret` that nothing names.
const HIDDEN: &[u8] = b"\xb8\x27\0\0\0\x0f\x05\xc3";

#[test]
fn what_known_functions_call_is_known() {
    // call +1; ret; nop; the hidden function, which calls another one; data that looks like a call site.
    let code = [
        b"\xe8\x02\0\0\0\xc3\x90",
        b"\xb8\x27\0\0\0\x0f\x05\xe8\x09\0\0\0\xc3".as_slice(),
        HIDDEN,
        HIDDEN,
    ]
    .concat();
    let f = file(&code, &[(0, 7)]);
    let r = rewrite(f.as_slice(), GATE).unwrap();
    check(&f, &r);
    let at: Vec<u64> = r.sites.iter().map(|s| s.start - 0x1000).collect();
    // The last one is called; the one before it is not reached.
    assert_eq!(at, [7, 28]);
    // Without a name there is no beginning but the entry point.
    assert!(rewrite(file(&code, &[]).as_slice(), GATE).is_none());
}

#[test]
fn branches_of_what_is_not_named_count() {
    // A conditional branch of the hidden function leads between the two instructions that would have to move.
    let hidden = b"\x85\xff\x74\x03\x48\x31\xf6\x48\x31\xd2\x0f\x05\xc3";
    let named = b"\xe8\x01\0\0\0\xc3";
    let f = |hidden: &[u8]| file(&[named, hidden].concat(), &[(0, 6)]);
    assert!(rewrite(f(hidden).as_slice(), GATE).is_none());
    // Without it they move.
    let mut straight = *hidden;
    straight[2..4].copy_from_slice(b"\x90\x90");
    let f = f(&straight);
    let r = rewrite(f.as_slice(), GATE).unwrap();
    check(&f, &r);
    assert_eq!(r.sites[0].start, 0x1000 + 10);
}

#[test]
fn most_of_musl() {
    let path = "/usr/lib/x86_64-linux-musl/libc.so";
    let Ok(f) = std::fs::read(path) else {
        return println!("skipped: there is no {path} (Debian: musl)");
    };
    let r = rewrite(f.as_slice(), GATE).unwrap();
    check(&f, &r);
    let all = sites::candidates(&f).count();
    println!("{} sites of {} known, {all} in all", r.sites.len(), r.found);
    assert!(r.sites.len() * 10 > all * 8);
}
