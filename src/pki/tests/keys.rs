use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::Encode as _;
use der::asn1::{BitString, UintRef};

use super::super::{
    CertificateSigningRequest, CertificateTemplate, Error, KeyEncoding, SignatureAlgorithm, Urls,
    build_request, pem, public_key, self_sign, verify_key_matches,
};
use super::openssl::{self, TempFile};
use super::{ALGORITHMS, Curve, KeyAlgorithm, PrivateKey, key, p256, params};

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn every_key_is_read_back_in_both_encodings() {
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        assert_eq!(key.algorithm(), algorithm);
        let labels = match algorithm {
            KeyAlgorithm::Rsa { .. } => ["RSA PRIVATE KEY", "PRIVATE KEY"],
            KeyAlgorithm::Ecdsa(_) => ["EC PRIVATE KEY", "PRIVATE KEY"],
            KeyAlgorithm::Ed25519 => ["PRIVATE KEY", "PRIVATE KEY"],
        };
        for (encoding, label) in [KeyEncoding::Pkcs1, KeyEncoding::Pkcs8]
            .into_iter()
            .zip(labels)
        {
            let text = key.to_pem(encoding).unwrap();
            assert!(text.starts_with(&format!("-----BEGIN {label}-----\n")));
            let again = PrivateKey::from_pem(text.as_bytes()).unwrap();
            assert_eq!(again.public_key_der(), key.public_key_der());
            assert_eq!(again.to_pem(encoding).unwrap(), text);
            let public = openssl::run(&["pkey", "-pubout"], text.as_bytes());
            assert_eq!(public, *pem::encode("PUBLIC KEY", key.public_key_der()));
        }
    }
}

#[test]
fn keys_of_openssl_are_read_and_written_byte_for_byte() {
    let rsa = openssl::run(&["genrsa", "-traditional", "2304"], "");
    let rsa = &rsa[rsa.find("-----BEGIN").unwrap()..];
    let key = PrivateKey::from_pem(rsa.as_bytes()).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::Rsa { bits: 2304 });
    assert_eq!(key.to_pem(KeyEncoding::Pkcs1).unwrap().as_str(), rsa);
    assert_eq!(
        *pem::encode("RSA PRIVATE KEY", &key.pkcs1_der().unwrap()),
        rsa
    );

    for (name, curve) in [
        ("prime256v1", Curve::P256),
        ("secp384r1", Curve::P384),
        ("secp521r1", Curve::P521),
    ] {
        // The curve's own block comes first.
        let both = openssl::run(&["ecparam", "-name", name, "-genkey"], "");
        let key = PrivateKey::from_pem(both.as_bytes()).unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Ecdsa(curve));
        let written = key.to_pem(KeyEncoding::Pkcs1).unwrap();
        assert!(both.ends_with(written.as_str()));
        let pkcs8 = openssl::run(&["pkey"], &both);
        let key = PrivateKey::from_pem(pkcs8.as_bytes()).unwrap();
        assert_eq!(key.to_pem(KeyEncoding::Pkcs8).unwrap().as_str(), pkcs8);
    }

    let ed25519 = openssl::run(&["genpkey", "-algorithm", "ed25519"], "");
    let key = PrivateKey::from_pem(ed25519.as_bytes()).unwrap();
    assert_eq!(key.to_pem(KeyEncoding::Pkcs1).unwrap().as_str(), ed25519);
}

#[test]
fn rsa_keys_of_odd_sizes_sign_requests_and_certificates() {
    for bits in [2050, 2500, 3000] {
        let text = openssl::run(&["genrsa", &bits.to_string()], "");
        let key = PrivateKey::from_pem(text.as_bytes()).unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Rsa { bits });
        let text = build_request(&params(), &key).unwrap();
        openssl::run(&["req", "-noout", "-verify"], &text);
        // Reading checks the signature.
        let csr = CertificateSigningRequest::parse_pem(text.as_bytes()).unwrap();
        assert_eq!(csr.key_algorithm(), key.algorithm());
        let template = CertificateTemplate {
            csr: &csr,
            not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
            duration: std::time::Duration::from_hours(1),
            is_ca: false,
            usages: params().usages,
            urls: Urls::default(),
        };
        let certificate = self_sign(&template, &key).unwrap();
        certificate.verify_issued_by(&certificate).unwrap();
        verify_key_matches(&certificate, &key).unwrap();
        let file = TempFile::new(certificate.to_pem());
        openssl::run(
            &["verify", "-no_check_time", "-CAfile", &file.0, &file.0],
            "",
        );
    }
}

/// The library of cryptography makes four of them, and checks what it reads; openssl checks the rest.
#[test]
fn rsa_keys_of_any_size_are_made() {
    for bits in [2049, 2050, 2500, 3001, 3072] {
        let key = PrivateKey::generate(KeyAlgorithm::Rsa { bits }).unwrap();
        assert_eq!(key.algorithm(), KeyAlgorithm::Rsa { bits });
        let text = key.to_pem(KeyEncoding::Pkcs1).unwrap();
        let checked = openssl::run(&["rsa", "-check", "-noout", "-text"], text.as_bytes());
        assert!(checked.contains("RSA key ok"), "{checked}");
        assert!(
            checked.contains(&format!("({bits} bit, 2 primes)")),
            "{checked}"
        );
        assert!(checked.contains("publicExponent: 65537 "), "{checked}");
    }
    for bits in [0, 1024, 2047, 8193, u32::MAX] {
        let error = PrivateKey::generate(KeyAlgorithm::Rsa { bits }).unwrap_err();
        assert_eq!(error, Error::UnsupportedPrivateKey);
    }
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    for (arguments, expected) in [
        (&["genrsa", "1024"][..], Error::UnsupportedPrivateKey),
        (
            &["genpkey", "-algorithm", "x25519"],
            Error::UnsupportedPrivateKey,
        ),
        (
            &["ecparam", "-name", "secp256k1", "-genkey", "-noout"],
            Error::UnsupportedPrivateKey,
        ),
        (
            &["genrsa", "-aes128", "-passout", "pass:secret", "2048"],
            Error::EncryptedKey,
        ),
        (
            &[
                "genrsa",
                "-traditional",
                "-aes128",
                "-passout",
                "pass:secret",
                "2048",
            ],
            Error::EncryptedKey,
        ),
    ] {
        let text = openssl::run(arguments, "");
        assert_eq!(PrivateKey::from_pem(text.as_bytes()).unwrap_err(), expected);
    }
    assert!(matches!(
        PrivateKey::from_pem(&vec![b'x'; 13_001]),
        Err(Error::TooLarge { size: 13_001, .. })
    ));
    assert!(matches!(
        PrivateKey::from_pem(b"nothing"),
        Err(Error::NoPem(_))
    ));
    assert!(matches!(
        PrivateKey::from_pem(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        Err(Error::UnexpectedBlock { .. })
    ));
    assert_eq!(
        p256().pkcs1_der().unwrap_err(),
        Error::UnsupportedPrivateKey
    );
}

#[test]
fn pem_is_read_as_it_is_found() {
    let key = p256();
    let text = key.to_pem(KeyEncoding::Pkcs8).unwrap();
    let windows = format!("Bag Attributes: none\r\n{}", text.replace('\n', "\r\n"));
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let one_line = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----");
    for variant in [windows, one_line] {
        let again = PrivateKey::from_pem(variant.as_bytes()).unwrap();
        assert_eq!(again.public_key_der(), key.public_key_der());
    }
    for broken in [
        text.replace("-----END PRIVATE KEY-----", ""),
        text.replace("END PRIVATE", "END PUBLIC"),
        text.replacen('M', "!", 1),
    ] {
        assert_eq!(
            PrivateKey::from_pem(broken.as_bytes()).unwrap_err(),
            Error::BrokenPem
        );
    }
}

/// As cert-manager does: the first block that is whole is the key.
#[test]
fn a_key_is_read_around_what_is_broken() {
    let (key, other) = (p256(), p256());
    let text = key.to_pem(KeyEncoding::Pkcs1).unwrap();
    let next = other.to_pem(KeyEncoding::Pkcs8).unwrap();
    let cut = &next[..next.len() / 2];
    for around in [
        format!("{}{cut}", *text),
        format!("{cut}\n{}", *text),
        format!("{}{}", *text, *next),
        format!(
            "{}-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            *text
        ),
    ] {
        let read = PrivateKey::from_pem(around.as_bytes()).unwrap();
        assert_eq!(
            read.public_key_der(),
            key.public_key_der(),
            "{}",
            around.len()
        );
    }
}

#[test]
fn debug_output_names_the_type_only() {
    assert_eq!(format!("{:?}", p256()), "PrivateKey(ECDSA P-256)");
}

#[test]
fn every_fitting_signature_verifies_elsewhere_and_no_other_is_made() {
    let hashes = ["-sha256", "-sha384", "-sha512"];
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        let public = TempFile::new(pem::encode("PUBLIC KEY", key.public_key_der()).as_bytes());
        for (index, signature_algorithm) in SignatureAlgorithm::ALL.into_iter().enumerate() {
            let signature = key.sign(signature_algorithm, b"message");
            if !signature_algorithm.fits(algorithm) {
                assert_eq!(
                    signature.unwrap_err(),
                    Error::SignatureMismatch {
                        signature: signature_algorithm,
                        key: algorithm
                    }
                );
                continue;
            }
            let signature = signature.unwrap();
            let verify = |message: &[u8]| {
                let named = signature_algorithm.identifier();
                public_key::verify("thing", &named, key.public_key_der(), message, &signature)
            };
            verify(b"message").unwrap();
            assert_eq!(verify(b"massage"), Err(Error::BadSignature("thing")));
            if algorithm != KeyAlgorithm::Ed25519 {
                let file = TempFile::new(&signature);
                let arguments = [
                    "dgst",
                    hashes[index % 3],
                    "-verify",
                    &public.0,
                    "-signature",
                    &file.0,
                ];
                assert!(openssl::run(&arguments, "message").contains("Verified OK"));
            }
        }
    }
}

#[test]
fn default_signature_follows_key_size() {
    use SignatureAlgorithm as S;
    for (key, expected) in [
        (KeyAlgorithm::Rsa { bits: 2048 }, S::Sha256WithRsa),
        (KeyAlgorithm::Rsa { bits: 3071 }, S::Sha256WithRsa),
        (KeyAlgorithm::Rsa { bits: 3072 }, S::Sha384WithRsa),
        (KeyAlgorithm::Rsa { bits: 4095 }, S::Sha384WithRsa),
        (KeyAlgorithm::Rsa { bits: 4096 }, S::Sha512WithRsa),
        (KeyAlgorithm::Rsa { bits: 8192 }, S::Sha512WithRsa),
        (KeyAlgorithm::Ecdsa(Curve::P256), S::EcdsaWithSha256),
        (KeyAlgorithm::Ecdsa(Curve::P384), S::EcdsaWithSha384),
        (KeyAlgorithm::Ecdsa(Curve::P521), S::EcdsaWithSha512),
        (KeyAlgorithm::Ed25519, S::PureEd25519),
    ] {
        assert_eq!(S::default_for(key), expected);
        assert!(expected.fits(key));
    }
    for algorithm in S::ALL {
        assert_eq!(S::from_name(algorithm.name()), Some(algorithm));
        assert_eq!(S::from_oid(algorithm.oid()), Some(algorithm));
    }
    assert_eq!(S::from_name("SHA1WithRSA"), None);
}

#[test]
fn jws_signatures_are_fixed_width() {
    let verifiers: [(&str, &'static dyn VerificationAlgorithm, usize); 5] = [
        ("RS256", &RSA_PKCS1_2048_8192_SHA256, 256),
        ("ES256", &ECDSA_P256_SHA256_FIXED, 64),
        ("ES384", &ECDSA_P384_SHA384_FIXED, 96),
        ("ES512", &ECDSA_P521_SHA512_FIXED, 132),
        ("EdDSA", &ED25519, 64),
    ];
    for (algorithm, (name, verifier, length)) in ALGORITHMS.into_iter().zip(verifiers) {
        let key = key(algorithm);
        assert_eq!(key.jws_algorithm(), name);
        // One in 128 signatures has a half that is short and has to be filled up.
        let rounds = if length == 256 { 2 } else { 600 };
        for round in 0..rounds {
            let message = format!("message {round}");
            let signature = key.sign_jws(message.as_bytes()).unwrap();
            assert_eq!(signature.len(), length);
            UnparsedPublicKey::new(verifier, key.public_key_der())
                .verify(message.as_bytes(), &signature)
                .unwrap();
        }
    }
}

/// RFC 8037 appendix A: the thumbprint of A.3 and the signature of A.4.
#[test]
fn ed25519_vectors_of_rfc_8037() {
    let seed = decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let mut pkcs8 = decode("MC4CAQAwBQYDK2VwBCIEIA");
    pkcs8.extend(seed);
    let key = PrivateKey::from_pem(pem::encode("PRIVATE KEY", &pkcs8).as_bytes()).unwrap();
    assert_eq!(
        key.jwk().unwrap(),
        r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
    );
    assert_eq!(
        key.jwk_thumbprint().unwrap(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(
        URL_SAFE_NO_PAD.encode(key.sign_jws(input).unwrap()),
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

/// RFC 7515 appendix A.3: the key, and a signature that others made with it.
#[test]
fn p256_vector_of_rfc_7515() {
    let (x, y) = (
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    );
    let d = decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
    // RFC 5915 with the curve and without the public key.
    let mut sec1 = vec![0x30, 49, 2, 1, 1, 4, 32];
    sec1.extend(d);
    sec1.extend([0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    let key = PrivateKey::from_pem(pem::encode("EC PRIVATE KEY", &sec1).as_bytes()).unwrap();
    assert_eq!(
        key.jwk().unwrap(),
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
    );
    let input = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = decode(
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key_der())
        .verify(input, &signature)
        .unwrap();
}

/// RFC 7638 §3.1.
#[test]
fn rsa_thumbprint_of_rfc_7638() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let modulus = decode(n);
    let numbers = [
        UintRef::new(&modulus).unwrap(),
        UintRef::new(&[1, 0, 1]).unwrap(),
    ];
    let spki = x509_cert::SubjectPublicKeyInfo {
        algorithm: x509_cert::AlgorithmIdentifier {
            oid: const_oid::db::rfc5912::RSA_ENCRYPTION,
            parameters: Some(der::Any::null()),
        },
        subject_public_key: BitString::from_bytes(&numbers.to_der().unwrap()).unwrap(),
    };
    let jwk = public_key::jwk(&spki.to_der().unwrap()).unwrap();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwk.as_bytes());
    assert_eq!(
        URL_SAFE_NO_PAD.encode(hash),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}
