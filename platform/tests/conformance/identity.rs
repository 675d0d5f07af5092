//! Who runs a case: root, or an ordinary user who is root of a user namespace only.
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    Root,
    User,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Identity::Root => "root",
            Identity::User => "user",
        })
    }
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn write(path: &std::ffi::CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: valid pointers; only async-signal-safe calls.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY);
        check(fd)?;
        let n = libc::write(fd, text.as_ptr().cast(), text.len());
        let result = check(n as libc::c_int);
        libc::close(fd);
        result
    }
}

impl Identity {
    pub fn unavailable(self) -> Option<&'static str> {
        // SAFETY: no memory involved.
        let root = unsafe { libc::geteuid() } == 0;
        match self {
            Identity::Root if !root => Some("not root"),
            _ => None,
        }
    }

    /// Makes `command` run under this identity.
    pub fn apply(self, command: &mut Command) {
        if self == Identity::Root {
            return;
        }
        // SAFETY: no memory involved.
        let (uid, gid) = match unsafe { (libc::geteuid(), libc::getegid()) } {
            (0, _) => (65534, 65534),
            own => own,
        };
        let uid_map = format!("0 {uid} 1").into_bytes();
        let gid_map = format!("0 {gid} 1").into_bytes();
        let enter = move || {
            // SAFETY: plain calls on this process between fork and exec.
            unsafe {
                if libc::geteuid() == 0 {
                    check(libc::setgroups(0, std::ptr::null()))?;
                    check(libc::setresgid(gid, gid, gid))?;
                    check(libc::setresuid(uid, uid, uid))?;
                    check(libc::prctl(libc::PR_SET_DUMPABLE, 1))?; // else /proc/self belongs to root
                }
                check(libc::unshare(libc::CLONE_NEWUSER))?;
            }
            write(c"/proc/self/setgroups", b"deny")?;
            write(c"/proc/self/uid_map", &uid_map)?;
            write(c"/proc/self/gid_map", &gid_map)
        };
        // SAFETY: `enter` only makes system calls; nothing in it allocates or locks.
        unsafe { command.pre_exec(enter) };
    }
}

/// What the sentry does to itself after the launch, as far as it matters here.
pub fn lock_down() {
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    // SAFETY: valid pointers to the structures of capset(2).
    unsafe {
        check(libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) as libc::c_int)
            .unwrap();
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)).unwrap();
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0)).unwrap();
    }
}
