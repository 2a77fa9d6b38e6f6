//! Any answer to the question whose account it is, and any ID token: an identity is short and printable, or there is none.

#![no_main]

use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use token_harvester::domain::oauth::identity::{IdentityForm, IdentityPlace, id_token_claims};
use token_harvester::domain::provider::dialect::Pointer;
use token_harvester::domain::redact;

fuzz_target!(|text: &str| {
    let pointer = |text: &str| Pointer::parse(text).expect("a pointer");
    let form = IdentityForm {
        from: IdentityPlace::Answer,
        id: vec![pointer("/team/id"), pointer("/sub")],
        name: Some(pointer("/name")),
    };
    let now = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    let claims = id_token_claims(text, "app", None, now).ok();
    if let Some(claims) = &claims {
        assert!(claims["exp"].as_i64().is_some_and(|exp| exp > 1_799_999_000), "{text:?}");
    }
    for document in serde_json::from_str(text).ok().into_iter().chain(claims) {
        for form in [&form, &IdentityForm::of_subject(IdentityPlace::IdToken)] {
            let Some(identity) = form.read(&document) else { continue };
            assert!(!identity.id.is_empty() && identity.id.chars().count() <= 513, "{text:?}");
            assert_eq!(identity.id, redact::printable(&identity.id, usize::MAX), "{text:?}");
            assert!(identity.name.is_none_or(|name| !name.is_empty() && name.chars().count() <= 200), "{text:?}");
        }
    }
});
