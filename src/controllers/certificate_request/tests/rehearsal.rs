//! A request of an issuer that names another one for rehearsals, from step to step.

use super::ordered::{UNREACHABLE, order_of, patch, under};
use super::*;
use crate::api::meta::IssuerReference;
use crate::controllers::certificate_request::{Child, Rehearsal};

const REFUSED: &str = "Failed to wait for order resource \"app-1-2-3\" to become ready: order is in \"invalid\" state: challenge \
                       for \"app.example.com\" failed: Error accepting authorization: 403 urn:ietf:params:acme:error:unauthorized: app.example.com: another answer";
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

struct World {
    scene: Scene,
    reference: IssuerReference,
    staging: Option<IssuerFact>,
    child: Option<CertificateRequest>,
    child_orders: Vec<Order>,
    now: Timestamp,
}

/// A request of the Issuer `ca`, which names `staging` for rehearsals; attempts have failed.
fn world() -> World {
    World {
        scene: scene(acme(), &params()),
        reference: IssuerReference {
            name: "staging".into(),
            ..IssuerReference::default()
        },
        staging: Some(issuer(acme(), Some((true, "IsReady")))),
        child: None,
        child_orders: vec![],
        now: NOW,
    }
}

impl World {
    fn seen(&self) -> Observation {
        let child = self.child.as_ref().map(|child| Child {
            request: RequestFact::of(child.clone()).into(),
            orders: under(child, &self.child_orders),
            challenges: vec![],
        });
        Observation {
            rehearsal: Some(Box::new(Rehearsal {
                reference: self.reference.clone(),
                issuer: self.staging.clone().map(Arc::new),
                child,
            })),
            ..self.scene.seen()
        }
    }

    /// One plan, and what it writes.
    fn step(&mut self) -> Plan<Effect> {
        let made = plan(&self.seen(), &self.scene.settings, self.now);
        for action in &made.actions {
            match action {
                Action::PatchStatus { key, status, .. } => {
                    let object = if &*key.name == "app-1" {
                        &mut self.scene.request
                    } else {
                        self.child.as_mut().unwrap()
                    };
                    patch(object, status);
                }
                Action::Ensure(object) => match &**object {
                    Object::CertificateRequest(child) => {
                        let mut child = child.clone();
                        child.metadata.creation_timestamp = Some(Time(self.now));
                        assert!(self.child.replace(child).is_none());
                    }
                    Object::Order(order) => {
                        assert!(self.child_orders.is_empty(), "two Orders under way");
                        let mut order = order.clone();
                        order.metadata.creation_timestamp = Some(Time(self.now));
                        self.scene.orders.push(order);
                    }
                    other => panic!("{other:?}"),
                },
                Action::Delete(Target::Order, _) => self.child_orders.clear(),
                other => panic!("{other:?}"),
            }
        }
        made
    }

    fn child_ends(&mut self, is_ready: bool, reason: &str, message: &str) {
        let status = self.child.as_mut().unwrap().status.get_or_insert_default();
        status.conditions = Some(vec![condition("Ready", is_ready, reason, message, None)]);
    }

    /// The Order of the rehearsal says this.
    fn order_says(&mut self, reason: &str) {
        let child = self.child.as_ref().unwrap();
        self.child_orders = vec![order_of(child, Some(reason))];
    }

    fn ready(&self) -> (String, String) {
        let status = json!(self.scene.request.status);
        let (_, reason, message) = told(&status, "Ready");
        (reason.to_owned(), message.to_owned())
    }

    /// The CA is asked without a rehearsal, which an event explains.
    fn skips(&mut self, why: &str) {
        let plan = self.step();
        assert_eq!(self.scene.orders.len(), 1);
        let text = format!("No rehearsal at Issuer \"{}\": {why}", self.reference.name);
        let event = Event::warning(
            "cert-manager-certificaterequests-issuer-acme",
            "RehearsalSkipped",
            text,
        );
        assert!(plan.events.contains(&event), "{:?}", plan.events);
    }
}

#[test]
fn the_ca_is_asked_once_the_other_has_issued() {
    let mut world = world();
    let notes = world.scene.request.metadata.annotations.as_mut().unwrap();
    notes.insert("everleaf.io/failed-attempts".into(), "2".into());
    let plan = world.step();
    assert_eq!(plan.events[0].reason, "Rehearsal");
    let child = world.child.clone().unwrap();
    assert_eq!(child.spec.request, world.scene.request.spec.request);
    assert_eq!(child.spec.issuer_ref.name, "staging");
    let notes = child.metadata.annotations.unwrap();
    let kept = map(&[("cert-manager.io/private-key-secret-name", "app-key")]);
    assert_eq!(notes, kept, "it is not rehearsed itself");
    assert!(
        world
            .ready()
            .1
            .contains("Issuer \"staging\" is asked first")
    );
    let plan = world.step();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.wake, Some(Duration::from_mins(10)));
    world.child_ends(true, "Issued", "Certificate fetched");
    world.step();
    assert_eq!(world.scene.orders.len(), 1);
    assert_eq!(world.step(), Plan::idle());
}

#[test]
fn what_the_other_could_not_validate_is_not_asked_of_the_ca() {
    let mut world = world();
    world.step();
    world.child_ends(false, "Failed", REFUSED);
    let plan = world.step();
    assert_eq!(plan.events[0].reason, "RehearsalFailed");
    let message = format!("The rehearsal at Issuer \"staging\" failed: {REFUSED}");
    assert_eq!(world.ready(), ("Failed".to_owned(), message));
    assert!(world.scene.orders.is_empty());
    assert_eq!(world.step(), Plan::idle());
}

#[test]
fn another_failure_says_nothing_about_the_ca() {
    for why in [
        "Failed to wait for order resource \"a\" to become ready: order is in \"invalid\" state: 400 \
         urn:ietf:params:acme:error:badCSR: too small",
        "Failed to wait for order resource \"a\" to become ready: order is in \"errored\" state: 403 \
         urn:ietf:params:acme:error:unauthorized: account is deactivated",
    ] {
        let mut world = world();
        world.step();
        world.child_ends(false, "Failed", why);
        world.skips(why);
    }
}

#[test]
fn a_fault_of_the_other_ends_the_rehearsal() {
    let mut world = world();
    world.step();
    world.order_says(UNREACHABLE);
    world.step();
    assert_eq!(world.child_orders.len(), 1, "first the end is stored");
    world.step();
    assert!(world.child_orders.is_empty(), "then its Order goes");
    assert!(world.scene.orders.is_empty());
    world.skips("Given up, because Issuer \"staging\" cannot sign: Failed to create Order: cannot reach ca.example (EL-1420).");
}

#[test]
fn a_rehearsal_without_an_end_is_given_up() {
    let mut world = world();
    world.step();
    world.now = world.now.checked_add(MINUTE * 9).unwrap();
    assert_eq!(world.step().wake, Some(Duration::from_mins(1)));
    world.now = world.now.checked_add(MINUTE).unwrap();
    world.step();
    world.skips("Given up, because Issuer \"staging\" cannot sign: it has not answered for ten minutes (EL-1420).");
}

#[test]
fn one_that_nobody_approves_or_somebody_denies_is_no_obstacle() {
    let mut world = world();
    world.step();
    let status = world.child.as_mut().unwrap().status.get_or_insert_default();
    status.conditions = Some(vec![condition("Denied", true, "Policy", "no", None)]);
    world.skips("the request was refused before it was asked");
}

#[test]
fn an_issuer_that_does_not_do_is_passed_over() {
    let mut world = world();
    world.staging = None;
    world.skips("it does not exist");

    let mut world = self::world();
    world.staging = Some(issuer(ca(), Some((true, "IsReady"))));
    world.skips("it is of another type than acme");

    let mut world = self::world();
    world.staging = Some(issuer(acme(), Some((false, "ErrRegisterACMEAccount"))));
    world.skips("it is not ready");

    let mut world = self::world();
    world.reference.name = "ca".into();
    world.skips("it is the issuer itself");
}

#[test]
fn an_order_under_way_is_followed_whatever_the_annotation_says_now() {
    let mut world = world();
    let first = Observation {
        rehearsal: None,
        ..world.seen()
    };
    let plan = plan(&first, &world.scene.settings, NOW);
    world.scene.orders = vec![ordered(&plan)];
    world.step();
    assert!(world.child.is_none());
}
