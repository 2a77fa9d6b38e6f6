//! Token endpoints that answer badly, late or not at all: the right code, and the last good token stays.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use wiremock::{MockServer, ResponseTemplate};

use token_harvester::domain::error::{ErrorCode, SourceError};
use token_harvester::domain::oauth::LARGEST_ANSWER_BYTES;
use token_harvester::domain::report::{Outcome, Report};

use crate::support::deployment::Deployment;
use crate::support::sockets::{self, Authority, Reply, Scripted};
use crate::support::token_endpoint::{and, answer_at, answer_next, answered, client_at, count, granted, refused};
use crate::support::token_endpoint::{parameter, requests};
use crate::support::{assert_failed, assert_refreshed, line};

/// Time for every case to end by itself.
const AMPLE: Duration = Duration::from_secs(60);

/// A deployment whose sources each have a good token, before their endpoints turn bad.
struct Aftermath {
    deployment: Deployment,
    before: Vec<(String, Value)>,
}

impl Aftermath {
    async fn of(deployment: Deployment, sources: &[(&str, Value)]) -> Self {
        for (name, definition) in sources {
            deployment.define(name, definition).await;
        }
        let report = deployment.harvest_due().await;
        let mut before = Vec::new();
        for (name, _) in sources {
            assert_refreshed(&report, name, 1);
            before.push(((*name).to_owned(), deployment.document(name).await));
        }
        deployment.messages().await;
        Self { deployment, before }
    }

    /// Harvests again, and checks that every token is still the old one.
    async fn harvest(&self, limit: Duration) -> Report {
        let harvester = self.deployment.harvester();
        let report = self.deployment.run(&harvester, &json!({"force": true}), limit).await.expect("a report");
        for (name, document) in &self.before {
            let line = line(&report, name);
            assert_eq!((line.generation, line.expires_at.is_some()), (Some(1), true), "{line:#?}");
            assert_eq!(&self.deployment.document(name).await, document, "{name}");
            assert_eq!(self.deployment.versions(name).await, 1, "{name}");
        }
        report
    }
}

/// A source's error, whatever its outcome.
fn error<'a>(report: &'a Report, source: &str) -> &'a SourceError {
    line(report, source).error.as_ref().expect("an error")
}

/// A good answer of so many bytes.
fn token_of_size(bytes: usize) -> String {
    let around = json!({"access_token": "token", "padding": ""}).to_string();
    json!({"access_token": "token", "padding": "x".repeat(bytes - around.len())}).to_string()
}

#[tokio::test]
async fn the_largest_answer_is_read_whole() {
    let server = MockServer::start().await;
    let text = token_of_size(128 * 1024);
    answer_at(&server, "/token", ResponseTemplate::new(200).set_body_raw(text, "application/json")).await;
    let deployment = Deployment::new().await;
    deployment.define("acme", client_at(&format!("{}/token", server.uri()))).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);
}

// One table of answers, so it is long.
#[tokio::test]
async fn no_bad_answer_costs_a_good_token() {
    use ErrorCode::{
        EndpointRejected, EndpointTimeout, EndpointUnavailable, InvalidClient, InvalidGrant, InvalidRequest,
        InvalidScope, ResponseInvalid, UnauthorizedClient, UnsupportedGrantType,
    };
    let status = ResponseTemplate::new;
    let page = |code| status(code).set_body_raw("<!DOCTYPE html><h1>Sign in</h1>", "text/html");
    let text = |body: &str| status(200).set_body_raw(body, "application/json");
    let latin1 = b"{\"access_token\": \"\xfc\"}".to_vec();
    let cases = [
        ("html", page(200), ResponseInvalid, 1, "(HTTP 200): it is a page of HTML or XML"),
        ("html-403", page(403), EndpointRejected, 1, "(HTTP 403)"),
        ("html-502", page(502), EndpointUnavailable, 4, "(HTTP 502)"),
        ("empty", status(200), ResponseInvalid, 1, "it is empty"),
        ("no-content", status(204), ResponseInvalid, 1, "(HTTP 204): it is empty"),
        ("huge", text(&token_of_size(LARGEST_ANSWER_BYTES + 1)), ResponseInvalid, 1, "it is larger than 128 KiB"),
        ("huge-500", status(500).set_body_string("x".repeat(2 << 20)), EndpointUnavailable, 4, "(HTTP 500)"),
        ("latin1", status(200).set_body_raw(latin1, "application/json"), ResponseInvalid, 1, "it is not UTF-8"),
        ("broken", text(r#"{"access_token": "x"#), ResponseInvalid, 1, "it is broken JSON"),
        ("array", text("[]"), ResponseInvalid, 1, "it is JSON, but an array"),
        ("null", text("null"), ResponseInvalid, 1, "it is JSON, but null"),
        ("prose", text("all is well"), ResponseInvalid, 1, "it is neither JSON nor form-encoded"),
        ("without", text(r#"{"token": "t0ken-in-a-wrong-place"}"#), ResponseInvalid, 1, "it has token (a string)"),
        ("blank", text(r#"{"access_token": ""}"#), ResponseInvalid, 1, "access_token (an empty string)"),
        ("number", text(r#"{"access_token": 7}"#), ResponseInvalid, 1, "access_token (a number)"),
        ("line-end", text(r#"{"access_token": "a\nb"}"#), ResponseInvalid, 1, "access_token (a string)"),
        ("granted-400", answered(400, json!({"access_token": "t"})), EndpointRejected, 1, "(HTTP 400)"),
        ("error-200", refused(200, "invalid_client"), InvalidClient, 1, "(HTTP 200)"),
        ("form-error", status(400).set_body_string("error=invalid_grant"), InvalidGrant, 1, "(HTTP 400)"),
        ("invalid-client", refused(401, "invalid_client"), InvalidClient, 1, "(HTTP 401)"),
        ("unauthorized", refused(401, "unauthorized_client"), UnauthorizedClient, 1, "(HTTP 401)"),
        ("unauthorized-400", refused(400, "unauthorized_client"), UnauthorizedClient, 1, "(HTTP 400)"),
        ("invalid-request", refused(400, "invalid_request"), InvalidRequest, 1, "(HTTP 400)"),
        ("invalid-scope", refused(400, "invalid_scope"), InvalidScope, 1, "(HTTP 400)"),
        ("grant-type", refused(400, "unsupported_grant_type"), UnsupportedGrantType, 1, "(HTTP 400)"),
        ("home-made", refused(400, "AADSTS7000215"), EndpointRejected, 1, "(HTTP 400)"),
        ("not-found", status(404), EndpointRejected, 1, "(HTTP 404)"),
        ("timeout", status(408), EndpointTimeout, 4, "(HTTP 408)"),
        ("unavailable", status(503), EndpointUnavailable, 4, "(HTTP 503)"),
        ("for-now", refused(400, "temporarily_unavailable"), EndpointUnavailable, 4, "(HTTP 400)"),
    ];
    let server = MockServer::start().await;
    let mut sources = Vec::new();
    for (name, answer, ..) in &cases {
        let path = format!("/{name}");
        answer_next(&server, &path, 1, granted(name)).await;
        answer_at(&server, &path, answer.clone()).await;
        sources.push((*name, client_at(&format!("{}{path}", server.uri()))));
    }
    let aftermath = Aftermath::of(Deployment::new().await, &sources).await;

    let report = aftermath.harvest(AMPLE).await;

    for (name, _, code, attempts, fault) in &cases {
        let message = assert_failed(&report, name, *code);
        assert!(message.contains(fault) && !message.contains("t0ken"), "{name}: {message}");
        assert_eq!(line(&report, name).attempts, *attempts, "{name}");
        assert_eq!(count(&server, &format!("/{name}")).await, 1 + *attempts as usize, "{name}");
    }
    let told = aftermath.deployment.messages().await;
    assert_eq!(told.len(), cases.len());
    assert!(told.iter().all(|message| message.attributes["event"] == "token.failed"));
    let words = error(&report, "home-made").provider_error.as_deref();
    assert_eq!(words, Some("AADSTS7000215: because"));
}

#[tokio::test]
async fn what_passes_within_the_run_costs_only_further_attempts() {
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    let closing = Scripted::plain(vec![Reply::Reset, Reply::Send(sockets::granted("token"))]).await;
    deployment.define("reset", client_at(&closing.url)).await;
    let passing = [("500", 1), ("503", 3), ("429", 2), ("408", 1)];
    for (status, times) in passing {
        let path = format!("/{status}");
        answer_next(&server, &path, times, ResponseTemplate::new(status.parse::<u16>().expect("a status"))).await;
        answer_at(&server, &path, granted("token")).await;
        deployment.define(status, client_at(&format!("{}{path}", server.uri()))).await;
    }

    let report = deployment.harvest_due().await;

    for (name, failures) in passing.into_iter().chain([("reset", 1)]) {
        assert_refreshed(&report, name, 1);
        assert_eq!(u64::from(line(&report, name).attempts), failures + 1, "{name}");
    }
}

#[tokio::test]
async fn a_retry_after_beyond_the_run_defers_the_source_at_once() {
    let server = MockServer::start().await;
    let at = |path: &str| client_at(&format!("{}{path}", server.uri()));
    for (path, wait) in [("/hour", "3600"), ("/date", "Fri, 31 Dec 2100 00:00:00 GMT")] {
        answer_next(&server, path, 1, granted("token")).await;
        answer_at(&server, path, ResponseTemplate::new(429).insert_header("retry-after", wait)).await;
    }
    let sources = [("hour", at("/hour")), ("date", at("/date"))];
    let aftermath = Aftermath::of(Deployment::new().await, &sources).await;

    let started_at = Instant::now();
    let report = aftermath.harvest(AMPLE).await;

    assert!(started_at.elapsed() < Duration::from_secs(10));
    for source in ["hour", "date"] {
        let line = line(&report, source);
        assert_eq!((line.outcome, line.attempts), (Outcome::Deferred, 1));
        assert_eq!(error(&report, source).code, ErrorCode::RateLimited);
        assert!(error(&report, source).retryable);
    }
    assert_eq!(error(&report, "hour").message, "the token endpoint asks to wait 3600 s (HTTP 429)");
    assert!(aftermath.deployment.messages().await.is_empty());
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let server = MockServer::start().await;
    let elsewhere = MockServer::start().await;
    answer_at(&elsewhere, "/token", granted("stolen")).await;
    let mut sources = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        let path = format!("/{status}");
        answer_next(&server, &path, 1, granted("token")).await;
        let target = format!("{}/token?code=t0ken", elsewhere.uri());
        answer_at(&server, &path, ResponseTemplate::new(status).insert_header("location", target)).await;
        sources.push((status.to_string(), client_at(&format!("{}{path}", server.uri()))));
    }
    let sources: Vec<_> = sources.iter().map(|(name, definition)| (name.as_str(), definition.clone())).collect();
    let aftermath = Aftermath::of(Deployment::new().await, &sources).await;

    let report = aftermath.harvest(AMPLE).await;

    for (name, _) in sources {
        let message = assert_failed(&report, name, ErrorCode::ResponseInvalid);
        let origin = elsewhere.uri();
        assert_eq!(message, format!("the token endpoint redirects to {origin} (HTTP {name}), which is never followed"));
    }
    assert!(requests(&elsewhere).await.is_empty());
}

#[tokio::test]
async fn connections_that_break_or_never_come_about_are_tried_again_and_told_apart() {
    let length = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    let truncated = Reply::Send(format!(r#"{length}{{"access_token": "half-a-tok"#).into_bytes());
    let good = || Reply::Send(sockets::granted("token"));
    let cut = Scripted::plain(vec![good(), truncated]).await;
    let reset = Scripted::plain(vec![good(), Reply::Reset]).await;
    let garbage = Scripted::plain(vec![good(), Reply::Send(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec())]).await;
    let sources =
        [("cut", client_at(&cut.url)), ("reset", client_at(&reset.url)), ("garbage", client_at(&garbage.url))];
    let aftermath = Aftermath::of(Deployment::new().await, &sources).await;
    let closed = format!("http://127.0.0.1:{}/token", sockets::closed_port().await);
    aftermath.deployment.define("closed", client_at(&closed)).await;
    aftermath.deployment.define("nowhere", client_at("https://token.invalid/")).await;

    let report = aftermath.harvest(AMPLE).await;

    for (source, code, attempts, message) in [
        ("cut", ErrorCode::ResponseInvalid, 4, "the answer holds no access token (HTTP 200): it broke off"),
        ("reset", ErrorCode::EndpointUnreachable, 4, "the connection broke before an answer came: "),
        ("garbage", ErrorCode::EndpointUnreachable, 4, "the connection broke before an answer came: "),
        ("closed", ErrorCode::EndpointUnreachable, 4, "no connection to the endpoint: "),
        ("nowhere", ErrorCode::EndpointUnreachable, 4, "no connection to the endpoint: "),
    ] {
        assert!(assert_failed(&report, source, code).starts_with(message), "{:#?}", error(&report, source));
        assert_eq!((line(&report, source).attempts, error(&report, source).retryable), (attempts, true), "{source}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again_but_not_with_a_grant_that_it_may_have_used_up() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    let truncated = || Reply::Send(format!(r#"{head}{{"access_token": "half-a-tok"#).into_bytes());
    let server = || Scripted::plain(vec![truncated(), Reply::Send(sockets::granted("token"))]);
    let (plain, rotating) = (server().await, server().await);
    let deployment = Deployment::new().await;
    deployment.define("plain", client_at(&plain.url)).await;
    deployment.define("rotating", and(client_at(&rotating.url), json!({"refresh_token": "first"}))).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "plain", 1);
    assert_failed(&report, "rotating", ErrorCode::ResponseInvalid);
    assert_eq!((plain.requests().len(), rotating.requests().len()), (2, 1));
    let incident = deployment.state("incidents/rotating.json").await.expect("an incident");
    assert!(incident["lost_with"].is_string(), "{incident}");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_no_connection_and_tried_again() {
    let mute = Scripted::plain(vec![Reply::Hang]).await;
    let deployment = Deployment::new().await;
    deployment.define("mute", client_at(&mute.url.replace("http:", "https:"))).await;

    let report = deployment.harvest_due().await;

    let message = assert_failed(&report, "mute", ErrorCode::EndpointUnreachable);
    assert_eq!(message, "no connection to the endpoint in time");
    assert_eq!((line(&report, "mute").attempts, error(&report, "mute").retryable), (4, true));
}

#[tokio::test]
async fn an_endpoint_that_hangs_ends_with_the_run_and_delays_nobody() {
    let good = || Reply::Send(sockets::granted("token"));
    let hanging = Scripted::plain(vec![good(), Reply::Hang]).await;
    let dripping = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"access".to_vec();
    let halting = Scripted::plain(vec![good(), Reply::SendAndHang(dripping)]).await;
    let sources = [("hanging", client_at(&hanging.url)), ("halting", client_at(&halting.url))];
    let aftermath = Aftermath::of(Deployment::new().await, &sources).await;
    let quick = Scripted::plain(vec![good()]).await;
    aftermath.deployment.define("quick", client_at(&quick.url)).await;

    let started_at = Instant::now();
    let report = aftermath.harvest(Duration::from_secs(3)).await;

    assert!(started_at.elapsed() < Duration::from_secs(4), "{:?}", started_at.elapsed());
    assert_refreshed(&report, "quick", 1);
    assert!(line(&report, "quick").duration_ms < line(&report, "hanging").duration_ms);
    for source in ["hanging", "halting"] {
        let message = assert_failed(&report, source, ErrorCode::EndpointTimeout);
        assert_eq!(message, "the endpoint did not answer in time");
        assert_eq!(line(&report, source).attempts, 1);
    }
    assert_eq!(aftermath.deployment.messages().await.len(), 3);
}

#[tokio::test]
async fn what_has_no_time_to_begin_is_deferred() {
    let deployment = Deployment::new().await.with("MAX_CONCURRENCY", "1");
    let hanging = Scripted::plain(vec![Reply::Hang]).await;
    deployment.define("a-hanging", client_at(&hanging.url)).await;
    deployment.define("b-waiting", client_at(&hanging.url)).await;

    let harvester = deployment.harvester();
    let report = deployment.run(&harvester, &json!({}), Duration::from_secs(2)).await.expect("a report");

    assert_failed(&report, "a-hanging", ErrorCode::EndpointTimeout);
    let line = line(&report, "b-waiting");
    assert_eq!((line.outcome, line.attempts), (Outcome::Deferred, 0));
    assert_eq!(error(&report, "b-waiting").code, ErrorCode::OutOfTime);
    assert_eq!(hanging.requests().len(), 1);
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_vouches_for_is_not_spoken_to_unless_the_definition_does() {
    let deployment = Deployment::new().await;
    let authority = Authority::new();
    let server = Scripted::tls(authority.server(false), vec![Reply::Send(sockets::granted("token"))]).await;
    let trusting = |pem: String| and(client_at(&server.url), json!({"ca_certificate": pem}));
    deployment.define("strange", client_at(&server.url)).await;
    deployment.define("mistaken", trusting(Authority::new().pem())).await;
    deployment.define("trusted", trusting(authority.pem())).await;
    let by_name =
        and(trusting(authority.pem()), json!({"token_endpoint": server.url.replace("127.0.0.1", "localhost")}));
    deployment.define("misnamed", by_name).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "trusted", 1);
    for source in ["strange", "mistaken", "misnamed"] {
        let message = assert_failed(&report, source, ErrorCode::EndpointUnreachable);
        assert!(message.starts_with("no secure connection to the endpoint: invalid peer certificate"), "{message}");
        assert_eq!(line(&report, source).attempts, 1, "{source}");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_refresh_token_is_worth_another_harvest() {
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    answer_at(&server, "/token", refused(400, "invalid_grant")).await;
    let definition = and(client_at(&format!("{}/token", server.uri())), json!({"refresh_token": "dead"}));
    deployment.define("acme", definition).await;

    let report = deployment.harvest_due().await;

    assert_failed(&report, "acme", ErrorCode::InvalidGrant);
    assert!(error(&report, "acme").retryable);
    assert_eq!(parameter(&requests(&server).await[0], "refresh_token").as_deref(), Some("dead"));
}
