//! Whatever is in a Secret or comes from a server: an error at worst, never a panic.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{
    CertificateSigningRequest, CertificateTemplate, KeyEncoding, ParsedCertificate, Urls,
    parse_bundle, parse_chain, pem, public_key, self_sign,
};
use super::{ALGORITHMS, KeyUsages, PrivateKey, key, params, request};

/// DER of keys, requests and certificates to be damaged.
static SAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut samples = Vec::new();
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        let csr = request(&params(), &key);
        let template = CertificateTemplate {
            csr: &csr,
            not_before: "2026-03-01T12:00:00Z".parse().unwrap(),
            duration: Duration::from_hours(24),
            is_ca: true,
            usages: KeyUsages::from_names::<&str>(&[], true).unwrap(),
            urls: Urls::default(),
        };
        // The request asks for other usages than a CA has.
        assert!(self_sign(&template, &key).is_err());
        let template = CertificateTemplate {
            is_ca: false,
            usages: csr.usages().unwrap(),
            ..template
        };
        samples.push(self_sign(&template, &key).unwrap().der().to_vec());
        samples.push(csr.der().to_vec());
        samples.push(key.public_key_der().to_vec());
        for encoding in [KeyEncoding::Pkcs1, KeyEncoding::Pkcs8] {
            let text = key.to_pem(encoding).unwrap();
            let block = pem::decode_single(text.as_bytes(), "key").unwrap();
            samples.push(block.contents.to_vec());
        }
    }
    samples
});

fn read_as_everything(der: &[u8]) {
    for label in [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "CERTIFICATE REQUEST",
        "CERTIFICATE",
    ] {
        read_as_pem(pem::encode(label, der).as_bytes());
    }
    let _ = public_key::key_algorithm(der);
    let _ = public_key::jwk(der);
    if let Ok(certificate) = ParsedCertificate::from_der(der) {
        let _ = format!("{certificate:?} {}", certificate.issuer());
        let _ = certificate.verify_issued_by(&certificate);
        let _ = certificate.subject().to_subject();
        assert_eq!(certificate.der(), der);
    }
}

fn read_as_pem(text: &[u8]) {
    let _ = PrivateKey::from_pem(text).map(|key| format!("{key:?}"));
    let _ = CertificateSigningRequest::parse_pem(text).map(|csr| format!("{csr:?}"));
    let _ = parse_chain(text);
    let _ = parse_bundle(text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_text(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_as_pem(&text);
    }

    #[test]
    fn arbitrary_blocks(der in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_as_everything(&der);
    }

    #[test]
    fn text_with_markers(lines in proptest::collection::vec(
        prop_oneof![
            Just("-----BEGIN CERTIFICATE-----"), Just("-----END CERTIFICATE-----"),
            Just("-----BEGIN -----"), Just("-----END "), Just("-----BEGIN "), Just("MAA="), Just("=A"), Just("a: b"),
        ],
        0..12,
    )) {
        read_as_pem(lines.join("\n").as_bytes());
    }

    #[test]
    fn damaged_structures(
        sample in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut der = sample.get(&SAMPLES).clone();
        for (at, byte) in changes {
            let at = at.index(der.len());
            der[at] = byte;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(der.len()));
        }
        read_as_everything(&der);
    }
}
