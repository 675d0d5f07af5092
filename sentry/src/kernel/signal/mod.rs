//! Signals: pending queues, actions, delivery (signal(7)).

/// Signal state of a process: actions, process-directed pending signals, job-control stop.
#[derive(Default)]
pub struct GroupSignals {}

/// Signal state of a task: mask and thread-directed pending signals.
#[derive(Default)]
pub struct TaskSignals {}

/// sigaltstack(2).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct AltStack {
    pub addr: u64,
    pub size: u64,
    pub flags: u32,
}
