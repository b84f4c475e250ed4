//! What is fuzzed, a function each. It panics when something is wrong.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a panic is what the fuzzer looks for"
)]

use std::sync::LazyLock;
use std::time::Duration;

use everleaf::controllers::certificate::cron::Schedule;
use everleaf::pki::keystore::pkcs12::{self, Profile};
use everleaf::pki::keystore::{Identity, Password, jks};
use everleaf::pki::{
    CertificateSigningRequest, CertificateTemplate, Curve, DistinguishedName, KeyAlgorithm,
    KeyEncoding, KeyUsages, ParsedCertificate, PrivateKey, RequestParams, RevocationList,
    RevokedSerial, Urls, build_request, first_block, parse_bundle, parse_chain, self_sign,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A name for a function.
type Target = (&'static str, fn(&[u8]));

/// All of them; the corpus of each is in the directory of its name.
pub const TARGETS: [Target; 5] = [
    ("pem", pem),
    ("csr", csr),
    ("subject", subject),
    ("password", password),
    ("cron", cron),
];

/// Keys, chains, bundles and signing requests in PEM. What can be read is written again the same.
pub fn pem(data: &[u8]) {
    if let Ok(key) = PrivateKey::from_pem(data) {
        let text = key.to_pem(KeyEncoding::Pkcs8).unwrap();
        let again = PrivateKey::from_pem(text.as_bytes()).unwrap();
        assert_eq!(again.public_key_der(), key.public_key_der());
        assert!(!format!("{key:?}").contains(text.lines().nth(1).unwrap()));
    }
    let _ = first_block(data);
    let _ = CertificateSigningRequest::parse_pem(data);
    if let Ok(chain) = parse_chain(data) {
        let text: String = chain.iter().map(ParsedCertificate::to_pem).collect();
        let again = parse_bundle(text.as_bytes()).unwrap();
        assert!(
            chain
                .iter()
                .map(ParsedCertificate::der)
                .eq(again.iter().map(ParsedCertificate::der))
        );
        for certificate in &chain {
            describe(certificate);
        }
    }
}

fn describe(certificate: &ParsedCertificate) {
    let _ = format!(
        "{certificate:?} {} {}",
        certificate.subject(),
        certificate.issuer()
    );
    let _ = (
        certificate.subject().to_subject(),
        certificate.sans(),
        certificate.usages(),
    );
    let _ = (
        certificate.serial(),
        certificate.fingerprint(),
        certificate.may_issue(),
    );
    let _ = certificate.verify_issued_by(certificate);
    assert!(
        certificate.not_before().as_second() < i64::MAX
            && certificate.not_after().as_second() < i64::MAX
    );
}

static KEY: LazyLock<PrivateKey> =
    LazyLock::new(|| PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap());

fn default_usages() -> KeyUsages {
    KeyUsages::from_names::<&str>(&[], false).unwrap()
}

/// A signing request, a certificate, or a revocation list, in DER. A request that can be read can be signed, unless that is refused with
/// a word, and what it asks for is in the certificate byte for byte.
pub fn csr(data: &[u8]) {
    if let Ok(certificate) = ParsedCertificate::from_der(data) {
        assert_eq!(certificate.der(), data);
        describe(&certificate);
    }
    if let Ok(list) = RevocationList::from_der(data.to_vec()) {
        assert_eq!(list.der(), data);
        let _ = list.verify(KEY.public_key_der());
        let _: Vec<_> = list.revoked.iter().map(RevokedSerial::text).collect();
    }
    let Ok(csr) = CertificateSigningRequest::parse_der(data) else {
        return;
    };
    assert_eq!(csr.der(), data);
    let _ = format!("{csr:?} {} {:?}", csr.subject(), csr.subject().to_subject());
    let _ = (csr.key_algorithm(), csr.name_constraints(), csr.is_ca());
    let template = CertificateTemplate {
        csr: &csr,
        not_before: Timestamp::UNIX_EPOCH,
        duration: Duration::from_hours(24),
        is_ca: csr.is_ca().unwrap_or_default(),
        usages: csr.usages().unwrap_or_else(default_usages),
        urls: Urls::default(),
    };
    let issuer = everleaf::pki::IssuerIdentity {
        subject_der: csr.subject_der(),
        subject_key_id: None,
        key: &KEY,
    };
    if let Ok(made) = everleaf::pki::sign(&template, issuer) {
        assert_eq!(made.subject().as_der(), csr.subject_der());
        assert_eq!(made.public_key_der(), csr.public_key_der());
        assert_eq!(made.sans(), csr.sans());
        describe(&made);
    }
}

/// A subject as text (RFC 4514). What it says is said again by its own text.
pub fn subject(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(name) = DistinguishedName::from_rfc4514(text) else {
        return;
    };
    let said = name.to_string();
    let _ = (name.to_subject(), name.common_name());
    let again = DistinguishedName::from_rfc4514(&said).unwrap();
    assert_eq!(again.as_der(), name.as_der(), "{said}");
}

/// A private key and its certificate.
static PAIR: LazyLock<(PrivateKey, ParsedCertificate)> = LazyLock::new(|| {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let params = RequestParams {
        dns_names: vec!["fuzz.example.com".into()],
        ..RequestParams::default()
    };
    let csr = build_request(&params, &key).unwrap();
    let csr = CertificateSigningRequest::parse_pem(csr.as_bytes()).unwrap();
    let template = CertificateTemplate {
        csr: &csr,
        not_before: Timestamp::UNIX_EPOCH,
        duration: Duration::from_hours(24),
        is_ca: false,
        usages: default_usages(),
        urls: Urls::default(),
    };
    let certificate = self_sign(&template, &key).unwrap();
    (key, certificate)
});

const PROFILES: [Profile; 4] = [
    Profile::LegacyRc2,
    Profile::LegacyDes,
    Profile::Modern2023,
    Profile::Modern2026,
];

/// A password, and behind a zero byte a store, or changes to one: a store opens with its own password and with no
/// other, and nothing that is found in a Secret stops anybody.
pub fn password(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
    let (text, changes) = rest.split_at(end);
    let text = String::from_utf8_lossy(text);
    let (password, other) = (Password::new(&text), Password::new(&format!("{text}?")));
    let found = changes.strip_prefix(b"\0").unwrap_or_default();
    let (key, certificate) = &*PAIR;
    let identity = Identity {
        key,
        chain: std::slice::from_ref(certificate),
    };
    let authorities = identity.chain;
    if let Some(profile) = PROFILES.get(usize::from(kind % 5)) {
        pkcs12::opens(found, *profile, &password);
        pkcs12::holds(found, certificate);
        if let Ok(store) = pkcs12::keystore(*profile, identity, authorities, &password) {
            assert!(pkcs12::opens(&store, *profile, &password));
            assert!(!pkcs12::opens(&store, *profile, &other));
            assert!(pkcs12::holds(&store, certificate));
            pkcs12::opens(&changed(store, found), *profile, &password);
        }
    } else {
        jks::opens(found, &password);
        jks::alias(found);
        let named = Some((&*text, identity));
        if let Ok(store) = jks::encode(named, authorities, &password, Timestamp::UNIX_EPOCH) {
            assert!(jks::opens(&store, &password));
            assert!(!jks::opens(&store, &other));
            assert!(jks::holds(&store, certificate));
            assert!(jks::is_alias(&jks::alias(&store).unwrap(), &text));
            jks::alias(&changed(store, found));
        }
    }
}

/// Each three bytes are a place and what is put there.
fn changed(mut store: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(3) {
        if let [high, low, new] = change
            && let Some(byte) = store.get_mut(usize::from(u16::from_be_bytes([*high, *low])))
        {
            *byte = *new;
        }
    }
    store
}

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Antarctica/Troll",
];

/// A zone, a time, and a schedule: the next start is a whole minute from then on, soon enough, and none is before it.
pub fn cron(data: &[u8]) {
    let Some((head, text)) = data.split_first_chunk::<5>() else {
        return;
    };
    let [zone, time @ ..] = head;
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(schedule) = Schedule::parse(text) else {
        return;
    };
    let zone = ZONES
        .get(usize::from(*zone) % ZONES.len())
        .unwrap_or(&"UTC");
    let zone = TimeZone::get(zone).unwrap();
    let from = Timestamp::from_second(i64::from(u32::from_be_bytes(*time))).unwrap();
    let Some(next) = schedule.next(from, &zone) else {
        return;
    };
    assert!(next >= from);
    assert!(next.duration_since(from) < SignedDuration::from_hours(24 * 366 * 7));
    if schedule == Schedule::Any {
        return;
    }
    assert_eq!(next.as_second() % 60, 0);
    assert_eq!(schedule.next(next, &zone), Some(next));
    let middle = from + next.duration_since(from) / 2;
    assert_eq!(schedule.next(middle, &zone), Some(next));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::TARGETS;

    #[test]
    fn the_corpus_is_read_without_a_fault() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        for (name, target) in TARGETS {
            let mut count = 0;
            for file in std::fs::read_dir(corpus.join(name)).unwrap() {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }
}
