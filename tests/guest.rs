//! Differential tests: C programs of `tests/guest/<family>/`, run natively first and then inside on every platform.
//! Linux is the oracle: both must print the same and end the same.
//!
//! A new test is a new file; it prints what it sees (see `tests/guest/check.h`). Directives (`//@ key=value`):
//! `args`, `cflags`, `static=no`, `timeout=SECONDS`, `options` (of `cofferdam do`), `stdin`, `root=only`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::directives::Directives;
use common::{COFFERDAM, Scratch, build_dir, command, compare, platforms, repository, run};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Linkage {
    Dynamic,
    Static,
}

impl Linkage {
    fn name(self) -> &'static str {
        match self {
            Linkage::Dynamic => "dynamic",
            Linkage::Static => "static",
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for source in sources(&repository().join("tests/guest")) {
        let family = source
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let stem = source.file_stem().unwrap().to_string_lossy().into_owned();
        let directives = Directives::of(&source);
        let root_only = directives.get("root") == Some("only") && !nix::unistd::geteuid().is_root();
        for linkage in [Linkage::Dynamic, Linkage::Static] {
            if linkage == Linkage::Static && directives.get("static") == Some("no") {
                continue;
            }
            for platform in platforms() {
                let name = format!("{family}::{stem}::{platform}::{}", linkage.name());
                if root_only {
                    eprintln!("skip: {name}: only root can run it");
                }
                let source = source.clone();
                let test = move || differential(&source, linkage, platform);
                trials.push(Trial::test(name, test).with_ignored_flag(root_only));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let families = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir());
    let files = families.flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path()));
    let mut files: Vec<PathBuf> = files
        .filter(|f| f.extension().is_some_and(|e| e == "c"))
        .collect();
    files.sort();
    files
}

/// Builds a program unless it is newer than its source.
fn build(source: &Path, linkage: Linkage, directives: &Directives) -> Result<PathBuf, Failed> {
    // One at a time: a test of the other platform may want the same program.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock();
    let family = source.parent().unwrap();
    let dir = build_dir().join(family.file_name().unwrap());
    std::fs::create_dir_all(&dir)?;
    let name = format!(
        "{}-{}",
        source.file_stem().unwrap().to_string_lossy(),
        linkage.name()
    );
    let program = dir.join(&name);
    let time = |p: &Path| p.metadata().and_then(|m| m.modified());
    let mut newest = time(source)?;
    for dir in [family, family.parent().unwrap()] {
        for file in std::fs::read_dir(dir)? {
            let file = file?.path();
            if file.extension().is_some_and(|e| e == "h") {
                newest = newest.max(time(&file)?);
            }
        }
    }
    if time(&program).is_ok_and(|built| built > newest) {
        return Ok(program);
    }
    // Not in place: another test process may be building the same.
    let new = dir.join(format!("{name}.{}.new", std::process::id()));
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-std=gnu11",
        "-O1",
        "-g",
        "-pthread",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused-parameter",
    ]);
    // Tests pass what no program should.
    gcc.args([
        "-Wno-nonnull",
        "-Wno-restrict",
        "-Wno-stringop-overflow",
        "-Wno-stringop-overread",
        "-Wno-infinite-recursion",
    ]);
    gcc.arg("-I")
        .arg(family.parent().unwrap())
        .arg("-o")
        .arg(&new)
        .arg(source);
    if linkage == Linkage::Static {
        gcc.arg("-static");
    }
    gcc.args(directives.words("cflags"));
    let built = run(gcc, b"", Duration::from_secs(120));
    if built.status != 0 {
        return Err(format!("gcc failed for {}:\n{}", source.display(), built.stderr).into());
    }
    std::fs::rename(&new, &program)?;
    Ok(program)
}

fn differential(source: &Path, linkage: Linkage, platform: &str) -> Result<(), Failed> {
    let directives = Directives::of(source);
    let program = build(source, linkage, &directives)?;
    let stdin = directives.get("stdin").unwrap_or("").replace("\\n", "\n");
    let args = directives.words("args");

    let scratch = Scratch::new();
    let mut native = command(&program, &args);
    native.current_dir(scratch.path()).env("LC_ALL", "C");
    let native = run(native, stdin.as_bytes(), directives.timeout());

    let scratch = Scratch::new();
    let mut inside = command(COFFERDAM, &["do", "--platform", platform, "--bind"]);
    inside
        .arg(build_dir())
        .args(directives.words("options"))
        .arg("--")
        .arg(&program)
        .args(&args);
    inside.current_dir(scratch.path()).env("LC_ALL", "C");
    let inside = run(inside, stdin.as_bytes(), directives.timeout());

    compare(&source.display().to_string(), &native, &inside)?;
    if native.stdout.is_empty() {
        return Err("the program prints nothing, so nothing was compared".into());
    }
    Ok(())
}
