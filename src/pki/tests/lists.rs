//! Revocation lists: what is signed is read back, by this program and by openssl.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::openssl::run as openssl;
use super::{p256, params, request};
use crate::pki::{
    CertificateTemplate, IssuerIdentity, KeyUsages, ParsedCertificate, PrivateKey, RevocationList,
    RevocationReason, RevokedSerial, Urls, self_sign,
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
