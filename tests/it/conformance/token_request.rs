//! What a token request says.

use serde_json::{Value, json};
use wiremock::MockServer;

use token_harvester::domain::error::ErrorCode;

use super::{discovering, names, owned, serve_metadata};
use crate::support::deployment::Deployment;
use crate::support::token_endpoint::{
    CLIENT_SECRET, and, answer_next, answered, client_at, client_of, count, form, granting, parameter, requests,
    token_endpoint,
};
use crate::support::{assert_failed, assert_refreshed};

#[tokio::test]
async fn rfc6749_2_3_1_basic_authentication_form_encodes_both_parts() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let fields = json!({"client_id": "a client:1", "client_secret": "p@ss word+%ü"});
    deployment.define("acme", and(client_of(&server), fields)).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    let request = &requests(&server).await[0];
    // a+client%3A1:p%40ss+word%2B%25%C3%BC
    assert_eq!(request.headers["authorization"], "Basic YStjbGllbnQlM0ExOnAlNDBzcyt3b3JkJTJCJTI1JUMzJUJD");
    assert_eq!(form(request), [("grant_type", "client_credentials")].map(owned));
}

#[tokio::test]
async fn rfc6749_2_3_1_client_secret_post_puts_both_into_the_body_and_nowhere_else() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment
        .define("acme", and(client_of(&server), json!({"token_endpoint_auth_method": "client_secret_post"})))
        .await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    let request = &requests(&server).await[0];
    let sent = [("grant_type", "client_credentials"), ("client_id", "client"), ("client_secret", CLIENT_SECRET)];
    assert_eq!(form(request), sent.map(owned));
    assert_eq!(request.url.query(), None);
    assert!(!request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn rfc6749_3_2_a_request_is_a_form_that_is_posted_and_the_endpoints_query_stays() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let token_endpoint = format!("{}/token?tenant=a%20b&v=1", server.uri());
    deployment.define("acme", and(client_at(&token_endpoint), json!({"scope": "read"}))).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    let request = &requests(&server).await[0];
    assert_eq!(request.method.as_str(), "POST");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(request.url.query(), Some("tenant=a%20b&v=1"));
    assert_eq!(form(request), [("grant_type", "client_credentials"), ("scope", "read")].map(owned));
}

#[tokio::test]
async fn rfc6749_3_2_no_parameter_is_sent_twice() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let everything = json!({
        "token_endpoint_auth_method": "client_secret_post", "refresh_token": "first", "scope": "read",
        "params": {"audience": "https://api.example.com"},
    });
    deployment.define("everything", and(client_of(&server), everything)).await;
    let twice = ["grant_type", "client_id", "client_secret", "refresh_token", "scope", "client_assertion"];
    for name in twice {
        let source = format!("twice-{}", name.replace('_', "-"));
        deployment.define(&source, and(client_of(&server), json!({"params": {name: "again"}}))).await;
    }
    let in_query = client_at(&format!("{}/token?scope=read", server.uri()));
    deployment.define("in-query", and(in_query, json!({"scope": "read"}))).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "everything", 1);
    let sent = names(&requests(&server).await[0]);
    assert_eq!(sent, ["audience", "client_id", "client_secret", "grant_type", "refresh_token", "scope"]);
    for name in twice {
        let source = format!("twice-{}", name.replace('_', "-"));
        let message = assert_failed(&report, &source, ErrorCode::DefinitionInvalid);
        assert!(message.starts_with(&format!("`params.{name}` is set by")), "{message}");
    }
    let message = assert_failed(&report, "in-query", ErrorCode::DefinitionInvalid);
    assert_eq!(message, "`token_endpoint` holds `scope` in its query, which the request sends itself");
    assert_eq!(count(&server, "/token").await, 1);
}

#[tokio::test]
async fn rfc6749_3_2_an_endpoint_with_a_fragment_is_refused_wherever_it_stands() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let endpoint = format!("{}/token#a", server.uri());
    deployment.define("defined", client_at(&endpoint)).await;
    let issuer = serve_metadata(&server, "", json!({"token_endpoint": endpoint})).await;
    deployment.define("discovered", discovering(&issuer)).await;

    let report = deployment.harvest_due().await;

    let message = assert_failed(&report, "defined", ErrorCode::DefinitionInvalid);
    assert_eq!(message, "`token_endpoint` must not contain a fragment (#)");
    let message = assert_failed(&report, "discovered", ErrorCode::ResponseInvalid);
    assert_eq!(message, "metadata of the issuer: its token endpoint must not contain a fragment (#)");
    assert_eq!(count(&server, "/token").await, 0);
}

#[tokio::test]
async fn rfc6749_4_4_client_credentials_are_asked_with_again_and_no_refresh_token_is_kept() {
    let deployment = Deployment::new().await;
    let granted = json!({"access_token": "token", "expires_in": 3600, "refresh_token": "should-not-be-here"});
    let server = token_endpoint(answered(200, granted)).await;
    deployment.define("acme", and(client_of(&server), json!({"scope": "read"}))).await;

    for generation in [1, 2] {
        assert_refreshed(&deployment.harvest(json!({"force": true})).await, "acme", generation);
    }

    let sent = requests(&server).await;
    assert_eq!(sent.len(), 2);
    for request in &sent {
        assert_eq!(form(request), [("grant_type", "client_credentials"), ("scope", "read")].map(owned));
    }
    assert!(deployment.state("grants/acme.json").await.is_none());
    assert_eq!(deployment.document("acme").await["extra"], json!({}));
}

/// A source whose refresh token is `first`, at a server that gives these answers in turn.
async fn refreshing(answers: [Value; 3], fields: Value) -> (Deployment, MockServer) {
    let (deployment, server) = (Deployment::new().await, MockServer::start().await);
    for answer in answers {
        answer_next(&server, "/token", 1, answered(200, answer)).await;
    }
    let definition = and(client_of(&server), json!({"refresh_token": "first"}));
    deployment.define("acme", and(definition, fields)).await;
    for generation in [1, 2, 3] {
        assert_refreshed(&deployment.harvest(json!({"force": true})).await, "acme", generation);
    }
    (deployment, server)
}

#[tokio::test]
async fn rfc6749_6_a_new_refresh_token_replaces_the_old_one_and_without_one_the_old_one_stays() {
    let answer = |fields: Value| and(json!({"access_token": "token", "expires_in": 3600}), fields);
    let answers =
        [answer(json!({"refresh_token": "second"})), answer(json!({})), answer(json!({"refresh_token": "third"}))];

    let (deployment, server) = refreshing(answers, json!({})).await;

    let sent = requests(&server).await;
    for (request, refresh_token) in sent.iter().zip(["first", "second", "second"]) {
        let parameters = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)].map(owned);
        assert_eq!(form(request), parameters);
    }
    assert_eq!(sent.len(), 3);
    assert_eq!(deployment.state("grants/acme.json").await.expect("grant state")["refresh_token"], "third");
}

#[tokio::test]
async fn rfc6749_6_the_scope_of_a_refresh_is_the_definitions_and_no_wider_one() {
    let answer = |fields: Value| and(json!({"access_token": "token", "expires_in": 3600}), fields);
    let answers =
        [answer(json!({"scope": "read write admin"})), answer(json!({})), answer(json!({"scope": "read write"}))];

    let (deployment, server) = refreshing(answers, json!({"scope": "read write"})).await;

    for request in requests(&server).await {
        assert_eq!(parameter(&request, "scope").as_deref(), Some("read write"));
    }
    assert_eq!(deployment.document("acme").await["scope"], "read write");
}

#[tokio::test]
async fn rfc8707_2_every_resource_is_a_parameter_of_its_own() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let resources = ["https://cal.example.com/", "https://contacts.example.com/app?tenant=1"];
    deployment.define("acme", and(client_of(&server), json!({"params": {"resource": resources}}))).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    let sent = form(&requests(&server).await[0]);
    let sent: Vec<_> = sent.iter().filter(|(name, _)| name == "resource").map(|(_, value)| value.as_str()).collect();
    assert_eq!(sent, resources);
}
