//! The README's own words, to be run.

use std::fs;

use anyhow::{Context, Result, ensure};
use lab::Lab;

use crate::support::repository;

/// The README's only block of code that contains `words`.
pub fn block(words: &str) -> Result<String> {
    let text = fs::read_to_string(repository().join("README.md"))?;
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(code), Some(block)) => {
                block.push_str(code);
                block.push('\n');
            }
            (None, Some(block)) if !line.is_empty() && !block.is_empty() => {
                blocks.push(String::new());
            }
            // An empty line may be within a block.
            _ => {}
        }
    }
    blocks.retain(|block| block.contains(words));
    ensure!(
        blocks.len() == 1,
        "{} blocks of the README have {words:?}",
        blocks.len()
    );
    blocks.pop().context("a block")
}

/// The commands of the chart's notes, as helm prints them: what lies between the sentences, each of which ends with a colon.
pub fn of_notes(notes: &str) -> Result<String> {
    let (_, rest) = notes
        .split_once("Three commands show")
        .context("the notes")?;
    let lines = rest.lines().skip(1);
    let commands = lines.filter(|line| line.starts_with(' ') || !line.ends_with(':'));
    Ok(commands.flat_map(|line| [line, "\n"]).collect())
}

/// Run shell commands in the lab, at the top of the repository; the first that fails ends them.
pub fn run(lab: &Lab, commands: &str) -> Result<String> {
    let mut bash = lab.command("bash");
    bash.args(["-euo", "pipefail", "-c", commands])
        .current_dir(repository());
    lab::output(&mut bash)
}
