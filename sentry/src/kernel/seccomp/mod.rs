//! Seccomp filters of guests (seccomp(2)): the sentry runs them before it dispatches a call.
//!
//! Filters form a tree: a task's newest one points to those before it, children share their parent's. User notification is
//! not there: such filters cannot be installed.

mod bpf;

use super::signal::{self, AUDIT_ARCH_X86_64, SigInfo};
use super::{Cx, ExitStatus, Task};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::sync::{Charge, Mutex, Quota, Rank};
use crate::syscalls::SysResult;
use crate::usermem::UserPtr;
pub use bpf::Insn;
use bpf::{Data, MAX_INSNS, Program};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// SECCOMP_RET_* actions; the low 16 bits of a filter's result are its data.
mod action {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const USER_NOTIF: u32 = 0x7fc0_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    pub const FULL: u32 = 0xffff_0000;
}

/// Instructions on the way through all filters of one task (MAX_INSNS_PER_PATH); each filter counts 4 more.
const MAX_PATH: usize = 32768;
const PENALTY: usize = 4;
/// Instructions of all filters in the sandbox: 16 MiB.
static QUOTA: Quota = Quota::new(1 << 21);

/// One filter and those installed before it.
struct Filter {
    program: Program,
    log: bool,
    before: Option<Arc<Filter>>,
    /// Instructions of this and all before, with their penalties.
    path: usize,
    _charge: Charge,
}

impl Drop for Filter {
    fn drop(&mut self) {
        // Not by recursion: a chain may be thousands long.
        let mut next = self.before.take();
        while let Some(mut f) = next.and_then(Arc::into_inner) {
            next = f.before.take();
        }
    }
}

#[derive(Clone, Default)]
enum Mode {
    #[default]
    Off,
    Strict,
    Filter(Arc<Filter>),
}

/// A task's seccomp state.
pub struct Seccomp {
    active: AtomicBool,
    mode: Mutex<Mode>,
}

impl Default for Seccomp {
    fn default() -> Self {
        Seccomp {
            active: AtomicBool::new(false),
            mode: Mutex::new(Rank::LEAF, Mode::Off),
        }
    }
}

impl Seccomp {
    /// Whether calls must be checked. One atomic load.
    pub fn active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }
    fn get(&self) -> Mode {
        self.mode.lock().clone()
    }
    fn set(&self, mode: Mode) {
        let old = std::mem::replace(&mut *self.mode.lock(), mode);
        self.active.store(true, Ordering::Release);
        drop(old);
    }
    /// A new task has its parent's filters.
    pub fn inherit(&self, parent: &Seccomp) {
        if parent.active() {
            self.set(parent.get());
        }
    }
}

/// What to do with a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Run it.
    Go,
    /// Do not run it; the guest sees this in rax.
    Return(i64),
    /// Do not run it; a signal or the end is on its way.
    Skip,
    /// A tracer is to be asked, and told this.
    Ask(u32),
}

/// 0 without seccomp, 1 strict, 2 filter (prctl(PR_GET_SECCOMP), /proc/PID/status).
pub fn mode(task: &Task) -> i64 {
    match task.seccomp.get() {
        Mode::Off => 0,
        Mode::Strict => 1,
        Mode::Filter(_) => 2,
    }
}

/// Number of filters (/proc/PID/status).
pub fn filters(task: &Task) -> usize {
    let Mode::Filter(f) = task.seccomp.get() else {
        return 0;
    };
    chain(&f).count()
}

/// The instructions of a task's `n`th filter, oldest first.
///
/// # Errors
/// EINVAL: it has none. ENOENT: not so many.
pub fn instructions(task: &Task, n: u64) -> Result<Vec<Insn>> {
    let Mode::Filter(newest) = task.seccomp.get() else {
        return Err(Errno::EINVAL);
    };
    let count = chain(&newest).count();
    let back = usize::try_from(n)
        .ok()
        .and_then(|n| count.checked_sub(n)?.checked_sub(1))
        .ok_or(Errno::ENOENT)?;
    let found = chain(&newest).nth(back).ok_or(Errno::ENOENT)?;
    Ok(found.program.insns().to_vec())
}

fn chain(newest: &Arc<Filter>) -> impl Iterator<Item = &Filter> {
    std::iter::successors(Some(&**newest), |f| f.before.as_deref())
}

/// The strictest of all filters' results; among equals the newest filter's.
fn evaluate(newest: &Arc<Filter>, data: &Data) -> (u32, bool) {
    let rank = |r: u32| (r & action::FULL).cast_signed();
    let mut strictest = (action::ALLOW, false);
    for f in chain(newest) {
        let result = f.program.run(data);
        if rank(result) < rank(strictest.0) {
            strictest = (result, f.log);
        }
    }
    strictest
}

/// Asks the task's filters about the call it is about to make. To be called once per call, if [`Seccomp::active`].
pub fn check(cx: &mut Cx<'_>, number: u64, args: &[u64; 6]) -> Verdict {
    let newest = match cx.task.seccomp.get() {
        Mode::Off => return Verdict::Go,
        Mode::Strict => return strict(cx, number),
        Mode::Filter(f) => f,
    };
    let data = Data {
        // Linux takes the low half for the number.
        nr: (number as u32).cast_signed(),
        arch: AUDIT_ARCH_X86_64,
        instruction_pointer: cx.local.regs.rip(),
        args: *args,
    };
    let (result, log) = evaluate(&newest, &data);
    if log && result & action::FULL != action::ALLOW {
        log::info!(
            "seccomp of task {}: call {number} gives {result:#x}",
            cx.task.tid()
        );
    }
    let value = result & !action::FULL;
    match result & action::FULL {
        action::ALLOW => Verdict::Go,
        action::LOG => {
            log::info!("seccomp of task {} logs call {number}", cx.task.tid());
            Verdict::Go
        }
        action::ERRNO => Verdict::Return(-i64::from(value.min(4095))),
        action::TRACE => Verdict::Ask(value),
        // Nobody listens.
        action::USER_NOTIF => Verdict::Return(-i64::from(Errno::ENOSYS.raw())),
        action::TRAP => {
            // The handler finds the call's number in rax.
            let regs = cx.regs();
            regs.rax = regs.orig_rax;
            let info = SigInfo::seccomp(regs.rip, data.nr, i32::try_from(value).unwrap_or(0));
            signal::force(cx.task, info);
            Verdict::Skip
        }
        action::KILL_THREAD => {
            signal::end_task(cx.task, killed(cx));
            Verdict::Skip
        }
        // KILL_PROCESS, and whatever has no meaning yet.
        _ => {
            signal::start_group_exit(cx.group(), killed(cx));
            Verdict::Skip
        }
    }
}

fn killed(cx: &Cx<'_>) -> ExitStatus {
    ExitStatus::Signaled(libc::SIGSYS, signal::would_dump_core(cx.group()))
}

/// Strict mode: read, write, _exit and sigreturn; anything else is SIGKILL.
fn strict(cx: &mut Cx<'_>, number: u64) -> Verdict {
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_exit,
        libc::SYS_rt_sigreturn,
    ];
    if allowed.contains(&number.cast_signed()) {
        return Verdict::Go;
    }
    signal::end_task(cx.task, ExitStatus::Signaled(libc::SIGKILL, false));
    Verdict::Skip
}

const SET_MODE_STRICT: u32 = 0;
const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;

const FLAG_TSYNC: u32 = 1;
const FLAG_LOG: u32 = 2;
const FLAG_SPEC_ALLOW: u32 = 4;
const FLAG_TSYNC_ESRCH: u32 = 16;

/// seccomp(2).
pub fn seccomp(cx: &mut Cx<'_>, operation: u32, flags: u32, arg: u64) -> SysResult {
    match operation {
        SET_MODE_STRICT if flags == 0 && arg == 0 => set_strict(cx),
        SET_MODE_FILTER => install(cx, flags, arg),
        GET_ACTION_AVAIL if flags == 0 => {
            let wanted: u32 = cx.mem().get(UserPtr::new(arg))?;
            match wanted {
                action::KILL_PROCESS
                | action::KILL_THREAD
                | action::TRAP
                | action::ERRNO
                | action::TRACE
                | action::LOG
                | action::ALLOW => Ok(0),
                _ => Err(Errno::EOPNOTSUPP.into()),
            }
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// prctl(PR_SET_SECCOMP): mode 1 strict, 2 filter.
pub fn prctl(cx: &mut Cx<'_>, mode: u64, filter: u64) -> SysResult {
    match mode {
        1 => set_strict(cx),
        2 => install(cx, 0, filter),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_strict(cx: &mut Cx<'_>) -> SysResult {
    match cx.task.seccomp.get() {
        Mode::Off | Mode::Strict => {
            cx.task.seccomp.set(Mode::Strict);
            cx.task.unpublish();
            Ok(0)
        }
        Mode::Filter(_) => Err(Errno::EINVAL.into()),
    }
}

/// `struct sock_fprog`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct FilterProgram {
    len: u16,
    pad: [u16; 3],
    filter: u64,
}

fn install(cx: &mut Cx<'_>, flags: u32, arg: u64) -> SysResult {
    // SECCOMP_FILTER_FLAG_NEW_LISTENER is refused as by kernels before 5.0.
    if flags & !(FLAG_TSYNC | FLAG_LOG | FLAG_SPEC_ALLOW | FLAG_TSYNC_ESRCH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let header: FilterProgram = cx.mem().get(UserPtr::new(arg))?;
    let len = usize::from(header.len);
    if len == 0 || len > MAX_INSNS {
        return Err(Errno::EINVAL.into());
    }
    let creds = cx.creds();
    if !creds.no_new_privs && !creds.has_own(Caps::SYS_ADMIN) {
        return Err(Errno::EACCES.into());
    }
    let insns: Vec<Insn> = cx.mem().get_array(UserPtr::new(header.filter), len)?;
    let program = Program::new(insns)?;
    let before = match cx.task.seccomp.get() {
        Mode::Strict => return Err(Errno::EINVAL.into()),
        Mode::Off => None,
        Mode::Filter(f) => Some(f),
    };
    if flags & FLAG_TSYNC != 0
        && let Some(tid) = cannot_follow(cx, before.as_ref())
    {
        return if flags & FLAG_TSYNC_ESRCH != 0 {
            Err(Errno::ESRCH.into())
        } else {
            Ok(i64::from(tid))
        };
    }
    let filter = add(program, flags & FLAG_LOG != 0, before)?;
    cx.task.seccomp.set(Mode::Filter(filter.clone()));
    cx.task.unpublish();
    if flags & FLAG_TSYNC != 0 {
        for t in cx.group().threads() {
            if Arc::ptr_eq(&t, cx.task) {
                continue;
            }
            t.seccomp.set(Mode::Filter(filter.clone()));
            t.unpublish();
            if creds.no_new_privs {
                t.set_no_new_privs();
            }
        }
    }
    Ok(0)
}

/// Gives a task that has not run yet a filter (code, jt, jf, k per instruction), after any that it has.
///
/// # Errors
/// EINVAL for a program that seccomp(2) would not take; ENOMEM.
pub fn attach(task: &Task, program: &[(u16, u8, u8, u32)], log: bool) -> Result<()> {
    let insns = program.iter().map(|(code, jt, jf, k)| Insn {
        code: *code,
        jt: *jt,
        jf: *jf,
        k: *k,
    });
    let program = Program::new(insns.collect())?;
    let before = match task.seccomp.get() {
        Mode::Strict => return Err(Errno::EINVAL),
        Mode::Off => None,
        Mode::Filter(f) => Some(f),
    };
    let filter = add(program, log, before)?;
    task.seccomp.set(Mode::Filter(filter));
    Ok(())
}

fn add(program: Program, log: bool, before: Option<Arc<Filter>>) -> Result<Arc<Filter>> {
    let path = before
        .as_ref()
        .map_or(0, |f| f.path.saturating_add(PENALTY))
        .saturating_add(program.len());
    if path > MAX_PATH {
        return Err(Errno::ENOMEM);
    }
    let charge = QUOTA.charge(program.len()).ok_or(Errno::ENOMEM)?;
    Ok(Arc::new(Filter {
        program,
        log,
        before,
        path,
        _charge: charge,
    }))
}

/// A thread of the process whose filters are not among the caller's, so that it cannot be given them all.
fn cannot_follow(cx: &Cx<'_>, own: Option<&Arc<Filter>>) -> Option<i32> {
    cx.group().threads().into_iter().find_map(|t| {
        let follows = match t.seccomp.get() {
            Mode::Off => true,
            Mode::Strict => false,
            Mode::Filter(f) => {
                own.is_some_and(|own| chain(own).any(|mine| std::ptr::eq(mine, Arc::as_ptr(&f))))
            }
        };
        (!follows).then(|| t.own_tid())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returns(k: u32) -> Program {
        Program::new(vec![Insn {
            code: 6,
            jt: 0,
            jf: 0,
            k,
        }])
        .unwrap()
    }

    #[test]
    fn the_strictest_filter_wins_and_the_newest_among_equals() {
        let old = add(returns(action::ERRNO | 1), false, None).unwrap();
        let mid = add(returns(action::ALLOW), false, Some(old)).unwrap();
        let data = Data::default();
        assert_eq!(evaluate(&mid, &data).0, action::ERRNO | 1);
        let new = add(returns(action::ERRNO | 2), true, Some(mid)).unwrap();
        assert_eq!(evaluate(&new, &data), (action::ERRNO | 2, true));
        let kill = add(returns(action::KILL_THREAD), false, Some(new.clone())).unwrap();
        assert_eq!(evaluate(&kill, &data).0, action::KILL_THREAD);
        let process = add(returns(action::KILL_PROCESS), false, Some(kill)).unwrap();
        assert_eq!(evaluate(&process, &data).0, action::KILL_PROCESS);
        assert_eq!(chain(&process).count(), 5);
    }

    #[test]
    fn chains_are_bounded_and_freed_without_recursion() {
        let mut newest = None;
        let mut count = 0;
        loop {
            match add(returns(action::ALLOW), false, newest.clone()) {
                Ok(f) => newest = Some(f),
                Err(e) => {
                    assert_eq!(e, Errno::ENOMEM);
                    break;
                }
            }
            count += 1;
        }
        assert_eq!(count, (MAX_PATH - 1) / (PENALTY + 1) + 1);
        drop(newest);
    }
}
