//! When tokens end, as servers state it.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::GrantExpiry;
use crate::domain::duration;
use crate::domain::provider::dialect::{Expiry, ExpiryForm, Pointer, ResponseForm};

/// A stated lifetime beyond this counts as unstated: it is an error or a joke.
const LONGEST_LIFETIME: TimeDelta = TimeDelta::days(36_525);

/// The names under which servers state a refresh token's lifetime, in seconds.
pub(super) const REFRESH_TOKEN_LIFETIMES: [&str; 3] =
    ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"];

/// The end of an access token: as the provider states it in its own way, else as `expires_in` does, else as the token
/// itself does if it is a JWT.
pub(super) fn access_token_expiry(
    document: &Value,
    access_token: &str,
    response: &ResponseForm,
    issued_at: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let declared = response.expires.as_ref();
    if declared.is_some_and(|declared| declared.form == ExpiryForm::None) {
        return None;
    }
    let usual = Expiry { path: Pointer::member("expires_in"), form: ExpiryForm::Seconds };
    let usual = Some(&usual).filter(|usual| declared.is_none_or(|declared| declared.path != usual.path));
    [declared, usual]
        .into_iter()
        .flatten()
        .find_map(|expiry| end(expiry.path.find(document)?, expiry.form, issued_at))
        .or_else(|| plausible(jwt_exp(access_token)?, issued_at))
}

/// What an answer says of the refresh token's end.
pub(super) fn grant_expiry(document: &Value, response: &ResponseForm, issued_at: DateTime<Utc>) -> GrantExpiry {
    let declared = response.refresh_token_expires.as_ref();
    if declared.is_some_and(|declared| declared.form == ExpiryForm::None) {
        return GrantExpiry::Unstated;
    }
    let declared = declared.and_then(|declared| Some((declared.path.find(document)?, declared.form)));
    let usual = || Some((REFRESH_TOKEN_LIFETIMES.iter().find_map(|name| document.get(*name))?, ExpiryForm::Seconds));
    let Some((stated, form)) = declared.or_else(usual) else { return GrantExpiry::Unstated };
    match (end(stated, form, issued_at), number(stated)) {
        (Some(end), _) => GrantExpiry::At(end),
        (None, Some(0.0)) => GrantExpiry::Never,
        (None, _) => GrantExpiry::Unstated,
    }
}

/// The moment that a value states; `None` where it makes no sense as an end.
fn end(value: &Value, form: ExpiryForm, issued_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let after = |milliseconds: f64| milliseconds_after(issued_at, milliseconds);
    let since_1970 = |milliseconds: f64| milliseconds_after(DateTime::UNIX_EPOCH, milliseconds);
    let end = match form {
        ExpiryForm::Seconds => after(number(value)? * 1_000.0),
        ExpiryForm::Milliseconds => after(number(value)?),
        ExpiryForm::EpochSeconds => since_1970(number(value)? * 1_000.0),
        ExpiryForm::EpochMilliseconds => since_1970(number(value)?),
        ExpiryForm::Iso8601 => iso8601(value.as_str()?.trim()),
        ExpiryForm::Duration => issued_at.checked_add_signed(duration::parse_sum(value.as_str()?).ok()?),
        ExpiryForm::JwtExp => jwt_exp(value.as_str()?),
        ExpiryForm::None => None,
    }?;
    plausible(end, issued_at)
}

/// An end, if it is after the beginning and within a century of it.
fn plausible(end: DateTime<Utc>, issued_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (end - issued_at >= TimeDelta::seconds(1) && end - issued_at <= LONGEST_LIFETIME).then_some(end)
}

/// A number, or a string that is one.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// In whole seconds: what is stored has no finer ones.
fn milliseconds_after(start: DateTime<Utc>, milliseconds: f64) -> Option<DateTime<Utc>> {
    #[expect(clippy::cast_possible_truncation, reason = "beyond i64 it saturates, which is beyond any date")]
    let seconds = (milliseconds / 1_000.0).floor() as i64;
    if milliseconds.is_nan() { None } else { start.checked_add_signed(TimeDelta::try_seconds(seconds)?) }
}

/// RFC 3339, and what others write: no colon in the zone, or no zone, which is taken for UTC.
fn iso8601(text: &str) -> Option<DateTime<Utc>> {
    let zoned =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"));
    let local = || NaiveDateTime::parse_from_str(&text.replace(' ', "T"), "%Y-%m-%dT%H:%M:%S%.f").ok();
    let end = zoned.map(|time| time.to_utc()).ok().or_else(|| local().map(|time| time.and_utc()))?;
    DateTime::from_timestamp(end.timestamp(), 0)
}

/// The `exp` of a token that is a JWT (RFC 7519 section 4.1.4), unverified: it is only a hint.
fn jwt_exp(token: &str) -> Option<DateTime<Utc>> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "beyond i64 is beyond any date")]
    DateTime::from_timestamp(claims.get("exp")?.as_f64()? as i64, 0)
}
