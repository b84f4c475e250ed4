//! Requests of ordered issuers, from step to step: what a plan writes is what the next one sees.

use std::collections::BTreeSet;

use super::*;
use crate::api::meta::IssuerReference;
use crate::api::ordered_issuer::ListedIssuerStatus;
use crate::api::{Challenge, OrderedIssuerStatus};
use crate::controllers::certificate_request::{Child, Ordered};
use crate::controllers::facts::{IssuerFact, OrderedFact};
use crate::controllers::fixtures::identity;
use crate::controllers::ordered_issuer::Listed;

const ORDERED: &str = "everleaf-ordered-issuers";
pub(super) const UNREACHABLE: &str = "Failed to create Order: cannot reach ca.example (EL-1420).";
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

struct World {
    scene: Scene,
    ordered: OrderedFact,
    /// By name, with the reason of the Ready condition.
    issuers: Vec<(&'static str, Option<IssuerFact>)>,
    known: Vec<ListedIssuerStatus>,
    children: Vec<CertificateRequest>,
    orders: Vec<Order>,
    challenges: Vec<Challenge>,
    not_after: Option<Timestamp>,
    now: Timestamp,
}

/// The ordered issuer `list` of the issuers a and b, which are ready.
fn world() -> World {
    let mut scene = scene(acme(), &params());
    scene.issuer = None;
    scene.request.spec.issuer_ref = IssuerReference {
        group: Some("everleaf.io".into()),
        kind: Some("OrderedIssuer".into()),
        name: "list".into(),
    };
    scene.request.metadata.creation_timestamp = Some(Time(NOW));
    let notes = scene.request.metadata.annotations.as_mut().unwrap();
    notes.insert("cert-manager.io/certificate-revision".into(), "1".into());
    let spec = json!({ "issuers": [{ "name": "a" }, { "name": "b" }] });
    let ready = |name| (name, Some(issuer(acme(), Some((true, "IsReady")))));
    World {
        scene,
        ordered: OrderedFact {
            id: identity("list"),
            generation: 1,
            spec: serde_json::from_value(spec).unwrap(),
            status: OrderedIssuerStatus::default(),
        },
        issuers: vec![ready("a"), ready("b")],
        known: vec![],
        children: vec![],
        orders: vec![],
        challenges: vec![],
        not_after: None,
        now: NOW,
    }
}

impl World {
    fn seen(&self) -> Observation {
        let listed = self.ordered.issuers().zip(&self.issuers);
        let listed = listed.map(|(reference, (name, issuer))| Listed {
            issuer: issuer.clone().map(Arc::new),
            known: self.known.iter().find(|k| k.name == *name).cloned(),
            reference,
        });
        let children = self.children.iter().map(|child| Child {
            request: RequestFact::of(child.clone()).into(),
            orders: under(child, &self.orders),
            challenges: under(child, &self.challenges),
        });
        Observation {
            ordered: Some(Box::new(Ordered {
                fact: self.ordered.clone().into(),
                listed: listed.collect(),
                children: children.collect(),
                not_after: self.not_after,
            })),
            ..self.scene.seen()
        }
    }

    /// One plan, and what it writes.
    fn step(&mut self) -> Plan<Effect> {
        let made = plan(&self.seen(), &self.scene.settings, self.now);
        for action in &made.actions {
            self.write(action);
        }
        let live = self.children.iter().filter(|child| {
            let fact = RequestFact::of((*child).clone());
            fact.ready_reason() != "Failed"
        });
        let live: Vec<_> = live.map(|c| c.metadata.name.clone()).collect();
        assert!(live.len() <= 1, "two requests under way: {live:?}");
        let owners = self
            .orders
            .iter()
            .flat_map(|o| o.metadata.owner_references.iter().flatten());
        let owners: BTreeSet<_> = owners.map(|o| o.name.clone()).collect();
        assert!(owners.len() <= 1, "Orders of two requests: {owners:?}");
        made
    }

    fn write(&mut self, action: &Action) {
        match action {
            Action::PatchStatus { key, status, .. } => {
                let parent = std::iter::once(&mut self.scene.request);
                let mut all = parent.chain(&mut self.children);
                let object = all
                    .find(|r| r.metadata.name.as_deref() == Some(&*key.name))
                    .unwrap();
                patch(object, status);
            }
            Action::Ensure(object) => {
                let Object::CertificateRequest(child) = &**object else {
                    panic!("{object:?}")
                };
                let mut child = child.clone();
                let meta = &mut child.metadata;
                assert!(
                    !self.children.iter().any(|c| c.metadata.name == meta.name),
                    "{:?} is there",
                    meta.name
                );
                meta.uid = meta.name.as_ref().map(|name| format!("uid-of-{name}"));
                meta.creation_timestamp = Some(Time(self.now));
                self.children.push(child);
            }
            Action::Delete(Target::Order, id) => {
                let is_it = |o: &Order| o.metadata.name.as_deref() == Some(&*id.name);
                self.orders.retain(|o| !is_it(o));
            }
            Action::Delete(Target::CertificateRequest, id) => {
                let is_it = |c: &CertificateRequest| c.metadata.name.as_deref() == Some(&*id.name);
                self.children.retain(|c| !is_it(c));
            }
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).unwrap();
    }

    /// The request under way.
    fn child(&mut self) -> &mut CertificateRequest {
        self.children.last_mut().unwrap()
    }

    fn asked(&self) -> Vec<&str> {
        let children = self.children.iter();
        children
            .map(|child| child.spec.issuer_ref.name.as_str())
            .collect()
    }

    /// The Order of the request under way says this.
    fn order_says(&mut self, reason: Option<&str>) {
        self.orders = vec![order_of(self.child(), reason)];
    }

    /// The request under way ended so.
    fn child_ends(&mut self, is_ready: bool, reason: &str, message: &str) {
        let now = self.now;
        let certificate = ByteString(b"a certificate".to_vec());
        let status = self.child().status.get_or_insert_default();
        status.conditions = Some(vec![condition("Ready", is_ready, reason, message, None)]);
        status.failure_time = (!is_ready).then_some(Time(now));
        status.certificate = is_ready.then_some(certificate);
    }

    fn told(&self, kind: &str) -> (String, String, String) {
        let status = json!(self.scene.request.status);
        let (is, reason, message) = told(&status, kind);
        (is.to_owned(), reason.to_owned(), message.to_owned())
    }

    fn message(&self) -> String {
        self.told("Ready").2
    }

    fn not_ready(&mut self, index: usize, since: Timestamp) {
        let fact = self.issuers[index].1.as_mut().unwrap();
        let ready = &mut fact.status.conditions.as_mut().unwrap()[0];
        ready.status = "False".into();
        ready.message = Some("no account".into());
        ready.last_transition_time = Some(Time(since));
    }

    /// The status of the ordered issuer says this of an issuer.
    fn know(&mut self, name: &str, state: &str) {
        self.known.retain(|k| k.name != name);
        self.known.push(ListedIssuerStatus {
            kind: "Issuer".into(),
            name: name.into(),
            state: state.into(),
            message: Some("it was down".into()),
            since: Some(Time(self.now)),
            until: None,
        });
    }
}

/// Its status after this write.
pub(super) fn patch(object: &mut CertificateRequest, status: &Value) {
    let mut whole = json!(object.status.clone().unwrap_or_default());
    for (field, value) in status.as_object().unwrap() {
        whole[field] = value.clone();
    }
    object.status = Some(serde_json::from_value(whole).unwrap());
}

/// The Order of a request, which says this.
pub(super) fn order_of(child: &CertificateRequest, reason: Option<&str>) -> Order {
    let child = child.metadata.name.clone().unwrap();
    Order {
        metadata: ObjectMeta {
            name: Some(format!("{child}-1")),
            owner_references: Some(vec![OwnerReference {
                name: child,
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: OrderSpec::default(),
        status: Some(OrderStatus {
            reason: reason.map(ToOwned::to_owned),
            ..OrderStatus::default()
        }),
    }
}

/// Objects that name the child as their owner.
pub(super) fn under<T: kube::Resource + Clone>(
    child: &CertificateRequest,
    all: &[T],
) -> Vec<Arc<T>> {
    let its = all.iter().filter(|object| {
        let owners = object.meta().owner_references.iter().flatten();
        owners
            .map(|o| &o.name)
            .any(|n| Some(n) == child.metadata.name.as_ref())
    });
    its.cloned().map(Arc::new).collect()
}

#[test]
fn the_first_is_asked_with_the_same_request() {
    let mut world = world();
    world.scene.request.spec.duration = Some("240h".into());
    world.scene.request.spec.usages = Some(vec!["server auth".into()]);
    let plan = world.step();
    assert_eq!((plan.events, plan.wake), (vec![], None));
    let parent = world.scene.request.clone();
    let child = world.child().clone();
    assert_eq!(child.spec.request, parent.spec.request);
    assert_eq!(child.spec.duration, parent.spec.duration);
    assert_eq!(child.spec.usages, parent.spec.usages);
    assert_eq!(
        json!(child.spec.issuer_ref),
        json!({ "group": "cert-manager.io", "kind": "Issuer", "name": "a" })
    );
    let owner = &child.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((&*owner.name, &*owner.uid), ("app-1", "uid-of-app-1"));
    assert_eq!(owner.controller, Some(true));
    let notes = child.metadata.annotations.unwrap();
    assert_eq!(
        notes,
        map(&[("cert-manager.io/private-key-secret-name", "app-key")])
    );
    assert_eq!(world.message(), "Issuer \"a\" is asked");
    assert_eq!(world.step(), Plan::idle());
}

#[test]
fn an_issuer_that_may_become_ready_is_waited_for_with_a_code() {
    let mut world = world();
    world.not_ready(0, NOW);
    let plan = world.step();
    assert_eq!(plan.wake, Some(Duration::from_mins(1)));
    assert_eq!(world.message(), "Issuer \"a\" is not ready yet (EL-1002).");
    assert!(world.children.is_empty());
}

#[test]
fn nobody_is_asked_before_the_request_is_approved() {
    let mut world = world();
    world.scene.conditions(&[]);
    world.scene.settings.approve = false;
    assert_eq!(world.step(), Plan::idle());
    world.scene.conditions(&[("Denied", true, "Policy")]);
    world.step();
    assert_eq!(world.told("Ready").1, "Denied");
    assert!(world.children.is_empty());
}

#[test]
fn the_answer_of_the_first_is_the_answer() {
    let mut world = world();
    world.step();
    world.child_ends(true, "Issued", "Certificate fetched");
    world.step();
    let status = world.scene.request.status.clone().unwrap();
    assert_eq!(
        status.certificate,
        Some(ByteString(b"a certificate".to_vec()))
    );
    let (is, reason, message) = world.told("Ready");
    assert_eq!((is.as_str(), reason.as_str()), ("True", "Issued"));
    assert_eq!(message, "Certificate fetched from issuer successfully");
    assert_eq!(world.step(), Plan::idle());
}

#[test]
fn a_ca_that_is_down_is_given_up_for_the_next_after_the_patience() {
    let mut world = world();
    world.step();
    world.order_says(Some(UNREACHABLE));
    world.pass(SignedDuration::from_secs(7));
    let plan = world.step();
    assert_eq!(plan.wake, Some(Duration::from_mins(1)));
    assert_eq!(plan.events[0].reason, "IssuerFault");
    let (is, _, text) = world.told("IssuerFault");
    let expected =
        "Issuer \"a\" cannot sign: Failed to create Order: cannot reach ca.example (EL-1420).";
    assert_eq!((is.as_str(), text.as_str()), ("True", expected));
    world.pass(SignedDuration::from_secs(59));
    let plan = world.step();
    assert_eq!(plan.wake, Some(Duration::from_secs(1)));
    assert_eq!((plan.actions.len(), plan.events.len()), (0, 0), "said once");
    world.pass(SignedDuration::from_secs(1));
    world.step();
    assert_eq!(
        world.asked(),
        ["a"],
        "first the end of the old one is stored"
    );
    assert_eq!(world.orders.len(), 1);
    world.step();
    assert_eq!(world.asked(), ["a"], "then its Order goes");
    assert!(world.orders.is_empty());
    let plan = world.step();
    assert_eq!(plan.events[0].reason, "Fallback");
    assert_eq!(world.asked(), ["a", "b"]);
    let because = "because Issuer \"a\" cannot sign, since 2026-01-01T00:01:07Z: Failed to create Order: cannot \
                   reach ca.example (EL-1220).";
    assert_eq!(world.message(), format!("Issuer \"b\" is asked, {because}"));
    assert_eq!(world.told("IssuerFault").0, "", "it is of the one before");
    world.child_ends(true, "Issued", "Certificate fetched");
    world.step();
    assert_eq!(
        world.message(),
        format!("Issued by Issuer \"b\", {because}")
    );
}

#[test]
fn a_fault_that_ends_in_time_is_forgotten() {
    let mut world = world();
    world.step();
    world.order_says(Some(UNREACHABLE));
    world.step();
    world.pass(SignedDuration::from_secs(50));
    world.order_says(None);
    let plan = world.step();
    assert_eq!(world.told("IssuerFault").0, "");
    assert_eq!(plan.wake, None);
    world.order_says(Some(UNREACHABLE));
    let plan = world.step();
    assert_eq!(plan.wake, Some(Duration::from_mins(1)), "it counts anew");
}

#[test]
fn a_fault_of_the_request_or_of_the_site_is_nobody_elses_to_meet() {
    for problem in [
        "400 urn:ietf:params:acme:error:rejectedIdentifier: policy forbids",
        "400 urn:ietf:params:acme:error:badCSR: weak key",
        "403 urn:ietf:params:acme:error:unauthorized: wrong answer",
        "400 urn:ietf:params:acme:error:connection: refused",
        "400 urn:ietf:params:acme:error:dns: NXDOMAIN",
        "403 urn:ietf:params:acme:error:caa: forbidden",
        "429 urn:ietf:params:acme:error:rateLimited: too many",
    ] {
        let mut world = world();
        world.step();
        world.order_says(Some(problem));
        world.pass(MINUTE * 60);
        world.step();
        assert_eq!(world.told("IssuerFault").0, "", "{problem}");
        world.child_ends(false, "Failed", problem);
        world.orders.clear();
        let plan = world.step();
        let message = world.message();
        assert_eq!(message, format!("Issuer \"a\": {problem}"));
        assert_eq!(
            plan.events,
            [Event::warning(ORDERED, "IssuerRefused", message)]
        );
        assert_eq!(world.told("Ready").1, "Failed");
        assert_eq!(world.asked(), ["a"]);
    }
}

#[test]
fn an_account_that_is_not_accepted_leads_to_the_next_at_once() {
    let mut world = world();
    world.step();
    let text = "Failed to create Order: 403 urn:ietf:params:acme:error:unauthorized: deactivated (EL-1421).";
    world.child_ends(false, "Failed", text);
    world.step();
    assert_eq!(world.asked(), ["a", "b"]);
    assert!(
        world.message().contains("deactivated"),
        "{}",
        world.message()
    );
}

#[test]
fn an_issuer_that_is_not_ready_has_the_patience_too() {
    let mut world = world();
    world.not_ready(0, NOW);
    let plan = world.step();
    assert_eq!(plan.wake, Some(Duration::from_mins(1)));
    assert!(world.children.is_empty());
    world.pass(MINUTE);
    world.step();
    assert_eq!(world.asked(), ["b"]);
    let why =
        "because Issuer \"a\" cannot sign, since 2026-01-01T00:00:00Z: it is not ready: no account";
    assert!(world.message().contains(why), "{}", world.message());
}

#[test]
fn an_issuer_that_does_not_exist_may_come_while_the_request_is_young() {
    let mut world = world();
    world.issuers[0].1 = None;
    assert_eq!(world.step().wake, Some(Duration::from_mins(1)));
    world.pass(MINUTE);
    world.step();
    assert_eq!(world.asked(), ["b"]);
}

#[test]
fn one_that_becomes_unready_under_way_is_given_up() {
    let mut world = world();
    world.step();
    world.not_ready(0, NOW);
    world.step();
    assert_eq!(world.asked(), ["a"]);
    world.pass(MINUTE);
    world.step();
    world.step();
    assert_eq!(world.asked(), ["a", "b"]);
}

#[test]
fn one_that_is_known_to_be_down_is_not_asked() {
    let mut world = world();
    world.know("a", "Faulty");
    world.step();
    assert_eq!(world.asked(), ["b"]);
    assert!(
        world.message().contains("it was down"),
        "{}",
        world.message()
    );
}

#[test]
fn what_is_under_way_when_its_issuer_is_known_to_be_down_has_no_more_patience() {
    let mut world = world();
    world.step();
    world.order_says(Some(UNREACHABLE));
    world.know("a", "Faulty");
    world.step();
    world.orders.clear();
    world.step();
    assert_eq!(world.asked(), ["a", "b"]);
}

#[test]
fn the_only_one_that_could_is_not_given_up() {
    let mut world = world();
    world.know("b", "Faulty");
    world.step();
    world.order_says(Some(UNREACHABLE));
    for _ in 0..10 {
        world.pass(MINUTE);
        assert_eq!(world.step().wake, None);
    }
    assert_eq!(world.asked(), ["a"]);
    assert_eq!(world.told("IssuerFault").0, "True");
}

#[test]
fn a_limit_is_waited_for_as_long_as_the_certificate_allows() {
    let limited = "429 urn:ietf:params:acme:error:rateLimited: too many. Next attempt at 2026-01-03T00:00:00Z, as the CA asks";
    for (left, given_up) in [(Some(240), false), (Some(72), true), (None, true)] {
        let mut world = world();
        let end = left.map(|hours| NOW.checked_add(SignedDuration::from_hours(hours)).unwrap());
        world.not_after = end;
        world.step();
        world.order_says(Some(limited));
        world.step();
        world.pass(MINUTE);
        world.step();
        world.orders.clear();
        world.step();
        assert_eq!(world.asked().len() == 2, given_up, "{left:?} hours");
    }
}

#[test]
fn when_all_are_given_up_it_says_so_and_the_first_that_recovers_is_asked_again() {
    let mut world = world();
    for _ in 0..2 {
        world.step();
        let text = "Given up, because it cannot sign: down (EL-1420).";
        world.child_ends(false, "Failed", text);
        world.pass(MINUTE);
    }
    let plan = world.step();
    assert_eq!(plan.wake, Some(Duration::from_mins(1)));
    let message = world.message();
    assert!(
        message.starts_with("None of the issuers can sign: Issuer \"a\""),
        "{message}"
    );
    assert!(message.ends_with("(EL-1221)."), "{message}");
    assert_eq!(world.asked(), ["a", "b"]);
    world.know("a", "Fit");
    world.step();
    assert_eq!(world.asked(), ["b"]);
    world.step();
    assert_eq!(world.asked(), ["b", "a"]);
}

#[test]
fn a_limit_is_not_tried_again_before_its_end() {
    let mut world = world();
    for text in [
        "429 urn:ietf:params:acme:error:rateLimited: too many. Next attempt at 2026-01-01T05:00:00Z, as the CA asks",
        "Given up, because it cannot sign: down (EL-1420).",
    ] {
        world.step();
        world.child_ends(false, "Failed", text);
    }
    world.know("b", "Faulty");
    world.pass(MINUTE * 299);
    world.step();
    assert_eq!(world.asked(), ["a", "b"]);
    world.pass(MINUTE);
    world.step();
    world.step();
    assert_eq!(world.asked(), ["b", "a"]);
}

#[test]
fn an_ordered_issuer_that_does_not_exist_is_waited_for() {
    let mut world = world();
    world.step();
    world.children.clear();
    let seen = Observation {
        ordered: None,
        ..world.seen()
    };
    let plan = plan(&seen, &world.scene.settings, NOW);
    waits(&plan, "OrderedIssuer \"list\" does not exist: create it");
}
