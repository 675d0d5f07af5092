//! Results: what is written as JSON, and what table and chart are made from. docs/performance.md describes the format.

use super::machine::Machine;
use super::stats::{median, paired_ratio, quantile};
use crate::profile::Part;
use serde::Serialize;

/// Everything that one run of the benchmark found out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name and version of this format.
    pub schema: &'static str,
    /// On what.
    pub machine: Machine,
    /// How many rounds were asked for.
    pub rounds: u32,
    /// Ways to run the work; the first is the base of the ratios.
    pub targets: Vec<String>,
    /// What was measured.
    pub rows: Vec<RowReport>,
}

/// The format's name and version.
pub const SCHEMA: &str = "cofferdam-bench/1";

/// One operation, or one command.
#[derive(Debug, Serialize)]
pub struct RowReport {
    /// What it has to do with.
    pub group: String,
    /// What was done.
    pub name: String,
    /// One for each target, in their order.
    pub results: Vec<Measured>,
}

/// One operation on one target. Times are nanoseconds per operation.
#[derive(Debug, Default, Serialize)]
pub struct Measured {
    /// The target's name.
    pub target: String,
    /// Median of all samples.
    pub median: Option<f64>,
    /// A quarter of the samples is below this.
    pub lower_quartile: Option<f64>,
    /// A quarter of the samples is above this.
    pub upper_quartile: Option<f64>,
    /// Median over the rounds of the 99th percentile of single operations.
    pub p99: Option<f64>,
    /// Median over the rounds of the time divided by the first target's in the same round.
    pub ratio: Option<f64>,
    /// Where the time of an operation went, in a round of its own; only for Cofferdam's platforms.
    pub split: Option<PerOperation>,
    /// Why there are no figures, or fewer.
    pub failed: Option<String>,
    /// All samples, a list for each round.
    pub samples: Vec<Vec<f64>>,
    #[serde(skip)]
    p99s: Vec<f64>,
}

/// Where an operation's time goes, in nanoseconds. With more than one thread the parts may overlap.
#[derive(Debug, Serialize)]
pub struct PerOperation {
    /// Wall time, while it was counted.
    pub wall: f64,
    /// System calls that reached the sentry.
    pub calls: f64,
    /// What is left of the wall time: traps on their way in and out, and the guest itself.
    pub trap: f64,
    /// The sentry's own work.
    pub sentry: f64,
    /// Round trips to the gofer.
    pub gofer: f64,
    /// Operations on guest processes and their memory.
    pub host: f64,
}

impl PerOperation {
    /// Of a part of a profile in which so many operations were done.
    pub fn of(part: &Part, operations: u64) -> PerOperation {
        let each = |n: u64| n as f64 / operations.max(1) as f64;
        PerOperation {
            wall: each(part.wall),
            calls: each(part.calls),
            trap: each(part.rest()),
            sentry: each(part.sentry),
            gofer: each(part.gofer),
            host: each(part.host),
        }
    }
}

impl Measured {
    /// Of this target, without figures yet.
    pub fn of(target: &str) -> Measured {
        Measured {
            target: target.to_owned(),
            ..Measured::default()
        }
    }

    /// Adds a round; an empty one keeps the rounds of all targets in step.
    pub fn add(&mut self, samples: Vec<f64>, p99: Option<f64>, failed: Option<String>) {
        self.samples.push(samples);
        self.p99s.extend(p99);
        if self.failed.is_none() {
            self.failed = failed;
        }
    }

    /// Half the distance of the quartiles as a share of the median.
    pub fn spread(&self) -> Option<f64> {
        Some((self.upper_quartile? - self.lower_quartile?) / 2.0 / self.median?)
    }
}

impl RowReport {
    /// A row without figures.
    pub fn new(group: &str, name: &str, targets: &[String]) -> RowReport {
        RowReport {
            group: group.to_owned(),
            name: name.to_owned(),
            results: targets.iter().map(|t| Measured::of(t)).collect(),
        }
    }

    /// Computes everything that comes from the samples.
    pub fn finish(&mut self) {
        let base = self.results.first().map(|b| b.samples.clone());
        let base = base.unwrap_or_default();
        for (at, m) in self.results.iter_mut().enumerate() {
            let all = m.samples.concat();
            m.median = median(&all);
            m.lower_quartile = quantile(&all, 0.25);
            m.upper_quartile = quantile(&all, 0.75);
            m.p99 = median(&m.p99s);
            m.ratio = (at > 0).then(|| paired_ratio(&m.samples, &base)).flatten();
        }
    }
}

/// A time in the unit that suits it, with three digits.
pub fn human(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        n if n < 999.5 => (n, "ns"),
        n if n < 999.5e3 => (n / 1e3, "us"),
        n if n < 999.5e6 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// Three digits of a number.
pub fn digits(value: f64) -> String {
    let places = match value.abs() {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [1.0, 12.34, 142.4, 999.9, 22_052.0, 4.1e6, 2.5e9].map(human);
        let expected = [
            "1.00 ns", "12.3 ns", "142 ns", "1.00 us", "22.1 us", "4.10 ms", "2.50 s",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_finished_row_has_medians_quartiles_and_ratios() {
        let mut row = RowReport::new("g", "n", &["native".into(), "other".into()]);
        row.results[0].add(vec![1.0, 2.0, 3.0], Some(5.0), None);
        row.results[1].add(vec![4.0], None, None);
        row.finish();
        let native = &row.results[0];
        assert_eq!((native.median, native.ratio), (Some(2.0), None));
        assert_eq!(native.spread(), Some(0.25));
        assert_eq!(native.p99, Some(5.0));
        assert_eq!(row.results[1].ratio, Some(2.0));
    }
}
