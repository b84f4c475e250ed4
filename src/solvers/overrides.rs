//! The annotations by which one Certificate changes the HTTP-01 solver of its issuer (contract §3.3).

use std::collections::BTreeMap;

use crate::api::labels::{
    HTTP01_OVERRIDE_INGRESS_CLASS_ANNOTATION, HTTP01_OVERRIDE_INGRESS_INGRESSCLASSNAME_ANNOTATION,
    HTTP01_OVERRIDE_INGRESS_NAME_ANNOTATION,
};
use crate::api::solver::Solver;

/// More than one override on one Order: which one is meant is not ours to guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only one of the annotations {names} may be set, found {0}", names = ALL.join(", "))]
pub struct TooMany(usize);

const ALL: [&str; 3] = [
    HTTP01_OVERRIDE_INGRESS_NAME_ANNOTATION,
    HTTP01_OVERRIDE_INGRESS_CLASS_ANNOTATION,
    HTTP01_OVERRIDE_INGRESS_INGRESSCLASSNAME_ANNOTATION,
];

/// The solver as the Challenge gets it. An override takes the place of name, class and
/// ingressClassName together; it says nothing to a solver without Ingress.
pub fn overridden(
    mut solver: Solver,
    annotations: &BTreeMap<String, String>,
) -> Result<Solver, TooMany> {
    let ingress = solver
        .http01
        .as_mut()
        .and_then(|http01| http01.ingress.as_mut());
    let Some(ingress) = ingress else {
        return Ok(solver);
    };
    let wishes = ALL.map(|annotation| annotations.get(annotation).cloned());
    match wishes.iter().flatten().count() {
        0 => {}
        1 => [ingress.name, ingress.class, ingress.ingress_class_name] = wishes,
        many => return Err(TooMany(many)),
    }
    Ok(solver)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::{Value, json};

    use super::{ALL, Solver, overridden};

    fn solver(ingress: &Value) -> Solver {
        serde_json::from_value(json!({ "http01": { "ingress": ingress } })).unwrap()
    }

    #[test]
    fn one_override_replaces_all_three_fields_and_no_other() {
        let before = solver(&json!({ "class": "old", "mode": "Direct" }));
        let [name, class, class_name] = ALL;
        for (annotation, field) in [
            (name, "name"),
            (class, "class"),
            (class_name, "ingressClassName"),
        ] {
            let annotations = [(annotation.to_owned(), "new".to_owned())].into();
            let after = overridden(before.clone(), &annotations).unwrap();
            assert_eq!(
                after,
                solver(&json!({ field: "new", "mode": "Direct" })),
                "{annotation}"
            );
        }
        assert_eq!(overridden(before.clone(), &[].into()).unwrap(), before);
    }

    #[test]
    fn two_overrides_are_refused() {
        let [name, class, _] = ALL.map(str::to_owned);
        let annotations = [(name, "a".to_owned()), (class, "b".to_owned())].into();
        let error = overridden(solver(&json!({})), &annotations).unwrap_err();
        assert!(
            error.to_string().ends_with("may be set, found 2"),
            "{error}"
        );
        let dns = Solver {
            http01: None,
            ..Solver::default()
        };
        assert_eq!(overridden(dns.clone(), &annotations).unwrap(), dns);
    }
}
