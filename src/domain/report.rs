//! What a harvest reports: outcomes and warnings.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::domain::error::SourceError;
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};

/// How a run ended for one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new token was stored; in a dry run: would have been asked for.
    Refreshed,
    /// The stored token is not due, and no request was needed.
    Fresh,
    /// Told to wait: throttled, out of time, held by another run, or not connected yet.
    Deferred,
    /// It has no new token though it was due, or its definition or token could not be read.
    Failed,
}

/// What the report says of one source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceReport {
    /// Name of the source, or what the event called it.
    pub source: String,
    /// How the run ended for it.
    pub outcome: Outcome,
    /// Generation of the token that is now stored; `None` without one.
    pub generation: Option<u64>,
    /// When the token that is now stored expires; `None` if unstated or unknown.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Version of the token document in the token bucket; `None` without a document.
    pub version_id: Option<String>,
    /// How many token requests were sent.
    pub attempts: u32,
    /// From the start of work on this source to its end, in milliseconds.
    pub duration_ms: u64,
    /// Set for `failed`, and for `deferred` unless another run holds the source.
    pub error: Option<SourceError>,
    /// How much longer the token works than jobs were promised, for the metric; negative: less.
    #[serde(skip)]
    pub spare: Option<TimeDelta>,
}

/// Something that a person should change though nothing failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What programs go by.
    pub code: WarningCode,
    /// The source that it is about; `None`: the whole run.
    pub source: Option<String>,
    /// One sentence with the arithmetic or the next step.
    pub message: String,
}

/// Codes of warnings, which never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// No secret defines a source that is switched on.
    NoSources,
    /// A token cannot outlive `min_ttl` plus one interval.
    ScheduleTooSlow,
}

/// How a run went: what the function returns.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The invocation's request id.
    pub run_id: String,
    /// Name of the deployment.
    pub environment: String,
    /// Whether the event asked only what would be done.
    pub dry_run: bool,
    /// Whether it was asked for all sources, not only for what would be done, and had one, for the metric.
    #[serde(skip)]
    pub complete: bool,
    /// When the run began.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub started_at: DateTime<Utc>,
    /// When the work on the last source had ended; messages are sent after that.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub finished_at: DateTime<Utc>,
    /// How many sources ended as [`Outcome::Refreshed`].
    pub refreshed: usize,
    /// How many sources ended as [`Outcome::Fresh`].
    pub fresh: usize,
    /// How many sources ended as [`Outcome::Deferred`].
    pub deferred: usize,
    /// How many sources ended as [`Outcome::Failed`].
    pub failed: usize,
    /// All sources that the event asked for, ordered by name.
    pub sources: Vec<SourceReport>,
    /// What a person should change though nothing failed.
    pub warnings: Vec<Warning>,
}

impl Report {
    /// Whether something went other than planned, which a person may want to look up.
    pub fn tells_of_trouble(&self) -> bool {
        self.deferred + self.failed + self.warnings.len() > 0
    }
}
