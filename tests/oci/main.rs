//! The OCI runtime's verbs on bundles of a busybox tree, called as an engine calls them. Needs root and Debian's
//! `busybox-static`; without them each test says so and does nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

#[path = "../common/mod.rs"]
mod common;

mod bundle;
mod config;
mod crash;
mod exec;
mod groups;
mod hooks;
mod life;
mod limits;
mod races;
mod systemd;
