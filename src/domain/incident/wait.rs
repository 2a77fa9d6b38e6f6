//! How long a failing source is left alone.

use std::time::Duration;

use chrono::TimeDelta;

/// The first wait of the backoff, unless runs come oftener.
const FIRST_WAIT: TimeDelta = TimeDelta::minutes(15);

/// The longest wait of the backoff; a server's `Retry-After` may be longer.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(6);

/// How often a dead grant is tried all the same: a server may have refused it by mistake.
pub(super) const OF_A_DEAD_GRANT: TimeDelta = TimeDelta::hours(24);

/// The longest `Retry-After` that counts; more is an error, and would end beyond the range of dates.
pub(super) const LONGEST_RETRY_AFTER: TimeDelta = TimeDelta::days(366);

/// How early a run may come and still count as the one that was meant: schedulers are not exact.
const LONGEST_TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// How long to leave a source alone: the more often it has failed the longer, but never so long that the time that
/// its token still works (`time_left`) passes untried. Once that is over, there is nothing to be in time for.
///
/// The interval between two runs is no floor: a run that comes before the wait is over finds out by itself.
pub(super) fn backoff(failures: u32, interval: TimeDelta, time_left: Option<TimeDelta>) -> TimeDelta {
    // 2^20 of the shortest interval, a second, is more than the longest wait.
    let doubled = interval.min(FIRST_WAIT) * (1 << failures.saturating_sub(1).min(20));
    let backoff = doubled.min(LONGEST_WAIT);
    let time_left = time_left.filter(|time_left| *time_left > TimeDelta::zero());
    time_left.map_or(backoff, |time_left| backoff.min(time_left / 4))
}

/// Rounded up, since times are kept in whole seconds: a server asked a fraction of a second too early would refuse again.
pub(super) fn whole_seconds_up(duration: TimeDelta) -> TimeDelta {
    let seconds = TimeDelta::seconds(duration.num_seconds());
    if seconds < duration { seconds + TimeDelta::seconds(1) } else { seconds }
}

/// How long the server asked to wait; zero if it did not.
pub(super) fn asked(retry_after: Option<Duration>) -> TimeDelta {
    retry_after.map_or(TimeDelta::zero(), |wait| {
        TimeDelta::from_std(wait).unwrap_or(LONGEST_RETRY_AFTER).min(LONGEST_RETRY_AFTER)
    })
}

/// How long before a source's next attempt a run counts as the one that was meant for it: a twentieth of the interval, up
/// to the longest tolerance.
pub(super) fn tolerance(interval: TimeDelta) -> TimeDelta {
    (interval / 20).min(LONGEST_TOLERANCE)
}
