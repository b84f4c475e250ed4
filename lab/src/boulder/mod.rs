//! Boulder, the server of Let's Encrypt, beside a lab's own parts, for who asks for one: it is sixteen processes.

mod admin;
mod authority;
mod config;
mod record;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{ADDRESS, Lab, Process, built, output, pki};
pub use record::{Authorization, Order, Request, Revocation};

/// What Boulder's names resolve to: it validates at no address that is reserved. Connections to it reach [`ADDRESS`].
pub const PUBLIC_ADDRESS: &str = "64.112.117.122";

/// Who it takes itself for in CAA records.
pub const CAA_IDENTITY: &str = "happy-hacker-ca.invalid";

/// Long, since a busy machine stretches a start evenly. A process that dies is noticed at once.
const DEADLINE: Duration = Duration::from_mins(2);

/// How long it may take to be sure that it reaches the others: a gRPC client that was refused once waits.
const SETTLED: Duration = Duration::from_secs(30);

/// A service: its name here, its command, its configuration, its port.
type Service = (&'static str, &'static str, &'static str, u16);

/// In the order in which they start. Those of a stage depend on those of the stages before it.
const STAGES: [&[Service]; 4] = [
    &[
        ("sa", "boulder-sa", "sa", 4410),
        ("rva-a", "remoteva", "remoteva-a", 4411),
        ("rva-b", "remoteva", "remoteva-b", 4412),
        ("rva-c", "remoteva", "remoteva-c", 4413),
        ("nonce", "nonce-service", "nonce-a", 4414),
        ("publisher", "boulder-publisher", "publisher", 4415),
    ],
    &[
        ("va", "boulder-va", "va", 4416),
        ("ra-sct-provider", "boulder-ra", "ra", 4417),
    ],
    &[
        ("ca", "boulder-ca", "ca", 4418),
        ("ra", "boulder-ra", "ra", 4419),
        ("ra-next", "boulder-ra", "ra-next", 4420),
    ],
    &[
        ("wfe", "boulder-wfe2", "wfe2", 4401),
        ("wfe-next", "boulder-wfe2", "wfe2-next", 4402),
    ],
];

/// Its database and its counters; their ports stand in `etc/boulder` too.
const MARIADB: u16 = 4430;
const REDIS: u16 = 4431;

/// The first of its transparency logs.
const LOGS: u16 = 4440;

/// The lab's DNS, for queries over HTTPS.
const DNS_OVER_HTTPS: u16 = 8053;

/// What may differ from one Boulder to another.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its rate limits, as in Boulder's `test/config/ratelimit-defaults.yml`. Default: `etc/boulder/limits.yml`.
    pub limits: Option<String>,
    /// Exceptions from the limits, as in Boulder's `test/config/ratelimit-overrides.yml`. Default: none.
    pub overrides: Option<String>,
}

/// A running Boulder. Dropping it ends it.
#[derive(Debug)]
pub struct Boulder {
    programs: PathBuf,
    /// Its configuration and state.
    dir: PathBuf,
    processes: BTreeMap<&'static str, Process>,
}

impl Boulder {
    /// Builds it if need be and starts it. A lab can have one.
    pub fn start(lab: &Lab, options: &Options) -> Result<Self> {
        for program in [
            "mariadbd",
            "mariadb-install-db",
            "mariadb",
            "redis-check-rdb",
            "nft",
        ] {
            lab.find(program).context("run `make lab-deps`")?;
        }
        let programs = built("boulder")?;
        let programs = programs.into_iter().next().context("no boulder")?;
        let dir = lab.dir().join("boulder");
        fs::create_dir(&dir).context("a lab has one Boulder")?;
        let names = format!("IP:{ADDRESS},IP:127.0.0.1,{}", config::INTERNAL_NAMES);
        let pki = lab.dir().join("pki");
        let place = pki::Place {
            dir: &pki,
            clock: None,
        };
        pki::certificate(place, "ca", "boulder", "/CN=boulder", &names)?;
        let share = programs.join("share");
        thread::scope(|threads| {
            let database = threads.spawn(|| install_database(lab, &dir));
            authority::create(&dir.join("webpki"))?;
            config::write(lab, &share, &dir, options)?;
            let joined = database.join();
            joined.map_err(|_| anyhow!("the database's thread panicked"))?
        })?;
        let mut boulder = Self {
            programs,
            dir,
            processes: BTreeMap::new(),
        };
        route(lab)?;
        boulder.start_stores(lab)?;
        for stage in STAGES {
            boulder.start_stage(lab, stage)?;
        }
        for url in [boulder.directory(), boulder.next_directory()] {
            boulder.wait(lab, SETTLED, &url, || lab.get(&url).map(drop))?;
            // Answered by the service that the front end finds by itself.
            let nonce = url.replace("directory", "acme/new-nonce");
            boulder.wait(lab, SETTLED, &nonce, || lab.get(&nonce).map(drop))?;
        }
        Ok(boulder)
    }

    /// The directory's URL, with a certificate of `pki/ca.crt`. It finalizes while the client waits, as upstream's
    /// `test/config` has it.
    pub fn directory(&self) -> String {
        format!("https://{ADDRESS}:{}/directory", config::FRONT.tls)
    }

    /// The directory of a second front end to the same accounts and certificates, with what comes next: it finalizes after
    /// the answer (`processing`), and offers the challenges `dns-account-01` and `dns-persist-01`.
    pub fn next_directory(&self) -> String {
        format!("https://{ADDRESS}:{}/directory", config::NEXT_FRONT.tls)
    }

    /// The roots of what it issues, PEM: RSA, and ECDSA.
    pub fn roots_pem(&self) -> Result<String> {
        let root =
            |name: &str| fs::read_to_string(self.dir.join(format!("webpki/root-{name}.cert.pem")));
        Ok(root("rsa")? + &root("ecdsa")?)
    }

    /// One of its processes, for example `va`, `ra`, `wfe`, `mariadb`, to stop or restart; its log is what it said.
    pub fn process(&self, name: &str) -> Result<&Process> {
        self.processes
            .get(name)
            .with_context(|| format!("no {name}"))
    }

    /// What keeps its state: the database with its schema, the counters of its limits, the transparency logs.
    fn start_stores(&mut self, lab: &Lab) -> Result<()> {
        symlink(lab.find("redis-check-rdb")?, self.dir.join("redis-server"))?;
        for part in ["mariadb", "redis"] {
            let command = lab.part_command(&format!("boulder/{part}"))?;
            self.spawn(lab, part, command)?;
        }
        let mut logs = lab.command(self.programs.join("ct-test-srv"));
        logs.arg("--config")
            .arg(self.dir.join("ct-test-srv/ct-test-srv.json"));
        self.spawn(lab, "ct", logs)?;
        self.wait_ports(lab, &[MARIADB, REDIS, LOGS])?;
        for file in [
            "00-create-databases",
            "01-boulder_sa",
            "01-incidents_sa",
            "01-mtcmeta_44947_4_1_0_44",
            "02-users",
        ] {
            let sql = fs::read_to_string(self.programs.join(format!("share/db/{file}.sql")))?;
            self.sql(lab, &sql)?;
        }
        Ok(())
    }

    fn start_stage(&mut self, lab: &Lab, stage: &[Service]) -> Result<()> {
        for &(name, subcommand, config, port) in stage {
            let mut command = lab.command(self.programs.join("boulder"));
            command.arg(subcommand).arg("--config");
            command.arg(self.dir.join("config").join(format!("{config}.json")));
            command.args(["--addr", &format!("127.0.0.1:{port}")]);
            command.args(["--debug-addr", &format!("127.0.0.1:{}", port + 100)]);
            self.spawn(lab, name, command)?;
        }
        let ports: Vec<_> = stage.iter().map(|service| service.3).collect();
        self.wait_ports(lab, &ports)
    }

    fn spawn(
        &mut self,
        lab: &Lab,
        name: &'static str,
        command: std::process::Command,
    ) -> Result<()> {
        let process = lab.spawn(&format!("boulder-{name}"), command)?;
        self.processes.insert(name, process);
        Ok(())
    }

    fn wait_ports(&self, lab: &Lab, ports: &[u16]) -> Result<()> {
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let script = r#"for port; do : <>"/dev/tcp/127.0.0.1/$port" || exit; done"#;
        self.wait(lab, DEADLINE, &format!("ports {ports:?}"), || {
            output(
                lab.command("bash")
                    .args(["-c", script, "bash"])
                    .args(&ports),
            )
            .map(drop)
        })
    }

    /// As [`Lab::wait`], and fails as soon as a process of its own has died.
    fn wait(
        &self,
        lab: &Lab,
        deadline: Duration,
        what: &str,
        look: impl Fn() -> Result<()>,
    ) -> Result<()> {
        lab.wait(deadline, what, || {
            let dead = self.processes.values().find_map(Process::failure);
            dead.map_or_else(|| look().map(|()| Some(Ok(()))), |died| Ok(Some(Err(died))))
        })?
    }

    /// What the database answers, a row a line, its columns separated by tabs.
    fn sql(&self, lab: &Lab, statements: &str) -> Result<String> {
        let mut client = lab.command("mariadb");
        client.args([
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            "--socket",
        ]);
        client.arg(self.dir.join("mariadb.sock"));
        client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut client = client.spawn().context("mariadb")?;
        let mut input = client.stdin.take().context("its input")?;
        input.write_all(statements.as_bytes())?;
        drop(input);
        let said = client.wait_with_output()?;
        ensure!(
            said.status.success(),
            "mariadb: {}",
            String::from_utf8_lossy(&said.stderr).trim_end()
        );
        Ok(String::from_utf8(said.stdout)?)
    }
}

/// An empty database.
fn install_database(lab: &Lab, dir: &Path) -> Result<()> {
    let mut install = lab.command("mariadb-install-db");
    install.args(["--no-defaults", "--user=root", "--skip-test-db"]);
    install.arg("--auth-root-authentication-method=normal");
    install.arg("--innodb-log-file-size=8M");
    install.arg(format!("--datadir={}", dir.join("mariadb").display()));
    output(&mut install).map(drop)
}

/// Gives the lab the public address, and lets connections to it arrive where the lab's own arrive.
fn route(lab: &Lab) -> Result<()> {
    let mut ip = lab.command("ip");
    ip.args([
        "address",
        "add",
        &format!("{PUBLIC_ADDRESS}/32"),
        "dev",
        "lo",
    ]);
    output(&mut ip)?;
    output(
        lab.command("nft")
            .args(["-f", &lab.etc("boulder/route.nft")]),
    )?;
    Ok(())
}
