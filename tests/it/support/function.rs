//! The binaries and the runtime API that they get their events from.

use std::collections::HashMap;
use std::fs::File;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::Instant;
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::token_endpoint::{answered, requests};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary that harvests.
pub(crate) const BOOTSTRAP: &str = env!("CARGO_BIN_EXE_bootstrap");

/// The binary that lets people connect.
pub(crate) const CONNECT: &str = env!("CARGO_BIN_EXE_connect");

/// A binary in a process of its own, which ends with this value.
pub(crate) struct Function {
    process: Child,
    folder: TempDir,
}

impl Function {
    pub(crate) fn start(binary: &str, runtime_api: Option<&str>, variables: &HashMap<&'static str, String>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let output = |name: &str| File::create(folder.path().join(name)).expect("a file");
        let command = command_of(binary, runtime_api, variables, output("stdout"), output("stderr"));
        let process = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("a process");
        Self { process, folder }
    }

    fn output(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("output")
    }

    /// All lines on standard output: CloudWatch's, each a JSON object. Nothing else goes anywhere.
    pub(crate) fn log(&self) -> Vec<Value> {
        assert_eq!(self.output("stderr"), "");
        self.output("stdout").lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let id = self.process.id().expect("a running process");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.and_then(|peak| peak.parse::<u64>().ok()).expect("a peak") * 1024
    }

    pub(crate) async fn end(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("an end in time").expect("an exit status")
    }
}

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

/// The binary that harvests, as Lambda starts it.
pub(crate) fn command(
    runtime_api: Option<&str>,
    variables: &HashMap<&'static str, String>,
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> Command {
    command_of(BOOTSTRAP, runtime_api, variables, stdout, stderr)
}

fn command_of(
    binary: &str,
    runtime_api: Option<&str>,
    variables: &HashMap<&'static str, String>,
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> Command {
    let mut command = Command::new(binary);
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
    runtime_api_of("run", events).await
}

/// The same, with request ids that begin so.
pub(crate) async fn runtime_api_of(run: &str, events: &[Value]) -> MockServer {
    // None that is used again: the last call of a function that was just ended would take the next one's event.
    let server = MockServer::builder().start().await;
    let next = || Mock::given(method("GET")).and(path("/2018-06-01/runtime/invocation/next"));
    for (index, event) in events.iter().enumerate() {
        let deadline = std::time::UNIX_EPOCH.elapsed().expect("a time") + PATIENCE;
        let response = answered(200, event.clone())
            .insert_header("lambda-runtime-aws-request-id", format!("{run}-{}", index + 1))
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

/// What the function answers to an invocation, which must not fail.
pub(crate) async fn answered_to(api: &MockServer, run: &str) -> Value {
    let [response, error] = ["response", "error"].map(|end| format!("/2018-06-01/runtime/invocation/{run}/{end}"));
    let is_told = |request: &Request| [&response, &error].contains(&&request.url.path().to_owned());
    let told = eventually(run, async || requests(api).await.into_iter().find(is_told)).await;
    let body: Value = told.body_json().expect("JSON");
    assert_eq!(told.url.path(), response, "{body}");
    body
}
