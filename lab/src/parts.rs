//! What a lab runs. How each program is called and configured stands in `etc`.

use std::{env, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{EAB_KEY, Lab, Options, Process, TSIG_SECRET, Tier, frame, output, pki};

const API: &str = "https://10.244.0.1:6443";

/// Long, since a busy machine stretches a start evenly. A part that dies is noticed at once.
const DEADLINE: Duration = Duration::from_mins(2);

/// Starts everything, in an order that keeps both cores busy, and waits until it is ready.
pub(crate) fn start(lab: &mut Lab, tier: Tier, options: &Options) -> Result<()> {
    configure(lab, options)?;
    lab.run("etcd")?;
    if tier == Tier::Node {
        lab.run("containerd")?;
    }
    certificates(&lab.dir, options.clock.as_deref())?;
    lab.run("apiserver")?;
    lab.run("dns")?;
    lab.run("pebble")?;
    if tier == Tier::Node {
        let containerd = || output(lab.command("ctr").arg("version")).map(Some);
        lab.wait(DEADLINE, "containerd", containerd)?;
        let program = lab.find("testpod")?;
        lab.load_program("localhost/pause:1", &program, &["pause"])?;
        lab.load_program("localhost/testpod:1", &program, &[])?;
    }
    ready(lab, "apiserver", &format!("{API}/readyz"))?;
    lab.run("controller-manager")?;
    if tier == Tier::Node {
        for part in ["kubelet", "scheduler", "kube-proxy", "coredns"] {
            lab.run(part)?;
        }
    }
    lab.kubectl(&["apply", "-f", &lab.etc("ingress-classes.yaml")])?;
    if options.gateway {
        let crds = lab.find("gateway-api")?.display().to_string();
        lab.kubectl(&["apply", "--server-side", "-f", &crds])?;
        let established = ["wait", "--for=condition=Established", "crd", "--all"];
        lab.kubectl(&[&established[..], &["--timeout=120s"]].concat())?;
        lab.kubectl(&["apply", "-f", &lab.etc("gateway.yaml")])?;
    }
    lab.run("traefik")?;
    let account = format!("{API}/api/v1/namespaces/default/serviceaccounts/default");
    ready(lab, "controller-manager", &account)?;
    ready(lab, "pebble", &lab.acme_directory())?;
    ready(lab, "traefik", "http://127.0.0.1:8082/ping")?;
    if tier == Tier::Node {
        ready(lab, "kube-proxy", "http://127.0.0.1:10256/healthz")?;
        let wait = ["wait", "--for=condition=Ready", "node/lab", "--timeout=1s"];
        until(lab, "kubelet", || lab.kubectl(&wait).map(Some))?;
    }
    // By the resolver that everything in the lab uses: CoreDNS, where there is a node.
    let name = if tier == Tier::Node { "coredns" } else { "dns" };
    until(lab, name, || {
        output(lab.command("getent").args(["hosts", "example.com"])).map(Some)
    })
}

fn ready(lab: &Lab, part: &str, url: &str) -> Result<()> {
    until(lab, part, || lab.get(url).map(Some))
}

/// As [`Lab::wait`]; a failure shows the end of the part's log.
fn until(lab: &Lab, part: &str, look: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    let log = || {
        lab.part(part)
            .map_or_else(|error| error.to_string(), Process::log_end)
    };
    lab.wait(DEADLINE, part, look).map(|_| ()).with_context(log)
}

/// Copies `etc` into the lab, with the lab's own values in place of the names in braces.
fn configure(lab: &Lab, options: &Options) -> Result<()> {
    let dir = lab.dir.display().to_string();
    let mut flags = options.apiserver.clone();
    if options.audit {
        flags.push(format!("--audit-policy-file={dir}/etc/audit.yaml"));
        flags.push(format!("--audit-log-path={}", lab.audit_log().display()));
        flags.push("--audit-log-maxsize=100000".into());
    }
    let pebble: Vec<_> = options
        .pebble
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let cni = lab
        .find("cni")
        .map(|dir| dir.display().to_string())
        .unwrap_or_default();
    let gateway = if options.gateway {
        "--providers.kubernetesgateway"
    } else {
        ""
    };
    let values = [
        ("{cgroup}", frame::cgroup(&lab.dir)),
        ("{dir}", dir),
        ("{cni}", cni),
        ("{apiserver}", flags.join("\n")),
        ("{pebble}", pebble.join("\n")),
        ("{gateway}", gateway.to_owned()),
        ("{eab}", options.eab.to_string()),
        ("{eab_key}", EAB_KEY.to_owned()),
        ("{tsig}", TSIG_SECRET.to_owned()),
    ];
    copy(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/etc")),
        &lab.dir.join("etc"),
        &values,
    )?;
    fs::copy(lab.find("named")?, lab.dir.join("named"))?;
    Ok(())
}

fn copy(from: &Path, to: &Path, values: &[(&str, String)]) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, values)?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            let text = values
                .iter()
                .fold(text, |text, (name, value)| text.replace(name, value));
            fs::write(target, text)?;
        }
    }
    Ok(())
}

fn certificates(dir: &Path, clock: Option<&str>) -> Result<()> {
    let made = dir.join("pki");
    let pki = pki::Place { dir: &made, clock };
    pki::authority(pki, "ca")?;
    pki::authority(pki, "front-proxy-ca")?;
    pki::token_key(pki)?;
    pki::certificate(
        pki,
        "front-proxy-ca",
        "front-proxy-client",
        "/CN=front-proxy-client",
        "",
    )?;
    let api = "IP:10.244.0.1,IP:10.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
               DNS:kubernetes.default.svc.cluster.local";
    for (name, subject, names) in [
        ("apiserver", "/CN=kube-apiserver", api),
        ("pebble", "/CN=pebble", "IP:10.244.0.1"),
        ("dns", "/CN=dns", "IP:10.244.0.1"),
        ("admin", "/O=system:masters/CN=kubernetes-admin", ""),
        (
            "controller-manager",
            "/CN=system:kube-controller-manager",
            "",
        ),
        ("scheduler", "/CN=system:kube-scheduler", ""),
        ("kube-proxy", "/CN=system:kube-proxy", ""),
        (
            "node",
            "/O=system:nodes/CN=system:node:lab",
            "IP:10.244.0.1,DNS:lab",
        ),
    ] {
        pki::certificate(pki, "ca", name, subject, names)?;
        let file = |end: &str| made.join(format!("{name}{end}"));
        let cluster = json!({"server": API, "certificate-authority": made.join("ca.crt")});
        let user = json!({"client-certificate": file(".crt"), "client-key": file(".key")});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        });
        fs::write(dir.join(format!("{name}.conf")), config.to_string())?;
    }
    Ok(())
}
