//! DNS-01: how the record is written, by provider.
//!
//! Source of names and rules: contract §1.6, §1.10 and §5.7.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::meta::{SecretKeySelector, ServiceAccountRef};

/// DNS-01: exactly one provider, and how the zone is found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dns01Solver {
    /// An acme-dns server. Example: `{"host": "https://acme-dns.example.com", "accountSecretRef":
    /// {"name": "acme-dns", "key": "account.json"}}`.
    #[serde(rename = "acmeDNS", skip_serializing_if = "Option::is_none")]
    pub acme_dns: Option<AcmeDns>,
    /// Akamai Edge DNS. Example: `{"serviceConsumerDomain": "akab-1.luna.akamaiapis.net"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub akamai: Option<Akamai>,
    /// Azure DNS. Example: `{"subscriptionID": "0000", "resourceGroupName": "dns"}`.
    #[serde(rename = "azureDNS", skip_serializing_if = "Option::is_none")]
    pub azure_dns: Option<AzureDns>,
    /// Google Cloud DNS. Example: `{"project": "shop"}`.
    #[serde(rename = "cloudDNS", skip_serializing_if = "Option::is_none")]
    pub cloud_dns: Option<CloudDns>,
    /// Cloudflare. Example: `{"apiTokenSecretRef": {"name": "cloudflare", "key": "token"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloudflare: Option<Cloudflare>,
    /// Whether a CNAME at the challenge's name is followed to the zone to write; not when absent.
    /// Example: `Follow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["None", "Follow"]))]
    pub cname_strategy: Option<String>,
    /// `DigitalOcean`. Example: `{"tokenSecretRef": {"name": "digitalocean", "key": "token"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digitalocean: Option<DigitalOcean>,
    /// Servers for the self-check of this solver, as host:port or an https URL, in place of the
    /// operator's. Example: `["192.0.2.53:53"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nameservers: Option<Vec<String>>,
    /// Dynamic updates (RFC 2136), as of BIND, Knot and `PowerDNS`. Example: `{"nameserver":
    /// "192.0.2.53"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136>,
    /// Amazon Route 53. Example: `{"region": "eu-west-1"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route53: Option<Route53>,
    /// A solver of another project behind an aggregated API. Example: `{"groupName":
    /// "acme.example.com", "solverName": "mydns"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookProvider>,
}

/// An acme-dns server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeDns {
    /// Where the accounts' JSON is kept. Example: `{"name": "acme-dns", "key": "account.json"}`.
    pub account_secret_ref: SecretKeySelector,
    /// URL of the server. Example: `https://acme-dns.example.com`.
    pub host: String,
}

/// Akamai Edge DNS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Akamai {
    /// Where the access token is kept. Example: `{"name": "akamai", "key": "access_token"}`.
    pub access_token_secret_ref: SecretKeySelector,
    /// Where the client secret is kept. Example: `{"name": "akamai", "key": "client_secret"}`.
    pub client_secret_secret_ref: SecretKeySelector,
    /// Where the client token is kept. Example: `{"name": "akamai", "key": "client_token"}`.
    pub client_token_secret_ref: SecretKeySelector,
    /// Host of the API. Example: `akab-1.luna.akamaiapis.net`.
    pub service_consumer_domain: String,
}

/// Azure DNS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureDns {
    /// Application ID of the service principal. Example: `00000000-0000-0000-0000-000000000000`.
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where the service principal's password is kept. Example: `{"name": "azure", "key":
    /// "password"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret_secret_ref: Option<SecretKeySelector>,
    /// Which Azure; the public one when absent. Example: `AzureChinaCloud`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["AzurePublicCloud", "AzureChinaCloud", "AzureGermanCloud", "AzureUSGovernmentCloud"]))]
    pub environment: Option<String>,
    /// The zone; found by its name when absent. Example: `example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted_zone_name: Option<String>,
    /// Identity of the node or workload, in place of a service principal. Example: `{"clientID":
    /// "00000000-0000-0000-0000-000000000000"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_identity: Option<AzureManagedIdentity>,
    /// Resource group of the zone. Example: `dns`.
    pub resource_group_name: String,
    /// Subscription of the zone. Example: `00000000-0000-0000-0000-000000000000`.
    #[serde(rename = "subscriptionID")]
    pub subscription_id: String,
    /// Tenant of the service principal. Example: `00000000-0000-0000-0000-000000000000`.
    #[serde(rename = "tenantID", skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Public or private zone; public when absent. Example: `AzurePrivateZone`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["AzurePublicZone", "AzurePrivateZone"]))]
    pub zone_type: Option<String>,
}

/// A managed identity of Azure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureManagedIdentity {
    /// Client ID; not together with `resourceID`. Example: `00000000-0000-0000-0000-000000000000`.
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Resource ID; not together with `clientID`. Example:
    /// `/subscriptions/0000/resourceGroups/dns`.
    #[serde(rename = "resourceID", skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// Tenant ID; not together with `resourceID`. Example: `00000000-0000-0000-0000-000000000000`.
    #[serde(rename = "tenantID", skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// Google Cloud DNS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudDns {
    /// The managed zone; found by its name when absent. Example: `example-com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted_zone_name: Option<String>,
    /// The project of the zone. Example: `shop`.
    pub project: String,
    /// Where the service account's JSON key is kept; ambient credentials when absent. Example:
    /// `{"name": "clouddns", "key": "key.json"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_secret_ref: Option<SecretKeySelector>,
}

/// Cloudflare: an API token, or a key with its e-mail address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cloudflare {
    /// Where the global key is kept. Example: `{"name": "cloudflare", "key": "key"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeySelector>,
    /// Where the token is kept. Example: `{"name": "cloudflare", "key": "token"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_token_secret_ref: Option<SecretKeySelector>,
    /// Address of the account, with a key. Example: `ops@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// `DigitalOcean`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DigitalOcean {
    /// Where the token is kept. Example: `{"name": "digitalocean", "key": "token"}`.
    pub token_secret_ref: SecretKeySelector,
}

/// Dynamic updates (RFC 2136), signed with TSIG where a key is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136 {
    /// The zone's primary server; port 53 when absent. Example: `192.0.2.53:53`.
    pub nameserver: String,
    /// Transport of the updates; UDP when absent. Example: `TCP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["TCP", "UDP"]))]
    pub protocol: Option<String>,
    /// MAC of the TSIG key: HMACMD5 when absent, HMACSHA1, HMACSHA256, HMACSHA512. Example:
    /// `HMACSHA256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsig_algorithm: Option<String>,
    /// Name of the TSIG key. Example: `acme`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsig_key_name: Option<String>,
    /// Where the TSIG key is kept. Example: `{"name": "tsig", "key": "secret"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tsig_secret_secret_ref: Option<SecretKeySelector>,
}

/// Amazon Route 53.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route53 {
    /// The access key's ID; not together with `accessKeyIDSecretRef`. Example: `AKIAEXAMPLE`.
    #[serde(rename = "accessKeyID", skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Where the access key's ID is kept. Example: `{"name": "aws", "key": "id"}`.
    #[serde(
        rename = "accessKeyIDSecretRef",
        skip_serializing_if = "Option::is_none"
    )]
    pub access_key_id_secret_ref: Option<SecretKeySelector>,
    /// Another way to log in. Example: `{"kubernetes": {"serviceAccountRef": {"name": "dns"}}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Route53Auth>,
    /// The zone; found by its name when absent. Example: `Z0EXAMPLE`.
    #[serde(rename = "hostedZoneID", skip_serializing_if = "Option::is_none")]
    pub hosted_zone_id: Option<String>,
    /// Region of STS, which tells the parts of AWS apart; that of the operator's environment when absent, else us-east-1.
    /// With the operator's own credentials the environment's comes first. Example: `eu-west-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Role to assume. Example: `arn:aws:iam::1:role/dns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Where the secret access key is kept. Example: `{"name": "aws", "key": "secret"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_secret_ref: Option<SecretKeySelector>,
}

/// Another way to log in to AWS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route53Auth {
    /// With the token of a service account. Example: `{"serviceAccountRef": {"name": "dns"}}`.
    pub kubernetes: Route53KubernetesAuth,
}

/// Log in to AWS with the token of a service account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route53KubernetesAuth {
    /// The service account; the audience is `sts.amazonaws.com` when absent. Example: `{"name":
    /// "dns"}`.
    pub service_account_ref: ServiceAccountRef,
}

/// A solver of another project behind an aggregated API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookProvider {
    /// What that solver wants to know, free in form. Example: `{"zone": "example.com"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::any_json")]
    pub config: Option<Value>,
    /// API group of the solver. Example: `acme.example.com`.
    pub group_name: String,
    /// Name of the solver. Example: `mydns`.
    pub solver_name: String,
}
