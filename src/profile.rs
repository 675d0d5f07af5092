//! `--profile`: what the sentry has counted, as text for people or JSON for programs.

use crate::bench::report::human;
use crate::bench::table::aligned;
use cofferdam_sentry::profile::{Split, Summary, Total};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;

/// Where a profile goes, and how.
#[derive(Debug)]
pub struct Output {
    /// Open for writing.
    pub file: File,
    /// JSON instead of text.
    pub json: bool,
}

impl Output {
    /// Writes it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write(&mut self, summary: &Summary) -> std::io::Result<()> {
        let text = if self.json {
            serde_json::to_string_pretty(&Profile::from(summary))? + "\n"
        } else {
            render(summary)
        };
        self.file.write_all(text.as_bytes())
    }
}

/// The JSON form; docs/performance.md describes it. Times are nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Profile {
    /// Name and version of the format.
    pub schema: String,
    /// From start to end.
    pub whole: Part,
    /// Each system call that was made, the dearest first.
    pub calls: Vec<Call>,
    /// What was marked.
    pub sections: Vec<Section>,
}

/// Time of a part of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// Wall time.
    pub wall: u64,
    /// System calls that reached the sentry.
    pub calls: u64,
    /// Time of the sentry's own work.
    pub sentry: u64,
    /// Time of round trips to the gofer.
    pub gofer: u64,
    /// How many they were.
    pub gofer_trips: u64,
    /// Time of operations on guest processes and their memory.
    pub host: u64,
    /// How many they were.
    pub host_operations: u64,
    /// Time that workers waited for events.
    pub wait: u64,
    /// How many events came.
    pub events: u64,
}

impl Part {
    /// What is left of the wall time: guests at work, traps on their way in and out, and waiting.
    pub fn rest(&self) -> u64 {
        let spent = [self.sentry, self.gofer, self.host];
        spent
            .iter()
            .fold(self.wall, |rest, s| rest.saturating_sub(*s))
    }
}

/// One system call.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// How often it was made.
    pub count: u64,
    /// How often it failed.
    pub errors: u64,
    /// How long it kept workers busy, gofer and host included.
    pub busy: u64,
}

/// What happened from one mark to the next.
#[derive(Debug, Serialize, Deserialize)]
pub struct Section {
    /// Its number.
    pub number: u64,
    /// What happened.
    #[serde(flatten)]
    pub part: Part,
}

const SCHEMA: &str = "cofferdam-profile/1";

impl From<&Split> for Part {
    fn from(s: &Split) -> Part {
        Part {
            wall: s.wall,
            calls: s.calls,
            sentry: s.sentry,
            gofer: s.gofer.nanos,
            gofer_trips: s.gofer.count,
            host: s.host.nanos,
            host_operations: s.host.count,
            wait: s.wait.nanos,
            events: s.wait.count,
        }
    }
}

impl From<&Summary> for Profile {
    fn from(summary: &Summary) -> Profile {
        let calls = summary.calls.iter().map(|c| Call {
            name: c.name.to_owned(),
            count: c.total.count,
            errors: c.errors,
            busy: c.total.nanos,
        });
        let sections = summary.sections.iter().map(|(number, split)| Section {
            number: *number,
            part: split.into(),
        });
        Profile {
            schema: SCHEMA.to_owned(),
            whole: (&summary.whole).into(),
            calls: calls.collect(),
            sections: sections.collect(),
        }
    }
}

fn render(summary: &Summary) -> String {
    let nanos = |n: u64| human(n as f64);
    let mut lines = vec![
        ["system call", "count", "errors", "total", "mean"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for c in &summary.calls {
        let Total { count, nanos: time } = c.total;
        lines.push(vec![
            c.name.to_owned(),
            count.to_string(),
            c.errors.to_string(),
            nanos(time),
            nanos(time / count.max(1)),
        ]);
    }
    let part = Part::from(&summary.whole);
    let share = |n: u64| format!("{:.1}%", n as f64 * 100.0 / part.wall.max(1) as f64);
    let line =
        |name: &str, time: u64, what: String| vec![name.to_owned(), nanos(time), share(time), what];
    let split = [
        line("sentry", part.sentry, format!("for {} calls", part.calls)),
        line(
            "gofer",
            part.gofer,
            format!("for {} round trips", part.gofer_trips),
        ),
        line(
            "host",
            part.host,
            format!("for {} operations on guests", part.host_operations),
        ),
        line(
            "rest",
            part.rest(),
            format!("guests, traps and waiting, {} events", part.events),
        ),
    ];
    format!(
        "{}\nof {} wall time:\n{}",
        aligned(&lines),
        nanos(part.wall),
        aligned(&split)
    )
}
