//! The keys that Boulder issues with, and their certificates: two roots, and two intermediates of each kind of key.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use crate::output;

/// Extensions that Boulder, or the linter in it, asks for.
const OF_A_ROOT: [&str; 3] = [
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,keyCertSign,cRLSign",
    "subjectKeyIdentifier=hash",
];
const OF_AN_INTERMEDIATE: [&str; 6] = [
    "basicConstraints=critical,CA:TRUE,pathlen:0",
    "keyUsage=critical,digitalSignature,keyCertSign,cRLSign",
    "extendedKeyUsage=serverAuth",
    "subjectKeyIdentifier=hash",
    "authorityKeyIdentifier=keyid",
    "certificatePolicies=2.23.140.1.2.1",
];

/// The intermediates: name, kind of key. Those of ECDSA are signed by the RSA root too, which makes alternate chains.
const INTERMEDIATES: [(&str, &str); 4] = [
    ("int-rsa-a", "rsa"),
    ("int-rsa-b", "rsa"),
    ("int-ecdsa-a", "ecdsa"),
    ("int-ecdsa-b", "ecdsa"),
];

/// Makes them, as `NAME.key.pem` and `NAME.cert.pem`.
pub(super) fn create(dir: &Path) -> Result<()> {
    fs::create_dir(dir)?;
    // An empty configuration: the default one would add its own extensions to ours.
    fs::write(
        dir.join("openssl.cnf"),
        "[req]\ndistinguished_name = dn\n[dn]\n",
    )?;
    for kind in ["rsa", "ecdsa"] {
        let name = format!("root-{kind}");
        key(dir, &name, kind)?;
        certificate(dir, &name, &name, None)?;
    }
    for (name, kind) in INTERMEDIATES {
        key(dir, name, kind)?;
        certificate(dir, name, name, Some(kind))?;
        if kind == "ecdsa" {
            certificate(dir, &format!("{name}-cross"), name, Some("rsa"))?;
        }
    }
    Ok(())
}

fn key(dir: &Path, name: &str, kind: &str) -> Result<()> {
    let (algorithm, option) = match kind {
        "rsa" => ("RSA", "rsa_keygen_bits:2048"),
        _ => ("EC", "ec_paramgen_curve:P-384"),
    };
    let file = format!("{name}.key.pem");
    output(openssl(dir).args([
        "genpkey",
        "-algorithm",
        algorithm,
        "-pkeyopt",
        option,
        "-out",
        &file,
    ]))?;
    Ok(())
}

/// The certificate `name` of the key `key`, signed by the root of a kind, or by itself.
fn certificate(dir: &Path, name: &str, key: &str, root: Option<&str>) -> Result<()> {
    let subject = format!("/C=US/O=good guys/CN={}", key.replace('-', " "));
    let mut command = openssl(dir);
    command.args([
        "req",
        "-x509",
        "-new",
        "-config",
        "openssl.cnf",
        "-days",
        "3650",
        "-subj",
        &subject,
    ]);
    command.arg("-key").arg(format!("{key}.key.pem"));
    command.arg("-out").arg(format!("{name}.cert.pem"));
    match root {
        None => {
            command.args(
                OF_A_ROOT
                    .iter()
                    .flat_map(|extension| ["-addext", extension]),
            );
        }
        Some(root) => {
            command.arg("-CA").arg(format!("root-{root}.cert.pem"));
            command.arg("-CAkey").arg(format!("root-{root}.key.pem"));
            command.args(
                OF_AN_INTERMEDIATE
                    .iter()
                    .flat_map(|extension| ["-addext", extension]),
            );
            // Nobody fetches them; the linter wants them.
            for address in [
                format!("crlDistributionPoints=URI:http://{root}.example.com/crl"),
                format!("authorityInfoAccess=caIssuers;URI:http://{root}.example.com/cert"),
            ] {
                command.args(["-addext", &address]);
            }
        }
    }
    output(&mut command)?;
    Ok(())
}

fn openssl(dir: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(dir);
    command
}
