//! A container's monitor: the process that an engine knows as the container.
//!
//! Cloned by `create` into a session and pid, mount and network namespaces of its own (so that nothing survives it); starts gofer and sentry, answers verbs on the
//! control socket, passes on signals and window sizes, and exits as the workload does.

use super::cgroup::Cgroup;
use super::console::{self, Behind};
use super::protocol::{self, Connection, Reply, Request};
use super::{Error, Result, at, hooks};
use crate::jail::{caps, filters, oom, process, seccomp, sys, violation};
use crate::sandbox::control::Report;
use crate::sandbox::ids::{Maps, Plan};
use crate::sandbox::signals::{Incoming, Signals};
use crate::sandbox::spawn::Ended;
use crate::sandbox::start::{Start, Started, start};
use crate::sandbox::streams;
use cofferdam_sentry::boot::control::{Event, Message};
use cofferdam_sentry::kernel::ExitStatus;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, accept4, socketpair};
use oci_spec::runtime::Hook;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Seek;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long init may take to end by itself after SIGKILL.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// How long those who stand for other processes may take to end before the container does.
const AGENTS_FIRST: Duration = Duration::from_millis(500);

/// The network namespace to be in, where the engine finds and equips it.
#[derive(Debug)]
pub enum Network {
    /// The caller's.
    Host,
    /// A fresh one.
    Own,
    /// This one.
    At(File),
}

/// What the monitor is given.
pub struct Setup {
    /// To `create`.
    pub parent: Connection,
    /// It is init of its own pid namespace, and has its own mount namespace.
    pub isolated: bool,
    /// The control socket.
    pub listener: OwnedFd,
    /// The terminal, if the program has one.
    pub slave: Option<OwnedFd>,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// To join.
    pub cgroup: Option<Cgroup>,
    /// To be in.
    pub network: Network,
    /// For the host's choice of whom to kill.
    pub oom_score_adj: Option<i32>,
    /// `createContainer` hooks, and the directory to run them in.
    pub hooks: (Vec<Hook>, PathBuf),
    /// Ids of the container, if it has a user namespace of its own.
    pub mappings: Option<Maps>,
    /// Everything else.
    pub start: Start,
}

/// What the monitor tells `create`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "progress")]
pub enum Progress {
    /// Hooks may look at the monitor's namespaces.
    Namespaces,
    /// The program is loaded and waits.
    Ready,
    /// It is not: exit status that stands for it, and why.
    Failed {
        /// 126, 127 or another.
        status: u8,
        /// Why.
        sentence: String,
    },
}

/// `create` has made the control group and set its limits: the monitor can enter.
#[derive(Debug, Serialize, Deserialize)]
pub struct Limited;

/// `create` has run its hooks. With a descriptor of the state, if the monitor has some to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Go;

/// The connection between `create` and the monitor.
///
/// # Errors
/// Too many descriptors.
pub fn handshake() -> Result<(Connection, Connection)> {
    let (a, b) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(at("cannot make a socket"))?;
    Ok((Connection::from_fd(a), Connection::from_fd(b)))
}

/// One verb's connection.
struct Client {
    connection: Connection,
    /// The number of its process, or of its request to the sentry.
    number: Option<u32>,
    /// It has started a process, which is to end with it.
    runs: bool,
}

/// What the monitor waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Signals,
    SentrySays,
    SentryEnded,
    GoferSays,
    GoferEnded,
    Listener,
    Client(usize),
}

/// The monitor at work.
pub struct Monitor {
    signals: Signals,
    listener: OwnedFd,
    children: Started,
    terminal: Option<Behind>,
    clients: Vec<Client>,
    next: u32,
    /// Tells `create` when everything is ready.
    parent: Option<Connection>,
    ready: u8,
    running: bool,
    /// When patience with a killed init ends.
    kill_at: Option<Instant>,
    /// Its host id stays taken as long as this lives.
    _plan: Plan,
}

impl Monitor {
    /// Runs in the child of `create`; the container's exit status.
    pub fn run(setup: Setup) -> u8 {
        crate::sandbox::logging::role("monitor");
        let mut setup = setup;
        let parent = match sys_dup(&setup.parent) {
            Ok(parent) => parent,
            Err(_) => return crate::cli::FAILED,
        };
        let failed = |e: Error| {
            let failed = Progress::Failed {
                status: crate::cli::FAILED,
                sentence: e.to_string(),
            };
            // Without a parent there is nobody to tell.
            let _ = parent.send(&failed, &[]);
            crate::cli::FAILED
        };
        let keep = parent.as_fd().as_raw_fd();
        let prepared = prepare(&mut setup, keep);
        let (plan, terminal) = match prepared {
            Ok(prepared) => prepared,
            Err(e) => return failed(e),
        };
        if setup.parent.send(&Progress::Namespaces, &[]).is_err() {
            return crate::cli::FAILED;
        }
        let Ok(Some((Go, state))) = setup.parent.receive_with::<Go>(MsgFlags::empty()) else {
            return crate::cli::FAILED;
        };
        if let Err(e) = run_hooks(&setup.hooks, state) {
            return failed(e);
        }
        match Monitor::start(setup, plan, terminal) {
            Ok(mut monitor) => {
                drop(parent);
                let status = monitor.wait();
                monitor.finish(status)
            }
            Err(e) => failed(e),
        }
    }

    fn start(mut setup: Setup, plan: Plan, terminal: Option<Behind>) -> Result<Monitor> {
        let signals = Signals::block().map_err(at("cannot receive signals"))?;
        setup.start.streams = match &terminal {
            Some(t) => {
                setup.start.guest.process.terminal = Some(t.size());
                vec![t.reopen()?]
            }
            None => streams::for_sentry()
                .map_err(at("cannot pass on the standard streams"))?
                .into(),
        };
        for number in 3..3 + setup.preserve_fds {
            let number = i32::try_from(number).unwrap_or(-1);
            let fd = sys::inherited(number).map_err(at(format!(
                "--preserve-fds: descriptor {number} is not open"
            )))?;
            setup.start.streams.push(fd);
        }
        setup.start.gofer_maps = match setup.mappings.take() {
            Some(mut maps) => {
                maps.deny_setgroups = plan.sentry_maps().deny_setgroups;
                maps
            }
            None => plan.gofer_maps()?,
        };
        let log = setup.start.keep.first().copied();
        // Before the children come: whoever reads what create says waits until nobody can write there any more.
        streams::give_up_all();
        let children = start(&plan, setup.start)?;
        protocol::listen(&setup.listener).map_err(at("cannot take orders"))?;
        confine(log)?;
        Ok(Monitor {
            signals,
            listener: setup.listener,
            children,
            terminal,
            clients: vec![],
            next: 1,
            parent: Some(setup.parent),
            ready: 0,
            running: false,
            kill_at: None,
            _plan: plan,
        })
    }

    /// Until the program has ended or the sandbox has broken; the exit status.
    fn wait(&mut self) -> u8 {
        loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(status)) => return status,
                Err((status, sentence)) => {
                    match self.parent.take() {
                        Some(parent) => {
                            // Without a parent there is nobody to tell.
                            let _ = parent.send(&Progress::Failed { status, sentence }, &[]);
                        }
                        None => log::error!("{sentence}"),
                    }
                    return status;
                }
            }
        }
    }

    /// One round of waiting and acting; the program's exit status if it has one now, or that of a broken sandbox and why.
    fn turn(&mut self) -> std::result::Result<Option<u8>, (u8, String)> {
        let broken = |e: crate::sandbox::Error| (crate::cli::FAILED, e.to_string());
        let ready = self.poll();
        if self.kill_at.is_some_and(|t| Instant::now() >= t) {
            return Ok(Some(128 + 9));
        }
        if ready.contains(&Source::Signals)
            && let Some(status) = self.take_signals()
        {
            return Ok(Some(status));
        }
        // What a child said last counts more than that it ended.
        if ready.contains(&Source::SentrySays) {
            if let Some(report) = self.children.sentry.report().map_err(broken)?
                && let Some(status) = self.heed(report)?
            {
                return Ok(Some(status));
            }
        } else if ready.contains(&Source::SentryEnded) {
            return Err(broken(self.children.sentry.died()));
        }
        if ready.contains(&Source::GoferSays) {
            match self.children.gofer.report().map_err(broken)? {
                Some(report @ (Report::Ready | Report::Failed(..))) => {
                    self.heed(report)?;
                }
                Some(other) => log::warn!("the gofer claims {other:?}"),
                None => {}
            }
        } else if ready.contains(&Source::GoferEnded)
            && self.children.gofer.child.wait() != Ended::Exited(0)
        {
            return Err(broken(self.children.gofer.died()));
        }
        if ready.contains(&Source::Listener) {
            self.accept();
        }
        // From the last: an entry that goes does not move those before it.
        for source in ready.iter().rev() {
            if let Source::Client(index) = source
                && let Some(status) = self.attend(*index)
            {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    fn poll(&self) -> Vec<Source> {
        let mut sources = vec![
            (Source::Signals, self.signals.as_fd()),
            (Source::Listener, self.listener.as_fd()),
        ];
        let children = &self.children;
        for (process, says, ended) in [
            (&children.sentry, Source::SentrySays, Source::SentryEnded),
            (&children.gofer, Source::GoferSays, Source::GoferEnded),
        ] {
            if process.open {
                sources.push((says, process.end.as_fd()));
            }
            if !process.child.has_ended() {
                sources.push((ended, process.child.as_fd()));
            }
        }
        for (i, client) in self.clients.iter().enumerate() {
            sources.push((Source::Client(i), client.connection.as_fd()));
        }
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let left = self
            .kill_at
            .map(|t| t.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = left.map_or(PollTimeout::NONE, |d| {
            PollTimeout::try_from(d).unwrap_or(PollTimeout::ZERO)
        });
        // EINTR: look at everything, then wait again.
        if poll(&mut fds, timeout).is_err() {
            return vec![];
        }
        let ready = fds
            .iter()
            .map(|fd| fd.revents().is_some_and(|r| !r.is_empty()));
        sources
            .iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|((source, _), _)| *source)
            .collect()
    }

    fn heed(&mut self, report: Report) -> std::result::Result<Option<u8>, (u8, String)> {
        match report {
            Report::Ready => {
                self.ready = self.ready.saturating_add(1);
                if self.ready == 2 {
                    if let Some(t) = &self.terminal {
                        t.make_raw()
                            .map_err(|e| (crate::cli::FAILED, e.to_string()))?;
                    }
                    if let Some(parent) = self.parent.take() {
                        // A parent that is gone has left a container that can be deleted.
                        let _ = parent.send(&Progress::Ready, &[]);
                    }
                }
                Ok(None)
            }
            Report::Exited(code) => Ok(Some(code)),
            Report::Signaled(signal) => Ok(Some(128_u8.saturating_add(signal & 0x7f))),
            Report::Failed(status, sentence) => Err((status, sentence)),
            Report::Process(event) => {
                self.pass_on(event);
                Ok(None)
            }
        }
    }

    /// To the client whose process or request it is about.
    fn pass_on(&mut self, event: Event) {
        let (number, reply) = match event {
            Event::Spawned(n, _) => (n, Reply::Started),
            Event::SpawnFailed(n, status, sentence) => (n, Reply::NotStarted { status, sentence }),
            Event::Ended(n, ExitStatus::Exited(status)) => (n, Reply::Ended { status }),
            Event::Ended(n, ExitStatus::Signaled(signal, _)) => {
                let status = 128 + u8::try_from(signal & 0x7f).unwrap_or(0);
                (n, Reply::Ended { status })
            }
            Event::Done(n) => (n, Reply::Done),
        };
        let position = self.clients.iter().position(|c| c.number == Some(number));
        let Some(index) = position else { return };
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        client.runs = matches!(reply, Reply::Started);
        // A client that is gone is noticed by the end of its connection.
        let _ = client.connection.send(&reply, &[]);
    }

    fn take_signals(&mut self) -> Option<u8> {
        loop {
            let incoming = match self.signals.next() {
                Ok(Some(incoming)) => incoming,
                Ok(None) => return None,
                Err(e) => {
                    log::error!("the monitor cannot receive signals: {}", e.desc());
                    return None;
                }
            };
            match incoming {
                Incoming::Child => {}
                Incoming::WindowSize => {
                    if let Some(t) = &self.terminal {
                        let (rows, columns) = t.size();
                        self.tell(Message::WindowSize(0, rows, columns), &[]);
                    }
                }
                Incoming::Forward(signal) | Incoming::Stop(signal) => {
                    if let Some(status) = self.signal(signal, false) {
                        return Some(status);
                    }
                }
            }
        }
    }

    /// To init or to all. The exit status, if there is nobody yet to get it.
    fn signal(&mut self, signal: i32, all: bool) -> Option<u8> {
        let fatal = [
            libc::SIGKILL,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGQUIT,
        ];
        if !self.running && fatal.contains(&signal) {
            return Some(128 + u8::try_from(signal).unwrap_or(0));
        }
        if signal == libc::SIGKILL {
            self.kill_at.get_or_insert(Instant::now() + LAST_BREATH);
        }
        let message = if all {
            Message::SignalAll(signal)
        } else {
            Message::Signal(0, signal)
        };
        self.tell(message, &[]);
        None
    }

    fn tell(&self, message: Message, files: &[BorrowedFd<'_>]) -> bool {
        match self.children.sentry.end.send_with(message, files) {
            Ok(()) => true,
            Err(e) => {
                log::warn!("cannot tell the sentry {message:?}: {e}");
                false
            }
        }
    }

    fn accept(&mut self) {
        let flags = SockFlag::SOCK_CLOEXEC;
        match accept4(self.listener.as_raw_fd(), flags).map(own) {
            Ok(Ok(fd)) => self.clients.push(Client {
                connection: Connection::from_fd(fd),
                number: None,
                runs: false,
            }),
            Ok(Err(e)) => log::warn!("a connection of a verb: {e}"),
            Err(e) => log::warn!("a connection of a verb: {}", e.desc()),
        }
    }

    /// A client wants something or is gone. The container's exit status, if that ends it.
    fn attend(&mut self, index: usize) -> Option<u8> {
        let client = self.clients.get(index)?;
        let (request, files) = match client.connection.receive_with(MsgFlags::MSG_DONTWAIT) {
            Ok(Some(request)) => request,
            Ok(None) | Err(_) => {
                let client = self.clients.remove(index);
                if let (true, Some(number)) = (client.runs, client.number) {
                    // Whoever stood for the process outside is gone: so must it.
                    self.tell(Message::Signal(number, libc::SIGKILL), &[]);
                }
                return None;
            }
        };
        let number = client.number;
        let mut ends = None;
        let reply = match request {
            Request::State => Some(Reply::State {
                running: self.running,
            }),
            Request::Start if self.running => Some(Reply::Refused {
                sentence: "cannot start an already running container".into(),
            }),
            Request::Start => {
                self.running = self.tell(Message::Start, &[]);
                Some(Reply::Done)
            }
            Request::Signal { signal, .. } if number.is_some() => {
                self.tell(Message::Signal(number.unwrap_or(0), signal), &[]);
                None
            }
            Request::Signal { signal, all } => {
                ends = self.signal(signal, all);
                Some(Reply::Done)
            }
            Request::Resize { rows, columns } => {
                if let Some(n) = number {
                    self.tell(Message::WindowSize(n, rows, columns), &[]);
                }
                None
            }
            Request::Exec => self.ask_sentry(index, Message::Spawn, &files),
            Request::Processes => self.ask_sentry(index, Message::Processes, &files),
            Request::Allow => self.ask_sentry(index, Message::Allow, &files),
        };
        if let (Some(reply), Some(client)) = (reply, self.clients.get(index)) {
            // A client that is gone is noticed by the end of its connection.
            let _ = client.connection.send(&reply, &[]);
        }
        ends
    }

    /// Passes a request on under a new number; the answer comes as an event.
    fn ask_sentry(
        &mut self,
        index: usize,
        message: impl FnOnce(u32) -> Message,
        files: &[OwnedFd],
    ) -> Option<Reply> {
        let number = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        if !self.tell(message(number), &files) {
            return Some(Reply::Refused {
                sentence: "the sentry does not listen".into(),
            });
        }
        if let Some(client) = self.clients.get_mut(index) {
            client.number = Some(number);
        }
        None
    }

    /// Ends what still runs. Everything that stands for a process outside learns that it was killed.
    fn finish(mut self, status: u8) -> u8 {
        let deadline = Instant::now() + AGENTS_FIRST;
        self.clients.retain(|c| c.runs);
        for client in &self.clients {
            let killed = Reply::Ended { status: 128 + 9 };
            // A client that is gone needs no answer.
            let _ = client.connection.send(&killed, &[]);
        }
        // Natively the kernel kills what else runs before init's own end is seen: engines hear of execs first.
        for client in &self.clients {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(client.connection.as_fd(), PollFlags::POLLIN)];
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO),
            );
        }
        self.children.end();
        status
    }
}

/// Everything before hooks: session, descriptors, control group, namespaces.
fn prepare(setup: &mut Setup, parent: i32) -> Result<(Plan, Option<Behind>)> {
    let terminal = console::enter_session(setup.slave.take())?;
    let mut keep = vec![
        0,
        1,
        2,
        parent,
        setup.parent.as_fd().as_raw_fd(),
        setup.listener.as_raw_fd(),
    ];
    keep.extend((0..setup.preserve_fds).filter_map(|n| i32::try_from(n + 3).ok()));
    keep.extend(terminal.iter().map(Behind::raw_fd));
    keep.extend(setup.start.strace.iter().map(AsRawFd::as_raw_fd));
    keep.extend(&setup.start.keep);
    if let Network::At(file) = &setup.network {
        keep.push(file.as_raw_fd());
    }
    process::close_all_but(&keep)?;
    let Ok(Some((Limited, _))) = setup.parent.receive_with::<Limited>(MsgFlags::empty()) else {
        return Err(Error::Other("create has given up".into()));
    };
    if let Some(cgroup) = &setup.cgroup {
        cgroup.join_self()?;
        setup.start.memory_events = cgroup.memory_events();
        setup.start.guest.allowance = cgroup.allowance();
    }
    if setup.isolated {
        // Whoever enters these namespaces (podman top) is to find the container's processes and no others.
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
            .map_err(at("cannot detach from the host's mounts"))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, none)
            .map_err(at("cannot mount /proc"))?;
    }
    process::set_title(&setup.start.guest.process.argv);
    let adjust = setup.oom_score_adj.unwrap_or_else(oom::current);
    setup.start.guest_oom_score_adj = oom::make_way(adjust).unwrap_or_else(|e| {
        // Only the privileged may lower it.
        log::warn!("oom_score_adj {adjust}: {e}");
        oom::above(oom::current())
    });
    // Before the network namespace: the lock on the host id is a name in the host's.
    let plan = Plan::for_caller()?;
    let entered = match &setup.network {
        Network::Host => Ok(()),
        Network::Own => unshare(CloneFlags::CLONE_NEWNET),
        Network::At(file) => setns(file, CloneFlags::CLONE_NEWNET),
    };
    if let Err(e) = entered {
        // Nothing of ours uses it; an ordinary user's container does without.
        log::warn!("the container's network namespace: {}", e.desc());
    }
    nix::unistd::chdir("/").map_err(at("cannot enter /"))?;
    Ok((plan, terminal))
}

/// In the container's namespaces, as far as the host has any: mounts made now are there when the gofer looks.
fn run_hooks((hooks, dir): &(Vec<Hook>, PathBuf), state: Vec<OwnedFd>) -> Result<()> {
    let Some(file) = state.into_iter().next() else {
        return Ok(());
    };
    let mut file = File::from(file);
    file.rewind().map_err(at("the state for hooks"))?;
    let state = serde_json::from_reader(file).map_err(at("the state for hooks"))?;
    hooks::run("createContainer", Some(hooks), &state, dir)
}

/// The monitor keeps the right to end its children, who are other users if it is root, and little else.
fn confine(log: Option<i32>) -> Result<()> {
    process::no_core()?;
    caps::keep_only(caps::KILL)?;
    violation::report_to(log.unwrap_or(libc::STDERR_FILENO), [0; 2]);
    seccomp::confine(&filters::monitor::CONTAINER)?;
    Ok(())
}

fn sys_dup(connection: &Connection) -> std::io::Result<Connection> {
    Ok(Connection::from_fd(
        connection.as_fd().try_clone_to_owned()?,
    ))
}

fn own(fd: i32) -> std::io::Result<OwnedFd> {
    sys::inherited(fd)
}
