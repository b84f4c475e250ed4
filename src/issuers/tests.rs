#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ca::{Authority, Entries, Issued, Unusable};
use super::{Error, Request};
use crate::pki::{
    self, CertificateSigningRequest, CertificateTemplate, Curve, IssuerIdentity, KeyAlgorithm,
    KeyEncoding, KeyUsages, ParsedCertificate, PrivateKey, RequestParams, Subject, Urls,
    build_request, parse_chain, self_sign,
};

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 500_000_000);

/// A key and a certificate that says who it is.
struct Ca {
    key: PrivateKey,
    certificate: ParsedCertificate,
}

fn csr(name: &str, key: &PrivateKey) -> CertificateSigningRequest {
    let params = RequestParams {
        subject: Subject::from_common_name(name),
        ..RequestParams::default()
    };
    CertificateSigningRequest::parse_pem(build_request(&params, key).unwrap().as_bytes()).unwrap()
}

/// A certificate of `usages`, valid for 100 days from [`NOW`] on; signed by itself without a parent.
fn made(algorithm: KeyAlgorithm, is_ca: bool, name: &str, parent: Option<&Ca>) -> Ca {
    let key = PrivateKey::generate(algorithm).unwrap();
    let csr = csr(name, &key);
    let template = CertificateTemplate {
        csr: &csr,
        not_before: NOW,
        duration: Duration::from_hours(2400),
        is_ca,
        usages: KeyUsages::from_names::<&str>(&[], is_ca).unwrap(),
        urls: Urls::default(),
    };
    let certificate = match parent {
        None => self_sign(&template, &key).unwrap(),
        Some(parent) => {
            let issuer = IssuerIdentity {
                subject_der: parent.certificate.subject().as_der(),
                subject_key_id: parent.certificate.subject_key_id(),
                key: &parent.key,
            };
            pki::sign(&template, issuer).unwrap()
        }
    };
    Ca { key, certificate }
}

fn ca(name: &str, parent: Option<&Ca>) -> Ca {
    made(KeyAlgorithm::Ecdsa(Curve::P256), true, name, parent)
}

/// What is in the Secret of `ca`: its certificate before `above`, and `top`.
fn load(ca: &Ca, above: &[&Ca], top: &[&Ca]) -> Result<Authority, Unusable> {
    let pem = |all: &[&Ca]| -> String { all.iter().map(|ca| ca.certificate.to_pem()).collect() };
    let certificate = ca.certificate.to_pem() + &pem(above);
    let key = ca.key.to_pem(KeyEncoding::Pkcs8).unwrap();
    Authority::load(Entries {
        certificate: Some(certificate.as_bytes()),
        key: Some(key.as_bytes()),
        ca: Some(pem(top).as_bytes()),
    })
}

/// 90 days for a name, of a new key.
fn signed(authority: &Authority, change: impl FnOnce(&mut Request<'_>)) -> Result<Issued, Error> {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let params = RequestParams {
        dns_names: vec!["app.example.com".into()],
        ..RequestParams::default()
    };
    let csr = build_request(&params, &key).unwrap();
    let mut request = Request {
        csr: csr.as_bytes(),
        not_before: NOW,
        duration: SignedDuration::from_hours(2160),
        is_ca: false,
        usages: &[],
        urls: Urls::default(),
    };
    change(&mut request);
    authority.sign(&request)
}

fn issued(authority: &Authority) -> (Vec<ParsedCertificate>, ParsedCertificate) {
    let Issued {
        certificate,
        ca,
        clamped,
    } = signed(authority, |_| {}).unwrap();
    assert_eq!(clamped, None);
    let [ca] = &parse_chain(ca.as_bytes()).unwrap()[..] else {
        panic!("one CA expected")
    };
    (parse_chain(certificate.as_bytes()).unwrap(), ca.clone())
}

#[test]
fn a_root_signs_alone() {
    let root = ca("root", None);
    for top in [&[][..], &[&root]] {
        let (chain, top) = issued(&load(&root, &[], top).unwrap());
        let [leaf] = &chain[..] else {
            panic!("{chain:?}")
        };
        leaf.verify_issued_by(&root.certificate).unwrap();
        assert_eq!(top, root.certificate);
        assert_eq!(leaf.not_before(), "2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(leaf.not_after(), "2026-04-01T00:00:00Z".parse().unwrap());
        assert!(!leaf.is_ca());
    }
}

#[test]
fn an_intermediate_brings_its_chain_but_not_the_root() {
    let root = ca("root", None);
    let upper = ca("upper", Some(&root));
    let lower = ca("lower", Some(&upper));
    for (above, top, known) in [
        (&[&upper][..], &[&root][..], &root),
        (&[&root, &upper, &root], &[], &root),
        (&[&upper], &[], &upper),
        (&[&upper], &[&upper], &upper),
        (&[], &[], &lower),
    ] {
        let (chain, ca) = issued(&load(&lower, above, top).unwrap());
        let mut expected = vec![&lower.certificate];
        expected.extend((!above.is_empty()).then_some(&upper.certificate));
        assert_eq!(chain[1..].iter().collect::<Vec<_>>(), expected);
        assert_eq!(ca, known.certificate);
        pki::check_chain_order(&chain).unwrap();
    }
}

#[test]
fn of_ca_crt_the_first_counts() {
    let (root, other) = (ca("root", None), ca("other", None));
    let lower = ca("lower", Some(&root));
    issued(&load(&lower, &[], &[&root, &other]).unwrap());
}

#[test]
fn a_broken_chain_signs_nothing() {
    let (root, other) = (ca("root", None), ca("other", None));
    let authority = load(&root, &[&other], &[]).unwrap();
    let error = signed(&authority, |_| {}).unwrap_err().to_string();
    assert_eq!(
        error,
        "certificate chain is malformed or broken: nothing leads to \"CN=other\""
    );
}

#[test]
fn what_cannot_sign_is_no_ca() {
    let root = ca("root", None);
    let leaf = made(KeyAlgorithm::Ed25519, false, "leaf", Some(&root));
    let refusal = |ca: &Ca| load(ca, &[], &[]).unwrap_err();
    assert_eq!(refusal(&leaf), Unusable::NotCa);
    let other = Ca {
        key: leaf.key,
        certificate: root.certificate.clone(),
    };
    assert_eq!(refusal(&other), Unusable::OtherKey);

    let (certificate, key) = (
        root.certificate.to_pem(),
        root.key.to_pem(KeyEncoding::Pkcs1).unwrap(),
    );
    let entries = Entries {
        certificate: Some(certificate.as_bytes()),
        key: Some(key.as_bytes()),
        ca: None,
    };
    Authority::load(entries).unwrap();
    for (entries, says) in [
        (
            Entries {
                certificate: None,
                ..entries
            },
            "no data for \"tls.crt\"",
        ),
        (
            Entries {
                key: Some(b""),
                ..entries
            },
            "no data for \"tls.key\"",
        ),
        (
            Entries {
                certificate: Some(b"x"),
                ..entries
            },
            "tls.crt: no PEM block",
        ),
        (
            Entries {
                key: entries.certificate,
                ..entries
            },
            "tls.key: unexpected PEM block",
        ),
        (
            Entries {
                ca: Some(b"x"),
                ..entries
            },
            "ca.crt: no PEM block",
        ),
    ] {
        let error = Authority::load(entries).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

#[test]
fn no_certificate_outlives_its_ca() {
    let root = ca("root", None);
    let authority = load(&root, &[], &[]).unwrap();
    let end = root.certificate.not_after();
    assert_eq!(authority.validity(), (root.certificate.not_before(), end));
    let until = |days: i64| {
        let issued = signed(&authority, |r| {
            r.duration = SignedDuration::from_hours(24 * days);
        })
        .unwrap();
        let leaf = parse_chain(issued.certificate.as_bytes())
            .unwrap()
            .remove(0);
        (leaf.not_after(), issued.clamped)
    };
    assert_eq!(until(100), (end, None));
    assert_eq!(until(101), (end, Some(end)));
    assert_eq!(until(99), (end - SignedDuration::from_hours(24), None));
}

#[test]
fn what_the_request_asks_for_is_in_the_certificate() {
    let root = ca("root", None);
    let authority = load(&root, &[], &[]).unwrap();
    let leaf = |change: fn(&mut Request<'_>)| {
        let issued = signed(&authority, change).unwrap();
        parse_chain(issued.certificate.as_bytes())
            .unwrap()
            .remove(0)
    };
    let sub = leaf(|request| request.is_ca = true);
    assert!(sub.is_ca() && sub.may_issue());
    assert!(sub.subject_key_id().is_some());
    assert_eq!(leaf(|_| {}).sans().dns_names, ["app.example.com"]);
    for (change, says) in [
        (
            (|r| r.duration = SignedDuration::from_secs(-1)) as fn(&mut Request<'_>),
            "no lifetime",
        ),
        (|r| r.csr = b"?", "certificate request"),
    ] {
        let error = signed(&authority, change).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn neither_key_is_in_what_is_printed() {
    let root = ca("root", None);
    let printed = format!("{:?}", load(&root, &[], &[]).unwrap());
    let key = root.key.to_pem(KeyEncoding::Pkcs8).unwrap();
    assert!(printed.contains("PrivateKey(ECDSA P-256)"), "{printed}");
    assert!(
        key.lines()
            .skip(1)
            .all(|line| line.starts_with("---") || !printed.contains(line))
    );
}
