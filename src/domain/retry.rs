//! When to try again: exponential backoff with full jitter, `Retry-After`, and the run's deadline.

use std::time::Duration;

use backon::ExponentialBuilder;
use chrono::{DateTime, TimeDelta, Utc};

/// How often, and after which waits, one token request is repeated within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Ceiling of the first wait; each further ceiling is twice as high.
    first: Duration,
    /// Highest ceiling.
    longest: Duration,
    /// Requests in all, the first included.
    attempts: usize,
}

impl RetryPolicy {
    /// For saving what can't be had again: as often as the time allows, after waits of up to 5 s.
    pub const fn save() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(5), attempts: usize::MAX }
    }

    /// For requests to a token endpoint: four requests, after waits of up to 0.5, 1 and 2 s.
    pub const fn token_endpoint() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(20), attempts: 4 }
    }

    /// The ceilings of the waits, one for each repetition.
    pub fn ceilings(self) -> ExponentialBuilder {
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_max_times(self.attempts - 1)
    }
}

/// Whether a failed request may be repeated in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Never: the answer would be the same.
    Never,
    /// After a backoff, and not before the server's `Retry-After`, where it sent one.
    AfterBackoff(Option<Duration>),
}

/// The longest `Retry-After` that is waited for inside a run: a longer one would keep a place, and a lease, from others.
/// It is kept in the incident, for a later run.
const LONGEST_WAIT_IN_A_RUN: Duration = Duration::from_secs(10);

/// How long to wait before the next request; `None` if no request is left, or the wait is too long or does not fit.
///
/// `ceiling` is the backoff's (`None`: no request is left), `unit` a random number in `0.0..1.0`: full
/// jitter, so that sources that failed together do not come back together. A wait that would outlast
/// `remaining` is not cut short, since an early request would be refused again and may extend the lockout.
pub fn next_wait(ceiling: Option<Duration>, repeat: Repeat, unit: f64, remaining: Duration) -> Option<Duration> {
    let Repeat::AfterBackoff(retry_after) = repeat else { return None };
    let retry_after = retry_after.unwrap_or_default();
    let wait = ceiling?.mul_f64(unit.clamp(0.0, 1.0)).max(retry_after);
    (wait < remaining && retry_after <= LONGEST_WAIT_IN_A_RUN).then_some(wait)
}

/// Reads a `Retry-After` header (RFC 9110 section 10.2.3): seconds, or a date in any of HTTP's three forms.
///
/// A date in the past means now; anything unreadable counts as absent.
pub fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = DateTime::<Utc>::from(httpdate::parse_http_date(value).ok()?);
    Some((date - now).to_std().unwrap_or_default())
}

/// The moments by which a run must have done its work, in the clock of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Definitions are read by then, or the run goes on without.
    pub definitions: DateTime<Utc>,
    /// No request to an authorization server lasts longer.
    pub requests: DateTime<Utc>,
    /// Credentials that requests brought are saved by then, or given up.
    pub saves: DateTime<Utc>,
    /// Work on a source ends here: what follows is noting, publishing and reporting.
    pub sources: DateTime<Utc>,
    /// What became of the sources is noted by then: their incidents, and leases given back.
    pub notes: DateTime<Utc>,
    /// Messages and what was told are out by then: the function answers before its end.
    pub messages: DateTime<Utc>,
    /// The caller stops waiting here.
    pub end: DateTime<Utc>,
}

impl Deadline {
    /// The longest run that is planned for, and the one where the caller states no usable deadline.
    const LONGEST_RUN: TimeDelta = TimeDelta::minutes(15);
    /// What is kept back for storing tokens, and again for publishing, where the run is long enough.
    const LONGEST_RESERVE: TimeDelta = TimeDelta::seconds(10);

    /// Divides the time until `end`. An `end` that has passed means none was meant (local runners send 1970).
    pub fn new(now: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        let whole = if end > now { (end - now).min(Self::LONGEST_RUN) } else { Self::LONGEST_RUN };
        let reserve = (whole / 6).min(Self::LONGEST_RESERVE);
        let end = now + whole;
        let requests = end - reserve * 2;
        Self {
            definitions: now + (requests - now) * 2 / 3,
            requests,
            saves: end - reserve * 3 / 2,
            sources: end - reserve,
            notes: end - reserve / 2,
            messages: end - reserve / 10,
            end,
        }
    }

    /// What is left of `until` at `now`; zero once it has passed.
    pub fn remaining(now: DateTime<Utc>, until: DateTime<Utc>) -> Duration {
        (until - now).to_std().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use backon::BackoffBuilder;
    use chrono::SubsecRound as _;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn ceilings_double_and_end() {
        let ceilings: Vec<_> = RetryPolicy::token_endpoint().ceilings().build().collect();
        assert_eq!(ceilings, [500, 1_000, 2_000].map(Duration::from_millis));
    }

    #[test]
    fn jitter_spreads_over_the_whole_ceiling() {
        let wait =
            |unit| next_wait(Some(Duration::from_secs(2)), Repeat::AfterBackoff(None), unit, Duration::from_secs(60));
        assert_eq!(wait(0.0), Some(Duration::ZERO));
        assert_eq!(wait(0.5), Some(Duration::from_secs(1)));
        assert_eq!(wait(1.0), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_long_retry_after_is_left_to_a_later_run() {
        let wait = |seconds| {
            let asked = Repeat::AfterBackoff(Some(Duration::from_secs(seconds)));
            next_wait(Some(Duration::from_secs(1)), asked, 0.5, Duration::from_secs(280))
        };
        assert_eq!((wait(10), wait(11)), (Some(Duration::from_secs(10)), None));
    }

    #[test]
    fn retry_after_is_a_floor_and_the_deadline_a_wall() {
        let wait = |retry_after, remaining| {
            next_wait(
                Some(Duration::from_secs(1)),
                Repeat::AfterBackoff(Some(Duration::from_secs(retry_after))),
                0.5,
                Duration::from_secs(remaining),
            )
        };
        assert_eq!(wait(7, 60), Some(Duration::from_secs(7)));
        assert_eq!(wait(0, 60), Some(Duration::from_millis(500)));
        assert_eq!(wait(60, 60), None);
        assert_eq!(next_wait(None, Repeat::AfterBackoff(None), 0.5, Duration::from_secs(60)), None);
        assert_eq!(next_wait(Some(Duration::from_secs(1)), Repeat::Never, 0.5, Duration::from_secs(60)), None);
    }

    #[test]
    fn rfc9110_10_2_3_retry_after_is_seconds_or_a_date() {
        let now = at("2026-11-20T22:00:00Z");
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999", Some(u64::MAX)),
            ("Fri, 20 Nov 2026 22:02:00 GMT", Some(120)),
            ("Friday, 20-Nov-26 22:02:00 GMT", Some(120)),
            ("Fri Nov 20 22:02:00 2026", Some(120)),
            ("Fri, 20 Nov 2026 21:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_deadline_keeps_time_for_saving_and_reporting() {
        let now = at("2026-11-20T22:00:00Z");
        let long = Deadline::new(now, at("2026-11-20T22:05:00Z"));
        assert_eq!(long.requests, at("2026-11-20T22:04:40Z"));
        assert_eq!(long.saves, at("2026-11-20T22:04:45Z"));
        assert_eq!(long.sources, at("2026-11-20T22:04:50Z"));
        assert_eq!((long.notes, long.messages), (at("2026-11-20T22:04:55Z"), at("2026-11-20T22:04:59Z")));
        assert_eq!(long.definitions.trunc_subsecs(0), at("2026-11-20T22:03:06Z"));

        let short = Deadline::new(now, at("2026-11-20T22:00:03Z"));
        assert_eq!(short.requests, at("2026-11-20T22:00:02Z"));
        assert_eq!(short.sources, at("2026-11-20T22:00:02.500Z"));
    }

    #[test]
    fn a_deadline_already_past_means_none() {
        let now = at("2026-11-20T22:00:00Z");
        assert_eq!(Deadline::new(now, DateTime::UNIX_EPOCH).sources, at("2026-11-20T22:14:50Z"));
        assert_eq!(Deadline::new(now, now).sources, at("2026-11-20T22:14:50Z"));
    }
}
