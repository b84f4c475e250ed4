//! The site: looked at over TLS as a visitor would, and served where no node can run a Pod.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lab::{ADDRESS, Lab, output};

/// What a verified handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub serial: String,
    pub issuer: String,
    pub ends: String,
}

/// Shakes hands with Traefik for `host`, and fails unless the certificate is for that name and its chain ends at the CA's root.
pub fn look(lab: &Lab, host: &str, root: &Path) -> Result<Served> {
    let mut handshake = lab.command("openssl");
    handshake
        .args([
            "s_client",
            "-connect",
            &format!("{ADDRESS}:443"),
            "-servername",
            host,
        ])
        .args([
            "-verify_hostname",
            host,
            "-verify_return_error",
            "-no-CApath",
            "-no-CAstore",
        ])
        .arg("-CAfile")
        .arg(root);
    let shown = output(&mut handshake)?;
    if !shown.contains("Verify return code: 0 (ok)")
        || !shown.contains(&format!("Verified peername: {host}"))
    {
        bail!("{host}: not verified:\n{shown}");
    }
    let leaf = lab.dir().join(format!("{host}.pem"));
    std::fs::write(&leaf, shown)?;
    let mut read = lab.command("openssl");
    read.args(["x509", "-noout", "-serial", "-issuer", "-enddate", "-in"])
        .arg(leaf);
    let fields = output(&mut read)?;
    let field = |name: &str| {
        let line = fields.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::to_owned)
            .with_context(|| format!("{name} in {fields}"))
    };
    Ok(Served {
        serial: field("serial=")?,
        issuer: field("issuer=")?,
        ends: field("notAfter=")?,
    })
}

/// What a visitor reads who trusts the CA's root alone.
pub fn fetch(lab: &Lab, url: &str, root: &Path) -> Result<String> {
    let mut curl = lab.command("curl");
    curl.args(["-sS", "--fail", "--max-time", "5", "--cacert"])
        .arg(root)
        .arg(url);
    output(&mut curl)
}

/// Answers every request at `address` with `body`, for ever.
pub fn serve(address: &str, body: &str) -> Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        // One visitor's trouble is not the next one's.
        let _ = stream.and_then(|mut stream| {
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).for_each(drop);
            write!(
                stream,
                "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        });
    }
    Ok(())
}
