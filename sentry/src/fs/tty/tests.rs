//! Pty pairs and job control, with made-up processes.

use super::termios::{Cc, Local};
use super::*;
use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use crate::fs::host::HostPoller;
use crate::sync::Events;
use crate::time::{Instant, TimerQueue};
use crate::usermem::{GuestMemory, KernelSink, KernelSource};
use crate::vfs::{Caller, File, Inode, OpenFlags};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Records what terminals ask for. Groups below 100 exist in session 10, group 50 is orphaned.
#[derive(Default)]
struct FakeJobs(Mutex<Vec<String>>);

impl Jobs for FakeJobs {
    fn signal_group(&self, pgid: i32, signal: i32) {
        self.0
            .lock()
            .unwrap()
            .push(format!("group {pgid} {signal}"));
    }
    fn signal_process(&self, pid: i32, signal: i32) {
        self.0
            .lock()
            .unwrap()
            .push(format!("process {pid} {signal}"));
    }
    fn session_of_group(&self, id: i32) -> Option<i32> {
        match id {
            1..100 => Some(10),
            100..200 => Some(100),
            _ => None,
        }
    }
    fn is_orphaned(&self, pgid: i32) -> bool {
        pgid == 50
    }
    fn drop_terminal(&self, sid: i32, _terminal: &Terminal, foreground: i32) {
        self.0
            .lock()
            .unwrap()
            .push(format!("drop {sid} {foreground}"));
    }
}

/// Guest memory of 4096 bytes at address 0.
struct Memory(Mutex<[u8; 4096]>);
impl GuestMemory for Memory {
    fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize {
        let m = self.0.lock().unwrap();
        buf.copy_from_slice(&m[addr as usize..addr as usize + buf.len()]);
        buf.len()
    }
    fn write_partial(&self, addr: u64, buf: &[u8]) -> usize {
        let mut m = self.0.lock().unwrap();
        m[addr as usize..addr as usize + buf.len()].copy_from_slice(buf);
        buf.len()
    }
}

struct Process {
    tgid: i32,
    pgid: i32,
    sid: i32,
    memory: Memory,
    terminal: RefCell<Option<Terminal>>,
    ignores: Cell<bool>,
    since: Cell<Option<Instant>>,
    restarted: Cell<bool>,
}

impl Process {
    fn new(tgid: i32, pgid: i32, sid: i32) -> Process {
        Process {
            tgid,
            pgid,
            sid,
            memory: Memory(Mutex::new([0; 4096])),
            terminal: RefCell::default(),
            ignores: Cell::default(),
            since: Cell::default(),
            restarted: Cell::default(),
        }
    }
    fn int(&self) -> i32 {
        let m = self.memory.0.lock().unwrap();
        i32::from_ne_bytes(m[..4].try_into().unwrap())
    }
    fn set_int(&self, v: i32) {
        self.memory.0.lock().unwrap()[..4].copy_from_slice(&v.to_ne_bytes());
    }
}

impl Caller for Process {
    fn credentials(&self) -> &Arc<Credentials> {
        // Lives as long as the test program.
        Box::leak(Box::new(Arc::new(Credentials::new(
            1000,
            1000,
            &[],
            Default::default(),
        ))))
    }
    fn memory(&self) -> &dyn GuestMemory {
        &self.memory
    }
    fn tgid(&self) -> i32 {
        self.tgid
    }
    fn pgid(&self) -> i32 {
        self.pgid
    }
    fn sid(&self) -> i32 {
        self.sid
    }
    fn umask(&self) -> u32 {
        0
    }
    fn file_size_limit(&self) -> u64 {
        u64::MAX
    }
    fn controlling_terminal(&self) -> Option<Terminal> {
        self.terminal.borrow().clone()
    }
    fn set_controlling_terminal(&self, t: Option<Terminal>) {
        *self.terminal.borrow_mut() = t;
    }
    fn ignores_signal(&self, _: i32) -> bool {
        self.ignores.get()
    }
    fn waiting_since(&self) -> Option<Instant> {
        self.since.get()
    }
    fn restart_after_signal(&self) {
        self.restarted.set(true);
    }
}

struct World {
    jobs: Arc<FakeJobs>,
    devpts: Arc<Devpts>,
    /// A session leader without terminal: pid, group and session 10.
    shell: Process,
}

impl World {
    fn new() -> World {
        let jobs = Arc::new(FakeJobs::default());
        let timers = TimerQueue::start().unwrap();
        World {
            devpts: Devpts::new(jobs.clone(), timers, DevptsOptions::default()),
            jobs,
            shell: Process::new(10, 10, 10),
        }
    }
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut *self.jobs.0.lock().unwrap())
    }
    fn master(&self) -> Arc<File> {
        let ops = Master::open(&self.devpts, &self.shell).unwrap();
        let pty = ops.pty().clone();
        pty.with(|s| s.locked = false);
        File::new(Box::new(ops), pty, None, OpenFlags::RDWR)
    }
    fn slave(&self, master: &File, cx: &Process, flags: OpenFlags) -> Result<Arc<File>> {
        let pty = master.downcast::<Master>().unwrap().pty().clone();
        let ops = pty.clone().open(cx, flags)?;
        Ok(File::new(ops, pty, None, flags))
    }
    fn pair(&self) -> (Arc<File>, Arc<File>) {
        let m = self.master();
        let s = self.slave(&m, &self.shell, OpenFlags::RDWR).unwrap();
        (m, s)
    }
}

fn read(f: &File, cx: &Process, n: usize) -> Result<String> {
    let mut sink = KernelSink::new(n);
    f.ops().read(f, cx, &mut sink, &mut 0)?;
    Ok(String::from_utf8_lossy(&sink.data).into_owned())
}

fn write(f: &File, cx: &Process, data: &str) -> Result<usize> {
    let mut source = KernelSource::new(data.as_bytes());
    f.ops().write(f, cx, &mut source, &mut 0, false)
}

fn ioctl(f: &File, cx: &Process, cmd: u64) -> Result<i64> {
    f.ops().ioctl(f, cx, cmd as u32, 0)
}

fn settings(f: &File, change: impl FnOnce(&mut Termios)) {
    let pty = f.downcast::<Slave>().unwrap().pty();
    let mut t = pty.with(|s| *s.ldisc.termios());
    change(&mut t);
    pty.set_termios(t, false);
}

#[test]
fn bytes_cross_a_pair() {
    let w = World::new();
    let (m, s) = w.pair();
    let cx = &w.shell;
    assert_eq!(read(&s, cx, 10), Err(Errno::EAGAIN));
    assert_eq!(write(&m, cx, "hi\r").unwrap(), 3);
    assert_eq!(read(&m, cx, 100).unwrap(), "hi\r\n");
    assert_eq!(read(&s, cx, 100).unwrap(), "hi\n");
    assert_eq!(write(&s, cx, "out\n").unwrap(), 4);
    assert_eq!(m.poll(), Events::READABLE | Events::WRITABLE);
    assert_eq!(read(&m, cx, 100).unwrap(), "out\r\n");
    assert_eq!(m.poll(), Events::WRITABLE);
}

#[test]
fn a_locked_slave_cannot_be_opened() {
    let w = World::new();
    let m = w.master();
    let cx = &w.shell;
    cx.set_int(1);
    ioctl(&m, cx, 0x4004_5431).unwrap();
    assert_eq!(w.slave(&m, cx, OpenFlags::RDWR).err(), Some(Errno::EIO));
    ioctl(&m, cx, 0x8004_5430).unwrap();
    assert_eq!(cx.int(), 0);
    let second = w.master();
    ioctl(&second, cx, 0x8004_5430).unwrap();
    assert_eq!(cx.int(), 1);
    drop(m);
    assert!(w.devpts.get(0).is_none());
    assert!(w.devpts.get(1).is_some());
}

#[test]
fn closing_the_slaves_is_eio_for_the_master_until_reopened() {
    let w = World::new();
    let m = w.master();
    let cx = &w.shell;
    assert_eq!(read(&m, cx, 9), Err(Errno::EAGAIN));
    let s = w.slave(&m, cx, OpenFlags::RDWR).unwrap();
    write(&s, cx, "last").unwrap();
    drop(s);
    assert!(m.poll().contains(Events::HUP | Events::READABLE));
    assert_eq!(read(&m, cx, 9).unwrap(), "last");
    assert_eq!(read(&m, cx, 9), Err(Errno::EIO));
    let _s = w.slave(&m, cx, OpenFlags::RDWR).unwrap();
    assert_eq!(read(&m, cx, 9), Err(Errno::EAGAIN));
}

#[test]
fn closing_the_master_hangs_the_session_up() {
    let w = World::new();
    let (m, s) = w.pair();
    let cx = &w.shell;
    cx.set_int(20);
    ioctl(&s, cx, libc::TIOCSPGRP).unwrap();
    drop(m);
    assert_eq!(w.events(), ["drop 10 20", "process 10 1", "process 10 18"]);
    assert_eq!(read(&s, cx, 9).unwrap(), "");
    assert_eq!(write(&s, cx, "x"), Err(Errno::EIO));
    assert!(s.poll().contains(Events::HUP | Events::ERR));
    cx.since.set(Some(Instant::now()));
    assert_eq!(read(&s, cx, 9), Err(Errno::EIO), "who was waiting");
    // A leader whose terminal is gone signals the group that was in the foreground.
    leader_exits(&*w.jobs, 10, None, 20);
    assert_eq!(w.events(), ["group 20 1", "group 20 18"]);
}

#[test]
fn a_leader_gets_the_terminal_it_opens() {
    let w = World::new();
    let m = w.master();
    let cx = &w.shell;
    let _none = w
        .slave(&m, cx, OpenFlags::RDWR | OpenFlags::NOCTTY)
        .unwrap();
    assert!(cx.controlling_terminal().is_none());
    assert_eq!(
        open_controlling(cx, OpenFlags::RDWR).err(),
        Some(Errno::ENXIO)
    );
    let child = Process::new(11, 11, 10);
    let _child = w.slave(&m, &child, OpenFlags::RDWR).unwrap();
    assert!(child.controlling_terminal().is_none(), "no leader");
    let s = w.slave(&m, cx, OpenFlags::RDWR).unwrap();
    assert!(cx.controlling_terminal().is_some());
    ioctl(&s, cx, libc::TIOCGSID).unwrap();
    assert_eq!(cx.int(), 10);
    ioctl(&s, cx, libc::TIOCGPGRP).unwrap();
    assert_eq!(cx.int(), 10);
    assert!(open_controlling(cx, OpenFlags::RDWR).is_ok());
    // Another session cannot have it.
    let other = Process::new(100, 100, 100);
    assert_eq!(ioctl(&s, &other, libc::TIOCSCTTY), Err(Errno::EPERM));
    ioctl(&s, cx, libc::TIOCNOTTY).unwrap();
    assert_eq!(w.events(), ["group 10 1", "group 10 18", "drop 10 0"]);
    assert!(cx.controlling_terminal().is_none());
    assert_eq!(ioctl(&s, &other, libc::TIOCSCTTY), Ok(0));
    leader_exits(&*w.jobs, 100, other.controlling_terminal().as_ref(), 0);
    assert_eq!(w.events(), ["group 100 1", "drop 100 0"]);
}

#[test]
fn foreground_changes_follow_the_rules() {
    let w = World::new();
    let (m, s) = w.pair();
    let cx = &w.shell;
    for (group, expected) in [
        (-1, Err(Errno::EINVAL)),
        (500, Err(Errno::ESRCH)),
        (100, Err(Errno::EPERM)),
        (20, Ok(0)),
    ] {
        cx.set_int(group);
        assert_eq!(ioctl(&s, cx, libc::TIOCSPGRP), expected, "group {group}");
    }
    // The shell is in the background now: it is stopped, unless it ignores the signal.
    cx.set_int(10);
    assert_eq!(ioctl(&s, cx, libc::TIOCSPGRP), Err(Errno::EAGAIN));
    assert!(cx.restarted.take());
    assert_eq!(w.events(), ["group 10 22"]);
    cx.ignores.set(true);
    assert_eq!(ioctl(&s, cx, libc::TIOCSPGRP), Ok(0));
    // Keys signal the foreground group.
    write(&m, cx, "\x03").unwrap();
    assert_eq!(w.events(), ["group 10 2"]);
    let stranger = Process::new(100, 100, 100);
    assert_eq!(ioctl(&s, &stranger, libc::TIOCSPGRP), Err(Errno::ENOTTY));
}

#[test]
fn background_reads_and_writes() {
    let w = World::new();
    let (m, s) = w.pair();
    write(&m, &w.shell, "line\n").unwrap();
    let job = Process::new(30, 30, 10);
    job.set_controlling_terminal(w.shell.controlling_terminal());
    assert_eq!(read(&s, &job, 9), Err(Errno::EAGAIN));
    assert!(job.restarted.take());
    assert_eq!(w.events(), ["group 30 21"]);
    job.ignores.set(true);
    assert_eq!(read(&s, &job, 9), Err(Errno::EIO));
    job.ignores.set(false);
    let orphan = Process::new(50, 50, 10);
    orphan.set_controlling_terminal(w.shell.controlling_terminal());
    assert_eq!(read(&s, &orphan, 9), Err(Errno::EIO));
    // Writing is free without TOSTOP.
    assert_eq!(write(&s, &job, "x").unwrap(), 1);
    settings(&s, |t| t.lflag |= Local::TOSTOP.bits());
    assert_eq!(write(&s, &job, "x"), Err(Errno::EAGAIN));
    assert_eq!(w.events(), ["group 30 22"]);
    job.ignores.set(true);
    assert_eq!(write(&s, &job, "x").unwrap(), 1);
    assert_eq!(read(&s, &w.shell, 9).unwrap(), "line\n");
}

#[test]
fn vmin_and_vtime() {
    let w = World::new();
    let (m, s) = w.pair();
    let cx = &w.shell;
    let raw = |min, time| {
        settings(&s, |t| {
            t.lflag = 0;
            t.cc[Cc::Min as usize] = min;
            t.cc[Cc::Time as usize] = time;
        });
    };
    raw(0, 0);
    assert_eq!(read(&s, cx, 9).unwrap(), "");
    raw(3, 0);
    write(&m, cx, "ab").unwrap();
    assert_eq!(read(&s, cx, 9), Err(Errno::EAGAIN));
    assert_eq!(s.poll(), Events::WRITABLE);
    assert_eq!(read(&s, cx, 2).unwrap(), "ab");
    // The timer of a call without VMIN runs from its start.
    raw(0, 1);
    let start = Instant::now();
    assert_eq!(read(&s, cx, 9), Err(Errno::EAGAIN));
    cx.since.set(Some(start));
    std::thread::sleep(Duration::from_millis(110));
    assert_eq!(read(&s, cx, 9).unwrap(), "");
    cx.since.set(None);
    // Between bytes otherwise.
    raw(3, 1);
    write(&m, cx, "a").unwrap();
    assert_eq!(read(&s, cx, 9), Err(Errno::EAGAIN));
    cx.since.set(Some(Instant::now()));
    std::thread::sleep(Duration::from_millis(110));
    assert_eq!(read(&s, cx, 9).unwrap(), "a");
}

#[test]
fn window_size_and_its_signal() {
    let w = World::new();
    let (m, s) = w.pair();
    let cx = &w.shell;
    let size: [u16; 4] = [24, 80, 0, 0];
    for (i, v) in size.iter().enumerate() {
        cx.memory.0.lock().unwrap()[i * 2..i * 2 + 2].copy_from_slice(&v.to_ne_bytes());
    }
    ioctl(&m, cx, libc::TIOCSWINSZ).unwrap();
    assert_eq!(w.events(), ["group 10 28"]);
    ioctl(&m, cx, libc::TIOCSWINSZ).unwrap();
    assert!(w.events().is_empty(), "no change, no signal");
    cx.set_int(0);
    ioctl(&s, cx, libc::TIOCGWINSZ).unwrap();
    assert_eq!(cx.int(), 24 | 80 << 16);
}

#[test]
fn packet_mode() {
    let w = World::new();
    let (m, s) = w.pair();
    let cx = &w.shell;
    cx.set_int(1);
    ioctl(&m, cx, 0x5420).unwrap();
    write(&s, cx, "data").unwrap();
    assert_eq!(read(&m, cx, 9).unwrap(), "\0data");
    write(&m, cx, "\x13").unwrap();
    assert!(m.poll().contains(Events::PRI));
    assert_eq!(read(&m, cx, 9).unwrap(), "\x04");
    write(&m, cx, "\x11").unwrap();
    assert_eq!(read(&m, cx, 9).unwrap(), "\x08");
    f_flush(&s, cx);
    assert_eq!(read(&m, cx, 9).unwrap(), "\x03");
}

fn f_flush(s: &File, cx: &Process) {
    s.ops().ioctl(s, cx, 0x540b, 2).unwrap();
}

#[test]
fn a_master_may_write_ahead_but_not_without_end() {
    let w = World::new();
    let (m, s) = w.pair();
    let cx = &w.shell;
    settings(&s, |t| t.lflag = 0);
    let much = "x".repeat(200_000);
    let n = write(&m, cx, &much).unwrap();
    assert_eq!(n, (64 << 10) + 4095);
    assert_eq!(write(&m, cx, "x"), Err(Errno::EAGAIN));
    assert!(!m.poll().contains(Events::OUT));
    let mut got = 0;
    while let Ok(text) = read(&s, cx, 100_000) {
        got += text.len();
    }
    assert_eq!(got, n);
    assert!(m.poll().contains(Events::OUT));
}

#[test]
fn the_number_of_terminals_is_bounded() {
    let jobs = Arc::new(FakeJobs::default());
    let options = DevptsOptions::parse(b"mode=620,gid=5,max=2").unwrap();
    assert_eq!(options.text(), "gid=5,mode=620,ptmxmode=000,max=2");
    let devpts = Devpts::new(jobs, TimerQueue::start().unwrap(), options);
    let cx = Process::new(10, 10, 10);
    let a = Master::open(&devpts, &cx).unwrap();
    let _b = Master::open(&devpts, &cx).unwrap();
    assert_eq!(Master::open(&devpts, &cx).err(), Some(Errno::ENOSPC));
    drop(a);
    assert_eq!(Master::open(&devpts, &cx).unwrap().pty().index(), 0);
    assert_eq!(DevptsOptions::parse(b"bogus").err(), Some(Errno::EINVAL));
}

#[test]
fn a_bridge_pumps_between_host_and_guest() {
    let w = World::new();
    let poller = HostPoller::start().unwrap();
    let host = nix::pty::openpty(None, None).unwrap();
    let terminal = host.slave.try_clone().unwrap();
    let bridge = HostBridge::new(host.slave, &w.devpts, &poller).unwrap();
    let mut raw = nix::sys::termios::tcgetattr(&terminal).unwrap();
    nix::sys::termios::cfmakeraw(&mut raw);
    nix::sys::termios::tcsetattr(&terminal, nix::sys::termios::SetArg::TCSANOW, &raw).unwrap();
    drop(terminal);
    assert_eq!(bridge.path(), "/dev/pts/0");
    let cx = &w.shell;
    let ops = bridge.pty().clone().open(cx, OpenFlags::RDWR).unwrap();
    let s = File::new(ops, bridge.pty().clone(), None, OpenFlags::RDWR);
    let mut keyboard = std::fs::File::from(host.master);
    keyboard.write_all(b"hello\r").unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let line = loop {
        match read(&s, cx, 100) {
            Ok(text) => break text,
            Err(_) => assert!(std::time::Instant::now() < deadline, "nothing arrived"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(line, "hello\n");
    write(&s, cx, "answer\n").unwrap();
    bridge.drain(Duration::from_secs(10));
    let mut screen = [0; 15];
    keyboard.read_exact(&mut screen).unwrap();
    assert_eq!(&screen, b"hello\r\nanswer\r\n");
    bridge.set_winsize([50, 100, 0, 0]);
    assert_eq!(w.events(), ["group 10 28"]);
    // The host terminal goes away.
    drop(keyboard);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !s.poll().contains(Events::HUP) {
        assert!(std::time::Instant::now() < deadline, "no hang-up");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(read(&s, cx, 100).unwrap(), "");
}
