//! The token document, its expiry, and whether a token is due to be refreshed.

use std::collections::HashMap;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::document;
use crate::domain::duration;
use crate::domain::oauth::TokenAnswer;
use crate::domain::redact;
use crate::domain::source::{DEFAULT_EXPIRES_IN, DEFAULT_MIN_TTL, Definition, Source, SourceName};
use crate::domain::time::{rfc3339, rfc3339_seconds, rfc3339_seconds_option};

/// Version of the token document's layout.
const SCHEMA_VERSION: u32 = 1;

/// How much of the token's SHA-256 is published: enough to tell two apart, useless for guessing one.
const TOKEN_SHA256_DIGITS: usize = 16;

/// Where jobs find a token document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The token bucket.
    pub bucket: String,
    /// Key of the document; `None` where the name is no source's, so that there is none.
    pub key: Option<String>,
}

/// What decides when a source's token is refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshRule {
    /// Validity that readers can always count on.
    pub min_ttl: TimeDelta,
    /// Lifetime to assume where none is stated.
    pub default_expires_in: TimeDelta,
    /// The longest time between two runs.
    pub schedule_interval: TimeDelta,
}

impl RefreshRule {
    /// The rule of one definition under one schedule.
    pub fn new(definition: &Definition, schedule_interval: TimeDelta) -> Self {
        Self { min_ttl: definition.min_ttl, default_expires_in: definition.default_expires_in, schedule_interval }
    }

    /// The rule for a source whose definition can't be read.
    pub fn usual(schedule_interval: TimeDelta) -> Self {
        Self { min_ttl: DEFAULT_MIN_TTL, default_expires_in: DEFAULT_EXPIRES_IN, schedule_interval }
    }

    /// The stated end of a token, or the one to assume.
    pub fn assumed_expiry(&self, issued_at: DateTime<Utc>, expires_at: Option<DateTime<Utc>>) -> DateTime<Utc> {
        expires_at.unwrap_or_else(|| issued_at + self.default_expires_in)
    }

    /// From when on a harvest refreshes: a third of the lifetime before the end, or earlier where the next
    /// harvest would come too late for `min_ttl`.
    pub fn refresh_after(&self, issued_at: DateTime<Utc>, expires_at: Option<DateTime<Utc>>) -> DateTime<Utc> {
        let end = self.assumed_expiry(issued_at, expires_at);
        let margin = ((end - issued_at) / 3).max(self.min_ttl + self.schedule_interval);
        (end - margin).max(issued_at)
    }

    /// The validity that readers can really count on: what of `min_ttl` the schedule lets it keep.
    pub fn kept_ttl(&self, issued_at: DateTime<Utc>, expires_at: Option<DateTime<Utc>>) -> TimeDelta {
        let lifetime = self.assumed_expiry(issued_at, expires_at) - issued_at;
        self.min_ttl.min(lifetime - self.schedule_interval).max(TimeDelta::zero())
    }

    /// Whether jobs must find the token expired, since it ends before the next run can come.
    pub fn ends_between_runs(&self, issued_at: DateTime<Utc>, expires_at: Option<DateTime<Utc>>) -> bool {
        self.assumed_expiry(issued_at, expires_at) - issued_at < self.schedule_interval
    }

    /// The arithmetic for a person, where no refresh can come early enough for `min_ttl` to be kept.
    pub fn too_slow(&self, issued_at: DateTime<Utc>, expires_at: Option<DateTime<Utc>>) -> Option<String> {
        let lifetime = self.assumed_expiry(issued_at, expires_at) - issued_at;
        (self.min_ttl + self.schedule_interval > lifetime).then(|| {
            format!(
                "tokens live {}, less than `min_ttl` ({}) plus the schedule's interval ({}): harvest at least every {}, \
                 or lower `min_ttl`",
                duration::for_people(lifetime),
                duration::for_people(self.min_ttl),
                duration::for_people(self.schedule_interval),
                duration::for_people((lifetime - self.min_ttl).max(TimeDelta::minutes(1))),
            )
        })
    }
}

/// What is known of a stored token without reading it: the user metadata of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Entity tag, for the next conditional write.
    pub etag: String,
    /// S3 version.
    pub version_id: Option<String>,
    /// The metadata; `None` if the object was not written by this program, or its metadata is damaged.
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

/// User metadata of a token document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMetadata {
    /// Counts up by one with each refresh.
    pub generation: u64,
    /// When the request for the token was sent.
    pub issued_at: DateTime<Utc>,
    /// Stated end; `None` if unstated.
    pub expires_at: Option<DateTime<Utc>>,
    /// First digits of the SHA-256 of the token.
    pub token_sha256: String,
    /// Hash of the definition that the token was requested with.
    pub definition_sha256: String,
    /// Stated end of the refresh token that brings the next one.
    pub grant_expires_at: Option<DateTime<Utc>>,
}

impl StoredMetadata {
    /// Reads S3 user metadata, whose names are lower-case.
    pub fn parse(metadata: &HashMap<String, String>) -> Option<Self> {
        // A year of five digits is nobody's, and arithmetic with it may end beyond all dates.
        let plausible = |time: &DateTime<Utc>| (1970..10_000).contains(&time.year());
        let time = |name: &str| metadata.get(name)?.parse::<DateTime<Utc>>().ok().filter(plausible);
        Some(Self {
            generation: metadata.get("generation")?.parse().ok()?,
            issued_at: time("issued-at")?,
            expires_at: match metadata.get("expires-at") {
                Some(_) => Some(time("expires-at")?),
                None => None,
            },
            token_sha256: metadata.get("token-sha256")?.clone(),
            definition_sha256: metadata.get("definition-sha256")?.clone(),
            grant_expires_at: time("grant-expires-at"),
        })
    }
}

/// Why a token is refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// There is none, or none that this program wrote.
    NoToken,
    /// The event says so.
    Forced,
    /// The event asks for sources whose grant counts as dead.
    RetryOfDead,
    /// The source is failing, and its definition is another than the one that failed.
    FailedDefinitionChanged,
    /// The definition is another than the token was requested with.
    DefinitionChanged,
    /// Its end is near.
    Expiring,
}

impl Due {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::Forced => "forced",
            Self::RetryOfDead => "retry_of_dead",
            Self::FailedDefinitionChanged => "failed_definition_changed",
            Self::DefinitionChanged => "definition_changed",
            Self::Expiring => "expiring",
        }
    }
}

/// Whether, and why, a source's token is to be refreshed now. `asked`: what makes it due besides the token itself.
pub fn due(
    stored: Option<&StoredToken>,
    definition: &Definition,
    rule: &RefreshRule,
    asked: Option<Due>,
    now: DateTime<Utc>,
) -> Option<Due> {
    let Some(metadata) = stored.and_then(|stored| stored.metadata.as_ref()) else {
        return Some(Due::NoToken);
    };
    let definition_changed = metadata.definition_sha256 != definition.public_sha256;
    let expiring = now >= rule.refresh_after(metadata.issued_at, metadata.expires_at);

    if asked.is_some() {
        asked
    } else if definition_changed {
        Some(Due::DefinitionChanged)
    } else {
        expiring.then_some(Due::Expiring)
    }
}

/// A token as ETL jobs read it. `Debug` does not show the token.
#[derive(Debug, Clone)]
pub struct TokenDocument {
    /// The source.
    pub source: SourceName,
    /// The answer that brought the token.
    pub answer: TokenAnswer,
    /// Granted scope, or the requested one if the server did not say (RFC 6749 section 5.1).
    pub scope: Option<String>,
    /// When the request was sent.
    pub issued_at: DateTime<Utc>,
    /// From when on a harvest refreshes it.
    pub refresh_after: DateTime<Utc>,
    /// Counts up by one.
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

    /// Takes the generation after that of `previous`.
    pub fn follow(&mut self, previous: Option<&StoredToken>) {
        let generation = previous.and_then(|stored| stored.metadata.as_ref()).map_or(0, |old| old.generation);
        self.generation = generation + 1;
    }

    /// What a later harvest will find once this document is written.
    pub fn stored(&self, etag: String, version_id: Option<String>) -> StoredToken {
        StoredToken {
            etag,
            version_id,
            metadata: Some(StoredMetadata {
                generation: self.generation,
                issued_at: self.issued_at,
                expires_at: self.answer.expires_at,
                token_sha256: self.token_sha256(),
                definition_sha256: self.definition_sha256.clone(),
                grant_expires_at: self.grant_expires_at,
            }),
        }
    }

    /// Whether `stored` is this very document: a write whose reply was lost.
    pub fn is(&self, stored: &StoredToken) -> bool {
        stored.metadata.as_ref().is_some_and(|metadata| {
            metadata.generation == self.generation && metadata.token_sha256 == self.token_sha256()
        })
    }

    /// The JSON text. It holds the token.
    pub fn to_json(&self) -> SecretString {
        #[derive(Serialize)]
        struct Json<'a> {
            schema_version: u32,
            source: &'a str,
            access_token: &'a str,
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
            access_token: self.answer.access_token.expose_secret(),
            token_type: &self.answer.token_type,
            scope: self.scope.as_deref(),
            issued_at: self.issued_at,
            expires_at: self.answer.expires_at,
            refresh_after: self.refresh_after,
            generation: self.generation,
            extra: &self.answer.extra,
        }))
    }

    /// S3 user metadata: all that later harvests decide by, so that they need not decrypt the token.
    pub fn metadata(&self) -> Vec<(&'static str, String)> {
        let mut metadata = vec![
            ("source", self.source.to_string()),
            ("generation", self.generation.to_string()),
            ("issued-at", rfc3339(self.issued_at)),
            ("refresh-after", rfc3339(self.refresh_after)),
            ("token-sha256", self.token_sha256()),
            ("definition-sha256", self.definition_sha256.clone()),
        ];
        let expires_at = self.answer.expires_at.map(|time| ("expires-at", rfc3339(time)));
        let grant = self.grant_expires_at.map(|time| ("grant-expires-at", rfc3339(time)));
        metadata.extend(expires_at.into_iter().chain(grant));
        metadata
    }

    fn token_sha256(&self) -> String {
        short_sha256(&self.answer.access_token)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::oauth::{Answer, AnswerBody, Exchange};
    use crate::domain::source::PlainHttp;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn rule(min_ttl: i64, interval: i64) -> RefreshRule {
        RefreshRule {
            min_ttl: TimeDelta::minutes(min_ttl),
            default_expires_in: TimeDelta::hours(1),
            schedule_interval: TimeDelta::minutes(interval),
        }
    }

    fn definition() -> Definition {
        let definition = json!({
            "token_endpoint": "https://as.example.com/token", "client_id": "c", "client_secret": "s", "scope": "read"
        });
        Definition::parse(&definition.to_string(), PlainHttp::Refused).expect("valid").expect("enabled")
    }

    fn stored(expires_at: Option<&str>) -> StoredToken {
        StoredToken {
            etag: "etag".to_owned(),
            version_id: Some("v41".to_owned()),
            metadata: Some(StoredMetadata {
                generation: 41,
                issued_at: at("2026-11-20T22:00:00Z"),
                expires_at: expires_at.map(at),
                token_sha256: "0123456789abcdef".to_owned(),
                definition_sha256: definition().public_sha256,
                grant_expires_at: None,
            }),
        }
    }

    fn due_at(stored: Option<&StoredToken>, force: bool, now: &str) -> Option<Due> {
        due(stored, &definition(), &rule(10, 15), force.then_some(Due::Forced), at(now))
    }

    #[test]
    fn a_third_of_the_lifetime_before_the_end_or_earlier_for_min_ttl() {
        let refresh_after = |min_ttl, interval, expires_at: &str| {
            rfc3339(rule(min_ttl, interval).refresh_after(at("2026-11-20T22:00:00Z"), Some(at(expires_at))))
        };
        assert_eq!(refresh_after(10, 15, "2026-11-20T23:00:00Z"), "2026-11-20T22:35:00Z", "25 min beat 20 min");
        assert_eq!(refresh_after(1, 15, "2026-11-20T23:00:00Z"), "2026-11-20T22:40:00Z", "20 min beat 16 min");
        assert_eq!(refresh_after(10, 15, "2026-11-21T10:00:00Z"), "2026-11-21T06:00:00Z", "4 h of 12 h");
        assert_eq!(refresh_after(10, 15, "2026-11-20T22:05:00Z"), "2026-11-20T22:00:00Z", "never before it was issued");
    }

    #[test]
    fn a_token_is_due_from_the_second_on() {
        let token = stored(Some("2026-11-20T23:00:00Z"));
        assert_eq!(due_at(Some(&token), false, "2026-11-20T22:34:59Z"), None);
        assert_eq!(due_at(Some(&token), false, "2026-11-20T22:35:00Z"), Some(Due::Expiring));
    }

    #[test]
    fn an_unstated_expiry_is_refreshed_by_the_assumed_lifetime() {
        let token = stored(None);
        assert_eq!(due_at(Some(&token), false, "2026-11-20T22:34:59Z"), None);
        assert_eq!(due_at(Some(&token), false, "2026-11-20T22:35:00Z"), Some(Due::Expiring));
    }

    #[test]
    fn no_token_force_and_another_definition_make_it_due() {
        let now = "2026-11-20T22:01:00Z";
        let token = stored(Some("2026-11-20T23:00:00Z"));
        assert_eq!(due_at(None, false, now), Some(Due::NoToken));
        assert_eq!(due_at(Some(&token), true, now), Some(Due::Forced));

        let foreign = StoredToken { metadata: None, ..token.clone() };
        assert_eq!(due_at(Some(&foreign), false, now), Some(Due::NoToken));

        let mut other = token;
        other.metadata.as_mut().expect("metadata").definition_sha256 = "other".to_owned();
        assert_eq!(due_at(Some(&other), false, now), Some(Due::DefinitionChanged));
    }

    #[test]
    fn what_is_kept_of_min_ttl_is_what_the_schedule_allows() {
        let (issued_at, rule) = (at("2026-11-20T22:00:00Z"), rule(10, 15));
        let kept = |minutes| rule.kept_ttl(issued_at, Some(issued_at + TimeDelta::minutes(minutes))).num_minutes();
        assert_eq!([kept(60), kept(25), kept(20), kept(15), kept(5)], [10, 10, 5, 0, 0]);
        let ends = |minutes| rule.ends_between_runs(issued_at, Some(issued_at + TimeDelta::minutes(minutes)));
        assert_eq!([ends(15), ends(14)], [false, true]);
    }

    #[test]
    fn a_lifetime_that_fits_exactly_is_no_warning() {
        let too_slow = |expires_at| rule(10, 15).too_slow(at("2026-11-20T22:00:00Z"), Some(at(expires_at)));
        assert_eq!(too_slow("2026-11-20T22:25:00Z"), None);
        assert!(too_slow("2026-11-20T22:24:59Z").is_some());
    }

    fn document(answer: &str) -> TokenDocument {
        let source = Source { name: SourceName::parse("acme-crm").expect("a name"), definition: definition() };
        let issued_at = at("2026-11-20T22:00:00Z");
        let answer = Answer::new(200, AnswerBody::Whole(answer.as_bytes().to_vec()));
        let exchange = Exchange { definition: &source.definition, flow: &source.definition.flow, credential: None };
        let answer = exchange.read(&answer, issued_at, issued_at).expect("a token");
        TokenDocument::new(
            &source,
            answer.clone(),
            &rule(10, 15),
            issued_at,
            answer.grant_expiry.at(),
            Some(&stored(None)),
        )
    }

    #[test]
    fn the_document_says_what_jobs_read() {
        let document = document(r#"{"access_token": "t", "expires_in": 3600, "instance_url": "https://eu12"}"#);
        let json: Value = serde_json::from_str(document.to_json().expose_secret()).expect("JSON");
        assert_eq!(
            json,
            json!({
                "schema_version": 1, "source": "acme-crm", "access_token": "t", "token_type": "Bearer",
                "scope": "read", "issued_at": "2026-11-20T22:00:00Z", "expires_at": "2026-11-20T23:00:00Z",
                "refresh_after": "2026-11-20T22:35:00Z", "generation": 42, "extra": {"instance_url": "https://eu12"},
            })
        );
        assert!(!format!("{document:?}").contains("\"t\""));
    }

    #[test]
    fn metadata_is_read_as_it_was_written() {
        for answer in
            [r#"{"access_token": "t", "expires_in": 3600, "refresh_token_expires_in": 60}"#, r#"{"access_token": "t"}"#]
        {
            let document = document(answer);
            let metadata: HashMap<_, _> =
                document.metadata().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            assert_eq!(StoredMetadata::parse(&metadata), document.stored(String::new(), None).metadata);
            assert_eq!(metadata["token-sha256"].len(), TOKEN_SHA256_DIGITS);
            assert_eq!(metadata.contains_key("grant-expires-at"), answer.contains("refresh_token"));
        }
    }

    #[test]
    fn damaged_metadata_counts_as_none() {
        let metadata: HashMap<_, _> = document(r#"{"access_token": "t"}"#)
            .metadata()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        for (name, value) in [
            ("expires-at", "tomorrow"),
            ("expires-at", "+262142-12-31T23:59:59Z"),
            ("issued-at", "+262142-12-31T23:59:59Z"),
            ("issued-at", "-0001-01-01T00:00:00Z"),
        ] {
            let mut damaged = metadata.clone();
            damaged.insert(name.to_owned(), value.to_owned());
            assert_eq!(StoredMetadata::parse(&damaged), None, "{name}: {value}");
        }
        assert_eq!(StoredMetadata::parse(&HashMap::new()), None);
    }
}
