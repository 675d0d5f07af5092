//! Images to import, engines of the test's own, and what is missing on this machine.

use super::common::{Outcome, run};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For anything.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Whether all programs are there and this is root; says what is missing.
pub fn ready(programs: &[&str]) -> bool {
    let found = |name: &str| {
        ["/usr/bin", "/usr/sbin", "/bin"]
            .iter()
            .any(|d| Path::new(d).join(name).exists())
    };
    let missing: Vec<&&str> = programs.iter().filter(|p| !found(p)).collect();
    if !missing.is_empty() || !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root and {missing:?}");
        return false;
    }
    true
}

/// A directory of this test's own, with `image.tar` in it.
pub fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("cofferdam-{name}-{}", std::process::id()));
    let tree = dir.join("tree");
    for sub in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(tree.join(sub)).unwrap();
    }
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "cat", "echo", "id", "ls", "sleep", "true", "mount", "rm", "hostname", "env", "tty",
        "mkdir", "chown", "awk", "stty", "uname",
    ] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
    std::fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(dir.join("image.tar"))
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    dir
}

/// An engine's client with its own arguments.
pub struct Client {
    /// The program and what comes before each command.
    pub prefix: Vec<String>,
}

impl Client {
    /// Runs a command.
    pub fn call(&self, args: &[&str]) -> Outcome {
        let mut c = Command::new(&self.prefix[0]);
        c.args(&self.prefix[1..]).args(args);
        run(c, b"", LIMIT)
    }

    /// One that must succeed; what it prints, trimmed.
    pub fn ok(&self, args: &[&str]) -> String {
        let o = self.call(args);
        assert_eq!(o.status, 0, "{args:?}: {o:?}");
        o.stdout.trim().to_owned()
    }

    /// One with this exit status; what it prints on both streams.
    pub fn fails(&self, status: i32, args: &[&str]) -> String {
        let o = self.call(args);
        assert_eq!(o.status, status, "{args:?}: {o:?}");
        o.stdout + &o.stderr
    }

    /// Waits until a container has printed this.
    pub fn await_log(&self, container: &str, text: &str) {
        eventually(text, || self.ok(&["logs", container]).contains(text));
    }
}

/// Waits for something that takes its time.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    while !is() {
        assert!(Instant::now() < until, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A daemon that ends with the test, and its directory with it.
pub struct Daemon {
    child: Child,
    /// For its clients.
    pub client: Client,
    /// All that it keeps.
    pub dir: PathBuf,
}

impl Daemon {
    /// Starts `program` and waits until a client's `probe` succeeds.
    pub fn start(program: &[&str], client: Client, probe: &[&str], dir: PathBuf) -> Daemon {
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(program[0])
            .args(&program[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let d = Daemon { child, client, dir };
        let until = Instant::now() + LIMIT;
        while d.client.call(probe).status != 0 {
            let said = std::fs::read_to_string(d.dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "{program:?} does not start: {said}");
            std::thread::sleep(Duration::from_millis(100));
        }
        d
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// An archive of Debian as debootstrap makes it from this machine's own mirror, kept from one run to the next; `None`, with a
/// word, where that does not work.
pub fn debootstrap() -> Option<String> {
    const PATIENCE: Duration = Duration::from_secs(600);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let archive = dir.join("debootstrap.tar");
    if archive.exists() {
        return Some(archive.display().to_string());
    }
    let word = |what: &str| {
        eprintln!("skipped: no debootstrap ({what})");
        None
    };
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|l| l.strip_prefix("VERSION_CODENAME="));
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(RELEASE) $(SITE)"]);
    targets.arg("Created-By: Packages");
    let Ok(targets) = targets.output() else {
        return word("no apt");
    };
    let targets = String::from_utf8_lossy(&targets.stdout).into_owned();
    let mut sites = targets.lines().filter_map(|l| l.split_once(' '));
    let site = sites.find(|(release, _)| Some(*release) == codename);
    let (Some(codename), Some((_, mirror))) = (codename, site) else {
        return word("no mirror of this release");
    };
    let tree = dir.join("debootstrap");
    // What an interrupted run has left.
    let _ = std::fs::remove_dir_all(&tree);
    let mut c = Command::new("timeout");
    c.args(["500", "debootstrap", "--variant=minbase", codename])
        .arg(&tree)
        .arg(mirror);
    let o = run(c, b"", PATIENCE);
    if o.status != 0 {
        return word(&(o.stdout + &o.stderr));
    }
    let unfinished = dir.join("debootstrap.new");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&unfinished)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    std::fs::remove_dir_all(&tree).unwrap();
    std::fs::rename(unfinished, &archive).unwrap();
    Some(archive.display().to_string())
}

/// What a small Debian needs, by package.
const DEBIAN: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "debianutils",
    "dpkg",
    "grep",
    "gzip",
    "libacl1",
    "libattr1",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libgcc-s1",
    "libgmp10",
    "liblzma5",
    "libmd0",
    "libpcre2-8-0",
    "libselinux1",
    "libtinfo6",
    "libzstd1",
    "perl-base",
    "sed",
    "tar",
    "zlib1g",
];

/// An archive of this machine's own Debian packages, as debootstrap would lay them out; `None`, with a word, elsewhere.
pub fn debian(dir: &Path) -> Option<String> {
    let listed = Command::new("dpkg").arg("-L").args(DEBIAN).output();
    let Ok(listed) = listed.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()) else {
        eprintln!("skipped: no image of Debian without dpkg");
        return None;
    };
    let tree = dir.join("debian");
    for sub in [
        "proc",
        "sys",
        "dev",
        "tmp",
        "etc",
        "usr",
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
    ] {
        std::fs::create_dir_all(tree.join(sub)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), tree.join(link)).unwrap();
    }
    std::fs::copy("/etc/passwd", tree.join("etc/passwd")).unwrap();
    std::fs::write(tree.join("var/lib/dpkg/status"), "").unwrap();
    let unneeded = [
        "/usr/share/doc/",
        "/usr/share/man/",
        "/usr/share/locale/",
        "/usr/share/info/",
    ];
    let paths = listed
        .lines()
        .filter(|l| l.starts_with('/') && !unneeded.iter().any(|u| l.starts_with(u)));
    for path in paths.map(Path::new) {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        // /lib is a link; the package may not know.
        let (Some(parent), Some(name)) = (
            path.parent().and_then(|p| p.canonicalize().ok()),
            path.file_name(),
        ) else {
            continue;
        };
        let to = tree.join(parent.strip_prefix("/").unwrap()).join(name);
        if meta.is_dir() || to.symlink_metadata().is_ok() {
            continue;
        }
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        if meta.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(path).unwrap(), to).unwrap();
        } else if meta.is_file() {
            std::fs::copy(path, to).unwrap();
        }
    }
    let sh = tree.join("usr/bin/sh");
    if sh.symlink_metadata().is_err() {
        std::os::unix::fs::symlink("bash", sh).unwrap();
    }
    let archive = dir.join("debian.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&tree)
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    std::fs::remove_dir_all(&tree).unwrap();
    Some(archive.display().to_string())
}
