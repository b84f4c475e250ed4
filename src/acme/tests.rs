#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod chains;
mod client;
mod errors;
pub(crate) mod fake;
mod renewal_info;
mod replies;
pub(crate) mod scripted;
mod signing;
