//! `memory.events`: what the host has done to the sandbox for want of memory.

/// Times that it happened, since the sandbox began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// More was wanted than the limit allows.
    pub max: u64,
    /// And nothing could be freed.
    pub oom: u64,
    /// A process was killed.
    pub oom_kill: u64,
}

impl MemoryEvents {
    /// From version 2's `memory.events`, or version 1's `memory.oom_control`, which counts only the killed.
    pub fn parse(text: &str) -> MemoryEvents {
        let count = |key: &str| {
            let mut values = text.lines().filter_map(|l| l.split_once(' '));
            let value = values.find(|(k, _)| *k == key);
            value.and_then(|(_, n)| n.trim().parse().ok())
        };
        let oom_kill = count("oom_kill").unwrap_or(0);
        MemoryEvents {
            max: count("max").unwrap_or(oom_kill),
            oom: count("oom").unwrap_or(oom_kill),
            oom_kill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_understood() {
        let v2 = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n";
        let events = MemoryEvents::parse(v2);
        assert_eq!((events.max, events.oom, events.oom_kill), (7, 2, 1));
        let v1 = MemoryEvents::parse("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        assert_eq!((v1.max, v1.oom, v1.oom_kill), (3, 3, 3));
        assert_eq!(MemoryEvents::parse(""), MemoryEvents::default());
    }
}
