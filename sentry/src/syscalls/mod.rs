//! System calls: one small function per call, grouped by family, and the table that names them.
//!
//! A handler decodes its arguments by type, validates and delegates. It never sleeps: what would have to wait
//! returns [`SysErr::Block`], the task is parked, and the handler is run again from the start when it is woken. What
//! an earlier run achieved is in [`Cx::progress`].

mod aio;
mod args;
pub mod credentials;
pub mod file;
pub mod futex;
pub mod keys;
pub mod memory;
pub mod path;
pub mod poll;
pub mod process;
pub mod result;
pub mod signal;
pub mod socket;
pub mod strace;
pub mod system;
pub mod sysv;
mod table;
pub mod time;

pub use args::{Args, Fd, FromArg};
pub use result::{Block, OnSignal, SysErr, SysResult, TURN, TURN_NS, file_op, file_wait};
pub use table::{ArgKind, Handler, Support, Syscall, all, lookup};

pub use crate::kernel::Cx;
