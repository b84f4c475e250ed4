//! A Vault beside a lab's own parts, for who asks for one: it takes minutes to build, and few need it.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{ADDRESS, Lab, Process, built, output, pki};

/// The name of the Kubernetes login's plugin, which is that of its file.
const PLUGIN: &str = "kubernetes";

/// A running Vault, in memory only. Dropping it ends it.
///
/// Its TLS certificate is of the lab's CA, `pki/ca.crt`, for [`ADDRESS`] and the name `vault.internal`.
#[derive(Debug)]
pub struct Vault {
    process: Process,
    programs: PathBuf,
    /// Where it listens.
    pub url: String,
    /// Of an administrator, once it is initialized.
    pub token: String,
    key: String,
}

impl Vault {
    /// Builds it if need be and starts it at a port of [`ADDRESS`]. It is not initialized, and sealed.
    pub fn start(lab: &Lab, port: u16) -> Result<Self> {
        let programs = built("vault")?;
        let programs = programs.into_iter().next().context("no vault")?;
        let pki = lab.dir().join("pki");
        let name = format!("vault-{port}");
        let names = format!("IP:{ADDRESS},DNS:vault.internal");
        let place = pki::Place {
            dir: &pki,
            clock: None,
        };
        pki::certificate(place, "ca", &name, "/CN=vault", &names)?;
        let address = format!("{ADDRESS}:{port}");
        let url = format!("https://{address}");
        let config = json!({
            "storage": { "inmem": {} },
            "listener": { "tcp": {
                "address": address,
                "tls_cert_file": pki.join(format!("{name}.crt")),
                "tls_key_file": pki.join(format!("{name}.key")),
            } },
            "api_addr": url, "disable_mlock": true, "plugin_directory": programs.join("plugins"),
        });
        let file = lab.dir().join("etc").join(format!("{name}.json"));
        fs::write(&file, config.to_string())?;
        let mut command = lab.command(programs.join("vault"));
        // A plugin's socket is left where temporary files are.
        command.env("TMPDIR", lab.dir());
        command.arg("server").arg("-config").arg(&file);
        let vault = Self {
            process: lab.spawn(&name, command)?,
            programs,
            url,
            token: String::new(),
            key: String::new(),
        };
        lab.wait(Duration::from_mins(1), "vault", || {
            vault
                .call(lab, "GET", "sys/seal-status", &Value::Null)
                .map(Some)
        })?;
        Ok(vault)
    }

    /// Initializes it. It stays sealed.
    pub fn init(&mut self, lab: &Lab) -> Result<()> {
        let made = self.call(
            lab,
            "PUT",
            "sys/init",
            &json!({ "secret_shares": 1, "secret_threshold": 1 }),
        )?;
        let text = |place: &str| -> Result<String> {
            let found = made.pointer(place).and_then(Value::as_str);
            Ok(found.with_context(|| format!("no {place}"))?.to_owned())
        };
        self.token = text("/root_token")?;
        self.key = text("/keys/0")?;
        Ok(())
    }

    /// Unseals it, and waits until it works.
    pub fn unseal(&self, lab: &Lab) -> Result<()> {
        self.call(lab, "PUT", "sys/unseal", &json!({ "key": self.key }))?;
        lab.wait(Duration::from_mins(1), "vault unsealed", || {
            self.call(lab, "GET", "sys/health", &Value::Null).map(Some)
        })?;
        Ok(())
    }

    /// Seals it.
    pub fn seal(&self, lab: &Lab) -> Result<()> {
        self.call(lab, "PUT", "sys/seal", &json!({})).map(drop)
    }

    /// Makes the Kubernetes login known.
    pub fn register_kubernetes(&self, lab: &Lab) -> Result<()> {
        let file = self.programs.join("plugins").join(PLUGIN);
        let sum = output(lab.command("sha256sum").arg(file))?;
        let sum = sum.split(' ').next().unwrap_or_default();
        let plugin = json!({ "sha256": sum, "command": PLUGIN });
        self.call(
            lab,
            "PUT",
            &format!("sys/plugins/catalog/auth/{PLUGIN}"),
            &plugin,
        )?;
        Ok(())
    }

    /// One call of its API as the administrator: the path is below `/v1/`; null when there is no answer.
    pub fn call(&self, lab: &Lab, method: &str, path: &str, body: &Value) -> Result<Value> {
        let mut curl = lab.command("curl");
        curl.args([
            "-sS",
            "--fail-with-body",
            "--max-time",
            "30",
            "--request",
            method,
        ]);
        curl.arg("--cacert").arg(lab.dir().join("pki/ca.crt"));
        curl.arg("--header")
            .arg(format!("X-Vault-Token: {}", self.token));
        if !body.is_null() {
            curl.arg("--data").arg(body.to_string());
        }
        let said = output(curl.arg(format!("{}/v1/{path}", self.url)))?;
        if said.trim().is_empty() {
            return Ok(Value::Null);
        }
        match serde_json::from_str(&said) {
            Ok(answer) => Ok(answer),
            Err(_) => bail!("{method} {path}: {said}"),
        }
    }

    /// Its process, to stop and to restart; it has forgotten everything then.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
