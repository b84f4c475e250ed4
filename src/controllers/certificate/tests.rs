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
mod cron;
mod failure;
mod issuing;
mod key;
mod late;
mod model;
mod outputs;
mod policy;
mod recorded;
mod renewal;
mod renewal_info;
mod request;
mod revocation;
mod rotation;
mod schema;
mod settled;
mod spec;
mod temporary;
mod window;
mod world;
