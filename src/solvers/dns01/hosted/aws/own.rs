//! What the process has of its own.

use http::header::AUTHORIZATION;
use http::{HeaderName, Method};
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::sigv4::Session;
use super::super::tokens::Lent;
use super::super::{Api, Hosted, optional, read_token, secret};
use super::{Login, SESSION_NAME};
use crate::net::{Reply, Request};
use crate::solvers::dns01::{Ambient, Error};

const INSTANCE_BASE: &str = "http://169.254.169.254";
const CONTAINER_BASE: &str = "http://169.254.170.2";
const INSTANCE_TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const INSTANCE_TOKEN_TTL: HeaderName =
    HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

const CONTAINER: Api = Api {
    name: "AWS's credentials endpoint of the container",
    remedy: "give the operator's service account an EKS Pod Identity association",
};
const INSTANCE: Api = Api {
    name: "AWS's instance metadata",
    remedy: "give the node an instance profile, and let its metadata answer Pods",
};

/// What metadata services answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Issued {
    access_key_id: String,
    #[serde(deserialize_with = "secret")]
    secret_access_key: Zeroizing<String>,
    #[serde(deserialize_with = "secret")]
    token: Zeroizing<String>,
    expiration: Timestamp,
}

impl Login {
    /// In the order of AWS's tools.
    pub(super) async fn log_in_as_process(
        &self,
        hosted: &Hosted,
        ambient: &Ambient,
    ) -> Result<Lent<Session>, Error> {
        let variable = |name: &str| optional(ambient.variables.get(name).map(String::as_str));
        let keys = (
            variable("AWS_ACCESS_KEY_ID"),
            variable("AWS_SECRET_ACCESS_KEY"),
        );
        if let (Some(id), Some(secret)) = keys {
            let token = variable("AWS_SESSION_TOKEN").map(|token| Zeroizing::new(token.to_owned()));
            return Ok(Lent {
                token: Session {
                    access_key_id: id.to_owned(),
                    secret_access_key: Zeroizing::new(secret.to_owned()),
                    token,
                },
                ends: Timestamp::MAX,
            });
        }
        let identity = (
            variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
            variable("AWS_ROLE_ARN"),
        );
        if let (Some(file), Some(role)) = identity {
            let token = read_token(file, "the file of AWS_WEB_IDENTITY_TOKEN_FILE").await?;
            let name = variable("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME);
            return self.by_token(hosted, role, &token, name).await;
        }
        let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let container = relative.map(|path| format!("{CONTAINER_BASE}{path}"));
        let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned);
        if let Some(url) = container.or(full) {
            return from_container(hosted, &url, &variable).await;
        }
        if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"))
        {
            return Err(Error::permanent(
                "dns01.route53: the operator has no credentials of AWS of its own: give it some, or set \
                 dns01.route53.auth",
            ));
        }
        let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(INSTANCE_BASE);
        from_instance(hosted, base.trim_end_matches('/')).await
    }
}

async fn from_container<'a>(
    hosted: &Hosted,
    url: &str,
    variable: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Lent<Session>, Error> {
    let call = "get credentials";
    let mut request = Request::get(url);
    let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => {
            const PLACE: &str = "the file of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
            Some(read_token(file, PLACE).await?)
        }
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|t| Zeroizing::new(t.to_owned())),
    };
    if let Some(token) = token {
        let with = request.header(AUTHORIZATION, &token);
        request = with.map_err(|error| CONTAINER.unreached(call, &error))?;
    }
    let reply = hosted.send_local(&CONTAINER, call, request).await?;
    issued(&CONTAINER, hosted, call, &reply)
}

/// "Use IMDSv2": a session first.
async fn from_instance(hosted: &Hosted, base: &str) -> Result<Lent<Session>, Error> {
    let call = "get credentials";
    let unsent = |error: &_| INSTANCE.unreached(call, error);
    let request = Request::new(Method::PUT, format!("{base}/latest/api/token"))
        .header(INSTANCE_TOKEN_TTL, "300")
        .map_err(|error| unsent(&error))?;
    let reply = hosted.send_local(&INSTANCE, call, request).await?;
    if !reply.is_success() {
        return Err(INSTANCE.refused(call, &reply, "", hosted.now()));
    }
    let token = text(&reply).ok_or_else(|| INSTANCE.unreadable(call, &reply))?;
    let base = format!("{base}/latest/meta-data/iam/security-credentials/");
    let request = Request::get(&base).header(INSTANCE_TOKEN, &token);
    let request = request.map_err(|error| unsent(&error))?;
    let reply = hosted.send_local(&INSTANCE, call, request).await?;
    if !reply.is_success() {
        return Err(INSTANCE.refused(call, &reply, "", hosted.now()));
    }
    let role = text(&reply).ok_or_else(|| INSTANCE.unreadable(call, &reply))?;
    let request = Request::get(format!("{base}{}", role.as_str())).header(INSTANCE_TOKEN, &token);
    let request = request.map_err(|error| unsent(&error))?;
    let reply = hosted.send_local(&INSTANCE, call, request).await?;
    issued(&INSTANCE, hosted, call, &reply)
}

/// The first line of an answer.
fn text(reply: &Reply) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(&reply.body).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| Zeroizing::new(line.to_owned()))
}

fn issued(api: &Api, hosted: &Hosted, call: &str, reply: &Reply) -> Result<Lent<Session>, Error> {
    if !reply.is_success() {
        return Err(api.refused(call, reply, "", hosted.now()));
    }
    let issued: Issued = reply.json().ok_or_else(|| api.unreadable(call, reply))?;
    Ok(Lent {
        token: Session {
            access_key_id: issued.access_key_id,
            secret_access_key: issued.secret_access_key,
            token: Some(issued.token),
        },
        ends: issued.expiration,
    })
}
