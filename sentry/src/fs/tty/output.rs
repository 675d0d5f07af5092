//! The output side of the line discipline: OPOST processing, columns and echo.

use super::termios::{Input, Output, Termios};
use std::collections::VecDeque;

/// Most bytes that wait for the other side, as a pty's buffer in Linux.
pub const OUTPUT_LIMIT: usize = 64 << 10;
/// Most pending echo operations; more are dropped.
const ECHO_LIMIT: usize = 4096;

/// The kernel's ctype is Latin-1.
fn to_upper(c: u8) -> u8 {
    match c {
        b'a'..=b'z' | 0xdf..=0xf6 | 0xf8..=0xff => c - 32,
        _ => c,
    }
}

/// One step of echo. Echo waits while output is stopped or full, so it is kept as steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// A byte, with output processing.
    Raw(u8),
    /// A control character as `^X`.
    Control(u8),
    /// The line's first character comes here.
    NoteColumn,
    /// The byte before did not take a column.
    MoveBack,
    /// Back over a tab that came after this many columns (from the start of the line unless `after_tab`).
    EraseTab { columns: u32, after_tab: bool },
}

/// Output queue and cursor.
#[derive(Default)]
pub struct OutputSide {
    /// Processed bytes for the other side.
    pub queue: VecDeque<u8>,
    echo: VecDeque<Echo>,
    column: u32,
    canon_column: u32,
}

impl OutputSide {
    /// Bytes that may still be queued.
    pub fn room(&self) -> usize {
        OUTPUT_LIMIT.saturating_sub(self.queue.len())
    }

    /// Queues a step of echo.
    pub fn echo(&mut self, step: Echo) {
        if self.echo.len() < ECHO_LIMIT {
            self.echo.push_back(step);
        }
    }

    /// Whether pending echo should be carried out, if it can be, before more comes.
    pub fn echo_is_filling(&self) -> bool {
        self.echo.len() >= ECHO_LIMIT / 2
    }

    /// Forgets pending echo.
    pub fn clear_echo(&mut self) {
        self.echo.clear();
    }

    /// Carries out pending echo as far as there is room.
    pub fn flush_echo(&mut self, t: &Termios) {
        while let Some(step) = self.echo.front().copied() {
            // No step makes more than eight bytes.
            if self.room() < 8 {
                return;
            }
            self.echo.pop_front();
            match step {
                // Linux echoes 0xff without output processing (it is its escape code).
                Echo::Raw(0xff) => {
                    self.queue.push_back(0xff);
                    self.column = self.column.wrapping_add(1);
                }
                Echo::Raw(c) => {
                    self.put(t, c);
                }
                Echo::Control(c) => {
                    self.queue.extend([b'^', c ^ 0x40]);
                    self.column = self.column.wrapping_add(2);
                }
                Echo::NoteColumn => self.canon_column = self.column,
                Echo::MoveBack => self.column = self.column.saturating_sub(1),
                Echo::EraseTab { columns, after_tab } => {
                    let start = if after_tab { 0 } else { self.canon_column };
                    let back = 8 - (start.wrapping_add(columns) & 7);
                    for _ in 0..back {
                        self.queue.push_back(8);
                        self.column = self.column.saturating_sub(1);
                    }
                }
            }
        }
    }

    /// Takes bytes that a program writes; how many.
    pub fn write(&mut self, t: &Termios, bytes: &[u8]) -> usize {
        if !t.output().contains(Output::OPOST) {
            let n = bytes.len().min(self.room());
            self.queue.extend(bytes.iter().take(n));
            return n;
        }
        let mut n = 0;
        for b in bytes {
            if !self.put(t, *b) {
                break;
            }
            n += 1;
        }
        n
    }

    /// Queues one byte with output processing; false if there is no room for what it becomes.
    fn put(&mut self, t: &Termios, c: u8) -> bool {
        let o = t.output();
        let room = self.room();
        if room == 0 {
            return false;
        }
        if !o.contains(Output::OPOST) {
            self.queue.push_back(c);
            return true;
        }
        let mut c = c;
        match c {
            b'\n' => {
                if o.contains(Output::ONLRET) {
                    self.column = 0;
                }
                if o.contains(Output::ONLCR) {
                    if room < 2 {
                        return false;
                    }
                    self.column = 0;
                    self.canon_column = 0;
                    self.queue.push_back(b'\r');
                } else {
                    self.canon_column = self.column;
                }
            }
            b'\r' => {
                if o.contains(Output::ONOCR) && self.column == 0 {
                    return true;
                }
                let as_newline = o.contains(Output::OCRNL);
                if !as_newline || o.contains(Output::ONLRET) {
                    self.column = 0;
                    self.canon_column = 0;
                }
                if as_newline {
                    c = b'\n';
                }
            }
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                if o.contains(Output::XTABS) {
                    if room < spaces as usize {
                        return false;
                    }
                    self.queue.extend((0..spaces).map(|_| b' '));
                    self.column = self.column.wrapping_add(spaces);
                    return true;
                }
                self.column = self.column.wrapping_add(spaces);
            }
            8 => self.column = self.column.saturating_sub(1),
            c0 if c0 < 32 || c0 == 127 => {}
            _ => {
                if o.contains(Output::OLCUC) {
                    c = to_upper(c);
                }
                let continuation = t.input().contains(Input::IUTF8) && c & 0xc0 == 0x80;
                if !continuation {
                    self.column = self.column.wrapping_add(1);
                }
            }
        }
        self.queue.push_back(c);
        true
    }
}
