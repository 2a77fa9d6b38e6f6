//! Any refusal, judged by a fixture's error rules or by a rule of the input's own: its words can be shown to people.
//!
//! An input is a line that is empty or an error rule (JSON), and then an answer as for `answer`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seeds::Input;
use serde_json::{Value, json};
use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::retry::Repeat;
use token_harvester::domain::source::{Definition, PlainHttp};

/// The longest `provider_error`, in characters.
const LONGEST_PROVIDER_ERROR: usize = 500;

fuzz_target!(|bytes: &[u8]| {
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let Some(input) = Input::read(&bytes[line + 1..]) else { return };
    let own;
    let (definition, secrets) = if line == 0 {
        let Some(example) = fuzz::named(&input) else { return };
        (&example.definition, example.secrets)
    } else {
        let secrets = &fuzz::SECRETS[usize::from(input.case % 2)];
        let Some(definition) = with_rule(&bytes[..line], secrets) else { return };
        own = definition;
        (&own, secrets)
    };
    let exchange = fuzz::exchange(definition, &input);
    let answer = fuzz::answer(&input, secrets);
    let Err(rejection) = exchange.read(&answer, fuzz::now(), fuzz::now()) else { return };

    let error = &rejection.error;
    fuzz::assert_showable(error, definition, exchange.credential);
    if let Some(words) = &error.provider_error {
        assert!(words.chars().count() <= LONGEST_PROVIDER_ERROR, "{} characters", words.chars().count());
    }
    let passing = [ErrorCode::RateLimited, ErrorCode::EndpointTimeout, ErrorCode::EndpointUnavailable];
    assert_eq!(matches!(rejection.repeat, Repeat::AfterBackoff(_)), passing.contains(&error.code), "{rejection:?}");
    assert_eq!(error.retryable, error.code.is_retryable());
});

/// A refreshing client with all secrets and one error rule; `None` where that is none.
fn with_rule(rule: &[u8], secrets: &fuzz::Secrets) -> Option<Definition> {
    let rule: Value = serde_json::from_slice(rule).ok()?;
    let definition = json!({
        "provider": "custom", "token_endpoint": "https://as.example.com/token", "client_id": "client",
        "client_secret": secrets.client_secret, "refresh_token": secrets.refresh_token,
        "headers": {"X-Api-Key": secrets.api_key}, "params": {"password": secrets.password, "further": secrets.access_token},
        "response": {"error": "/error/code", "error_description": "/error/message"}, "errors": [rule],
    });
    Definition::parse(&definition.to_string(), PlainHttp::Refused).ok()?
}
