//! The resources of RFC 8555 §7.1. Fields and values that are not known never stop a reply from being read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Asked, Problem};

/// State of an account, order, authorization or challenge (RFC 8555 §7.1.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
    Expired,
    Deactivated,
    Revoked,
    /// Absent, or a word that RFC 8555 does not have.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::Deactivated => "deactivated",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }

    /// The word that the status of an Order or Challenge may have for it (contract §1.9); none for what is not known.
    pub fn stored(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Deactivated | Self::Revoked => Some(Self::Expired.as_str()),
            known => Some(known.as_str()),
        }
    }
}

/// What a certificate shall name: `dns` (RFC 8555 §9.7.7), `ip` (RFC 8738), or another type that a server speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Identifier {
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    #[serde(deserialize_with = "nullable")]
    pub value: String,
}

impl Identifier {
    pub fn dns(name: impl Into<String>) -> Self {
        Self {
            kind: "dns".to_owned(),
            value: name.into(),
        }
    }

    pub fn ip(address: IpAddr) -> Self {
        Self {
            kind: "ip".to_owned(),
            value: address.to_string(),
        }
    }
}

/// Where the server's resources are (RFC 8555 §7.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Directory {
    pub new_nonce: Option<String>,
    pub new_account: Option<String>,
    pub new_order: Option<String>,
    pub revoke_cert: Option<String>,
    pub key_change: Option<String>,
    /// RFC 9773 §4.1.
    pub renewal_info: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub meta: DirectoryMeta,
}

impl Directory {
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        [
            &self.new_nonce,
            &self.new_account,
            &self.new_order,
            &self.revoke_cert,
            &self.key_change,
            &self.renewal_info,
        ]
        .into_iter()
        .filter_map(|url| url.as_deref())
    }
}

/// What the server says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DirectoryMeta {
    pub terms_of_service: Option<String>,
    pub website: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub caa_identities: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub external_account_required: bool,
    /// Name to description (draft-ietf-acme-profiles).
    #[serde(deserialize_with = "nullable")]
    pub profiles: BTreeMap<String, serde_json::Value>,
}

/// RFC 8555 §7.1.2.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Account {
    /// What every later request is signed for.
    #[serde(skip)]
    pub url: String,
    #[serde(deserialize_with = "nullable")]
    pub status: Status,
    /// As URLs, `mailto:` mostly.
    #[serde(deserialize_with = "nullable")]
    pub contact: Vec<String>,
    /// Whether this very call made it; false if the key had an account already.
    #[serde(skip)]
    pub created: bool,
}

/// RFC 8555 §7.1.3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Order {
    /// Empty only in the reply to finalize of a server that does not repeat it.
    #[serde(skip)]
    pub url: String,
    #[serde(deserialize_with = "nullable")]
    pub status: Status,
    #[serde(deserialize_with = "lenient_time")]
    pub expires: Option<Timestamp>,
    #[serde(deserialize_with = "nullable")]
    pub identifiers: Vec<Identifier>,
    /// URLs.
    #[serde(deserialize_with = "nullable")]
    pub authorizations: Vec<String>,
    /// URL that takes the signing request.
    #[serde(deserialize_with = "nullable")]
    pub finalize: String,
    /// URL, once the order is valid.
    pub certificate: Option<String>,
    /// Why it is invalid. Often the better answer is in a challenge.
    pub error: Option<Problem>,
    pub profile: Option<String>,
    /// When the server asks to be polled again.
    #[serde(skip)]
    pub retry_after: Option<Timestamp>,
}

/// RFC 8555 §7.1.4.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Authorization {
    /// Without the `*.` of a wildcard.
    #[serde(deserialize_with = "nullable")]
    pub identifier: Identifier,
    #[serde(deserialize_with = "nullable")]
    pub status: Status,
    #[serde(deserialize_with = "nullable")]
    pub wildcard: bool,
    #[serde(deserialize_with = "lenient_time")]
    pub expires: Option<Timestamp>,
    #[serde(deserialize_with = "nullable")]
    pub challenges: Vec<Challenge>,
    /// When the server asks to be polled again.
    #[serde(skip)]
    pub retry_after: Option<Timestamp>,
}

/// RFC 8555 §8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Challenge {
    /// `http-01`, `dns-01` or anything else.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    #[serde(deserialize_with = "nullable")]
    pub url: String,
    /// Empty for types that have none.
    #[serde(deserialize_with = "nullable")]
    pub token: String,
    #[serde(deserialize_with = "nullable")]
    pub status: Status,
    pub error: Option<Problem>,
    /// Whom the server has asked.
    #[serde(
        rename = "validationRecord",
        deserialize_with = "super::asked::lenient"
    )]
    pub asked: Asked,
    /// When the server asks to be polled again.
    #[serde(skip)]
    pub retry_after: Option<Timestamp>,
}

/// `null` is as good as absent: several private CAs write it.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A time that cannot be read is no reason to lose an order.
fn lenient_time<'de, D>(deserializer: D) -> Result<Option<Timestamp>, D::Error>
where
    D: Deserializer<'de>,
{
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}
