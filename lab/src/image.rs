//! Images for the node, without a registry or an engine.

use std::{
    fs,
    path::Path,
    process::{self, Command},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{Lab, next_number, output};

impl Lab {
    /// Loads an OCI or Docker archive of one image into the node, under this reference.
    ///
    /// Pods use it with `imagePullPolicy: IfNotPresent`. A reference without a registry, such as `solver:1`, would be
    /// `docker.io/library/solver:1` to them: name it `localhost/solver:1`.
    pub fn load_image(&self, reference: &str, archive: &Path) -> Result<()> {
        let ctr = |arguments: &[&str]| {
            output(
                self.command("ctr")
                    .args(["-n", "k8s.io", "images"])
                    .args(arguments),
            )
        };
        // Its own name for now, since the names inside the archive may or may not be the wanted one.
        let imported = format!("localhost/imported:{}-{}", process::id(), next_number());
        ctr(&[
            "import",
            "--index-name",
            &imported,
            &archive.to_string_lossy(),
        ])?;
        ctr(&["tag", "--force", &imported, reference])?;
        ctr(&["rm", &imported])?;
        Ok(())
    }

    /// Makes an image of one static program, which runs as user 65532 with these arguments, and loads it.
    pub fn load_program(&self, reference: &str, program: &Path, arguments: &[&str]) -> Result<()> {
        let work = self.dir().join(format!("image-{}", next_number()));
        fs::create_dir(&work)?;
        let tar = |archive: &str, from: &Path, files: &[&str]| {
            let mut tar = Command::new("tar");
            tar.args(["--owner=0", "--group=0", "--mode=0755", "-cf"])
                .arg(work.join(archive));
            output(tar.arg("-C").arg(from).args(files))
        };
        let name = program
            .file_name()
            .and_then(|name| name.to_str())
            .context("a program")?;
        tar("layer.tar", program.parent().context("a program")?, &[name])?;
        let digest = output(Command::new("sha256sum").arg(work.join("layer.tar")))?;
        let digest = digest.split_whitespace().next().context("sha256sum")?;
        let path = format!("/{name}");
        let entrypoint = [&[path.as_str()], arguments].concat();
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {"Entrypoint": entrypoint, "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        fs::write(work.join("config.json"), config.to_string())?;
        let manifest =
            json!([{"Config": "config.json", "RepoTags": null, "Layers": ["layer.tar"]}]);
        fs::write(work.join("manifest.json"), manifest.to_string())?;
        tar(
            "image.tar",
            &work,
            &["manifest.json", "config.json", "layer.tar"],
        )?;
        self.load_image(reference, &work.join("image.tar"))?;
        Ok(fs::remove_dir_all(work)?)
    }
}
