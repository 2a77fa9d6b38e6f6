//! What is sent to a token endpoint, and what becomes of a good answer.

use chrono::TimeDelta;
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use token_harvester::domain::report::{Outcome, WarningCode};

use crate::support::deployment::Deployment;
use crate::support::token_endpoint::{and, answer_at, answered, client_at, client_of, count, form};
use crate::support::token_endpoint::{granted, granting, requests, token_endpoint};
use crate::support::{assert_refreshed, line};

#[tokio::test]
async fn a_new_source_gets_a_token_document_and_a_message() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme-crm", and(client_of(&server), json!({"scope": ["read", "write"]}))).await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "acme-crm", 1);
    assert_eq!((report.refreshed, report.fresh, report.deferred, report.failed), (1, 0, 0, 0));
    assert_eq!(line(&report, "acme-crm").attempts, 1);
    assert!(report.warnings.is_empty(), "{report:#?}");
    let request = &requests(&server).await[0];
    assert_eq!(request.method.as_str(), "POST");
    assert_eq!(request.headers["accept"], "application/json");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(form(request), [("grant_type", "client_credentials"), ("scope", "read write")].map(owned));
    assert_eq!(
        deployment.document("acme-crm").await,
        json!({
            "schema_version": 1, "source": "acme-crm", "access_token": "access-token", "token_type": "Bearer",
            "scope": "read write", "issued_at": "2026-11-20T22:00:00Z", "expires_at": "2026-11-20T23:00:00Z",
            "refresh_after": "2026-11-20T22:35:00Z", "generation": 1, "extra": {},
        })
    );
    let head = deployment.head("acme-crm").await.expect("a token document");
    assert_eq!(head.content_type(), Some("application/json"));
    assert_eq!(head.version_id(), line(&report, "acme-crm").version_id.as_deref());
    let metadata = deployment.metadata("acme-crm").await;
    for (name, value) in [
        ("source", "acme-crm"),
        ("generation", "1"),
        ("issued-at", "2026-11-20T22:00:00Z"),
        ("expires-at", "2026-11-20T23:00:00Z"),
        ("refresh-after", "2026-11-20T22:35:00Z"),
        ("token-sha256", "3f16bed7089f4653"),
    ] {
        assert_eq!(metadata[name], value, "{name}");
    }
    assert_eq!(metadata["definition-sha256"].len(), 64);
    assert_eq!(metadata.len(), 7, "{metadata:?}");

    let messages = deployment.messages().await;
    let [message] = &messages[..] else { panic!("{messages:#?}") };
    assert_eq!(message.subject, "[test] acme-crm: token refreshed");
    let attributes = [("environment", "test"), ("event", "token.refreshed"), ("kind", "token"), ("source", "acme-crm")];
    assert_eq!(message.attributes, attributes.map(owned).into());
    assert_eq!(
        message.body,
        json!({
            "schema_version": 1, "event": "token.refreshed", "environment": "test", "source": "acme-crm",
            "run_id": "run-1", "generation": 1, "issued_at": "2026-11-20T22:00:00Z",
            "expires_at": "2026-11-20T23:00:00Z", "bucket": deployment.variable("TOKEN_BUCKET"),
            "key": "tokens/acme-crm.json", "version_id": head.version_id(),
        })
    );
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn a_good_token_is_left_alone_until_it_is_due() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;
    assert_refreshed(&deployment.harvest_due().await, "acme", 1);
    deployment.messages().await;

    deployment.clock.put_forward(TimeDelta::minutes(34));
    let report = deployment.harvest_due().await;
    let fresh = line(&report, "acme");
    assert_eq!((fresh.outcome, fresh.attempts, fresh.generation), (Outcome::Fresh, 0, Some(1)));
    assert!(fresh.expires_at.is_some() && fresh.version_id.is_some());
    assert_eq!(count(&server, "/token").await, 1);
    assert!(deployment.messages().await.is_empty());

    deployment.clock.put_forward(TimeDelta::minutes(1));
    assert_refreshed(&deployment.harvest_due().await, "acme", 2);
    assert_eq!(deployment.versions("acme").await, 2);
}

#[tokio::test]
async fn force_refreshes_what_is_fresh_and_a_dry_run_only_says_so() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;

    let dry = deployment.harvest(json!({"dry_run": true})).await;
    assert!(dry.dry_run);
    assert_eq!((line(&dry, "acme").outcome, line(&dry, "acme").generation), (Outcome::Refreshed, None));
    assert_eq!(count(&server, "/token").await, 0);
    assert!(deployment.head("acme").await.is_none());
    assert!(deployment.messages().await.is_empty());

    deployment.harvest_due().await;
    assert_refreshed(&deployment.harvest(json!({"force": true})).await, "acme", 2);

    let dry = deployment.harvest(json!({"force": true, "dry_run": true})).await;
    assert_eq!((line(&dry, "acme").outcome, line(&dry, "acme").generation), (Outcome::Refreshed, Some(2)));
    let dry = deployment.harvest(json!({"dry_run": true})).await;
    assert_eq!((dry.refreshed, dry.fresh), (0, 1));
    assert_eq!((count(&server, "/token").await, deployment.versions("acme").await), (2, 2));
}

#[tokio::test]
async fn a_changed_definition_is_due_and_a_changed_client_secret_is_not() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;
    deployment.harvest_due().await;

    deployment.redefine("acme", and(client_of(&server), json!({"client_secret": "another"}))).await;
    assert_eq!(deployment.harvest_due().await.fresh, 1);

    deployment.redefine("acme", and(client_of(&server), json!({"scope": "write"}))).await;
    assert_refreshed(&deployment.harvest_due().await, "acme", 2);
    assert_eq!(deployment.harvest_due().await.fresh, 1);
}

#[tokio::test]
async fn extra_parameters_and_headers_are_sent() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let fields = json!({
        "scope": "", "params": {"audience": "https://api.example.com", "tenant": ["a", "b"]},
        "headers": {"X-Api-Key": "key", "Accept": "application/vnd.acme+json"},
    });
    deployment.define("acme", and(client_of(&server), fields)).await;

    assert_refreshed(&deployment.harvest_due().await, "acme", 1);

    let request = &requests(&server).await[0];
    let further = [("audience", "https://api.example.com"), ("tenant", "a"), ("tenant", "b")];
    assert_eq!(
        form(request),
        [("grant_type", "client_credentials")].into_iter().chain(further).map(owned).collect::<Vec<_>>()
    );
    assert_eq!(request.headers["x-api-key"], "key");
    assert_eq!(request.headers.get_all("accept").iter().collect::<Vec<_>>(), ["application/vnd.acme+json"]);
}

#[tokio::test]
async fn a_refresh_token_that_the_server_replaces_is_kept_out_of_the_document() {
    let deployment = Deployment::new().await;
    let answer = answered(
        200,
        json!({
            "access_token": "new", "expires_in": 3600, "refresh_token": "second", "refresh_token_expires_in": 86_400,
            "id_token": "identity", "instance_url": "https://eu12.example.com",
            "nested": {"refresh_token": "second", "api_domain": "api.example.com"},
        }),
    );
    let server = token_endpoint(answer).await;
    deployment.define("acme", and(client_of(&server), json!({"refresh_token": "first", "scope": "read"}))).await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "acme", 1);
    assert!(report.warnings.is_empty(), "{report:#?}");
    let request = &requests(&server).await[0];
    let sent = [("grant_type", "refresh_token"), ("refresh_token", "first"), ("scope", "read")].map(owned);
    assert_eq!(form(request), sent);
    let extra = json!({"instance_url": "https://eu12.example.com", "nested": {"api_domain": "api.example.com"}});
    assert_eq!(deployment.document("acme").await["extra"], extra);
    assert_eq!(deployment.metadata("acme").await["grant-expires-at"], "2026-11-21T22:00:00Z");
}

#[tokio::test]
async fn answers_are_read_as_servers_write_them() {
    let deployment = Deployment::new().await;
    deployment.clock.stop_at("2026-11-20T22:00:00Z");
    let server = MockServer::start().await;
    let json = |members: Value| answered(200, and(json!({"access_token": "token"}), members));
    let plain = |body: &str, kind: &str| ResponseTemplate::new(200).set_body_raw(body, kind);
    let (hour, unstated) = (json!("2026-11-20T23:00:00Z"), Value::Null);
    // Of a JWT whose `exp` is 2026-11-20T23:30:00Z.
    let jwt = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTUyMTc0MDB9.sig";
    let cases = [
        ("number", json(json!({"expires_in": 3600})), &hour),
        ("string", json(json!({"expires_in": "3600"})), &hour),
        ("float", json(json!({"expires_in": 3600.9})), &hour),
        ("float-string", json(json!({"expires_in": "3600.0"})), &hour),
        ("zero", json(json!({"expires_in": 0})), &unstated),
        ("negative", json(json!({"expires_in": -1})), &unstated),
        ("century", json(json!({"expires_in": 3_200_000_000_u32})), &unstated),
        ("word", json(json!({"expires_in": "never"})), &unstated),
        ("unstated", json(json!({})), &unstated),
        ("jwt", json(json!({"access_token": jwt})), &json!("2026-11-20T23:30:00Z")),
        ("form", plain("access_token=token&expires_in=3600", "application/x-www-form-urlencoded"), &hour),
        ("mislabelled", plain(r#"{"access_token": "token", "expires_in": 3600}"#, "text/html"), &hour),
        ("marked", plain("\u{feff}{\"access_token\": \"token\", \"expires_in\": 3600}\r\n", "text/plain"), &hour),
        ("created", ResponseTemplate::new(201).set_body_json(json!({"access_token": "token"})), &unstated),
    ];
    for (name, answer, _) in &cases {
        answer_at(&server, &format!("/{name}"), answer.clone()).await;
        deployment.define(name, client_at(&format!("{}/{name}", server.uri()))).await;
    }

    let report = deployment.harvest_due().await;

    for (name, _, expires_at) in cases {
        assert_refreshed(&report, name, 1);
        let document = deployment.document(name).await;
        assert_eq!((&document["expires_at"], &document["token_type"]), (expires_at, &json!("Bearer")), "{name}");
        if expires_at.is_null() {
            assert_eq!(document["refresh_after"], "2026-11-20T22:35:00Z", "{name}");
        }
    }
}

#[tokio::test]
async fn other_types_of_token_and_odd_forms_of_scope_are_kept_as_readers_expect_them() {
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    for (name, members) in [
        ("comma", json!({"token_type": "BEARER", "scope": "read,write"})),
        ("array", json!({"token_type": "bearer", "scope": ["read", "write"]})),
        ("mac", json!({"token_type": "mac", "scope": "read write"})),
    ] {
        answer_at(&server, &format!("/{name}"), answered(200, and(json!({"access_token": "token"}), members))).await;
        deployment.define(name, client_at(&format!("{}/{name}", server.uri()))).await;
    }

    deployment.harvest_due().await;

    for (name, token_type) in [("comma", "Bearer"), ("array", "Bearer"), ("mac", "mac")] {
        let document = deployment.document(name).await;
        assert_eq!((&document["token_type"], &document["scope"]), (&json!(token_type), &json!("read write")));
    }
}

#[tokio::test]
async fn a_provider_that_wants_get_is_asked_with_a_query() {
    let deployment = Deployment::new().await;
    let server = MockServer::start().await;
    answer_at(&server, "/proxy/oauth/client_credential/accesstoken", granted("nsw")).await;
    let definition = json!({
        "provider": "onegov-nsw", "base_url": format!("{}/proxy/", server.uri()),
        "api_key": "key", "api_secret": "secret",
    });
    deployment.define("fuel-prices", definition).await;

    assert_refreshed(&deployment.harvest_due().await, "fuel-prices", 1);

    let request = &requests(&server).await[0];
    assert_eq!((request.method.as_str(), request.body.len()), ("GET", 0));
    assert_eq!(request.url.query(), Some("grant_type=client_credentials"));
    assert_eq!(request.headers["authorization"], "Basic a2V5OnNlY3JldA==");
    assert!(!request.headers.contains_key("content-type"));
}

#[tokio::test]
async fn a_token_that_lives_too_short_for_the_schedule_is_warned_of() {
    let deployment = Deployment::new().await.with("SCHEDULE_INTERVAL", "1h");
    let server = granting().await;
    deployment.define("acme", client_of(&server)).await;

    for outcome in [Outcome::Refreshed, Outcome::Refreshed] {
        let report = deployment.harvest_due().await;
        assert_eq!(line(&report, "acme").outcome, outcome);
        assert_eq!(report.warnings[0].code, WarningCode::ScheduleTooSlow);
        assert_eq!(
            report.warnings[0].message,
            "tokens live 1 h, less than `min_ttl` (10 min) plus the schedule's interval (1 h): harvest at least every \
             50 min, or lower `min_ttl`"
        );
    }
}
