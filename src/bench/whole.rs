//! A whole command of the user's, on every target: from nothing, and many times over inside one sandbox.

use super::child::{self, Output};
use super::machine::Machine;
use super::report::{Report, RowReport, SCHEMA};
use super::target::Target;
use super::{Result, progress, progress_done};
use std::ffi::OsString;
use std::time::Duration;

/// A command may take this long each time.
const LIMIT: Duration = Duration::from_secs(600);
/// How long the runs inside one sandbox should take together natively, and most of them.
const TOGETHER: Duration = Duration::from_millis(300);
const MOST: u128 = 50;

/// Measures a command.
///
/// # Errors
/// It does not work natively.
pub fn run(command: &[OsString], rounds: u32, targets: &[Target]) -> Result<Report> {
    let machine = Machine::here();
    let native = Target::native();
    // Warms the caches, shows whether it works at all, and how long it takes.
    let first = once(&native, command).map_err(|e| format!("natively, {e}"))?;
    let times = (TOGETHER.as_nanos() / first.as_nanos().max(1)).clamp(1, MOST);
    let names: Vec<String> = targets.iter().map(|t| t.name.clone()).collect();
    let shown: Vec<_> = command.iter().map(|w| w.to_string_lossy()).collect();
    let shown = shown.join(" ");
    let mut nothing = RowReport::new("from nothing", &shown, &names);
    let mut inside = RowReport::new(&format!("{times} times inside"), &shown, &names);
    for round in 1..=rounds {
        for (at, target) in targets.iter().enumerate() {
            progress(format_args!("round {round} of {rounds}: {}", target.name));
            let results = [
                once(target, command).map(|took| vec![took.as_secs_f64() * 1e9]),
                repeated(target, command, times),
            ];
            for (row, result) in [&mut nothing, &mut inside].into_iter().zip(results) {
                if let Some(m) = row.results.get_mut(at) {
                    match result {
                        Ok(samples) => m.add(samples, None, None),
                        Err(why) => m.add(vec![], None, Some(why)),
                    }
                }
            }
        }
    }
    progress_done();
    nothing.finish();
    inside.finish();
    Ok(Report {
        schema: SCHEMA,
        machine,
        rounds,
        targets: names,
        rows: vec![nothing, inside],
    })
}

fn once(target: &Target, command: &[OsString]) -> Result<Duration> {
    let mut prepared = target.command(command)?;
    let ended = child::run(&mut prepared.command, Output::Discard, LIMIT)?;
    if ended.status.success() {
        Ok(ended.took)
    } else {
        Err(format!("the command failed: {}", ended.why()))
    }
}

/// Nanoseconds of each of the runs inside one sandbox.
fn repeated(target: &Target, command: &[OsString], times: u128) -> Result<Vec<f64>> {
    let mut args: Vec<OsString> = vec!["repeat".into(), times.to_string().into(), "--".into()];
    args.extend_from_slice(command);
    let mut prepared = target.workload(&args)?;
    let limit = LIMIT * u32::try_from(times).unwrap_or(1);
    let ended = child::run(&mut prepared.command, Output::Keep, limit)?;
    if !ended.status.success() {
        return Err(format!("the command failed: {}", ended.why()));
    }
    let times = ended.stdout.lines().map(str::parse);
    times
        .collect::<std::result::Result<Vec<f64>, _>>()
        .map_err(|e| format!("the runner printed something else than times: {e}"))
}
