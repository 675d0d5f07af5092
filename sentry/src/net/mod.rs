//! Sockets. One [`Socket`] implementation per family and type; [`socket`] has what they share.
//!
//! TCP, UDP and AF_UNIX sockets hand data straight to each other's queues; raw and packet sockets see packets ([`inet`], [`packet`]).
//! docs/network.md is the overview.
//!
//! Locks: `NET_TABLE` (names and ports) → one socket's state (`OBJECT`) → IP options (`SOCKET_OPTIONS`) → interfaces
//! (`INTERFACES`) → other options (`LEAF`). Two sockets' states are never held
//! together. Files that travel in messages are dropped without locks (see [`unix`]).

pub mod filter;
pub mod inet;
pub mod interface;
mod namespace;
pub mod netlink;
pub mod options;
pub mod packet;
pub mod socket;
pub mod unix;

use crate::sync::Notify;
use crate::time::{Instant, TimerHandle, TimerQueue};
use std::sync::{Arc, OnceLock};

pub use namespace::{NetNamespace, QUOTA as NAMESPACE_QUOTA};
pub use options::Options;
pub use socket::{
    Cmsg, MsgFlags, Received, RecvMsg, SendMsg, Sender, Shutdown, SockCx, SockType, Socket, Ucred,
};

/// The sandbox's timers, for sockets.
static TIMERS: OnceLock<Arc<TimerQueue>> = OnceLock::new();

/// Gives sockets timers, once, at boot.
pub fn set_timers(timers: &Arc<TimerQueue>) {
    let _ = TIMERS.set(timers.clone());
}

/// Tells `target` after `ns` nanoseconds; `None` without timers.
fn timer(ns: u64, target: Arc<dyn Notify>) -> Option<TimerHandle> {
    Some(TIMERS.get()?.arm(Instant::now().after(ns), target))
}
