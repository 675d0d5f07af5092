//! mounts, mountinfo, mountstats.

use super::Live;
use crate::abi::Result;
use crate::vfs::path::PATH_MAX;
use crate::vfs::{Caller, Mount, MountFlags, Path, SuperBlock};
use std::collections::HashMap;
use std::sync::Arc;

/// Space, tab, newline and backslash as octal, as getmntent(3) expects.
fn escape(text: &[u8]) -> String {
    let mut out = Vec::new();
    for b in text {
        match b {
            b' ' | b'\t' | b'\n' | b'\\' => out.extend_from_slice(format!("\\{b:03o}").as_bytes()),
            _ => out.push(*b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn options(m: &Mount) -> String {
    let f = m.flags();
    let mut out = String::from(if f.contains(MountFlags::READONLY) {
        "ro"
    } else {
        "rw"
    });
    for (flag, name) in [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
        (MountFlags::NOSYMFOLLOW, ",nosymfollow"),
    ] {
        let shadowed = flag == MountFlags::RELATIME && f.contains(MountFlags::NOATIME);
        if f.contains(flag) && !shadowed {
            out.push_str(name);
        }
    }
    out
}

/// Most bytes of a file: what the longer ones would hold is never read.
const MOST: usize = 16 << 20;

/// A line for each mount that the process can see, made of the mount and where it is in the process's tree.
fn lines(l: &Live, line: impl Fn(&Arc<Mount>, &[u8]) -> String) -> Vec<u8> {
    let Some(task) = &l.task else {
        return Vec::new();
    };
    let fs = task.fs();
    let root = fs.root();
    let (mut out, mut length) = (Vec::new(), 0usize);
    // Parents come first: each mount's place is that of the one below and a rest. Together they are no longer than the lines.
    let mut places: HashMap<i32, Vec<u8>> = HashMap::new();
    for m in fs.namespace().mounts() {
        if length > MOST {
            break;
        }
        let Some(place) = place(&m, &root, &places) else {
            continue;
        };
        let text = line(&m, &shown(&m, &place));
        length = length.saturating_add(text.len());
        out.push((m.id(), text));
        places.insert(m.id(), place);
    }
    // Shown as they were made (since Linux 6.8).
    out.sort_by_key(|(id, _)| *id);
    let all: String = out.into_iter().map(|(_, text)| text).collect();
    all.into_bytes()
}

/// Where the mount is in the tree of `root`, without the last slash; `places` are those of the mounts before it.
fn place(m: &Arc<Mount>, root: &Path, places: &HashMap<i32, Vec<u8>>) -> Option<Vec<u8>> {
    if m.root_path() == *root {
        return Some(Vec::new());
    }
    let mut at = m.mountpoint()?;
    let mut names = Vec::new();
    let mut text = loop {
        if at == *root {
            break Vec::new();
        }
        if Arc::ptr_eq(&at.dentry, at.mount.root()) {
            break places.get(&at.mount.id())?.clone();
        }
        let (parent, name) = at.dentry.place();
        names.push(name);
        at.dentry = parent?;
    };
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    Some(text)
}

/// What of its file system a mount shows: an object without a tree by its name (`uts:[4026532000]`).
pub fn part(m: &Mount) -> Vec<u8> {
    let root = m.root();
    if root.is_anonymous() {
        return root.name().to_vec();
    }
    let mut names = Vec::new();
    let mut at = root.clone();
    let top = m.superblock().root();
    // A file system that shows itself by another root than its own (the part that a bind mount came with) has no names above it.
    while !Arc::ptr_eq(&at, top) && names.len() < PATH_MAX {
        let (parent, name) = at.place();
        let Some(parent) = parent else { break };
        names.push(name);
        at = parent;
    }
    let mut text = Vec::new();
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    if root.is_deleted() {
        text.extend_from_slice(b"//deleted");
    }
    if text.is_empty() {
        text.push(b'/');
    }
    text
}

/// The optional fields: peers, master.
fn ties(m: &Mount) -> String {
    let t = m.ties();
    let mut text = String::new();
    if let Some(g) = t.group {
        text.push_str(&format!(" shared:{}", g.id()));
    }
    if let Some(g) = t.master {
        text.push_str(&format!(" master:{}", g.id()));
    }
    if t.unbindable {
        text.push_str(" unbindable");
    }
    text
}

/// Options of the file system.
fn superblock_options(sb: &SuperBlock) -> String {
    let rw = if sb.readonly() { "ro" } else { "rw" };
    match sb.options().as_str() {
        "" | "rw" | "ro" => rw.to_owned(),
        o => format!("{rw},{o}"),
    }
}

/// As the lines show it.
fn shown(m: &Mount, place: &[u8]) -> Vec<u8> {
    let dentry = m.root();
    let mut text = place.to_vec();
    if text.is_empty() {
        text.push(b'/');
    }
    if dentry.is_deleted() {
        text.extend_from_slice(b" (deleted)");
    }
    text
}

pub(super) fn mounts(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(lines(l, |m, at| {
        let kind = m.superblock().fs_type().to_owned();
        format!(
            "{} {} {kind} {}{} 0 0\n",
            escape(m.source()),
            escape(at),
            options(m),
            match m.superblock().options().as_str() {
                "" | "rw" | "ro" => String::new(),
                o => format!(",{o}"),
            }
        )
    }))
}

pub(super) fn mountinfo(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(lines(l, |m, at| {
        let parent = m.mountpoint().map_or(m.id(), |p| p.mount.id());
        let sb = m.superblock();
        let dev = sb.root().inode().stat().map_or(0, |s| s.dev);
        format!(
            "{} {parent} {}:{} {} {} {}{} - {} {} {}\n",
            m.id(),
            crate::fs::devices::major(dev),
            crate::fs::devices::minor(dev),
            escape(&part(m)),
            escape(at),
            options(m),
            ties(m),
            sb.fs_type(),
            escape(m.source()),
            superblock_options(sb),
        )
    }))
}

pub(super) fn mountstats(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    Ok(lines(l, |m, at| {
        format!(
            "device {} mounted on {} with fstype {}\n",
            escape(m.source()),
            escape(at),
            m.superblock().fs_type()
        )
    }))
}
