//! The line discipline against the host's own: the same settings and keys give the same echo and the same reads.

use super::ldisc::LineDiscipline;
use super::termios::{Cc, Input, Local, Output, Termios};
use crate::fs::host::sys;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"Z",
    b"_",
    b" ",
    b" ",
    b"\t",
    b"\t",
    b"\x7f",
    b"\x7f",
    b"\x7f",
    b"\x15",
    b"\x17",
    b"\x16",
    b"\x12",
    b"\r",
    b"\n",
    b"\x04",
    b"\x01",
    b"\x08",
    b"\0",
    "\u{e9}".as_bytes(),
    "\u{20ac}".as_bytes(),
    b"\xff",
    b"\x80",
    b"-",
    b"\x1b",
    b"\x0c",
    b";",
    b"!",
];

fn subset(rng: &mut SmallRng, flags: &[u32], likely: u32) -> u32 {
    flags
        .iter()
        .filter(|_| rng.random_ratio(likely, 4))
        .fold(0, |a, f| a | f)
}

fn settings(rng: &mut SmallRng) -> Termios {
    let iflag = subset(rng, &[Input::ICRNL.bits(), Input::IUTF8.bits()], 2)
        | subset(
            rng,
            &[
                Input::INLCR.bits(),
                Input::IGNCR.bits(),
                Input::ISTRIP.bits(),
                Input::IUCLC.bits(),
                Input::PARMRK.bits(),
                Input::IXON.bits(),
                Input::IXANY.bits(),
            ],
            1,
        );
    let mut t = Termios {
        iflag,
        ..Termios::default()
    };
    t.oflag = subset(rng, &[Output::OPOST.bits(), Output::ONLCR.bits()], 3)
        | subset(
            rng,
            &[
                Output::OCRNL.bits(),
                Output::ONOCR.bits(),
                Output::ONLRET.bits(),
                Output::OLCUC.bits(),
                Output::XTABS.bits(),
            ],
            1,
        );
    t.lflag = subset(
        rng,
        &[
            Local::ICANON.bits(),
            Local::ECHO.bits(),
            Local::ECHOE.bits(),
            Local::ECHOK.bits(),
            Local::ECHOKE.bits(),
            Local::ECHOCTL.bits(),
            Local::IEXTEN.bits(),
        ],
        3,
    ) | subset(
        rng,
        &[
            Local::ECHONL.bits(),
            Local::ECHOPRT.bits(),
            Local::ISIG.bits(),
            Local::NOFLSH.bits(),
        ],
        1,
    );
    // End of line characters, and reads that never wait.
    t.cc[Cc::Eol as usize] = if rng.random_ratio(1, 4) { b';' } else { 0 };
    t.cc[Cc::Eol2 as usize] = if rng.random_ratio(1, 4) { b'!' } else { 0 };
    t.cc[Cc::Min as usize] = 0;
    t
}

fn drain(fd: impl AsFd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    while let Ok(n) = nix::unistd::read(fd.as_fd(), &mut buf) {
        if n == 0 {
            break;
        }
        all.extend_from_slice(&buf[..n]);
    }
    all
}

struct Pair {
    host: nix::pty::OpenptyResult,
    ours: LineDiscipline,
    rng: SmallRng,
    story: String,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let host = nix::pty::openpty(None, None).unwrap();
        for fd in [&host.master, &host.slave] {
            nix::fcntl::fcntl(
                fd,
                nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
            )
            .unwrap();
        }
        Pair {
            host,
            ours: LineDiscipline::default(),
            rng: SmallRng::seed_from_u64(seed),
            story: format!("seed {seed}"),
        }
    }

    fn set(&mut self) {
        let t = settings(&mut self.rng);
        self.story += &format!(", {t:?}");
        let raw: sys::RawTermios = t.as_bytes()[..36].try_into().unwrap();
        sys::tcsets(&self.host.slave, libc::TCSETS as u32, &raw).unwrap();
        self.ours.set_termios(t.normalized(false));
    }

    fn print(&mut self) {
        let text: &[u8] = [b"".as_slice(), b"$ ", b"a\tb\r\nc", b"\x08\r> "]
            .choose(&mut self.rng)
            .copied()
            .unwrap_or_default();
        self.story += &format!(", prints {text:x?}");
        let theirs = nix::unistd::write(&self.host.slave, text).unwrap_or(0);
        assert_eq!(self.ours.write(text), theirs, "print, {}", self.story);
    }

    fn keys(&mut self) {
        let keys: Vec<u8> = (0..self.rng.random_range(1..30))
            .flat_map(|_| KEYS.choose(&mut self.rng).copied().unwrap_or_default())
            .copied()
            .collect();
        self.type_keys(&keys);
    }

    /// Flow control and signal keys; alone, since what they do to output on its way depends on timing.
    fn special_key(&mut self) {
        let key = *b"\x13\x11\x03\x1c\x1a".choose(&mut self.rng).unwrap_or(&0);
        self.type_keys(&[key]);
    }

    fn type_keys(&mut self, keys: &[u8]) {
        self.story += &format!(", keys {keys:x?}");
        nix::unistd::write(&self.host.master, keys).unwrap();
        assert_eq!(self.ours.receive(keys), keys.len());
        self.compare();
    }

    /// The host works on keys in a thread of its own: it gets some seconds to come to the same result, and a little longer
    /// to add something to it.
    fn compare(&mut self) {
        let out: Vec<u8> = self.ours.output().drain(..).collect();
        let readable = i32::try_from(self.ours.readable_bytes()).unwrap();
        let start = Instant::now();
        let mut theirs = Vec::new();
        let mut agreed = 0;
        while agreed < 2 && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_micros(500));
            theirs.extend(drain(&self.host.master));
            let same = theirs == out && sys::bytes_readable(&self.host.slave) == Ok(readable);
            agreed = if same { agreed + 1 } else { 0 };
        }
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&theirs),
            "output, {}",
            self.story
        );
        assert_eq!(
            Ok(readable),
            sys::bytes_readable(&self.host.slave),
            "FIONREAD, {}",
            self.story
        );
    }

    /// Reads until there is nothing, or `most` times.
    fn read(&mut self, most: usize) {
        for _ in 0..most {
            let max = self.rng.random_range(1..20);
            let mut buf = vec![0; max];
            let theirs = nix::unistd::read(&self.host.slave, &mut buf).map(|n| buf[..n].to_vec());
            let ours = match (self.ours.has_input(1), self.ours.canonical()) {
                (true, _) => Ok(self.ours.read(max)),
                (false, true) => Err(nix::errno::Errno::EAGAIN),
                (false, false) => Ok(Vec::new()),
            };
            assert_eq!(ours, theirs, "read of {max}, {}", self.story);
        }
    }
}

fn one(seed: u64) {
    let mut p = Pair::new(seed);
    p.set();
    p.print();
    p.compare();
    for _ in 0..p.rng.random_range(1..4) {
        match p.rng.random_range(0..5) {
            0 => p.set(),
            1 => p.special_key(),
            2 => p.print(),
            3 => p.read(2),
            _ => {}
        }
        p.keys();
    }
    p.read(30);
}

#[test]
fn keys_and_output_are_treated_as_the_host_treats_them() {
    if let Err(e) = nix::pty::openpty(None, None) {
        eprintln!("skipped: the host has no pseudo-terminals here: {e}");
        return;
    }
    for seed in 0..150 {
        one(seed);
    }
}
