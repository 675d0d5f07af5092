//! How much of an address space is in memory: the host knows, and is asked when somebody wants to know.
//!
//! The gofer opens two files of the host process ([`open_process`]): `statm`, which costs about a microsecond to read and has the
//! sizes of the moment, and `status`, which costs twenty and has the peak. Both stay open for as long as
//! the address space lives, unless there are too many. Where the host lets nobody look at processes all sizes are 0.

use super::{MemoryManager, PAGE};
use crate::abi::Errno;
use crate::sync::{Mutex, Rank};
use crate::vfs::host::{ProcessFile, open_process};
use cofferdam_platform::{AddressSpace, Thread};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Most files kept open in the sandbox, where descriptors are many.
const MAX_KEPT: u64 = 1024;
/// Of so many descriptors that the sentry may have, one is for a file kept open.
const SHARE: u64 = 16;
/// A process that used less CPU time than this is not looked at when it ends: looking would cost a notable part of its life.
const WORTH_A_LOOK: Duration = Duration::from_millis(2);
/// A peak is looked up again after this. Until then it is the greatest size that was seen, which misses only what came and went in between.
const PEAK_AGE: Duration = Duration::from_millis(10);

/// The host lets nobody look.
static UNKNOWABLE: AtomicBool = AtomicBool::new(false);
static KEPT: AtomicUsize = AtomicUsize::new(0);
static MAY_KEEP: AtomicUsize = AtomicUsize::new(0);

/// Says how many descriptors the process may have. Before the lock-down; without it nothing is kept open.
pub fn set_descriptors(limit: u64) {
    let keep = usize::try_from((limit / SHARE).min(MAX_KEPT)).unwrap_or(0);
    MAY_KEEP.store(keep, Ordering::Relaxed);
}

/// Resident sizes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// All of it.
    pub total: u64,
    /// Pages of files and shared memory.
    pub shared: u64,
}

/// What was learnt of one address space.
pub(super) struct Observed {
    statm: OnceLock<Kept>,
    status: OnceLock<Kept>,
    peak: AtomicU64,
    /// When the host was last asked for the peak.
    asked: Mutex<Option<Instant>>,
}

/// A file that counts among those kept.
struct Kept(OwnedFd);

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Observed {
    fn default() -> Observed {
        Observed {
            statm: OnceLock::new(),
            status: OnceLock::new(),
            peak: AtomicU64::new(0),
            asked: Mutex::new(Rank::LEAF, None),
        }
    }
}

impl Observed {
    /// The content of a file about the host process.
    fn read(&self, space: &dyn AddressSpace, file: ProcessFile) -> Option<String> {
        let slot = match file {
            ProcessFile::Statm => &self.statm,
            ProcessFile::Status => &self.status,
        };
        if let Some(kept) = slot.get() {
            return content(&kept.0);
        }
        if UNKNOWABLE.load(Ordering::Relaxed) {
            return None;
        }
        let opened = open_process(space.host_pid()?, file);
        if opened.as_ref().err() == Some(&Errno::EOPNOTSUPP) {
            UNKNOWABLE.store(true, Ordering::Relaxed);
        }
        let fd = opened.ok()?;
        // Still alive, so its id had not gone to another process.
        space.host_pid()?;
        let text = content(&fd);
        if KEPT.fetch_add(1, Ordering::Relaxed) < MAY_KEEP.load(Ordering::Relaxed) {
            // If another thread was faster, this one goes.
            let _ = slot.set(Kept(fd));
        } else {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
        text
    }

    fn now(&self, space: &dyn AddressSpace) -> Resident {
        let text = self.read(space, ProcessFile::Statm).unwrap_or_default();
        let now = parse_statm(&text).unwrap_or_default();
        self.peak.fetch_max(now.total, Ordering::Relaxed);
        now
    }

    fn ask_peak(&self, space: &dyn AddressSpace) {
        let text = self.read(space, ProcessFile::Status).unwrap_or_default();
        let peak = parse_peak(&text).unwrap_or(0);
        self.peak.fetch_max(peak, Ordering::Relaxed);
        *self.asked.lock() = Some(Instant::now());
    }
}

fn content(fd: &OwnedFd) -> Option<String> {
    let mut buf = [0; 4096];
    let n = nix::sys::uio::pread(fd, &mut buf, 0).ok()?;
    String::from_utf8(buf.get(..n)?.to_vec()).ok()
}

/// `size resident shared …`, in pages.
fn parse_statm(text: &str) -> Option<Resident> {
    let mut pages = text.split(' ').skip(1).map(|n| n.parse::<u64>().ok());
    let total = pages.next()??;
    let shared = pages.next()??;
    Some(Resident {
        total: total.saturating_mul(PAGE),
        shared: shared.min(total).saturating_mul(PAGE),
    })
}

/// `VmHWM:    1234 kB`.
fn parse_peak(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

impl MemoryManager {
    /// Resident sizes now; 0 if the host does not say.
    pub fn resident(&self) -> Resident {
        self.observed.now(&*self.space)
    }

    /// Greatest resident size so far, in bytes; 0 if the host does not say.
    pub fn resident_peak(&self) -> u64 {
        let o = &self.observed;
        let known = *o.asked.lock();
        if known.is_some_and(|at| at.elapsed() < PEAK_AGE) {
            o.now(&*self.space);
        } else {
            o.ask_peak(&*self.space);
        }
        o.peak.load(Ordering::Relaxed)
    }

    /// The same when the process ends, of which this is a thread and which has used so much CPU time; 0 for one that hardly ran.
    pub fn final_peak(&self, thread: &dyn Thread, cpu: Duration) -> u64 {
        if cpu >= WORTH_A_LOOK || self.observed.status.get().is_some() {
            let peak = thread.peak_memory();
            self.observed.peak.fetch_max(peak, Ordering::Relaxed);
        }
        self.observed.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_says_is_understood() {
        let statm = "263533 26230 91 1 0 263003 0\n";
        let want = Resident {
            total: 26230 * PAGE,
            shared: 91 * PAGE,
        };
        assert_eq!(parse_statm(statm), Some(want));
        assert_eq!(parse_statm(""), None);
        assert_eq!(parse_statm("1 x 2"), None);
        let status = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t   1234 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(parse_peak(status), Some(1234 << 10));
        // A process that is dying has no memory any more.
        assert_eq!(parse_peak("Name:\tx\nState:\tZ (zombie)\n"), None);
    }
}
