//! Argument and environment strings: reading them from the guest, and their limits (`bprm_stack_limits`).

use super::LoadRequest;
use crate::abi::{Errno, Result};
use crate::usermem::{GuestMemory, UserPtr, UserStr};

/// Longest single string with its NUL (`MAX_ARG_STRLEN`), in bytes.
const MAX_STRING: usize = 32 * 4096;
/// What every program may have, whatever its stack limit (`ARG_MAX`), in bytes.
const ALWAYS: u64 = 131_072;
/// What no program may exceed (three quarters of the default stack limit), in bytes.
const MOST: u64 = 6 << 20;

/// Bytes of strings and pointers that a program with this RLIMIT_STACK may get.
pub fn strings_limit(stack_limit: u64) -> u64 {
    (stack_limit / 4).clamp(ALWAYS, MOST)
}

/// Reads a NULL-terminated array of strings (argv, envp). A null `ptr` is an empty one. `budget` is what is left of [`strings_limit`]; it
/// is reduced by what was read.
///
/// # Errors
/// EFAULT; E2BIG.
pub fn read_strings(
    mem: &dyn GuestMemory,
    ptr: UserPtr<u64>,
    budget: &mut u64,
) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    if ptr.is_null() {
        return Ok(out);
    }
    for i in 0.. {
        let at = mem.get(ptr.offset(i))?;
        if at == 0 {
            break;
        }
        take(budget, 8)?;
        let longest = usize::try_from(*budget)
            .unwrap_or(usize::MAX)
            .min(MAX_STRING);
        let s = mem.read_cstr(UserStr(at), longest).map_err(|e| match e {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            e => e,
        })?;
        take(budget, s.len() as u64 + 1)?;
        out.push(s);
    }
    Ok(out)
}

fn take(budget: &mut u64, n: u64) -> Result<()> {
    *budget = budget.checked_sub(n).ok_or(Errno::E2BIG)?;
    Ok(())
}

/// E2BIG if what is to go on the stack is too much.
pub(super) fn check_total(req: &LoadRequest<'_>) -> Result<()> {
    let strings = || req.argv.iter().chain(&req.envp);
    if strings().any(|s| s.len() >= MAX_STRING) {
        return Err(Errno::E2BIG);
    }
    let bytes: u64 = strings().map(|s| s.len() as u64 + 1 + 8).sum();
    if bytes + req.path.len() as u64 + 1 > strings_limit(req.limits.stack) {
        return Err(Errno::E2BIG);
    }
    Ok(())
}
