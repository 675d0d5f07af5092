//! Typed decoding of the six argument registers.

use crate::usermem::{UserPtr, UserStr};

/// The six raw argument registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Args(pub [u64; 6]);

/// A descriptor argument; Linux looks at the low 32 bits only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub i32);

/// A type that an argument register decodes to. Narrower integers take the low bits, as Linux's SYSCALL_DEFINE does.
pub trait FromArg {
    /// Decodes one register.
    fn from_arg(raw: u64) -> Self;
}

impl Args {
    /// Argument `n` (0 to 5) as a `T`.
    pub fn get<T: FromArg>(&self, n: usize) -> T {
        T::from_arg(self.0.get(n).copied().unwrap_or(0))
    }
}

impl FromArg for u64 {
    fn from_arg(raw: u64) -> u64 {
        raw
    }
}
impl FromArg for i64 {
    fn from_arg(raw: u64) -> i64 {
        raw.cast_signed()
    }
}
impl FromArg for usize {
    fn from_arg(raw: u64) -> usize {
        raw as usize
    }
}
impl FromArg for u32 {
    fn from_arg(raw: u64) -> u32 {
        raw as u32
    }
}
impl FromArg for i32 {
    fn from_arg(raw: u64) -> i32 {
        (raw as u32).cast_signed()
    }
}
impl FromArg for u16 {
    fn from_arg(raw: u64) -> u16 {
        raw as u16
    }
}
impl FromArg for Fd {
    fn from_arg(raw: u64) -> Fd {
        Fd(i32::from_arg(raw))
    }
}
impl<T> FromArg for UserPtr<T> {
    fn from_arg(raw: u64) -> UserPtr<T> {
        UserPtr::new(raw)
    }
}
impl FromArg for UserStr {
    fn from_arg(raw: u64) -> UserStr {
        UserStr(raw)
    }
}
