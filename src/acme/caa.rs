//! Whether the CAA records of a domain let a CA issue (RFC 8659, RFC 8657). Whoever has asked the DNS calls it with the
//! records of the closest name upwards that has any.

use std::fmt;

use crate::net::clean;

/// A CAA record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caa {
    /// 128: whoever does not know the tag must not issue.
    pub flags: u8,
    /// `issue`, `issuewild` and others.
    pub tag: String,
    /// What the property says.
    pub value: String,
}

/// The longest value that is shown whole, in bytes.
const SHOWN: usize = 160;

impl fmt::Display for Caa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags, tag, value } = self;
        let (tag, value) = (clean(tag, SHOWN), clean(value, SHOWN));
        write!(f, "CAA {flags} {tag} \"{value}\"")
    }
}

/// What is to be issued, by whom.
#[derive(Debug, Clone, Copy)]
pub struct Issuance<'a> {
    /// The names by which the CA says that it goes (`caaIdentities` of its directory).
    pub identities: &'a [String],
    /// URL of the account.
    pub account: Option<&'a str>,
    /// `http-01` or another; `None` if it is not known yet.
    pub method: Option<&'a str>,
    /// For all names below the domain.
    pub wildcard: bool,
}

/// Why records do not let a CA issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The record that comes closest to letting it.
    pub record: Caa,
    /// What is wrong with that.
    pub why: Why,
}

/// What is wrong with a record; of the first four, what comes later is closer to being right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It names another CA, or none.
    OtherCa,
    /// It names several accounts, which lets none.
    SeveralAccounts,
    /// It names another account.
    OtherAccount,
    /// It names other methods of validation.
    OtherMethod,
    /// It is critical, and its tag is not known here; nothing else is wrong.
    Unknown,
}

/// Tags that are known and restrict something else.
const OTHERS: [&str; 5] = [
    "iodef",
    "contactemail",
    "contactphone",
    "issuemail",
    "issuevmc",
];
const CRITICAL: u8 = 128;

impl Issuance<'_> {
    /// Why `records` forbid it; `None` if they allow it, or if there are none.
    pub fn refusal(&self, records: &[Caa]) -> Option<Refusal> {
        let has = |record: &Caa, tag: &str| record.tag.eq_ignore_ascii_case(tag);
        let is_known = |record: &Caa| {
            let mut known = ["issue", "issuewild"].into_iter().chain(OTHERS);
            known.any(|tag| has(record, tag))
        };
        let mut unknown = records.iter().filter(|r| !is_known(r));
        let unknown = unknown.find(|record| record.flags & CRITICAL != 0);
        let unknown = unknown.map(|record| (Why::Unknown, record));
        let wild = self.wildcard && records.iter().any(|r| has(r, "issuewild"));
        let tag = if wild { "issuewild" } else { "issue" };
        let properties = records.iter().filter(|record| has(record, tag));
        let refusals: Option<Vec<_>> = properties
            .map(|record| Some((self.fault(&record.value)?, record)))
            // One that allows it is enough.
            .collect();
        let refusal = refusals.and_then(|all| all.into_iter().max_by_key(|(why, _)| *why));
        refusal.or(unknown).map(|(why, record)| Refusal {
            record: record.clone(),
            why,
        })
    }

    /// What is wrong with a property of the right tag.
    fn fault(&self, value: &str) -> Option<Why> {
        let mut parts = value.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let mut identities = self.identities.iter();
        if !identities.any(|own| own.eq_ignore_ascii_case(name)) {
            return Some(Why::OtherCa);
        }
        let parameters: Vec<(&str, &str)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let of = |wanted: &str| {
            let found = parameters.iter();
            let found = found.filter(|(key, _)| key.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| *value).collect::<Vec<_>>()
        };
        let accounts = of("accounturi");
        if accounts.len() > 1 {
            return Some(Why::SeveralAccounts);
        }
        if let Some(account) = self.account
            && accounts.iter().any(|allowed| *allowed != account)
        {
            return Some(Why::OtherAccount);
        }
        let methods = of("validationmethods");
        let method = self.method?;
        let allows = |list: &str| {
            let mut list = list.split(',');
            list.any(|allowed| allowed.trim().eq_ignore_ascii_case(method))
        };
        let is_other = !methods.is_empty() && !methods.iter().any(|list| allows(list));
        is_other.then_some(Why::OtherMethod)
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.example/acct/7";

    fn records(all: &[(u8, &str, &str)]) -> Vec<Caa> {
        let made = all.iter().map(|(flags, tag, value)| Caa {
            flags: *flags,
            tag: (*tag).to_owned(),
            value: (*value).to_owned(),
        });
        made.collect()
    }

    fn refusal(all: &[(u8, &str, &str)], wildcard: bool) -> Option<Refusal> {
        let identities = ["ca.example".to_owned(), "ca.test".to_owned()];
        let issuance = Issuance {
            identities: &identities,
            account: Some(ACCOUNT),
            method: Some("http-01"),
            wildcard,
        };
        issuance.refusal(&records(all))
    }

    /// Why these forbid http-01 by the CA ca.example for the account 7.
    fn why(all: &[(u8, &str, &str)], wildcard: bool) -> Option<Why> {
        refusal(all, wildcard).map(|refusal| refusal.why)
    }

    #[test]
    fn what_restricts_nothing_allows() {
        for all in [
            &[][..],
            &[(0, "iodef", "mailto:a@example.com")],
            &[(128, "iodef", "mailto:a@example.com")],
            &[(0, "future", "x")],
            &[(0, "issuewild", "other.example")],
        ] {
            assert_eq!(why(all, false), None, "{all:?}");
        }
    }

    #[test]
    fn one_that_names_the_ca_is_enough() {
        for all in [
            &[(0, "issue", "ca.example")][..],
            &[(0, "ISSUE", " CA.Example ")],
            &[(0, "issue", "other.example"), (0, "issue", "ca.test")],
            &[(0, "issue", "ca.test"), (0, "issue", ";")],
            &[(128, "issue", "ca.example; unknown=parameter")],
        ] {
            assert_eq!(why(all, false), None, "{all:?}");
            assert_eq!(why(all, true), None, "{all:?}, without issuewild");
        }
    }

    #[test]
    fn what_names_others_or_nobody_forbids() {
        for value in ["other.example", ";", "", "ca.example.org", "% %"] {
            let why = why(&[(0, "issue", value)], false);
            assert_eq!(why, Some(Why::OtherCa), "{value}");
        }
    }

    #[test]
    fn a_critical_property_that_is_not_known_forbids() {
        let all = [(128, "future", "x"), (0, "issue", "ca.example")];
        let refusal = refusal(&all, false).unwrap();
        assert_eq!(refusal.why, Why::Unknown);
        assert_eq!(refusal.record.to_string(), "CAA 128 future \"x\"");
        let all = [(128, "future", "x"), (0, "issue", "other.example")];
        assert_eq!(why(&all, false), Some(Why::OtherCa), "that is certain");
    }

    #[test]
    fn issuewild_alone_counts_for_wildcards() {
        let all = [(0, "issue", "ca.example"), (0, "issuewild", ";")];
        assert_eq!(why(&all, false), None);
        assert_eq!(why(&all, true), Some(Why::OtherCa));
        let all = [(0, "issue", ";"), (0, "issuewild", "ca.example")];
        assert_eq!(why(&all, false), Some(Why::OtherCa));
        assert_eq!(why(&all, true), None);
    }

    #[test]
    fn account_and_method_are_compared() {
        for (rest, expected) in [
            ("; accounturi=https://ca.example/acct/7", None),
            (
                "; accounturi=https://ca.example/acct/8",
                Some(Why::OtherAccount),
            ),
            (
                ";accounturi=https://ca.example/acct/7;accounturi=x",
                Some(Why::SeveralAccounts),
            ),
            ("; validationmethods=dns-01,http-01", None),
            (";validationmethods = HTTP-01", None),
            ("; validationmethods=dns-01", Some(Why::OtherMethod)),
            ("; validationmethods=", Some(Why::OtherMethod)),
        ] {
            let value = format!("ca.example{rest}");
            assert_eq!(why(&[(0, "issue", &value)], false), expected, "{rest}");
        }
    }

    #[test]
    fn the_nearest_miss_is_told() {
        let near = "ca.example; validationmethods=dns-01";
        let all = [
            (0, "issue", "other.example"),
            (0, "issue", near),
            (0, "issue", "ca.test; accounturi=x"),
        ];
        let refusal = refusal(&all, false).unwrap();
        assert_eq!(
            (refusal.record.value.as_str(), refusal.why),
            (near, Why::OtherMethod)
        );
    }

    #[test]
    fn a_record_is_safe_to_show() {
        let value = format!("a\n\u{202e}\"{}", "b".repeat(1000));
        let shown = records(&[(0, "issue", &value)])[0].to_string();
        assert!(
            shown.starts_with("CAA 0 issue \"a\\n\\u{202e}\""),
            "{shown}"
        );
        assert!(shown.len() < 200, "{shown}");
    }
}
