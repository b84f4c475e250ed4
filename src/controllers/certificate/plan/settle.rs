//! Nothing to issue: times, history, leftovers.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Step, between};
use crate::controllers::action::{Action, Target};
use crate::controllers::certificate::Effect;
use crate::controllers::certificate::outputs::State;
use crate::controllers::certificate::policy::{self};
use crate::controllers::certificate::request::Wanted;
use crate::controllers::certificate::secret::{Roots, metadata_is_intact};
use crate::controllers::certificate::suggestion::noted;
use crate::controllers::facts::RequestFact;
use crate::controllers::rotation::Wish;
use crate::controllers::status::{find, seconds};

impl Step<'_> {
    /// Nothing is wrong: readiness, history, and when to look again.
    pub(super) fn settle(&mut self, wanted: &Wanted) {
        self.ready(policy::readiness(self.o, self.now).as_ref(), None);
        let due = self.settle_times();
        if let Some(due) = due {
            self.plan.sooner(between(self.now, due));
        }
        self.clear(["nextPrivateKeySecretName"]);
        self.discard_keys(None);
        self.forget_history();
        self.repair_secret(wanted);
        self.ask_ca();
    }

    /// Labels, annotations and owner, and the entries beside key and certificate (contract §4.5). That a
    /// keystore opens with the password of now can only be seen in the Secret itself.
    fn repair_secret(&mut self, wanted: &Wanted) {
        let Some(secret) = &self.o.secret else { return };
        let owned = self.settings.enable_certificate_owner_ref;
        let state = wanted.outputs.state(secret.outputs, &self.o.passwords);
        let needed =
            state == State::Broken || !metadata_is_intact(&self.o.certificate, secret, owned);
        if needed || !self.o.stores_checked {
            self.plan.effect = Some(Effect::Repair {
                name: secret.id.name.to_string(),
                recipe: Box::new(wanted.outputs.known(&self.o.passwords)),
                stores_version: self.o.stores_version,
                roots: Roots::Kept,
                needed,
            });
        }
        if let State::Waiting(problem) = state {
            self.say_password(&problem);
        }
    }

    /// What a rotation of the CA wants of `ca.crt` comes before all else: nothing is issued anew before
    /// everybody trusts the new root.
    pub(super) fn follow(&mut self, wanted: &Wanted) -> bool {
        let (Some(rotation), Some(secret)) = (&self.o.rotation, &self.o.secret) else {
            return false;
        };
        let roots = match rotation.wish {
            Wish::Trust => Roots::With(rotation.roots.clone()),
            Wish::Retire => Roots::Only(rotation.roots.clone()),
            Wish::Nothing | Wish::Reissue => return false,
        };
        let Ok(recipe) = wanted.outputs.complete(&self.o.passwords) else {
            return false;
        };
        self.plan.effect = Some(Effect::Repair {
            name: secret.id.name.to_string(),
            recipe: Box::new(recipe),
            stores_version: self.o.stores_version,
            roots,
            needed: false,
        });
        true
    }

    /// Whether [`Self::follow`] has something to do.
    pub(super) fn has_roots_due(&self) -> bool {
        let wish = self.o.rotation.as_ref().map(|rotation| rotation.wish);
        matches!(wish, Some(Wish::Trust | Wish::Retire))
    }

    /// Validity and renewal time as the Secret's certificate says; returns when the renewal begins.
    pub(super) fn settle_times(&mut self) -> Option<Timestamp> {
        let Some(leaf) = self.o.leaf() else {
            self.clear(["notBefore", "notAfter", "renewalTime", "acme"]);
            return None;
        };
        if leaf.not_after >= self.now {
            // Whatever happens until then: that it has expired must be said.
            self.plan
                .sooner(between(self.now, leaf.not_after) + Duration::from_secs(1));
        }
        let renewal = self.o.renewal_of(leaf);
        let due = renewal.map(|due| due.at);
        let status = self.o.status();
        if noted(status, leaf).is_none() {
            // What the CA said was of another certificate.
            self.clear(["acme"]);
        }
        let as_json = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            time.as_ref().map_or(Value::Null, |t| json!(t))
        };
        let fields = [
            (
                "notBefore",
                json!(seconds(leaf.not_before)),
                as_json(&status.not_before),
            ),
            (
                "notAfter",
                json!(seconds(leaf.not_after)),
                as_json(&status.not_after),
            ),
            (
                "renewalTime",
                due.map_or(Value::Null, |t| json!(seconds(t))),
                as_json(&status.renewal_time),
            ),
        ];
        for (name, new, old) in fields {
            if new != old {
                self.put(name, new);
            }
        }
        renewal.map(|due| self.o.renewal_start(leaf, &due))
    }

    /// Keep the newest `revisionHistoryLimit` requests, once Ready; of those of one revision the current one.
    pub(super) fn forget_history(&mut self) {
        let ready = find(&self.conditions, "Ready").is_some_and(|c| c.status == "True");
        if !ready {
            return;
        }
        let limit = self
            .o
            .certificate
            .spec
            .revision_history_limit
            .filter(|l| *l >= 1)
            .unwrap_or(1);
        let mut requests: Vec<&Arc<RequestFact>> = self.o.requests.iter().collect();
        let current = self.o.current_request().map(|r| &r.id.name);
        requests.sort_by_key(|r| (Reverse(r.revision), Some(&r.id.name) != current));
        let keep = usize::try_from(limit).unwrap_or(1);
        let old = requests.into_iter().skip(keep).filter(|r| !r.id.deleting);
        self.after
            .extend(old.map(|r| Action::Delete(Target::CertificateRequest, r.id.clone())));
    }

    /// Delete requests that do not say which issuance they belong to (contract §4.4).
    pub(super) fn forget_strays(&mut self) {
        let strays = self
            .o
            .requests
            .iter()
            .filter(|r| r.revision.is_none() && !r.id.deleting);
        self.after
            .extend(strays.map(|r| Action::Delete(Target::CertificateRequest, r.id.clone())));
    }

    /// Delete next private keys, except the one named.
    pub(super) fn discard_keys(&mut self, keep: Option<&str>) {
        let leftover = self
            .o
            .next_keys
            .iter()
            .filter(|s| Some(s.id.name.as_ref()) != keep && !s.id.deleting);
        self.after
            .extend(leftover.map(|s| Action::Delete(Target::Secret, s.id.clone())));
    }
}
