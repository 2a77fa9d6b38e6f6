//! An issuer's metadata (RFC 8414), and the trial of a token at `verify_url`.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::{Answer, AnswerBody, Exchange, Rejection, Request, format};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::provider::dialect::{BodyFormat, RequestMethod};
use crate::domain::retry::{self, Repeat};
use crate::domain::source::{ClientAuthentication, parse_endpoint_url};

/// Where an issuer's metadata stands: RFC 8414 section 3.1, then OpenID Connect Discovery section 4.
///
/// The first goes before the issuer's path, the second after it.
pub fn metadata_urls(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let with_path = |path: &str| {
        let mut url = issuer.clone();
        url.set_path(path);
        url
    };
    [
        with_path(&format!("/.well-known/oauth-authorization-server{path}")),
        with_path(&format!("{path}/.well-known/openid-configuration")),
    ]
}

/// A request for an issuer's metadata.
pub fn metadata_request(url: Url) -> Request {
    Request {
        method: RequestMethod::Get,
        url,
        headers: vec![("Accept".to_owned(), SecretString::from("application/json"))],
        body: None,
    }
}

/// A request that shows whether a resource server takes a token (RFC 6750 section 2.1).
pub fn verification_request(url: Url, access_token: &SecretString) -> Request {
    let authorization = SecretString::from(format!("Bearer {}", access_token.expose_secret()));
    Request { method: RequestMethod::Get, url, headers: vec![("Authorization".to_owned(), authorization)], body: None }
}

/// Whether the token was taken: any 2xx.
pub fn read_verification(answer: &Answer, now: DateTime<Utc>) -> Result<(), Rejection> {
    let status = answer.status;
    let error = SourceError::new(ErrorCode::VerificationFailed, format!("it answered HTTP {status}"));
    match status {
        200..300 => Ok(()),
        408 | 429 | 500.. => {
            let retry_after = answer.header("retry-after").and_then(|value| retry::parse_retry_after(value, now));
            Err(Rejection { repeat: Repeat::AfterBackoff(retry_after), ..Rejection::terminal(error) })
        }
        _ => Err(Rejection::terminal(error)),
    }
}

impl Exchange<'_> {
    /// The token endpoint that an issuer's metadata names; for a client that authenticates by mutual TLS the alias that
    /// is made for it, if there is one (RFC 8705 section 5).
    ///
    /// Its `issuer` must be the same string (RFC 8414 section 3.3), or somebody else answers for it.
    pub fn read_metadata(&self, answer: &Answer, issuer: &str, now: DateTime<Utc>) -> Result<Url, Rejection> {
        let document = format::read(answer, BodyFormat::Auto);
        if !(200..300).contains(&answer.status) {
            let mut rejection = self.rejection(answer, document.as_ref(), now);
            rejection.error.message = format!("metadata of the issuer: {}", rejection.error.message);
            rejection.client_refused = false;
            // Nothing was sent that could be used up.
            rejection.answer_lost = false;
            return Err(rejection);
        }
        let invalid = |reason: String| {
            let message = format!("metadata of the issuer: {reason}");
            Rejection::terminal(SourceError::new(ErrorCode::ResponseInvalid, message))
        };
        let document = document.map_err(|what| {
            let rejection = invalid(format!("no usable answer: {what}"));
            if matches!(answer.body, AnswerBody::CutShort) { Rejection::transient(rejection.error) } else { rejection }
        })?;
        let stated = document.get("issuer").and_then(Value::as_str);
        if stated != Some(issuer) {
            return Err(invalid(match stated {
                Some(stated) if stated.trim_end_matches('/') == issuer.trim_end_matches('/') => format!(
                    "it states the issuer {} a trailing slash; write `issuer` the same way",
                    if stated.ends_with('/') { "with" } else { "without" }
                ),
                Some(stated) => {
                    let basic = self.basic_credentials();
                    format!("it states another issuer ({})", self.secrets(&basic).shown(stated, 200))
                }
                None => "it states no issuer".to_owned(),
            }));
        }
        let alias = match self.flow.client_authentication {
            ClientAuthentication::MutualTls => document.pointer("/mtls_endpoint_aliases/token_endpoint"),
            _ => None,
        };
        let token_endpoint = alias
            .or_else(|| document.get("token_endpoint"))
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("it names no token endpoint".to_owned()))?;
        let url = parse_endpoint_url(token_endpoint, self.definition.plain_http)
            .map_err(|reason| invalid(format!("its token endpoint {reason}")))?;
        if url.scheme() == "http" && issuer.starts_with("https:") {
            return Err(invalid("its token endpoint is not https".to_owned()));
        }
        Ok(url)
    }
}
