//! HTTP-01: an Ingress that leads to whom answers (contract §5.6).

use std::time::Duration;

use jiff::Timestamp;

use super::super::{Effect, Observation, Settings};
use super::{
    Patience, RETRY, after_presented, asked, checked, first, not_presented, started, unsay,
};
use crate::api::solver::IngressSolver;
use crate::controllers::action::{Action, Object, Plan, Target};
use crate::controllers::facts::Identity;
use crate::solvers::http01::objects::{Mode, Presentation};
use crate::solvers::http01::{edit, ingress, pod, service};

/// Time between self-checks that fail, at the longest: most Ingress controllers need a moment.
const CHECK_AGAIN: Duration = Duration::from_secs(2);
/// How long a missing IngressClass, or a Pod that does not run, delays the CA: nobody answers without. A
/// cluster that grows on demand needs minutes for another node.
const OBSTACLE_LIMIT: Duration = Duration::from_mins(10);
/// How many times as long a wrong answer delays the CA as none at all: it would have the same, as a controller may not serve the
/// path yet. Where a name leads elsewhere from here, it has another.
const WRONG: u32 = 5;

pub(super) fn live(
    o: &Observation,
    settings: &Settings,
    presentation: &Presentation<'_>,
    solver: &IngressSolver,
    now: Timestamp,
) -> Plan<Effect> {
    if let Some(plan) = asked(o) {
        return plan;
    }
    let missing = match present(o, settings, presentation, solver) {
        Ok(missing) => missing,
        Err(problem) => {
            return Plan {
                wake: Some(RETRY),
                ..not_presented(o, &problem)
            };
        }
    };
    if !missing.is_empty() {
        // Held until the informers show them. Not all of them wake it by themselves: the Direct mode's
        // are nobody's, and an edited Ingress is a user's.
        let objects = &o.objects;
        let made = [&objects.pod, &objects.service, &objects.ingress];
        let is_first = made.into_iter().all(Option::is_none) && objects.adopted.is_empty();
        let told = if is_first { started(settings) } else { vec![] };
        return Plan {
            actions: missing,
            events: told,
            wake: Some(Duration::ZERO),
            ..Plan::idle()
        };
    }
    if let Some(forget) = unsay(o) {
        return first(forget);
    }
    let patience = Patience {
        limit: limit(o, settings),
        longest: CHECK_AGAIN,
        speaks_at_once: o.missing_class.is_some(),
    };
    checked(o, settings, &patience, |reason| obstacle(o, reason), now)
}

/// How long a failing self-check keeps the CA from being asked.
fn limit(o: &Observation, settings: &Settings) -> Duration {
    if o.is_hindered() {
        return OBSTACLE_LIMIT;
    }
    let from_then = if o.memo.blocked < 2 {
        let most = OBSTACLE_LIMIT.max(settings.self_check_limit);
        settings.self_check_limit.saturating_mul(WRONG).min(most)
    } else if o.waited {
        // For the same as before.
        Duration::ZERO
    } else {
        settings.self_check_limit
    };
    // What was in the way has left an Ingress controller no time.
    after_presented(o, o.memo.hindered).saturating_add(from_then)
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

/// What somebody has deleted while the CA is at work: it may look once more.
pub(super) fn lost(o: &Observation, settings: &Settings) -> Vec<Action> {
    let solver = o.challenge.spec.solver.http01.as_ref();
    let solver = solver.and_then(|http01| http01.ingress.as_ref());
    let Some((presentation, solver)) = Presentation::of(&o.challenge).zip(solver) else {
        return vec![];
    };
    present(o, settings, &presentation, solver).unwrap_or_default()
}

/// Those of cert-manager's objects that are to go.
fn former(o: &Observation) -> impl Iterator<Item = Action> {
    let left = o.objects.adopted.iter().filter(|(_, id)| !id.deleting);
    left.map(|(target, id)| Action::Delete(*target, id.clone()))
}

/// Whether what cert-manager has made answers as well as our own would.
fn is_adopted(o: &Observation, mode: Mode, solver: &IngressSolver) -> bool {
    let has = |wanted: Target| {
        let mut adopted = o.objects.adopted.iter();
        adopted.any(|(target, id)| *target == wanted && !id.deleting)
    };
    mode == Mode::Pod
        && solver.name.as_deref().unwrap_or_default().is_empty()
        && [Target::Ingress, Target::Service, Target::Pod]
            .into_iter()
            .all(has)
}

/// The objects that are still to be made, in place of those of cert-manager; an error says why one cannot be.
fn present(
    o: &Observation,
    settings: &Settings,
    presentation: &Presentation<'_>,
    solver: &IngressSolver,
) -> Result<Vec<Action>, String> {
    let mode = Mode::of(solver, settings.mode);
    if is_adopted(o, mode, solver) {
        return Ok(vec![]);
    }
    let mut missing: Vec<_> = former(o).collect();
    let mut ensure = |absent: bool, object: Object| {
        if absent {
            missing.push(Action::Ensure(Box::new(object)));
        }
    };
    let backend = match mode {
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

/// Delete what was presented, as far as it exists.
pub(super) fn clean_up(o: &Observation, settings: &Settings) -> Plan<Effect> {
    let objects = &o.objects;
    let mut plan = Plan {
        actions: former(o).collect(),
        ..Plan::idle()
    };
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
