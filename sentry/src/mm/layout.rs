//! Where things go in an address space, and the limits on its size.

use super::vma::{PAGE, page_floor};
use crate::vfs::File;
use crate::vfs::deny_write::DenyWrite;
use cofferdam_platform::GUEST_END;
use rand::TryRngCore;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Where program, heap, stack, arguments and environment lie (`struct mm_struct`, prctl PR_SET_MM). All addresses are in bytes.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Layout {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// Top of the area where mmap without an address searches downward.
    pub mmap_base: u64,
    /// The executable.
    pub exe: Option<Arc<File>>,
    /// The program has no interpreter: what it maps to be executed it may run some other way (see `rewrite`).
    pub own_loader: bool,
    /// Keeps the executable from being written while it runs (ETXTBSY).
    pub exe_in_use: Option<Arc<DenyWrite>>,
    /// Auxiliary vector as on the initial stack.
    pub auxv: Vec<u8>,
    /// `[vvar]` and `[vdso]`: start and length.
    pub vvar: Option<(u64, u64)>,
    /// See `vvar`.
    pub vdso: Option<(u64, u64)>,
    /// The vDSO faults, so that the sentry sees its calls.
    pub vdso_concealed: bool,
    /// It did so before.
    pub vdso_revealed: bool,
}

/// The calling process's resource limits as far as memory is concerned, in bytes (`u64::MAX` is unlimited).
#[derive(Clone, Copy, Debug)]
pub struct MmLimits {
    /// RLIMIT_AS.
    pub address_space: u64,
    /// RLIMIT_DATA.
    pub data: u64,
    /// RLIMIT_STACK.
    pub stack: u64,
    /// RLIMIT_MEMLOCK.
    pub memlock: u64,
    /// Holds CAP_IPC_LOCK: RLIMIT_MEMLOCK does not apply.
    pub ipc_lock: bool,
}

impl MmLimits {
    /// No limits.
    pub const NONE: MmLimits = MmLimits {
        address_space: u64::MAX,
        data: u64::MAX,
        stack: u64::MAX,
        memlock: u64::MAX,
        ipc_lock: true,
    };
}

/// Where position-independent programs with an interpreter are loaded, before randomisation (`ELF_ET_DYN_BASE`).
pub const ELF_DYN_BASE: u64 = 0x5555_5555_4000;

/// Greatest random shift of the stack's top (2^22 pages).
const STACK_SHIFT_PAGES: u64 = 1 << 22;
/// Greatest random shift of the mmap base and of PIE programs (vm.mmap_rnd_bits = 28).
const MMAP_SHIFT_PAGES: u64 = 1 << 28;

/// A random number that the guest cannot predict.
pub fn random_u64() -> u64 {
    /// Taken from the host at once, used once.
    struct Store {
        words: [u64; 32],
        left: usize,
    }
    thread_local!(static STORE: std::cell::Cell<Store> = const {
        std::cell::Cell::new(Store { words: [0; 32], left: 0 })
    });
    STORE.with(|cell| {
        let mut store = cell.replace(Store {
            words: [0; 32],
            left: 0,
        });
        if store.left == 0 {
            // The host's getrandom does not fail once the system is up; without it addresses are merely not random.
            let _ = rand::rngs::OsRng.try_fill_bytes(store.words.as_mut_bytes());
            store.left = store.words.len();
        }
        store.left -= 1;
        let word = store.words.get_mut(store.left).map_or(0, std::mem::take);
        cell.set(store);
        word
    })
}

/// A random multiple of the page size below `pages` pages; 0 unless `random` (ADDR_NO_RANDOMIZE of personality(2)), as below.
fn random_pages(random: bool, pages: u64) -> u64 {
    if !random {
        return 0;
    }
    // `pages` is a power of two or close to one; the bias does not matter here.
    random_u64() % pages * PAGE
}

/// Top of a new stack.
pub fn random_stack_top(random: bool) -> u64 {
    GUEST_END - PAGE - random_pages(random, STACK_SHIFT_PAGES)
}

/// Top of the mmap area for a stack limit in bytes (`mmap_base`).
pub fn random_mmap_base(random: bool, stack_limit: u64) -> u64 {
    let pad = STACK_SHIFT_PAGES * PAGE + super::GUARD_GAP;
    let gap = stack_limit
        .saturating_add(pad)
        .clamp(128 << 20, GUEST_END / 6 * 5);
    page_floor(GUEST_END - gap - random_pages(random, MMAP_SHIFT_PAGES))
}

/// Random shift of a position-independent program.
pub fn random_dyn_shift(random: bool) -> u64 {
    random_pages(random, MMAP_SHIFT_PAGES)
}

/// Random distance of the heap from the end of the program (32 MiB, `arch_randomize_brk`).
pub fn random_brk_shift(random: bool) -> u64 {
    random_pages(random, 0x0200_0000 / PAGE)
}
