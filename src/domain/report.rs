//! What a harvest reports: outcomes and warnings.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::domain::error::SourceError;
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};

/// How a harvest ended for one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new token was stored; in a dry run: would have been asked for.
    Refreshed,
    /// The stored token is still good.
    Fresh,
    /// Told to wait: throttled, out of time, or held by another run.
    Deferred,
    /// See the error.
    Failed,
}

/// One source's line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct SourceReport {
    /// Name of the source.
    pub source: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Generation of the token that is now stored; `None` without one.
    pub generation: Option<u64>,
    /// When the token that is now stored expires; `None` if unstated or unknown.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub expires_at: Option<DateTime<Utc>>,
    /// S3 version of the token document; `None` without one.
    pub version_id: Option<String>,
    /// Token requests sent.
    pub attempts: u32,
    /// From the start of work on this source to its end.
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
    /// Stable code.
    pub code: WarningCode,
    /// The source that it is about; `None`: the whole run.
    pub source: Option<String>,
    /// One sentence with the arithmetic or the next step.
    pub message: String,
}

/// Stable codes of warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// There is nothing to harvest.
    NoSources,
    /// A token cannot outlive `min_ttl` plus one interval.
    ScheduleTooSlow,
}

/// What the function returns.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The invocation's request id.
    pub run_id: String,
    /// The deployment.
    pub environment: String,
    /// Whether the event asked only what would be done.
    pub dry_run: bool,
    /// Whether it was asked for all sources, not only for what would be done, and had one, for the metric.
    #[serde(skip)]
    pub complete: bool,
    /// Start of the run.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub started_at: DateTime<Utc>,
    /// End of the work on sources.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub finished_at: DateTime<Utc>,
    /// Sources with that outcome.
    pub refreshed: usize,
    /// Sources with that outcome.
    pub fresh: usize,
    /// Sources with that outcome.
    pub deferred: usize,
    /// Sources with that outcome.
    pub failed: usize,
    /// By name.
    pub sources: Vec<SourceReport>,
    /// What a person should change.
    pub warnings: Vec<Warning>,
}

impl Report {
    /// Whether something went other than planned, which a person may want to look up.
    pub fn tells_of_trouble(&self) -> bool {
        self.deferred + self.failed + self.warnings.len() > 0
    }
}
