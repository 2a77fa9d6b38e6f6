//! What the RFCs ask of a client, one test for each passage, against servers that hold it to the letter.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::KeyPair;
use serde_json::{Value, json};
use wiremock::{MockServer, Request, ResponseTemplate};

use token_harvester::app::ports::Clock as _;
use token_harvester::domain::assertion::JWT_BEARER;
use token_harvester::domain::error::ErrorCode;
use token_harvester::system::SystemClock;

use crate::support::deployment::Deployment;
use crate::support::sockets::{self, Authority, Reply, Scripted};
use crate::support::token_endpoint::{
    CLIENT_SECRET, and, answer_at, answer_next, answered, client_at, client_of, count,
};
use crate::support::token_endpoint::{form, granted, granting, parameter, requests, token_endpoint};
use crate::support::{assert_failed, assert_refreshed, line};

/// The longest that an assertion may be valid for a strict server, in seconds.
const LONGEST_ASSERTION: i64 = 300;

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The names of a form's parameters, sorted.
fn names(request: &Request) -> Vec<String> {
    let mut names: Vec<_> = form(request).into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

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

/// An authorization server that checks assertions as RFC 7523 section 3 has it.
struct Strict {
    issuer: &'static str,
    subject: &'static str,
    audience: String,
    public_key: String,
    seen: Mutex<HashSet<String>>,
}

impl Strict {
    /// What is wrong with an assertion.
    fn fault(&self, assertion: &str) -> Option<String> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.sub = Some(self.subject.to_owned());
        validation.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
        validation.leeway = 0;
        let key = DecodingKey::from_ec_pem(self.public_key.as_bytes()).expect("a public key");
        let claims = match jsonwebtoken::decode::<Value>(assertion, &key, &validation) {
            Ok(token) => token.claims,
            Err(error) => return Some(error.to_string()),
        };
        let now = SystemClock.now().timestamp();
        if claims["exp"].as_i64().is_none_or(|exp| exp - now > LONGEST_ASSERTION) {
            return Some("exp is too far away".to_owned());
        }
        if claims["iat"].as_i64().is_none_or(|iat| iat > now) {
            return Some("iat is no time that has passed".to_owned());
        }
        let fresh = claims["jti"].as_str().is_some_and(|jti| self.seen.lock().expect("a set").insert(jti.to_owned()));
        (!fresh).then(|| "jti was used before".to_owned())
    }

    /// Answers a request whose assertion is in that parameter; the first good one with an error that passes.
    fn answer(&self, request: &Request, name: &str) -> ResponseTemplate {
        let fault = match parameter(request, name) {
            Some(assertion) => self.fault(&assertion),
            None => Some("there is none".to_owned()),
        };
        match fault {
            Some(fault) => answered(400, json!({"error": "invalid_client", "error_description": fault})),
            None if self.seen.lock().expect("a set").len() == 1 => ResponseTemplate::new(503),
            None => granted("token"),
        }
    }
}

/// A strict server for the client `client`, its token endpoint, and the client's private key.
async fn strict(subject: &'static str, name: &'static str) -> (MockServer, String) {
    let server = MockServer::start().await;
    let key = KeyPair::generate().expect("a key");
    let strict = Strict {
        issuer: "client",
        subject,
        audience: format!("{}/token", server.uri()),
        public_key: key.public_key_pem(),
        seen: Mutex::default(),
    };
    answer_at(&server, "/token", move |request: &Request| strict.answer(request, name)).await;
    (server, key.serialize_pem())
}

/// The requests, one of them a repeat, with which a client with this key gets two tokens.
async fn harvested_twice(server: &MockServer, private_key: &str, fields: Value) -> Vec<Request> {
    let deployment = Deployment::new().await;
    let client = json!({
        "token_endpoint": format!("{}/token", server.uri()), "client_id": "client", "private_key": private_key,
    });
    deployment.define("acme", and(client, fields)).await;
    for generation in [1, 2] {
        assert_refreshed(&deployment.harvest(json!({"force": true})).await, "acme", generation);
    }
    let sent = requests(server).await;
    assert_eq!(sent.len(), 3);
    sent
}

#[tokio::test]
async fn rfc7523_3_an_assertion_that_authenticates_the_client_stands_a_strict_servers_checks() {
    let (server, private_key) = strict("client", "client_assertion").await;
    let fields = json!({"token_endpoint_auth_method": "private_key_jwt"});
    for request in &harvested_twice(&server, &private_key, fields).await {
        assert_eq!(names(request), ["client_assertion", "client_assertion_type", "client_id", "grant_type"]);
        let kind = parameter(request, "client_assertion_type");
        assert_eq!(kind.as_deref(), Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        assert_eq!(parameter(request, "grant_type").as_deref(), Some("client_credentials"));
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn rfc7523_3_an_assertion_that_is_the_grant_stands_a_strict_servers_checks() {
    let (server, private_key) = strict("somebody@example.com", "assertion").await;
    let fields = json!({"grant_type": JWT_BEARER, "assertion_subject": "somebody@example.com", "scope": "read"});
    for request in &harvested_twice(&server, &private_key, fields).await {
        assert_eq!(names(request), ["assertion", "grant_type", "scope"]);
        assert_eq!(parameter(request, "grant_type").as_deref(), Some("urn:ietf:params:oauth:grant-type:jwt-bearer"),);
    }
}

/// A client that finds the token endpoint by the issuer.
fn discovering(issuer: &str) -> Value {
    json!({"issuer": issuer, "client_id": "client", "client_secret": CLIENT_SECRET})
}

/// Serves metadata of an issuer at the server's `path`, and returns the issuer.
async fn serve_metadata(server: &MockServer, path: &str, fields: Value) -> String {
    let issuer = format!("{}{path}", server.uri());
    let metadata = and(json!({"issuer": issuer, "token_endpoint": format!("{}/token", server.uri())}), fields);
    answer_at(server, &format!("/.well-known/oauth-authorization-server{path}"), answered(200, metadata)).await;
    issuer
}

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

#[tokio::test]
async fn rfc8705_2_mutual_tls_presents_the_certificate_and_names_the_client_in_the_body() {
    let deployment = Deployment::new().await;
    let authority = Authority::new();
    let server = Scripted::tls(authority.server(true), vec![Reply::Send(sockets::granted("token"))]).await;
    deployment.define("known", presenting(&server, &authority, &authority, "tls_client_auth")).await;
    let self_signed = presenting(&server, &authority, &authority, "self_signed_tls_client_auth");
    deployment.define("self-signed", self_signed).await;
    deployment.define("stranger", presenting(&server, &authority, &Authority::new(), "tls_client_auth")).await;
    let anonymous = and(client_at(&server.url), json!({"ca_certificate": authority.pem()}));
    deployment.define("anonymous", anonymous).await;

    let report = deployment.harvest_due().await;

    for source in ["known", "self-signed"] {
        assert_refreshed(&report, source, 1);
    }
    for source in ["stranger", "anonymous"] {
        assert_failed(&report, source, ErrorCode::EndpointUnreachable);
    }
    assert_eq!(server.requests().len(), 2);
    for request in server.requests() {
        assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&client_id=the+client"), "{request}");
        assert!(!request.to_lowercase().contains("authorization"), "{request}");
    }
}

/// A client of a server that `authority` vouches for, with a certificate that `issuer` has issued.
fn presenting(server: &Scripted, authority: &Authority, issuer: &Authority, method: &str) -> Value {
    let (certificate, private_key) = issuer.issue("client.example.com");
    json!({
        "token_endpoint": server.url, "client_id": "the client", "token_endpoint_auth_method": method,
        "certificate": certificate, "private_key": private_key, "ca_certificate": authority.pem(),
    })
}

#[tokio::test]
async fn rfc8705_5_the_alias_of_the_token_endpoint_is_for_clients_with_mutual_tls_only() {
    let deployment = Deployment::new().await;
    let authority = Authority::new();
    let alias = Scripted::tls(authority.server(true), vec![Reply::Send(sockets::granted("token"))]).await;
    let server = granting().await;
    let aliases = json!({"mtls_endpoint_aliases": {"token_endpoint": alias.url}});
    let issuer = serve_metadata(&server, "", aliases).await;
    let found = json!({"issuer": issuer, "token_endpoint": null});
    let mutual = |method: &str| and(presenting(&alias, &authority, &authority, method), found.clone());
    let plain = |fields: Value| and(discovering(&issuer), fields);
    let key = KeyPair::generate().expect("a key").serialize_pem();
    deployment.define("tls", mutual("tls_client_auth")).await;
    deployment.define("self-signed-tls", mutual("self_signed_tls_client_auth")).await;
    deployment.define("basic", plain(json!({}))).await;
    deployment.define("post", plain(json!({"token_endpoint_auth_method": "client_secret_post"}))).await;
    deployment.define("jwt", plain(json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": key}))).await;
    deployment.define("none", plain(json!({"token_endpoint_auth_method": "none"}))).await;

    let report = deployment.harvest_due().await;

    for source in ["tls", "self-signed-tls", "basic", "post", "jwt", "none"] {
        assert_refreshed(&report, source, 1);
    }
    assert_eq!((alias.requests().len(), count(&server, "/token").await), (2, 4));
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
