//! The binary itself, as Lambda runs it: through the runtime API.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;
use wiremock::{MockServer, Request, ResponseTemplate};

use crate::support::deployment::Deployment;
use crate::support::function::{BOOTSTRAP, Function, PATIENCE, eventually, runtime_api, told};
use crate::support::process::{self, Server};
use crate::support::proxy::aws_proxy;
use crate::support::token_endpoint::{and, answer_next, client_of, granted, granting, requests, token_endpoint};

/// Runs the binary for one event, and returns what it told at this path, and itself.
async fn invoke(deployment: &Deployment, event: Value, at: &str) -> (Request, Function, MockServer) {
    let api = runtime_api(&[event]).await;
    let function = Function::start(BOOTSTRAP, Some(&api.address().to_string()), &deployment.variables);
    (told(&api, at).await, function, api)
}

#[track_caller]
fn assert_timed_and_levelled(log: &[Value]) {
    for line in log.iter().filter(|line| line.get("_aws").is_none()) {
        let timestamp = line["timestamp"].as_str().expect("a timestamp");
        assert!(timestamp.parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{line}");
        assert!(matches!(line["level"].as_str(), Some("INFO" | "WARN" | "ERROR")), "{line}");
    }
}

#[tokio::test]
async fn cargo_lambda_gets_a_report_and_the_log_is_json() {
    let cargo_lambda = match process::tool("cargo-lambda") {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(reason) => panic!("{reason}"),
    };
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let (address, port) = (SocketAddr::from(([127, 0, 0, 1], port)), port.to_string());
    let place = ["--invoke-address", "127.0.0.1", "--invoke-port", &port];
    let watch = [&[&*cargo_lambda, "lambda", "watch", "--only-lambda-apis"], &place[..]].concat();
    let _server = Server::start("cargo-lambda-watch", &watch, false).expect("cargo lambda watch");
    eventually("cargo lambda watch", async || tokio::net::TcpStream::connect(address).await.ok()).await;
    let function = Function::start(BOOTSTRAP, Some(&format!("http://{address}/.rt")), &deployment.variables);

    let event = format!("{}/events/scheduled.json", process::ROOT);
    let invoke = [&["lambda", "invoke", "--data-file", &event], &place[..]].concat();
    let invoke = Command::new(&cargo_lambda).args(invoke).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, invoke).await.expect("an answer in time").expect("an answer");

    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report on standard output");
    assert_eq!((&report["refreshed"], &report["failed"]), (&json!(1), &json!(0)), "{report:#}");
    assert_eq!(report["sources"][0]["outcome"], "refreshed");
    assert_eq!(deployment.document("acme").await["access_token"], "access-token");
    let log = function.log();
    assert_timed_and_levelled(&log);
    let line = log.iter().find(|line| line["message"] == "token refreshed").expect("a line about the token");
    assert_eq!((&line["source.name"], &line["run.id"]), (&json!("acme"), &report["run_id"]));
}

#[tokio::test]
async fn the_function_answers_with_the_report_and_logs_one_metrics_record() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;
    deployment.define("broken", "{}").await;

    let (response, function, _api) = invoke(&deployment, json!({}), "invocation/run-1/response").await;

    let report: Value = response.body_json().expect("a report");
    assert_eq!((&report["run_id"], &report["environment"]), (&json!("run-1"), &json!("test")));
    assert_eq!((&report["refreshed"], &report["failed"]), (&json!(1), &json!(1)));
    let log = function.log();
    assert_timed_and_levelled(&log);
    let failures: Vec<_> = log.iter().filter(|line| line["level"] == "WARN").collect();
    assert_eq!(failures.len(), 1, "{log:#?}");
    assert_eq!(failures[0]["error.code"], "definition_invalid");
    let records: Vec<_> = log.iter().filter(|line| line.get("_aws").is_some()).collect();
    let [record] = &records[..] else { panic!("{log:#?}") };
    assert_eq!((&record["refreshed"], &record["failed"], &record["deferred"]), (&json!(1), &json!(1), &json!(0)));
    let directive = &record["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(
        (&directive["Namespace"], &directive["Dimensions"]),
        (&json!("TokenHarvester"), &json!([["environment"]]))
    );
}

#[tokio::test]
async fn a_warm_function_serves_one_event_after_the_other() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;
    let scheduled: Value = serde_json::from_str(include_str!("../../events/scheduled.json")).expect("an event");
    let api = runtime_api(&[scheduled, json!({}), json!({"sources": "acme"}), json!({"force": true})]).await;
    let _function = Function::start(BOOTSTRAP, Some(&api.address().to_string()), &deployment.variables);

    for (run, outcome) in [("run-1", "refreshed"), ("run-2", "fresh"), ("run-4", "refreshed")] {
        let report: Value = told(&api, &format!("invocation/{run}/response")).await.body_json().expect("a report");
        assert_eq!(report["sources"][0]["outcome"], outcome);
    }
    let error: Value = told(&api, "invocation/run-3/error").await.body_json().expect("an error");
    assert_eq!(error["errorType"], "Harvest.EventInvalid");
    assert_eq!(error["errorMessage"], "the event's `sources` must be an array of source names");
}

#[tokio::test]
async fn a_function_that_is_not_configured_says_everything_that_is_missing_and_ends() {
    let api = runtime_api(&[]).await;
    let variables = HashMap::from([
        ("TOKEN_BUCKET", "s3cr3t_BUCKET".to_owned()),
        ("SCHEDULE_INTERVAL", "s3cr3t-soon".to_owned()),
        ("AWS_ENDPOINT_URL", "s3cr3t-place".to_owned()),
    ]);

    let mut function = Function::start(BOOTSTRAP, Some(&api.address().to_string()), &variables);

    assert!(!function.end().await.success());
    let told = told(&api, "init/error").await;
    assert_eq!(told.headers["lambda-runtime-function-error-type"], "Runtime.ConfigInvalid");
    let error: Value = told.body_json().expect("an error");
    assert_eq!(error["errorType"], "Runtime.ConfigInvalid");
    let message = error["errorMessage"].as_str().expect("a message");
    for fault in [
        "TOKEN_BUCKET must be",
        "STATE_BUCKET is missing",
        "TOPIC_ARN is missing",
        "SCHEDULE_INTERVAL must be",
        "AWS_ENDPOINT_URL must be",
    ] {
        assert!(message.contains(fault), "{fault} in {message}");
    }
    let log = function.log();
    assert_timed_and_levelled(&log);
    let [line] = &log[..] else { panic!("{log:#?}") };
    assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!("start-up failed")));
    assert_eq!(line["error.message"], message);
    assert!(!message.contains("s3cr3t"), "{message}");
    assert_eq!(requests(&api).await.len(), 1);
}

#[tokio::test]
async fn without_a_runtime_api_the_program_says_how_it_is_run() {
    let mut function = Function::start(BOOTSTRAP, None, &HashMap::new());

    assert!(!function.end().await.success());
    let log = function.log();
    assert_eq!(log.len(), 1);
    assert!(log[0]["message"].as_str().expect("a message").contains("`make invoke-local`"), "{log:?}");
}

#[tokio::test]
async fn messages_that_can_t_be_published_fail_the_function_after_the_tokens_were_stored() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;
    let proxy = aws_proxy().await;
    let denied =
        "<ErrorResponse><Error><Code>AuthorizationError</Code><Message>not allowed</Message></Error></ErrorResponse>";
    answer_next(&proxy, "/", 1, ResponseTemplate::new(403).set_body_raw(denied, "text/xml")).await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_SNS", proxy.uri());

    let (told, function, _api) = invoke(&deployment, json!({}), "invocation/run-1/error").await;

    let error: Value = told.body_json().expect("an error");
    assert_eq!(error["errorType"], "Harvest.MessagesUnpublished");
    assert_eq!(
        error["errorMessage"],
        "messages could not be published: SNS PublishBatch: AuthorizationError: not allowed"
    );
    assert_eq!(deployment.document("acme").await["generation"], 1);
    let log = function.log();
    assert_timed_and_levelled(&log);
    assert!(log.iter().any(|line| line.get("_aws").is_some()), "metrics in {log:#?}");
    assert!(log.iter().any(|line| line["level"] == "ERROR"), "an error in {log:#?}");
}

#[tokio::test]
async fn unreadable_definitions_fail_the_function_and_the_next_event_finds_it_alive() {
    let deployment = Deployment::new().await;
    let proxy = aws_proxy().await;
    let denied = json!({"__type": "AccessDeniedException", "Message": "not allowed"});
    answer_next(&proxy, "/", 1, ResponseTemplate::new(400).set_body_json(denied)).await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.uri());
    let api = runtime_api(&[json!({}), json!({})]).await;

    let _function = Function::start(BOOTSTRAP, Some(&api.address().to_string()), &deployment.variables);

    let error: Value = told(&api, "invocation/run-1/error").await.body_json().expect("an error");
    assert_eq!(error["errorType"], "Harvest.DefinitionsUnreadable");
    let report: Value = told(&api, "invocation/run-2/response").await.body_json().expect("a report");
    assert_eq!(report["warnings"][0]["code"], "no_sources");
}

#[tokio::test]
async fn a_thousand_packed_sources_are_harvested_in_one_run_with_little_memory() {
    const SOURCES: usize = 1_000;
    const SECRETS: usize = 8;
    const MOST_MEMORY: u64 = 60 << 20;
    let deployment = Deployment::new().await;
    let server = token_endpoint(granted("token")).await;
    for secret in 0..SECRETS {
        let name = |index: usize| format!("source-{:04}", secret * SOURCES / SECRETS + index);
        let definition = and(client_of(&server), json!({"params": {"audience": "https://api.example.com"}}));
        let sources: HashMap<_, _> = (0..SOURCES / SECRETS).map(|index| (name(index), definition.clone())).collect();
        let content = json!({"sources": sources}).to_string();
        assert!(content.len() <= 65_536, "no secret holds {} bytes", content.len());
        deployment.define(&format!("packed-{secret}"), content).await;
    }

    let (response, function, _api) = invoke(&deployment, json!({}), "invocation/run-1/response").await;

    let report: Value = response.body_json().expect("a report");
    assert_eq!((&report["refreshed"], report["sources"].as_array().map(Vec::len)), (&json!(SOURCES), Some(SOURCES)));
    assert_eq!(requests(&server).await.len(), SOURCES);
    assert_eq!(deployment.waiting_messages().await, SOURCES);
    let peak = function.peak_memory();
    println!("peak memory: {} KiB", peak >> 10);
    assert!(peak <= MOST_MEMORY, "{peak} bytes");
}
