//! What a person is told of a source though it does not fail: that its grant ends soon, and that its schedule is too
//! slow for its token. What was told is kept, so that each is told once.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::document;
use crate::domain::time::rfc3339_seconds;

/// Days before the end of a refresh token at which a person is told.
const STEPS: [u32; 3] = [30, 7, 1];

/// What a person was last told of a source though it did not fail: the end of its grant, and a schedule that is too slow.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// What was told of the end of the grant; `None`: nothing.
    #[serde(flatten)]
    pub grant: Option<GrantForecast>,
    /// Whether it was told that the schedule is too slow for the token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub schedule_too_slow: bool,
}

/// What a person was last told about the end of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantForecast {
    /// The end that was told, in whole seconds.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub grant_expires_at: DateTime<Utc>,
    /// Which of the steps was told, in days before the end.
    pub days: u32,
}

impl Forecast {
    /// What is kept in the state bucket.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl GrantForecast {
    /// Whether it was about that end. A fixed end wavers by seconds, since servers state what is left of it.
    pub fn is_about(&self, grant_expires_at: DateTime<Utc>) -> bool {
        (self.grant_expires_at - grant_expires_at).abs() < TimeDelta::hours(1)
    }
}

/// Whether a refresh token's stated end is near enough for a forecast.
pub fn ends_soon(grant_expires_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    STEPS.into_iter().any(|days| grant_expires_at - now <= TimeDelta::days(i64::from(days)))
}

/// The step, in days before a refresh token's stated end, that a person must hear of now.
///
/// Only where the last refresh did not extend it (`extended`; `None`: nobody knows yet). `told_days` is the step last
/// told about this end; it must be forgotten when the end moves. `None`: nothing to tell.
pub fn step(
    grant_expires_at: Option<DateTime<Utc>>,
    extended: Option<bool>,
    told_days: Option<u32>,
    now: DateTime<Utc>,
) -> Option<u32> {
    let time_left = grant_expires_at? - now;
    let reached = STEPS.into_iter().rfind(|days| time_left <= TimeDelta::days(i64::from(*days)))?;
    (extended == Some(false) && told_days.is_none_or(|told| reached < told)).then_some(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    #[test]
    fn what_was_told_is_read_as_it_was_written_also_by_the_version_before() {
        let grant = GrantForecast { grant_expires_at: now(), days: 7 };
        for told in [
            Forecast { grant: Some(grant), schedule_too_slow: false },
            Forecast { grant: Some(grant), schedule_too_slow: true },
            Forecast { grant: None, schedule_too_slow: true },
        ] {
            assert_eq!(Forecast::parse(&told.to_json()), Some(told));
        }
        let before = r#"{"grant_expires_at":"2026-11-20T22:00:00Z","days":7}"#;
        assert_eq!(Forecast::parse(before), Some(Forecast { grant: Some(grant), schedule_too_slow: false }));
    }

    #[test]
    fn a_forecast_tells_each_step_once_and_only_of_an_end_that_comes() {
        let step = |days, extended, told| super::step(Some(now() + TimeDelta::days(days)), extended, told, now());
        assert_eq!(step(31, Some(false), None), None);
        assert_eq!(step(30, Some(false), None), Some(30));
        assert_eq!(step(8, Some(false), Some(30)), None);
        assert_eq!(step(7, Some(false), Some(30)), Some(7));
        assert_eq!(step(7, Some(false), Some(7)), None);
        assert_eq!(step(1, Some(false), Some(7)), Some(1));
        assert_eq!(step(-1, Some(false), None), Some(1));
        assert_eq!(step(-1, Some(false), Some(1)), None);
        assert_eq!(step(1, Some(true), None), None);
        assert_eq!(step(1, None, None), None);
        assert_eq!(super::step(None, Some(false), None, now()), None);
    }
}
