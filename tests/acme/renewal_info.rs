//! What a CA says about renewal (RFC 9773). Pebble wants to be asked every six hours; the operator asks sooner after a
//! restart, when the time in the status has passed.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Ca, Cluster, DEADLINE, Namespace, certificate};
use crate::{FLAGS, SAID, TRAEFIK, aside};

/// Seconds from the question to the new certificate, at most.
const REPLACED: i64 = 60;

/// Issuer `pebble`, of a CA of this test.
fn ca_of(namespace: &Namespace<'_>) -> Result<Ca> {
    let cluster = namespace.cluster;
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_WFE_NONCEREJECT", "0")], |c| c)?;
    namespace.apply(&ca.issuer(cluster, "pebble", TRAEFIK)?)?;
    Ok(ca)
}

fn issue(namespace: &Namespace<'_>, name: &str) -> Result<Vec<u8>> {
    let host = format!("{name}.{}.example.com", namespace.name);
    namespace.apply(&certificate(name, "pebble", &host, ""))?;
    namespace.ready(name, DEADLINE)?;
    namespace.secret_entry(name, "tls.crt")
}

/// The status, once the CA was asked.
fn asked(namespace: &Namespace<'_>, name: &str) -> Result<Value> {
    let is_asked = |object: &Value| object["status"]["acme"]["ari"]["suggestedWindow"].is_object();
    let object = namespace.until(SAID, "certificate", name, "asked for", is_asked)?;
    Ok(object["status"].clone())
}

/// End the operator, and start it when the next question about these certificates is due.
pub fn restart_when_due(
    cluster: &Cluster,
    namespace: &Namespace<'_>,
    names: &[&str],
) -> Result<()> {
    cluster.stop_operator()?;
    for name in names {
        let patch =
            json!({ "status": { "acme": { "ari": { "nextCheck": "2026-01-01T00:00:00Z" } } } });
        let patch = format!("--patch={patch}");
        let edit = [
            "patch",
            "certificate",
            name,
            "--subresource=status",
            "--type=merge",
        ];
        namespace.kubectl(&[&edit[..], &[&patch]].concat())?;
    }
    cluster.operator(&FLAGS)
}

fn time(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().unwrap_or_default().parse()?)
}

/// As Pebble says it of a revoked certificate: an hour ago, for a second.
pub fn at_once() -> Value {
    json!({
        "suggestedWindow": { "start": "2026-01-01T00:00:00.123Z", "end": "2026-01-01T00:00:01.123Z" },
        "explanationURL": "https://ca.example/incident",
    })
}

#[test]
fn a_certificate_that_the_ca_wants_replaced_is_within_a_minute() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ari")?;
    let ca = ca_of(&namespace)?;
    let site = &replaceable(&namespace)?;
    let first = namespace.secret_entry(site, "tls.crt")?;
    let status = asked(&namespace, site)?;
    let (questions, orders) = (ca.renewal_questions()?, ca.orders()?);
    assert_eq!(questions, orders, "right after the issuance, once");
    let window = &status["acme"]["ari"]["suggestedWindow"];
    let (start, due) = (time(&window["start"])?, time(&status["renewalTime"])?);
    let (from, to) = (time(&status["notBefore"])?, time(&status["notAfter"])?);
    let two_thirds = from + (to.duration_since(from) / 3) * 2;
    assert!(
        start <= due && due <= two_thirds,
        "{start} {due} {two_thirds}"
    );
    namespace.says(site, &["It renews at", &due.to_string()], SAID)?;

    ca.suggest(&cluster.lab, &first, &at_once().to_string())?;
    restart_when_due(cluster, &namespace, &[site])?;
    namespace.until(DEADLINE, "certificate", site, "replaced", |object| {
        object["status"]["revision"] == 2
    })?;
    let took = from_question_to_issuance(&ca, questions)?;
    assert!(took <= REPLACED, "{took} s");
    let words = "the CA asks for it: its window was 2026-01-01T00:00:00Z to 2026-01-01T00:00:02Z; see \
                 https://ca.example/incident (EL-1111)";
    namespace.until_list("event", "word of why", |all| {
        let message = |event: &Value| event["message"].as_str().map(ToOwned::to_owned);
        all.iter()
            .filter_map(message)
            .any(|message| message.contains(words))
    })?;
    namespace.pair_matches(site)?;
    let log = cluster.operator_log()?;
    assert_eq!(ca.replacements()?, 1, "{log}");
    let status = asked(&namespace, site)?;
    assert_ne!(
        status["acme"]["ari"]["suggestedWindow"],
        at_once()["suggestedWindow"]
    );
    assert_eq!(ca.orders()?, orders + 1);

    // Somebody brings the old one back: it cannot be replaced twice, and is all the same.
    let listed = namespace.list("order")?;
    let replaces = listed
        .iter()
        .find_map(|order| order["spec"]["replaces"].as_str());
    let replaces = replaces
        .expect("the order says what it replaces")
        .to_owned();
    bring_back(&namespace, site, &first)?;
    namespace.until(DEADLINE, "certificate", site, "replaced again", |object| {
        object["status"]["revision"] == 3
    })?;
    namespace.pair_matches(site)?;
    let log = cluster.operator_log()?;
    let retried = |line: &str| line.contains("alreadyReplaced") && line.contains(&replaces);
    assert!(log.lines().any(retried), "the CA refused it once");
    assert_eq!((ca.replacements()?, ca.orders()?), (1, orders + 2));
    Ok(())
}

/// Seconds from the last question after so many to the last certificate. An answer that is lost is asked for again after a
/// minute.
fn from_question_to_issuance(ca: &Ca, before: usize) -> Result<i64> {
    let issued = ca.issuance_times()?.pop().context("a certificate")?;
    let questions = ca.renewal_question_times()?.split_off(before);
    // The new certificate is asked about right after.
    let earlier = questions.iter().rfind(|time| **time < issued);
    let question = earlier.or(questions.first()).context("a question")?;
    Ok(issued - question)
}

/// The name of a certificate that Pebble can find again when it is to be replaced: it does not if the serial number begins
/// with a zero octet, which it keeps without (one of 256).
fn replaceable(namespace: &Namespace<'_>) -> Result<String> {
    for number in 1.. {
        let name = format!("site-{number}");
        issue(namespace, &name)?;
        let serial = namespace.x509(&name, &["-serial"])?;
        if serial.trim().trim_start_matches("serial=").len() == 16 {
            return Ok(name);
        }
    }
    unreachable!("numbers do not end")
}

/// Put a certificate into the Secret, as from a backup. The key stays: it is the certificate that says what is replaced.
fn bring_back(namespace: &Namespace<'_>, name: &str, certificate: &[u8]) -> Result<()> {
    use base64::Engine as _;
    let certificate = base64::engine::general_purpose::STANDARD.encode(certificate);
    let patch = json!({ "data": { "tls.crt": certificate } }).to_string();
    namespace.kubectl(&[
        "patch",
        "secret",
        name,
        "--type=merge",
        &format!("--patch={patch}"),
    ])?;
    Ok(())
}

#[test]
fn answers_that_are_none_change_nothing() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ari-none")?;
    let ca = ca_of(&namespace)?;
    let window = |start: &str, end: &str| {
        json!({ "suggestedWindow": { "start": start, "end": end } }).to_string()
    };
    let answers = [
        ("brace", "{".to_owned(), "not a valid renewalInfo"),
        (
            "page",
            "<html>later</html>".to_owned(),
            "not a valid renewalInfo",
        ),
        ("nothing", "null".to_owned(), "not a valid renewalInfo"),
        ("time", window("soon", "later"), "is no time: soon"),
        (
            "reversed",
            window("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"),
            "ends at",
        ),
        (
            "century",
            window("2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z"),
            "longer than half",
        ),
    ];
    let mut due = vec![];
    for (name, answer, _) in &answers {
        let certificate = issue(&namespace, name)?;
        let status = asked(&namespace, name)?;
        due.push((
            status["renewalTime"].clone(),
            status["acme"]["ari"]["suggestedWindow"].clone(),
        ));
        ca.suggest(&cluster.lab, &certificate, answer)?;
    }
    let names = answers.each_ref().map(|(name, ..)| *name);
    restart_when_due(cluster, &namespace, &names)?;
    for ((name, _, words), (time, window)) in answers.iter().zip(due) {
        let said = |object: &Value| {
            let error = object["status"]["acme"]["ari"]["lastError"].as_str();
            error.is_some_and(|error| error.contains(words))
        };
        let object = namespace.until(SAID, "certificate", name, words, said)?;
        let status = &object["status"];
        assert_eq!(status["revision"], 1, "{name}");
        assert_eq!(status["renewalTime"], time, "{name}");
        assert_eq!(status["acme"]["ari"]["suggestedWindow"], window, "{name}");
    }
    assert_eq!(ca.orders()?, answers.len());
    assert_eq!(ca.renewal_questions()?, 2 * answers.len());
    Ok(())
}

#[test]
fn nobody_asks_with_the_gate_off_or_the_issuer_against_it() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ari-off")?;
    let ca = ca_of(&namespace)?;
    let off = "--patch={\"spec\":{\"acme\":{\"renewalInformationSource\":\"None\"}}}";
    let on = off.replace("None", "ARI");
    let source =
        |patch: &str| namespace.kubectl(&["patch", "issuer", "pebble", "--type=merge", patch]);
    source(off)?;
    renew_by_hand(&namespace, "none")?;
    let flags = [FLAGS[0], "--feature-gates=ACMEUseARI=false"];
    cluster.while_operator_with(&flags, &[], || {
        source(&on)?;
        renew_by_hand(&namespace, "gate")?;
        assert_eq!((ca.renewal_questions()?, ca.replacements()?), (0, 0));
        Ok(())
    })?;
    asked(&namespace, "none")?;
    asked(&namespace, "gate")?;
    assert_eq!(ca.renewal_questions()?, 2, "the test tests something");
    Ok(())
}

/// A certificate, and its successor.
fn renew_by_hand(namespace: &Namespace<'_>, name: &str) -> Result<()> {
    issue(namespace, name)?;
    let spec =
        "--patch={\"spec\":{\"dnsNames\":[\"NAME.NS.example.com\",\"more.NAME.NS.example.com\"]}}";
    let spec = spec.replace("NAME", name).replace("NS", &namespace.name);
    namespace.kubectl(&["patch", "certificate", name, "--type=merge", &spec])?;
    namespace.until(DEADLINE, "certificate", name, "renewed", |object| {
        object["status"]["revision"] == 2
    })?;
    namespace.cluster.quiet()
}

/// So many certificates are due at once, and so many of their questions are looked at. That it is the same with ten
/// thousand for a day, `controllers::polls` shows by itself.
const DUE: usize = 60;
const WATCHED: usize = 21;

#[test]
fn many_certificates_are_asked_about_one_after_the_other_at_one_a_second() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ari-many")?;
    let ca = ca_of(&namespace)?;
    issue(&namespace, "site")?;
    asked(&namespace, "site")?;
    assert_eq!(ca.renewal_questions()?, 1);
    // Copies, which the operator finds in order when it starts: issuing so many would say nothing more.
    cluster.stop_operator()?;
    let site = [
        namespace.get("secret", "site")?,
        namespace.get("certificate", "site")?,
    ];
    let copies = (0..DUE).map(|number| copy_of(&site, &namespace.name, &format!("copy-{number}")));
    let copies: Vec<_> = copies.flatten().collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": copies });
    let file = cluster.lab.dir().join("copies.json");
    std::fs::write(&file, list.to_string())?;
    namespace.kubectl(&["create", "-f", &file.to_string_lossy()])?;
    let began = Timestamp::now().as_second();
    cluster.operator(&FLAGS)?;

    cluster.lab.wait(2 * DEADLINE, "the questions", || {
        Ok((ca.renewal_questions()? > WATCHED).then_some(()))
    })?;
    // None comes before its turn. Those whose turn has passed while the process stood still come together.
    let times = &ca.renewal_question_times()?[1..];
    for (turn, time) in (0..).zip(times) {
        let passed = time - began;
        assert!(passed >= turn - 1, "{turn}: {passed} s, of {times:?}");
    }
    assert_eq!(ca.orders()?, 1, "nothing was issued anew");
    namespace.kubectl(&["delete", "certificate", "--all"])?;
    Ok(())
}

/// Secret and Certificate of another name.
fn copy_of(site: &[Value; 2], namespace: &str, name: &str) -> [Value; 2] {
    let [mut secret, mut certificate] = site.clone();
    secret["metadata"]["annotations"]["cert-manager.io/certificate-name"] = json!(name);
    certificate["spec"]["secretName"] = json!(name);
    certificate["status"] = Value::Null;
    for (object, kind, version) in [
        (&mut secret, "Secret", "v1"),
        (&mut certificate, "Certificate", "cert-manager.io/v1"),
    ] {
        object["kind"] = json!(kind);
        object["apiVersion"] = json!(version);
        let meta = object["metadata"].clone();
        object["metadata"] = json!({
            "name": name, "namespace": namespace,
            "labels": meta["labels"], "annotations": meta["annotations"],
        });
    }
    [secret, certificate]
}
