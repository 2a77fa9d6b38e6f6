//! Requests to a token endpoint and what its answers mean (RFC 6749), and metadata of an issuer (RFC 8414).

mod answer;
mod error;
mod expiry;
mod format;
mod metadata;
mod request;

use std::fmt;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

pub use self::metadata::{metadata_request, metadata_urls, read_verification, verification_request};
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
    /// HTTP method.
    pub method: RequestMethod,
    /// With the parameters that go there in its query.
    pub url: Url,
    /// In order.
    pub headers: Vec<(String, SecretString)>,
    /// A form, or JSON; none with `Get`.
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
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Scheme, host and port of `Location`.
    pub redirects_to: Option<String>,
    /// The body.
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
    /// All of it.
    Whole(Vec<u8>),
    /// More than [`LARGEST_ANSWER_BYTES`]; the rest was not read.
    TooLarge,
    /// The connection ended before the body did.
    CutShort,
}

/// A request that did not lead to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// For report, messages and log.
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
    /// One that more requests can't help.
    pub fn terminal(error: SourceError) -> Self {
        Self { error, repeat: Repeat::Never, answer_lost: false, client_refused: false, too_early: false }
    }

    /// One that may pass by itself within seconds.
    pub fn transient(error: SourceError) -> Self {
        Self { repeat: Repeat::AfterBackoff(None), ..Self::terminal(error) }
    }

    /// One whose request was sent, whatever became of it.
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
    /// The token.
    pub access_token: SecretString,
    /// `Bearer` in this spelling, or the server's own word.
    pub token_type: String,
    /// Space-delimited; `None` if the server states none.
    pub scope: Option<String>,
    /// Its end; `None` if unstated.
    pub expires_at: Option<DateTime<Utc>>,
    /// A new refresh token; `None`: the old one stays good.
    pub refresh_token: Option<SecretString>,
    /// What it says of the refresh token's end.
    pub grant_expiry: GrantExpiry,
    /// Every other member that is no credential.
    pub extra: Map<String, Value>,
}

/// What an answer says of the refresh token's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantExpiry {
    /// Nothing, or nothing that makes sense.
    Unstated,
    /// `0`: it has none.
    Never,
    /// A moment.
    At(DateTime<Utc>),
}

impl GrantExpiry {
    /// The moment, if there is one.
    pub fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::At(time) => Some(time),
            Self::Unstated | Self::Never => None,
        }
    }
}

/// One token request: whose, how, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The source's.
    pub definition: &'a Definition,
    /// How it is made and read.
    pub flow: &'a Flow,
    /// The refresh token or access token that it is made with.
    pub credential: Option<&'a SecretString>,
}

#[cfg(test)]
mod tests;
