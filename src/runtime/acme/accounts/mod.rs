//! The ACME accounts that this process has in use: load or make the key, register, and act for
//! Orders. None of it is the only copy of anything.

mod keys;
mod register;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::session::Session;
use crate::acme::limits::refusal_delay;
use crate::acme::{Client, Hooks, Preference, Status};
use crate::api::acme_issuer::AcmeIssuer;
use crate::api::meta::IssuerReference;
use crate::controllers::issuer::{AccountState, Retry};
use crate::controllers::key::Key;
use crate::controllers::order::Wait;
use crate::controllers::store::{Name, Store};
use crate::controllers::{issuer, order};
use crate::issuers::acme::{Account, Accounts, Trouble, client};
use crate::pki::CertificateSigningRequest;
use crate::runtime::clock::now;
use crate::runtime::signing::Signer;

/// The longest time that a look at a server may take.
const LOOK: Duration = Duration::from_secs(10);
/// Refusals that are further apart are no row.
const ROW: SignedDuration = SignedDuration::from_hours(48);
/// An account that was known for longer is not lost again: its CA was made anew.
const KNOWN: Duration = Duration::from_hours(1);

/// The accounts behind Issuers and ClusterIssuers.
pub struct AccountsInUse {
    accounts: Accounts,
    refusals: Mutex<HashMap<Name, Refusal>>,
    again: Mutex<HashMap<Name, Again>>,
    hooks: Hooks,
    signer: Arc<Signer>,
}

/// The CA refused an account. What for, until when it is left alone, and how many times in a row.
struct Refusal {
    asked: Asked,
    until: Timestamp,
    row: u32,
    faults: u32,
}

impl Refusal {
    /// Whether it is one of a row with what comes of this now.
    fn counts(&self, asked: &Asked) -> bool {
        self.asked == *asked && now().duration_since(self.until) < ROW
    }
}

/// The CA did not know an account that it had, and has taken it again: when, and how many times in a row.
struct Again {
    asked: Asked,
    at: Timestamp,
    row: u32,
}

impl Again {
    /// Whether it is one of a row with a loss that is seen at this time: the account has not been in use for much longer than
    /// it had to wait.
    fn counts(&self, asked: &Asked, at: Timestamp) -> bool {
        let known = Duration::try_from(at.duration_since(self.at)).unwrap_or_default();
        self.asked == *asked && known < (2 * refusal_delay(self.row)).max(KNOWN)
    }
}

/// What a CA made of an account, as far as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Taken,
    /// It has it, and did not know it any more before.
    TakenAgain,
    /// It refused, or could not be asked. `None`: what was refused is tried again on another wish only.
    Refused(Option<Retry>),
}

impl Answer {
    /// What is to be remembered of this. `unknown`: the CA did not know the account.
    pub fn of(outcome: &issuer::Outcome, unknown: bool) -> Option<Self> {
        match outcome {
            issuer::Outcome::Registered { .. } if unknown => Some(Self::TakenAgain),
            issuer::Outcome::Registered { .. } | issuer::Outcome::KeyChanged(_) => {
                Some(Self::Taken)
            }
            issuer::Outcome::Refused { retry, .. } => Some(Self::Refused(Some(*retry))),
            issuer::Outcome::KeyKept { .. } => Some(Self::Refused(None)),
            _ => None,
        }
    }
}

/// What a CA's answer to a registration depends on, as far as it is in the cluster: uid and generation of the
/// issuer, versions of the Secrets of the account's key and of the external account binding.
pub type Asked = (String, i64, Option<u64>, Option<u64>);

impl AccountsInUse {
    /// None is loaded yet.
    pub fn new(hooks: Hooks, signer: Arc<Signer>) -> Self {
        Self {
            accounts: Accounts::default(),
            refusals: Mutex::default(),
            again: Mutex::default(),
            hooks,
            signer,
        }
    }

    /// The account behind an issuer reference, once it is registered.
    pub fn account(
        &self,
        store: &Store,
        namespace: &str,
        reference: &IssuerReference,
    ) -> Option<Arc<Account>> {
        let issuer = store.issuer(namespace, reference)?;
        let account = self
            .accounts
            .get(&(issuer.id.namespace.clone(), issuer.id.name.clone()))?;
        // What another issuer had, or this one before it was changed, may be of another server.
        let (uid, generation, _) = &account.loaded_for;
        let is_of_it = *uid == issuer.id.uid && *generation == issuer.generation;
        (is_of_it && account.is_usable()).then_some(account)
    }

    /// The way to the server of an issuer, for what needs no account there.
    pub fn client(&self, spec: &AcmeIssuer) -> Result<Client, crate::acme::Error> {
        client(spec, self.hooks.clone())
    }

    /// Hash of the account key in use for this issuer as it is now.
    pub fn loaded_hash(&self, store: &Store, key: &Key) -> Option<String> {
        let issuer = store.issuer_named(&key.namespace, &key.name)?;
        let account = self
            .accounts
            .get(&(key.namespace.clone(), key.name.clone()))?;
        let version = secret_version(store, key, issuer.spec.acme.as_ref()?);
        let current = (issuer.id.uid.clone(), issuer.generation, version);
        (account.loaded_for == current).then(|| account.hash.clone())
    }

    /// What this process knows of the account of an issuer.
    pub fn state(&self, store: &Store, key: &Key) -> AccountState {
        let name = (key.namespace.clone(), key.name.clone());
        let account = self.accounts.get(&name);
        let refusals = self.refusals.lock();
        let refusal = refusals.get(&name);
        let refusal =
            refusal.filter(|refusal| asked(store, key).is_some_and(|asked| refusal.counts(&asked)));
        let again = self.again.lock();
        let again = again.get(&name);
        let again = again
            .filter(|again| asked(store, key).is_some_and(|asked| again.counts(&asked, now())));
        let trouble = account.as_ref().and_then(|account| account.trouble());
        let (unknown, blocked) = match trouble {
            None => (false, None),
            Some(Trouble::Unknown) => (true, None),
            Some(Trouble::Blocked(why)) => (false, Some(why)),
        };
        AccountState {
            unknown,
            registered_again: again.map(|again| (again.at, again.row)),
            blocked,
            staged: account
                .as_ref()
                .is_some_and(|account| account.next.is_some()),
            rotation: account.and_then(|account| account.rotation.clone()),
            resting: refusal.map(|refusal| refusal.until),
            refusals: refusal.map_or(0, |refusal| refusal.row),
            faults: refusal.map_or(0, |refusal| refusal.faults),
        }
    }

    /// Take note of the CA's answer. One that has refused is left alone until then; only what would be refused again counts
    /// towards longer waits, and only until the account is taken.
    ///
    /// `asked`: what it was asked about, taken before the question.
    pub fn note(&self, key: &Key, asked: Option<Asked>, answer: Answer, until: Option<Timestamp>) {
        let name = (key.namespace.clone(), key.name.clone());
        if answer == Answer::TakenAgain
            && let Some(asked) = asked.clone()
        {
            let mut again = self.again.lock();
            let at = now();
            let before = again.get(&name).filter(|before| before.counts(&asked, at));
            let row = before.map_or(0, |before| before.row).saturating_add(1);
            again.insert(name.clone(), Again { asked, at, row });
        }
        let Answer::Refused(retry) = answer else {
            self.refusals.lock().remove(&name);
            return;
        };
        if let Some((asked, until)) = asked.zip(until) {
            let mut refusals = self.refusals.lock();
            let before = refusals.get(&name).filter(|before| before.counts(&asked));
            let (row, faults) = before.map_or((0, 0), |before| (before.row, before.faults));
            let (row, faults) = match retry {
                Some(Retry::OnChange) => (row.saturating_add(1), 0),
                Some(Retry::Soon) => (row, faults.saturating_add(1)),
                Some(Retry::At(_)) | None => (row, 0),
            };
            let refusal = Refusal {
                asked,
                until,
                row,
                faults,
            };
            refusals.insert(name, refusal);
        }
    }

    /// Whether Orders of this issuer can go on.
    pub fn is_usable(&self, key: &Key) -> bool {
        self.accounts
            .get(&(key.namespace.clone(), key.name.clone()))
            .is_some_and(|account| account.is_usable())
    }

    /// The issuer is gone.
    pub fn forget(&self, key: &Key) {
        let name = (key.namespace.clone(), key.name.clone());
        self.accounts.remove(&name);
        self.refusals.lock().remove(&name);
        self.again.lock().remove(&name);
    }

    /// Whether the server of an issuer answers and knows the account; if not, why.
    pub async fn probe(
        &self,
        store: &Store,
        namespace: &str,
        reference: &IssuerReference,
    ) -> Result<(), String> {
        let account = self.account(store, namespace, reference);
        let account = account.ok_or("the ACME account is not registered yet")?;
        let looked = async {
            account.client.probe().await?;
            account.client.find_account(&account.key).await
        };
        // Others wait for what is found out.
        let found = tokio::time::timeout(LOOK, looked).await;
        let found = found.map_err(|_| format!("no reply within {} s", LOOK.as_secs()))?;
        match found {
            Ok(found) => match found.status {
                status @ (Status::Deactivated | Status::Revoked) => {
                    Err(format!("the ACME account is {}", status.as_str()))
                }
                _ => Ok(()),
            },
            // It does not say, and it works.
            Err(error) if error.wants_binding() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// An Order's effect.
    pub async fn order(
        &self,
        account: &Account,
        seen: &order::Observation,
        question: order::Question,
    ) -> order::Outcome {
        let Some(session) = Session::new(account, now()) else {
            return order::Outcome::Unavailable {
                reason: "the ACME account is not registered yet".into(),
                wait: Wait::Fault,
            };
        };
        let url = seen
            .order
            .status
            .as_ref()
            .and_then(|s| s.url.clone())
            .unwrap_or_default();
        match question {
            order::Question::Create {
                identifiers,
                duration,
                profile,
                replaces,
            } => {
                let (profile, replaces) = (profile.as_deref(), replaces.as_deref());
                session
                    .create_order(&identifiers, duration, profile, replaces)
                    .await
            }
            order::Question::Read => session.read_order(&url).await,
            order::Question::Complete => {
                let request = &seen.order.spec.request.0;
                let der = CertificateSigningRequest::parse_pem(request)
                    .or_else(|_| CertificateSigningRequest::parse_der(request));
                match der {
                    Ok(csr) => {
                        let acme = seen.issuer.as_ref().and_then(|i| i.spec.acme.as_ref());
                        let preference = Preference {
                            issuer: acme.and_then(|a| a.preferred_chain.as_deref()),
                            waits: seen.memo.waits_for_a_chain(),
                        };
                        session.complete_order(&url, &csr, preference).await
                    }
                    Err(error) => order::Outcome::Ended {
                        state: "errored".into(),
                        reason: format!("spec.request cannot be read: {error}"),
                    },
                }
            }
        }
    }
}

/// The issuer was another one when its effect was planned.
fn no_longer() -> issuer::Outcome {
    issuer::Outcome::KeyMissing("spec.acme is gone".into())
}

fn name_of(seen: &issuer::Observation) -> Name {
    let id = &seen.issuer.id;
    (id.namespace.clone(), id.name.clone())
}

fn secret_version(store: &Store, key: &Key, spec: &AcmeIssuer) -> Option<u64> {
    store.secret_version(
        store.home(key.kind, &key.namespace),
        &spec.private_key_secret_ref.name,
    )
}

/// What the CA's answer to a question about this issuer is about, if it is asked now.
pub fn asked(store: &Store, key: &Key) -> Option<Asked> {
    let issuer = store.issuer_named(&key.namespace, &key.name)?;
    let spec = issuer.spec.acme.as_ref()?;
    let binding = spec.external_account_binding.as_ref();
    let binding = binding.and_then(|b| {
        store.secret_version(store.home(key.kind, &key.namespace), &b.key_secret_ref.name)
    });
    let version = secret_version(store, key, spec);
    Some((issuer.id.uid.clone(), issuer.generation, version, binding))
}
