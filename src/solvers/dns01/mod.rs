//! DNS-01 (RFC 8555 §8.4): a TXT record below the name. Which server takes it is the provider's affair.
//!
//! A provider adds one value to a name and takes this one value away again. What else is at the name is never
//! touched: several challenges present there at once (a name and its wildcard), and users have values of their own.
//! Both calls may be made again at any time, also by a process that does not know of the first.

pub mod acme_dns;
mod error;
pub mod hosted;
pub mod rfc2136;
mod secrets;
pub mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;

pub use error::{Class, Error, said};
pub use secrets::{Need, ROUTE53_TOKEN, Secrets, needs};

/// One value at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The identifier, without a wildcard's star and without a final dot: `app.example.com`. Where CNAMEs lead
    /// elsewhere, [`Self::name`] is not below it.
    pub domain: String,
    /// The zone that the name is in, as its SOA record has it; absolute, in lower case: `example.com.`.
    pub zone: String,
    /// Where the value is; absolute, in lower case: `_acme-challenge.app.example.com.`.
    pub name: String,
    /// The value, without quotes: base64url of a SHA-256 digest.
    pub value: String,
}

/// What the process itself has, for issuers that may use it: nobody's Secrets. An issuer that may not has none.
#[derive(Clone, Debug, Default)]
pub struct Ambient {
    /// The environment.
    pub variables: BTreeMap<String, String>,
}

impl Ambient {
    /// Where the process is on AWS, if its environment says.
    pub fn aws_region(&self) -> Option<String> {
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let set = variables
            .iter()
            .filter_map(|name| self.variables.get(*name));
        let set = set.map(|value| value.trim());
        set.filter(|value| !value.is_empty())
            .map(str::to_owned)
            .next()
    }
}

/// What a provider is made of beside the solver's spec.
#[derive(Clone, Debug)]
pub struct Given {
    /// The time of now, for signatures and for [`Class::RateLimited`].
    pub clock: fn() -> Timestamp,
    /// All that [`needs`] names.
    pub secrets: Secrets,
    /// [`Ambient::aws_region`]: no credential, so that any issuer may use it.
    pub aws_region: Option<String>,
    /// `None` when the issuer may not use it (flags `--issuer-ambient-credentials` and
    /// `--cluster-issuer-ambient-credentials`).
    pub ambient: Option<Arc<Ambient>>,
}

/// A place where records can be written. A provider keeps no state that a later call needs, ends each of its requests
/// within a deadline of its own, and says every failure as an [`Error`].
pub trait Provider: Send + Sync {
    /// Add this value to this name, unless it is there. Values beside it stay.
    ///
    /// # Errors
    /// When it is unknown whether the value is there.
    fn present<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>>;

    /// Take this value away from this name, if it is there. Values beside it stay.
    ///
    /// # Errors
    /// When it is unknown whether the value has gone. A zone that has gone took it along: that is none.
    fn clean_up<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), Error>>;
}
