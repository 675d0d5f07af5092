//! The system call table: each family contributes its calls; strace output, audit, benchmarks and the
//! compatibility page read it.

use super::{Args, Cx, SysResult};
use crate::abi::sysno;
use std::sync::LazyLock;

/// A handler.
pub type Handler = fn(&mut Cx<'_>, &Args) -> SysResult;

/// How an argument is to be shown and decoded (strace).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// Signed decimal.
    Int,
    /// Unsigned decimal: sizes, counts.
    Uint,
    /// Hexadecimal: flags without names, cookies.
    Hex,
    /// Octal: modes.
    Mode,
    /// A descriptor.
    Fd,
    /// A descriptor or AT_FDCWD.
    DirFd,
    /// A NUL-terminated path.
    Path,
    /// A NUL-terminated string that is no path.
    Str,
    /// A NULL-terminated array of strings (argv).
    StrArray,
    /// Address of an environment: how many variables it has.
    Environment,
    /// An address that is not decoded.
    Ptr,
    /// A buffer that the call reads; its length is the argument with this index.
    InBuf(u8),
    /// A buffer that the call fills; its length is the result.
    OutBuf,
    /// A signal number.
    Signal,
    /// open(2) flags.
    OpenFlags,
    /// Flags with these names, or this name for none.
    Flags(&'static [(u64, &'static str)], &'static str),
    /// One of these values, by name.
    Name(&'static [(u64, &'static str)]),
    /// mmap(2) protection.
    Prot,
    /// mmap(2) flags.
    MapFlags,
    /// `struct timespec` read by the call.
    Timespec,
    /// A pid or tid.
    Pid,
    /// clone(2) flags.
    CloneFlags,
    /// `struct sockaddr` read by the call; its length is the argument with this index.
    SockAddr(u8),
}

/// How complete a call is, for the compatibility page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux.
    Full,
    /// What differs, in a few words.
    Partial(&'static str),
}

/// One system call.
#[derive(Clone, Copy)]
pub struct Syscall {
    /// x86-64 number.
    pub number: usize,
    /// Name, as in the man pages.
    pub name: &'static str,
    /// The function.
    pub handler: Handler,
    /// Its arguments, in order.
    pub args: &'static [ArgKind],
    /// How complete it is.
    pub support: Support,
}

impl Syscall {
    /// A complete call; the number is found by name (compile-time constant `libc::SYS_*` in tables).
    pub const fn new(
        number: i64,
        name: &'static str,
        handler: Handler,
        args: &'static [ArgKind],
    ) -> Syscall {
        Syscall {
            number: number as usize,
            name,
            handler,
            args,
            support: Support::Full,
        }
    }
    /// The same with a note on what is missing.
    pub const fn partial(self, note: &'static str) -> Syscall {
        Syscall {
            support: Support::Partial(note),
            ..self
        }
    }
}

/// Every family's calls. A new family is one line here.
static FAMILIES: &[&[Syscall]] = &[
    super::file::TABLE,
    super::path::TABLE,
    super::memory::TABLE,
    super::process::TABLE,
    super::credentials::TABLE,
    super::signal::TABLE,
    super::time::TABLE,
    super::socket::TABLE,
    super::poll::TABLE,
    super::futex::TABLE,
    super::system::TABLE,
    super::keys::TABLE,
    super::sysv::TABLE,
    super::aio::TABLE,
];

static TABLE: LazyLock<Vec<Option<&'static Syscall>>> = LazyLock::new(|| {
    let mut t = vec![None; sysno::LIMIT];
    for call in FAMILIES.iter().flat_map(|f| f.iter()) {
        if let Some(slot) = t.get_mut(call.number) {
            *slot = Some(call);
        }
    }
    t
});

/// The call with this number, if it is implemented.
pub fn lookup(number: u64) -> Option<&'static Syscall> {
    TABLE.get(usize::try_from(number).ok()?).copied().flatten()
}

/// All implemented calls by number.
pub fn all() -> impl Iterator<Item = &'static Syscall> {
    TABLE.iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_numbers_and_no_number_is_taken_twice() {
        let mut seen = vec![false; sysno::LIMIT];
        for call in FAMILIES.iter().flat_map(|f| f.iter()) {
            assert_eq!(
                sysno::name(call.number),
                Some(call.name),
                "number {}",
                call.number
            );
            assert!(
                !std::mem::replace(&mut seen[call.number], true),
                "{} is in two families",
                call.name
            );
        }
    }
}
