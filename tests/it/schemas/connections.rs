//! Definitions of what people connect, and what schema and parser say of them.

use serde_json::{Value, json};

use super::{with, without};
use crate::support::token_endpoint::and;

/// A definition of what people connect.
fn connected(fields: Value) -> Value {
    let definition = json!({
        "grant_type": "authorization_code", "authorization_endpoint": "https://as.example.com/authorize",
    });
    with(and(definition, fields))
}

/// Endpoints of the sections about connecting.
const ME: &str = "https://api.example.com/me";
const REVOKE: &str = "https://as.example.com/revoke";

/// Good ones.
pub(super) fn good() -> Vec<Value> {
    vec![
        connected(json!({})),
        connected(json!({"accounts": true, "id_token": true, "required_scope": "a b", "redirect_uri": "Acme-RuName"})),
        connected(json!({"required_scope": ["a"], "refresh": {"none": true}})),
        connected(json!({"authorize": {"pkce": "hex", "params": {"prompt": "consent"}, "scope_delimiter": ",",
            "rename": {"client_id": "", "scope": "user_scope", "state": "s", "code": "c"}, "cut": "#_",
            "keep": ["realm"], "issuer": "https://as.example.com", "server_parameter": "server",
            "servers": ["https://eu.example.com"], "verify": "shopify"}})),
        connected(json!({"identity": {"from": "answer", "id": ["/team/id", "/user/id"], "name": "/email"}})),
        connected(json!({"identity": {"from": "request", "id": ["/id"], "endpoint": ME, "method": "POST",
            "parameter": "token", "headers": {"X-Key": "{access_token}"}}})),
        connected(json!({"revoke": {"endpoint": REVOKE, "method": "DELETE", "auth": "bearer", "body": "none",
            "token": "both", "ends": "account", "params": {"a": "{client_id}"}, "headers": {"X-Key": "k"}}})),
        connected(json!({"revoke": {"endpoint": REVOKE, "method": "GET"}})),
        connected(json!({"device": {"endpoint": ME, "rename": {"scope": "scopes", "client_id": ""}}})),
        connected(json!({"grants": {"authorization_code": {"exchange": "swap", "then": "renew"},
            "swap": {"credential": "access_token"}, "renew": {"credential": "access_token"}}})),
        without("token_endpoint", json!({"grant_type": "authorization_code", "issuer": "https://as.example.com"})),
        without("token_endpoint", json!({"grant_type": "authorization_code", "provider": "xero"})),
        without(
            "token_endpoint",
            json!({"grant_type": "authorization_code", "provider": "amazon-lwa",
            "identity": {"from": "callback", "id": ["/selling_partner_id"]}}),
        ),
        // Nobody connects these.
        with(json!({"authorization_endpoint": "https://as.example.com/authorize", "authorize": {"pkce": "off"}})),
    ]
}

/// Bad ones, which both refuse.
pub(super) fn bad() -> Vec<Value> {
    let section = |name: &str, fields: Value| connected(json!({name: fields}));
    vec![
        connected(json!({"refresh_token": "first"})),
        connected(json!({"access_token": "first"})),
        without(
            "client_id",
            json!({"grant_type": "authorization_code", "token_endpoint_auth_method": "none",
            "authorization_endpoint": "https://as.example.com/authorize", "request": {"client_id_parameter": ""}}),
        ),
        with(json!({"grant_type": "authorization_code"})),
        connected(json!({"authorization_endpoint": "http://as.example.com/authorize"})),
        connected(json!({"accounts": "yes"})),
        connected(json!({"accounts": {}})),
        connected(json!({"id_token": "yes"})),
        connected(json!({"redirect_uri": ""})),
        connected(json!({"redirect_uri": " https://a.example.com/"})),
        connected(json!({"required_scope": 1})),
        connected(json!({"refresh": {"none": "yes"}})),
        section("authorize", json!([])),
        section("authorize", json!({"delimiter": ","})),
        section("authorize", json!({"pkce": "plain"})),
        section("authorize", json!({"params": {"prompt": ["consent"]}})),
        section("authorize", json!({"rename": {"nonce": "n"}})),
        section("authorize", json!({"rename": {"state": ""}})),
        section("authorize", json!({"keep": [1]})),
        section("authorize", json!({"cut": ""})),
        section("authorize", json!({"server_parameter": "s", "servers": ["ftp://a.example.com"]})),
        section("authorize", json!({"verify": "hmac"})),
        section("identity", json!({"from": "userinfo", "id": ["/id"]})),
        section("identity", json!({"from": "answer", "id": []})),
        section("identity", json!({"from": "answer", "id": "/id"})),
        section("identity", json!({"from": "answer", "id": ["id"]})),
        section("identity", json!({"from": "answer", "id": [""]})),
        section("identity", json!({"from": "answer", "id": ["/user/e-mail"]})),
        section("identity", json!({"from": "answer", "id": ["/mail"]})),
        section("identity", json!({"from": "request", "id": ["/id"], "endpoint": ME, "method": "DELETE"})),
        section("identity", json!({"from": "request", "id": ["/id"], "endpoint": ME, "headers": {"X-Key": "\u{fc}"}})),
        section("revoke", json!({"endpoint": REVOKE, "method": "PUT"})),
        section("revoke", json!({"endpoint": REVOKE, "method": "GET", "body": "json"})),
        section("revoke", json!({"endpoint": REVOKE, "body": "none", "parameter": "t"})),
        section("revoke", json!({"endpoint": REVOKE, "auth": "private_key_jwt"})),
        section("revoke", json!({"endpoint": REVOKE, "token": "id_token"})),
        section("revoke", json!({"endpoint": REVOKE, "params": {"a": 1}})),
        section("device", json!({"endpoint": "http://as.example.com/"})),
        section("device", json!({"endpoint": ME, "rename": {"state": "s"}})),
        connected(json!({"grants": {"authorization_code": {"exchange": 1}}})),
    ]
}

/// Bad ones of which only the parser sees it.
pub(super) fn contradictory() -> Vec<Value> {
    vec![
        connected(json!({"authorize": {"params": {"state": "a"}}})),
        connected(json!({"authorize": {"rename": {"scope": "state"}}})),
        connected(json!({"authorize": {"servers": ["https://eu.example.com"]}})),
        connected(json!({"identity": {"from": "answer"}})),
        connected(json!({"identity": {"from": "answer", "id": ["/id"], "endpoint": ME}})),
        connected(json!({"identity": {"from": "request", "id": ["/id"]}})),
        connected(json!({"revoke": {"ends": "grant"}})),
        connected(json!({"device": {}})),
        connected(json!({"params": {"redirect_uri": "https://a.example.com"}})),
        connected(json!({"grants": {"authorization_code": {"then": "renew"}}})),
        json!({"provider": "x", "grant_type": "authorization_code", "client_id": "client", "client_secret": "s",
            "authorize": {"pkce": "off"}}),
        json!({"provider": "ebay", "grant_type": "authorization_code", "client_id": "client", "client_secret": "s"}),
        json!({"provider": "onegov-nsw", "grant_type": "authorization_code", "client_id": "client", "client_secret": "s"}),
    ]
}
