//! Recorded objects, and an operator that starts on them.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::recorded::{ACME, IN_FLIGHT, READY};
use crate::support::{Namespace, is_ready, ready_condition, recorded, requests};
use crate::{Taken, by_name, condition, version};

/// Certificates that are not Ready, with what the operator says beyond cert-manager's own words.
const NOT_READY: [(&str, &[&str]); 3] = [
    (
        "acme-refused",
        &[
            "blocked.example.com is a forbidden domain",
            "(EL-1401)",
            "Next attempt at 2026-11-24T15:36:27Z",
        ],
    ),
    (
        "pending",
        &[
            "Issuer \"not-there\" does not exist in namespace \"shop\"",
            "(EL-1001)",
        ],
    ),
    (
        "twin-b",
        &[
            "Certificate \"twin-a\" has spec.secretName \"twin\" too",
            "(EL-1104)",
        ],
    ),
];

/// What the operator has written, in order of resource and name; without events.
fn writes(taken: &Taken) -> Result<Vec<String>> {
    let all = requests(&taken.cluster.lab)?.into_iter();
    let written = all.filter(|r| r.is_write() && r.resource != "events");
    let mut words: Vec<_> = written
        .map(|r| format!("{} {} {}", r.verb, r.resource, r.name))
        .collect();
    words.sort();
    Ok(words)
}

/// That a Certificate is not Ready, and why.
fn says_why(namespace: &Namespace<'_>, name: &str, words: &[&str]) -> Result<()> {
    let ready = ready_condition(&namespace.get("certificate", name)?);
    let message = ready["message"].as_str().unwrap_or_default();
    assert_eq!(ready["status"], "False", "{name}");
    for word in words {
        assert!(message.contains(word), "{name}: {message}");
    }
    Ok(())
}

#[test]
fn nothing_is_issued_and_no_secret_is_written() -> Result<()> {
    let Some(taken) = Taken::with(&[READY, ACME])? else {
        return Ok(());
    };
    let namespace = taken.namespace();
    let secrets = by_name(&namespace, "secret", version)?;
    let asked = by_name(&namespace, "certificaterequest", version)?;
    let orders = by_name(&namespace, "order", version)?;
    let mut whole = by_name(&namespace, "certificate", version)?;
    assert_eq!((secrets.len(), asked.len(), whole.len()), (24, 22, 23));
    whole.retain(|name, _| !NOT_READY.iter().any(|(known, _)| known == name));

    // The second start finds what the first one left.
    for start in ["the first start", "a restart"] {
        taken.operate()?;
        assert_eq!(by_name(&namespace, "secret", version)?, secrets, "{start}");
        let requests = by_name(&namespace, "certificaterequest", version)?;
        assert_eq!(requests, asked, "{start}");
        assert_eq!(by_name(&namespace, "order", version)?, orders, "{start}");
        for (name, words) in NOT_READY {
            says_why(&namespace, name, words)?;
        }
        let mut now = by_name(&namespace, "certificate", version)?;
        now.retain(|name, _| !NOT_READY.iter().any(|(known, _)| known == name));
        assert_eq!(now, whole, "what was Ready is not even touched: {start}");
        // The explanations, once; and that the recorded CA cannot be reached.
        let said = NOT_READY.map(|(name, _)| format!("patch certificates/status {name}"));
        let unreachable = "patch issuers/status acme".to_owned();
        assert_eq!(
            writes(&taken)?,
            [&said[..], &[unreachable]].concat(),
            "{start}"
        );
    }
    let ready = by_name(&namespace, "certificate", ready_condition)?;
    let count = whole
        .keys()
        .filter(|name| ready[*name]["status"] == "True")
        .count();
    assert_eq!((count, whole.len()), (20, 20));
    Ok(())
}

/// Its CA cannot be reached, so that nothing goes on; but nothing is made twice, and nothing lost.
#[test]
fn an_issuance_under_way_is_kept() -> Result<()> {
    let Some(taken) = Taken::with(&[IN_FLIGHT])? else {
        return Ok(());
    };
    let namespace = taken.namespace();
    let spec = |object: &Value| object["spec"].clone();
    let kinds = ["certificaterequest", "order", "challenge", "secret"];
    let mut before = Vec::new();
    for kind in kinds {
        before.push(by_name(&namespace, kind, spec)?);
    }
    for _ in 0..2 {
        taken.operate()?;
        for (kind, before) in kinds.iter().zip(&before) {
            assert_eq!(&by_name(&namespace, kind, spec)?, before, "{kind}");
        }
        let words = [
            "Failed to register ACME account: cannot reach 127.0.0.1:19451",
            "(EL-1002)",
        ];
        says_why(&namespace, "acme-dns", &words)?;
        let object = namespace.get("certificate", "acme-dns")?;
        assert_eq!(
            object["status"]["nextPrivateKeySecretName"],
            "acme-dns-zs7ld"
        );
        assert_eq!(condition(&object, "Issuing")["status"], "True");
        // All three say that the CA cannot be reached, and none is said again after a restart.
        let said = [
            ("certificaterequests/status", "acme-dns-1"),
            ("certificates/status", "acme-dns"),
            ("issuers/status", "acme"),
        ];
        assert_eq!(
            writes(&taken)?,
            said.map(|(kind, name)| format!("patch {kind} {name}"))
        );
    }
    Ok(())
}

/// The uids are others, the objects are younger than their certificates, and the operator has never seen any of it.
#[test]
fn objects_moved_to_another_cluster_are_taken_as_they_are() -> Result<()> {
    let Some(taken) = Taken::fresh()? else {
        return Ok(());
    };
    recorded::bring(&taken.cluster.lab, &recorded::objects(READY)?)?;
    let namespace = taken.namespace();
    let before = [
        by_name(&namespace, "secret", version)?,
        by_name(&namespace, "certificaterequest", version)?,
    ];
    for _ in 0..2 {
        taken.operate()?;
        let now = [
            by_name(&namespace, "secret", version)?,
            by_name(&namespace, "certificaterequest", version)?,
        ];
        assert_eq!(now, before);
        for (name, words) in &NOT_READY[1..] {
            says_why(&namespace, name, words)?;
        }
        assert_eq!(
            writes(&taken)?,
            NOT_READY[1..]
                .iter()
                .map(|(name, _)| format!("patch certificates/status {name}"))
                .collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// cert-manager reads the blocks that are whole, and does nothing while there are several requests of a revision, as its
/// versions before 1.13 have left them.
#[test]
fn what_is_broken_beside_the_good_is_passed_over() -> Result<()> {
    let Some(taken) = Taken::fresh()? else {
        return Ok(());
    };
    let mut objects = recorded::objects(READY)?;
    let mut cut = 0;
    for object in &mut objects {
        let plain = ["ca.crt", "tls.crt", "tls.key"];
        let data = object["data"].as_object_mut();
        let data = data.filter(|data| {
            data.contains_key("tls.crt") && data.keys().all(|key| plain.contains(&key.as_str()))
        });
        for (_, value) in data
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "ca.crt")
        {
            let mut bytes = STANDARD.decode(value.as_str().unwrap_or_default())?;
            bytes.extend_from_within(..100);
            *value = STANDARD.encode(bytes).into();
            cut += 1;
        }
    }
    assert!(cut > 20, "{cut}");
    let issued =
        |o: &&Value| o["kind"] == "CertificateRequest" && o["status"]["certificate"].is_string();
    let mut requests = objects.iter().filter(issued);
    let (first, other) = (requests.next().unwrap(), requests.next().unwrap());
    let mut second = first.clone();
    second["metadata"]["name"] = "0-again".into();
    second["metadata"]["uid"] = "6f1c3a52-0000-4000-8000-000000000001".into();
    second["spec"]["request"] = other["spec"]["request"].clone();
    objects.push(second);
    recorded::restore(&taken.cluster.lab, &objects)?;

    let namespace = taken.namespace();
    let secrets = by_name(&namespace, "secret", version)?;
    taken.operate()?;
    assert_eq!(by_name(&namespace, "secret", version)?, secrets);
    let said = NOT_READY[1..].iter();
    let mut expected: Vec<_> = said
        .map(|(name, _)| format!("patch certificates/status {name}"))
        .collect();
    // The history has room for one.
    expected.insert(0, "delete certificaterequests 0-again".into());
    assert_eq!(writes(&taken)?, expected);
    Ok(())
}

/// As people do who back up what they have declared, and their Secrets: cert-manager's own advice.
#[test]
fn without_requests_and_status_the_secrets_are_used() -> Result<()> {
    let Some(taken) = Taken::fresh()? else {
        return Ok(());
    };
    let mut kept = recorded::objects(READY)?;
    kept.retain(|object| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        object["kind"] != "CertificateRequest" && !name.starts_with("pending")
    });
    for object in &mut kept {
        if object["kind"] == "Certificate" {
            object["status"] = Value::Null;
        }
    }
    recorded::restore(&taken.cluster.lab, &kept)?;
    let namespace = taken.namespace();
    let secrets = by_name(&namespace, "secret", version)?;
    taken.operate()?;
    assert_eq!(by_name(&namespace, "secret", version)?, secrets);
    assert_eq!(namespace.list("certificaterequest")?, [] as [Value; 0]);
    for object in namespace.list("certificate")? {
        let name = &object["metadata"]["name"];
        assert_eq!(is_ready(&object), name != "twin-b", "{object:#}");
    }
    Ok(())
}
