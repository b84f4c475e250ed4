//! How long names take that are proven in DNS.

use anyhow::Result;

use crate::support::lot::{Lot, client, cluster, issuers, more, operator};
use crate::support::report;

/// Seconds from apply to Ready.
pub struct Times {
    /// Of one, while no other is under way.
    pub median: f64,
    /// Of all that are asked for at once.
    pub together: f64,
}

/// `count` certificates one after the other, then `many` at once, each of another name.
pub fn times(count: usize, many: usize) -> Result<Times> {
    let lab = cluster()?;
    let operator = operator(&lab)?;
    issuers(&lab, Lot::Dns01)?;
    let single = client(&lab, "single", 0..count, Lot::Dns01)?;
    let issued = more(&lab, &operator, Lot::Dns01, count..count + many)?;
    report("DNS-01", &issued, many)?;
    Ok(Times {
        median: single.p50,
        together: issued.seconds,
    })
}
