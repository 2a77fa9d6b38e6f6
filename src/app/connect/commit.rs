//! Committing: from what was parked to a connection that stands.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use tracing::{info, warn};

use super::{Connectable, Connector, Invocation};
use crate::app::at_work::AtWork;
use crate::app::grants::Grants;
use crate::app::ports::{
    ConnectStore, GrantStore as _, ParkedStore as _, Ports, Publisher as _, SessionStore as _, StoreError,
    WRITE_ATTEMPTS,
};
use crate::app::requester::Requester;
use crate::app::tokens::{self, NewToken, Tokens};
use crate::domain::connect::{ConnectError, Parked, Session, SessionId, Status};
use crate::domain::connection::Connection;
use crate::domain::credential::CredentialKind;
use crate::domain::grant::GrantState;
use crate::domain::notice::connection_event::{ConnectionEvent, Happening};
use crate::domain::oauth::Exchange;
use crate::domain::oauth::identity::{Identity, IdentityForm, IdentityPlace, id_token_claims};
use crate::domain::provider::connecting::Pairs;
use crate::domain::provider::dialect::RequestMethod;
use crate::domain::source::{ConnectRules, Source};
use crate::domain::token::RefreshRule;

/// How long a commit waits for a harvest that works on the same source.
const LEASE_PATIENCE: TimeDelta = TimeDelta::seconds(10);

/// What a provider gave for a session, on its way to a connection that stands.
pub(super) struct Arrival<'a> {
    pub(super) invocation: &'a Invocation<'a>,
    pub(super) connectable: &'a Connectable,
    pub(super) session: Session,
    pub(super) parked: Parked,
}

impl<P: Ports> Connector<P>
where
    P::State: ConnectStore,
{
    /// Goes on with what was parked: reads whose account it is, and commits it, or leaves it to the application to confirm.
    pub(super) async fn settle(&self, arrival: Arrival<'_>) -> Session {
        let identity = match self.accepted_identity(&arrival).await {
            Ok(identity) => identity,
            Err(error) => return self.refuse(arrival, error).await,
        };
        let Arrival { session, parked, .. } = &arrival;
        if session.confirm {
            let update = |session: &mut Session| {
                session.status = Status::Unconfirmed;
                session.flow = Some(parked.state_sha256.clone());
                session.identity.clone_from(&identity);
                session.code_sha256 = Some(parked.code_sha256.clone());
            };
            return self.update(&session.id, update).await.unwrap_or(arrival.session);
        }
        self.commit(arrival, identity).await
    }

    /// Ends the session of what arrived without a connection.
    async fn refuse(&self, arrival: Arrival<'_>, error: ConnectError) -> Session {
        let Arrival { invocation, session, parked, .. } = arrival;
        self.fail(invocation, session, Some(&parked.state_sha256), error).await
    }

    /// Whose account it is, if that is one that this session may bring.
    async fn accepted_identity(&self, arrival: &Arrival<'_>) -> Result<Option<Identity>, ConnectError> {
        let Arrival { invocation, connectable, session, parked } = arrival;
        let at_work = AtWork { run_id: invocation.id.to_owned(), source: session.connection() };
        let identity = self.identity(&self.requester(invocation, &at_work), connectable, parked).await;
        if !session.reconnect {
            return Ok(identity);
        }
        let Some(identity) = identity else { return Err(ConnectError::identity_unavailable()) };
        let stored = self.world.state.read_grant(&connectable.connection(session.account.as_deref())).await?;
        let connected = stored.as_ref().and_then(|stored| stored.value.connection());
        let before = connected.and_then(|connection| connection.identity.as_ref());
        if before.is_some_and(|before| before.id != identity.id) {
            return Err(ConnectError::identity_mismatch());
        }
        Ok(Some(identity))
    }

    /// Whose account it is, as the provider's declaration says; `None`: nobody can tell.
    async fn identity(
        &self,
        requester: &Requester<'_, P>,
        connectable: &Connectable,
        parked: &Parked,
    ) -> Option<Identity> {
        let rules = &connectable.rules;
        let answer = Value::Object(parked.answer.extra.clone());
        let claims = || {
            let id_token = parked.answer.id_token.as_ref()?.expose_secret();
            let claims = id_token_claims(id_token, &rules.client_id, rules.authorize.issuer.as_deref(), self.now());
            claims.inspect_err(|fault| info!(error.message = %fault, "ID token not used")).ok()
        };
        let form = match &rules.identity {
            Some(form) => form.clone(),
            None if parked.answer.id_token.is_some() => IdentityForm::of_subject(IdentityPlace::IdToken),
            None => self.userinfo(requester, connectable).await?,
        };
        match &form.from {
            IdentityPlace::Answer => form.read(&answer),
            IdentityPlace::IdToken => form.read(&claims()?),
            IdentityPlace::Callback => form.read_callback(&parked.callback),
            IdentityPlace::Request { .. } => {
                let tls = &connectable.source.definition.tls;
                let document = requester.ask_identity(&form, &rules.client_id, tls, &parked.answer.access_token).await;
                form.read(
                    &document
                        .inspect_err(|rejection| {
                            info!(
                                error.code = rejection.error.code.as_str(),
                                error.message = rejection.error.message,
                                "identity not read"
                            );
                        })
                        .ok()?,
                )
            }
        }
    }

    /// OpenID Connect's userinfo endpoint (Core section 5.3), where the issuer's metadata names one.
    async fn userinfo(&self, requester: &Requester<'_, P>, connectable: &Connectable) -> Option<IdentityForm> {
        let (definition, flow) = (&connectable.source.definition, &connectable.rules.code);
        let exchange = Exchange { definition, flow, credential: None, further: &[] };
        let url = requester.issuer_metadata(&exchange).await.ok()??.userinfo_endpoint?;
        let (parameter, headers) = (None, Pairs::default());
        let place = IdentityPlace::Request { url, method: RequestMethod::Get, parameter, headers };
        Some(IdentityForm::of_subject(place))
    }

    /// Commits a grant under the source's lease, publishes its token, and tells the application. What can't be done now
    /// stays parked, for whoever comes next.
    pub(super) async fn commit(&self, arrival: Arrival<'_>, identity: Option<Identity>) -> Session {
        let Arrival { invocation, connectable, session, parked } = &arrival;
        let at_work = AtWork { run_id: invocation.id.to_owned(), source: session.connection() };
        let name = connectable.connection(session.account.as_deref());
        let named = Source { name, definition: Arc::clone(&connectable.source.definition) };
        let requester = self.requester(invocation, &at_work);
        if let Err(error) = tokens::verify(&requester, &named, &parked.answer).await {
            return self.refuse(arrival, error.into()).await;
        }
        let grants = Grants::new(&self.world, &at_work, &invocation.deadline);
        let committed = self.commit_under_lease(&grants, &named, &arrival, identity.clone()).await;
        grants.give_back(&named.name).await;
        let Arrival { invocation, session, .. } = arrival;
        let happening = match committed {
            Ok(happening) => happening,
            Err(error) => {
                warn!(run.id = invocation.id, source.name = %named.name, error.message = %error, "connection not committed yet");
                return session;
            }
        };
        let update = |session: &mut Session| {
            session.status = Status::Connected;
            session.identity.clone_from(&identity);
        };
        let session = self.update(&session.id, update).await.unwrap_or(session);
        self.tell(happening, &session).await;
        if let Err(error) = self.world.state.drop_parked(&session.id).await {
            warn!(run.id = invocation.id, error.message = %error, "a parked grant stays until its time is over");
        }
        session
    }

    async fn commit_under_lease(
        &self,
        grants: &Grants<'_, P>,
        named: &Source,
        arrival: &Arrival<'_>,
        identity: Option<Identity>,
    ) -> Result<Happening, StoreError> {
        let Arrival { invocation, connectable, session, parked } = arrival;
        let rules = &connectable.rules;
        let failed = |message: String| StoreError(message);
        let give_up_at = self.now() + LEASE_PATIENCE;
        while !grants.take_lease(&named.name).await.map_err(|error| failed(error.message))? {
            if self.now() >= give_up_at.min(invocation.deadline.saves) {
                return Err(failed("another run holds the lease on the source's grant".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let connection = Connection {
            client_id: rules.client_id.clone(),
            identity,
            scope: parked.answer.scope.clone().or_else(|| rules.scope.clone()),
            owner: session.principal.clone(),
            connected_at: parked.issued_at,
            extra: kept(rules, parked),
        };
        let (happening, grant_expires_at) = self.save(named, rules, parked, connection.clone()).await?;
        let tokens = Tokens::new(&self.world);
        tokens.look_up(&named.name).await.map_err(|error| failed(error.message))?;
        let (answer, issued_at) = (parked.answer.clone(), parked.issued_at);
        let new = NewToken { answer, issued_at, grant_expires_at, connection: Some(connection) };
        let rule = RefreshRule::new(&named.definition, self.settings.schedule_interval);
        tokens.put(named, &rule, new).await.map_err(|error| failed(error.message))?;
        Ok(happening)
    }

    /// Saves the grant by compare-and-swap. What a person gave just now counts more than whatever else was written.
    async fn save(
        &self,
        named: &Source,
        rules: &ConnectRules,
        parked: &Parked,
        connection: Connection,
    ) -> Result<(Happening, Option<DateTime<Utc>>), StoreError> {
        let kind = if parked.answer.refresh_token.is_some() { rules.keeps } else { CredentialKind::AccessToken };
        for _ in 0..WRITE_ATTEMPTS {
            let stored = self.world.state.read_grant(&named.name).await?;
            let before = stored.as_ref().map(|stored| &stored.value);
            let next = GrantState::of_connection(kind, &parked.answer, parked.issued_at, connection.clone(), before);
            let next = next.ok_or_else(|| StoreError("what was parked holds no credential".to_owned()))?;
            let is_known = before.is_some_and(|before| before.connection().is_some());
            let happening = if is_known { Happening::Reconnected } else { Happening::Connected };
            let expected = stored.as_ref().map(|stored| stored.etag.as_str());
            if self.world.state.save_grant(&named.name, &next, expected).await?.is_some() {
                return Ok((happening, next.refresh_token_expires_at()));
            }
        }
        Err(StoreError(format!("the grant changed under {WRITE_ATTEMPTS} saves in a row")))
    }

    /// Ends a session without a connection, unless it has ended, or another flow of it has come further.
    pub(super) async fn fail(
        &self,
        invocation: &Invocation<'_>,
        session: Session,
        flow: Option<&str>,
        error: ConnectError,
    ) -> Session {
        let id = &session.id;
        info!(run.id = invocation.id, session.id = %id, error.code = error.code, error.message = error.message, "session failed");
        let is_this_flow = |session: &Session| session.flow.as_deref() == flow || session.flow.is_none();
        let update = |session: &mut Session| {
            if is_this_flow(session) && !session.status.is_final() && error.ends_the_session() {
                session.status = Status::Failed;
                session.error = Some(error.clone());
            }
        };
        let Some(updated) = self.update(id, update).await else { return session };
        if updated.status == Status::Failed {
            self.tell(Happening::Failed, &updated).await;
            let _ = self.world.state.drop_parked(id).await;
        }
        updated
    }

    /// Changes a session by compare-and-swap; `None`: it can't be read or written.
    pub(super) async fn update(&self, id: &SessionId, change: impl Fn(&mut Session)) -> Option<Session> {
        for _ in 0..WRITE_ATTEMPTS {
            let stored = self.world.state.read_session(id).await.ok()??;
            let mut session = stored.value.clone();
            change(&mut session);
            if session == stored.value {
                return Some(session);
            }
            match self.world.state.save_session(&session, &stored.etag).await {
                Ok(Some(_)) => return Some(session),
                Ok(None) => {}
                Err(error) => {
                    warn!(session.id = %id, error.message = %error, "session not saved");
                    return None;
                }
            }
        }
        None
    }

    /// Tells the application. It can ask, too, so trouble is only logged.
    pub(super) async fn tell(&self, happening: Happening, session: &Session) {
        let event = ConnectionEvent { environment: &self.settings.environment, happening, session };
        let message = event.message(self.world.publisher.limits());
        if let Err(error) = self.world.publisher.publish(&[message]).await {
            warn!(session.id = %session.id, error.message = %error, "connection event not published");
        }
    }
}

/// The parameters of the callback that jobs need.
fn kept(rules: &ConnectRules, parked: &Parked) -> Map<String, Value> {
    let wanted = parked.callback.iter().filter(|(name, _)| rules.authorize.keep.contains(name));
    wanted.map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}
