//! Issuers.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Identity, changed_at};
use crate::api::dns01::Dns01Solver;
use crate::api::meta::Condition;
use crate::api::vault::VaultIssuer;
use crate::api::{IssuerSpec, IssuerStatus, labels};
use crate::controllers::status::find;
use crate::solvers::dns01::needs;

/// An Issuer or ClusterIssuer.
#[derive(Debug, Clone)]
pub struct IssuerFact {
    /// Identity; the namespace of a ClusterIssuer is empty.
    pub id: Identity,
    /// `metadata.generation`.
    pub generation: i64,
    /// When its spec was last written.
    pub changed_at: Option<Timestamp>,
    /// The annotation `everleaf.io/acme-limits`.
    pub limits: Option<Box<str>>,
    /// The annotation `everleaf.io/preflight` says `off`.
    pub skips_preflight: bool,
    /// The annotation `everleaf.io/rehearsal-issuer`.
    pub rehearsal_issuer: Option<Box<str>>,
    /// What it wants of its ACME account's key.
    pub account_key: AccountKeyWish,
    /// `spec`.
    pub spec: IssuerSpec,
    /// `status`.
    pub status: IssuerStatus,
}

/// What the annotations of an issuer say about its ACME account's key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountKeyWish {
    /// Another value than the Secret has asks for another key.
    pub rotate: Option<String>,
    /// JWS algorithm of new keys.
    pub algorithm: Option<String>,
}

impl AccountKeyWish {
    /// Of an issuer's metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        let wish = |key| annotation(meta, key).map(ToOwned::to_owned);
        Self {
            rotate: wish(labels::ROTATE_ACCOUNT_KEY_ANNOTATION),
            algorithm: wish(labels::ACCOUNT_KEY_ALGORITHM_ANNOTATION),
        }
    }
}

impl IssuerFact {
    /// Of an object's parts.
    pub fn of(meta: &ObjectMeta, spec: IssuerSpec, status: Option<IssuerStatus>) -> Self {
        Self {
            id: Identity::of(meta),
            generation: meta.generation.unwrap_or_default(),
            changed_at: changed_at(meta),
            limits: annotation(meta, labels::ACME_LIMITS_ANNOTATION).map(Into::into),
            skips_preflight: annotation(meta, labels::PREFLIGHT_ANNOTATION) == Some("off"),
            rehearsal_issuer: annotation(meta, labels::REHEARSAL_ISSUER_ANNOTATION).map(Into::into),
            account_key: AccountKeyWish::of(meta),
            spec,
            status: status.unwrap_or_default(),
        }
    }

    /// Another one when the issuer was changed other than in its status, also within one second unless only its annotations
    /// were.
    pub fn version(&self) -> Option<String> {
        let (uid, generation) = (&self.id.uid, self.generation);
        Some(format!("{uid}/{generation}/{}", self.changed_at?))
    }

    /// Whether nobody who uses the issuer has to look at it again.
    pub fn is_as_before(&self, old: &Self) -> bool {
        old.generation == self.generation
            && old.ready() == self.ready()
            && old.status.ca == self.status.ca
            && old.limits == self.limits
            && old.skips_preflight == self.skips_preflight
            && old.rehearsal_issuer == self.rehearsal_issuer
            && old.id.uid == self.id.uid
    }

    /// Whether the issuer reads a Secret of this name.
    pub fn refers_to(&self, secret: &str) -> bool {
        let acme = self.spec.acme.iter().flat_map(|acme| {
            let eab = acme
                .external_account_binding
                .as_ref()
                .map(|e| e.key_secret_ref.name.as_str());
            std::iter::once(acme.private_key_secret_ref.name.as_str()).chain(eab)
        });
        let ca = self.spec.ca.iter().map(|ca| ca.secret_name.as_str());
        let vault = self.spec.vault.iter().flat_map(VaultIssuer::secrets);
        let dns01 = self.dns01_secrets();
        acme.chain(ca)
            .chain(vault)
            .chain(dns01)
            .any(|name| name == secret)
    }

    /// Its DNS-01 solvers.
    pub fn dns01_solvers(&self) -> impl Iterator<Item = &Dns01Solver> {
        let solvers = self
            .spec
            .acme
            .iter()
            .flat_map(|acme| acme.solvers.iter().flatten());
        solvers.filter_map(|solver| solver.dns01.as_deref())
    }

    /// The Secrets that those refer to.
    pub fn dns01_secrets(&self) -> impl Iterator<Item = &str> {
        let needs = self.dns01_solvers().flat_map(needs);
        needs.map(|need| need.selector.name.as_str())
    }

    /// The Ready condition, if it is True.
    pub fn is_ready(&self) -> bool {
        self.ready().is_some_and(|c| c.status == "True")
    }

    /// The Ready condition.
    pub fn ready(&self) -> Option<&Condition> {
        find(
            self.status.conditions.as_deref().unwrap_or_default(),
            "Ready",
        )
    }

    /// Whether this operator signs by itself, with nobody outside to ask.
    pub fn signs_in_process(&self) -> bool {
        self.spec.self_signed.is_some() || self.spec.ca.is_some()
    }
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    let value = meta.annotations.as_ref()?.get(key)?;
    Some(value.as_str())
}
