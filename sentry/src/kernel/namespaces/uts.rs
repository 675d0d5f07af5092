//! UTS namespaces (uts_namespaces(7)): the names of the machine that a task sees and may set.

use crate::abi::Result;
use crate::auth::{NsCommon, UserNamespace};
use crate::sync::{Mutex, Quota, Rank};
use std::sync::Arc;

/// Most of them (`user.max_uts_namespaces`).
pub static QUOTA: Quota = Quota::new(1024);

/// uname(2)'s settable names.
#[derive(Clone, Debug)]
pub struct UtsNames {
    /// nodename
    pub hostname: Vec<u8>,
    /// domainname
    pub domainname: Vec<u8>,
}

/// `struct uts_namespace`.
pub struct UtsNamespace {
    /// Number and owner.
    pub common: NsCommon,
    names: Mutex<UtsNames>,
}

impl UtsNamespace {
    /// That of the first process.
    pub(super) fn initial(hostname: &[u8]) -> Arc<UtsNamespace> {
        let names = UtsNames {
            hostname: hostname.to_vec(),
            domainname: b"(none)".to_vec(),
        };
        Arc::new(UtsNamespace {
            common: NsCommon::initial(super::INITIAL_UTS),
            names: Mutex::new(Rank::LEAF, names),
        })
    }

    /// A new one with the same names.
    ///
    /// # Errors
    /// ENOSPC if there are too many.
    pub fn duplicate(&self, owner: &Arc<UserNamespace>) -> Result<Arc<UtsNamespace>> {
        let names = self.names.lock().clone();
        Ok(Arc::new(UtsNamespace {
            common: NsCommon::create(&QUOTA, owner)?,
            names: Mutex::new(Rank::LEAF, names),
        }))
    }

    /// The names.
    pub fn names(&self) -> &Mutex<UtsNames> {
        &self.names
    }
}
