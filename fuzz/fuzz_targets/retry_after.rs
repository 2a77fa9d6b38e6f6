//! Any `Retry-After`, at any time: seconds are the seconds that it says, a date is the time until then, and no wait that
//! follows from it is shorter than asked for or longer than the run.

#![no_main]

use std::time::Duration;

use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use token_harvester::domain::retry::{Repeat, next_wait, parse_retry_after};

fuzz_target!(|bytes: &[u8]| {
    let Some((seconds, value)) = bytes.split_first_chunk() else { return };
    // Any moment at which a clock may stand: from 1970 to 9999.
    let seconds = i64::from_be_bytes(*seconds).rem_euclid(253_402_300_800);
    let now: DateTime<Utc> = DateTime::from_timestamp(seconds, 0).expect("a time");
    let value = String::from_utf8_lossy(value);

    let wait = parse_retry_after(&value, now);

    let digits = value.trim();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let stated = digits.parse().unwrap_or(u64::MAX);
        assert_eq!(wait, Some(Duration::from_secs(stated)), "{value:?}");
    } else if let Some(wait) = wait {
        // HTTP's dates have four digits for the year.
        let end = now.timestamp().unsigned_abs() + wait.as_secs();
        assert!(wait.subsec_nanos() == 0 && (wait.is_zero() || end < 253_402_300_800), "{value:?}: {wait:?}");
    }

    let remaining = Duration::from_secs(u64::from(bytes[7]));
    let next = next_wait(Some(Duration::from_secs(1)), Repeat::AfterBackoff(wait), 1.0, remaining);
    if let Some(next) = next {
        assert!(next < remaining && next >= wait.unwrap_or_default(), "{value:?}: {next:?} of {remaining:?}");
    }
});
