//! What processes do that are forked: make calls beside their parent, as those of shells do, or begin another program or end at once.
//!
//! The one needs a worker that watches from their birth, the other is served best from one processor, to and fro costs too much. Nobody can know beforehand,
//! but a program that forks does the same again and again.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// So many calls, or more, make a watch from birth worth its while.
const MANY: u32 = 4;

/// How many calls a forked thread made, and its parent's other children.
#[derive(Debug, Default)]
pub(super) struct Kin {
    /// Calls until now.
    calls: AtomicU32,
    /// How many the last one made that it forked, until that ended or began another program: known to the child, which says it.
    children: Arc<AtomicU32>,
    /// The same of its parent.
    siblings: Option<Arc<AtomicU32>>,
}

impl Kin {
    /// Of a child.
    pub(super) fn child(&self) -> Kin {
        Kin {
            calls: AtomicU32::new(0),
            children: Arc::new(AtomicU32::new(self.children.load(Relaxed))),
            siblings: Some(Arc::clone(&self.children)),
        }
    }

    /// The thread makes a call.
    pub(super) fn calls(&self) {
        let calls = self.calls.load(Relaxed);
        self.calls.store(calls.saturating_add(1), Relaxed);
    }

    /// The thread ends, or has begun another program; that was its last call.
    pub(super) fn ends(&self) {
        if let Some(siblings) = &self.siblings {
            let calls = self.calls.load(Relaxed);
            siblings.store(calls.saturating_sub(1), Relaxed);
        }
    }

    /// Whether a child is expected to make many calls.
    pub(super) fn expects_calls(&self) -> bool {
        self.children.load(Relaxed) >= MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child_with(parent: &Kin, calls: u32) -> Kin {
        let child = parent.child();
        (0..calls).for_each(|_| child.calls());
        child
    }

    #[test]
    fn the_last_child_tells_what_to_expect() {
        let shell = Kin::default();
        let first = child_with(&shell, MANY + 1);
        assert!(!shell.expects_calls(), "it has not ended");
        first.ends();
        assert!(shell.expects_calls());
        // A subshell is born with what its parent knows.
        assert!(shell.child().expects_calls());
        // The last call is the end itself.
        child_with(&shell, MANY).ends();
        assert!(!shell.expects_calls());
        // Its own children say nothing of its parent's.
        let second = child_with(&shell, MANY + 1);
        child_with(&second, 1).ends();
        second.ends();
        assert!(shell.expects_calls() && !second.expects_calls());
    }
}
