//! What the informers keep of each object: enough to decide that there is nothing to do, without a
//! request and without a private key in memory.

mod applied;
mod issuer;
mod outputs;
mod packed;
mod pod;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use applied::{Applied, is_template_annotation, is_template_label};
pub use issuer::{AccountKeyWish, IssuerFact};
pub use outputs::{Output, OutputsFact, ca_digest, stores_digest};
pub use packed::Packed;
pub use pod::PodView;

use crate::acme::{certificate_id, web_link};
use crate::api::meta::{CLUSTER_ISSUER_KIND, Condition, ISSUER_KIND, IssuerReference};
use crate::api::{Certificate, CertificateRequest, OrderedIssuerSpec, OrderedIssuerStatus, labels};
use crate::controllers::ingress::ownership;
use crate::controllers::matching::{Compared, request_fields};
use crate::controllers::status::find;
use crate::pki::{KeyAlgorithm, PrivateKey, TEMPORARY_ISSUER, parse_chain, sha256_hex};
use crate::solvers::http01;

/// Identity and version of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Identity {
    /// Empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The uid.
    pub uid: String,
    /// The resource version.
    pub version: String,
    /// Being deleted.
    pub deleting: bool,
    /// When it was created.
    pub created: Timestamp,
}

impl Identity {
    /// Read it from an object's metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        }
    }
}

/// The controller among the owners, if it is of this kind.
pub fn controller_of<'a>(meta: &'a ObjectMeta, kind: &str) -> Option<&'a OwnerReference> {
    meta.owner_references
        .as_deref()?
        .iter()
        .find(|o| o.controller == Some(true) && o.kind == kind)
}

/// The Certificate that controls an object: uid and name. There are thousands: a pair of strings is smaller so, and an
/// index shares them.
pub type Owner = (Arc<str>, Arc<str>);

/// The Certificate that controls it: uid and name.
pub fn owner_of(meta: &ObjectMeta) -> Option<Owner> {
    controller_of(meta, "Certificate").map(|o| (o.uid.as_str().into(), o.name.as_str().into()))
}

/// A digest for equality within this process.
pub fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What is kept of a SHA-256 in hex: unlike [`digest`], the same in every process, so that it can be compared with what
/// an object says. 0 for what is no hex.
pub fn short(hex: &str) -> u64 {
    let front = hex.get(..16).unwrap_or_default();
    u64::from_str_radix(front, 16).unwrap_or_default()
}

/// Of a public key, in DER.
pub fn public_digest(der: &[u8]) -> u64 {
    short(&sha256_hex(der))
}

/// When the object was last changed other than in its status, by its managed fields: it survives a
/// restart of the operator.
fn changed_at(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.managed_fields
        .as_deref()?
        .iter()
        .filter(|f| f.subresource.as_deref().unwrap_or_default().is_empty())
        .filter_map(|f| f.time.as_ref().map(|t| t.0))
        .max()
}

/// When the status was last changed, by the same.
pub fn status_changed_at(meta: &ObjectMeta) -> Option<Timestamp> {
    let fields = meta.managed_fields.as_deref()?.iter();
    let of_status = fields.filter(|f| f.subresource.as_deref() == Some("status"));
    of_status.filter_map(|f| f.time.as_ref().map(|t| t.0)).max()
}

/// A request that counts against the budget of its Certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// When, in milliseconds: several may fall into one second.
    pub at: Timestamp,
    /// The generation of the Certificate that it was made for.
    pub generation: i64,
}

impl Made {
    /// Those that an annotation lists, as `MILLISECONDS/GENERATION` with spaces between; what cannot be read
    /// is passed over.
    fn parse(text: &str) -> Box<[Self]> {
        let one = |word: &str| {
            let (at, generation) = word.split_once('/')?;
            Some(Self {
                at: Timestamp::from_millisecond(at.parse().ok()?).ok()?,
                generation: generation.parse().ok()?,
            })
        };
        text.split(' ').filter_map(one).collect()
    }

    /// Those that a request with this metadata counts: as it lists them, or itself.
    pub fn counted_by(meta: &ObjectMeta) -> Box<[Self]> {
        let annotations = meta.annotations.as_ref();
        let listed = annotations.and_then(|a| a.get(labels::REQUESTS_MADE_ANNOTATION));
        listed.map_or_else(
            || {
                let at = Identity::of(meta).created;
                Box::from([Self { at, generation: 0 }])
            },
            |text| Self::parse(text),
        )
    }
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.at.as_millisecond(), self.generation)
    }
}

/// A CertificateRequest.
#[derive(Debug, Clone)]
pub struct RequestFact {
    /// Identity.
    pub id: Identity,
    /// The requests that count, as it lists them; a request without the list counts itself.
    pub made: Box<[Made]>,
    /// The owning Certificate: uid and name.
    pub owner: Option<Owner>,
    /// The request of an ordered issuer that it was made for: uid and name.
    pub parent: Option<Box<Owner>>,
    /// The annotation `cert-manager.io/certificate-revision`, if it is a number.
    pub revision: Option<i64>,
    /// The annotation `cert-manager.io/private-key-secret-name`.
    pub key_secret: Option<Box<str>>,
    /// `spec.issuerRef`.
    pub issuer: IssuerReference,
    /// Approved.
    pub approved: bool,
    /// The Denied condition, when True.
    pub denied: Option<Box<Condition>>,
    /// The `InvalidRequest` condition, when True.
    pub invalid: Option<Box<Condition>>,
    /// The Ready condition.
    pub ready: Option<Box<Condition>>,
    /// `status.failureTime`.
    pub failure_time: Option<Timestamp>,
    /// What is compared with the Certificate's spec; an error when the CSR cannot be read.
    pub compared: Result<Compared, String>,
    /// The object, while somebody still has to act on it.
    pub body: Option<Packed<CertificateRequest>>,
}

impl RequestFact {
    /// Reduce an object.
    pub fn of(mut object: CertificateRequest) -> Self {
        prune(&mut object.metadata);
        let meta = &object.metadata;
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key)).cloned();
        let status = object.status.as_ref();
        let conditions = status
            .and_then(|s| s.conditions.as_deref())
            .unwrap_or_default();
        let truth = |kind| {
            find(conditions, kind)
                .filter(|c| c.status == "True")
                .cloned()
                .map(Box::new)
        };
        let id = Identity::of(meta);
        Self {
            id,
            made: Made::counted_by(meta),
            owner: owner_of(meta),
            parent: controller_of(meta, "CertificateRequest")
                .map(|o| Box::new((o.uid.as_str().into(), o.name.as_str().into()))),
            revision: annotation(labels::CERTIFICATE_REVISION_ANNOTATION)
                .and_then(|r| r.parse().ok()),
            key_secret: annotation(labels::PRIVATE_KEY_SECRET_NAME_ANNOTATION).map(Into::into),
            issuer: object.spec.issuer_ref.clone(),
            approved: truth("Approved").is_some(),
            denied: truth("Denied"),
            invalid: truth("InvalidRequest"),
            ready: find(conditions, "Ready").cloned().map(Box::new),
            failure_time: status.and_then(|s| s.failure_time.as_ref()).map(|t| t.0),
            compared: request_fields(&object.spec),
            body: Some(Packed::of(&object)),
        }
    }

    /// The reason of the Ready condition; empty when there is none.
    pub fn ready_reason(&self) -> &str {
        self.ready
            .as_ref()
            .and_then(|c| c.reason.as_deref())
            .unwrap_or_default()
    }

    /// The object, while somebody still has to act on it.
    pub fn object(&self) -> Option<Arc<CertificateRequest>> {
        self.body.as_ref().and_then(Packed::open)
    }

    /// No issuer will touch it again.
    pub fn is_final(&self) -> bool {
        self.invalid.is_some() || matches!(self.ready_reason(), "Issued" | "Failed" | "Denied")
    }
}

/// A Secret that carries the label `controller.cert-manager.io/fao`.
#[derive(Debug, Clone)]
pub struct SecretFact {
    /// Identity.
    pub id: Identity,
    /// `type`.
    pub kind: String,
    /// The uid of the Certificate whose next private key this is.
    pub next_key_of: Option<Arc<str>>,
    /// The controlling Certificate: uid and name.
    pub owner: Option<Owner>,
    /// The annotation `cert-manager.io/certificate-name`.
    pub certificate_name: Option<Box<str>>,
    /// The issuer annotations: name, kind, group.
    pub issuer: [Option<String>; 3],
    /// Whether there is any data.
    pub has_data: bool,
    /// The private key: algorithm and digest of its public half. `None` when absent or empty.
    pub key: Option<Result<KeyFact, String>>,
    /// The certificate. `None` when absent or empty.
    pub certificate: Option<Result<LeafFact, String>>,
    /// A CA of temporary certificates has signed it.
    signed_as_temporary: bool,
    /// Digests of its labels and annotations, in order; see [`Self::has_label`].
    metadata: Box<[u64]>,
    /// Whether the annotations that describe the certificate do so, and are this operator's.
    pub described: bool,
    /// What this operator wrote beside the contract's own labels and annotations: labels and
    /// annotations of a template, and perhaps an owner.
    pub applied: Applied,
    /// The entries that repeat key and certificate in other forms.
    pub outputs: OutputsFact,
    /// The field manager that writes the key or the certificate beside this operator.
    pub other_writer: Option<Box<str>>,
}

/// What is known of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFact {
    /// Algorithm and size.
    pub algorithm: KeyAlgorithm,
    /// Digest of the public key; see [`public_digest`].
    pub public: u64,
}

impl KeyFact {
    /// Read from a PEM block.
    pub fn of(key: &PrivateKey) -> Self {
        Self {
            algorithm: key.algorithm(),
            public: public_digest(key.public_key_der()),
        }
    }
}

/// What is known of a leaf certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafFact {
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Digest of its public key.
    pub public: u64,
    /// Of its SHA-256; see [`short`].
    pub fingerprint: u64,
    /// Union of common name and DNS names, addresses, URIs and e-mail addresses: what is compared when
    /// no request is left (contract §4.2, fuzzy).
    pub names: u64,
    /// What identifies it towards its CA (RFC 9773 §4.1).
    pub id: Option<Box<str>>,
    /// Where it says that the revocation list of its CA is.
    pub list: Option<Arc<str>>,
}

impl LeafFact {
    /// Read the first certificate of a PEM chain; and whether a CA of temporary certificates has signed it.
    fn of(pem: &[u8]) -> Result<(Self, bool), String> {
        let chain = parse_chain(pem).map_err(|e| e.to_string())?;
        let leaf = chain.first().ok_or("no certificate found")?;
        let temporary = leaf.issuer().common_name().as_deref() == Some(TEMPORARY_ISSUER);
        let fact = Self {
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            public: public_digest(leaf.public_key_der()),
            fingerprint: short(&leaf.fingerprint()),
            names: crate::controllers::matching::leaf_names(leaf),
            id: certificate_id(leaf).map(Into::into),
            // Not by LDAP.
            list: leaf
                .list_uris()
                .iter()
                .find_map(|uri| web_link(uri))
                .map(Into::into),
        };
        Ok((fact, temporary))
    }
}

impl SecretFact {
    /// Whether it holds a place only, until the real certificate comes.
    pub fn is_temporary(&self) -> bool {
        self.signed_as_temporary && self.issuer.iter().all(Option::is_none)
    }

    /// The issuer that its certificate came from, as its annotations say.
    pub fn issued_by(&self) -> Option<IssuerReference> {
        let [name, kind, group] = self.issuer.clone();
        let name = name.filter(|name| !name.is_empty())?;
        Some(IssuerReference { group, kind, name })
    }

    /// Whether its certificate came from the issuer that a reference names, as its annotations say.
    pub fn is_from(&self, reference: &IssuerReference) -> bool {
        self.issued_by()
            .is_some_and(|found| found.is_same(reference))
    }

    /// Whether it has this label with this value.
    pub fn has_label(&self, key: &str, value: &str) -> bool {
        self.metadata.binary_search(&pair(true, key, value)).is_ok()
    }

    /// Whether it has this annotation with this value.
    pub fn has_annotation(&self, key: &str, value: &str) -> bool {
        let pair = pair(false, key, value);
        self.metadata.binary_search(&pair).is_ok()
    }

    /// Reduce an object; its data is dropped.
    pub fn of(object: &Secret) -> Self {
        let meta = &object.metadata;
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key)).cloned();
        let data = |key: &str| {
            let bytes = &object.data.as_ref()?.get(key)?.0;
            (!bytes.is_empty()).then_some(bytes.as_slice())
        };
        let owner = owner_of(meta);
        let is_next_key = meta.labels.as_ref().is_some_and(|l| {
            l.get(labels::NEXT_PRIVATE_KEY_LABEL)
                .is_some_and(|v| v == "true")
        });
        let tags = meta.labels.iter().flatten().map(|(k, v)| pair(true, k, v));
        let notes = meta.annotations.iter().flatten();
        let mut metadata: Box<[u64]> = tags.chain(notes.map(|(k, v)| pair(false, k, v))).collect();
        metadata.sort_unstable();
        let leaf = data("tls.crt").map(LeafFact::of);
        Self {
            id: Identity::of(meta),
            kind: object.type_.clone().unwrap_or_default(),
            next_key_of: owner.clone().filter(|_| is_next_key).map(|(uid, _)| uid),
            owner,
            certificate_name: annotation(labels::CERTIFICATE_NAME_ANNOTATION).map(Into::into),
            issuer: [
                annotation(labels::ISSUER_NAME_ANNOTATION),
                annotation(labels::ISSUER_KIND_ANNOTATION),
                annotation(labels::ISSUER_GROUP_ANNOTATION),
            ],
            has_data: object.data.as_ref().is_some_and(|d| !d.is_empty()),
            key: data("tls.key").map(|pem| {
                PrivateKey::from_pem(pem)
                    .map(|k| KeyFact::of(&k))
                    .map_err(|e| e.to_string())
            }),
            signed_as_temporary: matches!(leaf, Some(Ok((_, true)))),
            certificate: leaf.map(|leaf| leaf.map(|(fact, _)| fact)),
            metadata,
            described: data("tls.crt").is_none_or(|pem| applied::is_described(pem, meta)),
            applied: Applied::of(meta),
            outputs: OutputsFact::of(object),
            other_writer: applied::other_writer(meta),
        }
    }
}

/// Digest of a label or an annotation.
fn pair(label: bool, key: &str, value: &str) -> u64 {
    digest(&(label, key, value))
}

/// An OrderedIssuer or ClusterOrderedIssuer.
#[derive(Debug, Clone)]
pub struct OrderedFact {
    /// Identity; the namespace of a ClusterOrderedIssuer is empty.
    pub id: Identity,
    /// `metadata.generation`.
    pub generation: i64,
    /// `spec`.
    pub spec: OrderedIssuerSpec,
    /// `status`.
    pub status: OrderedIssuerStatus,
}

impl OrderedFact {
    /// Reduce an object.
    pub fn of(
        meta: &ObjectMeta,
        spec: OrderedIssuerSpec,
        status: Option<OrderedIssuerStatus>,
    ) -> Self {
        Self {
            id: Identity::of(meta),
            generation: meta.generation.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
        }
    }

    /// Whether it has no namespace.
    pub fn is_cluster_wide(&self) -> bool {
        self.id.namespace.is_empty()
    }

    /// The issuers, with their kind.
    pub fn issuers(&self) -> impl Iterator<Item = IssuerReference> {
        let default = if self.is_cluster_wide() {
            CLUSTER_ISSUER_KIND
        } else {
            ISSUER_KIND
        };
        self.spec.issuers.iter().map(move |listed| IssuerReference {
            group: Some(labels::GROUP.to_owned()),
            kind: Some(listed.kind.clone().unwrap_or_else(|| default.to_owned())),
            name: listed.name.clone(),
        })
    }

    /// The Ready condition.
    pub fn ready(&self) -> Option<&Condition> {
        find(
            self.status.conditions.as_deref().unwrap_or_default(),
            "Ready",
        )
    }
}

/// An Ingress.
#[derive(Debug, Clone, PartialEq)]
pub struct IngressFact {
    /// Identity.
    pub id: Identity,
    /// All annotations but kubectl's copy of the object.
    pub annotations: BTreeMap<String, String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// `spec.tls`: hosts and Secret name of each block.
    pub tls: Vec<(Vec<String>, Option<String>)>,
    /// The Challenge that controls it.
    pub challenge: Option<String>,
    /// It has a path of a Challenge: its own, or one that was added to it.
    pub solves: bool,
    /// The finalizer of a foreground deletion is set.
    pub foreground_deletion: bool,
}

impl IngressFact {
    /// Reduce an object.
    pub fn of(mut object: Ingress) -> Self {
        let challenge = controller_of(&object.metadata, "Challenge").map(|o| o.name.clone());
        prune(&mut object.metadata);
        let finalizers = object.metadata.finalizers.as_deref().unwrap_or_default();
        let rules = object
            .spec
            .iter()
            .flat_map(|spec| spec.rules.iter().flatten());
        let mut paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
        let is_of_a_challenge = |path: &str| path.starts_with(http01::PATH_PREFIX);
        Self {
            id: Identity::of(&object.metadata),
            solves: paths.any(|path| path.path.as_deref().is_some_and(is_of_a_challenge)),
            foreground_deletion: finalizers.iter().any(|f| f == "foregroundDeletion"),
            annotations: object.metadata.annotations.unwrap_or_default(),
            labels: object.metadata.labels.unwrap_or_default(),
            tls: object
                .spec
                .and_then(|s| s.tls)
                .unwrap_or_default()
                .into_iter()
                .map(|t| (t.hosts.unwrap_or_default(), t.secret_name))
                .collect(),
            challenge,
        }
    }
}

/// A Pod or Service of an HTTP-01 solver.
#[derive(Debug, Clone, PartialEq)]
pub struct SolverFact {
    /// Identity.
    pub id: Identity,
    /// The Challenge that controls it.
    pub challenge: Option<String>,
    /// Why a Pod does not run; `None` when it runs, or for a Service.
    pub problem: Option<String>,
}

impl SolverFact {
    /// Reduce metadata.
    pub fn of(meta: &ObjectMeta) -> Self {
        let challenge = controller_of(meta, "Challenge").map(|o| o.name.clone());
        Self {
            id: Identity::of(meta),
            challenge,
            problem: None,
        }
    }

    /// Reduce a Pod.
    pub fn of_pod(pod: &PodView) -> Self {
        Self {
            problem: pod.problem(),
            ..Self::of(&pod.metadata)
        }
    }
}

/// Drop what nobody reads: managed fields (most of an object's memory) and kubectl's copy of it.
pub fn prune(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// A Certificate: all but what nobody reads; renewal needs all of its spec.
/// Of the managed fields only what the Ingress shim needs is left.
pub fn certificate(mut object: Certificate) -> Certificate {
    let shim = object
        .metadata
        .managed_fields
        .as_deref()
        .and_then(ownership::kept);
    prune(&mut object.metadata);
    object.metadata.managed_fields = shim;
    object
}

#[cfg(test)]
mod tests;
