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
