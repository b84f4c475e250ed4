//! Revocation lists of CA issuers: sign them, and serve what is signed.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::issuer::CaIssuer;
use crate::controllers::key::Key;
use crate::controllers::reads::{ReadError, Reader};
use crate::controllers::revocation_list::{Next, config_map, issuer_at, lifetime, next};
use crate::controllers::store::Store;
use crate::pki::{ParsedCertificate, RevocationList, RevokedSerial};
use crate::runtime::clock::now;
use crate::runtime::signing::authorities::Authorities;
use crate::serve::{Bounds, serve};

/// What became of a list.
pub enum Signed {
    /// There is a new one, to be stored.
    Anew(RevocationList, Box<ConfigMap>),
    /// The one that is stored will do, until then.
    Stands(RevocationList, Timestamp),
    /// It cannot be signed: why.
    Not(String),
}

impl Signed {
    /// Whether a certificate is in it.
    pub fn has(&self, certificate: &ParsedCertificate) -> bool {
        let (Self::Anew(list, _) | Self::Stands(list, _)) = self else {
            return false;
        };
        let serial = certificate.serial_bytes();
        list.revoked.iter().any(|entry| entry.serial == serial)
    }
}

/// The list of an issuer with all that CertificateRevocations say, signed anew if that is needed. `keeps` says whether this
/// operator keeps lists.
pub async fn sign(
    authorities: &Authorities,
    reader: &Reader,
    issuer: &Key,
    ca: &CaIssuer,
    keeps: bool,
) -> Result<Signed, ReadError> {
    let not = |why: &str| Ok(Signed::Not(why.to_owned()));
    let Some(asked) = &ca.revocation_list else {
        return not("the issuer keeps no revocation list: set spec.ca.revocationList");
    };
    if !keeps {
        return not(
            "spec.ca.revocationList: this operator keeps no lists: start it with --revocation-list-listen-address, which \
                    the value revocationLists.enabled of the chart does",
        );
    }
    let authority = authorities.to_list(reader, issuer, &ca.secret_name).await?;
    let authority = match authority {
        Ok(authority) => authority,
        Err(problem) => return Ok(Signed::Not(problem)),
    };
    let stored = reader.store.list_of(issuer);
    let list = stored.as_ref().and_then(|fact| fact.list.as_ref().ok());
    let own = list.filter(|list| authority.signs(list));
    let there: HashSet<String> = own
        .iter()
        .flat_map(|own| own.revoked.iter().map(RevokedSerial::text))
        .collect();
    let missing = reader.store.listed_by(issuer, &there).into_iter();
    let missing = missing.filter(|(certificate, _)| authority.has_signed(certificate));
    let missing = missing.map(|(_, revoked)| revoked).collect();
    let end = authority.validity().1;
    let (fact, lifetime, now) = (stored.as_deref(), lifetime(asked), now());
    let draft = match (next(fact, own.is_some(), missing, lifetime, end, now), own) {
        (Next::Stands(until), Some(own)) => return Ok(Signed::Stands(own.clone(), until)),
        (Next::Sign(draft), _) => draft,
        (Next::Stands(_), None) => return not("there is no list"),
        (Next::Not(problem), _) => return Ok(Signed::Not(problem)),
    };
    let signed = authority.sign_list(draft.number, now, draft.next_update, &draft.revoked);
    Ok(match signed {
        Ok(list) => {
            let home = reader.store.home(issuer.kind, &issuer.namespace);
            let version = stored.map(|fact| fact.id.version.clone());
            let object = config_map(issuer, home, &list, &draft.expiry, version);
            Signed::Anew(list, Box::new(object))
        }
        Err(problem) => Signed::Not(problem.to_string()),
    })
}

/// Serve the lists until `stop`; each replica does, from what its informer has.
pub async fn serve_lists(listener: TcpListener, store: Arc<Store>, stop: CancellationToken) {
    serve(listener, Bounds::PUBLIC, stop, move |request| {
        answer(&store, request)
    })
    .await;
}

fn answer<B>(store: &Store, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    let issuer = issuer_at(request.uri().path());
    let stored = issuer.and_then(|issuer| store.list_of(&issuer));
    let Some(Ok(list)) = stored.as_ref().map(|stored| &stored.list) else {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    };
    let mut response = Response::new(Full::new(list.der().clone()));
    let headers = response.headers_mut();
    // RFC 5280 §4.2.1.13.
    let kind = HeaderValue::from_static("application/pkix-crl");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    response
}

fn plain(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response
}
