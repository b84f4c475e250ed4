//! A process of a lab: logged, signalled, waited for, and killed when dropped.

use std::{
    fmt, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::output;

/// A running program of a lab. Its output is in [`Process::log_path`].
pub struct Process {
    name: String,
    log: PathBuf,
    /// It outlives this program.
    detached: bool,
    state: Mutex<State>,
}

struct State {
    command: Command,
    child: Child,
    /// Ended by us: no news for [`Process::failure`].
    stopped: bool,
}

impl Process {
    pub(crate) fn spawn(
        name: &str,
        mut command: Command,
        log: PathBuf,
        detached: bool,
    ) -> Result<Self> {
        let file = fs::File::options().create(true).append(true).open(&log)?;
        // A group of its own: an interrupt from the terminal is for the caller, who decides what becomes of the lab.
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("{name}: {command:?}"))?;
        let state = Mutex::new(State {
            command,
            child,
            stopped: false,
        });
        Ok(Self {
            name: name.to_owned(),
            log,
            detached,
            state,
        })
    }

    /// The program's process id on the host.
    pub fn pid(&self) -> Result<u32> {
        let nsenter = self.state().child.id();
        let children = format!("/proc/{nsenter}/task/{nsenter}/children");
        let end = Instant::now() + Duration::from_secs(30);
        while self.exit_status()?.is_none()
            && let Ok(pids) = fs::read_to_string(&children)
            && Instant::now() < end
        {
            if let Some(pid) = pids.split_whitespace().next()
                && let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm"))
                // On its way to the program.
                && !["nsenter", "setpriv"].contains(&name.trim_end())
            {
                return Ok(pid.parse()?);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("{} does not run", self.name)
    }

    /// Sends a signal, named as in `kill -s`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let mut pids = vec![self.pid()?.to_string()];
        if signal == "CONT" {
            // nsenter stops itself along with its child.
            pids.push(self.state().child.id().to_string());
        }
        output(
            Command::new("sh")
                .args(["-c", r#"kill -s "$@""#, "sh", signal])
                .args(pids),
        )?;
        Ok(())
    }

    /// Kills the program, if it runs, and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.state().stopped = true;
        if self.exit_status()?.is_none() {
            // Not nsenter, which would be gone before the program is.
            self.signal("KILL")
                .or_else(|error| self.exit_status()?.map(|_| ()).ok_or(error))?;
            self.wait(Duration::from_mins(1))?;
        }
        Ok(())
    }

    /// Kills the program and starts it again, the same way.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        let mut state = self.state();
        state.child = state.command.spawn()?;
        state.stopped = false;
        Ok(())
    }

    /// How the program ended, if it did.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        Ok(self.state().child.try_wait()?)
    }

    /// Waits for the program to end by itself.
    pub fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!(
                    "{} still runs after {deadline:?}\n{}",
                    self.name,
                    self.log_end()
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All that the program printed.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// What to say if the program ended though nobody here ended it.
    pub(crate) fn failure(&self) -> Option<anyhow::Error> {
        let status = self.exit_status().ok().flatten()?;
        let stopped = self.state().stopped;
        (!stopped).then(|| anyhow!("{} ended: {status}\n{}", self.name, self.log_end()))
    }

    pub(crate) fn log_end(&self) -> String {
        log_end(&self.log)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.detached {
            // When the lab has already ended there is nothing left to kill.
            let _ = self.kill();
        }
    }
}

/// The last lines of a log, with its name above them.
pub(crate) fn log_end(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let tail = lines.split_at(lines.len().saturating_sub(15)).1;
    format!("{}:\n  {}", path.display(), tail.join("\n  "))
}
