//! Revocation (RFC 8555 §7.6).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::client::Client;
use super::jws::{Signer, to_json};
use super::transport::Action;
use super::{AccountRef, Error};
use crate::pki::{PrivateKey, RevocationReason};

/// Who asks for a revocation.
#[derive(Debug, Clone, Copy)]
pub enum Revoker<'a> {
    /// The account that the certificate was issued to, or one that is authorized for all its names.
    Account(&'a AccountRef),
    /// Whoever has the certificate's own private key. Let's Encrypt takes that for `keyCompromise`, whatever the reason
    /// says, and takes no certificate for the key again.
    CertificateKey(&'a PrivateKey),
}

/// What the server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It has revoked the certificate.
    Now,
    /// It had done so before.
    Before,
}

#[derive(Serialize)]
struct Revocation {
    certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<u8>,
}

impl Client {
    /// Revokes a certificate, in DER. One that is revoked already is no failure, so that it may be repeated. A CA that
    /// refuses a reason that all of Web PKI has (CA/Browser Forum BR §4.9.1.1) takes none, and is told none.
    pub async fn revoke(
        &self,
        revoker: Revoker<'_>,
        certificate: &[u8],
        reason: RevocationReason,
    ) -> Result<Revoked, Error> {
        let directory = self.directory().await?;
        let url = directory.revoke_cert.as_deref();
        let url = url.ok_or(Error::Unsupported("revokeCert"))?;
        let signer = match revoker {
            Revoker::Account(account) => account.signer(),
            Revoker::CertificateKey(key) => Signer::Key(key),
        };
        // RFC 5280 §5.3.1: unspecified is said by saying nothing.
        let mut reason = Some(reason).filter(|reason| *reason != RevocationReason::Unspecified);
        loop {
            let payload = to_json(&Revocation {
                certificate: URL_SAFE_NO_PAD.encode(certificate),
                reason: reason.map(RevocationReason::code),
            })?;
            match self.post(Action::RevokeCert, signer, url, &payload).await {
                Ok(_) => return Ok(Revoked::Now),
                Err(error) if is(&error, "alreadyRevoked") => return Ok(Revoked::Before),
                Err(error)
                    if is(&error, "badRevocationReason") && reason.is_some_and(is_common) =>
                {
                    reason = None;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn is(error: &Error, name: &str) -> bool {
    error.problem().is_some_and(|problem| problem.is(name))
}

/// Whether a CA that refuses the reason takes none at all.
fn is_common(reason: RevocationReason) -> bool {
    matches!(
        reason,
        RevocationReason::KeyCompromise
            | RevocationReason::Superseded
            | RevocationReason::CessationOfOperation
    )
}
