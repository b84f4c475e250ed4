//! The entries of the target Secret beside key and certificate (contract §4.6): other formats of the
//! key, and keystores with their passwords.

mod recipe;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::request::{Invalid, invalid};
use crate::api::CertificateSpec;
use crate::api::meta::{SecretKeySelector, Sensitive};
use crate::controllers::facts::{Output, OutputsFact};
use crate::pki::keystore::Password;
use crate::pki::keystore::pkcs12::Profile;

/// Longest alias of a key, in bytes: far more than any program shows.
const LONGEST_ALIAS: usize = 1024;

/// What the spec asks for, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Outputs {
    der: bool,
    combined: bool,
    jks: Option<Store<String>>,
    pkcs12: Option<Store<Profile>>,
}

/// A kind of keystore: its alias or profile, and where its password comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Store<T> {
    how: T,
    password: Source,
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    Given(Password),
    Secret(PasswordRef),
}

/// The entry of a Secret that holds a password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PasswordRef {
    /// Name of the Secret.
    pub secret: String,
    /// The entry.
    pub entry: String,
}

/// The passwords that were read, or what is wrong with them, in words for the user.
pub type Passwords = BTreeMap<PasswordRef, Result<Password, String>>;

/// What is to be written, with the passwords as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    der: bool,
    combined: bool,
    jks: Option<(String, Option<Password>)>,
    pkcs12: Option<(Profile, Option<Password>)>,
}

/// The entries of a Secret, as it has them or as they are to be.
pub type Entries = BTreeMap<String, ByteString>;

impl TryFrom<&CertificateSpec> for Outputs {
    type Error = Invalid;

    fn try_from(spec: &CertificateSpec) -> Result<Self, Invalid> {
        let mut outputs = Self::default();
        for format in spec.additional_output_formats.iter().flatten() {
            match format.type_.as_str() {
                "DER" => outputs.der = true,
                "CombinedPEM" => outputs.combined = true,
                other => {
                    let problem = format!("\"{other}\" is not DER or CombinedPEM");
                    return Err(invalid("spec.additionalOutputFormats", problem));
                }
            }
        }
        let stores = spec.keystores.as_ref();
        if let Some(wanted) = stores.and_then(|s| s.jks.as_ref()).filter(|j| j.create) {
            let field = "spec.keystores.jks";
            let alias = wanted.alias.as_deref().filter(|a| !a.is_empty());
            let alias = alias.unwrap_or("certificate");
            if alias.len() > LONGEST_ALIAS {
                return Err(invalid(field, "its alias is too long"));
            }
            let password = source(
                field,
                wanted.password.as_ref(),
                wanted.password_secret_ref.as_ref(),
            )?;
            let how = alias.to_owned();
            outputs.jks = Some(Store { how, password });
        }
        if let Some(wanted) = stores.and_then(|s| s.pkcs12.as_ref()).filter(|p| p.create) {
            let field = "spec.keystores.pkcs12";
            let name = wanted.profile.as_deref().unwrap_or_default();
            let Some(how) = Profile::from_name(name) else {
                let problem =
                    format!("\"{name}\" is not LegacyRC2, LegacyDES, Modern2023 or Modern2026");
                return Err(invalid("spec.keystores.pkcs12.profile", problem));
            };
            let password = source(
                field,
                wanted.password.as_ref(),
                wanted.password_secret_ref.as_ref(),
            )?;
            outputs.pkcs12 = Some(Store { how, password });
        }
        Ok(outputs)
    }
}

fn source(
    field: &'static str,
    given: Option<&Sensitive>,
    reference: Option<&SecretKeySelector>,
) -> Result<Source, Invalid> {
    match (given, reference.filter(|r| !r.name.is_empty())) {
        (Some(given), None) if !given.0.is_empty() => Ok(Source::Given(Password::new(&given.0))),
        (None, Some(reference)) => match reference.key.as_deref() {
            Some(entry) if !entry.is_empty() => Ok(Source::Secret(PasswordRef {
                secret: reference.name.clone(),
                entry: entry.to_owned(),
            })),
            _ => Err(invalid(
                field,
                "its passwordSecretRef has no key: name the entry of the Secret that holds the password",
            )),
        },
        _ => Err(invalid(
            field,
            "it needs exactly one of password and passwordSecretRef, and a password that is not empty",
        )),
    }
}

impl Outputs {
    /// Whether any keystore is asked for.
    pub fn has_stores(&self) -> bool {
        self.jks.is_some() || self.pkcs12.is_some()
    }

    /// The passwords that have to be read.
    pub fn password_refs(&self) -> impl Iterator<Item = &PasswordRef> {
        let jks = self.jks.as_ref().map(|s| &s.password);
        let sources = jks
            .into_iter()
            .chain(self.pkcs12.as_ref().map(|s| &s.password));
        sources.filter_map(|source| match source {
            Source::Given(_) => None,
            Source::Secret(reference) => Some(reference),
        })
    }

    /// Everything with its password, or why one is not there.
    pub fn complete(&self, passwords: &Passwords) -> Result<Recipe, String> {
        match self.problem(passwords) {
            Some(problem) => Err(problem),
            None => Ok(self.known(passwords)),
        }
    }

    /// Everything, with the passwords that are there.
    pub fn known(&self, passwords: &Passwords) -> Recipe {
        let password = |source: &Source| find(source, passwords).ok();
        Recipe {
            der: self.der,
            combined: self.combined,
            jks: self
                .jks
                .as_ref()
                .map(|s| (s.how.clone(), password(&s.password))),
            pkcs12: self.pkcs12.as_ref().map(|s| (s.how, password(&s.password))),
        }
    }

    /// What is wrong with the first password that is not there.
    fn problem(&self, passwords: &Passwords) -> Option<String> {
        let jks = self.jks.as_ref().map(|s| &s.password);
        let mut sources = jks
            .into_iter()
            .chain(self.pkcs12.as_ref().map(|s| &s.password));
        sources.find_map(|source| find(source, passwords).err())
    }

    fn wants(&self, output: Output, fact: OutputsFact) -> bool {
        match output {
            Output::Der => self.der,
            Output::CombinedPem => self.combined,
            Output::Jks => self.jks.is_some(),
            Output::JksTrust => self.jks.is_some() && fact.has_ca(),
            Output::Pkcs12 => self.pkcs12.is_some(),
            Output::Pkcs12Trust => self.pkcs12.is_some() && fact.has_ca(),
        }
    }

    /// Whether the facts show an output that is missing, wrong or too many (contract §4.5), and what
    /// keeps it from being repaired. What others wrote is theirs, unless it is asked for: a keystore is then left as it
    /// is, what needs no password is applied.
    pub fn state(&self, fact: OutputsFact, passwords: &Passwords) -> State {
        let mut state = State::Sound;
        for output in Output::ALL {
            let broken = if self.wants(output, fact) {
                !fact.is_good(output) || !(output.is_store() || fact.is_applied(output))
            } else {
                fact.is_applied(output)
            };
            if !broken {
                continue;
            }
            match self.password_problem(output, passwords) {
                Some(problem) if self.wants(output, fact) && state == State::Sound => {
                    state = State::Waiting(problem);
                }
                Some(_) if self.wants(output, fact) => {}
                _ => return State::Broken,
            }
        }
        state
    }

    fn password_problem(&self, output: Output, passwords: &Passwords) -> Option<String> {
        let source = match output {
            Output::Der | Output::CombinedPem => None,
            Output::Jks | Output::JksTrust => self.jks.as_ref().map(|s| &s.password),
            Output::Pkcs12 | Output::Pkcs12Trust => self.pkcs12.as_ref().map(|s| &s.password),
        };
        find(source?, passwords).err()
    }
}

/// How the outputs of a Secret are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As far as can be seen without a password, as they should be.
    Sound,
    /// At least one has to be written or removed.
    Broken,
    /// One has to be written, and its password is not there: why.
    Waiting(String),
}

fn find(source: &Source, passwords: &Passwords) -> Result<Password, String> {
    match source {
        Source::Given(password) => Ok(password.clone()),
        Source::Secret(reference) => match passwords.get(reference) {
            Some(found) => found.clone(),
            None => Err(missing(reference)),
        },
    }
}

/// What is said of a password whose Secret does not exist.
pub fn missing(reference: &PasswordRef) -> String {
    let PasswordRef { secret, entry } = reference;
    format!(
        "Secret \"{secret}\" with the password of a keystore does not exist; create it with the entry \"{entry}\""
    )
}

/// The password in the data of an existing Secret.
pub fn password_of(reference: &PasswordRef, data: Option<&Entries>) -> Result<Password, String> {
    let PasswordRef { secret, entry } = reference;
    let bytes = data
        .and_then(|d| d.get(entry))
        .map(|bytes| bytes.0.as_slice());
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
        return Err(format!(
            "Secret \"{secret}\" has no entry \"{entry}\" with the password of a keystore"
        ));
    };
    Ok(Password::of_bytes(bytes))
}
