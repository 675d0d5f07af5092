//! The sentry's process, from its clone to its end.

use super::control::{ChildEnd, FAILED_PREFIX, Report};
use super::{AUTO, backtrace, host, logging};
use crate::cli::FAILED;
use crate::jail::{self, caps, filters, oom, process, root, seccomp, violation};
use cofferdam_gofer::client::Client;
use cofferdam_gofer::transport::{SeqPacket, Transport};
use cofferdam_platform::{Kind, Platform};
use cofferdam_sentry::boot::{self, BootConfig, GuestConfig};
use cofferdam_sentry::kernel::{ExitStatus, SyscallTracer};
use cofferdam_sentry::profile::{self, Profile};
use cofferdam_sentry::syscalls::strace::Strace;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// Everything the sentry is given.
pub struct Sentry {
    /// To the monitor.
    pub control: ChildEnd,
    /// To the gofer.
    pub gofer: OwnedFd,
    /// What the guest finds.
    pub guest: GuestConfig,
    /// The first process's streams.
    pub streams: Vec<OwnedFd>,
    /// The guest's processes', for the host.
    pub guest_oom_score_adj: i32,
    /// Name of the platform.
    pub platform: String,
    /// Counts processes killed for want of memory.
    pub memory_events: Option<File>,
    /// Where decoded system calls go.
    pub strace: Option<File>,
    /// Where the profile goes.
    pub profile: Option<crate::profile::Output>,
    /// Whether the user namespace lets go of supplementary groups.
    pub may_drop_groups: bool,
    /// Other descriptors to keep open (the log).
    pub keep: Vec<i32>,
}

/// The platform, and the directory of the guest's processes on the host.
type Prepared = (Kind, Arc<dyn Platform>, Option<OwnedFd>);

/// Why it ended, with the exit status that stands for it.
struct Failure(u8, String);

impl Sentry {
    /// Runs in the child; its exit status.
    pub fn run(self) -> u8 {
        logging::role("sentry");
        // First of all: descriptors made before this would be closed under their owners.
        if process::close_all_but(&self.descriptors()).is_err() {
            return FAILED;
        }
        let control = match self.control.duplicate() {
            Ok(fd) => ChildEnd::from(fd),
            Err(_) => return FAILED,
        };
        violation::report_to(control.as_fd().as_raw_fd(), FAILED_PREFIX);
        report_panics(&control);
        jail::sys::use_one_arena();
        let report = match self.boot() {
            Ok(ExitStatus::Exited(code)) => Report::Exited(code),
            Ok(ExitStatus::Signaled(signal, _)) => {
                Report::Signaled(u8::try_from(signal).unwrap_or(0))
            }
            Err(Failure(status, sentence)) => {
                log::error!("{sentence}");
                Report::Failed(status, sentence)
            }
        };
        // Without a monitor there is nobody to tell.
        let _ = control.send(&report);
        0
    }

    fn boot(self) -> Result<ExitStatus, Failure> {
        let (kind, mut platform, processes) = self.prepare()?;
        let control = self
            .control
            .duplicate()
            .map_err(|e| Failure(FAILED, e.to_string()))?;
        let mut tracer = self
            .strace
            .map(|file| Box::new(Strace::new(file, trace_ended)) as Box<dyn SyscallTracer>);
        let mut transport: Box<dyn Transport> = Box::new(SeqPacket::new(self.gofer));
        let profile = self.profile.map(|output| (Profile::start(), output));
        if let Some((p, _)) = &profile {
            platform = profile::wrap(platform, p);
            transport = Box::new(profile::Timed::new(transport, p));
            tracer = Some(match tracer {
                Some(strace) => Box::new(profile::Both(strace, p.tracer())),
                None => p.tracer(),
            });
        }
        let gofer = Client::over(transport).map_err(|e| Failure(FAILED, e.to_string()))?;
        if let Some(dir) = processes {
            gofer
                .processes(dir.as_fd())
                .map_err(|e| Failure(FAILED, e.to_string()))?;
        }
        let ready = self.control;
        let told = ready
            .duplicate()
            .map(ChildEnd::from)
            .map_err(|e| Failure(FAILED, e.to_string()))?;
        let config = BootConfig {
            platform,
            gofer: Some(Arc::new(gofer)),
            guest: self.guest,
            streams: self.streams,
            tracer,
            memory_events: self.memory_events,
            control: Some(control),
            events: Arc::new(move |event| {
                // Without a monitor the control thread ends the sandbox.
                let _ = told.send(&Report::Process(event));
            }),
            lock_down: Box::new(move || {
                seccomp::confine(&filters::sentry::role(kind))
                    .map_err(|e| format!("the sentry {}", host::explain_jail(&e)))?;
                // The monitor waits for this; without a monitor the control thread ends the sandbox.
                let _ = ready.send(&Report::Ready);
                Ok(())
            }),
        };
        let ended = boot::run(config);
        if let Some((profile, mut output)) = profile
            && let Err(e) = output.write(&profile.summary())
        {
            log::error!("cannot write the profile: {e}");
            crate::cli::complain(format_args!("cannot write --profile's output: {e}"));
        }
        ended.map_err(|e| {
            let status = e.exit_status();
            Failure(status, e.to_string())
        })
    }

    /// All that it needs of what the monitor had open.
    fn descriptors(&self) -> Vec<i32> {
        let mut keep = self.keep.clone();
        keep.extend([self.control.as_fd().as_raw_fd(), self.gofer.as_raw_fd()]);
        keep.extend(self.streams.iter().map(AsRawFd::as_raw_fd));
        keep.extend(self.memory_events.iter().map(AsRawFd::as_raw_fd));
        keep.extend(self.strace.iter().map(AsRawFd::as_raw_fd));
        let profile = self.profile.iter();
        keep.extend(profile.map(|output| output.file.as_raw_fd()));
        keep
    }

    /// Everything but the system call filter, while there is only one thread: capabilities belong to threads.
    fn prepare(&self) -> Result<Prepared, Failure> {
        let jail =
            |e: jail::Error| Failure(FAILED, format!("the sentry {}", host::explain_jail(&e)));
        process::own_session().map_err(jail)?;
        process::become_root_of_namespace(self.may_drop_groups).map_err(jail)?;
        process::die_with_parent().map_err(jail)?;
        process::no_core().map_err(jail)?;
        process::many_descriptors();
        process::large_files();
        // Forks the zygote, which needs the capabilities over these namespaces to make its own, and is traced.
        process::dumpable().map_err(jail)?;
        let wanted = match self.platform.as_str() {
            AUTO => None,
            name => Some(name.parse().map_err(|e| Failure(FAILED, e))?),
        };
        let launched = expendable(self.guest_oom_score_adj, || {
            cofferdam_platform::launch(wanted).map_err(|e| Failure(FAILED, e.to_string()))
        })?;
        // What has to be read from the host's /proc before it is out of sight.
        cofferdam_sentry::procfs::prepare();
        let processes = guest_processes();
        root::enter_empty().map_err(jail)?;
        caps::keep_only(caps::CapSet::NONE).map_err(jail)?;
        process::undumpable().map_err(jail)?;
        process::no_new_privs().map_err(jail)?;
        let (kind, platform) = launched;
        Ok((kind, platform, processes))
    }
}

/// Runs `launch`, whose children, and theirs, have this oom_score_adj.
fn expendable<T>(adjust: i32, launch: impl FnOnce() -> T) -> T {
    let own = oom::current();
    let launched = match oom::set(adjust) {
        Ok(()) => launch(),
        Err(e) => {
            log::warn!("the guest's processes keep the sentry's oom_score_adj: {e}");
            return launch();
        }
    };
    if let Err(e) = oom::set(own) {
        log::warn!("the sentry keeps its guest's oom_score_adj: {e}");
    }
    launched
}

fn trace_ended(why: &std::io::Error) {
    crate::cli::complain(format_args!(
        "cannot write --strace's output: {why}; no more calls are shown"
    ));
}

/// A procfs of this pid namespace, for the gofer: sizes of processes are read there. Inside a container whose `/proc` is
/// partly hidden the host refuses it, and sizes stay unknown.
fn guest_processes() -> Option<OwnedFd> {
    const ATTRIBUTES: u64 = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    jail::sys::detached_processes(ATTRIBUTES)
        .inspect_err(|e| log::info!("memory sizes of guest processes are shown as 0: {e}"))
        .ok()
}

/// A panic in any thread is a bug of the sentry, after which its state cannot be trusted: say so and end.
fn report_panics(control: &ChildEnd) {
    let Ok(control) = control.duplicate().map(ChildEnd::from) else {
        return;
    };
    std::panic::set_hook(Box::new(move |info| {
        let place = info
            .location()
            .map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let what = info.payload_as_str().unwrap_or("no message");
        log::error!("panic{place}: {what}");
        log::error!("addr2line -e cofferdam {}", backtrace::capture());
        let sentence = format!(
            "the sentry failed{place}: {what}; this is a bug in Cofferdam, please report it"
        );
        let _ = control.send(&Report::Failed(FAILED, sentence));
        // Not exit: other threads still run, and destructors must not.
        process::exit_now(FAILED);
    }));
}
