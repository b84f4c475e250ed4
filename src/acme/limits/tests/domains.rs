use super::super::domain::digest;
use super::*;

#[test]
fn the_registered_domain_of_a_name() {
    for (name, domain) in [
        ("example.com", "example.com"),
        ("www.example.com", "example.com"),
        ("*.example.com", "example.com"),
        ("a.b.c.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("com", "com"),
        // A wildcard rule, and the exception to it.
        ("a.b.test.ck", "b.test.ck"),
        ("test.ck", "test.ck"),
        ("www.ck", "www.ck"),
        ("shop.www.ck", "www.ck"),
        ("x.city.kawasaki.jp", "city.kawasaki.jp"),
        ("x.y.other.kawasaki.jp", "y.other.kawasaki.jp"),
        // The section of private domains counts too.
        ("me.github.io", "me.github.io"),
        ("a.me.github.io", "me.github.io"),
        // A-labels.
        ("www.example.xn--p1ai", "example.xn--p1ai"),
        ("a.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        // A top-level domain that nobody knows.
        ("www.site.internal-zone", "site.internal-zone"),
        ("", ""),
        (".", "."),
    ] {
        assert_eq!(registered_domain(name), domain, "{name}");
    }
}

#[test]
fn addresses_count_by_address_and_by_network() {
    for (address, of) in [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("www.example.com", "example.com"),
    ] {
        assert_eq!(&*domain_of(address), of);
    }
}

/// `BLESS=1` writes the digests of a new list.
#[test]
fn the_digests_are_those_of_the_list() {
    let rules = include_str!("../suffixes.txt").lines();
    let rules = rules.filter(|line| !line.starts_with("//"));
    let mut digests: Vec<_> = rules.map(|rule| digest(&[rule])).collect();
    assert!(digests.len() > 10_000);
    digests.sort_unstable();
    digests.dedup();
    let bytes: Vec<u8> = digests
        .iter()
        .flat_map(|digest| digest.to_be_bytes())
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/acme/limits/suffixes.bin");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &bytes).unwrap();
    }
    assert!(
        std::fs::read(path).unwrap() == bytes,
        "run this test with BLESS=1"
    );
}

proptest! {
    #[test]
    fn any_text_has_one(name in ".{0,40}") {
        let domain = registered_domain(&name);
        prop_assert!(name.ends_with(domain));
        // No name: a wildcard under a last label that is empty.
        prop_assume!(!domain.starts_with("*."));
        prop_assert_eq!(registered_domain(domain), domain);
    }
}
