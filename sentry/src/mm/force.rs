//! Access that protections do not hold back: a debugger's (FOLL_FORCE of `mm/gup.c`). It reads what can be made readable and writes to private
//! mappings, which get pages of their own.

use super::MemoryManager;
use super::change::{Edit, Op, patiently};
use super::vma::{PAGE, VmFlags, page_floor};
use crate::usermem::GuestMemory;
use cofferdam_platform::{Prot, Thread};

impl MemoryManager {
    /// Copies from the guest; how many leading bytes could be read. `thread` is a stopped one of this address space.
    pub fn read_forced(&self, thread: &dyn Thread, addr: u64, buf: &mut [u8]) -> usize {
        let mut done = self.read_partial(addr, buf).min(buf.len());
        while done < buf.len() {
            let Some((at, n)) = part(addr, done, buf.len()) else {
                break;
            };
            let Some(piece) = buf.get_mut(done..done + n) else {
                break;
            };
            let got =
                self.with_protection(thread, at, false, || self.read_partial(at, piece).min(n));
            done += got;
            if got < n {
                break;
            }
        }
        done
    }

    /// Copies to the guest; how many leading bytes were written.
    pub fn write_forced(&self, thread: &dyn Thread, addr: u64, data: &[u8]) -> usize {
        let mut done = self.write_partial(addr, data).min(data.len());
        while done < data.len() {
            let Some((at, n)) = part(addr, done, data.len()) else {
                break;
            };
            let Some(piece) = data.get(done..done + n) else {
                break;
            };
            let put =
                self.with_protection(thread, at, true, || self.write_partial(at, piece).min(n));
            done += put;
            if put < n {
                break;
            }
        }
        done
    }

    /// Does `access` to the page of `at` while the host lets it.
    fn with_protection(
        &self,
        thread: &dyn Thread,
        at: u64,
        write: bool,
        access: impl FnOnce() -> usize,
    ) -> usize {
        let Ok(mut change) = patiently(|| self.begin()) else {
            return 0;
        };
        let found = {
            let s = change.state();
            s.map.find(at).map(|v| (v.start, v.end, v.prot, v.flags))
        };
        let Some((start, end, prot, flags)) = found else {
            return 0;
        };
        let private = VmFlags::SHARED | VmFlags::MAYWRITE;
        let allowed = if write {
            flags & private == VmFlags::MAYWRITE
        } else {
            flags.contains(VmFlags::MAYREAD)
        };
        if !allowed {
            return 0;
        }
        let page = page_floor(at);
        let more = if write {
            Prot::READ | Prot::WRITE
        } else {
            Prot::READ
        };
        // Where text is rewritten, becoming writable brings the original back.
        let open = Op::Protect(page, page + PAGE, prot | more);
        if change.carry_out(thread, vec![(open, Edit::None)]).is_err() || thread.settle().is_err() {
            return 0;
        }
        let n = access();
        let edit = if write {
            // No longer the file's pages, whatever the protection says.
            Edit::Flags(start, end, VmFlags::empty(), VmFlags::WRITTEN)
        } else {
            Edit::None
        };
        let close = Op::Protect(page, page + PAGE, prot);
        if let Err(e) = change.carry_out(thread, vec![(close, edit)]) {
            log::debug!("a page's protection was not restored: {e:?}");
        }
        let _ = thread.settle();
        n
    }
}

/// What lies in one page of what is left: its address and length.
fn part(addr: u64, done: usize, len: usize) -> Option<(u64, usize)> {
    let at = addr.checked_add(done as u64)?;
    let room = usize::try_from(PAGE - at % PAGE).ok()?;
    Some((at, room.min(len.checked_sub(done)?)))
}
