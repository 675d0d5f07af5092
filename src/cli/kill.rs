//! `cofferdam kill`: signals.

use super::runtime::Global;
use crate::container::{Error, Result, start};
use nix::sys::signal::Signal;
use std::process::ExitCode;

/// Send a signal to a container's first process
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// To every process of it
    #[arg(short, long)]
    all: bool,
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
    /// Number, or name with or without SIG
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
}

impl Kill {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let signal = parse(&self.signal)?;
            start::kill(&global.store().load(&self.id)?, signal, self.all)?;
            Ok(0)
        })
    }
}

/// A signal by number or name.
pub fn parse(text: &str) -> Result<i32> {
    let unknown = || Error::Other(format!("unknown signal \"{text}\""));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = distance(rest, '+').ok_or_else(unknown)?;
        return Some(libc::SIGRTMIN() + offset)
            .filter(|n| *n <= 64)
            .ok_or_else(unknown);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset = distance(rest, '-').ok_or_else(unknown)?;
        return Some(64 - offset)
            .filter(|n| *n >= libc::SIGRTMIN())
            .ok_or_else(unknown);
    }
    format!("SIG{name}")
        .parse::<Signal>()
        .map(|s| s as i32)
        .map_err(|_| unknown())
}

/// From SIGRTMIN or SIGRTMAX: nothing, or the sign and a number.
fn distance(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse::<u8>().ok().filter(|_| plain).map(i32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for text in ["9", "KILL", "SIGKILL", "sigkill"] {
            assert_eq!(parse(text).unwrap(), 9);
        }
        assert_eq!(parse("0").unwrap(), 0);
        assert_eq!(parse("RTMIN+3").unwrap(), libc::SIGRTMIN() + 3);
        assert_eq!(parse("SIGRTMAX-1").unwrap(), 63);
        assert_eq!(parse("RTMIN").unwrap(), libc::SIGRTMIN());
        for bad in [
            "65",
            "-1",
            "NOPE",
            "",
            "RTMIN+99",
            "RTMIN+2147483647",
            "RTMIN+-3",
            "RTMINX",
            "RTMAX+1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
