//! A host process made of a map of pages, for tests of this crate.

use cofferdam_platform::{AddressSpace, Error, MemOp, Prot, Registers, Result, Thread, Token};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub(crate) const PAGE: u64 = super::PAGE;

/// One host page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub prot: Prot,
    /// Inode of the mapped descriptor and offset; `None` for anonymous memory.
    pub file: Option<(u64, u64)>,
    pub data: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct FakeSpace {
    pub pages: Mutex<BTreeMap<u64, Page>>,
    /// Operations to let pass before one fails with ENOMEM; 0: never.
    pub fail_after: AtomicUsize,
    pub batches: AtomicUsize,
}

pub(crate) struct FakeThread(pub Arc<FakeSpace>);

fn zeros() -> Vec<u8> {
    vec![0; PAGE as usize]
}

impl FakeSpace {
    fn each(&self, addr: u64, mut len: usize, mut f: impl FnMut(&mut Page, usize, usize) -> bool) {
        let mut pages = self.pages.lock().unwrap();
        let mut at = addr;
        while len > 0 {
            let offset = (at % PAGE) as usize;
            let n = len.min(PAGE as usize - offset);
            let page = pages.get_mut(&(at - at % PAGE));
            if !page.is_some_and(|p| f(p, offset, n)) {
                return;
            }
            at += n as u64;
            len -= n;
        }
    }

    fn one(&self, op: &MemOp<'_>) -> std::result::Result<(), i32> {
        let mut pages = self.pages.lock().unwrap();
        let range = |addr: u64, len: u64| (addr..addr + len).step_by(PAGE as usize);
        match *op {
            MemOp::MapAnon { addr, len, prot } => {
                for a in range(addr, len) {
                    let data = zeros();
                    pages.insert(
                        a,
                        Page {
                            prot,
                            file: None,
                            data,
                        },
                    );
                }
            }
            MemOp::MapFile {
                addr,
                len,
                prot,
                fd,
                offset,
                ..
            } => {
                let ino = nix::sys::stat::fstat(fd).unwrap().st_ino;
                for a in range(addr, len) {
                    let offset = offset + (a - addr);
                    let mut data = zeros();
                    nix::sys::uio::pread(fd.as_fd(), &mut data, offset as i64).unwrap();
                    let file = Some((ino, offset));
                    pages.insert(a, Page { prot, file, data });
                }
            }
            MemOp::Unmap { addr, len } => range(addr, len).for_each(|a| {
                pages.remove(&a);
            }),
            MemOp::Protect { addr, len, prot } => {
                for a in range(addr, len) {
                    pages.get_mut(&a).ok_or(libc::ENOMEM)?.prot = prot;
                }
            }
            MemOp::Remap {
                addr,
                old_len,
                new_addr,
                new_len,
                keep_old,
            } => {
                let old: Vec<Page> = range(addr, old_len)
                    .map(|a| pages.get(&a).cloned().ok_or(libc::EFAULT))
                    .collect::<std::result::Result<_, _>>()?;
                let last = old.last().cloned().ok_or(libc::EINVAL)?;
                let count = old.len() as u64;
                for a in range(addr, old_len) {
                    if keep_old {
                        pages.get_mut(&a).unwrap().data = zeros();
                    } else {
                        pages.remove(&a);
                    }
                }
                for (i, a) in range(new_addr, new_len).enumerate() {
                    let page = old.get(i).cloned().unwrap_or_else(|| Page {
                        file: last
                            .file
                            .map(|(ino, o)| (ino, o + (i as u64 + 1 - count) * PAGE)),
                        data: zeros(),
                        ..last.clone()
                    });
                    pages.insert(a, page);
                }
            }
            MemOp::Membarrier { .. } | MemOp::Vdso { .. } | MemOp::Window { .. } => {}
            MemOp::Write { .. } => return Err(libc::EINVAL),
            MemOp::Advise { addr, len, .. } => {
                if range(addr, len).any(|a| !pages.contains_key(&a)) {
                    return Err(libc::ENOMEM);
                }
            }
        }
        Ok(())
    }
}

impl AddressSpace for FakeSpace {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        let len = buf.len();
        self.each(addr, len, |p, at, n| {
            if !p.prot.contains(Prot::READ) {
                return false;
            }
            buf[done..done + n].copy_from_slice(&p.data[at..at + n]);
            done += n;
            true
        });
        done
    }
    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        let mut done = 0;
        self.each(addr, buf.len(), |p, at, n| {
            if !p.prot.contains(Prot::WRITE) {
                return false;
            }
            p.data[at..at + n].copy_from_slice(&buf[done..done + n]);
            done += n;
            true
        });
        done
    }
    fn kill(&self) {}
    fn host_pid(&self) -> Option<u32> {
        None
    }
    fn cpu_time(&self) -> (u64, u64) {
        (0, 0)
    }
}

impl Thread for FakeThread {
    fn resume(&self, _: &Registers) -> Result<()> {
        Ok(())
    }
    fn interrupt(&self) {}
    fn registers(&self) -> Result<Registers> {
        Ok(Registers::default())
    }
    fn fpstate(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn set_fpstate(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn execute(&self, ops: &[MemOp<'_>]) -> Result<()> {
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        for (index, op) in ops.iter().enumerate() {
            let left = self.0.fail_after.load(Ordering::Relaxed);
            if left == 1 {
                self.0.fail_after.store(0, Ordering::Relaxed);
                let errno = libc::ENOMEM;
                return Err(Error::Op { index, errno });
            }
            self.0
                .fail_after
                .store(left.saturating_sub(1), Ordering::Relaxed);
            self.0.one(op).map_err(|errno| Error::Op { index, errno })?;
        }
        Ok(())
    }
    fn compare_exchange(&self, _: u64, _: u32, _: u32) -> Result<Option<u32>> {
        Ok(None)
    }
    fn spawn(&self, _: Token) -> Result<Box<dyn Thread>> {
        Err(Error::Gone)
    }
    fn fork(&self, _: Token) -> Result<(Arc<dyn AddressSpace>, Box<dyn Thread>)> {
        let pages = self.0.pages.lock().unwrap().clone();
        let space = Arc::new(FakeSpace {
            pages: Mutex::new(pages),
            ..FakeSpace::default()
        });
        Ok((space.clone(), Box::new(FakeThread(space))))
    }
    fn terminate(&self) {}
    fn cpu_time(&self) -> (u64, u64) {
        (0, 0)
    }
    fn peak_memory(&self) -> u64 {
        0
    }
    fn resident(&self, _: u64, pages: &mut [u8]) -> Result<()> {
        pages.fill(1);
        Ok(())
    }
}
