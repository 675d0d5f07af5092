//! Kernel asynchronous I/O (io_setup(2)): contexts, their finished requests, and requests that wait for readiness.
//!
//! Reads, writes and syncs are carried out when they are submitted, which Linux, too, does with whatever is not O_DIRECT; only
//! IOCB_CMD_POLL stays pending. Contexts are an extension of the address space and go with it. Locks: one LEAF at a time.

use crate::abi::{Errno, Result};
use crate::fs::eventfd::EventFd;
use crate::sync::{Charge, Events, Mutex, Notify, Quota, Rank, WaitKey, WaitQueue};
use crate::vfs::File;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

/// `fs.aio-max-nr`.
pub const MAX_REQUESTS: usize = 65536;
static REQUESTS: Quota = Quota::new(MAX_REQUESTS);

/// Requests that fit into all contexts now (`fs.aio-nr`).
pub fn requests() -> usize {
    REQUESTS.used()
}

/// `struct io_event`: the request's data, its address, its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Done {
    pub data: u64,
    pub object: u64,
    pub result: i64,
}

/// All contexts of an address space, by the address of their ring.
pub struct Contexts(Mutex<BTreeMap<u64, Arc<Context>>>);

impl Default for Contexts {
    fn default() -> Contexts {
        Contexts(Mutex::new(Rank::LEAF, BTreeMap::new()))
    }
}

impl Contexts {
    /// The context named by `id`; EINVAL.
    pub fn get(&self, id: u64) -> Result<Arc<Context>> {
        self.0.lock().get(&id).cloned().ok_or(Errno::EINVAL)
    }
    /// Names a context.
    pub fn insert(&self, id: u64, context: Arc<Context>) {
        let old = self.0.lock().insert(id, context);
        drop(old);
    }
    /// Takes a context away; EINVAL.
    pub fn remove(&self, id: u64) -> Result<Arc<Context>> {
        self.0.lock().remove(&id).ok_or(Errno::EINVAL)
    }
}

/// One context.
pub struct Context {
    capacity: usize,
    state: Mutex<State>,
    queue: Arc<WaitQueue>,
    _charge: Charge,
}

#[derive(Default)]
struct State {
    /// Submitted and not yet fetched.
    taken: usize,
    done: VecDeque<Done>,
    waiting: Vec<Arc<Poll>>,
    destroyed: bool,
}

impl Context {
    /// A context for `n` requests.
    ///
    /// # Errors
    /// EAGAIN beyond the limit.
    pub fn new(n: usize) -> Result<Arc<Context>> {
        let charge = REQUESTS.charge(n).ok_or(Errno::EAGAIN)?;
        Ok(Arc::new(Context {
            // Linux rounds generously too, since each processor keeps some for itself.
            capacity: n.max(8) * 2,
            state: Mutex::new(Rank::LEAF, State::default()),
            queue: Arc::new(WaitQueue::new()),
            _charge: charge,
        }))
    }
    /// Woken when a request is finished or the context goes.
    pub fn queue(&self) -> &Arc<WaitQueue> {
        &self.queue
    }
    /// How many requests fit at all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
    /// Whether one more request fits now.
    pub fn has_room(&self) -> bool {
        self.state.lock().taken < self.capacity
    }
    /// A request that was carried out at once.
    pub fn finished(&self, done: Done, event: Option<&Arc<File>>) {
        {
            let mut s = self.state.lock();
            s.taken += 1;
            s.done.push_back(done);
        }
        self.tell(event);
    }
    fn tell(&self, event: Option<&Arc<File>>) {
        self.queue.wake(Events::IN);
        if let Some(e) = event.and_then(|f| f.downcast::<EventFd>()) {
            e.signal(1);
        }
    }
    /// Finished requests, oldest first, at most `max`.
    pub fn fetch(&self, max: usize) -> Vec<Done> {
        let mut s = self.state.lock();
        let n = max.min(s.done.len());
        s.taken = s.taken.saturating_sub(n);
        s.done.drain(..n).collect()
    }
    /// Whether io_destroy(2) has ended it.
    pub fn is_destroyed(&self) -> bool {
        self.state.lock().destroyed
    }
    /// Adds a request that finishes when `file` is ready for one of `events`.
    pub fn poll(
        self: &Arc<Self>,
        file: &Arc<File>,
        events: Events,
        data: u64,
        object: u64,
        event: Option<Arc<File>>,
    ) {
        let events = events | Events::ERR | Events::HUP;
        let request = Arc::new(Poll {
            context: Arc::downgrade(self),
            _file: file.clone(),
            events,
            data,
            object,
            event,
            key: Mutex::new(Rank::LEAF, None),
        });
        {
            let mut s = self.state.lock();
            s.taken += 1;
            s.waiting.push(request.clone());
        }
        if let Some(queue) = file.ops().wait_queue() {
            let key = queue.register(request.clone(), events);
            *request.key.lock() = Some((queue, key));
        }
        request.look(file.poll() & events);
        if !self.is_pending(&request) {
            // It may have been finished, by another thread, before there was a key: the queue would keep it, and it the file.
            request.unregister();
        }
    }
    fn is_pending(&self, request: &Arc<Poll>) -> bool {
        let s = self.state.lock();
        s.waiting.iter().any(|p| Arc::ptr_eq(p, request))
    }
    fn take(&self, wanted: impl Fn(&Poll) -> bool) -> Option<Arc<Poll>> {
        let mut s = self.state.lock();
        let at = s.waiting.iter().position(|p| wanted(p))?;
        Some(s.waiting.swap_remove(at))
    }
    /// Cancels the pending request for the control block at `object`; it finishes with what is ready: nothing.
    ///
    /// # Errors
    /// EINVAL if none is pending.
    pub fn cancel(&self, object: u64) -> Result<()> {
        let request = self.take(|p| p.object == object).ok_or(Errno::EINVAL)?;
        request.end(self, Events::empty());
        Ok(())
    }
    /// Ends the context: nothing pending will finish, and whoever waits is told.
    pub fn destroy(&self) {
        let waiting = {
            let mut s = self.state.lock();
            s.destroyed = true;
            std::mem::take(&mut s.waiting)
        };
        for p in waiting {
            p.unregister();
        }
        self.queue.wake(Events::IN);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// A pending IOCB_CMD_POLL.
struct Poll {
    context: Weak<Context>,
    /// Stays open as long as the request waits.
    _file: Arc<File>,
    events: Events,
    data: u64,
    object: u64,
    event: Option<Arc<File>>,
    key: Mutex<Option<(Arc<WaitQueue>, WaitKey)>>,
}

impl Poll {
    fn unregister(&self) {
        let registration = self.key.lock().take();
        if let Some((queue, key)) = registration {
            queue.unregister(key);
        }
    }
    /// Finishes the request if `ready` has something wanted. Whoever takes it from the list finishes it, once. The result of
    /// a request that had to wait is all that it was woken for, as in Linux.
    fn look(&self, ready: Events) {
        if !ready.intersects(self.events) {
            return;
        }
        if let Some(context) = self.context.upgrade()
            && let Some(me) = context.take(|p| std::ptr::eq(p, self))
        {
            me.end(&context, ready);
        }
    }
    fn end(&self, context: &Context, ready: Events) {
        self.unregister();
        let done = Done {
            data: self.data,
            object: self.object,
            result: ready.bits().into(),
        };
        context.state.lock().done.push_back(done);
        context.tell(self.event.as_ref());
    }
}

impl Notify for Poll {
    fn notify(&self, events: Events) {
        self.look(events);
    }
}
