//! `key=value` lines at the head of test files.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// What a test file says about itself.
#[derive(Debug, Default)]
pub struct Directives(HashMap<String, String>);

/// Keys that mean something.
const KNOWN: &[&str] = &[
    "args", "cflags", "static", "timeout", "needs", "options", "stdin", "user", "root", "prepare",
    "compare",
];

impl Directives {
    /// Reads them: lines that start with `//@` or `#@`.
    pub fn of(file: &Path) -> Directives {
        let text = std::fs::read_to_string(file).unwrap();
        let mut map = HashMap::new();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("//@").or_else(|| line.strip_prefix("#@")) else {
                continue;
            };
            let (key, value) = rest
                .trim()
                .split_once('=')
                .unwrap_or_else(|| panic!("{}: {line}", file.display()));
            assert!(
                KNOWN.contains(&key),
                "{}: unknown directive {key}",
                file.display()
            );
            map.insert(key.to_owned(), value.to_owned());
        }
        Directives(map)
    }

    /// A value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A value's words.
    pub fn words(&self, key: &str) -> Vec<&str> {
        self.get(key).unwrap_or("").split_whitespace().collect()
    }

    /// How long one run may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.get("timeout").map_or(60, |s| s.parse().unwrap()))
    }

    /// Programs named by `needs` that are not installed.
    pub fn missing(&self) -> Vec<String> {
        self.words("needs")
            .into_iter()
            .filter(|p| !super::have(p))
            .map(str::to_owned)
            .collect()
    }
}
