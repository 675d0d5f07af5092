//! Program loading: what execve(2) puts into a fresh address space (`fs/exec.c`, `fs/binfmt_elf.c`, `fs/binfmt_script.c`).
//!
//! [`load`] follows `#!` lines to an ELF program, maps it, its interpreter and the stack in one exchange with the
//! stub, and fills the stack. Files are hostile input. The caller drops the new address space on failure.

mod args;
pub(crate) mod auxv;
mod elf;
mod image;
mod script;
mod stack;
#[cfg(test)]
mod tests;

pub use args::{read_strings, strings_limit};

use crate::abi::{Errno, Result};
use crate::mm::{MemoryManager, MmLimits};
use crate::usermem::KernelSink;
use crate::vfs::File;
use crate::vfs::caller::KernelCaller;
use crate::vfs::deny_write::DenyWrite;
use cofferdam_platform::{Thread, Vdso};
use std::sync::Arc;

/// Most `#!` programs in a row (`exec_binprm`).
const MAX_DEPTH: usize = 5;
/// What of a file is looked at to find its format (`BINPRM_BUF_SIZE`).
const HEAD: usize = 256;

/// Who the program runs as, for the auxiliary vector.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Identity {
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
    /// AT_SECURE: the program gained rights.
    pub secure: bool,
}

/// Opens a program by name, as [`crate::vfs::open_exec`](crate::vfs) does for the caller.
pub type OpenProgram<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Arc<File>>;

/// What to load.
pub struct LoadRequest<'a> {
    /// The program, opened for execution.
    pub file: Arc<File>,
    /// Its name as given to execve (AT_EXECFN); for execveat without a path `/dev/fd/N`.
    pub path: Vec<u8>,
    /// A script cannot be run this way because its interpreter could not open it again (execveat of a close-on-exec descriptor).
    pub path_inaccessible: bool,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Limits of the process.
    pub limits: MmLimits,
    /// Where things lie is not to be known ahead (not so with ADDR_NO_RANDOMIZE).
    pub random_addresses: bool,
    /// The vDSO, if the platform has one.
    pub vdso: Option<Vdso>,
    /// Decides, given the program that really runs (the last interpreter of a script), who it runs as (set-id bits).
    pub identify: &'a mut dyn FnMut(&Arc<File>) -> Result<Identity>,
    /// Opens interpreters.
    pub open: OpenProgram<'a>,
}

/// A loaded program.
pub struct Loaded {
    /// Where it starts.
    pub entry: u64,
    /// Its stack pointer: argc is there.
    pub stack_pointer: u64,
    /// The program that runs: the interpreter, for a script.
    pub file: Arc<File>,
}

/// Loads into `mm`, which is fresh; `thread` is the one thread in it.
///
/// # Errors
/// As execve(2): ENOEXEC, E2BIG, ENOENT, EACCES, ELOOP, ETXTBSY, ENOMEM, EINVAL, EIO, ELIBBAD.
pub fn load(mut req: LoadRequest<'_>, mm: &MemoryManager, thread: &dyn Thread) -> Result<Loaded> {
    if req.argv.is_empty() {
        // Since Linux 5.18 a program always has an argv[0].
        req.argv.push(Vec::new());
    }
    let mut name = req.path.clone();
    let mut depth = 0;
    let (in_use, head) = loop {
        let in_use = DenyWrite::new(req.file.inode())?;
        let head = read_at(&req.file, 0, elf::HEAD)?;
        if head.starts_with(elf::MAGIC) {
            break (in_use, head);
        }
        let line = script::parse(head.get(..HEAD).unwrap_or(&head))?;
        if req.path_inaccessible {
            return Err(Errno::ENOENT);
        }
        depth += 1;
        if depth > MAX_DEPTH {
            return Err(Errno::ELOOP);
        }
        let mut argv = vec![line.interpreter.clone()];
        argv.extend(line.argument);
        argv.push(name);
        argv.extend(req.argv.into_iter().skip(1));
        req.argv = argv;
        req.file = (req.open)(&line.interpreter)?;
        name = line.interpreter;
    };
    args::check_total(&req)?;
    let program = elf::Program::read(&req.file, &head)?;
    let interpreter = match &program.interpreter {
        Some(path) => {
            let file = (req.open)(path)?;
            let header = elf::Program::read_interpreter(&file)?;
            Some((file, header))
        }
        None => None,
    };
    let identity = (req.identify)(&req.file)?;
    let stack = stack::Stack::plan(&req, program.executable_stack);
    let image = image::Image::plan(&req, &program, interpreter.as_ref(), &stack)?;
    let filled = stack.fill(&req, &identity, &image);
    image.load(mm, thread, &req.limits, &filled)?;
    mm.set_layout(|l| {
        image.describe(l);
        filled.describe(l);
        l.exe = Some(req.file.clone());
        l.exe_in_use = Some(Arc::new(in_use));
        l.vvar = req.vdso.map(|v| v.vvar);
        l.vdso = req.vdso.map(|v| v.vdso);
    });
    Ok(Loaded {
        entry: image.entry,
        stack_pointer: filled.stack_pointer,
        file: req.file,
    })
}

/// Up to `len` bytes of a file from `offset`; fewer at its end.
fn read_at(file: &Arc<File>, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut sink = KernelSink::new(len);
    let mut pos = offset;
    loop {
        let before = sink.data.len();
        let n = file.ops().read(file, &KernelCaller, &mut sink, &mut pos)?;
        if n == 0 || sink.data.len() == before || sink.data.len() >= len {
            return Ok(sink.data);
        }
    }
}

/// Exactly `len` bytes of a file from `offset`; EIO if it is shorter.
fn read_exact_at(file: &Arc<File>, offset: u64, len: usize) -> Result<Vec<u8>> {
    let data = read_at(file, offset, len)?;
    if data.len() < len {
        return Err(Errno::EIO);
    }
    Ok(data)
}
