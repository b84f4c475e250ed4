//! Certificates of the lab's own parts, made by openssl in the `pki` directory.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use crate::{begin_at, output};

/// Where they are made, and at what time if not now.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) dir: &'a Path,
    /// As [`crate::Options::clock`].
    pub(crate) clock: Option<&'a str>,
}

/// A self-signed authority.
pub(crate) fn authority(pki: Place<'_>, name: &str) -> Result<()> {
    request(pki, name, &format!("/CN={name}"), &[])
}

/// A certificate for both client and server use. `names` is a subjectAltName, and may be empty.
pub(crate) fn certificate(
    pki: Place<'_>,
    authority: &str,
    name: &str,
    subject: &str,
    names: &str,
) -> Result<()> {
    // An empty configuration: the default one would add its own extensions to ours.
    fs::write(
        pki.dir.join("openssl.cnf"),
        "[req]\ndistinguished_name = dn\n[dn]\n",
    )?;
    let issuer = [format!("{authority}.crt"), format!("{authority}.key")];
    let names = format!("subjectAltName={names}");
    let mut arguments = vec![
        "-config",
        "openssl.cnf",
        "-CA",
        &issuer[0],
        "-CAkey",
        &issuer[1],
    ];
    arguments.extend([
        "-addext",
        "basicConstraints=CA:FALSE",
        "-addext",
        "keyUsage=digitalSignature",
    ]);
    arguments.extend(["-addext", "extendedKeyUsage=serverAuth,clientAuth"]);
    if names != "subjectAltName=" {
        arguments.extend(["-addext", &names]);
    }
    request(pki, name, subject, &arguments)
}

/// An authority that this one has signed.
pub(crate) fn intermediate(pki: Place<'_>, authority: &str, name: &str) -> Result<()> {
    let [certificate, key] = ["crt", "key"].map(|end| format!("{authority}.{end}"));
    let mut arguments = vec![
        "-config",
        "openssl.cnf",
        "-CA",
        &certificate,
        "-CAkey",
        &key,
    ];
    for extension in [
        "basicConstraints=critical,CA:TRUE,pathlen:0",
        "keyUsage=critical,digitalSignature,keyCertSign,cRLSign",
        "subjectKeyIdentifier=hash",
        "authorityKeyIdentifier=keyid",
    ] {
        arguments.extend(["-addext", extension]);
    }
    request(pki, name, &format!("/CN={name}"), &arguments)
}

/// The key pair that signs the tokens of service accounts.
pub(crate) fn token_key(pki: Place<'_>) -> Result<()> {
    output(openssl(pki).args([
        "ecparam",
        "-name",
        "prime256v1",
        "-genkey",
        "-noout",
        "-out",
        "sa.key",
    ]))?;
    output(openssl(pki).args(["ec", "-in", "sa.key", "-pubout", "-out", "sa.pub"]))?;
    Ok(())
}

fn request(pki: Place<'_>, name: &str, subject: &str, arguments: &[&str]) -> Result<()> {
    let files = [format!("{name}.key"), format!("{name}.crt")];
    let mut command = openssl(pki);
    command.args([
        "req",
        "-x509",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    command
        .args([
            "-days", "3650", "-subj", subject, "-keyout", &files[0], "-out", &files[1],
        ])
        .args(arguments);
    output(&mut command)?;
    Ok(())
}

fn openssl(pki: Place<'_>) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(pki.dir);
    if let Some(clock) = pki.clock {
        begin_at(&mut command, clock);
    }
    command
}
