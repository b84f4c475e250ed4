use std::time::Duration;

use proptest::prelude::*;

use super::super::{
    CertificateTemplate, Chain, Error, IssuerIdentity, MAX_CERTIFICATES, ParsedCertificate, Urls,
    build_chain, check_chain_order, parse_chain, sign,
};
use super::openssl::{self, TempFile};
use super::{KeyUsages, PrivateKey, RequestParams, Subject, p256, request};

/// Who can sign: a name and a key.
struct Party {
    name: &'static str,
    key: PrivateKey,
}

impl Party {
    fn new(name: &'static str) -> Self {
        Self { name, key: p256() }
    }

    /// A certificate of `subject`, signed by this one.
    fn signs(&self, subject: &Self, is_ca: bool, days: u64) -> ParsedCertificate {
        let csr = |party: &Self| {
            let params = RequestParams {
                subject: Subject::from_common_name(party.name),
                ..RequestParams::default()
            };
            request(&params, &party.key)
        };
        let template = CertificateTemplate {
            csr: &csr(subject),
            not_before: "2026-03-01T12:00:00Z".parse().unwrap(),
            duration: Duration::from_hours(24 * days),
            is_ca,
            usages: KeyUsages::from_names::<&str>(&[], is_ca).unwrap(),
            urls: Urls::default(),
        };
        let own = csr(self);
        let issuer = IssuerIdentity {
            subject_der: own.subject_der(),
            subject_key_id: None,
            key: &self.key,
        };
        sign(&template, issuer).unwrap()
    }

    fn ca(&self, subject: &Self) -> ParsedCertificate {
        self.signs(subject, true, 90)
    }
}

/// Root, two intermediates and a leaf.
struct Line {
    root: ParsedCertificate,
    upper: ParsedCertificate,
    lower: ParsedCertificate,
    leaf: ParsedCertificate,
}

fn line() -> Line {
    let [root, upper, lower, leaf] = ["root", "upper", "lower", "leaf"].map(Party::new);
    Line {
        root: root.ca(&root),
        upper: root.ca(&upper),
        lower: upper.ca(&lower),
        leaf: lower.signs(&leaf, false, 90),
    }
}

fn chain(certificates: &[&ParsedCertificate], ca: &ParsedCertificate) -> Chain {
    Chain {
        certificates: certificates.iter().map(|&c| c.clone()).collect(),
        ca: Some(ca.clone()),
    }
}

fn built(leaf: &ParsedCertificate, bag: &[&ParsedCertificate]) -> Result<Chain, Error> {
    let bag: Vec<_> = bag.iter().map(|&c| c.clone()).collect();
    build_chain(leaf, &bag)
}

#[test]
fn the_root_is_left_out_of_the_chain_and_is_the_ca() {
    let Line {
        root,
        upper,
        lower,
        leaf,
    } = &line();
    let whole = chain(&[leaf, lower, upper], root);
    assert_eq!(built(leaf, &[lower, upper, root]), Ok(whole.clone()));
    assert_eq!(
        built(leaf, &[root, root, lower, leaf, upper, lower]),
        Ok(whole)
    );
    assert_eq!(
        built(lower, &[upper, root]),
        Ok(chain(&[lower, upper], root))
    );
    // A CA of one's own.
    assert_eq!(built(root, &[]), Ok(chain(&[root], root)));
    assert_eq!(built(root, &[root]), Ok(chain(&[root], root)));
}

#[test]
fn without_the_root_the_highest_that_is_known_is_the_ca() {
    let Line {
        upper, lower, leaf, ..
    } = &line();
    assert_eq!(
        built(leaf, &[upper, lower]),
        Ok(chain(&[leaf, lower, upper], upper))
    );
    assert_eq!(built(leaf, &[lower]), Ok(chain(&[leaf, lower], lower)));
    let alone = Chain {
        certificates: vec![leaf.clone()],
        ca: None,
    };
    assert_eq!(built(leaf, &[]), Ok(alone));
}

/// A root and an intermediate of RSA, made by OpenSSL with these options for the signatures.
fn rsa_line(bits: &str, options: &[&str]) -> [ParsedCertificate; 2] {
    let made = |name: &str, ca: &[&str]| {
        let key = TempFile::new(openssl::run(&["genrsa", bits], ""));
        let subject = format!("/CN={name}");
        let extension = ["-addext", "keyUsage=critical,keyCertSign"];
        let all = [
            "req", "-x509", "-new", "-days", "9", "-key", &key.0, "-subj", &subject,
        ];
        let text = openssl::run(&[&all[..], &extension, ca, options].concat(), "");
        let certificate = parse_chain(text.as_bytes()).unwrap().remove(0);
        (key, TempFile::new(&text), certificate)
    };
    let (key, file, root) = made("root", &[]);
    let (.., below) = made("below", &["-CA", &file.0, "-CAkey", &key.0]);
    [root, below]
}

#[test]
fn a_chain_may_be_signed_in_any_way_that_go_knows() {
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt"];
    let with = |hash, salt| [&[hash][..], &pss, &[salt]].concat();
    for (bits, options) in [
        ("2048", with("-sha256", "rsa_pss_saltlen:digest")),
        ("2048", with("-sha384", "rsa_pss_saltlen:digest")),
        ("2048", with("-sha512", "rsa_pss_saltlen:64")),
        ("1024", vec!["-sha256"]),
        ("1024", vec!["-sha512"]),
        ("2048", vec!["-sha384"]),
    ] {
        let [root, below] = &rsa_line(bits, &options);
        assert_eq!(
            built(below, &[root]),
            Ok(chain(&[below], root)),
            "{bits} {options:?}"
        );
        assert!(root.is_self_signed(), "{bits} {options:?}");
        let stranger = &rsa_line(bits, &options)[0];
        let stray = Err(Error::StrayCertificate("CN=root".into()));
        assert_eq!(built(below, &[stranger]), stray, "{bits} {options:?}");
    }
}

#[test]
fn a_signature_of_an_unknown_kind_is_named() {
    let pss = ["-sha256", "-sigopt", "rsa_padding_mode:pss"];
    let pss = |option| [&pss[..], &["-sigopt", option]].concat();
    for (bits, options, problem) in [
        (
            "2048",
            vec!["-sha1"],
            "unsupported signature algorithm SHA-1 with RSA",
        ),
        (
            "2048",
            vec!["-md5"],
            "unsupported signature algorithm MD5 with RSA",
        ),
        (
            "2048",
            pss("rsa_pss_saltlen:20"),
            "unsupported signature algorithm RSASSA-PSS with these parameters",
        ),
        (
            "2048",
            pss("rsa_mgf1_md:sha512"),
            "unsupported signature algorithm RSASSA-PSS with these parameters",
        ),
        (
            "1024",
            vec!["-sha384"],
            "signature algorithm SHA384WithRSA does not fit RSA 1024 keys",
        ),
    ] {
        let [root, below] = &rsa_line(bits, &options);
        let error = built(below, &[root]).unwrap_err().to_string();
        let expected = format!(
            "certificate chain cannot be checked: of \"CN=below\", which \"CN=root\" has issued by its name: {problem}"
        );
        assert_eq!(error, expected, "{bits} {options:?}");
    }
}

#[test]
fn a_gap_or_a_stranger_breaks_the_chain() {
    let Line {
        root,
        upper,
        lower,
        leaf,
    } = &line();
    let stray = |subject: &str| Err(Error::StrayCertificate(format!("CN={subject}")));
    assert_eq!(built(leaf, &[lower, root]), stray("root"));
    assert_eq!(built(leaf, &[upper]), stray("upper"));
    assert_eq!(built(root, &[upper]), stray("upper"), "it hangs below");
    let stranger = Party::new("stranger");
    let stranger = &stranger.ca(&stranger);
    assert_eq!(
        built(leaf, &[lower, upper, root, stranger]),
        stray("stranger")
    );
    let text = built(leaf, &[upper]).unwrap_err().to_string();
    assert_eq!(
        text,
        "certificate chain is malformed or broken: nothing leads to \"CN=upper\""
    );
}

#[test]
fn the_signature_counts_and_not_the_name_alone() {
    let (root, other, leaf) = (Party::new("root"), Party::new("root"), Party::new("leaf"));
    let (real, impostor) = (root.ca(&root), other.ca(&other));
    let leaf = root.signs(&leaf, false, 90);
    assert_eq!(built(&leaf, &[&real]), Ok(chain(&[&leaf], &real)));
    let refused = Err(Error::StrayCertificate("CN=root".into()));
    assert_eq!(built(&leaf, &[&impostor]), refused);
    assert_eq!(built(&leaf, &[&impostor, &real]), refused);
}

#[test]
fn what_may_not_sign_certificates_is_in_no_chain() {
    let [root, middle, leaf] = ["root", "middle", "leaf"].map(Party::new);
    let no_ca = root.signs(&middle, false, 90);
    assert!(!no_ca.may_issue());
    let leaf = middle.signs(&leaf, false, 90);
    assert_eq!(
        built(&leaf, &[&no_ca]),
        Err(Error::StrayCertificate("CN=middle".into()))
    );
    // It has signed itself, which does not make it a root.
    let alone = root.signs(&root, false, 90);
    assert!(!alone.is_self_signed());
    assert_eq!(built(&alone, &[]).unwrap().ca, None);
}

#[test]
fn of_several_ways_up_the_shortest_to_a_root_is_taken() {
    let [root, old, leaf] = ["root", "old", "leaf"].map(Party::new);
    let leaf = root.signs(&leaf, false, 90);
    let (own, cross, above) = (root.ca(&root), old.ca(&root), old.ca(&old));
    let short = chain(&[&leaf], &own);
    assert_eq!(built(&leaf, &[&own, &cross, &above]), Ok(short.clone()));
    assert_eq!(built(&leaf, &[&own, &cross]), Ok(short));
    let long = chain(&[&leaf, &cross], &above);
    assert_eq!(built(&leaf, &[&above, &cross]), Ok(long));
    assert_eq!(built(&leaf, &[&cross]), Ok(chain(&[&leaf, &cross], &cross)));
}

#[test]
fn two_cas_that_have_signed_each_other_are_no_endless_chain() {
    let [one, other, leaf] = ["one", "other", "leaf"].map(Party::new);
    let leaf = one.signs(&leaf, false, 90);
    let (by_other, by_one) = (other.ca(&one), one.ca(&other));
    let found = built(&leaf, &[&by_one, &by_other]);
    assert_eq!(found, Ok(chain(&[&leaf, &by_other, &by_one], &by_one)));
}

#[test]
fn of_two_alike_the_one_that_ends_later_is_taken() {
    let [root, middle, leaf] = ["root", "middle", "leaf"].map(Party::new);
    let leaf = middle.signs(&leaf, false, 90);
    let (short, long) = (
        root.signs(&middle, true, 30),
        root.signs(&middle, true, 365),
    );
    assert_eq!(
        built(&leaf, &[&short, &long]),
        Ok(chain(&[&leaf, &long], &long))
    );
    let (old, new) = (root.signs(&root, true, 30), root.signs(&root, true, 365));
    let found = built(&leaf, &[&short, &old, &new, &long]);
    assert_eq!(found, Ok(chain(&[&leaf, &long], &new)));
}

#[test]
fn a_bag_has_a_bottom() {
    let root = Party::new("root");
    let leaf = root.signs(&Party::new("leaf"), false, 90);
    let strays = (0..=MAX_CERTIFICATES).map(|_| root.ca(&root));
    let bag: Vec<_> = strays.collect();
    assert_eq!(
        build_chain(&leaf, &bag),
        Err(Error::TooManyCertificates(1000))
    );
    assert!(build_chain(&leaf, &bag[1..]).is_ok());
    // Duplicates do not count.
    let twice: Vec<_> = bag[1..].iter().chain(&bag[1..]).cloned().collect();
    assert!(build_chain(&leaf, &twice).is_ok());
}

proptest! {
    #[test]
    fn any_order_of_the_bag_gives_the_same_chain(
        order in Just((0..7).collect::<Vec<usize>>()).prop_shuffle(),
        doubled in prop::collection::vec(0..7_usize, 0..7),
        taken in 0..=7_usize,
    ) {
        let bag = &*BAG;
        let leaf = &bag[0];
        let mut shuffled: Vec<_> = order.iter().take(taken).map(|&at| bag[at].clone()).collect();
        let mut plain = shuffled.clone();
        plain.sort_by_key(ParsedCertificate::serial);
        shuffled.extend(doubled.iter().filter(|at| order.iter().take(taken).any(|o| o == *at)).map(|&at| bag[at].clone()));
        let found = build_chain(leaf, &shuffled);
        prop_assert_eq!(&found, &build_chain(leaf, &plain));
        if let Ok(chain) = found {
            prop_assert_eq!(&chain.certificates[0], leaf);
            check_chain_order(&chain.certificates).unwrap();
            let top = chain.certificates.last().unwrap();
            if let Some(ca) = &chain.ca {
                prop_assert!(top == ca || top.verify_issued_by(ca).is_ok());
            }
        }
        if taken == 7 {
            prop_assert!(build_chain(leaf, &shuffled).is_ok());
        }
    }
}

/// A leaf, two generations of its CA, that one's root, and a cross-signed root with its own.
static BAG: std::sync::LazyLock<Vec<ParsedCertificate>> = std::sync::LazyLock::new(|| {
    let [root, old, middle, leaf] = ["root", "old", "middle", "leaf"].map(Party::new);
    vec![
        middle.signs(&leaf, false, 90),
        root.signs(&middle, true, 30),
        root.signs(&middle, true, 60),
        root.ca(&root),
        old.ca(&root),
        old.ca(&old),
        old.signs(&root, true, 10),
    ]
});
