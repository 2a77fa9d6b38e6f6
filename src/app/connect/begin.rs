//! Beginning: a session for an application, and a flow for a browser that comes by its link.

use secrecy::ExposeSecret as _;
use url::Url;

use super::{Connectable, Connector, Cookie, Invocation, Refusal};
use crate::app::ports::{ConnectStore, FlowStore as _, GrantStore as _, Ports, SessionStore as _};
use crate::domain::connect::{Flow, Handle, MOST_STATE_CHARACTERS, Session, SessionId, Status, Wish};
use crate::domain::oauth::authorization::{AuthorizationRequest, Verifier};
use crate::domain::principal::Principal;
use crate::domain::source::AccountName;

/// Live sessions that a principal may have.
const MOST_SESSIONS: usize = 100;

/// What an application asks for (`POST /v1/sessions`).
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The source to connect.
    pub source: String,
    /// The account of it.
    #[serde(default)]
    pub account: Option<String>,
    /// Where the browser goes in the end.
    #[serde(default)]
    pub return_to: Option<String>,
    /// What comes back to the application as it was.
    #[serde(default)]
    pub state: Option<String>,
    /// Whether only the identity that is connected already will do.
    #[serde(default)]
    pub reconnect: bool,
    /// Whether the application must confirm; default: where there is a `return_to`.
    #[serde(default)]
    pub confirm: Option<bool>,
}

/// A session that was just made.
pub struct NewSession {
    /// The session.
    pub session: Session,
    /// The link, which holds its token.
    pub url: String,
}

/// A flow that was just begun.
pub struct Began {
    /// Where the browser is sent.
    pub redirect: Url,
    /// What it is to remember.
    pub cookie: Cookie,
}

impl<P: Ports> Connector<P>
where
    P::State: ConnectStore,
{
    /// Makes a session.
    pub async fn begin_session(
        &self,
        invocation: &Invocation<'_>,
        principal: Principal,
        request: SessionRequest,
    ) -> Result<NewSession, Refusal> {
        let connectable = self.connectable(&request.source).await?;
        let rules = &connectable.rules;
        let invalid = |message: &str| Err(Refusal::Invalid(message.to_owned()));
        match (&request.account, rules.accounts) {
            (None, true) => return invalid("`account` is required: the source has accounts"),
            (Some(_), false) => return invalid("`account` must be left out: the source has no accounts"),
            (Some(account), true) if AccountName::parse(account).is_none() => {
                return invalid("`account` must be 1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`, the first no sign");
            }
            _ => {}
        }
        if let Some(url) = &request.return_to
            && self.settings.return_urls.allow(url).is_none()
        {
            return invalid("`return_to` is not below any address that RETURN_URLS allows");
        }
        if request.state.as_ref().is_some_and(|state| state.chars().count() > MOST_STATE_CHARACTERS) {
            return invalid("`state` is longer than 512 characters");
        }
        let confirm = request.confirm.unwrap_or(request.return_to.is_some());
        if confirm && request.return_to.is_none() {
            return invalid("`confirm` needs a `return_to`: the code for it is handed over there");
        }
        let name = connectable.connection(request.account.as_deref());
        let connected = self.world.state.read_grant(&name).await?;
        let connection = connected.as_ref().and_then(|grant| grant.value.connection());
        if connection.is_some_and(|connection| !principal.sees(&connection.owner)) {
            return Err(Refusal::NotFound);
        }
        if request.reconnect && connection.is_none() {
            return invalid("`reconnect` names a connection that was never made");
        }
        let live = self.world.state.live_sessions(&principal, self.now()).await?;
        if live >= MOST_SESSIONS {
            return Err(Refusal::TooMany(live));
        }
        let endpoint = self.authorization_endpoint(invocation, &connectable).await?;
        let SessionRequest { source, account, return_to, state, reconnect, .. } = request;
        let wish = Wish { source, account, return_to, state, reconnect, confirm };
        let link = self.handle();
        let session = Session::new(&link, wish, principal, endpoint.to_string(), self.now());
        self.world.state.make_session(&session).await?;
        let url = format!("{}/connect/{}", self.public_url(), link.secret().expose_secret());
        Ok(NewSession { session, url })
    }

    /// The session that a link leads to, for its page. Looking at it changes nothing.
    pub async fn linked_session(&self, token: &str) -> Result<Option<Session>, Refusal> {
        let Some(link) = Handle::parse(token) else { return Ok(None) };
        Ok(self.world.state.read_session(&SessionId::of(&link)).await?.map(|session| session.value))
    }

    /// Begins a flow for the browser that came by a link.
    pub async fn begin_flow(&self, token: &str) -> Result<Began, Refusal> {
        let Some(link) = Handle::parse(token) else { return Err(Refusal::NotFound) };
        let Some(stored) = self.world.state.read_session(&SessionId::of(&link)).await? else {
            return Err(Refusal::NotFound);
        };
        let mut session = stored.value;
        if !matches!(session.status_at(self.now()), Status::Pending | Status::Authorizing) {
            return Err(Refusal::SessionEnded);
        }
        let Connectable { source, rules } = self.connectable(&session.source).await?;
        let endpoint = Url::parse(&session.authorization_endpoint)
            .map_err(|_| Refusal::NotConnectable("the authorization endpoint is no URL".to_owned()))?;
        let (state, cookie, verifier) = (self.handle(), self.handle(), self.handle());
        let redirect_uri = self.redirect_uri(&source, &rules);
        let flow = Flow::new(
            session.id.clone(),
            [&state, &cookie, &verifier],
            redirect_uri.clone(),
            source.definition.full_sha256.clone(),
            self.now(),
        );
        self.world.state.make_flow(&flow).await?;
        let request = AuthorizationRequest {
            endpoint: &endpoint,
            client_id: &rules.client_id,
            redirect_uri: &redirect_uri,
            scope: rules.scope.as_deref(),
            state: state.secret(),
            verifier: &Verifier::new(verifier.secret().clone()),
            form: &rules.authorize,
        };
        let redirect = request.url();
        session.status = Status::Authorizing;
        session.flow = Some(flow.state_sha256.clone());
        // Where another browser was a moment faster, its word stays: both flows may still end.
        let _ = self.world.state.save_session(&session, &stored.etag).await?;
        let cookie = Cookie { name: flow.cookie_name(), value: Some(cookie.secret().clone()) };
        Ok(Began { redirect, cookie })
    }
}
