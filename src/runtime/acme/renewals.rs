//! Asking a CA when it wants a certificate to be renewed (RFC 9773), at a pace that it can bear.

use jiff::SignedDuration;

use crate::controllers::key::Key;
use crate::controllers::polls::{Answer, Heard, Polls, Subject, heard, retry_after};
use crate::issuers::acme::Account;
use crate::runtime::clock::now;

/// Until an account that is not loaded yet is looked for again: that takes moments after a start.
const MOMENT: SignedDuration = SignedDuration::from_secs(2);

/// Ask, if it is this certificate's turn.
pub async fn ask(polls: &Polls, account: Option<&Account>, certificate: &Key, id: &str) -> Heard {
    let subject = Subject {
        namespace: &certificate.namespace,
        name: &certificate.name,
        id,
    };
    let tries = polls.tries(subject);
    let later = |next| Heard {
        answer: Answer::Later,
        next,
        tries,
    };
    let Some(account) = account else {
        return later(now() + MOMENT);
    };
    let ca = account.client.directory_url();
    if let Err(turn) = polls.turn(ca, subject, now()) {
        return later(turn);
    }
    let reply = account.client.renewal_info(id).await;
    let now = now();
    if let Some(until) = reply.as_ref().err().and_then(retry_after) {
        polls.rest(ca, until, now);
    }
    heard(reply, tries, now)
}
