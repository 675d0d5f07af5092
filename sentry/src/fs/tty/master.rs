//! The master's end: what a terminal emulator holds.

use super::devpts::Devpts;
use super::ioctl;
use super::pty::Pty;
use crate::abi::Result;
use crate::sync::{Events, WaitQueue};
use crate::usermem::{Sink, Source};
use crate::vfs::{Caller, File, FileOps};
use std::any::Any;
use std::sync::Arc;

/// Most bytes taken from a writer at a time.
const CHUNK: usize = 4096;

/// An open master; dropping it hangs the slave up.
pub struct Master {
    pty: Arc<Pty>,
}

impl Master {
    /// A new pair (opening /dev/ptmx).
    ///
    /// # Errors
    /// ENOSPC if the file system has no room for one more.
    pub fn open(devpts: &Arc<Devpts>, cx: &dyn Caller) -> Result<Master> {
        Ok(Master {
            pty: devpts.new_pty(cx)?,
        })
    }
    /// The pair.
    pub fn pty(&self) -> &Arc<Pty> {
        &self.pty
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.pty.close_master();
    }
}

impl FileOps for Master {
    fn read(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        dst: &mut dyn Sink,
        _pos: &mut u64,
    ) -> Result<usize> {
        let data = self.pty.read_master(dst.remaining())?;
        if data.is_empty() {
            return Ok(0);
        }
        dst.put(&data)
    }

    fn write(
        &self,
        _file: &File,
        _cx: &dyn Caller,
        src: &mut dyn Source,
        _pos: &mut u64,
        _append: bool,
    ) -> Result<usize> {
        let mut buf = vec![0u8; src.remaining().min(CHUNK)];
        let mut total = 0;
        while src.remaining() > 0 {
            let got = match src.take(&mut buf) {
                Ok(n) => n,
                Err(e) if total == 0 => return Err(e),
                Err(_) => break,
            };
            match self.pty.write_master(buf.get(..got).unwrap_or(&[])) {
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
        self.pty.poll_master()
    }
    fn wait_queue(&self) -> Option<Arc<WaitQueue>> {
        Some(self.pty.master_queue().clone())
    }
    fn ioctl(&self, file: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        ioctl::master(&self.pty, file, cx, cmd, arg)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
