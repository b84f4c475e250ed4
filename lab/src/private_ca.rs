//! ACME servers of private CAs, for who asks for one: step-ca and acme2certifier. What they issue leads to `pki/ca.crt`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{ADDRESS, Lab, Process, built, pki};

/// A running ACME server. Dropping it ends it.
#[derive(Debug)]
pub struct PrivateCa {
    /// To stop and to restart; what it has logged.
    pub process: Process,
    /// URL of its directory, signed by `pki/ca.crt`.
    pub directory: String,
    /// Where it keeps what it knows.
    pub dir: PathBuf,
}

impl Lab {
    /// Builds step-ca if need be and starts it at a port of [`ADDRESS`], with smallstep's defaults: certificates are for a
    /// day, and longer for nobody.
    pub fn step_ca(&self, port: u16) -> Result<PrivateCa> {
        let name = format!("step-ca-{port}");
        let (programs, dir) = self.prepared("step-ca", &name)?;
        let pki = self.dir().join("pki");
        let config = json!({
            "root": pki.join("ca.crt"), "crt": pki.join(format!("{name}.crt")), "key": pki.join(format!("{name}.key")),
            "address": format!("{ADDRESS}:{port}"), "dnsNames": [ADDRESS], "logger": { "format": "json" },
            "db": { "type": "bbolt", "dataSource": dir.join("db") },
            "crl": { "enabled": true, "generateOnRevoke": true },
            "authority": { "provisioners": [{ "type": "ACME", "name": "acme" }] },
        });
        let file = dir.join("ca.json");
        fs::write(&file, config.to_string())?;
        let mut command = self.command(programs.join("step-ca"));
        command
            .arg(&file)
            .arg("--resolver")
            .arg(format!("{ADDRESS}:53"));
        // It looks for a configuration of the user there.
        command.env("STEPPATH", &dir);
        let process = self.spawn(&name, command)?;
        self.answers(
            process,
            dir,
            format!("https://{ADDRESS}:{port}/acme/acme/directory"),
        )
    }

    /// Fetches acme2certifier if need be and starts it at a port of [`ADDRESS`], with certificates of a month; `more` are
    /// further lines of its configuration, sections and all. `{dir}` in them is where it keeps what it knows.
    pub fn acme2certifier(&self, port: u16, more: &str) -> Result<PrivateCa> {
        let name = format!("acme2certifier-{port}");
        let (programs, dir) = self.prepared("acme2certifier", &name)?;
        let pki = self.dir().join("pki");
        let place = pki::Place {
            dir: &pki,
            clock: None,
        };
        let served = format!("{name}-tls");
        pki::certificate(
            place,
            "ca",
            &served,
            "/CN=acme2certifier",
            &format!("IP:{ADDRESS}"),
        )?;
        let file = |name: &str, end: &str| pki.join(format!("{name}.{end}")).display().to_string();
        let config = format!(
            "[DBhandler]\nhandler: wsgi\ndbfile: {{dir}}/db\n\
             [CAhandler]\nhandler_module: acme2certifier.cahandlers.openssl_ca_handler\nissuing_ca_key: {}\n\
             issuing_ca_cert: {}\nissuing_ca_crl: {{dir}}/crl.pem\ncert_save_path: {{dir}}\ncert_validity_days: 30\n{more}\n",
            file(&name, "key"),
            file(&name, "crt"),
        );
        let settings = dir.join("acme_srv.cfg");
        fs::write(
            &settings,
            config.replace("{dir}", &dir.display().to_string()),
        )?;
        let mut command = self.command("/usr/bin/python3");
        command
            .arg(programs.join("serve.py"))
            .args([ADDRESS, &port.to_string()]);
        command.args([file(&served, "crt"), file(&served, "key")]);
        command
            .env("PYTHONPATH", programs.join("site"))
            .env("ACME_SRV_CONFIGFILE", settings);
        let process = self.spawn(&name, command)?;
        self.answers(process, dir, format!("https://{ADDRESS}:{port}/directory"))
    }

    /// The programs, a directory of the server's own, and in `pki` an intermediate of its name.
    fn prepared(&self, program: &str, name: &str) -> Result<(PathBuf, PathBuf)> {
        let programs = built(program)?.into_iter().next().context("no program")?;
        let dir = self.dir().join(name);
        fs::create_dir(&dir)?;
        let pki = self.dir().join("pki");
        let place = pki::Place {
            dir: &pki,
            clock: None,
        };
        pki::intermediate(place, "ca", name)?;
        Ok((programs, dir))
    }

    fn answers(&self, process: Process, dir: PathBuf, directory: String) -> Result<PrivateCa> {
        self.wait(Duration::from_mins(1), "an ACME server", || {
            self.get(&directory).map(Some)
        })?;
        Ok(PrivateCa {
            process,
            directory,
            dir,
        })
    }
}
