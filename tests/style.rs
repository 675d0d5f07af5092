//! What docs/style asks for and a test can check: import directions, module heads, file lengths, unsafe only where listed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files that may opt in to unsafe code. Adding one is a decision: it needs a reason at its `allow` and a reader.
const UNSAFE: &[&str] = &[
    "sentry/src/boot/fds.rs",
    "src/container/fork.rs",
    "gofer/src/client/calls.rs",
    "gofer/src/host/attr.rs",
    "gofer/src/host/dir.rs",
    "gofer/src/host/proc_fds.rs",
    "gofer/src/host/xattr.rs",
    "gofer/src/transport.rs",
    "gofer/src/tree.rs",
    "platform/src/bell.rs",
    "platform/src/epochs.rs",
    "platform/src/stub/free.rs",
    "platform/src/stub/mailbox.rs",
    "platform/src/stub/mod.rs",
    "platform/src/sys.rs",
    "platform/src/wake.rs",
    "platform/src/zygote.rs",
    "platform/tests/conformance/main.rs",
    "sentry/src/fs/host/sys.rs",
    "sentry/src/loader/auxv.rs",
    "src/jail/filters/tests.rs",
    "src/jail/sys.rs",
    "src/jail/violation.rs",
    "src/sandbox/backtrace.rs",
    "src/sandbox/spawn.rs",
    "src/workload/sys.rs",
];

/// What each module of the sentry may import from the others. Imports point down only.
const SENTRY_LAYERS: &[(&str, &[&str])] = &[
    ("abi", &[]),
    ("sync", &["abi"]),
    ("time", &["abi", "sync"]),
    ("auth", &["abi", "sync"]),
    ("usermem", &["abi", "sync", "time", "auth"]),
    ("vfs", &["abi", "sync", "time", "auth", "usermem"]),
    ("mm", &["abi", "sync", "time", "auth", "usermem", "vfs"]),
    (
        "loader",
        &["abi", "sync", "time", "auth", "usermem", "vfs", "mm"],
    ),
    (
        "fs",
        &["abi", "sync", "time", "auth", "usermem", "vfs", "mm"],
    ),
    (
        "net",
        &["abi", "sync", "time", "auth", "usermem", "vfs", "mm", "fs"],
    ),
    // The worker calls the table's handlers and understands their outcomes: the one way up.
    (
        "kernel",
        &[
            "abi", "sync", "time", "auth", "usermem", "vfs", "mm", "loader", "fs", "net",
            "syscalls",
        ],
    ),
    (
        "procfs",
        &[
            "abi", "sync", "time", "auth", "usermem", "vfs", "mm", "loader", "fs", "net", "kernel",
        ],
    ),
    ("profile", &["abi", "sync", "time", "kernel"]),
    (
        "syscalls",
        &[
            "abi", "sync", "time", "auth", "usermem", "vfs", "mm", "loader", "fs", "net", "kernel",
            "procfs",
        ],
    ),
    (
        "boot",
        &[
            "abi", "sync", "time", "auth", "usermem", "vfs", "mm", "loader", "fs", "net", "kernel",
            "procfs", "syscalls",
        ],
    ),
];

/// Tables and generated code may be longer.
const LONG: &[&str] = &[];
const MOST_LINES: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the workspace: its path from the root, and its text.
fn files() -> Vec<(String, String)> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    for dir in [
        "src", "tests", "benches", "fuzz", "sentry", "gofer", "platform",
    ] {
        walk(&root().join(dir), &mut paths);
    }
    assert!(paths.len() > 50, "the walk finds the sources");
    paths.sort();
    paths
        .into_iter()
        .map(|p| {
            let text = std::fs::read_to_string(&p).unwrap();
            (
                p.strip_prefix(root())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
                text,
            )
        })
        .collect()
}

/// Code without comments, line by line.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or("")))
}

/// Whether a file is only compiled for tests.
fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "tests.rs"
        || name.ends_with("_tests.rs")
        || path.contains("/tests/")
        || path.starts_with("tests/")
}

/// The names right below `crate::` that a file mentions.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = code(text).map(|(_, line)| format!("{line}\n")).collect();
    let mut found = BTreeSet::new();
    let name = |s: &str| {
        s.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let (mut depth, mut start) = (1, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => start = true,
                c if start && !c.is_whitespace() => {
                    start = false;
                    found.insert(name(&group[i..]));
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

fn fail(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn imports_point_down() {
    let mut complaints = Vec::new();
    for (path, text) in files() {
        let Some(below) = path.strip_prefix("sentry/src/") else {
            continue;
        };
        let module = below.split('/').next().unwrap().trim_end_matches(".rs");
        if module == "lib" || is_test(&path) {
            continue;
        }
        let Some((_, allowed)) = SENTRY_LAYERS.iter().find(|(m, _)| *m == module) else {
            complaints.push(format!(
                "{path}: module {module} has no place in the layers"
            ));
            continue;
        };
        for import in imports(&text) {
            let is_module = SENTRY_LAYERS.iter().any(|(m, _)| *m == import);
            if is_module && import != module && !allowed.contains(&import.as_str()) {
                complaints.push(format!("{path}: {module} must not import {import}"));
            }
        }
    }
    fail(complaints);
}

#[test]
fn the_import_scanner_sees_all_forms() {
    let text = "use crate::abi::Errno;\nuse crate::{vfs::{self, mm}, kernel::{Task}};\n// crate::fs\nlet x = crate::net::y();";
    let expected = ["abi", "kernel", "net", "vfs"];
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn every_module_says_what_it_is_for() {
    let bare = files()
        .into_iter()
        .filter(|(path, text)| !is_test(path) && !text.starts_with("//!"));
    fail(
        bare.map(|(path, _)| format!("{path}: does not open with //!"))
            .collect(),
    );
}

/// A method with a default body could be forgotten without a word from the compiler: a profiled sandbox would then behave
/// differently.
#[test]
fn the_profile_passes_on_all_that_a_platform_can_do() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let traits = read("platform/src/lib.rs");
    let wrapper = read("sentry/src/profile/platform.rs");
    let mut methods = 0;
    for name in ["AddressSpace", "Thread", "Platform"] {
        let body = traits.split(&format!("pub trait {name}:")).nth(1).unwrap();
        let body = body.split("\n}\n").next().unwrap();
        let wrapped = wrapper.split(&format!("impl {name} for")).nth(1).unwrap();
        let wrapped = wrapped.split("\n}\n").next().unwrap();
        for (_, line) in code(body) {
            if let Some(rest) = line.trim_start().strip_prefix("fn ") {
                let method = rest.split('(').next().unwrap();
                methods += 1;
                assert!(
                    wrapped.contains(&format!("fn {method}(")),
                    "sentry/src/profile/platform.rs does not pass on {name}::{method}"
                );
            }
        }
    }
    assert!(methods > 20, "the traits are found: {methods} methods");
}

#[test]
fn files_are_not_too_long() {
    let long = files()
        .into_iter()
        .filter(|(path, _)| !LONG.contains(&path.as_str()));
    let long = long
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, n)| *n > MOST_LINES);
    fail(
        long.map(|(path, n)| format!("{path}: {n} lines; split it"))
            .collect(),
    );
}

#[test]
fn unsafe_code_is_where_it_is_listed() {
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in files() {
        if path == "tests/style.rs" || !text.contains("allow(unsafe_code)") {
            continue;
        }
        seen.insert(path.clone());
        if !UNSAFE.contains(&path.as_str()) {
            complaints.push(format!(
                "{path}: opts in to unsafe code but is not listed in tests/style.rs"
            ));
        }
        let lines: Vec<&str> = text.lines().collect();
        let at = lines
            .iter()
            .position(|l| l.contains("allow(unsafe_code)"))
            .unwrap();
        let reason = lines[at].contains("//") || at > 0 && lines[at - 1].starts_with("//");
        if !reason {
            complaints.push(format!(
                "{path}: the opt-in to unsafe code has no reason beside it"
            ));
        }
        for (i, line) in lines.iter().enumerate() {
            let opens = line.contains("unsafe {") || line.contains("unsafe impl");
            let start = i.saturating_sub(12);
            if opens
                && !line.trim_start().starts_with("//")
                && !lines[start..=i].iter().any(|l| l.contains("SAFETY:"))
            {
                complaints.push(format!("{path}:{}: unsafe without a SAFETY comment", i + 1));
            }
        }
    }
    for listed in UNSAFE.iter().filter(|f| !seen.contains(**f)) {
        complaints.push(format!(
            "{listed}: listed as unsafe in tests/style.rs, but it is not"
        ));
    }
    fail(complaints);
}

#[test]
fn product_code_neither_panics_on_purpose_nor_prints() {
    let mut complaints = Vec::new();
    for (path, text) in files() {
        let in_product = ["src/", "sentry/src/", "gofer/src/", "platform/src/"]
            .iter()
            .any(|d| path.starts_with(d));
        if !in_product || is_test(&path) {
            continue;
        }
        for (number, line) in code(&text) {
            // Unit tests stand at the end of a file.
            if line.starts_with("#[cfg(test)]") {
                break;
            }
            for bad in [
                "todo!(",
                "unimplemented!(",
                "dbg!(",
                "println!(",
                "eprint!(",
                "print!(",
                "allow(clippy::unwrap",
                "allow(clippy::expect",
                "allow(clippy::panic",
            ] {
                if line.contains(bad) {
                    complaints.push(format!("{path}:{number}: {bad}"));
                }
            }
            // `use Trait as _` is no conversion.
            let is_import = line.trim_start().starts_with("use ");
            if path.starts_with("sentry/src/syscalls/") && line.contains(" as _") && !is_import {
                complaints.push(format!(
                    "{path}:{number}: arguments decode by type, not by `as _`"
                ));
            }
        }
    }
    fail(complaints);
}
