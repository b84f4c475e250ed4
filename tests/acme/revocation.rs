//! Revocation as the CA has it on record: each certificate once, with its reason; and what becomes of the Certificate.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{
    Ca, DEADLINE, Namespace, certificate, entry, is_ready, on_record, ready_condition,
};
use crate::{FLAGS, TRAEFIK, aside, cluster};

/// RFC 5280 §5.3.1.
const KEY_COMPROMISE: u64 = 1;
const SUPERSEDED: u64 = 4;
const CESSATION: u64 = 5;

fn issued(namespace: &Namespace<'_>, host: &str, rest: &str) -> Result<()> {
    let issuer = namespace
        .cluster
        .acme_issuer("pebble", "default", TRAEFIK)?;
    namespace.apply(&issuer)?;
    namespace.apply(&certificate("site", "pebble", host, rest))?;
    namespace.ready("site", DEADLINE).map(drop)
}

/// The Certificate `site`, whose policy keeps the private key.
fn key_kept(host: &str) -> String {
    let (any, kept) = (
        "algorithm: ECDSA",
        "algorithm: ECDSA, rotationPolicy: Never",
    );
    certificate("site", "pebble", host, "").replacen(any, kept, 1)
}

/// A CertificateRevocation in YAML; `spec` in flow style.
fn revocation(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
    )
}

fn of_site(rest: &str) -> String {
    revocation("gone", &format!("certificateRef: {{name: site}}, {rest}"))
}

/// Wait until a revocation's Ready condition has this reason.
fn comes_to(namespace: &Namespace<'_>, name: &str, reason: &str) -> Result<Value> {
    namespace.until(DEADLINE, "certificaterevocation", name, reason, |object| {
        ready_condition(object)["reason"] == reason
    })
}

fn revoked(reason: u64) -> (String, Option<u64>) {
    ("Revoked".into(), Some(reason))
}

fn entries(object: &Value) -> Vec<Value> {
    let all = object["status"]["certificates"].as_array();
    all.cloned().unwrap_or_default()
}

/// Wait until a Certificate is ready with this revision.
fn revision(namespace: &Namespace<'_>, name: &str, revision: u64) -> Result<Value> {
    let what = format!("of revision {revision}");
    namespace.until(DEADLINE, "certificate", name, &what, |object| {
        is_ready(object) && object["status"]["revision"] == revision
    })
}

fn public_key(namespace: &Namespace<'_>, secret: &str) -> Result<String> {
    namespace.x509(secret, &["-pubkey"])
}

#[test]
fn by_the_account_with_its_reason_and_replaced_after_that() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke")?;
    issued(&namespace, "revoke.example.com", "")?;
    let old = namespace.serial("site")?;
    assert_eq!(on_record(&cluster.lab, &old)?.0, "Valid");
    let versions = namespace.watch("certificaterevocation", "gone")?;
    namespace.apply(&of_site("reason: superseded"))?;
    let done = comes_to(&namespace, "gone", "Revoked")?;
    assert_eq!(on_record(&cluster.lab, &old)?, revoked(SUPERSEDED));
    let [entry] = entries(&done).try_into().expect("one certificate");
    assert_eq!(entry["serial"], *old);
    assert_eq!(
        (&entry["attempts"], &entry["signedBy"]),
        (&json!(1), &json!("Account"))
    );
    let state = |object: &Value| -> Option<String> {
        let all = entries(object);
        Some(all.first()?["state"].as_str()?.to_owned())
    };
    let seen = versions.until_one(DEADLINE, "the last state", |object| {
        state(object).as_deref() == Some("Revoked")
    })?;
    let mut distinct: Vec<String> = seen.iter().filter_map(|(_, o)| state(o)).collect();
    distinct.dedup();
    assert_eq!(
        distinct,
        ["Pending", "Requested", "Revoked"],
        "written before and after"
    );

    revision(&namespace, "site", 2)?;
    let new = namespace.serial("site")?;
    assert_ne!(old, new);
    assert_eq!(on_record(&cluster.lab, &new)?.0, "Valid");

    // Asked again for the same certificate, by its PEM: the CA says that it is done.
    let pem = entry["certificate"].as_str().context("a PEM")?;
    let again = json!({
        "apiVersion": "everleaf.io/v1alpha1", "kind": "CertificateRevocation",
        "metadata": { "name": "again" },
        "spec": { "certificate": pem, "issuerRef": { "name": "pebble" }, "reason": "cessationOfOperation" },
    });
    namespace.apply(&again.to_string())?;
    comes_to(&namespace, "again", "Revoked")?;
    assert_eq!(on_record(&cluster.lab, &old)?, revoked(SUPERSEDED), "once");
    Ok(())
}

#[test]
fn with_renew_first_the_new_certificate_is_stored_before_the_old_one_is_revoked() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-later")?;
    issued(&namespace, "revoke-later.example.com", "")?;
    let old = namespace.serial("site")?;
    let certificates = namespace.watch("certificate", "site")?;
    let revocations = namespace.watch("certificaterevocation", "gone")?;
    namespace.apply(&of_site("renewFirst: true, reason: superseded"))?;
    comes_to(&namespace, "gone", "Revoked")?;
    assert_eq!(on_record(&cluster.lab, &old)?, revoked(SUPERSEDED));

    let version = |object: &Value| -> Result<u64> {
        let text = object["metadata"]["resourceVersion"].as_str();
        Ok(text.unwrap_or_default().parse()?)
    };
    let stored = namespace.get("secret", "site")?;
    let requested = |o: &Value| entries(o).iter().any(|e| e["state"] == "Requested");
    let asked = revocations.until_one(DEADLINE, "that it was asked for", requested)?;
    let asked = asked.iter().find(|(_, o)| requested(o));
    let (_, asked) = asked.context("it was asked for")?;
    assert!(version(&stored)? < version(asked)?, "stored first");
    assert_ne!(namespace.serial("site")?, old);
    let now = namespace.get("certificate", "site")?;
    for (_, object) in certificates.as_far_as(&now)? {
        assert_eq!(ready_condition(&object)["status"], "True", "{object}");
    }
    Ok(())
}

#[test]
fn a_compromised_key_is_never_used_again_by_anybody() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-key")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&key_kept("revoke-key.example.com"))?;
    namespace.ready("site", DEADLINE)?;
    let (old, key) = (namespace.serial("site")?, public_key(&namespace, "site")?);
    // Another namespace uses a copy of the key.
    let twin = cluster.namespace("revoke-twin")?;
    let secret = namespace.get("secret", "site")?;
    let copy = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": "site" },
        "data": { "tls.key": secret["data"]["tls.key"], "tls.crt": "" },
    });
    twin.apply(&copy.to_string())?;
    twin.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    twin.apply(&key_kept("revoke-twin.example.com"))?;
    twin.ready("site", DEADLINE)?;
    assert_eq!(public_key(&twin, "site")?, key, "the same key");

    namespace.apply(&of_site("reason: keyCompromise"))?;
    let done = comes_to(&namespace, "gone", "Revoked")?;
    assert_eq!(on_record(&cluster.lab, &old)?, revoked(KEY_COMPROMISE));
    assert_eq!(entries(&done)[0]["signedBy"], "CertificateKey");
    revision(&namespace, "site", 2)?;
    assert_ne!(public_key(&namespace, "site")?, key);
    revision(&twin, "site", 2)?;
    assert_ne!(public_key(&twin, "site")?, key);

    // The key comes back, by a backup say: it is not used, now or ever.
    let patch = json!({ "data": secret["data"] }).to_string();
    namespace.kubectl(&["patch", "secret", "site", "--type=merge", "--patch", &patch])?;
    let last = revision(&namespace, "site", 3)?;
    assert_ne!(public_key(&namespace, "site")?, key);
    namespace.pair_matches("site")?;
    assert_eq!(ready_condition(&last)["status"], "True");
    Ok(())
}

/// An object as a backup or a dump has it: whoever creates it again drops the status.
fn dump(namespace: &Namespace<'_>, name: &str) -> Result<Value> {
    let mut object = namespace.get("certificaterevocation", name)?;
    let whole = object.as_object_mut().context("an object")?;
    whole.remove("status");
    let meta = whole["metadata"].as_object_mut().context("metadata")?;
    meta.retain(|field, _| ["name", "annotations", "labels"].contains(&field.as_str()));
    Ok(object)
}

#[test]
fn one_that_is_created_again_without_its_status_revokes_nothing_else() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-restored")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&key_kept("revoke-restored.example.com"))?;
    namespace.ready("site", DEADLINE)?;
    let (secret, stolen) = (
        namespace.get("secret", "site")?,
        public_key(&namespace, "site")?,
    );
    let old = namespace.serial("site")?;
    namespace.apply(&of_site("reason: keyCompromise"))?;
    comes_to(&namespace, "gone", "Revoked")?;
    revision(&namespace, "site", 2)?;
    let (good, key) = (namespace.serial("site")?, public_key(&namespace, "site")?);
    let backup = dump(&namespace, "gone")?;

    namespace.kubectl(&["delete", "certificaterevocation", "gone"])?;
    namespace.apply(&backup.to_string())?;
    let object = comes_to(&namespace, "gone", "NotFound")?;
    let message = ready_condition(&object)["message"].to_string();
    ensure!(message.contains("another certificate"), "{message}");
    namespace.quiet()?;
    assert_eq!(on_record(&cluster.lab, &good)?.0, "Valid");
    assert_eq!(on_record(&cluster.lab, &old)?, revoked(KEY_COMPROMISE));
    revision(&namespace, "site", 2)?;
    assert_eq!(public_key(&namespace, "site")?, key, "it is nobody's fault");

    // The ban is still there.
    let patch = json!({ "data": secret["data"] }).to_string();
    namespace.kubectl(&["patch", "secret", "site", "--type=merge", "--patch", &patch])?;
    revision(&namespace, "site", 3)?;
    assert_ne!(public_key(&namespace, "site")?, stolen);

    // Without the annotation, as from a repository: it is made before the Secret, as when all is made anew.
    namespace.kubectl(&["delete", "certificaterevocation,certificate", "--all"])?;
    namespace.kubectl(&["delete", "secret", "site"])?;
    namespace.apply(&revocation(
        "gone",
        "certificateRef: {name: site}, reason: keyCompromise",
    ))?;
    comes_to(&namespace, "gone", "NotFound")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&key_kept("revoke-anew.example.com"))?;
    revision(&namespace, "site", 1)?;
    let last = namespace.serial("site")?;
    namespace.quiet()?;
    comes_to(&namespace, "gone", "NotFound")?;
    assert_eq!(on_record(&cluster.lab, &last)?.0, "Valid");
    Ok(())
}

#[test]
fn when_the_account_is_lost_the_key_of_the_certificate_does() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-lost")?;
    issued(&namespace, "revoke-lost.example.com", "")?;
    let old = namespace.serial("site")?;
    let account = json!({ "spec": { "acme": { "privateKeySecretRef": { "name": "another" } } } });
    namespace.kubectl(&[
        "patch",
        "issuer",
        "pebble",
        "--type=merge",
        "--patch",
        &account.to_string(),
    ])?;
    namespace.until_list("secret", "another account", |all| {
        all.iter().any(|s| s["metadata"]["name"] == "another")
    })?;
    namespace.kubectl(&["delete", "secret", "pebble-account"])?;
    namespace.apply(&of_site("reason: superseded"))?;
    let refused = comes_to(&namespace, "gone", "Refused")?;
    let message = ready_condition(&refused)["message"].to_string();
    assert!(
        message.contains("privateKeySecretRef") && message.contains("EL-1603"),
        "{message}"
    );
    assert_eq!(on_record(&cluster.lab, &old)?.0, "Valid");

    let by_key = "secretRef: {name: site}, privateKeySecretRef: {name: site}, reason: superseded";
    namespace.apply(&revocation("by-key", by_key))?;
    let done = comes_to(&namespace, "by-key", "Revoked")?;
    assert_eq!(on_record(&cluster.lab, &old)?, revoked(SUPERSEDED));
    assert_eq!(entries(&done)[0]["signedBy"], "CertificateKey");
    revision(&namespace, "site", 2)?;
    Ok(())
}

#[test]
fn older_revisions_too() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-older")?;
    issued(
        &namespace,
        "revoke-older.example.com",
        "revisionHistoryLimit: 3",
    )?;
    let mut serials = vec![namespace.serial("site")?];
    for number in [2, 3] {
        namespace.kubectl(&["delete", "secret", "site"])?;
        revision(&namespace, "site", number)?;
        serials.push(namespace.serial("site")?);
    }
    namespace.apply(&of_site(
        "olderRevisions: true, reason: cessationOfOperation",
    ))?;
    let done = comes_to(&namespace, "gone", "Revoked")?;
    assert_eq!(entries(&done).len(), 3);
    for serial in &serials {
        assert_eq!(
            on_record(&cluster.lab, serial)?,
            revoked(CESSATION),
            "{serial}"
        );
    }
    revision(&namespace, "site", 4)?;
    Ok(())
}

#[test]
fn a_ca_that_is_down_is_asked_when_it_is_back() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-down")?;
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_AUTHZREUSE", "0")], |config| config)?;
    namespace.apply(&ca.issuer(cluster, "pebble", TRAEFIK)?)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "revoke-down.example.com",
        "",
    ))?;
    namespace.ready("site", DEADLINE)?;
    ca.pause()?;
    namespace.apply(&of_site("reason: superseded"))?;
    namespace.until(
        Duration::from_mins(2),
        "certificaterevocation",
        "gone",
        "tried",
        |object| {
            entries(object)
                .first()
                .is_some_and(|e| e["message"].is_string())
        },
    )?;
    ca.resume()?;
    let done = comes_to(&namespace, "gone", "Revoked")?;
    ensure!(entries(&done)[0]["attempts"].as_u64() > Some(1), "{done}");
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_by_the_api_server_or_by_name() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-nonsense")?;
    for (spec, words) in [
        ("reason: superseded", "exactly one of"),
        (
            "secretRef: {name: a}, certificateRef: {name: b}",
            "exactly one of",
        ),
        ("certificate: x", "issuerRef must be set"),
        (
            "certificate: x, issuerRef: {name: a}, renewFirst: true",
            "renewFirst needs",
        ),
        (
            "secretRef: {name: a}, olderRevisions: true",
            "olderRevisions needs",
        ),
        (
            "secretRef: {name: a}, reason: certificateHold",
            "Unsupported value",
        ),
    ] {
        let error = namespace.apply(&revocation("bad", spec)).expect_err(spec);
        let error = format!("{error:#}");
        assert!(error.contains(words), "{spec}: {error}");
    }
    namespace.apply(&revocation("gone", "secretRef: {name: nowhere}"))?;
    let object = comes_to(&namespace, "gone", "NotFound")?;
    let message = ready_condition(&object)["message"].to_string();
    assert!(
        message.contains("nowhere") && message.contains("EL-1601"),
        "{message}"
    );
    let changed = namespace.apply(&revocation("gone", "secretRef: {name: elsewhere}"));
    let changed = format!("{:#}", changed.expect_err("immutable"));
    assert!(changed.contains("cannot be changed"), "{changed}");

    // The account of a ClusterIssuer is everybody's: that a certificate is one's own has to be shown.
    issued(&namespace, "revoke-nonsense.example.com", "")?;
    let secret = namespace.get("secret", "site")?;
    let pem = String::from_utf8(entry(&secret, "tls.crt")?)?;
    let foreign = json!({
        "apiVersion": "everleaf.io/v1alpha1", "kind": "CertificateRevocation",
        "metadata": { "name": "foreign" },
        "spec": { "certificate": pem, "issuerRef": { "name": "shared", "kind": "ClusterIssuer" } },
    });
    namespace.apply(&foreign.to_string())?;
    let object = comes_to(&namespace, "foreign", "NotFound")?;
    let message = ready_condition(&object)["message"].to_string();
    assert!(
        message.contains("issues for all") && message.contains("EL-1606"),
        "{message}"
    );
    Ok(())
}

/// A Certificate that asks to be revoked when it is deleted, issued; and what waits for that.
fn issued_for_a_while(namespace: &Namespace<'_>, host: &str) -> Result<Value> {
    let issuer = namespace
        .cluster
        .acme_issuer("pebble", "default", TRAEFIK)?;
    namespace.apply(&issuer)?;
    let yaml = certificate("site", "pebble", host, "").replacen(
        "metadata: {name: site}",
        "metadata: {name: site, annotations: {everleaf.io/revoke-on-delete: cessationOfOperation}}",
        1,
    );
    namespace.apply(&yaml)?;
    namespace.ready("site", DEADLINE)?;
    waiting(namespace)
}

fn waiting(namespace: &Namespace<'_>) -> Result<Value> {
    let serial = namespace.serial("site")?;
    let all = namespace.until_list("certificaterevocation", "one that waits", |all| {
        let one = all.first().filter(|_| all.len() == 1);
        one.is_some_and(|object| {
            ready_condition(object)["reason"] == "Waiting"
                && entries(object)[0]["serial"] == *serial
        })
    })?;
    Ok(all[0].clone())
}

#[test]
fn a_deleted_certificate_is_revoked_if_it_asked_for_that() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-deleted")?;
    issued_for_a_while(&namespace, "revoke-deleted.example.com")?;
    let first = namespace.serial("site")?;
    namespace.kubectl(&["delete", "secret", "site"])?;
    revision(&namespace, "site", 2)?;
    let standing = waiting(&namespace)?;
    let name = standing["metadata"]["name"].as_str().context("a name")?;
    let last = namespace.serial("site")?;
    assert_eq!(on_record(&cluster.lab, &last)?.0, "Valid");

    let object = namespace.get("certificate", "site")?;
    assert_eq!(object["metadata"]["finalizers"], Value::Null);
    namespace.kubectl(&["delete", "certificate", "site", "--timeout=30s"])?;
    comes_to(&namespace, name, "Revoked")?;
    assert_eq!(on_record(&cluster.lab, &last)?, revoked(CESSATION));
    assert_eq!(
        on_record(&cluster.lab, &first)?.0,
        "Valid",
        "not the one before"
    );
    Ok(())
}

#[test]
fn also_one_that_was_deleted_while_the_operator_was_down() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("revoke-down-deleted")?;
    let standing = issued_for_a_while(&namespace, "revoke-down-deleted.example.com")?;
    let name = standing["metadata"]["name"].as_str().context("a name")?;
    let serial = namespace.serial("site")?;
    cluster.stop_operator()?;
    let deleted = namespace.kubectl(&["delete", "certificate", "site", "--timeout=30s"]);
    cluster.operator(&FLAGS)?;
    deleted.context("nothing holds it up")?;
    comes_to(&namespace, name, "Revoked")?;
    assert_eq!(on_record(&cluster.lab, &serial)?, revoked(CESSATION));
    Ok(())
}

#[test]
fn one_that_does_not_ask_any_more_is_not() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-not")?;
    issued_for_a_while(&namespace, "revoke-not.example.com")?;
    let serial = namespace.serial("site")?;
    let annotation = "everleaf.io/revoke-on-delete-";
    namespace.kubectl(&["annotate", "certificate", "site", annotation])?;
    namespace.none_left(&["certificaterevocation"], DEADLINE)?;
    namespace.kubectl(&["delete", "certificate", "site"])?;
    assert_eq!(on_record(&cluster.lab, &serial)?.0, "Valid");
    Ok(())
}

/// The annotation makes a CertificateRevocation that is nobody's, and a new key whatever the policy; no second one.
#[test]
fn an_annotation_has_a_compromised_key_revoked_and_replaced_once() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("revoke-annotated")?;
    namespace.apply(&cluster.acme_issuer("pebble", "default", TRAEFIK)?)?;
    namespace.apply(&key_kept("revoke-annotated.example.com"))?;
    namespace.ready("site", DEADLINE)?;
    namespace.renew("site")?;
    revision(&namespace, "site", 2)?;
    let (old, key) = (namespace.serial("site")?, public_key(&namespace, "site")?);
    let annotate = |value: &str| {
        let annotation = format!("everleaf.io/key-compromised={value}");
        namespace.kubectl(&[
            "annotate",
            "--overwrite",
            "certificate",
            "site",
            &annotation,
        ])
    };
    // A revision says too little: those of a Certificate that is created again begin at 1.
    annotate("2")?;
    let named = cluster.lab.wait(DEADLINE, "a word on what to say", || {
        let events = namespace.list("event")?;
        let said = events.iter().find_map(|event| {
            let message = event["message"].as_str()?;
            let (_, named) = message.split_once("say everleaf.io/key-compromised=")?;
            message
                .contains("\"2\" names no private key")
                .then(|| named.to_owned())
        });
        Ok(said)
    })?;
    assert!(namespace.list("certificaterevocation")?.is_empty());
    annotate(&named)?;
    revision(&namespace, "site", 3)?;
    let made = namespace.until_list(
        "certificaterevocation",
        "a CertificateRevocation that is done",
        |all| all.len() == 1 && ready_condition(&all[0])["reason"] == "Revoked",
    )?;
    let [made] = made.try_into().expect("one");
    assert_eq!(made["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(on_record(&cluster.lab, &old)?, revoked(KEY_COMPROMISE));
    assert_ne!(public_key(&namespace, "site")?, key);
    // Nothing follows, not even when it is taken for done.
    let name = made["metadata"]["name"].as_str().context("a name")?;
    namespace.kubectl(&["delete", "certificaterevocation", name])?;
    namespace.kubectl(&["annotate", "certificate", "site", "example.com/seen=1"])?;
    namespace.quiet()?;
    assert!(namespace.list("certificaterevocation")?.is_empty());
    revision(&namespace, "site", 3)?;

    // Deleted and applied again with the annotation, as from a repository, in this and in its former form.
    for (value, host) in [(named.as_str(), "a"), ("1", "b")] {
        namespace.kubectl(&["delete", "certificate,secret", "site"])?;
        let yaml = key_kept(&format!("revoke-again-{host}.example.com")).replacen(
            "metadata: {name: site}",
            &format!("metadata: {{name: site, annotations: {{everleaf.io/key-compromised: \"{value}\"}}}}"),
            1,
        );
        namespace.apply(&yaml)?;
        revision(&namespace, "site", 1)?;
        let (good, key) = (namespace.serial("site")?, public_key(&namespace, "site")?);
        namespace.kubectl(&["annotate", "certificate", "site", "example.com/seen=2"])?;
        namespace.quiet()?;
        assert!(
            namespace.list("certificaterevocation")?.is_empty(),
            "{value}"
        );
        assert_eq!(on_record(&cluster.lab, &good)?.0, "Valid", "{value}");
        assert_eq!(public_key(&namespace, "site")?, key, "{value}");
    }
    Ok(())
}
