//! Whether, and why, a token is due to be refreshed.

use chrono::{DateTime, TimeDelta, Utc};

use super::StoredToken;
use crate::domain::duration;
use crate::domain::source::{DEFAULT_EXPIRES_IN, DEFAULT_MIN_TTL, Definition};

/// What decides when a source's token is refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshRule {
    /// How long a token must still be valid whenever a job reads it.
    pub min_ttl: TimeDelta,
    /// The lifetime that is assumed where the server states none.
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
    /// The log's field `due`.
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
