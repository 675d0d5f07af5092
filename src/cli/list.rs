//! `cofferdam list`: all containers.

use super::runtime::Global;
use super::{print, print_json};
use crate::container::start;
use serde_json::Value;
use std::process::ExitCode;

/// List containers
#[derive(Debug, clap::Args)]
pub struct List {
    /// How
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let all: Vec<Value> = global
                .store()
                .all()
                .iter()
                .map(|c| {
                    let mut state = start::state(c, c.status());
                    // Root has no name in a state, but in lists: runc's ways.
                    if let Some(Value::String(owner)) = state.get_mut("owner")
                        && owner.is_empty()
                    {
                        "root".clone_into(owner);
                    }
                    state
                })
                .collect();
            let field = |v: &Value, key: &str| match v.get(key) {
                Some(Value::String(s)) => s.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            if self.quiet {
                for c in &all {
                    print(&format!("{}\n", field(c, "id")))?;
                }
            } else if self.format == "json" {
                print_json(&Value::Array(all))?;
            } else {
                print(&row("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"))?;
                for c in &all {
                    print(&row(
                        &field(c, "id"),
                        &field(c, "pid"),
                        &field(c, "status"),
                        &field(c, "bundle"),
                        &field(c, "created"),
                        &field(c, "owner"),
                    ))?;
                }
            }
            Ok(0)
        })
    }
}

fn row(id: &str, pid: &str, status: &str, bundle: &str, created: &str, owner: &str) -> String {
    format!("{id:<20} {pid:<8} {status:<9} {bundle:<40} {created:<30} {owner}\n")
}
