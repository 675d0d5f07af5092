//! The documents are true as far as a test can tell: generated pages are up to date, links lead somewhere, every
//! dependency is accounted for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test ends where it fails

mod common;

use common::{COFFERDAM, command, repository, run};
use std::path::PathBuf;
use std::time::Duration;

fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(repository().join("docs"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut pages: Vec<PathBuf> = docs
        .filter(|p| p.extension().is_some_and(|e| e == "md"))
        .collect();
    pages.push(repository().join("README.md"));
    pages
}

#[test]
fn the_compatibility_page_is_up_to_date() {
    let table = run(
        command(COFFERDAM, &["syscalls", "--markdown"]),
        b"",
        Duration::from_secs(10),
    );
    let page = std::fs::read_to_string(repository().join("docs/compatibility.md")).unwrap();
    assert!(
        table.stdout == page,
        "docs/compatibility.md is out of date: cargo run -- syscalls --markdown > docs/compatibility.md"
    );
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            if !link.is_empty()
                && !link.contains("://")
                && !page.parent().unwrap().join(link).exists()
            {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_dependency_has_its_reason() {
    let page = std::fs::read_to_string(repository().join("docs/dependencies.md")).unwrap();
    let mut missing = Vec::new();
    for manifest in [
        "Cargo.toml",
        "sentry/Cargo.toml",
        "gofer/Cargo.toml",
        "platform/Cargo.toml",
    ] {
        let text = std::fs::read_to_string(repository().join(manifest)).unwrap();
        let mut in_dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies]");
            } else if in_dependencies && let Some((name, _)) = line.split_once(['=', '.']) {
                let name = name.trim();
                if !name.is_empty()
                    && !name.starts_with("cofferdam")
                    && !page.contains(&format!("`{name}`"))
                {
                    missing.push(format!("{manifest}: {name}"));
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/dependencies.md: {missing:#?}"
    );
}
