//! What is kept in the state bucket from run to run, through S3: damage stops no refresh, and nothing is forgotten with a
//! secret that can't be read.

use chrono::TimeDelta;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use token_harvester::app::harvest::HarvestError;
use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::report::Outcome;

use crate::schemas::{assert_valid, schema};
use crate::support::deployment::Deployment;
use crate::support::token_endpoint::{and, answer_at, answer_next, client_of, granted, granting, refused};
use crate::support::{assert_failed, assert_refreshed, line};

#[tokio::test]
async fn damage_of_what_only_advises_stops_no_refresh_and_is_overwritten() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    answer_next(&server, "/token", 2, refused(400, "invalid_scope")).await;
    deployment.define("plain", client_of(&server)).await;
    deployment.define("rotating", and(client_of(&server), json!({"refresh_token": "r1"}))).await;
    let damaged = [
        "catalog.json",
        "incidents/plain.json",
        "incidents/rotating.json",
        "forecasts/plain.json",
        "forecasts/rotating.json",
    ];
    for key in damaged {
        deployment.keep_state(key, &json!({"schema_version": 99, "error": {"code": "of a newer version"}})).await;
    }

    let report = deployment.harvest_due().await;
    for source in ["plain", "rotating"] {
        assert_failed(&report, source, ErrorCode::InvalidScope);
        let incident = deployment.state(&format!("incidents/{source}.json")).await.expect("an incident");
        assert_eq!(incident["consecutive_failures"], 1);
        deployment.keep_state(&format!("incidents/{source}.json"), &json!("damaged again")).await;
    }
    assert_eq!(deployment.state("catalog.json").await.expect("the roster")["sources"]["plain"]["secret"], "plain");

    let report = deployment.harvest_due().await;
    for source in ["plain", "rotating"] {
        assert_refreshed(&report, source, 1);
        assert_eq!(deployment.state(&format!("incidents/{source}.json")).await, None);
    }
}

#[tokio::test]
async fn a_slip_in_a_pack_fails_its_sources_by_name_and_its_mending_ends_that_without_a_refresh() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    let pack = json!({"sources": {"a": client_of(&server), "b": client_of(&server)}});
    deployment.define("pack", &pack).await;
    assert_eq!(deployment.harvest_due().await.refreshed, 2);

    deployment.redefine("pack", pack.to_string().replace("}}}", "},}}")).await;
    deployment.clock.put_forward(TimeDelta::minutes(5));
    // Cold: each of these is a function that has read nothing yet.
    let report = deployment.harvest_due().await;
    for source in ["a", "b"] {
        let message = assert_failed(&report, source, ErrorCode::SecretUnreadable);
        assert!(message.starts_with("the secret `pack`, which holds it, can't be read: "), "{message}");
        assert!(line(&report, source).expires_at.is_some(), "its token is seen");
    }
    let alerts = deployment.alerts().await;
    assert_eq!((alerts.len(), &alerts[0].body["total"]), (1, &json!(2)));

    deployment.redefine("pack", &pack).await;
    deployment.clock.put_forward(TimeDelta::minutes(5));
    let report = deployment.harvest_due().await;
    assert_eq!((report.fresh, report.failed), (2, 0));
    let alerts = deployment.alerts().await;
    assert_valid(&schema("alert-message"), &alerts[0].body);
    assert_eq!(alerts[0].body["recovered"][0]["ended"], "mended");
}

#[tokio::test]
async fn a_source_that_is_removed_while_failing_is_over_after_two_readings() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    answer_at(&server, "/broken", refused(401, "invalid_client")).await;
    deployment.define("stays", client_of(&server)).await;
    let broken = json!({"sources": {"goes": and(client_of(&server), json!({"token_endpoint": format!("{}/broken", server.uri())}))}});
    deployment.define("pack", broken).await;
    assert_failed(&deployment.harvest_due().await, "goes", ErrorCode::InvalidClient);
    assert_eq!(deployment.alerts().await.len(), 1);

    deployment.redefine("pack", json!({"sources": {}})).await;
    let report = deployment.harvest_due().await;
    assert_eq!(line(&report, "goes").outcome, Outcome::Deferred);
    assert!(deployment.alerts().await.is_empty() && deployment.state("incidents/goes.json").await.is_some());

    assert_eq!(deployment.harvest_due().await.sources.len(), 1);
    let alerts = deployment.alerts().await;
    assert_valid(&schema("alert-message"), &alerts[0].body);
    assert_eq!(alerts[0].body["recovered"][0]["ended"], "removed");
    assert_eq!(deployment.state("incidents/goes.json").await, None);

    deployment.redefine("stays", json!({"sources": {}})).await;
    let error = deployment.try_harvest(json!({})).await.expect_err("no source is left");
    assert!(matches!(error, HarvestError::SourcesGone { .. }), "{error}");
}

#[tokio::test]
async fn the_report_of_a_scheduled_run_is_kept() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.clock.stop_at("2026-11-20T22:00:07Z");
    deployment.define("acme", client_of(&server)).await;
    let returned = deployment.harvest_due().await;
    let kept = deployment.state("reports/2026-11-20/220007-run-1.json").await.expect("a report");
    assert_valid(&schema("report"), &kept);
    assert_eq!(kept, serde_json::to_value(&returned).expect("JSON"));
}

#[tokio::test]
async fn a_schedule_that_is_too_slow_is_told_once_across_cold_starts() {
    let deployment = Deployment::new().await;
    let short = ResponseTemplate::new(200).set_body_json(json!({"access_token": "t", "expires_in": 300}));
    let server = granting().await;
    answer_at(&server, "/short", short).await;
    let definition = and(client_of(&server), json!({"token_endpoint": format!("{}/short", server.uri())}));
    deployment.define("acme", definition).await;
    deployment.harvest_due().await;
    let alerts = deployment.alerts().await;
    assert_valid(&schema("alert-message"), &alerts[0].body);
    let warning = alerts[0].body["forecast"][0]["warning"].as_str().expect("a warning").to_owned();
    assert!(warning.starts_with("tokens live 5 min, less than"), "{warning}");
    deployment.harvest(json!({"force": true})).await;
    assert!(deployment.alerts().await.is_empty());
}

#[tokio::test]
async fn a_lease_names_who_holds_it_beyond_the_runs_id() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None::<Value>));
    deployment.define("acme", and(client_of(&server), json!({"refresh_token": "r1"}))).await;
    let proxy = crate::support::proxy::aws_proxy().await;
    let noted = std::sync::Arc::clone(&seen);
    let leases = wiremock::Mock::given(wiremock::matchers::method("PUT"))
        .and(wiremock::matchers::path_regex("/leases/acme$"))
        .respond_with(move |request: &wiremock::Request| {
            *noted.lock().expect("a lease") = serde_json::from_slice(&request.body).ok();
            crate::support::proxy::forward(request)
        });
    leases.with_priority(1).mount(&proxy).await;
    answer_at(&server, "/token", granted("t")).await;
    deployment.with("AWS_ENDPOINT_URL_S3", proxy.uri()).harvest_due().await;
    let lease = seen.lock().expect("a lease").take().expect("it was taken");
    let nonce = lease["nonce"].as_str().expect("a nonce");
    assert!(!nonce.is_empty() && lease["run_id"] == "run-1" && lease["expires_at"].is_string(), "{lease}");
}
