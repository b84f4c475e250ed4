use std::time::Duration;

use jiff::Timestamp;

use super::super::{
    CertificateSigningRequest, CertificateTemplate, Error, IssuerIdentity, ParsedCertificate,
    RequestParams, Urls, check_chain_order, leading_up, parse_bundle, parse_chain, parse_download,
    self_sign, sign, verify_key_matches,
};
use super::openssl::{self, TempFile};
use super::{ALGORITHMS, KeyAlgorithm, KeyUsages, PrivateKey, Subject, key, p256, params, request};

const DAY: Duration = Duration::from_hours(24);

fn template(csr: &CertificateSigningRequest, is_ca: bool) -> CertificateTemplate<'_> {
    CertificateTemplate {
        csr,
        not_before: "2026-03-01T12:00:00.9Z".parse().unwrap(),
        duration: 90 * DAY,
        is_ca,
        usages: KeyUsages::from_names::<&str>(&[], is_ca).unwrap(),
        urls: Urls::default(),
    }
}

fn text(certificate: &ParsedCertificate) -> String {
    openssl::run(&["x509", "-noout", "-text"], certificate.to_pem())
}

pub(super) fn authority(key: &PrivateKey, name: &str) -> ParsedCertificate {
    let params = RequestParams {
        subject: Subject::from_common_name(name),
        ..RequestParams::default()
    };
    self_sign(&template(&request(&params, key), true), key).unwrap()
}

pub(super) fn issued(
    csr: &CertificateSigningRequest,
    ca: &ParsedCertificate,
    key: &PrivateKey,
    is_ca: bool,
) -> ParsedCertificate {
    let issuer = IssuerIdentity {
        subject_der: ca.subject().as_der(),
        subject_key_id: ca.subject_key_id(),
        key,
    };
    sign(&template(csr, is_ca), issuer).unwrap()
}

#[test]
fn self_signed_certificates_of_every_key_verify() {
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        let csr = request(&params(), &key);
        let urls = [
            "http://example.com/a.crl".to_owned(),
            "http://example.com/b.crl".to_owned(),
        ];
        let certificate = self_sign(
            &CertificateTemplate {
                urls: Urls {
                    crl_distribution_points: &urls,
                    ocsp_servers: &urls[..1],
                    issuing_certificates: &urls[1..],
                },
                ..template(&csr, false)
            },
            &key,
        )
        .unwrap();
        verify_key_matches(&certificate, &key).unwrap();
        certificate.verify_issued_by(&certificate).unwrap();
        assert!(!certificate.is_ca());
        assert_eq!(certificate.subject(), csr.subject());
        assert_eq!(certificate.sans(), csr.sans());
        assert_eq!(certificate.usages(), csr.usages());
        assert_eq!(
            certificate.not_before(),
            "2026-03-01T12:00:00Z".parse().unwrap()
        );
        assert_eq!(
            certificate.not_after(),
            "2026-05-30T12:00:00Z".parse::<Timestamp>().unwrap()
        );

        let file = TempFile::new(certificate.to_pem());
        openssl::run(
            &[
                "verify",
                "-attime",
                "1775000000",
                "-CAfile",
                &file.0,
                &file.0,
            ],
            "",
        );
        let text = text(&certificate);
        for line in [
            "Version: 3 (0x2)",
            "X509v3 Basic Constraints: critical\n                CA:FALSE",
            "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment",
            "DNS:example.com, DNS:*.example.com",
            "URI:http://example.com/a.crl",
            "URI:http://example.com/b.crl",
            "OCSP - URI:http://example.com/a.crl\n",
            "CA Issuers - URI:http://example.com/b.crl\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        // Neither identifier: not a CA, and issuer and subject are the same.
        assert!(!text.contains("Key Identifier"));
    }
}

#[test]
fn openssl_and_the_parser_agree() {
    let key = p256();
    let certificate = authority(&key, "agreed");
    let says = |option| openssl::run(&["x509", "-noout", option], certificate.to_pem());
    assert_eq!(
        says("-serial").trim().to_lowercase(),
        format!("serial={}", certificate.serial())
    );
    let fingerprint = openssl::run(
        &["x509", "-noout", "-fingerprint", "-sha256"],
        certificate.to_pem(),
    );
    let fingerprint = fingerprint.trim().replace(':', "").to_lowercase();
    assert_eq!(
        fingerprint,
        format!("sha256 fingerprint={}", certificate.fingerprint())
    );
    assert_eq!(certificate.serial().len(), 32);
    assert_eq!(certificate.serial_bytes().len(), 16);
    assert_ne!(certificate.serial(), authority(&key, "agreed").serial());
    // The key's bits are what openssl prints under "pub".
    let id = certificate.subject_key_id().unwrap();
    let (_, point) = certificate.public_key_der().split_at(26);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, point);
    assert_eq!(id, &hash.as_ref()[..20]);
}

#[test]
fn a_chain_of_three_verifies_in_order_only() {
    let (root_key, middle_key, leaf_key) = (key(KeyAlgorithm::Ed25519), p256(), p256());
    let root = authority(&root_key, "root");
    let middle_params = RequestParams {
        subject: Subject::from_common_name("middle"),
        ..RequestParams::default()
    };
    let middle = issued(
        &request(&middle_params, &middle_key),
        &root,
        &root_key,
        true,
    );
    let nameless = RequestParams {
        subject: Subject::default(),
        ..params()
    };
    let leaf = issued(&request(&nameless, &leaf_key), &middle, &middle_key, false);
    assert!(middle.is_ca());
    let text = text(&leaf);
    assert!(text.contains("X509v3 Subject Alternative Name: critical"));
    assert!(text.contains("X509v3 Authority Key Identifier"));

    let chain_pem = format!("{}\n{}{}", leaf.to_pem(), middle.to_pem(), root.to_pem());
    let chain = parse_chain(chain_pem.as_bytes()).unwrap();
    assert_eq!(chain, [leaf.clone(), middle.clone(), root.clone()]);
    check_chain_order(&chain).unwrap();
    let (root_file, middle_file) = (TempFile::new(root.to_pem()), TempFile::new(middle.to_pem()));
    let arguments = [
        "verify",
        "-attime",
        "1775000000",
        "-purpose",
        "any",
        "-CAfile",
        &root_file.0,
        "-untrusted",
        &middle_file.0,
    ];
    openssl::run(&arguments, leaf.to_pem());

    let swapped = [leaf.clone(), root.clone(), middle.clone()];
    assert!(matches!(
        check_chain_order(&swapped),
        Err(Error::BrokenChain { index: 0, .. })
    ));
    let impostor = authority(&p256(), "middle");
    let error = check_chain_order(&[leaf, impostor]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "certificate 0 of the chain (\"\") is not signed by the one after it"
    );
}

/// As AD CS and EJBCA sign; the names tell then.
#[test]
fn a_signature_of_a_kind_that_is_not_understood_does_not_break_a_chain() {
    for (name, kind) in [
        ("pss", ["-sigopt", "rsa_padding_mode:pss"]),
        ("sha1", ["-sha1", "-batch"]),
    ] {
        let subject = format!("/CN={name}");
        let new = [
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "/dev/null",
            "-subj",
            &subject,
        ];
        let arguments = [&["req", "-x509"][..], &new[..], &kind[..]].concat();
        let made = openssl::run(&arguments, "");
        let [root] = &parse_chain(made.as_bytes()).unwrap()[..] else {
            panic!("{made}")
        };
        let error = root.verify_issued_by(root).unwrap_err();
        assert!(matches!(error, Error::UnsupportedSignature(_)), "{error}");
        check_chain_order(&[root.clone(), root.clone()]).unwrap();
        let other = authority(&p256(), "other");
        assert!(check_chain_order(&[root.clone(), other]).is_err());
    }
}

#[test]
fn a_chain_is_put_in_order_from_its_leaf_on() {
    let [root_key, middle_key, leaf_key] = [(); 3].map(|()| p256());
    let root = authority(&root_key, "root");
    let named = |name: &str| RequestParams {
        subject: Subject::from_common_name(name),
        ..RequestParams::default()
    };
    let middle = issued(
        &request(&named("middle"), &middle_key),
        &root,
        &root_key,
        true,
    );
    let leaf = issued(
        &request(&named("leaf"), &leaf_key),
        &middle,
        &middle_key,
        false,
    );
    let stray = authority(&p256(), "stray");
    let all = [&leaf, &middle, &root];
    for (given, expected) in [
        (vec![&leaf, &middle, &root], &all[..]),
        (vec![&leaf, &root, &middle], &all),
        (vec![&leaf, &stray, &root, &middle, &middle], &all),
        (vec![&leaf, &middle, &stray], &all[..2]),
        (vec![&leaf, &root], &all[..1]),
        (vec![], &[]),
    ] {
        let given: Vec<_> = given.into_iter().cloned().collect();
        let found = leading_up(&given);
        assert!(found.iter().eq(expected.iter().copied()), "{given:?}");
    }
}

#[test]
fn a_certificate_is_for_its_key_only() {
    let (one, other) = (p256(), p256());
    let csr = request(&params(), &one);
    assert_eq!(
        self_sign(&template(&csr, false), &other).unwrap_err(),
        Error::KeyMismatch
    );
    let certificate = self_sign(&template(&csr, false), &one).unwrap();
    assert_eq!(
        verify_key_matches(&certificate, &other),
        Err(Error::KeyMismatch)
    );
}

#[test]
fn what_the_request_says_is_not_overruled() {
    let key = p256();
    let asked = RequestParams {
        basic_constraints: true,
        usages: KeyUsages::from_names(
            &["digital signature", "key encipherment", "server auth"],
            false,
        )
        .unwrap(),
        ..params()
    };
    let csr = request(&asked, &key);
    let attempt = |names: &[&str], is_ca| {
        let usages = KeyUsages::from_names(names, false).unwrap();
        self_sign(
            &CertificateTemplate {
                usages,
                ..template(&csr, is_ca)
            },
            &key,
        )
        .map(drop)
    };
    let base = ["key encipherment", "server auth", "digital signature"];
    attempt(&base, false).unwrap();
    assert_eq!(
        attempt(&base[..2], false).unwrap_err().to_string(),
        "encoded CSR error: the KeyUsages [digital signature, key encipherment, server auth] do not match the \
         expected [key encipherment, server auth]"
    );
    assert!(
        attempt(
            &["digital signature", "key encipherment", "client auth"],
            false
        )
        .is_err()
    );
    assert!(matches!(attempt(&base, true), Err(Error::CsrMismatch(_))));
    // A request that says nothing takes whatever it gets.
    let silent = request(
        &RequestParams {
            encode_usages: false,
            ..params()
        },
        &key,
    );
    let certificate = self_sign(&template(&silent, true), &key).unwrap();
    assert!(certificate.is_ca());
    assert_eq!(
        certificate.usages().unwrap().names(),
        ["digital signature", "key encipherment", "cert sign"]
    );
}

#[test]
fn one_without_an_end_can_be_read() {
    let end = crate::pki::certificate::timestamp(x509_cert::time::Time::INFINITY).unwrap();
    assert_eq!(end.to_string(), "9999-12-30T22:00:00Z");
}

#[test]
fn validity_may_end_after_2049_but_not_after_9999() {
    let key = p256();
    let csr = request(&params(), &key);
    let lasting = |years: u32| {
        let duration = years * 365 * DAY;
        self_sign(
            &CertificateTemplate {
                duration,
                ..template(&csr, false)
            },
            &key,
        )
    };
    let text = text(&lasting(30).unwrap());
    assert!(
        text.contains("Not After : Feb 22 12:00:00 2056 GMT"),
        "{text}"
    );
    assert!(matches!(
        lasting(9000),
        Err(Error::InvalidValue {
            field: "duration",
            ..
        })
    ));
}

#[test]
fn name_constraints_of_the_request_are_kept() {
    let config = TempFile::new(
        "[req]\ndistinguished_name=dn\n[dn]\n[ext]\nnameConstraints=critical,permitted;DNS:example.com\n",
    );
    let key = p256();
    let file = TempFile::new(
        key.to_pem(super::super::KeyEncoding::Pkcs8)
            .unwrap()
            .as_bytes(),
    );
    let pem = openssl::run(
        &[
            "req", "-new", "-config", &config.0, "-reqexts", "ext", "-key", &file.0, "-subj",
            "/CN=ca",
        ],
        "",
    );
    let csr = CertificateSigningRequest::parse_pem(pem.as_bytes()).unwrap();
    let text = text(&self_sign(&template(&csr, true), &key).unwrap());
    assert!(text.contains("X509v3 Name Constraints: critical"), "{text}");
}

/// What cert-manager reads of these with Go's `encoding/pem`, tried with its version 1.21.2: the same certificates.
#[test]
fn chains_are_read_around_what_is_broken() {
    let (key, other) = (p256(), p256());
    let (leaf, issuer) = (authority(&key, "leaf"), authority(&other, "issuer"));
    let (first, second) = (leaf.to_pem(), issuer.to_pem());
    let relabelled = |label: &str| first.replace(" CERTIFICATE-", &format!(" {label}-"));
    let both = [leaf.clone(), issuer.clone()];
    let (one, two) = (&both[..1], &both[1..]);
    for (name, text, expected) in [
        (
            "the last one cut off",
            format!("{first}{}", &second[..second.len() / 2]),
            one,
        ),
        (
            "the first one cut off",
            format!("{}\n{second}", &first[..first.len() / 2]),
            two,
        ),
        (
            "without its end",
            format!(
                "{}{second}",
                first.replace("-----END CERTIFICATE-----\n", "")
            ),
            two,
        ),
        (
            "a letter too many",
            format!("{first}{}", second.replacen("\nM", "\n!M", 1)),
            one,
        ),
        (
            "ends as another",
            format!("{}{second}", first.replace("END CERT", "END X509 CERT")),
            two,
        ),
        (
            "no line between",
            format!("{}{second}{first}", first.trim_end()),
            one,
        ),
        (
            "text around",
            format!("subject=a\n{first}# issuer\n{second}\n-----BEGIN\n"),
            &both,
        ),
        (
            "begins twice",
            format!("-----BEGIN CERTIFICATE-----\n{first}"),
            one,
        ),
        (
            "no dashes",
            format!("-----BEGIN CERTIFICATE\nMAA=\n-----END CERTIFICATE-----\n{first}"),
            one,
        ),
        (
            "as old OpenSSL calls it",
            relabelled("X509 CERTIFICATE"),
            one,
        ),
        ("by no name", relabelled(""), one),
        (
            "headers",
            first.replacen("-----\n", "-----\nfriendlyName: a\nlocalKeyID: 1\n\n", 1),
            one,
        ),
    ] {
        assert_eq!(
            parse_chain(text.as_bytes()).as_deref(),
            Ok(expected),
            "{name}"
        );
        if ["text around", "headers"].contains(&name) {
            continue;
        }
        parse_download(text.as_bytes()).expect_err(name);
    }
    let cut = &first[..first.len() / 2];
    assert_eq!(parse_chain(cut.as_bytes()), Err(Error::BrokenPem));
}

#[test]
fn chains_hold_certificates_and_nothing_else() {
    let key = p256();
    let certificate = authority(&key, "x").to_pem();
    let with_key = format!(
        "{certificate}{}",
        *key.to_pem(super::super::KeyEncoding::Pkcs8).unwrap()
    );
    assert!(matches!(
        parse_chain(with_key.as_bytes()),
        Err(Error::Malformed { .. })
    ));
    assert!(matches!(
        parse_download(with_key.as_bytes()),
        Err(Error::UnexpectedBlock { .. })
    ));
    assert!(matches!(parse_chain(b"\n"), Err(Error::NoPem(_))));
    let large = certificate.repeat(100_000 / certificate.len());
    assert!(matches!(
        parse_chain(large.as_bytes()),
        Err(Error::TooLarge { limit: 95_000, .. })
    ));
    assert!(parse_bundle(large.as_bytes()).unwrap().len() > 100);
}

#[test]
fn certificates_of_old_kinds_are_read() {
    // Version 1, serial 0, no extensions; RSA 1024 is a key that nothing here could use.
    let key = openssl::run(&["genrsa", "1024"], "");
    let key = TempFile::new(key);
    let pem = openssl::run(
        &[
            "req",
            "-x509",
            "-new",
            "-key",
            &key.0,
            "-subj",
            "/CN=old",
            "-set_serial",
            "0",
            "-config",
            "/dev/null",
        ],
        "",
    );
    let [certificate] = &parse_chain(pem.as_bytes()).unwrap()[..] else {
        panic!("one certificate expected");
    };
    assert_eq!(certificate.serial(), "0");
    assert_eq!(certificate.subject().common_name().as_deref(), Some("old"));
    assert!(!certificate.is_ca());
    assert_eq!(certificate.usages(), None);
}
