//! Keys, requests and certificates made by openssl: what users and other issuers bring.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::Namespace;

/// Run a shell line in a directory of the namespace's own, `$1` and so on being `arguments`.
pub fn shell(namespace: &Namespace<'_>, script: &str, arguments: &[&str]) -> Result<String> {
    let lab = &namespace.cluster.lab;
    let dir = lab.dir().join("openssl").join(&namespace.name);
    std::fs::create_dir_all(&dir)?;
    let mut command = lab.command("sh");
    let script = format!("set -e; cd \"$0\"; {script}");
    command.args(["-c", &script]).arg(&dir).args(arguments);
    lab::output(&mut command)
}

/// A private key and a CSR for a name, in PEM.
pub fn key_and_request(namespace: &Namespace<'_>, host: &str) -> Result<(String, String)> {
    let make = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem \
                -subj / -addext \"subjectAltName=critical,DNS:$1\" 2>/dev/null; cat key.pem; echo ===; cat csr.pem";
    let both = shell(namespace, make, &[host])?;
    let (key, request) = both.split_once("===\n").context("both")?;
    Ok((key.to_owned(), request.to_owned()))
}

/// A CertificateRequest with this CSR, for the Issuer `issuer`.
pub fn request(name: &str, csr: &str, issuer: &str, key_secret: Option<&str>) -> String {
    let annotations = key_secret.map_or(String::new(), |secret| {
        format!(", annotations: {{cert-manager.io/private-key-secret-name: {secret}}}")
    });
    format!(
        "{{apiVersion: cert-manager.io/v1, kind: CertificateRequest, metadata: {{name: {name}{annotations}}}, \
         spec: {{request: {}, issuerRef: {{name: {issuer}}}}}}}",
        STANDARD.encode(csr)
    )
}

/// Sign the CSR of a request with a CA of this namespace's own; certificate and CA in base64.
pub fn sign(namespace: &Namespace<'_>, name: &str) -> Result<(String, String)> {
    let object = namespace.get("certificaterequest", name)?;
    let csr = object["spec"]["request"].as_str().context("a CSR")?;
    let make = "[ -e ca.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
                -keyout ca.key -out ca.pem -subj /CN=outside 2>/dev/null; \
                echo \"$1\" | base64 -d >asked.pem; \
                openssl x509 -req -in asked.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
                -copy_extensions copy 2>/dev/null; echo ===; cat ca.pem";
    let both = shell(namespace, make, &[csr])?;
    let (certificate, ca) = both.split_once("===\n").context("both")?;
    Ok((STANDARD.encode(certificate), STANDARD.encode(ca)))
}
