//! Log lines of all processes of a sandbox, in one file that each of them appends to.

use log::{LevelFilter, Log, Metadata, Record};
use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The role's name in its lines.
static ROLE: OnceLock<&'static str> = OnceLock::new();

struct FileLog {
    file: File,
    failed: AtomicBool,
}

impl Log for FileLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = line(ROLE.get().copied().unwrap_or("monitor"), record);
        // One write per line: lines of several processes do not mix. The first failure is told, the others would
        // only repeat it.
        if let Err(e) = (&self.file).write_all(line.as_bytes())
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            crate::cli::complain(format_args!(
                "cannot write the log: {e}; log lines are lost from here on"
            ));
        }
    }

    fn flush(&self) {}
}

/// `seconds.micros level role target: message`.
fn line(role: &str, record: &Record<'_>) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let message = record.args().to_string().replace(['\n', '\r'], " ");
    format!(
        "{}.{:06} {:5} {role} {}: {message}\n",
        now.as_secs(),
        now.subsec_micros(),
        record.level(),
        record.target()
    )
}

/// Sends log lines of this process, and of those cloned from it, to `file`. Called once, by the monitor.
pub fn start(file: File, level: LevelFilter) {
    if log::set_boxed_logger(Box::new(FileLog {
        file,
        failed: AtomicBool::new(false),
    }))
    .is_ok()
    {
        log::set_max_level(level);
    }
}

/// Names this process in its lines from here on. Called once in a child.
pub fn role(name: &'static str) {
    let _ = ROLE.set(name);
}
