//! Guest memory maps: which pages of a guest process are mapped to what, and every change of that.
//!
//! The guest's memory is ordinary memory of a host process. [`MemoryManager`] decides each mapping, keeps the list of
//! [`Vma`]s and has the stub in the process carry the decision out ([`cofferdam_platform::Thread::execute`]).
//!
//! # Changing mappings
//! A change takes the manager's *ticket* (`Change`), works out what to do under the lock, has the stub do it
//! without the lock, and enters into the list what the stub confirmed, operation by operation; so what failed
//! needs no undoing. One change is in flight per address space. A second task that finds the ticket taken gets
//! [`MmError::Busy`] with a queue to wait on: its call is parked and run again.
//!
//! # Locks
//! `state` ([`Rank::MM`]) is the only one. It is never held during an exchange with the stub, and mappings that went away are
//! dropped (closing files) after it is released.

mod advise;
mod brk;
mod change;
#[cfg(test)]
pub(crate) mod fake;
mod force;
mod layout;
mod listing;
mod lock;
mod map;
mod mmap;
mod present;
mod protect;
mod remap;
mod resident;
mod rewrite;
#[cfg(test)]
mod rewrite_tests;
mod settings;
mod shared;
mod stack;
#[cfg(test)]
mod tests;
mod text;
mod touch;
mod vdso;
mod vma;

pub use change::{MmError, Write, patiently};
pub use layout::{
    ELF_DYN_BASE, Layout, MmLimits, random_brk_shift, random_dyn_shift, random_mmap_base,
    random_stack_top, random_u64,
};
pub use listing::{Label, MapEntry, Sizes};
pub use map::GUARD_GAP;
pub use mmap::{MapFlags, MapRequest, MapWhat};
pub use remap::{RemapFlags, RemapRequest};
pub use resident::{Resident, set_descriptors};
pub use rewrite::{RewriteWanted, Rewritten};
pub use settings::Settings;
pub use shared::SharedAnon;
pub use text::Texts;
pub use touch::{Touching, set_limited};
pub use vdso::{VdsoFault, set_vdso};
pub use vma::{Backing, PAGE, VmFlags, Vma, page_ceil, page_floor};

use crate::abi::Errno;
use crate::sync::{Charge, Knob, Mutex, Quota, Rank, WaitQueue};
use crate::usermem::GuestMemory;
use change::{Edit, Op};
use cofferdam_platform::{AddressSpace, Thread};
pub(crate) use map::VmaMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// Most mappings in one address space (`vm.max_map_count`).
pub static MAX_MAP_COUNT: Knob = Knob::new(0, 65530);

/// Mappings of all address spaces of the sandbox: every fork copies the list.
static MAPPINGS: Quota = Quota::new(1 << 20);

/// One guest address space (`struct mm_struct`).
pub struct MemoryManager {
    id: u64,
    /// Tasks that run in it (`mm_users`).
    users: AtomicUsize,
    space: Arc<dyn AddressSpace>,
    state: Mutex<State>,
    /// Woken when a change is done.
    free: Arc<WaitQueue>,
    /// Counts each beginning and each end of a change: odd while one is in flight.
    changes: AtomicU64,
    touched: touch::Touched,
    /// What the host said of its size.
    observed: resident::Observed,
    /// Registrations for membarrier: 1 private expedited, 2 the same with sync-core, 4 global expedited.
    barriers: AtomicU8,
    settings: settings::Kept,
    /// Rewritten programs, if the platform takes them.
    texts: Option<Arc<Texts>>,
    /// Somebody looks at the program's text: it is not rewritten any more.
    own_text: AtomicBool,
    /// What other parts of the kernel keep for as long as the address space lives; not inherited by fork.
    pub extensions: crate::vfs::InodeMeta,
}

struct State {
    map: VmaMap,
    /// Counts what is in `map`.
    charge: Charge,
    /// Trampolines of rewritten texts, by address.
    islands: BTreeMap<u64, rewrite::Island>,
    /// Some of them are unused, and the host did not unmap them yet.
    left_over: bool,
    /// A change is in flight.
    busy: bool,
    layout: Layout,
    /// Flags of new mappings (mlockall MCL_FUTURE).
    new_flags: VmFlags,
    /// Greatest `map.total()` so far.
    peak_total: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl MemoryManager {
    /// Manages a fresh address space with nothing mapped.
    pub fn new(space: Arc<dyn AddressSpace>) -> MemoryManager {
        Self::with_state(
            space,
            State {
                map: VmaMap::default(),
                charge: MAPPINGS.nothing(),
                islands: BTreeMap::new(),
                left_over: false,
                busy: false,
                layout: Layout::default(),
                new_flags: VmFlags::empty(),
                peak_total: 0,
            },
        )
    }

    fn with_state(space: Arc<dyn AddressSpace>, state: State) -> MemoryManager {
        MemoryManager {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            users: AtomicUsize::new(0),
            space,
            state: Mutex::new(Rank::MM, state),
            free: Arc::new(WaitQueue::new()),
            changes: AtomicU64::new(0),
            touched: touch::Touched::default(),
            observed: resident::Observed::default(),
            barriers: AtomicU8::new(0),
            settings: settings::Kept::default(),
            texts: None,
            own_text: AtomicBool::new(false),
            extensions: Default::default(),
        }
    }

    /// A number that no other address space has had or will have.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// A task runs in it from now on.
    pub fn enter(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }
    /// It does not any more.
    pub fn leave(&self) {
        self.users.fetch_sub(1, Ordering::AcqRel);
    }
    /// Whether more than one task runs in it.
    pub fn is_shared(&self) -> bool {
        self.users.load(Ordering::Acquire) > 1
    }
    /// The host process.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }
    /// Where program, heap, stack, arguments and environment lie.
    pub fn layout(&self) -> Layout {
        self.state.lock().layout.clone()
    }
    /// Changes the record of where things lie (loader, prctl PR_SET_MM).
    pub fn set_layout(&self, change: impl FnOnce(&mut Layout)) {
        let old = {
            let mut s = self.state.lock();
            let old = s.layout.clone();
            change(&mut s.layout);
            old
        };
        // May hold the last reference to the executable.
        drop(old);
    }

    /// Maps all these (program loading) in one exchange with the stub, and `writes` are still to be done (false); or the stub does that, and the writes,
    /// on its way to the first instruction (true). The ranges are free or to be replaced.
    ///
    /// # Errors
    /// What the host says; mappings before the failing one stay.
    pub fn map_all(
        &self,
        thread: &dyn Thread,
        vmas: Vec<Vma>,
        writes: &[Write<'_>],
    ) -> Result<bool, MmError> {
        Ok(self.begin()?.map_all(thread, vmas, writes)?)
    }

    /// Copies this address space: `make` has the platform copy the host process (with MADV_WIPEONFORK done by the host
    /// kernel), while no mapping can change. MADV_DONTFORK mappings are taken out of the copy.
    ///
    /// # Errors
    /// [`MmError::Busy`]: try again after the queue is woken. ENOMEM if the host refuses.
    pub fn fork(
        &self,
        make: impl FnOnce() -> cofferdam_platform::Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)>,
    ) -> Result<(MemoryManager, Box<dyn Thread>), MmError> {
        let ticket = self.begin()?;
        let mut charge = MAPPINGS.nothing();
        let count = self.state.lock().map.count();
        if !charge.resize(count) {
            return Err(Errno::ENOMEM.into());
        }
        // Written pages are copied from now on.
        self.touched.forget(0, u64::MAX);
        let (space, thread) = make().map_err(|e| change::host_error(&e))?;
        let mut state = self.state.lock().copy(charge);
        drop(ticket);
        let mut gone = Vec::new();
        if state.map.locked() > 0 {
            // Memory locks are not inherited (mlock(2)).
            state.map.update(0, u64::MAX, &mut gone, |v| {
                v.flags -= VmFlags::LOCKED | VmFlags::LOCKONFAULT;
            });
            state.settle();
        }
        let dont: Vec<(u64, u64)> = state
            .map
            .iter()
            .filter(|v| v.flags.contains(VmFlags::DONTFORK))
            .map(|v| (v.reserve, v.end))
            .collect();
        let child = Self::with_state(space, state)
            .with_texts(self.texts.clone())
            .with_settings(self.inherited_settings());
        child
            .barriers
            .store(self.barriers.load(Ordering::Relaxed), Ordering::Relaxed);
        if !dont.is_empty() {
            let steps = dont
                .into_iter()
                .map(|(start, end)| (Op::Unmap(start, end), Edit::Remove(start, end)))
                .collect();
            child.begin()?.carry_out(&*thread, steps)?;
        }
        Ok((child, thread))
    }

    /// membarrier(2) for this process: `register` announces the intent, as Linux demands before the barrier itself.
    ///
    /// # Errors
    /// EPERM without an earlier registration; EINVAL if the host cannot do it.
    pub fn membarrier(
        &self,
        thread: &dyn Thread,
        sync_core: bool,
        register: bool,
    ) -> Result<(), MmError> {
        const EXPEDITED: i32 = 8;
        const SYNC_CORE: i32 = 32;
        let (command, bit) = if sync_core {
            (SYNC_CORE, 2)
        } else {
            (EXPEDITED, 1)
        };
        if !register && self.barriers.load(Ordering::Relaxed) & bit == 0 {
            return Err(Errno::EPERM.into());
        }
        // Registering again is cheap, and a fork may have happened since.
        let mut steps = vec![(Op::Membarrier(command * 2), Edit::None)];
        if !register {
            steps.push((Op::Membarrier(command), Edit::None));
        }
        self.begin()?
            .carry_out(thread, steps)
            .map_err(|_| Errno::EINVAL)?;
        self.barriers.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// What it is registered for, as MEMBARRIER_CMD_GET_REGISTRATIONS says it.
    pub fn barrier_registrations(&self) -> i64 {
        let bits = self.barriers.load(Ordering::Relaxed);
        let each = [(1, 16), (2, 64), (4, 4)];
        let set = each.iter().filter(|(bit, _)| bits & bit != 0);
        set.map(|(_, command)| command).sum()
    }

    /// MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED. Barriers for all reach everybody.
    pub fn register_global_barrier(&self) {
        self.barriers.fetch_or(4, Ordering::Relaxed);
    }
}

impl State {
    /// What a forked process starts with; `charge` counts it.
    fn copy(&self, charge: Charge) -> State {
        State {
            map: self.map.clone(),
            charge,
            islands: self.islands.clone(),
            left_over: self.left_over,
            busy: false,
            layout: self.layout.clone(),
            new_flags: VmFlags::empty(),
            peak_total: self.map.total(),
        }
    }

    /// Counts the mappings anew after a change.
    fn settle(&mut self) {
        self.charge.settle(self.map.count());
    }
}

impl GuestMemory for MemoryManager {
    fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize {
        match self.space.read(addr, buf) {
            0 => vdso::read(addr, buf),
            n => n,
        }
    }
    fn write_partial(&self, addr: u64, buf: &[u8]) -> usize {
        self.space.write(addr, buf)
    }
}
