//! Containers' control groups as systemd's scopes (`--systemd-cgroup`; systemd.scope(5), org.freedesktop.systemd1(5)).
//!
//! systemd makes a scope around a process that exists, the monitor, and removes it when nothing is left in it. The scope is
//! delegated: below it, and for limits that systemd has no word for, we write the control files ourselves. What it does have a
//! word for it is told as well, or it would undo it when it next looks.

use super::dbus::{Body, Bus, Reader, Target};
use super::resources::{self, OWN_TASKS};
use super::{Version, hierarchy};
use crate::container::{Error, Result};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use std::env;
use std::path::{Path, PathBuf};

const MANAGER: Target<'_> = Target {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// A transient scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `prefix-name.scope`.
    pub unit: String,
    /// The unit above it.
    pub slice: String,
    /// The user's own systemd has it, not the system's.
    pub user: bool,
}

/// A unit's property.
#[derive(Debug, PartialEq, Eq)]
struct Property(&'static str, Value);

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    Pids(Vec<u32>),
    Bits(Vec<u8>),
}

/// No limit.
const NONE: u64 = u64::MAX;

impl Scope {
    /// Of a `cgroupsPath`: `slice:prefix:name`, or nothing.
    ///
    /// # Errors
    /// It is something else, or there is no systemd.
    pub fn parse(given: &str, id: &str, user: bool) -> Result<Scope> {
        if !user && !Path::new("/run/systemd/system").is_dir() {
            return Err(Error::Other(
                "systemd not running on this host, cannot use systemd cgroups manager; leave --systemd-cgroup out \
                 (Docker: native.cgroupdriver=cgroupfs)"
                    .into(),
            ));
        }
        let (slice, unit) = hierarchy::scope_of(given, id, user)?;
        Ok(Scope { unit, slice, user })
    }

    /// Where its group is, from the top of the hierarchy.
    ///
    /// # Errors
    /// systemd does not say where its own is.
    pub fn path(&self) -> Result<String> {
        let below = format!("{}/{}", hierarchy::slice_path(&self.slice)?, self.unit);
        if !self.user {
            return Ok(below);
        }
        let mut bus = self.bus()?;
        let mut body = Body::default();
        body.string(MANAGER.interface);
        body.string("ControlGroup");
        let properties = Target {
            interface: "org.freedesktop.DBus.Properties",
            ..MANAGER
        };
        let answer = bus
            .call(properties, "Get", "ss", body)?
            .map_err(|e| Error::Other(format!("systemd's own control group: {e}")))?;
        let mut r = Reader::new(&answer);
        let own = match r.signature() {
            Some("s") => r.string(),
            _ => None,
        };
        let own = own.ok_or(Error::Other("systemd's own control group: no text".into()))?;
        Ok(format!("{}{below}", own.trim_end_matches('/')))
    }

    fn bus(&self) -> Result<Bus> {
        let mut first = None;
        for (path, routed) in sockets(self.user) {
            match Bus::connect(&path, routed) {
                Ok(mut bus) => {
                    bus.listen_to(MANAGER.interface)?;
                    return Ok(bus);
                }
                Err(e) => {
                    first.get_or_insert(e);
                }
            }
        }
        Err(first.unwrap_or(Error::Other(
            "no systemd of this user to be found: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set".into(),
        )))
    }

    /// Makes it, around a process.
    ///
    /// # Errors
    /// What systemd says.
    pub fn start(
        &self,
        pid: u32,
        id: &str,
        version: Version,
        limits: Option<&LinuxResources>,
    ) -> Result<()> {
        let mut properties = vec![
            Property(
                "Description",
                Value::Text(format!("cofferdam container {id}")),
            ),
            Property("Slice", Value::Text(self.slice.clone())),
            Property("PIDs", Value::Pids(vec![pid])),
            Property("Delegate", Value::Bool(true)),
            Property("DefaultDependencies", Value::Bool(false)),
        ];
        for kind in [
            "MemoryAccounting",
            "CPUAccounting",
            "IOAccounting",
            "TasksAccounting",
        ] {
            properties.push(Property(kind, Value::Bool(true)));
        }
        if let Some(limits) = limits {
            properties.extend(translate(version, limits));
        }
        let mut bus = self.bus()?;
        // One that failed stays until somebody has noticed.
        let mut failed = Body::default();
        failed.string(&self.unit);
        let _ = bus.call(MANAGER, "ResetFailedUnit", "s", failed)?;
        let mut body = Body::default();
        body.string(&self.unit);
        body.string("replace");
        put(&mut body, &properties);
        body.array(8, |_| ());
        self.job(&mut bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)
    }

    /// Changes limits.
    ///
    /// # Errors
    /// What systemd says.
    pub fn set(&self, version: Version, limits: &LinuxResources) -> Result<()> {
        let properties = translate(version, limits);
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Body::default();
        body.string(&self.unit);
        // Until it ends.
        body.bool(true);
        put(&mut body, &properties);
        self.bus()?
            .call(MANAGER, "SetUnitProperties", "sba(sv)", body)?
            .map_err(|e| Error::Other(format!("systemd does not limit {}: {e}", self.unit)))?;
        Ok(())
    }

    /// Ends it; none is left if it has ended by itself.
    ///
    /// # Errors
    /// systemd does not answer.
    pub fn stop(&self) -> Result<()> {
        let mut bus = self.bus()?;
        let mut body = Body::default();
        body.string(&self.unit);
        body.string("replace");
        // It may be gone.
        if let Err(e) = self.job(&mut bus, "StopUnit", "ss", body) {
            log::debug!("{e}");
        }
        let mut body = Body::default();
        body.string(&self.unit);
        let _ = bus.call(MANAGER, "ResetFailedUnit", "s", body)?;
        Ok(())
    }

    /// Calls a method that makes a job of it, and waits until that is done.
    fn job(&self, bus: &mut Bus, method: &str, signature: &str, body: Body) -> Result<()> {
        // Without somebody who subscribed, systemd tells a bus nothing.
        let _ = bus.call(MANAGER, "Subscribe", "", Body::default())?;
        let refused = |e: &dyn std::fmt::Display| {
            Error::Other(format!("systemd: {method} of {}: {e}", self.unit))
        };
        let answer = bus
            .call(MANAGER, method, signature, body)?
            .map_err(|e| refused(&e))?;
        let job = Reader::new(&answer).string();
        let job = job.ok_or_else(|| refused(&"no job"))?;
        let result = bus.await_signal("JobRemoved", |mut r| {
            r.u32()?;
            let this = r.string()? == job;
            r.string()?;
            this.then(|| r.string().map(str::to_owned)).flatten()
        })?;
        match result.as_str() {
            "done" => Ok(()),
            other => Err(refused(&format_args!("the job is {other}"))),
        }
    }
}

/// Where systemd may listen, and whether that is by way of a bus; the best first.
fn sockets(user: bool) -> Vec<(PathBuf, bool)> {
    let bus_in = |name: &str| {
        let address = env::var(name).ok()?;
        // Of several addresses the first that is a path.
        let path = address
            .split(';')
            .find_map(|a| a.strip_prefix("unix:path="))?;
        Some(PathBuf::from(path.split(',').next()?))
    };
    let mut all = Vec::new();
    if user {
        all.extend(bus_in("DBUS_SESSION_BUS_ADDRESS").map(|p| (p, true)));
        if let Some(dir) = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            all.push((dir.join("bus"), true));
            all.push((dir.join("systemd/private"), false));
        }
    } else {
        let bus = bus_in("DBUS_SYSTEM_BUS_ADDRESS");
        all.push((
            bus.unwrap_or_else(|| "/run/dbus/system_bus_socket".into()),
            true,
        ));
        all.push(("/run/systemd/private".into(), false));
    }
    all
}

fn put(body: &mut Body, properties: &[Property]) {
    body.array(8, |body| {
        for Property(name, value) in properties {
            body.structure();
            body.string(name);
            match value {
                Value::Bool(b) => {
                    body.signature("b");
                    body.bool(*b);
                }
                Value::Number(n) => {
                    body.signature("t");
                    body.u64(*n);
                }
                Value::Text(t) => {
                    body.signature("s");
                    body.string(t);
                }
                Value::Pids(pids) => {
                    body.signature("au");
                    body.array(4, |b| pids.iter().for_each(|p| b.u32(*p)));
                }
                Value::Bits(bits) => {
                    body.signature("ay");
                    body.bytes(bits);
                }
            }
        }
    });
}

/// -1 is no limit.
fn amount(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(NONE)
}

/// What systemd has a word for.
fn translate(version: Version, limits: &LinuxResources) -> Vec<Property> {
    let mut out = Vec::new();
    let mut number = |name, n| out.push(Property(name, Value::Number(n)));
    let v2 = version == Version::V2;
    if let Some(m) = limits.memory() {
        if let Some(limit) = m.limit().filter(|n| *n != 0) {
            number(if v2 { "MemoryMax" } else { "MemoryLimit" }, amount(limit));
        }
        if v2 {
            if let Some(low) = m.reservation().filter(|n| *n != 0) {
                number("MemoryLow", amount(low));
            }
            if let Some(swap) = resources::swap_alone(m) {
                number("MemorySwapMax", amount(swap));
            }
        }
    }
    if let Some(c) = limits.cpu() {
        if let Some(shares) = c.shares().filter(|n| *n != 0) {
            if v2 {
                number("CPUWeight", resources::weight(shares));
            } else {
                number("CPUShares", shares);
            }
        }
        let period = c.period().filter(|n| *n != 0);
        if let Some(quota) = c.quota().filter(|n| *n != 0) {
            number("CPUQuotaPerSecUSec", per_second(quota, period));
        }
        if let Some(period) = period {
            number("CPUQuotaPeriodUSec", period);
        }
    }
    if let Some(p) = limits.pids() {
        let most = match p.limit() {
            n if n > 0 => amount(n.saturating_add(OWN_TASKS)),
            _ => NONE,
        };
        number("TasksMax", most);
    }
    if v2 {
        if let Some(c) = limits.cpu() {
            for (name, list) in [("AllowedCPUs", c.cpus()), ("AllowedMemoryNodes", c.mems())] {
                if let Some(bits) = list.as_deref().and_then(bits) {
                    out.push(Property(name, Value::Bits(bits)));
                }
            }
        }
        for (file, value) in limits.unified().iter().flatten() {
            out.extend(of_file(file, value.trim()));
        }
    }
    out
}

/// Microseconds of processor time in a second, in steps of the hundredths that systemd counts in, upwards.
fn per_second(quota: i64, period: Option<u64>) -> u64 {
    let Ok(quota) = u64::try_from(quota) else {
        return NONE;
    };
    let period = period.unwrap_or(100_000).max(1);
    let exact = quota.saturating_mul(1_000_000) / period;
    exact.checked_next_multiple_of(10_000).unwrap_or(NONE)
}

/// A control file of version 2 by name; those without a word of systemd's are only written.
fn of_file(file: &str, value: &str) -> Vec<Property> {
    let bytes = |name: &'static str| {
        let n = if value == "max" {
            Some(NONE)
        } else {
            value.parse().ok()
        };
        n.map(|n| vec![Property(name, Value::Number(n))])
            .unwrap_or_default()
    };
    match file {
        "memory.max" => bytes("MemoryMax"),
        "memory.high" => bytes("MemoryHigh"),
        "memory.low" => bytes("MemoryLow"),
        "memory.min" => bytes("MemoryMin"),
        "memory.swap.max" => bytes("MemorySwapMax"),
        "pids.max" => bytes("TasksMax"),
        "cpu.weight" => bytes("CPUWeight"),
        "cpuset.cpus" | "cpuset.mems" => {
            let name = if file == "cpuset.cpus" {
                "AllowedCPUs"
            } else {
                "AllowedMemoryNodes"
            };
            let bits = bits(value).map(|b| vec![Property(name, Value::Bits(b))]);
            bits.unwrap_or_default()
        }
        "cpu.max" => {
            let (quota, period) = value.split_once(' ').unwrap_or((value, ""));
            let period = period.trim().parse().ok();
            let quota = quota.parse().unwrap_or(-1);
            let mut all = vec![Property(
                "CPUQuotaPerSecUSec",
                Value::Number(per_second(quota, period)),
            )];
            all.extend(period.map(|p| Property("CPUQuotaPeriodUSec", Value::Number(p))));
            all
        }
        _ => vec![],
    }
}

/// A list as `0-2,5`, as bytes whose lowest bit is the first processor. `None` for what is no list: the file's write says so.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// More than any kernel's.
    const MOST: usize = 8192;
    let mut bytes = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        if to >= MOST {
            return None;
        }
        for n in from..=to {
            if bytes.len() <= n / 8 {
                bytes.resize(n / 8 + 1, 0_u8);
            }
            *bytes.get_mut(n / 8)? |= 1 << (n % 8);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test ends where it fails
mod tests {
    use super::*;

    fn of(version: Version, json: &str) -> Vec<(&'static str, Value)> {
        let limits: LinuxResources = serde_json::from_str(json).unwrap();
        let all = translate(version, &limits).into_iter();
        all.map(|p| (p.0, p.1)).collect()
    }

    #[test]
    fn limits_have_systemds_names() {
        let json = r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":4096},
            "cpu":{"shares":1024,"quota":33333,"period":50000,"cpus":"0-1,9","mems":"0"},"pids":{"limit":100}}"#;
        let v2 = [
            ("MemoryMax", Value::Number(1 << 20)),
            ("MemoryLow", Value::Number(4096)),
            ("MemorySwapMax", Value::Number(1 << 20)),
            ("CPUWeight", Value::Number(39)),
            ("CPUQuotaPerSecUSec", Value::Number(670_000)),
            ("CPUQuotaPeriodUSec", Value::Number(50_000)),
            ("TasksMax", Value::Number(228)),
            ("AllowedCPUs", Value::Bits(vec![3, 2])),
            ("AllowedMemoryNodes", Value::Bits(vec![1])),
        ];
        assert_eq!(of(Version::V2, json), v2);
        let v1 = of(Version::V1, json);
        assert_eq!(v1[0], ("MemoryLimit", Value::Number(1 << 20)));
        assert_eq!(v1[1], ("CPUShares", Value::Number(1024)));
        assert!(v1.iter().all(|(n, _)| !n.starts_with("Allowed")));
        let none = r#"{"memory":{"limit":-1,"swap":-1},"cpu":{"quota":-1},"pids":{"limit":-1}}"#;
        let none = of(Version::V2, none);
        assert_eq!(none.len(), 4);
        assert!(none.iter().all(|(_, v)| *v == Value::Number(NONE)));
    }

    #[test]
    fn control_files_have_too() {
        let json = r#"{"unified":{"cpu.max":"max 20000","memory.high":"max","hugetlb.2MB.max":"0","cpuset.cpus":"x"}}"#;
        let mut all = of(Version::V2, json);
        all.sort_by_key(|(name, _)| *name);
        assert_eq!(
            all,
            [
                ("CPUQuotaPerSecUSec", Value::Number(NONE)),
                ("CPUQuotaPeriodUSec", Value::Number(20_000)),
                ("MemoryHigh", Value::Number(NONE)),
            ]
        );
        assert_eq!(bits("3-1"), None);
        assert_eq!(bits("0-99999999"), None);
        assert_eq!(bits("7,8"), Some(vec![0x80, 1]));
    }
}
