//! Writing a token document: races, lost replies, refusals, and encryption.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio::sync::Barrier;
use wiremock::http::HeaderValue;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::report::Outcome;

use crate::support::deployment::Deployment;
use crate::support::proxy::{ask, aws_proxy, forward, s3_error};
use crate::support::sockets::{self, Reply, Scripted};
use crate::support::token_endpoint::{client_at, client_of, granting, requests};
use crate::support::{assert_failed, assert_refreshed, line};

/// A deployment whose source `acme` has no token yet, the proxy before its S3, and the token endpoint.
async fn behind_a_proxy() -> (Deployment, MockServer, MockServer) {
    let (deployment, proxy, server) = (Deployment::new().await, aws_proxy().await, granting().await);
    deployment.define("acme", client_of(&server)).await;
    (deployment.with("AWS_ENDPOINT_URL_S3", proxy.uri()), proxy, server)
}

/// Answers the next `times` writes of that source.
async fn answer_writes(proxy: &MockServer, source: &str, times: u64, answer: impl Respond + 'static) {
    let mock = Mock::given(method("PUT")).and(path_regex(format!("/tokens/{source}.json$")));
    mock.respond_with(answer).up_to_n_times(times).with_priority(1).mount(proxy).await;
}

/// Answers every look at that source's document.
async fn answer_looks(proxy: &MockServer, source: &str, answer: impl Respond + 'static) {
    let mock = Mock::given(method("HEAD")).and(path_regex(format!("/tokens/{source}.json$")));
    mock.respond_with(answer).with_priority(1).mount(proxy).await;
}

/// Writes of token documents, in order.
async fn writes(proxy: &MockServer) -> Vec<Request> {
    let is_write = |request: &Request| request.method == "PUT" && request.url.path().contains("/tokens/");
    requests(proxy).await.into_iter().filter(is_write).collect()
}

/// Lets somebody else write first: the same document, but for its token and a time of issue so much later.
fn overtaken(later: TimeDelta) -> impl Fn(&Request) -> ResponseTemplate {
    move |request| {
        let issued_at: DateTime<Utc> = text(request, "x-amz-meta-issued-at").parse().expect("a time");
        let issued_at = (issued_at + later).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let mut rival = request.clone();
        rival.headers.insert("x-amz-meta-issued-at", HeaderValue::from_str(&issued_at).expect("a header"));
        rival.headers.insert("x-amz-meta-token-sha256", HeaderValue::from_static("0123456789abcdef"));
        assert_eq!(ask(&rival).status, 200);
        forward(request)
    }
}

fn text<'a>(request: &'a Request, header: &str) -> &'a str {
    request.headers[header].to_str().expect("a text header")
}

#[tokio::test]
async fn writes_are_conditional_on_what_was_read() {
    let (deployment, proxy, _server) = behind_a_proxy().await;

    deployment.harvest_due().await;
    let etag = deployment.head("acme").await.and_then(|head| head.e_tag).expect("an entity tag");
    deployment.harvest(json!({"force": true})).await;

    let writes = writes(&proxy).await;
    assert_eq!((writes.len(), text(&writes[0], "if-none-match"), text(&writes[1], "if-match")), (2, "*", &*etag));
    assert!(!writes[0].headers.contains_key("if-match") && !writes[1].headers.contains_key("if-none-match"));
    assert!(!writes[0].headers.contains_key("x-amz-server-side-encryption"));
}

#[tokio::test]
async fn a_newer_good_token_that_came_first_stays() {
    let (deployment, proxy, _server) = behind_a_proxy().await;
    answer_writes(&proxy, "acme", 1, overtaken(TimeDelta::seconds(5))).await;

    let report = deployment.harvest_due().await;

    let line = line(&report, "acme");
    assert_eq!((line.outcome, line.generation, &line.error), (Outcome::Fresh, Some(1), &None));
    assert_eq!(deployment.metadata("acme").await["token-sha256"], "0123456789abcdef");
    assert_eq!((writes(&proxy).await.len(), deployment.versions("acme").await), (1, 1));
    assert!(deployment.messages().await.is_empty());
}

#[tokio::test]
async fn an_older_token_that_came_first_is_followed_by_the_newer() {
    let (deployment, proxy, _server) = behind_a_proxy().await;
    answer_writes(&proxy, "acme", 1, overtaken(TimeDelta::seconds(-5))).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "acme", 2);
    assert_eq!(deployment.document("acme").await["generation"], 2);
    assert_eq!(deployment.versions("acme").await, 2);
}

#[tokio::test]
async fn two_runs_at_once_leave_one_token_and_one_message() {
    let deployment = Deployment::new().await;
    let both = Arc::new(Barrier::new(2));
    let token = |name| Reply::Together(Arc::clone(&both), sockets::granted(name));
    let server = Scripted::plain(vec![token("one"), token("other")]).await;
    deployment.define("acme", client_at(&server.url)).await;
    // Stored times are whole seconds, which must not make one of two tokens of the same moment the newer.
    deployment.clock.stop_at("2026-11-20T22:00:00.500Z");
    // The emulator looks and writes in two steps; the proxy lets one write through at a time.
    let proxy = aws_proxy().await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_S3", proxy.uri());

    let (one, other) = tokio::join!(deployment.harvest_due(), deployment.harvest_due());

    let mut outcomes = [one, other].map(|report| line(&report, "acme").outcome);
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Fresh);
    assert_eq!(outcomes, [Outcome::Refreshed, Outcome::Fresh]);
    assert_eq!((deployment.versions("acme").await, deployment.messages().await.len()), (1, 1));
}

#[tokio::test]
async fn a_write_that_conflicts_with_one_under_way_is_repeated() {
    let (deployment, proxy, _server) = behind_a_proxy().await;
    answer_writes(&proxy, "acme", 1, s3_error(409, "ConditionalRequestConflict")).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "acme", 1);
    assert_eq!((writes(&proxy).await.len(), line(&report, "acme").attempts), (2, 1));
}

#[tokio::test]
async fn a_document_that_changes_under_every_write_is_left_to_the_others() {
    let (deployment, proxy, _server) = behind_a_proxy().await;
    answer_writes(&proxy, "acme", 100, s3_error(412, "PreconditionFailed")).await;

    let report = deployment.harvest_due().await;

    let message = assert_failed(&report, "acme", ErrorCode::TokenStoreFailed);
    assert_eq!(message, "the token document changed under 3 writes in a row");
    assert_eq!((writes(&proxy).await.len(), line(&report, "acme").attempts), (3, 1));
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_counts_once() {
    let (deployment, proxy, _server) = behind_a_proxy().await;
    deployment.harvest_due().await;
    let lose = |request: &Request| {
        assert_eq!(ask(request).status, 200);
        std::io::Error::other("the reply is lost")
    };
    let mock = Mock::given(method("PUT")).respond_with_err(lose).up_to_n_times(1).with_priority(1);
    mock.mount(&proxy).await;

    let report = deployment.harvest(json!({"force": true})).await;

    assert_refreshed(&report, "acme", 2);
    let head = deployment.head("acme").await.expect("a token document");
    assert_eq!(head.version_id(), line(&report, "acme").version_id.as_deref());
    assert_eq!((deployment.versions("acme").await, writes(&proxy).await.len()), (2, 3));
}

#[tokio::test]
async fn s3_refusing_one_document_fails_that_source_alone() {
    let (deployment, proxy, server) = behind_a_proxy().await;
    for source in ["denied", "down", "hidden", "unreadable"] {
        deployment.define(source, client_of(&server)).await;
    }
    answer_writes(&proxy, "denied", 100, s3_error(403, "AccessDenied")).await;
    answer_writes(&proxy, "down", 100, s3_error(503, "SlowDown")).await;
    answer_looks(&proxy, "hidden", ResponseTemplate::new(403)).await;
    answer_looks(&proxy, "unreadable", ResponseTemplate::new(500)).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "acme", 1);
    for (source, words, attempts) in [
        ("denied", "S3 PutObject: AccessDenied: told by the test", 1),
        ("down", "S3 PutObject: SlowDown: told by the test", 1),
        ("hidden", "S3 HeadObject: access denied (S3 says so of a missing object too", 0),
        ("unreadable", "S3 HeadObject: HTTP 500", 0),
    ] {
        let message = assert_failed(&report, source, ErrorCode::TokenStoreFailed);
        assert!(message.starts_with(words), "{message}");
        assert_eq!(line(&report, source).attempts, attempts, "{source}");
        assert!(line(&report, source).error.as_ref().is_some_and(|error| error.retryable));
    }
    let writes = writes(&proxy).await;
    let count = |key: &str| writes.iter().filter(|write| write.url.path().ends_with(key)).count();
    assert_eq!((count("/denied.json"), count("/down.json"), count("/hidden.json")), (1, 3, 0));
}

#[tokio::test]
async fn s3_s_passing_troubles_are_not_the_sources() {
    let (deployment, proxy, _server) = behind_a_proxy().await;
    answer_writes(&proxy, "acme", 1, s3_error(503, "SlowDown")).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);
}

#[tokio::test]
async fn a_key_for_the_bucket_encrypts_every_write() {
    let (deployment, proxy, _server) = behind_a_proxy().await;
    let deployment = deployment.with("TOKEN_KMS_KEY_ID", "alias/tokens");

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    let write = &writes(&proxy).await[0];
    assert_eq!(text(write, "x-amz-server-side-encryption"), "aws:kms");
    assert_eq!(text(write, "x-amz-server-side-encryption-aws-kms-key-id"), "alias/tokens");
    assert_eq!(text(write, "x-amz-server-side-encryption-bucket-key-enabled"), "true");
    // Deciding by HeadObject needs no right to decrypt as long as no checksum is asked for.
    let looks = requests(&proxy).await.into_iter().filter(|request| request.method == "HEAD");
    assert!(looks.into_iter().all(|look| !look.headers.contains_key("x-amz-checksum-mode")));
}

#[tokio::test]
async fn a_document_that_somebody_else_wrote_is_replaced() {
    let (deployment, _proxy, _server) = behind_a_proxy().await;
    let put = deployment.s3.put_object().bucket(deployment.variable("TOKEN_BUCKET")).key("tokens/acme.json");
    put.body(b"by hand".to_vec().into()).send().await.expect("an object");

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "acme", 1);
    assert_eq!(deployment.document("acme").await["access_token"], "access-token");
    assert_eq!(deployment.versions("acme").await, 2);
}
