//! `cofferdam update`: new limits for a container.

use super::options;
use super::pause::group;
use super::runtime::Global;
use crate::container::store::Status;
use crate::container::{Error, Result, at};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};
use std::io::Read;
use std::process::ExitCode;

/// Change a container's limits
#[derive(Debug, clap::Args)]
pub struct Update {
    /// A resources object of the specification; '-': standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<String>,
    /// Bytes of memory, or with k, m, g; -1: no limit
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    memory: Option<i64>,
    /// Bytes of memory that are aimed at
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    memory_reservation: Option<i64>,
    /// Bytes of memory and swap space
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    memory_swap: Option<i64>,
    /// Microseconds that quotas are counted in
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Microseconds of CPU time per period
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Weight against others
    #[arg(long, value_name = "WEIGHT")]
    cpu_share: Option<u64>,
    /// Processors
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Processes and threads
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Weight of disk accesses, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// The container's name
    #[arg(value_name = "ID")]
    id: String,
}

impl Update {
    /// Runs it.
    pub fn run(self, global: &Global) -> ExitCode {
        global.run(|_| {
            let container = global.store().load(&self.id)?;
            if container.status() == Status::Stopped {
                return Err(Error::NotRunning);
            }
            group(&container)?.apply(&self.wanted()?)?;
            container.show_allowance()?;
            Ok(0)
        })
    }

    fn wanted(&self) -> Result<LinuxResources> {
        let value = match self.resources.as_deref() {
            Some(path) => {
                let mut text = String::new();
                if path == "-" {
                    std::io::stdin().read_to_string(&mut text)
                } else {
                    std::fs::File::open(path).and_then(|mut f| f.read_to_string(&mut text))
                }
                .map_err(at(format!("cannot read {path}")))?;
                serde_json::from_str(&text).map_err(at(format!("{path} is malformed")))?
            }
            None => self.of_options(),
        };
        serde_json::from_value(value).map_err(at("the resources are malformed"))
    }

    fn of_options(&self) -> Value {
        let section = |pairs: Vec<(&str, Option<Value>)>| {
            let given = pairs
                .into_iter()
                .filter_map(|(k, v)| Some((k.to_owned(), v?)));
            Value::Object(given.collect::<Map<_, _>>())
        };
        fn some<T: Into<Value> + Clone>(v: &Option<T>) -> Option<Value> {
            v.clone().map(Into::into)
        }
        let mut all = json!({
            "memory": section(vec![
                ("limit", some(&self.memory)),
                ("reservation", some(&self.memory_reservation)),
                ("swap", some(&self.memory_swap)),
            ]),
            "cpu": section(vec![
                ("period", some(&self.cpu_period)),
                ("quota", some(&self.cpu_quota)),
                ("shares", some(&self.cpu_share)),
                ("cpus", some(&self.cpuset_cpus)),
                ("mems", some(&self.cpuset_mems)),
            ]),
            "blockIO": section(vec![("weight", some(&self.blkio_weight))]),
        });
        if let (Some(limit), Some(map)) = (self.pids_limit, all.as_object_mut()) {
            map.insert("pids".into(), json!({ "limit": limit }));
        }
        all
    }
}

/// Bytes, also with k, m, g, t behind; -1 is no limit.
fn size(text: &str) -> std::result::Result<i64, String> {
    match text.parse() {
        Ok(bytes) => Ok(bytes),
        Err(_) => {
            let bytes = options::bytes(text)?;
            i64::try_from(bytes).map_err(|_| format!("'{text}' is too much"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test ends where it fails
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        assert_eq!(size("-1"), Ok(-1));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("67108864"), Ok(64 << 20));
        assert_eq!(size("64m"), Ok(64 << 20));
        assert!(size("64x").unwrap_err().contains("'64x'"));
    }
}
