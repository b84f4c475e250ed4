//! The life of a Challenge (contract §5.5, §5.6): present, self-check, ask the CA, clean up. The
//! self-check is advice. It shortens the wait; after a bounded time the CA is asked all the same.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Check, Effect, Observation, Outcome, Settings, is_final, state};
use crate::api::duration::parse_go_duration;
use crate::api::labels;
use crate::api::solver::IngressSolver;
use crate::controllers::action::{Action, Event, Object, Plan, Target, patch_status};
use crate::controllers::facts::Identity;
use crate::controllers::key::{Key, Kind};
use crate::controllers::status::seconds;
use crate::solvers::http01::objects::{Mode, Presentation};
use crate::solvers::http01::{edit, ingress, pod, service};

const CHALLENGES: &str = "cert-manager-challenges";

/// Time between self-checks that fail: short at first, since most Ingress controllers need a moment, and
/// never longer than this.
const FIRST_CHECK_AGAIN: Duration = Duration::from_millis(250);
const CHECK_AGAIN: Duration = Duration::from_secs(2);
/// A self-check that fails for longer than this is worth a line in the status.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a missing IngressClass, or a Pod that does not run, delays the CA: nobody answers without. A
/// cluster that grows on demand needs minutes for another node.
const OBSTACLE_LIMIT: Duration = Duration::from_mins(10);
/// The first look at the authorization after the CA was asked, and the next ones unless the CA says
/// otherwise.
const FIRST_POLL: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_secs(1);
/// Time between looks at a name that could not be reached.
const PROBE: Duration = Duration::from_secs(5);
/// At the latest when a Challenge that has no place asks again for one.
const TURN: Duration = Duration::from_secs(10);
/// How soon a CA that could not be reached is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// Plan the next step of a Challenge.
pub fn plan(o: &Observation, settings: &Settings, now: Timestamp) -> Plan<Effect> {
    let meta = &o.challenge.metadata;
    if meta.deletion_timestamp.is_some() {
        let mut plan = clean_up(o, settings);
        plan.actions.extend(release(o));
        return plan;
    }
    if is_final(state(&o.challenge)) {
        return rest(o, settings);
    }
    if !o.account {
        // The issuer wakes its Challenges when its account is loaded.
        return Plan::idle();
    }
    if o.earlier {
        return Plan::wait(POLL);
    }
    if !o.admitted {
        // It is woken when its turn comes.
        return Plan::wait(TURN);
    }
    let solver = o
        .challenge
        .spec
        .solver
        .http01
        .as_ref()
        .and_then(|h| h.ingress.as_ref());
    match (Presentation::of(&o.challenge), solver) {
        (Some(presentation), Some(solver)) => live(o, settings, &presentation, solver, now),
        _ => unsupported(o),
    }
}

fn unsupported(o: &Observation) -> Plan<Effect> {
    let reason = if o.challenge.spec.type_ == "DNS-01" {
        "spec.solver.dns01: this version of Everleaf keeps the field but cannot solve DNS-01 challenges yet; \
         give the issuer a solver with http01.ingress for this name"
    } else {
        "spec.solver.http01.gatewayHTTPRoute: this version of Everleaf keeps the field but cannot solve \
         through a Gateway yet; give the issuer a solver with http01.ingress for this name"
    };
    Plan {
        actions: say(o, reason),
        ..Plan::idle()
    }
}

fn live(
    o: &Observation,
    settings: &Settings,
    presentation: &Presentation<'_>,
    solver: &IngressSolver,
    now: Timestamp,
) -> Plan<Effect> {
    if o.memo.valid && order_is_told(o) {
        return clean_up(o, settings);
    }
    if o.memo.accepted {
        return effect(Effect::Poll);
    }
    let missing = match present(o, settings, presentation, solver) {
        Ok(missing) => missing,
        Err(problem) => {
            return Plan {
                actions: say(o, &problem),
                wake: Some(RETRY),
                ..Plan::idle()
            };
        }
    };
    if !missing.is_empty() {
        // Held until the informers show them. Not all of them wake it by themselves: the Direct mode's
        // are nobody's, and an edited Ingress is a user's.
        return Plan {
            actions: missing,
            wake: Some(Duration::ZERO),
            ..Plan::idle()
        };
    }
    let Some(since) = o.memo.presented else {
        // The runtime notes the time when it sees nothing missing.
        return effect(Effect::SelfCheck);
    };
    let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    if let Some(wait) = o
        .challenge
        .spec
        .solver
        .wait_instead_of_self_check
        .as_deref()
        && let Ok(wait) = parse_go_duration(wait)
    {
        let wait = Duration::try_from(wait).unwrap_or_default();
        return if waited >= wait {
            effect(Effect::Accept)
        } else {
            Plan::wait(wait.saturating_sub(waited))
        };
    }
    let limit = if o.missing_class.is_some() || o.objects.pod_problem.is_some() {
        OBSTACLE_LIMIT
    } else {
        settings.self_check_limit
    };
    match &o.memo.check {
        Check::Passed => effect(Effect::Accept),
        Check::None => effect(Effect::SelfCheck),
        Check::Running => Plan::idle(),
        Check::Failed { .. } if waited >= limit => effect(Effect::Accept),
        Check::Failed { reason, at } => {
            let failing = Duration::try_from(at.duration_since(since)).unwrap_or_default();
            let pause = (failing / 2).clamp(FIRST_CHECK_AGAIN, CHECK_AGAIN);
            let again = at.checked_add(pause).unwrap_or(now);
            let mut plan = if again <= now {
                effect(Effect::SelfCheck)
            } else {
                Plan::wait(Duration::try_from(again.duration_since(now)).unwrap_or(pause))
            };
            if waited >= PATIENCE || o.missing_class.is_some() {
                plan.actions = say(o, &obstacle(o, reason));
            }
            plan
        }
    }
}

/// Why the challenge is not answered yet, with the deepest cause that is known.
fn obstacle(o: &Observation, check: &str) -> String {
    if let Some(class) = &o.missing_class {
        return format!(
            "Waiting for HTTP-01 challenge propagation: IngressClass \"{class}\" does not exist: create it, or \
             correct ingressClassName in the issuer's solver"
        );
    }
    if let Some(problem) = &o.objects.pod_problem {
        return format!("Waiting for HTTP-01 challenge propagation: the solver Pod {problem}");
    }
    format!("Waiting for HTTP-01 challenge propagation: {check}")
}

/// The objects that are still to be made; an error says why one cannot be.
fn present(
    o: &Observation,
    settings: &Settings,
    presentation: &Presentation<'_>,
    solver: &IngressSolver,
) -> Result<Vec<Action>, String> {
    let mut missing = Vec::new();
    let mut ensure = |absent: bool, object: Object| {
        if absent {
            missing.push(Action::Ensure(Box::new(object)));
        }
    };
    let backend = match Mode::of(solver, settings.mode) {
        Mode::Pod => {
            ensure(
                o.objects.pod.is_none(),
                Object::Pod(pod::pod(presentation, &settings.solver)),
            );
            let built = service::service(presentation, &settings.solver);
            ensure(o.objects.service.is_none(), Object::Service(built));
            presentation.name()
        }
        Mode::Direct => {
            let Some(address) = settings.address else {
                return Err("HTTP-01 mode Direct needs the operator's own address, from the environment variable \
                            POD_IP or the flag --http01-address"
                    .into());
            };
            let absent = o.objects.direct_service.is_none();
            let namespace = presentation.namespace;
            ensure(
                absent,
                Object::EndpointSlice(service::direct_endpoint_slice(namespace, address)),
            );
            ensure(absent, Object::Service(service::direct_service(namespace)));
            service::DIRECT_NAME.to_owned()
        }
    };
    let exact = settings.solver.exact_path_type;
    match solver.name.as_deref().filter(|n| !n.is_empty()) {
        None => {
            let built = ingress::ingress(presentation, &settings.solver, &backend);
            ensure(o.objects.ingress.is_none(), Object::Ingress(built));
        }
        Some(name) => {
            let Some(edited) = &o.objects.edited else {
                return Err(format!(
                    "Ingress \"{name}\", which the solver is to edit, does not exist in namespace \"{}\": create it, \
                     or correct name in the issuer's solver",
                    presentation.namespace
                ));
            };
            let path = ingress::challenge_path(presentation.token, &backend, exact);
            if let Some(patch) = edit::add(edited, presentation.dns_name, &path) {
                missing.push(Action::EditIngress(Identity::of(&edited.metadata), patch));
            }
        }
    }
    Ok(missing)
}

/// Whether success needs no word in the status: the Order hears of it from this process, asks the CA,
/// and deletes the Challenge. After a crash in between the CA is asked again. A status that says
/// something else already is brought up to date.
fn order_is_told(o: &Observation) -> bool {
    let status = o.challenge.status.as_ref();
    let said = status.is_some_and(|s| s.state.is_some() || s.reason.is_some());
    o.last && !said
}

fn effect(effect: Effect) -> Plan<Effect> {
    Plan {
        effect: Some(effect),
        ..Plan::idle()
    }
}

/// Write `reason`, if it is not there already.
fn say(o: &Observation, reason: &str) -> Vec<Action> {
    let old = o.challenge.status.as_ref();
    if old.and_then(|s| s.reason.as_deref()) == Some(reason) {
        return vec![];
    }
    let mut status = json!({ "reason": reason, "state": "pending" });
    if let (Value::Object(status), Some(since)) = (&mut status, o.memo.presented) {
        status.insert("presented".into(), json!(true));
        status.insert("presentedAt".into(), json!(seconds(since)));
        status.insert("processing".into(), json!(true));
    }
    vec![patch_status(
        Kind::Challenge,
        &Identity::of(&o.challenge.metadata),
        status,
    )]
}

/// A finished Challenge: nothing of it stays in the cluster, and after a failure the name is watched.
fn rest(o: &Observation, settings: &Settings) -> Plan<Effect> {
    let mut plan = clean_up(o, settings);
    let status = o.challenge.status.clone().unwrap_or_default();
    if status.presented == Some(true) || status.processing == Some(true) {
        let id = Identity::of(&o.challenge.metadata);
        let idle = json!({ "presented": false, "processing": false });
        plan.actions.push(patch_status(Kind::Challenge, &id, idle));
    }
    let failed = state(&o.challenge) != "valid";
    if failed && o.challenge.spec.type_ == "HTTP-01" && plan.actions.is_empty() {
        plan.effect = Some(Effect::Probe);
        plan.wake = Some(PROBE);
    }
    plan
}

/// Delete what was presented, as far as it exists.
fn clean_up(o: &Observation, settings: &Settings) -> Plan<Effect> {
    let mut plan = Plan::idle();
    let objects = &o.objects;
    let made = [
        (Target::Ingress, &objects.ingress),
        (Target::Service, &objects.service),
        (Target::Pod, &objects.pod),
    ];
    for (target, id) in made {
        if let Some(id) = id.as_ref().filter(|id| !id.deleting) {
            plan.actions.push(Action::Delete(target, id.clone()));
        }
    }
    let (Some(presentation), Some(solver)) = (
        Presentation::of(&o.challenge),
        o.challenge
            .spec
            .solver
            .http01
            .as_ref()
            .and_then(|h| h.ingress.as_ref()),
    ) else {
        return plan;
    };
    let direct = Mode::of(solver, settings.mode) == Mode::Direct;
    if let Some(edited) = &objects.edited {
        let backend = if direct {
            service::DIRECT_NAME.to_owned()
        } else {
            presentation.name()
        };
        if let Some(patch) = edit::remove(
            edited,
            presentation.dns_name,
            &presentation.path(),
            &backend,
        ) {
            plan.actions
                .push(Action::EditIngress(Identity::of(&edited.metadata), patch));
        }
    }
    if direct && o.direct_users == 0 && objects.direct_service.as_ref().is_some_and(|s| !s.deleting)
    {
        plan.actions
            .push(Action::DeleteDirectService(presentation.namespace.into()));
    }
    plan
}

/// Take our finalizers off, both the old and the new one.
fn release(o: &Observation) -> Option<Action> {
    let meta = &o.challenge.metadata;
    let all = meta.finalizers.clone().unwrap_or_default();
    let ours = [
        labels::CHALLENGE_FINALIZER,
        labels::LEGACY_CHALLENGE_FINALIZER,
    ];
    let finalizers: Vec<String> = all
        .iter()
        .filter(|f| !ours.contains(&f.as_str()))
        .cloned()
        .collect();
    let id = Identity::of(meta);
    (finalizers.len() != all.len()).then_some(Action::SetFinalizers {
        key: Key {
            kind: Kind::Challenge,
            namespace: id.namespace,
            name: id.name,
        },
        version: id.version,
        finalizers,
    })
}

/// Plan what follows from the CA's answer.
pub fn absorb(
    o: &Observation,
    settings: &Settings,
    outcome: Outcome,
    _now: Timestamp,
) -> Plan<Effect> {
    match outcome {
        Outcome::Started => Plan::idle(),
        Outcome::State { state, reason, .. } if is_final(&state) => {
            let mut status = Map::from_iter([
                ("state".to_owned(), json!(state)),
                ("reason".to_owned(), json!(reason)),
                ("presented".to_owned(), json!(false)),
                ("processing".to_owned(), json!(false)),
            ]);
            if state == "valid" {
                status.insert("reason".into(), json!("Successfully authorized domain"));
            }
            let id = Identity::of(&o.challenge.metadata);
            // Everything temporary goes at once; the status follows, so a crash in between cleans up
            // again.
            let mut plan = clean_up(o, settings);
            if state != "valid" || !order_is_told(o) {
                plan.actions
                    .push(patch_status(Kind::Challenge, &id, Value::Object(status)));
            }
            plan.events
                .extend(verdict(o, settings, &state, reason.as_deref()));
            plan
        }
        Outcome::State { retry, .. } => {
            let first = if o.memo.accepted { POLL } else { FIRST_POLL };
            Plan::wait(retry.filter(|_| o.memo.accepted).unwrap_or(first))
        }
        Outcome::Unavailable { reason, retry } => Plan {
            actions: say(o, &reason),
            wake: Some(retry.unwrap_or(RETRY)),
            ..Plan::idle()
        },
    }
}

fn verdict(
    o: &Observation,
    settings: &Settings,
    state: &str,
    reason: Option<&str>,
) -> Option<Event> {
    let domain = &o.challenge.spec.dns_name;
    if state == "valid" {
        let message = format!(
            "Domain \"{domain}\" verified with \"{}\" validation",
            o.challenge.spec.type_
        );
        return settings
            .verbose_events
            .then(|| Event::normal(CHALLENGES, "DomainVerified", message));
    }
    let message = format!(
        "Accepting challenge authorization failed: {}",
        reason.unwrap_or_default()
    );
    Some(Event::warning(CHALLENGES, "Failed", message))
}
