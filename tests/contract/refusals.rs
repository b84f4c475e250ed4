//! Writes that the API server refuses are said where the user looks, without what is in the Secret, and cost nothing.

use anyhow::Result;

use crate::support::{Cluster, DEADLINE, Namespace, certificate, is_ready, ready_condition};
use crate::{cluster, self_signed};

/// A policy for the namespace, and its binding; returns when it is obeyed.
struct Policy<'a> {
    cluster: &'a Cluster,
    name: &'static str,
}

impl<'a> Policy<'a> {
    fn new(
        namespace: &Namespace<'a>,
        name: &'static str,
        (group, resource): (&str, &str),
        validation: &str,
        violation: &[&str],
    ) -> Result<Self> {
        let cluster = namespace.cluster;
        namespace.apply(&format!(
            r#"{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {{name: {name}}}, spec: {{
                 matchConstraints: {{
                   namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: "{of}"}}}},
                   resourceRules: [{{apiGroups: ["{group}"], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [{resource}]}}]}},
                 validations: [{{{validation}}}]}}}}"#,
            of = namespace.name
        ))?;
        namespace.apply(&format!(
            "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {{name: {name}}}, \
             spec: {{policyName: {name}, validationActions: [Deny]}}}}"
        ))?;
        let policy = Self { cluster, name };
        let violate = [violation, &["--dry-run=server"]].concat();
        cluster.lab.wait(DEADLINE, "a policy in force", || {
            match namespace.kubectl(&violate) {
                Err(error) if error.to_string().contains(name) => Ok(Some(())),
                other => other.map(|_| None),
            }
        })?;
        Ok(policy)
    }

    fn drop(self) -> Result<()> {
        for kind in [
            "validatingadmissionpolicybinding",
            "validatingadmissionpolicy",
        ] {
            self.cluster.lab.kubectl(&["delete", kind, self.name])?;
        }
        Ok(())
    }
}

/// How many events have this reason, once the issuance was told.
fn events(namespace: &Namespace<'_>, reason: &str) -> Result<usize> {
    let all = namespace.events_after(1)?;
    Ok(all.iter().filter(|event| event["reason"] == reason).count())
}

/// It has become Ready, with one request, and says nothing of the refusal any more.
fn comes(namespace: &Namespace<'_>, name: &str) -> Result<()> {
    let object = namespace.until(
        DEADLINE,
        "certificate",
        name,
        "Ready without a note",
        |object| {
            let message = ready_condition(object)["message"].to_string();
            is_ready(object) && !message.contains("EL-1108")
        },
    )?;
    assert_eq!(object["status"]["revision"], 1);
    assert_eq!(
        object["status"]["failedIssuanceAttempts"],
        serde_json::Value::Null
    );
    let request = namespace.get("certificaterequest", &format!("{name}-1"))?;
    assert_eq!(request["spec"]["issuerRef"]["name"], "self");
    Ok(())
}

#[test]
fn a_secret_that_a_policy_refuses_is_told_without_its_key() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("refused-secret")?;
    namespace.apply(&self_signed("self"))?;
    let policy = Policy::new(
        &namespace,
        "no-site",
        ("", "secrets"),
        r#"expression: "object.metadata.name != 'site'", message: "no Secret site",
           messageExpression: "'no Secret with ' + string(object.data['tls.key']).replace('\\n', ' ')""#,
        &["create", "secret", "generic", "site"],
    )?;
    namespace.apply(&certificate("site", "self", "site.example.com", ""))?;
    let words = [
        "apply Secret refused-secret/site",
        "quotes what is in the Secret",
        "EL-1108",
    ];
    namespace.says("site", &words, DEADLINE)?;
    namespace.until_list("event", "a warning", |all| {
        all.iter().any(|event| event["reason"] == "WriteRefused")
    })?;
    assert_eq!(namespace.list("certificaterequest")?.len(), 1);
    let refused = namespace.get("certificate", "site")?;
    policy.drop()?;
    comes(&namespace, "site")?;
    assert_eq!(events(&namespace, "WriteRefused")?, 1);
    let shown = [
        refused.to_string(),
        serde_json::Value::from(namespace.list("event")?).to_string(),
        cluster.operator_log()?,
    ];
    assert!(!shown.iter().any(|text| text.contains("PRIVATE KEY")));
    Ok(())
}

#[test]
fn a_request_that_a_policy_refuses_is_told_in_its_words() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("refused-request")?;
    namespace.apply(&self_signed("self"))?;
    let label = r#"expression: "has(object.metadata.labels) && 'team' in object.metadata.labels", message: "name a team""#;
    let policy = Policy::new(
        &namespace,
        "a-team",
        ("cert-manager.io", "certificaterequests"),
        label,
        &["create", "--filename", &request_file(&namespace)?],
    )?;
    namespace.apply(&certificate("site", "self", "site.example.com", ""))?;
    let words = [
        "create CertificateRequest refused-request/site-1",
        "name a team",
        "EL-1108",
    ];
    namespace.says("site", &words, DEADLINE)?;
    namespace.until_list("event", "a warning", |all| {
        all.iter().any(|event| event["reason"] == "RequestFailed")
    })?;
    namespace.kubectl(&["label", "certificate", "site", "team=shop"])?;
    comes(&namespace, "site")?;
    assert_eq!(events(&namespace, "RequestFailed")?, 1);
    policy.drop()
}

/// A request that the policy refuses.
fn request_file(namespace: &Namespace<'_>) -> Result<String> {
    let file = namespace.cluster.lab.dir().join("refused-request.json");
    let request = serde_json::json!({ "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
        "metadata": { "name": "any" }, "spec": { "request": "YQ==", "issuerRef": { "name": "self" } } });
    std::fs::write(&file, request.to_string())?;
    Ok(file.display().to_string())
}
