use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::jws::{Jws, Signer, to_json};
use super::nonces::Nonces;
use super::reply::Reply;
use super::transport::Transport;
use super::url::Origin;
use super::{Action, CallHook, CallStage, Directory, Error, Observer};
use crate::net::clean;

/// For one call with its nonce and its repetitions: what cert-manager gives a single request.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a request is signed anew because the server did not take its nonce (RFC 8555 §6.5).
const NONCE_RETRIES: usize = 5;
/// Internal Server Error.
const INTERNAL: u16 = 500;
const DIRECTORY_LIFETIME: Duration = Duration::from_hours(12);
/// Calls that waited while the directory could not be fetched fail with the same error instead of trying in turn.
const DIRECTORY_FAILURE_LIFETIME: Duration = Duration::from_secs(2);

/// Where a server is and how to trust it.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// https, as RFC 8555 §6.1 has it; or http, as cert-manager takes it for servers inside of a cluster.
    pub directory_url: String,
    /// PEM certificates that replace the public roots.
    pub ca_bundle: Option<Vec<u8>>,
    /// Take any server certificate.
    pub skip_tls_verify: bool,
    /// RFC 8555 §6.1 demands one.
    pub user_agent: String,
}

/// Who wants to know about calls.
#[derive(Clone, Default)]
pub struct Hooks {
    pub observer: Option<Observer>,
    pub on_call: Option<CallHook>,
}

/// A server. Clones share connections, nonces and the directory.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    directory_url: String,
    transport: Transport,
    directory: AsyncMutex<Option<Fetched>>,
    nonces: Nonces,
    on_call: Option<CallHook>,
}

struct Fetched {
    at: Instant,
    result: Result<Arc<Known>, Error>,
}

impl Fetched {
    fn is_within(&self, age: Duration) -> bool {
        let lifetime = match self.result {
            Ok(_) => age,
            Err(_) => DIRECTORY_FAILURE_LIFETIME,
        };
        self.at.elapsed() < lifetime
    }
}

/// The directory and where it leads.
struct Known {
    directory: Arc<Directory>,
    origins: Vec<Origin>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("directory_url", &self.shared.directory_url)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes no request.
    pub fn new(config: &ServerConfig) -> Result<Self, Error> {
        Self::with_hooks(config, Hooks::default())
    }

    /// Like [`new`](Self::new), with somebody who wants to know about calls.
    pub fn with_hooks(config: &ServerConfig, hooks: Hooks) -> Result<Self, Error> {
        Origin::of(&config.directory_url)?;
        let transport = Transport::new(
            config.ca_bundle.as_deref(),
            config.skip_tls_verify,
            &config.user_agent,
            hooks.observer,
        )?;
        Ok(Self {
            shared: Arc::new(Shared {
                directory_url: config.directory_url.clone(),
                transport,
                directory: AsyncMutex::new(None),
                nonces: Nonces::default(),
                on_call: hooks.on_call,
            }),
        })
    }

    /// Where the server's directory is.
    pub fn directory_url(&self) -> &str {
        &self.shared.directory_url
    }

    /// The server's directory, at most 12 hours old.
    pub async fn directory(&self) -> Result<Arc<Directory>, Error> {
        self.directory_within(DIRECTORY_LIFETIME).await
    }

    /// The server's directory, fetched anew if it is older than that.
    pub(super) async fn directory_within(&self, age: Duration) -> Result<Arc<Directory>, Error> {
        let known = self.known_within(age, deadline()).await?;
        Ok(Arc::clone(&known.directory))
    }

    /// As if it had been fetched so much earlier.
    #[cfg(test)]
    pub(super) async fn age_directory(&self, by: Duration) {
        if let Some(fetched) = &mut *self.shared.directory.lock().await {
            fetched.at -= by;
        }
    }

    /// As if the nonces had been given so much earlier.
    #[cfg(test)]
    pub(super) fn age_nonces(&self, by: Duration) {
        self.shared.nonces.age(by);
    }

    /// Ask for the directory anew: whether the server answers.
    pub async fn probe(&self) -> Result<(), Error> {
        *self.shared.directory.lock().await = None;
        self.directory().await.map(drop)
    }

    async fn known(&self, deadline: Instant) -> Result<Arc<Known>, Error> {
        self.known_within(DIRECTORY_LIFETIME, deadline).await
    }

    async fn known_within(&self, age: Duration, deadline: Instant) -> Result<Arc<Known>, Error> {
        let mut cached = self.shared.directory.lock().await;
        if let Some(fetched) = cached.as_ref().filter(|fetched| fetched.is_within(age)) {
            return fetched.result.clone();
        }
        let result = self.fetch_directory(deadline).await.map(Arc::new);
        *cached = Some(Fetched {
            at: Instant::now(),
            result: result.clone(),
        });
        result
    }

    async fn fetch_directory(&self, deadline: Instant) -> Result<Known, Error> {
        let url = &self.shared.directory_url;
        let transport = &self.shared.transport;
        let exchange = transport
            .exchange(Action::Discover, Method::GET, url, None, deadline)
            .await;
        self.shared.nonces.keep(exchange.nonce);
        let directory: Directory = exchange.result?.json("directory")?;
        let own = Origin::of(url)?;
        // The others fail when they are used, and these still are of use.
        let named = directory.urls().filter_map(|url| Origin::of(url).ok());
        let mut origins: Vec<_> = named.filter(|named| own.may_lead_to(named)).collect();
        origins.push(own);
        origins.dedup();
        Ok(Known {
            directory: Arc::new(directory),
            origins,
        })
    }

    /// Signs `payload` (empty: POST-as-GET) and posts it to `url`.
    pub(super) async fn post(
        &self,
        action: Action,
        signer: Signer<'_>,
        url: &str,
        payload: &str,
    ) -> Result<Reply, Error> {
        let deadline = deadline();
        let known = self.known(deadline).await?;
        known.check(url)?;
        self.notify(action, CallStage::Before);
        let result = self
            .post_signed(action, signer, url, payload, &known, deadline)
            .await;
        self.notify(action, CallStage::After);
        if let Err(error) = &result
            && error.finds_nothing()
        {
            // The server may have moved its resources.
            *self.shared.directory.lock().await = None;
        }
        result
    }

    /// Gets what anybody may (RFC 9773 §4.1).
    pub(super) async fn get_unsigned(&self, action: Action, url: &str) -> Result<Reply, Error> {
        let deadline = deadline();
        self.known(deadline).await?.check(url)?;
        self.notify(action, CallStage::Before);
        let transport = &self.shared.transport;
        let exchange = transport
            .exchange(action, Method::GET, url, None, deadline)
            .await;
        self.notify(action, CallStage::After);
        exchange.result
    }

    async fn post_signed(
        &self,
        action: Action,
        signer: Signer<'_>,
        url: &str,
        payload: &str,
        known: &Known,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let nonces = &self.shared.nonces;
        let kept = nonces.take();
        let mut may_be_stale = kept.is_some();
        let mut nonce = match kept {
            Some(nonce) => nonce,
            None => self.fetch_nonce(action, known, deadline).await?,
        };
        let mut retries = NONCE_RETRIES;
        loop {
            let body = to_json(&Jws::sign(signer, url, &nonce, payload)?)?;
            let transport = &self.shared.transport;
            let exchange = transport
                .exchange(action, Method::POST, url, Some(body), deadline)
                .await;
            match exchange.result {
                Err(error) if error.is_bad_nonce() && retries > 0 => {
                    retries -= 1;
                    // The nonce of the refusal itself is the freshest there is.
                    nonce = match exchange.nonce {
                        Some(nonce) => nonce,
                        None => self.fetch_nonce(action, known, deadline).await?,
                    };
                }
                // Dogtag's answer to a nonce that it does not know.
                Err(error)
                    if may_be_stale
                        && exchange.nonce.is_none()
                        && error.problem().is_none()
                        && error.status() == Some(INTERNAL) =>
                {
                    may_be_stale = false;
                    nonces.clear();
                    if action == Action::AuthorizeOrder {
                        // Something before the server may have answered, and the order be made: who asks decides.
                        return Err(error);
                    }
                    nonce = self.fetch_nonce(action, known, deadline).await?;
                }
                result => {
                    nonces.keep(exchange.nonce);
                    return result;
                }
            }
        }
    }

    async fn fetch_nonce(
        &self,
        action: Action,
        known: &Known,
        deadline: Instant,
    ) -> Result<String, Error> {
        let url = known.directory.new_nonce.as_deref();
        let url = url.ok_or(Error::Unsupported("newNonce"))?;
        known.check(url)?;
        let transport = &self.shared.transport;
        let exchange = transport
            .exchange(action, Method::HEAD, url, None, deadline)
            .await;
        exchange.result?;
        exchange
            .nonce
            .ok_or_else(|| Error::Protocol("no Replay-Nonce from newNonce".to_owned()))
    }

    fn notify(&self, action: Action, stage: CallStage) {
        if let Some(hook) = &self.shared.on_call {
            hook(action, stage);
        }
    }
}

impl Known {
    /// A request goes only where the directory leads: URLs are kept in objects that others can write.
    fn check(&self, url: &str) -> Result<(), Error> {
        if self.origins.contains(&Origin::of(url)?) {
            return Ok(());
        }
        Err(Error::Url {
            url: clean(url, 256),
            reason: "not on the ACME server that the directory names".to_owned(),
        })
    }
}

fn deadline() -> Instant {
    Instant::now() + CALL_TIMEOUT
}
