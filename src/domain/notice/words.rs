//! Words that all messages share.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::duration;
use crate::domain::error::SourceError;
use crate::domain::notice::message::Limits;
use crate::domain::time::rfc3339;

/// A time to come, for people: `2026-11-20T23:00:00Z (in 42 min)`.
pub(crate) fn moment(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} (in {})", rfc3339(time), duration::for_people(time - now))
}

/// When the harvester tries again, as one sentence for people.
pub(crate) fn next_attempt(time: DateTime<Utc>, error: &SourceError, now: DateTime<Utc>) -> String {
    let sooner = if error.retryable { "" } else { ", or as soon as the definition has changed" };
    if time > now {
        format!("The harvester tries again in its first run after {}{sooner}.", moment(time, now))
    } else {
        "The harvester tries again in its next run.".to_owned()
    }
}

/// A text as a subject: one line of printable ASCII, cut to the publisher's limit.
pub(crate) fn ascii_line(text: &str, limits: Limits) -> String {
    text.chars()
        .map(|character| if matches!(character, ' '..='~') { character } else { '?' })
        .take(limits.subject)
        .collect()
}

/// A time that has passed, for people: `2026-11-20T21:00:00Z (1 h ago)`.
pub(crate) fn past(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match now - time {
        ago if ago < TimeDelta::minutes(1) => format!("{} (just now)", rfc3339(time)),
        ago => format!("{} ({} ago)", rfc3339(time), duration::for_people(ago)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::ErrorCode;

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    #[test]
    fn the_next_attempt_is_told_as_it_is_planned() {
        let error = |code| SourceError::new(code, "it did not work");
        let later = now() + TimeDelta::minutes(15);
        let told = |time, code| next_attempt(time, &error(code), now());
        assert_eq!(
            told(later, ErrorCode::EndpointTimeout),
            "The harvester tries again in its first run after 2026-11-20T22:15:00Z (in 15 min)."
        );
        assert_eq!(
            told(later, ErrorCode::InvalidClient),
            "The harvester tries again in its first run after 2026-11-20T22:15:00Z (in 15 min), or as soon as the definition has changed."
        );
        assert_eq!(told(now(), ErrorCode::EndpointTimeout), "The harvester tries again in its next run.");
    }
}
