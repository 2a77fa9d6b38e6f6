//! Metadata of an authorization server.

use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use token_harvester::domain::error::ErrorCode;

use super::{discovering, serve_metadata};
use crate::support::deployment::Deployment;
use crate::support::token_endpoint::{answer_at, answered, count, granting, requests};
use crate::support::{assert_failed, assert_refreshed, line};

/// The paths that a server was asked for, in order.
async fn paths(server: &MockServer) -> Vec<String> {
    requests(server).await.iter().map(|request| request.url.path().to_owned()).collect()
}

#[tokio::test]
async fn rfc8414_3_1_the_well_known_path_goes_before_the_issuers_own() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let issuer = serve_metadata(&server, "/tenants/1", json!({})).await;
    deployment.define("acme", discovering(&issuer)).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    assert_eq!(paths(&server).await, ["/.well-known/oauth-authorization-server/tenants/1", "/token"]);
    assert_eq!(requests(&server).await[0].method.as_str(), "GET");
}

#[tokio::test]
async fn rfc8414_3_1_openids_path_goes_after_the_issuers_own_and_is_tried_on_any_refusal_of_the_first() {
    let deployment = Deployment::new().await;
    for status in [400, 401, 403, 404, 405, 410, 422, 429] {
        let server = granting().await;
        let issuer = format!("{}/tenants/1", server.uri());
        let metadata = json!({"issuer": issuer, "token_endpoint": format!("{}/token", server.uri())});
        answer_at(&server, "/tenants/1/.well-known/openid-configuration", answered(200, metadata)).await;
        let refusal = ResponseTemplate::new(status).set_body_raw("<h1>No</h1>", "text/html");
        answer_at(&server, "/.well-known/oauth-authorization-server/tenants/1", refusal).await;
        let source = format!("after-{status}");
        deployment.define(&source, discovering(&issuer)).await;

        let report = deployment.harvest(json!({"sources": [source]})).await;

        assert_refreshed(&report, &source, 1);
        let asked = [
            "/.well-known/oauth-authorization-server/tenants/1",
            "/tenants/1/.well-known/openid-configuration",
            "/token",
        ];
        assert_eq!(paths(&server).await, asked, "{status}");
    }
}

#[tokio::test]
async fn rfc8414_3_3_metadata_of_another_issuer_is_not_used() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let other = |issuer: Value| json!({"issuer": issuer});
    let uri = server.uri();
    let cases = [
        ("stranger", other(json!("https://evil.example.com")), "it states another issuer (https://evil.example.com)"),
        (
            "slash",
            other(json!(format!("{uri}/slash/"))),
            "it states the issuer with a trailing slash; write `issuer` the same way",
        ),
        ("case", other(json!(format!("{uri}/CASE"))), "it states another issuer"),
        ("escaped", other(json!(format!("{uri}/%65scaped"))), "it states another issuer"),
        ("none", other(Value::Null), "it states no issuer"),
    ];
    for (name, metadata, _) in &cases {
        let issuer = serve_metadata(&server, &format!("/{name}"), metadata.clone()).await;
        deployment.define(name, discovering(&issuer)).await;
    }

    let report = deployment.harvest_due().await;

    for (name, _, fault) in cases {
        let message = assert_failed(&report, name, ErrorCode::ResponseInvalid);
        assert!(message.starts_with(&format!("metadata of the issuer: {fault}")), "{name}: {message}");
        assert_eq!(line(&report, name).attempts, 0, "{name}");
    }
    assert_eq!(count(&server, "/token").await, 0);
}
