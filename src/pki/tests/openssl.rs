//! The independent reader. It is part of what the tests need: without it they fail.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs `openssl` with `input` on its standard input; gives standard output and error joined. Panics if it fails.
pub(super) fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests need the program openssl");
    // A command that takes no input may have ended already; what counts is its exit status.
    let _ = child.stdin.take().unwrap().write_all(input.as_ref());
    let output = child.wait_with_output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "openssl {arguments:?}: {text}");
    text
}

/// A file that is gone at the end of the test.
pub(super) struct TempFile(pub(super) String);

impl TempFile {
    pub(super) fn new(contents: impl AsRef<[u8]>) -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let name = format!("everleaf-test-{:x}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, contents).unwrap();
        Self(path.to_str().unwrap().to_owned())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
