//! Flags, as the command line meets them.

use std::process::{Command, Output};

use anyhow::Result;

use crate::support::everleaf;

/// Run `everleaf controller` where there is no cluster: it ends, and says why.
fn controller(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(everleaf());
    command.arg("controller").args(arguments);
    command.args(["--kubeconfig", "/nowhere/kubeconfig"]);
    Ok(command.output()?)
}

fn complaint(arguments: &[&str]) -> Result<String> {
    let output = controller(arguments)?;
    assert!(!output.status.success(), "{arguments:?} is accepted");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_unknown_flag_is_named() -> Result<()> {
    let said = complaint(&["--leader-elct=false"])?;
    assert!(said.contains("--leader-elct"), "{said}");
    Ok(())
}

#[test]
fn an_unknown_gate_is_named_with_those_that_there_are() -> Result<()> {
    let said = complaint(&["--feature-gates=ServerSideAply=true"])?;
    assert!(
        said.contains("ServerSideAply") && said.contains("ServerSideApply"),
        "{said}"
    );
    Ok(())
}

#[test]
fn an_unknown_controller_is_named_with_those_that_there_are() -> Result<()> {
    let said = complaint(&["--controllers=*,-ingress-shin"])?;
    assert!(
        said.contains("ingress-shin") && said.contains("ingress-shim"),
        "{said}"
    );
    Ok(())
}

/// (Flag of the Lease, value, what it has to be longer than.)
#[test]
fn times_with_which_two_could_lead_are_refused() -> Result<()> {
    for (flag, value, than) in [
        ("lease-duration", "40s", "the renew-deadline"),
        ("lease-duration", "40900ms", "the renew-deadline"),
        ("renew-deadline", "18s", "the retry-period"),
        ("retry-period", "0s", "0s"),
    ] {
        let given = format!("--leader-election-{flag}={value}");
        let said = complaint(&[&given])?;
        let named = format!("--leader-election-{flag}");
        assert!(said.contains(&named) && said.contains(than), "{said}");
        let said = complaint(&[&given, "--leader-elect=false"])?;
        assert!(!said.contains(&named), "nobody holds one: {said}");
    }
    Ok(())
}

#[test]
fn a_value_that_does_not_fit_is_named() -> Result<()> {
    let said = complaint(&["--leader-election-lease-duration=soon"])?;
    assert!(
        said.contains("--leader-election-lease-duration") && said.contains("soon"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_name_server_that_is_none_is_named() -> Result<()> {
    for value in ["dns.example", "192.0.2.53:53,http://dns.example/"] {
        let said = complaint(&[&format!("--dns01-recursive-nameservers={value}")])?;
        let words = "an address, an address with port, or an https URL is needed";
        assert!(
            said.contains("--dns01-recursive-nameservers") && said.contains(words),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn a_size_that_lets_nothing_through_is_named() -> Result<()> {
    for flag in [
        "--max-certificate-size",
        "--max-private-key-size",
        "--max-certificate-chain-length",
        "--max-certificate-bundle-size",
    ] {
        for value in ["0", "-1", "13k"] {
            let said = complaint(&[&format!("{flag}={value}")])?;
            assert!(said.contains(flag) && said.contains("is no size"), "{said}");
        }
    }
    Ok(())
}

/// Take these arguments; what they are refused for is the kubeconfig.
fn taken(arguments: &[&str]) -> Result<String> {
    let said = complaint(arguments)?;
    assert!(
        said.contains("/nowhere/kubeconfig"),
        "{arguments:?}: {said}"
    );
    Ok(said)
}

#[test]
fn the_last_value_of_a_flag_that_is_given_twice_counts() -> Result<()> {
    for arguments in [
        ["--v=2", "--v=4"],
        ["--leader-elect=false", "--leader-elect"],
        [
            "--leader-election-lease-duration=1s",
            "--leader-election-lease-duration=1m",
        ],
        ["--http01-mode=Pod", "--http01-mode=Direct"],
        ["--config=a", "--config=b"],
        ["--enable-gateway-api", "--enable-gateway-api=false"],
    ] {
        taken(&arguments)?;
    }
    let debug = taken(&[
        "--v=0",
        "--logging-format=text",
        "--logging-format=json",
        "--v=2",
        "--config=x",
    ])?;
    assert!(debug.contains("\"level\":\"WARN\""), "{debug}");
    // Those of a list are all in it.
    let said = complaint(&["--controllers=*,-ingress-shin", "--controllers=-orders"])?;
    assert!(said.contains("ingress-shin"), "{said}");
    Ok(())
}

#[test]
fn values_are_taken_as_go_writes_them() -> Result<()> {
    for value in [
        "true", "True", "TRUE", "t", "T", "1", "false", "False", "FALSE", "f", "F", "0",
    ] {
        taken(&[
            &format!("--leader-elect={value}"),
            &format!("--feature-gates=ServerSideApply={value},ACMEUseARI={value}"),
        ])?;
    }
    let said = complaint(&["--leader-elect=yes"])?;
    assert!(said.contains("\"yes\" is neither true nor false"), "{said}");
    let said = complaint(&["--feature-gates=ServerSideApply=on"])?;
    assert!(
        said.contains("ServerSideApply: \"on\" is neither true nor false"),
        "{said}"
    );
    for flag in [
        "--feature-gates=",
        "--acme-http01-solver-extra-labels=",
        "--dns01-recursive-nameservers=",
        "--controllers=",
        "--copied-annotation-prefixes=",
        "--extra-certificate-annotations=",
        "--auto-certificate-annotations=",
    ] {
        taken(&[flag])?;
    }
    Ok(())
}

#[test]
fn controllers_that_this_version_does_not_have_are_taken_and_named() -> Result<()> {
    let off = taken(&["--controllers=*,-certificatesigningrequests-issuer-ca,-gateway-shim"])?;
    assert!(!off.contains("without effect"), "{off}");
    let on = "--controllers=certificatesigningrequests-issuer-acme";
    let said = taken(&[on, "--controllers=issuers"])?;
    assert!(
        said.contains("without effect") && said.contains(on),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_proxy_before_the_api_server_is_named_with_the_way_around_it() -> Result<()> {
    let cluster = "{name: far, cluster: {server: 'https://192.0.2.1:6443'}}";
    let context = "{name: far, context: {cluster: far, user: me}}";
    let kubeconfig = format!(
        "{{apiVersion: v1, kind: Config, current-context: far, clusters: [{cluster}], contexts: [{context}], users: \
         [{{name: me, user: {{token: x}}}}]}}"
    );
    let file = std::env::temp_dir().join(format!("everleaf-proxy-{}", std::process::id()));
    std::fs::write(&file, kubeconfig)?;
    for name in ["HTTPS_PROXY", "https_proxy"] {
        let mut command = Command::new(everleaf());
        command.arg("controller").arg("--kubeconfig").arg(&file);
        command
            .env(name, "http://127.0.0.1:9")
            .env("NO_PROXY", "example.com");
        let output = command.output()?;
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        let words = "put the host of https://192.0.2.1:6443/ into NO_PROXY";
        assert!(said.contains(words), "{name}: {said}");
    }
    Ok(std::fs::remove_file(file)?)
}

/// All flags of cert-manager's controller (contract §7.2; `pkg/logs/logs.go`), with a value each.
const CONTRACT: &[&str] = &[
    "--kube-api-qps=20",
    "--kube-api-burst=50",
    "--cluster-resource-namespace=cert-manager",
    "--namespace=",
    "--leader-elect=true",
    "--leader-election-namespace=kube-system",
    "--leader-election-lease-duration=60s",
    "--leader-election-renew-deadline=40s",
    "--leader-election-retry-period=15s",
    "--controllers=*",
    "--acme-http01-solver-image=solver:1",
    "--acme-http01-solver-resource-request-cpu=10m",
    "--acme-http01-solver-resource-request-memory=64Mi",
    "--acme-http01-solver-resource-limits-cpu=100m",
    "--acme-http01-solver-resource-limits-memory=64Mi",
    "--acme-http01-solver-run-as-non-root=true",
    "--acme-http01-solver-nameservers=10.0.0.10:53",
    "--acme-http01-solver-extra-labels=team=web",
    "--acme-http01-solver-runtime-class-name=gvisor",
    "--cluster-issuer-ambient-credentials=true",
    "--issuer-ambient-credentials",
    "--auto-certificate-annotations=kubernetes.io/tls-acme",
    "--extra-certificate-annotations=team/owner",
    "--default-issuer-name=letsencrypt",
    "--default-issuer-kind=ClusterIssuer",
    "--default-issuer-group=cert-manager.io",
    "--dns01-recursive-nameservers=1.1.1.1:53",
    "--dns01-recursive-nameservers-only",
    "--dns01-check-retry-period=10s",
    "--enable-certificate-owner-ref=true",
    "--enable-gateway-api",
    "--enable-gateway-api-listenerset=false",
    "--gateway-api-extra-protocols=tls",
    "--copied-annotation-prefixes=*,-kubectl.kubernetes.io/",
    "--feature-gates=ACMEUseARI=true,ServerSideApply=false",
    "--concurrent-workers=5",
    "--max-concurrent-challenges=60",
    "--metrics-listen-address=0.0.0.0:9402",
    "--metrics-tls-cert-file=/tls.crt",
    "--metrics-tls-private-key-file=/tls.key",
    "--metrics-dynamic-serving-ca-secret-namespace=a",
    "--metrics-dynamic-serving-ca-secret-name=b",
    "--metrics-dynamic-serving-dns-names=c",
    "--metrics-dynamic-serving-leaf-duration=168h",
    "--metrics-tls-cipher-suites=x",
    "--metrics-tls-min-version=VersionTLS13",
    "--enable-profiling=false",
    "--profiler-address=localhost:6060",
    "--internal-healthz-listen-address=0.0.0.0:9403",
    "--internal-healthz-leader-election-timeout=20s",
    "--max-certificate-size=36500",
    "--max-private-key-size=13000",
    "--max-certificate-chain-length=95000",
    "--max-certificate-bundle-size=330000",
    "--certificate-request-minimum-backoff-duration=1h",
    "--certificate-request-maximum-backoff-duration=32h",
    "--v=2",
    "--logging-format=text",
    "--vmodule=x=2",
    "--log-flush-frequency=5s",
    "--add_dir_header",
    "--alsologtostderr=false",
    "--log_backtrace_at=:0",
    "--log_dir=/tmp",
    "--log_file=x",
    "--log_file_max_size=1800",
    "--logtostderr=true",
    "--one_output",
    "--skip_headers",
    "--skip_log_headers=false",
    "--stderrthreshold=2",
];

#[test]
fn every_flag_of_the_contract_is_taken_and_the_idle_ones_are_named_once() -> Result<()> {
    // What is wrong is the kubeconfig, so each flag was taken.
    let said = complaint(CONTRACT)?;
    assert!(said.contains("/nowhere/kubeconfig"), "{said}");
    let warnings: Vec<_> = said
        .lines()
        .filter(|l| l.contains("without effect"))
        .collect();
    assert_eq!(warnings.len(), 1, "{said}");
    for flag in [
        "--kube-api-qps",
        "--enable-gateway-api",
        "--enable-profiling",
    ] {
        assert!(warnings[0].contains(flag), "{flag} in {}", warnings[0]);
    }
    for flag in [
        "--default-issuer-name",
        "--max-certificate-size",
        "--issuer-ambient-credentials",
        "--dns01-recursive-nameservers",
    ] {
        assert!(!warnings[0].contains(flag), "{flag} in {}", warnings[0]);
    }
    Ok(())
}
