//! Which server is believed, and who we are to it.

use std::sync::Arc;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::client::Server;
use super::{Error, KeyPair};
use crate::net::Dialer;
use crate::{acme, pki};

pub(super) fn connector(
    server: &Server<'_>,
    dialer: Dialer,
) -> Result<HttpsConnector<Dialer>, Error> {
    let mut builder = HttpsConnectorBuilder::new()
        .with_tls_config(config(server)?)
        .https_or_http();
    if let Some(name) = server.name {
        let name = ServerName::try_from(name.to_owned());
        let name = name.map_err(|_| Error::config("spec.vault.serverName", "no host name"))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(dialer))
}

fn config(server: &Server<'_>) -> Result<ClientConfig, Error> {
    let roots = acme::roots(server.ca_bundle)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("spec.vault", error))?
        .with_root_certificates(roots);
    let Some(pair) = &server.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let unusable =
        |problem: &dyn std::fmt::Display| Error::config("the client certificate", problem);
    let (chain, key) = identity(pair).map_err(|error| unusable(&error))?;
    let key = key.pkcs8_der().map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(&error))
}

fn identity(
    pair: &KeyPair<'_>,
) -> Result<(Vec<CertificateDer<'static>>, pki::PrivateKey), pki::Error> {
    let chain = pki::parse_chain(pair.certificate)?;
    let key = pki::PrivateKey::from_pem(pair.key)?;
    if let Some(leaf) = chain.first() {
        pki::verify_key_matches(leaf, &key)?;
    }
    let chain = chain.iter().map(|c| CertificateDer::from(c.der().to_vec()));
    Ok((chain.collect(), key))
}
