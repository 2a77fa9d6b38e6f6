//! Times as every document of this program writes them.

use chrono::{DateTime, Utc};
use serde::Serializer;

/// A time as every document of this program writes it: RFC 3339, UTC, whole seconds.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// [`rfc3339`] for `#[serde(serialize_with)]`: chrono's own form has fractions of seconds.
pub fn rfc3339_seconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// The same of a time that may be missing, which is written as `null`.
pub fn rfc3339_seconds_option<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339_seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}
