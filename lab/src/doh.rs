//! A resolver that speaks DNS over HTTPS and nothing else, for who asks for one: `CoreDNS`.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use crate::{ADDRESS, Lab, Process, built, output, pki};

impl Lab {
    /// Starts one at a port of [`ADDRESS`]. It asks the lab's DNS, says each question in its log, and has a certificate of
    /// this authority of the lab: `ca`, or `front-proxy-ca` for one that nobody trusts. Dropping it ends it.
    pub fn doh(&self, port: u16, authority: &str) -> Result<Process> {
        let programs = built("coredns")?;
        let programs = programs.into_iter().next().context("no coredns")?;
        let pki = self.dir().join("pki");
        let name = format!("doh-{port}");
        let place = pki::Place {
            dir: &pki,
            clock: None,
        };
        pki::certificate(place, authority, &name, "/CN=doh", &format!("IP:{ADDRESS}"))?;
        let file = self.dir().join("etc").join(format!("{name}.conf"));
        let pair =
            ["crt", "key"].map(|end| pki.join(format!("{name}.{end}")).display().to_string());
        fs::write(
            &file,
            format!(
                "https://.:{port} {{\n  bind {ADDRESS}\n  tls {}\n  log\n  errors\n  forward . {ADDRESS}\n}}\n",
                pair.join(" ")
            ),
        )?;
        let mut command = self.command(programs.join("coredns"));
        command.arg("-conf").arg(&file);
        let process = self.spawn(&name, command)?;
        self.wait(Duration::from_mins(1), &name, || {
            let mut dig = self.command("dig");
            let port = port.to_string();
            dig.args([
                "+https",
                "+tries=1",
                "-p",
                &port,
                "@10.244.0.1",
                "example.com",
            ]);
            output(&mut dig).map(Some)
        })?;
        Ok(process)
    }
}
