//! File systems and the objects behind descriptors that have no file system of their own.

pub mod anon;
pub mod devfs;
pub mod devices;
pub mod epoll;
pub mod eventfd;
pub mod gofer;
pub mod host;
pub mod inotify;
pub mod overlay;
pub mod pipe;
pub mod pseudo;
pub mod sysfs;
pub mod timerfd;
pub mod tmpfs;
pub mod tty;

/// A device number (`st_dev`) for a file system without a device: major 0 and the next minor.
pub fn anonymous_device() -> u64 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(32);
    devices::makedev(0, NEXT.fetch_add(1, Ordering::Relaxed) & 0xf_ffff)
}
