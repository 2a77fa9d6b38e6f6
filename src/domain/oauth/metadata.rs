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

/// What a provider answered to the question whose account it is: JSON, with a 2xx.
pub fn read_identity(answer: &Answer, now: DateTime<Utc>) -> Result<Value, Rejection> {
    read_verification(answer, now)?;
    format::read(answer, BodyFormat::Json).map_err(|what| {
        let message = format!("the account could not be read: {what}");
        Rejection::terminal(SourceError::new(ErrorCode::ResponseInvalid, message))
    })
}

/// What an issuer's metadata says (RFC 8414 section 2, OpenID Connect Discovery section 3, RFC 8628 section 4). For a
/// client that authenticates by mutual TLS all endpoints but the browser's are the aliases that are made for it, where
/// there are any (RFC 8705 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer, which is the one that was asked.
    pub issuer: String,
    /// Where tokens are requested.
    pub token_endpoint: Url,
    /// Where a browser is sent.
    pub authorization_endpoint: Option<Url>,
    /// Where tokens are ended (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// Where whose account it is can be asked (OpenID Connect Core section 5.3).
    pub userinfo_endpoint: Option<Url>,
    /// Where a device is authorized.
    pub device_authorization_endpoint: Option<Url>,
}

impl Exchange<'_> {
    /// The token endpoint that an issuer's metadata names; for a client that authenticates by mutual TLS the alias that
    /// is made for it, if there is one (RFC 8705 section 5).
    ///
    /// Its `issuer` must be the same string (RFC 8414 section 3.3), or somebody else answers for it.
    pub fn read_metadata(&self, answer: &Answer, issuer: &str, now: DateTime<Utc>) -> Result<Url, Rejection> {
        let document = self.metadata_document(answer, issuer, now)?;
        self.token_endpoint(&document, issuer)
    }

    /// All that connecting needs of an issuer's metadata. What it does not name is no fault, but every address that it
    /// does name must be one that a credential may be sent to.
    pub fn read_all_metadata(&self, answer: &Answer, issuer: &str, now: DateTime<Utc>) -> Result<Metadata, Rejection> {
        let document = self.metadata_document(answer, issuer, now)?;
        let endpoint = |name: &str, what: &str| self.endpoint_of(&document, issuer, name, what);
        Ok(Metadata {
            issuer: issuer.to_owned(),
            token_endpoint: self.token_endpoint(&document, issuer)?,
            authorization_endpoint: endpoint("authorization_endpoint", "authorization endpoint")?,
            revocation_endpoint: endpoint("revocation_endpoint", "revocation endpoint")?,
            userinfo_endpoint: endpoint("userinfo_endpoint", "userinfo endpoint")?,
            device_authorization_endpoint: endpoint("device_authorization_endpoint", "device authorization endpoint")?,
        })
    }

    /// The metadata, if they are this issuer's.
    fn metadata_document(&self, answer: &Answer, issuer: &str, now: DateTime<Utc>) -> Result<Value, Rejection> {
        let document = format::read(answer, BodyFormat::Auto);
        if !(200..300).contains(&answer.status) {
            let mut rejection = self.rejection(answer, document.as_ref(), now);
            rejection.error.message = format!("metadata of the issuer: {}", rejection.error.message);
            rejection.client_refused = false;
            // Nothing was sent that could be used up.
            rejection.answer_lost = false;
            return Err(rejection);
        }
        let document = document.map_err(|what| {
            let rejection = invalid(&format!("no usable answer: {what}"));
            if matches!(answer.body, AnswerBody::CutShort) { Rejection::transient(rejection.error) } else { rejection }
        })?;
        let stated = document.get("issuer").and_then(Value::as_str);
        if stated == Some(issuer) {
            return Ok(document);
        }
        Err(invalid(&match stated {
            Some(stated) if stated.trim_end_matches('/') == issuer.trim_end_matches('/') => format!(
                "it states the issuer {} a trailing slash; write `issuer` the same way",
                if stated.ends_with('/') { "with" } else { "without" }
            ),
            Some(stated) => {
                let basic = self.basic_credentials();
                format!("it states another issuer ({})", self.secrets(&basic).shown(stated, 200))
            }
            None => "it states no issuer".to_owned(),
        }))
    }

    fn token_endpoint(&self, document: &Value, issuer: &str) -> Result<Url, Rejection> {
        let url = self.endpoint_of(document, issuer, "token_endpoint", "token endpoint")?;
        url.ok_or_else(|| invalid("it names no token endpoint"))
    }

    /// The endpoint of that name, which people call `what`; `None`: there is none.
    fn endpoint_of(&self, document: &Value, issuer: &str, name: &str, what: &str) -> Result<Option<Url>, Rejection> {
        let alias = match self.flow.client_authentication {
            ClientAuthentication::MutualTls if name != "authorization_endpoint" => {
                document.get("mtls_endpoint_aliases").and_then(|aliases| aliases.get(name))
            }
            _ => None,
        };
        let Some(text) = alias.or_else(|| document.get(name)).and_then(Value::as_str) else { return Ok(None) };
        let url = parse_endpoint_url(text, self.definition.plain_http)
            .map_err(|reason| invalid(&format!("its {what} {reason}")))?;
        if url.scheme() == "http" && issuer.starts_with("https:") {
            return Err(invalid(&format!("its {what} is not https")));
        }
        Ok(Some(url))
    }
}

fn invalid(reason: &str) -> Rejection {
    Rejection::terminal(SourceError::new(ErrorCode::ResponseInvalid, format!("metadata of the issuer: {reason}")))
}
