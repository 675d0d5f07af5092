//! The memory devices (major 1): null, zero, full, random, urandom (null(4), random(4)).

use crate::abi::{Errno, Result};
use crate::fs::devices::DeviceDriver;
use crate::sync::Events;
use crate::usermem::{Sink, Source};
use crate::vfs::loan::Fixed;
use crate::vfs::{Caller, File, FileOps, InodeRef, MapSource, OpenFlags, Whence};
use std::any::Any;

/// Driver of character devices with major number 1.
pub struct MemDriver;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemDevice {
    Null,
    Zero,
    Full,
    Random,
}

impl DeviceDriver for MemDriver {
    fn open(
        &self,
        _: &dyn Caller,
        _: &InodeRef,
        minor: u32,
        _: OpenFlags,
    ) -> Result<Box<dyn FileOps>> {
        Ok(Box::new(match minor {
            3 => MemDevice::Null,
            5 => MemDevice::Zero,
            7 => MemDevice::Full,
            8 | 9 => MemDevice::Random,
            _ => return Err(Errno::ENXIO),
        }))
    }
}

static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

fn put_zeros(dst: &mut dyn Sink) -> Result<usize> {
    let mut done = 0;
    while dst.remaining() > 0 {
        let want = dst.remaining().min(ZEROS.len());
        let put = match dst.put(ZEROS.get(..want).unwrap_or_default()) {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        done += put;
        if put < want {
            break;
        }
    }
    Ok(done)
}

/// Bytes of the host's generator. One call moves at most this many, as Linux's own limit lets it.
const RANDOM_MAX: usize = 32 << 20;

fn put_random(dst: &mut dyn Sink) -> Result<usize> {
    let mut done = 0;
    let mut chunk = [0u8; 4096];
    while dst.remaining() > 0 && done < RANDOM_MAX {
        let want = dst.remaining().min(chunk.len());
        let part = chunk.get_mut(..want).unwrap_or_default();
        rand::TryRngCore::try_fill_bytes(&mut rand::rngs::OsRng, part).map_err(|_| Errno::EIO)?;
        let put = match dst.put(part) {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        done += put;
        if put < want {
            break;
        }
    }
    Ok(done)
}

impl FileOps for MemDevice {
    fn read(&self, _: &File, _: &dyn Caller, dst: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        match self {
            MemDevice::Null => Ok(0),
            MemDevice::Zero | MemDevice::Full => put_zeros(dst),
            MemDevice::Random => put_random(dst),
        }
    }
    fn write(
        &self,
        _: &File,
        _: &dyn Caller,
        src: &mut dyn Source,
        _: &mut u64,
        _: bool,
    ) -> Result<usize> {
        match self {
            MemDevice::Full => Err(Errno::ENOSPC),
            // The bytes are not looked at: a bad address is no error, as in Linux.
            MemDevice::Null | MemDevice::Zero => Ok(src.remaining()),
            MemDevice::Random => {
                // Mixed into nothing: the host's pool is not the guest's to stir. The bytes must be readable, though.
                let mut done = 0;
                let mut chunk = [0u8; 4096];
                while src.remaining() > 0 {
                    match src.take(&mut chunk) {
                        Ok(0) => break,
                        Ok(n) => done += n,
                        Err(_) if done > 0 => break,
                        Err(e) => return Err(e),
                    }
                }
                Ok(done)
            }
        }
    }
    fn fixed(&self) -> Fixed {
        match self {
            MemDevice::Null => Fixed::READ_END | Fixed::WRITE_ALL,
            MemDevice::Zero => Fixed::READ_ZEROES | Fixed::WRITE_ALL,
            MemDevice::Full => Fixed::READ_ZEROES,
            MemDevice::Random => Fixed::empty(),
        }
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, _: &File, pos: u64, offset: i64, whence: Whence) -> Result<u64> {
        match self {
            MemDevice::Random => Ok(pos),
            // null_lseek: always at 0.
            _ => match whence {
                Whence::Set | Whence::Current | Whence::End => {
                    let _ = offset;
                    Ok(0)
                }
                Whence::Data | Whence::Hole => Err(Errno::EINVAL),
            },
        }
    }
    fn poll(&self, _: &File) -> Events {
        Events::READABLE | Events::WRITABLE
    }
    fn map(&self, _: &File, _: bool, _: bool) -> Result<MapSource> {
        match self {
            MemDevice::Zero => Ok(MapSource::Anonymous),
            _ => Err(Errno::ENODEV),
        }
    }
    fn ioctl(&self, _: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
        const RNDGETENTCNT: u32 = 0x8004_5200;
        match (self, cmd) {
            (MemDevice::Random, RNDGETENTCNT) => {
                cx.memory()
                    .put(crate::usermem::UserPtr::new(arg), &256i32)?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
