//! Rewritten code really runs: a child process puts rewritten text over its own C library and works on.
#![allow(unsafe_code)] // maps code over its own, and calls it
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

use cofferdam_platform::rewrite::{GAP, rewrite};
use std::arch::global_asm;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

// A gate as the stub has one, for one thread: counts, makes the call, goes on behind the `syscall` instruction. Flags are kept.
global_asm!(
    ".pushsection .text",
    ".globl test_gate",
    "test_gate:",
    "mov rcx, [rip + test_gate_count]",
    "lea rcx, [rcx + 1]",
    "mov [rip + test_gate_count], rcx",
    "mov [rip + test_gate_return], r11",
    "syscall",
    "jmp [rip + test_gate_return]",
    ".popsection",
    ".pushsection .bss",
    ".balign 8",
    "test_gate_count: .quad 0",
    "test_gate_return: .quad 0",
    ".popsection",
    ".globl test_gate_count",
);

unsafe extern "C" {
    fn test_gate();
    static mut test_gate_count: u64;
}

fn count() -> u64 {
    // SAFETY: defined above; one thread.
    unsafe { (&raw const test_gate_count).read_volatile() }
}

/// The C library of this process: its path and where file offset 0 lies.
fn library() -> (String, u64) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps
        .lines()
        .find(|l| l.contains("libc.so.6") || l.contains("/libc-"))
        .unwrap();
    let mut fields = line.split_whitespace();
    let start = fields.next().unwrap().split('-').next().unwrap();
    assert_eq!(fields.nth(1), Some("00000000"));
    (
        fields.last().unwrap().to_string(),
        u64::from_str_radix(start, 16).unwrap(),
    )
}

/// A memfd with these bytes.
fn memory(bytes: &[u8]) -> std::fs::File {
    let fd = nix::sys::memfd::memfd_create(c"text", nix::sys::memfd::MFdFlags::empty()).unwrap();
    let mut f = std::fs::File::from(fd);
    f.write_all(bytes).unwrap();
    f
}

fn map(at: u64, file: &std::fs::File, len: usize, flags: i32) {
    // SAFETY: trampolines go to free space; text gives way to text that does the same.
    let got = unsafe {
        libc::mmap(
            at as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE | flags,
            file.as_raw_fd(),
            0,
        )
    };
    assert_eq!(got as u64, at, "{}", std::io::Error::last_os_error());
}

/// Runs in the child.
fn work() {
    let (path, base) = library();
    let file = std::fs::read(path).unwrap();
    let r = rewrite(file.as_slice(), test_gate as *const () as u64).unwrap();
    map(
        base - GAP,
        &memory(&r.trampolines),
        r.trampolines.len(),
        libc::MAP_FIXED_NOREPLACE,
    );
    let runs: Vec<_> = r.runs.iter().map(|run| memory(&run.bytes)).collect();
    for (run, memfd) in r.runs.iter().zip(&runs) {
        map(base + run.offset, memfd, run.bytes.len(), libc::MAP_FIXED);
    }
    let before = count();
    for _ in 0..1000 {
        // SAFETY: plain calls.
        unsafe {
            assert_eq!(libc::getppid(), libc::syscall(libc::SYS_getppid) as i32);
        }
    }
    assert!(count() >= before + 2000, "{} {before}", count());
    // read() and write() with several moved instructions, one of them relative to rip.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let before = count();
    for i in 0..255u8 {
        writer.write_all(&[i; 100]).unwrap();
        let mut buf = [0; 100];
        reader.read_exact(&mut buf).unwrap();
        assert_eq!(buf, [i; 100]);
    }
    assert!(count() >= before + 510);
    let before = count();
    let dir = std::env::temp_dir().join(format!("rewriting-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    for i in 0..50 {
        let name = dir.join(i.to_string());
        std::fs::write(&name, b"some text").unwrap();
        assert_eq!(std::fs::metadata(&name).unwrap().len(), 9);
        assert_eq!(std::fs::read(&name).unwrap(), b"some text");
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 50);
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(std::fs::read(dir.join("0")).is_err());
    assert!(count() > before + 500);
    // New processes; errno; signals.
    let status = std::process::Command::new("/bin/sh")
        .args(["-c", "exit 7"])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
    // SAFETY: a bad descriptor.
    assert_eq!(unsafe { libc::close(-1) }, -1);
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(libc::EBADF)
    );
}

#[test]
fn the_c_library_of_a_process() {
    // SAFETY: the child allocates, which glibc permits after fork, and has one thread.
    match unsafe { libc::fork() } {
        0 => {
            let ok = std::panic::catch_unwind(work).is_ok();
            // SAFETY: ends the child without running what the parent registered.
            unsafe { libc::_exit(if ok { 0 } else { 1 }) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert_eq!(status, 0, "the child failed");
        }
    }
}
