//! Nothing that leaves a run holds a secret or a token, but for the token document itself.

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use wiremock::{MockServer, Request, ResponseTemplate};

use token_harvester::domain::report::Outcome;
use token_harvester::domain::source::{Catalog, PlainHttp, Secret};
use token_harvester::lambda::config::Config;
use token_harvester::lambda::telemetry;

use crate::support::deployment::Deployment;
use crate::support::line;
use crate::support::log::Kept;
use crate::support::proxy::{aws_proxy, published};
use crate::support::sockets::{self, Authority, Reply, Scripted};
use crate::support::token_endpoint::{and, answer_at, answered, client_at, form, parameter, requests};

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

/// Says whatever it was told, as names of members.
fn echo_as_names(request: &Request) -> ResponseTemplate {
    let headers = request.headers.values().filter_map(|value| value.to_str().ok()).map(str::to_owned);
    let told: Vec<_> = form(request).into_iter().map(|(_, value)| value).chain(headers).collect();
    let names = |prefix: &str| told.iter().map(|value| (format!("{prefix}{value}"), json!(1))).collect::<Map<_, _>>();
    let mut members = names("");
    members.insert("data".to_owned(), Value::Object(names("was ")));
    answered(200, Value::Object(members))
}

/// Says the refresh token that it was told, and nothing else.
fn echo_bare(request: &Request) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_string(parameter(request, "refresh_token").unwrap_or_default())
}

/// Says the beginning and the end of whatever it was told.
fn echo_in_part(request: &Request) -> ResponseTemplate {
    let headers = request.headers.values().filter_map(|value| value.to_str().ok()).map(str::to_owned);
    let values = form(request).into_iter().map(|(_, value)| value).chain(headers);
    let ends = values.filter(|value| value.len() > 60 && value.is_ascii());
    let ends: Vec<_> = ends.map(|value| format!("{}...{}", &value[..40], &value[value.len() - 25..])).collect();
    answered(400, json!({"error": "invalid_request", "error_description": ends.join(" ")}))
}

/// All secrets of the sources.
struct Words {
    client_secret: String,
    refresh_token: String,
    api_key: String,
    password: String,
    access_token: String,
    rotated: String,
    id_token: String,
    session_token: String,
}

impl Words {
    /// Some have characters that change when they are encoded.
    fn short() -> Self {
        Self {
            client_secret: "cl1ent s3cret/+&\u{fc}=".to_owned(),
            refresh_token: "r3fresh~token.first".to_owned(),
            api_key: "4pi-key-in-header".to_owned(),
            password: "p4ram=secret".to_owned(),
            access_token: "acc3ss-token-granted".to_owned(),
            rotated: "r3fresh-token-second".to_owned(),
            id_token: "id3ntity.token.here".to_owned(),
            session_token: "s3ssion-token".to_owned(),
        }
    }

    /// 2 KiB each.
    fn long() -> Self {
        let long = |word: &str| {
            (0..128).map(|part| format!("{word}{part:03}~/+={word}")).collect::<Vec<_>>().concat()[..2048].to_owned()
        };
        Self {
            client_secret: long("cl1ent"),
            refresh_token: long("r3fresh"),
            api_key: long("4pi-key"),
            password: long("p4ssword"),
            access_token: long("acc3ss"),
            rotated: long("r0tated"),
            id_token: long("id3ntity"),
            session_token: long("s3ssion"),
        }
    }

    /// Everything that must not be seen, with what the server was sent.
    fn all(&self, key: &str, sent: &[Request]) -> Vec<String> {
        let Self { client_secret, refresh_token, api_key, password, access_token, rotated, id_token, session_token } =
            self;
        let own = [client_secret, refresh_token, api_key, password, access_token, rotated, id_token, session_token];
        let mut secrets: Vec<String> = own.into_iter().cloned().collect();
        secrets.extend(key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
        let basic = sent.iter().filter_map(|request| request.headers.get("authorization")?.to_str().ok());
        let basic: Vec<_> = basic.filter_map(|header| header.strip_prefix("Basic ")).map(str::to_owned).collect();
        let assertions = sent.iter().flat_map(form).filter(|(name, _)| name == "client_assertion");
        let assertions: Vec<_> = assertions.map(|(_, assertion)| assertion).collect();
        assert!(!basic.is_empty() && !assertions.is_empty());
        secrets.extend(basic.into_iter().chain(assertions));
        secrets.iter().flat_map(|secret| forms(secret)).collect()
    }
}

/// The secrets that a text holds, and the parts of long ones: 16 bytes of 32 or more.
fn leaks(text: &str, secrets: &[String]) -> Vec<String> {
    let whole = secrets.iter().filter(|secret| text.contains(*secret)).cloned();
    let long = secrets.iter().filter(|secret| secret.len() >= 32);
    let parts: HashSet<_> = long.flat_map(|secret| secret.as_bytes().windows(16)).collect();
    let shown = text.as_bytes().windows(16).filter(|part| parts.contains(part));
    whole.chain(shown.take(3).map(|part| String::from_utf8_lossy(part).into_owned())).collect()
}

/// Endpoints that grant, and endpoints that give away what they know in every way.
async fn talkative_server(words: &Words) -> MockServer {
    let Words { client_secret, refresh_token, access_token, rotated, id_token, .. } = words;
    let server = MockServer::start().await;
    let good = json!({
        "access_token": access_token, "expires_in": 3600, "refresh_token": rotated, "id_token": id_token,
        "note": format!("was {refresh_token}"), "x": {"y": [rotated, {"client_secret": client_secret}]},
    });
    answer_at(&server, "/good", answered(200, good)).await;
    for status in [400, 401, 500] {
        answer_at(&server, &format!("/echo-{status}"), echo(status)).await;
    }
    answer_at(&server, "/echo/oauth/client_credential/accesstoken", echo(400)).await;
    answer_at(&server, "/echo-names", echo_as_names).await;
    answer_at(&server, "/echo-bare", echo_bare).await;
    answer_at(&server, "/echo-part", echo_in_part).await;
    let page = format!("<p>{client_secret} {access_token}</p>");
    answer_at(&server, "/page", ResponseTemplate::new(403).set_body_raw(page, "text/html")).await;
    let elsewhere = json!({"token": access_token, "refresh_token": rotated});
    answer_at(&server, "/elsewhere", answered(200, elsewhere)).await;
    let location = format!("https://example.com/?access_token={access_token}");
    answer_at(&server, "/redirect", ResponseTemplate::new(302).insert_header("location", location)).await;
    server
}

/// Sources that succeed and fail in every way; `good` in their name says which. One list of them, so it is long.
async fn define_sources(
    deployment: &Deployment,
    server: &MockServer,
    key: &str,
    words: &Words,
) -> Vec<(String, String)> {
    let Words { client_secret, refresh_token, api_key, password, access_token, .. } = words;
    let client = |token_endpoint: &str| and(client_at(token_endpoint), json!({"client_secret": client_secret}));
    let at = |path: &str, fields: Value| and(client(&format!("{}{path}", server.uri())), fields);
    let post = json!({"token_endpoint_auth_method": "client_secret_post"});
    let jwt = json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": key});
    let all = json!({
        "refresh_token": refresh_token, "headers": {"X-Api-Key": api_key}, "params": {"extra": password},
    });
    let by_password = json!({
        "provider": "custom", "grant_type": "password", "grants": {"password": {"params": {"password": password}}},
        "params": {"username": "jobs"},
    });
    let get = |base_url: &str| {
        let definition = json!({"provider": "onegov-nsw", "base_url": base_url, "client_id": "client"});
        and(and(definition, post.clone()), json!({"client_secret": client_secret, "params": {"extra": password}}))
    };
    let closed = format!("http://127.0.0.1:{}", sockets::closed_port().await);
    let untrusted = Scripted::tls(Authority::new().server(false), vec![Reply::Hang]).await;
    let cut = Scripted::plain(vec![Reply::Send(format!("HTTP/1.1 200 OK\r\n{access_token}").into_bytes())]).await;
    let bad_url = format!("https://u:{password}@example.com/{access_token}");
    let sources = [
        ("good", at("/good", all.clone())),
        ("good-post", at("/good", and(post.clone(), all.clone()))),
        ("good-jwt", at("/good", and(jwt.clone(), all.clone()))),
        ("echo", at("/echo-400", all.clone())),
        ("echo-post", at("/echo-400", and(post.clone(), all.clone()))),
        ("echo-jwt", at("/echo-400", and(jwt.clone(), all.clone()))),
        ("echo-401", at("/echo-401", and(post.clone(), all.clone()))),
        ("echo-500", at("/echo-500", and(post.clone(), all.clone()))),
        ("echo-get", get(&format!("{}/echo", server.uri()))),
        ("echo-password", at("/echo-400", by_password)),
        ("echo-names", at("/echo-names", all.clone())),
        ("echo-names-post", at("/echo-names", and(post.clone(), all.clone()))),
        ("echo-names-jwt", at("/echo-names", and(jwt.clone(), all.clone()))),
        ("echo-bare", at("/echo-bare", and(all.clone(), json!({"response": {"format": "form"}})))),
        ("echo-part", at("/echo-part", and(post.clone(), all.clone()))),
        ("page", at("/page", all.clone())),
        ("elsewhere", at("/elsewhere", all.clone())),
        ("redirect", at("/redirect", all)),
        ("closed-get", get(&closed)),
        ("untrusted", client(&untrusted.url)),
        ("cut", client(&cut.url)),
        ("bad-field", at("/good", json!({"client_secrte": client_secret, "min_ttl": client_secret, "scope": 1}))),
        ("bad-key", at("/good", json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": &key[..80]}))),
        ("bad-place", at("/good", json!({"grant_type": refresh_token, "provider": client_secret, "owner": [api_key]}))),
        ("bad-url", at("/good", json!({"token_endpoint": bad_url}))),
    ];
    let mut sources: Vec<_> =
        sources.into_iter().map(|(name, definition)| (name.to_owned(), definition.to_string())).collect();
    sources.push(("bad-json".to_owned(), format!("{{\"client_secret\": \"{client_secret}\", {refresh_token}}}")));
    sources.push(("bad-type".to_owned(), format!("\"{client_secret}\"")));
    for (name, definition) in &sources {
        deployment.define(name, definition).await;
    }
    sources
}

#[tokio::test]
async fn nothing_that_a_run_emits_holds_a_secret_or_a_token() {
    assert_nothing_is_emitted(&Words::short()).await;
}

#[tokio::test]
async fn nothing_that_a_run_emits_holds_a_part_of_a_long_secret() {
    assert_nothing_is_emitted(&Words::long()).await;
}

/// Harvests sources with these secrets, and looks for them in all that leaves the run.
async fn assert_nothing_is_emitted(words: &Words) {
    let key = KeyPair::generate().expect("a key").serialize_pem();
    let (server, aws) = (talkative_server(words).await, aws_proxy().await);
    let deployment = Deployment::new().await.with("AWS_SESSION_TOKEN", &words.session_token);
    let deployment = deployment.with("AWS_ENDPOINT_URL_SNS", aws.uri()).with("AWS_ENDPOINT_URL_S3", aws.uri());
    let sources = define_sources(&deployment, &server, &key, words).await;

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
    let secrets = words.all(&key, &requests(&server).await);
    for (what, text) in &emitted {
        assert_eq!(leaks(text, &secrets), [""; 0], "in {what}");
    }
    assert!(emitted[0].1.contains("token refreshed") && emitted[0].1.contains("source failed"));
    assert_eq!(deployment.document("good").await["access_token"], words.access_token);
    assert_eq!(deployment.document("good").await["extra"], json!({"x": {"y": [{}]}}));
}
