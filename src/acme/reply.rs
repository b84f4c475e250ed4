//! What a server answered, cut down to what ACME needs of it.

use http::header::{HeaderMap, LINK, LOCATION, RETRY_AFTER};
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::url::resolve;
use super::{Error, Problem};
use crate::net::{Answer, MAX_PIECE, clean, parse_retry_after};

/// A reply with a status that says success.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    url: String,
}

impl Reply {
    /// `Location` (RFC 8555 §7.3, §7.4), resolved.
    pub(super) fn location(&self) -> Option<String> {
        let location = self.headers.get(LOCATION)?.to_str().ok()?;
        Some(resolve(&self.url, location))
    }

    pub(super) fn retry_after(&self) -> Option<Timestamp> {
        retry_after(&self.headers)
    }

    /// Targets of the links with a relation (RFC 8288), resolved.
    pub(super) fn links(&self, relation: &str) -> Vec<String> {
        let values = self.headers.get_all(LINK).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| links(value, relation))
            .map(|target| resolve(&self.url, &target))
            .collect()
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Its message would quote the body.
            let (line, column) = (error.line(), error.column());
            Error::Protocol(format!("not a valid {what} (line {line}, column {column})"))
        })
    }
}

/// A reply's nonce comes with failures too.
pub(super) struct Exchange {
    pub(super) result: Result<Reply, Error>,
    pub(super) nonce: Option<String>,
}

impl Exchange {
    pub(super) fn failed(error: Error) -> Self {
        Self {
            result: Err(error),
            nonce: None,
        }
    }

    /// Sorts success from the two kinds of failure.
    pub(super) fn judge(answer: Answer, url: &str, host: &str) -> Self {
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let nonce = headers
            .get("replay-nonce")
            .and_then(|nonce| nonce.to_str().ok())
            .map(str::to_owned);
        if (200..300).contains(&status) {
            let url = url.to_owned();
            return Self {
                result: Ok(Reply {
                    status,
                    headers,
                    body,
                    url,
                }),
                nonce,
            };
        }
        let retry_after = retry_after(&headers);
        let error = match problem(&body) {
            Some(problem) => Error::Problem {
                problem: Box::new(Problem { status, ..problem }),
                retry_after,
            },
            None => Error::Status {
                status,
                host: host.to_owned(),
                leads_to: headers
                    .get(LOCATION)
                    .filter(|_| (300..400).contains(&status))
                    .and_then(|to| to.to_str().ok())
                    .map(|to| clean(to, MAX_PIECE)),
                retry_after,
            },
        };
        Self {
            result: Err(error),
            nonce,
        }
    }
}

/// Any JSON object would read as a problem, and a list too: one that says nothing is none.
fn problem(body: &[u8]) -> Option<Problem> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let problem: Problem = serde_json::from_slice(body).ok()?;
    Some(problem).filter(|problem| !problem.kind.is_empty() || !problem.detail.is_empty())
}

#[allow(
    clippy::disallowed_methods,
    reason = "a server counts its seconds from the reply's arrival, which is here"
)]
fn retry_after(headers: &HeaderMap) -> Option<Timestamp> {
    parse_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

/// The targets in one `Link` header whose `rel` has `relation` among its words.
pub(super) fn links(header: &str, relation: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else {
            break;
        };
        // The next link begins after a comma; a comma inside of a quoted parameter is followed by no '<'.
        let end = after.find('<').unwrap_or(after.len());
        let (parameters, after) = after.split_at(end);
        let relates = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split_ascii_whitespace()
                        .any(|word| word.eq_ignore_ascii_case(relation))
            })
        });
        if relates {
            found.push(target.trim().to_owned());
        }
        rest = after;
    }
    found
}
