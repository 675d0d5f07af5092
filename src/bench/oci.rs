//! Bundles for other OCI runtimes, as like to what `cofferdam do` shows a program as can be: the host's system directories
//! and the current directory read-only, an empty `/tmp` and `/dev/shm`, namespaces of its own.

use super::Result;
use crate::workload::scratch::Scratch;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a program needs of the host.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt",
];
/// Mount points besides.
const POINTS: &[&str] = &["proc", "dev", "tmp", "sys"];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A bundle for this command line, and an id for the container. `bind`: a file of the host, and where it is inside.
///
/// # Errors
/// It cannot be written, or the command line is not text.
pub fn bundle(argv: &[OsString], bind: Option<(&Path, &Path)>) -> Result<(Scratch, String)> {
    let failed = |e: std::io::Error| format!("cannot make an OCI bundle: {e}");
    let dir = Scratch::new().map_err(failed)?;
    let root = dir.path("rootfs");
    let mut mounts = Mounts::default();
    let fill = |mounts: &mut Mounts| -> std::io::Result<()> {
        fs::create_dir(&root)?;
        for point in POINTS {
            fs::create_dir(root.join(point))?;
        }
        for host in SYSTEM.iter().map(Path::new) {
            let inside = root.join(host.strip_prefix("/").unwrap_or(host));
            match host.symlink_metadata() {
                Ok(m) if m.is_symlink() => symlink(fs::read_link(host)?, inside)?,
                Ok(_) => {
                    fs::create_dir(inside)?;
                    mounts.bind(host, host);
                }
                Err(_) => {}
            }
        }
        let here = std::env::current_dir()?;
        let shown = here == Path::new("/") || SYSTEM.iter().any(|s| here.starts_with(s));
        if !shown {
            fs::create_dir_all(root.join(here.strip_prefix("/").unwrap_or(&here)))?;
            mounts.bind(&here, &here);
        }
        if let Some((host, inside)) = bind {
            fs::write(root.join(inside.strip_prefix("/").unwrap_or(inside)), "")?;
            mounts.bind(host, inside);
        }
        let config = config(argv, &here, &mounts.0)?;
        fs::write(dir.path("config.json"), config.to_string())
    };
    fill(&mut mounts).map_err(failed)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = format!("cofferdam-bench-{}-{number}", std::process::id());
    Ok((dir, id))
}

struct Mounts(Vec<Value>);

impl Default for Mounts {
    fn default() -> Mounts {
        let fresh = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
        Mounts(vec![
            fresh("/proc", "proc", &[]),
            fresh(
                "/dev",
                "tmpfs",
                &["nosuid", "strictatime", "mode=755", "size=65536k"],
            ),
            fresh("/dev/shm", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
            fresh("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
        ])
    }
}

impl Mounts {
    fn bind(&mut self, host: &Path, inside: &Path) {
        self.0.push(json!({
            "destination": inside, "type": "bind", "source": host, "options": ["rbind", "ro"],
        }));
    }
}

fn config(argv: &[OsString], cwd: &Path, mounts: &[Value]) -> std::io::Result<Value> {
    let text = |s: &OsString| {
        let text = s.to_str().map(str::to_owned);
        text.ok_or_else(|| std::io::Error::other("the command line is not UTF-8"))
    };
    let args: Vec<String> = argv.iter().map(text).collect::<std::io::Result<_>>()?;
    // Variables that are not text are of no use to a benchmark.
    let env: Vec<String> = std::env::vars_os()
        .filter_map(|(k, v)| Some(format!("{}={}", k.to_str()?, v.to_str()?)))
        .collect();
    let mut namespaces: Vec<Value> = ["pid", "mount", "ipc", "uts", "network"]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    let mut linux = json!({});
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if !uid.is_root() {
        namespaces.push(json!({ "type": "user" }));
        linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid.as_raw(), "size": 1 }]);
        linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid.as_raw(), "size": 1 }]);
    }
    linux["namespaces"] = json!(namespaces);
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": args, "env": env, "cwd": cwd,
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "cofferdam",
        "mounts": mounts,
        "linux": linux,
    }))
}
