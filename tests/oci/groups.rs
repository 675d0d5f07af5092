//! Control groups that are somebody else's.

use super::bundle::bundle;
use serde_json::json;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A process of the host in a control group, which goes when this does.
struct Stranger {
    process: Child,
    dirs: Vec<PathBuf>,
}

impl Stranger {
    fn new(name: &str) -> Stranger {
        let process = Command::new("sleep").arg("1000").spawn().unwrap();
        // Version 2, or each hierarchy of version 1.
        let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
        let below = std::fs::read_dir("/sys/fs/cgroup").unwrap();
        roots.extend(below.flatten().map(|e| e.path()));
        let mut dirs = Vec::new();
        for root in roots.iter().filter(|r| r.join("cgroup.procs").exists()) {
            let dir = root.join(name);
            let pid = process.id().to_string();
            if std::fs::create_dir(&dir).is_ok() {
                let _ = std::fs::write(dir.join("cgroup.procs"), &pid);
                dirs.push(dir);
            }
            // Version 2: what is below the root is no hierarchy of its own.
            if root.ends_with("/sys/fs/cgroup") {
                break;
            }
        }
        Stranger { process, dirs }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for dir in &self.dirs {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// All in a container's group end with the container: a group with somebody in it is refused, as runc does.
#[test]
fn a_control_group_with_others_in_it_is_refused() {
    let Some(mut b) = bundle("true") else { return };
    let name = format!("{}-stranger", b.id);
    let mut stranger = Stranger::new(&name);
    b.config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
    let o = b.run();
    assert_eq!(o.status, 1, "{o:?}");
    assert!(
        o.stderr.contains("container's cgroup is not empty"),
        "{o:?}"
    );
    b.call(&["delete", "--force", &b.id]);
    assert!(
        stranger.process.try_wait().unwrap().is_none(),
        "it was killed"
    );
}
