//! What keeps a Vault from signing, and what to do about it.

use super::{Code, Verdict};

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No connection, or no answer.
    Unreachable,
    /// It is sealed.
    Sealed,
    /// It is not initialized.
    NotInitialized,
    /// It refuses the login.
    Login,
    /// The token has expired, was revoked, or never was one.
    Token,
    /// A Secret, an entry of one or a service account is missing, or cannot be used.
    Credentials,
    /// What the issuer says, or what is in a Secret, does not do.
    Spec,
    /// The token's policies do not allow the path.
    Permission,
    /// Nothing answers at the path.
    Path,
    /// It refuses this request.
    Refused,
    /// Its answer cannot be understood, or says that it failed.
    Answer,
}

/// The verdict on a cause, of which `said` are the details.
pub fn verdict(cause: Cause, said: &str) -> Verdict {
    let (code, advice) = advice(cause);
    Verdict::new(code, format!("{}. {advice}", said.trim_end_matches('.')))
}

fn advice(cause: Cause) -> (Code, &'static str) {
    match cause {
        Cause::Unreachable => (
            Code::VAULT_UNREACHABLE,
            "Check spec.vault.server and its CA bundle, and that the network lets this operator through to it; \
             it is tried again by itself.",
        ),
        Cause::Sealed => (
            Code::VAULT_SEALED,
            "Unseal it (vault operator unseal); it is tried again by itself.",
        ),
        Cause::NotInitialized => (
            Code::VAULT_NOT_INITIALIZED,
            "Initialize it (vault operator init); it is tried again by itself.",
        ),
        Cause::Login => (
            Code::VAULT_LOGIN,
            "Correct the role and the credentials of spec.vault.auth, or the auth method in Vault; it is tried \
             again by itself.",
        ),
        Cause::Token => (
            Code::VAULT_TOKEN,
            "It has expired or was revoked: put a valid token into the Secret.",
        ),
        Cause::Credentials => (
            Code::VAULT_CREDENTIALS,
            "Create it, or correct the reference in spec.vault.",
        ),
        Cause::Spec => (
            Code::VAULT_SPEC,
            "Correct spec.vault of the issuer, or the Secret that it names.",
        ),
        Cause::Permission => (
            Code::VAULT_PERMISSION,
            "Give the token a policy with create and update on spec.vault.path of the issuer.",
        ),
        Cause::Path => (
            Code::VAULT_PATH,
            "Correct spec.vault.path of the issuer, or enable the secrets engine in Vault: the path is the \
             engine's mount, then sign, then the role.",
        ),
        Cause::Refused => (
            Code::VAULT_REFUSED,
            "Change the Certificate, or what the role in Vault allows.",
        ),
        Cause::Answer => (
            Code::VAULT_ANSWER,
            "Check that spec.vault.server is a Vault, and look at its log; it is tried again by itself.",
        ),
    }
}
