//! Control messages in guest memory (cmsg(3)).

use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::kernel::Cx;
use crate::kernel::pidfd::PidFd;
use crate::net::socket::{Cmsg, MsgFlags, Sender, Ucred};
use crate::net::unix::MAX_FILES;
use crate::usermem::UserPtr;
use crate::vfs::{File, OpenFlags};
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of `struct cmsghdr`, and their alignment.
const HEADER: usize = 16;
const ALIGN: usize = 8;
const SCM_PIDFD: i32 = 4;
/// Most bytes of control messages in one call (`net.core.optmem_max`).
const MAX: usize = 131_072;

/// Reads the control messages of a message to send. Those of AF_UNIX sockets are turned into what they stand for.
///
/// # Errors
/// EINVAL for malformed ones; ENOBUFS for too many; EBADF; EPERM for false credentials; EFAULT.
pub(super) fn read(cx: &Cx<'_>, addr: u64, len: usize, unix: bool) -> Result<Vec<Cmsg>> {
    if len > MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut raw = vec![0u8; len];
    cx.mem().read_bytes(addr, &mut raw)?;
    let mut out = Vec::new();
    let mut files = 0;
    let mut rest = raw.as_slice();
    while rest.len() >= HEADER {
        let (size, level, kind) = header(rest).ok_or(Errno::EINVAL)?;
        if size < HEADER || size > rest.len() {
            return Err(Errno::EINVAL);
        }
        let data = rest.get(HEADER..size).unwrap_or(&[]);
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) if unix => {
                files += data.len() / 4;
                if files > MAX_FILES {
                    return Err(Errno::EINVAL);
                }
                out.push(Cmsg::Rights(rights(cx, data)?));
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if unix => {
                out.push(Cmsg::Credentials(credentials(cx, data)?));
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS | libc::SCM_CREDENTIALS) => {}
            _ => out.push(Cmsg::Other(level, kind, data.to_vec())),
        }
        let next = size.next_multiple_of(ALIGN);
        rest = rest.get(next..).unwrap_or(&[]);
    }
    Ok(out)
}

fn header(raw: &[u8]) -> Option<(usize, i32, i32)> {
    let (size, rest) = u64::read_from_prefix(raw).ok()?;
    let (level, rest) = i32::read_from_prefix(rest).ok()?;
    let (kind, _) = i32::read_from_prefix(rest).ok()?;
    Some((usize::try_from(size).ok()?, level, kind))
}

fn rights(cx: &Cx<'_>, data: &[u8]) -> Result<Vec<Arc<File>>> {
    let fds = cx.fds();
    data.chunks_exact(4)
        .map(|raw| {
            let fd = i32::read_from_bytes(raw).map_err(|_| Errno::EINVAL)?;
            fds.get_any(fd)
        })
        .collect()
}

fn credentials(cx: &Cx<'_>, data: &[u8]) -> Result<Sender> {
    let u = Ucred::read_from_bytes(data).map_err(|_| Errno::EINVAL)?;
    let c = cx.creds();
    let over_pids = cx.group().pid_ns().common.owner();
    let (uid, gid) = (c.user_ns.user_arg(u.uid)?, c.user_ns.group_arg(u.gid)?);
    let pid_ok = u.pid == cx.own_pid() || c.has_in(over_pids, Caps::SYS_ADMIN);
    let uid_ok = [c.uid, c.euid, c.suid].contains(&uid) || c.has_own(Caps::SETUID);
    let gid_ok = [c.gid, c.egid, c.sgid].contains(&gid) || c.has_own(Caps::SETGID);
    if !(pid_ok && uid_ok && gid_ok) {
        return Err(Errno::EPERM);
    }
    let pid = cx.named(u.pid).ok_or(Errno::ESRCH)?;
    Ok(Sender {
        cred: Ucred { pid, uid, gid },
        born: cx.kernel().process(pid).map_or(0, |g| g.start_ns),
    })
}

/// Writes received control messages to a buffer of `room` bytes: how many bytes were used, and MSG_CTRUNC if they did not fit.
/// Those that the buffer faults for are lost; nobody is told (put_cmsg).
pub(super) fn write(
    cx: &Cx<'_>,
    control: Vec<Cmsg>,
    addr: u64,
    room: usize,
    cloexec: bool,
) -> (usize, MsgFlags) {
    let mut w = Writer {
        addr,
        room,
        used: 0,
        flags: MsgFlags::empty(),
    };
    for c in control {
        match c {
            Cmsg::Credentials(s) => {
                let u = s.cred.seen_by(&cx.caller());
                let _ = w.put(cx, libc::SOL_SOCKET, libc::SCM_CREDENTIALS, u.as_bytes());
            }
            Cmsg::Pidfd(who) => w.put_pidfd(cx, who),
            Cmsg::Other(level, kind, data) => {
                let _ = w.put(cx, level, kind, &data);
            }
            Cmsg::Rights(files) => w.put_rights(cx, files, cloexec),
        }
    }
    (w.used, w.flags)
}

/// A descriptor of the process that this was.
///
/// # Errors
/// ESRCH if it is gone; ENFILE.
pub(super) fn pidfd(cx: &Cx<'_>, who: Sender) -> Result<Arc<File>> {
    let group = cx.kernel().process(who.cred.pid);
    let group = group.filter(|g| g.start_ns == who.born);
    let group = group.ok_or(Errno::ESRCH)?;
    PidFd::create(&cx.caller(), group, None, OpenFlags::empty())
}

struct Writer {
    addr: u64,
    room: usize,
    used: usize,
    flags: MsgFlags,
}

impl Writer {
    fn left(&self) -> usize {
        self.room - self.used
    }

    /// put_cmsg: what does not fit is cut.
    ///
    /// # Errors
    /// EFAULT.
    fn put(&mut self, cx: &Cx<'_>, level: i32, kind: i32, data: &[u8]) -> Result<()> {
        if self.left() < HEADER {
            self.flags |= MsgFlags::CTRUNC;
            return Ok(());
        }
        let mut len = HEADER + data.len();
        if len > self.left() {
            self.flags |= MsgFlags::CTRUNC;
            len = self.left();
        }
        let mut raw = Vec::with_capacity(len);
        raw.extend_from_slice((len as u64).as_bytes());
        raw.extend_from_slice(level.as_bytes());
        raw.extend_from_slice(kind.as_bytes());
        raw.extend_from_slice(data.get(..len - HEADER).unwrap_or(data));
        cx.mem()
            .write_bytes(self.addr.wrapping_add(self.used as u64), &raw)?;
        self.used += (HEADER + data.len())
            .next_multiple_of(ALIGN)
            .min(self.left());
        Ok(())
    }

    /// scm_detach_fds: as many files as there is room and there are descriptors for; the rest is closed.
    fn put_rights(&mut self, cx: &Cx<'_>, files: Vec<Arc<File>>, cloexec: bool) {
        let room = self.left().saturating_sub(HEADER) / 4;
        let whole = files.len();
        let mut fds: Vec<i32> = Vec::new();
        for file in files.into_iter().take(room) {
            let at = (self.used + HEADER + fds.len() * 4) as u64;
            let to = UserPtr::<i32>::new(self.addr.wrapping_add(at));
            match cx.give_fd(file, cloexec, |fd| cx.mem().put(to, &fd)) {
                Ok(fd) => fds.push(fd),
                Err(_) => break,
            }
        }
        if fds.len() < whole {
            self.flags |= MsgFlags::CTRUNC;
        }
        if !fds.is_empty() {
            let raw = fds.as_slice().as_bytes();
            let _ = self.put(cx, libc::SOL_SOCKET, libc::SCM_RIGHTS, raw);
        }
    }

    /// scm_pidfd_recv: whole or not at all; an error in its place if the process is gone.
    fn put_pidfd(&mut self, cx: &Cx<'_>, who: Sender) {
        if self.left() < HEADER + size_of::<i32>() {
            self.flags |= MsgFlags::CTRUNC;
            return;
        }
        // If its number cannot be told, nothing is.
        let mut tell = |fd: i32| self.put(cx, libc::SOL_SOCKET, SCM_PIDFD, fd.as_bytes());
        let mut told = false;
        let given = pidfd(cx, who).and_then(|file| {
            cx.give_fd(file, true, |fd| {
                told = true;
                tell(fd)
            })
        });
        if let (false, Err(e)) = (told, given) {
            let _ = tell(-e.raw());
        }
    }
}
