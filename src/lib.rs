//! Everleaf keeps TLS certificates in Kubernetes Secrets valid. It speaks the cert-manager API.
//!
//! Imports point one way: `api, net, pki ← acme, dns ← issuers, solvers ← controllers ← runtime`.

pub mod acme;
pub mod api;
pub mod controllers;
pub mod dns;
pub mod explain;
pub mod issuers;
pub mod net;
pub mod pki;
pub mod runtime;
pub mod serve;
pub mod solvers;
pub mod telemetry;
