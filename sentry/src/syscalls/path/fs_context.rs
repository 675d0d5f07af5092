//! File systems being put together: fsopen, fsconfig, fsmount, fspick.

use super::at::{EMPTY_PATH, NO_AUTOMOUNT, NOFOLLOW, lookup, only};
use super::mount::{may_mount, must_stay, new_superblock, remount_superblock};
use super::mount_api::{install_tree, mount_attributes};
use crate::abi::{Errno, Result};
use crate::auth::Caps;
use crate::fs::anon::{AnonKind, anon_file};
use crate::fs::tmpfs::TmpfsOptions;
use crate::sync::{Mutex, Rank};
use crate::syscalls::{Args, Cx, Fd, SysResult};
use crate::usermem::{Sink, UserStr};
use crate::vfs::{Caller, File, FileOps, OpenFlags, Path, SuperBlock};
use std::any::Any;
use std::sync::Arc;

/// How far it has come (`enum fs_context_phase`).
enum Phase {
    /// Takes parameters of what is to be made.
    Parameters,
    /// Made, not mounted.
    Made(Arc<SuperBlock>),
    /// Takes parameters of what there is already.
    Reconfigure(Path),
}

struct State {
    phase: Phase,
    source: Option<Vec<u8>>,
    /// As mount(2) takes it.
    data: Vec<u8>,
    readonly: bool,
}

/// What fsopen(2) and fspick(2) return.
struct FsContextFile {
    kind: Vec<u8>,
    state: Mutex<State>,
}

/// Most bytes of parameters, as mount(2) takes a page of them.
const MOST: usize = 4096;

impl FileOps for FsContextFile {
    /// Messages about what went wrong: none.
    fn read(&self, _: &File, _: &dyn Caller, _: &mut dyn Sink, _: &mut u64) -> Result<usize> {
        Err(Errno::ENODATA)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn install(cx: &mut Cx<'_>, kind: &[u8], phase: Phase, readonly: bool, cloexec: bool) -> SysResult {
    let ops = FsContextFile {
        kind: kind.to_vec(),
        state: Mutex::new(
            Rank::OBJECT,
            State {
                phase,
                source: None,
                data: Vec::new(),
                readonly,
            },
        ),
    };
    let flags = OpenFlags::RDWR;
    let file = anon_file(
        &cx.caller(),
        Box::new(ops),
        AnonKind::Other("[fscontext]"),
        flags,
    );
    Ok(cx.install_fd(file, cloexec)?.into())
}

pub(super) fn fsopen(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    may_mount(cx)?;
    let flags: u32 = args.get(1);
    only(flags, 1)?;
    let kind = cx.mem().read_cstr(args.get(0), 4096)?;
    let known: [&[u8]; 7] = [
        b"tmpfs", b"ramfs", b"devpts", b"proc", b"sysfs", b"mqueue", b"cgroup2",
    ];
    if !known.contains(&kind.as_slice()) {
        return Err(Errno::ENODEV.into());
    }
    install(cx, &kind, Phase::Parameters, false, flags & 1 != 0)
}

pub(super) fn fspick(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    may_mount(cx)?;
    let flags: u32 = args.get(2);
    // FSPICK_CLOEXEC 1, _SYMLINK_NOFOLLOW 2, _NO_AUTOMOUNT 4, _EMPTY_PATH 8.
    only(flags, 15)?;
    let table = [(2, NOFOLLOW), (4, NO_AUTOMOUNT), (8, EMPTY_PATH)];
    let chosen = table.iter().filter(|(bit, _)| flags & bit != 0);
    let how = chosen.fold(0, |all, (_, at)| all | at);
    let at = lookup(cx, args.get(0), args.get(1), how)?;
    if !Arc::ptr_eq(&at.dentry, at.mount.root()) {
        return Err(Errno::EINVAL.into());
    }
    let sb = at.mount.superblock().clone();
    let kind = sb.fs_type().as_bytes().to_vec();
    install(
        cx,
        &kind,
        Phase::Reconfigure(at),
        sb.readonly(),
        flags & 1 != 0,
    )
}

// Commands of fsconfig(2).
const SET_FLAG: u32 = 0;
const SET_STRING: u32 = 1;
const SET_BINARY: u32 = 2;
const SET_PATH: u32 = 3;
const SET_PATH_EMPTY: u32 = 4;
const SET_FD: u32 = 5;
const CMD_CREATE: u32 = 6;
const CMD_RECONFIGURE: u32 = 7;
const CMD_CREATE_EXCL: u32 = 8;

/// Which arguments a command takes.
fn check_arguments(cmd: u32, key: UserStr, value: UserStr, aux: i32) -> Result<()> {
    let (has_key, has_value) = (!key.is_null(), !value.is_null());
    let fits = match cmd {
        SET_FLAG => has_key && !has_value && aux == 0,
        SET_STRING => has_key && has_value && aux == 0,
        SET_BINARY => has_key && has_value && (1..=1 << 20).contains(&aux),
        SET_PATH | SET_PATH_EMPTY => has_key && has_value && (aux == libc::AT_FDCWD || aux >= 0),
        SET_FD => has_key && !has_value && aux >= 0,
        CMD_CREATE | CMD_CREATE_EXCL | CMD_RECONFIGURE => !has_key && !has_value && aux == 0,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if fits { Ok(()) } else { Err(Errno::EINVAL) }
}

fn short(cx: &Cx<'_>, s: UserStr) -> Result<Vec<u8>> {
    match cx.mem().read_cstr(s, 256) {
        Err(Errno::ENAMETOOLONG) => Err(Errno::EINVAL),
        other => other,
    }
}

/// The context behind a descriptor.
fn context(file: &Arc<File>) -> Result<&FsContextFile> {
    file.downcast::<FsContextFile>().ok_or(Errno::EINVAL)
}

pub(super) fn fsconfig(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    let fd: Fd = args.get(0);
    if fd.0 < 0 {
        return Err(Errno::EINVAL.into());
    }
    let cmd: u32 = args.get(1);
    let (key, value): (UserStr, UserStr) = (args.get(2), args.get(3));
    check_arguments(cmd, key, value, args.get(4))?;
    let file = cx.file(fd)?;
    let context = context(&file)?;
    match cmd {
        CMD_CREATE | CMD_CREATE_EXCL => create(cx, context)?,
        CMD_RECONFIGURE => reconfigure(cx, context)?,
        SET_FLAG => set(cx, context, &short(cx, key)?, None)?,
        SET_STRING => {
            let (key, value) = (short(cx, key)?, short(cx, value)?);
            set(cx, context, &key, Some(&value))?;
        }
        _ => {
            // No parameter here is a path, a descriptor or bytes.
            short(cx, key)?;
            return Err(Errno::EINVAL.into());
        }
    }
    Ok(0)
}

/// One parameter.
fn set(cx: &Cx<'_>, context: &FsContextFile, key: &[u8], value: Option<&[u8]>) -> Result<()> {
    let mut s = context.state.lock();
    if matches!(s.phase, Phase::Made(_)) {
        return Err(Errno::EBUSY);
    }
    match (key, value) {
        (b"", _) => return Err(Errno::EINVAL),
        (b"source", value) => {
            let value = value.ok_or(Errno::EINVAL)?;
            if s.source.is_some() {
                return Err(Errno::EINVAL);
            }
            s.source = Some(value.to_vec());
            return Ok(());
        }
        (b"ro", None) => {
            s.readonly = true;
            return Ok(());
        }
        (b"rw", None) => {
            s.readonly = false;
            return Ok(());
        }
        (
            b"sync" | b"dirsync" | b"lazytime" | b"async" | b"nolazytime" | b"mand" | b"nomand",
            None,
        ) => {
            return Ok(());
        }
        _ => {}
    }
    let mut data = s.data.clone();
    if !data.is_empty() {
        data.push(b',');
    }
    data.extend_from_slice(key);
    if let Some(value) = value {
        if value.contains(&b',') {
            return Err(Errno::EINVAL);
        }
        data.push(b'=');
        data.extend_from_slice(value);
    }
    if data.len() >= MOST {
        return Err(Errno::EINVAL);
    }
    match context.kind.as_slice() {
        b"tmpfs" | b"ramfs" => {
            TmpfsOptions::default().with(&cx.creds().user_ns, &data)?;
        }
        b"devpts" => {
            crate::fs::tty::DevptsOptions::parse(&data)?;
        }
        _ => return Err(Errno::EINVAL),
    }
    s.data = data;
    Ok(())
}

fn create(cx: &Cx<'_>, context: &FsContextFile) -> Result<()> {
    let (data, readonly) = {
        let s = context.state.lock();
        if !matches!(s.phase, Phase::Parameters) {
            return Err(Errno::EBUSY);
        }
        (s.data.clone(), s.readonly)
    };
    let sb = new_superblock(cx, &context.kind, &data)?;
    sb.set_readonly(readonly);
    context.state.lock().phase = Phase::Made(sb);
    Ok(())
}

fn reconfigure(cx: &Cx<'_>, context: &FsContextFile) -> Result<()> {
    let (at, data, readonly) = {
        let s = context.state.lock();
        let Phase::Reconfigure(at) = &s.phase else {
            return Err(Errno::EBUSY);
        };
        (at.clone(), s.data.clone(), s.readonly)
    };
    if !cx
        .creds()
        .has_in(at.mount.superblock().user_ns(), Caps::SYS_ADMIN)
    {
        return Err(Errno::EPERM);
    }
    remount_superblock(cx, &at, readonly, &data)
}

pub(super) fn fsmount(cx: &mut Cx<'_>, args: &Args) -> SysResult {
    may_mount(cx)?;
    let flags: u32 = args.get(1);
    only(flags, 1)?;
    let attributes = mount_attributes(u64::from(args.get::<u32>(2)))?;
    let file = cx.file(args.get(0))?;
    let context = context(&file)?;
    let (sb, source) = {
        let s = context.state.lock();
        let Phase::Made(sb) = &s.phase else {
            return Err(Errno::EINVAL.into());
        };
        (sb.clone(), s.source.clone())
    };
    let source = source.unwrap_or_else(|| b"none".to_vec());
    let must_stay = must_stay(cx, &sb, attributes)?;
    let tree = cx
        .fs()
        .namespace()
        .detached_mount(sb.clone(), &source, attributes, must_stay)?;
    let fd = install_tree(cx, tree, flags & 1 != 0)?;
    // It can be mounted once; what is set now changes it.
    let at = Path {
        mount: crate::vfs::Mount::new(sb.clone(), sb.root().clone(), &source, attributes),
        dentry: sb.root().clone(),
    };
    let old = std::mem::replace(&mut context.state.lock().phase, Phase::Reconfigure(at));
    drop(old);
    Ok(fd)
}
