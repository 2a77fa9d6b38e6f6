use chrono::TimeDelta;
use serde_json::{Value, json};

use super::advice::advice;
use super::mail::MOST_TOLD_IN_FULL;
use super::*;
use crate::domain::error::ErrorCode;

const LIMITS: Limits = Limits { subject: 100, list: 96 * 1024 };

fn now() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

fn minutes(minutes: i64) -> DateTime<Utc> {
    now() + TimeDelta::minutes(minutes)
}

fn error(code: ErrorCode) -> SourceError {
    SourceError::new(code, "the server refused").with_provider_error(Some("the server's words".to_owned()))
}

/// A failure since an hour ago, of a source whose token works for so many minutes more.
fn failing<'a>(source: &'a str, error: &'a SourceError, minutes_left: i64) -> Case<'a> {
    Case {
        source,
        severity: if minutes_left < 60 { Severity::Critical } else { Severity::Warning },
        error: Some(error),
        opened_at: Some(minutes(-60)),
        token_expires_at: Some(minutes(minutes_left)),
        has_token: true,
        next_attempt_at: Some(minutes(15)),
        ..Case::default()
    }
}

fn ending(source: &str, days: i64) -> Case<'_> {
    Case {
        source,
        severity: Severity::Warning,
        token_expires_at: Some(minutes(120)),
        has_token: true,
        grant_expires_at: Some(now() + TimeDelta::days(days)),
        ..Case::default()
    }
}

fn nothing() -> Alert<'static> {
    Alert {
        environment: "prod",
        runbook_url: "docs/runbook.md",
        report: "s3://state/reports/2026-11-20/220000-run.json".to_owned(),
        ..Alert::default()
    }
}

fn message(alert: &Alert<'_>) -> Message {
    alert.message(now(), LIMITS).expect("a message")
}

fn json(alert: &Alert<'_>) -> Value {
    serde_json::from_str(&message(alert).json).expect("JSON")
}

#[test]
fn nothing_new_is_not_told() {
    assert_eq!(nothing().message(now(), LIMITS), None);
}

#[test]
fn a_failure_is_told_to_machines_and_people() {
    let error = error(ErrorCode::InvalidGrant);
    let mut case = failing("acme-crm", &error, 12);
    case.owner = Some("crm-team@example.com");
    case.runbook_url = Some("https://wiki.example.com/crm");
    let alert = Alert { opened: vec![case], ..nothing() };
    let message = message(&alert);
    assert_eq!(message.subject, "[prod] CRITICAL acme-crm: invalid_grant, token expires in 12 min");
    assert_eq!(
        message.attributes,
        [("kind", "alert"), ("environment", "prod"), ("severity", "critical")]
            .map(|(name, value)| (name, value.to_owned()))
    );
    assert_eq!(
        message.text,
        "Token harvester, deployment prod, 2026-11-20T22:00:00Z.\n\
         \n\
         CRITICAL: acme-crm is failing, since 2026-11-20T21:00:00Z (1 h ago).\n\
         The token works until 2026-11-20T22:12:00Z (in 12 min).\n\
         What happened: the server refused (invalid_grant).\n\
         The server said: the server's words\n\
         What it means: the server refused the refresh token: it has expired, was revoked or was used before.\n\
         What to do: nothing at the first refusal; after the third in a row, or if the token ends sooner, \
         authorize again and put the new refresh_token into the definition.\n\
         The harvester tries again in its first run after 2026-11-20T22:15:00Z (in 15 min).\n\
         Look up: docs/runbook.md#invalid_grant\n\
         Owner: crm-team@example.com\n\
         Runbook: https://wiki.example.com/crm\n"
    );
    assert_eq!(
        json(&alert),
        json!({
            "schema_version": 1, "environment": "prod", "severity": "critical", "total": 1,
            "opened": [{
                "source": "acme-crm", "severity": "critical",
                "error": {
                    "code": "invalid_grant", "message": "the server refused", "retryable": true,
                    "provider_error": "the server's words",
                },
                "opened_at": "2026-11-20T21:00:00Z", "token_expires_at": "2026-11-20T22:12:00Z",
            }],
            "escalated": [], "recovered": [], "reminded": [], "forecast": [],
        })
    );
}

#[test]
fn what_has_recovered_is_good_news() {
    let error = error(ErrorCode::EndpointTimeout);
    let mut alert = Alert { recovered: vec![failing("acme-crm", &error, 12)], ..nothing() };
    let one = message(&alert);
    assert_eq!(one.subject, "[prod] OK acme-crm: recovered");
    assert_eq!(one.attributes[2], ("severity", "info".to_owned()));
    assert_eq!(
        one.text,
        "Token harvester, deployment prod, 2026-11-20T22:00:00Z.\n\
         \n\
         OK: acme-crm has recovered. It had been failing since 2026-11-20T21:00:00Z (1 h ago). The last error was \
         endpoint_timeout.\n\
         The token works until 2026-11-20T22:12:00Z (in 12 min).\n\
         What to do: nothing.\n"
    );
    assert_eq!(json(&alert)["recovered"][0]["severity"], "info");
    alert.recovered.push(failing("b", &error, 100));
    assert_eq!(message(&alert).subject, "[prod] OK 2 sources recovered: acme-crm, b");
    alert.reminded.push(failing("c", &error, 100));
    assert_eq!(message(&alert).subject, "[prod] WARNING c: still endpoint_timeout, token expires in 1 h 40 min");
    assert_eq!(json(&alert)["severity"], "warning");
}

#[test]
fn a_forecast_says_the_one_thing_to_do() {
    let mut alert = Alert { forecast: vec![ending("acme-crm", 7)], ..nothing() };
    let message = message(&alert);
    assert_eq!(message.subject, "[prod] WARNING acme-crm: refresh token ends in 7 d");
    assert_eq!(
        message.text,
        "Token harvester, deployment prod, 2026-11-20T22:00:00Z.\n\
         \n\
         WARNING: the refresh token of acme-crm ends at 2026-11-27T22:00:00Z (in 7 d), and the last refresh did \
         not extend it.\n\
         What it means: from then on the harvester can't get a new token.\n\
         What to do: before that, authorize again and put the new refresh_token into the definition.\n\
         Look up: docs/runbook.md#reauthorization_required\n"
    );
    assert_eq!(
        json(&alert)["forecast"][0],
        json!({
            "source": "acme-crm", "severity": "warning", "grant_expires_at": "2026-11-27T22:00:00Z",
            "opened_at": null, "token_expires_at": "2026-11-21T00:00:00Z",
        })
    );
    alert.forecast = vec![ending("acme-crm", -1)];
    assert_eq!(super::tests::message(&alert).subject, "[prod] WARNING acme-crm: refresh token ended 1 d ago");
}

#[test]
fn the_words_follow_the_state_of_the_token() {
    let error = error(ErrorCode::InvalidClient);
    let told = |case: Case<'_>| {
        let message = message(&Alert { escalated: vec![case], ..nothing() });
        (message.subject, message.text)
    };
    let case = failing("a", &error, 0);
    let (subject, email) = told(Case { token_expires_at: Some(minutes(-5)), ..case });
    assert_eq!(subject, "[prod] CRITICAL a: invalid_client, token expired 5 min ago");
    assert!(email.contains("The token expired at 2026-11-20T21:55:00Z (5 min ago): jobs that need it fail.\n"));
    assert!(email.contains("CRITICAL: a has become critical, since"));
    let (subject, email) = told(Case { token_expires_at: None, ..case });
    assert_eq!(subject, "[prod] CRITICAL a: invalid_client");
    assert!(email.contains("its expiry is not stated"));
    let (subject, email) = told(Case { token_expires_at: None, has_token: false, ..case });
    assert_eq!(subject, "[prod] CRITICAL a: invalid_client, no token yet");
    assert!(email.contains("There is no token yet"));
}

#[test]
fn the_mail_says_when_the_harvester_tries_again() {
    let told = |code, next_attempt_at| {
        let error = error(code);
        let case = Case { next_attempt_at, ..failing("a", &error, 12) };
        message(&Alert { reminded: vec![case], ..nothing() }).text
    };
    let email = told(ErrorCode::Internal, Some(now()));
    assert!(email.contains("The harvester tries again in its next run.\n"), "{email}");
    let email = told(ErrorCode::ReauthorizationRequired, Some(minutes(15)));
    assert!(email.contains("(in 15 min), or as soon as the definition has changed.\n"), "{email}");
    assert!(!told(ErrorCode::Internal, None).contains("tries again"));
}

#[test]
fn the_most_urgent_come_first() {
    let error = error(ErrorCode::InvalidClient);
    let alert = Alert {
        opened: vec![failing("later", &error, 30), failing("no-hurry", &error, 90)],
        escalated: vec![failing("first", &error, 5)],
        recovered: vec![failing("done", &error, 1)],
        reminded: vec![Case { token_expires_at: None, ..failing("unknown", &error, 90) }],
        forecast: vec![ending("ending", 30)],
        ..nothing()
    };
    let message = message(&alert);
    assert_eq!(message.subject, "[prod] CRITICAL 5 sources: first (invalid_client), later (invalid_client), ...");
    let places: Vec<_> = ["first", "later", "no-hurry", "ending", "unknown", "done"]
        .map(|source| message.text.find(&format!(" {source} ")).expect("a place"))
        .into();
    assert!(places.is_sorted(), "{}", message.text);
    assert!(
        message
            .text
            .starts_with("Token harvester, deployment prod, 2026-11-20T22:00:00Z: 6 sources, the most urgent first.\n")
    );
}

#[test]
fn a_hundred_are_listed_and_all_are_counted() {
    let error = error(ErrorCode::InvalidClient);
    let names: Vec<_> = (0..150).map(|n| format!("source-{n:03}")).collect();
    let mut opened: Vec<_> = names.iter().zip(100..).map(|(name, left)| failing(name, &error, left)).collect();
    opened.reverse();
    let alert = Alert { opened, ..nothing() };
    let (message, json) = (message(&alert), json(&alert));
    assert_eq!(json["total"], 150);
    let listed = json["opened"].as_array().expect("a list");
    assert_eq!((listed.len(), &listed[99]["source"]), (MOST_LISTED, &json!("source-099")));
    assert_eq!(message.text.matches("What to do:").count(), MOST_TOLD_IN_FULL);
    assert!(message.text.contains("\nIn short:\n- WARNING source-010: invalid_client, token expires in 1 h 50 min\n"));
    let report = "s3://state/reports/2026-11-20/220000-run.json";
    assert!(message.text.ends_with(&format!("- and 50 more, see the report: {report}\n")), "{}", message.text);
}

#[test]
fn a_subject_is_ascii_and_short() {
    let error = error(ErrorCode::ReauthorizationRequired);
    let name = "ä\n".repeat(64);
    let mut alert = Alert { opened: vec![failing(&name, &error, 5)], ..nothing() };
    let subject = message(&alert).subject;
    assert_eq!(subject.len(), LIMITS.subject);
    assert!(subject.starts_with("[prod] CRITICAL ????"), "{subject}");
    let names: Vec<_> = (10..99).map(|n| format!("source-{n}")).collect();
    alert.opened = names.iter().map(|name| failing(name, &error, 5)).collect();
    let subject = message(&alert).subject;
    assert!(subject.len() <= LIMITS.subject && subject.ends_with("), ..."), "{subject}");
}

#[test]
fn a_mail_names_the_credential_that_a_person_brings_anew() {
    let error = error(ErrorCode::ReauthorizationRequired);
    for (credential, words, field) in [
        (CredentialKind::RefreshToken, "refresh token", "refresh_token"),
        (CredentialKind::AccessToken, "access token", "access_token"),
    ] {
        let grant = AuthorizationGrant::Kept(credential);
        let dead = Case { grant, ..failing("a", &error, 5) };
        let ends = Case { grant, ..ending("b", 7) };
        let told = message(&Alert { opened: vec![dead], forecast: vec![ends], ..nothing() }).text;
        assert_eq!(told.matches(&format!("put the new {field} into the definition.")).count(), 2, "{told}");
        assert!(told.contains(&format!("the {words} of b ends at")), "{told}");
    }
}

#[test]
fn a_refused_grant_is_told_by_what_the_source_has() {
    let error = error(ErrorCode::InvalidGrant);
    for (grant, words) in [
        (AuthorizationGrant::Kept(CredentialKind::AccessToken), "put the new access_token into the definition."),
        (AuthorizationGrant::Assertion, "that the subject has approved the client"),
        (AuthorizationGrant::Password, "put the current password into params."),
        (AuthorizationGrant::Client, "compare it with grant_type and params."),
    ] {
        let email = message(&Alert { opened: vec![Case { grant, ..failing("a", &error, 5) }], ..nothing() }).text;
        assert!(email.contains(words), "{email}");
        assert_eq!(email.contains("authorize again"), matches!(grant, AuthorizationGrant::Kept(_)), "{email}");
    }
}

#[test]
fn what_is_over_without_a_refresh_says_how() {
    let error = error(ErrorCode::DefinitionInvalid);
    let told = |ended| {
        let case = Case { ended: Some(ended), ..failing("a", &error, 100) };
        let alert = Alert { recovered: vec![case], ..nothing() };
        (message(&alert).text, json(&alert)["recovered"][0]["ended"].clone())
    };
    let (email, ended) = told(Ended::Removed);
    assert!(email.contains("OK: a is over: no secret defines the source any more. It had been failing"), "{email}");
    assert!(email.contains("Its token and its grant stay until a person removes them.\n"), "{email}");
    assert_eq!(ended, "removed");
    let (email, ended) = told(Ended::Mended);
    assert!(email.contains("OK: a has recovered: what was wrong is mended, no refresh was needed."), "{email}");
    assert!(email.contains("The token works until"), "{email}");
    assert_eq!(ended, "mended");
}

#[test]
fn a_schedule_that_is_too_slow_is_told_with_its_arithmetic() {
    let warning = "tokens live 5 min, less than `min_ttl` (10 min) plus the schedule's interval (15 min)";
    let case = Case { warning: Some(warning), grant_expires_at: None, ..ending("a", 7) };
    let alert = Alert { forecast: vec![case], ..nothing() };
    let message = message(&alert);
    assert_eq!(message.subject, "[prod] WARNING a: schedule_too_slow");
    assert!(message.text.contains(&format!("WARNING: a: {warning}.\n")), "{}", message.text);
    assert!(message.text.contains("Look up: docs/runbook.md#schedule_too_slow\n"), "{}", message.text);
    assert_eq!(json(&alert)["forecast"][0]["warning"], warning);
}

#[test]
fn every_code_has_its_sentences_and_its_section() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../schemas/alert-message.schema.json")).expect("JSON");
    for code in schema["$defs"]["error"]["properties"]["code"]["enum"].as_array().expect("a list") {
        let code: ErrorCode = serde_json::from_value(code.clone()).expect("a code");
        let (meaning, next_step) = advice(code, AuthorizationGrant::default());
        assert!(meaning.ends_with('.') && next_step.ends_with('.'), "{code:?}");
        assert!(!meaning.contains('{') && !next_step.contains('{'), "{code:?}");
        let error = error(code);
        let email = message(&Alert { opened: vec![failing("a", &error, 5)], ..nothing() }).text;
        assert!(email.contains(&format!("Look up: docs/runbook.md#{}\n", code.as_str())), "{email}");
    }
}
