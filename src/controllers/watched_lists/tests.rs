//! When lists are fetched, and what they say of whom.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::controllers::key::Kind;
use crate::pki::{Curve, IssuerIdentity, KeyAlgorithm, PrivateKey, RequestParams, Subject};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);
const URL: &str = "http://crl.example.com/ca.crl";
const CA: &[u8] = b"key of the CA";

fn watched(name: &str, url: &str, signer: &[u8], serial: u8) -> Watched {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    Watched {
        certificate: Key::new(Kind::Certificate, "shop", name),
        issuer: Key::new(Kind::Issuer, "shop", "vault"),
        secret: name.into(),
        list: url.into(),
        id: format!("{}.{}", encode(signer), encode(&[serial])).into(),
    }
}

/// A list of the CA, of so many minutes.
fn fetched(life: i64, fresh: Option<i64>, serials: &[u8]) -> Fetched {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let csr = crate::pki::build_request(
        &RequestParams {
            subject: Subject::from_common_name("house"),
            ..RequestParams::default()
        },
        &key,
    );
    let csr = crate::pki::CertificateSigningRequest::parse_pem(csr.unwrap().as_bytes()).unwrap();
    let issuer = IssuerIdentity {
        subject_der: csr.subject().as_der(),
        subject_key_id: None,
        key: &key,
    };
    let revoked: Vec<_> = serials
        .iter()
        .map(|serial| RevokedSerial {
            serial: vec![*serial],
            at: NOW,
            reason: RevocationReason::KeyCompromise,
        })
        .collect();
    let end = NOW + SignedDuration::from_mins(life);
    Fetched {
        list: RevocationList::sign(issuer, 1, NOW, end, &revoked).unwrap(),
        signer: CA.to_vec(),
        fresh_until: fresh.map(|fresh| NOW + SignedDuration::from_mins(fresh)),
    }
}

fn minutes(time: Timestamp) -> i64 {
    time.duration_since(NOW).as_mins()
}

/// Minutes until the next fetch.
fn next(lists: &WatchedLists, all: &[Watched]) -> i64 {
    minutes(lists.due(all, NOW).unwrap_err().unwrap())
}

#[test]
fn one_fetch_is_for_all_that_name_the_list_and_their_ca_has_signed() {
    let lists = WatchedLists::default();
    let all = [
        watched("a", URL, CA, 1),
        watched("b", URL, CA, 2),
        watched("of-another-ca", URL, b"other", 1),
        watched("of-another-list", "http://other.example.com/", CA, 3),
    ];
    let url = lists.due(&all, NOW).unwrap();
    assert_eq!(&*url, URL);
    let heard = lists.heard(&url, &all, Ok(fetched(60, None, &[1, 3, 9])), NOW);
    assert_eq!(heard, Heard::Revoked(vec![all[0].certificate.clone()]));
    let listing = lists.listing(&all[0].id).unwrap();
    assert_eq!((&*listing.list, listing.at), (URL, NOW));
    assert_eq!(listing.reason, RevocationReason::KeyCompromise);
    for other in [&all[1], &all[2]] {
        assert_eq!(lists.listing(&other.id), None);
    }
    let again = lists.heard(&url, &all, Ok(fetched(60, None, &[1])), NOW);
    assert_eq!(again, Heard::Nothing, "it is known");
    // The other list has its turn; after that both wait.
    let other = lists.due(&all, NOW).unwrap();
    assert_eq!(&*other, "http://other.example.com/");
    lists.heard(&other, &all, Ok(fetched(60, None, &[])), NOW);
    assert_eq!(next(&lists, &all), 15);
    // A failure takes nothing back, the end of the certificate does.
    let failure = Failure {
        message: "no answer".into(),
        until: None,
    };
    lists.heard(&url, &all, Err(failure), NOW);
    assert!(lists.listing(&all[0].id).is_some());
    lists.due(&all[1..], NOW).unwrap_err();
    assert_eq!(lists.listing(&all[0].id), None);
    assert_eq!(lists.due(&[], NOW), Err(None));
}

#[test]
fn the_server_says_when_it_is_asked_again_and_else_the_list_within_reason() {
    for (life, fresh, expected) in [
        (60, None, 15),
        (10_080, None, 60),
        (2, None, 1),
        (-60, None, 1),
        (10_080, Some(0), 1),
        (10_080, Some(90), 90),
        (60, Some(90), 90),
        (60, Some(100_000), 1440),
        (60, Some(-5), 1),
    ] {
        let lists = WatchedLists::default();
        let all = [watched("a", URL, CA, 1)];
        let url = lists.due(&all, NOW).unwrap();
        lists.heard(&url, &all, Ok(fetched(life, fresh, &[])), NOW);
        assert_eq!(next(&lists, &all), expected, "{life} {fresh:?}");
    }
}

#[test]
fn a_failure_is_tried_again_and_said_when_it_lasts() {
    let lists = WatchedLists::default();
    let all = [watched("a", URL, CA, 1)];
    let url = lists.due(&all, NOW).unwrap();
    let fail = |until: Option<i64>| {
        let failure = Failure {
            message: "no answer".into(),
            until: until.map(|until| NOW + SignedDuration::from_mins(until)),
        };
        let heard = lists.heard(&url, &all, Err(failure), NOW);
        (next(&lists, &all), heard != Heard::Nothing)
    };
    let waits = [1, 2, 4, 8, 16].map(|wait| (wait, false));
    assert_eq!([(); 5].map(|()| fail(None)), waits);
    assert_eq!(fail(None), (60, true));
    assert_eq!(fail(Some(7)), (7, false), "and from the beginning");
    assert_eq!(fail(Some(100_000)), (1440, false));
    lists.heard(&url, &all, Ok(fetched(60, None, &[])), NOW);
    assert_eq!(fail(None), (1, false));
}
