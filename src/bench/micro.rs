//! The built-in rows, on every target.

use super::child::{self, Ended, Output};
use super::machine::Machine;
use super::report::{PerOperation, Report, RowReport, SCHEMA};
use super::target::{Prepared, Target};
use super::{Result, progress, progress_done};
use crate::profile::Profile;
use crate::workload::scratch::Scratch;
use crate::workload::{self, Line, Row};
use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

/// A row may take this long on a target, with what comes before and after.
const ROW_LIMIT: Duration = Duration::from_secs(10);
const START_LIMIT: Duration = Duration::from_secs(30);

/// Measures the rows that the filters name.
///
/// # Errors
/// Nothing could be measured.
pub fn run(filter: &[String], rounds: u32, targets: &[Target]) -> Result<Report> {
    let rows = workload::select(filter);
    if rows.is_empty() {
        return Err(format!(
            "no row's title contains '{}'; 'cofferdam bench --list' shows them",
            filter.join("' or '")
        ));
    }
    let machine = Machine::here();
    let names: Vec<String> = targets.iter().map(|t| t.name.clone()).collect();
    let mut reports: Vec<RowReport> = rows
        .iter()
        .map(|(_, row)| RowReport::new(row.group, row.name, &names))
        .collect();
    for round in 1..=rounds {
        for (at, target) in targets.iter().enumerate() {
            progress(format_args!("round {round} of {rounds}: {}", target.name));
            let (mut lines, failed) = visit(target, &rows);
            for ((number, _), report) in rows.iter().zip(&mut reports) {
                let Some(m) = report.results.get_mut(at) else {
                    continue;
                };
                match lines.remove(number) {
                    Some(line) => m.add(line.samples, line.p99, line.failed),
                    None => m.add(vec![], None, Some(failed.clone())),
                }
            }
        }
    }
    for (at, target) in targets.iter().enumerate() {
        progress(format_args!("where the time goes: {}", target.name));
        let mut splits = splits(target, &rows);
        for ((number, _), report) in rows.iter().zip(&mut reports) {
            let Some(m) = report.results.get_mut(at) else {
                continue;
            };
            match &mut splits {
                Ok(None) => {}
                Ok(Some(splits)) => m.split = splits.remove(number),
                // That the times are there, and only the split is not, the sentence tells.
                Err(why) => m.failed = m.failed.take().or(Some(format!("not counted: {why}"))),
            }
        }
    }
    progress_done();
    reports.iter_mut().for_each(RowReport::finish);
    if reports
        .iter()
        .all(|r| r.results.iter().all(|m| m.median.is_none()))
    {
        let why = reports
            .first()
            .and_then(|r| r.results.first()?.failed.clone());
        return Err(why.unwrap_or_else(|| "nothing could be measured".into()));
    }
    Ok(Report {
        schema: SCHEMA,
        machine,
        rounds,
        targets: names,
        rows: reports,
    })
}

/// One round on one target: what the workload printed by row, and why rows may be missing.
fn visit(target: &Target, rows: &[(usize, &Row)]) -> (HashMap<usize, Line>, String) {
    let ended = target
        .workload(&arguments(rows))
        .and_then(|prepared| run_rows(prepared, rows.len()));
    match ended {
        Err(e) => (HashMap::new(), e),
        Ok(ended) => (lines(&ended), ended.why()),
    }
}

fn arguments(rows: &[(usize, &Row)]) -> Vec<OsString> {
    let numbers: Vec<String> = rows.iter().map(|(n, _)| n.to_string()).collect();
    vec!["rows".into(), numbers.join(",").into()]
}

fn run_rows(mut prepared: Prepared, rows: usize) -> Result<Ended> {
    let limit = START_LIMIT + ROW_LIMIT * u32::try_from(rows).unwrap_or(u32::MAX);
    // Nothing of the directory where this was started is needed.
    child::run(prepared.command.current_dir("/"), Output::Keep, limit)
}

fn lines(ended: &Ended) -> HashMap<usize, Line> {
    let lines = ended.stdout.lines();
    let lines = lines.filter_map(|l| serde_json::from_str::<Line>(l).ok());
    lines.map(|l| (l.row, l)).collect()
}

/// A round with counters on: where each row's time goes on this target. `None`: it cannot tell.
fn splits(target: &Target, rows: &[(usize, &Row)]) -> Result<Option<HashMap<usize, PerOperation>>> {
    let mut args = arguments(rows);
    args.push("--marks".into());
    let dir = Scratch::new().map_err(|e| format!("cannot make a directory: {e}"))?;
    let file = dir.path("profile.json");
    let Some(prepared) = target.profiled_workload(&args, &file)? else {
        return Ok(None);
    };
    let ended = run_rows(prepared, rows.len())?;
    let text = std::fs::read(&file).map_err(|e| format!("{}, and no profile: {e}", ended.why()))?;
    let profile: Profile =
        serde_json::from_slice(&text).map_err(|e| format!("{}, and {e}", ended.why()))?;
    let lines = lines(&ended);
    let sections = profile.sections.iter().filter_map(|section| {
        // Number 0 is what lies between the rows.
        let row = usize::try_from(section.number).ok()?.checked_sub(1)?;
        let operations = lines.get(&row)?.operations;
        (operations > 0).then(|| (row, PerOperation::of(&section.part, operations)))
    });
    Ok(Some(sections.collect()))
}
