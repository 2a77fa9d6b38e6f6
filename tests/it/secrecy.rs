//! Nothing that leaves a run holds a secret or a token, but for the token document itself.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use serde_json::{Value, json};
use url::form_urlencoded;
use wiremock::{MockServer, Request, ResponseTemplate};

use token_harvester::config::Config;
use token_harvester::report::Outcome;
use token_harvester::source::{Catalog, PlainHttp, Secret};
use token_harvester::telemetry;

use crate::support::deployment::Deployment;
use crate::support::line;
use crate::support::log::Kept;
use crate::support::proxy::{aws_proxy, published};
use crate::support::sockets::{self, Authority, Reply, Scripted};
use crate::support::token_endpoint::{and, answer_at, answered, client_at, form, requests};

/// The forms in which a secret could show up.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let encoded: String = form_urlencoded::byte_serialize(bytes).collect();
    let mut forms = vec![
        secret.to_owned(),
        encoded.replace('+', "%20"),
        encoded,
        Value::from(secret).to_string().trim_matches('"').to_owned(),
        BASE64_STANDARD_NO_PAD.encode(bytes),
        BASE64_URL_SAFE_NO_PAD.encode(bytes),
    ];
    forms.sort();
    forms.dedup();
    forms
}

/// Says whatever it was told, in every form that a careless server could choose.
fn echo(status: u16) -> impl Fn(&Request) -> ResponseTemplate {
    move |request| {
        let values: Vec<_> = form(request).into_iter().map(|(_, value)| value).collect();
        let headers: Vec<_> = request.headers.values().filter_map(|value| value.to_str().ok()).collect();
        let body = String::from_utf8_lossy(&request.body);
        let description = format!("{} | {} | {body} | {}", values.join(" "), headers.join(" "), request.url);
        answered(status, json!({"error": "invalid_request", "error_description": description}))
    }
}

const CLIENT_SECRET: &str = "cl1ent s3cret/+&ü=";
const REFRESH_TOKEN: &str = "r3fresh~token.first";
const API_KEY: &str = "4pi-key-in-header";
const PARAM: &str = "p4ram=secret";
const ACCESS_TOKEN: &str = "acc3ss-token-granted";
const ROTATED: &str = "r3fresh-token-second";
const ID_TOKEN: &str = "id3ntity.token.here";
const SESSION_TOKEN: &str = "s3ssion-token";

/// Everything that must not be seen, with what the server was sent.
fn secrets(key: &str, sent: &[Request]) -> Vec<String> {
    let plain = [CLIENT_SECRET, REFRESH_TOKEN, API_KEY, PARAM, ACCESS_TOKEN, ROTATED, ID_TOKEN, SESSION_TOKEN];
    let mut secrets: Vec<String> = plain.map(str::to_owned).into();
    secrets.extend(key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
    let basic = sent.iter().filter_map(|request| request.headers.get("authorization")?.to_str().ok());
    let basic: Vec<_> = basic.filter_map(|header| header.strip_prefix("Basic ")).map(str::to_owned).collect();
    let assertions = sent.iter().flat_map(form).filter(|(name, _)| name == "client_assertion");
    let assertions: Vec<_> = assertions.map(|(_, assertion)| assertion).collect();
    assert!(!basic.is_empty() && !assertions.is_empty());
    secrets.extend(basic.into_iter().chain(assertions));
    secrets.iter().flat_map(|secret| forms(secret)).collect()
}

/// Endpoints that grant, and endpoints that give away what they know in every way.
async fn talkative_server() -> MockServer {
    let server = MockServer::start().await;
    let good = json!({
        "access_token": ACCESS_TOKEN, "expires_in": 3600, "refresh_token": ROTATED, "id_token": ID_TOKEN,
        "note": format!("was {REFRESH_TOKEN}"), "x": {"y": [ROTATED, {"client_secret": CLIENT_SECRET}]},
    });
    answer_at(&server, "/good", answered(200, good)).await;
    for status in [400, 401, 500] {
        answer_at(&server, &format!("/echo-{status}"), echo(status)).await;
    }
    answer_at(&server, "/echo/oauth/client_credential/accesstoken", echo(400)).await;
    let page = format!("<p>{CLIENT_SECRET} {ACCESS_TOKEN}</p>");
    answer_at(&server, "/page", ResponseTemplate::new(403).set_body_raw(page, "text/html")).await;
    let elsewhere = json!({"token": ACCESS_TOKEN, "refresh_token": ROTATED});
    answer_at(&server, "/elsewhere", answered(200, elsewhere)).await;
    let location = format!("https://example.com/?access_token={ACCESS_TOKEN}");
    answer_at(&server, "/redirect", ResponseTemplate::new(302).insert_header("location", location)).await;
    server
}

/// Sources that succeed and fail in every way; `good` in their name says which.
async fn define_sources(deployment: &Deployment, server: &MockServer, key: &str) -> Vec<(String, String)> {
    let client = |token_endpoint: &str| and(client_at(token_endpoint), json!({"client_secret": CLIENT_SECRET}));
    let at = |path: &str, fields: Value| and(client(&format!("{}{path}", server.uri())), fields);
    let post = json!({"token_endpoint_auth_method": "client_secret_post"});
    let jwt = json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": key});
    let all = json!({
        "refresh_token": REFRESH_TOKEN, "headers": {"X-Api-Key": API_KEY}, "params": {"extra": PARAM},
    });
    let get = |base_url: &str| {
        let definition = json!({"provider": "onegov-nsw", "base_url": base_url, "client_id": "client"});
        and(and(definition, post.clone()), json!({"client_secret": CLIENT_SECRET, "params": {"extra": PARAM}}))
    };
    let closed = format!("http://127.0.0.1:{}", sockets::closed_port().await);
    let untrusted = Scripted::tls(Authority::new().server(false), vec![Reply::Hang]).await;
    let cut = Scripted::plain(vec![Reply::Send(format!("HTTP/1.1 200 OK\r\n{ACCESS_TOKEN}").into_bytes())]).await;
    let bad_url = format!("https://u:{PARAM}@example.com/{ACCESS_TOKEN}");
    let sources = [
        ("good", at("/good", all.clone())),
        ("good-post", at("/good", and(post.clone(), all.clone()))),
        ("good-jwt", at("/good", and(jwt.clone(), all.clone()))),
        ("echo", at("/echo-400", all.clone())),
        ("echo-post", at("/echo-400", and(post.clone(), all.clone()))),
        ("echo-jwt", at("/echo-400", and(jwt, all.clone()))),
        ("echo-401", at("/echo-401", and(post.clone(), all.clone()))),
        ("echo-500", at("/echo-500", and(post.clone(), all.clone()))),
        ("echo-get", get(&format!("{}/echo", server.uri()))),
        ("page", at("/page", all.clone())),
        ("elsewhere", at("/elsewhere", all.clone())),
        ("redirect", at("/redirect", all)),
        ("closed-get", get(&closed)),
        ("untrusted", client(&untrusted.url)),
        ("cut", client(&cut.url)),
        ("bad-field", at("/good", json!({"client_secrte": CLIENT_SECRET, "min_ttl": CLIENT_SECRET, "scope": 1}))),
        ("bad-key", at("/good", json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": &key[..80]}))),
        ("bad-place", at("/good", json!({"grant_type": REFRESH_TOKEN, "provider": CLIENT_SECRET, "owner": [API_KEY]}))),
        ("bad-url", at("/good", json!({"token_endpoint": bad_url}))),
    ];
    let mut sources: Vec<_> =
        sources.into_iter().map(|(name, definition)| (name.to_owned(), definition.to_string())).collect();
    sources.push(("bad-json".to_owned(), format!("{{\"client_secret\": \"{CLIENT_SECRET}\", {REFRESH_TOKEN}}}")));
    sources.push(("bad-type".to_owned(), format!("\"{CLIENT_SECRET}\"")));
    for (name, definition) in &sources {
        deployment.define(name, definition).await;
    }
    sources
}

#[tokio::test]
async fn nothing_that_a_run_emits_holds_a_secret_or_a_token() {
    let key = KeyPair::generate().expect("a key").serialize_pem();
    let (server, aws) = (talkative_server().await, aws_proxy().await);
    let deployment = Deployment::new().await.with("AWS_SESSION_TOKEN", SESSION_TOKEN);
    let deployment = deployment.with("AWS_ENDPOINT_URL_SNS", aws.uri()).with("AWS_ENDPOINT_URL_S3", aws.uri());
    let sources = define_sources(&deployment, &server, &key).await;

    let log = Kept::default();
    let logging = log.capture();
    let report = deployment.harvest_due().await;
    drop(logging);

    for (name, _) in &sources {
        let expected = if name.starts_with("good") { Outcome::Refreshed } else { Outcome::Failed };
        assert_eq!(line(&report, name).outcome, expected, "{name}");
    }
    let messages = published(&aws).await;
    assert_eq!(messages.len(), sources.len() + 1, "one for each, and one alert");
    let writes: Vec<_> = requests(&aws).await.into_iter().filter(|call| call.method == "PUT").collect();
    let documents = writes.iter().filter(|write| write.url.path().contains("/tokens/"));
    assert_eq!(documents.count(), 3);
    // The session token is what requests to AWS are sent with.
    let headers = writes.iter().flat_map(|write| &write.headers).filter(|(name, _)| *name != "x-amz-security-token");
    let config = Config::read(|name| deployment.variables.get(name).cloned()).expect("a configuration");
    let catalog: Vec<_> =
        sources.into_iter().map(|(name, definition)| Secret { name, content: Ok(definition.into()) }).collect();
    let mut metrics = Vec::new();
    telemetry::write_metrics(&report, report.finished_at, &mut metrics).expect("metrics");
    let emitted = [
        ("the log", log.text()),
        ("the report", serde_json::to_string(&report).expect("JSON")),
        ("the report's Debug", format!("{report:?}")),
        ("the metrics", String::from_utf8(metrics).expect("UTF-8")),
        ("the messages", serde_json::to_string(&messages).expect("JSON")),
        ("the messages as text", format!("{messages:?}")),
        ("the headers of S3's objects", format!("{:?}", headers.collect::<Vec<_>>())),
        ("the configuration's Debug", format!("{config:?}")),
        ("the secrets' Debug", format!("{catalog:?}")),
        ("the definitions' Debug", format!("{:?}", Catalog::new(catalog, PlainHttp::OnLoopback))),
    ];
    let secrets = secrets(&key, &requests(&server).await);
    let leaks: Vec<_> = emitted
        .iter()
        .flat_map(|(what, text)| {
            secrets.iter().filter(|secret| text.contains(*secret)).map(move |secret| (what, secret))
        })
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(emitted[0].1.contains("token refreshed") && emitted[0].1.contains("source failed"));
    assert_eq!(deployment.document("good").await["access_token"], ACCESS_TOKEN);
    assert_eq!(deployment.document("good").await["extra"], json!({"x": {"y": [{}]}}));
}
