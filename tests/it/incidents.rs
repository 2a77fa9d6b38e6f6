//! A source that fails: when it is tried again, and when a person hears of it.

use chrono::TimeDelta;
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use token_harvester::app::harvest::HarvestError;
use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::report::Outcome;

use crate::support::deployment::{Deployment, Received};
use crate::support::proxy::{aws_proxy, s3_error};
use crate::support::token_endpoint::{and, answer_at, answer_next, client_of, count, granted, refused, requests};
use crate::support::{assert_failed, assert_refreshed, line};

/// A deployment whose source `acme` has a token that has just fallen due, at a time that stands still.
async fn with_a_good_token(expires_in: u32) -> (Deployment, MockServer) {
    let (deployment, server) = (Deployment::new().await, MockServer::start().await);
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    let first = ResponseTemplate::new(200).set_body_json(json!({"access_token": "first", "expires_in": expires_in}));
    answer_next(&server, "/token", 1, first).await;
    deployment.define("acme", and(client_of(&server), json!({"owner": "crm-team"}))).await;
    assert_refreshed(&deployment.harvest_due().await, "acme", 1);
    deployment.messages().await;
    let due = (expires_in - (expires_in / 3).max(25 * 60)).into();
    deployment.clock.put_forward(TimeDelta::seconds(due));
    (deployment, server)
}

/// The sources in the parts of an alert that are not empty.
fn told(alert: &Received) -> Vec<(&'static str, Vec<&str>)> {
    let parts = ["opened", "escalated", "recovered", "reminded", "forecast"];
    let sources = |part: &str| -> Vec<&str> {
        let entries = alert.body[part].as_array().expect("a list").iter();
        entries.map(|entry| entry["source"].as_str().expect("a name")).collect()
    };
    parts.into_iter().map(|part| (part, sources(part))).filter(|(_, sources)| !sources.is_empty()).collect()
}

async fn only_alert(deployment: &Deployment) -> Received {
    let mut alerts = deployment.alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    alerts.remove(0)
}

#[tokio::test]
async fn a_passing_failure_is_an_incident_but_no_alert() {
    let (deployment, server) = with_a_good_token(43_200).await;
    answer_next(&server, "/token", 4, ResponseTemplate::new(503)).await;
    answer_at(&server, "/token", granted("second")).await;

    assert_failed(&deployment.harvest_due().await, "acme", ErrorCode::EndpointUnavailable);
    let incident = deployment.state("incidents/acme.json").await.expect("an incident");
    assert_eq!(incident["opened_at"], "2026-11-21T06:00:00Z");
    assert_eq!(incident["consecutive_failures"], 1);
    assert_eq!(incident["error"]["code"], "endpoint_unavailable");
    assert_eq!(incident["token_expires_at"], "2026-11-21T10:00:00Z");
    assert_eq!(incident["next_attempt_at"], "2026-11-21T06:15:00Z");
    assert_eq!(incident["last_alert_at"], Value::Null);
    let message = &deployment.messages().await[0].body;
    assert_eq!((&message["consecutive_failures"], &message["failing_since"]), (&json!(1), &incident["opened_at"]));

    deployment.clock.put_forward(TimeDelta::minutes(15));
    assert_refreshed(&deployment.harvest_due().await, "acme", 2);
    assert_eq!(deployment.state("incidents/acme.json").await, None);
    assert!(deployment.alerts().await.is_empty());
}

#[tokio::test]
async fn a_failing_source_is_left_alone_until_its_time_unless_forced_or_changed() {
    let (deployment, server) = with_a_good_token(3_600).await;
    answer_at(&server, "/token", refused(400, "invalid_scope")).await;
    assert_failed(&deployment.harvest_due().await, "acme", ErrorCode::InvalidScope);
    let asked = count(&server, "/token").await;

    deployment.clock.put_forward(TimeDelta::minutes(5));
    let report = deployment.harvest_due().await;
    let acme = line(&report, "acme");
    assert_eq!((acme.outcome, acme.attempts), (Outcome::Deferred, 0));
    assert_eq!(acme.error.as_ref().map(|error| error.code), Some(ErrorCode::InvalidScope));
    assert_eq!(count(&server, "/token").await, asked);

    assert_failed(&deployment.harvest(json!({"force": true})).await, "acme", ErrorCode::InvalidScope);
    assert_eq!(count(&server, "/token").await, asked + 1);

    let repaired = and(client_of(&server), json!({"client_secret": "another"}));
    deployment.redefine("acme", repaired).await;
    assert_failed(&deployment.harvest_due().await, "acme", ErrorCode::InvalidScope);
    assert_eq!(count(&server, "/token").await, asked + 2);
}

#[tokio::test]
async fn what_only_a_person_can_mend_is_told_once_and_its_end_too() {
    let (deployment, server) = with_a_good_token(3_600).await;
    answer_next(&server, "/token", 1, refused(400, "invalid_scope")).await;
    answer_at(&server, "/token", granted("second")).await;

    deployment.harvest_due().await;
    let alert = only_alert(&deployment).await;
    assert_eq!(told(&alert), [("opened", vec!["acme"])]);
    assert_eq!((&*alert.attributes["kind"], &*alert.attributes["severity"]), ("alert", "critical"));
    assert!(alert.subject.starts_with("[test] CRITICAL acme: invalid_scope"), "{}", alert.subject);

    deployment.clock.put_forward(TimeDelta::minutes(5));
    deployment.harvest_due().await;
    assert!(deployment.alerts().await.is_empty(), "once");

    deployment.clock.put_forward(TimeDelta::minutes(10));
    assert_refreshed(&deployment.harvest_due().await, "acme", 2);
    let alert = only_alert(&deployment).await;
    assert_eq!((told(&alert), &*alert.attributes["severity"]), (vec![("recovered", vec!["acme"])], "info"));
    assert_eq!(deployment.state("incidents/acme.json").await, None);
}

#[tokio::test]
async fn the_third_failure_in_a_row_is_told_and_reminded_of_after_a_day() {
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    answer_at(&server, "/token", ResponseTemplate::new(503)).await;
    deployment.define("acme", client_of(&server)).await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    for (minutes, alerts) in [(0, 0), (15, 0), (30, 1), (60, 0)] {
        deployment.clock.put_forward(TimeDelta::minutes(minutes));
        assert_failed(&deployment.harvest_due().await, "acme", ErrorCode::EndpointUnavailable);
        let told_now = deployment.alerts().await;
        assert_eq!(told_now.len(), alerts, "{told_now:#?}");
        assert!(told_now.iter().all(|alert| alert.attributes["severity"] == "warning"), "it never had a token");
    }
    deployment.clock.put_forward(TimeDelta::hours(23));
    deployment.harvest_due().await;
    assert_eq!(told(&only_alert(&deployment).await), [("reminded", vec!["acme"])]);
}

#[tokio::test]
async fn an_alert_that_could_not_be_sent_stays_owed() {
    let (deployment, server) = with_a_good_token(3_600).await;
    let proxy = aws_proxy().await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_SNS", proxy.uri());
    answer_at(&server, "/token", refused(400, "invalid_scope")).await;
    // The alert and the token message.
    answer_next(&proxy, "/", 2, s3_error(403, "AuthorizationError")).await;

    let error = deployment.try_harvest(json!({})).await.expect_err("messages refused");
    assert!(matches!(error, HarvestError::MessagesUnpublished { .. }), "{error}");
    assert!(deployment.alerts().await.is_empty());

    deployment.clock.put_forward(TimeDelta::minutes(1));
    deployment.harvest_due().await;
    assert_eq!(told(&only_alert(&deployment).await), [("opened", vec!["acme"])]);
    deployment.harvest_due().await;
    assert!(deployment.alerts().await.is_empty());
}

#[tokio::test]
async fn the_third_refusal_of_a_grant_needs_a_person_and_leaves_one_request_a_day() {
    let (deployment, server) = (Deployment::new().await, MockServer::start().await);
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    answer_at(&server, "/token", refused(400, "invalid_grant")).await;
    deployment.define("acme", and(client_of(&server), json!({"refresh_token": "dead"}))).await;
    for code in [ErrorCode::InvalidGrant, ErrorCode::InvalidGrant, ErrorCode::ReauthorizationRequired] {
        assert_failed(&deployment.harvest_due().await, "acme", code);
        deployment.clock.put_forward(TimeDelta::hours(1));
    }
    let alert = only_alert(&deployment).await;
    assert_eq!(told(&alert), [("opened", vec!["acme"])]);

    // The last refusal is an hour old.
    deployment.clock.put_forward(TimeDelta::hours(22));
    let report = deployment.harvest_due().await;
    assert_eq!(line(&report, "acme").outcome, Outcome::Deferred);
    assert_eq!(count(&server, "/token").await, 3);
    deployment.clock.put_forward(TimeDelta::hours(1));
    assert_failed(&deployment.harvest_due().await, "acme", ErrorCode::ReauthorizationRequired);
    assert_eq!(count(&server, "/token").await, 4);
    assert_failed(&deployment.harvest(json!({"retry": "dead"})).await, "acme", ErrorCode::ReauthorizationRequired);
    assert_eq!(count(&server, "/token").await, 5);

    deployment.redefine("acme", and(client_of(&server), json!({"refresh_token": "authorized-anew"}))).await;
    assert_failed(&deployment.harvest_due().await, "acme", ErrorCode::InvalidGrant);
    assert_eq!(count(&server, "/token").await, 6);
}

#[tokio::test]
async fn a_grant_that_was_lost_with_a_crashed_run_is_told_as_that() {
    let (deployment, server) = (Deployment::new().await, MockServer::start().await);
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    answer_at(&server, "/token", refused(400, "invalid_grant")).await;
    deployment.define("acme", and(client_of(&server), json!({"refresh_token": "used-up"}))).await;
    let lease = json!({"run_id": "crashed", "expires_at": "2026-11-20T21:50:05Z"});
    deployment.keep_state("leases/acme", &lease).await;
    for _ in 0..3 {
        deployment.harvest_due().await;
        deployment.clock.put_forward(TimeDelta::hours(1));
    }
    let alert = only_alert(&deployment).await;
    let error = &alert.body["opened"][0]["error"];
    assert_eq!(error["code"], "reauthorization_required");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains("the new one was lost with the run that ended at 2026-11-20T21:50:00Z"), "{message}");
}

#[tokio::test]
async fn throttling_past_the_deadline_waits_as_long_as_the_server_says_and_is_no_failure() {
    let (deployment, server) = with_a_good_token(3_600).await;
    let throttled = ResponseTemplate::new(429).insert_header("retry-after", "2700");
    answer_at(&server, "/token", throttled).await;

    assert_eq!(line(&deployment.harvest_due().await, "acme").outcome, Outcome::Deferred);
    let incident = deployment.state("incidents/acme.json").await.expect("an incident");
    assert_eq!(
        (&incident["consecutive_failures"], &incident["next_attempt_at"]),
        (&json!(0), &json!("2026-11-20T23:20:00Z"))
    );
    // The token will have expired by then.
    assert_eq!(only_alert(&deployment).await.attributes["severity"], "critical");

    deployment.clock.put_forward(TimeDelta::minutes(44));
    deployment.harvest_due().await;
    assert_eq!(count(&server, "/token").await, 2);
}

#[tokio::test]
async fn a_token_that_its_api_refuses_is_not_published() {
    let (deployment, server) = (Deployment::new().await, MockServer::start().await);
    let answer = |number: u32| {
        let body =
            json!({"access_token": format!("t{number}"), "expires_in": 3600, "refresh_token": format!("r{number}")});
        ResponseTemplate::new(200).set_body_json(body)
    };
    answer_next(&server, "/token", 1, answer(2)).await;
    answer_at(&server, "/token", answer(3)).await;
    answer_next(&server, "/me", 1, ResponseTemplate::new(204)).await;
    answer_at(&server, "/me", ResponseTemplate::new(403)).await;
    let verified = json!({"refresh_token": "r1", "verify_url": format!("{}/me", server.uri())});
    deployment.define("acme", and(client_of(&server), verified)).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);
    let report = deployment.harvest(json!({"force": true})).await;

    let message = assert_failed(&report, "acme", ErrorCode::VerificationFailed);
    assert_eq!(message, "the new token was not accepted at `verify_url`: it answered HTTP 403");
    assert_eq!(deployment.document("acme").await["access_token"], "t2", "the last good token stays");
    assert_eq!(deployment.state("grants/acme.json").await.expect("grant state")["refresh_token"], "r3");
    let tried = requests(&server).await.into_iter().filter(|request| request.url.path() == "/me");
    let tried: Vec<_> =
        tried.map(|request| request.headers["authorization"].to_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(tried, ["Bearer t2", "Bearer t3"]);
}

#[tokio::test]
async fn an_incident_of_a_source_that_nobody_defines_any_more_is_forgotten() {
    let (deployment, server) = with_a_good_token(3_600).await;
    answer_at(&server, "/token", refused(400, "invalid_scope")).await;
    deployment.harvest_due().await;
    deployment.redefine("acme", json!({"enabled": false})).await;
    deployment.harvest_due().await;
    assert_eq!(deployment.state("incidents/acme.json").await, None);
}

#[tokio::test]
async fn incidents_that_can_not_be_kept_fail_the_function_but_not_the_harvest() {
    let (deployment, proxy) = (Deployment::new().await, aws_proxy().await);
    let server = crate::support::token_endpoint::granting().await;
    deployment.define("acme", client_of(&server)).await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_S3", proxy.uri());
    let listing = wiremock::Mock::given(wiremock::matchers::method("GET"))
        .and(wiremock::matchers::query_param("prefix", "incidents/"));
    listing.respond_with(s3_error(403, "AccessDenied")).with_priority(1).mount(&proxy).await;

    let error = deployment.try_harvest(json!({})).await.expect_err("incidents refused");
    let HarvestError::IncidentsUnkept { report, .. } = error else { panic!("{error}") };
    assert_refreshed(&report, "acme", 1);
    assert_eq!(deployment.messages().await.len(), 1);
}
