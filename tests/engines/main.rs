//! Real engines with Cofferdam as their runtime: an engine of the test's own, on a private socket and data root, with an image
//! made from a busybox tree. Needs root and Debian's `busybox-static`, `docker.io`,
//! `containerd`, `podman`; without them each test says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

#[path = "../common/mod.rs"]
mod common;

mod containerd;
mod cri;
mod docker;
mod image;
mod podman;
