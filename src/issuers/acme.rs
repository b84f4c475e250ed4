//! How ACME issuers sign.
