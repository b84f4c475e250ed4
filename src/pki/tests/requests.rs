use super::super::{
    CertificateSigningRequest, DistinguishedName, Error, KeyUsages, OtherName, RequestParams,
    SignatureAlgorithm, SubjectAltNames, usage_names,
};
use super::openssl::{self, TempFile};
use super::{ALGORITHMS, PrivateKey, Subject, build_request, p256, params, request};

/// Ed25519 signs without randomness, so that the whole request can be compared with one that Go 1.26 made.
const GO_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
-----END PRIVATE KEY-----
";
const GO_REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBsTCCAWMCAQAwga4xCzAJBgNVBAYTAkRFMQwwCgYDVQQIEwNOUlcxDjAMBgNV
BAcMBUvDtmxuMREwDwYDVQQJEwhBbSBEb20gMTEOMAwGA1UEERMFNTA2NjcxIDAL
BgNVBAoTBEFjbWUwEQYDVQQKDApaZWJyYSAmIENvMRcwCQYDVQQLEwJJVDAKBgNV
BAsTA1dlYjEWMBQGA1UEAwwNKi5leGFtcGxlLmNvbTELMAkGA1UEBRMCNDIwKjAF
BgMrZXADIQADoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuKCBgDB+Bgkq
hkiG9w0BCQ4xcTBvMEgGA1UdEQRBMD+CC2V4YW1wbGUuY29tgg0qLmV4YW1wbGUu
Y29tgQ1hQGV4YW1wbGUuY29thwQKAAABhgxzcGlmZmU6Ly94L3kwDgYDVR0PAQH/
BAQDAgWgMBMGA1UdJQQMMAoGCCsGAQUFBwMBMAUGAytlcANBAKA54/xCK9IpKncF
Oo+LkTsMSQn3hGr919TySNCoe53sBMn9LeTiKgeU4XU2O6f/jzZVkewG44W9Ejkg
JLtdEAI=
-----END CERTIFICATE REQUEST-----
";
const GO_EMPTY_REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MH8wMwIBADAAMCowBQYDK2VwAyEAA6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyG
ZBJVMbigADAFBgMrZXADQQD+T6LD/tC3dgs1QpDKx4kUxYQE7xZe9aBnQUcZw2xz
eoWgFx/pD/xHAMYHE4CCTNhwz2GdgvzsSlQWl8KwMroI
-----END CERTIFICATE REQUEST-----
";

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn full_subject() -> Subject {
    Subject {
        countries: strings(&["DE"]),
        organizations: strings(&["Zebra & Co", "Acme"]),
        organizational_units: strings(&["Web", "IT"]),
        localities: strings(&["Köln"]),
        provinces: strings(&["NRW"]),
        street_addresses: strings(&["Am Dom 1"]),
        postal_codes: strings(&["50667"]),
        common_name: "*.example.com".into(),
        serial_number: "42".into(),
    }
}

#[test]
fn requests_are_those_of_go_byte_for_byte() {
    let key = PrivateKey::from_pem(GO_KEY.as_bytes()).unwrap();
    let full = RequestParams {
        subject: full_subject(),
        dns_names: strings(&["example.com", "*.example.com"]),
        ip_addresses: vec!["::ffff:10.0.0.1".parse().unwrap()],
        email_addresses: strings(&["a@example.com"]),
        uris: strings(&["spiffe://x/y"]),
        usages: KeyUsages::from_names(
            &["digital signature", "key encipherment", "server auth"],
            false,
        )
        .unwrap(),
        encode_usages: true,
        ..RequestParams::default()
    };
    assert_eq!(build_request(&full, &key).unwrap(), GO_REQUEST);
    assert_eq!(
        build_request(&RequestParams::default(), &key).unwrap(),
        GO_EMPTY_REQUEST
    );
}

#[test]
fn what_goes_in_comes_out() {
    let key = p256();
    let asked = RequestParams {
        subject: Subject {
            // A set has no order of its own.
            organizations: strings(&["Acme", "Zebra & Co"]),
            organizational_units: strings(&["IT", "Web"]),
            ..full_subject()
        },
        dns_names: strings(&["b.example.com", "a.example.com"]),
        ip_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        email_addresses: strings(&["a@example.com"]),
        uris: strings(&["spiffe://x/y", "https://example.com/"]),
        other_names: vec![OtherName {
            oid: "1.3.6.1.4.1.311.20.2.3".into(),
            utf8_value: "jürgen@example.com".into(),
        }],
        usages: KeyUsages::from_names(&["client auth", "any", "s/mime"], true).unwrap(),
        encode_usages: true,
        is_ca: true,
        basic_constraints: true,
        signature_algorithm: Some(SignatureAlgorithm::EcdsaWithSha512),
        ..RequestParams::default()
    };
    let csr = request(&asked, &key);
    assert_eq!(csr.subject().to_subject(), asked.subject);
    assert_eq!(csr.public_key_der(), key.public_key_der());
    assert_eq!(csr.key_algorithm(), key.algorithm());
    assert_eq!(csr.usages(), Some(asked.usages));
    assert_eq!(csr.is_ca(), Some(true));
    assert_eq!(
        csr.sans(),
        SubjectAltNames {
            dns_names: asked.dns_names,
            ip_addresses: asked.ip_addresses,
            email_addresses: asked.email_addresses,
            uris: asked.uris,
            other_names: asked.other_names,
            others: 0,
        }
    );
}

#[test]
fn openssl_reads_the_requests_of_every_key() {
    for algorithm in ALGORITHMS {
        let pem = build_request(&params(), &super::key(algorithm)).unwrap();
        let text = openssl::run(&["req", "-noout", "-verify", "-text"], pem);
        assert!(text.contains("verify OK"), "{text}");
        for line in [
            "Version: 1 (0x0)",
            "Subject: CN = example.com",
            "X509v3 Subject Alternative Name: \n",
            "DNS:example.com, DNS:*.example.com",
            "X509v3 Key Usage: critical",
            "Digital Signature, Key Encipherment",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}

#[test]
fn a_literal_subject_stands_in_place_of_the_parts() {
    let with = |literal: &str| RequestParams {
        literal_subject: Some(DistinguishedName::from_rfc4514(literal).unwrap()),
        ..params()
    };
    let csr = request(&with("CN=app,OU=b,OU=a,DC=example,DC=com"), &p256());
    assert_eq!(
        csr.subject().to_string(),
        "CN=app,OU=b,OU=a,DC=example,DC=com"
    );
    let is_critical = |params: &RequestParams| {
        let text = build_request(params, &p256()).unwrap();
        let text = openssl::run(&["req", "-noout", "-text"], text);
        text.contains("X509v3 Subject Alternative Name: critical")
    };
    assert!(!is_critical(&with("CN=app")));
    assert!(is_critical(&with(" ")));
    let size = with(&format!("O={}", "x".repeat(40_000)));
    assert!(matches!(size.check(), Err(Error::TooLarge { .. })));
}

#[test]
fn the_same_value_twice_is_no_fault() {
    // Go writes both; to a reader they are one.
    let twice = RequestParams {
        subject: Subject {
            organizations: strings(&["Acme", "Acme"]),
            ..Subject::default()
        },
        ..params()
    };
    let csr = request(&twice, &p256());
    assert_eq!(csr.subject().to_subject().organizations, ["Acme", "Acme"]);
    openssl::run(
        &["req", "-noout", "-verify"],
        build_request(&twice, &p256()).unwrap(),
    );
}

#[test]
fn names_are_critical_without_a_subject_and_usages_can_be_left_out() {
    let bare = RequestParams {
        subject: Subject::default(),
        encode_usages: false,
        ..params()
    };
    let key = p256();
    let text = openssl::run(
        &["req", "-noout", "-text"],
        build_request(&bare, &key).unwrap(),
    );
    assert!(text.contains("X509v3 Subject Alternative Name: critical"));
    assert!(!text.contains("Key Usage"));
    let csr = request(&bare, &key);
    assert!(csr.subject().is_empty());
    assert_eq!(csr.subject().common_name(), None);
    assert_eq!((csr.usages(), csr.is_ca()), (None, None));
}

#[test]
fn values_that_do_not_fit_are_named() {
    let key = p256();
    let with = |change: fn(&mut RequestParams)| {
        let mut params = params();
        change(&mut params);
        build_request(&params, &key).unwrap_err().to_string()
    };
    assert!(with(|p| p.dns_names.push("köln.example".into())).starts_with("dnsNames: "));
    assert!(with(|p| p.uris.push("http://ö".into())).starts_with("uris: "));
    assert!(with(|p| p.email_addresses.push("ä@x".into())).starts_with("emailAddresses: "));
    assert!(
        with(|p| p.other_names.push(OtherName {
            oid: "one.two".into(),
            utf8_value: String::new()
        }))
        .starts_with("otherNames: ")
    );
    assert_eq!(
        with(|p| p.signature_algorithm = Some(SignatureAlgorithm::PureEd25519)),
        "signature algorithm PureEd25519 does not fit ECDSA P-256 keys"
    );
}

#[test]
fn foreign_extensions_do_not_stop_a_request() {
    let config = TempFile::new(
        "[req]\ndistinguished_name=dn\n[dn]\n[ext]\ntlsfeature=status_request\n\
         extendedKeyUsage=serverAuth,1.2.3.4.5\ncertificatePolicies=1.2.3.4\n\
         subjectAltName=DNS:a.example.com,dirName:dn2,RID:1.2.3.4,otherName:1.2.3;IA5:x\n[dn2]\nCN=x\n",
    );
    let key = TempFile::new(
        p256()
            .to_pem(super::super::KeyEncoding::Pkcs8)
            .unwrap()
            .as_bytes(),
    );
    let pem = openssl::run(
        &[
            "req",
            "-new",
            "-config",
            &config.0,
            "-reqexts",
            "ext",
            "-key",
            &key.0,
            "-subj",
            "/CN=x/emailAddress=a@b/DC=example",
        ],
        "",
    );
    let csr = CertificateSigningRequest::parse_pem(pem.as_bytes()).unwrap();
    assert_eq!(csr.sans().dns_names, ["a.example.com"]);
    assert_eq!(csr.sans().others, 3);
    assert_eq!(csr.usages().unwrap().names(), ["server auth", "1.2.3.4.5"]);
    assert_eq!(csr.subject().common_name().as_deref(), Some("x"));
    assert!(csr.subject().to_string().contains("CN=x"));
}

#[test]
fn requests_that_cannot_be_trusted_are_refused() {
    let parse = |text: &str| CertificateSigningRequest::parse_pem(text.as_bytes()).unwrap_err();
    let good = build_request(&params(), &p256()).unwrap();
    assert!(matches!(parse(""), Error::NoPem(_)));
    assert!(matches!(
        parse(&good.repeat(2)),
        Error::SeveralBlocks("certificate request")
    ));
    assert!(matches!(
        parse(&good.replace("CERTIFICATE REQUEST", "CERTIFICATE")),
        Error::UnexpectedBlock { .. }
    ));
    assert!(matches!(
        parse(&"x".repeat(40_000)),
        Error::TooLarge { limit: 36_500, .. }
    ));
    let csr = CertificateSigningRequest::parse_pem(good.as_bytes()).unwrap();
    let mut der = csr.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(
        CertificateSigningRequest::parse_der(&der).unwrap_err(),
        Error::BadSignature("certificate request")
    );
    // One letter of a name that the signature covers.
    let mut der = csr.der().to_vec();
    let at = der.windows(7).position(|name| name == b"example").unwrap();
    der[at] = b'E';
    assert_eq!(
        CertificateSigningRequest::parse_der(&der).unwrap_err(),
        Error::BadSignature("certificate request")
    );
}

#[test]
fn each_usage_is_the_one_that_openssl_names() {
    let table = [
        ("signing", "Digital Signature"),
        ("digital signature", "Digital Signature"),
        ("content commitment", "Non Repudiation"),
        ("key encipherment", "Key Encipherment"),
        ("key agreement", "Key Agreement"),
        ("data encipherment", "Data Encipherment"),
        ("cert sign", "Certificate Sign"),
        ("crl sign", "CRL Sign"),
        ("encipher only", "Encipher Only"),
        ("decipher only", "Decipher Only"),
        ("any", "Any Extended Key Usage"),
        ("server auth", "TLS Web Server Authentication"),
        ("client auth", "TLS Web Client Authentication"),
        ("code signing", "Code Signing"),
        ("s/mime", "E-mail Protection"),
        ("email protection", "E-mail Protection"),
        ("ipsec end system", "IPSec End System"),
        ("ipsec tunnel", "IPSec Tunnel"),
        ("ipsec user", "IPSec User"),
        ("timestamping", "Time Stamping"),
        ("ocsp signing", "OCSP Signing"),
        ("microsoft sgc", "Microsoft Server Gated Crypto"),
        ("netscape sgc", "Netscape Server Gated Crypto"),
    ];
    assert!(usage_names().eq(table.map(|(name, _)| name)));
    let key = p256();
    for (name, expected) in table {
        let usages = KeyUsages::from_names(&[name], false).unwrap();
        let printed = match name {
            "signing" => "digital signature",
            "s/mime" => "email protection",
            other => other,
        };
        assert_eq!(usages.names(), [printed]);
        let params = RequestParams { usages, ..params() };
        let text = openssl::run(
            &["req", "-noout", "-text"],
            build_request(&params, &key).unwrap(),
        );
        let mut lines = text.lines().skip_while(|line| !line.contains("Key Usage:"));
        assert_eq!(lines.nth(1).unwrap().trim(), expected);
    }
    assert!(KeyUsages::from_names(&["server auth", "flying"], false).is_err());
    let default = KeyUsages::from_names::<&str>(&[], true).unwrap();
    assert_eq!(
        default.names(),
        ["digital signature", "key encipherment", "cert sign"]
    );
}

#[test]
fn order_of_extended_usages_does_not_matter() {
    let usages = |names: &[&str]| KeyUsages::from_names(names, false).unwrap();
    let one = usages(&["server auth", "client auth"]);
    assert_eq!(one, usages(&["client auth", "server auth", "client auth"]));
    assert_ne!(one, usages(&["client auth"]));
    assert_ne!(one, usages(&["server auth", "client auth", "signing"]));
}
