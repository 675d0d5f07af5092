//! `cofferdam bench`: how fast it is, next to the same work done natively.

use super::{FAILED, complain};
use crate::bench::target::{Prefix, Target};
use crate::bench::{Result, micro, svg, table, whole};
use crate::{sandbox, workload};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Measure system calls natively and inside, side by side
///
/// Runs the same operations, or a command, as an ordinary process and inside a sandbox on each platform, in rounds that visit all of them,
/// and shows medians, spread (half the distance between the quartiles), the 99th percentile of single operations, and
/// the ratio to native.
#[derive(clap::Args)]
pub struct Bench {
    /// Only this platform (repeatable); default: all that work here
    #[arg(long, value_name = "NAME")]
    platform: Vec<String>,
    /// Only operations whose title contains TEXT (repeatable)
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// How many times every operation is measured on every platform
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Write all figures to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a bar chart of the ratios to FILE
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Also another build of Cofferdam, on the same platforms (repeatable)
    #[arg(long, value_name = "PROGRAM")]
    compare: Vec<PathBuf>,
    /// Also an OCI runtime, called as PATH ARG... run --bundle DIR ID (repeatable)
    #[arg(long, value_name = "NAME=PATH[,ARG]...", value_parser = Prefix::parse)]
    runtime: Vec<Prefix>,
    /// Also a program that runs a command, called as PATH ARG... COMMAND (repeatable)
    #[arg(long, value_name = "NAME=PATH[,ARG]...", value_parser = Prefix::parse)]
    wrapper: Vec<Prefix>,
    /// Show the titles of the operations
    #[arg(long, conflicts_with = "command")]
    list: bool,
    /// Measure this command instead of the built-in operations: each time in a sandbox of its own, and many times in one
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "filter")]
    command: Vec<OsString>,
}

impl Bench {
    /// Measures and shows.
    pub fn run(self) -> ExitCode {
        match self.measure() {
            Ok(()) => ExitCode::SUCCESS,
            Err(sentence) => {
                complain(sentence);
                ExitCode::from(FAILED)
            }
        }
    }

    fn measure(self) -> Result<()> {
        if self.list {
            let titles = workload::select(&self.filter);
            let text: String = titles.iter().map(|(_, r)| r.title() + "\n").collect();
            return show(&text);
        }
        let targets = self.targets()?;
        let outputs = [("--json", &self.json), ("--plot", &self.plot)];
        for (option, path) in outputs {
            // Found out now, not after minutes.
            if let Some(path) = path {
                std::fs::write(path, "").map_err(|e| unwritable(option, path, &e))?;
            }
        }
        let report = if self.command.is_empty() {
            micro::run(&self.filter, self.rounds, &targets)?
        } else {
            whole::run(&self.command, self.rounds, &targets)?
        };
        show(&table::render(&report))?;
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
            std::fs::write(path, text + "\n").map_err(|e| unwritable("--json", path, &e))?;
        }
        if let Some(path) = &self.plot {
            let chart = svg::render(&report);
            std::fs::write(path, chart).map_err(|e| unwritable("--plot", path, &e))?;
        }
        Ok(())
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let mut targets = vec![Target::native()];
        for name in &self.platform {
            sandbox::check_platform(name).map_err(|e| e.to_string())?;
            targets.push(Target::platform(name)?);
        }
        if self.platform.is_empty() {
            for name in sandbox::PLATFORMS {
                match sandbox::check_platform(name) {
                    Ok(()) => targets.push(Target::platform(name)?),
                    Err(e) => complain(format_args!("{name} is left out: {e}")),
                }
            }
        }
        for program in &self.compare {
            // The operations run in another directory.
            let program = &program.canonicalize().map_err(|e| {
                format!(
                    "--compare {}: {e}; name another build's 'cofferdam'",
                    program.display()
                )
            })?;
            let file = program.file_name().unwrap_or(program.as_os_str());
            for platform in self.platforms_of(program)? {
                targets.push(Target::other_build(
                    &file.to_string_lossy(),
                    program,
                    &platform,
                ));
            }
        }
        for (option, prefixes) in [("--runtime", &self.runtime), ("--wrapper", &self.wrapper)] {
            for prefix in prefixes {
                let named = |e| format!("{option} {}: {e}", prefix.name);
                prefix.check().map_err(named)?;
            }
        }
        targets.extend(self.runtime.iter().cloned().map(Target::runtime));
        targets.extend(self.wrapper.iter().cloned().map(Target::wrapper));
        let mut names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()) {
            Some([name, ..]) => Err(format!("'{name}' is there twice; give it another name")),
            _ => Ok(targets),
        }
    }

    /// Those that were asked for, or all that another build says it can run here.
    fn platforms_of(&self, program: &Path) -> Result<Vec<String>> {
        if !self.platform.is_empty() {
            return Ok(self.platform.clone());
        }
        let failed = |e: &dyn std::fmt::Display| {
            format!(
                "--compare {}: cannot ask for its platforms: {e}",
                program.display()
            )
        };
        let answer = Command::new(program).arg("platforms").output();
        let answer = answer.map_err(|e| failed(&e))?;
        let lines = String::from_utf8_lossy(&answer.stdout);
        let works = lines.lines().filter(|l| l.contains("works here"));
        let names: Vec<String> = works
            .filter_map(|l| Some(l.split_whitespace().next()?.to_owned()))
            .collect();
        if names.is_empty() {
            return Err(failed(&"none works here"));
        }
        Ok(names)
    }
}

fn unwritable(option: &str, path: &std::path::Path, e: &std::io::Error) -> String {
    format!("{option} {}: cannot write: {e}", path.display())
}

fn show(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write the results: {e}"))
        }
        _ => Ok(()),
    }
}
