//! What a lab runs, part by part.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{ADDRESS, EAB_KEY, Lab, Options, Process, TSIG_SECRET, Tier, pki};

const API: &str = "https://10.244.0.1:6443";
/// Long, since a loaded machine stretches a start evenly; a part that dies is noticed at once.
const DEADLINE: Duration = Duration::from_mins(2);

/// Starts everything, in an order that keeps both cores busy, and waits until it is ready.
pub(crate) fn start(lab: &mut Lab, _tier: Tier, options: &Options) -> Result<()> {
    etcd(lab)?;
    certificates(&lab.dir)?;
    api_server(lab, options)?;
    dns(lab)?;
    pebble(lab, options)?;
    ready(lab, "apiserver", &format!("{API}/readyz"))?;
    controller_manager(lab)?;
    traefik(lab)?;
    ready(
        lab,
        "controller-manager",
        &format!("{API}/api/v1/namespaces/default/serviceaccounts/default"),
    )?;
    ready(lab, "pebble", &lab.acme_directory())?;
    ready(lab, "traefik", "http://127.0.0.1:8082/ping")?;
    let named = lab.part("dns")?;
    lab.wait(DEADLINE, "dns", || {
        Ok(named.log()?.contains("running").then_some(()))
    })
}

fn ready(lab: &Lab, part: &str, url: &str) -> Result<()> {
    lab.wait(DEADLINE, part, || lab.get(url).map(Some))
        .with_context(|| {
            lab.part(part)
                .map_or_else(|error| error.to_string(), Process::log_end)
        })
        .map(|_| ())
}

fn certificates(dir: &Path) -> Result<()> {
    let pki = &dir.join("pki");
    pki::authority(pki, "ca")?;
    pki::authority(pki, "front-proxy-ca")?;
    pki::token_key(pki)?;
    let names = format!(
        "IP:{ADDRESS},IP:10.0.0.1,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
         DNS:kubernetes.default.svc.cluster.local"
    );
    pki::certificate(pki, "ca", "apiserver", "/CN=kube-apiserver", &names)?;
    pki::certificate(pki, "ca", "pebble", "/CN=pebble", &format!("IP:{ADDRESS}"))?;
    pki::certificate(
        pki,
        "ca",
        "kubelet-client",
        "/O=system:masters/CN=kube-apiserver-kubelet-client",
        "",
    )?;
    pki::certificate(
        pki,
        "front-proxy-ca",
        "front-proxy-client",
        "/CN=front-proxy-client",
        "",
    )?;
    client(dir, "admin", "/O=system:masters/CN=kubernetes-admin")?;
    client(
        dir,
        "controller-manager",
        "/CN=system:kube-controller-manager",
    )
}

/// A client certificate and a kubeconfig that uses it.
fn client(dir: &Path, name: &str, subject: &str) -> Result<()> {
    let pki = &dir.join("pki");
    pki::certificate(pki, "ca", name, subject, "")?;
    let user = json!({"client-certificate": pki.join(format!("{name}.crt")), "client-key": pki.join(format!("{name}.key"))});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": API, "certificate-authority": pki.join("ca.crt")}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
    });
    Ok(fs::write(
        dir.join(format!("{name}.conf")),
        config.to_string(),
    )?)
}

/// A short election makes the start faster by a second.
fn etcd(lab: &mut Lab) -> Result<()> {
    let data = lab.dir.join("etcd");
    lab.run(
        "etcd",
        "etcd",
        &flags(&format!(
            "
        --data-dir={}
        --unsafe-no-fsync
        --quota-backend-bytes=8589934592
        --heartbeat-interval=20
        --election-timeout=200
    ",
            data.display()
        )),
        &[],
    )
}

fn api_server(lab: &mut Lab, options: &Options) -> Result<()> {
    let dir = lab.dir.display();
    let mut arguments = flags(&format!(
        "
        --etcd-servers=http://127.0.0.1:2379
        --bind-address={ADDRESS}
        --advertise-address={ADDRESS}
        --endpoint-reconciler-type=lease
        --service-cluster-ip-range=10.0.0.0/16
        --authorization-mode=Node,RBAC
        --enable-admission-plugins=NodeRestriction
        --allow-privileged=true
        --client-ca-file={dir}/pki/ca.crt
        --tls-cert-file={dir}/pki/apiserver.crt
        --tls-private-key-file={dir}/pki/apiserver.key
        --service-account-issuer=https://kubernetes.default.svc.cluster.local
        --service-account-key-file={dir}/pki/sa.pub
        --service-account-signing-key-file={dir}/pki/sa.key
        --kubelet-client-certificate={dir}/pki/kubelet-client.crt
        --kubelet-client-key={dir}/pki/kubelet-client.key
        --kubelet-preferred-address-types=InternalIP
        --requestheader-client-ca-file={dir}/pki/front-proxy-ca.crt
        --requestheader-allowed-names=front-proxy-client
        --requestheader-username-headers=X-Remote-User
        --requestheader-group-headers=X-Remote-Group
        --requestheader-extra-headers-prefix=X-Remote-Extra-
        --enable-aggregator-routing=true
        --proxy-client-cert-file={dir}/pki/front-proxy-client.crt
        --proxy-client-key-file={dir}/pki/front-proxy-client.key
    "
    ));
    if options.audit {
        let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";
        fs::write(lab.dir.join("audit.yaml"), policy)?;
        arguments.extend(flags(&format!(
            "
            --audit-policy-file={dir}/audit.yaml
            --audit-log-path={}
            --audit-log-maxsize=100000
        ",
            lab.audit_log().display()
        )));
    }
    arguments.extend(options.apiserver.iter().cloned());
    lab.run("apiserver", "kube-apiserver", &arguments, &[])
}

/// Unthrottled: with its default limits it takes six seconds to start.
fn controller_manager(lab: &mut Lab) -> Result<()> {
    let dir = lab.dir.display();
    let arguments = flags(&format!(
        "
        --kubeconfig={dir}/controller-manager.conf
        --bind-address=127.0.0.1
        --kube-api-qps=1000
        --kube-api-burst=1000
        --use-service-account-credentials
        --leader-elect=false
        --root-ca-file={dir}/pki/ca.crt
        --service-account-private-key-file={dir}/pki/sa.key
        --cluster-signing-cert-file={dir}/pki/ca.crt
        --cluster-signing-key-file={dir}/pki/ca.key
        --allocate-node-cidrs
        --cluster-cidr=10.244.0.0/16
        --service-cluster-ip-range=10.0.0.0/16
    "
    ));
    lab.run(
        "controller-manager",
        "kube-controller-manager",
        &arguments,
        &[],
    )
}

/// Names for the tests, and nothing else of the world: all other names do not exist.
fn dns(lab: &mut Lab) -> Result<()> {
    let dir = lab.dir.join("dns");
    fs::create_dir(&dir)?;
    let zone = |name: &str, records: &str| {
        fs::write(
            dir.join(name),
            format!(
                "$TTL 1\n@ SOA ns.example.com. root.example.com. 1 60 60 600 1\n@ NS ns.example.com.\n{records}"
            ),
        )
    };
    zone(
        "root",
        &format!("example.com NS ns.example.com.\nns.example.com A {ADDRESS}\n"),
    )?;
    // An alias below the wildcard has to be spelled out; a zone below it, delegated.
    zone(
        "example.com",
        &format!(
            "
ns A {ADDRESS}
@ A {ADDRESS}
* A {ADDRESS}
alias A {ADDRESS}
_acme-challenge.alias CNAME alias.dns01.example.com.
dns01 NS ns
nowhere NS ns
broken NS ns
"
        ),
    )?;
    // No wildcard here: an update below a name would hide the name from it.
    zone("dns01.example.com", &format!("@ A {ADDRESS}\n"))?;
    zone("nowhere.example.com", "")?;
    fs::write(
        dir.join("named.conf"),
        format!(
            r#"
options {{
  directory "{}"; pid-file none; session-keyfile none; listen-on {{ {ADDRESS}; }}; listen-on-v6 {{ none; }};
  recursion yes; allow-recursion {{ any; }}; dnssec-validation no; notify no; empty-zones-enable no;
}};
controls {{ }};
key "lab" {{ algorithm hmac-sha256; secret "{TSIG_SECRET}"; }};
zone "." {{ type primary; file "root"; }};
zone "example.com" {{ type primary; file "example.com"; }};
zone "nowhere.example.com" {{ type primary; file "nowhere.example.com"; }};
zone "dns01.example.com" {{ type primary; file "dns01.example.com"; allow-update {{ key "lab"; }}; }};
// A file that does not exist: SERVFAIL.
zone "broken.example.com" {{ type primary; file "broken.example.com"; }};
"#,
            dir.display()
        ),
    )?;
    // A copy, since Debian's AppArmor profile keeps /usr/sbin/named out of this directory.
    let named = dir.join("named");
    let installed = std::env::split_paths(&lab.path)
        .map(|directory| directory.join("named"))
        .find(|file| file.exists());
    fs::copy(installed.context("named")?, &named)?;
    lab.run(
        "dns",
        &named.display().to_string(),
        &[
            "-g".into(),
            "-c".into(),
            dir.join("named.conf").display().to_string(),
        ],
        &[],
    )
}

fn pebble(lab: &mut Lab, options: &Options) -> Result<()> {
    let pki = lab.dir.join("pki");
    let profile =
        |name: &str, seconds: u32| json!({"description": name, "validityPeriod": seconds});
    let config = json!({"pebble": {
        "listenAddress": format!("{ADDRESS}:14000"), "managementListenAddress": format!("{ADDRESS}:15000"),
        "certificate": pki.join("pebble.crt"), "privateKey": pki.join("pebble.key"),
        "httpPort": 80, "tlsPort": 443, "keyAlgorithm": "ecdsa",
        "externalAccountBindingRequired": options.eab, "externalAccountMACKeys": {"kid-1": EAB_KEY},
        "domainBlocklist": ["blocked.example.com"], "retryAfter": {"authz": 1, "order": 1},
        "profiles": {
            "default": profile("90 days", 90 * 86400), "shortlived": profile("6 days", 6 * 86400),
            "seconds": profile("120 seconds", 120), "minute": profile("60 seconds", 60),
        },
    }});
    let file = lab.dir.join("pebble.json");
    fs::write(&file, config.to_string())?;
    let mut environment = vec![("PEBBLE_VA_NOSLEEP".to_owned(), "1".to_owned())];
    environment.extend(options.pebble.iter().cloned());
    let arguments = [
        "-config".into(),
        file.display().to_string(),
        "-dnsserver".into(),
        format!("{ADDRESS}:53"),
    ];
    lab.run("pebble", "pebble", &arguments, &environment)
}

fn traefik(lab: &mut Lab) -> Result<()> {
    let class = |name: &str, controller: &str| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": name}, "spec": {"controller": controller},
        })
    };
    let classes = [
        class("traefik", "traefik.io/ingress-controller"),
        class("nginx", "k8s.io/ingress-nginx"),
    ];
    lab.apply(&json!({"apiVersion": "v1", "kind": "List", "items": classes}).to_string())?;
    lab.run(
        "traefik",
        "traefik",
        &flags(&format!(
            "
        --global.checknewversion=false
        --global.sendanonymoususage=false
        --log.level=INFO
        --entrypoints.web.address={ADDRESS}:80
        --entrypoints.websecure.address={ADDRESS}:443
        --entrypoints.websecure.http.tls=true
        --entrypoints.ping.address=127.0.0.1:8082
        --ping.entrypoint=ping
        --providers.providersthrottleduration=100ms
        --providers.kubernetesingress
        --providers.kubernetesingress.ingressendpoint.ip={ADDRESS}
        --providers.kubernetesingressnginx
    "
        )),
        &[],
    )
}

/// One argument a line.
fn flags(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}
