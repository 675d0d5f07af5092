//! Directory notification (fcntl(2), F_NOTIFY): a signal when something changes in a directory.
//!
//! A [`DirWatch`] is one more watcher of the directory's inode beside inotify's. The file keeps it until a descriptor of it is
//! closed by the process that asked.

use super::async_io::{self, Reason};
use super::{Cx, Kernel, loan};
use crate::abi::{Errno, Result};
use crate::sync::Knob;
use crate::vfs::notify::{self, Event, Mask, Watch, Watcher, Watches};
use crate::vfs::{File, FileType, InodeRef};
use std::sync::{Arc, Weak};

/// `fs.dir-notify-enable`.
pub static ENABLED: Knob = Knob::new(0, 1);

const MULTISHOT: u32 = 0x8000_0000;

/// DN_* to the events that mean them.
const EVENTS: [(u32, Mask); 6] = [
    (1, Mask::ACCESS),
    (2, Mask::MODIFY),
    (4, Mask::CREATE.union(Mask::MOVED_TO)),
    (8, Mask::DELETE.union(Mask::MOVED_FROM)),
    (0x10, Mask::RENAMED),
    (0x20, Mask::ATTRIB),
];

struct DirWatch {
    me: Weak<DirWatch>,
    kernel: Weak<Kernel>,
    file: Weak<File>,
    inode: InodeRef,
    fd: i32,
    mask: Mask,
}

impl Watcher for DirWatch {
    fn event(&self, _: i32, _: &Event<'_>) {
        if let (Some(kernel), Some(file)) = (self.kernel.upgrade(), self.file.upgrade()) {
            let owner = *file.owner().lock();
            async_io::send_sigio(&kernel, &owner, self.fd, Reason::Message);
        }
    }
    fn ended(&self, _: i32) {}
}

impl Drop for DirWatch {
    fn drop(&mut self) {
        let me: Weak<dyn Watcher> = self.me.clone();
        if let Some(w) = self.inode.meta().existing::<Watches>() {
            w.remove(&me, 0);
        }
    }
}

/// F_NOTIFY through descriptor `fd`; `what` has the DN_* bits. None of them ends the notification.
///
/// # Errors
/// ENOTDIR. EINVAL where the administrator has switched it off.
pub fn set(cx: &Cx<'_>, fd: i32, file: &Arc<File>, what: u32) -> Result<()> {
    if ENABLED.get() == 0 {
        return Err(Errno::EINVAL);
    }
    let table = cx.fds().id();
    if what & !MULTISHOT == 0 {
        file.set_dir_watch(table, None);
        return Ok(());
    }
    if file.inode().file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let chosen = EVENTS.iter().filter(|(bit, _)| what & bit != 0);
    let mut mask = chosen.fold(Mask::empty(), |all, (_, m)| all | *m);
    if what & MULTISHOT == 0 {
        mask |= Mask::ONESHOT;
    }
    // What was asked for before stays, and a lasting watch stays lasting.
    let old = file.dir_watch(table);
    if let Some(old) = old.as_ref().and_then(|w| w.downcast_ref::<DirWatch>()) {
        let me: Weak<dyn Watcher> = old.me.clone();
        let watches = old.inode.meta().existing::<Watches>();
        if watches.is_some_and(|w| w.has(&me, 0)) {
            let lasting = !(mask & old.mask).contains(Mask::ONESHOT);
            mask |= old.mask;
            mask.set(Mask::ONESHOT, !lasting);
        }
    }
    let watch = Arc::new_cyclic(|me| DirWatch {
        me: me.clone(),
        kernel: Arc::downgrade(cx.kernel()),
        file: Arc::downgrade(file),
        inode: file.inode().clone(),
        fd,
        mask,
    });
    {
        let creds = cx.creds();
        let mut o = file.owner().lock();
        if o.pid == 0 {
            (o.kind, o.pid) = (async_io::owner::PID, cx.group().pid());
            (o.uid, o.euid) = (creds.uid, creds.euid);
        }
    }
    let watcher: Weak<dyn Watcher> = watch.me.clone();
    let first = !notify::is_watched();
    file.set_dir_watch(table, Some(watch));
    file.inode().meta().extension::<Watches>().set(Watch {
        watcher,
        wd: 0,
        mask,
    });
    if first {
        loan::end_all(cx.kernel());
    }
    Ok(())
}
