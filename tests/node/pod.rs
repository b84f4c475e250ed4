//! Mode `Pod`: a Pod, a Service and an Ingress for each challenge.

use anyhow::Result;
use serde_json::json;

use crate::support::install::IMAGE;
use crate::{SAID, TEMPORARY, ask, cluster, issued, only, prepare};

#[test]
fn a_solver_pod_answers_in_a_restricted_namespace() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("by-pod")?;
    prepare(&namespace, "{ingressClassName: traefik}")?;
    let pods = namespace.watch("pod", "")?;
    let services = namespace.watch("service", "")?;
    let ingresses = namespace.watch("ingress", "")?;
    ask(&namespace)?;
    issued(&namespace)?;

    let pod = only(&pods)?;
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], IMAGE, "the operator's own");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    let service = only(&services)?;
    assert_eq!(service["spec"]["type"], "NodePort", "as cert-manager's");
    let ingress = only(&ingresses)?;
    assert_eq!(ingress["spec"]["ingressClassName"], "traefik");
    let name = &pod["metadata"]["name"];
    assert_eq!(&service["metadata"]["name"], name);
    assert_eq!(&ingress["metadata"]["name"], name);
    Ok(())
}

#[test]
fn the_solvers_service_has_the_type_that_is_asked_for() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("service-type")?;
    prepare(
        &namespace,
        "{ingressClassName: traefik, serviceType: ClusterIP}",
    )?;
    let services = namespace.watch("service", "")?;
    ask(&namespace)?;
    issued(&namespace)?;
    let service = only(&services)?;
    assert_eq!(service["spec"]["type"], "ClusterIP");
    assert_eq!(service["spec"]["ports"][0]["port"], 8089);
    Ok(())
}

#[test]
fn templates_shape_the_solver() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("templates")?;
    namespace.kubectl(&["create", "serviceaccount", "solver"])?;
    prepare(
        &namespace,
        "{ingressClassName: traefik, podTemplate: {metadata: {labels: {team: web}, annotations: {note: solver}}, \
         spec: {nodeSelector: {kubernetes.io/hostname: lab}, serviceAccountName: solver, \
         tolerations: [{key: spot, operator: Exists}], \
         securityContext: {runAsNonRoot: true, runAsUser: 1234, seccompProfile: {type: RuntimeDefault}}, \
         resources: {limits: {memory: 32Mi}, requests: {memory: 16Mi}}}}, \
         ingressTemplate: {metadata: {annotations: {example.com/waf: 'off'}}}}",
    )?;
    let pods = namespace.watch("pod", "")?;
    let ingresses = namespace.watch("ingress", "")?;
    ask(&namespace)?;
    issued(&namespace)?;

    let pod = only(&pods)?;
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    assert_eq!(metadata["labels"]["team"], "web");
    assert_eq!(
        metadata["labels"]["acme.cert-manager.io/http01-solver"], "true",
        "its own labels stay"
    );
    assert_eq!(metadata["annotations"]["note"], "solver");
    assert_eq!(
        spec["nodeSelector"],
        json!({"kubernetes.io/hostname": "lab", "kubernetes.io/os": "linux"})
    );
    assert_eq!(spec["serviceAccountName"], "solver");
    assert_eq!(spec["tolerations"][0]["key"], "spot");
    assert_eq!(spec["securityContext"]["runAsUser"], 1234);
    let resources = &spec["containers"][0]["resources"];
    assert_eq!(
        resources["limits"],
        json!({"cpu": "100m", "memory": "32Mi"})
    );
    assert_eq!(
        resources["requests"],
        json!({"cpu": "10m", "memory": "16Mi"})
    );
    let ingress = only(&ingresses)?;
    assert_eq!(
        ingress["metadata"]["annotations"]["example.com/waf"], "off",
        "beside its own"
    );
    Ok(())
}

#[test]
fn a_pod_that_fits_no_node_is_said_and_goes_with_the_certificate() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("no-node")?;
    prepare(&namespace, &NOWHERE.replace("ROOM", "none"))?;
    ask(&namespace)?;
    let words = ["solver Pod cannot be scheduled", "node affinity/selector"];
    namespace.says("site", &words, SAID)?;
    namespace.kubectl(&["delete", "certificate", "site"])?;
    namespace.none_left(&TEMPORARY, crate::support::DEADLINE)
}

#[test]
fn a_pod_that_fits_a_node_later_finishes() -> Result<()> {
    let Some(cluster) = cluster() else {
        return Ok(());
    };
    let namespace = cluster.namespace("later-node")?;
    prepare(&namespace, &NOWHERE.replace("ROOM", "later"))?;
    ask(&namespace)?;
    namespace.says("site", &["solver Pod cannot be scheduled"], SAID)?;
    cluster
        .lab
        .kubectl(&["label", "node", "lab", "room-later=yes"])?;
    namespace.ready("site", SAID)?;
    issued(&namespace)
}

/// A solver whose Pod waits for a node with a label of this name.
pub const NOWHERE: &str =
    "{ingressClassName: traefik, podTemplate: {spec: {nodeSelector: {room-ROOM: 'yes'}}}}";
