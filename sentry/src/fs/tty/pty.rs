//! A pseudo-terminal: the slave's line discipline and what both ends share (pty(7)).
//!
//! Lock order: the pair has one lock (OBJECT). Signals, wake-ups and guest memory copies happen after it is released:
//! [`Pty::with`] collects what an operation means for others and carries it out.

use super::devpts::Devpts;
use super::effects::packet;
use super::jobs::{Jobs, Terminal};
use super::ldisc::LineDiscipline;
use super::termios::{Cc, Termios};
use crate::abi::{Errno, Result};
use crate::sync::{Events, Mutex, Notify, Rank, WaitQueue};
use crate::time::{Instant, TimerHandle};
use crate::vfs::{InodeMeta, Timestamp};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most bytes a master may write ahead of the line discipline, as in Linux.
const BACKLOG_LIMIT: usize = 64 << 10;

/// `struct winsize`: rows, columns, x and y pixels.
pub type WinSize = [u16; 4];

/// A pty pair. Also the inode of its slave in devpts.
pub struct Pty {
    pub(super) meta: InodeMeta,
    pub(super) index: u32,
    pub(super) devpts: Arc<Devpts>,
    state: Mutex<State>,
    slave_queue: Arc<WaitQueue>,
    master_queue: Arc<WaitQueue>,
}

/// What the pair's lock guards.
pub(super) struct State {
    pub ldisc: LineDiscipline,
    /// Written by the master, not yet seen by the line discipline.
    backlog: VecDeque<u8>,
    pub winsize: WinSize,
    /// TIOCPKT on the master.
    pub packet: bool,
    packet_status: u8,
    /// TIOCSPTLCK.
    pub locked: bool,
    /// TIOCEXCL of slave and master.
    pub exclusive: [bool; 2],
    /// Session whose controlling terminal this is; 0 none.
    pub session: i32,
    /// Foreground process group; 0 none.
    pub foreground: i32,
    slaves: usize,
    /// All slaves have been closed (and none opened since).
    slaves_gone: bool,
    master_gone: bool,
    /// Slave files opened before the last hang-up are dead: they carry the number they were opened at.
    hangups: u64,
    last_input: Option<Instant>,
    timer: Option<(Instant, TimerHandle)>,
    /// Owner and mode of the slave's node.
    pub perm: u32,
    pub uid: u32,
    pub gid: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    wake_all: bool,
}

/// To be done once the lock is released.
#[derive(Default)]
struct Todo {
    signals: SmallVec<[(i32, i32); 2]>,
    slave: Events,
    master: Events,
}

struct Wake(Arc<WaitQueue>);
impl Notify for Wake {
    fn notify(&self, _: Events) {
        self.0.wake(Events::READABLE);
    }
}

/// Time stamps of terminals have a resolution of eight seconds, so that they tell nothing of keystrokes.
pub(super) fn coarse_now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp {
        sec: now.sec & !7,
        nsec: 0,
    }
}

impl Pty {
    pub(super) fn new(devpts: Arc<Devpts>, index: u32, perm: u32, uid: u32, gid: u32) -> Arc<Pty> {
        let now = Timestamp::now();
        Arc::new(Pty {
            meta: InodeMeta::default(),
            index,
            devpts,
            state: Mutex::new(
                Rank::OBJECT,
                State {
                    ldisc: LineDiscipline::default(),
                    backlog: VecDeque::new(),
                    winsize: [0; 4],
                    packet: false,
                    packet_status: 0,
                    locked: true,
                    exclusive: [false; 2],
                    session: 0,
                    foreground: 0,
                    slaves: 0,
                    slaves_gone: false,
                    master_gone: false,
                    hangups: 0,
                    last_input: None,
                    timer: None,
                    perm,
                    uid,
                    gid,
                    atime: now,
                    mtime: now,
                    ctime: now,
                    wake_all: false,
                },
            ),
            slave_queue: Arc::new(WaitQueue::new()),
            master_queue: Arc::new(WaitQueue::new()),
        })
    }

    /// N of /dev/pts/N.
    pub fn index(&self) -> u32 {
        self.index
    }
    /// Device number of the slave.
    pub fn device(&self) -> u64 {
        super::ioctl::slave_device(self.index)
    }
    /// Woken when the slave's readiness changes.
    pub fn slave_queue(&self) -> &Arc<WaitQueue> {
        &self.slave_queue
    }
    /// Woken when the master's readiness changes.
    pub fn master_queue(&self) -> &Arc<WaitQueue> {
        &self.master_queue
    }
    pub(super) fn jobs(&self) -> &dyn Jobs {
        &*self.devpts.jobs
    }

    /// Session and foreground process group (0: none), for /proc/PID/stat.
    pub fn job_state(&self) -> (i32, i32) {
        let s = self.state.lock();
        (s.session, s.foreground)
    }

    /// Works on the state, then wakes and signals whoever is concerned.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut todo = Todo::default();
        let result = {
            let mut s = self.state.lock();
            let before = s.readiness();
            let result = f(&mut s);
            s.settle(before, &mut todo);
            result
        };
        for (group, signal) in todo.signals {
            self.jobs().signal_group(group, signal);
        }
        if !todo.slave.is_empty() {
            self.slave_queue.wake(todo.slave);
        }
        if !todo.master.is_empty() {
            self.master_queue.wake(todo.master);
        }
        result
    }

    /// Sets the window size; the foreground group gets SIGWINCH if it changed.
    pub fn set_winsize(&self, size: WinSize) {
        let group = self.with(|s| {
            let changed = s.winsize != size;
            s.winsize = size;
            if changed { s.foreground } else { 0 }
        });
        if group != 0 {
            self.jobs().signal_group(group, libc::SIGWINCH);
        }
    }

    /// Makes a user the owner of the slave's node, as login does.
    pub fn set_owner(&self, uid: u32) {
        self.with(|s| s.uid = uid);
    }

    /// Makes it the controlling terminal of a session with this foreground group (the processes' side is the caller's).
    pub fn give_to_session(&self, sid: i32, foreground: i32) {
        self.with(|s| {
            s.session = sid;
            s.foreground = foreground;
        });
    }

    /// Sets the slave's settings.
    pub fn set_termios(&self, termios: Termios, with_speeds: bool) {
        self.with(|s| {
            s.ldisc.set_termios(termios.normalized(with_speeds));
            s.wake_all = true;
        });
    }

    // The slave's end.

    pub(super) fn open_slave(&self, admin: bool) -> Result<u64> {
        self.with(|s| {
            if s.locked || s.master_gone {
                return Err(Errno::EIO);
            }
            let [exclusive, _] = s.exclusive;
            if exclusive && !admin {
                return Err(Errno::EBUSY);
            }
            s.slaves += 1;
            s.slaves_gone = false;
            Ok(s.hangups)
        })
    }

    pub(super) fn close_slave(&self) {
        self.with(|s| {
            s.slaves = s.slaves.saturating_sub(1);
            if s.slaves == 0 {
                s.slaves_gone = true;
                s.exclusive = [false, s.exclusive[1]];
                s.wake_all = true;
            }
        });
    }

    pub(super) fn slave_hung_up(&self, opened_at: u64) -> bool {
        self.state.lock().hangups > opened_at
    }

    pub(super) fn master_gone(&self) -> bool {
        self.state.lock().master_gone
    }

    /// Input for a program. `since`: when the call began to wait.
    pub(super) fn read_slave(
        &self,
        max: usize,
        nonblocking: bool,
        since: Option<Instant>,
    ) -> Result<Vec<u8>> {
        self.with(|s| {
            let data = s.slave_input(max, nonblocking, since, self)?;
            s.atime = coarse_now();
            s.feed();
            Ok(data)
        })
    }

    /// Output of a program; how many bytes were taken.
    pub(super) fn write_slave(&self, data: &[u8]) -> Result<usize> {
        self.with(|s| {
            if s.master_gone {
                return Err(Errno::EIO);
            }
            let n = s.ldisc.write(data);
            if n == 0 && !data.is_empty() {
                return Err(Errno::EAGAIN);
            }
            s.mtime = coarse_now();
            Ok(n)
        })
    }

    pub(super) fn poll_slave(&self) -> Events {
        let s = self.state.lock();
        let t = s.ldisc.termios();
        let least = match (t.cc(Cc::Time), t.cc(Cc::Min)) {
            (0, min) => usize::from(min).max(1),
            _ => 1,
        };
        let mut e = Events::empty();
        if s.ldisc.has_input(least) {
            e |= Events::READABLE;
        }
        if s.ldisc.writable() {
            e |= Events::WRITABLE;
        }
        if s.master_gone {
            e |= Events::HUP;
        }
        e
    }

    // The master's end.

    /// Output of the slave for the master: in packet mode behind a status byte.
    pub(super) fn read_master(&self, max: usize) -> Result<Vec<u8>> {
        self.with(|s| {
            if max == 0 {
                return Ok(Vec::new());
            }
            if s.packet && s.packet_status != 0 {
                return Ok(vec![std::mem::take(&mut s.packet_status)]);
            }
            let queued = s.ldisc.output().len();
            if queued == 0 {
                return Err(if s.slaves_gone {
                    Errno::EIO
                } else {
                    Errno::EAGAIN
                });
            }
            let mut out = Vec::new();
            if s.packet {
                out.push(0);
            }
            let n = queued.min(max - out.len());
            out.extend(s.ldisc.output().drain(..n));
            s.ldisc.output_taken();
            Ok(out)
        })
    }

    /// Keystrokes from the master; how many bytes were taken.
    pub fn write_master(&self, data: &[u8]) -> Result<usize> {
        self.with(|s| {
            s.feed();
            let mut n = 0;
            if s.backlog.is_empty() {
                n = s.ldisc.receive(data);
                if n > 0 {
                    s.last_input = Some(Instant::now());
                }
            }
            let rest = data.get(n..).unwrap_or(&[]);
            let more = rest.len().min(BACKLOG_LIMIT - s.backlog.len());
            s.backlog.extend(rest.iter().take(more));
            if n + more == 0 && !data.is_empty() {
                return Err(Errno::EAGAIN);
            }
            Ok(n + more)
        })
    }

    /// Bytes that the master could read now.
    pub fn output_pending(&self) -> usize {
        self.state.lock().ldisc.output().len()
    }

    pub(super) fn poll_master(&self) -> Events {
        let mut s = self.state.lock();
        let mut e = Events::empty();
        if !s.ldisc.output().is_empty() {
            e |= Events::READABLE;
        }
        if s.packet && s.packet_status != 0 {
            e |= Events::READABLE | Events::PRI;
        }
        if s.slaves_gone {
            e |= Events::HUP;
        }
        if s.backlog.len() < BACKLOG_LIMIT {
            e |= Events::WRITABLE;
        }
        e
    }

    /// The master is closed: the slave is hung up.
    pub(super) fn close_master(self: &Arc<Self>) {
        self.with(|s| {
            s.master_gone = true;
            s.packet = false;
        });
        self.devpts.remove_node(self.index);
        self.hang_up();
    }

    /// All open slaves are dead from now on; the session loses its terminal, its leader gets SIGHUP and SIGCONT (`tty_vhangup`).
    pub fn hang_up(self: &Arc<Self>) {
        let (session, foreground) = self.with(|s| {
            s.hangups += 1;
            s.wake_all = true;
            s.timer = None;
            s.backlog.clear();
            s.ldisc.flush_input();
            s.ldisc.set_termios(Termios::default());
            (
                std::mem::take(&mut s.session),
                std::mem::take(&mut s.foreground),
            )
        });
        if session != 0 {
            let terminal: Terminal = self.clone();
            self.jobs().drop_terminal(session, &terminal, foreground);
            self.jobs().signal_process(session, libc::SIGHUP);
            self.jobs().signal_process(session, libc::SIGCONT);
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.devpts.release_index(self.index);
    }
}

#[derive(Clone, Copy)]
struct Readiness {
    input: usize,
    output: usize,
    status: u8,
    slave_writable: bool,
    backlog: usize,
}

impl State {
    fn readiness(&mut self) -> Readiness {
        Readiness {
            input: self.ldisc.available(),
            output: self.ldisc.output().len(),
            status: self.packet_status,
            slave_writable: self.ldisc.writable(),
            backlog: self.backlog.len(),
        }
    }

    /// Moves what the master wrote ahead into the line discipline.
    fn feed(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let n = self.ldisc.receive(self.backlog.make_contiguous());
        self.backlog.drain(..n);
        if n > 0 {
            self.last_input = Some(Instant::now());
        }
    }

    /// Drops input, also what the line discipline has not seen.
    pub fn flush_input(&mut self) {
        self.backlog.clear();
        self.ldisc.flush_input();
    }

    /// Drops what the master wrote and the line discipline has not seen.
    pub fn clear_backlog(&mut self) {
        self.backlog.clear();
    }

    /// TIOCPKT.
    pub fn set_packet(&mut self, on: bool) {
        if on && !self.packet {
            self.packet_status = 0;
        }
        self.packet = on;
    }

    fn settle(&mut self, before: Readiness, todo: &mut Todo) {
        let effects = self.ldisc.take_effects();
        if self.foreground != 0 {
            let group = self.foreground;
            todo.signals
                .extend(effects.signals.iter().map(|s| (group, *s)));
        }
        if self.packet && effects.packet != 0 {
            let mut clear = 0;
            for (a, b) in [
                (packet::STOP, packet::START),
                (packet::NOSTOP, packet::DOSTOP),
            ] {
                clear |= if effects.packet & a != 0 { b } else { 0 };
                clear |= if effects.packet & b != 0 { a } else { 0 };
            }
            self.packet_status = (self.packet_status & !clear) | effects.packet;
        }
        let after = self.readiness();
        if after.input > before.input {
            todo.slave |= Events::READABLE;
        }
        if after.slave_writable && !before.slave_writable {
            todo.slave |= Events::WRITABLE;
        }
        if after.output > before.output {
            todo.master |= Events::READABLE;
        }
        if after.status & !before.status != 0 {
            todo.master |= Events::READABLE | Events::PRI;
        }
        if after.backlog < before.backlog {
            todo.master |= Events::WRITABLE;
        }
        if std::mem::take(&mut self.wake_all) {
            let all = Events::READABLE | Events::WRITABLE | Events::HUP;
            todo.slave |= all;
            todo.master |= all;
        }
    }

    fn slave_input(
        &mut self,
        max: usize,
        nonblocking: bool,
        since: Option<Instant>,
        pty: &Pty,
    ) -> Result<Vec<u8>> {
        if self.ldisc.canonical() {
            return if self.ldisc.has_input(1) {
                Ok(self.ldisc.read(max))
            } else {
                Err(Errno::EAGAIN)
            };
        }
        let t = self.ldisc.termios();
        let min = usize::from(t.cc(Cc::Min));
        let time = u64::from(t.cc(Cc::Time)) * 100_000_000;
        let available = self.ldisc.available();
        if available >= min.clamp(1, max.max(1)) {
            return Ok(self.ldisc.read(max));
        }
        let now = Instant::now();
        let started = since.unwrap_or(now);
        let deadline = match (min, time) {
            (0, 0) => return Ok(Vec::new()),
            // The timer runs from the start of the call …
            (0, _) => Some(started.after(time)),
            // … or between bytes, once there is one.
            (_, 0) => None,
            (_, _) if available == 0 => None,
            (_, _) => Some(self.last_input.unwrap_or(now).max(started).after(time)),
        };
        if deadline.is_some_and(|d| d <= now) || (nonblocking && available > 0) {
            return Ok(self.ldisc.read(max));
        }
        if let (Some(d), false) = (deadline, nonblocking) {
            self.arm(d, now, pty);
        }
        Err(Errno::EAGAIN)
    }

    /// Wakes readers at `deadline`; they look again then.
    fn arm(&mut self, deadline: Instant, now: Instant, pty: &Pty) {
        if self
            .timer
            .as_ref()
            .is_some_and(|(d, _)| *d <= deadline && *d > now)
        {
            return;
        }
        let wake = Arc::new(Wake(pty.slave_queue.clone()));
        self.timer = Some((deadline, pty.devpts.timers.arm(deadline, wake)));
    }
}
