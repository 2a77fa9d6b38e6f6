//! The binary and the runtime API that it gets its events from.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::token_endpoint::{answered, requests};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let started_at = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started_at.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The binary as Lambda starts it.
pub(crate) fn command(
    runtime_api: Option<&str>,
    variables: &HashMap<&'static str, String>,
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootstrap"));
    command
        .env_clear()
        .envs(variables)
        .envs(runtime_api.map(|address| ("AWS_LAMBDA_RUNTIME_API", address)))
        .envs([
            ("AWS_LAMBDA_FUNCTION_NAME", "bootstrap"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "group"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "stream"),
        ])
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    command
}

/// A runtime API that hands out these events, and then none.
pub(crate) async fn runtime_api(events: &[Value]) -> MockServer {
    let server = MockServer::start().await;
    let next = || Mock::given(method("GET")).and(path("/2018-06-01/runtime/invocation/next"));
    for (index, event) in events.iter().enumerate() {
        let deadline = std::time::UNIX_EPOCH.elapsed().expect("a time") + PATIENCE;
        let response = answered(200, event.clone())
            .insert_header("lambda-runtime-aws-request-id", format!("run-{}", index + 1))
            .insert_header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
            .insert_header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:123456789012:function:f")
            .insert_header("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793");
        next().respond_with(response).up_to_n_times(1).mount(&server).await;
    }
    next().respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(3_600))).mount(&server).await;
    let accepted = Mock::given(method("POST")).and(path_regex("^/2018-06-01/runtime/"));
    accepted.respond_with(ResponseTemplate::new(202)).mount(&server).await;
    server
}

/// What the function tells the runtime API at this path.
pub(crate) async fn told(api: &MockServer, at: &str) -> Request {
    let at = format!("/2018-06-01/runtime/{at}");
    eventually(&at, async || requests(api).await.into_iter().find(|request| request.url.path() == at)).await
}
