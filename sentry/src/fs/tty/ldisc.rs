//! The line discipline (N_TTY): what happens to bytes between the keyboard side and the program.
//!
//! Pure: bytes in, bytes out, [`Effects`] for the rest. Input goes through [`LineDiscipline::receive`] into the read
//! buffer and its echo to the output; what programs write goes through [`LineDiscipline::write`] to the output.
//! Semantics: termios(3) and, where it is silent, the behaviour of Linux's N_TTY.

use super::effects::{Effects, packet};
use super::output::{Echo, OutputSide};
use super::termios::{Cc, Input, Local, Termios};
use std::collections::VecDeque;

/// Size of the read buffer.
pub const BUFFER: usize = 4096;

/// A byte of input; in canonical mode with a mark where a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    byte: u8,
    mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// The last byte of a line.
    LineEnd,
    /// VEOF: ends a line without being part of it.
    Eof,
}

/// One terminal's line discipline.
pub struct LineDiscipline {
    termios: Termios,
    /// Bytes that are not plain with these settings.
    special: Box<[bool; 256]>,
    cells: VecDeque<Cell>,
    /// Cells that belong to complete lines (canonical mode).
    canon: usize,
    /// The next byte is literal (VLNEXT).
    literal: bool,
    /// Within a `\…/` of ECHOPRT.
    erasing: bool,
    /// Stopped by VSTOP.
    stopped: bool,
    /// Stopped by tcflow(TCOOFF).
    stopped_by_call: bool,
    out: OutputSide,
    effects: Effects,
}

impl Default for LineDiscipline {
    fn default() -> LineDiscipline {
        let mut l = LineDiscipline {
            termios: Termios::default(),
            special: Box::new([false; 256]),
            cells: VecDeque::new(),
            canon: 0,
            literal: false,
            erasing: false,
            stopped: false,
            stopped_by_call: false,
            out: OutputSide::default(),
            effects: Effects::default(),
        };
        l.find_special();
        l
    }
}

fn is_control(c: u8) -> bool {
    c < 32 || c == 127
}

/// The kernel's ctype is Latin-1.
fn to_lower(c: u8) -> u8 {
    match c {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => c + 32,
        _ => c,
    }
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || (c >= 0xc0 && c != 0xd7 && c != 0xf7)
}

impl LineDiscipline {
    /// Present settings.
    pub fn termios(&self) -> &Termios {
        &self.termios
    }
    fn i(&self, f: Input) -> bool {
        self.termios.input().contains(f)
    }
    fn l(&self, f: Local) -> bool {
        self.termios.local().contains(f)
    }
    fn is(&self, cc: Cc, c: u8) -> bool {
        self.termios.is(cc, c)
    }
    /// Whether input is assembled into lines.
    pub fn canonical(&self) -> bool {
        self.l(Local::ICANON) && !self.l(Local::EXTPROC)
    }
    /// Hands over what has to be done once the lock is released.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }
    /// What waits for the other side.
    pub fn output(&mut self) -> &mut VecDeque<u8> {
        &mut self.out.queue
    }

    /// Changes the settings, as TCSETS does.
    pub fn set_termios(&mut self, new: Termios) {
        let old = std::mem::replace(&mut self.termios, new);
        let changed = old.local() ^ new.local();
        if changed.intersects(Local::ICANON | Local::EXTPROC) {
            for c in &mut self.cells {
                c.mark = Mark::None;
            }
            self.canon = 0;
            if self.l(Local::ICANON)
                && let Some(last) = self.cells.back_mut()
            {
                // What was typed before counts as a line; a NUL at its end as VEOF, since Linux marks both alike.
                last.mark = if last.byte == 0 {
                    Mark::Eof
                } else {
                    Mark::LineEnd
                };
                self.canon = self.cells.len();
            }
            self.erasing = false;
            self.literal = false;
        }
        if changed.contains(Local::EXTPROC) {
            self.effects.packet |= packet::IOCTL;
        }
        let flow = |t: &Termios| {
            t.input().contains(Input::IXON) && t.cc(Cc::Stop) == 0o23 && t.cc(Cc::Start) == 0o21
        };
        match (flow(&old), flow(&new)) {
            (true, false) => self.effects.packet |= packet::NOSTOP,
            (false, true) => self.effects.packet |= packet::DOSTOP,
            _ => {}
        }
        self.find_special();
        if old.input().contains(Input::IXON) && !self.i(Input::IXON) && !self.stopped_by_call {
            self.start();
        }
    }

    fn find_special(&mut self) {
        let t = self.termios;
        let mut bytes: Vec<u8> = Vec::new();
        if self.i(Input::IGNCR) || self.i(Input::ICRNL) {
            bytes.push(b'\r');
        }
        if self.i(Input::INLCR) {
            bytes.push(b'\n');
        }
        let mut add = |list: &[Cc]| bytes.extend(list.iter().map(|c| t.cc(*c)).filter(|c| *c != 0));
        if self.l(Local::ICANON) {
            add(&[Cc::Erase, Cc::Kill, Cc::Eof, Cc::Eol]);
            if self.l(Local::IEXTEN) {
                add(&[Cc::WErase, Cc::LNext, Cc::Eol2, Cc::Reprint]);
            }
        }
        if self.i(Input::IXON) {
            add(&[Cc::Start, Cc::Stop]);
        }
        if self.l(Local::ISIG) {
            add(&[Cc::Intr, Cc::Quit, Cc::Susp]);
        }
        if self.l(Local::ICANON) {
            bytes.push(b'\n');
        }
        self.special.fill(false);
        for b in bytes {
            if let Some(s) = self.special.get_mut(usize::from(b)) {
                *s = true;
            }
        }
    }

    /// Takes bytes from the keyboard side; how many were taken. Fewer than given: the read buffer is full and the rest
    /// must wait until somebody reads. A single overlong line never stops input; its end is overwritten.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut n = 0;
        for &b in bytes {
            // PARMRK doubles 0xff.
            let unit = if self.i(Input::PARMRK) { 3 } else { 1 };
            if self.cells.len() + unit >= BUFFER {
                if !(self.l(Local::ICANON) && self.canon == 0) {
                    break;
                }
                if self.cells.len() >= BUFFER {
                    self.cells.pop_back();
                }
            }
            self.receive_byte(b);
            n += 1;
            if self.out.echo_is_filling() {
                self.flush_echo();
            }
        }
        self.flush_echo();
        n
    }

    fn receive_byte(&mut self, mut c: u8) {
        if self.i(Input::ISTRIP) {
            c &= 0x7f;
        }
        if self.i(Input::IUCLC) && self.l(Local::IEXTEN) {
            c = to_lower(c);
        }
        if self.l(Local::EXTPROC) {
            self.put(c, Mark::None);
        } else if std::mem::take(&mut self.literal) {
            self.receive_plain(c);
        } else if self
            .special
            .get(usize::from(c))
            .copied()
            .unwrap_or_default()
        {
            self.receive_special(c);
        } else {
            self.receive_plain(c);
        }
    }

    fn put(&mut self, byte: u8, mark: Mark) {
        self.cells.push_back(Cell { byte, mark });
        if mark != Mark::None {
            self.canon = self.cells.len();
        }
    }

    fn put_marked(&mut self, c: u8, mark: Mark) {
        if c == 0xff && self.i(Input::PARMRK) {
            self.put(c, Mark::None);
        }
        self.put(c, mark);
    }

    fn restart_by_any(&mut self) {
        if self.stopped && !self.stopped_by_call && self.i(Input::IXON) && self.i(Input::IXANY) {
            self.start();
        }
    }

    fn receive_plain(&mut self, c: u8) {
        self.restart_by_any();
        if self.l(Local::ECHO) {
            self.finish_erasing();
            self.note_column();
            self.echo(c);
        }
        self.put_marked(c, Mark::None);
    }

    fn receive_special(&mut self, mut c: u8) {
        if self.i(Input::IXON) {
            if self.is(Cc::Start, c) {
                return self.start();
            }
            if self.is(Cc::Stop, c) {
                return self.stop();
            }
        }
        if self.l(Local::ISIG) {
            for (cc, signal) in [
                (Cc::Intr, libc::SIGINT),
                (Cc::Quit, libc::SIGQUIT),
                (Cc::Susp, libc::SIGTSTP),
            ] {
                if self.is(cc, c) {
                    return self.receive_signal(c, signal);
                }
            }
        }
        self.restart_by_any();
        if c == b'\r' {
            if self.i(Input::IGNCR) {
                return;
            }
            if self.i(Input::ICRNL) {
                c = b'\n';
            }
        } else if c == b'\n' && self.i(Input::INLCR) {
            c = b'\r';
        }
        if self.l(Local::ICANON) && self.receive_canonical(c) {
            return;
        }
        if self.l(Local::ECHO) {
            self.finish_erasing();
            if c == b'\n' {
                self.out.echo(Echo::Raw(b'\n'));
            } else {
                self.note_column();
                self.echo(c);
            }
        }
        self.put_marked(c, Mark::None);
    }

    fn receive_signal(&mut self, c: u8, signal: i32) {
        // A pending signal is not queued twice.
        if !self.effects.signals.contains(&signal) {
            self.effects.signals.push(signal);
        }
        if !self.l(Local::NOFLSH) {
            self.out.clear_echo();
            self.flush_output();
            self.flush_input();
        }
        if self.i(Input::IXON) {
            self.start();
        }
        if self.l(Local::ECHO) {
            self.echo(c);
        }
    }

    /// Handles a byte that has a meaning in canonical mode; false if it is data.
    fn receive_canonical(&mut self, c: u8) -> bool {
        let iexten = self.l(Local::IEXTEN);
        if self.is(Cc::Erase, c) || self.is(Cc::Kill, c) || (iexten && self.is(Cc::WErase, c)) {
            self.erase(c);
        } else if iexten && self.is(Cc::LNext, c) {
            self.literal = true;
            if self.l(Local::ECHO) {
                self.finish_erasing();
                if self.l(Local::ECHOCTL) {
                    self.out.echo(Echo::Raw(b'^'));
                    self.out.echo(Echo::Raw(8));
                }
            }
        } else if iexten && self.is(Cc::Reprint, c) && self.l(Local::ECHO) {
            self.finish_erasing();
            self.echo(c);
            self.out.echo(Echo::Raw(b'\n'));
            // Nobody sees what does not fit, so that typing this again and again costs nothing.
            if self.out.echo_is_filling() {
                return true;
            }
            let line: Vec<u8> = self.cells.iter().skip(self.canon).map(|c| c.byte).collect();
            for b in line {
                self.echo(b);
            }
        } else if c == b'\n' {
            if self.l(Local::ECHO) || self.l(Local::ECHONL) {
                self.out.echo(Echo::Raw(b'\n'));
            }
            self.put(c, Mark::LineEnd);
        } else if self.is(Cc::Eof, c) {
            self.put(0, Mark::Eof);
        } else if self.is(Cc::Eol, c) || (iexten && self.is(Cc::Eol2, c)) {
            if self.l(Local::ECHO) {
                self.note_column();
                self.echo(c);
            }
            self.put_marked(c, Mark::LineEnd);
        } else {
            return false;
        }
        true
    }

    fn continuation(&self, c: u8) -> bool {
        self.i(Input::IUTF8) && c & 0xc0 == 0x80
    }

    /// VERASE, VWERASE, VKILL.
    fn erase(&mut self, key: u8) {
        if self.cells.len() == self.canon {
            return;
        }
        let kill = self.is(Cc::Kill, key) && !self.is(Cc::Erase, key);
        let word = !kill && !self.is(Cc::Erase, key);
        if kill {
            if !self.l(Local::ECHO) {
                self.cells.truncate(self.canon);
                return;
            }
            if !(self.l(Local::ECHOK) && self.l(Local::ECHOKE) && self.l(Local::ECHOE)) {
                self.cells.truncate(self.canon);
                self.finish_erasing();
                self.echo(key);
                if self.l(Local::ECHOK) {
                    self.out.echo(Echo::Raw(b'\n'));
                }
                return;
            }
        }
        let mut seen_word = false;
        while self.cells.len() > self.canon {
            // The start of the last character, which may have several bytes.
            let mut head = self.cells.len() - 1;
            let mut first = self.byte_at(head);
            while self.continuation(first) && head > self.canon {
                head -= 1;
                first = self.byte_at(head);
            }
            if self.continuation(first) {
                break;
            }
            if word {
                if is_word(first) {
                    seen_word = true;
                } else if seen_word {
                    break;
                }
            }
            let gone: Vec<u8> = self.cells.drain(head..).map(|c| c.byte).collect();
            if self.l(Local::ECHO) {
                self.echo_erased(&gone, first, !kill && !word);
            }
            if !kill && !word {
                break;
            }
        }
        if self.cells.len() == self.canon && self.l(Local::ECHO) {
            self.finish_erasing();
        }
    }

    fn byte_at(&self, i: usize) -> u8 {
        self.cells.get(i).map_or(0, |c| c.byte)
    }

    /// Shows that a character (`gone`, `first` its first byte) was erased.
    fn echo_erased(&mut self, gone: &[u8], first: u8, single: bool) {
        if self.l(Local::ECHOPRT) {
            if !self.erasing {
                self.out.echo(Echo::Raw(b'\\'));
                self.erasing = true;
            }
            self.echo(first);
            for b in gone.iter().skip(1) {
                self.out.echo(Echo::Raw(*b));
                self.out.echo(Echo::MoveBack);
            }
        } else if single && !self.l(Local::ECHOE) {
            self.echo(self.termios.cc(Cc::Erase));
        } else if first == b'\t' {
            // Columns since the start of the line or the tab before.
            let (mut columns, mut after_tab) = (0u32, false);
            for cell in self.cells.iter().skip(self.canon).rev() {
                match cell.byte {
                    b'\t' => {
                        after_tab = true;
                        break;
                    }
                    b if is_control(b) => columns += if self.l(Local::ECHOCTL) { 2 } else { 0 },
                    b if self.continuation(b) => {}
                    _ => columns += 1,
                }
            }
            self.out.echo(Echo::EraseTab { columns, after_tab });
        } else {
            let width = match (is_control(first), self.l(Local::ECHOCTL)) {
                (true, true) => 2,
                (true, false) => 0,
                (false, _) => 1,
            };
            for _ in 0..width {
                for b in *b"\x08 \x08" {
                    self.out.echo(Echo::Raw(b));
                }
            }
        }
    }

    fn finish_erasing(&mut self) {
        if std::mem::take(&mut self.erasing) {
            self.out.echo(Echo::Raw(b'/'));
        }
    }

    /// Remembers the column of a line's first character, for erasing tabs.
    fn note_column(&mut self) {
        if self.cells.len() == self.canon {
            self.out.echo(Echo::NoteColumn);
        }
    }

    fn echo(&mut self, c: u8) {
        let shown = if self.l(Local::ECHOCTL) && is_control(c) && c != b'\t' {
            Echo::Control(c)
        } else {
            Echo::Raw(c)
        };
        self.out.echo(shown);
    }

    fn flush_echo(&mut self) {
        if !self.blocked() {
            let t = self.termios;
            self.out.flush_echo(&t);
        }
    }

    fn blocked(&self) -> bool {
        self.stopped || self.stopped_by_call
    }

    fn stop(&mut self) {
        if !self.blocked() {
            self.effects.packet = (self.effects.packet & !packet::START) | packet::STOP;
        }
        self.stopped = true;
    }

    fn start(&mut self) {
        if self.stopped && !self.stopped_by_call {
            self.effects.packet = (self.effects.packet & !packet::STOP) | packet::START;
            self.stopped = false;
        }
        self.flush_echo();
    }

    /// tcflow(3): TCOOFF and TCOON.
    pub fn suspend_output(&mut self, suspend: bool) {
        if suspend {
            if !self.stopped_by_call {
                self.stop();
                self.stopped_by_call = true;
            }
        } else if std::mem::take(&mut self.stopped_by_call) {
            self.stopped = true;
            self.start();
        }
    }

    /// Drops input that was not read (TCIFLUSH).
    pub fn flush_input(&mut self) {
        self.cells.clear();
        self.canon = 0;
        self.erasing = false;
        self.literal = false;
        self.effects.packet |= packet::FLUSHREAD;
    }

    /// Drops output that was not transmitted (TCOFLUSH).
    pub fn flush_output(&mut self) {
        self.out.queue.clear();
        self.effects.packet |= packet::FLUSHWRITE;
    }

    /// Takes bytes that a program writes; how many. 0: no room, or stopped.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.blocked() {
            return 0;
        }
        self.flush_echo();
        let t = self.termios;
        self.out.write(&t, bytes)
    }

    /// Sends one byte past flow control (tcflow's TCIOFF and TCION).
    pub fn send_urgent(&mut self, c: u8) {
        if self.out.room() > 0 {
            self.out.queue.push_back(c);
        }
    }

    /// Whether a write would take something.
    pub fn writable(&self) -> bool {
        !self.blocked() && self.out.room() > 0
    }

    /// The other side took output: pending echo may follow.
    pub fn output_taken(&mut self) {
        self.flush_echo();
    }

    /// Bytes a read could get now (FIONREAD).
    pub fn readable_bytes(&self) -> usize {
        if self.canonical() {
            let lines = self.cells.iter().take(self.canon);
            lines.filter(|c| c.mark != Mark::Eof).count()
        } else {
            self.cells.len()
        }
    }

    /// Whether there is input for a read that wants `at_least` bytes (1 in canonical mode: a line).
    pub fn has_input(&self, at_least: usize) -> bool {
        if self.canonical() {
            self.canon > 0
        } else {
            self.cells.len() >= at_least
        }
    }

    /// Bytes that reads may take without waiting for more: complete lines (with VEOF marks) in canonical mode.
    pub fn available(&self) -> usize {
        if self.canonical() {
            self.canon
        } else {
            self.cells.len()
        }
    }

    /// Takes up to `max` bytes: of one line in canonical mode. Empty on VEOF (or if there is nothing).
    pub fn read(&mut self, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.canonical() {
            let n = max.min(self.cells.len());
            out.extend(self.cells.drain(..n).map(|c| c.byte));
            self.canon = self.canon.saturating_sub(n);
            return out;
        }
        while self.canon > 0 {
            let Some(next) = self.cells.front().copied() else {
                break;
            };
            // A VEOF right after the last byte that fits goes with it.
            if out.len() == max && next.mark != Mark::Eof {
                break;
            }
            self.cells.pop_front();
            self.canon -= 1;
            if next.mark != Mark::Eof {
                out.push(next.byte);
            }
            if next.mark != Mark::None {
                break;
            }
        }
        out
    }
}

#[cfg(test)]
#[path = "ldisc_tests.rs"]
mod tests;
