//! How the API server is reached.

use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use tower_layer::layer_fn;
use tower_service::Service;

use super::informer::WATCH_SECONDS;
use super::kubeconfig;
use super::options::Options;
use crate::net;

/// How long the API server may take to begin with an answer: of a list it does when it has all of a page, of a watch at
/// once. It gives itself a minute (`--request-timeout`), and those to whom it passes on what webhook solvers are asked.
const ANSWER: Duration = Duration::from_secs(65);
/// How long it may be silent in the middle of one; a watch without news is, until the API server ends it.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 30);

/// A client of the cluster that the flags name, or of the one that this process is in.
///
/// # Errors
/// The configuration cannot be read, or wants something that does not work here.
pub async fn client(options: &Options) -> anyhow::Result<Client> {
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let choice = KubeConfigOptions {
        context: text(&options.context),
        ..KubeConfigOptions::default()
    };
    let file = match options.kubeconfig.as_str() {
        "" => kubeconfig::usual().context("the kubeconfig")?,
        path => Some(kubeconfig::read(Path::new(path)).context("--kubeconfig")?),
    };
    let mut config = match file {
        Some(file) => Config::from_custom_kubeconfig(file, &choice)
            .await
            .context("the kubeconfig")?,
        None if !options.context.is_empty() => anyhow::bail!("--context: there is no kubeconfig"),
        None => Config::incluster().with_context(|| {
            let places = kubeconfig::places();
            let places: Vec<_> = places
                .iter()
                .map(|place| place.display().to_string())
                .collect();
            format!(
                "no cluster to work in: not in a Pod, and there is no kubeconfig ({})",
                places.join(", ")
            )
        })?,
    };
    go_directly(&mut config)?;
    // Retries are ours: each call has a deadline, and each object a back-off.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(10));
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    let agent = HeaderValue::from_static(concat!("everleaf/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
    let client = ClientBuilder::try_from(config).context("the client of the API server")?;
    let answered = layer_fn(|of| Answered { of, within: ANSWER });
    Ok(client.with_layer(&answered).build())
}

/// Whose answers begin in time, or not at all: a node of the API server that is lost says nothing, and a connection to it
/// would be believed in for a quarter of an hour.
#[derive(Clone)]
struct Answered<S> {
    of: S,
    within: Duration,
}

impl<S, B> Service<Request<Body>> for Answered<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Failure> + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Response<B>, Failure>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.of.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = tokio::time::timeout(self.within, self.of.call(request));
        Box::pin(async move {
            match answer.await {
                Ok(answer) => answer.map_err(Into::into),
                Err(_) => Err("no answer from the API server in time".into()),
            }
        })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The API server is connected to without a proxy, or not at all: a kubeconfig names one, and so does `HTTPS_PROXY`,
/// whose exceptions are not in the configuration yet.
fn go_directly(config: &mut Config) -> anyhow::Result<()> {
    let names = ["HTTPS_PROXY", "https_proxy"];
    let is_named = names
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|proxy| !proxy.is_empty()));
    let excepted = is_named && !net::Proxies::of_environment().lead_to(&config.cluster_url);
    if excepted {
        config.proxy_url = None;
    }
    anyhow::ensure!(
        config.proxy_url.is_none(),
        "HTTPS_PROXY, or proxy-url of the kubeconfig, names a proxy on the way to the API server, and this version has to \
         connect to it directly: put the host of {} into NO_PROXY",
        config.cluster_url
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use futures::StreamExt;
    use k8s_openapi::api::core::v1::Secret;
    use kube::Api;
    use kube::runtime::watcher;

    use super::*;

    /// A node that is lost while it has the question: a real API server cannot be made to be.
    #[derive(Clone)]
    struct Lost;

    impl Service<Request<Body>> for Lost {
        type Response = Response<Body>;
        type Error = std::convert::Infallible;
        type Future = std::future::Pending<Result<Response<Body>, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::pending()
        }
    }

    #[tokio::test]
    async fn a_list_that_nobody_answers_has_failed_in_time() {
        let client = ClientBuilder::new(Lost, "default").with_layer(&layer_fn(|of| Answered {
            of,
            within: Duration::from_millis(20),
        }));
        let secrets: Api<Secret> = Api::all(client.build());
        let mut events = Box::pin(watcher(secrets, watcher::Config::default()));
        let failed = async {
            loop {
                if let Err(error) = events.next().await.unwrap() {
                    return format!("{:#}", anyhow::Error::from(error));
                }
            }
        };
        let said = tokio::time::timeout(ANSWER, failed).await.unwrap();
        assert!(said.contains("no answer from the API server"), "{said}");
    }
}
