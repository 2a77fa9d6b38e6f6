//! Answers to applications: `/v1/`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::pages::{self, ApiError};
use super::routes::{Answered, Gateway};
use crate::app::connect::{Invocation, NewSession, Refusal, SessionReport, SessionRequest};
use crate::app::ports::{ConnectStore, Ports};
use crate::domain::time::rfc3339;
use crate::lambda::payload::Request;

/// What confirms a session.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirming {
    code: String,
}

/// `POST /v1/sessions`
pub(super) async fn make_session<P: Ports>(
    gateway: &Gateway<P>,
    request: &Request,
    invocation: &Invocation<'_>,
) -> Answered
where
    P::State: ConnectStore,
{
    let Some(principal) = &request.principal else { return nobody() };
    let asked: SessionRequest = match read(request) {
        Ok(asked) => asked,
        Err(message) => return refused(ApiError::RequestInvalid, &message),
    };
    match gateway.connector.begin_session(invocation, principal.clone(), asked).await {
        Ok(NewSession { session, url }) => {
            let body = json!({"id": session.id, "url": url, "expires_at": rfc3339(session.expires_at)});
            Answered::from(pages::json(201, &body)).about(&session.id)
        }
        Err(refusal) => refused_by(&refusal),
    }
}

/// `GET /v1/sessions/{id}`
pub(super) async fn session<P: Ports>(
    gateway: &Gateway<P>,
    request: &Request,
    invocation: &Invocation<'_>,
    id: &str,
) -> Answered
where
    P::State: ConnectStore,
{
    let Some(principal) = &request.principal else { return nobody() };
    match gateway.connector.look_at_session(invocation, principal, id).await {
        Ok(report) => told(&report).about(id),
        Err(refusal) => refused_by(&refusal),
    }
}

/// `POST /v1/sessions/{id}/confirm`
pub(super) async fn confirm<P: Ports>(
    gateway: &Gateway<P>,
    request: &Request,
    invocation: &Invocation<'_>,
    id: &str,
) -> Answered
where
    P::State: ConnectStore,
{
    let Some(principal) = &request.principal else { return nobody() };
    let Confirming { code } = match read(request) {
        Ok(confirming) => confirming,
        Err(message) => return refused(ApiError::RequestInvalid, &message),
    };
    match gateway.connector.confirm(invocation, principal, id, &code).await {
        Ok(session) => told(&SessionReport::new(session, gateway.connector.now())).about(id),
        Err(refusal) => refused_by(&refusal),
    }
}

/// `GET /v1/connections/{source}[/{account}]`
pub(super) async fn connection<P: Ports>(gateway: &Gateway<P>, request: &Request, name: &str) -> Answered
where
    P::State: ConnectStore,
{
    let Some(principal) = &request.principal else { return nobody() };
    match gateway.connector.look_at_connection(principal, name).await {
        Ok(report) => told(&report),
        Err(refusal) => refused_by(&refusal),
    }
}

/// An error.
pub(super) fn refused(error: ApiError, message: &str) -> Answered {
    Answered::from(pages::json_error(error, message)).error(error.as_str())
}

/// The address is right, and the method is not.
pub(super) fn method_not_allowed(allow: &str) -> Answered {
    let error = ApiError::RequestInvalid.as_str();
    let body = json!({"error": {"code": error, "message": format!("this address takes {allow}")}});
    let mut answer = pages::json(405, &body);
    answer.headers.push(("allow", allow.to_owned()));
    Answered::from(answer).error(error)
}

/// Nobody is known to have sent it.
pub(super) fn nobody() -> Answered {
    refused(ApiError::IdentityRequired, "whoever calls /v1/ must be known: sign the request, or send a token")
}

fn refused_by(refusal: &Refusal) -> Answered {
    let error = match refusal {
        Refusal::Invalid(_) => ApiError::RequestInvalid,
        Refusal::NotFound => ApiError::NotFound,
        Refusal::SessionEnded => ApiError::SessionEnded,
        Refusal::NotConnectable(_) => ApiError::SourceNotConnectable,
        Refusal::TooMany(_) => ApiError::TooManySessions,
        Refusal::ProviderFailed(_) => ApiError::ProviderFailed,
        Refusal::StoreUnavailable(_) => ApiError::StoreUnavailable,
    };
    refused(error, &refusal.to_string())
}

fn told(report: &impl Serialize) -> Answered {
    pages::json(200, &serde_json::to_value(report).unwrap_or(Value::Null)).into()
}

/// The body as it must be, or what is wrong with it.
fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    let invalid = |error| format!("the body is not the JSON object that it must be: {error}");
    serde_json::from_slice(&request.body).map_err(invalid)
}
