//! Incidents: one source's open failure, when it is tried again, how bad it is, and whether a person must hear.

mod judge;
#[cfg(test)]
mod tests;
mod wait;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

pub use self::judge::{Change, Ended, Happened, Judgement, Situation, TokenLife, judge, judge_gone};
use crate::domain::document;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};

/// Version of the layout of incidents.
const SCHEMA_VERSION: u32 = 1;

/// How soon jobs are affected.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nobody has to do anything.
    Info,
    /// Somebody has to do something, within working hours.
    #[default]
    Warning,
    /// Jobs fail, or will before a next attempt or a person can be expected to help.
    Critical,
}

impl Severity {
    /// As it stands in messages and incidents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An open failure of one source, from its first failed harvest to its first good one. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Name of the source; also one that is no valid source name, where an event asked for it.
    pub source: String,
    /// When the first failed harvest was judged.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub opened_at: DateTime<Utc>,
    /// Failed harvests in a row; throttled ones do not count.
    pub consecutive_failures: u32,
    /// Harvests in a row that ended with `invalid_grant` for the same definition.
    pub refused_grants: u32,
    /// The last error; once the grant counts as dead, that it does.
    pub error: SourceError,
    /// How urgent it was when it was last judged.
    pub severity: Severity,
    /// Stated end of the token that jobs have; `None` if unstated, or without a token.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub token_expires_at: Option<DateTime<Utc>>,
    /// Which token jobs had at the last failure: when it was issued. A newer one means that another run refreshed.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub token_issued_at: Option<DateTime<Utc>>,
    /// No harvest tries before, unless forced or with another definition.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub next_attempt_at: DateTime<Utc>,
    /// When a person was last told; `None`: never.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub last_alert_at: Option<DateTime<Utc>>,
    /// The severity that the person was told then.
    pub told_severity: Option<Severity>,
    /// Of the definition that failed, over all fields; `None` if there was none.
    pub definition_sha256: Option<String>,
    /// When a run ended that sent a refresh token and could not keep what the server answered; `None`: none did.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub lost_with: Option<DateTime<Utc>>,
}

#[derive(Serialize, Deserialize)]
struct Json<T> {
    schema_version: u32,
    #[serde(flatten)]
    incident: T,
}

impl Incident {
    /// What is kept in the state bucket.
    pub fn to_json(&self) -> String {
        document::to_json(&Json { schema_version: SCHEMA_VERSION, incident: self })
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json<Self> = serde_json::from_str(json).ok()?;
        (json.schema_version == SCHEMA_VERSION).then_some(json.incident)
    }

    /// The incident after its alert has been sent.
    #[must_use]
    pub fn told(&self, now: DateTime<Utc>) -> Self {
        Self { last_alert_at: Some(now.trunc_subsecs(0)), told_severity: Some(self.severity), ..self.clone() }
    }

    /// Whether a harvest leaves the source alone for now: its next attempt is still to come, and it is defined as it was.
    pub fn cooling_down(&self, now: DateTime<Utc>, interval: TimeDelta, definition_sha256: Option<&str>) -> bool {
        self.definition_sha256.as_deref() == definition_sha256 && now < self.next_attempt_at - wait::tolerance(interval)
    }

    /// Whether its grant counts as dead, so that only a person can bring a new one.
    pub fn needs_authorization(&self) -> bool {
        self.error.code == ErrorCode::ReauthorizationRequired
    }

    /// Whether a refresh failed, and with another definition than this one.
    pub fn failed_with_another(&self, definition_sha256: &str) -> bool {
        !self.ends_with_a_look() && self.definition_sha256.as_deref().is_some_and(|failed| failed != definition_sha256)
    }

    /// Whether no request was at fault, so that it is over once definition and token can be read.
    fn ends_with_a_look(&self) -> bool {
        matches!(
            self.error.code,
            ErrorCode::DefinitionInvalid
                | ErrorCode::SecretUnreadable
                | ErrorCode::TokenStoreFailed
                | ErrorCode::OutOfTime
        )
    }

    /// Whether it may have passed by itself, and nobody was told. It is over as soon as the token is not due: a forced
    /// refresh failed, or a definition was changed and changed back.
    fn is_passing(&self) -> bool {
        self.error.retryable && self.last_alert_at.is_none()
    }
}
