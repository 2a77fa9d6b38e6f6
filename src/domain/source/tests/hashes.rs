//! What a definition's hashes depend on, and what must not be guessed with them.

use serde_json::{Value, json};

use super::parse;
use crate::domain::redact;
use crate::domain::source::{Definition, PlainHttp};

#[test]
fn the_query_of_a_url_is_in_no_published_hash() {
    let with_key = |key: &str| {
        hashes(&json!({
            "token_endpoint": format!("https://as.example.com/token?key={key}"),
            "verify_url": format!("https://api.example.com/me?key={key}"),
        }))
    };
    let (one, other) = (with_key("guessable"), with_key("another"));
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_ne!(one.0, hashes(&json!({"token_endpoint": "https://as.example.com/other"})).0);
}

/// A definition's hashes: what everybody may read, and what stays in the state bucket.
fn hashes(fields: &Value) -> (String, String) {
    let definition = parse(fields);
    (definition.public_sha256, definition.full_sha256)
}

#[test]
fn the_published_hash_ignores_secrets_but_follows_the_first_credential() {
    let (public, full) = hashes(&json!({}));
    let (other_secret_public, other_secret_full) = hashes(&json!({"client_secret": "another"}));
    assert_eq!(public, other_secret_public);
    assert_ne!(full, other_secret_full);

    assert_ne!(public, hashes(&json!({"scope": "read"})).0);
    assert_ne!(hashes(&json!({"refresh_token": "one"})).0, hashes(&json!({"refresh_token": "two"})).0);
}

#[test]
fn the_published_hash_holds_nothing_that_could_be_guessed_with_it() {
    let step = |fields: Value| {
        let mut step = json!({"token_endpoint": "https://as.example.com/exchange"});
        step.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        json!({"steps": [step]})
    };
    let grant = |fields: Value| json!({"grants": {"client_credentials": fields}});
    for (before, after) in [
        (json!({}), json!({"params": {"password": "Summer2026!"}})),
        (json!({"params": {"password": "a"}}), json!({"params": {"password": "b"}})),
        (
            json!({"params": {"audience": "x", "username": "a"}}),
            json!({"params": {"audience": "x", "username": "b", "password": "c"}}),
        ),
        (json!({}), json!({"headers": {"X-Api-Key": "a"}})),
        (grant(json!({})), grant(json!({"params": {"password": "a"}, "headers": {"X-Api-Key": "a"}}))),
        (step(json!({})), step(json!({"params": {"password": "a"}, "headers": {"X-Api-Key": "a"}}))),
    ] {
        let ((public, full), (public_after, full_after)) = (hashes(&before), hashes(&after));
        assert_eq!(public, public_after, "{before} {after}");
        assert_ne!(full, full_after, "{before} {after}");
    }
    for (before, after) in [
        (json!({}), json!({"params": {"audience": "x"}})),
        (json!({"params": {"resource": "x"}}), json!({"params": {"resource": ["x", "y"]}})),
        (grant(json!({})), grant(json!({"params": {"audience": "x"}}))),
        (grant(json!({})), grant(json!({"scope": "read"}))),
        (step(json!({})), step(json!({"params": {"resource": "x"}}))),
        (step(json!({})), step(json!({"scope": "read"}))),
    ] {
        assert_ne!(hashes(&before).0, hashes(&after).0, "{before} {after}");
    }
}

#[test]
fn whom_to_ask_and_what_to_do_is_in_no_hash() {
    let hashes_before = hashes(&json!({}));
    assert_eq!(hashes_before, hashes(&json!({"owner": "crm-team", "runbook_url": "https://wiki.example.com/"})));
}

/// Another form would make every token of every deployment due at once.
#[test]
fn the_published_hash_has_the_form_that_tokens_were_stored_with() {
    let canonical = "client_id=\"client\"\nparams={\"audience\":\"x\",}\nrefresh_token=\
                     7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\n\
                     token_endpoint=\"https://as.example.com/token\"\n";
    let (public, _) = hashes(&json!({"refresh_token": "one", "params": {"audience": "x"}}));
    assert_eq!(public, redact::sha256_hex(canonical.as_bytes()));
}

#[test]
fn the_hashes_do_not_depend_on_the_order_of_members() {
    let parse = |text: &str| Definition::parse(text, PlainHttp::Refused).unwrap().unwrap();
    let one = parse(
        r#"{"token_endpoint":"https://a/","client_id":"c","client_secret":"s","params":{"audience":"1","b":"2"},
            "grants":{"client_credentials":{"params":{"audience":"1","b":"2"},"scope":"x"}},
            "steps":[{"token_endpoint":"https://b/","params":{"audience":"1","b":"2"}}]}"#,
    );
    let other = parse(
        r#"{"steps":[{"params":{"b":"2","audience":"1"},"token_endpoint":"https://b/"}],"grants":{"client_credentials":{"scope":"x","params":{"b":"2","audience":"1"}}},
            "params":{"b":"2","audience":"1"},"client_secret":"s","client_id":"c","token_endpoint":"https://a/"}"#,
    );
    assert_eq!((one.public_sha256, one.full_sha256), (other.public_sha256, other.full_sha256));
}
