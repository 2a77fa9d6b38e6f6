use std::rc::Rc;

use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::app::connect::Settings;
use crate::app::memory::{Half, Memory, Outbox, PausedClock, Secrets, Server, State, Tokens};
use crate::app::ports::World;
use crate::domain::connect::ReturnUrls;
use crate::domain::oauth::{Answer as TokenAnswer, AnswerBody};
use crate::domain::source::PlainHttp;
use crate::lambda::payload::ROUTES;

mod api;
mod browser;

const ORIGIN: &str = "https://connect.example.com";

/// A gateway in a world of its own, with the source `crm`.
struct Bench {
    state: Rc<State>,
    server: Rc<Server>,
    gateway: Gateway<Memory>,
}

/// A browser: the cookies that it keeps, in the order in which it got them.
#[derive(Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

fn crm() -> Value {
    json!({
        "grant_type": "authorization_code",
        "authorization_endpoint": "https://as.example.com/authorize",
        "token_endpoint": "https://as.example.com/crm",
        "client_id": "app",
        "client_secret": "hush",
        "scope": "read write",
        "owner": "Acme <Billing>",
    })
}

impl Bench {
    fn new() -> Self {
        Self::at(ORIGIN)
    }

    fn at(public_url: &str) -> Self {
        let (secrets, server) = (Rc::<Secrets>::default(), Rc::<Server>::default());
        let state = Rc::<State>::default();
        secrets.stored.borrow_mut().insert("crm".to_owned(), crm().to_string());
        let plain = json!({"token_endpoint": "https://as.example.com/x", "client_id": "c", "client_secret": "s"});
        secrets.stored.borrow_mut().insert("plain".to_owned(), plain.to_string());
        let answer = json!({"access_token": "t1", "refresh_token": "r1", "expires_in": 3600, "token_type": "Bearer"});
        let script = move |_: &_| Ok(TokenAnswer::new(200, AnswerBody::Whole(answer.to_string().into_bytes())));
        server.scripts.borrow_mut().insert("crm".to_owned(), Box::new(script));
        let world = World {
            clock: PausedClock(Instant::now()),
            random: Half,
            secrets,
            server: Rc::clone(&server),
            tokens: Rc::<Tokens>::default(),
            state: Rc::clone(&state),
            publisher: Rc::<Outbox>::default(),
        };
        let public_url: Url = public_url.parse().expect("a URL");
        let settings = Settings {
            environment: "test".to_owned(),
            public_url: public_url.clone(),
            return_urls: ReturnUrls::parse("https://app.example.com/done").expect("prefixes"),
            schedule_interval: TimeDelta::minutes(5),
            plain_http: PlainHttp::Refused,
        };
        Self { state, server, gateway: Gateway::new(Connector::new(settings, world), public_url) }
    }

    async fn answer(&self, event: Value) -> Response {
        let request = Request::parse(event, self.gateway.public_url.path()).expect("a request");
        let now = self.gateway.connector.now();
        let invocation = Invocation::new("run-1", now, now + TimeDelta::seconds(29));
        self.gateway.answer(&request, &invocation).await
    }

    /// A request of an application, with an identity of AWS.
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut event = event(method, path);
        event["requestContext"]["authorizer"] = json!({"iam": {"userArn": "arn:aws:iam::123456789012:user/App"}});
        event["body"] = Value::from(body.to_string());
        let response = self.answer(event).await;
        (response.status, serde_json::from_str(&response.body).expect("JSON"))
    }

    /// The path of a new session's link, and the session's id.
    async fn link(&self, wish: Value) -> (String, String) {
        let (status, made) = self.call("POST", "/v1/sessions", wish).await;
        assert_eq!(status, 201, "{made}");
        let url: Url = made["url"].as_str().expect("a URL").parse().expect("a URL");
        (url.path().to_owned(), made["id"].as_str().expect("an id").to_owned())
    }

    /// How many requests the provider has got.
    fn token_requests(&self) -> usize {
        self.server.asked_at.borrow().len()
    }
}

impl Browser {
    async fn send(&mut self, bench: &Bench, event: Value) -> Response {
        let mut event = event;
        event["cookies"] = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response = bench.answer(event).await;
        for set in &response.cookies {
            let (name, rest) = set.split_once('=').expect("a name");
            let value = rest.split(';').next().expect("a value");
            self.cookies.retain(|(known, _)| known != name);
            if !set.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        response
    }

    async fn get(&mut self, bench: &Bench, path: &str) -> Response {
        self.send(bench, event("GET", path)).await
    }

    /// Presses the button: the callback that the provider then sends the browser to, with its state.
    async fn go(&mut self, bench: &Bench, link: &str) -> String {
        let response = self.send(bench, with(event("POST", link), "origin", ORIGIN)).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let refresh = header(&response, "refresh").expect("the way on");
        let url: Url = refresh.strip_prefix("0; url=").expect("a URL").parse().expect("a URL");
        let (_, state) = url.query_pairs().find(|(name, _)| name == "state").expect("a state");
        format!("/callback/crm?code=c-1&state={state}")
    }
}

fn event(method: &str, target: &str) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": {},
        "requestContext": {"http": {"method": method}, "stage": "$default"},
    })
}

fn with(mut event: Value, header: &str, value: &str) -> Value {
    event["headers"][header] = value.into();
    event
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

#[test]
fn each_path_leads_somewhere_and_its_name_holds_nothing_of_it() {
    for (path, route, name) in [
        ("/health", Route::Health, "/health"),
        ("/v1/sessions", Route::Sessions, "/v1/sessions"),
        ("/v1/sessions/s1", Route::Session("s1"), "/v1/sessions/{id}"),
        ("/v1/sessions/s1/confirm", Route::Confirm("s1"), "/v1/sessions/{id}/confirm"),
        ("/v1/connections/crm", Route::Connection("crm"), "/v1/connections/{name}"),
        ("/v1/connections/crm/acme", Route::Connection("crm/acme"), "/v1/connections/{name}"),
        ("/connect/secret", Route::Link("secret"), "/connect/{token}"),
        ("/callback/crm", Route::Callback("crm"), "/callback/{source}"),
        ("/done/s1", Route::Done("s1"), "/done/{id}"),
        ("/v1/other/secret", Route::UnknownOfApi, "/v1/"),
    ] {
        assert_eq!((Route::of(path), route.name()), (route, name), "{path}");
        assert!(ROUTES.contains(&path.split('/').nth(1).expect("a segment")), "{path} may be no prefix");
    }
    for path in
        ["", "/", "/connect", "/connect/", "/connect/a/b", "/callback/", "/done/a/", "//health", "/health/", "/x"]
    {
        assert_eq!(Route::of(path), Route::Unknown, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn connect_28_health_says_that_it_is_well_and_no_more() {
    let bench = Bench::new();
    let response = bench.answer(event("GET", "/health")).await;
    assert_eq!((response.status, response.body.as_str()), (200, r#"{"status":"ok"}"#));
    let head = bench.answer(event("HEAD", "/health")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_is_asked_otherwise_is_said_to_people_as_a_page_and_to_programs_as_json() {
    let bench = Bench::new();
    for (method, path, status, content_type, allow) in [
        ("GET", "/", 404, "text/html; charset=utf-8", None),
        ("PUT", "/connect/x", 405, "text/html; charset=utf-8", Some("GET, HEAD, POST")),
        ("POST", "/callback/crm", 405, "text/html; charset=utf-8", Some("GET, HEAD")),
    ] {
        let response = bench.answer(event(method, path)).await;
        let said = (response.status, header(&response, "content-type"), header(&response, "allow"));
        assert_eq!(said, (status, Some(content_type), allow), "{method} {path}");
    }
    let (status, body) = bench.call("GET", "/v1/sessions", json!({})).await;
    assert_eq!((status, &body["error"]["code"]), (405, &json!("request_invalid")));
    let (status, body) = bench.call("GET", "/v1/other", json!({})).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("not_found")));
}

#[test]
fn an_event_that_is_no_request_has_no_answer_and_a_bad_body_has_one() {
    assert!(refuse(InvalidEvent::NotRequest).is_none());
    let response = refuse(InvalidEvent::BodyTooLong).expect("an answer");
    assert!(response.status == 400 && response.body.contains("request_invalid"), "{}", response.body);
}
