//! Descriptors that a stub keeps, so that the next mapping of the same file needs no ring for it.
//!
//! A program loader maps a library four or five times in a row. What is kept is a file that no memory of the sandbox stands behind (host files,
//! sealed memfds), opened read-only, for private mappings: the guest process could keep it mapped just as well. A stub keeps [`KEPT`] at most.
//!
//! What every process may read ([`MemOp::MapFile::common`]) and a second one is given is given to the zygote too ([`Common`]): processes made from then on
//! are born with it.
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;

use super::{Inner, Task};
use crate::stub::mailbox::Op;
use crate::stub::ops::{self, encode};
use crate::stub::slot::{BOUNCE, IN, MAX_OPS, OUT, PATHS, STACK_START};
use crate::sys::{self, FileId};
use crate::{Error, GUEST_END, GUEST_START, MemOp, Prot, Result};

/// How many descriptors a stub keeps at most; its limit on descriptors is [`crate::zygote::FILES`].
const KEPT: usize = 24;
/// How many of them it has from the zygote at most.
const INHERITED: usize = 16;
/// How many files are remembered that were given to one process.
const REMEMBERED: usize = 64;
/// Place of the descriptor among a call's arguments, and its offset in an [`Op`] in bytes.
const FD: usize = 4;
const FD_OFFSET: usize = 8 + 8 * FD;
/// How many operations are carried out in one exchange: each may bring another one, which closes a kept descriptor.
const CHUNK: usize = MAX_OPS / 2;

/// How much memory may change on the way back to the guest, in bytes: what is there goes, which takes the host some 0.1 µs for each page, and a thread
/// that runs but does not heed an interrupt in the meantime would be taken for one that ignores it.
const LATER: u64 = 64 << 20;

/// What a thread that has not run copies comes from its bounce buffer, whose two halves lie side by side; zeroes come from where it is to be told of paths and to note changes.
const _: () = assert!(OUT == IN + BOUNCE);
const ZEROES: usize = PATHS;
const ZEROES_LEN: usize = STACK_START - PATHS;

/// In the place of a descriptor's number until the stub has it.
const NOT_YET: u64 = u64::MAX;

/// The kept descriptors of a process: which file, and its number there. The one used longest ago comes first.
pub(super) type Files = Vec<(FileId, u64)>;

/// Files that every process may read and that were given to one, the oldest first.
pub(super) type Common = VecDeque<FileId>;

/// Descriptors of the zygote's by which a process has mapped its file to be executed, the oldest first: the host does not forbid it.
pub(super) type Executable = VecDeque<(FileId, u64)>;

/// One exchange in the making.
#[derive(Default)]
struct Batch<'a> {
    ops: Vec<Op>,
    /// For each of `ops`, which of the caller's operations it belongs to.
    origins: Vec<usize>,
    fds: Vec<BorrowedFd<'a>>,
    /// Which of `ops` bring a descriptor to be kept.
    kept: Vec<(usize, FileId)>,
    /// Descriptors that the process has already, by which it maps what is to be executed.
    executed: Vec<(FileId, u64)>,
    /// What processes to come shall have.
    wanted: Vec<(FileId, BorrowedFd<'a>)>,
}

impl Inner {
    /// A batch of operations, in as few exchanges as fit the slot.
    pub(super) fn execute(&self, task: &Task, ops: &[MemOp<'_>]) -> Result<()> {
        for (i, chunk) in ops.chunks(CHUNK).enumerate() {
            let first = i * CHUNK;
            let mut batch = Batch::default();
            let mut refused = None;
            for (i, op) in chunk.iter().enumerate() {
                if let MemOp::Window { file, .. } = op
                    && let Some(ops) = self.window(op)
                {
                    batch.fds.extend(*file);
                    batch.origins.extend(ops.iter().map(|_| first + i));
                    batch.ops.extend(ops);
                    continue;
                }
                match encode(op) {
                    Some((encoded, fd)) => {
                        let common = batch.add(task, first + i, op, encoded, fd);
                        if let (Some(id), Some(fd)) = (common, fd)
                            && self.is_second(id)
                        {
                            batch.wanted.push((id, fd));
                        }
                    }
                    None => {
                        refused = Some(first + i);
                        break;
                    }
                }
            }
            let result = self.execute_list(task, &batch.ops, &batch.fds);
            batch.note(task, &result);
            if result.is_ok() && task.fresh.load(Relaxed) {
                // One that has run may lie.
                batch
                    .executed
                    .iter()
                    .for_each(|file| self.note_executable(*file));
            }
            for (id, fd) in &batch.wanted {
                self.bequeath(*id, *fd);
            }
            result.map_err(|e| match e {
                Error::Op { index, errno } => Error::Op {
                    index: batch.origins.get(index).copied().unwrap_or(first),
                    errno,
                },
                e => e,
            })?;
            if let Some(index) = refused {
                let errno = libc::EINVAL;
                return Err(Error::Op { index, errno });
            }
        }
        Ok(())
    }
}

impl Inner {
    /// What the stub has to do for a [`MemOp::Window`].
    fn window(&self, op: &MemOp<'_>) -> Option<Vec<Op>> {
        let MemOp::Window {
            index,
            len,
            file,
            writable,
        } = *op
        else {
            return None;
        };
        let at = self.layout.window(index).filter(|_| self.inline)?;
        ops::window(at, len, file.is_some(), writable)
    }

    /// Posts operations that the stub is to carry out on the way back from the call in hand, or on the way to its first instruction; false if one of them could
    /// fail, takes long, needs a descriptor, or other threads of the process would have to wait for it.
    pub(super) fn put_off(&self, task: &Task, ops: &[MemOp<'_>]) -> bool {
        let first = task.later.load(Relaxed);
        let fresh = task.fresh.load(Relaxed);
        if self.strict
            || !fresh && !task.light.load(Relaxed)
            || task.process.threads.load(Relaxed) != 1
            || first + ops.len() > MAX_OPS
        {
            return false;
        }
        let mut bytes = task.later_bytes.load(Relaxed);
        for (i, op) in ops.iter().enumerate() {
            let posted = match op {
                MemOp::Window { file: None, .. } => {
                    self.window(op).and_then(|ops| ops.first().copied())
                }
                MemOp::Write {
                    addr,
                    bytes: new,
                    vital,
                } if fresh => self.put_off_write(task, *addr, new, *vital, &mut bytes),
                _ => self.put_off_mapping(task, op, fresh),
            };
            let Some(posted) = posted else {
                return false;
            };
            let mailboxes = &task.process.mailboxes;
            mailboxes.post_from(first + i, task.slot, &[posted]);
        }
        task.later.store(first + ops.len(), Relaxed);
        task.later_bytes.store(bytes, Relaxed);
        true
    }

    /// An operation that is certain to succeed.
    fn put_off_mapping(&self, task: &Task, op: &MemOp<'_>, fresh: bool) -> Option<Op> {
        let is_short = |len: u64| len <= LATER;
        // The host may forbid what is to be executed: a file system mounted noexec.
        let executed = is_executed(op);
        let certain = match op {
            MemOp::MapAnon { len, .. } | MemOp::Unmap { len, .. } => is_short(*len),
            MemOp::MapFile { shared, len, .. } => !shared && is_short(*len) && (fresh || !executed),
            MemOp::Protect { prot, len, .. } => !prot.contains(Prot::EXEC) && is_short(*len),
            _ => false,
        };
        let (mut encoded, fd) = encode(op).filter(|_| certain)?;
        if let Some(fd) = fd {
            let id = sys::file_id(fd)?;
            let known = Batch::default().reuse(task, id, &mut encoded);
            if !known || executed && !self.is_executable((id, encoded.args[FD])) {
                return None;
            }
        }
        Some(encoded)
    }

    /// A copy from the slot of a fresh thread, of which `used` bytes are taken.
    fn put_off_write(
        &self,
        task: &Task,
        addr: u64,
        bytes: &[u8],
        vital: bool,
        used: &mut usize,
    ) -> Option<Op> {
        let end = addr.checked_add(bytes.len() as u64)?;
        if addr < GUEST_START || end > GUEST_END {
            return None;
        }
        let at = if bytes.len() <= ZEROES_LEN && bytes.iter().all(|b| *b == 0) {
            ZEROES
        } else {
            let at = IN + *used;
            // In whole words.
            let mut words = bytes.to_vec();
            words.resize(bytes.len().next_multiple_of(8), 0);
            *used = used.checked_add(words.len())?;
            if *used > 2 * BOUNCE {
                return None;
            }
            task.process.mailboxes.set_bytes(task.slot, at, &words);
            at
        };
        let from = self.slot_address(task.slot) + at as u64;
        let failure = if vital { -i64::from(libc::EFAULT) } else { 0 };
        Some(Op {
            number: 0,
            args: [
                addr,
                from,
                bytes.len() as u64,
                failure.cast_unsigned(),
                0,
                0,
            ],
            with_fd: 4,
        })
    }

    /// A process has mapped this to be executed, by a descriptor that it may have from the zygote.
    fn note_executable(&self, file: (FileId, u64)) {
        if !self.zygote.process.files.lock().contains(&file) {
            return;
        }
        let mut executable = self.executable.lock();
        if !executable.contains(&file) {
            if executable.len() >= REMEMBERED {
                executable.pop_front();
            }
            executable.push_back(file);
        }
    }

    fn is_executable(&self, file: (FileId, u64)) -> bool {
        self.executable.lock().contains(&file)
    }

    /// A process is given this file, which is common: was another one before? Forgets it then.
    fn is_second(&self, id: FileId) -> bool {
        let mut common = self.common.lock();
        if let Some(at) = common.iter().position(|known| *known == id) {
            common.remove(at);
            return true;
        }
        if common.len() >= REMEMBERED {
            common.pop_front();
        }
        common.push_back(id);
        false
    }

    /// Gives the zygote a descriptor, for the processes made from now on.
    fn bequeath(&self, id: FileId, fd: BorrowedFd<'_>) {
        let files = &self.zygote.process.files;
        if files.lock().iter().any(|(known, _)| *known == id) {
            return;
        }
        let mut ops = Vec::new();
        if files.lock().len() >= INHERITED {
            let (_, number) = files.lock().remove(0);
            self.executable.lock().retain(|(_, known)| *known != number);
            ops.push(close(number));
        }
        // A descriptor comes with an operation; this one does nothing.
        ops.push(Op {
            number: libc::SYS_close.cast_unsigned(),
            args: [NOT_YET; 6],
            with_fd: 2,
        });
        let at = ops.len() - 1;
        // EBADF, by that operation.
        let _ = self.execute_list(&self.zygote, &ops, &[fd]);
        if let Some(number) = kept_number(&self.zygote, at) {
            files.lock().push((id, number));
        }
    }
}

/// Whether it maps a file to be executed.
fn is_executed(op: &MemOp<'_>) -> bool {
    matches!(op, MemOp::MapFile { prot, .. } if prot.contains(Prot::EXEC))
}

fn close(number: u64) -> Op {
    Op {
        number: libc::SYS_close.cast_unsigned(),
        args: [number, 0, 0, 0, 0, 0],
        with_fd: 0,
    }
}

/// The number of the descriptor that an operation of the last list kept, as the stub says.
fn kept_number(task: &Task, index: usize) -> Option<u64> {
    let offset = index * size_of::<Op>() + FD_OFFSET;
    let [number] = task.process.mailboxes.words(task.slot, offset);
    (number != NOT_YET).then_some(number)
}

impl<'a> Batch<'a> {
    /// Adds one operation, and what its descriptor needs. If a common file is given to the process for the first time: which.
    fn add(
        &mut self,
        task: &Task,
        origin: usize,
        op: &MemOp<'_>,
        mut encoded: Op,
        fd: Option<BorrowedFd<'a>>,
    ) -> Option<FileId> {
        let mut given = None;
        if let Some(fd) = fd {
            let private = matches!(op, MemOp::MapFile { shared: false, .. });
            let common = matches!(op, MemOp::MapFile { common: true, .. });
            let id = private.then(|| sys::file_id(fd)).flatten();
            let known = id.is_some_and(|id| self.reuse(task, id, &mut encoded));
            if known && encoded.with_fd == 0 && is_executed(op) {
                self.executed.extend(id.map(|id| (id, encoded.args[FD])));
            }
            if !known {
                encoded.with_fd = 1;
                self.fds.push(fd);
                if let Some(id) = id.filter(|_| sys::is_safe_to_keep(fd)) {
                    given = Some(id).filter(|_| common);
                    if self.make_room(task, origin) {
                        encoded.with_fd = 2;
                        encoded.args[FD] = NOT_YET;
                        self.kept.push((self.ops.len(), id));
                    }
                }
            }
        }
        self.ops.push(encoded);
        self.origins.push(origin);
        given
    }

    /// Uses a descriptor of this file that the stub has, or will have by then.
    fn reuse(&self, task: &Task, id: FileId, encoded: &mut Op) -> bool {
        let mut files = task.process.files.lock();
        if let Some(at) = files.iter().position(|(known, _)| *known == id) {
            let found = files.remove(at);
            encoded.with_fd = 0;
            encoded.args[FD] = found.1;
            files.push(found);
            return true;
        }
        if let Some((index, _)) = self.kept.iter().find(|(_, known)| *known == id) {
            encoded.with_fd = 3 | (*index as u64) << 8;
            return true;
        }
        false
    }

    /// Makes room for one more kept descriptor; false if all of them are of this exchange.
    fn make_room(&mut self, task: &Task, origin: usize) -> bool {
        let mut files = task.process.files.lock();
        if files.len() + self.kept.len() < KEPT {
            return true;
        }
        if files.is_empty() {
            return false;
        }
        let (_, number) = files.remove(0);
        self.ops.push(close(number));
        self.origins.push(origin);
        true
    }

    /// Which descriptors the stub keeps now, as it says: a guest that lies maps other files of its own.
    fn note(&self, task: &Task, result: &Result<()>) {
        // Also of the operation that failed.
        let done = match result {
            Ok(()) => self.ops.len(),
            Err(Error::Op { index, .. }) => index + 1,
            Err(_) => 0,
        };
        let mut files = task.process.files.lock();
        for (i, id) in self.kept.iter().take_while(|(i, _)| *i < done) {
            if let Some(number) = kept_number(task, *i) {
                files.push((*id, number));
            }
        }
    }
}
