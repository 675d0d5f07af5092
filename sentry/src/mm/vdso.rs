//! The vDSO's contents, for whoever reads a guest's memory there (debuggers): it lies outside of what the platform reads.
//!
//! Where clocks are shifted ([`crate::time::Offsets`]) a process that has known the vDSO before must not believe it any more: it faults there, and what
//! was to be called becomes a system call.

use super::MemoryManager;
use crate::abi::{Errno, Result};
use crate::sync::before_exchange;
use cofferdam_platform::{MemOp, Thread};
use std::sync::OnceLock;

/// Where guests have it, and what is in it: the same in all of them.
static IMAGE: OnceLock<(u64, Vec<u8>)> = OnceLock::new();

/// Remembers it, once.
pub fn set_vdso(start: u64, bytes: Vec<u8>) {
    let _ = IMAGE.set((start, bytes));
}

/// Copies of it what lies at `addr`; how many bytes.
pub(super) fn read(addr: u64, buf: &mut [u8]) -> usize {
    let Some((start, bytes)) = IMAGE.get() else {
        return 0;
    };
    let from = addr
        .checked_sub(*start)
        .and_then(|a| usize::try_from(a).ok());
    let Some(found) = from.and_then(|from| bytes.get(from..)) else {
        return 0;
    };
    let n = found.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..n), found.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}

/// Where a fault in a concealed vDSO is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VdsoFault {
    /// At the start of the function that does what this system call does.
    Call(i64),
    /// Within one, or at one that stands for no call.
    Within,
}

/// The functions that stand for system calls.
const CALLS: &[(&str, i64)] = &[
    ("__vdso_clock_getres", libc::SYS_clock_getres),
    ("__vdso_clock_gettime", libc::SYS_clock_gettime),
    ("__vdso_getcpu", libc::SYS_getcpu),
    ("__vdso_getrandom", libc::SYS_getrandom),
    ("__vdso_gettimeofday", libc::SYS_gettimeofday),
    ("__vdso_time", libc::SYS_time),
];

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(word(bytes, at)?).into())
}

/// A word `offset` behind `start`.
fn u32_at(bytes: &[u8], start: usize, offset: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(word(bytes, start.checked_add(offset)?)?)).ok()
}

/// See [`u32_at`].
fn u64_at(bytes: &[u8], start: usize, offset: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(word(bytes, start.checked_add(offset)?)?)).ok()
}

/// Offsets of [`CALLS`] in an image, by its dynamic symbols (elf(5)).
fn functions(image: &[u8]) -> Option<Vec<(usize, i64)>> {
    const DYNSYM: usize = 11;
    let (headers, size, count) = (
        u64_at(image, 0, 40)?,
        u16_at(image, 58)?,
        u16_at(image, 60)?,
    );
    let header = |i: usize| headers.checked_add(i.checked_mul(size)?);
    let section = |at: usize| Some((u64_at(image, at, 24)?, u64_at(image, at, 32)?));
    let symbols = (0..count).find_map(|i| {
        let at = header(i)?;
        (u32_at(image, at, 4)? == DYNSYM).then_some(at)
    })?;
    let (start, len) = section(symbols)?;
    let (names, _) = section(header(u32_at(image, symbols, 40)?)?)?;
    let table = image.get(start..start.checked_add(len)?)?;
    let found = table.chunks_exact(24).filter_map(|symbol| {
        let name = image.get(names.checked_add(u32_at(symbol, 0, 0)?)?..)?;
        let name = name.split(|b| *b == 0).next()?;
        let (_, call) = CALLS.iter().find(|(n, _)| n.as_bytes() == name)?;
        Some((u64_at(symbol, 0, 8)?, *call))
    });
    Some(found.collect())
}

/// What the function at an offset of the vDSO stands for.
fn call_at(offset: usize) -> Option<i64> {
    static FUNCTIONS: OnceLock<Vec<(usize, i64)>> = OnceLock::new();
    let all = FUNCTIONS.get_or_init(|| {
        let image = IMAGE.get();
        image
            .and_then(|(_, bytes)| functions(bytes))
            .unwrap_or_default()
    });
    all.iter()
        .find(|(at, _)| *at == offset)
        .map(|(_, call)| *call)
}

impl MemoryManager {
    /// Whether calls of the vDSO fault from now on, or no more. `thread` is a stopped one of this address space.
    ///
    /// # Errors
    /// What the host says.
    pub fn conceal_vdso(&self, thread: &dyn Thread, conceal: bool) -> Result<()> {
        let range = {
            let s = self.state.lock();
            s.layout.vdso.filter(|_| s.layout.vdso_concealed != conceal)
        };
        let Some((addr, len)) = range else {
            return Ok(());
        };
        before_exchange();
        let op = MemOp::Vdso {
            addr,
            len,
            callable: !conceal,
        };
        thread.execute(&[op]).map_err(|e| match e {
            cofferdam_platform::Error::Op { errno, .. } => Errno::from_raw(errno),
            _ => Errno::ENOMEM,
        })?;
        let mut s = self.state.lock();
        s.layout.vdso_concealed = conceal;
        s.layout.vdso_revealed |= !conceal;
        Ok(())
    }
    /// What a fault of this instruction at `addr` is, if it is one of a concealed vDSO.
    pub fn vdso_fault(&self, rip: u64, addr: u64) -> Option<VdsoFault> {
        let ((start, len), concealed) = {
            let s = self.state.lock();
            // Two threads may fault before either is answered, and one of them reveals it to both.
            let again = s.layout.vdso_revealed && addr == rip;
            let concealed = s.layout.vdso_concealed;
            (s.layout.vdso.filter(|_| concealed || again)?, concealed)
        };
        let offset = rip.checked_sub(start).filter(|o| *o < len)?;
        if !concealed {
            return Some(VdsoFault::Within);
        }
        let call = usize::try_from(offset).ok().and_then(call_at);
        Some(call.map_or(VdsoFault::Within, VdsoFault::Call))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_hosts() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let Some(line) = maps.lines().find(|l| l.ends_with("[vdso]")) else {
            println!("skipped: the host has no vDSO");
            return;
        };
        let (start, rest) = line.split_once('-').unwrap();
        let end = rest.split(' ').next().unwrap();
        let number = |s| u64::from_str_radix(s, 16).unwrap();
        let mut image = vec![0; usize::try_from(number(end) - number(start)).unwrap()];
        let mut file = std::fs::File::open("/proc/self/mem").unwrap();
        use std::io::{Read, Seek, SeekFrom};
        file.seek(SeekFrom::Start(number(start))).unwrap();
        file.read_exact(&mut image).unwrap();
        let found = functions(&image).unwrap();
        assert!(
            found
                .iter()
                .any(|(at, call)| *at > 0 && *call == libc::SYS_clock_gettime)
        );
        assert!(found.iter().all(|(at, _)| *at < image.len()));
        // Nothing of it is relied on.
        for cut in [0, 40, 64, image.len() / 2] {
            let _ = functions(&image[..cut]);
        }
        image[40..64].fill(0xff);
        assert!(functions(&image).is_none());
    }
}
