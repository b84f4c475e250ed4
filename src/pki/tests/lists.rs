//! Revocation lists: what is signed is read back, by this program and by openssl.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::openssl::run as openssl;
use super::{p256, params, request};
use crate::pki::{
    CertificateTemplate, IssuerIdentity, KeyUsages, ParsedCertificate, PrivateKey, RevocationList,
    RevocationReason, RevokedSerial, Urls, parse_chain, self_sign,
};

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

fn authority() -> (PrivateKey, ParsedCertificate) {
    let key = p256();
    let csr = request(
        &crate::pki::RequestParams {
            encode_usages: false,
            ..params()
        },
        &key,
    );
    let template = CertificateTemplate {
        csr: &csr,
        not_before: NOW,
        duration: Duration::from_hours(24),
        is_ca: true,
        usages: KeyUsages::from_names(&["cert sign", "crl sign"], true).unwrap(),
        urls: Urls::default(),
    };
    let certificate = self_sign(&template, &key).unwrap();
    (key, certificate)
}

#[test]
fn a_list_says_what_was_signed() {
    let (key, ca) = authority();
    assert!(ca.may_list());
    let entry = |serial: &[u8], reason| RevokedSerial {
        serial: serial.to_vec(),
        at: NOW,
        reason,
    };
    let revoked = [
        entry(&[0x00, 0x87, 0x65], RevocationReason::KeyCompromise),
        entry(&[0x12, 0x34], RevocationReason::Unspecified),
        entry(&[0x56], RevocationReason::PrivilegeWithdrawn),
    ];
    let issuer = IssuerIdentity {
        subject_der: ca.subject().as_der(),
        subject_key_id: ca.subject_key_id(),
        key: &key,
    };
    let end = NOW + SignedDuration::from_hours(1);
    let list = RevocationList::sign(issuer, 77, NOW, end, &revoked).unwrap();
    assert_eq!(
        (list.number, list.this_update, list.next_update),
        (77, NOW, Some(end))
    );
    assert_eq!(list.revoked, revoked);
    assert_eq!(list.revoked[0].text(), "8765");
    list.verify(ca.public_key_der()).unwrap();
    list.verify(p256().public_key_der()).unwrap_err();

    let said = openssl(&["crl", "-inform", "DER", "-noout", "-text"], list.der());
    for words in [
        "Version 2",
        "X509v3 CRL Number",
        "77",
        "X509v3 Authority Key Identifier",
        "Serial Number: 8765",
        "Key Compromise",
        "Privilege Withdrawn",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(said.matches("X509v3 CRL Reason Code").count(), 2);

    let empty = RevocationList::sign(issuer, 78, NOW, end, &[]).unwrap();
    let said = openssl(&["crl", "-inform", "DER", "-noout", "-text"], empty.der());
    assert!(said.contains("No Revoked Certificates"), "{said}");
    assert_eq!(empty.revoked, []);
    RevocationList::from_der(list.der().slice(..40)).unwrap_err();
}

/// What openssl made: `openssl ca -gencrl`, with a distribution point that is critical, a hold, and an extension of an entry
/// that this program does not know.
#[test]
fn a_list_of_another_program_is_read() {
    let list = RevocationList::from_der(include_bytes!("data/list.crl").to_vec()).unwrap();
    let ca = parse_chain(include_bytes!("data/list-ca.pem")).unwrap();
    list.verify(ca[0].public_key_der()).unwrap();
    assert_eq!(list.number, 1);
    let said: Vec<_> = list.revoked.iter().map(|e| (e.text(), e.reason)).collect();
    let said: Vec<_> = said
        .iter()
        .map(|(text, reason)| (&**text, *reason))
        .collect();
    assert_eq!(
        said,
        [
            ("56", RevocationReason::Unspecified),
            ("1234", RevocationReason::KeyCompromise),
            ("ab34", RevocationReason::Unspecified),
        ]
    );
    assert_eq!(list.revoked[0].at, NOW);
}

#[test]
fn a_certificate_says_where_its_list_is() {
    let key = p256();
    let plain = crate::pki::RequestParams {
        encode_usages: false,
        ..params()
    };
    let csr = request(&plain, &key);
    let made = |lists: &[String]| {
        let template = CertificateTemplate {
            csr: &csr,
            not_before: NOW,
            duration: Duration::from_hours(24),
            is_ca: false,
            usages: KeyUsages::default(),
            urls: Urls {
                crl_distribution_points: lists,
                ..Urls::default()
            },
        };
        self_sign(&template, &key).unwrap()
    };
    let both = ["ldap://ca.example.com/cn=ca", "http://ca.example.com/crl"].map(String::from);
    assert_eq!(made(&both).list_uris(), both);
    assert!(made(&[]).list_uris().is_empty());
}
