#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::{Value, json};

use super::{PodView, SolverFact};

#[allow(clippy::needless_pass_by_value, reason = "it is called with literals")]
fn problem(status: Value) -> Option<String> {
    let pod: PodView = serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap();
    SolverFact::of_pod(&pod).problem
}

#[test]
fn why_a_solver_pod_does_not_run() {
    let unscheduled =
        json!([{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]);
    let scheduled = json!([{"type": "PodScheduled", "status": "True"}]);
    let waiting = |reason: &str| {
        json!([{"name": "acmesolver", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason}}}])
    };
    let rows = [
        (json!({}), None),
        (json!({"phase": "Running", "conditions": scheduled}), None),
        (json!({"phase": "Pending"}), Some("is Pending")),
        (json!({"phase": "Failed"}), Some("is Failed")),
        (
            json!({"phase": "Pending", "conditions": unscheduled}),
            Some("cannot be scheduled: 0/3 nodes are available"),
        ),
        (
            json!({"phase": "Pending", "conditions": scheduled, "containerStatuses": waiting("ErrImagePull")}),
            Some("is waiting: ErrImagePull"),
        ),
        (
            json!({"phase": "Pending", "conditions": scheduled, "containerStatuses": waiting("ContainerCreating")}),
            Some("is waiting: ContainerCreating"),
        ),
    ];
    for (status, expected) in rows {
        assert_eq!(problem(status.clone()).as_deref(), expected, "{status}");
    }
}

#[test]
fn a_certificate_of_another_api_controls_nothing_here() {
    let owned = |version: &str, kind: &str| {
        let owner = json!({ "apiVersion": version, "kind": kind, "name": "a", "uid": "u", "controller": true });
        let meta = serde_json::from_value(json!({ "ownerReferences": [owner] })).unwrap();
        super::controller_of(&meta, kind).is_some()
    };
    assert!(owned("cert-manager.io/v1", "Certificate"));
    assert!(!owned("cert.gardener.cloud/v1alpha1", "Certificate"));
    assert!(owned("acme.cert-manager.io/v1", "Order"));
    assert!(owned("extensions/v1beta1", "Ingress"), "as it was then");
}
