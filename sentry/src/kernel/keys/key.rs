//! One key: its type, rights and contents.

use crate::abi::{Errno, Result};
use crate::auth::{Caps, Credentials};
use crate::time::Instant;

/// Rights, in each of the bytes for possessor, user, group and others (keyctl_setperm(3)).
#[allow(missing_docs)]
pub mod right {
    pub const VIEW: u32 = 1;
    pub const READ: u32 = 2;
    pub const WRITE: u32 = 4;
    pub const SEARCH: u32 = 8;
    pub const LINK: u32 = 0x10;
    pub const SETATTR: u32 = 0x20;
}

/// All rights there are.
pub const ALL_RIGHTS: u32 = 0x3f3f_3f3f;

/// Types of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    User,
    Logon,
    BigKey,
    Keyring,
}

impl Kind {
    /// By name; ENODEV if there is no such type.
    pub fn parse(name: &[u8]) -> Result<Kind> {
        match name {
            b"user" => Ok(Kind::User),
            b"logon" => Ok(Kind::Logon),
            b"big_key" => Ok(Kind::BigKey),
            b"keyring" => Ok(Kind::Keyring),
            _ => Err(Errno::ENODEV),
        }
    }
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Logon => "logon",
            Kind::BigKey => "big_key",
            Kind::Keyring => "keyring",
        }
    }
    /// EINVAL unless a key of this type can have such a payload.
    pub fn check_payload(self, len: usize) -> Result<()> {
        let good = match self {
            Kind::Keyring => len == 0,
            Kind::User | Kind::Logon => (1..=32767).contains(&len),
            Kind::BigKey => (1..1 << 20).contains(&len),
        };
        if good { Ok(()) } else { Err(Errno::EINVAL) }
    }
    /// What a new key may be used for: by its possessor for all that the type knows, its user sees it.
    pub fn default_rights(self) -> u32 {
        match self {
            Kind::Logon => 0x3d01_0000,
            _ => 0x3f01_0000,
        }
    }
}

/// What a key holds.
#[derive(Debug)]
pub enum Content {
    /// Secret bytes.
    Bytes(Vec<u8>),
    /// Numbers of the keys linked to a keyring, in order.
    Links(Vec<i32>),
}

/// A key or keyring.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Key {
    pub kind: Kind,
    pub description: Vec<u8>,
    pub uid: u32,
    pub gid: u32,
    pub rights: u32,
    pub content: Content,
    pub expires: Option<Instant>,
    pub revoked: bool,
    /// It says only that there is no such key.
    pub negative: bool,
}

impl Key {
    /// What it counts against its user's quota, in bytes.
    pub fn cost(&self) -> usize {
        let held = match &self.content {
            Content::Bytes(b) => b.len(),
            Content::Links(l) => l.len() * 4,
        };
        held + self.description.len() + 1
    }
    /// The keys linked to it.
    pub fn links(&self) -> &[i32] {
        match &self.content {
            Content::Links(l) => l,
            Content::Bytes(_) => &[],
        }
    }
    /// EKEYREVOKED, EKEYEXPIRED.
    pub fn check_alive(&self) -> Result<()> {
        if self.revoked {
            return Err(Errno::EKEYREVOKED);
        }
        if self.expires.is_some_and(|at| at <= Instant::now()) {
            return Err(Errno::EKEYEXPIRED);
        }
        Ok(())
    }
    /// ENOKEY.
    pub fn check_positive(&self) -> Result<()> {
        if self.negative {
            return Err(Errno::ENOKEY);
        }
        Ok(())
    }
    /// Whether somebody has all of these rights (`key_task_permission`).
    pub fn grants(&self, creds: &Credentials, possessed: bool, rights: u32) -> bool {
        let shift = if self.uid == creds.fsuid {
            16
        } else if self.rights >> 8 & 0x3f != 0 && creds.in_group(self.gid) {
            8
        } else {
            0
        };
        let mut had = self.rights >> shift;
        if possessed {
            had |= self.rights >> 24;
        }
        had & rights == rights
    }
    /// EACCES unless the caller owns it or may act for its owner.
    pub fn check_owner(&self, creds: &Credentials) -> Result<()> {
        if self.uid == creds.fsuid || creds.has(Caps::SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }
}
