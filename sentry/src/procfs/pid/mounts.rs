//! mounts, mountinfo, mountstats.

use super::Live;
use crate::abi::Result;
use crate::vfs::{Caller, Mount, MountFlags, Path};
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
        (MountFlags::RELATIME, ",relatime"),
    ] {
        if f.contains(flag) {
            out.push_str(name);
        }
    }
    out
}

/// The mounts that the process can see: mount and where it is in its tree.
fn visible(l: &Live) -> Vec<(Arc<Mount>, Vec<u8>)> {
    let Some(task) = &l.task else {
        return Vec::new();
    };
    let fs = task.fs();
    let root = fs.root();
    let place = |m: &Arc<Mount>| -> Path { m.root_path() };
    fs.namespace()
        .mounts()
        .into_iter()
        .filter(|m| place(m).is_within(&root))
        .map(|m| {
            let at = place(&m).display(&root);
            (m, at)
        })
        .collect()
}

pub(super) fn mounts(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = String::new();
    for (m, at) in visible(l) {
        let kind = m.superblock().fs_type().to_owned();
        out.push_str(&format!(
            "{} {} {kind} {} 0 0\n",
            escape(m.source()),
            escape(&at),
            options(&m)
        ));
    }
    Ok(out.into_bytes())
}

pub(super) fn mountinfo(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = String::new();
    for (m, at) in visible(l) {
        let parent = m.mountpoint().map_or(m.id(), |p| p.mount.id());
        let sb = m.superblock();
        let dev = sb.root().inode().stat().map_or(0, |s| s.dev);
        let rw = if sb.readonly() { "ro" } else { "rw" };
        let options_of_fs = match sb.options() {
            "" | "rw" | "ro" => rw.to_owned(),
            o => o.to_owned(),
        };
        out.push_str(&format!(
            "{} {parent} {}:{} / {} {} - {} {} {options_of_fs}\n",
            m.id(),
            crate::fs::devices::major(dev),
            crate::fs::devices::minor(dev),
            escape(&at),
            options(&m),
            sb.fs_type(),
            escape(m.source()),
        ));
    }
    Ok(out.into_bytes())
}

pub(super) fn mountstats(l: &Live, _: &dyn Caller) -> Result<Vec<u8>> {
    let mut out = String::new();
    for (m, at) in visible(l) {
        out.push_str(&format!(
            "device {} mounted on {} with fstype {}\n",
            escape(m.source()),
            escape(&at),
            m.superblock().fs_type()
        ));
    }
    Ok(out.into_bytes())
}
