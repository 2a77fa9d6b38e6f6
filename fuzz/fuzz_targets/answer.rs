//! Any answer, read by the definition of any fixture: what comes of it is usable, lives in the future, and holds nothing
//! that refreshes.

#![no_main]

use chrono::{DateTime, TimeDelta, Utc};
use libfuzzer_sys::fuzz_target;
use secrecy::ExposeSecret as _;
use seeds::Input;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::read(bytes) else { return };
    let Some(example) = fuzz::named(&input) else { return };
    let definition = &example.definition;
    let (exchange, answer) = (fuzz::exchange(definition, &input), fuzz::answer(&input, example.secrets));
    let now = fuzz::now();
    let token = match exchange.read(&answer, now, now) {
        Ok(token) => token,
        Err(rejection) => return fuzz::assert_showable(&rejection.error, definition, exchange.credential),
    };

    assert!((200..300).contains(&answer.status));
    let access_token = token.access_token.expose_secret();
    assert!(!access_token.trim().is_empty() && !access_token.contains(char::is_control), "{access_token:?}");
    let expiries = [token.expires_at, token.grant_expiry.at()];
    assert!(expiries.into_iter().flatten().all(|end| lies_ahead(end, now)), "{expiries:?}");
    assert!(token.refresh_token.as_ref().is_none_or(|token| !token.expose_secret().is_empty()));
    assert!(token.scope.as_ref().is_none_or(|scope| !scope.is_empty() && !scope.contains("  ")), "{:?}", token.scope);

    let secrets = definition.client_and_grant_secrets().chain(exchange.credential.map(|secret| secret.expose_secret()));
    let new = token.refresh_token.as_ref().map(|token| token.expose_secret());
    let extra = Value::Object(token.extra);
    let shown = fuzz::strings(&extra);
    for secret in secrets.chain(new).filter(|secret| secret.len() >= fuzz::SHORTEST_SECRET) {
        assert!(!shown.iter().any(|text| text.contains(secret)), "extra holds {secret:?}: {extra}");
    }
});

/// Within the next hundred years.
fn lies_ahead(end: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    end > now && end - now <= TimeDelta::days(36_525)
}
