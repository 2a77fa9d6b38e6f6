//! The use case with the world in memory and tokio's time paused: waits are measured, not waited for.

mod bench;
mod connections;
mod credentials;
mod definitions;
mod grants;
mod incidents;
mod month;
mod requests;
mod runs;

use std::rc::Rc;
use std::time::Duration;

use chrono::SecondsFormat;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::bench::Bench;
use self::grants::held_until;
use super::*;
use crate::app::at_work::AtWork;
use crate::app::memory::{Half, Memory, Outbox, PausedClock, Secrets, Server, State, Tokens, start};
use crate::app::ports::Tagged;
use crate::domain::credential::Seed;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::grant::GrantState;
use crate::domain::lease::Lease;
use crate::domain::notice::message::Message;
use crate::domain::oauth::{Answer, AnswerBody, Rejection, Request};
use crate::domain::report::{Outcome, SourceReport, WarningCode};
use crate::domain::time::rfc3339;
use crate::domain::token::TokenDocument;

/// A definition whose token endpoint's path is the source's name.
fn client(source: &str, client_secret: &str) -> Value {
    json!({
        "token_endpoint": format!("https://{source}.example.com/{source}"),
        "client_id": "client",
        "client_secret": client_secret,
        "token_endpoint_auth_method": "client_secret_post",
    })
}

async fn minutes_pass(minutes: u64) {
    tokio::time::advance(Duration::from_secs(minutes * 60)).await;
}

fn token(name: &str) -> Answer {
    answer(200, &json!({"access_token": name, "expires_in": 3600}).to_string())
}

fn answer(status: u16, body: &str) -> Answer {
    Answer::new(status, AnswerBody::Whole(body.as_bytes().to_vec()))
}

fn sent_refresh_token(request: &Request) -> String {
    let body = request.body.as_ref().expect("a body").expose_secret();
    let pair = url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "refresh_token");
    pair.expect("a refresh token").1.into_owned()
}

fn forced() -> Event {
    Event { force: true, ..Event::default() }
}

fn throttled(retry_after: &str) -> Answer {
    Answer { headers: vec![("retry-after".to_owned(), retry_after.to_owned())], ..answer(429, "") }
}

fn code(report: &SourceReport) -> Option<&'static str> {
    report.error.as_ref().map(|error| error.code.as_str())
}

fn outcomes(report: &Report) -> Vec<(&str, Outcome)> {
    report.sources.iter().map(|source| (source.source.as_str(), source.outcome)).collect()
}
