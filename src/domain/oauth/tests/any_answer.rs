use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic_or_bring_an_empty_token(status in 100_u16..600, body: Vec<u8>) {
        if let Ok(token) = read(&answer(status, body)) {
            prop_assert!(!token.access_token.expose_secret().is_empty());
            prop_assert!((200..300).contains(&status));
        }
    }

    #[test]
    fn any_json_is_read_without_panic_and_keeps_no_refresh_token(body in json_answer()) {
        if let Ok(token) = read(&answer(200, body.to_string())) {
            let expiry = token.expires_at;
            prop_assert!(expiry.is_none_or(|end| end > now()));
            let extra = Value::Object(token.extra).to_string();
            prop_assert!(!extra.contains("refresh_token"));
            prop_assert!(!extra.contains(REFRESH_TOKEN));
        }
    }

    #[test]
    fn provider_errors_never_show_the_secret(before in ".*", after in ".*") {
        let body = json!({"error": "invalid_client", "error_description": format!("{before}the secret{after}")});
        let words = rejected(401, &body.to_string()).error.provider_error.expect("words");
        prop_assert!(!words.contains("the secret"), "{}", words);
        prop_assert!(!words.contains(char::is_control));
        prop_assert!(words.chars().count() <= 500);
    }
}

const REFRESH_TOKEN: &str = "a-refresh-token-to-hide";

/// Objects with the members that matter, in all types, nested up to three deep.
fn json_answer() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(Value::from(REFRESH_TOKEN)),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name(), inner, 0..4).prop_map(|members| json!(members)),
        ]
    });
    prop::collection::hash_map(name(), value, 0..8).prop_map(|mut members| {
        members.insert("access_token".to_owned(), Value::from("t"));
        members.insert("refresh_token".to_owned(), Value::from(REFRESH_TOKEN));
        json!(members)
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,12}",
        prop::sample::select(vec!["expires_in", "scope", "token_type", "refresh_token", "error", "refresh_expires_in"])
            .prop_map(str::to_owned),
    ]
}
