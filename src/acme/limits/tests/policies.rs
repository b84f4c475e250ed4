use super::*;

#[test]
fn an_annotation_says_what_is_different() {
    let base = Policy::of(LETS_ENCRYPT, 60);
    let wider = base.clone().with("domain=500/7d").unwrap();
    assert_eq!(wider.domain, Rate::new(500, Duration::from_hours(168)));
    assert_eq!(
        Policy {
            domain: base.domain,
            ..wider
        },
        base
    );
    let own = Policy::of("https://ca.example/directory", 60);
    assert!(own.is_unknown());
    let own = own
        .with("orders=10/30s, domain=2/1m,set=3/1w , failures=none, renewals=exempt, under-way=7")
        .unwrap();
    assert_eq!(
        own,
        Policy {
            orders: Rate::new(10, Duration::from_secs(30)),
            domain: Rate::new(2, Duration::from_mins(1)),
            set: Rate::new(3, Duration::from_hours(168)),
            failures: None,
            renewals_count: false,
            under_way: 7,
        }
    );
    assert_eq!(base.clone().with("").unwrap(), base);
}

#[test]
fn a_mistake_is_named() {
    for (text, said) in [
        ("domain", "\"domain\": expected NAME=VALUE"),
        ("domain=5", "\"domain=5\": expected COUNT/TIME"),
        ("domain=5/7", "expected COUNT/TIME"),
        ("domain=0/7d", ""),
        ("domain=5/d", "expected COUNT/TIME"),
        ("domain=5/7ü", "expected COUNT/TIME"),
        ("domain=5/99999w", "expected COUNT/TIME"),
        ("a=5/7d, b=1", "the names are orders, domain"),
        ("under-way=0", "expected a number over 0"),
        ("renewals=maybe", "expected exempt or counted"),
    ] {
        match Policy::of("", 1).with(text) {
            Err(error) => assert!(error.to_string().contains(said), "{text}: {error}"),
            Ok(policy) => assert!(said.is_empty() && policy.is_unknown(), "{text}"),
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z=/0-9, é]{0,30}") {
        let _ = Policy::of("", 1).with(&text);
    }
}
