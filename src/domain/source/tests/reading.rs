//! What the fields of a definition mean, alone and with those of its provider.

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{SECRET, parse};
use crate::domain::provider;
use crate::domain::provider::dialect::RequestMethod;
use crate::domain::source::{ClientAuthentication, Credential, Definition, Endpoint, Flow, PlainHttp, Seed};

#[test]
fn a_minimal_definition_gets_the_documented_defaults() {
    let definition = parse(&json!({}));
    assert_eq!(definition.flow.endpoint, Endpoint::Token("https://as.example.com/token".parse().unwrap()));
    assert_eq!(definition.flow.request.method, RequestMethod::Post);
    assert!(matches!(definition.flow.client_authentication, ClientAuthentication::Basic(_)));
    assert!(matches!(definition.flow.credential, Credential::None));
    assert_eq!(definition.flow.grant_type.as_deref(), Some("client_credentials"));
    assert_eq!(definition.min_ttl, TimeDelta::minutes(10));
    assert_eq!(definition.default_expires_in, TimeDelta::hours(1));
    assert_eq!(definition.flow.scope, None);
}

#[test]
fn an_audience_is_filled_only_where_something_is_signed() {
    let auth0 = json!({"token_endpoint": null, "provider": "auth0", "issuer": "https://login.example.com/"});
    assert!(matches!(parse(&auth0).flow.endpoint, Endpoint::Issuer { .. }));
}

#[test]
fn a_host_name_with_other_letters_is_written_in_punycode() {
    let definition = parse(&json!({"token_endpoint": "https://xn--bcher-kva.example/token"}));
    let Endpoint::Token(url) = definition.flow.endpoint else { panic!("a token endpoint") };
    assert_eq!(url.host_str(), Some("xn--bcher-kva.example"));
}

#[test]
fn a_refresh_token_makes_the_grant_a_refresh() {
    let definition = parse(&json!({"refresh_token": "first"}));
    let Some(Seed::RefreshToken(token)) = &definition.seed else { panic!("{:?}", definition.seed) };
    assert_eq!(token.expose_secret(), "first");
}

#[test]
fn api_key_and_api_secret_are_other_names() {
    let definition = parse(&json!({
        "client_id": null, "client_secret": null, "api_key": "key", "api_secret": SECRET
    }));
    assert_eq!(definition.flow.client_id.as_deref(), Some("key"));
    assert_eq!(definition.client_and_grant_secrets().collect::<Vec<_>>(), [SECRET]);
}

#[test]
fn scope_is_a_string_or_an_array_and_an_empty_one_is_not_sent() {
    assert_eq!(parse(&json!({"scope": "a  b"})).flow.scope.as_deref(), Some("a b"));
    assert_eq!(parse(&json!({"scope": ["a", "b"]})).flow.scope.as_deref(), Some("a b"));
    assert_eq!(parse(&json!({"scope": ""})).flow.scope, None);
    assert_eq!(parse(&json!({"scope": []})).flow.scope, None);
}

#[test]
fn a_param_may_repeat() {
    let definition = parse(&json!({"params": {"resource": ["https://a", "https://b"], "tenant": "t"}}));
    let params: Vec<_> = definition
        .flow
        .params
        .iter()
        .map(|(name, value)| (name.as_str(), value.iter().map(SecretString::expose_secret).collect::<Vec<_>>()))
        .collect();
    assert_eq!(params, [("resource", vec!["https://a", "https://b"]), ("tenant", vec!["t"])]);
}

#[test]
fn a_provider_brings_endpoint_method_and_authentication() {
    let definition = parse(&json!({"token_endpoint": null, "provider": "onegov-nsw"}));
    assert_eq!(definition.flow.request.method, RequestMethod::Get);
    let moved = parse(&json!({
        "token_endpoint": null, "provider": "cognito", "base_url": "http://127.0.0.1:9/x"
    }));
    assert_eq!(moved.flow.endpoint, Endpoint::Token("http://127.0.0.1:9/x/oauth2/token".parse().unwrap()));
}

/// A definition that brings its own declaration, parsed.
fn custom(fields: &Value) -> Definition {
    let mut definition = json!({"provider": "custom", "token_endpoint": "https://as.example.com/token"});
    for (name, value) in fields.as_object().expect("an object") {
        definition[name] = value.clone();
    }
    parse(&definition)
}

#[test]
fn a_definition_overrides_any_part_of_a_provider_and_keeps_the_rest() {
    let definition = parse(&json!({
        "token_endpoint": null, "provider": "tiktok", "refresh_token": "first",
        "request": {"scope_delimiter": null, "basic_encoding": "none"}, "response": {"scope": "/granted"},
    }));
    let Flow { request, response, .. } = &definition.flow;
    assert_eq!(request.client_id_parameter.as_deref(), Some("client_key"), "the provider's");
    assert_eq!((request.scope_delimiter.as_str(), request.basic_encoded), (" ", false), "removed, and overridden");
    assert_eq!((response.scope.as_str(), response.access_token.as_str()), ("/granted", "/access_token"));
}

#[test]
fn a_definitions_error_rules_go_before_its_grants_and_its_providers() {
    let rule = |status: u16| json!([{"status": status, "class": "transient"}]);
    let definition = custom(&json!({
        "errors": rule(401), "grants": {"client_credentials": {"errors": rule(402)}},
    }));
    assert_eq!(definition.flow.errors.iter().map(|rule| rule.status[0]).collect::<Vec<_>>(), [402, 401]);

    let provider = provider::find("threads").expect("a provider")["errors"].as_array().expect("rules").len();
    let threads = json!({
        "token_endpoint": null, "provider": "threads", "access_token": "t", "errors": rule(403), "client_id": null,
    });
    assert_eq!(parse(&threads).flow.errors.len(), provider + 1);
}

#[test]
fn the_grant_type_is_the_one_that_is_written_or_meant() {
    let meant = |fields: &Value| {
        let mut definition = json!({"token_endpoint": null});
        for (name, value) in fields.as_object().expect("an object") {
            definition[name] = value.clone();
        }
        parse(&definition).flow.grant_type
    };
    for (fields, grant_type) in [
        (json!({"provider": "tiktok", "refresh_token": "r"}), "refresh_token"),
        (json!({"provider": "tiktok", "grant_type": "client_credentials"}), "client_credentials"),
        (json!({"provider": "zoom", "params": {"account_id": "a"}}), "account_credentials"),
        (json!({"provider": "zoom", "refresh_token": "r"}), "refresh_token"),
        (json!({"provider": "onegov-nsw", "refresh_token": "r"}), "client_credentials"),
        (json!({"provider": "threads", "access_token": "t"}), "th_exchange_token"),
    ] {
        assert_eq!(meant(&fields).as_deref(), Some(grant_type), "{fields}");
    }
}

#[test]
fn an_access_token_that_refreshes_itself_has_a_second_kind_of_request() {
    let definition = parse(&json!({
        "token_endpoint": null, "client_id": null, "provider": "threads", "access_token": "short",
        "base_url": "http://127.0.0.1:9",
    }));
    assert!(matches!(&definition.seed, Some(Seed::AccessToken(token)) if token.expose_secret() == "short"));
    let then = definition.then.expect("a second kind");
    assert_eq!(then.grant_type.as_deref(), Some("th_refresh_token"));
    assert_eq!(then.endpoint, Endpoint::Token("http://127.0.0.1:9/refresh_access_token".parse().unwrap()));
    assert!(matches!(then.client_authentication, ClientAuthentication::None));
    assert_eq!(then.refresh.minimum_age, Some(TimeDelta::hours(24)));

    let long_lived = parse(&json!({
        "token_endpoint": null, "client_id": null, "client_secret": null, "provider": "threads", "access_token": "long",
        "grant_type": "th_refresh_token",
    }));
    assert!(long_lived.then.is_none());
}

#[test]
fn placeholders_are_filled_wherever_a_provider_has_them() {
    let definition = custom(&json!({
        "token_endpoint": "https://{shop}.example.com/token", "variables": {"shop": "north", "region": "eu"},
        "steps": [{"token_endpoint": "https://{region}.example.com/exchange"}],
    }));
    let hosts: Vec<_> = definition
        .flows()
        .map(|flow| match &flow.endpoint {
            Endpoint::Token(url) => url.host_str().expect("a host").to_owned(),
            Endpoint::Issuer { .. } => panic!("no issuer"),
        })
        .collect();
    assert_eq!(hosts, ["north.example.com", "eu.example.com"]);
}

#[test]
fn a_disabled_definition_is_left_out_whatever_else_it_says() {
    assert!(
        Definition::parse(r#"{"enabled": false, "tokn_endpoint": 1}"#, PlainHttp::Refused).expect("no fault").is_none()
    );
}
