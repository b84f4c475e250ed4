//! `make lab-deps`, with stubs in place of Debian's programs: what it installs, and what it leaves alone.

use std::{env, fs, os::unix::fs::PermissionsExt, path::Path, process, process::Command};

use anyhow::{Result, ensure};

/// Stubs, by name.
const PROGRAMS: [(&str, &str); 4] = [
    ("id", "echo \"$USER_ID\""),
    (
        "dpkg-query",
        "case \" $MISSING \" in *\" $3 \"*) exit 1;; *) echo install ok installed;; esac",
    ),
    ("apt-get", "echo apt-get \"$@\" >>\"$CALLS\""),
    ("systemctl", "echo systemctl \"$@\" >>\"$CALLS\""),
];

/// What it says on a machine that runs systemd and lacks these packages, and which programs it calls.
fn deps(user: &str, missing: &str) -> Result<(String, String)> {
    let name = format!("lab-deps-{}-{user}-{}", process::id(), missing.len());
    let dir = env::temp_dir().join(name);
    fs::create_dir(&dir)?;
    for (name, line) in PROGRAMS {
        let file = dir.join(name);
        fs::write(&file, format!("#!/bin/sh\n{line}\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    let calls = dir.join("calls");
    fs::write(&calls, "")?;
    let mut path = vec![dir.clone()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let output = Command::new("make")
        .args(["lab-deps", "SYSTEMD=/"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env_remove("MAKEFLAGS")
        .env("PATH", env::join_paths(path)?)
        .env("CALLS", &calls)
        .env("USER_ID", user)
        .env("MISSING", missing)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {said}", output.status);
    let calls = fs::read_to_string(calls)?;
    fs::remove_dir_all(dir)?;
    Ok((said, calls))
}

#[test]
fn without_root_what_is_missing_is_named_and_nothing_else() -> Result<()> {
    let (said, calls) = deps("1000", "redis-tools runc")?;
    assert!(said.contains("redis-tools runc"), "{said}");
    assert_eq!(calls, "");
    Ok(())
}

#[test]
fn a_name_server_that_was_there_goes_on() -> Result<()> {
    let (_, calls) = deps("0", "bind9-dnsutils")?;
    assert!(
        calls.ends_with("--no-install-recommends bind9-dnsutils\n"),
        "{calls}"
    );
    let (_, calls) = deps("0", "bind9 runc")?;
    assert!(
        calls.ends_with("systemctl disable --now named\n"),
        "{calls}"
    );
    Ok(())
}

#[test]
fn where_nothing_is_missing_nothing_is_done() -> Result<()> {
    let (_, calls) = deps("0", "")?;
    assert_eq!(calls, "");
    Ok(())
}
