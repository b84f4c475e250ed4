//! Webhook solvers, by the real API server: one that records, and one that is made of cert-manager's library. And an acme-dns
//! server, which is a recording one: the real one's module is not to be had.

use anyhow::Result;
use serde_json::Value;

use super::server::Server;
use super::{cluster, issues};
use crate::SAID;
use crate::support::{DEADLINE, certificate};

const GROUP: &str = "acme.everleaf.test";

/// The Service and the `APIService` of a webhook solver that runs beside the API server.
fn register(port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: webhook, namespace: default}}, spec: {{ports: \
         [{{name: https, port: {port}}}]}}}}\n---\n\
         {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: webhook, namespace: default, labels: \
         {{kubernetes.io/service-name: webhook}}}}, addressType: IPv4, ports: [{{name: https, port: {port}, protocol: TCP}}], \
         endpoints: [{{addresses: [{}], conditions: {{ready: true}}}}]}}\n---\n\
         {{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {{name: v1alpha1.{GROUP}}}, spec: {{group: \
         {GROUP}, version: v1alpha1, groupPriorityMinimum: 1000, versionPriority: 15, insecureSkipTLSVerify: true, \
         service: {{name: webhook, namespace: default, port: {port}}}}}}}",
        lab::ADDRESS
    )
}

#[test]
fn a_webhook_solver_behind_the_api_server() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-webhook")?;
    let solver = format!(
        "{{webhook: {{groupName: {GROUP}, solverName: recorder, config: {{zone: dns01, depth: {{a: 1}}}}}}}}"
    );
    namespace.dns01(&solver)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "webhook.dns01.example.com",
        "",
    ))?;
    let words = [
        "webhook solver recorder of group acme.everleaf.test is not there",
        "(APIService v1alpha1.acme.everleaf.test)",
    ];
    namespace.says("site", &words, SAID)?;
    let server = Server::start(cluster, "webhook", true)?;
    cluster.lab.apply(&register(server.port))?;
    // What it says becomes the reason.
    let words = ["webhook solver recorder of group acme.everleaf.test: the zone is locked"];
    namespace.says("site", &words, SAID)?;
    server.unlock()?;
    namespace.ready("site", SAID)?;
    namespace.none_left(&["challenge"], DEADLINE)?;
    // One that leads nowhere would keep the API server from telling what it serves.
    let registered = format!("v1alpha1.{GROUP}");
    cluster
        .lab
        .kubectl(&["delete", "apiservice", &registered])?;
    let calls = server.calls()?;
    let done: Vec<&Value> = calls
        .iter()
        .filter(|call| {
            call["path"]
                .as_str()
                .is_some_and(|p| p.ends_with("/recorder"))
        })
        .collect();
    let actions: Vec<&str> = done
        .iter()
        .filter_map(|c| c["body"]["request"]["action"].as_str())
        .collect();
    assert_eq!(actions.first(), Some(&"Present"), "{actions:?}");
    assert_eq!(actions.last(), Some(&"CleanUp"), "{actions:?}");
    let payload = &done[0]["body"];
    assert_eq!(
        payload["apiVersion"],
        "webhook.acme.cert-manager.io/v1alpha1"
    );
    assert_eq!(payload["kind"], "ChallengePayload");
    let request = &payload["request"];
    assert_eq!(request["type"], "dns-01");
    assert_eq!(request["dnsName"], "webhook.dns01.example.com");
    assert_eq!(request["resourceNamespace"], "dns-webhook");
    assert_eq!(
        request["resolvedFQDN"],
        "_acme-challenge.webhook.dns01.example.com."
    );
    assert_eq!(request["resolvedZone"], "dns01.example.com.");
    assert_eq!(request["allowAmbientCredentials"], false);
    assert_eq!(
        request["config"],
        serde_json::json!({ "zone": "dns01", "depth": { "a": 1 } })
    );
    assert_eq!(request["key"].as_str().map(str::len), Some(43));
    assert_eq!(
        cluster.texts("_acme-challenge.webhook.dns01.example.com")?,
        [""; 0]
    );
    Ok(())
}

#[test]
fn a_webhook_solver_made_of_cert_managers_library() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let group = "acme.library.test";
    let _solver = cluster.lab.webhook_solver(group, 9543)?;
    let namespace = cluster.namespace("dns-library")?;
    // As the field `rfc2136` has it; the Secret is read by the solver.
    let config = format!(
        "{{nameserver: \"{}:53\", tsigKeyName: lab, tsigAlgorithm: HMACSHA256, tsigSecretSecretRef: {{name: theirs, key: secret}}}}",
        lab::ADDRESS
    );
    namespace.dns01(&format!(
        "{{webhook: {{groupName: {group}, solverName: rfc2136, config: {config}}}}}"
    ))?;
    let name = "library.dns01.example.com";
    let names = format!("\"*.{name}\", {name}");
    namespace.apply(&certificate("site", "pebble", &names, ""))?;
    let words = [
        "webhook solver rfc2136 of group acme.library.test: ",
        "secret \"theirs\" not found",
    ];
    namespace.says("site", &words, SAID)?;
    namespace.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: theirs}}, stringData: {{secret: {}}}}}",
        lab::TSIG_SECRET
    ))?;
    namespace.ready("site", DEADLINE)?;
    namespace.none_left(&["challenge"], DEADLINE)?;
    assert_eq!(cluster.texts(&format!("_acme-challenge.{name}"))?, [""; 0]);
    let registered = format!("v1alpha1.{group}");
    cluster
        .lab
        .kubectl(&["delete", "apiservice", &registered])?;
    Ok(())
}

#[test]
fn an_acme_dns_server() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("dns-acmedns")?;
    let server = Server::start(cluster, "acme-dns", false)?;
    cluster.dns_update(
        "add _acme-challenge.acmedns.dns01.example.com 1 CNAME sub-of-acmedns.dns01.example.com",
    )?;
    let account = |password: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: acme-dns}}, stringData: {{accounts: '{{\"acmedns.dns01.example.com\": \
             {{\"username\": \"user\", \"password\": \"{password}\", \"subdomain\": \"sub-of-acmedns\", \"fulldomain\": \"x\", \
             \"allowfrom\": []}}}}'}}}}"
        )
    };
    namespace.apply(&account("shutsesame"))?;
    namespace.dns01(&format!(
        "{{acmeDNS: {{host: \"http://{}:{}\", accountSecretRef: {{name: acme-dns, key: accounts}}}}}}",
        lab::ADDRESS, server.port
    ))?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "acmedns.dns01.example.com",
        "",
    ))?;
    let words = [
        "answers 401 forbidden",
        "correct the account for acmedns.dns01.example.com in the Secret",
    ];
    namespace.says("site", &words, SAID)?;
    namespace.apply(&account("opensesame"))?;
    namespace.ready("site", SAID)?;
    namespace.kubectl(&["delete", "certificate", "site"])?;
    issues(
        &namespace,
        "\"*.acmedns.dns01.example.com\", acmedns.dns01.example.com",
    )?;
    let calls = server.calls()?;
    let update = calls
        .iter()
        .find(|call| call["key"] == "opensesame")
        .cloned()
        .unwrap_or_default();
    assert_eq!(
        (&update["path"], &update["user"]),
        (&"/update".into(), &"user".into())
    );
    assert_eq!(update["body"]["subdomain"], "sub-of-acmedns");
    assert_eq!(update["body"]["txt"].as_str().map(str::len), Some(43));
    let log = cluster.operator_log()?;
    assert!(!log.contains("sesame"), "a password is in the log");
    Ok(())
}
