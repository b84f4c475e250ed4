//! The codes of verdicts. Each has a page in docs/troubleshooting; one that was given out keeps its meaning.

use std::fmt;

/// What is wrong, for people and programs that look it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(u16);

macro_rules! codes {
    ($($number:literal $name:ident, $what:literal;)*) => {
        impl Code {
            $(#[doc = $what] pub const $name: Self = Self($number);)*

            /// All of them, with what each means in a few words.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, $what)),*];
        }
    };
}

codes! {
    1001 ISSUER_MISSING, "The issuer does not exist";
    1002 ISSUER_NOT_READY, "The issuer is not ready";
    1101 SPEC_INVALID, "A field of the Certificate cannot be met";
    1103 KEY_KEPT, "The private key does not fit, and may not be replaced";
    1104 SECRET_SHARED, "Another Certificate keeps the Secret";
    1105 BUDGET_SPENT, "The Certificate has made too many requests";
    1106 KEYSTORE_PASSWORD, "The password of a keystore is not there";
    1107 TEMPORARY, "The Secret holds a temporary certificate";
    1108 WRITE_REFUSED, "The API server refuses what the Certificate needs";
    1110 WINDOWS_MISSED, "No renewal window opens before the certificate expires";
    1111 CA_WINDOW, "The CA says when to renew";
    1112 USAGES_LEFT_OUT, "The CA has left out usages that the Certificate asks for";
    1201 REQUEST_DENIED, "The request was denied, or found invalid";
    1202 REQUEST_FAILED, "The issuer refused the request";
    1203 REQUEST_NOT_APPROVED, "The request waits for approval";
    1204 REQUEST_EXTERNAL, "The request waits for an external issuer";
    1205 OTHER_NAMES, "The issuer put other names into the certificate";
    1206 ANSWER_USELESS, "What the issuer returned cannot be used";
    1220 ORDERED_FALLBACK, "An issuer further down the list is asked";
    1221 ORDERED_NONE, "None of the issuers of the list can sign";
    1222 ORDERED_CAA, "A CAA record forbids an issuer of the list";
    1301 ORDER_FAILED, "The ACME order does not go on";
    1302 CHALLENGE_WAITS, "The challenge's answer cannot be reached yet";
    1303 CHALLENGE_FAILED, "The CA could not validate a name";
    1304 AT_WORK, "The CA is at work for long, or others come first";
    1401 ACME_REJECTED_IDENTIFIER, "The CA does not issue for this name";
    1402 ACME_UNSUPPORTED_IDENTIFIER, "The CA does not issue for names of this sort";
    1403 ACME_CAA, "A CAA record forbids this CA";
    1404 ACME_DNS, "The CA cannot resolve the name";
    1405 ACME_CONNECTION, "The CA cannot connect to the name";
    1406 ACME_UNAUTHORIZED, "The CA got another answer than the challenge's";
    1407 ACME_RATE_LIMITED, "A limit of the CA is reached";
    1408 ACME_BAD_CSR, "The CA refuses what the Certificate asks for";
    1409 ACME_EXTERNAL_ACCOUNT, "The CA wants an external account";
    1420 CA_UNABLE, "The CA cannot be reached, or does not work";
    1421 CA_ACCOUNT, "The CA does not accept the account";
    1430 LIMIT_AHEAD, "The next order waits for a limit of the CA";
    1431 LIMITS_UNREADABLE, "What an issuer says of its CA's limits cannot be read";
    1432 TURN_AHEAD, "The next order waits for other orders of its account";
    1440 CAA_AHEAD, "The order waits: a CAA record forbids this CA";
    1441 UNREACHED_AHEAD, "The order waits: the name leads nowhere yet";
    1501 VAULT_UNREACHABLE, "Vault cannot be reached";
    1502 VAULT_SEALED, "Vault is sealed";
    1503 VAULT_NOT_INITIALIZED, "Vault is not initialized";
    1504 VAULT_LOGIN, "Vault refuses the login";
    1505 VAULT_TOKEN, "Vault does not accept the token";
    1506 VAULT_CREDENTIALS, "What the login to Vault needs is not there";
    1507 VAULT_PERMISSION, "The policy in Vault does not let the issuer sign";
    1508 VAULT_PATH, "The path of the issuer leads nowhere in Vault";
    1509 VAULT_REFUSED, "Vault refuses what the Certificate asks for";
    1510 VAULT_ANSWER, "Vault answers with something else than expected";
    1511 VAULT_SPEC, "What the issuer says of its Vault cannot be used";
    1601 REVOCATION_SUBJECT, "What is to be revoked cannot be found";
    1602 REVOCATION_ISSUER, "There is no CA that can be asked for the revocation";
    1603 REVOCATION_REFUSED, "The CA refuses the revocation";
    1604 REVOCATION_UNAVAILABLE, "The CA cannot be asked for the revocation now";
    1605 REVOCATION_WAITS, "The revocation waits for another certificate";
    1606 REVOCATION_KEY, "The private key that a revocation needs is not there";
    1607 REVOKED, "The certificate in the Secret is revoked";
    1608 KEY_COMPROMISED, "The private key is compromised, and is not used again";
    1609 REVOCATION_LIST, "The revocation list of an issuer cannot be signed";
    1610 WATCHED_LIST, "A revocation list that is watched cannot be used";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EL-{}", self.0)
    }
}

/// ACME problem types (RFC 8555 §6.7) with their code and what to do about them.
const ACME: [(&str, Code, &str); 9] = [
    (
        "rejectedIdentifier",
        Code::ACME_REJECTED_IDENTIFIER,
        "The CA does not issue for this name: take the name out of the Certificate, or use an issuer of \
         another CA.",
    ),
    (
        "unsupportedIdentifier",
        Code::ACME_UNSUPPORTED_IDENTIFIER,
        "The CA does not issue for names of this sort: take the name out of the Certificate, or use an issuer \
         of another CA.",
    ),
    (
        "caa",
        Code::ACME_CAA,
        "A CAA record of the domain forbids this CA: change the record, or use an issuer of a CA that it allows.",
    ),
    (
        "dns",
        Code::ACME_DNS,
        "Correct the DNS of the name: the CA must be able to resolve it.",
    ),
    (
        "connection",
        Code::ACME_CONNECTION,
        "Correct the DNS record of the name, or let port 80 through to the Ingress controller: the CA must be \
         able to fetch http:// from there.",
    ),
    (
        "unauthorized",
        Code::ACME_UNAUTHORIZED,
        "Something else answers for the name. HTTP-01: its DNS record must lead to this cluster's Ingress \
         controller, and the Ingress class of the issuer's solver must be that controller's. DNS-01: all name \
         servers of the zone must have the TXT record.",
    ),
    (
        "rateLimited",
        Code::ACME_RATE_LIMITED,
        "The CA's limit is reached: nothing but waiting helps.",
    ),
    (
        "badCSR",
        Code::ACME_BAD_CSR,
        "The CA refuses what the Certificate asks for: correct its spec.",
    ),
    (
        "externalAccountRequired",
        Code::ACME_EXTERNAL_ACCOUNT,
        "Set spec.acme.externalAccountBinding of the issuer: this CA knows its customers.",
    ),
];

const ACME_URN: &str = "urn:ietf:params:acme:error:";

/// The code and the advice for the ACME problem that a text quotes.
pub fn of_acme_problem(text: &str) -> Option<(Code, &'static str)> {
    let kind = acme_problems(text).next()?;
    let found = ACME.iter().find(|(known, ..)| *known == kind);
    found.map(|(_, code, advice)| (*code, *advice))
}

/// ACME problem types that stay until somebody changes what is asked for (RFC 8555 §6.7).
const LASTING: [&str; 9] = [
    "badCSR",
    "badPublicKey",
    "badSignatureAlgorithm",
    "externalAccountRequired",
    "invalidContact",
    "invalidProfile",
    "rejectedIdentifier",
    "unsupportedContact",
    "unsupportedIdentifier",
];

/// Whether a text of ours is about an ACME order that failed for something that may pass by itself.
pub fn acme_failure_may_pass(text: &str) -> bool {
    let lasts = acme_problems(text).any(|kind| LASTING.contains(&kind));
    text.contains("order resource \"") && !lasts
}

/// ACME problem types of a challenge that failed (RFC 8555 §6.7).
const VALIDATION: [&str; 6] = [
    "caa",
    "connection",
    "dns",
    "incorrectResponse",
    "tls",
    "unauthorized",
];

/// Whether a text of ours is about an ACME order that failed since the CA could not validate a name.
pub fn acme_validation_failed(text: &str) -> bool {
    let is_one = acme_problems(text).any(|kind| VALIDATION.contains(&kind));
    text.contains("challenge for \"") && is_one
}

/// The ACME problem types that a text quotes.
fn acme_problems(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(ACME_URN)
        .filter_map(|(at, urn)| text.get(at + urn.len()..))
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next())
}

/// The code that a text of ours ends with, and the text before it.
pub fn quoted(text: &str) -> Option<(Code, &str)> {
    let (before, code) = text
        .trim_end_matches('.')
        .strip_suffix(')')?
        .rsplit_once(" (")?;
    let found = Code::ALL
        .iter()
        .find(|(known, _)| known.to_string() == code);
    found.map(|(known, _)| (*known, before))
}
