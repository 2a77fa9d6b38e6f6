//! Grant state and leases: what the next refresh needs and the last one returned, and who may use it.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::oauth::{GrantExpiry, TokenAnswer};
use crate::report::{rfc3339_seconds, rfc3339_seconds_option};
use crate::source::SourceName;
use crate::text;

/// Version of the layout of grant state.
const SCHEMA_VERSION: u32 = 1;

/// The shortest time between two refreshes that tells a fixed end from a moving one, stated in whole seconds.
const SHORTEST_TO_JUDGE: TimeDelta = TimeDelta::seconds(10);

/// Where a source's grant state is kept in the state bucket.
pub fn key(source: &SourceName) -> String {
    format!("grants/{source}.json")
}

/// Where it is kept which end of a source's grant a person was told of.
pub fn forecast_key(source: &SourceName) -> String {
    format!("forecasts/{source}.json")
}

/// Where the lease on a source's grant is kept in the state bucket.
pub fn lease_key(source: &SourceName) -> String {
    format!("leases/{source}")
}

/// The current refresh token of a source. `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct GrantState {
    /// RFC 6749 section 1.5.
    pub refresh_token: SecretString,
    /// When the request that brought it was sent; for the first one: when it was first used.
    pub credential_issued_at: DateTime<Utc>,
    /// Its stated end.
    pub expires_at: Option<DateTime<Utc>>,
    /// When that was stated.
    pub expiry_stated_at: Option<DateTime<Utc>>,
    /// Whether the last refresh moved the end; `None`: nobody knows yet.
    pub extended: Option<bool>,
    /// Counts up by one with each save.
    pub generation: u64,
    /// SHA-256 (hex) of the definition's refresh token that it grew from.
    pub seed_sha256: String,
}

impl GrantState {
    /// What to refresh with: the stored state, unless a person has authorized anew since, by another refresh token in
    /// the definition.
    pub fn current(stored: Option<Self>, seed: &SecretString, now: DateTime<Utc>) -> Self {
        let seed_sha256 = text::sha256_hex(seed.expose_secret().as_bytes());
        match stored {
            Some(stored) if stored.seed_sha256 == seed_sha256 => stored,
            other => Self {
                refresh_token: seed.clone(),
                credential_issued_at: now,
                expires_at: None,
                expiry_stated_at: None,
                extended: None,
                generation: other.map_or(0, |other| other.generation),
                seed_sha256,
            },
        }
    }

    /// The state after an answer to a request that was sent at `issued_at`; `None` if it says nothing new.
    pub fn after(&self, answer: &TokenAnswer, issued_at: DateTime<Utc>) -> Option<Self> {
        let rotated =
            answer.refresh_token.as_ref().filter(|token| token.expose_secret() != self.refresh_token.expose_secret());
        let (expires_at, expiry_stated_at) = match answer.grant_expiry {
            GrantExpiry::Unstated => (self.expires_at, self.expiry_stated_at),
            GrantExpiry::Never => (None, None),
            GrantExpiry::At(time) => (Some(time), Some(issued_at)),
        };
        let extended = self.extended_by(answer.grant_expiry, issued_at);
        (rotated.is_some() || expires_at != self.expires_at || extended != self.extended).then(|| Self {
            refresh_token: rotated.unwrap_or(&self.refresh_token).clone(),
            credential_issued_at: if rotated.is_some() { issued_at } else { self.credential_issued_at },
            expires_at,
            expiry_stated_at,
            extended,
            generation: self.generation + 1,
            seed_sha256: self.seed_sha256.clone(),
        })
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

    /// Whether both are about the same refresh token.
    pub fn same_token(&self, other: &Self) -> bool {
        self.refresh_token.expose_secret() == other.refresh_token.expose_secret()
    }

    /// The JSON text. It holds the refresh token.
    #[expect(clippy::missing_panics_doc, reason = "a struct of strings and numbers always serializes")]
    pub fn to_json(&self) -> SecretString {
        let json = serde_json::to_string(&Json {
            schema_version: SCHEMA_VERSION,
            refresh_token: self.refresh_token.expose_secret().to_owned(),
            credential_issued_at: self.credential_issued_at,
            expires_at: self.expires_at,
            expiry_stated_at: self.expiry_stated_at,
            extended: self.extended,
            generation: self.generation,
            seed_sha256: self.seed_sha256.clone(),
        });
        #[expect(clippy::expect_used, reason = "see above")]
        SecretString::from(json.expect("serializable grant state"))
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(json).ok()?;
        (json.schema_version == SCHEMA_VERSION && !json.refresh_token.is_empty()).then(|| Self {
            refresh_token: SecretString::from(json.refresh_token),
            credential_issued_at: json.credential_issued_at,
            expires_at: json.expires_at,
            expiry_stated_at: json.expiry_stated_at,
            extended: json.extended,
            generation: json.generation,
            seed_sha256: json.seed_sha256,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Json {
    schema_version: u32,
    refresh_token: String,
    #[serde(serialize_with = "rfc3339_seconds")]
    credential_issued_at: DateTime<Utc>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    expiry_stated_at: Option<DateTime<Utc>>,
    extended: Option<bool>,
    generation: u64,
    seed_sha256: String,
}

/// What a person was last told about the end of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The end that it was about.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub grant_expires_at: DateTime<Utc>,
    /// The step, in days before the end.
    pub days: u32,
}

impl Forecast {
    /// The JSON text.
    #[expect(clippy::missing_panics_doc, reason = "a struct of a string and a number always serializes")]
    pub fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "see above")]
        serde_json::to_string(self).expect("a serializable forecast")
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Whether it was about that end. A fixed end wavers by seconds, since servers state what is left of it.
    pub fn is_about(&self, grant_expires_at: DateTime<Utc>) -> bool {
        (self.grant_expires_at - grant_expires_at).abs() < TimeDelta::hours(1)
    }
}

/// Who works on a source whose grant may rotate, and until when nobody else may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The harvest that holds it.
    pub run_id: String,
    /// From then on it may be taken over.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub expires_at: DateTime<Utc>,
}

impl Lease {
    /// The JSON text.
    #[expect(clippy::missing_panics_doc, reason = "a struct of two strings always serializes")]
    pub fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "see above")]
        serde_json::to_string(self).expect("a serializable lease")
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// One that anybody may take over.
    pub fn ended() -> Self {
        Self { run_id: String::new(), expires_at: DateTime::UNIX_EPOCH }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    fn seeded(seed: &str) -> GrantState {
        GrantState::current(None, &SecretString::from(seed), now())
    }

    fn answer(refresh_token: Option<&str>, grant_expiry: GrantExpiry) -> TokenAnswer {
        TokenAnswer {
            access_token: SecretString::from("t"),
            token_type: "Bearer".to_owned(),
            scope: None,
            expires_at: None,
            refresh_token: refresh_token.map(SecretString::from),
            grant_expiry,
            extra: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_definitions_refresh_token_seeds_and_another_one_takes_over() {
        let rotated = seeded("first").after(&answer(Some("second"), GrantExpiry::Unstated), now()).expect("a change");
        let same_seed = GrantState::current(Some(rotated.clone()), &SecretString::from("first"), now());
        assert_eq!(same_seed.refresh_token.expose_secret(), "second");

        let mut expiring = rotated;
        expiring.expires_at = Some(now());
        let authorized_anew = GrantState::current(Some(expiring), &SecretString::from("third"), now());
        assert_eq!(authorized_anew.refresh_token.expose_secret(), "third");
        assert_eq!((authorized_anew.generation, authorized_anew.expires_at), (1, None));
    }

    #[test]
    fn rfc6749_6_no_new_refresh_token_means_keep_the_old_one() {
        assert!(seeded("first").after(&answer(None, GrantExpiry::Unstated), now()).is_none());
        assert!(seeded("first").after(&answer(Some("first"), GrantExpiry::Unstated), now()).is_none());
    }

    #[test]
    fn a_stated_end_is_kept_until_another_is_stated_or_cleared() {
        let with_end = seeded("first").after(&answer(None, GrantExpiry::At(now())), now()).expect("a change");
        assert_eq!(with_end.expires_at, Some(now()));
        let rotated = with_end.after(&answer(Some("second"), GrantExpiry::Unstated), now()).expect("a change");
        assert_eq!(rotated.expires_at, Some(now()));
        let cleared = rotated.after(&answer(None, GrantExpiry::Never), now()).expect("a change");
        assert_eq!((cleared.expires_at, cleared.generation), (None, 3));
    }

    #[test]
    fn two_refreshes_tell_whether_the_end_moves() {
        let end = now() + TimeDelta::days(60);
        let first = seeded("first").after(&answer(None, GrantExpiry::At(end)), now()).expect("a change");
        assert_eq!(first.extended, None, "a first refresh cannot tell");

        let later = now() + TimeDelta::days(1);
        let after = |expiry| first.after(&answer(None, expiry), later).map(|state| state.extended);
        assert_eq!(after(GrantExpiry::At(end)), Some(Some(false)));
        assert_eq!(after(GrantExpiry::At(end + TimeDelta::seconds(1))), Some(Some(false)));
        assert_eq!(after(GrantExpiry::At(end + TimeDelta::days(1))), Some(Some(true)));
        assert_eq!(after(GrantExpiry::Unstated), None);
    }

    #[test]
    fn state_is_read_as_it_was_written_and_damage_counts_as_none() {
        let state = seeded("first").after(&answer(Some("second"), GrantExpiry::At(now())), now()).expect("a change");
        let read = GrantState::parse(state.to_json().expose_secret()).expect("state");
        assert!(read.same_token(&state));
        assert_eq!((read.expires_at, read.generation, &read.seed_sha256), (Some(now()), 1, &state.seed_sha256));
        assert!(GrantState::parse("{}").is_none());
        assert!(GrantState::parse(&json!({"schema_version": 2}).to_string()).is_none());
        assert!(!format!("{state:?}").contains("second"));
    }
}
