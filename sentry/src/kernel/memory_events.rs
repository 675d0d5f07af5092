//! What the host has done to the sandbox for want of memory: `memory.events` of its control group.

use super::Kernel;
use crate::fs::sysfs::MemoryEvents;
use std::fs::File;
use std::os::unix::fs::FileExt;

impl Kernel {
    /// From now on they are read there.
    pub fn set_memory_events(&self, file: File) {
        // The first one stays.
        let _ = self.memory_events.set(file);
    }

    /// Until now; none if the host does not say.
    pub fn memory_events(&self) -> MemoryEvents {
        let mut buf = [0; 1024];
        let file = self.memory_events.get();
        let n = file.map_or(0, |f| f.read_at(&mut buf, 0).unwrap_or(0));
        MemoryEvents::parse(&String::from_utf8_lossy(buf.get(..n).unwrap_or_default()))
    }
}
