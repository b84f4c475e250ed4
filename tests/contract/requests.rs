//! CertificateRequests of users, approval and denial.

use anyhow::Result;
use serde_json::{Value, json};

use crate::signing::{key_and_request, request};
use crate::support::{DEADLINE, Namespace, certificate, ready_condition};
use crate::{FLAGS, aside, cluster, condition, now, self_signed, set_condition};

fn ended(namespace: &Namespace<'_>, name: &str, reason: &str) -> Result<Value> {
    namespace.until(
        DEADLINE,
        "certificaterequest",
        name,
        &format!("ended by {reason}"),
        |object| ready_condition(object)["reason"] == reason,
    )
}

fn store_key(namespace: &Namespace<'_>, name: &str, key: &str) -> Result<()> {
    let file = namespace.cluster.lab.dir().join(format!("{name}.key"));
    std::fs::write(&file, key)?;
    let from = format!("--from-file=tls.key={}", file.display());
    namespace.kubectl(&["create", "secret", "generic", name, &from])?;
    Ok(())
}

#[test]
fn a_users_request_is_self_signed_with_the_key_that_it_names() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("users-request")?;
    namespace.apply(&self_signed("self"))?;
    let (key, csr) = key_and_request(&namespace, "users.example.com")?;
    // The key arrives later, and is enough to go on.
    namespace.apply(&request("later", &csr, "self", Some("users-key")))?;
    let waiting = ended(&namespace, "later", "Pending")?;
    let message = ready_condition(&waiting)["message"].to_string();
    assert!(message.contains("users-key"), "{message}");
    assert_eq!(condition(&waiting, "Approved")["reason"], "cert-manager.io");
    store_key(&namespace, "users-key", &key)?;
    let issued = ended(&namespace, "later", "Issued")?;
    assert_eq!(ready_condition(&issued)["status"], "True");
    let status = &issued["status"];
    assert_eq!(status["certificate"], status["ca"], "it is its own CA");
    let secret = json!({
        "metadata": {"name": "users"},
        "data": {
            "tls.crt": status["certificate"],
            "tls.key": namespace.get("secret", "users-key")?["data"]["tls.key"],
        },
    });
    cluster.is_pair(&secret)?;
    Ok(())
}

#[test]
fn requests_that_cannot_be_signed_say_why() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("bad-requests")?;
    namespace.apply(&self_signed("self"))?;
    let (_, csr) = key_and_request(&namespace, "bad.example.com")?;
    let (other, _) = key_and_request(&namespace, "other.example.com")?;
    store_key(&namespace, "other-key", &other)?;
    for (name, yaml, words) in [
        (
            "no-annotation",
            request("no-annotation", &csr, "self", None),
            "private-key-secret-name",
        ),
        (
            "other-key",
            request("other-key", &csr, "self", Some("other-key")),
            "key",
        ),
        (
            "no-csr",
            request("no-csr", "nonsense", "self", Some("other-key")),
            "spec.request",
        ),
    ] {
        namespace.apply(&yaml)?;
        let failed = ended(&namespace, name, "Failed")?;
        let message = ready_condition(&failed)["message"].to_string();
        assert!(message.contains(words), "{name}: {message}");
        assert!(failed["status"]["failureTime"].is_string(), "{name}");
        assert_eq!(failed["status"]["certificate"], Value::Null);
    }
    Ok(())
}

#[test]
fn without_the_approver_people_decide() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("approval")?;
    let flags = [FLAGS[0], "--controllers=*,-certificaterequests-approver"];
    cluster.while_operator_with(&flags, &[], || decisions_are_followed(&namespace))
}

fn decisions_are_followed(namespace: &Namespace<'_>) -> Result<()> {
    namespace.apply(&self_signed("self"))?;
    namespace.apply(&certificate("good", "self", "good.example.com", ""))?;
    namespace.apply(&certificate("bad", "self", "bad.example.com", ""))?;
    for name in ["good", "bad"] {
        let words = ["waits for approval", "approve or deny it"];
        namespace.says(name, &words, DEADLINE)?;
        let waiting = namespace.get("certificaterequest", &format!("{name}-1"))?;
        assert_eq!(condition(&waiting, "Approved"), &Value::Null);
    }
    let decision = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": "KubectlCertManager",
            "message": "not in this house", "lastTransitionTime": now()})
    };
    let decide =
        |name, kind: &str| set_condition(namespace, "certificaterequest", name, &decision(kind));
    decide("good-1", "Approved")?;
    namespace.ready("good", DEADLINE)?;

    decide("bad-1", "Denied")?;
    let denied = ended(namespace, "bad-1", "Denied")?;
    assert_eq!(ready_condition(&denied)["status"], "False");
    assert!(denied["status"]["failureTime"].is_string());
    let words = ["not in this house", "Next attempt at"];
    namespace.says("bad", &words, DEADLINE)?;
    let object = namespace.get("certificate", "bad")?;
    let issuing = condition(&object, "Issuing");
    assert_eq!(issuing["status"], "False");
    assert_eq!(issuing["reason"], "KubectlCertManager");
    assert_eq!(object["status"]["failedIssuanceAttempts"], 1);
    assert!(object["status"]["lastFailureTime"].is_string());
    Ok(())
}

/// Else what was approved would not be what is signed.
#[test]
fn what_a_request_asks_for_cannot_be_changed() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("unchanged-request")?;
    let (_, csr) = key_and_request(&namespace, "unchanged.example.com")?;
    namespace.apply(&request("asked", &csr, "nobody", None))?;
    let (_, other) = key_and_request(&namespace, "changed.example.com")?;
    for (what, changed) in [
        ("CSR", request("asked", &other, "nobody", None)),
        ("issuer", request("asked", &csr, "somebody", None)),
    ] {
        let refused = namespace.apply(&changed);
        let words = format!("{:#}", refused.expect_err(what));
        assert!(
            words.contains("request and issuerRef.name cannot be changed"),
            "{words}"
        );
    }
    namespace.apply(&request("asked", &csr, "nobody", Some("a-key")))?;
    // A client in Go leaves out what is false when it writes the whole object.
    let patch = |value: &str| {
        let patch = format!("{{\"spec\": {{\"isCA\": {value}}}}}");
        namespace.kubectl(&[
            "patch",
            "certificaterequest",
            "asked",
            "--type=merge",
            "-p",
            &patch,
        ])
    };
    patch("false")?;
    patch("null")?;
    Ok(())
}
