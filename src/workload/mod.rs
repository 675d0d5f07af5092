//! What `cofferdam bench` measures: a hidden command of this program that runs natively and inside a sandbox alike.
//!
//! A [`Row`] sets itself up and gives a [`Batch`], a loop that does its operation some times over. [`rows`] finds out how
//! many times fill a few milliseconds, times some such batches, then single operations for the tail, and prints one line
//! of JSON per row ([`Line`]). [`repeat`] runs a whole command some times over. Nothing here knows of sandboxes.

mod calls;
mod files;
mod ipc;
mod memory;
mod process;
pub mod scratch;
mod sys;
mod threads;

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Does the operation that many times.
pub type Batch = Box<dyn FnMut(u64) -> io::Result<()>>;

/// One operation that is measured.
pub struct Row {
    /// What it has to do with.
    pub group: &'static str,
    /// What is done.
    pub name: &'static str,
    prepare: fn() -> io::Result<Batch>,
}

impl Row {
    const fn new(
        group: &'static str,
        name: &'static str,
        prepare: fn() -> io::Result<Batch>,
    ) -> Row {
        Row {
            group,
            name,
            prepare,
        }
    }

    /// Group and name, as filters see them.
    pub fn title(&self) -> String {
        format!("{}: {}", self.group, self.name)
    }

    fn matches(&self, filter: &[String]) -> bool {
        filter.is_empty() || filter.iter().any(|f| self.title().contains(f.as_str()))
    }
}

/// All rows that one of the filters names (all, if there is none), with their numbers.
pub fn select(filter: &[String]) -> Vec<(usize, &'static Row)> {
    let all = [
        calls::ROWS,
        files::ROWS,
        memory::ROWS,
        ipc::ROWS,
        process::ROWS,
        threads::ROWS,
    ];
    let all = all.into_iter().flatten().enumerate();
    all.filter(|(_, row)| row.matches(filter)).collect()
}

/// What the workload prints for a row.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// The row's number.
    pub row: usize,
    /// Nanoseconds per operation, one value per batch.
    pub samples: Vec<f64>,
    /// How many operations all batches had together.
    pub operations: u64,
    /// 99th percentile of single operations in nanoseconds, if enough were timed.
    pub p99: Option<f64>,
    /// Why there is nothing.
    pub failed: Option<String>,
}

/// How long a batch should take.
const BATCH: Duration = Duration::from_millis(4);
const BATCHES: usize = 5;
/// Most and fewest single operations for the tail.
const SINGLES: (usize, usize) = (2000, 100);
/// Operations of a row may not take longer than this together while single ones are timed.
const SINGLES_TIME: Duration = Duration::from_millis(10);

/// How long calls are made before anything is measured: longer than a platform needs to see that they come often and to make them fast.
const WARM: Duration = Duration::from_millis(80);

/// The loop over one operation.
fn each(mut operation: impl FnMut() -> io::Result<()> + 'static) -> io::Result<Batch> {
    Ok(Box::new(move |n| (0..n).try_for_each(|_| operation())))
}

/// Runs the rows whose numbers are given, and prints a line for each. With `marks`, tells a profiler which one is under way.
pub fn rows(numbers: &[usize], marks: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    let start = Instant::now();
    while start.elapsed() < WARM {
        let _ = nix::unistd::getpgrp();
    }
    for (number, row) in select(&[]) {
        if !numbers.contains(&number) {
            continue;
        }
        let mark = marks.then(|| u64::try_from(number).unwrap_or(0) + 1);
        let line = measure(row, mark).unwrap_or_else(|e| Line {
            row: number,
            samples: vec![],
            operations: 0,
            p99: None,
            failed: Some(e.to_string()),
        });
        let line = Line {
            row: number,
            ..line
        };
        let Ok(text) = serde_json::to_string(&line) else {
            return ExitCode::FAILURE;
        };
        if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The operation's result is not optimised away, and no longer needed.
fn done(result: impl Sized) -> io::Result<()> {
    std::hint::black_box(result);
    Ok(())
}

fn timed(batch: &mut Batch, n: u64) -> io::Result<Duration> {
    let start = Instant::now();
    batch(n)?;
    Ok(start.elapsed())
}

fn nanos(d: Duration) -> f64 {
    d.as_secs_f64() * 1e9
}

fn measure(row: &Row, mark: Option<u64>) -> io::Result<Line> {
    let mut batch = (row.prepare)()?;
    // The first one finds everything cold and is not counted.
    batch(1)?;
    let mut n = 1;
    let mut took = timed(&mut batch, n)?;
    while took < BATCH / 4 && n < 1 << 24 {
        n *= 4;
        took = timed(&mut batch, n)?;
    }
    let fitting = nanos(BATCH) / (nanos(took) / n as f64).max(1.0);
    let n = (fitting as u64).max(1);
    if let Some(mark) = mark {
        sys::mark(mark);
    }
    let mut samples = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        samples.push(nanos(timed(&mut batch, n)?) / n as f64);
    }
    if mark.is_some() {
        sys::mark(0);
    }
    Ok(Line {
        row: 0,
        samples,
        operations: n * BATCHES as u64,
        p99: tail(&mut batch)?,
        failed: None,
    })
}

/// The 99th percentile of operations timed one by one.
fn tail(batch: &mut Batch) -> io::Result<Option<f64>> {
    let (most, fewest) = SINGLES;
    let mut singles = Vec::with_capacity(most);
    let start = Instant::now();
    while singles.len() < most && start.elapsed() < SINGLES_TIME {
        singles.push(nanos(timed(batch, 1)?));
    }
    if singles.len() < fewest {
        return Ok(None);
    }
    singles.sort_by(f64::total_cmp);
    Ok(singles.get(singles.len() * 99 / 100).copied())
}

/// Runs a command `times` times, one after the other and with its output thrown away, and prints how long each took, in
/// nanoseconds, a line each. The exit status is that of the first one that failed.
pub fn repeat(times: u32, command: &[OsString]) -> ExitCode {
    let Some((program, args)) = command.split_first() else {
        return ExitCode::FAILURE;
    };
    for _ in 0..times {
        let start = Instant::now();
        let status = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        let took = start.elapsed().as_nanos();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                let code = status.code().and_then(|c| u8::try_from(c).ok());
                return ExitCode::from(code.unwrap_or(1));
            }
            Err(e) => {
                crate::cli::complain(format_args!("cannot run {}: {e}", program.display()));
                return ExitCode::from(127);
            }
        }
        if writeln!(io::stdout(), "{took}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_unique_and_every_row_works_here() {
        let all = select(&[]);
        let mut titles: Vec<_> = all.iter().map(|(_, r)| r.title()).collect();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), all.len());
        for (_, row) in all {
            // A row that forks must not do so from a process with many threads: those run in tests/bench.rs.
            if row.group == "process" {
                continue;
            }
            let mut batch = (row.prepare)().unwrap_or_else(|e| panic!("{}: {e}", row.title()));
            batch(3).unwrap_or_else(|e| panic!("{}: {e}", row.title()));
        }
    }

    #[test]
    fn filters_name_parts_of_titles() {
        assert!(select(&["getpid".into()]).len() == 1);
        assert!(select(&["nothing of the kind".into()]).is_empty());
        assert_eq!(
            select(&["getpid".into(), "getppid".into()]).len(),
            2,
            "either may match"
        );
    }
}
