//! Which request is answered by what.

use serde_json::json;
use tracing::info;
use url::Url;

use super::pages::{self, Answer, ApiError};
use super::{api, browser, cookies::Cookies};
use crate::app::connect::{Connector, Invocation};
use crate::app::ports::{ConnectStore, Ports};
use crate::lambda::payload::{InvalidEvent, Request, Response};

/// The gateway: maps requests to the connector's verbs, and their outcomes to answers.
pub struct Gateway<P: Ports> {
    pub(super) connector: Connector<P>,
    pub(super) public_url: Url,
    pub(super) cookies: Cookies,
}

/// An answer, and what the log says of it.
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// Values of `Set-Cookie`.
    pub(super) cookies: Vec<String>,
    /// The session's id, or the beginning of a state's hash.
    pub(super) about: Option<String>,
    /// Why it is no success.
    pub(super) error: Option<String>,
}

impl Answered {
    /// About this.
    pub(super) fn about(self, about: &(impl ToString + ?Sized)) -> Self {
        Self { about: Some(about.to_string()), ..self }
    }

    /// With this for the log.
    pub(super) fn error(self, code: &str) -> Self {
        Self { error: Some(code.to_owned()), ..self }
    }
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        Self { answer, cookies: Vec::new(), about: None, error: None }
    }
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    Health,
    Sessions,
    Session(&'a str),
    Confirm(&'a str),
    Connection(&'a str),
    UnknownOfApi,
    Link(&'a str),
    Callback(&'a str),
    Done(&'a str),
    Unknown,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Self {
        let segments: Vec<&str> = path.strip_prefix('/').unwrap_or_default().split('/').collect();
        let is_whole = !segments.contains(&"");
        match segments[..] {
            ["health"] => Self::Health,
            ["v1", "sessions"] => Self::Sessions,
            ["v1", "sessions", id] if is_whole => Self::Session(id),
            ["v1", "sessions", id, "confirm"] if is_whole => Self::Confirm(id),
            ["v1", "connections", _] | ["v1", "connections", _, _] if is_whole => {
                Self::Connection(&path["/v1/connections/".len()..])
            }
            ["v1", ..] => Self::UnknownOfApi,
            ["connect", token] if is_whole => Self::Link(token),
            ["callback", source] if is_whole => Self::Callback(source),
            ["done", id] if is_whole => Self::Done(id),
            _ => Self::Unknown,
        }
    }

    /// As the log names it: a path may hold a link, and a query a code.
    fn name(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Sessions => "/v1/sessions",
            Self::Session(_) => "/v1/sessions/{id}",
            Self::Confirm(_) => "/v1/sessions/{id}/confirm",
            Self::Connection(_) => "/v1/connections/{name}",
            Self::UnknownOfApi => "/v1/",
            Self::Link(_) => "/connect/{token}",
            Self::Callback(_) => "/callback/{source}",
            Self::Done(_) => "/done/{id}",
            Self::Unknown => "/",
        }
    }

    /// The methods that it takes, for the header `Allow`.
    fn methods(self) -> &'static str {
        match self {
            Self::Sessions | Self::Confirm(_) => "POST",
            Self::Link(_) => "GET, HEAD, POST",
            Self::Health | Self::Session(_) | Self::Connection(_) | Self::Callback(_) | Self::Done(_) => "GET, HEAD",
            Self::UnknownOfApi | Self::Unknown => "",
        }
    }

    fn is_of_api(self) -> bool {
        self.name().starts_with("/v1/")
    }

    /// Whether to fetch it means something, so that what only fetches ahead must not.
    fn is_for_people_only(self) -> bool {
        matches!(self, Self::Link(_) | Self::Callback(_))
    }
}

impl<P: Ports> Gateway<P>
where
    P::State: ConnectStore,
{
    /// A gateway that browsers reach at `public_url`.
    pub fn new(connector: Connector<P>, public_url: Url) -> Self {
        let cookies = Cookies::new(public_url.scheme() == "https");
        Self { connector, public_url, cookies }
    }

    /// What it maps requests to.
    pub fn connector(&self) -> &Connector<P> {
        &self.connector
    }

    /// Answers a request, and says so in the log.
    pub async fn answer(&self, request: &Request, invocation: &Invocation<'_>) -> Response {
        let began_at = self.connector.now();
        let route = Route::of(&request.path);
        let Answered { answer, cookies, about, error } = self.answered(request, route, invocation).await;
        info!(
            run.id = invocation.id,
            http.route = route.name(),
            http.method = method(request),
            http.status = answer.status,
            duration_ms = (self.connector.now() - began_at).num_milliseconds(),
            session.id = about,
            error.code = error,
            "request answered"
        );
        let body = if request.method == "HEAD" { String::new() } else { answer.body };
        Response { status: answer.status, headers: answer.headers, cookies, body }
    }

    async fn answered(&self, request: &Request, route: Route<'_>, invocation: &Invocation<'_>) -> Answered {
        if route.is_of_api() && request.principal.is_none() {
            return api::nobody();
        }
        if route.is_for_people_only() && (request.method == "HEAD" || is_fetched_ahead(request)) {
            return pages::empty(204).into();
        }
        let method = if request.method == "HEAD" { "GET" } else { request.method.as_str() };
        match (route, method) {
            (Route::Health, "GET") => pages::json(200, &json!({"status": "ok"})).into(),
            (Route::Sessions, "POST") => api::make_session(self, request, invocation).await,
            (Route::Session(id), "GET") => api::session(self, request, invocation, id).await,
            (Route::Confirm(id), "POST") => api::confirm(self, request, invocation, id).await,
            (Route::Connection(name), "GET") => api::connection(self, request, name).await,
            (Route::Link(token), "GET") => browser::ask(self, token).await,
            (Route::Link(token), "POST") => browser::go(self, request, token).await,
            (Route::Callback(source), "GET") => browser::finish(self, request, invocation, source).await,
            (Route::Done(id), "GET") => browser::done(self, id).await,
            (Route::UnknownOfApi, _) => api::refused(ApiError::NotFound, "there is nothing at this address"),
            (Route::Unknown, _) => pages::not_found().into(),
            (route, _) if route.is_of_api() => api::method_not_allowed(route.methods()),
            (route, _) => pages::method_not_allowed(route.methods()).into(),
        }
    }
}

/// The answer to an event that can't be read as a request; `None`: it is none at all.
pub fn refuse(error: InvalidEvent) -> Option<Response> {
    match error {
        InvalidEvent::NotRequest => None,
        InvalidEvent::BodyTooLong | InvalidEvent::BodyNotBase64 => {
            let Answer { status, headers, body } = pages::json_error(ApiError::RequestInvalid, &error.to_string());
            Some(Response { status, headers, cookies: Vec::new(), body })
        }
    }
}

/// The method as the log names it: others can be any text.
fn method(request: &Request) -> &'static str {
    ["GET", "HEAD", "POST", "DELETE"].into_iter().find(|known| *known == request.method).unwrap_or("other")
}

/// Whether a browser fetches it before anybody has asked for it.
/// <https://wicg.github.io/nav-speculation/prefetch.html#sec-purpose-header>
fn is_fetched_ahead(request: &Request) -> bool {
    ["sec-purpose", "purpose", "x-moz"].into_iter().filter_map(|name| request.header(name)).any(|purpose| {
        purpose.split([';', ',']).any(|word| {
            let word = word.trim();
            ["prefetch", "prerender", "preview"].iter().any(|ahead| word.eq_ignore_ascii_case(ahead))
        })
    })
}

#[cfg(test)]
mod tests;
