//! What guest threads are told of paths, so that the stub answers stat, lstat and access itself ([`Thread::tell`]).
//!
//! A task remembers which calls on which paths it made lately. One that comes again and again is told: the walk marks what the answer depends on ([`told`]), and who changes
//! that moves the answer's counter. An answer that did not pay is told again after twice as many calls. All of them end whenever the task's answers are given anew.
//!
//! [`Thread::tell`]: cofferdam_platform::Thread::tell
//! [`told`]: crate::vfs::told

use super::Cx;
use crate::abi::{Errno, Result};
use crate::vfs::told::Teller;
use cofferdam_platform::{PATH_LONGEST, PathAnswer, PathCall, path_hash};

/// How many calls are remembered.
const REMEMBERED: usize = 64;
/// After so many calls the first answer is told.
const FIRST: u16 = 8;
/// So often the number is doubled at most.
const MOST: u8 = 6;
/// An answer that was given so often paid.
const PAYS: u32 = 32;

/// A call on a path.
#[derive(Clone, Copy, Default)]
struct Memory {
    /// Half of what call and path are mixed to.
    hash: u32,
    /// How often it was made since it was told.
    asked: u16,
    /// How often the number of calls is doubled.
    doubled: u8,
    is_told: bool,
}

/// The calls on paths that a task made lately.
pub(super) struct Memories {
    all: [Memory; REMEMBERED],
    /// The platform has no use for it.
    in_vain: bool,
}

impl Default for Memories {
    fn default() -> Memories {
        Memories {
            all: [Memory::default(); REMEMBERED],
            in_vain: false,
        }
    }
}

impl Memories {
    fn of(&mut self, hash: u64) -> Option<&mut Memory> {
        self.all.get_mut((hash >> 58) as usize % REMEMBERED)
    }
    /// Whether the answer is to be told.
    fn asked(&mut self, hash: u64) -> bool {
        let short = (hash >> 20) as u32;
        let Some(memory) = self.of(hash) else {
            return false;
        };
        if memory.hash != short {
            *memory = Memory {
                hash: short,
                ..Memory::default()
            };
        }
        memory.asked = memory.asked.saturating_add(1);
        if memory.asked < FIRST << memory.doubled {
            return false;
        }
        memory.asked = 0;
        true
    }
    /// It was, and what was told before had been used so often.
    fn told(&mut self, hash: u64, uses: u32) {
        if let Some(memory) = self.of(hash) {
            let again = std::mem::replace(&mut memory.is_told, true);
            memory.doubled = match (again, uses) {
                (true, PAYS..) => 0,
                (true, _) => MOST.min(memory.doubled + 1),
                (false, _) => memory.doubled,
            };
        }
    }
}

/// A call that is to be told, if all goes well.
pub struct Telling {
    call: PathCall,
    hash: u64,
    /// `None` once it is known that it cannot be.
    pub teller: Option<Teller>,
}

/// A call on an absolute path was made that the stub could answer; whether it is to be told what comes of it.
pub fn asked(cx: &mut Cx<'_>, call: PathCall, path: &[u8]) -> Option<Telling> {
    let thread = cx.own.thread.as_ref()?;
    if !cx.local.is_answered
        || cx.local.paths.in_vain
        || path.len() > PATH_LONGEST
        || path.first() != Some(&b'/')
        || thread.by_instruction()
    {
        return None;
    }
    let hash = path_hash(call, path);
    if !cx.local.paths.asked(hash) {
        return None;
    }
    // All calls on a path have one counter.
    let teller = Some(Teller::begin(path_hash(PathCall::Stat, path) >> 20)?);
    Some(Telling { call, hash, teller })
}

/// Tells it the result, of what was marked before it was looked at: attributes, which do not count but for stat and lstat, or an error.
pub fn tell(cx: &mut Cx<'_>, telling: Option<Telling>, path: &[u8], result: Result<&[u8; 144]>) {
    let Some(Telling {
        call,
        hash,
        teller: Some(teller),
    }) = telling
    else {
        return;
    };
    let result = match result {
        Ok(stat) => Ok(stat),
        Err(e @ (Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::EROFS)) => Err(e.raw()),
        Err(_) => return,
    };
    let Some(thread) = &cx.own.thread else { return };
    let (counter, epoch) = teller.stand();
    let answer = PathAnswer {
        call,
        path,
        counter,
        epoch,
        result,
    };
    match thread.tell(&answer) {
        Some(uses) => cx.local.paths.told(hash, uses),
        None => cx.local.paths.in_vain = true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_when_it_comes_again_and_again_and_less_often_if_it_did_not_pay() {
        let mut memories = Memories::default();
        let mut until = |hash, uses| {
            let calls = (1..).find(|_| memories.asked(hash)).unwrap_or(0);
            memories.told(hash, uses);
            calls
        };
        let hash = path_hash(PathCall::Stat, b"/a");
        let counts: [i32; 9] = std::array::from_fn(|_| until(hash, 0));
        assert_eq!(counts, [8, 8, 16, 32, 64, 128, 256, 512, 512]);
        assert_eq!(until(hash, PAYS), 512);
        assert_eq!(until(hash, PAYS), 8);
        // Another one in its place.
        assert_eq!(until(hash ^ 1 << 30, 0), 8);
        assert_eq!(until(hash, 0), 8);
    }
}
