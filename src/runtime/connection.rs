//! How the API server is reached.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderValue;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use super::kubeconfig;
use super::options::Options;
use crate::net;

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
    let agent = HeaderValue::from_static(concat!("everleaf/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
    Client::try_from(config).context("the client of the API server")
}

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
