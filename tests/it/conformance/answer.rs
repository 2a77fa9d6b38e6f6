//! How an answer is read.

use std::time::Duration;

use serde_json::{Value, json};
use wiremock::MockServer;

use crate::support::deployment::Deployment;
use crate::support::sockets::{self, Reply, Scripted};
use crate::support::token_endpoint::{and, answer_at, answered, client_at, count, granting};
use crate::support::{assert_refreshed, line};

#[tokio::test]
async fn rfc6749_5_1_members_that_nobody_knows_are_ignored() {
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    for (name, members) in [
        ("text", json!({"example_parameter": "example_value"})),
        ("number", json!({"expires": -1, "ttl": 1e300})),
        ("null", json!({"status": null, "errors": null, "code": null})),
        ("nested", json!({"data": {"access_token": 7, "error": {"code": "none"}}, "list": [[[]], {}]})),
        ("near", json!({"Access_Token": "", "ERROR": "invalid_grant", "expires-in": "soon"})),
    ] {
        let answer = and(json!({"access_token": "token", "token_type": "Bearer", "expires_in": 3600}), members);
        answer_at(&server, &format!("/{name}"), answered(200, answer)).await;
        deployment.define(name, client_at(&format!("{}/{name}", server.uri()))).await;
    }
    deployment.clock.stop_at("2026-11-20T22:00:00Z");

    let report = deployment.harvest_due().await;

    for name in ["text", "number", "null", "nested", "near"] {
        assert_refreshed(&report, name, 1);
        let document = deployment.document(name).await;
        assert_eq!((&document["access_token"], &document["scope"]), (&json!("token"), &Value::Null), "{name}");
        assert_eq!(document["expires_at"], "2026-11-20T23:00:00Z", "{name}");
    }
}

#[tokio::test]
async fn rfc6749_5_1_the_type_of_a_token_is_read_in_any_case() {
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    for token_type in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let path = format!("/{token_type}");
        answer_at(&server, &path, answered(200, json!({"access_token": "token", "token_type": token_type}))).await;
    }
    for (name, path) in [("title", "Bearer"), ("lower", "bearer"), ("upper", "BEARER"), ("mixed", "bEaReR")] {
        deployment.define(name, client_at(&format!("{}/{path}", server.uri()))).await;
    }

    let report = deployment.harvest_due().await;

    for name in ["title", "lower", "upper", "mixed"] {
        assert_refreshed(&report, name, 1);
        assert_eq!(deployment.document(name).await["token_type"], "Bearer", "{name}");
    }
}

#[tokio::test]
async fn rfc6749_5_1_a_scope_that_is_left_out_is_the_one_that_was_asked_for() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let narrowed = json!({"access_token": "token", "expires_in": 3600, "scope": "read"});
    answer_at(&server, "/narrowed", answered(200, narrowed)).await;
    let asking = |path: &str| and(client_at(&format!("{}{path}", server.uri())), json!({"scope": "read write"}));
    deployment.define("same", asking("/token")).await;
    deployment.define("narrowed", asking("/narrowed")).await;

    deployment.harvest_due().await;

    assert_eq!(deployment.document("same").await["scope"], "read write");
    assert_eq!(deployment.document("narrowed").await["scope"], "read");
}

#[tokio::test]
async fn rfc6749_5_2_every_error_code_is_told_as_it_is() {
    let codes = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    let mut sources = Vec::new();
    for code in codes {
        let body =
            json!({"error": code, "error_description": "in its own words", "error_uri": "https://as.example.com/e"});
        for status in [400, 401] {
            let source = format!("{}-{status}", code.replace('_', "-"));
            let answer = answered(status, body.clone());
            let answer =
                if status == 401 { answer.insert_header("www-authenticate", r#"Basic realm="as""#) } else { answer };
            answer_at(&server, &format!("/{source}"), answer).await;
            deployment.define(&source, client_at(&format!("{}/{source}", server.uri()))).await;
            sources.push((source, code));
        }
    }

    let report = deployment.harvest_due().await;

    for (source, code) in sources {
        let line = line(&report, &source);
        let error = json!(line.error);
        assert_eq!(error["code"], code, "{source}");
        assert_eq!(error["provider_error"], format!("{code}: in its own words"), "{source}");
        assert_eq!((line.attempts, count(&server, &format!("/{source}")).await), (1, 1), "{source}");
    }
}

#[tokio::test]
async fn rfc9110_10_2_3_retry_after_is_waited_for_as_seconds_and_as_a_date_in_all_three_forms() {
    let deployment = Deployment::new().await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    let mut servers = Vec::new();
    for (source, retry_after) in [
        ("seconds", "1"),
        ("imf-fixdate", "Fri, 20 Nov 2026 22:00:01 GMT"),
        ("rfc850-date", "Friday, 20-Nov-26 22:00:01 GMT"),
        ("asctime-date", "Fri Nov 20 22:00:01 2026"),
    ] {
        let head = format!("HTTP/1.1 429 Slow Down\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\n\r\n");
        let replies = vec![Reply::Send(head.into_bytes()), Reply::Send(sockets::granted("token"))];
        let server = Scripted::plain(replies).await;
        deployment.define(source, client_at(&server.url)).await;
        servers.push((source, server));
    }

    let report = deployment.harvest_due().await;

    for (source, server) in servers {
        assert_refreshed(&report, source, 1);
        let arrivals = server.arrivals();
        assert_eq!(arrivals.len(), 2, "{source}");
        assert!(arrivals[1] - arrivals[0] >= Duration::from_secs(1), "{source}: {arrivals:?}");
    }
}
