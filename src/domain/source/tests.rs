//! What sources are read from: definitions, and the secrets that hold them.

mod catalog;
mod connecting;
mod faults;
mod hashes;
mod reading;

use serde_json::{Value, json};

use super::{Definition, PlainHttp, SourceName};

const SECRET: &str = "hunter2-do-not-show";

fn minimal() -> Value {
    json!({"token_endpoint": "https://as.example.com/token", "client_id": "client", "client_secret": SECRET})
}

/// The minimal definition with some fields replaced, added, or (by null) left out.
fn with(fields: &Value) -> String {
    let mut definition = minimal();
    for (name, value) in fields.as_object().expect("an object") {
        definition[name] = value.clone();
    }
    definition.to_string()
}

fn parse(fields: &Value) -> Definition {
    Definition::parse(&with(fields), PlainHttp::OnLoopback).expect("a valid definition").expect("an enabled source")
}

fn fault(definition: &str) -> String {
    refusal(definition, PlainHttp::OnLoopback)
}

fn refusal(definition: &str, plain_http: PlainHttp) -> String {
    let error = Definition::parse(definition, plain_http).expect_err("a fault");
    assert_eq!(error.code.as_str(), "definition_invalid");
    assert!(!error.message.contains(SECRET), "{}", error.message);
    error.message
}

#[test]
fn a_name_has_one_form() {
    for name in ["a", "0", "acme-crm.eu_1", &"a".repeat(64)] {
        assert!(SourceName::parse(name).is_some(), "{name}");
    }
    for name in ["", "-a", ".a", "A", "a/b", "ä", "a b", "../a", &"a".repeat(65)] {
        assert!(SourceName::parse(name).is_none(), "{name}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let definition = parse(&json!({
        "refresh_token": SECRET, "access_token": SECRET, "headers": {"x-key": SECRET}
    }));
    assert!(!format!("{definition:?}").contains(SECRET));
}
