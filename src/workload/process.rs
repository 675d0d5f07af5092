//! Rows: threads and processes that come and go.

use super::scratch::Scratch;
use super::{Batch, Row, each, sys};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) const ROWS: &[Row] = &[
    Row::new("process", "pthread create+join", || {
        each(sys::create_and_join)
    }),
    Row::new("process", "fork+exit+wait", || {
        each(|| ended_well(sys::fork(|| {})?))
    }),
    Row::new("process", "vfork+exec+wait, static", || {
        let dir = Scratch::executable()?;
        let path = dir.path("static");
        fs::write(&path, static_program())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        let mut program = sys::Program::new(&path, &[])?;
        each(move || {
            let _ = &dir;
            ended_well(program.start()?)
        })
    }),
    Row::new("process", "vfork+exec+wait, /bin/true", || {
        run_each(Path::new("/bin/true"), &[])
    }),
    Row::new("process", "vfork+exec+wait, a Rust program", || {
        run_each(&std::env::current_exe()?, &["workload", "nothing"])
    }),
];

fn ended_well(pid: Pid) -> io::Result<()> {
    match waitpid(pid, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        other => Err(io::Error::other(format!(
            "the child ended badly: {other:?}"
        ))),
    }
}

fn run_each(path: &Path, args: &[&str]) -> io::Result<Batch> {
    let mut program = sys::Program::new(path, args)?;
    each(move || ended_well(program.start()?))
}

/// An executable of one page that only exits: an ELF header, one program header, and `exit(0)`.
fn static_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // xor edi,edi; mov eax,60; syscall
    const CODE: &[u8] = &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let len = HEADERS + CODE.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    file.resize(16, 0);
    let half = |file: &mut Vec<u8>, v: u16| file.extend(v.to_le_bytes());
    let word = |file: &mut Vec<u8>, v: u32| file.extend(v.to_le_bytes());
    let long = |file: &mut Vec<u8>, v: u64| file.extend(v.to_le_bytes());
    // e_type ET_EXEC, e_machine EM_X86_64, e_version, e_entry, e_phoff, e_shoff, e_flags
    half(&mut file, 2);
    half(&mut file, 62);
    word(&mut file, 1);
    for v in [BASE + HEADERS, 64, 0] {
        long(&mut file, v);
    }
    word(&mut file, 0);
    // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
    for v in [64, 56, 1, 64, 0, 0] {
        half(&mut file, v);
    }
    // p_type PT_LOAD, p_flags R+X, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
    word(&mut file, 1);
    word(&mut file, 5);
    for v in [0, BASE, BASE, len, len, 4096] {
        long(&mut file, v);
    }
    file.extend(CODE);
    file
}
