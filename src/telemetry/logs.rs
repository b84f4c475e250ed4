//! Logs on standard error, as text or as JSON with stable keys.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

/// `--logging-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line: `timestamp`, `level`, `message`, `target`, then the event's own fields,
    /// then `span`.
    Json,
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{variable} is no log filter")]
    Filter {
        variable: &'static str,
        #[source]
        source: ParseError,
    },
    #[error("logging was set up before")]
    Twice(#[from] SetGlobalDefaultError),
}

/// What its events have for a target, or begin it with.
const CLIENT: &str = "kube_client";

/// Variables that take the place of `--v`, the first that is set.
const VARIABLES: [&str; 2] = ["EVERLEAF_LOG", "RUST_LOG"];

/// Begins logging for the whole process. `verbosity` is klog's `--v`, 0 to 10.
pub fn init(format: Format, verbosity: u8) -> Result<(), LogError> {
    let filter = filter(verbosity, |variable| std::env::var(variable).ok())?;
    let colours = io::stderr().is_terminal();
    let subscriber = subscriber(format, filter, colours, io::stderr);
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn filter(verbosity: u8, variable: impl Fn(&str) -> Option<String>) -> Result<Targets, LogError> {
    for name in VARIABLES {
        if let Some(text) = variable(name).filter(|text| !text.is_empty()) {
            let asked: Targets = text.parse().map_err(|source| LogError::Filter {
                variable: name,
                source,
            })?;
            return Ok(closed(&asked));
        }
    }
    Ok(targets(verbosity))
}

/// The libraries never go beyond `info` by `--v`: below it they may show headers and bodies, and
/// those hold tokens and keys.
fn targets(verbosity: u8) -> Targets {
    let (others, ours) = match verbosity {
        0..=2 => (LevelFilter::WARN, LevelFilter::INFO),
        3..=4 => (LevelFilter::INFO, LevelFilter::DEBUG),
        _ => (LevelFilter::INFO, LevelFilter::TRACE),
    };
    closed(
        &Targets::new()
            .with_default(others)
            .with_target("everleaf", ours),
    )
}

/// The client of the API server says whole bodies in a warning when it cannot read one; they have private keys.
fn closed(asked: &Targets) -> Targets {
    let mut closed = asked.clone();
    let client = closed
        .iter()
        .filter(|(target, _)| target.starts_with(CLIENT));
    let client: Vec<_> = client
        .map(|(target, level)| (target.to_owned(), level))
        .collect();
    let at_most = |level: LevelFilter| level.min(LevelFilter::ERROR);
    // Whoever asks for no errors of others gets none.
    let others = closed.default_level().map_or(LevelFilter::ERROR, at_most);
    closed.extend([(CLIENT.to_owned(), others)]);
    closed.extend(
        client
            .into_iter()
            .map(|(target, level)| (target, at_most(level))),
    );
    closed
}

fn subscriber<W>(
    format: Format,
    filter: Targets,
    colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(colours)
        .with_writer(writer);
    match format {
        Format::Text => Box::new(builder.finish().with(filter)),
        Format::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish()
                .with(filter),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::io::Write;
    use std::sync::Arc;

    use clap::ValueEnum;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::{Format, MakeWriter, Targets, filter, io, subscriber, targets};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Buffer {
        type Writer = Self;

        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    fn logged(format: Format, filter: Targets, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let subscriber = subscriber(format, filter, false, buffer.clone());
        tracing::subscriber::with_default(subscriber, log);
        let bytes = buffer.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_stable_keys() {
        let text = logged(Format::Json, targets(0), || {
            let span = tracing::info_span!(target: "everleaf::x", "reconcile", namespace = "shop");
            let _entered = span.enter();
            tracing::info!(target: "everleaf::x", name = "www", "issued");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<_> = line.as_object().unwrap().keys().cloned().collect();
        let expected = ["level", "message", "name", "span", "target", "timestamp"];
        assert_eq!(keys, expected);
        assert_eq!(line.pointer("/message").unwrap(), "issued");
        assert_eq!(line.pointer("/span/namespace").unwrap(), "shop");
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn text_has_one_line_without_colours() {
        let text = logged(Format::Text, targets(0), || {
            tracing::info!(target: "everleaf::x", name = "www", "issued");
        });
        assert!(
            text.ends_with(" INFO everleaf::x: issued name=\"www\"\n"),
            "{text}"
        );
    }

    #[test]
    fn verbosity_opens_our_own_levels_and_never_the_libraries() {
        let cases = [(0, 1), (2, 1), (3, 2), (4, 2), (5, 3), (10, 3)];
        for (verbosity, expected) in cases {
            let text = logged(Format::Text, targets(verbosity), || {
                tracing::info!(target: "everleaf", "ours");
                tracing::debug!(target: "everleaf", "ours");
                tracing::trace!(target: "everleaf", "ours");
                tracing::debug!(target: "hyper", "theirs");
            });
            assert_eq!(text.matches("ours").count(), expected, "{verbosity}");
            assert!(!text.contains("theirs"), "{verbosity}");
        }
    }

    #[test]
    fn a_variable_takes_the_place_of_the_flag() {
        let set = |values: &'static [(&str, &str)]| {
            move |name: &str| {
                let value = values.iter().find(|(known, _)| *known == name);
                value.map(|(_, value)| (*value).to_owned())
            }
        };
        let both = set(&[("RUST_LOG", "trace"), ("EVERLEAF_LOG", "error")]);
        let said = |filter: Targets| {
            logged(Format::Text, filter, || {
                tracing::error!(target: "theirs", "grave");
                tracing::trace!(target: "theirs", "slight");
            })
        };
        let text = said(filter(0, both).unwrap());
        assert!(text.contains("grave") && !text.contains("slight"), "{text}");
        let one = set(&[("RUST_LOG", "trace"), ("EVERLEAF_LOG", "")]);
        let text = said(filter(0, one).unwrap());
        assert!(text.contains("slight"), "{text}");
        let none = filter(0, set(&[])).unwrap().to_string();
        assert!(none.contains("everleaf=info"), "{none}");
        let wrong = filter(0, set(&[("EVERLEAF_LOG", "a=b=c")])).unwrap_err();
        assert_eq!(wrong.to_string(), "EVERLEAF_LOG is no log filter");
    }

    #[test]
    fn bodies_that_cannot_be_read_are_never_logged() {
        let filters = [
            "trace",
            "warn",
            "kube_client=trace",
            "kube=trace",
            "kube_client::client=trace,kube_client=warn",
            "off,kube_client::client=debug",
        ];
        let asked = filters.map(|text| {
            let set = |name: &str| (name == "RUST_LOG").then(|| text.to_owned());
            (text, filter(0, set).unwrap())
        });
        let flags = [0, 3, 10].map(|verbosity| ("--v", targets(verbosity)));
        for (asked, filter) in asked.into_iter().chain(flags) {
            let text = logged(Format::Text, filter, || {
                tracing::warn!(target: "kube_client::client", "tls.key");
                tracing::debug!(target: "kube_client", "tls.key");
            });
            assert_eq!(text, "", "{asked}");
        }
    }

    #[test]
    fn the_flag_has_the_words_of_the_contract() {
        assert_eq!(Format::from_str("text", false), Ok(Format::Text));
        assert_eq!(Format::from_str("json", false), Ok(Format::Json));
    }
}
