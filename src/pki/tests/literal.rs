//! `spec.literalSubject` against what cert-manager 1.21.1's parser (go-ldap 3.4.13) and Go 1.26 make of it.

use proptest::prelude::*;

use super::super::{DistinguishedName, Error};
use super::{from_hex, openssl};

/// Text, and the DER in hex that Go gave for it.
const GO: [(&str, &str); 29] = [
    (
        "CN=literal,OU=b,OU=a,O=Shop\\, Ltd,DC=example,DC=com",
        "306c31133011060a0992268993f22c6401191303636f6d31173015060a0992268993f22c64011913076578616d706c6531123010060355040a130953686f702c204c7464310a3008060355040b130161310a3008060355040b1301623110300e060355040313076c69746572616c",
    ),
    ("CN=a", "300c310a30080603550403130161"),
    (
        "CN=a+UID=b,O=c",
        "3029310a3008060355040a130163311b30080603550403130161300f060a0992268993f22c640101130162",
    ),
    (
        "UID=b+CN=a,O=c",
        "3029310a3008060355040a130163311b30080603550403130161300f060a0992268993f22c640101130162",
    ),
    (
        "CN=a+CN=a",
        "301631143008060355040313016130080603550403130161",
    ),
    (
        "OU=z+OU=aa+O=m,C=DE",
        "302e310b3009060355040613024445311f3008060355040a13016d3008060355040b13017a3009060355040b13026161",
    ),
    ("CN=Jürgen", "30123110300e06035504030c074ac3bc7267656e"),
    (
        "CN=J\\c3\\bcrgen",
        "30123110300e06035504030c074ac3bc7267656e",
    ),
    ("CN=a*b", "300e310c300a06035504030c03612a62"),
    ("CN=x & y", "3010310e300c06035504030c057820262079"),
    (
        "1.2.840.113549.1.9.1=a@example.com,CN=b",
        "302a310a30080603550403130162311c301a06092a864886f70d0109010c0d61406578616d706c652e636f6d",
    ),
    ("CN=#0c0141", "300c310a30080603550403130141"),
    (
        "CN=#1303414243,2.5.4.42=#0C026869",
        "301b310b3009060355042a13026869310c300a06035504031303414243",
    ),
    (
        "CN= a b ,  O =  c ",
        "301a310a3008060355040a130163310c300a06035504031303612062",
    ),
    ("CN=a\\ ", "300d310b3009060355040313026120"),
    ("CN=\\ a", "300d310b3009060355040313022061"),
    ("CN=\\#a", "300d310b300906035504030c022361"),
    ("CN= #0c0141", "30123110300e06035504030c0723306330313431"),
    ("CN=a=b", "300e310c300a06035504031303613d62"),
    (
        "CN=a\\=b\\+c\\;d\\<e\\>f\\\"g\\\\h",
        "301a3118301606035504030c0f613d622b633b643c653e6622675c68",
    ),
    (
        "CN=a;O=b",
        "3018310a3008060355040a130162310a30080603550403130161",
    ),
    ("CN=", "300b3109300706035504031300"),
    ("", "3000"),
    ("   ", "3000"),
    (
        "STREET=Main St. 1,ST=BE,L=Berlin,SERIALNUMBER=42,C=DE,UID=u",
        "30603111300f060a0992268993f22c640101130175310b3009060355040613024445310b3009060355040513023432310f300d060355040713064265726c696e310b3009060355040813024245311330110603550409130a4d61696e2053742e2031",
    ),
    ("CN=a\\0ab", "300e310c300a06035504030c03610a62"),
    ("CN=\\e4\\bd\\a0", "300e310c300a06035504030c03e4bda0"),
    ("CN=a'b", "300e310c300a06035504031303612762"),
    ("CN=a@b", "300e310c300a06035504030c03614062"),
];

fn parse(text: &str) -> DistinguishedName {
    DistinguishedName::from_rfc4514(text).unwrap()
}

#[test]
fn names_are_those_of_go_byte_for_byte() {
    for (text, der) in GO {
        assert_eq!(parse(text).as_der(), from_hex(der), "{text:?}");
    }
}

#[test]
fn what_go_refuses_is_refused_and_the_fault_is_named() {
    for text in [
        "CN=a,",
        "cn=a",
        "Foo=a",
        "CN",
        "CN=a,b",
        "=a",
        "CN=a\\",
        "CN=a\\zz",
        "CN=\\ff",
        "CN=#zz",
        "CN=#0c",
        "CN=#0c05",
        "E=a@b",
        "CN=a,,O=b",
        "+CN=a",
    ] {
        let Err(Error::InvalidValue { field, problem }) = DistinguishedName::from_rfc4514(text)
        else {
            panic!("{text:?} was accepted")
        };
        assert_eq!(field, "literalSubject", "{text:?}");
        assert!(problem.len() > 10, "{problem}");
    }
    let says = |text, word| {
        let error = DistinguishedName::from_rfc4514(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{text:?}: {error}");
    };
    says("Foo=a", "\"Foo\"");
    says("CN=Shop, Ltd", "\" Ltd\" has no key");
    says("CN=a\\zz", "backslash");
    says("CN=\\ff", "not UTF-8");
    says("CN=#0c05", "not one BER value");
    says("CN=#zz", "not hexadecimal");
    // Two values in one.
    says("CN=#0c01410c0142", "not one BER value");
}

#[test]
fn order_repetition_and_sets_as_openssl_reads_them() {
    let name = parse("CN=app,OU=b+UID=7,OU=a,O=Shop\\, Ltd,DC=example,DC=com");
    let text = openssl::run(&["asn1parse", "-inform", "DER"], name.as_der());
    let values: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("PRINTABLESTRING"))
        .map(|line| line.rsplit(':').next().unwrap())
        .collect();
    assert_eq!(
        values,
        ["com", "example", "Shop, Ltd", "a", "b", "7", "app"]
    );
}

#[test]
fn the_last_common_name_of_the_encoding_counts() {
    assert_eq!(
        parse("CN=first,CN=second").common_name().as_deref(),
        Some("first")
    );
    assert_eq!(parse("O=Shop").common_name(), None);
    assert!(parse("  ").is_empty());
}

fn escaped(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' => char::from(byte).to_string(),
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'=' | b' ' | b'#' => {
                format!("\\{}", char::from(byte))
            }
            other => format!("\\{other:02X}"),
        })
        .collect()
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = DistinguishedName::from_rfc4514(&text);
    }

    #[test]
    fn any_text_of_the_grammar_is_read_or_refused(text in "([A-Z0-9.]{1,3}|CN|OU)=[#\\\\0-9a-f ,;+=\"]{0,12}(,|[+]O=x|)") {
        if let Ok(name) = DistinguishedName::from_rfc4514(&text) {
            prop_assert!(name.to_string().len() < 200);
        }
    }

    #[test]
    fn whatever_is_escaped_comes_out(values in prop::collection::vec(any::<String>(), 1..5)) {
        let text: Vec<_> = values.iter().map(|value| format!("O={}", escaped(value))).collect();
        let name = parse(&text.join(","));
        let read = name.to_subject().organizations;
        prop_assert_eq!(read, values.into_iter().rev().collect::<Vec<_>>());
    }
}
