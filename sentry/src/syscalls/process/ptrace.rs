//! ptrace(2): requests are decoded here; what they do is in [`crate::kernel::ptrace`].

use super::super::{Args, Cx, SysResult};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::ptrace::{self, Kind, Options, RegSet, Resume, Stopped, SyscallInfo};
use crate::kernel::seccomp;
use crate::kernel::signal::{AUDIT_ARCH_X86_64, SigInfo, SigSet, Signal};
use crate::usermem::UserPtr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// PTRACE_* requests.
mod request {
    pub const TRACEME: u64 = 0;
    pub const PEEKTEXT: u64 = 1;
    pub const PEEKDATA: u64 = 2;
    pub const PEEKUSER: u64 = 3;
    pub const POKETEXT: u64 = 4;
    pub const POKEDATA: u64 = 5;
    pub const POKEUSER: u64 = 6;
    pub const CONT: u64 = 7;
    pub const KILL: u64 = 8;
    pub const SINGLESTEP: u64 = 9;
    pub const GETREGS: u64 = 12;
    pub const SETREGS: u64 = 13;
    pub const GETFPREGS: u64 = 14;
    pub const SETFPREGS: u64 = 15;
    pub const ATTACH: u64 = 16;
    pub const DETACH: u64 = 17;
    pub const OLDSETOPTIONS: u64 = 21;
    pub const SYSCALL: u64 = 24;
    pub const ARCH_PRCTL: u64 = 30;
    pub const SYSEMU: u64 = 31;
    pub const SYSEMU_SINGLESTEP: u64 = 32;
    pub const SETOPTIONS: u64 = 0x4200;
    pub const GETEVENTMSG: u64 = 0x4201;
    pub const GETSIGINFO: u64 = 0x4202;
    pub const SETSIGINFO: u64 = 0x4203;
    pub const GETREGSET: u64 = 0x4204;
    pub const SETREGSET: u64 = 0x4205;
    pub const SEIZE: u64 = 0x4206;
    pub const INTERRUPT: u64 = 0x4207;
    pub const LISTEN: u64 = 0x4208;
    pub const PEEKSIGINFO: u64 = 0x4209;
    pub const GETSIGMASK: u64 = 0x420a;
    pub const SETSIGMASK: u64 = 0x420b;
    pub const SECCOMP_GET_FILTER: u64 = 0x420c;
    pub const GET_SYSCALL_INFO: u64 = 0x420e;
    pub const GET_RSEQ_CONFIGURATION: u64 = 0x420f;
}
use request::*;

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct IoVec {
    base: u64,
    len: u64,
}

/// `struct ptrace_peeksiginfo_args`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct PeekSigInfo {
    off: u64,
    flags: u32,
    nr: i32,
}

/// `ptrace(request, pid, addr, data)`.
pub fn ptrace(cx: &mut Cx<'_>, a: &Args) -> SysResult {
    let [request, _, addr, data, _, _] = a.0;
    // Of whom it does not see there is none.
    let pid = cx.named(a.get(1)).unwrap_or(-1);
    match request {
        TRACEME => {
            ptrace::traceme(cx)?;
            return Ok(0);
        }
        ATTACH | SEIZE => {
            let task = match cx.kernel().task(pid) {
                Some(task) => task,
                // A zombie.
                None if cx.kernel().process(pid).is_some() => return Err(Errno::EPERM.into()),
                None => return Err(Errno::ESRCH.into()),
            };
            let seize = if request == SEIZE {
                if addr != 0 {
                    return Err(Errno::EIO.into());
                }
                // Historically not EINVAL (`ptrace_attach`).
                Some(options(cx, data, Errno::EIO)?)
            } else {
                None
            };
            ptrace::attach(cx, &task, seize)?;
            return Ok(0);
        }
        KILL => {
            ptrace::kill(cx, pid)?;
            return Ok(0);
        }
        INTERRUPT => {
            ptrace::interrupt(cx, pid)?;
            return Ok(0);
        }
        _ => {}
    }
    let tracee = Stopped::find(cx, pid)?;
    match request {
        CONT => resume(&tracee, Resume::Continue, data)?,
        SYSCALL => resume(&tracee, Resume::ToCall, data)?,
        SYSEMU => resume(&tracee, Resume::Emulate, data)?,
        SYSEMU_SINGLESTEP => resume(&tracee, Resume::EmulateStep, data)?,
        SINGLESTEP => resume(&tracee, Resume::Step, data)?,
        DETACH => ptrace::detach(cx, tracee.task(), signal(data)?),
        LISTEN => tracee.listen()?,
        OLDSETOPTIONS | SETOPTIONS => {
            let options = options(cx, data, Errno::EINVAL)?;
            tracee.set_options(options)?;
        }
        GETEVENTMSG => cx.mem().put(UserPtr::new(data), &tracee.message()?)?,
        PEEKTEXT | PEEKDATA => {
            let word = tracee.peek(addr)?;
            cx.mem().put(UserPtr::new(data), &word)?;
        }
        POKETEXT | POKEDATA => tracee.poke(addr, data)?,
        PEEKUSER => {
            let word = tracee.peek_user(addr)?;
            cx.mem().put(UserPtr::new(data), &word)?;
        }
        POKEUSER => tracee.poke_user(addr, data)?,
        GETREGS => get_registers(cx, &tracee, RegSet::General, data)?,
        GETFPREGS => get_registers(cx, &tracee, RegSet::Float, data)?,
        SETREGS => set_registers(cx, &tracee, RegSet::General, data)?,
        SETFPREGS => set_registers(cx, &tracee, RegSet::Float, data)?,
        GETREGSET | SETREGSET => register_set(cx, &tracee, request == SETREGSET, addr, data)?,
        GETSIGINFO => cx.mem().put(UserPtr::new(data), &tracee.siginfo()?)?,
        SETSIGINFO => {
            let info: SigInfo = cx.mem().get(UserPtr::new(data))?;
            tracee.set_siginfo(info)?;
        }
        PEEKSIGINFO => return peek_siginfo(cx, &tracee, addr, data),
        GETSIGMASK | SETSIGMASK if addr != 8 => return Err(Errno::EINVAL.into()),
        GETSIGMASK => cx.mem().put(UserPtr::new(data), &tracee.mask().0)?,
        SETSIGMASK => {
            let mask: u64 = cx.mem().get(UserPtr::new(data))?;
            tracee.set_mask(SigSet(mask));
        }
        GET_SYSCALL_INFO => return syscall_info(cx, &tracee, addr, data),
        SECCOMP_GET_FILTER => return seccomp_filter(cx, &tracee, addr, data),
        GET_RSEQ_CONFIGURATION => {
            // There is no rseq: nothing is registered.
            let config = [0u8; 24];
            let n = config.len().min(usize::try_from(addr).unwrap_or(0));
            cx.mem()
                .write_bytes(data, config.get(..n).unwrap_or_default())?;
            return Ok(24);
        }
        ARCH_PRCTL => base(cx, &tracee, data, addr)?,
        _ => return Err(Errno::EIO.into()),
    }
    Ok(0)
}

/// PTRACE_O_* for the caller.
fn options(cx: &Cx<'_>, raw: u64, unknown: Errno) -> Result<Options> {
    let bits = u32::try_from(raw).map_err(|_| unknown)?;
    let options = Options::from_bits(bits).ok_or(unknown)?;
    if options.contains(Options::SUSPEND_SECCOMP) {
        let may = cx.creds().has(Caps::SYS_ADMIN);
        return Err(if may { Errno::EINVAL } else { Errno::EPERM });
    }
    Ok(options)
}

/// A signal to go on with; EIO for what is none.
fn signal(data: u64) -> Result<i32> {
    let number = i32::try_from(data).map_err(|_| Errno::EIO)?;
    if number == 0 || Signal::new(number).is_some() {
        Ok(number)
    } else {
        Err(Errno::EIO)
    }
}

fn resume(tracee: &Stopped, how: Resume, data: u64) -> Result<()> {
    tracee.resume(how, signal(data)?)
}

fn get_registers(cx: &Cx<'_>, tracee: &Stopped, set: RegSet, to: u64) -> Result<()> {
    let bytes = tracee.registers(set)?;
    cx.mem().write_bytes(to, &bytes)
}

fn set_registers(cx: &Cx<'_>, tracee: &Stopped, set: RegSet, from: u64) -> Result<()> {
    let mut bytes = tracee.registers(set)?;
    cx.mem().read_bytes(from, &mut bytes)?;
    tracee.set_registers(set, &bytes)
}

/// PTRACE_GETREGSET and PTRACE_SETREGSET: `note` says which, at `at` is where the bytes are and how many.
fn register_set(cx: &Cx<'_>, tracee: &Stopped, write: bool, note: u64, at: u64) -> Result<()> {
    let vector: IoVec = cx.mem().get(UserPtr::new(at))?;
    let set = RegSet::of(note)?;
    if !vector.len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = tracee.registers(set)?;
    let len = usize::try_from(vector.len).unwrap_or(usize::MAX);
    bytes.truncate(len);
    if write {
        cx.mem().read_bytes(vector.base, &mut bytes)?;
        tracee.set_registers(set, &bytes)?;
    } else {
        cx.mem().write_bytes(vector.base, &bytes)?;
    }
    let used = IoVec {
        len: bytes.len() as u64,
        ..vector
    };
    cx.mem().put(UserPtr::new(at), &used)
}

fn peek_siginfo(cx: &Cx<'_>, tracee: &Stopped, addr: u64, data: u64) -> SysResult {
    const SHARED: u32 = 1;
    /// So many at a time; who wants more asks again.
    const MOST: usize = 64;
    let args: PeekSigInfo = cx.mem().get(UserPtr::new(addr))?;
    if args.flags & !SHARED != 0 || args.nr < 0 {
        return Err(Errno::EINVAL.into());
    }
    let Ok(skip) = usize::try_from(args.off) else {
        return Ok(0);
    };
    let most = usize::try_from(args.nr).unwrap_or(0).min(MOST);
    let found = tracee.pending(skip, most, args.flags & SHARED != 0);
    let to = UserPtr::<SigInfo>::new(data);
    for (i, info) in found.iter().enumerate() {
        match cx.mem().put(to.offset(i), info) {
            Ok(()) => {}
            Err(e) if i == 0 => return Err(e.into()),
            Err(_) => return Ok(i64::try_from(i).unwrap_or(0)),
        }
    }
    Ok(i64::try_from(found.len()).unwrap_or(0))
}

/// `struct ptrace_syscall_info`, as much of it as there is and fits into `size`; how much there is.
fn syscall_info(cx: &Cx<'_>, tracee: &Stopped, size: u64, to: u64) -> SysResult {
    let SyscallInfo { kind, regs } = tracee.syscall_info()?;
    let mut out = Vec::with_capacity(88);
    let op: u32 = match kind {
        Kind::Entry => 1,
        Kind::Exit => 2,
        Kind::Seccomp(_) => 3,
        Kind::Signal | Kind::Other => 0,
    };
    out.extend_from_slice(&op.to_ne_bytes());
    out.extend_from_slice(&AUDIT_ARCH_X86_64.to_ne_bytes());
    out.extend_from_slice(&regs.rip.to_ne_bytes());
    out.extend_from_slice(&regs.rsp.to_ne_bytes());
    match kind {
        Kind::Entry | Kind::Seccomp(_) => {
            out.extend_from_slice(&regs.syscall_number().to_ne_bytes());
            for arg in regs.syscall_args() {
                out.extend_from_slice(&arg.to_ne_bytes());
            }
            if let Kind::Seccomp(data) = kind {
                out.extend_from_slice(&data.to_ne_bytes());
            }
        }
        Kind::Exit => {
            out.extend_from_slice(&regs.rax.to_ne_bytes());
            let failed = (-4095..0).contains(&regs.rax.cast_signed());
            out.push(failed.into());
        }
        Kind::Signal | Kind::Other => {}
    }
    let n = out.len().min(usize::try_from(size).unwrap_or(usize::MAX));
    cx.mem().write_bytes(to, out.get(..n).unwrap_or_default())?;
    Ok(i64::try_from(out.len()).unwrap_or(0))
}

/// The `n`th filter of the tracee, oldest first: its instructions if there is somewhere to put them; how many they are.
fn seccomp_filter(cx: &Cx<'_>, tracee: &Stopped, n: u64, to: u64) -> SysResult {
    if !cx.creds().has(Caps::SYS_ADMIN) || seccomp::mode(cx.task) != 0 {
        return Err(Errno::EACCES.into());
    }
    let insns = seccomp::instructions(tracee.task(), n)?;
    if to != 0 {
        cx.mem().put_array(UserPtr::new(to), &insns)?;
    }
    Ok(i64::try_from(insns.len()).unwrap_or(0))
}

/// PTRACE_ARCH_PRCTL: the segment bases.
fn base(cx: &Cx<'_>, tracee: &Stopped, code: u64, addr: u64) -> Result<()> {
    const SET_GS: u64 = 0x1001;
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    const GET_GS: u64 = 0x1004;
    /// Where `struct user` has them.
    const FS: u64 = 21 * 8;
    const GS: u64 = 22 * 8;
    let set = |at| tracee.poke_user(at, addr).map_err(|_| Errno::EPERM);
    let get = |at| {
        let value = tracee.peek_user(at)?;
        cx.mem().put(UserPtr::new(addr), &value)
    };
    match code {
        SET_FS => set(FS),
        SET_GS => set(GS),
        GET_FS => get(FS),
        GET_GS => get(GS),
        _ => Err(Errno::EINVAL),
    }
}
