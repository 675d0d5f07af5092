//! `process` of a configuration, and of `exec --process`, in the sentry's terms.

use super::{Notes, Result, invalid, seccomp};
use cofferdam_sentry::auth::Caps;
use cofferdam_sentry::boot::{CapsConfig, ProcessConfig, SchedulerConfig, UserConfig};
use oci_spec::runtime::{
    Capabilities, IOPriorityClass, LinuxCapabilities, LinuxIOPriority, LinuxSchedulerPolicy,
    LinuxSeccomp, PosixRlimitType, Process, Scheduler,
};
use std::os::unix::ffi::OsStrExt;

/// Translates. `init`: it is the container's first process.
///
/// # Errors
/// It asks for what cannot be.
pub fn translate(
    p: &Process,
    profile: Option<&LinuxSeccomp>,
    init: bool,
    notes: &mut Notes,
) -> Result<ProcessConfig> {
    let argv: Vec<Vec<u8>> = strings(p.args().as_deref());
    if argv.first().is_none_or(Vec::is_empty) {
        return invalid("args must not be empty");
    }
    if !p.cwd().is_absolute() {
        return invalid(format!(
            "Cwd must be an absolute path: {}",
            p.cwd().display()
        ));
    }
    let user = p.user();
    let mut limits = Vec::new();
    for l in p.rlimits().iter().flatten() {
        let which = resource(l.typ());
        if limits.iter().any(|(w, _, _)| *w == which) {
            return invalid(format!("the limit {} is given twice", l.typ()));
        }
        if which == libc::RLIMIT_NOFILE && l.hard() > most_files() {
            return invalid(format!(
                "error setting rlimits for {}: operation not permitted: more than the host's fs.nr_open",
                l.typ()
            ));
        }
        limits.push((which, l.soft(), l.hard()));
    }
    let caps = p.capabilities().as_ref().map(caps).unwrap_or_default();
    // capset(2) of a process that has just been given this bounding set.
    if caps.inheritable & !caps.bounding != 0 {
        return invalid(
            "unable to apply caps: operation not permitted: some are inheritable that are not in the bounding set",
        );
    }
    Ok(ProcessConfig {
        argv,
        envp: strings(p.env().as_deref()),
        cwd: p.cwd().as_os_str().as_bytes().to_vec(),
        make_cwd: init,
        cwd_may_miss: false,
        set_home: true,
        user: UserConfig::Ids {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
        },
        caps: Some(caps),
        no_new_privs: p.no_new_privileges().unwrap_or(false),
        limits,
        umask: user.umask(),
        oom_score_adj: p.oom_score_adj(),
        scheduler: p.scheduler().as_ref().map(scheduler).transpose()?,
        io_priority: p.io_priority().as_ref().map(io_priority).transpose()?,
        seccomp: profile.map(|s| seccomp::compile(s, notes)).transpose()?,
        terminal: p.terminal().unwrap_or(false).then(|| {
            let size = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            p.console_size()
                .map_or((0, 0), |b| (size(b.height()), size(b.width())))
        }),
    })
}

/// `scheduler`, checked as sched_setattr(2) does.
fn scheduler(s: &Scheduler) -> Result<SchedulerConfig> {
    use LinuxSchedulerPolicy as P;
    let policy = match s.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => return invalid("the scheduler SCHED_ISO is reserved and not implemented"),
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let (nice, priority) = (s.nice().unwrap_or(0), s.priority().unwrap_or(0));
    let priorities = if matches!(policy, 1 | 2) {
        1..=99
    } else {
        0..=0
    };
    if !(-20..=19).contains(&nice) || !priorities.contains(&priority) {
        return invalid(format!(
            "scheduler: nice {nice} and priority {priority} do not go with {}",
            s.policy()
        ));
    }
    Ok(SchedulerConfig {
        policy,
        nice,
        priority,
        deadline: [s.runtime(), s.deadline(), s.period()].map(|n| n.unwrap_or(0)),
    })
}

/// `ioPriority` as ioprio_set(2) encodes it.
fn io_priority(p: &LinuxIOPriority) -> Result<i32> {
    const CLASS_SHIFT: u32 = 13;
    let class = match p.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(p.priority()) {
        Ok(data @ 0..=7) => Ok(class << CLASS_SHIFT | data),
        _ => invalid(format!("ioPriority {} is not 0 to 7", p.priority())),
    }
}

/// Most descriptors that a process of the host may be allowed: what engines that pass on their own limits know.
fn most_files() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open");
    text.ok()
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(u64::MAX)
}

fn strings(list: Option<&[String]>) -> Vec<Vec<u8>> {
    let all = list.unwrap_or_default();
    all.iter().map(|s| s.clone().into_bytes()).collect()
}

/// The five sets.
pub fn caps(c: &LinuxCapabilities) -> CapsConfig {
    let set = |s: &Option<Capabilities>| {
        s.iter().flatten().fold(0, |bits, cap| {
            bits | Caps::from_name(&cap.to_string()).map_or(0, |c| c.bits())
        })
    };
    CapsConfig {
        bounding: set(c.bounding()),
        permitted: set(c.permitted()),
        effective: set(c.effective()),
        inheritable: set(c.inheritable()),
        ambient: set(c.ambient()),
    }
}

fn resource(typ: PosixRlimitType) -> u32 {
    use PosixRlimitType as T;
    match typ {
        T::RlimitCpu => libc::RLIMIT_CPU,
        T::RlimitFsize => libc::RLIMIT_FSIZE,
        T::RlimitData => libc::RLIMIT_DATA,
        T::RlimitStack => libc::RLIMIT_STACK,
        T::RlimitCore => libc::RLIMIT_CORE,
        T::RlimitRss => libc::RLIMIT_RSS,
        T::RlimitNproc => libc::RLIMIT_NPROC,
        T::RlimitNofile => libc::RLIMIT_NOFILE,
        T::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        T::RlimitAs => libc::RLIMIT_AS,
        T::RlimitLocks => libc::RLIMIT_LOCKS,
        T::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        T::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        T::RlimitNice => libc::RLIMIT_NICE,
        T::RlimitRtprio => libc::RLIMIT_RTPRIO,
        T::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_by_name() {
        let c: LinuxCapabilities =
            serde_json::from_str(r#"{"bounding":["CAP_CHOWN","CAP_BPF"],"ambient":["CAP_KILL"]}"#)
                .unwrap();
        let c = caps(&c);
        assert_eq!(c.bounding, 1 | 1 << 39);
        assert_eq!(c.ambient, 1 << 5);
        assert_eq!(c.effective, 0);
        // Every name that the specification knows is a capability of ours.
        for n in 0..=40 {
            let name = Caps::from_bits(1 << n)
                .unwrap()
                .iter_names()
                .next()
                .unwrap()
                .0;
            let json = format!(r#"{{"bounding":["CAP_{name}"]}}"#);
            let c: LinuxCapabilities = serde_json::from_str(&json).unwrap();
            assert_eq!(caps(&c).bounding, 1 << n, "{name}");
        }
    }

    #[test]
    fn processes_without_program_or_with_relative_directory_are_refused() {
        let translated = |json: &str| {
            let p: Process = serde_json::from_str(json).unwrap();
            translate(&p, None, true, &mut Notes::default())
        };
        let user = r#""user":{"uid":0,"gid":0}"#;
        assert!(translated(&format!(r#"{{"cwd":"/","args":[],{user}}}"#)).is_err());
        assert!(translated(&format!(r#"{{"cwd":"x","args":["a"],{user}}}"#)).is_err());
        let p = translated(&format!(
            r#"{{"cwd":"/","args":["a"],"terminal":true,"rlimits":[{{"type":"RLIMIT_NOFILE","soft":5,"hard":6}}],{user}}}"#
        ))
        .unwrap();
        assert_eq!(p.limits, [(libc::RLIMIT_NOFILE, 5, 6)]);
        assert_eq!(p.terminal, Some((0, 0)));
    }
}
