//! The program as Lambda starts it: what it needs, and how it answers.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::flow::{event, gateway};
use crate::support::deployment::Deployment;
use crate::support::function::{CONNECT, Function, runtime_api, told};

#[tokio::test]
async fn a_gateway_that_is_not_configured_says_everything_that_is_missing_and_ends() {
    let api = runtime_api(&[]).await;
    let variables = HashMap::from([
        ("TOKEN_BUCKET", "s3cr3t_BUCKET".to_owned()),
        ("PUBLIC_URL", "http://s3cr3t.example.com".to_owned()),
        ("RETURN_URLS", "s3cr3t".to_owned()),
    ]);
    let mut function = Function::start(CONNECT, Some(&api.address().to_string()), &variables);
    assert!(!function.end().await.success());
    let error: Value = told(&api, "init/error").await.body_json().expect("an error");
    assert_eq!(error["errorType"], "Runtime.ConfigInvalid");
    let message = error["errorMessage"].as_str().expect("a message");
    for fault in ["TOKEN_BUCKET must be", "STATE_BUCKET is missing", "PUBLIC_URL must be", "RETURN_URLS must be"] {
        assert!(message.contains(fault), "{fault} in {message}");
    }
    assert!(!message.contains("s3cr3t"), "{message}");
    let log = function.log();
    let [line] = &log[..] else { panic!("{log:#?}") };
    assert_eq!((&line["level"], &line["message"]), (&json!("ERROR"), &json!("start-up failed")));
}

#[tokio::test]
async fn an_event_that_is_no_request_fails_and_the_next_one_finds_it_alive() {
    let deployment = gateway(Deployment::new().await);
    let api = runtime_api(&[json!({"sources": ["crm"]}), event("GET", "/health")]).await;
    let function = Function::start(CONNECT, Some(&api.address().to_string()), &deployment.variables);
    let error: Value = told(&api, "invocation/run-1/error").await.body_json().expect("an error");
    assert_eq!(error["errorType"], "Connect.EventInvalid");
    let answer: Value = told(&api, "invocation/run-2/response").await.body_json().expect("an answer");
    assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!(r#"{"status":"ok"}"#)));
    assert_eq!(answer["headers"]["content-type"], "application/json");
    let log = function.log();
    let line = log.iter().find(|line| line["message"] == "request answered").expect("a line about the request");
    assert_eq!(
        (&line["http.route"], &line["http.status"], &line["run.id"]),
        (&json!("/health"), &json!(200), &json!("run-2"))
    );
}
