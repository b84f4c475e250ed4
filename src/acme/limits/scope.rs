//! What a CA counts, and what an order takes of it.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::domain::domain_of;
use crate::net::hex;

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// New orders of an account.
    OrdersPerAccount,
    /// Certificates of a registered domain, of all accounts.
    CertificatesPerDomain,
    /// Certificates of exactly the same names, of all accounts.
    CertificatesPerSet,
    /// Failed validations of a name, of an account.
    FailuresPerName,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::OrdersPerAccount,
        Self::CertificatesPerDomain,
        Self::CertificatesPerSet,
        Self::FailuresPerName,
    ];

    /// The word for it in a status and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::OrdersPerAccount => "OrdersPerAccount",
            Self::CertificatesPerDomain => "CertificatesPerDomain",
            Self::CertificatesPerSet => "CertificatesPerSet",
            Self::FailuresPerName => "FailuresPerName",
        }
    }
}

/// One bucket at a CA: a limit, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// Which limit.
    pub limit: Limit,
    /// URL of the account, registered domain, digest of the names, or URL of the account and the name.
    pub of: Arc<str>,
}

impl Scope {
    /// The bucket of this limit.
    pub fn new(limit: Limit, of: impl Into<Arc<str>>) -> Self {
        Self {
            limit,
            of: of.into(),
        }
    }

    /// In words, behind a rate: `5 a week for this exact set`.
    pub fn words(&self) -> String {
        match self.limit {
            Limit::OrdersPerAccount => "orders of this account".into(),
            Limit::CertificatesPerDomain => format!("for {}", self.of),
            Limit::CertificatesPerSet => "for this exact set".into(),
            Limit::FailuresPerName => {
                let name = self.of.rsplit(' ').next().unwrap_or_default();
                format!("failed validations of {name}")
            }
        }
    }
}

/// What the CA does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exemption {
    /// It counts all.
    #[default]
    Nothing,
    /// There was a certificate for the same names: see [`super::Policy::renewals_count`].
    SameNames,
    /// It replaces a certificate at the time that the CA suggests (RFC 9773): where the CA offers that, nothing counts.
    Replaces,
}

/// What an order takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// URL of the account.
    pub account: Arc<str>,
    /// Names and addresses, lower case, sorted, each once.
    pub names: Box<[Arc<str>]>,
    /// The ACME profile, if it asks for one.
    pub profile: Option<Arc<str>>,
    /// What the CA does not count.
    pub exemption: Exemption,
    /// When the certificate that is to be renewed expires; without one, none is there.
    pub expires: Option<jiff::Timestamp>,
    /// When it was first asked for.
    pub since: jiff::Timestamp,
}

impl Ask {
    /// Bring the names into order.
    pub fn normal(names: impl IntoIterator<Item = String>) -> Box<[Arc<str>]> {
        let mut names: Vec<String> = names.into_iter().map(|n| n.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        names.into_iter().map(Into::into).collect()
    }

    /// The bucket of exactly these names.
    pub fn set(&self) -> Scope {
        let text = self.names.join(" ");
        let hash = digest(&SHA256, text.as_bytes());
        let (half, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
        Scope::new(Limit::CertificatesPerSet, hex(half))
    }

    /// The buckets of its registered domains.
    pub fn domains(&self) -> Vec<Scope> {
        let mut domains: Vec<_> = self.names.iter().map(|name| domain_of(name)).collect();
        domains.sort();
        domains.dedup();
        let scopes = domains.into_iter();
        scopes
            .map(|of| Scope::new(Limit::CertificatesPerDomain, of))
            .collect()
    }

    /// The bucket of its account.
    pub fn orders(&self) -> Scope {
        Scope::new(Limit::OrdersPerAccount, self.account.clone())
    }

    /// The bucket of the failures of one of its names.
    pub fn failures(&self, name: &str) -> Scope {
        let name = name.trim_start_matches("*.");
        Scope::new(Limit::FailuresPerName, format!("{} {name}", self.account))
    }
}
