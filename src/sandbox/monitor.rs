//! The monitor: starts gofer and sentry, passes signals on, and learns how it all ended.

use super::control::Report;
use super::ids::Plan;
use super::signals::{Incoming, Signals};
use super::spawn::Ended;
use super::spec::Spec;
use super::start::{Start, Started, start};
use super::terminal::Terminal;
use super::{Error, Result, host, logging, streams, tree};
use crate::container::cgroup::MemoryGroup;
use crate::jail::{caps, filters, oom, process, seccomp, violation};
use cofferdam_sentry::boot::control::Message;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Exit status of a program that ran for too long, as timeout(1) has it.
const TIMED_OUT: u8 = 124;

/// Runs a sandbox to its end. The result is the exit status that stands for the program's: its code, or 128 plus the
/// signal that ended it. The calling process must be single-threaded; it gives up its standard input and output, and
/// at the end it is fit for nothing but reporting and exiting.
///
/// # Errors
/// The program did not run, or the sandbox broke; one sentence.
pub fn run(mut spec: Spec) -> Result<u8> {
    host::check_platform(&spec.platform)?;
    let plan = Plan::for_caller()?;
    let (served, mounted) = tree::plan(&spec, plan.foreign_owners_overflow());
    cofferdam_gofer::tree::check(&served.entries).map_err(|e| Error::Request(e.to_string()))?;
    let broken = |what: &'static str| {
        move |e: std::io::Error| {
            Error::Host(format!(
                "cannot {what}: {e}; is a limit on descriptors (ulimit -n) too low?"
            ))
        }
    };
    let log = match spec.log.take() {
        Some((file, level)) => {
            logging::start(file, level).map_err(|e| broken("write a log")(e.into()))?
        }
        None => vec![],
    };
    let mut sentry_keeps = log.clone();
    if spec.strace.is_some() || spec.profile.is_some() {
        // To tell that the trace or the profile cannot be written.
        sentry_keeps.push(libc::STDERR_FILENO);
    }
    let mut terminal = Terminal::of_streams();
    let size = terminal.as_ref().map(Terminal::size);
    let stdio = match &terminal {
        Some(t) => vec![
            t.reopen()
                .map_err(|e| Error::Host(format!("cannot open the terminal: {e}")))?,
        ],
        None => streams::for_sentry()
            .map_err(broken("pass on the standard streams"))?
            .into(),
    };
    let signals = Signals::block().map_err(|e| broken("receive signals")(e.into()))?;
    let limits = spec.limits;
    let mut memory = limits.memory.map(memory_group).transpose()?;
    let what = Start {
        gofer_maps: plan.gofer_maps()?,
        served,
        guest: spec.guest(mounted, size),
        streams: stdio,
        guest_oom_score_adj: oom::above(oom::current()),
        platform: spec.platform,
        memory_events: memory.as_ref().and_then(MemoryGroup::events),
        strace: spec.strace,
        profile: spec.profile,
        keep: log,
        sentry_keeps,
    };
    let started = match &memory {
        Some(group) => group.around(|| start(&plan, what)),
        None => start(&plan, what),
    }?;
    streams::give_up();
    confine()?;
    let mut monitor = Monitor {
        signals,
        terminal: terminal.as_mut(),
        children: started,
        ready: 0,
        time: limits.time.map(|limit| (Instant::now() + limit, limit)),
    };
    let mut outcome = monitor.wait();
    monitor.end();
    drop(plan);
    if let (Some(group), Some(limit)) = (&mut memory, limits.memory) {
        outcome = tell_kills(group.kills(), limit, outcome);
    }
    outcome
}

fn memory_group(limit: u64) -> Result<MemoryGroup> {
    MemoryGroup::create(limit).map_err(|e| {
        Error::Host(format!(
            "--memory needs a control group of its own, and {e}; run as root, or in one that is yours to divide \
             (systemd-run --user --scope -p Delegate=yes)"
        ))
    })
}

/// Says that memory ran out, if it did.
fn tell_kills(kills: u64, limit: u64, outcome: Result<u8>) -> Result<u8> {
    if kills == 0 {
        return outcome;
    }
    let reached = format!("the memory limit of {} MiB was reached", limit >> 20);
    match outcome {
        Err(Error::Died(_)) => Err(Error::Died(format!("{reached}; the sandbox is gone"))),
        other => {
            let processes = if kills == 1 {
                "process was"
            } else {
                "processes were"
            };
            crate::cli::complain(format_args!("{reached}; {kills} {processes} killed"));
            other
        }
    }
}

/// The monitor keeps the right to end its children, who are other users if it is root, and little else.
fn confine() -> Result<()> {
    let named = |e: crate::jail::Error| Error::Host(format!("the monitor {e}"));
    process::no_core().map_err(named)?;
    caps::keep_only(caps::KILL).map_err(named)?;
    violation::report_to(libc::STDERR_FILENO, [0; 2]);
    seccomp::confine(&filters::monitor::ROLE).map_err(named)
}

/// What the monitor waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    SentrySays,
    SentryEnded,
    GoferSays,
    GoferEnded,
}

struct Monitor<'t> {
    signals: Signals,
    terminal: Option<&'t mut Terminal>,
    children: Started,
    /// How many children have finished their set-up.
    ready: u8,
    /// When the program's time is over, and how much it was.
    time: Option<(Instant, Duration)>,
}

impl Monitor<'_> {
    /// Until the program has ended or the sandbox has broken.
    fn wait(&mut self) -> Result<u8> {
        loop {
            let ready = self.poll()?;
            if let Some((end, limit)) = self.time
                && end <= Instant::now()
            {
                return Err(Error::Reported(
                    TIMED_OUT,
                    format!("the program ran for longer than {limit:?} and was ended"),
                ));
            }
            if ready.contains(&Source::Signals) {
                self.take_signals()?;
            }
            // What a child said last counts more than that it ended. The gofer goes first: if it said why it ends, the sentry can
            // only say that it has.
            let gofer_says = ready.contains(&Source::GoferSays);
            if gofer_says
                && let Some(report) = self.children.gofer.report()?
                && self.heed(report)?.is_some()
            {
                return Err(Error::Died(
                    "the gofer claims to know how the program ended; the sandbox is gone".into(),
                ));
            }
            if ready.contains(&Source::SentrySays) {
                if let Some(report) = self.children.sentry.report()?
                    && let Some(status) = self.heed(report)?
                {
                    return Ok(status);
                }
            } else if ready.contains(&Source::SentryEnded) {
                return Err(self.children.sentry.died());
            }
            if !gofer_says
                && ready.contains(&Source::GoferEnded)
                && self.children.gofer.child.wait() != Ended::Exited(0)
            {
                // Status 0: the sentry has let go of it, and is about to say why.
                return Err(self.children.gofer.died());
            }
        }
    }

    /// Waits until something can be done; what it is.
    fn poll(&self) -> Result<Vec<Source>> {
        let mut sources = vec![(Source::Signals, self.signals.as_fd())];
        for (process, says, ended) in [
            (
                &self.children.sentry,
                Source::SentrySays,
                Source::SentryEnded,
            ),
            (&self.children.gofer, Source::GoferSays, Source::GoferEnded),
        ] {
            if process.open {
                sources.push((says, process.end.as_fd()));
            }
            if !process.child.has_ended() {
                sources.push((ended, process.child.as_fd()));
            }
        }
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => {
                return Err(Error::Died(format!(
                    "the monitor cannot wait: {}",
                    e.desc()
                )));
            }
        }
        let ready = fds
            .iter()
            .map(|fd| fd.revents().is_some_and(|r| !r.is_empty()));
        Ok(sources
            .iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|((source, _), _)| *source)
            .collect())
    }

    /// How long to wait at most.
    fn timeout(&self) -> PollTimeout {
        let Some((end, _)) = self.time else {
            return PollTimeout::NONE;
        };
        // Rounded up, so that it does not wake too early.
        let left = end.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    /// The exit status, if the report is about the program's end.
    fn heed(&mut self, report: Report) -> Result<Option<u8>> {
        match report {
            Report::Ready => {
                self.ready = self.ready.saturating_add(1);
                if self.ready == 2
                    && let Some(terminal) = &mut self.terminal
                {
                    let failed = |e: nix::errno::Errno| {
                        Error::Host(format!("cannot make the terminal raw: {}", e.desc()))
                    };
                    terminal.enter_raw().map_err(failed)?;
                }
                Ok(None)
            }
            Report::Exited(code) => Ok(Some(code)),
            Report::Signaled(signal) => Ok(Some(128_u8.saturating_add(signal & 0x7f))),
            Report::Failed(status, sentence) => Err(Error::Reported(status, sentence)),
            Report::Process(event) => {
                log::warn!("the sentry speaks of processes that nobody started: {event:?}");
                Ok(None)
            }
        }
    }

    fn take_signals(&mut self) -> Result<()> {
        let failed = |e: nix::errno::Errno| {
            Error::Died(format!("the monitor cannot receive signals: {}", e.desc()))
        };
        while let Some(incoming) = self.signals.next().map_err(failed)? {
            match incoming {
                Incoming::Child => {}
                Incoming::Forward(signal) => self.tell(Message::Signal(0, signal)),
                Incoming::WindowSize => self.tell_window_size(),
                Incoming::Stop(signal) => {
                    self.tell(Message::Signal(0, signal));
                    if let Some(terminal) = &mut self.terminal {
                        terminal.restore();
                    }
                    Signals::stop_self();
                    // Continued, by a SIGCONT that is forwarded like any other.
                    if let Some(terminal) = &mut self.terminal {
                        // If the terminal is gone, the sentry will notice.
                        let _ = terminal.enter_raw();
                    }
                    self.tell_window_size();
                }
            }
        }
        Ok(())
    }

    fn tell_window_size(&self) {
        if let Some(terminal) = &self.terminal {
            let (rows, columns) = terminal.size();
            self.tell(Message::WindowSize(0, rows, columns));
        }
    }

    /// A sentry that is gone or does not listen has its own way to the end of the sandbox.
    fn tell(&self, message: Message) {
        if let Err(e) = self.children.sentry.end.send(message) {
            log::warn!("cannot tell the sentry {message:?}: {e}");
        }
    }

    fn end(&mut self) {
        self.children.end();
        if let Some(terminal) = &mut self.terminal {
            terminal.restore();
        }
    }
}
