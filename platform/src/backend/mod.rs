//! The backends: one module per way to trap system calls.
pub mod notify;
pub mod ptrace;
