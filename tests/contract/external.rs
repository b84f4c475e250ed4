//! Issuers of other groups: their controllers sign, this operator does the rest.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::signing::sign;
use crate::support::{DEADLINE, Namespace, certificate, ready_condition, requests};
use crate::{FLAGS, aside, cluster, condition, now, patch_status, self_signed, set_condition};

const ISSUER: &str = "issuerRef: {name: outside, kind: Outside, group: issuers.example.org}";

/// It has a kind, or nobody could have the right to approve requests to it.
pub const KIND: &str = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, \
    metadata: {name: outsiders.issuers.example.org}, spec: {group: issuers.example.org, scope: Namespaced, \
    names: {kind: Outside, plural: outsiders, singular: outside, listKind: OutsideList}, \
    versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}";

fn external(host: &str) -> String {
    certificate("site", "x", host, "").replace("issuerRef: {name: x}", ISSUER)
}

/// Play the external issuer.
fn answer(namespace: &Namespace<'_>, request: &str) -> Result<()> {
    let object = namespace.until(
        DEADLINE,
        "certificaterequest",
        request,
        "approved",
        |object| condition(object, "Approved")["status"] == "True",
    )?;
    assert!(ready_condition(&object).is_null(), "not ours to judge");
    let (certificate, ca) = sign(namespace, request)?;
    let mut conditions = object["status"]["conditions"].clone();
    if let Some(all) = conditions.as_array_mut() {
        all.push(json!({"type": "Ready", "status": "True", "reason": "Issued", "message": "signed outside",
            "lastTransitionTime": now()}));
    }
    let status = json!({"certificate": certificate, "ca": ca, "conditions": conditions});
    patch_status(namespace, &format!("certificaterequest/{request}"), &status)
}

#[test]
fn a_request_is_made_approved_and_its_answer_used() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("external")?;
    namespace.apply(&external("one.external.example.com"))?;
    let words = [
        "CertificateRequest \"site-1\" waits for the external issuer",
        "issuers.example.org",
        "outside",
    ];
    namespace.says("site", &words, DEADLINE)?;
    answer(&namespace, "site-1")?;
    namespace.ready("site", DEADLINE)?;
    namespace.pair_matches("site")?;
    let secret = namespace.get("secret", "site")?;
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations["cert-manager.io/issuer-name"], "outside");
    assert_eq!(annotations["cert-manager.io/issuer-kind"], "Outside");
    assert_eq!(
        annotations["cert-manager.io/issuer-group"],
        "issuers.example.org"
    );
    let ca = String::from_utf8(namespace.secret_entry("site", "ca.crt")?)?;
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"));

    // A change of the spec: not Ready until the new one is there, and served meanwhile.
    let old = namespace.secret_entry("site", "tls.crt")?;
    namespace.apply(&external("two.external.example.com"))?;
    let changed = namespace.until(DEADLINE, "certificate", "site", "not Ready", |object| {
        ready_condition(object)["reason"] == "RequestChanged"
    })?;
    assert_eq!(ready_condition(&changed)["status"], "False");
    assert_eq!(ready_condition(&changed)["observedGeneration"], 2);
    let message = ready_condition(&changed)["message"].to_string();
    assert!(message.contains("spec.dnsNames"), "{message}");
    assert_eq!(condition(&changed, "Issuing")["status"], "True");
    assert_eq!(condition(&changed, "Issuing")["reason"], "RequestChanged");
    assert_eq!(namespace.secret_entry("site", "tls.crt")?, old);
    answer(&namespace, "site-2")?;
    let done = namespace.ready("site", DEADLINE)?;
    assert_eq!(done["status"]["revision"], 2);
    assert!(condition(&done, "Issuing").is_null());
    namespace.pair_matches("site")?;
    let names = namespace.x509("site", &["-ext", "subjectAltName"])?;
    assert!(names.contains("two.external.example.com"), "{names}");
    Ok(())
}

/// What everybody may do but approve; and what the operator of this test may approve.
const RIGHTS: &str = "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: operator, namespace: approving}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: approving}, rules: [
  {apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch, create, update, patch, delete]},
  {apiGroups: [cert-manager.io], resources: [signers], verbs: [approve],
   resourceNames: [issuers.cert-manager.io/approving.self, outsiders.issuers.example.org/approving.mine,
     orderedissuers.everleaf.io/approving.list]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: approving},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: approving},
 subjects: [{kind: ServiceAccount, name: operator, namespace: approving}]}
";

/// It may be asked, and the one issuer that it lists may not.
const LIST: &str = "{apiVersion: everleaf.io/v1alpha1, kind: OrderedIssuer, metadata: {name: list}, \
    spec: {issuers: [{name: kept}]}}";

/// A right that comes later.
const MORE: &str = "
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: approving-more}, rules: [
  {apiGroups: [cert-manager.io], resources: [signers], verbs: [approve],
   resourceNames: [outsiders.issuers.example.org/*]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: approving-more},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: approving-more},
 subjects: [{kind: ServiceAccount, name: operator, namespace: approving}]}
";

#[test]
fn only_what_the_operator_has_the_right_to_approve_is_approved() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("approving")?;
    namespace.apply(RIGHTS)?;
    let token = namespace.kubectl(&["create", "token", "operator"])?;
    let dir = cluster.lab.dir();
    let (file, ca) = (dir.join("approving.conf"), dir.join("pki/ca.crt"));
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": "https://10.244.0.1:6443", "certificate-authority": ca}}],
        "users": [{"name": "operator", "user": {"token": token.trim()}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "operator"}}]});
    std::fs::write(&file, kubeconfig.to_string())?;
    let flags = [FLAGS[0], &format!("--kubeconfig={}", file.display())];
    cluster.while_operator_with(&flags, &[], || rights_are_followed(&namespace))
}

fn rights_are_followed(namespace: &Namespace<'_>) -> Result<()> {
    let (before, begun) = (reviews(namespace)?, Instant::now());
    namespace.apply(&[self_signed("self"), self_signed("kept")].join("\n---\n"))?;
    let outside = |name: &str| {
        let yaml = certificate(name, name, &format!("{name}.example.com"), "");
        let group = ", kind: Outside, group: issuers.example.org}";
        let reference = format!("issuerRef: {{name: {name}");
        yaml.replace(&format!("{reference}}}"), &format!("{reference}{group}"))
    };
    let own = certificate("own", "self", "own.example.com", "");
    let kept = certificate("kept", "kept", "kept.example.com", "");
    let nowhere = outside("nowhere").replace("kind: Outside", "kind: Elsewhere");
    let reference = "issuerRef: {name: list, kind: OrderedIssuer, group: everleaf.io}";
    let listed = certificate("listed", "list", "listed.example.com", "");
    let listed = listed.replace("issuerRef: {name: list}", reference);
    let all = [
        own,
        kept,
        outside("mine"),
        outside("theirs"),
        nowhere,
        LIST.to_owned(),
        listed,
    ];
    namespace.apply(&all.join("\n---\n"))?;
    namespace.ready("own", DEADLINE)?;
    let is_approved = |object: &Value| condition(object, "Approved")["status"] == "True";
    let kind = "certificaterequest";
    namespace.until(DEADLINE, kind, "mine-1", "approved", is_approved)?;
    for name in ["kept", "theirs", "nowhere"] {
        let words = ["waits for approval", "have the right to approve", "EL-1203"];
        namespace.says(name, &words, DEADLINE)?;
        let request = namespace.get(kind, &format!("{name}-1"))?;
        assert!(condition(&request, "Approved").is_null(), "{request}");
    }
    // The request of the list is approved, and the one that was made of its issuer is not.
    namespace.until(DEADLINE, kind, "listed-1", "approved", is_approved)?;
    let words = [
        "CertificateRequest \"listed-1-",
        "waits for approval",
        "EL-1203",
    ];
    namespace.says("listed", &words, DEADLINE)?;
    for name in ["kept-1".to_owned(), child(namespace)?] {
        names_its_creator(namespace, &namespace.get(kind, &name)?)?;
    }
    // Whoever approves may take days: a restart must not throw the answer away for want of the key.
    let waiting = namespace.get("certificate", "kept")?;
    let key = waiting["status"]["nextPrivateKeySecretName"].as_str();
    assert!(
        namespace.has("secret", key.unwrap_or_default())?,
        "{waiting}"
    );
    let approved = json!({"type": "Approved", "status": "True", "reason": "ByHand", "message": "fine",
        "lastTransitionTime": now()});
    set_condition(namespace, kind, "kept-1", &approved)?;
    namespace.ready("kept", DEADLINE)?;

    namespace.apply(MORE)?;
    namespace.until(2 * DEADLINE, kind, "theirs-1", "approved", is_approved)?;
    let request = namespace.get(kind, "nowhere-1")?;
    assert!(condition(&request, "Approved").is_null(), "{request}");

    // Eight to begin with, of which five were refused, and are asked for again after a minute.
    let asked = reviews(namespace)? - before;
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60)?;
    assert!(
        (9..=10 + 5 * minutes).contains(&asked),
        "{asked} reviews in {minutes} min"
    );
    Ok(())
}

/// The request that was made for that of the list.
fn child(namespace: &Namespace<'_>) -> Result<String> {
    let all = namespace.list("certificaterequest")?;
    let names = all.iter().filter_map(|r| r["metadata"]["name"].as_str());
    let mut children = names.filter(|name| name.starts_with("listed-1-"));
    children.next().map(ToOwned::to_owned).context("a child")
}

/// Approvers go by who has made a request, and ask Kubernetes what that one may do.
fn names_its_creator(namespace: &Namespace<'_>, request: &Value) -> Result<()> {
    let spec = &request["spec"];
    let user = format!("system:serviceaccount:{}:operator", namespace.name);
    assert_eq!(spec["username"], user, "{request}");
    assert!(spec["uid"].is_string(), "{request}");
    let groups = spec["groups"].as_array().map_or(&[][..], Vec::as_slice);
    assert!(
        groups.contains(&json!("system:serviceaccounts")),
        "{request}"
    );
    let token = "authentication.kubernetes.io/credential-id";
    assert!(
        spec["extra"][token].is_null(),
        "it changes within the hour: {request}"
    );
    let may = |verb: &str| -> Result<Value> {
        let attributes = json!({"verb": verb, "group": "cert-manager.io", "resource": "certificaterequests",
            "namespace": namespace.name});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": spec["username"], "uid": spec["uid"], "groups": spec["groups"], "extra": spec["extra"],
                "resourceAttributes": attributes}});
        let file = namespace.cluster.lab.dir().join("review.json");
        std::fs::write(&file, review.to_string())?;
        let file = format!("--filename={}", file.display());
        let answer = namespace
            .cluster
            .lab
            .kubectl(&["create", "--output=json", &file])?;
        let answer: Value = serde_json::from_str(&answer)?;
        Ok(answer["status"]["allowed"].clone())
    };
    assert_eq!(
        (may("create")?, may("deletecollection")?),
        (json!(true), json!(false))
    );
    Ok(())
}

/// How often it was asked what the operator may do.
fn reviews(namespace: &Namespace<'_>) -> Result<usize> {
    let all = requests(&namespace.cluster.lab)?.into_iter();
    let reviews = all.filter(|r| r.resource == "selfsubjectaccessreviews");
    Ok(reviews.count())
}

#[test]
fn an_invalid_request_and_a_wrong_certificate_are_failures() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("external-bad")?;
    namespace.apply(&external("one.external-bad.example.com"))?;
    namespace.until_list("certificaterequest", "one request", |all| all.len() == 1)?;
    let refusal = json!({"type": "InvalidRequest", "status": "True", "reason": "TooLong", "message": "names are too long",
        "lastTransitionTime": now()});
    set_condition(&namespace, "certificaterequest", "site-1", &refusal)?;
    namespace.says("site", &["names are too long", "Next attempt at"], DEADLINE)?;
    let failed = namespace.get("certificate", "site")?;
    assert_eq!(condition(&failed, "Issuing")["reason"], "TooLong");

    // The spec is corrected, which ends the back-off; then a certificate for another key comes.
    namespace.apply(&external("two.external-bad.example.com"))?;
    let asked = namespace.until(DEADLINE, "certificaterequest", "site-1", "new", |object| {
        condition(object, "InvalidRequest").is_null()
            && condition(object, "Approved")["status"] == "True"
    })?;
    let (_, ca) = sign(&namespace, "site-1")?;
    let mut conditions = asked["status"]["conditions"].clone();
    if let Some(all) = conditions.as_array_mut() {
        all.push(json!({"type": "Ready", "status": "True", "reason": "Issued", "message": "signed outside",
            "lastTransitionTime": now()}));
    }
    let status = json!({"certificate": ca, "conditions": conditions});
    patch_status(&namespace, "certificaterequest/site-1", &status)?;
    let failed = namespace.until(DEADLINE, "certificate", "site", "failed", |object| {
        condition(object, "Issuing")["reason"] == "InvalidCertificate"
    })?;
    let message = condition(&failed, "Issuing")["message"].to_string();
    assert!(message.contains("another public key"), "{message}");
    assert!(!namespace.has("secret", "site")?, "nothing is written");
    Ok(())
}

/// Its issuer stops between the two halves of what it has to write; cert-manager's own test has it too
/// (`stalled_request_recovery_test.go`).
fn stall(namespace: &Namespace<'_>) -> Result<()> {
    let kind = "certificaterequest";
    namespace.until(DEADLINE, kind, "site-1", "approved", |object| {
        condition(object, "Approved")["status"] == "True"
    })?;
    patch_status(
        namespace,
        "certificaterequest/site-1",
        &json!({"failureTime": now()}),
    )
}

#[test]
fn a_request_that_has_failed_without_a_word_is_a_failure() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("external-stalled")?;
    namespace.apply(&external("one.external-stalled.example.com"))?;
    stall(&namespace)?;
    let failed = namespace.until(DEADLINE, "certificate", "site", "failed", |object| {
        condition(object, "Issuing")["reason"] == "Stalled"
    })?;
    assert_eq!(condition(&failed, "Issuing")["status"], "False");
    assert_eq!(failed["status"]["failedIssuanceAttempts"], 1);
    let words = ["no Ready condition", "EL-1202", "Next attempt at"];
    namespace.says("site", &words, DEADLINE)?;
    namespace.renew("site")?;
    namespace.until(DEADLINE, "certificaterequest", "site-1", "new", |object| {
        object["status"]["failureTime"].is_null()
    })?;
    answer(&namespace, "site-1")?;
    let done = namespace.ready("site", DEADLINE)?;
    assert!(done["status"]["failedIssuanceAttempts"].is_null(), "{done}");
    Ok(())
}
