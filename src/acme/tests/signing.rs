use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::super::jws::{Jws, Signer};
use super::super::{Class, Eab, dns01_value, key_authorization};
use crate::pki::{Curve, KeyAlgorithm, PrivateKey};

const URL: &str = "https://ca.example/acme/new";

fn parts(jws: &Jws) -> (Value, String, Vec<u8>, String) {
    let jws = serde_json::to_value(jws).unwrap();
    assert_eq!(jws.as_object().unwrap().len(), 3);
    let text = |name: &str| jws[name].as_str().unwrap().to_owned();
    let decode = |name| URL_SAFE_NO_PAD.decode(text(name)).unwrap();
    (
        serde_json::from_slice(&decode("protected")).unwrap(),
        String::from_utf8(decode("payload")).unwrap(),
        decode("signature"),
        format!("{}.{}", text("protected"), text("payload")),
    )
}

#[test]
fn every_account_key_signs_with_its_own_algorithm() {
    let table: [(_, _, &'static dyn VerificationAlgorithm); 4] = [
        (
            KeyAlgorithm::Rsa { bits: 2048 },
            "RS256",
            &RSA_PKCS1_2048_8192_SHA256,
        ),
        (
            KeyAlgorithm::Ecdsa(Curve::P256),
            "ES256",
            &ECDSA_P256_SHA256_FIXED,
        ),
        (
            KeyAlgorithm::Ecdsa(Curve::P384),
            "ES384",
            &ECDSA_P384_SHA384_FIXED,
        ),
        (KeyAlgorithm::Ed25519, "EdDSA", &ED25519),
    ];
    for (algorithm, name, verifier) in table {
        let key = PrivateKey::generate(algorithm).unwrap();
        let jwk: Value = serde_json::from_str(&key.jwk().unwrap()).unwrap();
        for (signer, who) in [
            (Signer::Key(&key), json!({"jwk": jwk})),
            (
                Signer::Account(&key, "https://ca.example/1"),
                json!({"kid": "https://ca.example/1"}),
            ),
        ] {
            let jws = Jws::sign(signer, URL, "nonce", r#"{"a":1}"#).unwrap();
            let (header, payload, signature, input) = parts(&jws);
            let mut expected = json!({"alg": name, "nonce": "nonce", "url": URL});
            expected
                .as_object_mut()
                .unwrap()
                .extend(who.as_object().unwrap().clone());
            assert_eq!(header, expected);
            assert_eq!(payload, r#"{"a":1}"#);
            UnparsedPublicKey::new(verifier, key.public_key_der())
                .verify(input.as_bytes(), &signature)
                .unwrap();
        }
    }
}

#[test]
fn external_binding_signs_the_account_key_with_any_spelling_of_the_secret() {
    let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
    let secret = [0xfb, 0xef, 0xff, 0x01, 0x02];
    let standard = STANDARD.encode(secret);
    assert!(standard.contains('+') && standard.contains('/') && standard.ends_with('='));
    let wrapped = format!(" {}\n{}\r\n", &standard[..4], &standard[4..]);
    for text in [
        URL_SAFE_NO_PAD.encode(secret),
        standard.clone(),
        wrapped,
        standard.replace('=', ""),
    ] {
        let eab = Eab::new("kid-1", text.as_bytes()).unwrap();
        let (header, payload, signature, input) = parts(&eab.bind(&key, URL).unwrap());
        assert_eq!(header, json!({"alg": "HS256", "kid": "kid-1", "url": URL}));
        assert_eq!(payload, key.jwk().unwrap());
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        hmac::verify(&hmac_key, input.as_bytes(), &signature).unwrap();
    }
    for bad in ["", "  ", "not base64!"] {
        let error = Eab::new("kid-1", bad.as_bytes()).unwrap_err();
        assert_eq!(error.class(), Class::Permanent);
        assert!(error.to_string().starts_with("externalAccountBinding: "));
    }
    let shown = format!("{:?}", Eab::new("kid-1", b"c2VjcmV0").unwrap());
    assert_eq!(shown, "Eab { key_id: \"kid-1\", .. }");
}

/// The token of RFC 8555 §8.3 with the key of RFC 8037 appendix A, whose thumbprint is in A.3.
#[test]
fn key_authorization_joins_token_and_thumbprint() {
    let key = PrivateKey::from_pem(
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----",
    )
    .unwrap();
    let token = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
    let thumbprint = key.jwk_thumbprint().unwrap();
    let authorization = key_authorization(token, &thumbprint).unwrap();
    assert_eq!(
        authorization,
        "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    for bad in ["", "../../etc", "a b", "a.b", "a\r\n", &"a".repeat(129)] {
        assert_eq!(key_authorization(bad, &thumbprint), None);
    }
}

/// SHA-256 of "abc" (FIPS 180-4 example) as base64url.
#[test]
fn dns_record_is_the_digest() {
    assert_eq!(
        dns01_value("abc"),
        "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"
    );
}
