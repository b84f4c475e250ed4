//! Names of the objects that Everleaf makes, the same as cert-manager gives them.
//!
//! They are functions of what the object is for, so that a second attempt finds the first one's
//! object, and a take-over from cert-manager finds cert-manager's. Source: contract §4.4, §5.2.

use std::fmt::Write;

use aws_lc_rs::digest;
use serde::Serialize;
use serde_json::{Map, Value};

use super::challenge::ChallengeSpec;
use super::dns01::Dns01Solver;
use super::go_json;
use super::go_shapes::{CHALLENGE_SPEC, DNS01, NAMED_ORDER_SPEC, ORDER_SPEC};
use super::meta::IssuerReference;
use super::order::OrderSpec;

/// The longest Certificate name that is used as it is: a revision of 19 digits still fits.
const MAX_PLAIN_NAME: usize = 233;

/// What is left of that for the front of the name beside a hyphen and a digest in hex.
const MAX_DIGESTED_PREFIX: usize = MAX_PLAIN_NAME - 1 - 64;

/// The front of Order and Challenge names: with the hash, the whole fits into a label value.
const MAX_HASHED_PREFIX: usize = 52;

/// Why a name could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode the spec that the name is made from: {0}")]
pub struct Error(#[from] serde_json::Error);

/// Name of the `CertificateRequest` for a revision of a Certificate.
pub fn certificate_request_name(certificate: &str, revision: i64) -> String {
    if certificate.len() <= MAX_PLAIN_NAME {
        return format!("{certificate}-{revision}");
    }
    let digest = digest::digest(&digest::SHA256, certificate.as_bytes());
    let hex = digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let prefix = shorten(certificate, MAX_DIGESTED_PREFIX);
    if prefix.is_empty() {
        return format!("{hex}-{revision}");
    }
    format!("{prefix}-{hex}-{revision}")
}

/// Name of the `CertificateRequest` that is made of this issuer, for another request.
pub fn child_request_name(request: &str, issuer: &IssuerReference) -> String {
    let issuer = format!("{request}/{}/{}", issuer.kind_or_default(), issuer.name);
    hashed_name(request, &issuer)
}

/// Name of the Order for a `CertificateRequest`. It does not depend on `spec.request`.
///
/// # Errors
///
/// When the spec cannot be encoded, which no spec read from the API server causes.
pub fn order_name(request: &str, spec: &OrderSpec) -> Result<String, Error> {
    let mut spec = object(spec)?;
    spec.remove("request");
    let encoded = if request.len() < MAX_HASHED_PREFIX {
        go_json::encode(&spec, ORDER_SPEC)
    } else {
        // Such names are cut, so the whole name goes into the hash.
        let named = Map::from_iter([
            ("certificateRequestName".to_owned(), request.into()),
            ("spec".to_owned(), Value::Object(spec)),
        ]);
        go_json::encode(&named, NAMED_ORDER_SPEC)
    };
    Ok(hashed_name(request, &encoded))
}

/// Name of the Challenge of an Order. It does not depend on `spec.key`, which is added later.
///
/// # Errors
///
/// When the spec cannot be encoded, which no spec read from the API server causes.
pub fn challenge_name(order: &str, spec: &ChallengeSpec) -> Result<String, Error> {
    let mut spec = object(spec)?;
    spec.remove("key");
    Ok(hashed_name(order, &go_json::encode(&spec, CHALLENGE_SPEC)))
}

/// Whether cert-manager takes two DNS-01 solvers for the same: it writes references that a user has left out with an empty
/// name into the Challenges that it makes.
pub fn is_same_dns01(one: &Dns01Solver, other: &Dns01Solver) -> bool {
    let encoded = |solver| Some(go_json::encode(&object(solver).ok()?, DNS01));
    one == other || encoded(one).is_some_and(|text| Some(text) == encoded(other))
}

fn object(spec: &impl Serialize) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(spec)? {
        Value::Object(object) => Ok(object),
        // A spec is a struct, which is always an object.
        _ => Ok(Map::new()),
    }
}

fn hashed_name(name: &str, encoded: &str) -> String {
    format!(
        "{}-{}",
        shorten(name, MAX_HASHED_PREFIX),
        fnv1_32(encoded.as_bytes())
    )
}

/// The front of a name, ending in a letter or digit, as a DNS name must before the next hyphen.
fn shorten(name: &str, max: usize) -> &str {
    if name.len() < max {
        return name;
    }
    let front = name.as_bytes().get(..max).unwrap_or(name.as_bytes());
    let end = front
        .iter()
        .rposition(u8::is_ascii_alphanumeric)
        .map_or(0, |last| last + 1);
    // `end` follows an ASCII byte, so it is a boundary of characters.
    name.get(..end).unwrap_or_default()
}

/// The 32-bit Fowler–Noll–Vo hash, version 1: multiply, then xor.
fn fnv1_32(bytes: &[u8]) -> u32 {
    const OFFSET_BASIS: u32 = 2_166_136_261;
    const PRIME: u32 = 16_777_619;
    bytes.iter().fold(OFFSET_BASIS, |hash, byte| {
        hash.wrapping_mul(PRIME) ^ u32::from(*byte)
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )]

    use super::super::fixtures;
    use super::super::{Challenge, Order};
    use super::*;

    #[test]
    fn orders_are_named_as_recorded() {
        let mut names = Vec::new();
        for order in fixtures::all::<Order>() {
            let request = &order.metadata.owner_references.as_ref().unwrap()[0].name;
            let name = order_name(request, &order.spec).unwrap();
            assert_eq!(Some(&name), order.metadata.name.as_ref());
            names.push(name);
        }
        names.sort();
        names.dedup();
        assert_eq!(
            names,
            ["acme-dns-1-1817247255", "acme-refused-1-1171222596"]
        );
    }

    #[test]
    fn challenges_are_named_as_recorded() {
        let mut names = Vec::new();
        for challenge in fixtures::all::<Challenge>() {
            let order = &challenge.metadata.owner_references.as_ref().unwrap()[0].name;
            let name = challenge_name(order, &challenge.spec).unwrap();
            assert_eq!(Some(&name), challenge.metadata.name.as_ref());
            names.push(name);
        }
        assert_eq!(
            names,
            [
                "acme-dns-1-1817247255-1213372851",
                "acme-dns-1-1817247255-1810951094"
            ]
        );
    }

    /// Cases that cover every field, whose names were made by cert-manager 1.21.1's own code.
    #[test]
    fn names_are_those_that_cert_manager_makes() {
        #[derive(serde::Deserialize)]
        struct Case {
            kind: String,
            name: String,
            spec: Value,
            made: String,
        }
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/name-cases.json")).unwrap();
        assert_eq!(cases.len(), 11);
        for case in cases {
            let name = if case.kind == "Order" {
                order_name(&case.name, &serde_json::from_value(case.spec).unwrap())
            } else {
                challenge_name(&case.name, &serde_json::from_value(case.spec).unwrap())
            };
            assert_eq!(name.unwrap(), case.made);
        }
    }

    #[test]
    fn request_and_key_do_not_change_a_name() {
        let mut order = fixtures::all::<Order>().remove(0);
        let name = order_name("r", &order.spec).unwrap();
        order.spec.request.0.clear();
        assert_eq!(order_name("r", &order.spec).unwrap(), name);
        order.spec.dns_names = None;
        assert_ne!(order_name("r", &order.spec).unwrap(), name);

        let mut challenge = fixtures::all::<Challenge>().remove(0);
        let name = challenge_name("o", &challenge.spec).unwrap();
        challenge.spec.key = String::new();
        assert_eq!(challenge_name("o", &challenge.spec).unwrap(), name);
        challenge.spec.token.push('x');
        assert_ne!(challenge_name("o", &challenge.spec).unwrap(), name);
    }

    #[test]
    fn names_of_orders_and_challenges_fit_a_label_value() {
        let spec = OrderSpec::default();
        for name in ["a".repeat(253), "-".repeat(60), "\u{e9}".repeat(60)] {
            assert!(order_name(&name, &spec).unwrap().len() <= 63, "{name}");
        }
    }

    #[test]
    fn requests_are_named_by_revision_and_long_names_digested() {
        assert_eq!(certificate_request_name("web", 1), "web-1");
        let plain = "a".repeat(233);
        assert_eq!(certificate_request_name(&plain, 7), format!("{plain}-7"));
        // Made by cert-manager 1.21.1's own code.
        assert_eq!(
            certificate_request_name(&"a".repeat(234), 7),
            format!(
                "{}-01882f5725056dd0b712577e1d85abfe04277cfea30fd20fd7d99cd89d62d686-7",
                "a".repeat(168)
            )
        );
        let dashes = format!("{}{}b", "a".repeat(160), "-".repeat(90));
        assert_eq!(
            certificate_request_name(&dashes, 7),
            format!(
                "{}-b905cf6567923b255027343a5797629237d22e3b1ef38f08205c2f848b64f09a-7",
                "a".repeat(160)
            )
        );
    }
}
