//! Labs from the command line; see `README.md` beside this crate.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Result, bail};
use lab::{Lab, Options, Tier};

const USAGE: &str =
    "usage: lab up [control|node] [--audit] [--eab] [--gateway] [PEBBLE_NAME=VALUE...]
       lab shell [COMMAND...]
       lab load-image REFERENCE ARCHIVE
       lab down
The lab is in $LAB_DIR, by default everleaf-lab in the directory for temporary files.";

fn main() -> ExitCode {
    run().map_or_else(
        |error| {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run() -> Result<()> {
    let dir =
        env::var_os("LAB_DIR").map_or_else(|| env::temp_dir().join("everleaf-lab"), PathBuf::from);
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.split_first() {
        Some((&"up", rest)) => up(dir, rest),
        Some((&"down", [])) => lab::down(&dir),
        Some((&"shell", [])) => Err(Lab::attach(&dir)?.command("bash").exec().into()),
        Some((&"shell", [program, rest @ ..])) => {
            Err(Lab::attach(&dir)?.command(program).args(rest).exec().into())
        }
        Some((&"load-image", [reference, archive])) => {
            Lab::attach(&dir)?.load_image(reference, Path::new(archive))
        }
        _ => bail!(USAGE),
    }
}

fn up(dir: PathBuf, arguments: &[&str]) -> Result<()> {
    let mut tier = Tier::Control;
    let mut options = Options {
        dir: Some(dir),
        detached: true,
        ..Options::default()
    };
    for argument in arguments {
        match (*argument, argument.split_once('=')) {
            ("control", _) => tier = Tier::Control,
            ("node", _) => tier = Tier::Node,
            ("--audit", _) => options.audit = true,
            ("--eab", _) => options.eab = true,
            ("--gateway", _) => options.gateway = true,
            (_, Some((name, value))) if name.starts_with("PEBBLE_") => {
                options.pebble.push((name.into(), value.into()));
            }
            _ => bail!("unknown argument {argument}\n{USAGE}"),
        }
    }
    let began = Instant::now();
    let lab = Lab::start(tier, &options)?;
    println!(
        "ready in {:.1} s: {}",
        began.elapsed().as_secs_f32(),
        lab.dir().display()
    );
    Ok(())
}
