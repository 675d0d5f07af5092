//! `cofferdam events`: what a container uses, and when it is out of memory.

use super::pause::group;
use super::print;
use super::runtime::Global;
use crate::container::store::Status;
use crate::container::{Error, Result};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// Show what a container uses, and when it is out of memory
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Once, instead of until its end
    #[arg(long)]
    stats: bool,
    /// Between two readings: seconds, or a number with ms, s or m
    #[arg(long, value_name = "TIME", default_value = "5s")]
    interval: String,
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl Events {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let interval = duration(&self.interval)?;
            let container = global.store().load(&self.id)?;
            if container.status() == Status::Stopped {
                return Err(Error::Other(format!(
                    "container with id {} is not running",
                    self.id
                )));
            }
            let group = group(&container)?;
            let mut killed = group.stats().oom_kills;
            loop {
                let stats = group.stats();
                if stats.oom_kills > killed {
                    print(&format!("{}\n", json!({ "type": "oom", "id": self.id })))?;
                    killed = stats.oom_kills;
                }
                print(&format!("{}\n", stats.to_json(&self.id)))?;
                if self.stats {
                    return Ok(0);
                }
                std::thread::sleep(interval);
                if container.status() == Status::Stopped {
                    return Ok(0);
                }
            }
        })
    }
}

/// As Go writes short ones.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => 0.0,
    };
    let seconds = digits.parse::<f64>().unwrap_or(0.0) * scale;
    if seconds > 0.0 && seconds < 1e9 {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(Error::Other(format!(
        "duration interval must be greater than 0: {text}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        for bad in ["", "0", "x", "5h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
