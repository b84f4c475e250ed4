//! What the demo prints: plain lines of at most 100 columns, with the seconds since its start.

use std::time::{Duration, Instant};

const COLUMNS: usize = 100;
/// `  12.3 s  `.
const INDENT: usize = 10;

/// The demo's voice.
#[derive(Debug)]
pub struct Say {
    start: Instant,
}

impl Say {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Something happened, or is waited for.
    pub fn line(&self, text: &str) {
        let mut prefix = format!("{:6.1} s  ", self.start.elapsed().as_secs_f32());
        for line in wrapped(text, COLUMNS - INDENT) {
            println!("{prefix}{line}");
            prefix = " ".repeat(INDENT);
        }
    }
}

/// A chapter begins.
pub fn chapter(title: &str) {
    println!("\n{title}");
}

/// A command as one would type it, and what it printed.
pub fn command(command: &str, output: &str) {
    println!("\n    $ {command}");
    for line in output.lines() {
        println!("    {line}");
    }
}

/// Seconds with one decimal.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f32())
}

/// Broken at spaces; a longer word stays whole.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("  {word}")),
        }
    }
    lines
}
