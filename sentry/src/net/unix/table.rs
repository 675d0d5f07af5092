//! Names that sockets are found by: abstract ones, and inodes.

use super::UnixSocket;
use super::addr::Name;
use crate::abi::{Errno, Result};
use crate::net::socket::SockCx;
use crate::sync::{Mutex, Rank};
use crate::vfs::{At, FileType, InodeRef, WalkFlags, names, permission, resolve};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// What /proc/net/unix and sock_diag(7) tell of a socket.
#[derive(Clone, Debug)]
pub struct Entry {
    /// SOCK_*.
    pub kind: i32,
    /// TCP_ESTABLISHED, TCP_LISTEN or TCP_CLOSE.
    pub state: u8,
    /// Bound name as it is shown, '@' for NUL.
    pub name: Option<Vec<u8>>,
    /// Inode number, and that of the peer.
    pub ino: u64,
    /// The peer's.
    pub peer: Option<u64>,
    /// Bytes that wait (a listener's connections), and those it sent that do (a listener's backlog).
    pub queued: usize,
    /// See `queued`.
    pub sent: usize,
    /// SO_COOKIE.
    pub cookie: u64,
    /// RCV_SHUTDOWN | SEND_SHUTDOWN.
    pub shutdown: u8,
    /// User.
    pub uid: u32,
}

/// Abstract names of a network namespace.
pub struct UnixTable {
    names: Mutex<Names>,
    /// All sockets, by address.
    all: Mutex<HashMap<usize, Weak<UnixSocket>>>,
}

#[derive(Default)]
struct Names {
    by_name: HashMap<Vec<u8>, Weak<UnixSocket>>,
    next_auto: u32,
}

impl Default for UnixTable {
    fn default() -> UnixTable {
        UnixTable {
            names: Mutex::new(Rank::NET_TABLE, Names::default()),
            all: Mutex::new(Rank::LEAF, HashMap::new()),
        }
    }
}

/// What a socket inode remembers: the socket bound to it.
struct Bound(Mutex<Weak<UnixSocket>>);

impl Default for Bound {
    fn default() -> Bound {
        Bound(Mutex::new(Rank::NET_TABLE, Weak::new()))
    }
}

impl UnixTable {
    pub(super) fn enter(&self, socket: &Arc<UnixSocket>) {
        let key = Arc::as_ptr(socket) as usize;
        self.all.lock().insert(key, Arc::downgrade(socket));
    }
    pub(super) fn leave(&self, socket: &UnixSocket) {
        let key = std::ptr::from_ref(socket) as usize;
        self.all.lock().remove(&key);
    }
    /// All sockets, by inode number.
    pub fn list(&self) -> Vec<Entry> {
        let all: Vec<_> = self.all.lock().values().filter_map(Weak::upgrade).collect();
        let mut out: Vec<Entry> = all.iter().map(|s| s.entry()).collect();
        out.sort_by_key(|e| e.ino);
        out
    }
    /// Claims an abstract name.
    ///
    /// # Errors
    /// EADDRINUSE.
    pub(super) fn bind(&self, name: &[u8], socket: &Arc<UnixSocket>) -> Result<()> {
        let mut t = self.names.lock();
        if t.by_name.get(name).is_some_and(|s| s.strong_count() > 0) {
            return Err(Errno::EADDRINUSE);
        }
        t.by_name.insert(name.to_vec(), Arc::downgrade(socket));
        Ok(())
    }
    /// Claims a free name of five hexadecimal digits (unix_autobind).
    ///
    /// # Errors
    /// ENOSPC if all are taken.
    pub(super) fn autobind(&self, socket: &Arc<UnixSocket>) -> Result<Vec<u8>> {
        let mut t = self.names.lock();
        for _ in 0..=0xfffffu32 {
            t.next_auto = (t.next_auto + 1) & 0xfffff;
            let name = format!("{:05x}", t.next_auto).into_bytes();
            if t.by_name.get(&name).is_none_or(|s| s.strong_count() == 0) {
                t.by_name.insert(name.clone(), Arc::downgrade(socket));
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }
    /// Gives up a name.
    pub(super) fn unbind(&self, name: &[u8], socket: &UnixSocket) {
        let mut t = self.names.lock();
        if t.by_name
            .get(name)
            .is_some_and(|s| std::ptr::eq(s.as_ptr(), socket))
        {
            t.by_name.remove(name);
        }
    }
    /// Finds what an address names, for connect or send.
    ///
    /// # Errors
    /// ECONNREFUSED if nothing is there; errors of the path walk; EACCES without write permission.
    pub(super) fn find(&self, cx: &SockCx<'_>, name: &Name) -> Result<Arc<UnixSocket>> {
        match name {
            Name::Unnamed => Err(Errno::EINVAL),
            Name::Abstract(n) => self
                .names
                .lock()
                .by_name
                .get(n)
                .and_then(Weak::upgrade)
                .ok_or(Errno::ECONNREFUSED),
            Name::Path(p) => {
                let fs = cx.fs.ok_or(Errno::ENOENT)?;
                let place = resolve(cx.caller, fs, &At::Cwd, p, WalkFlags::FOLLOW)?;
                permission::check_path(cx.caller, &place, permission::WRITE)?;
                find_inode(place.inode()).ok_or(Errno::ECONNREFUSED)
            }
        }
    }
}

fn find_inode(inode: &InodeRef) -> Option<Arc<UnixSocket>> {
    if inode.file_type() != FileType::Socket {
        return None;
    }
    inode.meta().existing::<Bound>()?.0.lock().upgrade()
}

/// Makes a socket inode at `path`.
fn make_path(cx: &SockCx<'_>, path: &[u8]) -> Result<InodeRef> {
    let fs = cx.fs.ok_or(Errno::ENOENT)?;
    match names::mknod(cx.caller, fs, &At::Cwd, path, FileType::Socket, 0o777, 0) {
        Ok(place) => Ok(place.inode().clone()),
        Err(Errno::EEXIST) => Err(Errno::EADDRINUSE),
        Err(e) => Err(e),
    }
}

/// Makes a socket inode at `path` and puts `socket` behind it.
///
/// # Errors
/// EADDRINUSE if the name exists; errors of the path walk.
pub(super) fn bind_path(cx: &SockCx<'_>, path: &[u8], socket: &Arc<UnixSocket>) -> Result<()> {
    let inode = make_path(cx, path)?;
    *inode.meta().extension::<Bound>().0.lock() = Arc::downgrade(socket);
    Ok(())
}

/// Whether a socket inode could be made at `path`.
///
/// # Errors
/// As [`bind_path`].
pub(super) fn try_path(cx: &SockCx<'_>, path: &[u8]) -> Result<()> {
    make_path(cx, path)?;
    remove_path(cx, path);
    Ok(())
}

/// Takes back what [`bind_path`] made.
pub(super) fn remove_path(cx: &SockCx<'_>, path: &[u8]) {
    if let Some(fs) = cx.fs {
        // Whoever was faster has removed it already.
        let _ = names::unlink(cx.caller, fs, &At::Cwd, path);
    }
}
