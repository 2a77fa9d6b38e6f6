//! What a provider gave, kept before anything else happens with it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SessionId;
use crate::domain::document;
use crate::domain::oauth::{GrantExpiry, TokenAnswer};
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};

/// How long it waits for the application's word.
const PARKED_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// Version of the layout.
const SCHEMA_VERSION: u32 = 1;

/// A grant that nobody has committed yet. `Debug` does not show its tokens.
#[derive(Debug, Clone)]
pub struct Parked {
    /// The session that it is for.
    pub session: SessionId,
    /// SHA-256 (hex) of the state of the flow that brought it.
    pub state_sha256: String,
    /// The last answer of the token endpoint.
    pub answer: TokenAnswer,
    /// When the request that brought it was sent.
    pub issued_at: DateTime<Utc>,
    /// Parameters of the callback besides code, state and the like.
    pub callback: BTreeMap<String, String>,
    /// SHA-256 (hex) of the completion code.
    pub code_sha256: String,
    /// From then on it is dropped.
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    schema_version: u32,
    session: SessionId,
    state_sha256: String,
    access_token: String,
    token_type: String,
    scope: Option<String>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    token_expires_at: Option<DateTime<Utc>>,
    refresh_token: Option<String>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    grant_expires_at: Option<DateTime<Utc>>,
    id_token: Option<String>,
    extra: Map<String, Value>,
    #[serde(serialize_with = "rfc3339_seconds")]
    issued_at: DateTime<Utc>,
    callback: BTreeMap<String, String>,
    code_sha256: String,
    #[serde(serialize_with = "rfc3339_seconds")]
    expires_at: DateTime<Utc>,
}

impl Parked {
    /// Of an answer that has just come.
    pub fn new(
        session: SessionId,
        state_sha256: String,
        (answer, issued_at): (TokenAnswer, DateTime<Utc>),
        callback: BTreeMap<String, String>,
        code_sha256: String,
        now: DateTime<Utc>,
    ) -> Self {
        Self { session, state_sha256, answer, issued_at, callback, code_sha256, expires_at: now + PARKED_LIFETIME }
    }

    /// The JSON text. It holds the tokens.
    pub fn to_json(&self) -> SecretString {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        SecretString::from(document::to_json(&Json {
            schema_version: SCHEMA_VERSION,
            session: self.session.clone(),
            state_sha256: self.state_sha256.clone(),
            access_token: text(&self.answer.access_token),
            token_type: self.answer.token_type.clone(),
            scope: self.answer.scope.clone(),
            token_expires_at: self.answer.expires_at,
            refresh_token: self.answer.refresh_token.as_ref().map(text),
            grant_expires_at: self.answer.grant_expiry.at(),
            id_token: self.answer.id_token.as_ref().map(text),
            extra: self.answer.extra.clone(),
            issued_at: self.issued_at,
            callback: self.callback.clone(),
            code_sha256: self.code_sha256.clone(),
            expires_at: self.expires_at,
        }))
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(json).ok()?;
        (json.schema_version == SCHEMA_VERSION).then(|| Self {
            session: json.session,
            state_sha256: json.state_sha256,
            answer: TokenAnswer {
                access_token: SecretString::from(json.access_token),
                token_type: json.token_type,
                scope: json.scope,
                expires_at: json.token_expires_at,
                refresh_token: json.refresh_token.map(SecretString::from),
                grant_expiry: json.grant_expires_at.map_or(GrantExpiry::Unstated, GrantExpiry::At),
                id_token: json.id_token.map(SecretString::from),
                extra: json.extra,
            },
            issued_at: json.issued_at,
            callback: json.callback,
            code_sha256: json.code_sha256,
            expires_at: json.expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::connect::Handle;

    #[test]
    fn it_is_read_as_it_was_written_and_debug_shows_no_token() {
        let now = "2026-11-20T22:00:00Z".parse().expect("a time");
        let answer = TokenAnswer {
            access_token: SecretString::from("access-1"),
            token_type: "Bearer".to_owned(),
            scope: Some("read".to_owned()),
            expires_at: Some(now),
            refresh_token: Some(SecretString::from("refresh-1")),
            grant_expiry: GrantExpiry::At(now),
            id_token: Some(SecretString::from("id-1")),
            extra: json!({"team": {"id": 1}}).as_object().cloned().expect("an object"),
        };
        let callback = BTreeMap::from([("realmId".to_owned(), "7".to_owned())]);
        let session = SessionId::of(&Handle::of([1; 32]));
        let parked = Parked::new(session, "s".to_owned(), (answer, now), callback, "c".to_owned(), now);
        let json = parked.to_json();
        let read = Parked::parse(json.expose_secret()).expect("what was parked");
        assert_eq!(read.to_json().expose_secret(), json.expose_secret());
        for secret in ["access-1", "refresh-1", "id-1"] {
            assert!(json.expose_secret().contains(secret) && !format!("{parked:?}").contains(secret), "{secret}");
        }
    }
}
