#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]
#![allow(
    clippy::semicolon_if_nothing_returned,
    reason = "in a table of changes, each is an expression"
)]

mod authority;
mod budget;
mod failure;
mod issuing;
mod key;
mod model;
mod outputs;
mod policy;
mod renewal;
mod request;
mod settled;
mod spec;
mod world;
