//! PROCMAP_QUERY: one mapping of `/proc/PID/maps` in binary form (`do_procmap_query` of `fs/proc/task_mmu.c`, since Linux 6.11).

use super::{Live, maps};
use crate::abi::{Errno, Result};
use crate::fs::devices;
use crate::mm::{Backing, MapEntry, PAGE, Vma};
use crate::usermem::UserPtr;
use crate::vfs::Caller;
use cofferdam_platform::Prot;

/// The ioctl's number: `_IOWR('f', 17, struct procmap_query)`.
pub(super) const PROCMAP_QUERY: u32 = 0xc068_6611;

/// Words of `struct procmap_query`: size, flags, address; start, end, flags, page size, offset, inode; device numbers; sizes of name and build ID;
/// their addresses.
const WORDS: usize = 13;
/// The least that a caller must know of it: up to the address.
const MIN_SIZE: u64 = 24;

const READABLE: u64 = 1;
const WRITABLE: u64 = 2;
const EXECUTABLE: u64 = 4;
const SHARED: u64 = 8;
/// Protections and sharing that a mapping must have.
const PROTECTIONS: u64 = 15;
/// The next one will do, if none is there.
const COVERING_OR_NEXT: u64 = 16;
const FILE_BACKED: u64 = 32;

fn flags(v: &Vma) -> u64 {
    let bits = [
        (v.prot.contains(Prot::READ), READABLE),
        (v.prot.contains(Prot::WRITE), WRITABLE),
        (v.prot.contains(Prot::EXEC), EXECUTABLE),
        (v.shared(), SHARED),
    ];
    bits.iter().filter(|b| b.0).map(|b| b.1).sum()
}

/// The mapping asked for.
fn find(l: &Live, addr: u64, wanted: u64) -> Result<MapEntry> {
    let later = wanted & COVERING_OR_NEXT != 0;
    let fits = |v: &Vma| {
        let file = !matches!(v.backing, Backing::Anonymous);
        (later || v.start <= addr)
            && wanted & PROTECTIONS & !flags(v) == 0
            && (wanted & FILE_BACKED == 0 || file)
    };
    let task = l.task.as_ref().ok_or(Errno::ENOENT)?;
    let found = task.mm().first_map(addr, later, fits);
    found.ok_or(Errno::ENOENT)
}

/// Answers one query.
///
/// # Errors
/// ENOENT if there is no such mapping; ENAMETOOLONG, EINVAL, E2BIG, EFAULT.
pub(super) fn procmap(l: &Live, cx: &dyn Caller, arg: u64) -> Result<i64> {
    let mem = cx.memory();
    let size: u64 = mem.get(UserPtr::new(arg))?;
    if size > PAGE {
        return Err(Errno::E2BIG);
    }
    if size < MIN_SIZE {
        return Err(Errno::EINVAL);
    }
    let known = usize::try_from(size).unwrap_or(0).min(WORDS * 8);
    let mut raw = vec![0u8; usize::try_from(size).unwrap_or(0).max(WORDS * 8)];
    let told = usize::try_from(size).unwrap_or(0);
    mem.read_bytes(arg, raw.get_mut(..told).unwrap_or_default())?;
    if raw.iter().skip(WORDS * 8).any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    let mut words: Vec<u64> = raw
        .chunks_exact(8)
        .take(WORDS)
        .map(|c| c.try_into().map_or(0, u64::from_le_bytes))
        .collect();
    let at = |i: usize| words.get(i).copied().unwrap_or(0);
    let (wanted, addr, sizes, name_to, id_to) = (at(1), at(2), at(10), at(11), at(12));
    let (name_room, id_room) = (sizes & 0xffff_ffff, sizes >> 32);
    if wanted & !(PROTECTIONS | COVERING_OR_NEXT | FILE_BACKED) != 0
        || (name_room == 0) != (name_to == 0)
        || (id_room == 0) != (id_to == 0)
    {
        return Err(Errno::EINVAL);
    }
    let e = find(l, addr, wanted)?;
    let (dev, ino) = maps::object(&e);
    let mut name_len = 0;
    if name_room != 0 {
        let mut name = maps::name(&e, l);
        if !name.is_empty() {
            name.push(0);
        }
        name_len = name.len() as u64;
        if name_len > name_room {
            return Err(Errno::ENAMETOOLONG);
        }
        mem.write_bytes(name_to, &name)?;
    }
    let found = [
        e.vma.start,
        e.vma.end,
        flags(&e.vma),
        PAGE,
        e.vma.offset(),
        ino,
        u64::from(devices::major(dev)) | u64::from(devices::minor(dev)) << 32,
        // Build IDs are not read: as of a file that has none.
        name_len,
    ];
    for (to, from) in words.iter_mut().skip(3).zip(found) {
        *to = from;
    }
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    mem.write_bytes(arg, bytes.get(..known).unwrap_or_default())?;
    Ok(0)
}
