//! Results as text.

use super::report::{Measured, Report, digits, human};

/// The table: a line for each row, and for each target the median, its spread, the 99th percentile and the ratio.
pub fn render(report: &Report) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut head = vec![String::new()];
    for (at, target) in report.targets.iter().enumerate() {
        head.extend([target.clone(), "+-".into(), "p99".into()]);
        if at > 0 {
            head.push("ratio".into());
        }
    }
    lines.push(head);
    for row in &report.rows {
        let mut line = vec![format!("{}: {}", row.group, row.name)];
        for (at, m) in row.results.iter().enumerate() {
            line.extend(cells(m));
            if at > 0 {
                line.push(m.ratio.map_or_else(String::new, digits));
            }
        }
        lines.push(line);
    }
    let plural = if report.rounds == 1 { "" } else { "s" };
    let mut text = format!("{}, {} round{plural}\n\n", report.machine, report.rounds);
    text.push_str(&aligned(&lines));
    text.push_str(&splits(report));
    for row in &report.rows {
        for m in &row.results {
            if let Some(why) = &m.failed {
                text.push_str(&format!(
                    "\n{}: {} on {}: {why}",
                    row.group, row.name, m.target
                ));
            }
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn cells(m: &Measured) -> [String; 3] {
    let time = |t: Option<f64>| t.map_or_else(String::new, human);
    let median = match (m.median, &m.failed) {
        (None, Some(_)) => "failed".into(),
        (median, _) => time(median),
    };
    let spread = m
        .spread()
        .map_or_else(String::new, |s| format!("{:.0}%", s * 100.0));
    [median, spread, time(m.p99)]
}

/// Where the time goes, for the targets that tell; empty if none does.
fn splits(report: &Report) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let head = [
        "where the time of an operation goes",
        "on",
        "calls",
        "trap",
        "sentry",
        "gofer",
        "host",
    ];
    lines.push(head.map(str::to_owned).to_vec());
    for row in &report.rows {
        for m in &row.results {
            let Some(s) = &m.split else { continue };
            lines.push(vec![
                format!("{}: {}", row.group, row.name),
                m.target.clone(),
                digits(s.calls),
                human(s.trap),
                human(s.sentry),
                human(s.gofer),
                human(s.host),
            ]);
        }
    }
    match lines.len() {
        1 => String::new(),
        _ => format!("\n{}", aligned(&lines)),
    }
}

/// Columns of even width; the first is text, the others are figures.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        let cells = lines.iter().filter_map(|l| l.get(c));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut shown = String::new();
        for (c, (cell, width)) in line.iter().zip(&widths).enumerate() {
            shown.push_str(&if c == 0 {
                format!("{cell:<width$}")
            } else {
                format!("  {cell:>width$}")
            });
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
    text
}
