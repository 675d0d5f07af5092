//! The user-space kernel: Linux's kernel objects and system calls for untrusted programs.
//!
//! Imports point down only: `abi` ← `sync`, `time`, `auth` ← `usermem` ← `vfs` ← `mm` ← `loader`; `fs` and
//! `net` never import `kernel` (credentials and memory come as arguments); `kernel` stands above them;
//! `procfs`, `profile` and `syscalls` on top; `boot` sees all. `tests/style.rs` of the root package checks it.

pub mod abi;
pub mod auth;
pub mod boot;
pub mod fs;
pub mod kernel;
pub mod loader;
pub mod mm;
pub mod net;
pub mod procfs;
pub mod profile;
pub mod sync;
pub mod syscalls;
pub mod time;
pub mod usermem;
pub mod vfs;
