#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{BTreeMap, ChallengeType, NoSolver, Pick, Solver, Wanted, pick};

const BOTH: &[&str] = &["tls-alpn-01", "dns-01", "http-01"];

fn solvers(solvers: &Value) -> Vec<Solver> {
    serde_json::from_value(solvers.clone()).unwrap()
}

/// HTTP-01 solvers with these selectors; null is none.
fn selecting(selectors: &Value) -> Vec<Solver> {
    let one = |selector: &Value| match selector {
        Value::Null => json!({ "http01": {} }),
        selector => json!({ "http01": {}, "selector": selector }),
    };
    let all: Vec<_> = selectors.as_array().unwrap().iter().map(one).collect();
    solvers(&json!(all))
}

fn labels(labels: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(labels.clone()).unwrap()
}

fn chosen(
    solvers: &[Solver],
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<usize, NoSolver> {
    let wanted = Wanted {
        name: name.strip_prefix("*.").unwrap_or(name),
        wildcard: name.starts_with("*."),
        labels,
        offered: BOTH,
    };
    pick(solvers, &wanted).map(|pick| pick.solver)
}

#[test]
fn each_rule_of_the_contract_decides() {
    let names = |names: &[&str]| json!({ "dnsNames": names });
    let zones = |zones: &[&str]| json!({ "dnsZones": zones });
    let team = json!({ "matchLabels": { "team": "shop" } });
    let two = json!({ "matchLabels": { "team": "shop", "tier": "web" } });
    let zone_of_team = json!({ "dnsZones": ["example.com"], "matchLabels": { "team": "shop" } });
    let name_and_zone = json!({ "dnsNames": ["www.example.com"], "dnsZones": ["example.com"] });
    let name_and_team =
        json!({ "dnsNames": ["www.example.com"], "matchLabels": { "team": "shop" } });
    let www = names(&["www.example.com"]);
    let example = zones(&["example.com"]);

    let cases = [
        ("the first without selector", json!([null, null]), 0),
        ("an empty selector is no better", json!([null, {}]), 0),
        ("nor worse", json!([{}, null]), 0),
        ("a name beats none", json!([null, www]), 1),
        ("a name beats a zone", json!([example, www]), 1),
        ("a zone does not beat a name", json!([www, example]), 0),
        (
            "a name beats zone and labels",
            json!([zone_of_team, www]),
            1,
        ),
        ("both names: zone", json!([www, name_and_zone]), 1),
        ("both names: labels", json!([www, name_and_team]), 1),
        (
            "both names: zone before labels",
            json!([name_and_team, name_and_zone]),
            1,
        ),
        (
            "both names: earlier",
            json!([names(&["a.example.com", "www.example.com"]), www]),
            0,
        ),
        ("a zone beats labels", json!([two, example]), 1),
        ("a longer zone", json!([zones(&["com"]), example]), 1),
        (
            "the longest of several",
            json!([example, zones(&["com", "www.example.com"])]),
            1,
        ),
        ("equal zones: labels", json!([example, zone_of_team]), 1),
        (
            "equal zones: earlier",
            json!([example, zones(&["example.com", "example.org"])]),
            0,
        ),
        ("labels beat none", json!([null, team]), 1),
        ("more labels", json!([team, two]), 1),
        ("fewer do not", json!([two, team]), 0),
        ("none after a selected one", json!([team, null]), 0),
        (
            "a selector that does not match",
            json!([names(&["example.com"]), null]),
            1,
        ),
        (
            "all parts must match",
            json!([{ "dnsNames": ["www.example.com"], "dnsZones": ["example.org"] }, null]),
            1,
        ),
        (
            "all labels must match",
            json!([{ "matchLabels": { "team": "shop", "x": "y" } }, null]),
            1,
        ),
        (
            "a zone is whole labels",
            json!([zones(&["ample.com"]), zones(&[""]), null]),
            2,
        ),
        (
            "empty lists match",
            json!([{ "dnsNames": [], "dnsZones": [], "matchLabels": {} }, null]),
            0,
        ),
    ];
    let labels = labels(&json!({ "team": "shop", "tier": "web", "other": "x" }));
    for (rule, selectors, expected) in cases {
        let found = chosen(&selecting(&selectors), "www.example.com", &labels);
        assert_eq!(found, Ok(expected), "{rule}");
    }
}

#[test]
fn a_wildcard_is_looked_up_with_its_star() {
    let none = BTreeMap::new();
    let solvers = selecting(&json!([
        { "dnsNames": ["example.com"] },
        { "dnsNames": ["*.example.com"] },
        { "dnsZones": ["example.com"] },
    ]));
    assert_eq!(chosen(&solvers, "*.example.com", &none), Ok(1));
    assert_eq!(chosen(&solvers, "example.com", &none), Ok(0));
    assert_eq!(chosen(&solvers[2..], "*.example.com", &none), Ok(0));
    assert_eq!(chosen(&solvers[2..], "example.com", &none), Ok(0));
}

#[test]
fn the_solvers_type_must_be_offered_and_the_cas_order_decides() {
    let none = BTreeMap::new();
    let solvers =
        solvers(&json!([{ "http01": {} }, { "dns01": {} }, { "http01": {}, "dns01": {} }, {}]));
    let on = |solvers: &[Solver], offered: &[&str]| {
        let wanted = Wanted {
            name: "example.com",
            wildcard: false,
            labels: &none,
            offered,
        };
        pick(solvers, &wanted)
    };
    let of = |solver, challenge, type_| {
        Ok(Pick {
            solver,
            challenge,
            type_,
        })
    };
    let (http, dns) = (ChallengeType::Http01, ChallengeType::Dns01);
    assert_eq!(on(&solvers, BOTH), of(0, 2, http));
    assert_eq!(on(&solvers, &["x", "dns-01"]), of(1, 1, dns));
    assert_eq!(on(&solvers[2..], BOTH), of(0, 1, dns));
    assert_eq!(on(&solvers[2..], &["http-01", "dns-01"]), of(0, 0, http));

    let error =
        |solvers: &[Solver], offered: &[&str]| on(solvers, offered).unwrap_err().to_string();
    assert_eq!(error(&[], BOTH), "the issuer has no solvers");
    let only_dns = "the CA offers only dns-01 for example.com, and the issuer has no such solver";
    assert_eq!(error(&solvers[..1], &["dns-01"]), only_dns);
    let neither = "the CA offers neither http-01 nor dns-01 for example.com, and the issuer has no such solver";
    assert_eq!(error(&solvers, &["tls-alpn-01"]), neither);
}

#[test]
fn no_matching_selector_is_told_with_the_name() {
    let solvers = selecting(&json!([{ "dnsZones": ["example.org"] }]));
    let error = chosen(&solvers, "*.example.com", &BTreeMap::new()).unwrap_err();
    let text = "no solver's selector matches *.example.com with the labels of the Certificate";
    assert_eq!(error.to_string(), text);
}

#[test]
fn the_types_have_the_names_of_both_sides() {
    for (acme, spec) in [("http-01", "HTTP-01"), ("dns-01", "DNS-01")] {
        assert_eq!(ChallengeType::from_acme(acme).unwrap().as_spec(), spec);
        assert_eq!(ChallengeType::from_acme(spec), None);
    }
}

/// The contract's words, one after the other: what matched, then who wins between two.
mod specification {
    use super::{BTreeMap, Ordering, Solver};

    pub(super) struct Match {
        names: usize,
        zone_labels: usize,
        labels: usize,
    }

    pub(super) fn matches(
        solver: &Solver,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<Match> {
        let selector = solver.selector.clone().unwrap_or_default();
        let names = selector.dns_names.unwrap_or_default();
        let zones = selector.dns_zones.unwrap_or_default();
        let pairs = selector.match_labels.unwrap_or_default();
        let equal = names.iter().filter(|known| *known == name).count();
        let reversed: Vec<_> = name.rsplit('.').collect();
        let inside: Vec<_> = zones
            .iter()
            .map(|zone| zone.rsplit('.').collect::<Vec<_>>())
            .filter(|zone| reversed.starts_with(zone))
            .collect();
        let matched = (names.is_empty() || equal > 0)
            && (zones.is_empty() || !inside.is_empty())
            && pairs
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value));
        matched.then(|| Match {
            names: equal,
            zone_labels: inside.iter().map(Vec::len).max().unwrap_or(0),
            labels: pairs.len(),
        })
    }

    /// Greater is better; equal leaves it to the order of the solvers.
    pub(super) fn compare(a: &Match, b: &Match) -> Ordering {
        match (a.names > 0, b.names > 0) {
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (true, true) | (false, false) => {}
        }
        match (a.zone_labels > 0, b.zone_labels > 0) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, true) if a.zone_labels != b.zone_labels => a.zone_labels.cmp(&b.zone_labels),
            _ => a.labels.cmp(&b.labels),
        }
    }
}

fn any_solver() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "example.com",
        "a.example.com",
        "*.example.com",
        "b.a.example.com",
    ]);
    let zone = prop::sample::select(vec![
        "com",
        "example.com",
        "a.example.com",
        "ample.com",
        "org",
        "",
    ]);
    let label = (
        prop::sample::select(vec!["x", "y", "z"]),
        prop::sample::select(vec!["1", "2"]),
    );
    let selector = (
        prop::option::of(prop::collection::vec(name, 0..3)),
        prop::option::of(prop::collection::vec(zone, 0..3)),
        prop::option::of(prop::collection::btree_map(label.0, label.1, 0..3)),
    );
    let selector = selector.prop_map(|(names, zones, labels)| {
        let mut selector = json!({});
        if let Some(names) = names {
            selector["dnsNames"] = json!(names);
        }
        if let Some(zones) = zones {
            selector["dnsZones"] = json!(zones);
        }
        if let Some(labels) = labels {
            selector["matchLabels"] = json!(labels);
        }
        selector
    });
    (prop::option::weighted(0.8, selector), any::<bool>()).prop_map(|(selector, http)| {
        let mut solver = if http {
            json!({ "http01": {} })
        } else {
            json!({ "dns01": {} })
        };
        if let Some(selector) = selector {
            solver["selector"] = selector;
        }
        solver
    })
}

proptest! {
    #[test]
    fn the_choice_is_the_one_that_no_other_beats(
        configured in prop::collection::vec(any_solver(), 0..6),
        name in prop::sample::select(vec!["example.com", "*.example.com", "a.example.com", "b.a.example.com"]),
        labels in prop::collection::btree_map("[xyz]", "[12]", 0..3),
        offered in prop::sample::subsequence(vec!["http-01", "dns-01", "tls-alpn-01"], 0..=3),
    ) {
        let solvers = solvers(&json!(configured));
        let matching: Vec<_> = solvers
            .iter()
            .enumerate()
            .filter(|(_, solver)| {
                solver.http01.is_some() && offered.contains(&"http-01")
                    || solver.dns01.is_some() && offered.contains(&"dns-01")
            })
            .filter_map(|(index, solver)| Some((index, specification::matches(solver, name, &labels)?)))
            .collect();
        let expected = matching.iter().find(|(index, candidate)| {
            matching.iter().all(|(other, rival)| match specification::compare(candidate, rival) {
                Ordering::Greater => true,
                Ordering::Equal => index <= other,
                Ordering::Less => false,
            })
        });
        let wanted = Wanted {
            name: name.strip_prefix("*.").unwrap_or(name),
            wildcard: name.starts_with("*."),
            labels: &labels,
            offered: &offered,
        };
        let found = pick(&solvers, &wanted).ok();
        prop_assert_eq!(found.map(|pick| pick.solver), expected.map(|(index, _)| *index));
        if let Some(found) = found {
            let type_ = ChallengeType::from_acme(offered[found.challenge]);
            prop_assert_eq!(type_, Some(found.type_));
        }
    }
}
