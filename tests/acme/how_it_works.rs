//! "How it works", step by step (letsencrypt.org/how-it-works): one certificate from the account's key to its renewal and
//! revocation, and at each step what the CA has seen. The name resolves nowhere at first, so that the steps can be told
//! apart.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::renewal_info::{at_once, restart_when_due};
use crate::support::{Ca, DEADLINE, Namespace, certificate, entry, is_ready, ready_condition};
use crate::{TEMPORARY, TRAEFIK, aside};

const HOST: &str = "how.nowhere.example.com";

/// Else no order would be spent on such a name yet.
const UNSEEN: &str = "{name: pebble, annotations: {everleaf.io/preflight: 'off'}}\nspec";

#[test]
fn a_certificate_from_the_account_to_its_revocation() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("how-it-works")?;
    // Refused nonces would be asked for twice.
    let ca = Ca::start(&cluster.lab, &[("PEBBLE_WFE_NONCEREJECT", "0")], |config| {
        config
    })?;
    let issuer = ca.issuer(cluster, "pebble", TRAEFIK)?;
    let issuer = issuer.replace("{name: pebble}\nspec", UNSEEN);
    assert!(issuer.contains(UNSEEN));
    let site = Site { namespace, ca };

    site.the_agent_has_a_key_pair(&issuer)?;
    site.the_ca_gets_to_know_the_key()?;
    site.the_agent_asks_what_it_has_to_prove()?;
    let challenge = site.the_ca_says_how()?;
    site.the_agent_puts_the_answer_in_place(&challenge)?;
    site.the_agent_says_that_it_is_ready()?;
    site.the_ca_looks_for_itself()?;
    site.the_key_is_authorized_for_the_name()?;
    site.none_of_it_needed_https()?;
    site.the_agent_sends_a_request_of_a_new_key()?;
    site.the_ca_signs_and_the_agent_stores()?;
    site.renewal_is_the_same_again()?;
    site.the_account_revokes_and_a_compromised_key_is_replaced()?;
    site.what_the_ca_makes_known_is_seen()
}

struct Site<'a> {
    namespace: Namespace<'a>,
    ca: Ca,
}

impl Site<'_> {
    /// How often the CA has been asked at a path of Pebble's.
    fn asked(&self, method: &str, path: &str) -> Result<usize> {
        self.ca.count(&format!("{method} {path} -> calling"))
    }

    fn public_key(&self, secret: &Value) -> Result<String> {
        let cluster = self.namespace.cluster;
        cluster.openssl(&["pkey", "-pubout"], &entry(secret, "tls.key")?)
    }

    /// 1. It is in the cluster before the CA has ever heard of it.
    fn the_agent_has_a_key_pair(&self, issuer: &str) -> Result<()> {
        self.ca.stop()?;
        self.namespace.apply(issuer)?;
        self.namespace
            .until(DEADLINE, "secret", "pebble-account", "made", |secret| {
                secret["data"]["tls.key"].is_string()
            })?;
        assert_eq!(self.ca.accounts()?, 0);
        Ok(())
    }

    /// 2. One registration, and its URL noted.
    fn the_ca_gets_to_know_the_key(&self) -> Result<()> {
        self.ca.restart()?;
        let issuer = self
            .namespace
            .until(DEADLINE, "issuer", "pebble", "Ready", |issuer| {
                ready_condition(issuer)["status"] == "True"
            })?;
        assert!(issuer["status"]["acme"]["uri"].is_string());
        assert_eq!(
            (self.asked("POST", "/sign-me-up")?, self.ca.accounts()?),
            (1, 1)
        );
        Ok(())
    }

    /// 3. One order; where it is, and until when, is stored.
    fn the_agent_asks_what_it_has_to_prove(&self) -> Result<()> {
        self.namespace
            .apply(&certificate("site", "pebble", HOST, ""))?;
        let orders = self
            .namespace
            .until_list("order", "order at the CA", |orders| {
                orders
                    .iter()
                    .any(|order| order["status"]["url"].is_string())
            })?;
        let status = &orders[0]["status"];
        for field in ["url", "finalizeURL", "expires"] {
            assert!(status[field].is_string(), "{field}: {status}");
        }
        assert_eq!(
            (self.asked("POST", "/order-plz")?, self.ca.orders()?),
            (1, 1)
        );
        Ok(())
    }

    /// 4. It offers several ways for the name; the issuer's solver decides.
    fn the_ca_says_how(&self) -> Result<Value> {
        let orders = self.namespace.list("order")?;
        let authorization = &orders[0]["status"]["authorizations"][0];
        assert_eq!(authorization["identifier"], HOST);
        let offered = authorization["challenges"]
            .as_array()
            .context("challenges")?;
        assert!(offered.len() > 1, "{offered:?}");
        assert_eq!(self.asked("POST", "/authZ/")?, 1);
        let challenges = self
            .namespace
            .until_list("challenge", "challenge", |challenges| challenges.len() == 1)?;
        let spec = challenges[0]["spec"].clone();
        assert_eq!(
            (&spec["type"], &spec["dnsName"]),
            (&"HTTP-01".into(), &HOST.into())
        );
        Ok(spec)
    }

    /// 5. It is there for whoever asks, before the name leads there.
    fn the_agent_puts_the_answer_in_place(&self, challenge: &Value) -> Result<()> {
        let token = challenge["token"].as_str().context("a token")?;
        let url = format!("http://{}/.well-known/acme-challenge/{token}", lab::ADDRESS);
        let lab = &self.namespace.cluster.lab;
        lab.wait(DEADLINE, "the answer", || {
            let mut curl = lab.command("curl");
            curl.args(["-fsS", "-H", &format!("Host: {HOST}"), &url]);
            let answer = lab::output(&mut curl)?;
            Ok((answer.trim() == challenge["key"]).then_some(()))
        })
    }

    /// 6. Not before it has found the answer at the name itself; and once.
    fn the_agent_says_that_it_is_ready(&self) -> Result<()> {
        assert_eq!(self.asked("POST", "/chalZ/")?, 0);
        self.namespace
            .cluster
            .dns_update(&format!("add {HOST} 1 A {}", lab::ADDRESS))?;
        self.namespace.ready("site", DEADLINE)?;
        assert_eq!(self.asked("POST", "/chalZ/")?, 1);
        Ok(())
    }

    /// 7. Its validation fetched the very path.
    fn the_ca_looks_for_itself(&self) -> Result<()> {
        let looked =
            format!("Attempting to validate w/ HTTP: http://{HOST}:80/.well-known/acme-challenge/");
        assert!(self.ca.count(&looked)? >= 1);
        Ok(())
    }

    /// 8. No authorization failed, and what was made for it is gone.
    fn the_key_is_authorized_for_the_name(&self) -> Result<()> {
        assert_eq!(self.ca.count("set VALID by completed challenge")?, 1);
        assert_eq!(self.ca.count("set INVALID")?, 0);
        self.namespace.none_left(&TEMPORARY, DEADLINE)
    }

    /// 9. Validation went by plain HTTP: there is no certificate yet that could vouch for it.
    fn none_of_it_needed_https(&self) -> Result<()> {
        assert_eq!(
            self.ca.count("Attempting to validate w/ HTTP: https://")?,
            0
        );
        Ok(())
    }

    /// 10. The certificate's key is another one than the account's; the order was finalized once.
    fn the_agent_sends_a_request_of_a_new_key(&self) -> Result<()> {
        let account = self.public_key(&self.namespace.get("secret", "pebble-account")?)?;
        let site = self.public_key(&self.namespace.get("secret", "site")?)?;
        assert_ne!(account, site);
        assert_eq!(self.asked("POST", "/finalize-order/")?, 1);
        assert_eq!(
            self.ca
                .count("is fully authorized. Processing finalization")?,
            1
        );
        Ok(())
    }

    /// 11. What it has signed is what is in the Secret, with its key.
    fn the_ca_signs_and_the_agent_stores(&self) -> Result<()> {
        let issued = self.ca.said("Issued certificate serial ")?;
        assert_eq!(issued.len(), 1);
        let serial = self.namespace.serial("site")?;
        assert!(issued[0].contains(&serial), "{serial} in {issued:?}");
        self.namespace.pair_matches("site")?;
        assert_eq!(self.asked("POST", "/certZ/")?, 1);
        Ok(())
    }

    /// 12. With another key, and by the same account.
    fn renewal_is_the_same_again(&self) -> Result<()> {
        let before = self.public_key(&self.namespace.get("secret", "site")?)?;
        self.namespace.renew("site")?;
        self.namespace
            .until(DEADLINE, "certificate", "site", "renewed", |object| {
                object["status"]["revision"] == 2
            })?;
        assert_ne!(
            self.public_key(&self.namespace.get("secret", "site")?)?,
            before
        );
        self.namespace.pair_matches("site")?;
        let issued = self.ca.count("Issued certificate serial ")?;
        assert_eq!((self.ca.accounts()?, self.ca.orders()?, issued), (1, 2, 2));
        Ok(())
    }

    /// Wait until the Certificate is ready with this revision; its key.
    fn reissued(&self, revision: u64) -> Result<String> {
        let what = format!("of revision {revision}");
        self.namespace
            .until(DEADLINE, "certificate", "site", &what, |object| {
                is_ready(object) && object["status"]["revision"] == revision
            })?;
        self.namespace.pair_matches("site")?;
        self.public_key(&self.namespace.get("secret", "site")?)
    }

    /// Have the certificate revoked; whose signature the CA was asked with, and what it has on record then.
    fn revoked(&self, reason: &str) -> Result<(Value, (String, Option<u64>))> {
        let serial = self.namespace.serial("site")?;
        let name = reason.to_lowercase();
        let entry = self.namespace.revoked_as(&name, "site", reason)?;
        assert_eq!(entry["serial"], *serial);
        let record = self.ca.record(&self.namespace.cluster.lab, &serial)?;
        Ok((entry["signedBy"].clone(), record))
    }

    /// 13. One request each, with its reason. A stolen key proves by itself that it is, and never comes back.
    fn the_account_revokes_and_a_compromised_key_is_replaced(&self) -> Result<()> {
        for (number, reason, signer, code) in [
            (1, "superseded", "Account", 4),
            (2, "keyCompromise", "CertificateKey", 1),
        ] {
            let key = self.public_key(&self.namespace.get("secret", "site")?)?;
            let (signed_by, record) = self.revoked(reason)?;
            assert_eq!(signed_by, signer);
            assert_eq!(record, ("Revoked".into(), Some(code)));
            assert_eq!(self.asked("POST", "/revoke-cert")?, number);
            let replaced = self.reissued(2 + u64::try_from(number)?)?;
            assert_ne!(replaced, key);
        }
        assert_eq!(self.ca.orders()?, 4);
        Ok(())
    }

    /// 14. Its renewal information says that the certificate has to go: another one is there before anybody has to ask.
    fn what_the_ca_makes_known_is_seen(&self) -> Result<()> {
        let Self { namespace, ca } = &self;
        let cluster = namespace.cluster;
        let first = namespace.serial("site")?;
        namespace.until(DEADLINE, "certificate", "site", "asked about", |object| {
            object["status"]["acme"]["ari"]["suggestedWindow"].is_object()
        })?;
        let certificate = namespace.secret_entry("site", "tls.crt")?;
        ca.suggest(&cluster.lab, &certificate, &at_once().to_string())?;
        restart_when_due(cluster, namespace, &["site"])?;
        self.reissued(5)?;
        assert_ne!(namespace.serial("site")?, first);
        let orders = namespace.list("order")?;
        let replaces = orders
            .iter()
            .any(|order| order["spec"]["replaces"].is_string());
        assert!(replaces, "the CA is told which one it replaces");
        assert_eq!((ca.accounts()?, ca.orders()?), (1, 5));
        Ok(())
    }
}
