//! The machine: sysinfo(2), getcpu(2), sched_yield(2), syslog(2), reboot(2).

use crate::abi::Errno;
use crate::auth::Caps;
use crate::fs::tty::Pty;
use crate::kernel::{ExitStatus, signal};
use crate::syscalls::{Args, Block, Cx, OnSignal, SysResult};
use crate::usermem::UserPtr;
use std::sync::atomic::Ordering;
use zerocopy::{Immutable, IntoBytes};

/// `struct sysinfo`, 112 bytes.
#[repr(C)]
#[derive(IntoBytes, Immutable, Default)]
struct SysInfo {
    uptime: i64,
    loads: [u64; 3],
    total_ram: u64,
    free_ram: u64,
    shared_ram: u64,
    buffer_ram: u64,
    total_swap: u64,
    free_swap: u64,
    procs: u16,
    pad: [u16; 3],
    total_high: u64,
    free_high: u64,
    unit: u32,
    pad2: u32,
}

pub(super) fn sysinfo(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let kernel = cx.kernel();
    let memory = kernel.memory();
    // Below 0 where clocks are set back by more than the sandbox is old.
    let uptime = i64::try_from(kernel.boot.elapsed() / 1_000_000_000 + 1).unwrap_or(i64::MAX);
    let offset = cx.task.time_offsets().boottime.div_euclid(1_000_000_000);
    let info = SysInfo {
        // Rounded up, as Linux does: never 0.
        uptime: uptime.saturating_add(offset),
        // SI_LOAD_SHIFT is 16, the averages have 11 bits after the point.
        loads: kernel.loads().map(|l| l << 5),
        total_ram: memory.total,
        free_ram: memory.free(),
        procs: u16::try_from(kernel.task_count()).unwrap_or(u16::MAX),
        unit: 1,
        ..SysInfo::default()
    };
    cx.mem().put(UserPtr::new(args.get(0)), &info)?;
    Ok(0)
}

pub(super) fn getcpu(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let (cpu, node): (UserPtr<u32>, UserPtr<u32>) = (args.get(0), args.get(1));
    // Where the host runs it is not told; it is one that the task may run on.
    let mine = cx.task.sched.affinity.load(Ordering::Relaxed);
    cx.mem().put_opt(cpu, &(mine.trailing_zeros() % 64))?;
    cx.mem().put_opt(node, &0)?;
    Ok(0)
}

/// The caller's terminal, if it has one, is hung up.
pub(super) fn vhangup(cx: &mut Cx<'_>, _: &Args) -> SysResult {
    if !cx.creds().has(Caps::SYS_TTY_CONFIG) {
        return Err(Errno::EPERM.into());
    }
    let terminal = cx.group().tty.lock().clone();
    if let Some(pty) = terminal.and_then(|t| t.downcast::<Pty>().ok()) {
        pty.hang_up();
    }
    Ok(0)
}

/// Guest threads are host threads: the host has just had its chance to run another one.
pub(super) fn sched_yield(_: &mut Cx<'_>, _: &Args) -> SysResult {
    Ok(0)
}

/// Size that the kernel's log is said to have, in bytes.
const LOG_SIZE: i64 = 1 << 18;

pub(super) fn syslog(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    const CLOSE: i32 = 0;
    const OPEN: i32 = 1;
    const READ: i32 = 2;
    const READ_ALL: i32 = 3;
    const READ_CLEAR: i32 = 4;
    const CLEAR: i32 = 5;
    const CONSOLE_OFF: i32 = 6;
    const CONSOLE_ON: i32 = 7;
    const CONSOLE_LEVEL: i32 = 8;
    const SIZE_UNREAD: i32 = 9;
    const SIZE_BUFFER: i32 = 10;
    let (kind, len): (i32, i32) = (args.get(0), args.get(2));
    // As with dmesg_restrict=1.
    let creds = cx.creds();
    if !creds.has(Caps::SYSLOG) && !creds.has(Caps::SYS_ADMIN) {
        return Err(Errno::EPERM.into());
    }
    match kind {
        READ | READ_ALL | READ_CLEAR if len < 0 || args.get::<u64>(1) == 0 => {
            Err(Errno::EINVAL.into())
        }
        READ if len > 0 => Err(Block::until(None, OnSignal::RestartSys).into()),
        CONSOLE_LEVEL if !(1..=8).contains(&len) => Err(Errno::EINVAL.into()),
        CLOSE | OPEN | READ | READ_ALL | READ_CLEAR | CLEAR | CONSOLE_OFF | CONSOLE_ON
        | CONSOLE_LEVEL | SIZE_UNREAD => Ok(0),
        SIZE_BUFFER => Ok(LOG_SIZE),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Ends the sandbox as rebooting a pid namespace does: its init dies, of SIGHUP for a restart, of SIGINT for a halt.
pub(super) fn reboot(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    const MAGIC1: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const RESTART: u32 = 0x0123_4567;
    const RESTART2: u32 = 0xa1b2_c3d4;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    let [magic1, magic2, command]: [u32; 3] = [args.get(0), args.get(1), args.get(2)];
    let ns = cx.group().pid_ns();
    if !cx.creds().has_in(ns.common.owner(), Caps::SYS_BOOT) {
        return Err(Errno::EPERM.into());
    }
    if magic1 != MAGIC1 || !MAGIC2.contains(&magic2) {
        return Err(Errno::EINVAL.into());
    }
    let signo = match command {
        RESTART | RESTART2 => libc::SIGHUP,
        HALT | POWER_OFF => libc::SIGINT,
        _ => return Err(Errno::EINVAL.into()),
    };
    if let Some(init) = cx.kernel().process(ns.init()) {
        signal::start_group_exit(&init, ExitStatus::Signaled(signo, false));
    }
    // Nothing runs on after a reboot.
    Err(Block::until(None, OnSignal::Killable).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn sysinfo_is_laid_out_as_linux_does() {
        assert_eq!(size_of::<SysInfo>(), size_of::<libc::sysinfo>());
        assert_eq!(offset_of!(SysInfo, procs), offset_of!(libc::sysinfo, procs));
        assert_eq!(
            offset_of!(SysInfo, unit),
            offset_of!(libc::sysinfo, mem_unit)
        );
    }
}
