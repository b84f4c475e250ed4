//! A real Kubernetes of plain processes, for the demo, the tests and the benches. See `README.md` beside this crate.
//!
//! A lab lives in namespaces of its own (network, mounts, pids), so that labs run side by side, nothing leaves the
//! machine, and nothing stays behind: when the program that started it ends, however it ends, so does the lab.

pub mod boulder;
mod doh;
mod frame;
mod image;
mod parts;
mod pki;
mod private_ca;
mod process;
mod vault;
mod webhook;

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{self as std_process, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::frame::{Frame, running};
pub use crate::{
    boulder::Boulder, frame::down, private_ca::PrivateCa, process::Process, vault::Vault,
};

/// Where everything in a lab listens: API server, Pebble, Traefik, DNS, node. Test names resolve to it.
pub const ADDRESS: &str = "10.244.0.1";

/// The key `lab.` (hmac-sha256, base64) for updates of `dns01.example.com`.
pub const TSIG_SECRET: &str = "ZXZlcmxlYWYgbGFiLCBub3QgYSBzZWNyZXQgYXQgYWw=";

/// The MAC key (base64url) of the external account `kid-1`.
pub const EAB_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Of the Debian package libfaketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// How much of Kubernetes a lab has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// API server and controllers, Pebble, DNS, Traefik; no node, so pods stay pending.
    Control,
    /// With a node that runs pods, and with cluster DNS.
    Node,
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Node => "node",
        }
    }
}

/// What may differ from lab to lab.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    /// Where the lab lives. Default: a new directory below the system's temporary one.
    pub dir: Option<PathBuf>,
    /// The API server keeps an audit log, [`Lab::audit_log`].
    pub audit: bool,
    /// Pebble wants an external account binding: key id `kid-1` with [`EAB_KEY`].
    pub eab: bool,
    /// Traefik serves the Gateway API too, through the Gateway `default/traefik`.
    pub gateway: bool,
    /// Pebble's environment, for example `PEBBLE_WFE_NONCEREJECT`, over the default `PEBBLE_VA_NOSLEEP=1`.
    pub pebble: Vec<(String, String)>,
    /// More flags of the API server.
    pub apiserver: Vec<String>,
    /// The time at which the certificates of the lab's own parts are made, as [`begin_at`] takes it; without it now.
    pub clock: Option<String>,
    /// The lab outlives the [`Lab`] and this program, until [`down`].
    pub detached: bool,
}

/// A running lab. Dropping it ends it.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    /// Process 1 of the lab, as the host counts.
    init: String,
    /// The lab's programs, then the caller's PATH.
    path: OsString,
    detached: bool,
    parts: BTreeMap<String, Process>,
    frame: Option<Frame>,
}

impl Lab {
    /// Builds what is not built yet, starts all parts, and returns when they are ready.
    pub fn start(tier: Tier, options: &Options) -> Result<Self> {
        ensure!(is_root(), "a lab needs root, for its namespaces");
        let path = programs(tier)?;
        ensure!(
            options.clock.is_none() || Path::new(FAKETIME).exists(),
            "run `make lab-deps`, to install libfaketime"
        );
        let dir = match &options.dir {
            Some(dir) => std::path::absolute(dir)?,
            None => unique_dir(),
        };
        fs::create_dir(&dir)
            .with_context(|| format!("{} (is it a lab? `lab down` ends it)", dir.display()))?;
        fs::create_dir(dir.join("log"))?;
        fs::create_dir(dir.join("pki"))?;
        fs::write(dir.join("path"), path.as_encoded_bytes())?;
        let (frame, init) = Frame::start(&dir, tier, options.detached).inspect_err(|_| {
            let _ = fs::remove_dir_all(&dir);
        })?;
        let frame = Some(frame);
        let mut lab = Self {
            dir,
            init,
            path,
            detached: options.detached,
            parts: BTreeMap::new(),
            frame,
        };
        if let Err(error) = parts::start(&mut lab, tier, options) {
            // A failed lab has no use, detached or not.
            if lab.detached {
                down(&lab.dir)?;
            }
            return Err(error);
        }
        Ok(lab)
    }

    /// A detached lab that is up.
    pub fn attach(dir: &Path) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        let init = running(&dir).with_context(|| format!("no lab in {}", dir.display()))?;
        let path = fs::read_to_string(dir.join("path"))?.into();
        Ok(Self {
            dir,
            init,
            path,
            detached: true,
            parts: BTreeMap::new(),
            frame: None,
        })
    }

    /// Configuration, logs and state of the lab.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A client of group system:masters.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.conf")
    }

    /// A command inside the lab: the network, name service and processes are the lab's, the files are the host's.
    ///
    /// `KUBECONFIG` and `PATH` are set: kubectl, helm, curl, openssl, dig work.
    /// Its current directory is this program's, which must not be below /run, nor in the node tier /var/lib or /var/log.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--net", "--mount", "--pid"]);
        if let Ok(current) = env::current_dir() {
            command.arg([OsStr::new("--wdns="), current.as_os_str()].join(OsStr::new("")));
        }
        // Whoever kills the returned command kills nsenter, and that kills the program.
        command
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program);
        command
            .env("PATH", &self.path)
            .env("KUBECONFIG", self.kubeconfig())
            .env("LAB_DIR", &self.dir);
        // A proxy of the host is out of reach, and not all programs know an exception for everything.
        command.env("no_proxy", "*").env("NO_PROXY", "*");
        for name in ["http", "https", "all"].map(|scheme| format!("{scheme}_proxy")) {
            command.env_remove(name.to_uppercase()).env_remove(name);
        }
        command
    }

    /// Starts a command made by [`Lab::command`] in the background, with its output in the lab's `log` directory.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(
            name,
            command,
            self.dir.join("log").join(name),
            self.detached,
        )
    }

    /// A part of the lab, for example `pebble` or `apiserver`, to stop or restart.
    pub fn part(&self, name: &str) -> Result<&Process> {
        self.parts
            .get(name)
            .with_context(|| format!("the lab has no part {name}"))
    }

    /// Runs kubectl and returns what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        output(self.command("kubectl").args(arguments))
    }

    /// Applies a manifest.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        let file = self.dir.join(format!("apply-{}.yaml", next_number()));
        fs::write(&file, yaml)?;
        let applied = output(self.command("kubectl").args(["apply", "-f"]).arg(&file));
        fs::remove_file(file)?;
        applied
    }

    /// GETs a URL with the admin's client certificate, trusting the lab's CA.
    pub fn get(&self, url: &str) -> Result<String> {
        let pki = self.dir.join("pki");
        let mut command = self.command("curl");
        command
            .args(["-fsS", "--max-time", "20", "--cacert"])
            .arg(pki.join("ca.crt"));
        command
            .arg("--cert")
            .arg(pki.join("admin.crt"))
            .arg("--key")
            .arg(pki.join("admin.key"))
            .arg(url);
        output(&mut command)
    }

    /// Polls until `look` finds something. `None` and an error both mean "not yet".
    ///
    /// Fails at the deadline, with the last error, and as soon as a part of the lab has died.
    pub fn wait<T>(
        &self,
        deadline: Duration,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + deadline;
        loop {
            let last = match look() {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => "not yet".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            if let Some(failure) = self.parts.values().find_map(Process::failure) {
                return Err(failure.context(format!("waited for {what}")));
            }
            if Instant::now() >= end {
                bail!("waited {deadline:?} for {what}: {last}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Pebble's directory URL.
    pub fn acme_directory(&self) -> String {
        format!("https://{ADDRESS}:14000/dir")
    }

    /// What an ACME client has to trust to talk to Pebble, and not what Pebble issues from.
    pub fn acme_ca_pem(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("pki/ca.crt"))?)
    }

    /// The root of the certificates that Pebble issues; a new one each time that Pebble starts.
    pub fn acme_root_pem(&self) -> Result<String> {
        self.get(&format!("https://{ADDRESS}:15000/roots/0"))
    }

    /// Requests to the API server, one JSON event a line, with [`Options::audit`].
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join("log/audit.json")
    }

    /// Starts the part that `etc/PART.args` describes.
    fn run(&mut self, part: &str) -> Result<()> {
        let process = self.spawn(part, self.part_command(part)?)?;
        self.parts.insert(part.to_owned(), process);
        Ok(())
    }

    /// The command in `etc/PART.args`: the program, then an argument a line.
    fn part_command(&self, part: &str) -> Result<Command> {
        let text = fs::read_to_string(self.etc(&format!("{part}.args")))?;
        let mut lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut command = self.command(lines.next().context("a program")?);
        command.args(lines);
        Ok(command)
    }

    fn etc(&self, name: &str) -> String {
        self.dir.join("etc").join(name).display().to_string()
    }

    /// A file or directory beside the lab's programs.
    fn find(&self, name: &str) -> Result<PathBuf> {
        env::split_paths(&self.path)
            .map(|directory| directory.join(name))
            .find(|file| file.exists())
            .with_context(|| format!("no {name} in PATH"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let (false, Some(frame)) = (self.detached, &mut self.frame) {
            frame.end();
        }
    }
}

/// Runs a command to its end; an error shows what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let result = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    if !result.status.success() {
        let said = [result.stderr.as_slice(), result.stdout.as_slice()].concat();
        bail!(
            "{command:?}: {}\n{}",
            result.status,
            String::from_utf8_lossy(&said).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}

/// Lets the clock of a program begin at a time, in UTC, for example `2026-11-24 14:38:00`; how fast it goes, and what
/// the program waits for, stay as they are. Only of programs that are linked dynamically: it is the C library's clock.
pub fn begin_at(command: &mut Command, time: &str) {
    command
        .env("LD_PRELOAD", FAKETIME)
        .env("FAKETIME", format!("@{time}"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_DISABLE_SHM", "1")
        .env("TZ", "UTC");
}

/// Whether `test` has to be skipped, because only root can start labs. Says so where the test harness does not hide it,
/// and to `.ci/test`, by a line in the file `$EVERLEAF_SKIPPED`.
pub fn skipped(test: &str) -> bool {
    let skipped = !is_root();
    if skipped {
        let _ = writeln!(std::io::stderr(), "SKIPPED (needs root): {test}");
        if let Some(file) = env::var_os("EVERLEAF_SKIPPED") {
            // One that is not counted runs, and fails.
            return note(Path::new(&file), test).is_ok();
        }
    }
    skipped
}

/// Adds a line that tells the test from those of other binaries.
fn note(file: &Path, test: &str) -> Result<()> {
    let binary = env::current_exe()?;
    let line = format!("{} {test}\n", binary.display());
    let mut file = fs::File::options().create(true).append(true).open(file)?;
    Ok(file.write_all(line.as_bytes())?)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// A PATH with the programs of the tier in front, built if need be.
fn programs(tier: Tier) -> Result<OsString> {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let mut path = built(tier.name())?;
    path.extend(env::split_paths(&inherited));
    path.push("/usr/sbin".into());

    let mut debian = vec!["curl", "ip", "named", "openssl"];
    if tier == Tier::Node {
        debian.extend(["nft", "runc"]);
    }
    debian.retain(|program| {
        !path
            .iter()
            .any(|directory| directory.join(program).exists())
    });
    ensure!(
        debian.is_empty(),
        "run `make lab-deps`, to install {}",
        debian.join(", ")
    );
    Ok(env::join_paths(path)?)
}

/// Where the programs of a list in `build` are, built if need be.
fn built(list: &str) -> Result<Vec<PathBuf>> {
    let mut build = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/build"));
    let built = build.arg(list).stderr(Stdio::inherit()).output()?;
    ensure!(built.status.success(), "lab/build {list} failed");
    let built = String::from_utf8(built.stdout)?;
    Ok(built.lines().map(PathBuf::from).collect())
}

fn unique_dir() -> PathBuf {
    env::temp_dir().join(format!(
        "everleaf-lab-{}-{}",
        std_process::id(),
        next_number()
    ))
}

fn next_number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
