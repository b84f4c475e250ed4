//! `make demo`: installs Everleaf on a lab, asks for certificates in both ways, and watches them be issued, served and renewed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]
#![allow(
    clippy::indexing_slicing,
    reason = "only of JSON, where what is missing is null"
)]

mod operator;
mod say;
mod site;
mod story;
mod subject;
mod watch;

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, bail};
use lab::Tier;

use crate::say::Say;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [] if is_root() => story::tell(&Say::new(), Tier::Node),
        [] => without_root(),
        ["without-root"] => story::tell(&Say::new(), Tier::Control),
        ["serve", address, body] => site::serve(address, body),
        _ => Err(anyhow::anyhow!(
            "usage: demo; the environment may have KEEP=1"
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes this program in a user namespace of its own, whose root may make the other namespaces of a lab.
fn without_root() -> Result<()> {
    const ROOT_OF_ITS_OWN: [&str; 2] = ["--user", "--map-root-user"];
    println!(
        "You are not root, and a node needs root: the demo runs without one, so without Pods."
    );
    let mut trial = Command::new("unshare");
    trial
        .args(ROOT_OF_ITS_OWN)
        .args(["--net", "--mount", "--pid", "--fork", "true"]);
    if !trial
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        bail!(
            "this system lets only root make namespaces (`unshare --user --net true` fails), and a lab lives in such; run it as root"
        );
    }
    let mut again = Command::new("unshare");
    again
        .args(ROOT_OF_ITS_OWN)
        .arg(env::current_exe()?)
        .arg("without-root");
    Err(again.exec().into())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
