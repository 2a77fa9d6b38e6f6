//! What the secrets define: all of it is read, and one bad definition is one failed source.

use std::time::Duration;

use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use token_harvester::app::harvest::HarvestError;
use token_harvester::domain::error::ErrorCode;
use token_harvester::domain::report::{Outcome, WarningCode};

use crate::support::deployment::Deployment;
use crate::support::proxy::{ask, aws_proxy};
use crate::support::token_endpoint::{and, answer_next, answer_rest, answered, client_of, count, granted};
use crate::support::token_endpoint::{granting, parameter, refused, requests, token_endpoint};
use crate::support::{assert_failed, assert_refreshed, line};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_event_narrows_the_harvest_to_the_sources_that_it_names() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    for name in ["a", "b", "c"] {
        deployment.define(name, client_of(&server)).await;
    }

    let report = deployment.harvest(json!({"sources": ["b", "nobody", "b"]})).await;

    assert_refreshed(&report, "b", 1);
    let message = assert_failed(&report, "nobody", ErrorCode::SourceUnknown);
    assert_eq!(message, "no secret defines a source of this name");
    assert_eq!((report.sources.len(), count(&server, "/token").await), (2, 1));
    let messages = deployment.messages().await;
    assert_eq!(messages[1].body["error"]["code"], "source_unknown");
}

#[tokio::test]
async fn a_source_that_is_switched_off_is_left_out() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("off", and(client_of(&server), json!({"enabled": false}))).await;
    deployment.define("on", and(client_of(&server), json!({"enabled": true}))).await;

    let report = deployment.harvest_due().await;
    assert_refreshed(&report, "on", 1);
    assert_eq!(report.sources.len(), 1);

    let report = deployment.harvest(json!({"sources": ["off"]})).await;
    let message = assert_failed(&report, "off", ErrorCode::SourceUnknown);
    assert_eq!(message, "the source is switched off (`enabled` is false)");
}

#[tokio::test]
async fn without_any_source_the_report_says_how_to_add_one() {
    let deployment = Deployment::new().await;

    let report = deployment.harvest_due().await;

    assert_eq!((report.refreshed, report.fresh, report.deferred, report.failed), (0, 0, 0, 0));
    assert!(report.sources.is_empty());
    let [warning] = &report.warnings[..] else { panic!("{report:#?}") };
    assert_eq!((warning.code, &warning.source), (WarningCode::NoSources, &None));
    assert!(warning.message.contains(&format!("{}<source>", deployment.variable("SECRET_PREFIX"))), "{warning:?}");
}

#[tokio::test]
async fn one_secret_may_pack_many_sources() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let client = client_of(&server);
    let sources = json!({"a": client, "b": and(client.clone(), json!({"scop": "x"})), "c": client, "Bad Name": client});
    deployment.define("Packed Together", json!({"sources": sources})).await;
    deployment.define("alone", client).await;

    let report = deployment.harvest_due().await;

    for name in ["a", "alone", "c"] {
        assert_refreshed(&report, name, 1);
    }
    let message = assert_failed(&report, "b", ErrorCode::DefinitionInvalid);
    assert_eq!(message, "`scop` is unknown; did you mean `scope`?");
    let message = assert_failed(&report, "Bad Name", ErrorCode::DefinitionInvalid);
    assert!(message.starts_with("a source's name must be"), "{message}");
    assert_eq!(report.sources.len(), 5);
}

#[tokio::test]
async fn every_page_of_secrets_is_read_and_nothing_of_other_prefixes() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    for number in 0..45 {
        deployment.define(&format!("source-{number:02}"), client_of(&server)).await;
    }
    let prefix = deployment.variable("SECRET_PREFIX").trim_end_matches('/').to_owned();
    let neighbour = Deployment::new().await.with("SECRET_PREFIX", format!("{prefix}-neighbour/"));
    neighbour.define("theirs", client_of(&server)).await;

    let proxy = aws_proxy().await;
    let report = deployment.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.uri()).harvest_due().await;

    assert_eq!((report.sources.len(), report.refreshed), (45, 45));
    let calls = requests(&proxy).await;
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!(call.headers["x-amz-target"], "secretsmanager.BatchGetSecretValue");
        let body: Value = call.body_json().expect("JSON");
        assert_eq!(body["MaxResults"], 20);
        assert_eq!(body["Filters"], json!([{"Key": "name", "Values": [format!("{prefix}/")]}]));
    }
}

#[tokio::test]
async fn a_name_that_is_defined_twice_fails_whichever_definition_was_meant() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let client = client_of(&server);
    deployment.define("twice", client.clone()).await;
    deployment.define("packed", json!({"sources": {"twice": client, "once": client}})).await;
    let text = format!(r#"{{"sources": {{"again": {client}, "again": {client}}}}}"#);
    deployment.define("within", text).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "once", 1);
    let message = assert_failed(&report, "twice", ErrorCode::DefinitionInvalid);
    assert!(message.contains("`twice`") && message.contains("`packed`"), "{message}");
    let message = assert_failed(&report, "again", ErrorCode::DefinitionInvalid);
    assert_eq!(message, "defined twice in the secret `within`");
    assert_eq!((report.sources.len(), count(&server, "/token").await), (3, 1));
}

#[tokio::test]
async fn loopback_is_called_only_where_the_environment_allows_it() {
    let server = granting().await;
    answer_rest(&server, granted("token")).await;
    for variable in ["0", ""] {
        let deployment = Deployment::new().await.with("ALLOW_LOOPBACK_HTTP", variable);
        let https = json!({"token_endpoint": "https://as.example.com/"});
        let sources = [
            ("token-endpoint", client_of(&server), "`token_endpoint` must begin with https://"),
            (
                "issuer",
                json!({"issuer": server.uri(), "client_id": "c", "client_secret": "s"}),
                "`issuer` must begin with https://",
            ),
            (
                "verify-url",
                and(and(client_of(&server), https.clone()), json!({"verify_url": server.uri()})),
                "`verify_url` must begin with https://",
            ),
        ];
        for (name, definition, _) in &sources {
            deployment.define(name, definition).await;
        }

        let report = deployment.harvest_due().await;

        for (name, _, fault) in sources {
            assert_eq!(assert_failed(&report, name, ErrorCode::DefinitionInvalid), fault);
        }
        assert!(requests(&server).await.is_empty());
    }
}

// One table of definitions, so it is long.
#[tokio::test]
async fn bad_definitions_fail_alone_with_their_field_named_and_no_value_shown() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let with = |fields: Value| and(client_of(&server), fields).to_string();
    let cases = [
        ("text", "s3cr3t-value {".to_owned(), "the secret is not JSON (line 1, column 1)"),
        ("truncated", r#"{"client_secret": "s3cr3t-value"#.to_owned(), "the secret is not JSON (line 1, column 31)"),
        ("array", r#"["s3cr3t-value"]"#.to_owned(), "the secret must be a JSON object"),
        ("empty", "{}".to_owned(), "`token_endpoint` is required"),
        (
            "http",
            with(json!({"token_endpoint": "http://s3cr3t-value.example.com/"})),
            "`token_endpoint` must begin with https://",
        ),
        (
            "userinfo",
            with(json!({"token_endpoint": "https://u:s3cr3t-value@example.com/"})),
            "`token_endpoint` must not contain a user name",
        ),
        (
            "unknown",
            with(json!({"client_secrte": "s3cr3t-value"})),
            "`client_secrte` is unknown; did you mean `client_secret`?",
        ),
        ("type", with(json!({"client_secret": 12_345})), "`client_secret` must be a string"),
        (
            "method",
            with(json!({"token_endpoint_auth_method": "s3cr3t-value"})),
            "`token_endpoint_auth_method` must be client_secret_basic",
        ),
        (
            "key",
            with(json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": "s3cr3t-value"})),
            "`private_key` is no PEM private key",
        ),
        ("duration", with(json!({"min_ttl": "s3cr3t-value"})), "`min_ttl` must be a duration"),
        (
            "header",
            with(json!({"headers": {"X-Key": "s3cr3t-value\n"}})),
            "`headers.X-Key` must be a string of printable ASCII",
        ),
        (
            "param",
            with(json!({"params": {"client_secret": "s3cr3t-value"}})),
            "`params.client_secret` is set by `client_secret`",
        ),
        ("grant", with(json!({"grant_type": "s3cr3t-value"})), "`grant_type` must be"),
        ("switch", with(json!({"enabled": "s3cr3t-value"})), "`enabled` must be true or false"),
        ("BAD.name", with(json!({})), "a source's name must be"),
    ];
    for (name, content, _) in &cases {
        deployment.define(name, content).await;
    }
    deployment.define_binary("binary", b"s3cr3t-value").await;
    deployment.define("good", client_of(&server)).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "good", 1);
    for (name, _, fault) in &cases {
        let message = assert_failed(&report, name, ErrorCode::DefinitionInvalid);
        assert!(message.contains(fault), "{name}: {message}");
        assert_eq!(line(&report, name).attempts, 0);
    }
    let message = assert_failed(&report, "binary", ErrorCode::DefinitionInvalid);
    assert_eq!(message, "the secret is binary; a definition is JSON text");
    assert_eq!(count(&server, "/token").await, 1);
    let told = deployment.messages().await;
    assert_eq!(told.len(), cases.len() + 2);
    for text in [serde_json::to_string(&report).expect("JSON"), format!("{told:?}")] {
        assert!(!text.contains("s3cr3t-value") && !text.contains("12345"), "{text}");
    }
}

#[tokio::test]
async fn a_secret_that_is_not_handed_out_fails_its_source_alone() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    deployment.define("good", client_of(&server)).await;
    let proxy = aws_proxy().await;
    let name = format!("{}denied", deployment.variable("SECRET_PREFIX"));
    let arn = format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-AbCdEf");
    answer_next(&proxy, "/", 1, move |request: &wiremock::Request| {
        let errors = json!([{"SecretId": arn, "ErrorCode": "AccessDeniedException", "Message": "no kms:Decrypt"}]);
        let values = serde_json::from_slice(&ask(request).body).expect("JSON");
        answered(200, and(values, json!({"Errors": errors})))
    })
    .await;

    let report = deployment.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.uri()).harvest_due().await;

    assert_refreshed(&report, "good", 1);
    let message = assert_failed(&report, "denied", ErrorCode::SecretUnreadable);
    assert!(message.ends_with("AccessDeniedException: no kms:Decrypt"), "{message}");
}

#[tokio::test]
async fn unreadable_definitions_fail_the_function() {
    let deployment = Deployment::new().await;
    let proxy = aws_proxy().await;
    let denied = json!({"__type": "AccessDeniedException", "Message": "not authorized to perform this"});
    answer_next(&proxy, "/", 1, ResponseTemplate::new(400).set_body_json(denied)).await;
    let deployment = deployment.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.uri());

    let error = deployment.try_harvest(json!({})).await.expect_err("a failure");

    assert!(matches!(error, HarvestError::DefinitionsUnreadable { report: None, .. }));
    assert_eq!(
        error.to_string(),
        "the sources' definitions could not be read: Secrets Manager BatchGetSecretValue: AccessDeniedException: not \
         authorized to perform this"
    );
}

#[tokio::test]
async fn a_warm_harvester_reads_definitions_again_after_five_minutes() {
    let deployment = Deployment::new().await;
    let server = granting().await;
    let harvester = deployment.harvester();
    let run = async || deployment.run(&harvester, &json!({}), LIMIT).await.expect("a report");
    assert!(run().await.sources.is_empty());
    deployment.define("new", client_of(&server)).await;

    deployment.clock.put_forward(chrono::TimeDelta::seconds(299));
    assert!(run().await.sources.is_empty());

    deployment.clock.put_forward(chrono::TimeDelta::seconds(1));
    assert_refreshed(&run().await, "new", 1);
}

/// A server that knows one client secret, and the harvester that has read an older one.
async fn with_an_outdated_secret(refusal: ResponseTemplate) -> (Deployment, wiremock::MockServer) {
    let server = token_endpoint(move |request: &wiremock::Request| {
        if parameter(request, "client_secret").as_deref() == Some("new") { granted("token") } else { refusal.clone() }
    })
    .await;
    answer_rest(&server, ResponseTemplate::new(500)).await;
    (Deployment::new().await, server)
}

fn posting(server: &wiremock::MockServer, secret: &str) -> Value {
    and(client_of(server), json!({"client_secret": secret, "token_endpoint_auth_method": "client_secret_post"}))
}

#[tokio::test]
async fn a_refused_client_is_read_anew_and_tried_once_more_if_it_changed() {
    for refusal in [refused(401, "invalid_client"), refused(400, "invalid_client"), refused(401, "unauthorized_client")]
    {
        let (deployment, server) = with_an_outdated_secret(refusal).await;
        deployment.define("acme", posting(&server, "old")).await;
        let harvester = deployment.harvester();
        let run = async |event| deployment.run(&harvester, &event, LIMIT).await.expect("a report");
        let report = run(json!({"force": true})).await;
        assert_eq!((line(&report, "acme").outcome, line(&report, "acme").attempts), (Outcome::Failed, 1));

        // A run that nobody asks for relies on what was read a moment ago.
        deployment.clock.put_forward(chrono::TimeDelta::minutes(20));
        run(json!({"dry_run": true})).await;
        deployment.redefine("acme", posting(&server, "new")).await;
        let report = run(json!({})).await;

        assert_refreshed(&report, "acme", 1);
        assert_eq!(line(&report, "acme").attempts, 2);
        let secrets: Vec<_> =
            requests(&server).await.iter().map(|request| parameter(request, "client_secret")).collect();
        assert_eq!(secrets, ["old", "old", "new"].map(|secret| Some(secret.to_owned())));
    }
}

#[tokio::test]
async fn a_refused_client_that_did_not_change_is_not_tried_again() {
    let (deployment, server) = with_an_outdated_secret(refused(401, "invalid_client")).await;
    deployment.define("acme", posting(&server, "old")).await;
    deployment.define("other", posting(&server, "older")).await;

    let proxy = aws_proxy().await;
    let report = deployment.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.uri()).harvest_due().await;

    for name in ["acme", "other"] {
        assert_failed(&report, name, ErrorCode::InvalidClient);
        assert_eq!(line(&report, name).attempts, 1);
    }
    // Once to begin with, and once anew for both.
    assert_eq!(requests(&proxy).await.len(), 2);
}

#[tokio::test]
async fn a_client_that_is_refused_with_its_new_secret_too_stays_failed() {
    let (deployment, server) = with_an_outdated_secret(refused(401, "invalid_client")).await;
    deployment.define("acme", posting(&server, "old")).await;
    let harvester = deployment.harvester();
    let run = async |event| deployment.run(&harvester, &event, LIMIT).await.expect("a report");
    run(json!({"force": true})).await;

    deployment.clock.put_forward(chrono::TimeDelta::minutes(20));
    run(json!({"dry_run": true})).await;
    deployment.redefine("acme", posting(&server, "also-wrong")).await;
    let report = run(json!({})).await;

    assert_failed(&report, "acme", ErrorCode::InvalidClient);
    assert_eq!((line(&report, "acme").attempts, count(&server, "/token").await), (2, 3));
}
