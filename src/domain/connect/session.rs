//! A session: somebody's request that a person connect an account.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::ConnectError;
use super::Handle;
use crate::domain::document;
use crate::domain::oauth::identity::Identity;
use crate::domain::principal::Principal;
use crate::domain::time::rfc3339_seconds;

/// How long a session lives; its link is good for as long.
pub const SESSION_LIFETIME: TimeDelta = TimeDelta::minutes(30);

/// Characters of the application's own `state`.
pub const MOST_STATE_CHARACTERS: usize = 512;

/// Wrong completion codes that end a session.
const MOST_WRONG_CODES: u32 = 3;

/// Version of the layout.
const SCHEMA_VERSION: u32 = 1;

/// A session's id: the SHA-256 (hex) of its link's token. Whoever knows it can ask how the session stands, and can't
/// open the link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(String);

impl SessionId {
    /// The id of the session that a link leads to.
    pub fn of(link: &Handle) -> Self {
        Self(link.sha256())
    }

    /// Checks the form.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| Self(text.to_owned()))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has gone on from its page, or whoever did has come to nothing.
    Pending,
    /// A browser is at the provider.
    Authorizing,
    /// The provider has given a grant; the application has not yet confirmed whose it is.
    Unconfirmed,
    /// The connection stands, and its token is published.
    Connected,
    /// It ended without a connection.
    Failed,
    /// Its time is over.
    Expired,
}

impl Status {
    /// As the interface and return addresses say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Authorizing => "authorizing",
            Self::Unconfirmed => "unconfirmed",
            Self::Connected => "connected",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing changes any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Connected | Self::Failed | Self::Expired)
    }
}

/// A request for a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    schema_version: u32,
    /// By which it is found.
    pub id: SessionId,
    /// The source to connect.
    pub source: String,
    /// The account of it; `None`: the source has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Who asked.
    pub principal: Principal,
    /// Where the browser goes in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_to: Option<String>,
    /// What the application is given back as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether only the identity that is connected already will do.
    pub reconnect: bool,
    /// Whether the application must confirm before the grant is saved.
    pub confirm: bool,
    /// Where the browser is sent, resolved when the session was made: the page's policy names its origin.
    pub authorization_endpoint: String,
    /// When it was made.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub created_at: DateTime<Utc>,
    /// From then on it is refused, whatever else it says.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub expires_at: DateTime<Utc>,
    /// As it was last written; [`Self::status_at`] knows the time.
    pub status: Status,
    /// The flow that came so far, by the hash of its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ConnectError>,
    /// Whose account it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// SHA-256 (hex) of the completion code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_sha256: Option<String>,
    /// Wrong completion codes so far.
    #[serde(default)]
    pub wrong_codes: u32,
}

/// What a completion code comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// It is the right one.
    Right,
    /// It is wrong.
    Wrong,
    /// There is nothing to confirm, or not any more.
    Ended,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// See [`Session::source`].
    pub source: String,
    /// See [`Session::account`].
    pub account: Option<String>,
    /// See [`Session::return_to`].
    pub return_to: Option<String>,
    /// See [`Session::state`].
    pub state: Option<String>,
    /// See [`Session::reconnect`].
    pub reconnect: bool,
    /// See [`Session::confirm`].
    pub confirm: bool,
}

impl Session {
    /// A new one, whose link has the token `link`.
    pub fn new(
        link: &Handle,
        wish: Wish,
        principal: Principal,
        authorization_endpoint: String,
        now: DateTime<Utc>,
    ) -> Self {
        let Wish { source, account, return_to, state, reconnect, confirm } = wish;
        Self {
            schema_version: SCHEMA_VERSION,
            id: SessionId::of(link),
            source,
            account,
            principal,
            return_to,
            state,
            reconnect,
            confirm,
            authorization_endpoint,
            created_at: now,
            expires_at: now + SESSION_LIFETIME,
            status: Status::Pending,
            flow: None,
            error: None,
            identity: None,
            code_sha256: None,
            wrong_codes: 0,
        }
    }

    /// How it stands now: a session whose time is over has expired, unless it had ended before.
    pub fn status_at(&self, now: DateTime<Utc>) -> Status {
        if !self.status.is_final() && self.expires_at <= now { Status::Expired } else { self.status }
    }

    /// The name of the connection.
    pub fn connection(&self) -> String {
        match &self.account {
            Some(account) => format!("{}/{account}", self.source),
            None => self.source.clone(),
        }
    }

    /// Checks a completion code.
    pub fn confirm(&self, code: &Handle, now: DateTime<Utc>) -> Confirmation {
        let is_right = self.code_sha256.as_deref() == Some(&code.sha256());
        match self.status_at(now) {
            Status::Unconfirmed | Status::Connected if is_right => Confirmation::Right,
            Status::Unconfirmed => Confirmation::Wrong,
            _ => Confirmation::Ended,
        }
    }

    /// Whether there are tries left for its completion code.
    pub fn may_be_confirmed(&self) -> bool {
        self.wrong_codes < MOST_WRONG_CODES
    }

    /// The JSON text. It holds no handle.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok().filter(|session: &Self| session.schema_version == SCHEMA_VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    fn handle(byte: u8) -> Handle {
        Handle::of([byte; 32])
    }

    fn session() -> Session {
        let wish = Wish {
            source: "crm".to_owned(),
            account: Some("acme".to_owned()),
            return_to: None,
            state: None,
            reconnect: false,
            confirm: true,
        };
        let principal = Principal::Iam("arn:aws:iam::123456789012:role/App".to_owned());
        Session::new(&handle(1), wish, principal, "https://as.example.com/authorize".to_owned(), now())
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let session = session();
        assert_eq!(Session::parse(&session.to_json()), Some(session));
        assert_eq!(Session::parse("{}"), None);
    }

    #[test]
    fn connect_12_it_ends_by_the_clock_but_what_has_ended_stays_so() {
        let mut session = session();
        let end = now() + SESSION_LIFETIME;
        assert_eq!(session.status_at(end - TimeDelta::seconds(1)), Status::Pending);
        assert_eq!(session.status_at(end), Status::Expired);
        session.status = Status::Connected;
        assert_eq!(session.status_at(end), Status::Connected);
    }

    #[test]
    fn connect_16_there_are_three_tries_and_only_while_there_is_something_to_confirm() {
        let mut session = session();
        session.code_sha256 = Some(handle(7).sha256());
        assert_eq!(session.confirm(&handle(7), now()), Confirmation::Ended, "nothing to confirm yet");
        session.status = Status::Unconfirmed;
        assert_eq!(session.confirm(&handle(8), now()), Confirmation::Wrong);
        assert_eq!(session.confirm(&handle(7), now()), Confirmation::Right);
        assert_eq!(session.confirm(&handle(7), now() + SESSION_LIFETIME), Confirmation::Ended);
        let tries = [0, 1, 2, 3].map(|wrong_codes| Session { wrong_codes, ..session.clone() }.may_be_confirmed());
        assert_eq!(tries, [true, true, true, false]);
    }
}
