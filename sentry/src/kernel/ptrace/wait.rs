//! What wait(2) finds among a process's tracees (`ptrace_do_wait`).

use super::Link;
use crate::kernel::signal::Report;
use crate::kernel::tree::{Life, TaskTree};
use crate::kernel::{ExitStatus, Task, ThreadGroup};
use crate::sync::Events;
use std::sync::Arc;

/// A tracee that may be waited for.
pub(in crate::kernel) struct Candidate {
    pub tid: i32,
    pub group: Arc<ThreadGroup>,
    pub uid: u32,
    pub news: Option<News>,
}

/// What it has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum News {
    /// It ended.
    Ended(ExitStatus),
    /// It stands.
    Stopped(i32),
    /// Its process was continued.
    Continued,
}

impl Candidate {
    fn of(tid: i32, link: &Link, tree: &TaskTree) -> Candidate {
        let mut found = Candidate {
            tid,
            group: link.group.clone(),
            uid: link.ended.map_or(0, |(_, uid)| uid),
            news: None,
        };
        if let Some((status, _)) = link.ended {
            let leader = tid == link.group.pid();
            found.news = match tree.nodes.get(&tid).map(|n| n.life) {
                // A leader speaks for its process, when all of that has ended.
                Some(Life::Zombie(status)) if leader => Some(News::Ended(status)),
                _ if leader => None,
                _ => Some(News::Ended(status)),
            };
            return found;
        }
        if let Some(task) = link.task.upgrade() {
            found.uid = task.creds().uid;
            let g = task.group().signals.lock();
            let t = task.signals.lock();
            let stopped = t.traced_stop.as_ref();
            let stopped = stopped.filter(|s| s.code != 0 && s.go.is_none() && !s.listening);
            found.news = match stopped {
                Some(s) => Some(News::Stopped(s.code)),
                None => (g.report == Some(Report::Continued)).then_some(News::Continued),
            };
        }
        found
    }
    /// Takes the news, so that nobody else is told of it.
    pub(in crate::kernel) fn take(&self, tree: &mut TaskTree) {
        match self.news {
            None => {}
            Some(News::Ended(_)) => {
                tree.traced.remove(&self.tid);
                // An execve may wait for that.
                self.group.exit_events.wake(Events::IN);
            }
            Some(News::Continued) => self.group.signals.lock().report = None,
            Some(News::Stopped(_)) => {
                let link = tree.traced.get(&self.tid);
                if let Some(task) = link.and_then(|l| l.task.upgrade())
                    && let Some(stop) = task.signals.lock().traced_stop.as_mut()
                {
                    stop.code = 0;
                }
            }
        }
    }
}

/// The tracees of a task, or (`all`) of all tasks of its process.
pub(in crate::kernel) fn candidates(
    tree: &TaskTree,
    task: &Arc<Task>,
    all: bool,
) -> Vec<Candidate> {
    let ours = |l: &Link| match l.tracer.upgrade() {
        Some(t) if all => Arc::ptr_eq(t.group(), task.group()),
        Some(t) => Arc::ptr_eq(&t, task),
        None => false,
    };
    let links = tree.traced.iter().filter(|(_, l)| ours(l));
    links.map(|(tid, l)| Candidate::of(*tid, l, tree)).collect()
}

/// Threads of a process, but its leader, that have ended without their tracers knowing.
pub(in crate::kernel) fn untold(tree: &TaskTree, group: &Arc<ThreadGroup>) -> usize {
    let untold = |(tid, l): &(&i32, &Link)| {
        l.ended.is_some() && Arc::ptr_eq(&l.group, group) && **tid != group.pid()
    };
    tree.traced.iter().filter(untold).count()
}
