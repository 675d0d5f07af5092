//! What namespaces of every kind have (`struct ns_common`): a number, and the user namespace that owns them.

use super::UserNamespace;
use super::user_ns::next_number;
use crate::abi::{Errno, Result};
use crate::sync::{Charge, Quota};
use std::sync::Arc;

/// Number and owner of a namespace.
#[derive(Debug)]
pub struct NsCommon {
    number: u64,
    owner: Arc<UserNamespace>,
    _charge: Option<Charge>,
}

impl NsCommon {
    /// Of one that the sandbox starts with.
    pub fn initial(number: u64) -> NsCommon {
        NsCommon {
            number,
            owner: UserNamespace::initial().clone(),
            _charge: None,
        }
    }
    /// Of one that a guest makes.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub fn create(quota: &'static Quota, owner: &Arc<UserNamespace>) -> Result<NsCommon> {
        Ok(NsCommon {
            number: next_number(),
            owner: owner.clone(),
            _charge: Some(quota.charge(1).ok_or(Errno::ENOSPC)?),
        })
    }
    /// What `/proc/PID/ns/*` show.
    pub fn number(&self) -> u64 {
        self.number
    }
    /// Capabilities over what is in it count in this user namespace.
    pub fn owner(&self) -> &Arc<UserNamespace> {
        &self.owner
    }
}
