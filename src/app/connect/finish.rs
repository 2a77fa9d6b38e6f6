//! Finishing: the callback that a provider sends a browser back with.
//!
//! Of all deliveries of one callback, one claims the flow; only that one exchanges the code, and parks what comes before it
//! does anything else. The others wait for its outcome. A holder that died leaves its claim to run out: whoever comes after
//! that adopts what it parked, or ends the session.

use std::time::Duration;

use chrono::{SubsecRound as _, TimeDelta};
use secrecy::ExposeSecret as _;

use super::commit::Arrival;
use super::{Connectable, Connector, FlowFailed, Invocation, Refusal};
use crate::app::at_work::AtWork;
use crate::app::ports::{ConnectStore, FlowStore as _, ParkedStore as _, Ports, SessionStore as _, StoreError};
use crate::app::requester::Requester;
use crate::domain::connect::{Claim, ConnectError, Flow, Handle, Parked, Session, SessionId, Status};
use crate::domain::credential::CredentialKind;
use crate::domain::oauth::Exchange;
use crate::domain::oauth::authorization::{Callback, CallbackAnswer};

/// How long a claim outlasts the invocation that makes it.
const CLAIM_GRACE: TimeDelta = TimeDelta::seconds(5);

/// How often a delivery looks whether another one has ended the flow.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How a callback ended.
pub struct Ending {
    /// The session as it stands now.
    pub session: Session,
    /// The completion code, for a session that the application is to confirm.
    pub code: Option<Handle>,
    /// Name of the cookie that is of no more use.
    pub cookie: String,
}

/// What a callback came to.
pub type Outcome = Result<Ending, FlowFailed>;

/// A flow whose callback was checked.
struct Checked {
    connectable: Connectable,
    callback: Callback,
    flow: Flow,
    session: Session,
    /// The completion code that follows from this browser's cookie.
    code: Handle,
}

impl<P: Ports> Connector<P>
where
    P::State: ConnectStore,
{
    /// Ends a flow. `cookies`: all that the browser sent, by name.
    pub async fn finish(
        &self,
        invocation: &Invocation<'_>,
        source: &str,
        query: &str,
        cookies: &[(String, String)],
    ) -> Outcome {
        let checked = self.check(source, query, cookies).await?;
        let failed = |error: ConnectError| FlowFailed { error, session: Some(checked.session.id.clone()) };
        let claim = Claim {
            run_id: invocation.id.to_owned(),
            expires_at: (invocation.deadline.end + CLAIM_GRACE).trunc_subsecs(0),
        };
        let is_ours = self.world.state.claim(&checked.flow.state_sha256, &claim).await;
        let is_ours = is_ours.map_err(|error| failed(error.into()))?;
        let session = if is_ours {
            self.end(invocation, &checked).await.map_err(failed)?
        } else {
            self.wait_for_the_end(invocation, &checked).await.map_err(failed)?
        };
        let is_confirmable =
            session.status == Status::Unconfirmed || session.confirm && session.status == Status::Connected;
        Ok(Ending { session, code: is_confirmable.then_some(checked.code), cookie: checked.flow.cookie_name() })
    }

    /// Whose callback it is, and whether this browser may end it. Nothing is requested and nothing written.
    async fn check(&self, source: &str, query: &str, cookies: &[(String, String)]) -> Result<Checked, FlowFailed> {
        let nobody = |error: ConnectError| FlowFailed { error, session: None };
        let connectable = match self.connectable(source).await {
            Ok(connectable) => connectable,
            Err(Refusal::NotFound | Refusal::NotConnectable(_)) => return Err(nobody(ConnectError::state_unknown())),
            Err(refusal) => return Err(nobody(refusal.into())),
        };
        let unreadable = |error: StoreError| nobody(error.into());
        let callback = Callback::parse(query, &connectable.rules.authorize);
        let callback = callback.map_err(|fault| nobody(ConnectError::callback_malformed(&fault)))?;
        let unknown = || nobody(ConnectError::state_unknown());
        let state = Handle::parse(callback.state.expose_secret()).ok_or_else(unknown)?;
        let flow = self.world.state.read_flow(&state.sha256()).await.map_err(unreadable)?.ok_or_else(unknown)?;
        let session =
            self.world.state.read_session(&flow.session).await.map_err(unreadable)?.ok_or_else(unknown)?.value;
        if session.source != source {
            return Err(unknown());
        }
        let name = flow.cookie_name();
        let cookie = cookies.iter().filter(|(known, _)| *known == name).filter_map(|(_, value)| Handle::parse(value));
        let Some(cookie) = cookie.into_iter().find(|cookie| flow.is_of(cookie)) else {
            let claimed = self.world.state.read_claim(&flow.state_sha256).await.map_err(unreadable)?;
            let error = if claimed.is_some() { ConnectError::state_used() } else { ConnectError::browser_mismatch() };
            return Err(FlowFailed { error, session: None });
        };
        let expected = connectable.rules.authorize.issuer.as_deref();
        if expected.zip(callback.issuer.as_deref()).is_some_and(|(expected, issuer)| expected != issuer) {
            return Err(FlowFailed { error: ConnectError::issuer_mismatch(), session: Some(session.id) });
        }
        let code = cookie.completion_code(&state);
        Ok(Checked { connectable, callback, flow, session, code })
    }

    /// Ends the flow that this invocation has claimed: what comes of it is the session's status. The error: it failed, and
    /// the session goes on with another flow.
    async fn end(&self, invocation: &Invocation<'_>, checked: &Checked) -> Result<Session, ConnectError> {
        let parked = match self.exchange(invocation, checked).await {
            Ok(parked) => parked,
            Err(error) => {
                let flow = Some(checked.flow.state_sha256.as_str());
                let session = self.fail(invocation, checked.session.clone(), flow, error.clone()).await;
                return if session.status.is_final() { Ok(session) } else { Err(error) };
            }
        };
        let (connectable, session) = (&checked.connectable, checked.session.clone());
        Ok(self.settle(Arrival { invocation, connectable, session, parked }).await)
    }

    /// Exchanges the code once, and parks what comes.
    async fn exchange(&self, invocation: &Invocation<'_>, checked: &Checked) -> Result<Parked, ConnectError> {
        let Checked { connectable, callback, flow, session, code } = checked;
        let Connectable { source, rules } = connectable;
        let now = self.now();
        if session.status_at(now).is_final() || flow.expires_at <= now {
            return Err(ConnectError::state_expired());
        }
        if flow.definition_sha256 != source.definition.full_sha256 {
            return Err(ConnectError::definition_changed());
        }
        let authorization_code = match &callback.answer {
            CallbackAnswer::Code(authorization_code) => authorization_code,
            CallbackAnswer::Error { error, description } => {
                return Err(ConnectError::of_provider(error, description.as_deref()));
            }
        };
        let at_work = AtWork { run_id: invocation.id.to_owned(), source: session.connection() };
        let requester = self.requester(invocation, &at_work);
        let mut further = vec![("redirect_uri", flow.redirect_uri.as_str())];
        if flow.verifier.challenge(rules.authorize.pkce).is_some() {
            further.push(("code_verifier", flow.verifier.secret().expose_secret()));
        }
        let definition = &source.definition;
        let credential = Some(authorization_code);
        let exchange = Exchange { definition, flow: &rules.code, credential, further: &further };
        let mut received = requester.request_token(&exchange).await.map_err(|rejection| rejection.error)?;
        if let Some(longer) = &rules.exchange {
            let short = received.answer;
            let credential = Some(&short.access_token);
            let exchange = Exchange { definition, flow: longer, credential, further: &[] };
            received = requester.request_token(&exchange).await.map_err(|rejection| rejection.error)?;
            let mut extra = short.extra;
            extra.extend(std::mem::take(&mut received.answer.extra));
            received.answer.extra = extra;
            received.answer.scope = received.answer.scope.or(short.scope);
            received.answer.id_token = received.answer.id_token.or(short.id_token);
        }
        let lacks_refresh_token = received.answer.refresh_token.is_none() && !rules.may_lack_refresh_token;
        if rules.keeps == CredentialKind::RefreshToken && lacks_refresh_token {
            return Err(ConnectError::refresh_token_missing());
        }
        let granted = received.answer.scope.as_deref().or(rules.scope.as_deref()).unwrap_or_default();
        let has = |scope: &String| granted.split_ascii_whitespace().any(|granted| granted == scope);
        if !rules.required_scope.iter().all(has) {
            return Err(ConnectError::scope_missing());
        }
        let parked = Parked::new(
            session.id.clone(),
            flow.state_sha256.clone(),
            (received.answer, received.issued_at),
            callback.further.clone(),
            code.sha256(),
            self.now(),
        );
        self.world.state.park(&parked).await?;
        Ok(parked)
    }

    /// Another delivery ends the flow: its outcome is this one's too.
    async fn wait_for_the_end(&self, invocation: &Invocation<'_>, checked: &Checked) -> Result<Session, ConnectError> {
        loop {
            let Some(stored) = self.world.state.read_session(&checked.session.id).await? else {
                return Err(ConnectError::state_unknown());
            };
            let session = stored.value;
            let is_ended = !matches!(session.status_at(self.now()), Status::Pending | Status::Authorizing);
            if is_ended || session.flow.as_ref() != Some(&checked.flow.state_sha256) {
                return Ok(session);
            }
            let claim = self.world.state.read_claim(&checked.flow.state_sha256).await?;
            if claim.is_none_or(|claim| claim.expires_at <= self.now()) {
                return Ok(self.adopt(invocation, &checked.connectable, session).await);
            }
            if self.now() + TimeDelta::seconds(1) >= invocation.deadline.sources {
                return Ok(session);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Goes on where a holder died: with what it parked, or with the session's end.
    pub(super) async fn adopt(
        &self,
        invocation: &Invocation<'_>,
        connectable: &Connectable,
        session: Session,
    ) -> Session {
        match self.world.state.read_parked(&session.id).await {
            Ok(Some(parked)) if parked.expires_at > self.now() => {
                self.settle(Arrival { invocation, connectable, session, parked }).await
            }
            Ok(_) => {
                let flow = session.flow.clone();
                self.fail(invocation, session, flow.as_deref(), ConnectError::abandoned()).await
            }
            Err(_unreadable) => session,
        }
    }

    /// Sends requests for one connection.
    pub(super) fn requester<'a>(&'a self, invocation: &'a Invocation<'_>, at_work: &'a AtWork) -> Requester<'a, P> {
        Requester::new(&self.world, &invocation.servers, at_work, invocation.deadline.requests)
    }

    /// The session of an id; what can't be read counts as none.
    pub(super) async fn session(&self, id: &SessionId) -> Option<Session> {
        self.world.state.read_session(id).await.ok().flatten().map(|stored| stored.value)
    }
}
