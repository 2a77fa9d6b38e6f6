//! The token document, what is known of it without reading it, and whether a token is due to be refreshed.

mod due;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::due::{Due, RefreshRule, due};
use crate::domain::connection::Connection;
use crate::domain::document;
use crate::domain::oauth::TokenAnswer;
use crate::domain::oauth::identity::Identity;
use crate::domain::redact;
use crate::domain::source::{Source, SourceName};
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};

/// Version of the layout of token documents.
const SCHEMA_VERSION: u32 = 1;

/// How much of the token's SHA-256 is published: enough to tell two apart, useless for guessing one.
pub const TOKEN_SHA256_DIGITS: usize = 16;

/// Where jobs find a source's token document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Name of the token bucket.
    pub bucket: String,
    /// Key of the document; `None` where the name is no source's, so that there is none.
    pub key: Option<String>,
}

/// What is known of a stored token without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Entity tag of what is stored, which the next write names as its condition.
    pub etag: String,
    /// Version of the document in the token bucket.
    pub version_id: Option<String>,
    /// `None` if the document was not written by this program, or what was written beside it is damaged.
    pub metadata: Option<StoredMetadata>,
}

impl StoredToken {
    /// Whether it is this access token.
    pub fn holds(&self, access_token: &SecretString) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.token_sha256 == short_sha256(access_token))
    }
}

/// The published part of a token's SHA-256.
fn short_sha256(access_token: &SecretString) -> String {
    let mut digits = redact::sha256_hex(access_token.expose_secret().as_bytes());
    digits.truncate(TOKEN_SHA256_DIGITS);
    digits
}

/// What is written beside a token document: all that later harvests decide by, so that they need not decrypt the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMetadata {
    /// Number of the token: one more with each refresh of the source.
    pub generation: u64,
    /// When the request for the token was sent.
    pub issued_at: DateTime<Utc>,
    /// When the token ends; `None` if the server stated no end.
    pub expires_at: Option<DateTime<Utc>>,
    /// The first [`TOKEN_SHA256_DIGITS`] hex digits of the token's SHA-256.
    pub token_sha256: String,
    /// Hash of the definition that the token was requested with.
    pub definition_sha256: String,
    /// Stated end of the refresh token that brings the next one.
    pub grant_expires_at: Option<DateTime<Utc>>,
}

/// A token as ETL jobs read it. `Debug` does not show the token.
#[derive(Debug, Clone)]
pub struct TokenDocument {
    /// The source whose token it is.
    pub source: SourceName,
    /// Whose account it is at the provider, where a person connected it and the provider says so.
    pub identity: Option<Identity>,
    /// The ID token that came with it, where the definition asks for it.
    pub id_token: Option<SecretString>,
    /// The token, and what else the server said with it.
    pub answer: TokenAnswer,
    /// Granted scope, or the requested one if the server did not say (RFC 6749 section 5.1).
    pub scope: Option<String>,
    /// When the request for it was sent.
    pub issued_at: DateTime<Utc>,
    /// From when on a harvest refreshes it, by the schedule at the time of writing.
    pub refresh_after: DateTime<Utc>,
    /// See [`StoredMetadata::generation`].
    pub generation: u64,
    /// Hash of the definition that it was requested with.
    pub definition_sha256: String,
    /// Stated end of the refresh token that brings the next one.
    pub grant_expires_at: Option<DateTime<Utc>>,
}

impl TokenDocument {
    /// The document for a new answer, one generation after what is stored.
    pub fn new(
        source: &Source,
        answer: TokenAnswer,
        rule: &RefreshRule,
        issued_at: DateTime<Utc>,
        grant_expires_at: Option<DateTime<Utc>>,
        previous: Option<&StoredToken>,
    ) -> Self {
        let mut document = Self {
            source: source.name.clone(),
            identity: None,
            id_token: answer.id_token.clone().filter(|_| source.keeps_id_token()),
            scope: answer.scope.clone().or_else(|| source.definition.flow.scope.clone()),
            issued_at,
            refresh_after: rule.refresh_after(issued_at, answer.expires_at),
            generation: 0,
            definition_sha256: source.definition.public_sha256.clone(),
            grant_expires_at,
            answer,
        };
        document.follow(previous);
        document
    }

    /// With what is known of the connection that brought it. What the provider's callback said stands over the answer's own
    /// words; a refresh that names no scope has that of the grant (RFC 6749 section 6).
    #[must_use]
    pub fn of_connection(mut self, connection: Connection) -> Self {
        let Connection { identity, scope, extra, .. } = connection;
        self.identity = identity;
        self.answer.extra.extend(extra);
        self.scope = self.answer.scope.clone().or(scope).or(self.scope);
        self
    }

    /// Takes the generation after that of `previous`.
    pub fn follow(&mut self, previous: Option<&StoredToken>) {
        let generation = previous.and_then(|stored| stored.metadata.as_ref()).map_or(0, |old| old.generation);
        self.generation = generation + 1;
    }

    /// What a later harvest will find once this document is written.
    pub fn stored(&self, etag: String, version_id: Option<String>) -> StoredToken {
        StoredToken { etag, version_id, metadata: Some(self.metadata()) }
    }

    /// What is written beside the document.
    pub fn metadata(&self) -> StoredMetadata {
        StoredMetadata {
            generation: self.generation,
            issued_at: self.issued_at,
            expires_at: self.answer.expires_at,
            token_sha256: self.token_sha256(),
            definition_sha256: self.definition_sha256.clone(),
            grant_expires_at: self.grant_expires_at,
        }
    }

    /// Whether `stored` is this very document: a write whose reply was lost.
    pub fn is(&self, stored: &StoredToken) -> bool {
        stored.metadata.as_ref().is_some_and(|metadata| {
            metadata.generation == self.generation && metadata.token_sha256 == self.token_sha256()
        })
    }

    /// What jobs read (`schemas/token-document.schema.json`). It holds the token.
    pub fn to_json(&self) -> SecretString {
        #[derive(Serialize)]
        struct Json<'a> {
            schema_version: u32,
            source: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            account: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            identity: Option<&'a Identity>,
            access_token: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id_token: Option<&'a str>,
            token_type: &'a str,
            scope: Option<&'a str>,
            #[serde(serialize_with = "rfc3339_seconds")]
            issued_at: DateTime<Utc>,
            #[serde(serialize_with = "rfc3339_seconds_option")]
            expires_at: Option<DateTime<Utc>>,
            #[serde(serialize_with = "rfc3339_seconds")]
            refresh_after: DateTime<Utc>,
            generation: u64,
            extra: &'a Map<String, Value>,
        }

        SecretString::from(document::to_json(&Json {
            schema_version: SCHEMA_VERSION,
            source: self.source.as_str(),
            account: self.source.account(),
            identity: self.identity.as_ref(),
            access_token: self.answer.access_token.expose_secret(),
            id_token: self.id_token.as_ref().map(SecretString::expose_secret),
            token_type: &self.answer.token_type,
            scope: self.scope.as_deref(),
            issued_at: self.issued_at,
            expires_at: self.answer.expires_at,
            refresh_after: self.refresh_after,
            generation: self.generation,
            extra: &self.answer.extra,
        }))
    }

    fn token_sha256(&self) -> String {
        short_sha256(&self.answer.access_token)
    }
}
