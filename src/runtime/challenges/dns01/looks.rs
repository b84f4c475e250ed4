//! Looks at the DNS: before the CA is asked, for the record; after it has refused, for what stood in the way.

use std::collections::BTreeSet;

use tokio::time::timeout;

use crate::api::Challenge;
use crate::api::dns01::Dns01Solver;
use crate::controllers::challenge::{Check, RecordState, Sight};
use crate::controllers::key::Key;
use crate::dns::{self, Caa, Propagation, Standing, Watch};
use crate::runtime::clock::now;

use super::{Dns01, Refused, challenge_name, follows, place};

/// What is in the reason of a Challenge that the CA has refused for the CAA records of its name (RFC 8555 §6.7).
const FOR_CAA: &str = "urn:ietf:params:acme:error:caa";

/// A look that is under way; it ends also by a panic.
pub(super) struct Look<'a>(&'a Dns01, &'a Key);

impl<'a> Look<'a> {
    /// `None` if there is one already, or the Challenge has gone.
    pub(super) fn begin(of: &'a Dns01, key: &'a Key) -> Option<Self> {
        let mut records = of.records.lock();
        let before = std::mem::replace(&mut records.get_mut(key)?.looking, true);
        (!before).then(|| Self(of, key))
    }
}

/// What a look says of where the record was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// Nothing against it.
    Right,
    /// There, and the name's CNAME records, which the solver does not follow, lead elsewhere.
    Astray(String),
    /// It is to be written anew.
    Anew,
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.with_kept(self.1, |kept| kept.looking = false);
    }
}

impl Dns01 {
    /// Look for the record of a Challenge as a CA will.
    pub async fn check(&self, key: &Key, object: &Challenge) -> (Check, Sight) {
        let failed = |reason: String, sight| (Check::Failed { reason, at: now() }, sight);
        let spec = &object.spec;
        let Some(solver) = &spec.solver.dns01 else {
            return failed("spec.solver.dns01 is absent".into(), Sight::Nothing);
        };
        let (resolver, only) = match self.resolver(solver) {
            Ok(resolver) => resolver,
            Err(error) => return failed(error.text, Sight::Nothing),
        };
        let looked = match challenge_name(&spec.dns_name) {
            Ok(name) => resolver.propagation(&name, &spec.key, only).await,
            Err(error) => Err(error),
        };
        let noted = self.note(key, solver, &looked);
        judged(looked, &noted)
    }

    /// Take note of what was seen. A record that belongs elsewhere by now is written anew there, and one that was lost where
    /// it belongs; where it is, if the solver does not let it follow its CNAME records.
    pub(super) fn note(
        &self,
        key: &Key,
        solver: &Dns01Solver,
        looked: &Result<Propagation, dns::Error>,
    ) -> Noted {
        let mut records = self.records.lock();
        // Without an entry the Challenge has gone meanwhile.
        let Some(kept) = records.get_mut(key) else {
            return Noted::Right;
        };
        kept.watch = Watch::since(match looked {
            Ok(seen) => Standing::of(seen).map(Ok),
            Err(error) => Some(Err(error.clone())),
        });
        let seen = looked.as_ref().ok().filter(|seen| !seen.is_complete());
        let seen = seen.and_then(|seen| Some((seen, seen.path.as_ref()?)));
        let Some(((seen, path), place)) = seen.zip(kept.places.last()) else {
            return Noted::Right;
        };
        if solver.acme_dns.is_some() || kept.state != RecordState::Present {
            return Noted::Right;
        }
        let leads_elsewhere = place.name != path.name;
        if leads_elsewhere && !follows(solver) {
            return Noted::Astray(place.name.clone());
        }
        let has_moved = leads_elsewhere || place.zone != path.zone;
        if has_moved || kept.is_lost(seen, now()) {
            kept.state = RecordState::Unknown;
            kept.lost = !has_moved;
            return Noted::Anew;
        }
        Noted::Right
    }

    /// After a refusal: whether what stood in the way in the DNS has gone.
    pub async fn has_recovered(&self, key: &Key, object: &Challenge) -> bool {
        let Some(solver) = &object.spec.solver.dns01 else {
            return false;
        };
        let Ok((resolver, only)) = self.resolver(solver) else {
            return false;
        };
        let Some(_look) = Look::begin(self, key) else {
            return false;
        };
        let looked = match challenge_name(&object.spec.dns_name) {
            Ok(name) => resolver.standing(&name, only).await,
            Err(error) => Err(error),
        };
        let caa = self.caa(object).await;
        let looked = looked.map(|standing| standing.with_caa(caa));
        let mut records = self.records.lock();
        // Without an entry the Challenge has gone meanwhile.
        let Some(kept) = records.get_mut(key) else {
            return false;
        };
        kept.watch.see(looked)
    }

    /// The CAA records that count for a name which the CA has refused for those.
    pub async fn caa(&self, object: &Challenge) -> Option<BTreeSet<Caa>> {
        let reason = object.status.as_ref()?.reason.as_deref()?;
        if !reason.contains(FOR_CAA) {
            return None;
        }
        let solver = object.spec.solver.dns01.as_ref();
        let resolver = match solver {
            Some(solver) => self.resolver(solver).ok()?.0,
            None => self.resolver.clone(),
        };
        let name = dns::name(&object.spec.dns_name).ok()?;
        let read = timeout(dns::DEADLINE, resolver.caa_upwards(&name)).await;
        read.ok()?.ok()
    }

    /// After a record could not be written: whether it belongs elsewhere by now, and is to be written there.
    pub async fn has_moved(&self, key: &Key, object: &Challenge) -> bool {
        let refused = self.with_kept(key, |kept| {
            let is_failed =
                matches!(&kept.state, RecordState::Failed(failure) if !failure.removing);
            kept.refused.clone().filter(|_| is_failed)
        });
        let (Some(refused), Some(solver)) = (refused, &object.spec.solver.dns01) else {
            return false;
        };
        let Ok((resolver, _)) = self.resolver(solver) else {
            return false;
        };
        let Ok(place) = place(object, solver, &resolver.fresh()).await else {
            return false;
        };
        refused != Refused::At(place)
            && self.with_kept(key, |kept| {
                let moved = kept.refused.as_ref() == Some(&refused);
                if moved && matches!(kept.state, RecordState::Failed(_)) {
                    kept.state = RecordState::Unknown;
                }
                moved
            })
    }
}

/// What a look says of the record. One that is written anew is looked for anew: what was seen before is no reason to ask
/// the CA.
pub(super) fn judged(looked: Result<Propagation, dns::Error>, noted: &Noted) -> (Check, Sight) {
    let failed = |reason| Check::Failed { reason, at: now() };
    let seen = match looked {
        Ok(seen) if seen.is_complete() => return (Check::Passed, Sight::Nothing),
        Ok(seen) => seen,
        Err(error) => return (failed(error.to_string()), Sight::Nothing),
    };
    let sight = match (seen.is_denied(), seen.having) {
        (true, _) => Sight::Denied,
        (false, 0) => Sight::Nothing,
        (false, _) => Sight::Partly,
    };
    let check = match noted {
        Noted::Right => failed(seen.to_string()),
        Noted::Anew => Check::None,
        Noted::Astray(place) => failed(format!(
            "{seen}; it was written at {place}, whose CNAME records lead elsewhere: set cnameStrategy: Follow in the solver, or \
             take them away"
        )),
    };
    (check, sight)
}
