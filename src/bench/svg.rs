//! Results as a bar chart: the ratio to the first target, on a logarithmic scale.

use super::report::{Report, digits, human};
use std::fmt::Write;

const LEFT: f64 = 300.0;
const PLOT: f64 = 520.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 70.0;
const BAR: f64 = 11.0;
const GAP: f64 = 8.0;
/// Colours that can be told apart by everybody (Okabe and Ito's).
const COLOURS: &[&str] = &[
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442",
];

/// Ratios from the smallest to the largest power of ten that are needed.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(ratios: impl Iterator<Item = f64>) -> Scale {
        let (mut low, mut high) = (0.0_f64, 1.0_f64);
        for log in ratios.filter(|r| *r > 0.0).map(f64::log10) {
            low = low.min(log.floor());
            high = high.max(log.ceil());
        }
        Scale { low, high }
    }

    fn x(&self, ratio: f64) -> f64 {
        LEFT + (ratio.log10() - self.low) / (self.high - self.low) * PLOT
    }
}

/// The chart. Rows without a ratio are left out.
pub fn render(report: &Report) -> String {
    let rows: Vec<_> = report
        .rows
        .iter()
        .filter(|r| r.results.iter().any(|m| m.ratio.is_some()))
        .collect();
    let ratios = rows.iter().flat_map(|r| &r.results).filter_map(|m| m.ratio);
    let scale = Scale::of(ratios);
    let bars = report.targets.len().saturating_sub(1).max(1) as f64;
    let row_height = bars * BAR + GAP;
    let bottom = TOP + rows.len() as f64 * row_height;
    let (width, height) = (LEFT + PLOT + RIGHT, bottom + 50.0);
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let base = report.targets.first().map_or("", String::as_str);
    let title = format!("Time of an operation, as a multiple of {base} (lower is better)");
    text(&mut out, 10.0, 20.0, "start", "font-size=\"15\"", &title);
    let machine = report.machine.to_string();
    text(&mut out, 10.0, 38.0, "start", "fill=\"#666\"", &machine);
    legend(&mut out, report);
    axis(&mut out, &scale, bottom);
    for (r, row) in rows.iter().enumerate() {
        let y = TOP + r as f64 * row_height + GAP / 2.0;
        let middle = y + bars * BAR / 2.0 + 4.0;
        let name = shortened(&format!("{}: {}", row.group, row.name));
        text(&mut out, LEFT - 8.0, middle, "end", "", &name);
        for (t, m) in row.results.iter().enumerate().skip(1) {
            let (Some(ratio), Some(median)) = (m.ratio.filter(|r| *r > 0.0), m.median) else {
                continue;
            };
            let y = y + (t - 1) as f64 * BAR;
            let (one, end) = (scale.x(1.0), scale.x(ratio));
            let (x, w) = (one.min(end), (end - one).abs().max(1.0));
            let h = BAR - 1.0;
            let colour = colour(t);
            let _ = writeln!(
                out,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h}\" fill=\"{colour}\"/>"
            );
            let label = format!("{} ({})", digits(ratio), human(median));
            let at = one.max(end) + 4.0;
            text(
                &mut out,
                at,
                y + h - 1.0,
                "start",
                "font-size=\"9\"",
                &label,
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

fn colour(target: usize) -> &'static str {
    let at = target.saturating_sub(1) % COLOURS.len();
    COLOURS.get(at).copied().unwrap_or("#000")
}

fn legend(out: &mut String, report: &Report) {
    let mut x = 10.0;
    for (t, name) in report.targets.iter().enumerate().skip(1) {
        let colour = colour(t);
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"47\" width=\"11\" height=\"11\" fill=\"{colour}\"/>"
        );
        text(out, x + 16.0, 57.0, "start", "", name);
        x += 40.0 + 7.0 * name.chars().count() as f64;
    }
}

/// A line for each power of ten, a darker one at 1.
fn axis(out: &mut String, scale: &Scale, bottom: f64) {
    let mut power = scale.low;
    while power <= scale.high {
        let x = scale.x(10.0_f64.powf(power));
        let colour = if power == 0.0 { "#000" } else { "#ccc" };
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>"
        );
        let label = 10.0_f64.powf(power).to_string();
        text(out, x, bottom + 16.0, "middle", "", &label);
        power += 1.0;
    }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, style: &str, content: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{}</text>",
        escape(content)
    );
}

/// What fits to the left of the bars.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(50) {
        Some((at, _)) => format!("{}\u{2026}", name.get(..at).unwrap_or(name)),
        None => name.to_owned(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::machine::Machine;
    use super::super::report::{RowReport, SCHEMA};
    use super::*;

    #[test]
    fn names_are_escaped_and_shortened_and_faster_ones_go_left() {
        let targets = vec!["native".to_owned(), "a<b".to_owned()];
        let mut rows = vec![RowReport::new("g", &"long & ".repeat(20), &targets)];
        rows[0].results[0].add(vec![100.0], None, None);
        rows[0].results[1].add(vec![10.0], None, None);
        rows[0].finish();
        let chart = render(&Report {
            schema: SCHEMA,
            machine: Machine::here(),
            rounds: 1,
            targets,
            rows,
        });
        assert!(chart.contains("a&lt;b") && !chart.contains("a<b"));
        assert!(chart.contains("long &amp; long") && chart.contains('\u{2026}'));
        // From 0.1 to 1: one of the two decades that are shown.
        assert!(chart.contains("width=\"260.0\""), "{chart}");
        assert!(chart.contains("0.10 (10.0 ns)"), "{chart}");
    }
}
