//! What the figures were taken on.

use serde::Serialize;
use std::fs;

/// The host, as a reader of the figures wants to know it.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Release of the host's kernel.
    pub kernel: String,
    /// Name of the processor.
    pub processor: String,
    /// How many processors may be used.
    pub processors: usize,
    /// How many tasks wanted a processor in the last minute before the start.
    pub load: f64,
    /// Version of this program, and whether it is a development build.
    pub cofferdam: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|l| l.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned());
        let load = read("/proc/loadavg");
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load: load
                .split(' ')
                .next()
                .and_then(|l| l.parse().ok())
                .unwrap_or(0.0),
            cofferdam: format!(
                "{}{}",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) {
                    " (development build)"
                } else {
                    ""
                }
            ),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Cofferdam {}, Linux {}, {} x {}, load {:.1}",
            self.cofferdam, self.kernel, self.processors, self.processor, self.load
        )
    }
}
