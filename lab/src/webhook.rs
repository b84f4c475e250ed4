//! A webhook solver of cert-manager's own making, for who asks for one: it takes minutes to build, and few need it.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::{ADDRESS, Lab, Process, built, output, pki};

/// The Service that leads to it.
const NAME: &str = "solver";

impl Lab {
    /// Builds it if need be, starts it at a port of [`ADDRESS`] and registers its API group. Its solver `rfc2136` writes as
    /// cert-manager does, with a configuration that is as the API's field of that name. Dropping it ends it.
    pub fn webhook_solver(&self, group: &str, port: u16) -> Result<Process> {
        let programs = built("webhook")?;
        let programs = programs.into_iter().next().context("no webhook")?;
        let pki = self.dir().join("pki");
        let place = pki::Place {
            dir: &pki,
            clock: None,
        };
        let host = format!("DNS:{NAME}.default.svc");
        pki::certificate(place, "ca", NAME, "/CN=solver", &host)?;
        let mut command = self.command(programs.join("webhook"));
        command
            .args([
                "--bind-address",
                ADDRESS,
                "--secure-port",
                &port.to_string(),
            ])
            .arg("--tls-cert-file")
            .arg(pki.join(format!("{NAME}.crt")))
            .arg("--tls-private-key-file")
            .arg(pki.join(format!("{NAME}.key")))
            .env("GROUP_NAME", group);
        for who in ["", "authentication-", "authorization-"] {
            command
                .arg(format!("--{who}kubeconfig"))
                .arg(self.kubeconfig());
        }
        let process = self.spawn(NAME, command)?;
        let bundle = output(self.command("base64").arg("-w0").arg(pki.join("ca.crt")))?;
        let meta = json!({ "name": NAME, "namespace": "default", "labels": { "kubernetes.io/service-name": NAME } });
        let ports = json!([{ "name": "https", "port": port, "protocol": "TCP" }]);
        for object in [
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": { "ports": ports } }),
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
                "ports": ports, "endpoints": [{ "addresses": [ADDRESS], "conditions": { "ready": true } }],
            }),
            json!({
                "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
                "metadata": { "name": format!("v1alpha1.{group}") },
                "spec": {
                    "group": group, "version": "v1alpha1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                    "caBundle": bundle.trim(),
                    "service": { "name": NAME, "namespace": "default", "port": port },
                },
            }),
        ] {
            self.apply(&object.to_string())?;
        }
        self.wait(Duration::from_mins(1), NAME, || {
            output(
                self.command("kubectl")
                    .args(["get", "--raw"])
                    .arg(format!("/apis/{group}/v1alpha1")),
            )
            .map(Some)
        })?;
        Ok(process)
    }
}
