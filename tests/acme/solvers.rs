//! How a challenge is presented: class, ingressClassName, name, templates, overrides.

use anyhow::Result;
use serde_json::Value;

use crate::support::{DEADLINE, Namespace, certificate};
use crate::{TEMPORARY, TRAEFIK, cluster};

/// Issue through this solver; what the Ingresses looked like meanwhile.
fn issue(namespace: &Namespace<'_>, solver: &str, certificate: &str) -> Result<Vec<Value>> {
    let watch = namespace.watch("ingress", "")?;
    namespace.apply(&namespace.cluster.acme_issuer("pebble", "default", solver)?)?;
    namespace.apply(certificate)?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    let presented = |object: &Value| {
        let path = first_path(object)["path"].as_str().unwrap_or_default();
        path.starts_with("/.well-known/acme-challenge/")
    };
    let versions = watch.until_one(DEADLINE, "the challenge's path", presented)?;
    let versions = versions.into_iter().map(|(_, object)| object).collect();
    namespace.none_left(&["challenge", "service", "endpointslice", "pod"], DEADLINE)?;
    Ok(versions)
}

/// The first path of the first rule.
fn first_path(ingress: &Value) -> &Value {
    &ingress["spec"]["rules"][0]["http"]["paths"][0]
}

#[test]
fn class_is_the_annotation_of_old() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("solver-class")?;
    let wanted = certificate("site", "pebble", "solver-class.example.com", "");
    let seen = issue(&namespace, "{class: traefik}", &wanted)?;
    let ingress = &seen[0];
    assert_eq!(
        ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"],
        "traefik"
    );
    assert_eq!(ingress["spec"]["ingressClassName"], Value::Null);
    namespace.none_left(&TEMPORARY, DEADLINE)
}

#[test]
fn endpoints_that_somebody_deletes_are_made_again() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("solver-endpoints")?;
    // Nobody serves the class, so that the challenge stays.
    let solver = "{class: nobodys}";
    namespace.apply(&cluster.acme_issuer("pebble", "default", solver)?)?;
    let wanted = certificate("site", "pebble", "solver-endpoints.example.com", "");
    namespace.apply(&wanted)?;
    let made = namespace.until_list("endpointslice", "slice", |all| all.len() == 1)?;
    namespace.kubectl(&["delete", "endpointslices", "--all"])?;
    let again = namespace.until_list("endpointslice", "slice", |all| all.len() == 1)?;
    assert_ne!(again[0]["metadata"]["uid"], made[0]["metadata"]["uid"]);
    assert_eq!(again[0]["endpoints"], made[0]["endpoints"]);
    namespace.kubectl(&["delete", "certificate", "site"])?;
    namespace.none_left(&TEMPORARY, DEADLINE)
}

#[test]
fn ingress_class_name_and_template() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("solver-template")?;
    let wanted = certificate("site", "pebble", "solver-template.example.com", "");
    let solver = "{ingressClassName: traefik, ingressTemplate: {metadata: {labels: {team: a}, \
                  annotations: {note: b}}}}";
    let seen = issue(&namespace, solver, &wanted)?;
    let ingress = &seen[0];
    let meta = &ingress["metadata"];
    assert_eq!(ingress["spec"]["ingressClassName"], "traefik");
    assert_eq!(meta["labels"]["team"], "a");
    assert_eq!(meta["labels"]["acme.cert-manager.io/http01-solver"], "true");
    assert_eq!(meta["annotations"]["note"], "b");
    assert_eq!(
        meta["annotations"]["nginx.ingress.kubernetes.io/whitelist-source-range"],
        "0.0.0.0/0,::/0"
    );
    assert_eq!(meta["ownerReferences"][0]["kind"], "Challenge");
    assert_eq!(
        ingress["spec"]["rules"][0]["host"],
        "solver-template.example.com"
    );
    let path = first_path(ingress);
    assert_eq!(path["pathType"], "Exact");
    assert_eq!(path["backend"]["service"]["port"]["number"], 8089);
    assert!(
        path["path"]
            .as_str()
            .is_some_and(|p| p.starts_with("/.well-known/acme-challenge/"))
    );
    namespace.none_left(&TEMPORARY, DEADLINE)
}

/// An Ingress of a user, with a path of their own; as it is before a challenge that waits for it is presented there.
fn users_ingress(namespace: &Namespace<'_>, host: &str) -> Result<Value> {
    namespace.create(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: web, annotations: {{note: kept}}}}, \
         spec: {{ingressClassName: traefik, rules: [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix, \
         backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}]}}}}"
    ))
}

/// The challenge's path was in the user's Ingress and is out of it again.
fn was_edited(namespace: &Namespace<'_>, seen: &[Value], before: &Value) -> Result<()> {
    let edited = seen.iter().any(|ingress| {
        let path = first_path(ingress)["path"].as_str().unwrap_or_default();
        path.starts_with("/.well-known/acme-challenge/")
    });
    assert!(edited, "{seen:?}");
    assert!(
        seen.iter().all(|i| i["metadata"]["name"] == "web"),
        "{seen:?}"
    );
    let after = namespace.until(DEADLINE, "ingress", "web", "as it was", |now| {
        now["spec"] == before["spec"]
    })?;
    for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
        assert_eq!(after["metadata"][field], before["metadata"][field]);
    }
    Ok(())
}

#[test]
fn name_edits_a_users_ingress_and_puts_it_back() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("solver-name")?;
    let host = "solver-name.example.com";
    let before = users_ingress(&namespace, host)?;
    let wanted = certificate("site", "pebble", host, "");
    let seen = issue(&namespace, "{name: web}", &wanted)?;
    was_edited(&namespace, &seen, &before)
}

#[test]
fn name_of_an_ingress_that_does_not_exist_yet() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("solver-later")?;
    let host = "solver-later.example.com";
    namespace.apply(&cluster.acme_issuer("pebble", "default", "{name: web}")?)?;
    namespace.apply(&certificate("site", "pebble", host, ""))?;
    let words = ["Ingress \"web\"", "does not exist", "create it"];
    namespace.says("site", &words, crate::SAID)?;
    let before = users_ingress(&namespace, host)?;
    namespace.ready("site", crate::SAID)?;
    namespace.until(DEADLINE, "ingress", "web", "as it was", |now| {
        now["spec"] == before["spec"]
    })?;
    Ok(())
}

#[test]
fn annotations_of_the_certificate_override_the_solver() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    for (name, annotation, value) in [
        ("override-ingressclassname", "ingressclassname", "traefik"),
        ("override-class", "class", "traefik"),
        ("override-name", "name", "web"),
    ] {
        let namespace = cluster.namespace(name)?;
        let host = format!("{name}.example.com");
        let before = users_ingress(&namespace, &host)?;
        let key = match annotation {
            "name" => "http01-override-ingress-name",
            "class" => "http01-override-ingress-class",
            _ => "http01-override-ingress-ingressclassname",
        };
        let wanted = certificate("site", "pebble", &host, "").replacen(
            "metadata: {name: site}",
            &format!(
                "metadata: {{name: site, annotations: {{acme.cert-manager.io/{key}: {value}}}}}"
            ),
            1,
        );
        let seen = issue(&namespace, "{ingressClassName: nobody}", &wanted)?;
        if annotation == "name" {
            was_edited(&namespace, &seen, &before)?;
        } else {
            let solver = seen.iter().find(|i| i["metadata"]["name"] != "web");
            let solver = solver.cloned().unwrap_or_default();
            let annotations = &solver["metadata"]["annotations"];
            let (class, name) = match annotation {
                "class" => (Value::from("traefik"), Value::Null),
                _ => (Value::Null, Value::from("traefik")),
            };
            assert_eq!(annotations["kubernetes.io/ingress.class"], class);
            assert_eq!(solver["spec"]["ingressClassName"], name);
        }
    }
    Ok(())
}

#[test]
fn the_solver_of_the_most_exact_selector() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("solver-selector")?;
    let issuer = cluster.acme_issuer("pebble", "default", TRAEFIK)?.replace(
        "solvers: [",
        "solvers: [{selector: {dnsZones: [other.example.com]}, http01: {ingress: {ingressClassName: nobody}}}, ",
    );
    namespace.apply(&issuer)?;
    namespace.apply(&certificate(
        "site",
        "pebble",
        "solver-selector.example.com",
        "",
    ))?;
    namespace.ready("site", DEADLINE)?;
    namespace.apply(&certificate("other", "pebble", "x.other.example.com", ""))?;
    namespace.says("other", &["IngressClass \"nobody\""], crate::SAID)?;
    Ok(())
}
