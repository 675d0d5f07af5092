//! The slave's end: what a program's terminal is.

use super::ioctl;
use super::jobs::{self, check_change};
use super::pty::Pty;
use super::termios::Local;
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::sync::{Events, WaitQueue};
use crate::usermem::{Sink, Source};
use crate::vfs::{Caller, File, FileOps, OpenFlags};
use std::any::Any;
use std::sync::Arc;

/// Most bytes taken from a writer at a time.
const CHUNK: usize = 4096;

/// An open slave.
pub struct Slave {
    pty: Arc<Pty>,
    /// How many hang-ups the pair had seen when this was opened.
    opened_at: u64,
}

impl Slave {
    /// Opens the slave for a program; a session leader without a terminal gets it as its own.
    ///
    /// # Errors
    /// EIO if it is locked or its master is closed; EBUSY after TIOCEXCL.
    pub fn open(pty: &Arc<Pty>, cx: &dyn Caller, flags: OpenFlags) -> Result<Slave> {
        let admin = cx.credentials().has(Caps::SYS_ADMIN);
        let slave = Slave {
            pty: pty.clone(),
            opened_at: pty.open_slave(admin)?,
        };
        if !flags.contains(OpenFlags::NOCTTY) && flags.readable() {
            jobs::acquire_by_open(pty, cx);
        }
        Ok(slave)
    }
    /// The pair.
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }
    fn hung_up(&self) -> bool {
        self.pty.slave_hung_up(self.opened_at)
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.pty.close_slave();
    }
}

/// Opens the caller's controlling terminal (/dev/tty). ENXIO if it has none.
pub fn open_controlling(cx: &dyn Caller, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    let pty = jobs::controlling(cx).ok_or(Errno::ENXIO)?;
    Ok(Box::new(Slave::open(&pty, cx, flags)?))
}

impl FileOps for Slave {
    fn read(
        &self,
        file: &File,
        cx: &dyn Caller,
        dst: &mut dyn Sink,
        _pos: &mut u64,
    ) -> Result<usize> {
        let since = cx.waiting_since();
        if self.hung_up() {
            // Who was reading when the other end went away gets an error, who comes later end of file.
            return if since.is_some() && self.pty.master_gone() {
                Err(Errno::EIO)
            } else {
                Ok(0)
            };
        }
        check_change(&self.pty, cx, libc::SIGTTIN)?;
        let want = dst.remaining();
        if want == 0 {
            return Ok(0);
        }
        let data = self.pty.read_slave(want, file.nonblocking(), since)?;
        if data.is_empty() {
            return Ok(0);
        }
        dst.put(&data)
    }

    fn write(
        &self,
        _file: &File,
        cx: &dyn Caller,
        src: &mut dyn Source,
        _pos: &mut u64,
        _append: bool,
    ) -> Result<usize> {
        if self.hung_up() {
            return Err(Errno::EIO);
        }
        let stops = self
            .pty
            .with(|s| s.ldisc.termios().local().contains(Local::TOSTOP));
        if stops {
            check_change(&self.pty, cx, libc::SIGTTOU)?;
        }
        let mut buf = vec![0u8; src.remaining().min(CHUNK)];
        let mut total = 0;
        while src.remaining() > 0 {
            let got = match src.take(&mut buf) {
                Ok(n) => n,
                Err(e) if total == 0 => return Err(e),
                Err(_) => break,
            };
            match self.pty.write_slave(buf.get(..got).unwrap_or(&[])) {
                Ok(n) => {
                    src.unread(got.saturating_sub(n));
                    total += n;
                    if n < got {
                        break;
                    }
                }
                Err(e) => {
                    src.unread(got);
                    if total == 0 {
                        return Err(e);
                    }
                    break;
                }
            }
        }
        Ok(total)
    }

    fn poll(&self, _file: &File) -> Events {
        if self.hung_up() {
            return Events::READABLE | Events::WRITABLE | Events::ERR | Events::HUP;
        }
        self.pty.poll_slave()
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.pty.slave_queue().clone())
    }
    fn ioctl(&self, file: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        if self.hung_up() {
            return Err(if u64::from(cmd) == libc::TIOCSPGRP {
                Errno::ENOTTY
            } else {
                Errno::EIO
            });
        }
        ioctl::slave(&self.pty, file, cx, cmd, arg)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
