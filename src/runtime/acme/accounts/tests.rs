//! Accounts against a CA that can be made to fail at any point.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::register::known_or_new;
use super::*;
use crate::acme::Eab;
use crate::acme::tests::fake::Response;
use crate::acme::tests::scripted::{Call, ScriptedCa};
use crate::api::{Issuer, IssuerSpec, IssuerStatus};
use crate::controllers::action::SecretPatch;
use crate::controllers::facts::{AccountKeyWish, Identity, IssuerFact};
use crate::controllers::issuer::{Observation, Outcome, Retry, Solvers};
use crate::controllers::key::Kind;
use crate::controllers::store::Change;
use crate::pki::{Curve, KeyAlgorithm, KeyEncoding, PrivateKey};

/// A cert-manager 1.21.1 cluster.
const RECORDED: &str =
    include_str!("../../../../tests/fixtures/cert-manager-1.21.1/acme-in-flight.json");

fn recorded(kind: &str, name: &str) -> Value {
    let all: Value = serde_json::from_str(RECORDED).unwrap();
    let items = all["items"].as_array().unwrap();
    let found = items
        .iter()
        .find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
    found.unwrap().clone()
}

fn observation(ca: &ScriptedCa, spec: Value, status: IssuerStatus) -> Observation {
    let mut spec: IssuerSpec = serde_json::from_value(spec).unwrap();
    let config = ca.server.config();
    let acme = spec.acme.as_mut().unwrap();
    acme.server = config.directory_url;
    acme.ca_bundle = config.ca_bundle.map(ByteString);
    let fact = IssuerFact {
        id: Identity {
            namespace: "shop".into(),
            name: "acme".into(),
            ..Identity::default()
        },
        account_key: AccountKeyWish {
            rotate: Some("now".into()),
            algorithm: Some("ES256".into()),
        },
        ..IssuerFact::of(&ObjectMeta::default(), spec, Some(status))
    };
    Observation {
        kind: Kind::Issuer,
        issuer: fact.into(),
        home: "shop".into(),
        loaded: None,
        account: AccountState::default(),
        resting: None,
        solvers: Solvers::Sound,
        leaves: vec![],
        limits: None,
    }
}

fn loaded(seen: &Observation, secret: &Secret) -> Account {
    let spec = seen.issuer.spec.acme.as_ref().unwrap();
    let pem = &secret.data.as_ref().unwrap()["tls.key"].0;
    Account::load(
        spec,
        pem,
        secret,
        Hooks::default(),
        (String::new(), 1, None),
    )
    .unwrap()
}

#[tokio::test]
async fn an_account_of_cert_manager_is_found_and_not_made() {
    let ca = ScriptedCa::start();
    let issuer: Issuer = serde_json::from_value(recorded("Issuer", "acme")).unwrap();
    let secret: Secret = serde_json::from_value(recorded("Secret", "acme-account")).unwrap();
    let status = issuer.status.unwrap();
    let seen = observation(&ca, json!(issuer.spec), status.clone());
    let account = loaded(&seen, &secret);
    let hash = status.acme.unwrap().last_private_key_hash.unwrap();
    assert_eq!(account.hash, hash, "as cert-manager has noted it");

    // cert-manager has registered it.
    let theirs = account.client.new_account(&account.key, None, None).await;
    let theirs = theirs.unwrap();
    let ours = known_or_new(&seen, &account, None, None).await.unwrap();
    assert_eq!((ours.url, ours.created), (theirs.url, false));
    let asked = ca.server.posts().pop().unwrap().payload();
    assert_eq!(asked, r#"{"onlyReturnExisting":true}"#);
    assert_eq!(ca.keys().len(), 1);

    // The CA was rebuilt: the same key is registered again.
    let key = ca.keys();
    ca.forget();
    let again = known_or_new(&seen, &account, None, None).await.unwrap();
    assert!(again.created);
    assert_eq!(ca.keys(), key);
}

/// An issuer with an external account binding, whose key may be registered already.
struct Bound {
    ca: ScriptedCa,
    accounts: AccountsInUse,
    seen: Observation,
    account: Arc<Account>,
    eab: Eab,
}

impl Bound {
    /// `noted`: the status says that the key is registered.
    async fn new(known: bool, noted: bool) -> Self {
        let ca = ScriptedCa::start();
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let pem = key.to_pem(KeyEncoding::Pkcs8).unwrap().as_bytes().to_vec();
        let secret = Secret {
            data: Some([("tls.key".to_owned(), ByteString(pem))].into()),
            ..Secret::default()
        };
        let spec = json!({ "acme": { "server": "", "privateKeySecretRef": { "name": "a" } } });
        let seen = observation(&ca, spec.clone(), IssuerStatus::default());
        let account = loaded(&seen, &secret);
        if known {
            let made = account.client.new_account(&account.key, None, None).await;
            made.unwrap();
        }
        let status = json!({ "acme": { "lastPrivateKeyHash": account.hash } });
        let status = if noted { status } else { json!({}) };
        let seen = observation(&ca, spec, serde_json::from_value(status).unwrap());
        let accounts = AccountsInUse::new(Hooks::default(), Arc::new(Signer::default()));
        let account = Arc::new(account);
        accounts.accounts.put(name_of(&seen), Arc::clone(&account));
        Self {
            ca,
            accounts,
            seen,
            account,
            eab: Eab::new("kid-1", b"c2VjcmV0").unwrap(),
        }
    }

    fn answers(&self, answers: impl IntoIterator<Item = Response>) {
        for answer in answers {
            self.ca.fault(Call::NewAccount, 1, Some(answer));
        }
    }

    async fn registered(&self) -> Result<String, String> {
        let (seen, account) = (&self.seen, &*self.account);
        match known_or_new(seen, account, None, Some(&self.eab)).await {
            Ok(found) => Ok(found.url),
            Err(refusal) => Err(refusal.explained(account).await),
        }
    }

    /// Whether each newAccount had a binding.
    fn bindings(&self) -> Vec<bool> {
        let posts = self.ca.server.posts();
        let posts = posts.iter().filter(|post| post.path == "/account");
        posts
            .map(|post| post.payload().contains("externalAccountBinding"))
            .collect()
    }
}

/// HARICA, Infisical: RFC 8555 §7.1.1 lets them.
#[tokio::test]
async fn a_ca_that_wants_the_binding_for_a_look_too_gets_it() {
    let bound = Bound::new(true, true).await;
    bound.answers([Response::problem(400, "externalAccountRequired")]);
    let url = bound.ca.server.url("/account/1");
    assert_eq!(bound.registered().await, Ok(url.clone()));
    assert_eq!(bound.bindings(), [false, false, true]);
    assert_eq!(bound.ca.keys().len(), 1, "the same account");

    // The server works, and that is what was asked.
    let store = Store::new("cm");
    stored(&store, &bound.seen, "uid");
    let mut account = bound.account.with_url(Some(url));
    account.loaded_for = ("uid".into(), 1, None);
    let name = name_of(&bound.seen);
    bound.accounts.accounts.put(name, Arc::new(account));
    bound.answers([Response::problem(400, "externalAccountRequired")]);
    let reference = serde_json::from_value(json!({ "name": "acme" })).unwrap();
    let probed = bound.accounts.probe(&store, "shop", &reference).await;
    assert_eq!(probed, Ok(()));
}

/// Google's bindings are good once, for seven days; the issuer was made anew, and its status with it.
#[tokio::test]
async fn an_account_is_found_though_its_binding_is_used_up() {
    let used_up = || Response::problem(403, "unauthorized");
    let bound = Bound::new(true, false).await;
    bound.answers([used_up()]);
    let url = bound.ca.server.url("/account/1");
    assert_eq!(bound.registered().await, Ok(url));
    assert_eq!(bound.bindings(), [false, true, false]);

    // (What comes after the refusal, what is said, and what is not.)
    let (binding, closed) = ("may be used up", "has closed the account");
    for (after, says, never) in [
        (
            Response::problem(400, "accountDoesNotExist"),
            binding,
            closed,
        ),
        (
            Response::problem(400, "externalAccountRequired"),
            binding,
            closed,
        ),
        (Response::new(502, ""), binding, closed),
        (Response::problem(401, "unauthorized"), closed, binding),
    ] {
        let bound = Bound::new(false, false).await;
        bound.answers([used_up(), after]);
        let said = bound.registered().await.unwrap_err();
        assert!(said.contains(says) && !said.contains(never), "{said}");
        assert_eq!(bound.bindings(), [true, false]);
    }
    let bound = Bound::new(false, true).await;
    bound.answers([Response::problem(400, "accountDoesNotExist"), used_up()]);
    let said = bound.registered().await.unwrap_err();
    assert!(said.contains(binding) && !said.contains(closed), "{said}");
    assert_eq!(bound.bindings(), [false, true]);

    // A fault is no refusal.
    let bound = Bound::new(true, false).await;
    bound.answers([Response::new(502, "")]);
    assert!(bound.registered().await.unwrap_err().contains("502"));
    assert_eq!(bound.bindings(), [false, true]);
}

/// An account at a CA, and another key staged for it.
struct Staged {
    ca: ScriptedCa,
    accounts: AccountsInUse,
    seen: Observation,
    old: PrivateKey,
    next: PrivateKey,
}

impl Staged {
    async fn new() -> Self {
        let ca = ScriptedCa::start();
        let [old, next] =
            [0; 2].map(|_| PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap());
        let pem = |key: &PrivateKey| {
            ByteString(key.to_pem(KeyEncoding::Pkcs8).unwrap().as_bytes().to_vec())
        };
        let entries = [("tls.key", &old), ("tls.key.next", &next)];
        let secret = Secret {
            data: Some(
                entries
                    .map(|(name, key)| (name.to_owned(), pem(key)))
                    .into(),
            ),
            ..Secret::default()
        };
        let spec = json!({ "acme": { "server": "", "privateKeySecretRef": { "name": "a" } } });
        let seen = observation(&ca, spec, IssuerStatus::default());
        let account = loaded(&seen, &secret);
        account
            .client
            .new_account(&account.key, None, None)
            .await
            .unwrap();
        let accounts = AccountsInUse::new(Hooks::default(), Arc::new(Signer::default()));
        accounts.accounts.put(name_of(&seen), Arc::new(account));
        Self {
            ca,
            accounts,
            seen,
            old,
            next,
        }
    }

    async fn change(&self) -> Outcome {
        self.accounts.change_key(&self.seen).await
    }

    /// The Secret is to have the next key alone.
    fn promotes(&self, outcome: Outcome) {
        let Outcome::KeyChanged(SecretPatch { patch, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        let pem: ByteString = serde_json::from_value(patch["data"]["tls.key"].clone()).unwrap();
        let kept = PrivateKey::from_pem(&pem.0).unwrap();
        assert_eq!(kept.public_key_der(), self.next.public_key_der());
        let data = patch["data"].as_object().unwrap();
        assert_eq!(data.get("tls.key.next"), Some(&Value::Null));
    }

    /// Whose key the CA has for its only account.
    fn at_the_ca(&self, key: &PrivateKey) {
        assert_eq!(self.ca.keys(), [key.jwk().unwrap()]);
    }
}

#[tokio::test]
async fn whatever_a_crash_has_left_both_sides_come_to_the_same_key() {
    let staged = Staged::new().await;
    assert!(
        !staged
            .accounts
            .is_usable(&Key::new(Kind::Issuer, "shop", "acme"))
    );
    staged.promotes(staged.change().await);
    staged.at_the_ca(&staged.next);
    // The Secret was not written: the CA is asked, and told nothing.
    staged.promotes(staged.change().await);
    assert_eq!(staged.ca.count(Call::KeyChange), 1);

    // The answer was lost.
    let staged = Staged::new().await;
    staged.ca.spoil(Call::KeyChange, None);
    let outcome = staged.change().await;
    assert!(
        matches!(
            outcome,
            Outcome::Refused {
                retry: Retry::Soon,
                ..
            }
        ),
        "{outcome:?}"
    );
    staged.promotes(staged.change().await);
    staged.at_the_ca(&staged.next);
    assert_eq!(staged.ca.count(Call::KeyChange), 1);

    // The CA has carried it out, and says that the key is taken.
    let staged = Staged::new().await;
    let taken = Response::problem(409, "malformed");
    staged.ca.spoil(Call::KeyChange, Some(taken));
    staged.promotes(staged.change().await);

    // The CA has neither key: the next one will be registered.
    let staged = Staged::new().await;
    staged.ca.forget();
    staged.promotes(staged.change().await);
    assert_eq!(staged.ca.count(Call::KeyChange), 0);
}

#[tokio::test]
async fn a_key_that_is_refused_is_dropped_and_one_that_cannot_be_sent_is_kept() {
    for (refusal, words) in [
        (Response::problem(400, "badPublicKey"), "badPublicKey"),
        // As Vault says that it has no such thing.
        (
            Response::json(404, &json!({ "errors": ["unsupported path"] })),
            "404",
        ),
    ] {
        let staged = Staged::new().await;
        staged.ca.fault(Call::KeyChange, 1, Some(refusal));
        let Outcome::KeyKept { patch, message } = staged.change().await else {
            panic!()
        };
        assert_eq!(
            patch.unwrap().patch,
            json!({ "data": { "tls.key.next": null } })
        );
        assert!(message.contains(words), "{message}");
        staged.at_the_ca(&staged.old);
    }

    for call in [Call::NewAccount, Call::KeyChange] {
        let staged = Staged::new().await;
        staged.ca.fault(call, 1, Some(Response::new(502, "")));
        let outcome = staged.change().await;
        assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
        staged.promotes(staged.change().await);
    }

    // The CA has it, says that it does not, and then nothing: it may be the only copy.
    let staged = Staged::new().await;
    let found = Response::json(200, &json!({ "status": "valid" }));
    for answer in [
        Response::problem(400, "accountDoesNotExist"),
        found.with("Location", staged.ca.server.url("/account/1")),
        Response::new(502, ""),
    ] {
        staged.ca.fault(Call::NewAccount, 1, Some(answer));
    }
    let refusal = Response::problem(400, "badPublicKey");
    staged.ca.spoil(Call::KeyChange, Some(refusal));
    let outcome = staged.change().await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    staged.promotes(staged.change().await);
}

#[tokio::test]
async fn another_key_is_made_as_wished() {
    let staged = Staged::new().await;
    let Outcome::KeyStaged(SecretPatch { patch, .. }) =
        staged.accounts.stage_key(&staged.seen).await
    else {
        panic!()
    };
    let annotations = json!({ "everleaf.io/account-key-rotation": "now" });
    assert_eq!(patch["metadata"], json!({ "annotations": annotations }));
    let pem: ByteString = serde_json::from_value(patch["data"]["tls.key.next"].clone()).unwrap();
    let key = PrivateKey::from_pem(&pem.0).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::Ecdsa(Curve::P256));
    assert_eq!(staged.ca.count(Call::KeyChange), 0, "stored first");
}

/// An Issuer of this uid in the store, of the first generation.
fn stored(store: &Store, seen: &Observation, uid: &str) {
    let mut fact = IssuerFact::clone(&seen.issuer);
    (fact.id.uid, fact.generation) = (uid.into(), 1);
    store.apply(Change::Issuer(Kind::Issuer, fact));
}

#[tokio::test]
async fn an_issuer_that_was_made_anew_has_nothing_of_the_one_before() {
    let staged = Staged::new().await;
    let (store, key) = (Store::new("cm"), Key::new(Kind::Issuer, "shop", "acme"));
    stored(&store, &staged.seen, "first");
    let name = name_of(&staged.seen);
    let mut account = staged.accounts.accounts.get(&name).unwrap().with_url(None);
    account.loaded_for = ("first".into(), 1, None);
    let hash = account.hash.clone();
    staged.accounts.accounts.put(name, Arc::new(account));
    assert_eq!(staged.accounts.loaded_hash(&store, &key), Some(hash));
    let answer = Answer::Refused(Some(Retry::OnChange));
    let later = now() + SignedDuration::from_mins(1);
    let about = asked(&store, &key);
    staged
        .accounts
        .note(&key, about.clone(), answer, Some(later));
    assert_eq!(staged.accounts.state(&store, &key).resting, Some(later));

    stored(&store, &staged.seen, "second");
    assert_eq!(staged.accounts.loaded_hash(&store, &key), None);
    assert_eq!(staged.accounts.state(&store, &key).resting, None);
    // It was made anew while the CA was asked: the answer is about the one before.
    staged.accounts.note(&key, about, answer, Some(later));
    assert_eq!(staged.accounts.state(&store, &key).resting, None);
}

#[tokio::test]
async fn the_account_of_an_issuer_that_has_changed_is_used_by_nobody() {
    let staged = Staged::new().await;
    let (store, name) = (Store::new("cm"), name_of(&staged.seen));
    stored(&store, &staged.seen, "uid");
    let reference = serde_json::from_value(json!({ "name": *name.1 })).unwrap();
    let account = staged.accounts.accounts.get(&name).unwrap();
    for (uid, generation, usable) in [("uid", 1, true), ("uid", 0, false), ("another", 1, false)] {
        let mut account = account.with_url(Some("https://ca.example/account/1".into()));
        (account.next, account.loaded_for) = (None, (uid.into(), generation, None));
        staged
            .accounts
            .accounts
            .put(name.clone(), Arc::new(account));
        let found = staged.accounts.account(&store, "shop", &reference);
        assert_eq!(found.is_some(), usable, "{uid} {generation}");
    }
}

/// (What the CA answered, refusals and faults in a row then.)
#[tokio::test]
async fn only_refusals_for_good_count_as_such_and_until_the_account_is_taken() {
    let ca = ScriptedCa::start();
    let spec = json!({ "acme": { "server": "", "privateKeySecretRef": { "name": "a" } } });
    let seen = observation(&ca, spec, IssuerStatus::default());
    let (store, key) = (Store::new("cm"), Key::new(Kind::Issuer, "shop", "acme"));
    stored(&store, &seen, "uid");
    let accounts = AccountsInUse::new(Hooks::default(), Arc::new(Signer::default()));
    let until = now() + SignedDuration::from_mins(1);
    for (answer, expected) in [
        (Answer::Refused(Some(Retry::Soon)), (0, 1)),
        (Answer::Refused(Some(Retry::Soon)), (0, 2)),
        (Answer::Refused(Some(Retry::OnChange)), (1, 0)),
        (Answer::Refused(Some(Retry::At(until))), (1, 0)),
        (Answer::Refused(Some(Retry::Soon)), (1, 1)),
        (Answer::Refused(Some(Retry::OnChange)), (2, 0)),
        (Answer::Refused(None), (2, 0)),
        (Answer::Taken, (0, 0)),
        (Answer::Refused(Some(Retry::OnChange)), (1, 0)),
    ] {
        accounts.note(&key, asked(&store, &key), answer, Some(until));
        let state = accounts.state(&store, &key);
        assert_eq!((state.refusals, state.faults), expected, "{answer:?}");
        let rests = answer != Answer::Taken;
        assert_eq!(state.resting, rests.then_some(until), "{answer:?}");
    }
}

/// Servers behind one name that do not share their accounts: who orders is told each time that there is none.
#[tokio::test]
async fn an_account_that_is_lost_again_and_again_is_registered_ever_less_often() {
    let mut bound = Bound::new(true, true).await;
    let (store, key) = (Store::new("cm"), Key::new(Kind::Issuer, "shop", "acme"));
    stored(&store, &bound.seen, "uid");
    let mut time = now();
    let began = time;
    let mut registered = vec![];
    for _ in 0..20 {
        bound.seen.account = bound.accounts.state(&store, &key);
        // As an Order has been told, once the account was in use.
        bound.seen.account.unknown = true;
        bound.seen.loaded = Some(bound.account.hash.clone());
        let plan = issuer::plan(&bound.seen, time);
        if plan.effect != Some(issuer::Effect::Register) {
            let Some(wake) = plan.wake else {
                panic!("{plan:?}")
            };
            let said = format!("{:?}", plan.actions);
            assert!(said.contains("registered again"), "{said}");
            time = time.checked_add(wake).unwrap();
            continue;
        }
        bound.ca.forget();
        known_or_new(&bound.seen, &bound.account, None, None)
            .await
            .unwrap();
        registered.push(time.duration_since(began).as_secs());
        bound
            .accounts
            .note(&key, asked(&store, &key), Answer::TakenAgain, None);
        // The test's own time.
        for again in bound.accounts.again.lock().values_mut() {
            again.at = time;
        }
    }
    let steps: Vec<_> = registered
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    let day = 24 * 60 * 60;
    assert_eq!(steps[..5], [60, 600, 6000, day, day]);
}

/// A CA that is made anew now and then is no such server. (How often in a row the account was taken, minutes since, whether another
/// loss is of that row.)
#[test]
fn an_account_that_was_known_for_a_while_is_registered_again_at_once() {
    let asked: Asked = ("uid".into(), 1, None, None);
    let at = now();
    for (row, minutes, counts) in [
        (1, 59, true),
        (1, 61, false),
        (2, 61, false),
        (3, 199, true),
        (3, 201, false),
        (4, 47 * 60, true),
        (4, 49 * 60, false),
        // The clock was put back.
        (1, -5, true),
    ] {
        let asked = asked.clone();
        let again = Again { asked, at, row };
        let lost = at + SignedDuration::from_mins(minutes);
        assert_eq!(again.counts(&again.asked, lost), counts, "{row} {minutes}");
        let changed = ("uid".into(), 2, None, None);
        assert!(!again.counts(&changed, lost));
    }
}
