//! Grant state: what the next refresh needs and the last one returned.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::domain::connection::Connection;
use crate::domain::credential::{CredentialKind, Seed, Use};
use crate::domain::document;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::oauth::{GrantExpiry, TokenAnswer};
use crate::domain::provider::dialect::RefreshRules;
use crate::domain::redact;
use crate::domain::source::ConnectRules;
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};

/// Version of the layout of grant state.
const SCHEMA_VERSION: u32 = 1;

/// The shortest time between two refreshes that tells a fixed end from a moving one, stated in whole seconds.
const SHORTEST_TO_JUDGE: TimeDelta = TimeDelta::seconds(10);

/// The current credential of a source. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct GrantState {
    /// Whether the credential is a refresh token or an access token.
    pub kind: CredentialKind,
    /// The credential that the next refresh request is made with.
    pub credential: SecretString,
    /// When the request that brought it was sent; for the first one: when it was first used.
    pub credential_issued_at: DateTime<Utc>,
    /// When it ends, as the server stated it last; `None`: it stated no end.
    pub expires_at: Option<DateTime<Utc>>,
    /// When the request was sent whose answer stated that end.
    pub expiry_stated_at: Option<DateTime<Utc>>,
    /// Whether the last refresh moved the end; `None`: nobody knows yet.
    pub extended: Option<bool>,
    /// Counts up by one with each save.
    pub generation: u64,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it is the definition's own credential, and nothing was saved since. Known when state is read, never stored.
    pub is_seed: bool,
}

/// Where a grant came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The definition's own credential, by its SHA-256 (hex).
    Definition(String),
    /// A person who connected an account.
    Connection(Box<Connection>),
}

impl GrantState {
    /// What to refresh with: the stored state, unless a person has authorized anew since, by another credential in the
    /// definition.
    pub fn current(stored: Option<Self>, seed: &Seed, now: DateTime<Utc>) -> Self {
        let kind = seed.kind();
        let origin = Origin::Definition(redact::sha256_hex(seed.secret().expose_secret().as_bytes()));
        match stored {
            Some(stored) if stored.origin == origin && stored.kind == kind => stored,
            other => Self {
                kind,
                credential: seed.secret().clone(),
                credential_issued_at: now,
                expires_at: None,
                expiry_stated_at: None,
                extended: None,
                generation: other.map_or(0, |other| other.generation),
                origin,
                is_seed: true,
            },
        }
    }

    /// What to refresh a connection with. The error: why there is nothing. What grew from a definition's own credential is
    /// no connection, and a grant is of use to the client alone that it was given to (RFC 6749 section 6).
    pub fn connected(stored: Option<Self>, rules: &ConnectRules) -> Result<Self, SourceError> {
        let nobody = || SourceError::new(ErrorCode::NotConnected, "nobody has connected it yet");
        let stored = stored.ok_or_else(nobody)?;
        let connection = stored.connection().ok_or_else(nobody)?;
        let again = |why: &str| {
            let message = format!("{why}: somebody has to connect the account again");
            SourceError::new(ErrorCode::ReauthorizationRequired, message)
        };
        if connection.client_id != rules.client_id {
            return Err(again("it was connected with another `client_id` than the definition's"));
        }
        if stored.kind == CredentialKind::RefreshToken && rules.keeps == CredentialKind::AccessToken {
            return Err(again("a refresh token was kept, and the definition refreshes with the access token"));
        }
        Ok(stored)
    }

    /// Whether it is a connection without a refresh token where only that refreshes: then its access token is used as long
    /// as it works.
    pub fn lacks_refresh_token(&self, rules: &ConnectRules) -> bool {
        self.kind == CredentialKind::AccessToken && rules.keeps == CredentialKind::RefreshToken
    }

    /// The state that a person's connecting brings, one generation after what was stored; `None`: the answer holds no
    /// credential of that kind.
    pub fn of_connection(
        kind: CredentialKind,
        answer: &TokenAnswer,
        issued_at: DateTime<Utc>,
        connection: Connection,
        previous: Option<&Self>,
    ) -> Option<Self> {
        let (credential, expires_at) = match kind {
            CredentialKind::RefreshToken => (answer.refresh_token.clone()?, answer.grant_expiry.at()),
            CredentialKind::AccessToken => (answer.access_token.clone(), answer.expires_at),
        };
        Some(Self {
            kind,
            credential,
            credential_issued_at: issued_at,
            expires_at,
            expiry_stated_at: expires_at.map(|_| issued_at),
            extended: None,
            generation: previous.map_or(0, |previous| previous.generation) + 1,
            origin: Origin::Connection(Box::new(connection)),
            is_seed: false,
        })
    }

    /// What is known of the connection, where it is one.
    pub fn connection(&self) -> Option<&Connection> {
        match &self.origin {
            Origin::Connection(connection) => Some(connection),
            Origin::Definition(_) => None,
        }
    }

    /// The state after an answer to a request that was sent at `issued_at`; `None` if it says nothing new.
    pub fn after(&self, answer: &TokenAnswer, issued_at: DateTime<Utc>, rules: RefreshRules) -> Option<Self> {
        let credential = match self.kind {
            CredentialKind::RefreshToken => answer.refresh_token.as_ref(),
            CredentialKind::AccessToken => Some(&answer.access_token),
        };
        let replaced = credential.filter(|new| new.expose_secret() != self.credential.expose_secret());
        let stated = match (self.kind, answer.expires_at) {
            (CredentialKind::RefreshToken, _) => answer.grant_expiry,
            (CredentialKind::AccessToken, Some(end)) => GrantExpiry::At(end),
            // Of another token nothing is known by what was said of the last one.
            (CredentialKind::AccessToken, None) if replaced.is_some() => GrantExpiry::Never,
            (CredentialKind::AccessToken, None) => GrantExpiry::Unstated,
        };
        let (expires_at, expiry_stated_at) = match stated {
            GrantExpiry::Unstated => (self.expires_at, self.expiry_stated_at),
            GrantExpiry::Never => (None, None),
            GrantExpiry::At(time) => (Some(time), Some(issued_at)),
        };
        let extended = if rules.fixed_lifetime { Some(false) } else { self.extended_by(stated, issued_at) };
        let refreshed = replaced.is_some() || self.kind == CredentialKind::AccessToken;
        (refreshed || expires_at != self.expires_at || extended != self.extended).then(|| Self {
            kind: self.kind,
            credential: replaced.unwrap_or(&self.credential).clone(),
            credential_issued_at: if refreshed { issued_at } else { self.credential_issued_at },
            expires_at,
            expiry_stated_at,
            extended,
            generation: self.generation + 1,
            origin: self.origin.clone(),
            is_seed: false,
        })
    }

    /// The stated end, where it is a refresh token's; that of an access token is the token's own.
    pub fn refresh_token_expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at.filter(|_| self.kind == CredentialKind::RefreshToken)
    }

    /// Whether the stated end has come; `false` where none is stated.
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether an answer moved the end. It did not where the stated lifetime has shrunk by most of the time that has
    /// passed since the end was stated before; a first statement, or one within the same moment, can't tell.
    fn extended_by(&self, stated: GrantExpiry, issued_at: DateTime<Utc>) -> Option<bool> {
        let (Some(before), Some(stated_at), GrantExpiry::At(after)) = (self.expires_at, self.expiry_stated_at, stated)
        else {
            return if stated == GrantExpiry::Unstated { self.extended } else { None };
        };
        let passed = issued_at - stated_at;
        if passed < SHORTEST_TO_JUDGE { self.extended } else { Some(after - before > passed / 2) }
    }

    /// Whether the next request with it is the first one.
    pub fn next_use(&self) -> Use {
        if self.is_seed { Use::First } else { Use::Later }
    }

    /// Whether both hold the same credential: then the grant has not moved from one to the other.
    pub fn same_credential(&self, other: &Self) -> bool {
        self.credential.expose_secret() == other.credential.expose_secret()
    }

    /// What is kept in the state bucket. It holds the credential.
    pub fn to_json(&self) -> SecretString {
        SecretString::from(document::to_json(&Json {
            schema_version: SCHEMA_VERSION,
            refresh_token: self.credential_if(CredentialKind::RefreshToken),
            access_token: self.credential_if(CredentialKind::AccessToken),
            credential_issued_at: self.credential_issued_at,
            expires_at: self.expires_at,
            expiry_stated_at: self.expiry_stated_at,
            extended: self.extended,
            generation: self.generation,
            seed_sha256: match &self.origin {
                Origin::Definition(seed_sha256) => Some(seed_sha256.clone()),
                Origin::Connection(_) => None,
            },
            connection: self.connection().cloned(),
        }))
    }

    fn credential_if(&self, kind: CredentialKind) -> Option<String> {
        (self.kind == kind).then(|| self.credential.expose_secret().to_owned())
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(json).ok()?;
        let (kind, credential) = match (json.refresh_token, json.access_token) {
            (Some(token), None) => (CredentialKind::RefreshToken, token),
            (None, Some(token)) => (CredentialKind::AccessToken, token),
            _ => return None,
        };
        let origin = match (json.seed_sha256, json.connection) {
            (Some(seed_sha256), None) => Origin::Definition(seed_sha256),
            (None, Some(connection)) => Origin::Connection(Box::new(connection)),
            _ => return None,
        };
        (json.schema_version == SCHEMA_VERSION && !credential.is_empty()).then(|| Self {
            kind,
            credential: SecretString::from(credential),
            credential_issued_at: json.credential_issued_at,
            expires_at: json.expires_at,
            expiry_stated_at: json.expiry_stated_at,
            extended: json.extended,
            generation: json.generation,
            origin,
            is_seed: false,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Json {
    schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(serialize_with = "rfc3339_seconds")]
    credential_issued_at: DateTime<Utc>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    expiry_stated_at: Option<DateTime<Utc>>,
    extended: Option<bool>,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection: Option<Connection>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULES: RefreshRules =
        RefreshRules { rotates: None, repeat_within: None, minimum_age: None, fixed_lifetime: false };

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    fn seed_of(refresh_token: &str) -> Seed {
        Seed::RefreshToken(SecretString::from(refresh_token))
    }

    fn seeded(seed: &str) -> GrantState {
        GrantState::current(None, &seed_of(seed), now())
    }

    fn answer(refresh_token: Option<&str>, grant_expiry: GrantExpiry) -> TokenAnswer {
        TokenAnswer {
            access_token: SecretString::from("t"),
            token_type: "Bearer".to_owned(),
            scope: None,
            expires_at: None,
            refresh_token: refresh_token.map(SecretString::from),
            grant_expiry,
            id_token: None,
            extra: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_definitions_refresh_token_seeds_and_another_one_takes_over() {
        let rotated =
            seeded("first").after(&answer(Some("second"), GrantExpiry::Unstated), now(), RULES).expect("a change");
        let same_seed = GrantState::current(Some(rotated.clone()), &seed_of("first"), now());
        assert_eq!(same_seed.credential.expose_secret(), "second");

        let mut expiring = rotated;
        expiring.expires_at = Some(now());
        let authorized_anew = GrantState::current(Some(expiring), &seed_of("third"), now());
        assert_eq!(authorized_anew.credential.expose_secret(), "third");
        assert_eq!((authorized_anew.generation, authorized_anew.expires_at), (1, None));
    }

    #[test]
    fn rfc6749_6_no_new_refresh_token_means_keep_the_old_one() {
        assert!(seeded("first").after(&answer(None, GrantExpiry::Unstated), now(), RULES).is_none());
        assert!(seeded("first").after(&answer(Some("first"), GrantExpiry::Unstated), now(), RULES).is_none());
    }

    #[test]
    fn a_stated_end_is_kept_until_another_is_stated_or_cleared() {
        let with_end = seeded("first").after(&answer(None, GrantExpiry::At(now())), now(), RULES).expect("a change");
        assert_eq!(with_end.expires_at, Some(now()));
        let rotated = with_end.after(&answer(Some("second"), GrantExpiry::Unstated), now(), RULES).expect("a change");
        assert_eq!(rotated.expires_at, Some(now()));
        let cleared = rotated.after(&answer(None, GrantExpiry::Never), now(), RULES).expect("a change");
        assert_eq!((cleared.expires_at, cleared.generation), (None, 3));
    }

    #[test]
    fn two_refreshes_tell_whether_the_end_moves() {
        let end = now() + TimeDelta::days(60);
        let first = seeded("first").after(&answer(None, GrantExpiry::At(end)), now(), RULES).expect("a change");
        assert_eq!(first.extended, None, "a first refresh cannot tell");

        let later = now() + TimeDelta::days(1);
        let after = |expiry| first.after(&answer(None, expiry), later, RULES).map(|state| state.extended);
        assert_eq!(after(GrantExpiry::At(end)), Some(Some(false)));
        assert_eq!(after(GrantExpiry::At(end + TimeDelta::seconds(1))), Some(Some(false)));
        assert_eq!(after(GrantExpiry::At(end + TimeDelta::days(1))), Some(Some(true)));
        assert_eq!(after(GrantExpiry::Unstated), None);
    }

    #[test]
    fn state_is_read_as_it_was_written_and_damage_counts_as_none() {
        let state =
            seeded("first").after(&answer(Some("second"), GrantExpiry::At(now())), now(), RULES).expect("a change");
        let read = GrantState::parse(state.to_json().expose_secret()).expect("state");
        assert!(read.same_credential(&state));
        assert_eq!((read.expires_at, read.generation, &read.origin), (Some(now()), 1, &state.origin));
        assert!(GrantState::parse("{}").is_none());
        assert!(GrantState::parse(&json!({"schema_version": 2}).to_string()).is_none());
        assert!(!format!("{state:?}").contains("second"));
    }
}
