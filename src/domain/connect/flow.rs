//! A flow: one browser's attempt at a session.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{Handle, SessionId};
use crate::domain::document;
use crate::domain::oauth::authorization::Verifier;
use crate::domain::time::rfc3339_seconds;

/// How long a browser may stay at the provider.
pub(super) const FLOW_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// Version of the layout.
const SCHEMA_VERSION: u32 = 1;

/// One attempt. `Debug` does not show the verifier.
#[derive(Debug, Clone)]
pub struct Flow {
    /// SHA-256 (hex) of its state, by which it is found.
    pub state_sha256: String,
    /// The session that it is for.
    pub session: SessionId,
    /// SHA-256 (hex) of the browser's cookie.
    pub cookie_sha256: String,
    /// The proof key.
    pub verifier: Verifier,
    /// Where the provider sends the browser back: the token request repeats it to the letter.
    pub redirect_uri: String,
    /// The definition that it began with, by its hash; with another one it is not ended.
    pub definition_sha256: String,
    /// From then on it is refused.
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    schema_version: u32,
    state_sha256: String,
    session: SessionId,
    cookie_sha256: String,
    verifier: String,
    redirect_uri: String,
    definition_sha256: String,
    #[serde(serialize_with = "rfc3339_seconds")]
    expires_at: DateTime<Utc>,
}

impl Flow {
    /// A new one, and what the browser is given: state and cookie.
    pub fn new(
        session: SessionId,
        [state, cookie, verifier]: [&Handle; 3],
        redirect_uri: String,
        definition_sha256: String,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            state_sha256: state.sha256(),
            session,
            cookie_sha256: cookie.sha256(),
            verifier: Verifier::new(verifier.secret().clone()),
            redirect_uri,
            definition_sha256,
            expires_at: now + FLOW_LIFETIME,
        }
    }

    /// Name of the browser's cookie: each flow has its own, so that two tabs do not disturb each other. `__Host-` ties it
    /// to this host and to https.
    pub fn cookie_name(&self) -> String {
        format!("{}{}", Self::COOKIE_PREFIX, &self.state_sha256[..12])
    }

    /// What the names of all flows' cookies begin with.
    pub const COOKIE_PREFIX: &str = "__Host-connect-";

    /// Whether a browser with this cookie began it.
    pub fn is_of(&self, cookie: &Handle) -> bool {
        self.cookie_sha256 == cookie.sha256()
    }

    /// The JSON text. It holds the verifier.
    pub fn to_json(&self) -> SecretString {
        SecretString::from(document::to_json(&Json {
            schema_version: SCHEMA_VERSION,
            state_sha256: self.state_sha256.clone(),
            session: self.session.clone(),
            cookie_sha256: self.cookie_sha256.clone(),
            verifier: self.verifier.secret().expose_secret().to_owned(),
            redirect_uri: self.redirect_uri.clone(),
            definition_sha256: self.definition_sha256.clone(),
            expires_at: self.expires_at,
        }))
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(json).ok()?;
        (json.schema_version == SCHEMA_VERSION).then(|| Self {
            state_sha256: json.state_sha256,
            session: json.session,
            cookie_sha256: json.cookie_sha256,
            verifier: Verifier::new(SecretString::from(json.verifier)),
            redirect_uri: json.redirect_uri,
            definition_sha256: json.definition_sha256,
            expires_at: json.expires_at,
        })
    }
}

/// Who ends a flow: of all deliveries of its callback, the one that could put this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The invocation.
    pub run_id: String,
    /// From then on its holder counts as dead, and what it parked is adopted.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub expires_at: DateTime<Utc>,
}

impl Claim {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_1_it_is_read_as_it_was_written_and_holds_hashes_of_its_handles() {
        let handles = [1, 2, 3].map(|byte| Handle::of([byte; 32]));
        let now = "2026-11-20T22:00:00Z".parse().expect("a time");
        let session = SessionId::of(&Handle::of([9; 32]));
        let [state, cookie, verifier] = &handles;
        let flow = Flow::new(session, [state, cookie, verifier], "https://x/callback/crm".into(), "d".into(), now);
        let json = flow.to_json();
        let read = Flow::parse(json.expose_secret()).expect("a flow");
        assert_eq!(read.to_json().expose_secret(), json.expose_secret());
        assert!(read.is_of(cookie) && !read.is_of(state));
        for handle in [state, cookie] {
            assert!(!json.expose_secret().contains(handle.secret().expose_secret()));
        }
        assert!(!format!("{flow:?}").contains(verifier.secret().expose_secret()));
        assert!(flow.cookie_name().starts_with("__Host-connect-"));
    }
}
