//! Which server certificates are believed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate as ParsedServerCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Error;
use crate::net::{self, AnyServer};
use crate::pki::{self, ParsedCertificate};

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
    let authorities = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|_| bundle_error("no usable certificate"))?;
    let Some(bundle) = ca_bundle else {
        let builder = builder.with_webpki_verifier(authorities);
        return Ok(builder.with_no_client_auth());
    };
    let verifier = Bundle {
        certificates: certificates(bundle)?,
        authorities,
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// A bundle vouches for what its certificates have signed, and for each of them itself, as Go has it: a server that has signed
/// its own certificate often has one of a CA, which no other may serve with.
#[derive(Debug)]
struct Bundle {
    certificates: Vec<ParsedCertificate>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl Bundle {
    fn has(&self, der: &[u8], now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let is_valid = |c: &ParsedCertificate| {
            (c.not_before().as_second()..=c.not_after().as_second()).contains(&now)
        };
        let found = self.certificates.iter().find(|known| known.der() == der);
        found.is_some_and(is_valid)
    }
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.has(end_entity, now) {
            let authorities = &self.authorities;
            return authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        }
        verify_server_name(&ParsedServerCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

fn bundle_error(problem: &str) -> Error {
    Error::Config {
        field: "caBundle",
        problem: problem.to_owned(),
    }
}

fn certificates(bundle: &[u8]) -> Result<Vec<ParsedCertificate>, Error> {
    pki::parse_bundle(bundle).map_err(|error| bundle_error(&error.to_string()))
}

/// The certificates that vouch for a server: those of a bundle, PEM, replace the public roots.
pub fn roots(ca_bundle: Option<&[u8]>) -> Result<RootCertStore, Error> {
    let Some(bundle) = ca_bundle else {
        return Ok(net::public_roots());
    };
    let certificates = certificates(bundle)?;
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
