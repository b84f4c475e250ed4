//! What ACME CAs are asked, and what this process knows of them: accounts, orders, limits, renewal information, and what is
//! looked at before an order.

pub mod accounts;
pub mod limits;
pub mod orders;
pub mod preflight;
pub mod renewals;
pub mod session;
