//! What the people who run Boulder do, with its own tool.

use std::fs;

use anyhow::Result;

use super::Boulder;
use crate::{Lab, output};

impl Boulder {
    /// Revokes a certificate by its serial number in hexadecimal, as a CA does after a mistake of its own. The reason is
    /// named as in RFC 5280, for example `superseded`.
    pub fn revoke(&self, lab: &Lab, serial: &str, reason: &str) -> Result<()> {
        self.admin(lab, &["revoke-cert", "-serial", serial, "-reason", reason])
    }

    /// Pauses an account for a DNS name, as Boulder does by itself after a long row of failures.
    pub fn pause(&self, lab: &Lab, account: u64, name: &str) -> Result<()> {
        let file = self.dir.join(format!("pause-{account}.csv"));
        fs::write(&file, format!("{account},dns,{name}\n"))?;
        self.admin(
            lab,
            &[
                "pause-identifier",
                "-batch-file",
                &file.display().to_string(),
            ],
        )
    }

    /// Lets an account go on with all that was paused, as its owner does behind the link.
    pub fn unpause(&self, lab: &Lab, account: u64) -> Result<()> {
        self.admin(lab, &["unpause-account", "-account", &account.to_string()])
    }

    fn admin(&self, lab: &Lab, arguments: &[&str]) -> Result<()> {
        let mut admin = lab.command(self.programs.join("admin"));
        admin.arg("-config").arg(self.dir.join("config/admin.json"));
        admin.arg("-dry-run=false").args(arguments);
        output(&mut admin).map(drop)
    }
}
