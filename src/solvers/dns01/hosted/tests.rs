//! Each provider against a server of its own, which answers as the provider's documents say: it checks the
//! credentials, method, path, query and body of each call, keeps records, and gives lists in small pages. The providers'
//! services themselves are out of a test's reach. What every provider must do is one table of scenarios.

#![allow(
    clippy::unnecessary_wraps,
    reason = "a handler may say that a call is none of the documented ones, and some have no reason to"
)]

mod akamai;
mod azure_dns;
mod cloud_dns;
mod cloudflare;
mod digitalocean;
mod route53;
mod scenarios;
mod server;
mod words;
