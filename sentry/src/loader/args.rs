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
    let mut window = Window::new(mem);
    for i in 0.. {
        let at = window.word(ptr.offset(i))?;
        if at == 0 {
            break;
        }
        take(budget, 8)?;
        let longest = usize::try_from(*budget)
            .unwrap_or(usize::MAX)
            .min(MAX_STRING);
        let s = window.string(at, longest)?;
        take(budget, s.len() as u64 + 1)?;
        out.push(s);
    }
    Ok(out)
}

/// Most pages that are kept of guest memory.
const PAGES: usize = 64;
const PAGE: u64 = 4096;

/// The pages of guest memory that were read: strings and pointers lie side by side, or anywhere in a few pages of a heap, and each copy has its price.
struct Window<'a> {
    mem: &'a dyn GuestMemory,
    /// Address and what could be read from there on, the latest last.
    pages: Vec<(u64, Vec<u8>)>,
}

impl<'a> Window<'a> {
    fn new(mem: &'a dyn GuestMemory) -> Window<'a> {
        Window {
            mem,
            pages: Vec::new(),
        }
    }
    /// What can be read from `addr` to the end of its page.
    fn at(&mut self, addr: u64) -> &[u8] {
        let (page, skip) = (addr - addr % PAGE, (addr % PAGE) as usize);
        let at = match self.pages.iter().rposition(|(start, _)| *start == page) {
            Some(at) => at,
            None => {
                let mut bytes = vec![0; PAGE as usize];
                let got = self.mem.read_partial(page, &mut bytes);
                bytes.truncate(got);
                if self.pages.len() >= PAGES {
                    self.pages.clear();
                }
                self.pages.push((page, bytes));
                self.pages.len() - 1
            }
        };
        let bytes = self.pages.get(at).map(|(_, bytes)| bytes.as_slice());
        bytes.and_then(|b| b.get(skip..)).unwrap_or_default()
    }
    fn word(&mut self, ptr: UserPtr<u64>) -> Result<u64> {
        match self.at(ptr.addr()).first_chunk() {
            Some(word) => Ok(u64::from_le_bytes(*word)),
            // Across a page's end, or not readable.
            None => self.mem.get(ptr),
        }
    }
    fn string(&mut self, addr: u64, max: usize) -> Result<Vec<u8>> {
        let here = self.at(addr);
        let here = here.get(..max).unwrap_or(here);
        if let Some(nul) = here.iter().position(|b| *b == 0) {
            return Ok(here.get(..nul).unwrap_or_default().to_vec());
        }
        self.mem.read_cstr(UserStr(addr), max).map_err(|e| match e {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            e => e,
        })
    }
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
