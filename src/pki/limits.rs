//! How much is read of what others wrote (contract §4.6): whoever may write a Secret must not be able to keep
//! this program busy.

use std::sync::OnceLock;

use super::Error;

/// The largest of each kind, in bytes of PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A single certificate, or a signing request.
    pub certificate: usize,
    /// A private key.
    pub private_key: usize,
    /// A certificate chain.
    pub chain: usize,
    /// A bundle of CA certificates.
    pub bundle: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            certificate: 36_500,
            private_key: 13_000,
            chain: 95_000,
            bundle: 330_000,
        }
    }
}

static LIMITS: OnceLock<Limits> = OnceLock::new();

impl Limits {
    /// Apply to everything that this process reads from now on. Only the first call counts; until then it
    /// is the default.
    pub fn set(self) {
        // What was read by one limit is not read again by another.
        let _ = LIMITS.set(self);
    }

    fn now() -> Self {
        LIMITS.get().copied().unwrap_or_default()
    }
}

/// Which of the limits applies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    Certificate,
    PrivateKey,
    Chain,
    Bundle,
}

impl Limit {
    /// Refuses input over the limit before any of it is parsed.
    pub(super) fn check(self, what: &'static str, size: usize) -> Result<(), Error> {
        self.check_in(Limits::now(), what, size)
    }

    fn check_in(self, limits: Limits, what: &'static str, size: usize) -> Result<(), Error> {
        let (limit, flag) = match self {
            Self::Certificate => (limits.certificate, "--max-certificate-size"),
            Self::PrivateKey => (limits.private_key, "--max-private-key-size"),
            Self::Chain => (limits.chain, "--max-certificate-chain-length"),
            Self::Bundle => (limits.bundle, "--max-certificate-bundle-size"),
        };
        if size <= limit {
            return Ok(());
        }
        Err(Error::TooLarge {
            what,
            size,
            limit,
            flag,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_names_its_flag() {
        let limits = Limits {
            certificate: 1,
            private_key: 2,
            chain: 3,
            bundle: 4,
        };
        for (limit, size, flag) in [
            (Limit::Certificate, 1, "--max-certificate-size"),
            (Limit::PrivateKey, 2, "--max-private-key-size"),
            (Limit::Chain, 3, "--max-certificate-chain-length"),
            (Limit::Bundle, 4, "--max-certificate-bundle-size"),
        ] {
            assert_eq!(limit.check_in(limits, "it", size), Ok(()));
            let said = limit.check_in(limits, "it", size + 1).unwrap_err();
            let expected = format!(
                "it of {} bytes is over the limit of {size} bytes ({flag})",
                size + 1
            );
            assert_eq!(said.to_string(), expected);
        }
    }
}
