//! Sockets. One [`Socket`] implementation per family and type; [`socket`] has what they share.
//!
//! There are no packets: loopback and AF_UNIX sockets hand data straight to each other's queues.
//!
//! Locks: `NET_TABLE` (names and ports) → one socket's state (`OBJECT`) → options (`LEAF`). Two sockets' states are never held
//! together. Files that travel in messages are dropped without locks (see [`unix`]).

pub mod inet;
pub mod interface;
mod namespace;
pub mod netlink;
pub mod options;
pub mod socket;
pub mod unix;

pub use namespace::{NetNamespace, QUOTA as NAMESPACE_QUOTA};
pub use options::Options;
pub use socket::{
    Cmsg, MsgFlags, Received, RecvMsg, SendMsg, Shutdown, SockCx, SockType, Socket, Ucred,
};
