//! The published JSON Schemas say what the program really reads and writes.

mod connections;

use jsonschema::{Registry, Validator};
use rcgen::KeyPair;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use token_harvester::domain::assertion::JWT_BEARER;
use token_harvester::domain::provider::CUSTOM;
use token_harvester::domain::source::{Catalog, PlainHttp, Secret};

use crate::support::deployment::Deployment;
use crate::support::fixture::toml_files;
use crate::support::proxy::{aws_proxy, published};
use crate::support::sockets::Authority;
use crate::support::token_endpoint::{and, answer_at, answer_next, answered, client_at, client_of, granted, granting};

/// The schema that another refers to.
const REFERENCED: &str = "provider";

/// A schema of `schemas/`, with the one that it may refer to.
pub(crate) fn schema(name: &str) -> Validator {
    let referenced = schema_text(REFERENCED);
    let uri = referenced["$id"].as_str().expect("an address").to_owned();
    let registry = Registry::new().add(uri, referenced).expect("a schema").prepare().expect("a registry");
    let options = jsonschema::options().should_validate_formats(true).with_registry(&registry);
    options.build(&schema_text(name)).expect("a schema")
}

/// The text of a schema, which must itself be a good one of draft 2020-12.
fn schema_text(name: &str) -> Value {
    let path = format!("{}/schemas/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::meta::is_valid(&schema), "{path}");
    schema
}

#[track_caller]
pub(crate) fn assert_valid(schema: &Validator, instance: &Value) {
    let faults: Vec<_> =
        schema.iter_errors(instance).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?} in {instance:#}");
}

#[tokio::test]
async fn what_a_harvest_emits_is_valid() {
    let (document, message, report) = (schema("token-document"), schema("token-message"), schema("report"));
    let alert = schema("alert-message");
    let deployment = Deployment::new().await;
    let server = granting().await;
    let at = |path: &str| client_at(&format!("{}{path}", server.uri()));
    let members = json!({
        "access_token": "token", "token_type": "mac", "scope": ["a", "b"], "expires_in": 3600, "refresh_token": "next",
        "refresh_token_expires_in": 86_400, "instance_url": "https://example.com", "list": [1, null, {"a": true}],
    });
    answer_at(&server, "/much", answered(200, members)).await;
    answer_at(&server, "/little", answered(200, json!({"access_token": "token"}))).await;
    answer_next(&server, "/later", 1, granted("token")).await;
    answer_at(&server, "/later", ResponseTemplate::new(429).insert_header("retry-after", "3600")).await;
    answer_next(&server, "/worse", 1, granted("token")).await;
    answer_at(&server, "/worse", answered(401, json!({"error": "invalid_client", "error_description": "no"}))).await;
    let much = json!({"owner": "somebody", "runbook_url": "https://example.com/", "refresh_token": "first"});
    deployment.define("much", and(at("/much"), much)).await;
    deployment.define("little", and(at("/little"), json!({"default_expires_in": "20m"}))).await;
    deployment.define("later", at("/later")).await;
    deployment.define("worse", at("/worse")).await;
    deployment.define("Bad Name", "{}").await;

    let proxy = aws_proxy().await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_SNS", proxy.uri());
    let mut warnings = 0;
    let named = json!({"sources": ["much", "Nobody"], "force": true});
    for event in [json!({"dry_run": true}), json!({}), json!({}), json!({"force": true}), named] {
        let emitted = serde_json::to_value(deployment.harvest(event).await).expect("JSON");
        assert_valid(&report, &emitted);
        warnings += emitted["warnings"].as_array().expect("warnings").len();
    }
    let nothing = Deployment::new().await.harvest_due().await;
    assert_valid(&report, &serde_json::to_value(nothing).expect("JSON"));
    for source in ["much", "little", "later", "worse"] {
        assert_valid(&document, &deployment.document(source).await);
    }
    let messages = published(&proxy).await;
    let (alerts, messages): (Vec<_>, Vec<_>) =
        messages.iter().partition(|message| message.attributes["kind"] == "alert");
    let count = |event: &str| messages.iter().filter(|message| message.attributes["event"] == event).count();
    assert!(count("token.refreshed") >= 6 && count("token.failed") >= 4 && warnings >= 3 && !alerts.is_empty());
    for sent in messages {
        assert_valid(&message, &sent.default);
    }
    for sent in alerts {
        assert_valid(&alert, &sent.default);
    }
}

/// Whether the parser takes a secret with this text, and all that is in it.
fn parses(text: &str) -> Result<(), String> {
    let secret = Secret { name: "acme".to_owned(), content: Ok(text.into()) };
    let catalog = Catalog::new(vec![secret], PlainHttp::OnLoopback);
    catalog.iter().try_for_each(|(_, source)| source.as_ref().map(|_| ()).map_err(ToString::to_string))
}

#[test]
fn schema_and_parser_agree_on_definitions() {
    let schema = schema("definition");
    let judged = |definition: &Value| (parses(&definition.to_string()), schema.is_valid(definition));
    let mut surprises = Vec::new();
    let mut expect = |definitions: Vec<Value>, (by_parser, by_schema): (bool, bool)| {
        for definition in definitions {
            let (parsed, valid) = judged(&definition);
            if (parsed.is_ok(), valid) != (by_parser, by_schema) {
                surprises.push(format!("parser: {parsed:?}, schema: {valid}: {definition}"));
            }
        }
    };
    expect(good_definitions(), (true, true));
    expect(good_declarations(), (true, true));
    expect(bad_definitions(), (false, false));
    expect(bad_declarations(), (false, false));
    expect(contradictions(), (false, true));
    expect(connections::good(), (true, true));
    expect(connections::bad(), (false, false));
    expect(connections::contradictory(), (false, true));
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn every_declaration_is_valid_and_every_provider_can_be_named() {
    let schema = schema("provider");
    let declarations = toml_files("src/providers");
    for (name, text) in &declarations {
        let declaration: Value = toml::from_str(text).unwrap_or_else(|fault| panic!("{name}.toml: {fault}"));
        assert_valid(&schema, &declaration);
        assert!(!schema.is_valid(&and(declaration.clone(), json!({"surplus": 1}))), "{name}");
        assert!(!schema.is_valid(&and(declaration, json!({"client_secret": "s"}))), "{name}");
    }
    let definition = schema_text("definition");
    let named = definition["$defs"]["definition"]["properties"]["provider"]["enum"].as_array().expect("names");
    let known = [CUSTOM].into_iter().chain(declarations.keys().map(String::as_str));
    assert_eq!(named.iter().filter_map(Value::as_str).collect::<Vec<_>>(), known.collect::<Vec<_>>());
}

/// A definition of the plainest kind.
fn base() -> Value {
    json!({"token_endpoint": "https://as.example.com/token", "client_id": "client", "client_secret": "s"})
}

fn with(fields: Value) -> Value {
    and(base(), fields)
}

fn without(field: &str, fields: Value) -> Value {
    let mut definition = with(fields);
    definition.as_object_mut().expect("an object").remove(field);
    definition
}

/// All fields of `private_key_jwt`.
fn jwt() -> Value {
    json!({
        "token_endpoint_auth_method": "private_key_jwt", "key_id": "1", "assertion_algorithm": "ES256",
        "private_key": KeyPair::generate().expect("a key").serialize_pem(),
        "assertion_audience": "https://as.example.com", "assertion_subject": "user",
    })
}

fn good_definitions() -> Vec<Value> {
    let (certificate, private_key) = Authority::new().issue("client.example.com");
    let mutual = json!({
        "token_endpoint_auth_method": "tls_client_auth", "certificate": certificate, "private_key": private_key,
    });
    vec![
        base(),
        with(json!({"scope": "a b", "params": {"audience": "x", "resource": ["a", "b"]}, "headers": {"X-Key": "k"}})),
        with(json!({"scope": ["a", "b"], "min_ttl": "15m", "default_expires_in": "12h", "owner": "somebody"})),
        with(
            json!({"scope": "", "runbook_url": "https://wiki.example.com/", "verify_url": "https://api.example.com/me"}),
        ),
        with(json!({"token_endpoint": "http://127.0.0.1:8080/token"})),
        with(json!({"token_endpoint": "http://localhost/token"})),
        with(json!({"token_endpoint": "http://[::1]:8080/token"})),
        with(json!({"refresh_token": "first"})),
        with(json!({"grant_type": "refresh_token", "refresh_token": "first"})),
        with(json!({"grant_type": "client_credentials", "access_token": "first"})),
        with(json!({"ca_certificate": Authority::new().pem()})),
        with(json!({"token_endpoint_auth_method": "client_secret_post"})),
        without("client_secret", json!({"token_endpoint_auth_method": "none"})),
        without("client_secret", jwt()),
        without("client_secret", mutual),
        without("client_secret", json!({"api_secret": "s"})),
        without("client_id", json!({"api_key": "k"})),
        without("token_endpoint", json!({"issuer": "https://as.example.com/tenant/"})),
        without("token_endpoint", json!({"provider": "linkedin"})),
        without("token_endpoint", json!({"provider": "cognito", "variables": {"domain": "acme.example.com"}})),
        without("token_endpoint", json!({"provider": "cognito", "base_url": "https://proxy.example.com/a"})),
        json!({"enabled": false}),
        json!({"sources": {}}),
        json!({"sources": {"a": base(), "b.c-d_e": {"enabled": false}}}),
    ]
}

/// Definitions that declare what is special about their server.
fn good_declarations() -> Vec<Value> {
    let key = || KeyPair::generate().expect("a key").serialize_pem();
    vec![
        with(json!({"provider": "custom", "variables": {"shop": "north"},
            "token_endpoint": "https://{shop}.example.com/token"})),
        with(json!({"request": {"body": "json", "parameters_in": "body", "basic_encoding": "none",
            "grant_type_parameter": "", "scope_delimiter": ",", "credential_parameter": "token"}})),
        with(json!({"request": {"method": "GET", "credential_in": "bearer", "scope_parameter": null}})),
        with(json!({"request": {"client_in": "query"}, "token_endpoint_auth_method": "client_secret_post"})),
        without(
            "client_id",
            json!({"token_endpoint_auth_method": "client_secret_post",
            "request": {"client_id_parameter": ""}}),
        ),
        with(json!({"response": {"format": "text", "expires": {"form": "jwt_exp"}}})),
        with(json!({"response": {"access_token": "/a/0/b~1c", "expires": {"path": "/e", "form": "iso8601"},
            "refresh_token_expires": {"path": "/r", "form": "milliseconds"}}})),
        with(json!({"errors": [
            {"status": [400, 401], "path": "/code", "equals": [17, "a", true], "class": "configuration",
                "error": "invalid_client"},
            {"header": "x-error", "class": "dead_grant"},
            {"path": "", "matches": "busy", "class": "throttled", "retry_after": "10m"},
            {"status": 425, "class": "too_early"},
        ]})),
        with(
            json!({"refresh": {"rotates": true, "repeat_within": "10m", "minimum_age": "24h", "fixed_lifetime": true}}),
        ),
        without(
            "client_secret",
            json!({"grant_type": JWT_BEARER, "private_key": key(),
            "assertion": {"subject": "none", "scope": true, "lifetime": "5m", "claims": {"tenant": "a"}}}),
        ),
        without(
            "token_endpoint",
            json!({"provider": "custom", "grant_type": "exchange", "access_token": "first",
            "grants": {
                "exchange": {"token_endpoint": "https://as.example.com/exchange", "credential": "access_token",
                    "then": "renew", "required": ["client_id"]},
                "renew": {"token_endpoint": "https://as.example.com/renew", "token_endpoint_auth_method": "none",
                    "credential": "access_token", "request": {"method": "GET", "client_id_parameter": ""}},
            }}),
        ),
        with(json!({"steps": [{"token_endpoint": "https://as.example.com/session", "headers": {"X-Device": "jobs"},
            "request": {"method": "GET", "credential_in": "bearer"}, "response": {"access_token": "/token"},
            "errors": [{"status": 440, "class": "transient"}]}]})),
        json!({"provider": "threads", "client_secret": "s", "access_token": "first"}),
        json!({"provider": "salesforce", "variables": {"domain": "acme.my.salesforce.com"}, "client_id": "client",
            "grant_type": JWT_BEARER, "assertion_subject": "user", "private_key": key()}),
        json!({"provider": "notion", "client_id": "client", "client_secret": "s", "refresh_token": "first",
            "headers": {"Notion-Version": null}, "refresh": {"rotates": null}}),
    ]
}

/// What is wrong in the sections of declarations.
fn bad_declarations() -> Vec<Value> {
    let rule = |rule: Value| with(json!({"errors": [rule]}));
    let step = |step: Value| with(json!({"steps": [step]}));
    let grants = |section: Value| with(json!({"grant_type": "own", "grants": {"own": section}}));
    vec![
        with(json!({"request": []})),
        with(json!({"request": {"methd": "GET"}})),
        with(json!({"request": {"method": "PUT"}})),
        with(json!({"request": {"method": "GET", "body": "form"}})),
        with(json!({"request": {"method": "GET", "parameters_in": "body"}})),
        with(json!({"request": {"client_secret_parameter": ""}})),
        with(json!({"request": {"scope_delimiter": ""}})),
        with(
            json!({"refresh_token": "first", "request": {"credential_in": "bearer", "credential_parameter": "token"}}),
        ),
        with(and(jwt(), json!({"assertion": {"scope": "yes"}}))),
        with(and(jwt(), json!({"assertion": {"surplus": 1}}))),
        with(and(jwt(), json!({"assertion": {"lifetime": "6m"}}))),
        with(and(jwt(), json!({"assertion": {"claims": {"sub": "user"}}}))),
        with(json!({"response": {"format": "yaml"}})),
        with(json!({"response": {"access_token": "data.token"}})),
        with(json!({"response": {"access_token": "/a~2"}})),
        with(json!({"response": {"access_token": "", "format": "json"}})),
        with(json!({"response": {"access_token": "/token", "format": "text"}})),
        with(json!({"response": {"expires": "/expires_in"}})),
        with(json!({"response": {"expires": {"path": "/e", "form": "weeks"}}})),
        with(json!({"errors": {}})),
        rule(json!({"class": "dead_grant"})),
        rule(json!({"status": 400})),
        rule(json!({"status": 400, "class": "deadly"})),
        rule(json!({"status": 42, "class": "dead_grant"})),
        rule(json!({"status": [], "class": "dead_grant"})),
        rule(json!({"status": 400, "equals": "a", "class": "dead_grant"})),
        rule(json!({"path": "/a", "header": "b", "class": "dead_grant"})),
        rule(json!({"path": "/a", "equals": "a", "matches": "a", "class": "dead_grant"})),
        rule(json!({"path": "/a", "equals": {}, "class": "dead_grant"})),
        rule(json!({"path": "/a", "class": "dead_grant", "error": "invalid_client"})),
        rule(json!({"path": "/a", "class": "configuration", "error": "invalid_grant"})),
        rule(json!({"path": "/a", "class": "dead_grant", "retry_after": "10m"})),
        with(json!({"refresh": {"rotates": "yes"}})),
        with(json!({"refresh": {"rotates": false, "repeat_within": "10m"}})),
        with(json!({"refresh": {"minimum_age": "0s"}})),
        grants(json!({"credential": "password"})),
        grants(json!({"title": "for people"})),
        grants(json!({"surplus": 1})),
        grants(json!([])),
        with(json!({"steps": {}})),
        step(json!({})),
        step(json!({"token_endpoint": "http://as.example.com/"})),
        step(json!({"token_endpoint": "https://as.example.com/", "refresh": {}})),
        without("token_endpoint", json!({"provider": "custom"})),
        without("client_secret", json!({"grant_type": JWT_BEARER})),
        with(json!({"title": "for people"})),
    ]
}

/// What contradicts itself in a way that only the parser sees, which knows what a provider declares and how fields work
/// together.
fn contradictions() -> Vec<Value> {
    vec![
        with(json!({"private_key": "-----BEGIN PRIVATE KEY-----\nnonsense"})),
        with(json!({"refresh_token": "first", "request": {"credential_in": "bearer"}})),
        with(json!({"headers": {"Authorization": "Bearer a"}})),
        with(json!({"headers": {"Content-Type": "text/plain"}})),
        with(json!({"request": {"client_in": "query"}})),
        with(json!({"request": {"body": "json", "parameters_in": "query"}})),
        with(json!({"request": {"scope_parameter": "permissions"}, "params": {"permissions": "a"}})),
        with(json!({"request": {"scope_parameter": "grant_type"}})),
        with(json!({"response": {"refresh_token_expires": {"form": "epoch_seconds"}}})),
        with(json!({"errors": [{"path": "/a", "matches": "(", "class": "dead_grant"}]})),
        with(json!({"min_ttl": "367d"})),
        with(json!({"grant_type": "other", "grants": {"own": {}}})),
        with(json!({"grant_type": "own", "grants": {"own": {"then": "nowhere"}}})),
        with(json!({"grant_type": "own", "grants": {"own": {"required": ["params.account"]}}})),
        with(json!({"provider": "custom", "token_endpoint": "https://{shop}.example.com/token"})),
        with(json!({"provider": "custom", "variables": {"shop": "north"}})),
        json!({"provider": "linkedin", "client_id": "client"}),
        json!({"provider": "linkedin", "client_secret": "s"}),
        json!({"provider": "github", "client_id": "client", "client_secret": "s"}),
        json!({"provider": "github", "client_id": "client", "client_secret": "s", "grant_type": "client_credentials"}),
        json!({"provider": "zoom", "client_id": "client", "client_secret": "s", "grant_type": "account_credentials"}),
        json!({"provider": "okta", "client_id": "client", "client_secret": "s"}),
    ]
}

fn bad_definitions() -> Vec<Value> {
    vec![
        json!([]),
        json!("text"),
        json!({}),
        with(json!({"scop": "a"})),
        with(json!({"client_id": ""})),
        with(json!({"client_id": 1})),
        with(json!({"client_secret": " s"})),
        with(json!({"token_endpoint": "http://as.example.com/token"})),
        with(json!({"token_endpoint": "http://127.0.0.1.example.com/token"})),
        with(json!({"token_endpoint": "http://localhost.example.com/token"})),
        with(json!({"token_endpoint": "https://as.example.com/token#fragment"})),
        with(json!({"token_endpoint": "not a url"})),
        with(json!({"issuer": "https://as.example.com"})),
        with(json!({"base_url": "https://proxy.example.com"})),
        with(json!({"variables": {"domain": "acme"}})),
        with(json!({"provider": "nobody"})),
        with(json!({"api_key": "k"})),
        with(json!({"api_secret": "s"})),
        with(json!({"grant_type": "password"})),
        with(json!({"grant_type": "refresh_token"})),
        with(json!({"token_endpoint_auth_method": "client_secret_jwt"})),
        with(json!({"token_endpoint_auth_method": "private_key_jwt"})),
        with(json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": "nonsense"})),
        with(json!({"token_endpoint_auth_method": "tls_client_auth", "private_key": jwt()["private_key"]})),
        with(and(jwt(), json!({"assertion_algorithm": "HS256"}))),
        with(json!({"certificate": "nonsense"})),
        with(json!({"ca_certificate": 1})),
        with(json!({"scope": 1})),
        with(json!({"scope": [1]})),
        with(json!({"params": []})),
        with(json!({"params": {"scope": "a"}})),
        with(json!({"params": {"audience": 1}})),
        with(json!({"headers": {"X-Key": "ü"}})),
        with(json!({"headers": {"X-Key": ["k"]}})),
        with(json!({"min_ttl": "15"})),
        with(json!({"min_ttl": 15})),
        with(json!({"default_expires_in": "1w"})),
        with(json!({"verify_url": "http://api.example.com/me"})),
        with(json!({"runbook_url": "ftp://example.com/"})),
        with(json!({"enabled": "no"})),
        without("client_id", json!({})),
        without("client_secret", json!({})),
        without("token_endpoint", json!({})),
        without("token_endpoint", json!({"provider": "cognito", "variables": {"domain": "a/b"}})),
        json!({"sources": []}),
        json!({"sources": {"Bad Name": base()}}),
        json!({"sources": {"a": base()}, "client_id": "client"}),
        json!({"sources": {"a": and(base(), json!({"scop": "a"}))}}),
    ]
}

#[tokio::test]
async fn a_schema_refuses_what_the_program_never_writes() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;
    let report = serde_json::to_value(deployment.harvest_due().await).expect("JSON");
    let (document, message) = (deployment.document("acme").await, deployment.messages().await.remove(0).body);
    for (name, instance, foreign) in [
        ("report", &report, json!({"finished_at": "2026-11-20 22:00:00"})),
        ("report", &report, json!({"access_token": "t"})),
        ("token-document", &document, json!({"refresh_token": "t"})),
        ("token-document", &document, json!({"schema_version": 2})),
        ("token-document", &document, json!({"issued_at": "2026-11-20T22:00:00.123Z"})),
        ("token-message", &message, json!({"access_token": "t"})),
        ("token-message", &message, json!({"event": "token.lost"})),
        ("token-message", &message, json!({"event": "token.failed"})),
    ] {
        let schema = schema(name);
        assert_valid(&schema, instance);
        assert!(!schema.is_valid(&and(instance.clone(), foreign.clone())), "{name} with {foreign}");
    }
}

#[test]
fn every_error_code_has_its_section_in_the_runbook() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).expect(path);
    let (schema, runbook) = (read("schemas/report.schema.json"), read("docs/runbook.md"));
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let code = "/properties/sources/items/properties/error/anyOf/0/properties/code/enum";
    let codes = schema.pointer(code).and_then(Value::as_array).expect("codes");
    assert!(codes.len() >= 20);
    for code in codes {
        let heading = format!("### {}", code.as_str().expect("a code"));
        assert!(runbook.lines().any(|line| line == heading), "{heading}");
    }
}
