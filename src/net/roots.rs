//! Who vouches for servers, where nothing else is said.

use std::sync::OnceLock;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// As OpenSSL and Go have it: a file of certificates, PEM.
const FILE: &str = "SSL_CERT_FILE";

static MORE: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();

/// The public certificate authorities, and those of the file that `SSL_CERT_FILE` names: of a company's own resolver, or
/// of its proxy. A file that cannot be read is warned of, once.
pub fn public_roots() -> RootCertStore {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    roots.add_parsable_certificates(MORE.get_or_init(of_environment).iter().cloned());
    roots
}

fn of_environment() -> Vec<CertificateDer<'static>> {
    let Some(path) = std::env::var_os(FILE) else {
        return vec![];
    };
    let path = std::path::PathBuf::from(path);
    let read = std::fs::read(&path).map(|pem| of_pem(&pem));
    let found = read.as_deref().map_or(0, <[_]>::len);
    if found == 0 {
        let error = read.as_ref().err().map(ToString::to_string);
        let error = error.unwrap_or_else(|| "it has no certificate".into());
        tracing::warn!(path = %path.display(), error, "{FILE} names a file that is of no use: only the public authorities are trusted");
    }
    read.unwrap_or_default()
}

fn of_pem(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .collect()
}
