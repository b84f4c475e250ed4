//! Imports point one way: `api, net, pki ← acme, dns ← issuers, solvers ← controllers ← runtime ← main`.
//! And what decides does not act.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// What each part of the crate may import of it.
const MAY_IMPORT: [(&str, &[&str]); 12] = [
    ("api", &[]),
    ("net", &[]),
    ("pki", &[]),
    ("serve", &[]),
    ("acme", &["api", "net", "pki"]),
    ("dns", &["net"]),
    ("explain", &["api"]),
    ("telemetry", &["api", "serve"]),
    ("issuers", &["acme", "api", "net", "pki"]),
    ("solvers", &["api", "dns", "net", "pki", "serve"]),
    ("controllers", &["acme", "api", "explain", "pki", "solvers"]),
    (
        "runtime",
        &[
            "acme",
            "api",
            "controllers",
            "dns",
            "explain",
            "issuers",
            "net",
            "pki",
            "serve",
            "solvers",
            "telemetry",
        ],
    ),
];

/// What a plan must not know: I/O, clocks, randomness, tasks.
const NOT_IN_A_PLAN: [&str; 7] = [
    "async ",
    "tokio",
    "kube::",
    "std::net::Tcp",
    "Timestamp::now",
    "Instant",
    "aws_lc_rs",
];

#[test]
fn imports_point_one_way() {
    for (part, allowed) in MAY_IMPORT {
        for file in sources(&root().join(part)).into_iter().chain(single(part)) {
            for import in imports(&file) {
                assert!(
                    import == part || allowed.contains(&import.as_str()),
                    "{} imports crate::{import}; {part} may import {allowed:?}",
                    file.display()
                );
            }
        }
    }
}

/// Every reconciler builds on the facts; they know none of them.
#[test]
fn facts_know_no_reconciler() {
    let controllers = root().join("controllers");
    let folders = fs::read_dir(&controllers).expect("controllers").flatten();
    let reconcilers = folders.map(|entry| entry.path());
    let reconcilers: Vec<_> = reconcilers
        .filter(|folder| folder.join("plan.rs").exists() || folder.join("plan").exists())
        .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
        .collect();
    assert!(reconcilers.len() >= 6, "{reconcilers:?}");
    for file in sources(&controllers.join("facts")) {
        let text = fs::read_to_string(&file).expect("readable");
        for reconciler in &reconcilers {
            let path = format!("controllers::{reconciler}::");
            assert!(!text.contains(&path), "{} has {path}", file.display());
        }
    }
}

#[test]
fn every_part_has_its_rule() {
    for entry in fs::read_dir(root()).expect("src").flatten() {
        let name = entry
            .file_name()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        let known = ["lib", "main"].contains(&name.as_str())
            || MAY_IMPORT.iter().any(|(part, _)| *part == name);
        assert!(known, "src/{name} has no rule in MAY_IMPORT");
    }
}

#[test]
fn plans_are_pure() {
    let mut seen = 0;
    for file in sources(&root().join("controllers")) {
        let path = file.to_string_lossy().into_owned();
        if !path.ends_with("plan.rs") && !path.contains("/plan/") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&file).expect("readable");
        for word in NOT_IN_A_PLAN {
            assert!(!text.contains(word), "{path} contains `{word}`");
        }
    }
    assert!(seen >= 6, "found {seen} plans");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn single(part: &str) -> Option<PathBuf> {
    Some(root().join(format!("{part}.rs"))).filter(|path| path.exists())
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![];
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

/// The parts of the crate that a file names, in `use` or in place.
fn imports(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("readable");
    let starts = text
        .match_indices("crate::")
        .map(|(at, word)| at + word.len());
    starts
        .filter_map(|at| text.get(at..))
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        })
        .filter(|name: &String| !name.is_empty())
        .collect()
}
