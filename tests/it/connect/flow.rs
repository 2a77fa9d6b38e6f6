//! The whole way: an application asks, a person agrees at a certified authorization server, a harvest keeps the token
//! fresh.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use futures_util::future::join_all;
use serde_json::{Value, json};
use url::Url;

use crate::authorization_server::server;
use crate::support::assert_refreshed;
use crate::support::deployment::Deployment;
use crate::support::function::{CONNECT, Function, answered_to, runtime_api_of};
use crate::support::process::unique_number;

/// Where the gateway is said to be; nothing listens there: what a browser would send there becomes an event.
const PUBLIC_URL: &str = "https://connect.example.com";

const RETURN_URL: &str = "https://app.example.com/done";

/// The deployment with a gateway.
pub(super) fn gateway(deployment: Deployment) -> Deployment {
    deployment.with("PUBLIC_URL", PUBLIC_URL).with("RETURN_URLS", RETURN_URL)
}

/// A request as an HTTP API hands it over.
pub(super) fn event(method: &str, target: &str) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": {},
        "requestContext": {"http": {"method": method}, "stage": "$default"},
    })
}

/// What the gateway answers.
struct Answer {
    status: u64,
    headers: Value,
    cookies: Vec<String>,
    body: String,
}

impl Answer {
    fn of(response: &Value) -> Self {
        let cookies = response["cookies"].as_array().expect("cookies").iter();
        Self {
            status: response["statusCode"].as_u64().expect("a status"),
            headers: response["headers"].clone(),
            cookies: cookies.map(|cookie| cookie.as_str().expect("a cookie").to_owned()).collect(),
            body: response["body"].as_str().expect("a body").to_owned(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.headers))
    }
}

/// A deployment with a gateway and the source `crm`, whose provider is the certified server. Keeps what the gateway logs.
struct Place {
    deployment: Deployment,
    log: std::cell::RefCell<String>,
}

impl Place {
    async fn new() -> Self {
        let deployment = gateway(Deployment::new().await);
        let definition = json!({
            "grant_type": "authorization_code", "issuer": server()["issuer"],
            "client_id": "connecting", "client_secret": server()["clientSecret"], "scope": "openid offline_access",
            // Without it the server gives no refresh token (OpenID Connect Core section 11).
            "authorize": {"params": {"prompt": "consent"}},
        });
        deployment.define("crm", definition).await;
        Self { deployment, log: std::cell::RefCell::default() }
    }

    /// Answers these requests one after the other, in a gateway that has just started.
    async fn answers(&self, events: &[Value]) -> Vec<Answer> {
        let run = format!("request-{}", unique_number());
        let api = runtime_api_of(&run, events).await;
        let function = Function::start(CONNECT, Some(&api.address().to_string()), &self.deployment.variables);
        let mut answers = Vec::new();
        for number in 1..=events.len() {
            answers.push(Answer::of(&answered_to(&api, &format!("{run}-{number}")).await));
        }
        for line in function.log() {
            self.log.borrow_mut().push_str(&line.to_string());
        }
        answers
    }

    async fn answer(&self, event: Value) -> Answer {
        self.answers(&[event]).await.remove(0)
    }

    /// A request of the application.
    async fn call(&self, method: &str, path: &str, body: &Value) -> (u64, Value) {
        let mut event = event(method, path);
        event["requestContext"]["authorizer"] = json!({"iam": {"userArn": "arn:aws:iam::123456789012:user/App"}});
        event["body"] = body.to_string().into();
        let answer = self.answer(event).await;
        (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
    }

    /// A new session: its id, and its link's path.
    async fn session(&self, wish: Value) -> (String, String) {
        let (status, made) = self.call("POST", "/v1/sessions", &wish).await;
        assert_eq!(status, 201, "{made}");
        let link = made["url"].as_str().and_then(|url| url.strip_prefix(PUBLIC_URL)).expect("a link");
        (made["id"].as_str().expect("an id").to_owned(), link.to_owned())
    }

    async fn status(&self, id: &str) -> Value {
        let (_, session) = self.call("GET", &format!("/v1/sessions/{id}"), &json!({})).await;
        session["status"].clone()
    }
}

/// A browser with cookies for the gateway and for the provider.
#[derive(Default, Clone)]
struct Browser {
    own: BTreeMap<String, String>,
    providers: BTreeMap<String, String>,
}

impl Browser {
    fn event(&self, method: &str, target: &str) -> Value {
        let mut event = event(method, target);
        event["cookies"] = self.own.iter().map(|(name, value)| format!("{name}={value}")).collect();
        event["headers"] = json!({"origin": PUBLIC_URL, "sec-fetch-site": "same-origin"});
        event
    }

    async fn send(&mut self, place: &Place, method: &str, target: &str) -> Answer {
        let answer = place.answer(self.event(method, target)).await;
        for cookie in &answer.cookies {
            keep(&mut self.own, cookie);
        }
        answer
    }

    /// Presses the button on a link's page, and agrees to everything at the provider: the callback.
    async fn agree(&mut self, place: &Place, link: &str) -> String {
        let answer = self.send(place, "POST", link).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut url = answer.header("refresh").strip_prefix("0; url=").expect("the way on").to_owned();
        for _ in 0..10 {
            if let Some(callback) = url.strip_prefix(PUBLIC_URL) {
                return callback.to_owned();
            }
            url = self.follow(&url);
        }
        panic!("no callback after ten redirects, but {url}");
    }

    /// Fetches an address of the provider: where it redirects to.
    fn follow(&mut self, url: &str) -> String {
        let url: Url = url.parse().expect("a URL");
        let address = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        let cookies: Vec<_> = self.providers.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {address}\r\ncookie: {}\r\nconnection: close\r\n\r\n",
            &url[url::Position::BeforePath..],
            cookies.join("; ")
        );
        let mut connection = TcpStream::connect(&address).expect("a connection");
        connection.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        let mut location = None;
        for (name, value) in answer.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(": "))
        {
            match name.to_lowercase().as_str() {
                "set-cookie" => keep(&mut self.providers, value),
                "location" => location = Some(url.join(value).expect("a URL").to_string()),
                _ => {}
            }
        }
        location.unwrap_or_else(|| panic!("no redirect of {url}: {answer}"))
    }
}

/// Keeps a cookie, or forgets it.
fn keep(cookies: &mut BTreeMap<String, String>, set: &str) {
    let (name, rest) = set.split_once('=').expect("a name");
    match rest.split(';').next().expect("a value") {
        "" => cookies.remove(name),
        value => cookies.insert(name.to_owned(), value.to_owned()),
    };
}

#[tokio::test]
async fn connect_3_8_and_25_a_person_connects_and_harvests_keep_the_token_fresh() {
    let place = Place::new().await;
    let (id, link) = place.session(json!({"source": "crm"})).await;
    let before = keys(&place).await;
    let scanner = vec![event("GET", &link); 10];
    for page in place.answers(&scanner).await {
        assert_eq!((page.status, page.cookies.len()), (200, 0), "{}", page.body);
    }
    assert_eq!(keys(&place).await, before, "ten looks leave nothing");
    assert_eq!(place.status(&id).await, "pending");

    let mut browser = Browser::default();
    let callback = browser.agree(&place, &link).await;
    assert!(callback.starts_with("/callback/crm?") && callback.contains("&iss="), "{callback}");
    let cookie = browser.own.values().next().expect("a cookie").clone();
    assert_eq!(place.status(&id).await, "authorizing");

    // Each in a gateway of its own, as if they came at once; a second use of the code would end the grant.
    let deliveries = join_all((0..4).map(|_| place.answer(browser.event("GET", &callback)))).await;
    for answer in deliveries {
        let location = answer.headers["location"].as_str();
        assert_eq!(
            (answer.status, location),
            (303, Some(format!("{PUBLIC_URL}/done/{id}").as_str())),
            "{}",
            answer.body
        );
        assert!(answer.cookies[0].contains("Max-Age=0"), "{:?}", answer.cookies);
    }
    let done = browser.send(&place, "GET", &format!("/done/{id}")).await;
    assert!(done.status == 200 && done.body.contains("is connected"), "{}", done.body);

    let grant = place.deployment.state("grants/crm.json").await.expect("a grant");
    let document = place.deployment.document("crm").await;
    assert_eq!((&document["generation"], &document["identity"]["id"]), (&json!(1), &json!("ada-1815")), "{document}");
    let (_, connection) = place.call("GET", "/v1/connections/crm", &json!({})).await;
    assert_eq!((&connection["status"], &connection["identity"]["id"]), (&json!("connected"), &json!("ada-1815")));

    for generation in 2..=3 {
        let report = place.deployment.harvest(json!({"force": true})).await;
        assert_refreshed(&report, "crm", generation);
    }
    let log = place.log.borrow();
    let callback: Url = format!("{PUBLIC_URL}{callback}").parse().expect("a URL");
    let parameters: BTreeMap<_, _> = callback.query_pairs().into_owned().collect();
    let tokens = [&grant["refresh_token"], &document["access_token"]].map(|token| token.as_str().expect("a token"));
    let link = link.rsplit('/').next().expect("a token");
    let handle = cookie.split('.').next().expect("a handle");
    for secret in [&parameters["code"], &parameters["state"], link, handle, tokens[0], tokens[1]] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
    assert!(log.contains("\"/callback/{source}\"") && log.contains(&id), "{log}");
}

#[tokio::test]
async fn connect_6_and_16_another_browser_is_refused_and_the_application_confirms() {
    let place = Place::new().await;
    let wish = json!({"source": "crm", "return_to": RETURN_URL, "state": "order 7"});
    let (id, link) = place.session(wish).await;
    let mut browser = Browser::default();
    let callback = browser.agree(&place, &link).await;

    let page = Browser::default().send(&place, "GET", &callback).await;
    assert!(page.status == 403 && page.body.contains("browser_mismatch"), "{}", page.body);
    assert_eq!(place.status(&id).await, "authorizing");

    let answer = browser.send(&place, "GET", &callback).await;
    let location: Url = answer.header("location").parse().expect("a URL");
    assert!(location.as_str().starts_with(RETURN_URL), "{location}");
    let told: BTreeMap<_, _> = location.query_pairs().into_owned().collect();
    assert_eq!((told["session"].as_str(), told["status"].as_str()), (id.as_str(), "unconfirmed"));
    assert!(place.deployment.state("grants/crm.json").await.is_none(), "nothing is saved yet");
    assert!(place.deployment.head("crm").await.is_none(), "nothing is published yet");

    let (status, session) =
        place.call("POST", &format!("/v1/sessions/{id}/confirm"), &json!({"code": told["code"]})).await;
    assert_eq!((status, &session["status"], &session["state"]), (200, &json!("connected"), &json!("order 7")));
    assert_refreshed(&place.deployment.harvest(json!({"force": true})).await, "crm", 2);
    let parked = place.deployment.state(&format!("connect/parked/{id}.json")).await;
    assert!(parked.is_none(), "a commit leaves nothing parked");
}

/// The keys of the state bucket.
async fn keys(place: &Place) -> Vec<String> {
    let list = place.deployment.s3.list_objects_v2().bucket(place.deployment.variable("STATE_BUCKET"));
    let list = list.send().await.expect("keys");
    list.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect()
}
