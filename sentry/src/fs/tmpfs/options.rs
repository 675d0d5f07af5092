//! Mount options of tmpfs.

use super::PAGE;
use crate::abi::{Errno, Result};
use crate::auth::UserNamespace;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What mount(8) takes as `-o size=…,nr_inodes=…,mode=…,uid=…,gid=…`.
#[derive(Clone, Debug)]
pub struct TmpfsOptions {
    /// Most bytes, rounded up to pages; `None` without limit.
    pub size: Option<u64>,
    /// Most objects and links.
    pub inodes: u64,
    /// Permission bits of the root.
    pub mode: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
}

/// Memory of the host in bytes, read once, before lock-down.
static HOST_MEMORY: LazyLock<u64> =
    LazyLock::new(|| nix::sys::sysinfo::sysinfo().map_or(1 << 30, |s| s.ram_total()));

/// In bytes: what all tmpfs of the sandbox may take, if that is less than half of the host's memory.
static ROOM: AtomicU64 = AtomicU64::new(u64::MAX);

/// The sandbox has this much memory (`None`: as much as the host). Its files may take three quarters of that: they cannot be
/// freed by killing anybody, so that a sandbox full of them would lose all its processes.
pub fn set_room(memory: Option<u64>) {
    let room = memory.map_or(u64::MAX, |m| m / 4 * 3);
    ROOM.store(room, Ordering::Relaxed);
}

/// In pages: what all tmpfs of the sandbox may take.
pub(super) fn room() -> u64 {
    (*HOST_MEMORY / 2).min(ROOM.load(Ordering::Relaxed)) / PAGE as u64
}

/// The same if it is a limit that somebody set: then statfs(2) shows it.
pub(super) fn room_set() -> Option<u64> {
    (ROOM.load(Ordering::Relaxed) != u64::MAX).then(room)
}

impl Default for TmpfsOptions {
    /// Half of the host's memory, half a million objects, mode 1777, root's.
    fn default() -> TmpfsOptions {
        let total = *HOST_MEMORY;
        TmpfsOptions {
            size: Some(total / 2),
            inodes: 1 << 19,
            mode: 0o1777,
            uid: 0,
            gid: 0,
        }
    }
}

impl TmpfsOptions {
    pub(super) fn pages(&self) -> u64 {
        self.size.map_or(u64::MAX, |s| s.div_ceil(PAGE as u64))
    }

    /// Reads mount(2)'s data string over the defaults.
    ///
    /// # Errors
    /// EINVAL for unknown options or bad values.
    pub fn parse(text: &[u8]) -> Result<TmpfsOptions> {
        Self::default().with(UserNamespace::initial(), text)
    }
    /// Changed by a data string with ids of somebody's user namespace.
    ///
    /// # Errors
    /// EINVAL, also for ids that it does not map.
    pub fn with(self, ns: &UserNamespace, text: &[u8]) -> Result<TmpfsOptions> {
        let mut o = self;
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        for item in text.split(',').filter(|s| !s.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            match key {
                "size" => {
                    o.size = match value.strip_suffix('%') {
                        Some(percent) => {
                            let percent: u64 = percent.parse().map_err(|_| Errno::EINVAL)?;
                            let half = TmpfsOptions::default().size.unwrap_or(0);
                            Some((half / 50).saturating_mul(percent))
                        }
                        None => limit(value)?,
                    }
                }
                "nr_blocks" => {
                    o.size = limit(value)?
                        .map(|n| n.checked_mul(PAGE as u64).ok_or(Errno::EINVAL))
                        .transpose()?;
                }
                "nr_inodes" => o.inodes = limit(value)?.unwrap_or(o.inodes),
                "mode" => {
                    o.mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777;
                }
                "uid" => o.uid = ns.user_arg(value.parse().map_err(|_| Errno::EINVAL)?)?,
                "gid" => o.gid = ns.group_arg(value.parse().map_err(|_| Errno::EINVAL)?)?,
                // Where pages come from is the host's business.
                "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(o)
    }

    /// As /proc/mounts shows them.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(size) = self.size {
            parts.push(format!("size={}k", size.div_ceil(1024)));
        }
        parts.push(format!("nr_inodes={}", self.inodes));
        if self.mode != 0o1777 {
            parts.push(format!("mode={:o}", self.mode));
        }
        if self.uid != 0 {
            parts.push(format!("uid={}", self.uid));
        }
        if self.gid != 0 {
            parts.push(format!("gid={}", self.gid));
        }
        parts.join(",")
    }
}

/// A number with an optional k, m or g; 0 means no limit.
fn limit(text: &str) -> Result<Option<u64>> {
    let shift = match text.bytes().last() {
        Some(b'k' | b'K') => 10,
        Some(b'm' | b'M') => 20,
        Some(b'g' | b'G') => 30,
        _ => 0,
    };
    let digits = if shift == 0 {
        text
    } else {
        text.get(..text.len() - 1).unwrap_or("")
    };
    let n: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    let n = n.checked_mul(1 << shift).ok_or(Errno::EINVAL)?;
    Ok((n > 0).then_some(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_shown() {
        let o = TmpfsOptions::parse(b"size=64k,nr_inodes=100,mode=755,uid=3").unwrap();
        assert_eq!(o.pages(), 16);
        assert_eq!(o.text(), "size=64k,nr_inodes=100,mode=755,uid=3");
        assert_eq!(TmpfsOptions::parse(b"size=0").unwrap().pages(), u64::MAX);
        for bad in [&b"size=x"[..], b"bogus", b"mode=9", b"size=99999999999999g"] {
            assert_eq!(TmpfsOptions::parse(bad).err(), Some(Errno::EINVAL));
        }
    }
}
