//! What config.json asks for.

use super::bundle::{Bundle, bundle};
use serde_json::json;

/// Standard output of a run that must succeed.
fn out(b: &Bundle) -> String {
    let o = b.run();
    assert_eq!(o.status, 0, "{o:?}");
    o.stdout
}

#[test]
fn process_settings() {
    let Some(mut b) = bundle(
        "id -u; id -g; id -G; pwd; echo $A:$HOME; ulimit -n; ulimit -Hn; grep -E 'Cap(Eff|Bnd)|NoNew' /proc/self/status; hostname; cat /proc/sys/kernel/domainname; cat /proc/self/oom_score_adj; umask",
    ) else {
        return;
    };
    b.config["process"]["user"] =
        json!({"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 63});
    b.config["process"]["cwd"] = json!("/made/for/it");
    b.config["process"]["env"] = json!(["PATH=/bin", "A=b"]);
    b.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    b.config["process"]["capabilities"] =
        json!({"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]});
    b.config["process"]["oomScoreAdj"] = json!(123);
    b.config["hostname"] = json!("named");
    b.config["domainname"] = json!("domain");
    let said = out(&b);
    assert_eq!(
        said,
        "7\n8\n8 9 10\n/made/for/it\nb:/home/bob\n100\n200\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000001\nNoNewPrivs:\t1\nnamed\ndomain\n123\n0077\n"
    );
}

#[test]
fn writes_reach_the_root_unless_it_is_read_only_or_in_memory() {
    let Some(mut b) = bundle("echo x > /new; chown 5:6 /new; chmod 4755 /new; rm /etc/passwd")
    else {
        return;
    };
    b.config["process"]["capabilities"]["effective"] =
        json!(["CAP_CHOWN", "CAP_FOWNER", "CAP_FSETID"]);
    for set in ["bounding", "permitted"] {
        b.config["process"]["capabilities"][set] =
            b.config["process"]["capabilities"]["effective"].clone();
    }
    out(&b);
    let new = std::fs::metadata(b.dir.join("rootfs/new")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((new.uid(), new.gid(), new.mode() & 0o7777), (5, 6, 0o4755));
    assert!(!b.dir.join("rootfs/etc/passwd").exists());
    b.config["process"]["args"] = json!(["sh", "-c", "echo y > /second; cat /second"]);
    let o = super::common::run(
        b.command(&["--overlay", "memory", "run", &b.id]),
        b"",
        super::bundle::LIMIT,
    );
    assert!(o.status == 0 || !b.dir.join("rootfs/second").exists());
    b.save();
    let o = super::common::run(
        b.command(&["--overlay", "memory", "run", &b.id]),
        b"",
        super::bundle::LIMIT,
    );
    assert_eq!((o.status, o.stdout.as_str()), (0, "y\n"), "{o:?}");
    assert!(!b.dir.join("rootfs/second").exists());
    b.config["root"]["readonly"] = json!(true);
    let o = b.run();
    assert!(
        o.status != 0 && o.stderr.contains("Read-only file system"),
        "{o:?}"
    );
}

#[test]
fn mounts() {
    let Some(mut b) = bundle(
        "echo in > /v/new; cat /v/old; echo x 2>/dev/null > /ro/new; echo $?; cat /file; dd if=/dev/zero of=/t/big bs=1024k count=2 2>/dev/null; echo $?; stat -c %a /t; grep -c . /proc/self/mountinfo > /dev/null && ls /sys > /dev/null && echo fine; grep ' /t ' /proc/mounts",
    ) else {
        return;
    };
    for d in ["vol", "ro"] {
        std::fs::create_dir(b.dir.join(d)).unwrap();
        std::fs::write(b.dir.join(d).join("old"), "old\n").unwrap();
    }
    b.mount(
        json!({"destination": "/v", "type": "bind", "source": "vol", "options": ["rbind", "rw"]}),
    );
    b.mount(
        json!({"destination": "/ro", "type": "bind", "source": "ro", "options": ["bind", "ro"]}),
    );
    b.mount(json!({"destination": "/file", "type": "bind", "source": "vol/old", "options": ["bind", "ro"]}));
    b.mount(json!({"destination": "/t", "type": "tmpfs", "source": "named", "options": ["nosuid", "noexec", "size=1m", "mode=750"]}));
    let said = out(&b);
    assert!(
        said.starts_with("old\n1\nold\n1\n750\nfine\nnamed /t tmpfs rw,nosuid,noexec"),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(b.dir.join("vol/new")).unwrap(),
        "in\n"
    );
}

/// As `-v /dev/null:FILE` hides a file, and as a device is asked for outside of /dev.
#[test]
fn memory_devices_are_shown_at_any_place() {
    let Some(mut b) = bundle(
        "wc -c < /secret; wc -c < /vol/secret; wc -c < /new; head -c 3 /zero | wc -c; ls -l /secret /zero /dev/null | cut -c 1",
    ) else {
        return;
    };
    std::fs::create_dir(b.dir.join("vol")).unwrap();
    for file in ["rootfs/secret", "vol/secret"] {
        std::fs::write(b.dir.join(file), "secret").unwrap();
    }
    b.mount(
        json!({"destination": "/vol", "type": "bind", "source": "vol", "options": ["bind", "ro"]}),
    );
    for place in ["/secret", "/vol/secret", "/new", "/dev/null"] {
        b.mount(json!({"destination": place, "type": "bind", "source": "/dev/null", "options": ["rbind", "ro"]}));
    }
    b.config["linux"]["devices"] =
        json!([{"path": "/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 438}]);
    assert_eq!(out(&b), "0\n0\n0\n3\nc\nc\nc\n");
    let hidden = std::fs::read_to_string(b.dir.join("rootfs/secret")).unwrap();
    assert_eq!(hidden, "secret");
}

#[test]
fn paths_are_hidden_and_write_protected() {
    let Some(mut b) = bundle(
        "cat /etc/passwd | wc -c; ls /tmp | wc -l; echo x 2>/dev/null > /keep/y; echo $?; echo x > /y; ls -l /dev/extra; cat /keep/f",
    ) else {
        return;
    };
    std::fs::write(b.dir.join("rootfs/tmp/secret"), "").unwrap();
    std::fs::create_dir(b.dir.join("rootfs/keep")).unwrap();
    std::fs::write(b.dir.join("rootfs/keep/f"), "kept\n").unwrap();
    b.config["linux"]["maskedPaths"] = json!(["/etc/passwd", "/tmp", "/no/such/path"]);
    b.config["linux"]["readonlyPaths"] = json!(["/keep", "/no/such/path"]);
    b.config["linux"]["devices"] = json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "fileMode": 384, "uid": 3, "gid": 4},
        {"path": "/dev/deep/down/zero", "type": "c", "major": 1, "minor": 5}]);
    let said = out(&b);
    assert!(said.starts_with("0\n0\n1\ncrw-------"), "{said}");
    assert!(said.ends_with("kept\n"), "{said}");
}

#[test]
fn seccomp_profiles_are_enforced_inside() {
    let Some(mut b) = bundle(
        "mkdir /made 2>/dev/null; echo $?; grep Seccomp: /proc/self/status; touch /touched; echo $?",
    ) else {
        return;
    };
    b.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    assert_eq!(out(&b), "1\nSeccomp:\t2\n0\n");
    assert!(!b.dir.join("rootfs/made").exists());
    b.config["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_KILL_PROCESS");
    b.config["process"]["args"] = json!(["mkdir", "/made"]);
    assert_eq!(b.run().status, 128 + 31);
    b.config["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_NOTIFY");
    let o = b.run();
    assert!(
        o.status == 1 && o.stderr.contains("SCMP_ACT_NOTIFY"),
        "{o:?}"
    );
}

#[test]
fn limits_are_kept_inside() {
    let Some(mut b) = bundle(
        "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; i=0; while test $i -lt 40; do sleep 5 & i=$((i+1)); done 2>&1; wait",
    ) else {
        return;
    };
    b.config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 20}});
    let o = b.run();
    assert!(o.stdout.starts_with("67108864\n20\n"), "{o:?}");
    assert!(
        o.stdout.contains("can't fork") || o.stderr.contains("can't fork"),
        "{o:?}"
    );
}

#[test]
fn the_network_is_an_unplugged_cable() {
    let Some(b) =
        bundle("cat /proc/net/dev | wc -l; ls /sys/class/net; ls /proc/1/root/etc | head -1")
    else {
        return;
    };
    let said = out(&b);
    assert!(said.starts_with("3\nlo\n"), "{said}");
}

#[test]
fn what_is_ignored_is_said_once() {
    let Some(mut b) = bundle("true") else { return };
    b.config["linux"]["sysctl"] = json!({"net.core.somaxconn": "9"});
    b.config["process"]["apparmorProfile"] = json!("docker-default");
    out(&b);
    let log = b.log();
    for words in ["net.core.somaxconn", "AppArmor"] {
        let lines = log
            .iter()
            .filter(|l| l["msg"].as_str().unwrap().contains(words));
        assert_eq!(lines.count(), 1, "{words}: {log:?}");
    }
    assert!(log.iter().all(|l| l["level"] == "warning"), "{log:?}");
}

#[test]
fn mapped_ids_are_the_containers_inside_and_the_hosts_outside() {
    use std::os::unix::fs::{MetadataExt, chown};
    let Some(mut b) = bundle(
        "echo x > /new; chown 5:6 /new; stat -c '%u %g' /new /etc/passwd /outside; id -u; cat /proc/self/uid_map /proc/self/gid_map",
    ) else {
        return;
    };
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    b.config["linux"]["uidMappings"] = map.clone();
    b.config["linux"]["gidMappings"] = map;
    let namespaces = b.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    let capabilities = json!(["CAP_CHOWN"]);
    for set in ["bounding", "effective", "permitted"] {
        b.config["process"]["capabilities"][set] = capabilities.clone();
    }
    let root = b.dir.join("rootfs");
    std::fs::write(root.join("outside"), "").unwrap();
    for path in ["", "etc", "etc/passwd"] {
        chown(root.join(path), Some(200_000), Some(200_000)).unwrap();
    }
    let said = out(&b);
    // What no id inside stands for is nobody's.
    let map = "         0     200000       1000\n";
    let expected = format!("5 6\n0 0\n65534 65534\n0\n{map}{map}");
    assert_eq!(said, expected);
    let made = std::fs::metadata(root.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (200_005, 200_006));
}

#[test]
fn message_queues_have_their_file_system() {
    let Some(b) = bundle(
        "grep mqueue /proc/mounts; stat -c %a /dev/mqueue; ls /dev/mqueue; cat /proc/sys/fs/mqueue/queues_max",
    ) else {
        return;
    };
    let said = out(&b);
    assert!(
        said.starts_with("mqueue /dev/mqueue mqueue rw,nosuid,nodev,noexec"),
        "{said}"
    );
    assert!(said.contains("\n1777\n"), "{said}");
}

#[test]
fn sysctls_that_are_modelled_are_set() {
    let Some(mut b) = bundle(
        "cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/domainname; nc -l -p 80 > /dev/null & sleep 0.3; echo | nc -w 2 127.0.0.1 80; echo $?",
    ) else {
        return;
    };
    b.config["process"]["user"] = json!({"uid": 7, "gid": 8});
    let sysctls = json!({"net.ipv4.ip_unprivileged_port_start": "80", "kernel.domainname": "d"});
    b.config["linux"]["sysctl"] = sysctls;
    assert_eq!(out(&b), "80\nd\n0\n");
    assert!(b.log().is_empty(), "{:?}", b.log());
}

#[test]
fn scheduling_is_as_asked() {
    let Some(mut b) = bundle("cut -d' ' -f19,40,41 /proc/self/stat; ionice") else {
        return;
    };
    b.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    b.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 3});
    assert_eq!(out(&b), "5 0 3\nbest-effort: prio 3\n");
    b.config["process"]["scheduler"]["nice"] = json!(50);
    let o = b.run();
    assert!(o.status == 1 && o.stderr.contains("nice 50"), "{o:?}");
}

/// Every way to change names and files of the host, in the gofer's jail.
#[test]
fn a_writable_root_is_really_changed() {
    let script = "set -e; cd /tmp; echo x > a; mv a b; mkdir d; mv b d/c; ln d/c e; ln -s e f; mkfifo p; \
        chmod 640 e; chown 0:0 e; truncate -s 3 e; touch -d '2001-02-03 04:05:06' e; sync; \
        echo y > g; mv g e2; mv -f e2 h; mkdir r; mv r s; rmdir s; rm p; stat -c %a:%u:%g:%s:%Y e; readlink f";
    let Some(mut b) = bundle(script) else { return };
    b.config["process"]["env"] = json!(["PATH=/bin", "TZ=UTC"]);
    for applet in [
        "mv", "ln", "mkfifo", "truncate", "sync", "rmdir", "readlink",
    ] {
        let at = b.dir.join("rootfs/bin").join(applet);
        if at.symlink_metadata().is_err() {
            std::os::unix::fs::symlink("busybox", at).unwrap();
        }
    }
    assert_eq!(out(&b), "640:0:0:3:981173106\ne\n");
    let mut names: Vec<String> = std::fs::read_dir(b.dir.join("rootfs/tmp"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["d", "e", "f", "h"]);
    let text = std::fs::read_to_string(b.dir.join("rootfs/tmp/d/c")).unwrap();
    assert_eq!(text, "x\n\0");
}

/// As Docker gives `--network host`, containerd what CNI has set up, and ip-netns(8) its names.
#[test]
fn namespaces_may_be_mounted_elsewhere() {
    let Some(mut b) = bundle("echo ran") else {
        return;
    };
    let path = b.dir.join("netns");
    std::fs::write(&path, "").unwrap();
    let command = |name: &str, args: &[&std::ffi::OsStr]| {
        let done = std::process::Command::new(name).args(args).output();
        done.is_ok_and(|o| o.status.success())
    };
    let option = format!("--net={}", path.display());
    if !command("unshare", &[option.as_ref(), "true".as_ref()]) {
        println!("skip: no network namespaces of one's own");
        return;
    }
    let mut run = |typ: &str| {
        b.config["linux"]["namespaces"] = json!([{"type": typ, "path": path}]);
        b.run()
    };
    let (good, bad) = (run("network"), run("ipc"));
    assert!(command("umount", &[path.as_ref()]));
    assert_eq!(
        (good.status, good.stdout.as_str()),
        (0, "ran\n"),
        "{good:?}"
    );
    assert_eq!((bad.status, bad.stdout.as_str()), (1, ""), "{bad:?}");
    assert!(bad.stderr.contains("netns is not of type ipc"), "{bad:?}");
}

/// What cannot be given is said before anything is made.
#[test]
fn what_cannot_be_is_refused() {
    let Some(mut b) = bundle("echo ran") else {
        return;
    };
    let good = b.config.clone();
    let mut refused = |change: &dyn Fn(&mut Bundle), sentence: &str| {
        b.config = good.clone();
        change(&mut b);
        let o = b.run();
        assert_eq!((o.status, o.stdout.as_str()), (1, ""), "{o:?}");
        assert!(o.stderr.contains(sentence), "{o:?}");
    };
    refused(
        &|b| {
            let limit = json!([{"type": "RLIMIT_NOFILE", "soft": u64::MAX, "hard": u64::MAX}]);
            b.config["process"]["rlimits"] = limit;
        },
        "error setting rlimits for RLIMIT_NOFILE: operation not permitted",
    );
    refused(
        &|b| {
            b.config["process"]["capabilities"] =
                json!({"bounding": ["CAP_CHOWN"], "inheritable": ["CAP_KILL"]});
        },
        "unable to apply caps: operation not permitted",
    );
    refused(
        &|b| {
            let fifo = b.dir.join("fifo");
            nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
            b.config["linux"]["namespaces"] = json!([{"type": "network", "path": fifo}]);
        },
        "fifo is not of type net",
    );
    refused(
        &|b| {
            let proc = b.dir.join("rootfs/proc");
            std::fs::remove_dir(&proc).unwrap();
            std::os::unix::fs::symlink("tmp", proc).unwrap();
        },
        "must be mounted on ordinary directory",
    );
}

#[test]
fn kernel_file_systems_that_are_bound_are_the_sandboxs_own() {
    let script = "cat /k/1/comm; ls /s/class/net; cat /c/memory.max";
    let Some(mut b) = bundle(script) else { return };
    for (source, target) in [("/proc", "/k"), ("/sys", "/s")] {
        b.mount(json!({"type": "none", "source": source, "destination": target, "options": ["rbind", "ro"]}));
    }
    let groups = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
    let group = groups
        .iter()
        .find(|g| std::path::Path::new(g).join("cgroup.procs").exists());
    b.mount(json!({"type": "bind", "source": group, "destination": "/c", "options": ["rbind"]}));
    assert_eq!(out(&b), "sh\nlo\nmax\n");
}
