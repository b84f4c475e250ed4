//! From a recipe to the entries of a Secret; and whether those that are there will do.

use jiff::Timestamp;
use k8s_openapi::ByteString;

use super::{Entries, Recipe};
use crate::controllers::certificate::secret::SecretData;
use crate::controllers::facts::Output;
use crate::pki::keystore::pkcs12::{self, Profile};
use crate::pki::keystore::{Identity, Password, jks};
use crate::pki::{self, ParsedCertificate, PrivateKey, first_block, parse_bundle, parse_chain};

impl Recipe {
    /// Whether each keystore has its password.
    pub fn is_complete(&self) -> bool {
        let known = |password: &Option<Password>| password.is_some();
        self.jks.as_ref().is_none_or(|(_, p)| known(p))
            && self.pkcs12.as_ref().is_none_or(|(_, p)| known(p))
    }

    /// Whether the keystores of a Secret need not be written again: all are there, none is too many, they
    /// hold this certificate, and each opens with the password of now and is of the kind that is asked
    /// for. What has no known password is not looked at.
    pub fn fits(&self, found: &Entries) -> bool {
        self.stale_jks(found).is_none() && self.stale_pkcs12(found).is_none()
    }

    /// Alias and password, if the Java keystores have to be written.
    fn stale_jks(&self, found: &Entries) -> Option<(&str, &Password)> {
        let (alias, Some(password)) = self.jks.as_ref()? else {
            return None;
        };
        let fits = |store: &[u8], leaf: Option<&ParsedCertificate>| {
            jks::opens(store, password)
                && leaf.is_none_or(|leaf| {
                    jks::alias(store).is_some_and(|found| jks::is_alias(&found, alias))
                        && jks::holds(store, leaf)
                })
        };
        let fit = are_fit(found, [Output::Jks, Output::JksTrust], &fits);
        (!fit).then_some((alias, password))
    }

    /// Profile and password, if the PKCS#12 keystores have to be written.
    fn stale_pkcs12(&self, found: &Entries) -> Option<(Profile, &Password)> {
        let (profile, Some(password)) = self.pkcs12.as_ref()? else {
            return None;
        };
        let fits = |store: &[u8], leaf: Option<&ParsedCertificate>| {
            pkcs12::opens(store, *profile, password)
                && leaf.is_none_or(|leaf| pkcs12::holds(store, leaf))
        };
        let fit = are_fit(found, [Output::Pkcs12, Output::Pkcs12Trust], &fits);
        (!fit).then_some((*profile, password))
    }

    /// All entries that are asked for, made of a private key, its chain and the CA. A keystore that fits,
    /// or that has no known password, stays as it was `found`.
    pub fn make(
        &self,
        data: &SecretData,
        found: &Entries,
        now: Timestamp,
    ) -> Result<Entries, pki::Error> {
        let mut made = Made(Entries::new());
        if self.der {
            made.put(Output::Der, first_block(&data.key)?.to_vec());
        }
        if self.combined {
            let joined = [data.key.as_slice(), b"\n", &data.certificate].concat();
            made.put(Output::CombinedPem, joined);
        }
        if self.jks.is_none() && self.pkcs12.is_none() {
            return Ok(made.0);
        }
        let key = PrivateKey::from_pem(&data.key)?;
        let chain = parse_chain(&data.certificate)?;
        let ca = data.ca.as_deref().filter(|ca| !ca.is_empty());
        let authorities = ca.map(parse_bundle).transpose()?;
        let authorities = authorities.unwrap_or_default();
        let identity = Identity {
            key: &key,
            chain: &chain,
        };
        if let Some((alias, password)) = self.stale_jks(found) {
            let identity = Some((alias, identity));
            let store = jks::encode(identity, &authorities, password, now)?;
            made.put(Output::Jks, store);
            if !authorities.is_empty() {
                let store = jks::encode(None, &authorities, password, now)?;
                made.put(Output::JksTrust, store);
            }
        } else if self.jks.is_some() {
            made.keep([Output::Jks, Output::JksTrust], found);
        }
        if let Some((profile, password)) = self.stale_pkcs12(found) {
            let store = pkcs12::keystore(profile, identity, &authorities, password)?;
            made.put(Output::Pkcs12, store);
            if !authorities.is_empty() {
                let store = pkcs12::truststore(profile, &authorities, password)?;
                made.put(Output::Pkcs12Trust, store);
            }
        } else if self.pkcs12.is_some() {
            made.keep([Output::Pkcs12, Output::Pkcs12Trust], found);
        }
        Ok(made.0)
    }
}

struct Made(Entries);

impl Made {
    fn put(&mut self, output: Output, bytes: Vec<u8>) {
        self.0.insert(output.entry().to_owned(), ByteString(bytes));
    }

    fn keep(&mut self, outputs: [Output; 2], found: &Entries) {
        for output in outputs {
            if let Some(bytes) = found.get(output.entry()) {
                self.put(output, bytes.0.clone());
            }
        }
    }
}

/// Whether a keystore and its truststore are there, the latter if there is a CA, and both fit.
fn are_fit(
    found: &Entries,
    [keystore, truststore]: [Output; 2],
    fits: &dyn Fn(&[u8], Option<&ParsedCertificate>) -> bool,
) -> bool {
    let entry = |name: &str| {
        let bytes = found.get(name).map(|bytes| bytes.0.as_slice());
        bytes.filter(|bytes| !bytes.is_empty())
    };
    let chain = parse_chain(entry("tls.crt").unwrap_or_default()).unwrap_or_default();
    entry(keystore.entry()).is_some_and(|store| fits(store, chain.first()))
        && match (entry(truststore.entry()), entry("ca.crt")) {
            (Some(store), Some(_)) => fits(store, None),
            (None, None) => true,
            _ => false,
        }
}
