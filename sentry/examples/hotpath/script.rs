//! The calls that are measured.

use crate::guest::ARENA;

/// An argument of a call.
#[derive(Clone, Copy)]
pub enum Arg {
    /// This value.
    Is(u64),
    /// The result saved under this number.
    Saved(usize),
    /// The i32 in the arena at this offset (a descriptor that the call stored).
    Word(u64),
}

/// One call.
#[derive(Clone)]
pub struct Call {
    pub number: u64,
    pub args: [Arg; 6],
    /// Where to keep its result.
    pub save: Option<usize>,
    /// The result that is no mistake although negative.
    pub fails: i32,
}

/// One row of the table.
pub struct Bench {
    pub name: &'static str,
    /// What the same calls take natively, in nanoseconds (2-core machine, Linux 6.18), 0 where not known.
    pub native: u32,
    /// Done once before.
    pub setup: Vec<Call>,
    /// Repeated and timed.
    pub body: Vec<Call>,
    pub times: u32,
}

fn call(number: i64, args: &[Arg]) -> Call {
    let mut all = [Arg::Is(0); 6];
    all[..args.len()].copy_from_slice(args);
    Call {
        number: number.cast_unsigned(),
        args: all,
        save: None,
        fails: 0,
    }
}

impl Call {
    fn save(mut self, at: usize) -> Call {
        self.save = Some(at);
        self
    }
    fn fails(mut self, errno: i32) -> Call {
        self.fails = errno;
        self
    }
}

use Arg::{Is, Saved, Word};

/// Texts that the arena holds from its start on, 64 bytes apart.
pub const TEXTS: &[&str] = &[
    "/tmp/file",
    "/usr/bin/env",
    "/usr/bin/nope",
    "/tmp/made",
    "/dev/zero",
    "/dev/null",
    "/tmp/none",
    "/usr/share/doc/a/b",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/etc/passwd",
];

/// Address of a text.
fn text(t: &str) -> Arg {
    let at = TEXTS
        .iter()
        .position(|x| *x == t)
        .expect("the text is in TEXTS");
    Is(ARENA + at as u64 * 64)
}

/// Where calls put what they return.
const OUT: u64 = ARENA + 0x1000;
/// Where vectors and structures for calls lie, all zeros at first.
const IN: u64 = ARENA + 0x2000;
/// A buffer of 64 KiB.
const BUF: u64 = ARENA + 0x10000;

const CREAT_RDWR: Arg = Is(0o102);
const RDONLY: Arg = Is(0);
const WRONLY: Arg = Is(1);

/// The row that says what the script itself costs.
pub fn nothing() -> Bench {
    Bench {
        name: "(the script alone)",
        native: 0,
        setup: Vec::new(),
        body: vec![call(libc::SYS_getppid, &[])],
        times: 20_000,
    }
}

/// All rows whose name contains `filter`.
pub fn benches(filter: &str) -> Vec<Bench> {
    let open = |t: &str, flags: Arg| call(libc::SYS_open, &[text(t), flags, Is(0o600)]);
    let close = |fd: Arg| call(libc::SYS_close, &[fd]);
    let file = || {
        vec![
            open("/tmp/file", CREAT_RDWR).save(0),
            call(libc::SYS_pwrite64, &[Saved(0), Is(BUF), Is(65536), Is(0)]),
        ]
    };
    let fd = |t: &'static str, flags: Arg| vec![open(t, flags).save(0)];
    let one = |c: Call| vec![c];
    let pipe = || one(call(libc::SYS_pipe, &[Is(OUT)]));
    let pair = || one(call(libc::SYS_socketpair, &[Is(1), Is(1), Is(0), Is(OUT)]));
    let (read_end, write_end) = (Word(0x1000), Word(0x1004));
    let rw = |nr: i64, fd: Arg, len: u64| call(nr, &[fd, Is(BUF), Is(len), Is(0)]);
    let stat = |t: &str| call(libc::SYS_stat, &[text(t), Is(OUT)]);
    let mmap = || {
        call(
            libc::SYS_mmap,
            &[Is(0), Is(4096), Is(3), Is(0x22), Is(u64::MAX), Is(0)],
        )
    };
    let row = |name, native, setup: Vec<Call>, body: Vec<Call>| Bench {
        name,
        native,
        setup,
        times: 20_000,
        body,
    };
    let mut rows = vec![
        row("getppid", 170, vec![], one(call(libc::SYS_getppid, &[]))),
        row("getpid", 142, vec![], one(call(libc::SYS_getpid, &[]))),
        row("getuid", 142, vec![], one(call(libc::SYS_getuid, &[]))),
        row(
            "read /dev/zero 1",
            286,
            fd("/dev/zero", RDONLY),
            one(rw(libc::SYS_read, Saved(0), 1)),
        ),
        row(
            "read /dev/zero 64K",
            0,
            fd("/dev/zero", RDONLY),
            one(rw(libc::SYS_read, Saved(0), 65536)),
        ),
        row(
            "write /dev/null 1",
            196,
            fd("/dev/null", WRONLY),
            one(rw(libc::SYS_write, Saved(0), 1)),
        ),
        row(
            "pread tmp 4K",
            463,
            file(),
            one(rw(libc::SYS_pread64, Saved(0), 4096)),
        ),
        row(
            "pwrite tmp 4K",
            743,
            file(),
            one(rw(libc::SYS_pwrite64, Saved(0), 4096)),
        ),
        row(
            "pread root 4K",
            0,
            fd("/usr/bin/env", RDONLY),
            one(rw(libc::SYS_pread64, Saved(0), 4096)),
        ),
        row(
            "fstat",
            385,
            file(),
            one(call(libc::SYS_fstat, &[Saved(0), Is(OUT)])),
        ),
        row(
            "lseek",
            0,
            file(),
            one(call(libc::SYS_lseek, &[Saved(0), Is(0), Is(0)])),
        ),
        row("stat tmp", 935, file(), one(stat("/tmp/file"))),
        row("stat root", 984, vec![], one(stat("/usr/bin/env"))),
        row(
            "stat root lib",
            0,
            vec![],
            one(stat("/lib/x86_64-linux-gnu/libc.so.6")),
        ),
        row(
            "stat ENOENT root",
            625,
            vec![],
            one(stat("/usr/bin/nope").fails(libc::ENOENT)),
        ),
        row(
            "stat ENOENT tmp",
            0,
            vec![],
            one(stat("/tmp/none").fails(libc::ENOENT)),
        ),
        row(
            "access tmp",
            0,
            file(),
            one(call(libc::SYS_access, &[text("/tmp/file"), Is(4)])),
        ),
        row(
            "access root",
            0,
            vec![],
            one(call(libc::SYS_access, &[text("/etc/passwd"), Is(4)])),
        ),
        row(
            "open+close tmp",
            2071,
            file(),
            vec![open("/tmp/file", RDONLY).save(1), close(Saved(1))],
        ),
        row(
            "open+close root",
            2117,
            vec![],
            vec![open("/usr/bin/env", RDONLY).save(1), close(Saved(1))],
        ),
        row(
            "open+read4K+close root",
            2742,
            vec![],
            vec![
                open("/usr/bin/env", RDONLY).save(1),
                rw(libc::SYS_read, Saved(1), 4096),
                close(Saved(1)),
            ],
        ),
        row(
            "creat+close+unlink tmp",
            15476,
            vec![],
            vec![
                open("/tmp/made", CREAT_RDWR).save(1),
                close(Saved(1)),
                call(libc::SYS_unlink, &[text("/tmp/made")]),
            ],
        ),
        row(
            "mmap+munmap 4K",
            4345,
            vec![],
            vec![
                mmap().save(1),
                call(libc::SYS_munmap, &[Saved(1), Is(4096)]),
            ],
        ),
        row(
            "futex wake",
            236,
            vec![],
            one(call(libc::SYS_futex, &[Is(IN), Is(129), Is(1)])),
        ),
        row(
            "pipe write+read",
            670,
            pipe(),
            vec![
                rw(libc::SYS_write, write_end, 1),
                rw(libc::SYS_read, read_end, 1),
            ],
        ),
        row(
            "pipe write+read 4K",
            0,
            pipe(),
            vec![
                rw(libc::SYS_write, write_end, 4096),
                rw(libc::SYS_read, read_end, 4096),
            ],
        ),
        row(
            "unix write+read",
            2091,
            pair(),
            vec![
                rw(libc::SYS_write, write_end, 1),
                rw(libc::SYS_read, read_end, 1),
            ],
        ),
        row(
            "epoll_wait none ready",
            0,
            one(call(libc::SYS_epoll_create1, &[Is(0)]).save(0)),
            one(call(
                libc::SYS_epoll_wait,
                &[Saved(0), Is(OUT), Is(8), Is(0)],
            )),
        ),
        row(
            "poll none",
            0,
            vec![],
            one(call(libc::SYS_poll, &[Is(IN), Is(0), Is(0)])),
        ),
        row(
            "rt_sigprocmask",
            0,
            vec![],
            one(call(
                libc::SYS_rt_sigprocmask,
                &[Is(0), Is(IN), Is(OUT), Is(8)],
            )),
        ),
        row(
            "clock_gettime",
            0,
            vec![],
            one(call(libc::SYS_clock_gettime, &[Is(1), Is(OUT)])),
        ),
        row(
            "ioctl FIONREAD pipe",
            0,
            pipe(),
            one(call(libc::SYS_ioctl, &[read_end, Is(0x541b), Is(OUT + 64)])),
        ),
        row(
            "fcntl F_GETFL",
            0,
            file(),
            one(call(libc::SYS_fcntl, &[Saved(0), Is(3)])),
        ),
        row(
            "dup+close",
            0,
            file(),
            vec![call(libc::SYS_dup, &[Saved(0)]).save(1), close(Saved(1))],
        ),
        row(
            "readlink root",
            0,
            vec![],
            one(call(
                libc::SYS_readlink,
                &[text("/lib/x86_64-linux-gnu/libc.so.6"), Is(OUT), Is(64)],
            )
            .fails(libc::EINVAL)),
        ),
        row(
            "getcwd",
            0,
            vec![],
            one(call(libc::SYS_getcwd, &[Is(OUT), Is(64)])),
        ),
        row(
            "writev 1 /dev/null",
            0,
            fd("/dev/null", WRONLY),
            one(call(libc::SYS_writev, &[Saved(0), Is(IN), Is(1)])),
        ),
    ];
    rows.retain(|b| b.name.contains(filter));
    rows
}
