//! Which server certificates are believed.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::Error;
use crate::net::{self, AnyServer};
use crate::pki;

pub(super) fn config(
    ca_bundle: Option<&[u8]>,
    skip_tls_verify: bool,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| bundle_error("no TLS version"))?;
    if skip_tls_verify {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            .with_no_client_auth());
    }
    let roots = Arc::new(roots(ca_bundle)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|_| bundle_error("no usable certificate"))?;
    Ok(builder.with_webpki_verifier(verifier).with_no_client_auth())
}

fn bundle_error(problem: &str) -> Error {
    Error::Config {
        field: "caBundle",
        problem: problem.to_owned(),
    }
}

/// The certificates that vouch for a server: those of a bundle, PEM, replace the public roots.
pub fn roots(ca_bundle: Option<&[u8]>) -> Result<RootCertStore, Error> {
    let Some(bundle) = ca_bundle else {
        return Ok(net::public_roots());
    };
    let certificates =
        pki::parse_bundle(bundle).map_err(|error| bundle_error(&error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        certificates
            .iter()
            .map(|certificate| CertificateDer::from(certificate.der().to_vec())),
    );
    if roots.is_empty() {
        return Err(bundle_error("no usable certificate"));
    }
    Ok(roots)
}
