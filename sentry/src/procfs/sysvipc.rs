//! /proc/sysvipc: the System V objects of the sandbox, one line each (proc_sysvipc_msg(5) and its siblings).

use super::Proc;
use crate::abi::Result;
use crate::fs::pseudo::{Attr, PseudoFile, StaticDir};
use crate::kernel::Kernel;
use crate::kernel::ipc::{IpcNamespace, Object, State, Table};
use crate::vfs::{Caller, InodeRef};
use std::sync::Arc;

/// File name and what generates it.
type Entry = (&'static str, fn(&Kernel) -> String);

const FILES: &[Entry] = &[("msg", msg), ("sem", sem), ("shm", shm)];

pub(super) fn make(proc: &Proc) -> InodeRef {
    let mut dir = StaticDir::new();
    for (name, text) in FILES {
        let p = proc.clone();
        let content =
            move |_: &dyn Caller| -> Result<Vec<u8>> { Ok(text(&*p.kernel()?).into_bytes()) };
        dir.add(name, PseudoFile::new(Attr::new(proc.fs, 0o444), content));
    }
    dir.into_inode(Attr::new(proc.fs, 0o555))
}

fn lines<S>(
    head: &str,
    table: &Table<S>,
    line: impl Fn(&Object<S>, &State<S>) -> String,
) -> String {
    let mut out = format!("{head}\n");
    for object in table.all() {
        let state = object.state.lock();
        if !state.removed {
            out.push_str(&line(&object, &state));
            out.push('\n');
        }
    }
    out
}

fn ipc(k: &Kernel) -> Arc<IpcNamespace> {
    k.extensions.extension()
}

fn msg(k: &Kernel) -> String {
    let head = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime";
    lines(head, &ipc(k).msg, |o, s| {
        let (p, d) = (&s.perm, &s.data);
        format!(
            "{:10} {:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}",
            p.key,
            o.id,
            p.mode,
            d.bytes,
            d.messages.len(),
            d.lspid,
            d.lrpid,
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.stime,
            d.rtime,
            d.ctime
        )
    })
}

fn sem(k: &Kernel) -> String {
    let head =
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime";
    lines(head, &ipc(k).sem, |o, s| {
        let (p, d) = (&s.perm, &s.data);
        format!(
            "{:10} {:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
            p.key,
            o.id,
            p.mode,
            d.sems.len(),
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.otime,
            d.ctime
        )
    })
}

/// How much of a segment is resident is not known here: shown as 0.
fn shm(k: &Kernel) -> String {
    ipc(k).reap_segments();
    let head = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap";
    lines(head, &ipc(k).shm, |o, s| {
        let (p, d) = (&s.perm, &s.data);
        format!(
            "{:10} {:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}",
            p.key,
            o.id,
            p.mode,
            d.size,
            d.cpid,
            d.lpid,
            d.attached(),
            p.uid,
            p.gid,
            p.cuid,
            p.cgid,
            d.atime,
            d.dtime,
            d.ctime,
            0,
            0
        )
    })
}
