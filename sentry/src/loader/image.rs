//! Where the segments of a program and of its interpreter go.

use super::LoadRequest;
use super::elf::{Program, Segment};
use super::stack::{Filled, Stack};
use crate::abi::{Errno, Result};
use crate::mm::{
    self, Backing, ELF_DYN_BASE, Layout, MemoryManager, MmLimits, PAGE, VmFlags, Vma, VmaMap,
    page_ceil, page_floor,
};
use crate::vfs::{File, MapSource};
use cofferdam_platform::rewrite::GAP;
use cofferdam_platform::{GUEST_END, GUEST_START, Prot, Thread};
use std::sync::Arc;

/// Arguments and environment of more bytes make their pages beforehand (see [`MemoryManager::touch`]).
const LONG: usize = 16 << 10;

/// A planned address space.
pub(super) struct Image {
    /// Everything to map.
    map: VmaMap,
    /// Ranges (address, length) to fill with zeros once mapped: what follows a segment's file data in its last page.
    zeros: Vec<(u64, u64)>,
    /// A file ends before what is to be mapped of it: filling its last page may fail.
    is_short: bool,
    /// First instruction: of the interpreter, if there is one.
    pub entry: u64,
    /// AT_ENTRY.
    pub program_entry: u64,
    /// AT_BASE.
    pub base: u64,
    /// AT_PHDR.
    pub phdr: u64,
    /// AT_PHNUM.
    pub phnum: u64,
    layout: Layout,
}

impl Image {
    /// Chooses all addresses. Nothing is mapped yet.
    pub fn plan(
        req: &LoadRequest<'_>,
        program: &Program,
        interpreter: Option<&(Arc<File>, Program)>,
        stack: &Stack,
    ) -> Result<Image> {
        let mut map = VmaMap::default();
        let mut out = Vec::new();
        map.insert(stack.vma(), &mut out);
        let mmap_base = mm::random_mmap_base(req.random_addresses, req.limits.stack);
        let mut image = Image {
            map,
            zeros: Vec::new(),
            is_short: false,
            entry: 0,
            program_entry: 0,
            base: 0,
            phdr: 0,
            phnum: program.phnum.into(),
            layout: Layout {
                mmap_base,
                own_loader: interpreter.is_none(),
                ..Layout::default()
            },
        };
        let bias = match (program.relocatable, interpreter) {
            (false, _) => 0,
            (true, Some(_)) => {
                let base = ELF_DYN_BASE + mm::random_dyn_shift(req.random_addresses);
                image.bias_at(program, base & !(program.align - 1))?
            }
            (true, None) => image.bias_below(program, mmap_base)?,
        };
        image.place(&req.file, program, bias)?;
        image.program_entry = program.entry.wrapping_add(bias);
        image.phdr = program.phdr.wrapping_add(bias);
        image.entry = image.program_entry;
        image.lay_out(program, bias, interpreter.is_some(), req.random_addresses);
        if let Some((file, header)) = interpreter {
            let bias = if header.relocatable {
                image.bias_below(header, mmap_base)?
            } else {
                0
            };
            image.place(file, header, bias)?;
            image.base = bias.wrapping_add(header.extent()?.0);
            image.entry = header.entry.wrapping_add(bias);
        }
        if image.entry >= GUEST_END {
            return Err(Errno::EINVAL);
        }
        Ok(image)
    }

    /// What to add to the program's addresses so that it starts at `base`.
    fn bias_at(&self, program: &Program, base: u64) -> Result<u64> {
        let (low, _) = program.extent()?;
        Ok(base.wrapping_sub(low))
    }

    /// The same for a free range below `ceiling`.
    fn bias_below(&self, program: &Program, ceiling: u64) -> Result<u64> {
        let (low, high) = program.extent()?;
        let len = page_ceil(high - low).ok_or(Errno::ENOMEM)?;
        let place = |len| {
            let map = &self.map;
            map.gap_top_down(len, GUEST_START, ceiling, program.align)
        };
        // Room for trampolines below, unless the address space is short.
        let gap = GAP.max(program.align);
        let at = len
            .checked_add(gap)
            .and_then(place)
            .map(|at| at + gap)
            .or_else(|| place(len))
            .ok_or(Errno::ENOMEM)?;
        self.bias_at(program, at)
    }

    fn place(&mut self, file: &Arc<File>, program: &Program, bias: u64) -> Result<()> {
        let source = file.ops().map(file, false, false).map_err(|e| match e {
            Errno::ENODEV => Errno::ENOEXEC,
            e => e,
        })?;
        let (low, high) = program.extent()?;
        let (low, high) = (low.wrapping_add(bias), high.wrapping_add(bias));
        if low < high && !self.map.is_free(low, high) {
            return Err(Errno::EEXIST);
        }
        let size = file.inode().stat()?.size;
        let mut out = Vec::new();
        for s in &program.segments {
            self.is_short |= s.offset.saturating_add(s.filesz) > size;
            self.place_segment(file, &source, s, bias, &mut out)?;
        }
        Ok(())
    }

    fn place_segment(
        &mut self,
        file: &Arc<File>,
        source: &MapSource,
        s: &Segment,
        bias: u64,
        out: &mut Vec<Vma>,
    ) -> Result<()> {
        let vaddr = s.vaddr.wrapping_add(bias);
        let start = page_floor(vaddr);
        let memory_end = vaddr
            .checked_add(s.memsz)
            .and_then(page_ceil)
            .filter(|e| *e <= GUEST_END)
            .ok_or(Errno::EINVAL)?;
        if start < GUEST_START {
            return Err(Errno::EPERM);
        }
        let mut anon_start = start;
        if s.filesz > 0 {
            let data_end = vaddr + s.filesz;
            let file_end = page_ceil(data_end).ok_or(Errno::EINVAL)?;
            let mut vma = Vma {
                flags: VmFlags::MAY_ALL | VmFlags::KEEPS_GAP,
                backing: Backing::File {
                    file: file.clone(),
                    source: source.clone(),
                    offset: page_floor(s.offset),
                },
                ..Vma::anonymous(start, file_end, s.prot)
            };
            vma.note_writable();
            self.map.insert(vma, out);
            if s.memsz > s.filesz && data_end < file_end && s.prot.contains(Prot::WRITE) {
                self.zeros.push((data_end, file_end - data_end));
            }
            anon_start = file_end;
        }
        if s.memsz > s.filesz && anon_start < memory_end {
            // As Linux, whatever the segment says of writing.
            let prot = Prot::READ | Prot::WRITE | (s.prot & Prot::EXEC);
            self.map
                .insert(Vma::anonymous(anon_start, memory_end, prot), out);
        }
        Ok(())
    }

    /// Code, data and heap addresses (`load_elf_binary`).
    fn lay_out(&mut self, program: &Program, bias: u64, has_interpreter: bool, random: bool) {
        let l = &mut self.layout;
        l.start_code = u64::MAX;
        let mut end = 0;
        for s in &program.segments {
            let start = s.vaddr.wrapping_add(bias);
            let data_end = start.saturating_add(s.filesz);
            if s.prot.contains(Prot::EXEC) {
                l.start_code = l.start_code.min(start);
                l.end_code = l.end_code.max(data_end);
            }
            l.start_data = l.start_data.max(start);
            l.end_data = l.end_data.max(data_end);
            end = end.max(start.saturating_add(s.memsz));
        }
        if l.end_code == 0 {
            l.start_code = 0;
        }
        let base = if program.relocatable && !has_interpreter {
            // A program that is its own interpreter lies among the mappings; its heap is to have room.
            ELF_DYN_BASE
        } else {
            page_ceil(end).unwrap_or(end)
        };
        // Linux keeps one page between program and heap in any case.
        l.start_brk = base
            .saturating_add(PAGE)
            .saturating_add(mm::random_brk_shift(random));
        l.brk = l.start_brk;
    }

    /// Maps everything and fills it, or leaves both to the stub on its way to the first instruction.
    pub fn load(
        &self,
        mm: &MemoryManager,
        thread: &dyn Thread,
        limits: &MmLimits,
        stack: &Filled,
    ) -> Result<()> {
        if self.map.total() > limits.address_space || self.map.data() > limits.data {
            return Err(Errno::ENOMEM);
        }
        let page = [0u8; PAGE as usize];
        let zeros = self.zeros.iter().map(|(addr, len)| {
            let part = usize::try_from(*len).ok().and_then(|n| page.get(..n));
            (*addr, part.unwrap_or(&page))
        });
        let zeros: Vec<_> = zeros.collect();
        let parts = stack.parts.iter().map(|(addr, bytes)| (*addr, &**bytes));
        let writes: Vec<_> = zeros.iter().copied().chain(parts).collect();
        let vmas = self.map.iter().cloned().collect();
        // If filling may fail, who calls execve is to hear of it.
        let with = if self.is_short { &[] } else { &*writes };
        let later = mm.map_all(thread, vmas, with)?;
        if later && !self.is_short {
            return Ok(());
        }
        if later {
            thread.settle().map_err(|_| Errno::ENOMEM)?;
        }
        if stack.len() > LONG {
            mm.touch(thread, stack.stack_pointer, stack.len(), 0);
        }
        for (i, (addr, bytes)) in writes.iter().enumerate() {
            if mm.space().write(*addr, bytes) < bytes.len() {
                // The file is shorter than its headers say, or there is no memory.
                let of_file = i < zeros.len();
                return Err(if of_file {
                    Errno::EFAULT
                } else {
                    Errno::ENOMEM
                });
            }
        }
        Ok(())
    }

    /// Enters what is known of program and heap.
    pub fn describe(&self, l: &mut Layout) {
        let Layout {
            start_code,
            end_code,
            start_data,
            end_data,
            start_brk,
            brk,
            mmap_base,
            own_loader,
            ..
        } = self.layout.clone();
        *l = Layout {
            start_code,
            end_code,
            start_data,
            end_data,
            start_brk,
            brk,
            mmap_base,
            own_loader,
            ..l.clone()
        };
    }
}
