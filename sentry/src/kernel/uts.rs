//! UTS namespaces (uts_namespaces(7)): the names of the machine that a task sees and may set.
//!
//! A task has one; children share it unless they are made with CLONE_NEWUTS. No descriptor names one, so that it ends with its
//! last task.

use crate::sync::{Mutex, Rank};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of the initial one, as in Linux (PROC_UTS_INIT_INO).
const INITIAL: u64 = 4_026_531_838;
/// Numbers of the others are above those of all initial namespaces.
static NEXT: AtomicU64 = AtomicU64::new(4_026_532_000);

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
    number: u64,
    names: Mutex<UtsNames>,
}

impl UtsNamespace {
    /// That of the first process.
    pub(super) fn initial(hostname: &[u8]) -> Arc<UtsNamespace> {
        let names = UtsNames {
            hostname: hostname.to_vec(),
            domainname: b"(none)".to_vec(),
        };
        Self::with(INITIAL, names)
    }

    fn with(number: u64, names: UtsNames) -> Arc<UtsNamespace> {
        Arc::new(UtsNamespace {
            number,
            names: Mutex::new(Rank::LEAF, names),
        })
    }

    /// A new one with the same names.
    pub fn duplicate(&self) -> Arc<UtsNamespace> {
        let names = self.names.lock().clone();
        Self::with(NEXT.fetch_add(1, Ordering::Relaxed), names)
    }

    /// What `/proc/PID/ns/uts` shows.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The names.
    pub fn names(&self) -> &Mutex<UtsNames> {
        &self.names
    }
}
