//! Ordered issuers: the next one signs when a CA cannot, never when the request or the site is at fault, and the first
//! one signs again as soon as it can.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::renewal_info::{at_once, restart_when_due};
use crate::support::{Ca, Cluster, DEADLINE, Namespace, certificate, ready_condition};
use crate::{SAID, TRAEFIK, aside, cluster};

/// A call that hangs ends after 90 s.
const HANGING: Duration = Duration::from_mins(4);

/// An OrderedIssuer of these issuers, which gives them 3 s.
fn list(issuers: [&str; 2]) -> String {
    let [first, second] = issuers;
    format!(
        "{{apiVersion: everleaf.io/v1alpha1, kind: OrderedIssuer, metadata: {{name: list}}, \
         spec: {{after: 3s, issuers: [{{name: {first}}}, {{name: {second}}}]}}}}"
    )
}

fn ordered(host: &str) -> String {
    let reference = "issuerRef: {group: everleaf.io, kind: OrderedIssuer, name: list}";
    certificate("site", "list", host, "").replace("issuerRef: {name: list}", reference)
}

fn self_signed(name: &str) -> String {
    format!(
        "{{apiVersion: cert-manager.io/v1, kind: Issuer, metadata: {{name: {name}}}, spec: {{selfSigned: {{}}}}}}"
    )
}

/// Wait until the list says so of itself.
fn list_is(namespace: &Namespace<'_>, reason: &str, deadline: Duration) -> Result<Value> {
    namespace.until(deadline, "orderedissuer", "list", reason, |object| {
        ready_condition(object)["reason"] == reason
    })
}

/// Name of the issuer and reason of the Ready condition of each request that was made for another.
fn asked(namespace: &Namespace<'_>) -> Result<Vec<(String, String)>> {
    let requests = namespace.list("certificaterequest")?;
    let children = requests.iter().filter(|request| {
        request["metadata"]["ownerReferences"][0]["kind"] == "CertificateRequest"
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut asked: Vec<_> = children
        .map(|request| {
            let reason = &ready_condition(request)["reason"];
            (text(&request["spec"]["issuerRef"]["name"]), text(reason))
        })
        .collect();
    asked.sort();
    Ok(asked)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    expected.iter().map(owned).collect()
}

/// Two CAs with an issuer each, and the list of both.
fn two_cas(namespace: &Namespace<'_>) -> Result<[Ca; 2]> {
    let cluster = namespace.cluster;
    let start = || Ca::start(&cluster.lab, &[], |config| config);
    let cas = [start()?, start()?];
    for (name, ca) in ["first", "second"].into_iter().zip(&cas) {
        namespace.apply(&ca.issuer(cluster, name, TRAEFIK)?)?;
    }
    namespace.apply(&list(["first", "second"]))?;
    list_is(namespace, "InOrder", DEADLINE)?;
    Ok(cas)
}

#[test]
fn the_second_signs_while_the_first_hangs_and_the_first_when_it_is_back() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ordered")?;
    let [first, second] = two_cas(&namespace)?;

    first.pause()?;
    namespace.apply(&ordered("ordered.example.com"))?;
    let object = namespace.ready("site", HANGING)?;
    let message = ready_condition(&object)["message"].to_string();
    for words in [
        "Issued by Issuer \\\"second\\\", because Issuer \\\"first\\\" cannot sign, since 20",
        "no answer from 10.244.0.1",
        "(EL-1220)",
    ] {
        assert!(message.contains(words), "{message}");
    }
    namespace.pair_matches("site")?;
    let secret = namespace.get("secret", "site")?;
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations["cert-manager.io/issuer-name"], "list");
    assert_eq!(annotations["cert-manager.io/issuer-kind"], "OrderedIssuer");
    assert_eq!(annotations["cert-manager.io/issuer-group"], "everleaf.io");
    let expected = pairs(&[("first", "Failed"), ("second", "Issued")]);
    assert_eq!(asked(&namespace)?, expected);
    assert_eq!((first.orders()?, second.orders()?), (0, 1));
    let orders = namespace.list("order")?;
    assert_eq!(orders.len(), 1, "that of the first is gone");
    let degraded = list_is(&namespace, "Fallback", DEADLINE)?;
    let known = &degraded["status"]["issuers"];
    assert_eq!(
        (&known[0]["state"], &known[1]["state"]),
        (&json!("Faulty"), &json!("Fit"))
    );

    first.resume()?;
    list_is(&namespace, "InOrder", HANGING)?;
    let before = (first.orders()?, second.orders()?);
    namespace.renew("site")?;
    let object = namespace.until(HANGING, "certificate", "site", "renewed", |object| {
        object["status"]["revision"] == 2
    })?;
    let message = ready_condition(&object)["message"].to_string();
    assert!(!message.contains("EL-1220"), "{message}");
    namespace.pair_matches("site")?;
    assert_eq!(
        (first.orders()?, second.orders()?),
        (before.0 + 1, before.1)
    );
    namespace.until_list("certificaterequest", "the old ones are gone", |all| {
        all.len() == 2
    })?;
    assert_eq!(asked(&namespace)?, pairs(&[("first", "Issued")]));
    Ok(())
}

#[test]
fn a_fallback_that_would_not_do_is_found_in_peacetime() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ordered-peace")?;
    let down = Ca::start(&cluster.lab, &[], |config| config)?;
    namespace.apply(&self_signed("first"))?;
    namespace.apply(&down.issuer(cluster, "second", TRAEFIK)?)?;
    namespace.until(DEADLINE, "issuer", "second", "ready", |object| {
        ready_condition(object)["status"] == "True"
    })?;
    down.stop()?;
    namespace.apply(&list(["first", "second"]))?;
    let object = list_is(&namespace, "Degraded", DEADLINE)?;
    let message = ready_condition(&object)["message"].to_string();
    for words in [
        "Issuer \\\"first\\\" is fit",
        "Issuer \\\"second\\\" cannot sign, since",
        "cannot reach",
    ] {
        assert!(message.contains(words), "{message}");
    }
    Ok(())
}

#[test]
fn one_that_never_was_ready_is_passed_over() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ordered-new")?;
    let nowhere = cluster.acme_issuer("nowhere", "default", TRAEFIK)?;
    let closed = "https://10.244.0.1:1/dir";
    namespace.apply(&nowhere.replace(&cluster.lab.acme_directory(), closed))?;
    namespace.apply(&list(["nowhere", "internal"]))?;
    namespace.apply(&ordered("ordered-new.example.com"))?;
    let words = [
        "None of the issuers can sign",
        "Issuer \"nowhere\" cannot sign, since",
        "there is no such issuer",
        "EL-1221",
    ];
    namespace.says("site", &words, SAID)?;
    namespace.apply(&self_signed("internal"))?;
    namespace.ready("site", SAID)?;
    let words = [
        "Issued by Issuer \"internal\"",
        "cannot reach 10.244.0.1",
        "EL-1220",
    ];
    namespace.says("site", &words, SAID)?;
    assert_eq!(asked(&namespace)?, pairs(&[("internal", "Issued")]));
    Ok(())
}

/// Two CAs, of which the first goes by this name; a name that only the second may issue for; and a list of both.
fn only_the_second_may<'a>(
    cluster: &'a Cluster,
    name: &str,
) -> Result<(Namespace<'a>, String, [Ca; 2])> {
    let namespace = cluster.namespace(name)?;
    let own = "\"httpPort\": 80, \"caaIdentities\": [\"first.example\"],";
    let first = Ca::start(&cluster.lab, &[], |config| {
        config.replace("\"httpPort\": 80,", own)
    })?;
    let second = Ca::start(&cluster.lab, &[], |config| config)?;
    for (name, ca) in [("first", &first), ("second", &second)] {
        namespace.apply(&ca.issuer(cluster, name, TRAEFIK)?)?;
    }
    let host = format!("{name}.nowhere.example.com");
    cluster.dns_update(&format!(
        "add {host} 1 A {}\nadd {host} 1 CAA 0 issue \"pebble.letsencrypt.org\"",
        lab::ADDRESS
    ))?;
    Ok((namespace, host, [first, second]))
}

#[test]
fn a_ca_that_caa_records_forbid_is_passed_over_without_an_order() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let (namespace, host, [first, second]) = only_the_second_may(cluster, "ordered-caa")?;
    namespace.apply(&list(["first", "second"]))?;
    list_is(&namespace, "InOrder", DEADLINE)?;
    namespace.apply(&ordered(&host))?;
    namespace.ready("site", SAID)?;
    let words = [
        "Issued by Issuer \"second\", because Issuer \"first\" cannot sign",
        "CAA 0 issue \"pebble.letsencrypt.org\" does not let this CA issue",
        "(EL-1220)",
    ];
    namespace.says("site", &words, SAID)?;
    assert_eq!((first.orders()?, second.orders()?), (0, 1));
    // It is about one name: others are the first's.
    let known = namespace.get("orderedissuer", "list")?["status"]["issuers"].clone();
    assert_eq!(known[0]["state"], "Fit");
    Ok(())
}

#[test]
fn a_fallback_that_caa_records_forbid_is_found_in_peacetime() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let (namespace, host, [first, second]) = only_the_second_may(cluster, "ordered-caa-peace")?;
    for name in ["first", "second"] {
        namespace.until(DEADLINE, "issuer", name, "Ready", |issuer| {
            ready_condition(issuer)["status"] == "True"
        })?;
    }
    // The list is made after the Certificate, and looks at its issuers at once then.
    namespace.apply(&ordered(&host))?;
    namespace.says("site", &["does not exist"], SAID)?;
    namespace.apply(&list(["second", "first"]))?;
    let object = list_is(&namespace, "Degraded", DEADLINE)?;
    let message = ready_condition(&object)["message"].to_string();
    for words in [
        "Issuer \\\"second\\\" is fit;",
        "Issuer \\\"first\\\" is fit, but not for all names: The record ",
        "add ordered-caa-peace.nowhere.example.com. CAA 0 issue \\\"first.example\\\"",
        "(EL-1222)",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    namespace.ready("site", SAID)?;
    assert_eq!((first.orders()?, second.orders()?), (0, 1));
    Ok(())
}

#[test]
fn a_name_that_the_ca_refuses_is_not_asked_for_elsewhere() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("ordered-refused")?;
    namespace.apply(&cluster.acme_issuer("strict", "default", TRAEFIK)?)?;
    namespace.apply(&self_signed("internal"))?;
    namespace.apply(&list(["strict", "internal"]))?;
    list_is(&namespace, "InOrder", DEADLINE)?;
    namespace.apply(&ordered("blocked.example.com"))?;
    let words = ["rejectedIdentifier", "take the name out", "Next attempt at"];
    namespace.says("site", &words, SAID)?;
    assert_eq!(asked(&namespace)?, pairs(&[("strict", "Failed")]));
    assert!(!namespace.has("secret", "site")?, "nothing is written");
    Ok(())
}

/// What the orders at this issuer's CA say that they replace.
fn replaced(namespace: &Namespace<'_>, issuer: &str) -> Result<Vec<Value>> {
    let mut orders = namespace.list("order")?;
    orders.retain(|order| order["spec"]["issuerRef"]["name"] == issuer);
    let replaces = orders.iter().map(|order| order["spec"]["replaces"].clone());
    Ok(replaces.collect())
}

#[test]
fn the_ca_that_has_signed_is_asked_when_to_renew_and_told_what_it_replaces() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("ordered-ari")?;
    let [first, second] = two_cas(&namespace)?;
    let revision = |number: u64| {
        namespace.until(DEADLINE, "certificate", "site", "issued", |object| {
            let known = &object["status"]["acme"]["ari"]["suggestedWindow"];
            object["status"]["revision"] == number && known.is_object()
        })
    };
    namespace.apply(&ordered("ordered-ari.example.com"))?;
    revision(1)?;
    let questions =
        || -> Result<_> { Ok((first.renewal_questions()?, second.renewal_questions()?)) };
    assert_eq!(questions()?, (1, 0));

    // The next one is another CA's, which knows nothing of this one.
    first.stop()?;
    namespace.renew("site")?;
    revision(2)?;
    assert_eq!(questions()?, (1, 1));
    assert_eq!(replaced(&namespace, "second")?, [Value::Null]);

    let certificate = namespace.secret_entry("site", "tls.crt")?;
    second.suggest(&cluster.lab, &certificate, &at_once().to_string())?;
    restart_when_due(cluster, &namespace, &["site"])?;
    namespace.until(DEADLINE, "certificate", "site", "replaced", |object| {
        object["status"]["revision"] == 3
    })?;
    let replaced = replaced(&namespace, "second")?;
    assert!(replaced.iter().any(Value::is_string), "{replaced:?}");
    assert_eq!(second.orders()?, 2);
    namespace.pair_matches("site")?;

    // Nor has anybody to say who is to revoke it.
    let serial = namespace.serial("site")?;
    namespace.apply(
        "{apiVersion: everleaf.io/v1alpha1, kind: CertificateRevocation, metadata: {name: gone}, spec: \
         {certificateRef: {name: site}, reason: superseded}}",
    )?;
    let kind = "certificaterevocation";
    namespace.until(DEADLINE, kind, "gone", "done", |object| {
        ready_condition(object)["reason"] == "Revoked"
    })?;
    let record = second.record(&cluster.lab, &serial)?;
    assert_eq!(record, ("Revoked".into(), Some(4)));
    Ok(())
}
