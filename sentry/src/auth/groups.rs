//! Supplementary groups of a task (`struct group_info`).

use crate::abi::{Errno, Result};
use crate::sync::{Charge, Quota};
use std::ops::Deref;

/// Ids in all lists that guests have set: each task may have 65536 of its own.
static IDS: Quota = Quota::new(4 << 20);

/// A list of group ids.
#[derive(Debug)]
pub struct Groups {
    ids: Box<[u32]>,
    _charge: Option<Charge>,
}

impl Groups {
    /// A list that the sandbox's owner gives.
    pub fn few(ids: &[u32]) -> Groups {
        Groups {
            ids: ids.into(),
            _charge: None,
        }
    }

    /// A list that a guest sets, sorted.
    ///
    /// # Errors
    /// ENOMEM if the sandbox has too many ids.
    pub fn set(mut ids: Vec<u32>) -> Result<Groups> {
        ids.sort_unstable();
        Ok(Groups {
            _charge: Some(IDS.charge(ids.len()).ok_or(Errno::ENOMEM)?),
            ids: ids.into(),
        })
    }
}

impl Deref for Groups {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        &self.ids
    }
}

impl PartialEq for Groups {
    fn eq(&self, other: &Groups) -> bool {
        self.ids == other.ids
    }
}

impl Eq for Groups {}
