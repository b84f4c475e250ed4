//! The Certificate kind: what a user wants, and what became of it.
//!
//! Source of names and rules: contract §1.3 and §1.4.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::absent::absent_as_default;
use super::meta::{Condition, IssuerReference, KeyUsage, SecretKeySelector, Sensitive};

/// What the certificate shall hold, who signs it, and the Secret that it is kept in.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    plural = "certificates",
    namespaced,
    status = "CertificateStatus",
    doc = "A certificate that is kept valid in a Secret.",
    derive = "PartialEq",
    derive = "Default",
    shortname = "cert",
    shortname = "certs",
    category = "cert-manager",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name"
)]
pub struct CertificateSpec {
    /// Further forms in which the key and chain are written to the Secret. Example: `[{"type":
    /// "CombinedPEM"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_output_formats: Option<Vec<CertificateAdditionalOutputFormat>>,
    /// Subject common name, at most 64 bytes. Modern clients read only the alternative names. Not
    /// together with `literalSubject`. Example: `app.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// DNS names of the certificate, wildcards included. Example: `["app.example.com",
    /// "*.app.example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Wanted lifetime as a Go duration, at least one hour; 90 days when absent. The issuer may
    /// choose another. Example: `2160h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Bare e-mail addresses of the certificate. Example: `["ops@example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_addresses: Option<Vec<String>>,
    /// Whether the signing request carries the usages as extensions; true when absent. Example:
    /// `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode_usages_in_request: Option<bool>,
    /// IP addresses of the certificate. Example: `["192.0.2.7", "2001:db8::7"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_addresses: Option<Vec<String>>,
    /// Whether the certificate may sign others. Example: `true`.
    #[serde(rename = "isCA", skip_serializing_if = "Option::is_none")]
    pub is_ca: Option<bool>,
    /// The issuer that signs. Example: `{"name": "letsencrypt", "kind": "ClusterIssuer"}`.
    pub issuer_ref: IssuerReference,
    /// Java and PKCS#12 keystores to write beside the PEM entries. Example: `{"pkcs12": {"create":
    /// true, "passwordSecretRef": {"name": "store", "key": "password"}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystores: Option<CertificateKeystores>,
    /// The whole subject as an RFC 4514 string, where the order of its parts matters. Excludes
    /// `commonName` and `subject`. Example: `CN=app,OU=ops,O=Example,C=NL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub literal_subject: Option<String>,
    /// Names that a CA certificate may and may not sign for (RFC 5280 §4.2.1.10); needs `isCA`.
    /// Example: `{"critical": true, "permitted": {"dnsDomains": ["example.com"]}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_constraints: Option<NameConstraints>,
    /// Alternative names of types that have no field of their own. Example: `[{"oid":
    /// "1.3.6.1.4.1.311.20.2.3", "utf8Value": "user@example.com"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_names: Option<Vec<OtherName>>,
    /// How the private key is made and kept. Example: `{"algorithm": "ECDSA", "size": 256}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<CertificatePrivateKey>,
    /// How long before expiry to renew, as a Go duration of at least five minutes; a third of the
    /// lifetime when absent. Not together with `renewBeforePercentage`. Example: `360h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
    /// Percent of the lifetime that is left when renewal starts; values from 1 to 99 take effect.
    /// Example: `33`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before_percentage: Option<i32>,
    /// Whether and in which hours renewal may happen. Example: `{"policy": "RenewBefore",
    /// "windows": [{"cron": "0 2 * * *", "windowDuration": "2h"}]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<CertificateRenewal>,
    /// How many requests of past revisions are kept; 1 when absent. Example: `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    /// Name of the Secret, in the namespace of this Certificate, that holds key and chain. Example:
    /// `app-tls`.
    pub secret_name: String,
    /// Labels and annotations for the Secret. Example: `{"labels": {"team": "shop"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<CertificateSecretTemplate>,
    /// How the signing request is signed; must fit the key. Chosen by the size of the key when
    /// absent. Example: `ECDSAWithSHA256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["SHA256WithRSA", "SHA384WithRSA", "SHA512WithRSA", "ECDSAWithSHA256", "ECDSAWithSHA384", "ECDSAWithSHA512", "PureEd25519"]))]
    pub signature_algorithm: Option<String>,
    /// Parts of the subject other than the common name. Example: `{"organizations": ["Example"]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<X509Subject>,
    /// URIs of the certificate. Example: `["spiffe://example.com/app"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uris: Option<Vec<String>>,
    /// What the key may be used for; digital signature and key encipherment when absent. Example:
    /// `["digital signature", "server auth"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<KeyUsage>>")]
    pub usages: Option<Vec<String>>,
}

impl CertificateSpec {
    /// The Secrets that keystores take their passwords from, whether or not the rest of it is sound.
    pub fn password_secrets(&self) -> impl Iterator<Item = &str> {
        let stores = self.keystores.as_ref();
        let jks = stores.and_then(|s| s.jks.as_ref()).filter(|j| j.create);
        let pkcs12 = stores.and_then(|s| s.pkcs12.as_ref()).filter(|p| p.create);
        let jks = jks.and_then(|j| j.password_secret_ref.as_ref());
        let pkcs12 = pkcs12.and_then(|p| p.password_secret_ref.as_ref());
        jks.into_iter().chain(pkcs12).map(|r| r.name.as_str())
    }
}

absent_as_default!(CertificateSpec);

/// One further form of key and chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAdditionalOutputFormat {
    /// `DER` writes the key as `key.der`; `CombinedPEM` writes key and chain as `tls-combined.pem`.
    /// Example: `CombinedPEM`.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["DER", "CombinedPEM"]))]
    pub type_: String,
}

/// Keystores that are written to the Secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateKeystores {
    /// A Java keystore, `keystore.jks`, and `truststore.jks` where the CA is known. Example:
    /// `{"create": true, "passwordSecretRef": {"name": "store", "key": "password"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jks: Option<JksKeystore>,
    /// A PKCS#12 store, `keystore.p12`, and `truststore.p12` where the CA is known. Example:
    /// `{"create": true, "profile": "Modern2023", "passwordSecretRef": {"name": "store", "key":
    /// "password"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<Pkcs12Keystore>,
}

/// A Java keystore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JksKeystore {
    /// Name of the key's entry; `certificate` when absent. Example: `app`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether the store is written; false removes it. Example: `true`.
    pub create: bool,
    /// The password itself, visible to all who may read this object. Exactly one of this and
    /// `passwordSecretRef`. Example: `changeit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Sensitive>,
    /// Where the password is kept, in the same namespace. Example: `{"name": "store", "key":
    /// "password"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
}

/// A PKCS#12 keystore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pkcs12Keystore {
    /// Whether the store is written; false removes it. Example: `true`.
    pub create: bool,
    /// The password itself, visible to all who may read this object. Exactly one of this and
    /// `passwordSecretRef`. Example: `changeit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Sensitive>,
    /// Where the password is kept, in the same namespace. Example: `{"name": "store", "key":
    /// "password"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
    /// Ciphers of the store, from the most compatible to the strongest; `LegacyRC2` when absent.
    /// Example: `Modern2023`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["LegacyRC2", "LegacyDES", "Modern2023", "Modern2026"]))]
    pub profile: Option<String>,
}

/// Limits on the names that a CA certificate may sign for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameConstraints {
    /// Whether a client that does not know the extension must refuse. Example: `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    /// Names that are refused. Example: `{"dnsDomains": ["secret.example.com"]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<NameConstraintItem>,
    /// Names that are allowed. Example: `{"dnsDomains": ["example.com"]}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permitted: Option<NameConstraintItem>,
}

/// Subtrees of names, by type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameConstraintItem {
    /// DNS domains. Example: `["example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_domains: Option<Vec<String>>,
    /// Mailboxes or mail domains. Example: `["example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_addresses: Option<Vec<String>>,
    /// IP ranges in CIDR form. Example: `["10.0.0.0/8"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_ranges: Option<Vec<String>>,
    /// Domains of URIs. Example: `["example.com"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri_domains: Option<Vec<String>>,
}

/// An alternative name of another type, as a UTF-8 string.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherName {
    /// Type of the name as a dotted object identifier. Example: `1.3.6.1.4.1.311.20.2.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oid: Option<String>,
    /// The name itself. Example: `user@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utf8_value: Option<String>,
}

/// How the private key is made and kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificatePrivateKey {
    /// Kind of key; RSA when absent. Example: `ECDSA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["RSA", "ECDSA", "Ed25519"]))]
    pub algorithm: Option<String>,
    /// PEM form of `tls.key`; PKCS1 when absent. Ed25519 is always PKCS8. Example: `PKCS8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["PKCS1", "PKCS8"]))]
    pub encoding: Option<String>,
    /// Whether each issuance makes a new key; Always when absent. Example: `Never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Never", "Always"]))]
    pub rotation_policy: Option<String>,
    /// Bits of an RSA key (2048 to 8192, 2048 when absent) or an ECDSA key (256, 384, 521; 256 when
    /// absent). Example: `384`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = super::schema::without_format)]
    pub size: Option<i64>,
}

/// Whether and when renewal may happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRenewal {
    /// `RenewBefore` renews ahead of expiry; `Disabled` never does. Example: `RenewBefore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["RenewBefore", "Disabled"]))]
    pub policy: Option<String>,
    /// Recurring times in which renewal may start. Example: `[{"cron": "0 2 * * *",
    /// "windowDuration": "2h"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<CertificateRenewalWindow>>,
}

/// A recurring time in which renewal may start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRenewalWindow {
    /// Start of the window: five cron fields or a descriptor. Example: `0 2 * * 6`.
    #[schemars(length(min = 1))]
    pub cron: String,
    /// IANA time zone of `cron`; UTC when absent. Example: `Europe/Amsterdam`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub timezone: Option<String>,
    /// Length of the window. Example: `2h30m`.
    #[schemars(extend("pattern" = "^([0-9]+(\\.[0-9]+)?(s|m|h))+$"))]
    pub window_duration: String,
}

/// What else the Secret carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSecretTemplate {
    /// Annotations to set. Example: `{"example.com/owner": "shop"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels to set. Example: `{"team": "shop"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Parts of the subject other than the common name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct X509Subject {
    /// Countries (C). Example: `["NL"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub countries: Option<Vec<String>>,
    /// Cities (L). Example: `["Utrecht"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub localities: Option<Vec<String>>,
    /// Units (OU). Example: `["shop"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizational_units: Option<Vec<String>>,
    /// Organizations (O). Example: `["Example"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organizations: Option<Vec<String>>,
    /// Postal codes. Example: `["3511 AA"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_codes: Option<Vec<String>>,
    /// States or provinces (ST). Example: `["Utrecht"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provinces: Option<Vec<String>>,
    /// Serial number of the subject, not of the certificate. Example: `12345`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Streets (STREET). Example: `["Dorpsstraat 1"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street_addresses: Option<Vec<String>>,
}

/// What became of the Certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// What the ACME server says about this certificate. Example: `{"ari": {"nextCheck":
    /// "2026-11-24T20:00:00Z"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<CertificateAcmeStatus>,
    /// `Ready` and `Issuing`. Example: `[{"type": "Ready", "status": "True"}]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Option<Vec<Condition>>,
    /// Failed attempts since the last success; absent after one. Example: `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = super::schema::without_format)]
    pub failed_issuance_attempts: Option<i64>,
    /// When the last attempt failed; absent after a success. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// The Secret with the key of the issuance that is under way. Example: `app-tls-x7kq2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_private_key_secret_name: Option<String>,
    /// When the current certificate ends. Example: `2027-02-22T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// When the current certificate starts. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// When renewal is due. Example: `2027-01-23T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// Which issuance the current certificate is. Example: `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = super::schema::without_format)]
    pub revision: Option<i64>,
}

/// What the ACME server says about the certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAcmeStatus {
    /// The server's renewal information (RFC 9773). Example: `{"nextCheck":
    /// "2026-11-24T20:00:00Z"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ari: Option<CertificateAriStatus>,
}

/// The server's renewal information (RFC 9773).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAriStatus {
    /// A page that says why the window is what it is. Example: `https://ca.example/why`.
    #[serde(rename = "explanationURL", skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
    /// When the server was last asked. Example: `2026-11-24T14:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checked: Option<Time>,
    /// Why the last question failed. Example: `connection refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When to ask again. Example: `2026-11-24T20:36:26Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Time>,
    /// When the server wants the renewal. Example: `{"start": "2027-01-20T00:00:00Z", "end":
    /// "2027-01-22T00:00:00Z"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_window: Option<CertificateAriWindow>,
}

/// A time span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAriWindow {
    /// Its end. Example: `2027-01-22T00:00:00Z`.
    pub end: Time,
    /// Its start. Example: `2027-01-20T00:00:00Z`.
    pub start: Time,
}
