use chrono::TimeDelta;
use serde_json::json;

use super::*;
use crate::domain::oauth::{Answer, AnswerBody, Exchange};
use crate::domain::source::{Definition, PlainHttp};
use crate::domain::time::rfc3339;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn rule(min_ttl: i64, interval: i64) -> RefreshRule {
    RefreshRule {
        min_ttl: TimeDelta::minutes(min_ttl),
        default_expires_in: TimeDelta::hours(1),
        schedule_interval: TimeDelta::minutes(interval),
    }
}

fn definition() -> Definition {
    let definition = json!({
        "token_endpoint": "https://as.example.com/token", "client_id": "c", "client_secret": "s", "scope": "read"
    });
    Definition::parse(&definition.to_string(), PlainHttp::Refused).expect("valid").expect("enabled")
}

fn stored(expires_at: Option<&str>) -> StoredToken {
    StoredToken {
        etag: "etag".to_owned(),
        version_id: Some("v41".to_owned()),
        metadata: Some(StoredMetadata {
            generation: 41,
            issued_at: at("2026-11-20T22:00:00Z"),
            expires_at: expires_at.map(at),
            token_sha256: "0123456789abcdef".to_owned(),
            definition_sha256: definition().public_sha256,
            grant_expires_at: None,
        }),
    }
}

fn due_at(stored: Option<&StoredToken>, force: bool, now: &str) -> Option<Due> {
    due(stored, &definition(), &rule(10, 15), force.then_some(Due::Forced), at(now))
}

#[test]
fn a_third_of_the_lifetime_before_the_end_or_earlier_for_min_ttl() {
    let refresh_after = |min_ttl, interval, expires_at: &str| {
        rfc3339(rule(min_ttl, interval).refresh_after(at("2026-11-20T22:00:00Z"), Some(at(expires_at))))
    };
    assert_eq!(refresh_after(10, 15, "2026-11-20T23:00:00Z"), "2026-11-20T22:35:00Z", "25 min beat 20 min");
    assert_eq!(refresh_after(1, 15, "2026-11-20T23:00:00Z"), "2026-11-20T22:40:00Z", "20 min beat 16 min");
    assert_eq!(refresh_after(10, 15, "2026-11-21T10:00:00Z"), "2026-11-21T06:00:00Z", "4 h of 12 h");
    assert_eq!(refresh_after(10, 15, "2026-11-20T22:05:00Z"), "2026-11-20T22:00:00Z", "never before it was issued");
}

#[test]
fn a_token_is_due_from_the_second_on() {
    let token = stored(Some("2026-11-20T23:00:00Z"));
    assert_eq!(due_at(Some(&token), false, "2026-11-20T22:34:59Z"), None);
    assert_eq!(due_at(Some(&token), false, "2026-11-20T22:35:00Z"), Some(Due::Expiring));
}

#[test]
fn an_unstated_expiry_is_refreshed_by_the_assumed_lifetime() {
    let token = stored(None);
    assert_eq!(due_at(Some(&token), false, "2026-11-20T22:34:59Z"), None);
    assert_eq!(due_at(Some(&token), false, "2026-11-20T22:35:00Z"), Some(Due::Expiring));
}

#[test]
fn no_token_force_and_another_definition_make_it_due() {
    let now = "2026-11-20T22:01:00Z";
    let token = stored(Some("2026-11-20T23:00:00Z"));
    assert_eq!(due_at(None, false, now), Some(Due::NoToken));
    assert_eq!(due_at(Some(&token), true, now), Some(Due::Forced));

    let foreign = StoredToken { metadata: None, ..token.clone() };
    assert_eq!(due_at(Some(&foreign), false, now), Some(Due::NoToken));

    let mut other = token;
    other.metadata.as_mut().expect("metadata").definition_sha256 = "other".to_owned();
    assert_eq!(due_at(Some(&other), false, now), Some(Due::DefinitionChanged));
}

#[test]
fn what_is_kept_of_min_ttl_is_what_the_schedule_allows() {
    let (issued_at, rule) = (at("2026-11-20T22:00:00Z"), rule(10, 15));
    let kept = |minutes| rule.kept_ttl(issued_at, Some(issued_at + TimeDelta::minutes(minutes))).num_minutes();
    assert_eq!([kept(60), kept(25), kept(20), kept(15), kept(5)], [10, 10, 5, 0, 0]);
    let ends = |minutes| rule.ends_between_runs(issued_at, Some(issued_at + TimeDelta::minutes(minutes)));
    assert_eq!([ends(15), ends(14)], [false, true]);
}

#[test]
fn a_lifetime_that_fits_exactly_is_no_warning() {
    let too_slow = |expires_at| rule(10, 15).too_slow(at("2026-11-20T22:00:00Z"), Some(at(expires_at)));
    assert_eq!(too_slow("2026-11-20T22:25:00Z"), None);
    assert!(too_slow("2026-11-20T22:24:59Z").is_some());
}

fn document(answer: &str) -> TokenDocument {
    let source = Source { name: SourceName::parse("acme-crm").expect("a name"), definition: definition().into() };
    let issued_at = at("2026-11-20T22:00:00Z");
    let answer = Answer::new(200, AnswerBody::Whole(answer.as_bytes().to_vec()));
    let exchange =
        Exchange { definition: &source.definition, flow: &source.definition.flow, credential: None, further: &[] };
    let answer = exchange.read(&answer, issued_at, issued_at).expect("a token");
    TokenDocument::new(&source, answer.clone(), &rule(10, 15), issued_at, answer.grant_expiry.at(), Some(&stored(None)))
}

#[test]
fn the_document_says_what_jobs_read() {
    let document = document(r#"{"access_token": "t", "expires_in": 3600, "instance_url": "https://eu12"}"#);
    let json: Value = serde_json::from_str(document.to_json().expose_secret()).expect("JSON");
    assert_eq!(
        json,
        json!({
            "schema_version": 1, "source": "acme-crm", "access_token": "t", "token_type": "Bearer",
            "scope": "read", "issued_at": "2026-11-20T22:00:00Z", "expires_at": "2026-11-20T23:00:00Z",
            "refresh_after": "2026-11-20T22:35:00Z", "generation": 42, "extra": {"instance_url": "https://eu12"},
        })
    );
    assert!(!format!("{document:?}").contains("\"t\""));
}
