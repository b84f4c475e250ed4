//! Labs start, answer, and leave nothing behind.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{ADDRESS, Lab, Options, Tier, output, skipped};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn control_tier_serves_and_leaves_nothing() -> Result<()> {
    if skipped("control_tier_serves_and_leaves_nothing") {
        return Ok(());
    }
    let before = listeners()?;
    // Another lab at the same time, with the same addresses.
    let other = Lab::start(Tier::Control, &Options::default())?;
    let lab = Lab::start(
        Tier::Control,
        &Options {
            audit: true,
            ..Options::default()
        },
    )?;

    lab.apply("{apiVersion: v1, kind: Namespace, metadata: {name: only-here}}")?;
    assert!(
        lab.kubectl(&["get", "namespaces", "-o", "name"])?
            .contains("only-here")
    );
    assert!(
        !other
            .kubectl(&["get", "namespaces", "-o", "name"])?
            .contains("only-here")
    );
    assert!(fs::read_to_string(lab.audit_log())?.contains("only-here"));

    assert!(lab.get(&lab.acme_directory())?.contains("newOrder"));
    assert!(
        lab.acme_root_pem()?
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert!(
        lab.acme_ca_pem()?
            .starts_with("-----BEGIN CERTIFICATE-----")
    );

    assert!(
        output(
            lab.command("getent")
                .args(["hosts", "any.thing.example.com"])
        )?
        .starts_with(ADDRESS)
    );
    assert!(
        output(
            lab.command("getent")
                .args(["hosts", "any.nowhere.example.com"])
        )
        .is_err()
    );

    assert_eq!(lab.get("http://127.0.0.1:8082/ping")?, "OK");
    let answer = output(lab.command("curl").args([
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://www.example.com/",
    ]))?;
    assert_eq!(answer, "404", "Traefik without an Ingress");

    let server = lab.spawn("sleeper", {
        let mut sleep = lab.command("sleep");
        sleep.arg("1000");
        sleep
    })?;
    assert!(fs::read_to_string(format!("/proc/{}/comm", server.pid()?))?.starts_with("sleep"));
    server.signal("STOP")?;
    server.signal("CONT")?;
    assert_eq!(server.exit_status()?, None);
    server.signal("TERM")?;
    assert!(!server.wait(SOON)?.success());
    lab.part("pebble")?.restart()?;
    lab.wait(SOON, "pebble again", || {
        lab.get(&lab.acme_directory()).map(Some)
    })?;

    assert_eq!(before, listeners()?, "listeners on the host");
    assert!(
        !output(Command::new("ip").args(["-o", "link"]))?.contains("lab0"),
        "the bridge is on the host"
    );
    let dir = lab.dir().to_owned();
    drop(lab);
    ensure_gone(&dir)?;
    assert!(other.kubectl(&["get", "namespaces"]).is_ok());
    Ok(())
}

#[test]
fn node_tier_runs_pods() -> Result<()> {
    if skipped("node_tier_runs_pods") {
        return Ok(());
    }
    let lab = Lab::start(Tier::Node, &Options::default())?;
    lab.apply(ECHO)?;
    let get = |url: &str| output(lab.command("curl").args(["-fsS", "--max-time", "5", url]));
    let service = lab.kubectl(&["get", "service", "echo", "-o", "jsonpath={.spec.clusterIP}"])?;
    for url in [
        format!("http://{service}/hello"),
        "http://echo.default.svc/hello".into(),
        "http://www.example.com/hello".into(),
    ] {
        assert_eq!(lab.wait(SOON, &url, || get(&url).map(Some))?, "world");
    }
    // From inside: the cluster's DNS, the Service that the pod itself is behind, and Traefik.
    for url in ["http://echo/hello", "http://www.example.com/hello"] {
        let answer = lab.kubectl(&["exec", "echo-0", "--", "/testpod", "get", url])?;
        assert_eq!(answer, "200 OK\nworld");
    }
    assert!(lab.kubectl(&["logs", "echo-0"])?.contains("GET /hello"));
    assert!(output(lab.command("helm").arg("list")).is_ok());

    let dir = lab.dir().to_owned();
    drop(lab);
    ensure_gone(&dir)
}

const ECHO: &str = "
apiVersion: v1
kind: Pod
metadata: {name: echo-0, labels: {app: echo}}
spec:
  containers:
    - name: echo
      image: localhost/testpod:1
      args: [serve, ':8080', /hello=world]
      securityContext:
        runAsNonRoot: true
        readOnlyRootFilesystem: true
        seccompProfile: {type: RuntimeDefault}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: echo}
spec:
  ingressClassName: traefik
  rules:
    - host: www.example.com
      http:
        paths:
          - {path: /hello, pathType: Exact, backend: {service: {name: echo, port: {number: 80}}}}
";

#[test]
fn failed_start_says_which_part() {
    if skipped("failed_start_says_which_part") {
        return;
    }
    let options = Options {
        apiserver: vec!["--no-such-flag".into()],
        ..Options::default()
    };
    let error = Lab::start(Tier::Control, &options).expect_err("a wrong flag");
    let error = format!("{error:#}");
    assert!(error.contains("apiserver ended"), "{error}");
    assert!(error.contains("unknown flag: --no-such-flag"), "{error}");
}

/// Runs itself in another process, which kills itself.
#[test]
fn crashed_program_takes_its_lab_along() -> Result<()> {
    if skipped("crashed_program_takes_its_lab_along") {
        return Ok(());
    }
    if let Some(dir) = env::var_os("CRASH_DIR") {
        let _lab = Lab::start(
            Tier::Control,
            &Options {
                dir: Some(dir.into()),
                ..Options::default()
            },
        )?;
        output(Command::new("sh").args(["-c", "kill -KILL $PPID"]))?;
    }
    let dir = env::temp_dir().join(format!("everleaf-crash-{}", process::id()));
    let mut crash = Command::new(env::current_exe()?);
    crash
        .args(["--exact", "crashed_program_takes_its_lab_along"])
        .env("CRASH_DIR", &dir);
    let status = crash.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    assert_eq!(status.signal(), Some(9));
    let end = Instant::now() + SOON;
    while ensure_gone(&dir).is_err() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    ensure_gone(&dir)
}

/// Which of a lab's ports somebody listens at on the host. Other ports may belong to other tests.
fn listeners() -> Result<Vec<String>> {
    let sockets = output(Command::new("ss").args(["-Hltnu"]))?;
    let local = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4));
    let ports = [
        ":53", ":80", ":443", ":2379", ":6443", ":8082", ":10250", ":10257", ":14000", ":15000",
    ];
    Ok(local
        .filter(|local| ports.iter().any(|port| local.ends_with(port)))
        .map(str::to_owned)
        .collect())
}

/// No directory, no cgroup, no process with the lab's mark.
fn ensure_gone(dir: &Path) -> Result<()> {
    ensure!(!dir.exists(), "{} is left", dir.display());
    let name = dir.file_name().context("a name")?.to_string_lossy();
    let mut find = Command::new("find");
    find.args([
        "/sys/fs/cgroup",
        // Other labs end meanwhile.
        "-ignore_readdir_race",
        "-maxdepth",
        "2",
        "-name",
        &format!("everleaf*{name}"),
    ]);
    ensure!(output(&mut find)?.is_empty(), "cgroups are left");
    let mark = format!("LAB_DIR={}", dir.display());
    let left = Command::new("grep")
        .args(["-lzxF", &mark])
        .args(processes()?)
        .stderr(Stdio::null())
        .output()?;
    ensure!(
        left.stdout.is_empty(),
        "processes are left: {}",
        String::from_utf8_lossy(&left.stdout)
    );
    Ok(())
}

fn processes() -> Result<Vec<String>> {
    let names =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names
        .filter(|name| name.parse::<u32>().is_ok())
        .map(|name| format!("/proc/{name}/environ"))
        .collect())
}
