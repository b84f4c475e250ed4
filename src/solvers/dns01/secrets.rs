//! Which credentials a solver refers to, and what was read of them.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::Error;
use crate::api::dns01::Dns01Solver;
use crate::api::meta::SecretKeySelector;

/// A reference of a solver to an entry of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    /// The field below `dns01`: `cloudflare.apiTokenSecretRef`.
    pub field: &'static str,
    /// What it refers to, in the namespace of the issuer's Secrets. There is no default entry.
    pub selector: &'a SecretKeySelector,
}

/// All that a solver refers to, in a fixed order. References with an empty name are none.
pub fn needs(solver: &Dns01Solver) -> Vec<Need<'_>> {
    let acme_dns = solver.acme_dns.as_ref();
    let akamai = solver.akamai.as_ref();
    let azure = solver.azure_dns.as_ref();
    let google = solver.cloud_dns.as_ref();
    let cloudflare = solver.cloudflare.as_ref();
    let digitalocean = solver.digitalocean.as_ref();
    let rfc2136 = solver.rfc2136.as_ref();
    let route53 = solver.route53.as_ref();
    let all = [
        (
            "acmeDNS.accountSecretRef",
            acme_dns.map(|p| &p.account_secret_ref),
        ),
        (
            "akamai.accessTokenSecretRef",
            akamai.map(|p| &p.access_token_secret_ref),
        ),
        (
            "akamai.clientSecretSecretRef",
            akamai.map(|p| &p.client_secret_secret_ref),
        ),
        (
            "akamai.clientTokenSecretRef",
            akamai.map(|p| &p.client_token_secret_ref),
        ),
        (
            "azureDNS.clientSecretSecretRef",
            azure.and_then(|p| p.client_secret_secret_ref.as_ref()),
        ),
        (
            "cloudDNS.serviceAccountSecretRef",
            google.and_then(|p| p.service_account_secret_ref.as_ref()),
        ),
        (
            "cloudflare.apiKeySecretRef",
            cloudflare.and_then(|p| p.api_key_secret_ref.as_ref()),
        ),
        (
            "cloudflare.apiTokenSecretRef",
            cloudflare.and_then(|p| p.api_token_secret_ref.as_ref()),
        ),
        (
            "digitalocean.tokenSecretRef",
            digitalocean.map(|p| &p.token_secret_ref),
        ),
        (
            "rfc2136.tsigSecretSecretRef",
            rfc2136.and_then(|p| p.tsig_secret_secret_ref.as_ref()),
        ),
        (
            "route53.accessKeyIDSecretRef",
            route53.and_then(|p| p.access_key_id_secret_ref.as_ref()),
        ),
        (
            "route53.secretAccessKeySecretRef",
            route53.and_then(|p| p.secret_access_key_secret_ref.as_ref()),
        ),
    ];
    let named = all.into_iter().filter_map(|(field, selector)| {
        let selector = selector.filter(|selector| !selector.name.is_empty())?;
        Some(Need { field, selector })
    });
    named.collect()
}

/// The field that stands for the token of `route53.auth.kubernetes.serviceAccountRef`, which is requested, not read.
pub const ROUTE53_TOKEN: &str = "route53.auth.kubernetes.serviceAccountRef";

/// What was read, by [`Need::field`]; and a requested token by [`ROUTE53_TOKEN`]. Wiped when it is dropped.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<&'static str, Zeroizing<Vec<u8>>>);

impl Secrets {
    /// Add what was read for a field.
    pub fn put(&mut self, field: &'static str, value: Vec<u8>) {
        self.0.insert(field, Zeroizing::new(value));
    }

    /// The bytes as they are in the Secret; `None` for a field that refers to nothing.
    pub fn bytes(&self, field: &str) -> Option<&[u8]> {
        self.0.get(field).map(|value| value.as_slice())
    }

    /// A credential in letters: white space around it, such as the newline that editors add, is no part of it. `None`
    /// for a field that refers to nothing.
    ///
    /// # Errors
    /// Permanent, when it is empty, no text, or would not survive a header.
    pub fn text(&self, field: &str) -> Result<Option<&str>, Error> {
        let Some(value) = self.0.get(field) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(value).ok().map(str::trim);
        match text.filter(|text| !text.is_empty() && !text.contains(char::is_control)) {
            Some(text) => Ok(Some(text)),
            None => Err(Error::permanent(format!(
                "dns01.{field}: the entry of the Secret is empty or no line of text: correct the Secret"
            ))),
        }
    }

    /// As [`Self::text`], of a field that this provider cannot do without.
    ///
    /// # Errors
    /// As [`Self::text`]; and permanent, when the field refers to nothing.
    pub fn required(&self, field: &str) -> Result<&str, Error> {
        self.text(field)?.ok_or_else(|| {
            Error::permanent(format!(
                "dns01.{field}: is needed: name a Secret and its entry"
            ))
        })
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::api::dns01::{Cloudflare, Route53};

    #[test]
    fn a_solver_needs_what_it_refers_to() {
        let selector = |name: &str| SecretKeySelector {
            name: name.into(),
            key: Some("k".into()),
        };
        let solver = Dns01Solver {
            cloudflare: Some(Cloudflare {
                api_token_secret_ref: Some(selector("token")),
                api_key_secret_ref: Some(selector("")),
                email: None,
            }),
            route53: Some(Route53 {
                secret_access_key_secret_ref: Some(selector("aws")),
                ..Route53::default()
            }),
            ..Dns01Solver::default()
        };
        let found: Vec<_> = needs(&solver)
            .iter()
            .map(|need| (need.field, need.selector.name.as_str()))
            .collect();
        let expected = [
            ("cloudflare.apiTokenSecretRef", "token"),
            ("route53.secretAccessKeySecretRef", "aws"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn credentials_are_trimmed_checked_and_never_printed() {
        let mut secrets = Secrets::default();
        secrets.put("cloudflare.apiTokenSecretRef", b"hunter2\n".to_vec());
        secrets.put("akamai.clientTokenSecretRef", b" \n".to_vec());
        secrets.put("route53.accessKeyIDSecretRef", b"a\nb".to_vec());
        secrets.put("azureDNS.clientSecretSecretRef", vec![0xff]);
        assert_eq!(
            secrets.required("cloudflare.apiTokenSecretRef").unwrap(),
            "hunter2"
        );
        for field in [
            "akamai.clientTokenSecretRef",
            "route53.accessKeyIDSecretRef",
            "azureDNS.clientSecretSecretRef",
        ] {
            let error = secrets.text(field).unwrap_err();
            assert!(error.text.contains(field), "{error}");
        }
        assert_eq!(secrets.text("rfc2136.tsigSecretSecretRef").unwrap(), None);
        assert!(secrets.required("rfc2136.tsigSecretSecretRef").is_err());
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }
}
