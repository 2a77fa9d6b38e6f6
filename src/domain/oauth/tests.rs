mod answer;
mod any_answer;
mod error;
mod metadata;
mod request;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::*;
use crate::domain::credential::Seed;
use crate::domain::error::ErrorCode;
use crate::domain::source::PlainHttp;

fn definition(fields: &Value) -> Definition {
    let mut definition = json!({
        "token_endpoint": "https://as.example.com/token", "client_id": "client", "client_secret": "the secret"
    });
    for (name, value) in fields.as_object().expect("an object") {
        definition[name] = value.clone();
    }
    Definition::parse(&definition.to_string(), PlainHttp::Refused)
        .expect("a valid definition")
        .expect("an enabled source")
}

fn now() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

fn request(fields: &Value) -> Request {
    let endpoint: Url = "https://as.example.com/token".parse().expect("a URL");
    built(&definition(fields), &endpoint)
}

fn exchange(definition: &Definition) -> Exchange<'_> {
    let credential = definition.seed.as_ref().map(Seed::secret);
    Exchange { definition, flow: &definition.flow, credential, further: &[] }
}

fn built(definition: &Definition, endpoint: &Url) -> Request {
    exchange(definition).request(endpoint, "once", now()).expect("a request")
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.expose_secret())
}

fn form(request: &Request) -> Vec<(String, String)> {
    let body = request.body.as_ref().expect("a body").expose_secret();
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer::new(status, AnswerBody::Whole(body.into()))
}

fn read(answer: &Answer) -> Result<TokenAnswer, Rejection> {
    exchange(&definition(&json!({}))).read(answer, now(), now())
}

fn read_json(body: &Value) -> TokenAnswer {
    read(&answer(200, body.to_string())).expect("a token")
}

fn rejected(status: u16, body: &str) -> Rejection {
    read(&answer(status, body)).expect_err("no token")
}

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "none"})), part(claims))
}
