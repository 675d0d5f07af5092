//! What a system call handler returns.

use crate::abi::Errno;
use crate::kernel::Cx;
use crate::kernel::futex::host::HostWait;
use crate::kernel::signal::{self, SigInfo, Signal};
use crate::sync::{Events, WaitQueue};
use crate::time::Instant;
use crate::vfs::File;
use smallvec::SmallVec;
use std::sync::Arc;

/// A handler's outcome: the value for rax, or why there is none yet.
pub type SysResult = Result<i64, SysErr>;

/// Bytes that a call copies in one turn. What moves more takes several ([`SysErr::Again`]): no guest may keep a worker
/// for itself.
pub const TURN: usize = 16 << 20;
/// Nanoseconds after which a call that does many things, one after the other, has worked long enough for one turn.
pub const TURN_NS: u64 = 5_000_000;

/// Why a handler has no value.
pub enum SysErr {
    /// The guest sees this error.
    Errno(Errno),
    /// The call must wait; park the task and run the handler again when woken.
    Block(Box<Block>),
    /// The call has worked long enough for one turn ([`TURN`]) and is run again, with its progress, after the others.
    /// Only a fatal signal ends it.
    Again,
    /// The call is done but for its result: the handler is run again for that, once those have run that it has woken or made.
    Later,
    /// The call was ended by a signal that is already known; handle it as [`Block::on_signal`] would.
    Interrupted(OnSignal),
    /// The host makes the call, and waits in it; see [`host`](crate::kernel::futex::host).
    Host(HostWait),
    /// Registers were set by the handler itself (rt_sigreturn, execve).
    NoReturn,
    /// The task stops for its tracer; the handler is run again afterwards.
    Traced,
    /// The task has exited.
    Exited,
}

impl From<Errno> for SysErr {
    fn from(e: Errno) -> SysErr {
        SysErr::Errno(e)
    }
}

/// What a waiting call becomes when a signal handler is to run (signal(7), "Interruption of system calls").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    /// ERESTARTSYS: restarted if the handler has SA_RESTART, else EINTR.
    RestartSys,
    /// ERESTARTNOHAND: EINTR if a handler runs, restarted otherwise (poll, select, sigsuspend, pause).
    RestartNoHand,
    /// ERESTARTNOINTR: always restarted.
    RestartNoIntr,
    /// ERESTART_RESTARTBLOCK: EINTR if a handler runs, else continued with the recorded progress (nanosleep, futex with timeout).
    RestartBlock,
    /// EINTR whatever the handler says (epoll_wait, semop, sockets with timeouts).
    Eintr,
    /// Only a fatal signal ends the wait (TASK_KILLABLE: vfork, exec waiting for sibling threads).
    Killable,
    /// The call returns this value: what was done so far.
    Value(i64),
}

/// A call that must wait.
pub struct Block {
    /// Queues to wait on, each with the events of interest. None: wait for the deadline or a signal.
    pub queues: SmallVec<[(Arc<WaitQueue>, Events); 2]>,
    /// When to give up waiting: the handler is run again and finds [`Cx::expired`](crate::kernel::Cx::expired) true.
    pub deadline: Option<Instant>,
    /// What a signal makes of it.
    pub on_signal: OnSignal,
}

impl Block {
    /// Waits on one queue without deadline, restarting by SA_RESTART.
    pub fn on(queue: Arc<WaitQueue>, events: Events) -> Block {
        Block {
            queues: smallvec::smallvec![(queue, events)],
            deadline: None,
            on_signal: OnSignal::RestartSys,
        }
    }
    /// Waits for time or signals only.
    pub fn until(deadline: Option<Instant>, on_signal: OnSignal) -> Block {
        Block {
            queues: SmallVec::new(),
            deadline,
            on_signal,
        }
    }
    /// With this deadline.
    pub fn deadline(mut self, deadline: Option<Instant>) -> Block {
        self.deadline = deadline;
        self
    }
    /// With this signal behaviour.
    pub fn on_signal(mut self, on_signal: OnSignal) -> Block {
        self.on_signal = on_signal;
        self
    }
}

impl From<Block> for SysErr {
    fn from(b: Block) -> SysErr {
        SysErr::Block(Box::new(b))
    }
}

/// Turns the outcome of one non-waiting file operation into that of a call: EAGAIN on a file that may
/// wait becomes a [`Block`] on its queue for `events`, for as long as [`FileOps::wait_limit`](crate::vfs::FileOps::wait_limit) says.
pub fn file_op<T>(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    events: Events,
    outcome: Result<T, Errno>,
) -> Result<T, SysErr> {
    file_wait(cx, file, events, file.nonblocking(), outcome)
}

/// [`file_op`] for calls that say themselves whether they may wait (MSG_DONTWAIT, RWF_NOWAIT, SPLICE_F_NONBLOCK).
pub fn file_wait<T>(
    cx: &mut Cx<'_>,
    file: &Arc<File>,
    events: Events,
    nonblock: bool,
    outcome: Result<T, Errno>,
) -> Result<T, SysErr> {
    if nonblock || !matches!(outcome, Err(Errno::EAGAIN)) {
        return outcome.map_err(SysErr::Errno);
    }
    let Some(queue) = file.ops().wait_queue() else {
        return Err(Errno::EAGAIN.into());
    };
    let Some(limit) = file.ops().wait_limit(events) else {
        return Err(Block::on(queue, events).into());
    };
    let deadline = cx.deadline_after(Some(limit));
    if cx.expired() {
        return Err(Errno::EAGAIN.into());
    }
    // sock_intr_errno: what waits with a limit is not restarted.
    Err(Block::on(queue, events)
        .deadline(deadline)
        .on_signal(OnSignal::Eintr)
        .into())
}

/// Sends the running task SIGPIPE, as writes to what nobody reads do.
pub fn raise_sigpipe(cx: &Cx<'_>) {
    let info = SigInfo::user(Signal::PIPE, cx.own_pid(), cx.own_uid());
    // A standard signal is always accepted.
    let _ = signal::send_task(cx.task, info, signal::Origin::Kernel);
}
