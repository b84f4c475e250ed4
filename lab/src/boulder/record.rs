//! What Boulder has on record, in its database and in the logs of its front ends.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Boulder;
use crate::Lab;

/// An order, as the CA has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: u64,
    pub account: u64,
    /// Of its certificate, in hexadecimal; empty without one.
    pub serial: String,
    /// Empty for the CA's default.
    pub profile: String,
    /// The serial number of the certificate that it replaces; empty for none.
    pub replaces: String,
    /// Its names when it has a certificate.
    pub names: Vec<String>,
}

/// An authorization, as the CA has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub id: u64,
    pub account: u64,
    /// A DNS name or an address.
    pub identifier: String,
    /// `pending`, `valid`, `invalid`, `deactivated`, or `revoked`.
    pub status: &'static str,
}

/// A certificate that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// In hexadecimal.
    pub serial: String,
    /// As in RFC 5280 §5.3.1.
    pub reason: u8,
}

/// A request to one of the front ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, or `POST-as-GET`.
    pub method: String,
    /// The path up to what is of one object, for example `/acme/new-order` or `/acme/order/`.
    pub endpoint: String,
    /// 0 when it is not signed by an account.
    pub account: u64,
    pub status: u16,
    /// What else was logged: `Slug` is the rest of the path, `Error` why it was refused.
    pub detail: Value,
}

impl Boulder {
    /// The requests with a place to go to, in the order in which they were answered: those of the first directory, then
    /// those of the next.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let mut all = Vec::new();
        for front in ["wfe", "wfe-next"] {
            all.extend(self.process(front)?.log()?.lines().filter_map(request));
        }
        Ok(all)
    }

    /// The orders in the order in which they were made.
    pub fn orders(&self, lab: &Lab) -> Result<Vec<Order>> {
        let rows = self.rows(
            lab,
            "SELECT id, registrationID, IFNULL(certificateSerial, ''), IFNULL(certificateProfileName, ''), \
             IFNULL(replaces, ''), IFNULL((SELECT GROUP_CONCAT(reversedName ORDER BY id) FROM issuedNames \
             WHERE serial = certificateSerial), '') FROM orders ORDER BY id",
        )?;
        rows.into_iter().map(order).collect()
    }

    /// The authorizations in the order in which they were made.
    pub fn authorizations(&self, lab: &Lab) -> Result<Vec<Authorization>> {
        let rows = self.rows(
            lab,
            "SELECT id, registrationID, identifierValue, status FROM authz2 ORDER BY id",
        )?;
        rows.into_iter().map(authorization).collect()
    }

    /// The revocations in the order in which they were made.
    pub fn revocations(&self, lab: &Lab) -> Result<Vec<Revocation>> {
        let rows = self.rows(
            lab,
            "SELECT serial, revokedReason FROM revokedCertificates ORDER BY id",
        )?;
        let revocation = |row: Vec<String>| {
            let [serial, reason] = columns(row)?;
            let reason = reason.parse()?;
            Ok(Revocation { serial, reason })
        };
        rows.into_iter().map(revocation).collect()
    }

    /// What its database answers; the tables stand in Boulder's `sa/db/01-boulder_sa.sql`.
    pub fn rows(&self, lab: &Lab, query: &str) -> Result<Vec<Vec<String>>> {
        let said = self.sql(lab, &format!("USE boulder_sa; {query};"))?;
        let row = |line: &str| line.split('\t').map(str::to_owned).collect();
        Ok(said.lines().map(row).collect())
    }
}

/// A line of the log is `TIME HOST unknown PROCESS LEVEL NAME CHECKSUM METHOD ENDPOINT ACCOUNT STATUS MS ADDRESS JSON=…`.
fn request(line: &str) -> Option<Request> {
    let (text, detail) = line.split_once(" JSON=")?;
    let mut words = text.split(' ').skip(7);
    let (method, endpoint) = (words.next()?, words.next()?);
    Some(Request {
        method: method.to_owned(),
        endpoint: endpoint.starts_with('/').then(|| endpoint.to_owned())?,
        account: words.next()?.parse().ok()?,
        status: words.next()?.parse().ok()?,
        detail: serde_json::from_str(detail).ok()?,
    })
}

fn order(row: Vec<String>) -> Result<Order> {
    let [id, account, serial, profile, replaces, reversed] = columns(row)?;
    let names = reversed.split(',').filter(|name| !name.is_empty());
    let forward = |name: &str| name.rsplit('.').collect::<Vec<_>>().join(".");
    Ok(Order {
        id: id.parse()?,
        account: account.parse()?,
        serial,
        profile,
        replaces,
        names: names.map(forward).collect(),
    })
}

fn authorization(row: Vec<String>) -> Result<Authorization> {
    let [id, account, identifier, status] = columns(row)?;
    // Boulder's sa/model.go.
    let status = match status.as_str() {
        "0" => "pending",
        "1" => "valid",
        "2" => "invalid",
        "3" => "deactivated",
        "4" => "revoked",
        other => bail!("an authorization of status {other}"),
    };
    Ok(Authorization {
        id: id.parse()?,
        account: account.parse()?,
        identifier,
        status,
    })
}

fn columns<const N: usize>(row: Vec<String>) -> Result<[String; N]> {
    let found = row.len();
    row.try_into()
        .ok()
        .with_context(|| format!("{found} columns, {N} expected"))
}
