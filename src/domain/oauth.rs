//! Requests to a token endpoint and what its answers mean (RFC 6749), and metadata of an issuer (RFC 8414).

mod answer;
pub mod authorization;
mod error;
mod expiry;
mod format;
pub mod identity;
mod metadata;
mod request;
pub mod revocation;

use std::fmt;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

pub use self::metadata::{
    Metadata, metadata_request, metadata_urls, read_identity, read_verification, verification_request,
};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::provider::dialect::RequestMethod;
use crate::domain::retry::Repeat;
use crate::domain::source::{Definition, Flow};

/// The largest answer that is read. Token answers have a few KiB; as JSON values, with a few large ones at once, much more
/// would not fit into the function's memory.
pub const LARGEST_ANSWER_BYTES: usize = 128 * 1024;

/// An HTTP request to an authorization server. `Debug` shows neither query, nor headers, nor body.
#[derive(Clone)]
pub struct Request {
    /// `POST` (RFC 6749 section 3.2), unless the provider wants `GET`.
    pub method: RequestMethod,
    /// The endpoint, with the parameters that go into its query.
    pub url: Url,
    /// Names and values, in the order in which they are sent.
    pub headers: Vec<(String, SecretString)>,
    /// A form or a JSON object; `None` with `GET`.
    pub body: Option<SecretString>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("path", &self.url.path())
            .finish_non_exhaustive()
    }
}

/// What came back, as far as it was read.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Names in lower case, and values; those that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// Scheme, host and port of `Location`, without path and query, which may hold secrets.
    pub redirects_to: Option<String>,
    /// What was read of the body.
    pub body: AnswerBody,
}

impl Answer {
    /// An answer without headers.
    pub fn new(status: u16, body: AnswerBody) -> Self {
        Self { status, headers: Vec::new(), redirects_to: None, body }
    }

    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A body, or why it is not whole.
#[derive(Clone)]
pub enum AnswerBody {
    /// All of it, in bytes as they came.
    Whole(Vec<u8>),
    /// More than [`LARGEST_ANSWER_BYTES`]; the rest was not read.
    TooLarge,
    /// The connection ended before the body did.
    CutShort,
}

/// A request that did not lead to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What report, messages and log say of it.
    pub error: SourceError,
    /// Whether the same request may be sent again in this run.
    pub repeat: Repeat,
    /// Whether the server may have acted on the request, so that a credential that it replaces is already used up.
    pub answer_lost: bool,
    /// Whether the server refused the client itself, so that its credentials may have been changed.
    pub client_refused: bool,
    /// Whether nothing is wrong but that the credential can't be refreshed yet.
    pub too_early: bool,
}

impl Rejection {
    /// A rejection after which the same request would fail again.
    pub fn terminal(error: SourceError) -> Self {
        Self { error, repeat: Repeat::Never, answer_lost: false, client_refused: false, too_early: false }
    }

    /// A rejection whose reason may pass by itself within seconds.
    pub fn transient(error: SourceError) -> Self {
        Self { repeat: Repeat::AfterBackoff(None), ..Self::terminal(error) }
    }

    /// A rejection for want of an answer: the request was sent, and the server may have acted on it.
    pub fn lost(error: SourceError) -> Self {
        Self { answer_lost: true, ..Self::transient(error) }
    }

    /// The same of a request without a credential that is kept: a refused assertion or password is no lost race, and only
    /// a person can mend it.
    #[must_use]
    pub fn of_no_kept_grant(mut self) -> Self {
        if self.error.code == ErrorCode::InvalidGrant {
            self.error.retryable = false;
        }
        self
    }

    /// The same where a second request could destroy the grant: what is lost is not asked for again in this run.
    #[must_use]
    pub fn without_repeat_of_lost(self) -> Self {
        let repeat = if self.answer_lost { Repeat::Never } else { self.repeat };
        Self { repeat, ..self }
    }
}

/// A successful answer (RFC 6749 section 5.1).
#[derive(Debug, Clone)]
pub struct TokenAnswer {
    /// `access_token`, never empty and without control characters.
    pub access_token: SecretString,
    /// `Bearer` in this spelling, or the server's own word.
    pub token_type: String,
    /// `scope` (RFC 6749 section 3.3), whatever the server's delimiter; `None` if it states none.
    pub scope: Option<String>,
    /// When the access token ends, in whole seconds; `None` if unstated.
    pub expires_at: Option<DateTime<Utc>>,
    /// A new refresh token; `None`: the old one stays good (RFC 6749 section 6).
    pub refresh_token: Option<SecretString>,
    /// What it says of the refresh token's end.
    pub grant_expiry: GrantExpiry,
    /// Who has signed in, as a JWT (OpenID Connect Core section 2).
    pub id_token: Option<SecretString>,
    /// Every other member that is no credential.
    pub extra: Map<String, Value>,
}

/// What an answer says of the refresh token's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantExpiry {
    /// Nothing, or nothing plausible.
    Unstated,
    /// A lifetime of `0`, by which servers say that it has no end.
    Never,
    /// When it ends, in whole seconds.
    At(DateTime<Utc>),
}

impl GrantExpiry {
    /// When it ends; `None` where no end is stated, or it has none.
    pub fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::At(time) => Some(time),
            Self::Unstated | Self::Never => None,
        }
    }
}

/// A token request and its answer, of one source.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The source's definition, whose secrets are masked in what the server says.
    pub definition: &'a Definition,
    /// How the request is made and its answer read: one of the definition's flows.
    pub flow: &'a Flow,
    /// The refresh token, access token or code that it is made with.
    pub credential: Option<&'a SecretString>,
    /// What it says besides: of a code, `redirect_uri` and `code_verifier`.
    pub further: &'a [(&'a str, &'a str)],
}

#[cfg(test)]
mod tests;
