//! Assertions, before a server that checks them as RFC 7523 section 3 has it.

use std::collections::HashSet;
use std::sync::Mutex;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::KeyPair;
use serde_json::{Value, json};
use wiremock::{MockServer, Request, ResponseTemplate};

use token_harvester::app::ports::Clock as _;
use token_harvester::domain::assertion::JWT_BEARER;
use token_harvester::system::SystemClock;

use super::names;
use crate::support::assert_refreshed;
use crate::support::deployment::Deployment;
use crate::support::token_endpoint::{and, answer_at, answered, granted, parameter, requests};

/// The longest that an assertion may be valid for a strict server, in seconds.
const LONGEST_ASSERTION: i64 = 300;

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
