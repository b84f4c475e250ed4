//! Keystores, read back by OpenSSL and Java, and by what cert-manager wrote.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;

use super::super::keystore::pkcs12::{self, Profile};
use super::super::keystore::{Identity, Password, jks};
use super::super::{KeyEncoding, ParsedCertificate, PrivateKey, RequestParams, Subject};
use super::certificates::{authority, issued};
use super::openssl::{self, TempFile};
use super::{ALGORITHMS, key, p256, params, request};

const PROFILES: [(&str, Profile); 4] = [
    ("LegacyRC2", Profile::LegacyRc2),
    ("LegacyDES", Profile::LegacyDes),
    ("Modern2023", Profile::Modern2023),
    ("Modern2026", Profile::Modern2026),
];

/// Written by cert-manager 1.21.1.
const RECORDED: &str = include_str!("../../../tests/fixtures/cert-manager-1.21.1/ready.json");

/// The data of a recorded Secret.
fn recorded(name: &str) -> BTreeMap<String, Vec<u8>> {
    let all: Value = serde_json::from_str(RECORDED).unwrap();
    let items = all["items"].as_array().unwrap();
    let found = items
        .iter()
        .find(|o| o["kind"] == "Secret" && o["metadata"]["name"] == name);
    let data = found.unwrap()["data"].as_object().unwrap();
    data.iter()
        .map(|(k, v)| (k.clone(), STANDARD.decode(v.as_str().unwrap()).unwrap()))
        .collect()
}

/// A key, its chain of two, and two authorities.
struct Sample {
    key: PrivateKey,
    chain: Vec<ParsedCertificate>,
    authorities: Vec<ParsedCertificate>,
}

fn sample(key: PrivateKey) -> Sample {
    let (root_key, middle_key) = (p256(), p256());
    let root = authority(&root_key, "Root");
    let names = RequestParams {
        subject: Subject::from_common_name("Middle"),
        ..RequestParams::default()
    };
    let middle = issued(&request(&names, &middle_key), &root, &root_key, true);
    let leaf = issued(&request(&params(), &key), &middle, &middle_key, false);
    Sample {
        key,
        chain: vec![leaf, middle],
        authorities: vec![root, authority(&p256(), "Root")],
    }
}

impl Sample {
    fn identity(&self) -> Identity<'_> {
        Identity {
            key: &self.key,
            chain: &self.chain,
        }
    }

    fn pem(&self) -> String {
        self.key.to_pem(KeyEncoding::Pkcs8).unwrap().to_string()
    }
}

fn now() -> jiff::Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Standard output of a program that succeeds; `None` when there is no such program.
fn output(program: &str, arguments: &[&str], password: &str) -> Option<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("PASSWORD", password);
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{errors}"
    );
    Some(text)
}

/// Said where the test harness does not hide it.
fn skipped(program: &str) {
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED in part (needs {program}): {test}"
    );
}

/// What a JDK says of a keystore. Without one this is said, and the rest of the test stands.
fn keytool(kind: &str, store: &[u8], password: &str, more: &[&str]) -> Option<String> {
    let file = TempFile::new(store);
    let mut arguments = vec!["-list", "-storetype", kind, "-storepass:env", "PASSWORD"];
    arguments.extend(["-keystore", &file.0]);
    arguments.extend(more);
    let said = output("keytool", &arguments, password);
    if said.is_none() {
        skipped("keytool");
    }
    said
}

/// The PEM blocks of a type.
fn blocks<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    text.split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split_once(&end).map(|(body, _)| body.trim()))
        .collect()
}

fn body(pem: &str, label: &str) -> String {
    blocks(pem, label)[0].to_owned()
}

/// OpenSSL's view of a store. Old releases do not know PBMAC1; the contents are read nevertheless.
fn read(store: &[u8], profile: Profile, password: &str) -> String {
    let file = TempFile::new(store);
    let mut arguments = vec![
        "pkcs12",
        "-in",
        &file.0,
        "-nodes",
        "-passin",
        "env:PASSWORD",
    ];
    match profile {
        Profile::LegacyRc2 => arguments.push("-legacy"),
        Profile::Modern2026 => arguments.push("-nomacver"),
        _ => {}
    }
    output("openssl", &arguments, password).expect("these tests need the program openssl")
}

#[test]
fn openssl_reads_each_profile_and_each_key() {
    for algorithm in ALGORITHMS {
        let sample = sample(key(algorithm));
        for (name, profile) in PROFILES {
            let password = Password::new("changeit");
            let store =
                pkcs12::keystore(profile, sample.identity(), &sample.authorities, &password);
            let text = read(&store.unwrap(), profile, "changeit");
            assert_eq!(
                blocks(&text, "PRIVATE KEY"),
                [body(&sample.pem(), "PRIVATE KEY")],
                "{name} {algorithm}"
            );
            let all = sample.chain.iter().chain(&sample.authorities);
            let all: Vec<_> = all.map(|c| body(&c.to_pem(), "CERTIFICATE")).collect();
            assert_eq!(blocks(&text, "CERTIFICATE"), all, "{name} {algorithm}");
            // The key and its certificate are tied together.
            assert_eq!(text.matches("localKeyID").count(), 2);

            let store = pkcs12::truststore(profile, &sample.authorities, &password).unwrap();
            let text = read(&store, profile, "changeit");
            let trusted: Vec<_> = sample
                .authorities
                .iter()
                .map(|c| body(&c.to_pem(), "CERTIFICATE"))
                .collect();
            assert_eq!(blocks(&text, "CERTIFICATE"), trusted, "{name} {algorithm}");
            assert!(text.contains("friendlyName: CN=Root (2)"), "{text}");
        }
    }
}

#[test]
fn the_ciphers_are_those_of_the_profile() {
    let sample = sample(p256());
    let password = Password::new("changeit");
    for (profile, wanted) in [
        (
            Profile::LegacyRc2,
            &[
                "MAC: sha1, Iteration 1",
                "pbeWithSHA1And40BitRC2-CBC, Iteration 2048",
                "Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048",
            ][..],
        ),
        (
            Profile::LegacyDes,
            &[
                "MAC: sha1, Iteration 1",
                "Encrypted data: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048",
                "Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048",
            ],
        ),
        (
            Profile::Modern2023,
            &[
                "MAC: sha256, Iteration 2048",
                "Encrypted data: PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256",
                "Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 2048, PRF hmacWithSHA256",
            ],
        ),
    ] {
        let store = pkcs12::keystore(profile, sample.identity(), &[], &password).unwrap();
        let file = TempFile::new(&store);
        let said = openssl::run(
            &[
                "pkcs12",
                "-legacy",
                "-in",
                &file.0,
                "-noout",
                "-info",
                "-passin",
                "pass:changeit",
            ],
            "",
        );
        for line in wanted {
            assert!(said.contains(line), "{profile:?}: {said}");
        }
    }
}

#[test]
fn java_reads_jks_and_pkcs12() {
    let sample = sample(p256());
    for password in ["changeit", "pässwörd €", "kürzer 🔑"] {
        let secret = Password::new(password);
        let store = jks::encode(
            Some(("Web", sample.identity())),
            &sample.authorities,
            &secret,
            now(),
        )
        .unwrap();
        if let Some(said) = keytool("JKS", &store, password, &["-v"]) {
            for line in [
                "Alias name: web",
                "Certificate chain length: 2",
                "Alias name: ca\n",
                "Alias name: ca-1",
            ] {
                assert!(said.contains(line), "{line}: {said}");
            }
            assert_eq!(said.matches("Entry type: PrivateKeyEntry").count(), 1);
            assert_eq!(said.matches("Entry type: trustedCertEntry").count(), 2);
        }
        let store = jks::encode(None, &sample.authorities, &secret, now()).unwrap();
        keytool("JKS", &store, password, &["-alias", "ca-1"]);
    }
    let secret = Password::new("changeit");
    // No JDK of today reads PBMAC1.
    for (name, profile) in PROFILES.into_iter().take(3) {
        let store = pkcs12::keystore(profile, sample.identity(), &[], &secret).unwrap();
        if let Some(said) = keytool("PKCS12", &store, "changeit", &["-v"]) {
            assert!(
                said.contains("Certificate chain length: 2"),
                "{name}: {said}"
            );
        }
        let store = pkcs12::truststore(profile, &sample.authorities, &secret).unwrap();
        if let Some(said) = keytool("PKCS12", &store, "changeit", &[]) {
            assert_eq!(
                said.matches("trustedCertEntry").count(),
                2,
                "{name}: {said}"
            );
        }
    }
}

#[test]
fn java_gets_the_private_key_out_of_a_jks() {
    for algorithm in ALGORITHMS {
        let sample = sample(key(algorithm));
        let password = Password::new("changeit");
        let identity = Some(("web", sample.identity()));
        let store = jks::encode(identity, &[], &password, now()).unwrap();
        let (from, to) = (TempFile::new(&store), TempFile::new(""));
        std::fs::remove_file(&to.0).unwrap();
        let arguments = [
            "-importkeystore",
            "-srckeystore",
            &from.0,
            "-srcstoretype",
            "JKS",
            "-srcstorepass:env",
            "PASSWORD",
            "-destkeystore",
            &to.0,
            "-deststoretype",
            "PKCS12",
            "-deststorepass:env",
            "PASSWORD",
        ];
        if output("keytool", &arguments, "changeit").is_none() {
            skipped("keytool");
            return;
        }
        let text = read(
            &std::fs::read(&to.0).unwrap(),
            Profile::Modern2023,
            "changeit",
        );
        assert_eq!(
            blocks(&text, "PRIVATE KEY"),
            [body(&sample.pem(), "PRIVATE KEY")],
            "{algorithm}"
        );
    }
}

/// An implementation of the protection of private keys that is not ours, by hand with OpenSSL's SHA-1,
/// where there is no Java.
#[test]
fn the_private_key_comes_out_of_a_jks_by_hand() {
    let sample = sample(p256());
    let identity = Some(("w", sample.identity()));
    let store = jks::encode(identity, &[], &Password::new("a"), now()).unwrap();
    // Header, tag, alias, date, length; then a SEQUENCE of the algorithm and an OCTET STRING.
    let length = usize::try_from(u32::from_be_bytes(store[27..31].try_into().unwrap())).unwrap();
    let info = &store[31..31 + length];
    let hidden = &info[info.len() - (40 + sample.key.pkcs8_der().unwrap().len())..];
    let sha1 = |bytes: &[u8]| {
        let said = openssl::run(&["dgst", "-sha1", "-r"], bytes);
        let hex = said.split(' ').next().unwrap().to_owned();
        (0..20)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect::<Vec<u8>>()
    };
    let (mut stream, mut plain) = (hidden[..20].to_vec(), vec![]);
    for part in hidden[20..hidden.len() - 20].chunks(20) {
        stream = sha1(&[&[0, b'a'], stream.as_slice()].concat());
        plain.extend(part.iter().zip(&stream).map(|(a, b)| a ^ b));
    }
    assert_eq!(plain, *sample.key.pkcs8_der().unwrap());
    assert_eq!(
        sha1(&[&[0, b'a'], plain.as_slice()].concat()),
        hidden[hidden.len() - 20..]
    );
    let whole = [b"\0aMighty Aphrodite", &store[..store.len() - 20]].concat();
    assert_eq!(sha1(&whole), store[store.len() - 20..]);
}

#[test]
fn what_cert_manager_wrote_opens_with_its_password_only() {
    let outputs = recorded("outputs");
    let secret = String::from_utf8(recorded("keystore-password")["password"].clone()).unwrap();
    let (right, wrong) = (Password::new(&secret), Password::new("changed"));
    for name in ["keystore.jks", "truststore.jks"] {
        assert!(jks::opens(&outputs[name], &right), "{name}");
        assert!(!jks::opens(&outputs[name], &wrong), "{name}");
    }
    assert_eq!(jks::alias(&outputs["keystore.jks"]).as_deref(), Some("web"));
    assert_eq!(jks::alias(&outputs["truststore.jks"]), None);
    for (secret, profile, right) in [
        (outputs, Profile::Modern2023, right),
        (
            recorded("pkcs12-2026"),
            Profile::Modern2026,
            Password::new("changeit"),
        ),
        (
            recorded("pkcs12-legacy"),
            Profile::LegacyRc2,
            Password::new("changeit"),
        ),
    ] {
        for name in ["keystore.p12", "truststore.p12"] {
            assert!(
                pkcs12::opens(&secret[name], profile, &right),
                "{profile:?} {name}"
            );
            assert!(
                !pkcs12::opens(&secret[name], profile, &wrong),
                "{profile:?} {name}"
            );
            for (_, other) in PROFILES.into_iter().filter(|(_, p)| *p != profile) {
                assert!(
                    !pkcs12::opens(&secret[name], other, &right),
                    "{other:?} {name}"
                );
            }
        }
    }
}

/// As cert-manager does: Java's keystores take each byte for a character, and PKCS#12 what Go makes of such bytes.
#[test]
fn a_password_that_is_no_text_is_taken_byte_by_byte() {
    let bytes = b"a\xe2\x82\xffz";
    let password = Password::of_bytes(bytes);
    let latin: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let store = jks::encode(None, &one_authority(), &password, now()).unwrap();
    assert!(jks::opens(&store, &Password::new(&latin)));
    assert!(jks::opens(&store, &password));
    assert!(!jks::opens(&store, &Password::of_bytes(b"a\xe2\x82\xfez")));
    let as_go = Password::new("a\u{fffd}\u{fffd}\u{fffd}z");
    for (_, profile) in PROFILES {
        let store = pkcs12::truststore(profile, &one_authority(), &password).unwrap();
        assert!(pkcs12::opens(&store, profile, &as_go), "{profile:?}");
    }
    let text = "pässwörd";
    assert!(Password::of_bytes(text.as_bytes()) == Password::new(text));
    assert_eq!(format!("{password:?}"), "Password([hidden])");
}

/// cert-manager takes each byte of a password for a character.
#[test]
fn a_jks_with_a_password_beyond_ascii_is_taken_over_too() {
    let bytes: String = "pässwörd".bytes().map(char::from).collect();
    let store = jks::encode(None, &one_authority(), &Password::new(&bytes), now()).unwrap();
    assert!(jks::opens(&store, &Password::new("pässwörd")));
    assert!(!jks::opens(&store, &Password::new("passwort")));
}

#[test]
fn a_password_is_not_shown() {
    assert_eq!(
        format!("{:?}", Password::new("geheim")),
        "Password([hidden])"
    );
}

#[test]
fn an_alias_of_any_text_comes_back() {
    let sample = sample(p256());
    for alias in [
        "web",
        "",
        "Großbuchstaben",
        "nul \0 in it",
        "🔑",
        "\u{7ff}\u{800}",
    ] {
        let identity = Some((alias, sample.identity()));
        let store = jks::encode(identity, &[], &Password::new("a"), now()).unwrap();
        let found = jks::alias(&store).unwrap();
        assert!(jks::is_alias(&found, alias), "{alias:?} {found:?}");
    }
    let identity = Some(("x".repeat(65536), sample.identity()));
    let identity = identity
        .as_ref()
        .map(|(alias, identity)| (alias.as_str(), *identity));
    assert!(jks::encode(identity, &[], &Password::new("a"), now()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Of any script and length, also none: each store opens with its own password and no other.
    #[test]
    fn any_password_opens_its_store(password in "\\PC{0,12}|[a-z]{0,300}|[\u{10000}-\u{10ffff}]{1,40}", other in "\\PC{0,12}") {
        let authorities = &one_authority();
        let (right, wrong) = (Password::new(&password), Password::new(&other));
        let store = jks::encode(None, authorities, &right, now()).unwrap();
        prop_assert!(jks::opens(&store, &right));
        prop_assert_eq!(jks::opens(&store, &wrong), password == other);
        for (_, profile) in PROFILES {
            let store = pkcs12::truststore(profile, authorities, &right).unwrap();
            prop_assert!(pkcs12::opens(&store, profile, &right));
            prop_assert_eq!(pkcs12::opens(&store, profile, &wrong), password == other);
        }
    }

    /// Stores come from Secrets that anybody may have written.
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..2000_usize, flip in 0..2000_usize) {
        let password = Password::new("a");
        let mut broken = pkcs12::truststore(Profile::Modern2026, &one_authority(), &password).unwrap();
        let mut java = jks::encode(None, &one_authority(), &password, now()).unwrap();
        for store in [&mut broken, &mut java] {
            if let Some(byte) = store.get_mut(flip) { *byte ^= 0x55; }
            store.truncate(cut);
        }
        for store in [&broken, &java, &bytes] {
            jks::opens(store, &password);
            jks::alias(store);
            pkcs12::opens(store, Profile::Modern2026, &password);
        }
    }
}

fn one_authority() -> Vec<ParsedCertificate> {
    static ONE: std::sync::LazyLock<ParsedCertificate> =
        std::sync::LazyLock::new(|| authority(&p256(), "Root"));
    vec![ONE.clone()]
}

#[test]
fn openssl_opens_stores_with_passwords_of_any_script() {
    let authorities = one_authority();
    for password in ["", "pässwörd €", "пароль", "🔑🔑", &"x".repeat(1000)] {
        for (_, profile) in PROFILES {
            let store = pkcs12::truststore(profile, &authorities, &Password::new(password));
            let text = read(&store.unwrap(), profile, password);
            assert_eq!(
                blocks(&text, "CERTIFICATE").len(),
                1,
                "{password} {profile:?}"
            );
        }
    }
}

/// Reads PBMAC1 where something can: OpenSSL from 3.4 on, or Python's `cryptography`.
#[test]
fn an_independent_reader_checks_pbmac1() {
    let sample = sample(p256());
    let password = Password::new("pässwörd 🔑");
    let store = pkcs12::keystore(Profile::Modern2026, sample.identity(), &[], &password).unwrap();
    let file = TempFile::new(&store);
    let script = "import os, sys; from cryptography.hazmat.primitives.serialization import pkcs12\n\
        store = open(sys.argv[1], 'rb').read()\n\
        key, leaf, more = pkcs12.load_key_and_certificates(store, os.environ['PASSWORD'].encode())\n\
        assert key is not None and leaf is not None and len(more) == 1\n\
        try: pkcs12.load_key_and_certificates(store, b'wrong')\n\
        except ValueError: pass\n\
        else: sys.exit('a wrong password opens it')";
    let newer = Command::new("openssl")
        .args(["pkcs12", "-help"])
        .output()
        .unwrap();
    let newer = String::from_utf8_lossy(&newer.stderr).contains("pbmac1");
    let python = Command::new("python3")
        .args([
            "-c",
            "import cryptography; assert int(cryptography.__version__.split('.')[0]) >= 46",
        ])
        .output();
    if newer {
        let arguments = [
            "pkcs12",
            "-in",
            &file.0,
            "-nodes",
            "-passin",
            "env:PASSWORD",
        ];
        output("openssl", &arguments, "pässwörd 🔑").unwrap();
    } else if python.is_ok_and(|o| o.status.success()) {
        output("python3", &["-c", script, &file.0], "pässwörd 🔑").unwrap();
    } else {
        skipped("OpenSSL 3.4 or Python's cryptography 46");
    }
}
