//! Looking: how sessions and connections stand.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Connector, Invocation, Refusal};
use crate::app::ports::{ConnectStore, FlowStore as _, GrantStore as _, IncidentStore as _, Ports, TokenStore as _};
use crate::domain::connect::{ConnectError, Session, SessionId, Status};
use crate::domain::connection::Connection;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::oauth::identity::Identity;
use crate::domain::principal::Principal;
use crate::domain::source::SourceName;
use crate::domain::time::{rfc3339_seconds, rfc3339_seconds_option};
use crate::domain::token::RefreshRule;

/// A session, as an application sees it (`GET /v1/sessions/{id}`).
#[derive(Debug, Serialize)]
pub struct SessionReport {
    id: SessionId,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ConnectError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    #[serde(serialize_with = "rfc3339_seconds")]
    expires_at: DateTime<Utc>,
}

impl SessionReport {
    /// Of a session as it stands now.
    pub fn new(session: Session, now: DateTime<Utc>) -> Self {
        Self {
            status: session.status_at(now),
            id: session.id,
            source: session.source,
            account: session.account,
            state: session.state,
            error: session.error,
            identity: session.identity,
            expires_at: session.expires_at,
        }
    }
}

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// Its token is kept fresh.
    Connected,
    /// The last harvests could not refresh it, and try again.
    Failing,
    /// Only a person can help, by connecting again.
    NeedsAuthorization,
}

/// A connection, as an application sees it. It never holds a token.
#[derive(Debug, Serialize)]
pub struct ConnectionReport {
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// How it stands.
    pub status: ConnectionStatus,
    identity: Option<Identity>,
    scope: Option<String>,
    #[serde(serialize_with = "rfc3339_seconds")]
    connected_at: DateTime<Utc>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    refresh_after: Option<DateTime<Utc>>,
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<SourceError>,
}

impl<P: Ports> Connector<P>
where
    P::State: ConnectStore,
{
    /// How a session stands. One whose claim has run out is adopted first, so that it comes to an end.
    pub async fn look_at_session(
        &self,
        invocation: &Invocation<'_>,
        principal: &Principal,
        id: &str,
    ) -> Result<SessionReport, Refusal> {
        let mut session = self.own_session(principal, id).await?;
        if session.status_at(self.now()) == Status::Authorizing
            && let Some(flow) = &session.flow
        {
            match self.world.state.read_claim(flow).await? {
                Some(claim) if claim.expires_at <= self.now() => {
                    let connectable = self.connectable(&session.source).await?;
                    session = self.adopt(invocation, &connectable, session).await;
                }
                Some(_alive) => {}
                None => {
                    let flow = self.world.state.read_flow(flow).await?;
                    // The browser has not come back in time: another one may still go on from the link.
                    if flow.is_none_or(|flow| flow.expires_at <= self.now()) {
                        session.status = Status::Pending;
                    }
                }
            }
        }
        Ok(SessionReport::new(session, self.now()))
    }

    /// How a session stands, for its own page: nobody's identity is needed, since it says nothing secret.
    pub async fn look_at_done(&self, id: &str) -> Option<Session> {
        self.session(&SessionId::parse(id)?).await
    }

    /// How a connection stands.
    pub async fn look_at_connection(&self, principal: &Principal, name: &str) -> Result<ConnectionReport, Refusal> {
        let name = SourceName::parse_with_account(name).ok_or(Refusal::NotFound)?;
        let connection = self.own_connection(principal, &name).await?;
        let incident = self.world.state.read_incident(name.as_str()).await?;
        let error = incident.and_then(|incident| incident.value).map(|incident| incident.error);
        let stored = self.world.tokens.head(&name).await?;
        let metadata = stored.and_then(|stored| stored.metadata);
        let status = match &error {
            None => ConnectionStatus::Connected,
            Some(error) if error.code == ErrorCode::ReauthorizationRequired => ConnectionStatus::NeedsAuthorization,
            Some(_) => ConnectionStatus::Failing,
        };
        let rule = match self.connectable(name.source()).await {
            Ok(found) => RefreshRule::new(&found.source.definition, self.settings.schedule_interval),
            Err(_gone) => RefreshRule::usual(self.settings.schedule_interval),
        };
        let refresh_after = metadata.as_ref().map(|token| rule.refresh_after(token.issued_at, token.expires_at));
        Ok(ConnectionReport {
            source: name.source().to_owned(),
            account: name.account().map(str::to_owned),
            status,
            identity: connection.identity,
            scope: connection.scope,
            connected_at: connection.connected_at,
            expires_at: metadata.as_ref().and_then(|token| token.expires_at),
            refresh_after,
            generation: metadata.map(|token| token.generation),
            error,
        })
    }

    /// A connection of this principal; what belongs to somebody else is not there.
    async fn own_connection(&self, principal: &Principal, name: &SourceName) -> Result<Connection, Refusal> {
        let stored = self.world.state.read_grant(name).await?.ok_or(Refusal::NotFound)?;
        let connection = stored.value.connection().cloned().ok_or(Refusal::NotFound)?;
        if principal.sees(&connection.owner) { Ok(connection) } else { Err(Refusal::NotFound) }
    }
}
