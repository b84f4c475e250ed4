//! Everleaf keeps TLS certificates in Kubernetes Secrets valid. It speaks the cert-manager API.
//!
//! Imports point one way: `api, pki ← acme ← issuers, solvers ← controllers ← runtime`.

pub mod api;
pub mod pki;
pub mod solvers;
