//! Extended attributes of one object (xattr(7)), counted against the quota.

use super::{PAGE, Tmpfs};
use crate::abi::{Errno, Result};
use std::collections::BTreeMap;

/// XATTR_CREATE.
const CREATE: u32 = 1;
/// XATTR_REPLACE.
const REPLACE: u32 = 2;
/// Names and values of one object together.
const MAX_TOTAL: usize = 128 << 10;

#[derive(Default)]
pub(super) struct Xattrs {
    // Almost no object has any: one pointer then.
    #[allow(clippy::box_collection)]
    map: Option<Box<BTreeMap<Vec<u8>, Vec<u8>>>>,
    bytes: usize,
}

/// EOPNOTSUPP for families that have no store here (POSIX ACLs, `system.`), EINVAL for a family without a name.
fn supported(name: &[u8]) -> Result<()> {
    let family = [&b"user."[..], b"trusted.", b"security."]
        .into_iter()
        .find(|p| name.starts_with(p));
    match family {
        None => Err(Errno::EOPNOTSUPP),
        Some(p) if name.len() == p.len() => Err(Errno::EINVAL),
        Some(_) => Ok(()),
    }
}

impl Xattrs {
    pub(super) fn pages(&self) -> u64 {
        self.bytes.div_ceil(PAGE) as u64
    }
    pub(super) fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        supported(name)?;
        self.map
            .as_ref()
            .and_then(|m| m.get(name))
            .cloned()
            .ok_or(Errno::ENODATA)
    }
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        self.map
            .as_ref()
            .map(|m| m.keys().cloned().collect())
            .unwrap_or_default()
    }
    fn resize(&mut self, fs: &Tmpfs, bytes: usize) -> Result<()> {
        let (old, new) = (self.pages(), bytes.div_ceil(PAGE) as u64);
        if new > old {
            fs.charge_pages(new - old)?;
        } else {
            fs.release_pages(old - new);
        }
        self.bytes = bytes;
        Ok(())
    }
    pub(super) fn set(&mut self, fs: &Tmpfs, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        supported(name)?;
        let old = self.map.as_ref().and_then(|m| m.get(name)).map(Vec::len);
        match old {
            Some(_) if flags & CREATE != 0 => return Err(Errno::EEXIST),
            None if flags & REPLACE != 0 => return Err(Errno::ENODATA),
            _ => {}
        }
        let was = old.map_or(0, |n| n + name.len());
        let bytes = self.bytes - was + name.len() + value.len();
        if bytes > MAX_TOTAL {
            return Err(Errno::ENOSPC);
        }
        self.resize(fs, bytes)?;
        self.map
            .get_or_insert_default()
            .insert(name.to_vec(), value.to_vec());
        Ok(())
    }
    pub(super) fn remove(&mut self, fs: &Tmpfs, name: &[u8]) -> Result<()> {
        supported(name)?;
        let value = self
            .map
            .as_mut()
            .and_then(|m| m.remove(name))
            .ok_or(Errno::ENODATA)?;
        self.resize(fs, self.bytes - name.len() - value.len())
    }
}
