#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;

use super::{
    AcmeRequest, Arc, CertificateRow, ChallengeRow, Duration, IssuerRow, LimitRow, Metrics,
    Objects, Timestamp,
};

struct Cluster;

impl Objects for Cluster {
    fn certificates(&self) -> Vec<CertificateRow> {
        vec![CertificateRow {
            name: "www".into(),
            namespace: "shop".into(),
            issuer_name: "ca".to_owned(),
            issuer_kind: "ClusterIssuer".to_owned(),
            issuer_group: String::new(),
            ready: "False".to_owned(),
            not_before: Some(1_700_000_000),
            not_after: Some(1_800_000_000),
            renewal: None,
        }]
    }

    fn challenges(&self, each: &mut dyn FnMut(&ChallengeRow<'_>)) {
        each(&ChallengeRow {
            name: "www-1",
            namespace: "shop",
            domain: "www.example.com",
            type_: "HTTP-01",
            state: "pending",
            reason: "answered \"404\"",
            processing: true,
        });
    }

    fn limits(&self) -> Vec<LimitRow> {
        let row = |limit, scope: &str, left, waiting| LimitRow {
            server: "acme-v02.api.letsencrypt.org".to_owned(),
            limit,
            scope: scope.into(),
            left,
            waiting,
        };
        vec![
            row("CertificatesPerDomain", "example.com", Some(0), 3),
            row("CertificatesPerSet", "0f", None, 1),
        ]
    }

    fn issuers(&self, each: &mut dyn FnMut(&IssuerRow<'_>)) {
        each(&IssuerRow {
            name: "own",
            namespace: Some("shop"),
            ready: "True",
            rotation: None,
        });
        each(&IssuerRow {
            name: "ca",
            namespace: None,
            ready: "Unknown",
            rotation: Some([120, 380]),
        });
    }
}

fn full() -> String {
    let metrics = Metrics::new();
    metrics.set_objects(Arc::new(Cluster));
    let request = AcmeRequest {
        scheme: "https".to_owned(),
        host: "ca.example:14000".to_owned(),
        action: "get_order",
        method: "POST",
        status: 200,
    };
    metrics.acme_request(request.clone(), Duration::from_millis(250));
    metrics.acme_request(request, Duration::from_millis(250));
    metrics.sync_called("orders");
    metrics.sync_called("orders");
    metrics.sync_failed("orders");
    metrics.panicked("orders");
    metrics.set_queue_depth("orders", 7);
    metrics.api_request("patch", "Secret", 409);
    metrics.informer_restarted("Order");
    metrics.informer_event("Order", Timestamp::from_second(1_750_000_000).unwrap());
    metrics.stale_sync_skipped();
    metrics.set_leader(true);
    metrics.text()
}

#[test]
fn objects_are_counted_by_the_replica_that_acts_alone() {
    let metrics = Metrics::new();
    metrics.set_objects(Arc::new(Cluster));
    let has_objects = || {
        metrics
            .text()
            .contains("certmanager_certificate_ready_status{")
    };
    assert!(!has_objects(), "a standby");
    metrics.set_leader(true);
    assert!(has_objects());
    metrics.set_leader(false);
    assert!(!has_objects());
}

#[test]
fn every_line_is_under_the_contracts_name_and_labels() {
    let text = full();
    let acme =
        r#"{scheme="https",host="ca.example:14000",action="get_order",method="POST",status="200""#;
    let issuer = r#"issuer_name="ca",issuer_kind="ClusterIssuer",issuer_group="""#;
    let lines = [
        &format!("certmanager_http_acme_client_request_count{acme}}} 2"),
        &format!(
            r#"certmanager_http_acme_client_request_duration_seconds{acme},quantile="0.9"}} 0.25"#
        ),
        &format!("certmanager_http_acme_client_request_duration_seconds_sum{acme}}} 0.5"),
        &format!("certmanager_http_acme_client_request_duration_seconds_count{acme}}} 2"),
        r#"certmanager_controller_sync_call_count{controller="orders"} 2"#,
        r#"certmanager_controller_sync_error_count{controller="orders"} 1"#,
        &format!(
            r#"certmanager_certificate_ready_status{{name="www",namespace="shop",condition="True",{issuer}}} 0"#
        ),
        &format!(
            r#"certmanager_certificate_ready_status{{name="www",namespace="shop",condition="False",{issuer}}} 1"#
        ),
        &format!(
            r#"certmanager_certificate_expiration_timestamp_seconds{{name="www",namespace="shop",{issuer}}} 1800000000"#
        ),
        &format!(
            r#"certmanager_certificate_not_after_timestamp_seconds{{name="www",namespace="shop",{issuer}}} 1800000000"#
        ),
        &format!(
            r#"certmanager_certificate_not_before_timestamp_seconds{{name="www",namespace="shop",{issuer}}} 1700000000"#
        ),
        &format!(
            r#"certmanager_certificate_renewal_timestamp_seconds{{name="www",namespace="shop",{issuer}}} 0"#
        ),
        r#"certmanager_certificate_challenge_status{status="pending",domain="www.example.com",reason="answered \"404\"",processing="true",name="www-1",namespace="shop",type="HTTP-01"} 1"#,
        r#"certmanager_certificate_challenge_status{status="",domain="www.example.com",reason="answered \"404\"",processing="true",name="www-1",namespace="shop",type="HTTP-01"} 0"#,
        r#"certmanager_issuer_ready_status{name="own",namespace="shop",condition="True"} 1"#,
        r#"certmanager_clusterissuer_ready_status{name="ca",condition="Unknown"} 1"#,
        r#"everleaf_ca_rotation_certificates{name="ca",namespace="",state="done"} 120"#,
        r#"everleaf_ca_rotation_certificates{name="ca",namespace="",state="pending"} 380"#,
        r#"everleaf_reconcile_panics_total{controller="orders"} 1"#,
        r#"everleaf_queue_depth{controller="orders"} 7"#,
        r#"everleaf_api_requests_total{verb="patch",kind="Secret",code="409"} 1"#,
        r#"everleaf_informer_restarts_total{kind="Order"} 1"#,
        r#"everleaf_informer_last_event_timestamp_seconds{kind="Order"} 1750000000"#,
        "everleaf_stale_sync_skips_total 1",
        "everleaf_leader 1",
    ];
    let found: BTreeSet<&str> = text.lines().collect();
    for line in lines {
        assert!(found.contains(line), "{line}\nis not in\n{text}");
    }
    assert_eq!(
        text.matches("certmanager_certificate_challenge_status{")
            .count(),
        8
    );
    assert_eq!(text.matches("certmanager_issuer_ready_status{").count(), 3);
    assert_eq!(
        text.matches("certmanager_clusterissuer_ready_status{")
            .count(),
        3
    );
}

#[test]
fn names_and_types_are_these() {
    let text = full();
    let types: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let expected = [
        "certmanager_http_acme_client_request_count counter",
        "certmanager_controller_sync_call_count counter",
        "certmanager_controller_sync_error_count counter",
        "everleaf_reconcile_panics_total counter",
        "everleaf_queue_depth gauge",
        "everleaf_api_requests_total counter",
        "everleaf_informer_restarts_total counter",
        "everleaf_informer_last_event_timestamp_seconds gauge",
        "everleaf_stale_sync_skips_total counter",
        "everleaf_leader gauge",
        "certmanager_certificate_expiration_timestamp_seconds gauge",
        "certmanager_certificate_not_after_timestamp_seconds gauge",
        "certmanager_certificate_not_before_timestamp_seconds gauge",
        "certmanager_certificate_renewal_timestamp_seconds gauge",
        "certmanager_certificate_ready_status gauge",
        "certmanager_certificate_challenge_status gauge",
        "certmanager_issuer_ready_status gauge",
        "certmanager_clusterissuer_ready_status gauge",
        "everleaf_ca_rotation_certificates gauge",
        "everleaf_acme_limit_tokens gauge",
        "everleaf_acme_limit_waiting gauge",
        "certmanager_clock_time_seconds counter",
        "certmanager_clock_time_seconds_gauge gauge",
        "process_cpu_seconds_total counter",
        "process_start_time_seconds gauge",
        "process_resident_memory_bytes gauge",
        "process_virtual_memory_bytes gauge",
        "process_open_fds gauge",
        "process_max_fds gauge",
        "certmanager_http_acme_client_request_duration_seconds summary",
    ];
    assert_eq!(types, expected);
}

/// A scraper of the classic format takes each line for `# HELP`, `# TYPE` or a sample of the metric
/// whose type came last, and no metric twice.
#[test]
fn the_text_is_the_classic_format() {
    let text = full();
    assert!(text.ends_with('\n') && !text.contains("# EOF") && !text.contains("# UNIT"));
    let (mut current, mut seen) = ("", BTreeSet::new());
    for line in text.lines().filter(|line| !line.starts_with("# HELP ")) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap();
            assert!(seen.insert(current), "{current} twice");
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let base = name.trim_end_matches("_sum");
        let sum_or_count = [base, name.trim_end_matches("_count")].contains(&current);
        assert!(name == current || sum_or_count, "{line} under {current}");
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn the_process_and_the_clock_have_values_that_can_be_true() {
    let text = full();
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    let now = value("certmanager_clock_time_seconds_gauge");
    assert!((value("certmanager_clock_time_seconds") - now).abs() < 1.0);
    let started = value("process_start_time_seconds");
    assert!(
        started <= now + 1.0 && started > now - 86_400.0,
        "{started} {now}"
    );
    assert!(value("process_resident_memory_bytes") > 100_000.0);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_max_fds") >= value("process_open_fds"));
}

#[test]
fn without_a_source_no_object_is_shown() {
    let text = Metrics::new().text();
    assert!(!text.contains("certificate_ready_status"), "{text}");
    assert!(text.contains("everleaf_leader 0\n"), "{text}");
}
