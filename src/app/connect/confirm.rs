//! Confirming: the application says whose browser it was, by the completion code that it got at its return address.

use super::commit::Arrival;
use super::{Connector, Invocation, Refusal};
use crate::app::ports::{ConnectStore, ParkedStore as _, Ports, SessionStore as _};
use crate::domain::connect::{Confirmation, ConnectError, Handle, Session, SessionId, Status};
use crate::domain::principal::Principal;

impl<P: Ports> Connector<P>
where
    P::State: ConnectStore,
{
    /// Confirms a session: only then is its grant saved and its token published.
    pub async fn confirm(
        &self,
        invocation: &Invocation<'_>,
        principal: &Principal,
        id: &str,
        code: &str,
    ) -> Result<Session, Refusal> {
        let session = self.own_session(principal, id).await?;
        let Some(code) = Handle::parse(code) else {
            return self.wrong_code(invocation, &session).await;
        };
        match session.confirm(&code, self.now()) {
            Confirmation::Ended => Err(Refusal::SessionEnded),
            Confirmation::Wrong => self.wrong_code(invocation, &session).await,
            Confirmation::Right if session.status == Status::Connected => Ok(session),
            Confirmation::Right => {
                let connectable = self.connectable(&session.source).await?;
                let parked = self.world.state.read_parked(&session.id).await?;
                let Some(parked) = parked.filter(|parked| parked.expires_at > self.now()) else {
                    let flow = session.flow.clone();
                    self.fail(invocation, session, flow.as_deref(), ConnectError::state_expired()).await;
                    return Err(Refusal::SessionEnded);
                };
                let identity = session.identity.clone();
                let arrival = Arrival { invocation, connectable: &connectable, session, parked };
                let session = self.commit(arrival, identity).await;
                match session.status {
                    Status::Unconfirmed => {
                        Err(Refusal::StoreUnavailable("the grant could not be saved yet: try again".to_owned()))
                    }
                    _ => Ok(session),
                }
            }
        }
    }

    /// Counts a wrong code; the third ends the session.
    async fn wrong_code(&self, invocation: &Invocation<'_>, session: &Session) -> Result<Session, Refusal> {
        if session.status_at(self.now()) != Status::Unconfirmed {
            return Err(Refusal::SessionEnded);
        }
        let counted = self.update(&session.id, |session| session.wrong_codes += 1).await;
        let counted = counted.ok_or_else(|| Refusal::StoreUnavailable("the session could not be saved".to_owned()))?;
        if counted.may_be_confirmed() {
            return Err(Refusal::Invalid("`code` is not the session's completion code".to_owned()));
        }
        let (flow, error) = (session.flow.as_deref(), ConnectError::confirmation_failed());
        self.fail(invocation, counted, flow, error).await;
        Err(Refusal::SessionEnded)
    }

    /// A session of this principal; what belongs to somebody else is not there.
    pub(super) async fn own_session(&self, principal: &Principal, id: &str) -> Result<Session, Refusal> {
        let id = SessionId::parse(id).ok_or(Refusal::NotFound)?;
        let session = self.world.state.read_session(&id).await?.ok_or(Refusal::NotFound)?.value;
        if principal.sees(&session.principal) { Ok(session) } else { Err(Refusal::NotFound) }
    }
}
