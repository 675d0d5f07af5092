//! Descriptors that a stub keeps, so that the next mapping of the same file needs no ring for it.
//!
//! A program loader maps a library four or five times in a row. What is kept is a file that no memory of the sandbox stands behind (host files,
//! sealed memfds), opened read-only, for private mappings: the guest process could keep it mapped just as well. A stub keeps [`KEPT`] at most.
use std::os::fd::BorrowedFd;

use super::{Inner, Task};
use crate::stub::mailbox::Op;
use crate::stub::ops::encode;
use crate::stub::slot::MAX_OPS;
use crate::sys::{self, FileId};
use crate::{Error, MemOp, Result};

/// How many descriptors a stub keeps at most; its limit on descriptors is 16.
const KEPT: usize = 8;
/// Place of the descriptor among a call's arguments, and its offset in an [`Op`] in bytes.
const FD: usize = 4;
const FD_OFFSET: usize = 8 + 8 * FD;
/// How many operations are carried out in one exchange: each may bring another one, which closes a kept descriptor.
const CHUNK: usize = MAX_OPS / 2;

/// In the place of a descriptor's number until the stub has it.
const NOT_YET: u64 = u64::MAX;

/// The kept descriptors of a process: which file, and its number there. The one used longest ago comes first.
pub(super) type Files = Vec<(FileId, u64)>;

/// One exchange in the making.
#[derive(Default)]
struct Batch<'a> {
    ops: Vec<Op>,
    /// For each of `ops`, which of the caller's operations it belongs to.
    origins: Vec<usize>,
    fds: Vec<BorrowedFd<'a>>,
    /// Which of `ops` bring a descriptor to be kept.
    kept: Vec<(usize, FileId)>,
}

impl Inner {
    /// A batch of operations, in as few exchanges as fit the slot.
    pub(super) fn execute(&self, task: &Task, ops: &[MemOp<'_>]) -> Result<()> {
        for (i, chunk) in ops.chunks(CHUNK).enumerate() {
            let first = i * CHUNK;
            let mut batch = Batch::default();
            let mut refused = None;
            for (i, op) in chunk.iter().enumerate() {
                match encode(op) {
                    Some((encoded, fd)) => batch.add(task, first + i, op, encoded, fd),
                    None => {
                        refused = Some(first + i);
                        break;
                    }
                }
            }
            let result = self.execute_list(task, &batch.ops, &batch.fds);
            batch.note(task, &result);
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

impl<'a> Batch<'a> {
    fn add(
        &mut self,
        task: &Task,
        origin: usize,
        op: &MemOp<'_>,
        mut encoded: Op,
        fd: Option<BorrowedFd<'a>>,
    ) {
        let private = matches!(op, MemOp::MapFile { shared: false, .. });
        if let Some(fd) = fd {
            match sys::file_id(fd).filter(|_| private) {
                None => self.fds.push(fd),
                Some(id) => {
                    let mut files = task.process.files.lock();
                    if let Some(at) = files.iter().position(|(known, _)| *known == id) {
                        let found = files.remove(at);
                        encoded.with_fd = 0;
                        encoded.args[FD] = found.1;
                        files.push(found);
                    } else {
                        encoded.with_fd = 1;
                        self.fds.push(fd);
                        // One file once per exchange: its number is known only afterwards.
                        if !self.kept.iter().any(|(_, known)| *known == id) {
                            encoded.with_fd = 2;
                            encoded.args[FD] = NOT_YET;
                            if files.len() + self.kept.len() >= KEPT && !files.is_empty() {
                                self.close(files.remove(0).1, origin);
                            }
                            if files.len() + self.kept.len() >= KEPT {
                                encoded.with_fd = 1;
                            } else {
                                self.kept.push((self.ops.len(), id));
                            }
                        }
                    }
                }
            }
        }
        self.ops.push(encoded);
        self.origins.push(origin);
    }

    fn close(&mut self, number: u64, origin: usize) {
        self.ops.push(Op {
            number: libc::SYS_close.cast_unsigned(),
            args: [number, 0, 0, 0, 0, 0],
            with_fd: 0,
        });
        self.origins.push(origin);
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
            let [number] = task
                .process
                .mailboxes
                .words(task.slot, i * size_of::<Op>() + FD_OFFSET);
            if number != NOT_YET {
                files.push((*id, number));
            }
        }
    }
}
