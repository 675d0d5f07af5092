//! Signal frames of x86-64 (`arch/x86/kernel/signal_64.c`): what a handler finds on its stack, and rt_sigreturn.

use super::action::{SaFlags, SigAction};
use super::altstack::AltStack;
use super::deliver::force_segv;
use super::fpstate::Layout;
use super::info::SigInfo;
use super::set::{SigSet, Signal};
use super::set_blocked;
use crate::abi::{Errno, Result};
use crate::kernel::Cx;
use crate::sync::before_exchange;
use crate::usermem::{GuestMemory, UserPtr};
use cofferdam_platform::Registers;
use std::sync::OnceLock;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `stack_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs)]
pub struct StackT {
    pub sp: u64,
    pub flags: u32,
    pub pad: u32,
    pub size: u64,
}

/// `struct sigcontext` (`mcontext_t`), 256 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct ucontext`, 304 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct UContext {
    flags: u64,
    link: u64,
    stack: StackT,
    mcontext: SigContext,
    sigmask: u64,
}

/// `struct rt_sigframe`, 440 bytes.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Frame {
    pretcode: u64,
    uc: UContext,
    info: SigInfo,
}

const UC_FP_XSTATE: u64 = 1;
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;
const USER_CS: u64 = 0x33;
const USER_DS: u64 = 0x2b;
const RED_ZONE: u64 = 128;

const EFLAGS_DF: u64 = 1 << 10;
const EFLAGS_TF: u64 = 1 << 8;
const EFLAGS_RF: u64 = 1 << 16;
/// Flags that sigreturn takes from the frame (FIX_EFLAGS): AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
const EFLAGS_USER: u64 =
    1 << 18 | 1 << 11 | EFLAGS_DF | EFLAGS_TF | 1 << 7 | 1 << 6 | 1 << 4 | 1 << 2 | 1 | EFLAGS_RF;

/// The last CPU exception of a task, as mcontext shows it (`thread.trap_nr`, `error_code`, `cr2`).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct FaultRecord {
    pub trapno: u64,
    pub error: u64,
    pub cr2: u64,
}

impl FaultRecord {
    /// What the exception behind a signal must have been. The platform does not say whether an access was a write: the
    /// error code's write bit is never set.
    pub fn of(signal: Signal, code: i32, addr: u64, before: FaultRecord) -> FaultRecord {
        const PRESENT: u64 = 1;
        const USER: u64 = 4;
        let plain = |trapno| FaultRecord {
            trapno,
            error: 0,
            cr2: before.cr2,
        };
        let page = |error| FaultRecord {
            trapno: 14,
            error,
            cr2: addr,
        };
        match (signal, code) {
            // A general protection fault has no address.
            (Signal::SEGV, super::code::SI_KERNEL) => plain(13),
            (Signal::SEGV, super::code::SEGV_ACCERR) => page(USER | PRESENT),
            (Signal::SEGV | Signal::BUS, _) => page(USER),
            (Signal::FPE, 1) => plain(0),
            (Signal::FPE, _) => plain(19),
            (Signal::ILL, _) => plain(6),
            (Signal::TRAP, 2 | 4) => plain(1),
            (Signal::TRAP, _) => plain(3),
            _ => before,
        }
    }
}

/// The host's layout of the extended state, learnt from the first thread that needs it.
fn layout(cx: &Cx<'_>) -> Result<Layout> {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    if let Some(l) = LAYOUT.get() {
        return Ok(*l);
    }
    let state = cx.thread()?.fpstate().map_err(|_| Errno::ESRCH)?;
    Ok(*LAYOUT.get_or_init(|| Layout::of(&state)))
}

/// Where the parts of a frame go (`get_sigframe`).
#[derive(Debug, PartialEq, Eq)]
struct Place {
    frame: u64,
    fpstate: u64,
}

fn place(rsp: u64, on_stack: bool, alt: &AltStack, fp_size: u64) -> Result<Place> {
    let nested = alt.in_use(rsp);
    let mut sp = rsp.wrapping_sub(RED_ZONE);
    let mut entering = false;
    if on_stack && alt.status(sp) == 0 {
        sp = alt.addr.wrapping_add(alt.size);
        entering = true;
    }
    let fpstate = sp.wrapping_sub(fp_size) & !63;
    let frame = (fpstate.wrapping_sub(size_of::<Frame>() as u64) & !15).wrapping_sub(8);
    // A frame that would run over the end of the alternate stack.
    if (nested || entering) && !alt.contains(frame) {
        return Err(Errno::EFAULT);
    }
    Ok(Place { frame, fpstate })
}

fn save(regs: &Registers, fault: &FaultRecord, mask: SigSet, fpstate: u64) -> SigContext {
    SigContext {
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rdi: regs.rdi,
        rsi: regs.rsi,
        rbp: regs.rbp,
        rbx: regs.rbx,
        rdx: regs.rdx,
        rax: regs.rax,
        rcx: regs.rcx,
        rsp: regs.rsp,
        rip: regs.rip,
        eflags: regs.eflags,
        cs: regs.cs as u16,
        gs: 0,
        fs: 0,
        ss: regs.ss as u16,
        err: fault.error,
        trapno: fault.trapno,
        oldmask: mask.0,
        cr2: fault.cr2,
        fpstate,
        reserved: [0; 8],
    }
}

fn restore(c: &SigContext, regs: &mut Registers) {
    let eflags = (regs.eflags & !EFLAGS_USER) | (c.eflags & EFLAGS_USER);
    *regs = Registers {
        r8: c.r8,
        r9: c.r9,
        r10: c.r10,
        r11: c.r11,
        r12: c.r12,
        r13: c.r13,
        r14: c.r14,
        r15: c.r15,
        rdi: c.rdi,
        rsi: c.rsi,
        rbp: c.rbp,
        rbx: c.rbx,
        rdx: c.rdx,
        rax: c.rax,
        rcx: c.rcx,
        rsp: c.rsp,
        rip: c.rip,
        eflags,
        // Only 64-bit code runs here: other selectors are not taken from the frame.
        cs: USER_CS,
        ss: USER_DS,
        // No call is in flight any more.
        orig_rax: u64::MAX,
        ..*regs
    };
}

/// Writes to the guest's stack, growing it if need be.
fn write_stack(cx: &Cx<'_>, addr: u64, bytes: &[u8]) -> Result<()> {
    if cx.mem().write_bytes(addr, bytes).is_ok() {
        return Ok(());
    }
    let thread = cx.thread()?;
    if !cx.mm.handle_fault(thread, addr, &cx.mm_limits()) {
        return Err(Errno::EFAULT);
    }
    cx.mem().write_bytes(addr, bytes)
}

/// Builds the frame for `action`'s handler and points the registers at it. `mask` is what rt_sigreturn restores.
///
/// # Errors
/// The frame cannot be written or the action has no SA_RESTORER: SIGSEGV is due.
pub(super) fn push(
    cx: &mut Cx<'_>,
    signal: Signal,
    info: &SigInfo,
    action: &SigAction,
    mask: SigSet,
) -> Result<()> {
    let flags = action.sa_flags();
    if !flags.contains(SaFlags::RESTORER) {
        return Err(Errno::EFAULT);
    }
    let thread = cx.thread()?;
    let layout = layout(cx)?;
    before_exchange();
    let state = thread.fpstate().map_err(|_| Errno::ESRCH)?;
    let (fp, extended) = layout.to_frame(state);
    let alt = cx.local.alt_stack;
    let regs = *cx.regs();
    let at = place(
        regs.rsp,
        flags.contains(SaFlags::ONSTACK),
        &alt,
        fp.len() as u64,
    )?;
    let shown = Registers {
        rip: cx.mm.shown_address(regs.rip),
        ..regs
    };
    let mut frame = Frame {
        pretcode: action.restorer,
        uc: UContext {
            flags: UC_SIGCONTEXT_SS
                | UC_STRICT_RESTORE_SS
                | if extended { UC_FP_XSTATE } else { 0 },
            link: 0,
            stack: StackT {
                sp: alt.addr,
                flags: alt.flags,
                pad: 0,
                size: alt.size,
            },
            mcontext: save(&shown, &cx.local.fault, mask, at.fpstate),
            sigmask: mask.0,
        },
        info: SigInfo::new_zeroed(),
    };
    if flags.contains(SaFlags::SIGINFO) {
        frame.info = *info;
    }
    // All of it at once, with the few bytes between the two.
    let mut whole = frame.as_bytes().to_vec();
    let gap = at.fpstate.saturating_sub(at.frame);
    whole.resize(usize::try_from(gap).map_err(|_| Errno::EFAULT)?, 0);
    whole.extend_from_slice(&fp);
    cx.mm.touch(thread, at.frame, whole.len(), 0);
    write_stack(cx, at.frame, &whole)?;
    thread
        .set_fpstate(&layout.initial())
        .map_err(|_| Errno::EFAULT)?;
    let regs = cx.regs();
    regs.rdi = i64::from(signal.number()).cast_unsigned();
    regs.rsi = at
        .frame
        .wrapping_add(std::mem::offset_of!(Frame, info) as u64);
    regs.rdx = at
        .frame
        .wrapping_add(std::mem::offset_of!(Frame, uc) as u64);
    regs.rax = 0;
    regs.rip = action.handler;
    regs.rsp = at.frame;
    regs.cs = USER_CS;
    regs.ss = USER_DS;
    regs.eflags &= !(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
    regs.orig_rax = u64::MAX;
    Ok(())
}

/// Most bytes between frame and FPU state: see [`place`].
const MOST_GAP: usize = 64 + 16;

/// Guest memory of which a part has been read ahead.
struct Ahead<'a> {
    mem: &'a dyn GuestMemory,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Ahead<'a> {
    /// Reads as many bytes from `start` on as there are, at most `len`.
    fn read(mem: &'a dyn GuestMemory, start: u64, len: usize) -> Ahead<'a> {
        let mut bytes = vec![0; len];
        let there = mem.read_partial(start, &mut bytes);
        bytes.truncate(there);
        Ahead { mem, start, bytes }
    }
}

impl GuestMemory for Ahead<'_> {
    fn read_partial(&self, addr: u64, buf: &mut [u8]) -> usize {
        let at = addr.checked_sub(self.start).map(usize::try_from);
        let known = match at {
            Some(Ok(at)) => self.bytes.get(at..).and_then(|b| b.get(..buf.len())),
            _ => None,
        };
        match known {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                buf.len()
            }
            None => self.mem.read_partial(addr, buf),
        }
    }
    fn write_partial(&self, addr: u64, buf: &[u8]) -> usize {
        self.mem.write_partial(addr, buf)
    }
}

/// rt_sigreturn(2): takes registers, mask, alternate stack and FPU state from the frame at the stack pointer. A bad
/// frame gives SIGSEGV.
pub fn sigreturn(cx: &mut Cx<'_>) {
    if pop(cx).is_err() {
        force_segv(cx);
    }
}

fn pop(cx: &mut Cx<'_>) -> Result<()> {
    // The handler's `ret` has taken `pretcode`.
    let at = cx.regs().rsp;
    let layout = layout(cx)?;
    // Mostly the two lie as they were written.
    let frame = Ahead::read(
        cx.mem(),
        at,
        size_of::<Frame>() + MOST_GAP + layout.frame_size(),
    );
    let mem: &dyn GuestMemory = &frame;
    let uc = mem.get(UserPtr::<UContext>::new(at))?;
    set_blocked(cx.task, SigSet(uc.sigmask));
    let fp = layout.read_frame(mem, uc.mcontext.fpstate)?;
    let mm = cx.mm;
    let regs = cx.regs();
    restore(&uc.mcontext, regs);
    regs.rip = mm.real_address(regs.rip);
    cx.local.restart = None;
    cx.thread()?.set_fpstate(&fp).map_err(|_| Errno::EFAULT)?;
    // Errors but a bad address are ignored, as in Linux.
    let new = AltStack {
        addr: uc.stack.sp,
        size: uc.stack.size,
        flags: uc.stack.flags,
    };
    let sp = cx.regs().rsp;
    let _ = cx.local.alt_stack.replace(new, sp);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn layout_is_that_of_linux() {
        assert_eq!(size_of::<StackT>(), 24);
        assert_eq!(size_of::<SigContext>(), 256);
        assert_eq!(size_of::<UContext>(), 304);
        assert_eq!(size_of::<Frame>(), 440);
        assert_eq!(offset_of!(UContext, mcontext), 40);
        // Against the C library's view of the same structures.
        let gregs = offset_of!(libc::ucontext_t, uc_mcontext);
        assert_eq!(gregs, 40);
        assert_eq!(
            gregs + 8 * libc::REG_RIP as usize,
            40 + offset_of!(SigContext, rip)
        );
        assert_eq!(
            gregs + 8 * libc::REG_CR2 as usize,
            40 + offset_of!(SigContext, cr2)
        );
        assert_eq!(
            gregs + 8 * libc::REG_CSGSFS as usize,
            40 + offset_of!(SigContext, cs)
        );
        assert_eq!(
            offset_of!(libc::ucontext_t, uc_sigmask),
            offset_of!(UContext, sigmask)
        );
    }

    #[test]
    fn frame_is_aligned_as_after_a_call_and_below_the_red_zone() {
        let none = AltStack::none();
        for rsp in [0x7fff_0000u64, 0x7fff_0008, 0x7fff_0003] {
            let p = place(rsp, false, &none, 836).unwrap();
            assert_eq!(p.frame % 16, 8);
            assert_eq!(p.fpstate % 64, 0);
            assert!(p.frame + 440 <= p.fpstate);
            assert!(p.fpstate + 836 <= rsp - 128);
        }
    }

    #[test]
    fn alternate_stack_is_entered_once_and_not_overrun() {
        let alt = AltStack {
            addr: 0x10000,
            size: 0x2000,
            flags: 0,
        };
        let p = place(0x7fff_0000, true, &alt, 836).unwrap();
        assert!(alt.contains(p.frame) && p.fpstate + 836 <= 0x12000);
        // Without SA_ONSTACK the ordinary stack is used.
        assert!(place(0x7fff_0000, false, &alt, 836).unwrap().frame > 0x12000);
        // A second signal goes on below the first.
        let q = place(p.frame, true, &alt, 836).unwrap();
        assert!(q.frame < p.frame && alt.contains(q.frame));
        // No room left.
        assert_eq!(place(0x10400, true, &alt, 836), Err(Errno::EFAULT));
        // With SS_AUTODISARM nobody is ever seen on it.
        let auto = AltStack {
            flags: super::super::altstack::SS_AUTODISARM,
            ..alt
        };
        assert_eq!(place(p.frame, true, &auto, 836).unwrap(), p);
    }

    #[test]
    fn hostile_flags_and_selectors_are_not_taken() {
        let regs = Registers {
            eflags: 0x202,
            cs: USER_CS,
            ss: USER_DS,
            fs_base: 7,
            ..Registers::default()
        };
        let mut c = save(&regs, &FaultRecord::default(), SigSet::EMPTY, 0);
        // IOPL, VM, IF off, TF on.
        c.eflags = 0x3000 | 1 << 17 | EFLAGS_TF;
        c.cs = 0x10;
        let mut r = regs;
        restore(&c, &mut r);
        assert_eq!(r.eflags, 0x202 | EFLAGS_TF);
        assert_eq!((r.cs, r.ss, r.fs_base), (USER_CS, USER_DS, 7));
    }
}
