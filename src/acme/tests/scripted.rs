//! A whole CA that a test can make fail in any way: accounts, orders, authorizations and certificates as RFC 8555 has
//! them, but for signatures, which it does not check. A real CA cannot be made to show these faults.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::{AccountRef, Client};
use super::fake::{FakeServer, Request, Response};
use crate::pki::{
    CertificateSigningRequest, CertificateTemplate, Curve, IssuerIdentity, KeyAlgorithm, KeyUsages,
    ParsedCertificate, PrivateKey, RequestParams, Subject, Urls, build_request, self_sign, sign,
};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Account,
    NewAccount,
    KeyChange,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
    /// Another chain of a certificate, which there is none of.
    Alternate,
}

impl Call {
    fn of(path: &str) -> Option<Self> {
        let first = path.trim_start_matches('/').split('/').next();
        Some(match (first?, path.trim_start_matches('/').contains('/')) {
            ("account", false) => Self::NewAccount,
            ("account", true) => Self::Account,
            ("key-change", _) => Self::KeyChange,
            ("order", false) => Self::NewOrder,
            ("order", true) => Self::Order,
            ("authz", _) => Self::Authorization,
            ("challenge", _) => Self::Challenge,
            ("finalize", _) => Self::Finalize,
            ("certificate", _) => Self::Certificate,
            ("alternate", _) => Self::Alternate,
            _ => return None,
        })
    }
}

/// How the certificates are that it signs.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    /// Signed instead of what was asked for; DER.
    pub(crate) instead: Option<Vec<u8>>,
    /// Start of validity, from now.
    pub(crate) begins: SignedDuration,
    pub(crate) lifetime: Duration,
    /// The CA first, then the leaf.
    pub(crate) reversed: bool,
    /// Another CA stands between leaf and root.
    pub(crate) stranger: bool,
}

impl Default for Issue {
    fn default() -> Self {
        Self {
            instead: None,
            begins: SignedDuration::ZERO,
            lifetime: Duration::from_hours(1),
            reversed: false,
            stranger: false,
        }
    }
}

#[derive(Default)]
struct State {
    /// Status by number; the key's JWK as text.
    accounts: Vec<(String, &'static str)>,
    orders: Vec<Order>,
    faults: HashMap<Call, Vec<Option<Response>>>,
    spoilt: HashMap<Call, Option<Response>>,
    counts: HashMap<Call, usize>,
    issue: Issue,
    /// Authorizations are born valid.
    reuses: bool,
    /// Orders stay in this state once they are finalized.
    stuck: Option<&'static str>,
    /// What an order says about its end.
    expires: Option<Timestamp>,
}

struct Order {
    names: Vec<Value>,
    proven: bool,
    /// Once it is finalized.
    chain: Option<String>,
}

/// The CA. It ends with the test's process.
pub(crate) struct ScriptedCa {
    pub(crate) server: FakeServer,
    state: Arc<Mutex<State>>,
}

impl ScriptedCa {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let signer = Signer::new();
        let server = FakeServer::start(move |request| {
            let call = Call::of(&request.path)?;
            let mut state = shared.lock();
            *state.counts.entry(call).or_default() += 1;
            if let Some(faults) = state.faults.get_mut(&call)
                && !faults.is_empty()
            {
                return faults.remove(0);
            }
            let answer = state.answer(call, request, &signer);
            match state.spoilt.remove(&call) {
                Some(spoilt) => spoilt,
                None => Some(answer),
            }
        });
        Self { server, state }
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    /// A registered account of a new key.
    pub(crate) fn account(&self) -> AccountRef {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let jwk = key.jwk().unwrap();
        let mut state = self.state.lock();
        state.accounts.push((jwk, "valid"));
        let kid = format!("{}/account/{}", self.server.base, state.accounts.len());
        AccountRef {
            key: Arc::new(key),
            kid,
        }
    }

    /// The next requests of this kind are answered so; `None` closes the connection without a word.
    pub(crate) fn fault(&self, call: Call, times: usize, response: Option<Response>) {
        let mut state = self.state.lock();
        let faults = state.faults.entry(call).or_default();
        faults.extend(std::iter::repeat_n(response, times));
    }

    /// The next request of this kind is carried out, and answered so all the same.
    pub(crate) fn spoil(&self, call: Call, response: Option<Response>) {
        self.state.lock().spoilt.insert(call, response);
    }

    /// How many requests of this kind there were.
    pub(crate) fn count(&self, call: Call) -> usize {
        self.state.lock().counts.get(&call).copied().unwrap_or(0)
    }

    pub(crate) fn issue(&self, issue: Issue) {
        self.state.lock().issue = issue;
    }

    /// New authorizations are valid from the start.
    pub(crate) fn reuse_authorizations(&self) {
        self.state.lock().reuses = true;
    }

    /// Orders stay in this state once they are finalized.
    pub(crate) fn stick(&self, state: Option<&'static str>) {
        self.state.lock().stuck = state;
    }

    /// What new orders say about their end.
    pub(crate) fn expires(&self, at: Timestamp) {
        self.state.lock().expires = Some(at);
    }

    /// Every name of every order is proven.
    pub(crate) fn prove(&self) {
        for order in &mut self.state.lock().orders {
            order.proven = true;
        }
    }

    /// It is rebuilt: nothing is known any more.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.accounts.clear();
        state.orders.clear();
    }

    /// The status of all accounts becomes this one.
    pub(crate) fn set_accounts(&self, status: &'static str) {
        for account in &mut self.state.lock().accounts {
            account.1 = status;
        }
    }

    /// The key of each account, as JWK; in the order of their registration.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state.lock();
        state.accounts.iter().map(|(key, _)| key.clone()).collect()
    }
}

fn number(path: &str) -> usize {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.parse().unwrap_or(0)
}

impl State {
    fn answer(&mut self, call: Call, request: &Request, signer: &Signer) -> Response {
        let header = request.protected();
        let url = header["url"].as_str().unwrap_or_default();
        let base = url.strip_suffix(&request.path).unwrap_or_default();
        if let Some(kid) = header["kid"].as_str() {
            let known = number(kid).checked_sub(1);
            match known.and_then(|index| self.accounts.get(index)) {
                None => return Response::problem(400, "accountDoesNotExist"),
                Some((_, "valid")) => {}
                Some(_) => return Response::problem(401, "unauthorized"),
            }
        }
        let number = number(&request.path);
        match call {
            Call::NewAccount => self.register(request, base),
            Call::Account => Response::json(200, &json!({"status": "valid"})),
            Call::KeyChange => self.change_key(request),
            Call::NewOrder => {
                let payload: Value = serde_json::from_str(&request.payload()).unwrap();
                let names = payload["identifiers"].as_array().unwrap().clone();
                self.orders.push(Order {
                    names,
                    proven: self.reuses,
                    chain: None,
                });
                let number = self.orders.len();
                self.order(number, base, 201)
                    .with("Location", format!("{base}/order/{number}"))
            }
            Call::Order => self.order(number, base, 200),
            Call::Authorization => self.authorization(&request.path, base),
            Call::Challenge => Response::json(
                200,
                &json!({"type": "http-01", "url": url, "token": "token", "status": "processing"}),
            ),
            Call::Finalize => self.finalize(number, base, request, signer),
            Call::Certificate => {
                let order = number.checked_sub(1).and_then(|n| self.orders.get(n));
                match order.and_then(|order| order.chain.clone()) {
                    Some(chain) => {
                        let alternate = format!("</alternate/{number}>;rel=\"alternate\"");
                        Response::new(200, chain).with("Link", alternate)
                    }
                    None => Response::problem(404, "malformed"),
                }
            }
            Call::Alternate => Response::problem(404, "malformed"),
        }
    }

    fn register(&mut self, request: &Request, base: &str) -> Response {
        let header = request.protected();
        // Members are sorted, as those of our own text are.
        let jwk = header["jwk"].to_string();
        let payload: Value = serde_json::from_str(&request.payload()).unwrap();
        let found = self.accounts.iter().position(|(key, _)| *key == jwk);
        let (status, number) = match found {
            Some(index) => (200, index + 1),
            None if payload["onlyReturnExisting"] == true => {
                return Response::problem(400, "accountDoesNotExist");
            }
            None => {
                self.accounts.push((jwk, "valid"));
                (201, self.accounts.len())
            }
        };
        let known = self.accounts[number - 1].1;
        Response::json(
            status,
            &json!({"status": known, "contact": payload["contact"]}),
        )
        .with("Location", format!("{base}/account/{number}"))
    }

    fn change_key(&mut self, request: &Request) -> Response {
        let inner: Value = serde_json::from_str(&request.payload()).unwrap();
        let part = |name: &str| -> Value {
            let text = URL_SAFE_NO_PAD
                .decode(inner[name].as_str().unwrap())
                .unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        let (header, payload) = (part("protected"), part("payload"));
        let outer = request.protected();
        let account = payload["account"].as_str().unwrap_or_default();
        let old = payload["oldKey"].to_string();
        let index = number(account).checked_sub(1);
        let known = index.and_then(|index| self.accounts.get_mut(index));
        let fits = outer["kid"] == account
            && inner["signature"].is_string()
            && header["url"] == outer["url"]
            && header["nonce"].is_null();
        match known {
            Some((key, _)) if *key == old && fits => {
                *key = header["jwk"].to_string();
                Response::json(200, &json!({"status": "valid"}))
            }
            _ => Response::problem(400, "malformed"),
        }
    }

    fn order(&self, number: usize, base: &str, status: u16) -> Response {
        let Some(order) = number.checked_sub(1).and_then(|n| self.orders.get(n)) else {
            return Response::problem(404, "malformed");
        };
        let state = match (&order.chain, order.proven) {
            (Some(_), _) => self.stuck.unwrap_or("valid"),
            (None, true) => "ready",
            (None, false) => "pending",
        };
        let authorizations: Vec<_> = (0..order.names.len())
            .map(|index| format!("{base}/authz/{number}-{index}"))
            .collect();
        let has_certificate = state == "valid" && self.stuck.is_none();
        Response::json(
            status,
            &json!({
                "status": state,
                "expires": self.expires,
                "identifiers": order.names,
                "authorizations": authorizations,
                "finalize": format!("{base}/finalize/{number}"),
                "certificate": has_certificate.then(|| format!("{base}/certificate/{number}")),
            }),
        )
    }

    fn authorization(&self, path: &str, base: &str) -> Response {
        let last = path.rsplit('/').next().unwrap_or_default();
        let parts = last.split_once('-');
        let found = parts.and_then(|(order, index)| {
            let order: usize = order.parse().ok()?;
            let order = self.orders.get(order.checked_sub(1)?)?;
            Some((order, order.names.get(index.parse::<usize>().ok()?)?))
        });
        let Some((order, name)) = found else {
            return Response::problem(404, "malformed");
        };
        let status = if order.proven { "valid" } else { "pending" };
        let challenge = |kind: &str| json!({"type": kind, "url": format!("{base}/challenge/{last}-{kind}"), "token": "token", "status": status});
        Response::json(
            200,
            &json!({
                "identifier": name,
                "status": status,
                "challenges": [challenge("http-01"), challenge("dns-01")],
            }),
        )
    }

    fn finalize(
        &mut self,
        number: usize,
        base: &str,
        request: &Request,
        signer: &Signer,
    ) -> Response {
        let issue = self.issue.clone();
        let Some(order) = number.checked_sub(1).and_then(|n| self.orders.get_mut(n)) else {
            return Response::problem(404, "malformed");
        };
        if !order.proven || order.chain.is_some() {
            return Response::problem(403, "orderNotReady");
        }
        let payload: Value = serde_json::from_str(&request.payload()).unwrap();
        let csr = URL_SAFE_NO_PAD
            .decode(payload["csr"].as_str().unwrap())
            .unwrap();
        order.chain = Some(signer.chain(&csr, &issue));
        self.order(number, base, 200)
    }
}

/// A root that signs what it is asked for, or something else.
struct Signer {
    key: PrivateKey,
    root: ParsedCertificate,
}

impl Signer {
    fn new() -> Self {
        let key = PrivateKey::generate(KeyAlgorithm::Ecdsa(Curve::P256)).unwrap();
        let params = RequestParams {
            subject: Subject::from_common_name("scripted CA"),
            ..RequestParams::default()
        };
        let csr = request(&params, &key);
        let root = self_sign(&template(&csr, true, &Issue::default()), &key).unwrap();
        Self { key, root }
    }

    fn chain(&self, csr: &[u8], issue: &Issue) -> String {
        let csr = issue.instead.as_deref().unwrap_or(csr);
        let csr = &CertificateSigningRequest::parse_der(csr).unwrap();
        let issuer = IssuerIdentity {
            subject_der: self.root.subject().as_der(),
            subject_key_id: self.root.subject_key_id(),
            key: &self.key,
        };
        let leaf = sign(&template(csr, false, issue), issuer).unwrap();
        let mut chain = vec![leaf.to_pem(), self.root.to_pem()];
        if issue.reversed {
            chain.reverse();
        }
        if issue.stranger {
            chain.insert(1, Self::new().root.to_pem());
        }
        chain.concat()
    }
}

fn request(params: &RequestParams, key: &PrivateKey) -> CertificateSigningRequest {
    CertificateSigningRequest::parse_pem(build_request(params, key).unwrap().as_bytes()).unwrap()
}

#[allow(
    clippy::disallowed_methods,
    reason = "what it signs is checked against the clock"
)]
fn template<'a>(
    csr: &'a CertificateSigningRequest,
    is_ca: bool,
    issue: &Issue,
) -> CertificateTemplate<'a> {
    CertificateTemplate {
        csr,
        not_before: Timestamp::now() + issue.begins,
        duration: issue.lifetime,
        is_ca,
        usages: KeyUsages::from_names(&["digital signature", "server auth"], is_ca).unwrap(),
        urls: Urls::default(),
    }
}
