//! Path walk (path_resolution(7), symlink(7), openat2(2)).
//!
//! A [`Walk`] goes from directory to directory with a stack of text still to be walked, so links nest without recursion. It
//! stops before the last component for those who want to create, remove or rename it ([`Walk::parent`]), or goes on ([`Walk::finish`]).

use super::caller::Caller;
use super::context::FsContext;
use super::dentry::{Dentry, NAME_MAX, rename_count};
use super::file::MagicTarget;
use super::inode::FileType;
use super::mount::{Mount, MountFlags};
use super::path::{PATH_MAX, Path};
use super::permission::{self, EXEC};
use super::told::{Of, Teller};
use crate::abi::{Errno, Result};
use crate::auth::Credentials;
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;
use std::sync::Arc;

/// Most symbolic links in one walk.
const MAX_LINKS: u32 = 40;

bitflags::bitflags! {
    /// How to walk. The `RESOLVE_*` bits have openat2(2)'s meaning.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WalkFlags: u32 {
        /// Follow a symbolic link in the last component.
        const FOLLOW = 1;
        /// The result must be a directory.
        const DIRECTORY = 2;
        /// An empty path means the start itself (AT_EMPTY_PATH).
        const EMPTY_PATH = 4;
        /// Whatever mount it ends in may expire all the same (MNT_EXPIRE).
        const KEEPS_EXPIRY = 8;
        /// RESOLVE_NO_XDEV: do not cross mounts.
        const NO_XDEV = 0x100;
        /// RESOLVE_NO_MAGICLINKS.
        const NO_MAGICLINKS = 0x200;
        /// RESOLVE_NO_SYMLINKS.
        const NO_SYMLINKS = 0x400;
        /// RESOLVE_BENEATH: do not leave the start.
        const BENEATH = 0x800;
        /// RESOLVE_IN_ROOT: the start is the root.
        const IN_ROOT = 0x1000;
    }
}

/// Where a relative path starts.
#[derive(Clone)]
pub enum At {
    /// The working directory (AT_FDCWD).
    Cwd,
    /// What a descriptor was opened on.
    Path(Path),
}

/// One component of a path.
pub type Component = smallvec::SmallVec<[u8; 32]>;

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name; whether slashes followed it.
    Name(Component, bool),
    /// ".".
    Dot,
    /// "..".
    DotDot,
    /// The path was only slashes.
    Root,
    /// A magic link has led to the end; there is no name.
    Jumped,
}

impl Last {
    /// The name and whether slashes followed; `other` if it is none.
    pub fn name(self, other: Errno) -> Result<(Component, bool)> {
        match self {
            Last::Name(n, slashes) => Ok((n, slashes)),
            _ => Err(other),
        }
    }
}

/// One path walk.
pub struct Walk<'a> {
    cx: &'a dyn Caller,
    creds: &'a Credentials,
    flags: WalkFlags,
    fs: &'a FsContext,
    /// The start of absolute paths, once it was needed.
    root: Option<Path>,
    at: Path,
    /// Texts still to walk, innermost last, each with the position reached.
    rest: SmallVec<[(Cow<'a, [u8]>, usize); 2]>,
    links: u32,
    renames: u64,
    /// The last step was a magic link: its target is taken as it is.
    jumped: bool,
    /// Who is to be told of the result: what it depends on is marked before it is looked at, unless that cannot be.
    teller: Option<Teller>,
}

impl<'a> Walk<'a> {
    /// Prepares a walk of `path`.
    ///
    /// # Errors
    /// ENOENT for an empty path without EMPTY_PATH; ENAMETOOLONG; EXDEV for an absolute path with BENEATH.
    pub fn new(
        cx: &'a dyn Caller,
        fs: &'a FsContext,
        start: &At,
        path: &'a [u8],
        flags: WalkFlags,
    ) -> Result<Walk<'a>> {
        if path.is_empty() && !flags.contains(WalkFlags::EMPTY_PATH) {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let confined = flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
        let absolute = path.first() == Some(&b'/');
        if absolute && flags.contains(WalkFlags::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let from = |start: &At| match start {
            At::Cwd => fs.cwd(),
            At::Path(p) => p.clone(),
        };
        let (root, at) = if confined {
            let p = from(start);
            (Some(p.clone()), p)
        } else if absolute {
            (None, fs.root())
        } else {
            (None, from(start))
        };
        if !absolute && !path.is_empty() && !at.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(Walk {
            creds: cx.credentials(),
            cx,
            flags,
            fs,
            root,
            at,
            rest: smallvec![(Cow::Borrowed(path), 0)],
            links: 0,
            renames: rename_count(),
            jumped: false,
            teller: None,
        })
    }

    fn root(&mut self) -> &Path {
        self.root.get_or_insert_with(|| self.fs.root())
    }

    /// Where the walk is.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// The next component of the innermost text that has one; whether it is the last of all, and whether slashes follow.
    fn next(&mut self) -> Option<(Component, bool, bool)> {
        loop {
            let (text, pos) = self.rest.last_mut()?;
            let left = text.get(*pos..).unwrap_or(&[]);
            let skip = left.iter().take_while(|b| **b == b'/').count();
            let left = left.get(skip..).unwrap_or(&[]);
            if left.is_empty() {
                self.rest.pop();
                continue;
            }
            let len = left.iter().position(|b| *b == b'/').unwrap_or(left.len());
            let name = Component::from_slice(left.get(..len).unwrap_or(&[]));
            let after = left.get(len..).unwrap_or(&[]);
            let slashes = after.first() == Some(&b'/');
            let ended = after.iter().all(|b| *b == b'/');
            *pos += skip + len;
            // Texts on the stack always have a component left, so a link in the middle ("link/x") is not the last.
            if ended {
                self.rest.pop();
            }
            return Some((name, ended && self.rest.is_empty(), slashes));
        }
    }

    /// Walks up to the last component and says what it is; [`Walk::at`] is then the directory it is in.
    pub fn parent(&mut self) -> Result<Last> {
        loop {
            if self.jumped && self.rest.is_empty() {
                return Ok(Last::Jumped);
            }
            let Some((name, last, slashes)) = self.next() else {
                return Ok(if self.jumped {
                    Last::Jumped
                } else {
                    Last::Root
                });
            };
            self.jumped = false;
            if !self.at.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            self.tell(|at, teller| at.inode().tell(teller, Of::Search));
            permission::check_as(self.cx, self.creds, self.at.inode(), EXEC)?;
            match name.as_slice() {
                b"." if last => return Ok(Last::Dot),
                b".." if last => return Ok(Last::DotDot),
                b"." => {}
                b".." => self.up()?,
                _ if last => return Ok(Last::Name(name, slashes)),
                _ => {
                    if let Some(link) = self.step(&name)? {
                        self.follow(&link)?;
                    }
                }
            }
        }
    }

    /// Marks something, or gives up telling anybody.
    fn tell(&mut self, mark: impl FnOnce(&Path, &Teller) -> bool) {
        if let Some(teller) = self.teller
            && !mark(&self.at, &teller)
        {
            self.teller = None;
        }
    }

    /// Goes to the child `name`; stays and returns it if it is a symbolic link.
    fn step(&mut self, name: &[u8]) -> Result<Option<Path>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let found = self.at.dentry.lookup(name)?;
        self.tell(|at, teller| at.dentry.tell(name, found.as_ref(), teller));
        let dentry = found.ok_or(Errno::ENOENT)?;
        if dentry.is_mountpoint() {
            self.at = self.across(dentry)?;
        } else if dentry.inode().file_type() == FileType::Symlink {
            let mount = self.at.mount.clone();
            return Ok(Some(Path { mount, dentry }));
        } else {
            self.at.dentry = dentry;
        }
        Ok(None)
    }

    /// What `name` is here, across mounts; `None` if it does not exist. Links are not followed.
    pub fn child(&self, name: &[u8]) -> Result<Option<Path>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let Some(dentry) = self.at.dentry.lookup(name)? else {
            return Ok(None);
        };
        if dentry.is_mountpoint() {
            return self.across(dentry).map(Some);
        }
        let mount = self.at.mount.clone();
        Ok(Some(Path { mount, dentry }))
    }

    /// What is visible at `dentry`, a child of where the walk is on which something is mounted.
    fn across(&self, dentry: Arc<Dentry>) -> Result<Path> {
        let mount = self.at.mount.clone();
        let place = Path { mount, dentry };
        let seen = place.clone().visible();
        if !self.flags.contains(WalkFlags::KEEPS_EXPIRY) {
            seen.mount.used();
        }
        if seen != place && self.flags.contains(WalkFlags::NO_XDEV) {
            return Err(Errno::EXDEV);
        }
        Ok(seen)
    }

    /// Goes to `child`, which is not a link to be followed.
    pub fn enter(&mut self, child: Path) {
        self.at = child;
    }
    /// Whether the last step was a magic link, whose target is taken as it is.
    pub fn jumped(&self) -> bool {
        self.jumped
    }

    /// Puts the target of the link `link`, which is in the current directory, in front of what is left to walk.
    pub fn follow(&mut self, link: &Path) -> Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS
            || self.flags.contains(WalkFlags::NO_SYMLINKS)
            || link.mount.flags().contains(MountFlags::NOSYMFOLLOW)
        {
            return Err(Errno::ELOOP);
        }
        if let Some(target) = link.inode().magic_target(self.cx) {
            self.teller = None;
            if self.flags.contains(WalkFlags::NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            if self
                .flags
                .intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT)
            {
                return Err(Errno::EXDEV);
            }
            let place = match target? {
                MagicTarget::Path(p) => p,
                MagicTarget::File(f) => match f.path() {
                    Some(p) => p.clone(),
                    None => anonymous_path(&f),
                },
            };
            if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&place.mount, &self.at.mount)
            {
                return Err(Errno::EXDEV);
            }
            self.at = place;
            self.jumped = true;
            return Ok(());
        }
        self.tell(|_, teller| {
            let inode = link.inode();
            inode.tell(teller, Of::All) && inode.is_followed_without_trace()
        });
        link.accessed();
        let text = link.inode().readlink(self.cx)?;
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        if text.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if text.first() == Some(&b'/') {
            if self.flags.contains(WalkFlags::BENEATH) {
                return Err(Errno::EXDEV);
            }
            let root = self.root().clone();
            if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&self.at.mount, &root.mount)
            {
                return Err(Errno::EXDEV);
            }
            self.at = root;
        }
        self.rest.push((Cow::Owned(text), 0));
        Ok(())
    }

    /// "..".
    pub(super) fn up(&mut self) -> Result<()> {
        let root = self.root().clone();
        if self.at == root {
            return if self.flags.contains(WalkFlags::BENEATH) {
                Err(Errno::EXDEV)
            } else {
                Ok(())
            };
        }
        let mut at = self.at.clone();
        while Arc::ptr_eq(&at.dentry, at.mount.root()) {
            if at == root {
                return Ok(());
            }
            match at.mount.mountpoint() {
                Some(p) => {
                    if self.flags.contains(WalkFlags::NO_XDEV) {
                        return Err(Errno::EXDEV);
                    }
                    at = p;
                }
                None => return Ok(()),
            }
        }
        if at == root {
            self.at = at;
            return Ok(());
        }
        if let Some(parent) = at.dentry.parent() {
            at.dentry = parent;
        }
        // A rename meanwhile may have moved us out of the start.
        if self
            .flags
            .intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT)
            && rename_count() != self.renames
        {
            return Err(Errno::EAGAIN);
        }
        let seen = at.clone().visible();
        if seen != at && self.flags.contains(WalkFlags::NO_XDEV) {
            return Err(Errno::EXDEV);
        }
        self.at = seen;
        Ok(())
    }

    /// Walks to the end and says where it is.
    pub fn finish(mut self) -> Result<Path> {
        self.end()?;
        Ok(self.at)
    }

    fn end(&mut self) -> Result<()> {
        let follow_last = self.flags.contains(WalkFlags::FOLLOW);
        // Slashes behind the whole path, which links in its last component inherit: they are followed.
        let mut slashed = false;
        loop {
            match self.parent()? {
                Last::Jumped | Last::Root | Last::Dot => {}
                Last::DotDot => self.up()?,
                Last::Name(name, slashes) => {
                    slashed |= slashes;
                    if let Some(link) = self.step(&name)? {
                        if !follow_last && !slashed {
                            self.at = link;
                            break;
                        }
                        self.follow(&link)?;
                        if self.jumped {
                            break;
                        }
                        continue;
                    }
                }
            }
            break;
        }
        let directory = slashed || self.flags.contains(WalkFlags::DIRECTORY);
        if directory && !self.at.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(())
    }
}

/// A place for an open file that has none, so that magic links can lead to it.
pub fn anonymous_path(file: &super::File) -> Path {
    Path {
        mount: Mount::internal(),
        dentry: Dentry::anonymous(file.inode().clone(), &file.inode().describe()),
    }
}

/// Walks `path` to the end.
///
/// # Errors
/// ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG; with `RESOLVE_*` flags EXDEV, EAGAIN.
pub fn resolve(
    cx: &dyn Caller,
    fs: &FsContext,
    start: &At,
    path: &[u8],
    flags: WalkFlags,
) -> Result<Path> {
    Walk::new(cx, fs, start, path, flags)?.finish()
}

/// [`resolve`] by the rights of `creds`, for somebody who is to be told if there is a `teller`: all that the walk of an absolute path depends on is marked.
/// `None` afterwards if that cannot be.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_as(
    (cx, creds): (&dyn Caller, &Credentials),
    fs: &FsContext,
    start: &At,
    path: &[u8],
    flags: WalkFlags,
    teller: &mut Option<Teller>,
) -> Result<Path> {
    let asked = teller.take();
    let mut walk = Walk::new(cx, fs, start, path, flags)?;
    walk.creds = creds;
    walk.teller = asked;
    let outcome = walk.end();
    *teller = walk.teller;
    outcome.map(|()| walk.at)
}
