//! The gofer: the one process of a sandbox that can name host files.
//!
//! The sentry holds no path and opens nothing. It asks the gofer over a Unix socket; the gofer
//! answers with handles, attributes and, for regular files, with the open descriptor itself.
//!
//! - [`protocol`]: the messages, their codec and their limits. Both sides treat the other as hostile.
//! - [`transport`]: how a message and at most one descriptor travel.
//! - [`host`]: descriptor-relative file operations; the only code that touches host files.
//! - [`server`]: handles, exports and one function per operation.
//! - [`client`]: the typed, thread-safe side the sentry uses.
//! - [`tree`]: builds the mount tree that becomes the gofer's whole world.
//! - [`filter`]: the system calls the server needs, as data for the jail.

pub mod client;
pub mod filter;
pub mod host;
pub mod protocol;
pub mod server;
pub mod transport;
pub mod tree;
