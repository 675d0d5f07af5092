//! containerd as a kubelet uses it: a pod by the container runtime interface, with Cofferdam as its runtime handler.

use super::common::{COFFERDAM, run};
use super::image::{Client, Daemon, LIMIT, ready, scratch};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const IMAGE: &str = "docker.io/library/bb:1";

/// Debian's, which has Debian's modules.
const PYTHON: &str = "/usr/bin/python3";

#[test]
fn kubernetes() {
    pod("cri", None);
}

/// As on nodes whose kubelet has `cgroupDriver: systemd`.
#[test]
fn kubernetes_with_systemd() {
    if !Path::new("/run/systemd/system").is_dir() {
        eprintln!("skipped: needs systemd as the host's init");
        return;
    }
    pod("cri-systemd", Some("kubepods-besteffort-podtest.slice"));
}

fn pod(name: &str, slice: Option<&str>) {
    if !ready(&["containerd", "ctr", "containerd-shim-runc-v2", "busybox"]) {
        return;
    }
    let grpc = Command::new(PYTHON).args(["-c", "import grpc"]).status();
    if !grpc.is_ok_and(|s| s.success()) {
        eprintln!("skipped: needs python3-grpcio");
        return;
    }
    let dir = scratch(name);
    let at = |name: &str| dir.join(name).display().to_string();
    std::fs::write(
        dir.join("config.toml"),
        configuration(&dir, slice.is_some()),
    )
    .unwrap();
    let client = Client {
        prefix: ["/usr/bin/ctr", "-a", &at("sock"), "-n", "k8s.io"]
            .map(str::to_owned)
            .to_vec(),
    };
    let program = ["/usr/bin/containerd", "--config", &at("config.toml")];
    let archive = docker_archive(&dir);
    std::fs::create_dir(dir.join("logs")).unwrap();
    let d = Daemon::start(&program, client, &["version"], dir.clone());
    d.client.ok(&["images", "import", &archive]);
    let mut kubelet = Command::new(PYTHON);
    kubelet
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/cri.py"))
        .args([&at("sock"), "cofferdam", IMAGE, &at("logs")])
        .args(slice);
    let o = run(kubelet, b"", LIMIT);
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    assert_eq!(o.status, 0, "{o:?}\n{log}");
    assert!(o.stdout.ends_with("all is gone\n"), "{o:?}");
}

fn configuration(dir: &Path, systemd: bool) -> String {
    let at = |name: &str| dir.join(name);
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n\
         [{cri}]\nsandbox_image = {IMAGE:?}\ndisable_apparmor = true\nstream_server_address = \"127.0.0.1\"\n\
         [{cri}.cni]\nbin_dir = {:?}\nconf_dir = {:?}\n\
         [{cri}.containerd]\nsnapshotter = \"native\"\ndefault_runtime_name = \"cofferdam\"\n\
         [{cri}.containerd.runtimes.cofferdam]\nruntime_type = \"io.containerd.runc.v2\"\n\
         [{cri}.containerd.runtimes.cofferdam.options]\nBinaryName = {COFFERDAM:?}\nSystemdCgroup = {systemd}\n",
        at("root"),
        at("state"),
        at("sock"),
        at("cni"),
        at("cni"),
    )
}

/// The image as `docker save` would write it; it stands for the pause image too.
fn docker_archive(dir: &Path) -> String {
    let layer = dir.join("image.tar");
    let sum = Command::new("sha256sum").arg(&layer).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let digest = sum.split(' ').next().unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Entrypoint": ["sleep", "100000"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["image.tar"] }]);
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    std::fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
    let archive = dir.join("archive.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(dir)
        .arg("-cf")
        .arg(&archive)
        .args(["manifest.json", "config.json", "image.tar"])
        .status();
    assert!(packed.unwrap().success());
    archive.display().to_string()
}
