//! TIOCGPTPEER: the other end of a pseudo-terminal, without its name (ioctl_tty(2)).

use crate::abi::{Errno, Result};
use crate::fs::tty::{Master, Slave};
use crate::syscalls::{Cx, SysResult};
use crate::vfs::inode::same_inode;
use crate::vfs::{At, File, InodeRef, KernelCaller, OpenFlags, Path, WalkFlags, resolve};

/// TIOCGPTPEER.
pub(super) const COMMAND: u32 = 0x5441;

/// Opens the slave of a master with these open(2) flags and installs it.
pub(super) fn open_peer(cx: &mut Cx<'_>, file: &File, master: &Master, arg: u64) -> SysResult {
    let flags = OpenFlags::from_bits_retain(arg as u32)
        & (OpenFlags::WRONLY
            | OpenFlags::RDWR
            | OpenFlags::NOCTTY
            | OpenFlags::NONBLOCK
            | OpenFlags::CLOEXEC);
    let pty = master.pty().clone();
    let slave = Slave::open(&pty, &cx.caller(), flags)?;
    let index = pty.index();
    let inode: InodeRef = pty;
    let path = place(cx, file, index, &inode).ok();
    let file = File::new(Box::new(slave), inode, path, flags);
    let fd = cx.install_fd(file, flags.contains(OpenFlags::CLOEXEC))?;
    Ok(fd.into())
}

/// Where the slave's node is: in the devpts that the master was opened in, else in "pts" beside the master's node.
fn place(cx: &Cx<'_>, file: &File, index: u32, inode: &InodeRef) -> Result<Path> {
    let master = file.path().ok_or(Errno::ENOENT)?;
    let dir = master.parent().ok_or(Errno::ENOENT)?;
    for name in [index.to_string(), format!("pts/{index}")] {
        let start = At::Path(dir.clone());
        let fs = cx.fs();
        let found = resolve(
            &KernelCaller,
            fs,
            &start,
            name.as_bytes(),
            WalkFlags::empty(),
        );
        if let Ok(p) = found
            && same_inode(p.inode(), inode)
        {
            return Ok(p);
        }
    }
    Err(Errno::ENOENT)
}
