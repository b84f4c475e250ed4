//! What the API server, a policy or a webhook says of a Secret that it refuses may quote what is in it.

use k8s_openapi::ByteString;
use kube::core::Status;
use serde_json::Value;

/// So many bytes of a value in a row are no chance.
const QUOTE: usize = 12;

const QUOTED: &str = "the answer quotes what is in the Secret, and is not repeated";

/// Take out of an answer what could quote the data of the Secret that was sent.
pub(super) fn silence(status: &mut Status, sent: &[u8]) {
    // Causes say once more what the message says.
    status.details = None;
    if quotes(&status.message, sent) {
        QUOTED.clone_into(&mut status.message);
    }
}

/// Whether there is a piece of the Secret's data in it, as it was sent or decoded.
fn quotes(message: &str, sent: &[u8]) -> bool {
    let sent: Value = serde_json::from_slice(sent).unwrap_or_default();
    let values = sent.get("data").and_then(Value::as_object);
    values.into_iter().flatten().any(|(_, value)| {
        let raw = serde_json::from_value::<ByteString>(value.clone()).unwrap_or_default();
        let raw = String::from_utf8_lossy(&raw.0);
        let sent = value.as_str().unwrap_or_default();
        pieces(message).any(|piece| sent.contains(piece) || raw.contains(piece))
    })
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices()
        .filter_map(|(start, _)| text.get(start..start + QUOTE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_quotes_the_data_is_not_repeated() {
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIKnvq7Ih9d\n-----END PRIVATE KEY-----\n";
        let secret = json!({
            "metadata": { "name": "a-rather-long-name-of-a-secret", "labels": { "team": "Team Shop And Others" } },
            "data": { "tls.key": ByteString(key.into()), "other": ByteString(vec![0xff; 40]) },
        });
        let sent = serde_json::to_vec(&secret).unwrap();
        let base64 = secret["data"]["tls.key"].as_str().unwrap();
        for (message, silenced) in [
            (
                "secrets \"a-rather-long-name-of-a-secret\" is forbidden: no",
                false,
            ),
            (
                "metadata.labels: Invalid value: \"Team Shop And Others\"",
                false,
            ),
            ("tls.key: Invalid value", false),
            (
                &format!("error found in #10 byte of ...|{}|...", &base64[40..60]),
                true,
            ),
            (&format!("denied: {}", key.replace('\n', " ")), true),
            ("denied: MC4CAQAwBQYDK2", true),
        ] {
            let mut status = Status {
                message: message.into(),
                ..Status::default()
            };
            silence(&mut status, &sent);
            assert_eq!(status.message == QUOTED, silenced, "{message}");
        }
    }
}
