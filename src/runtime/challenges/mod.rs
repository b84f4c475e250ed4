//! Challenges at work: validations under way and their places, what they share in the cluster, and their DNS records.

pub mod dns01;
pub mod places;
pub mod shared;
pub mod validations;
