//! Durations as people write them (`90s`, `15m`, `12h`, `7d`) and as they read them ("in 42 min").

use chrono::TimeDelta;

/// The longest duration that a setting may ask for; beyond it a typing error is likelier.
const LONGEST: TimeDelta = TimeDelta::days(366);

/// Parses a whole number followed by `s`, `m`, `h` or `d`.
///
/// Zero is a duration; whoever needs a positive one checks that.
pub fn parse(text: &str) -> Result<TimeDelta, InvalidDuration> {
    let seconds_per_unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(InvalidDuration),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDuration);
    }
    digits
        .parse::<i64>()
        .ok()
        .and_then(|count| count.checked_mul(seconds_per_unit))
        .and_then(TimeDelta::try_seconds)
        .filter(|duration| *duration <= LONGEST)
        .ok_or(InvalidDuration)
}

/// Parses a sum of durations as servers write them: `1d 2h 30m`, `12 hours`, `90min`.
pub fn parse_sum(text: &str) -> Result<TimeDelta, InvalidDuration> {
    let mut sum = TimeDelta::zero();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).ok_or(InvalidDuration)?;
        let (count, unit) = rest.split_at(digits);
        let unit = unit.trim_start();
        let letters = unit.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (unit, further) = unit.split_at(letters);
        let unit = match unit.to_ascii_lowercase().as_str() {
            "d" | "day" | "days" => "d",
            "h" | "hr" | "hrs" | "hour" | "hours" => "h",
            "m" | "min" | "mins" | "minute" | "minutes" => "m",
            "s" | "sec" | "secs" | "second" | "seconds" => "s",
            _ => return Err(InvalidDuration),
        };
        sum = sum.checked_add(&parse(&format!("{count}{unit}"))?).ok_or(InvalidDuration)?;
        rest = further.trim_start_matches([' ', ',']);
    }
    if sum.is_zero() { Err(InvalidDuration) } else { Ok(sum) }
}

/// A text that is no duration. It does not repeat the text, which may be a secret in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a duration of at most 366d such as 90s, 15m, 12h or 7d")]
pub struct InvalidDuration;

/// A duration in the two largest units that it fills, for people: `42 min`, `1 h 5 min`, `3 d`.
pub fn for_people(duration: TimeDelta) -> String {
    let seconds = duration.num_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_servers_write_them() {
        for (text, minutes) in
            [("1d 2h 30m", 1_590), ("1d2h30m", 1_590), ("12 hours", 720), ("90min", 90), ("1 hour, 5 minutes", 65)]
        {
            assert_eq!(parse_sum(text), Ok(TimeDelta::minutes(minutes)), "{text}");
        }
        for text in ["", "5", "h", "1x", "0m", "1h 5", "-1h", "99999999999999999999h", "1h\u{0}2m"] {
            assert_eq!(parse_sum(text), Err(InvalidDuration), "{text:?}");
        }
    }

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse("90s"), Ok(TimeDelta::seconds(90)));
        assert_eq!(parse("15m"), Ok(TimeDelta::minutes(15)));
        assert_eq!(parse("12h"), Ok(TimeDelta::hours(12)));
        assert_eq!(parse("7d"), Ok(TimeDelta::days(7)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "s", "15", "15 m", "-1m", "+1m", "1.5h", "1w", "15M", "m15", "١s", "367d", "99999999999999999999d"]
        {
            assert_eq!(parse(text), Err(InvalidDuration), "{text}");
        }
    }

    #[test]
    fn people_read_two_units_at_most() {
        for (seconds, text) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (2_520, "42 min"),
            (3_600, "1 h"),
            (3_900, "1 h 5 min"),
            (90_000, "1 d 1 h"),
            (259_230, "3 d"),
        ] {
            assert_eq!(for_people(TimeDelta::seconds(seconds)), text);
        }
    }
}
