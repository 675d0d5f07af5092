//! Sockets and what they connect to.
