//! Boulder's configuration: that of its own tests (`share` beside its program), for one machine without containers, Consul,
//! `ProxySQL`, pkimetal, and keys in hardware.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{DNS_OVER_HTTPS, LOGS, MARIADB, Options, REDIS, STAGES};
use crate::{ADDRESS, Lab};

/// The names by which its services know each other: all of one certificate, since this tests nobody's access to them.
pub(super) const INTERNAL_NAMES: &str = "DNS:admin.boulder,DNS:wfe.boulder,DNS:sa.boulder,DNS:ra.boulder,DNS:ca.boulder,DNS:va.boulder,\
    DNS:rva.boulder,DNS:rva1.boulder,DNS:publisher.boulder,DNS:nonce.boulder";

/// Where a front end listens, and whom it asks.
pub(super) struct Front {
    pub(super) tls: u16,
    registration: &'static str,
}

pub(super) const FRONT: Front = Front {
    tls: 4403,
    registration: "ra",
};
pub(super) const NEXT_FRONT: Front = Front {
    tls: 4404,
    registration: "ra-next",
};

/// Of the first transparency log in upstream's files.
const UPSTREAM_LOGS: u16 = 4600;

/// Configurations that stay as they are but for the places.
const SERVICES: [&str; 9] = [
    "admin",
    "ca",
    "sa",
    "va",
    "remoteva-a",
    "remoteva-b",
    "remoteva-c",
    "publisher",
    "nonce-a",
];

/// Writes it all below `dir`.
pub(super) fn write(lab: &Lab, share: &Path, dir: &Path, options: &Options) -> Result<()> {
    for made in ["config", "secrets", "ct-test-srv"] {
        fs::create_dir(dir.join(made))?;
    }
    let places = Places {
        dir: dir.display().to_string(),
        pki: lab.dir().join("pki").display().to_string(),
    };
    for file in [
        "ident-policy.yaml",
        "secrets/nonce_prefix_key",
        "secrets/redis_password",
        "secrets/sfe_unpause_key",
    ] {
        fs::copy(share.join(file), dir.join(file)).with_context(|| file.to_owned())?;
    }
    write_limits(lab, dir, options)?;
    write_databases(dir)?;
    write_logs(share, dir)?;
    let read = |name: &str| -> Result<Value> {
        let text = fs::read_to_string(share.join(format!("config/{name}.json")))?;
        Ok(places.rewrite(serde_json::from_str(&text)?))
    };
    let write = |name: &str, config: &Value| {
        fs::write(dir.join(format!("config/{name}.json")), config.to_string())
    };
    for name in SERVICES {
        write(name, &read(name)?)?;
    }
    let registration = read("ra")?;
    write("ra", &registration)?;
    write("ra-next", &next(registration)?)?;
    let front = read("wfe2")?;
    write("wfe2", &places.front(front.clone(), &FRONT)?)?;
    write("wfe2-next", &places.front(front, &NEXT_FRONT)?)?;
    Ok(())
}

fn write_limits(lab: &Lab, dir: &Path, options: &Options) -> Result<()> {
    let limits = match &options.limits {
        Some(limits) => limits.clone(),
        None => fs::read_to_string(lab.dir().join("etc/boulder/limits.yml"))?,
    };
    fs::write(dir.join("config/ratelimit-defaults.yml"), limits)?;
    let overrides = options.overrides.as_deref().unwrap_or("[]\n");
    fs::write(dir.join("config/ratelimit-overrides.yml"), overrides)?;
    Ok(())
}

fn write_databases(dir: &Path) -> Result<()> {
    for (name, user, database) in [
        ("sa", "sa", "boulder_sa"),
        ("sa_ro", "sa_ro", "boulder_sa"),
        ("incidents", "incidents_sa", "incidents_sa"),
    ] {
        let url = format!("{user}@tcp(127.0.0.1:{MARIADB})/{database}?readTimeout=14s&timeout=1s");
        fs::write(dir.join(format!("secrets/{name}_dburl")), url)?;
    }
    Ok(())
}

/// The transparency logs: where they listen, and where they are found; none is slow on purpose.
fn write_logs(share: &Path, dir: &Path) -> Result<()> {
    let servers = fs::read_to_string(share.join("ct-test-srv/ct-test-srv.json"))?;
    let mut servers: Value = serde_json::from_str(&servers)?;
    let all = servers
        .get_mut("Personalities")
        .and_then(Value::as_array_mut);
    for server in all.context("no logs")? {
        let address = server.get("Addr").and_then(Value::as_str);
        let port: u16 = address
            .and_then(|address| address.trim_start_matches(':').parse().ok())
            .context("a log's port")?;
        let address = format!("127.0.0.1:{}", LOGS + port - UPSTREAM_LOGS);
        set(server, "", "Addr", json!(address))?;
        set(server, "", "FlakinessRate", json!(0))?;
    }
    fs::write(
        dir.join("ct-test-srv/ct-test-srv.json"),
        servers.to_string(),
    )?;
    let mut list = fs::read_to_string(share.join("ct-test-srv/log_list.json"))?;
    for log in 0..10 {
        let (from, to) = (UPSTREAM_LOGS + log, LOGS + log);
        list = list.replace(
            &format!("boulder.service.consul:{from}"),
            &format!("127.0.0.1:{to}"),
        );
    }
    fs::write(dir.join("ct-test-srv/log_list.json"), list)?;
    Ok(())
}

/// What comes next in the registration authority.
fn next(mut config: Value) -> Result<Value> {
    set(&mut config, "/ra", "finalizeTimeout", json!("30s"))?;
    for feature in [
        "AsyncFinalize",
        "CAARechecksFailOrder",
        "DNSAccount01Enabled",
        "DNSPersist01Enabled",
    ] {
        set(&mut config, "/ra/features", feature, json!(true))?;
    }
    for challenge in ["dns-account-01", "dns-persist-01"] {
        set(&mut config, "/pa/challenges", challenge, json!(true))?;
    }
    Ok(config)
}

/// Sets a member of the object at a place (RFC 6901).
fn set(config: &mut Value, place: &str, member: &str, value: Value) -> Result<()> {
    let object = config.pointer_mut(place).and_then(Value::as_object_mut);
    let object = object.with_context(|| format!("no object at {place:?}"))?;
    object.insert(member.into(), value);
    Ok(())
}

/// Where upstream's files find what they name.
struct Places {
    dir: String,
    pki: String,
}

impl Places {
    fn rewrite(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.path(text)),
            Value::Array(all) => all.into_iter().map(|value| self.rewrite(value)).collect(),
            Value::Object(members) => {
                let members = members
                    .into_iter()
                    // It only adds pkimetal; the linter that is built in stays.
                    .filter(|(name, _)| name != "lintConfig" && name != "debugAddr")
                    .map(|(name, value)| (name, self.rewrite(value)));
                Value::Object(adapt(members.collect()))
            }
            other => other,
        }
    }

    fn path(&self, text: String) -> String {
        if let Some(file) = text.strip_prefix("test/certs/ipki/") {
            let end = match file {
                "minica.pem" => "ca.crt",
                file if file.ends_with("/cert.pem") => "boulder.crt",
                _ => "boulder.key",
            };
            return format!("{}/{end}", self.pki);
        }
        let Some(file) = text.strip_prefix("test/") else {
            return text;
        };
        format!("{}/{}", self.dir, file.trim_start_matches("certs/"))
    }

    fn front(&self, mut config: Value, front: &Front) -> Result<Value> {
        let file = |end: &str| json!(format!("{}/boulder.{end}", self.pki));
        let address = format!("{ADDRESS}:{}", front.tls);
        for (member, value) in [
            ("TLSListenAddress", json!(address)),
            ("serverCertificatePath", file("crt")),
            ("serverKeyPath", file("key")),
        ] {
            set(&mut config, "/wfe", member, value)?;
        }
        let registration = json!(local(front.registration));
        set(&mut config, "/wfe/raService", "serverAddress", registration)?;
        Ok(config)
    }
}

/// An object of upstream's, told where things are here.
fn adapt(mut object: Map<String, Value>) -> Map<String, Value> {
    let service = object
        .get("srvLookup")
        .and_then(|lookup| local(lookup["service"].as_str()?));
    if let (Some(address), true) = (service, object.contains_key("hostOverride")) {
        object.remove("srvLookup");
        object.remove("dnsAuthority");
        object.insert("serverAddress".into(), json!(address));
    }
    // The one client that insists on looking its servers up.
    if object.contains_key("srvLookups") {
        let lookup = json!([{ "service": "nonce", "domain": "boulder.internal" }]);
        object.insert("srvLookups".into(), lookup);
        object.insert("dnsAuthority".into(), json!(format!("{ADDRESS}:53")));
    }
    if object.remove("lookups").is_some() {
        object.remove("lookupDNSAuthority");
        let shard = json!({ "shard": format!("127.0.0.1:{REDIS}") });
        object.insert("shardAddrs".into(), shard);
    }
    if object.remove("dnsProvider").is_some() {
        let resolver = format!("{ADDRESS}:{DNS_OVER_HTTPS}");
        object.insert("dnsStaticResolvers".into(), json!([resolver]));
        let features = json!({ "DNSAccount01Enabled": true, "DNSPersist01Enabled": true });
        object.insert("features".into(), features);
    }
    if object.remove("configFile").is_some() {
        object.remove("numSessions");
        let certificate = object.get("certFile").and_then(Value::as_str);
        let key = certificate.map(|file| file.replace(".cert.", ".key."));
        object.insert("file".into(), json!(key));
    }
    if let Some(issuers) = object.get_mut("issuers").and_then(Value::as_array_mut) {
        // The others issue nothing.
        issuers.retain(|issuer| issuer.get("profiles").is_some());
    }
    if let Some(issuers) = object.get_mut("issuerCerts").and_then(Value::as_array_mut) {
        issuers.retain(|file| !file.as_str().unwrap_or_default().contains("-c.cert"));
    }
    let remotes = object.get_mut("remoteVAs").and_then(Value::as_array_mut);
    let remotes = remotes.into_iter().flatten().map(Value::as_object_mut);
    for (remote, name) in remotes.flatten().zip(["rva-a", "rva-b", "rva-c"]) {
        remote.insert("serverAddress".into(), json!(local(name)));
    }
    if object.contains_key("syslog") {
        // There is no syslog here.
        object.insert(
            "syslog".into(),
            json!({ "stdoutlevel": 6, "sysloglevel": -1 }),
        );
    }
    if object.contains_key("accountURIPrefixes") {
        let prefixes =
            [FRONT, NEXT_FRONT].map(|front| format!("https://{ADDRESS}:{}/acme/acct/", front.tls));
        object.insert("accountURIPrefixes".into(), json!(prefixes));
    }
    object.remove("emailExporter");
    object
}

/// Where a service of its own listens.
fn local(service: &str) -> Option<String> {
    let name = service.trim_end_matches("-taro");
    let mut known = STAGES.iter().copied().flatten();
    let (.., port) = known.find(|known| known.0 == name)?;
    Some(format!("127.0.0.1:{port}"))
}
