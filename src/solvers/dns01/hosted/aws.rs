//! Credentials of AWS: keys, roles by the Security Token Service ("AWS STS API Reference"), and what the process has of
//! its own ("AWS SDKs and Tools Reference Guide": environment, web identity, container, instance metadata, in this
//! order).

mod own;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use super::sigv4::{Session, sign};
use super::tokens::{Identity, Lent};
use super::xml::Element;
use super::{Api, Hosted, header_credential, optional};
use crate::api::dns01;
use crate::net::{Reply, Request};
use crate::solvers::dns01::{Ambient, Error, Given, ROUTE53_TOKEN};

/// Of a role, as cert-manager calls it: trust policies may ask for it.
const SESSION_NAME: &str = "cert-manager";

const STS: Api = Api {
    name: "AWS STS",
    remedy: "let the trust policy of the role allow this identity",
};

/// Where AWS is divided.
pub(super) struct Partition {
    /// Of its regions' names.
    prefix: &'static str,
    pub(super) route53: &'static str,
    /// That signs for Route 53, which has no regions.
    pub(super) region: &'static str,
    pub(super) domain: &'static str,
}

const fn part(
    prefix: &'static str,
    route53: &'static str,
    region: &'static str,
    domain: &'static str,
) -> Partition {
    Partition {
        prefix,
        route53,
        region,
        domain,
    }
}

/// All regions that are in none of the others.
static ORDINARY: Partition = part("", "route53.amazonaws.com", "us-east-1", "amazonaws.com");

/// "AWS service endpoints", and what the SDKs know of the parts that these do not name.
static OTHERS: [Partition; 7] = [
    part(
        "cn-",
        "route53.amazonaws.com.cn",
        "cn-northwest-1",
        "amazonaws.com.cn",
    ),
    part(
        "us-gov-",
        "route53.us-gov.amazonaws.com",
        "us-gov-west-1",
        "amazonaws.com",
    ),
    part(
        "eusc-",
        "route53.amazonaws.eu",
        "eusc-de-east-1",
        "amazonaws.eu",
    ),
    part(
        "us-iso-",
        "route53.c2s.ic.gov",
        "us-iso-east-1",
        "c2s.ic.gov",
    ),
    part(
        "us-isob-",
        "route53.sc2s.sgov.gov",
        "us-isob-east-1",
        "sc2s.sgov.gov",
    ),
    part(
        "eu-isoe-",
        "route53.cloud.adc-e.uk",
        "eu-isoe-west-1",
        "cloud.adc-e.uk",
    ),
    part(
        "us-isof-",
        "route53.csp.hci.ic.gov",
        "us-isof-south-1",
        "csp.hci.ic.gov",
    ),
];

/// The partition of a region.
pub(super) fn partition(region: &str) -> &'static Partition {
    let mut others = OTHERS.iter();
    let found = others.find(|partition| region.starts_with(partition.prefix));
    found.unwrap_or(&ORDINARY)
}

/// Who writes records.
pub(super) struct Login {
    pub(super) region: String,
    role: Option<String>,
    way: Way,
}

enum Way {
    Keys(Session),
    /// The token of a service account.
    Token(Zeroizing<String>),
    Ambient(Arc<Ambient>),
}

impl Login {
    pub(super) fn new(spec: &dns01::Route53, given: &Given) -> Result<Self, Error> {
        let role = optional(spec.role.as_deref()).map(str::to_owned);
        let way = way(spec, given, role.as_deref())?;
        let (own, process) = (
            optional(spec.region.as_deref()),
            given.aws_region.as_deref(),
        );
        // As in cert-manager since 1.16: on EKS its webhook names the region of the credentials.
        let region = match &way {
            Way::Ambient(_) => process.or(own),
            Way::Keys(_) | Way::Token(_) => own.or(process),
        };
        let region = region.unwrap_or("us-east-1");
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !region.bytes().all(plain) {
            return Err(Error::permanent(
                "dns01.route53.region, or AWS_REGION of the operator: is no region: set one such as eu-west-1",
            ));
        }
        Ok(Self {
            region: region.to_owned(),
            role,
            way,
        })
    }

    /// The credentials to sign with.
    pub(super) async fn session(&self, hosted: &Hosted) -> Result<Arc<Session>, Error> {
        let now = hosted.now();
        match (&self.way, &self.role) {
            (Way::Keys(session), None) => Ok(Arc::new(session.clone())),
            (Way::Ambient(ambient), None) => self.own(hosted, ambient).await,
            (Way::Token(token), Some(role)) => {
                let log_in = self.by_token(hosted, role, token, SESSION_NAME);
                hosted.sessions.lend(self.identity(), now, log_in).await
            }
            (_, Some(role)) => {
                let log_in = self.by_role(hosted, role);
                hosted.sessions.lend(self.identity(), now, log_in).await
            }
            (Way::Token(_), None) => Err(Error::permanent(NO_ROLE)),
        }
    }

    /// The service does not take the credentials any more.
    pub(super) fn forget(&self, hosted: &Hosted) {
        hosted.sessions.forget(self.identity());
        if let Way::Ambient(_) = self.way {
            hosted.sessions.forget(self.own_identity());
        }
    }

    /// Whose the credentials are.
    pub(super) fn identity(&self) -> Identity {
        let role = self.role.as_deref().unwrap_or_default();
        match &self.way {
            Way::Keys(session) => {
                let secret = session.secret_access_key.as_str();
                Identity::of(&[
                    "aws",
                    "keys",
                    &self.region,
                    role,
                    &session.access_key_id,
                    secret,
                ])
            }
            // Each time it is another token, for the same service account.
            Way::Token(token) => {
                Identity::of(&["aws", "token", &self.region, role, &subject(token)])
            }
            Way::Ambient(_) => Identity::of(&["aws", "ambient", &self.region, role]),
        }
    }

    fn own_identity(&self) -> Identity {
        Identity::of(&["aws", "own", &self.region])
    }

    async fn own(&self, hosted: &Hosted, ambient: &Ambient) -> Result<Arc<Session>, Error> {
        let log_in = self.log_in_as_process(hosted, ambient);
        hosted
            .sessions
            .lend(self.own_identity(), hosted.now(), log_in)
            .await
    }

    async fn by_role(&self, hosted: &Hosted, role: &str) -> Result<Lent<Session>, Error> {
        let own = match &self.way {
            Way::Keys(session) => Arc::new(session.clone()),
            Way::Ambient(ambient) => self.own(hosted, ambient).await?,
            Way::Token(_) => return Err(Error::permanent(NO_ROLE)),
        };
        let request = self.sts(&[
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", SESSION_NAME),
        ]);
        let call = "assume the role";
        let signed = sign(request, &own, &self.region, "sts", hosted.now());
        let signed = signed.map_err(|error| STS.unreached(call, &error))?;
        let reply = hosted.send(&STS, call, signed).await?;
        lent(hosted, call, &reply, "AssumeRoleResult")
    }

    async fn by_token(
        &self,
        hosted: &Hosted,
        role: &str,
        token: &str,
        name: &str,
    ) -> Result<Lent<Session>, Error> {
        let request = self.sts(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", name),
            ("WebIdentityToken", token),
        ]);
        let call = "assume the role with the token of a service account";
        let reply = hosted.send(&STS, call, request).await?;
        lent(hosted, call, &reply, "AssumeRoleWithWebIdentityResult")
    }

    fn sts(&self, fields: &[(&str, &str)]) -> Request {
        let domain = partition(&self.region).domain;
        Request::new(
            Method::POST,
            format!("https://sts.{}.{domain}/", self.region),
        )
        .form(fields)
    }
}

const NO_ROLE: &str = "dns01.route53.role: is needed with auth.kubernetes: set the role that trusts the service account";

fn way(spec: &dns01::Route53, given: &Given, role: Option<&str>) -> Result<Way, Error> {
    const ID: &str = "route53.accessKeyIDSecretRef";
    const SECRET: &str = "route53.secretAccessKeySecretRef";
    if spec.auth.is_some() {
        let token = given.secrets.required(ROUTE53_TOKEN)?;
        return match role {
            Some(_) => Ok(Way::Token(Zeroizing::new(token.to_owned()))),
            None => Err(Error::permanent(NO_ROLE)),
        };
    }
    let plain = optional(spec.access_key_id.as_deref());
    let id = match (plain, given.secrets.bytes(ID)) {
        (Some(_), Some(_)) => {
            return Err(Error::permanent(
                "dns01.route53: has both accessKeyID and accessKeyIDSecretRef: remove one",
            ));
        }
        (Some(id), None) => Some(id.to_owned()),
        (None, Some(_)) => Some(header_credential(given, ID)?.as_str().to_owned()),
        (None, None) => None,
    };
    match (id, given.secrets.bytes(SECRET).is_some()) {
        (Some(access_key_id), true) => {
            if !access_key_id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric())
            {
                return Err(Error::permanent(
                    "dns01.route53: the access key ID is none: letters and digits only",
                ));
            }
            Ok(Way::Keys(Session {
                access_key_id,
                secret_access_key: header_credential(given, SECRET)?,
                token: None,
            }))
        }
        (None, false) => match &given.ambient {
            Some(ambient) => Ok(Way::Ambient(Arc::clone(ambient))),
            None => Err(super::no_ambient(SECRET)),
        },
        _ => Err(Error::permanent(
            "dns01.route53: has only one of access key ID and secret access key: set both, or neither",
        )),
    }
}

/// Whose a token is: the API server's word, which AWS checks. A token that does not say is its own.
fn subject(token: &str) -> String {
    let claims = token
        .split('.')
        .nth(1)
        .map(|part| URL_SAFE_NO_PAD.decode(part));
    let claims: Option<Value> = claims
        .and_then(Result::ok)
        .and_then(|claims| serde_json::from_slice(&claims).ok());
    let claim = |name: &str| claims.as_ref()?.get(name)?.as_str().map(str::to_owned);
    match (claim("iss"), claim("sub")) {
        (Some(issuer), Some(subject)) => format!("{issuer} {subject}"),
        _ => token.to_owned(),
    }
}

fn lent(hosted: &Hosted, call: &str, reply: &Reply, result: &str) -> Result<Lent<Session>, Error> {
    if !reply.is_success() {
        return Err(refused(&STS, hosted, call, reply));
    }
    let root = Element::parse(&reply.body);
    let credentials = root
        .as_ref()
        .and_then(|root| root.at(&[result, "Credentials"]));
    let read = |element: &Element| {
        let secret = |name| {
            let text = element.text_of(name);
            (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()))
        };
        Some(Lent {
            token: Session {
                access_key_id: secret("AccessKeyId")?.as_str().to_owned(),
                secret_access_key: secret("SecretAccessKey")?,
                token: Some(secret("SessionToken")?),
            },
            ends: element.text_of("Expiration").parse().ok()?,
        })
    };
    credentials
        .and_then(read)
        .ok_or_else(|| STS.unreadable(call, reply))
}

/// Code and words of an answer that says failure. Its request ID is different each time.
pub(super) fn complaint(reply: &Reply) -> (String, String) {
    let root = Element::parse(&reply.body).unwrap_or_default();
    if let Some(error) = root.child("Error") {
        return (
            error.text_of("Code").to_owned(),
            error.text_of("Message").to_owned(),
        );
    }
    // Route 53's InvalidChangeBatch: a list of messages, or one.
    let messages = root.child("Messages").map(|list| &list.children);
    let messages = messages
        .into_iter()
        .flatten()
        .map(|message| message.text.trim());
    let words: Vec<_> = messages
        .chain([root.text_of("Message")])
        .filter(|m| !m.is_empty())
        .collect();
    (root.name.clone(), words.join("; "))
}

/// The failure that an answer of AWS tells.
pub(super) fn refused(api: &Api, hosted: &Hosted, call: &str, reply: &Reply) -> Error {
    let (code, words) = complaint(reply);
    let all = format!("{code} {words}");
    let now = hosted.now();
    if is_throttled(&code) {
        let limited = Reply {
            status: 429,
            ..reply.clone()
        };
        return api.refused(call, &limited, all.trim(), now);
    }
    let refused = api.refused(call, reply, all.trim(), now);
    // STS reaches the cluster's keys itself, and may fail at it.
    if code == "IDPCommunicationError" {
        return Error::transient(refused.text);
    }
    refused
}

/// Whether it is one of the codes for too many calls, which come with status 400.
pub(super) fn is_throttled(code: &str) -> bool {
    code.starts_with("Throttling")
        || code == "RequestLimitExceeded"
        || code == "TooManyRequestsException"
}

/// Whether temporary credentials have ended before their time.
pub(super) fn is_expired(code: &str) -> bool {
    [
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
    ]
    .contains(&code)
}
