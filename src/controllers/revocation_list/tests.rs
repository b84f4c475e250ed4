//! What becomes of a list: when it is signed anew, and what is in it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use super::*;
use crate::controllers::fixtures::{START, signing_request};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, IssuerIdentity, KeyUsages, ParsedCertificate,
    PrivateKey, RequestParams, RevocationReason, Subject, Urls, self_sign,
};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const WEEK: SignedDuration = SignedDuration::from_hours(168);

fn hours(hours: i64) -> Timestamp {
    START + SignedDuration::from_hours(hours)
}

/// A CA that expires after a year.
struct Authority {
    key: PrivateKey,
    certificate: ParsedCertificate,
}

impl Authority {
    fn new() -> Self {
        let params = RequestParams {
            subject: Subject::from_common_name("house"),
            ..RequestParams::default()
        };
        let (key, csr) = signing_request(&params);
        let template = CertificateTemplate {
            csr: &CertificateSigningRequest::parse_pem(&csr).unwrap(),
            not_before: START,
            duration: Duration::from_hours(8760),
            is_ca: true,
            usages: KeyUsages::from_names(&["cert sign", "crl sign"], true).unwrap(),
            urls: Urls::default(),
        };
        let certificate = self_sign(&template, &key).unwrap();
        Self { key, certificate }
    }

    fn sign(&self, draft: &Draft, now: Timestamp) -> RevocationList {
        let issuer = IssuerIdentity {
            subject_der: self.certificate.subject().as_der(),
            subject_key_id: self.certificate.subject_key_id(),
            key: &self.key,
        };
        RevocationList::sign(issuer, draft.number, now, draft.next_update, &draft.revoked).unwrap()
    }
}

/// The list of an issuer, and what a CA makes of it.
struct Scene {
    authority: Authority,
    stored: Option<ListFact>,
}

impl Scene {
    fn new() -> Self {
        Self {
            authority: Authority::new(),
            stored: None,
        }
    }

    fn end(&self) -> Timestamp {
        self.authority.certificate.not_after()
    }

    fn next(&self, missing: Vec<Revoked>, lifetime: SignedDuration, now: Timestamp) -> Next {
        let fact = self.stored.as_ref();
        let list = fact.map(|fact| fact.list.as_ref().unwrap());
        let public = self.authority.certificate.public_key_der();
        let is_own = list.is_some_and(|list| list.verify(public).is_ok());
        next(fact, is_own, missing, lifetime, self.end(), now)
    }

    /// Sign what is to be, and store it.
    fn step(&mut self, missing: Vec<Revoked>, now: Timestamp) -> Draft {
        let Next::Sign(draft) = self.next(missing, WEEK, now) else {
            panic!("nothing is signed")
        };
        let list = self.authority.sign(&draft, now);
        let issuer = Key::new(Kind::Issuer, "shop", "house");
        let object = config_map(&issuer, "shop", &list, &draft.expiry, None);
        let fact = ListFact::of(&object);
        assert_eq!(fact.expiry, draft.expiry);
        assert_eq!(fact.list.as_ref().unwrap(), &list);
        self.stored = Some(fact);
        draft
    }
}

fn revoked(serial: u16, not_after: Timestamp) -> Revoked {
    Revoked {
        entry: RevokedSerial {
            serial: [&[0x11], serial.to_be_bytes().as_slice()].concat(),
            at: START,
            reason: RevocationReason::Superseded,
        },
        not_after,
    }
}

#[test]
fn a_list_is_signed_anew_in_the_middle_of_its_life_and_with_what_is_missing() {
    let mut scene = Scene::new();
    let first = scene.step(vec![], START);
    assert_eq!(first.next_update, START + WEEK);
    assert_eq!(scene.next(vec![], WEEK, hours(1)), Next::Stands(hours(84)));
    assert_eq!(
        scene.next(vec![], HOUR * 10, hours(1)),
        Next::Stands(hours(5)),
        "a shorter life counts at once"
    );
    let one = revoked(1, hours(1000));
    let second = scene.step(vec![one.clone(), one.clone()], hours(1));
    assert_eq!(second.revoked, std::slice::from_ref(&one.entry), "once");
    assert_eq!(second.expiry["110001"], hours(1000));
    assert!(second.number > first.number);
    assert_eq!(scene.next(vec![], WEEK, hours(84)), Next::Stands(hours(85)));
    let third = scene.step(vec![], hours(85));
    assert_eq!(third.revoked, [one.entry]);
    assert!(third.number > second.number);
}

#[test]
fn numbers_go_up_within_a_second_after_a_loss_and_with_another_ca() {
    let mut scene = Scene::new();
    let first = scene.step(vec![], START).number;
    let second = scene.step(vec![revoked(1, hours(9))], START).number;
    let third = scene.step(vec![revoked(2, hours(9))], START).number;
    assert_eq!((second, third), (first + 1, first + 2));
    scene.authority = Authority::new();
    let other = scene.step(vec![], START);
    assert_eq!(other.number, first + 3);
    assert_eq!(other.revoked, [], "what another CA has revoked");
    scene.stored = None;
    assert!(scene.step(vec![], hours(1)).number > other.number);
}

#[test]
fn what_has_expired_leaves_after_one_more_list() {
    let mut scene = Scene::new();
    let (short, long) = (revoked(1, hours(2)), revoked(2, hours(900)));
    scene.step(vec![short.clone(), long.clone()], START);
    let after = scene.step(vec![], hours(84));
    assert_eq!(after.revoked.len(), 2, "expired, in this list still");
    let last = scene.step(vec![], hours(168));
    assert_eq!(last.revoked, [long.entry]);
    assert_eq!(last.expiry.len(), 1);
    // The CertificateRevocation still says it.
    let again = scene.next(vec![short], WEEK, hours(169));
    assert_eq!(again, Next::Stands(hours(252)));
}

#[test]
fn a_list_lasts_no_longer_than_its_ca_and_is_not_signed_ever_faster_before_that() {
    let mut scene = Scene::new();
    let end = scene.end();
    let draft = scene.step(vec![], hours(8700));
    assert_eq!(draft.next_update, end);
    assert_eq!(scene.next(vec![], WEEK, hours(8750)), Next::Stands(end));
    let Next::Not(problem) = scene.next(vec![], WEEK, end) else {
        panic!("signed by a CA that has expired")
    };
    assert!(problem.contains("expired"), "{problem}");
}

#[test]
fn what_finds_no_room_is_left_out_and_the_list_goes_on() {
    let mut scene = Scene::new();
    let most = u16::try_from(MOST).unwrap();
    let all = (0..=most).map(|serial| revoked(serial, hours(1000)));
    let full = scene.step(all.collect(), START);
    assert_eq!(full.revoked.len(), MOST);
    let fact = scene.stored.as_ref().unwrap();
    let lines: usize = fact.expiry.keys().map(|serial| serial.len() + 22).sum();
    let room = 1 << 20;
    // Serial numbers of 20 bytes take 17 more, and in hex 34.
    let longest = fact.list.as_ref().unwrap().der().len() + lines + MOST * (17 + 34);
    assert!(longest < room, "{longest} bytes");
    let more = scene.step(vec![revoked(most, hours(1000))], hours(84));
    assert_eq!(more.revoked.len(), MOST);
}

#[test]
fn each_issuer_has_a_name_and_a_path_of_its_own() {
    let issuer = Key::new(Kind::Issuer, "shop", "house.example.com");
    let cluster = Key::new(Kind::ClusterIssuer, "", "house");
    for (key, at, called) in [
        (
            &issuer,
            "/crl/shop/house.example.com.crl",
            "everleaf-crl-issuer-house.example.com",
        ),
        (
            &cluster,
            "/crl/house.crl",
            "everleaf-crl-clusterissuer-house",
        ),
    ] {
        assert_eq!((&*path(key), &*name(key)), (at, called));
        assert_eq!(issuer_at(at).as_ref(), Some(key));
    }
    for other in ["/", "/crl/", "/crl/house", "/crl/.crl/x", "/metrics"] {
        assert_eq!(issuer_at(other), None, "{other}");
    }
}

#[test]
fn a_lifetime_is_ten_minutes_or_more() {
    let of = |text: Option<&str>| {
        lifetime(&CaRevocationList {
            lifetime: text.map(ToOwned::to_owned),
        })
    };
    assert_eq!(of(None), WEEK);
    assert_eq!(of(Some("24h")), HOUR * 24);
    assert_eq!(of(Some("1s")), SignedDuration::from_mins(10));
}
