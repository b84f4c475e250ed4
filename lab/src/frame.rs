//! The namespaces that a lab lives in, and their end.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, absolute},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{ADDRESS, Tier, output, process::log_end};

/// Holds the namespaces until its input ends: `frame.sh`.
#[derive(Debug)]
pub(crate) struct Frame {
    process: Child,
    input: Option<ChildStdin>,
}

impl Frame {
    /// Returns the host's id of the lab's process 1 too.
    pub(crate) fn start(dir: &Path, tier: Tier, detached: bool) -> Result<(Self, String)> {
        let resolver = match tier {
            // A burst of tests may cost an answer or two.
            Tier::Control => format!("nameserver {ADDRESS}\noptions timeout:3 attempts:4\n"),
            Tier::Node => "nameserver 10.244.1.1\nsearch svc.cluster.local cluster.local\n".into(),
        };
        fs::write(dir.join("resolv.conf"), resolver)?;
        let script = dir.join("frame.sh");
        fs::write(&script, include_str!("frame.sh"))?;
        let log = dir.join("log/frame");
        let file = fs::File::create(&log)?;
        let mut command = Command::new("sh");
        command
            .arg(&script)
            .env("LAB_DIR", dir)
            .env("LAB_TIER", tier.name());
        command.env("LAB_CGROUP", cgroup(dir));
        command.env("LAB_DETACHED", if detached { "yes" } else { "" });
        command.stdin(if detached {
            Stdio::null()
        } else {
            Stdio::piped()
        });
        command
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let mut process = command.spawn()?;
        let input = process.stdin.take();
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            if let Ok(init) = fs::read_to_string(dir.join("init")) {
                return Ok((Self { process, input }, init.trim_end().to_owned()));
            }
            if process.try_wait()?.is_some() || Instant::now() >= end {
                bail!("the lab's namespaces failed: {}", log_end(&log));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the lab and waits until nothing is left of it.
    pub(crate) fn end(&mut self) {
        self.input = None;
        // Its status says nothing: it was told to end.
        let _ = self.process.wait();
    }
}

/// The lab's own part of the cgroup hierarchies, as a path below their roots.
pub(crate) fn cgroup(dir: &Path) -> String {
    format!("everleaf{}", dir.display()).replace('/', "-")
}

/// Ends the detached lab in `dir`, if there is one, and removes the directory.
pub fn down(dir: &Path) -> Result<()> {
    let dir = absolute(dir)?;
    if let Some(init) = running(&dir) {
        output(Command::new("sh").args(["-c", "kill -KILL $0", &init]))?;
        let end = Instant::now() + Duration::from_secs(20);
        // The frame removes the directory when all processes are gone.
        while dir.exists() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }
    if dir.join("frame.sh").exists() {
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// Process 1 of the lab in `dir`, if it is alive. Its environment shows that the id was not reused.
pub(crate) fn running(dir: &Path) -> Option<String> {
    let init = fs::read_to_string(dir.join("init"))
        .ok()?
        .trim_end()
        .to_owned();
    let environment = fs::read(format!("/proc/{init}/environ")).ok()?;
    let mark = format!("LAB_DIR={}", dir.display());
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark.as_bytes())
        .then_some(init)
}
