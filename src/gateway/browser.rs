//! Answers to people: a link's page, the way to the provider and back, and how it ended.

use secrecy::ExposeSecret as _;
use url::Url;

use super::cookies::FlowCookie;
use super::pages::{self, Ask, Failure};
use super::routes::{Answered, Gateway};
use crate::app::connect::{About, Began, Ending, FlowFailed, Invocation, Refusal};
use crate::app::ports::{ConnectStore, Ports};
use crate::domain::connect::{ConnectError, Flow, Handle, ReturnUrl, Session, SessionId, Status};
use crate::lambda::payload::Request;

/// Characters of a state's hash in the log: as many as in the name of its cookie.
const HASH_PREFIX: usize = 12;

/// `GET /connect/{token}`: the page that asks whether to go on. Nothing changes, however often it is fetched.
pub(super) async fn ask<P: Ports>(gateway: &Gateway<P>, token: &str) -> Answered
where
    P::State: ConnectStore,
{
    let now = gateway.connector.now();
    let session = match live_session(gateway, token).await {
        Ok(session) => session,
        Err(answered) => return *answered,
    };
    let endpoint = Url::parse(&session.authorization_endpoint);
    let (about, endpoint) = match (gateway.connector.about(&session.source).await, endpoint) {
        (Ok(about), Ok(endpoint)) => (about, endpoint),
        (Err(refusal), _) => return failed(&refusal.into(), None, Some(&session.id), None),
        (_, Err(_no_url)) => return failed(&ConnectError::definition_changed(), None, Some(&session.id), None),
    };
    let page = pages::ask(&Ask {
        application: &about.application,
        provider: &about.provider,
        authorization_endpoint: &endpoint,
        source: &session.source,
        account: session.account.as_deref(),
        scopes: &about.scopes,
        reconnect: session.reconnect,
        expires_at: session.expires_at,
        now,
    });
    Answered::from(page).about(&session.id)
}

/// `POST /connect/{token}`: begins a flow and sends the browser to the provider.
pub(super) async fn go<P: Ports>(gateway: &Gateway<P>, request: &Request, token: &str) -> Answered
where
    P::State: ConnectStore,
{
    if !is_of_own_page(request, &gateway.public_url) {
        return failure(&Failure { code: "origin_mismatch", ..Failure::default() });
    }
    let session = match live_session(gateway, token).await {
        Ok(session) => session,
        Err(answered) => return *answered,
    };
    let link = link(gateway, token);
    let about = match gateway.connector.about(&session.source).await {
        Ok(about) => about,
        Err(refusal) => return failed(&refusal.into(), None, Some(&session.id), link.as_ref()),
    };
    match gateway.connector.begin_flow(token).await {
        Ok(Began { redirect, cookie }) => {
            let known = gateway.cookies.read(&request.cookies);
            let cookies = gateway.cookies.give(&cookie, token, &known);
            let answered = Answered::from(pages::going(&about.provider, &redirect)).about(&session.id);
            Answered { cookies, ..answered }
        }
        Err(Refusal::NotFound) => failure(&Failure { code: "link_unknown", ..Failure::default() }),
        Err(Refusal::SessionEnded) => ended(&session.id),
        Err(refusal) => failed(&refusal.into(), Some(&about), Some(&session.id), link.as_ref()),
    }
}

/// `GET /callback/{source}`: ends the flow, and sends the browser to the return address, or to a page.
pub(super) async fn finish<P: Ports>(
    gateway: &Gateway<P>,
    request: &Request,
    invocation: &Invocation<'_>,
    source: &str,
) -> Answered
where
    P::State: ConnectStore,
{
    let cookies = gateway.cookies.read(&request.cookies);
    let pairs: Vec<_> = cookies.iter().map(FlowCookie::pair).collect();
    let Ending { session, code, cookie } =
        match gateway.connector.finish(invocation, source, &request.query, &pairs).await {
            Ok(ending) => ending,
            Err(FlowFailed { error, session }) => {
                return not_finished(gateway, request, source, &error, session.as_ref(), &cookies).await;
            }
        };
    let status = session.status_at(gateway.connector.now());
    if matches!(status, Status::Pending | Status::Authorizing) {
        // To look again is to deliver the callback again, which ends on the same outcome, and with the same code.
        let about = gateway.connector.about(source).await;
        let provider = about.map_or_else(|_| source.to_owned(), |about| about.provider);
        return Answered::from(pages::at_work(&provider)).about(&session.id);
    }
    let code = code.as_ref().map(|code| code.secret().expose_secret());
    let location = match session.return_to.as_deref().and_then(ReturnUrl::kept) {
        Some(url) => url.with(session.id.as_str(), status.as_str(), code),
        None => below(gateway, &["done", session.id.as_str()]),
    };
    let cookies = vec![gateway.cookies.forget(&cookie)];
    let answered = Answered { cookies, ..pages::see_other(&location).into() }.about(&session.id);
    match &session.error {
        Some(error) => answered.error(&error.code),
        None => answered,
    }
}

/// The page of a callback that this browser can't end.
async fn not_finished<P: Ports>(
    gateway: &Gateway<P>,
    request: &Request,
    source: &str,
    error: &ConnectError,
    session: Option<&SessionId>,
    cookies: &[FlowCookie],
) -> Answered
where
    P::State: ConnectStore,
{
    let about = gateway.connector.about(source).await.ok();
    let state = state(&request.query);
    let name = state.as_ref().map(|sha256| format!("{}{}", Flow::COOKIE_PREFIX, &sha256[..HASH_PREFIX]));
    let cookie = cookies.iter().find(|cookie| Some(&cookie.name) == name.as_ref());
    let token = cookie.and_then(|cookie| cookie.link.as_ref()).map(|link| link.secret().expose_secret());
    let link = match token {
        Some(token) if live_session(gateway, token).await.is_ok() => link(gateway, token),
        _ => None,
    };
    let answered = failed(error, about.as_ref(), session, link.as_ref());
    match (session, state) {
        (None, Some(state)) => answered.about(&state[..HASH_PREFIX]),
        _ => answered,
    }
}

/// `GET /done/{id}`: how a session ended.
pub(super) async fn done<P: Ports>(gateway: &Gateway<P>, id: &str) -> Answered
where
    P::State: ConnectStore,
{
    let Some(session) = gateway.connector.look_at_done(id).await else {
        return pages::not_found().into();
    };
    let about = gateway.connector.about(&session.source).await.ok();
    let provider = about.as_ref().map_or(session.source.as_str(), |about| about.provider.as_str());
    let identity = session.identity.as_ref().map(|identity| identity.name.as_deref().unwrap_or(&identity.id));
    let page = match (session.status_at(gateway.connector.now()), &session.error) {
        (Status::Connected, _) => pages::connected(provider, identity),
        (Status::Unconfirmed, _) => {
            let application = about.as_ref().map_or("The application", |about| about.application.as_str());
            pages::unconfirmed(provider, application)
        }
        (Status::Failed, Some(error)) => return failed(error, about.as_ref(), Some(&session.id), None),
        (Status::Failed | Status::Expired, _) => return ended(&session.id),
        (Status::Pending | Status::Authorizing, _) => pages::at_work(provider),
    };
    Answered::from(page).about(&session.id)
}

/// The session of a link that still works, or the page that says why it doesn't.
async fn live_session<P: Ports>(gateway: &Gateway<P>, token: &str) -> Result<Session, Box<Answered>>
where
    P::State: ConnectStore,
{
    match gateway.connector.linked_session(token).await {
        Ok(Some(session)) => match session.status_at(gateway.connector.now()) {
            Status::Pending | Status::Authorizing => Ok(session),
            _ => Err(Box::new(ended(&session.id))),
        },
        Ok(None) => Err(Box::new(failure(&Failure { code: "link_unknown", ..Failure::default() }))),
        Err(refusal) => Err(Box::new(failed(&refusal.into(), None, None, link(gateway, token).as_ref()))),
    }
}

fn ended(session: &SessionId) -> Answered {
    failure(&Failure { code: "link_ended", session: Some(session.as_str()), ..Failure::default() }).about(session)
}

/// The page of an error.
fn failed(error: &ConnectError, about: Option<&About>, session: Option<&SessionId>, restart: Option<&Url>) -> Answered {
    let answered = failure(&Failure {
        code: &error.code,
        provider: about.map(|about| about.provider.as_str()),
        provider_error: error.provider_error.as_deref(),
        session: session.map(SessionId::as_str),
        restart,
        ..Failure::default()
    });
    match session {
        Some(session) => answered.about(session),
        None => answered,
    }
}

fn failure(failure: &Failure<'_>) -> Answered {
    Answered::from(pages::failure(failure)).error(failure.code)
}

/// Whether a form was sent by this gateway's own page, as far as its browser says. `null` is what some privacy settings
/// make of an origin; where the browser says besides that it is the same, that counts.
fn is_of_own_page(request: &Request, public_url: &Url) -> bool {
    let site = request.header("sec-fetch-site");
    match request.header("origin") {
        Some("null") => site == Some("same-origin"),
        Some(origin) => {
            origin == public_url.origin().ascii_serialization() && site.is_none_or(|site| site == "same-origin")
        }
        None => false,
    }
}

/// The hash of the state that a callback names, for the log and for finding its cookie.
fn state(query: &str) -> Option<String> {
    let (_, state) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state")?;
    Some(Handle::parse(&state)?.sha256())
}

/// A link's address.
fn link<P: Ports>(gateway: &Gateway<P>, token: &str) -> Option<Url> {
    let token = Handle::parse(token)?;
    Some(below(gateway, &["connect", token.secret().expose_secret()]))
}

/// An address of the gateway.
fn below<P: Ports>(gateway: &Gateway<P>, segments: &[&str]) -> Url {
    let mut url = gateway.public_url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}
