//! status.

use super::{Live, info, stat};
use crate::abi::Result;
use crate::kernel::{ptrace, seccomp};
use crate::vfs::Caller;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// Signal sets as bit masks: pending for the thread, blocked, ignored, caught.
pub(super) fn signal_sets(l: &Live) -> (u64, u64, u64, u64) {
    let (ignored, caught) = l.group.signals.lock().handlers().ignored_and_caught();
    let (pending, blocked) = l.task.as_ref().map_or((0, 0), |t| {
        let s = t.signals.lock();
        (s.pending().0, s.blocked().0)
    });
    (pending, blocked, ignored.0, caught.0)
}

fn state_word(c: char) -> &'static str {
    match c {
        'R' => "R (running)",
        'T' => "T (stopped)",
        't' => "t (tracing stop)",
        'Z' => "Z (zombie)",
        _ => "S (sleeping)",
    }
}

pub(super) fn status(l: &Live, cx: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = b"Name:\t".to_vec();
    for b in info::name(l) {
        match b {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b => out.push(b),
        }
    }
    let mut s = String::new();
    let umask = l.task.as_ref().map_or(0, |t| t.fs().umask());
    let tid = match &l.task {
        Some(t) if !l.whole_process => t.tid(),
        _ => l.group.pid(),
    };
    let c = l.task.as_ref().map(|t| t.creds());
    let reader = &cx.credentials().user_ns;
    let ids = |pick: fn(&crate::auth::Credentials) -> [u32; 4], show: &dyn Fn(u32) -> u32| {
        let v = c.as_ref().map_or([0; 4], |c| pick(c)).map(show);
        format!("{}\t{}\t{}\t{}", v[0], v[1], v[2], v[3])
    };
    let _ = write!(
        s,
        "\nUmask:\t{umask:04o}\nState:\t{}\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\nUid:\t{}\nGid:\t{}\nFDSize:\t{}\nGroups:\t",
        state_word(stat::state(l)),
        l.seen(l.group.pid()),
        l.seen(tid),
        l.seen(l.group.parent_pid()),
        l.task.as_ref().map_or(0, |t| l.seen(ptrace::shown(t).1)),
        ids(|c| [c.uid, c.euid, c.suid, c.fsuid], &|u| reader
            .show_user(u)),
        ids(|c| [c.gid, c.egid, c.sgid, c.fsgid], &|g| reader
            .show_group(g)),
        l.task
            .as_ref()
            .map_or(0, |t| (t.fds().list().last().map_or(0, |n| n + 1)).max(64)),
    );
    for g in c.iter().flat_map(|c| c.groups.iter()) {
        let _ = write!(s, "{} ", reader.show_group(*g));
    }
    let levels = |pid| {
        let all = l.group.kernel().map(|k| k.pids_seen(&l.ns, tid, pid));
        let each = all.unwrap_or_default().into_iter();
        each.fold(String::new(), |s, n| format!("{s}\t{n}"))
    };
    let _ = writeln!(
        s,
        "\nNStgid:{}\nNSpid:{}\nNSpgid:{}\nNSsid:{}\nKthread:\t0",
        levels(l.group.pid()),
        levels(tid),
        levels(l.group.pgid()),
        levels(l.group.sid())
    );
    if let Some(t) = &l.task {
        let z = t.mm().sizes();
        let peak = t.mm().resident_peak().max(z.resident.total);
        for (name, bytes) in [
            ("VmPeak", z.peak),
            ("VmSize", z.total),
            ("VmLck", z.locked),
            ("VmPin", 0),
            ("VmHWM", peak),
            ("VmRSS", z.resident.total),
            ("RssAnon", z.resident.total - z.resident.shared),
            ("RssFile", z.resident.shared),
            ("RssShmem", 0),
            ("VmData", z.data),
            ("VmStk", z.stack),
            ("VmExe", z.exe),
            ("VmLib", z.lib),
            ("VmPTE", 4096 * (z.count as u64)),
            ("VmSwap", 0),
            ("HugetlbPages", 0),
        ] {
            let _ = writeln!(s, "{name}:\t{:>8} kB", bytes / 1024);
        }
        s.push_str("CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n");
    }
    let (pending, blocked, ignored, caught) = signal_sets(l);
    let shared = l.group.signals.lock().pending().0;
    let _ = write!(
        s,
        "Threads:\t{}\nSigQ:\t0/{}\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
        l.group.threads().len(),
        l.group.limit(libc::RLIMIT_SIGPENDING),
    );
    if let Some(c) = &c {
        let _ = write!(
            s,
            "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\n",
            c.inheritable.bits(),
            c.permitted.bits(),
            c.effective.bits(),
            c.bounding.bits(),
            c.ambient.bits(),
            i32::from(c.no_new_privs)
        );
    }
    let mask = l
        .task
        .as_ref()
        .map_or(0, |t| t.sched.affinity.load(Ordering::Relaxed));
    let list = cpu_list(mask);
    let (mode, filters) = l
        .task
        .as_ref()
        .map_or((0, 0), |t| (seccomp::mode(t), seccomp::filters(t)));
    let _ = write!(
        s,
        "Seccomp:\t{mode}\nSeccomp_filters:\t{filters}\nSpeculation_Store_Bypass:\tunknown\nSpeculationIndirectBranch:\tunknown\nCpus_allowed:\t{mask:x}\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t0\n",
        l.group.switches.load(Ordering::Relaxed)
    );
    out.extend_from_slice(s.as_bytes());
    Ok(out)
}

/// A CPU mask as "0-1,3".
fn cpu_list(mask: u64) -> String {
    let mut parts = Vec::new();
    let mut cpu = 0;
    while cpu < 64 {
        if mask & (1 << cpu) == 0 {
            cpu += 1;
            continue;
        }
        let first = cpu;
        while cpu < 63 && mask & (1 << (cpu + 1)) != 0 {
            cpu += 1;
        }
        parts.push(if first == cpu {
            first.to_string()
        } else {
            format!("{first}-{cpu}")
        });
        cpu += 1;
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    #[test]
    fn cpu_lists_are_ranges() {
        assert_eq!(super::cpu_list(0b1011), "0-1,3");
        assert_eq!(super::cpu_list(u64::MAX), "0-63");
        assert_eq!(super::cpu_list(0), "");
    }
}
