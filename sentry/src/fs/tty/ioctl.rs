//! ioctl_tty(2).

use super::drivers::SLAVE_MAJOR;
use super::jobs::{self, check_change, is_controlling};
use super::pty::Pty;
use super::termios::{Cc, TERMIOS_LEN, Termios};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::fs::devices::makedev;
use crate::usermem::UserPtr;
use crate::vfs::{Caller, File};
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Size of the kernel's `struct termios`.
const KERNEL_TERMIOS: usize = 36;

/// Commands by number (`asm-generic/ioctls.h`).
mod cmd {
    #![allow(missing_docs)]
    pub const TCGETS: u32 = 0x5401;
    pub const TCSETS: u32 = 0x5402;
    pub const TCSETSW: u32 = 0x5403;
    pub const TCSETSF: u32 = 0x5404;
    pub const TCGETA: u32 = 0x5405;
    pub const TCSETA: u32 = 0x5406;
    pub const TCSETAW: u32 = 0x5407;
    pub const TCSETAF: u32 = 0x5408;
    pub const TCSBRK: u32 = 0x5409;
    pub const TCXONC: u32 = 0x540a;
    pub const TCFLSH: u32 = 0x540b;
    pub const TIOCEXCL: u32 = 0x540c;
    pub const TIOCNXCL: u32 = 0x540d;
    pub const TIOCSCTTY: u32 = 0x540e;
    pub const TIOCGPGRP: u32 = 0x540f;
    pub const TIOCSPGRP: u32 = 0x5410;
    pub const TIOCOUTQ: u32 = 0x5411;
    pub const TIOCSTI: u32 = 0x5412;
    pub const TIOCGWINSZ: u32 = 0x5413;
    pub const TIOCSWINSZ: u32 = 0x5414;
    pub const TIOCGLCKTRMIOS: u32 = 0x5456;
    pub const TIOCSLCKTRMIOS: u32 = 0x5457;
    pub const TIOCGSOFTCAR: u32 = 0x5419;
    pub const TIOCSSOFTCAR: u32 = 0x541a;
    pub const FIONREAD: u32 = 0x541b;
    pub const TIOCCONS: u32 = 0x541d;
    pub const TIOCPKT: u32 = 0x5420;
    pub const TIOCNOTTY: u32 = 0x5422;
    pub const TIOCSETD: u32 = 0x5423;
    pub const TIOCGETD: u32 = 0x5424;
    pub const TCSBRKP: u32 = 0x5425;
    pub const TIOCSBRK: u32 = 0x5427;
    pub const TIOCCBRK: u32 = 0x5428;
    pub const TIOCGSID: u32 = 0x5429;
    pub const TCGETS2: u32 = 0x802c_542a;
    pub const TCSETS2: u32 = 0x402c_542b;
    pub const TCSETSW2: u32 = 0x402c_542c;
    pub const TCSETSF2: u32 = 0x402c_542d;
    pub const TIOCGPTN: u32 = 0x8004_5430;
    pub const TIOCSPTLCK: u32 = 0x4004_5431;
    pub const TIOCGDEV: u32 = 0x8004_5432;
    pub const TIOCSIG: u32 = 0x4004_5436;
    pub const TIOCVHANGUP: u32 = 0x5437;
    pub const TIOCGPKT: u32 = 0x8004_5438;
    pub const TIOCGPTLCK: u32 = 0x8004_5439;
    pub const TIOCGEXCL: u32 = 0x8004_5440;
}
use cmd::*;

/// Device number of /dev/pts/`index`.
pub(super) fn slave_device(index: u32) -> u64 {
    makedev(SLAVE_MAJOR + index / 256, index % 256)
}

fn put(cx: &dyn Caller, arg: u64, value: i32) -> Result<i64> {
    cx.memory().put(UserPtr::new(arg), &value)?;
    Ok(0)
}

fn get(cx: &dyn Caller, arg: u64) -> Result<i32> {
    cx.memory().get(UserPtr::<i32>::new(arg))
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Through the slave, or /dev/tty.
pub(super) fn slave(
    pty: &Arc<Pty>,
    file: &File,
    cx: &dyn Caller,
    cmd: u32,
    arg: u64,
) -> Result<i64> {
    match cmd {
        TIOCGPGRP => {
            if !is_controlling(pty, cx) {
                return Err(Errno::ENOTTY);
            }
            put(cx, arg, cx.pid_seen(pty.with(|s| s.foreground)))
        }
        TIOCGSID => {
            let session = pty.with(|s| s.session);
            if !is_controlling(pty, cx) || session == 0 {
                return Err(Errno::ENOTTY);
            }
            put(cx, arg, cx.pid_seen(session))
        }
        TIOCNOTTY => jobs::give_up(pty, cx).map(|()| 0),
        FIONREAD => put(cx, arg, count(pty.with(|s| s.ldisc.readable_bytes()))),
        TIOCEXCL | TIOCNXCL => {
            pty.with(|s| s.exclusive = [cmd == TIOCEXCL, s.exclusive[1]]);
            Ok(0)
        }
        TIOCGEXCL => put(cx, arg, pty.with(|s| i32::from(s.exclusive[0]))),
        TCXONC => {
            check_change(pty, cx, libc::SIGTTOU)?;
            flow(pty, arg)
        }
        TCFLSH => {
            check_change(pty, cx, libc::SIGTTOU)?;
            let (input, output) = queues(arg)?;
            pty.with(|s| {
                if input {
                    s.flush_input();
                }
                if output {
                    s.ldisc.flush_output();
                }
            });
            Ok(0)
        }
        TIOCGDEV => {
            let dev = slave_device(pty.index());
            put(cx, arg, (dev as u32).cast_signed())
        }
        TIOCVHANGUP => {
            crate::vfs::caller::require(cx, Caps::SYS_ADMIN)?;
            pty.hang_up();
            Ok(0)
        }
        _ => both(pty, file, cx, cmd, arg),
    }
}

/// Through the master.
pub(super) fn master(
    pty: &Arc<Pty>,
    file: &File,
    cx: &dyn Caller,
    cmd: u32,
    arg: u64,
) -> Result<i64> {
    match cmd {
        TIOCGPTN => put(cx, arg, pty.index().cast_signed()),
        TIOCSPTLCK => {
            let on = get(cx, arg)? != 0;
            pty.with(|s| s.locked = on);
            Ok(0)
        }
        TIOCGPTLCK => put(cx, arg, pty.with(|s| i32::from(s.locked))),
        TIOCPKT => {
            let on = get(cx, arg)? != 0;
            pty.with(|s| s.set_packet(on));
            Ok(0)
        }
        TIOCGPKT => put(cx, arg, pty.with(|s| i32::from(s.packet))),
        TIOCSIG => {
            let signal = i32::try_from(arg).map_err(|_| Errno::EINVAL)?;
            if ![libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP].contains(&signal) {
                return Err(Errno::EINVAL);
            }
            let group = pty.with(|s| s.foreground);
            if group != 0 {
                pty.jobs().signal_group(group, signal);
            }
            Ok(0)
        }
        TIOCGPGRP => put(cx, arg, cx.pid_seen(pty.with(|s| s.foreground))),
        TIOCGSID => match pty.with(|s| s.session) {
            0 => Err(Errno::ENOTTY),
            session => put(cx, arg, cx.pid_seen(session)),
        },
        TIOCNOTTY => Err(Errno::ENOTTY),
        FIONREAD => put(cx, arg, count(pty.output_pending())),
        TIOCEXCL | TIOCNXCL => {
            pty.with(|s| s.exclusive = [s.exclusive[0], cmd == TIOCEXCL]);
            Ok(0)
        }
        TIOCGEXCL => put(cx, arg, pty.with(|s| i32::from(s.exclusive[1]))),
        TCXONC => queues(arg).map(|_| 0),
        TCFLSH => {
            // The master's input is the slave's output.
            let (input, output) = queues(arg)?;
            pty.with(|s| {
                if input {
                    s.ldisc.flush_output();
                }
                if output {
                    s.clear_backlog();
                }
            });
            Ok(0)
        }
        TIOCGDEV => put(cx, arg, (makedev(5, 2) as u32).cast_signed()),
        _ => both(pty, file, cx, cmd, arg),
    }
}

/// What both ends do: mostly to the slave's settings.
fn both(pty: &Arc<Pty>, file: &File, cx: &dyn Caller, cmd: u32, arg: u64) -> Result<i64> {
    let mem = cx.memory();
    match cmd {
        TCGETS => {
            let t = pty.with(|s| *s.ldisc.termios());
            mem.write_bytes(arg, t.as_bytes().get(..TERMIOS_LEN).unwrap_or(&[]))?;
            Ok(0)
        }
        TCGETS2 => {
            let t = pty.with(|s| *s.ldisc.termios());
            mem.put(UserPtr::new(arg), &t)?;
            Ok(0)
        }
        TCSETS | TCSETSW | TCSETSF => {
            check_change(pty, cx, libc::SIGTTOU)?;
            let mut raw = [0u8; size_of::<Termios>()];
            mem.read_bytes(arg, raw.get_mut(..TERMIOS_LEN).unwrap_or(&mut []))?;
            let t = Termios::read_from_bytes(&raw).map_err(|_| Errno::EINVAL)?;
            set(pty, t, false, cmd == TCSETSF)
        }
        TCSETS2 | TCSETSW2 | TCSETSF2 => {
            check_change(pty, cx, libc::SIGTTOU)?;
            let t: Termios = mem.get(UserPtr::new(arg))?;
            set(pty, t, true, cmd == TCSETSF2)
        }
        TCGETA => {
            let t = pty.with(|s| *s.ldisc.termios());
            mem.put(UserPtr::new(arg), &to_termio(&t))?;
            Ok(0)
        }
        TCSETA | TCSETAW | TCSETAF => {
            check_change(pty, cx, libc::SIGTTOU)?;
            let raw: [u8; 18] = mem.get(UserPtr::new(arg))?;
            let old = pty.with(|s| *s.ldisc.termios());
            set(pty, from_termio(&raw, old), false, cmd == TCSETAF)
        }
        TIOCGWINSZ => {
            mem.put(UserPtr::new(arg), &pty.with(|s| s.winsize))?;
            Ok(0)
        }
        TIOCSWINSZ => {
            pty.set_winsize(mem.get(UserPtr::new(arg))?);
            Ok(0)
        }
        TIOCSCTTY => {
            let readable = file.flags().readable();
            jobs::set_controlling(pty, cx, readable, arg == 1).map(|()| 0)
        }
        TIOCSPGRP => {
            let pgid = get(cx, arg)?;
            jobs::set_foreground(pty, cx, pgid).map(|()| 0)
        }
        // Nothing is ever locked: only the superuser could.
        TIOCGLCKTRMIOS => {
            mem.put(UserPtr::new(arg), &[0u8; KERNEL_TERMIOS])?;
            Ok(0)
        }
        TIOCSLCKTRMIOS => {
            crate::vfs::caller::require(cx, Caps::SYS_ADMIN)?;
            mem.get::<[u8; KERNEL_TERMIOS]>(UserPtr::new(arg))?;
            Ok(0)
        }
        TIOCOUTQ => put(cx, arg, 0),
        // Faked input is how a program takes over its caller's shell; Linux refuses it by default as well.
        TIOCSTI => Err(Errno::EIO),
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK => {
            // There is no line to break, and output is never in flight.
            check_change(pty, cx, libc::SIGTTOU)?;
            Ok(0)
        }
        TIOCGSOFTCAR => put(cx, arg, i32::from(pty.with(|s| s.ldisc.termios().clocal()))),
        TIOCSSOFTCAR => {
            let on = get(cx, arg)? != 0;
            let mut t = pty.with(|s| *s.ldisc.termios());
            t.set_clocal(on);
            pty.set_termios(t, true);
            Ok(0)
        }
        TIOCGETD => put(cx, arg, 0),
        TIOCSETD => match get(cx, arg)? {
            0 => Ok(0),
            _ => Err(Errno::EINVAL),
        },
        TIOCCONS => {
            crate::vfs::caller::require(cx, Caps::SYS_ADMIN)?;
            Err(Errno::EOPNOTSUPP)
        }
        _ => Err(Errno::ENOTTY),
    }
}

fn set(pty: &Pty, termios: Termios, with_speeds: bool, flush: bool) -> Result<i64> {
    if flush {
        pty.with(|s| s.flush_input());
    }
    pty.set_termios(termios, with_speeds);
    Ok(0)
}

/// TCFLSH's argument: input, output.
fn queues(arg: u64) -> Result<(bool, bool)> {
    match arg {
        0 => Ok((true, false)),
        1 => Ok((false, true)),
        2 => Ok((true, true)),
        _ => Err(Errno::EINVAL),
    }
}

fn flow(pty: &Pty, arg: u64) -> Result<i64> {
    pty.with(|s| match arg {
        0 | 1 => {
            s.ldisc.suspend_output(arg == 0);
            Ok(0)
        }
        2 | 3 => {
            let which = if arg == 2 { Cc::Stop } else { Cc::Start };
            let c = s.ldisc.termios().cc(which);
            if c != 0 {
                s.ldisc.send_urgent(c);
            }
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    })
}

/// `struct termio`: four u16, the line discipline, eight control characters, one byte of padding.
fn to_termio(t: &Termios) -> [u8; 18] {
    let mut out = [0u8; 18];
    let words = [t.iflag, t.oflag, t.cflag, t.lflag];
    for (to, from) in out.chunks_exact_mut(2).zip(words) {
        to.copy_from_slice(&(from as u16).to_ne_bytes());
    }
    out[8] = t.line;
    for (to, from) in out.iter_mut().skip(9).take(8).zip(t.cc) {
        *to = from;
    }
    out
}

fn from_termio(raw: &[u8; 18], old: Termios) -> Termios {
    let mut t = old;
    let words = [&mut t.iflag, &mut t.oflag, &mut t.cflag, &mut t.lflag];
    for (to, from) in words.into_iter().zip(raw.chunks_exact(2)) {
        let low = u16::from_ne_bytes(from.try_into().unwrap_or_default());
        *to = (*to & 0xffff_0000) | u32::from(low);
    }
    t.line = raw[8];
    for (to, from) in t.cc.iter_mut().zip(raw.iter().skip(9).take(8)) {
        *to = *from;
    }
    t
}
