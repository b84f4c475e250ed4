use super::super::{
    CertificateTemplate, Error, IpRange, KeyUsages, NameConstraints, RequestParams, Subtrees, Urls,
    build_request, self_sign,
};
use super::openssl;
use super::{from_hex, p256, params, request};

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn ranges(values: &[&str]) -> Vec<IpRange> {
    values.iter().map(|value| value.parse().unwrap()).collect()
}

fn ca(constraints: NameConstraints) -> RequestParams {
    RequestParams {
        usages: KeyUsages::from_names::<&str>(&[], true).unwrap(),
        is_ca: true,
        name_constraints: constraints,
        ..params()
    }
}

#[test]
fn the_extension_is_that_of_cert_manager() {
    // The Certificate "intermediate" of tests/fixtures/cert-manager-1.21.1.
    let wanted = "301da01b300d820b6578616d706c652e636f6d300a87080a000000ff000000";
    let csr = request(
        &ca(NameConstraints {
            critical: true,
            permitted: Subtrees {
                dns_domains: strings(&["example.com"]),
                ip_ranges: ranges(&["10.0.0.0/8"]),
                ..Subtrees::default()
            },
            excluded: Subtrees::default(),
        }),
        &p256(),
    );
    let extension = csr.name_constraints().unwrap();
    assert!(extension.critical);
    assert_eq!(extension.extn_value.as_bytes(), from_hex(wanted));
}

#[test]
fn openssl_reads_every_kind_in_the_request_and_in_the_certificate() {
    let key = p256();
    let params = ca(NameConstraints {
        critical: false,
        permitted: Subtrees {
            dns_domains: strings(&["example.com", ".example.org"]),
            ip_ranges: ranges(&["192.0.2.77/25", "2001:db8::1/33"]),
            email_addresses: strings(&["example.com", "root@example.org"]),
            uri_domains: strings(&[".example.com"]),
        },
        excluded: Subtrees {
            dns_domains: strings(&["secret.example.com"]),
            ip_ranges: ranges(&["0.0.0.0/0", "10.1.2.3/32"]),
            ..Subtrees::default()
        },
    });
    let csr = request(&params, &key);
    let template = CertificateTemplate {
        csr: &csr,
        not_before: "2026-01-01T00:00:00Z".parse().unwrap(),
        duration: std::time::Duration::from_hours(1),
        is_ca: true,
        usages: params.usages.clone(),
        urls: Urls::default(),
    };
    let certificate = self_sign(&template, &key).unwrap();
    let pem = build_request(&params, &key).unwrap();
    for text in [
        openssl::run(&["req", "-noout", "-text"], pem),
        openssl::run(&["x509", "-noout", "-text"], certificate.to_pem()),
    ] {
        let (_, rest) = text.split_once("X509v3 Name Constraints:").unwrap();
        let lines: Vec<&str> = rest.lines().map(str::trim).skip(1).take(13).collect();
        assert_eq!(
            lines,
            [
                "Permitted:",
                "DNS:example.com",
                "DNS:.example.org",
                "IP:192.0.2.0/255.255.255.128",
                "IP:2001:DB8:0:0:0:0:0:0/FFFF:FFFF:8000:0:0:0:0:0",
                "email:example.com",
                "email:root@example.org",
                "URI:.example.com",
                "Excluded:",
                "DNS:secret.example.com",
                "IP:0.0.0.0/0.0.0.0",
                "IP:10.1.2.3/255.255.255.255",
                lines[12],
            ],
            "{text}"
        );
    }
}

#[test]
fn without_names_there_is_no_extension() {
    let csr = request(&ca(NameConstraints::default()), &p256());
    assert_eq!(csr.name_constraints(), None);
}

#[test]
fn ranges_are_cidr() {
    for text in [
        "",
        "10.0.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0/8",
        "::/129",
        "fe80::1%eth0/64",
        "10.0.0.0/8/8",
        "example.com/8",
        "10.0.0.0/0x8",
    ] {
        let found = text.parse::<IpRange>();
        assert!(
            matches!(found, Err(Error::InvalidValue { .. })),
            "{text}: {found:?}"
        );
    }
    // As Go has it.
    assert_eq!(ranges(&["10.0.0.0/08"]), ranges(&["10.0.0.0/8"]));
}
