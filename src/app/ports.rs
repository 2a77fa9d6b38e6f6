//! What use cases need from the world, in their own words. The rooms `net`, `aws` and `system` provide it.

#![expect(async_fn_in_trait, reason = "a harvest runs on one thread, so no future has to be Send")]

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::connect::{Claim, Flow, Parked, Session, SessionId};
use crate::domain::forecast::Forecast;
use crate::domain::grant::GrantState;
use crate::domain::incident::Incident;
use crate::domain::lease::Lease;
use crate::domain::notice::message::{Limits, Message};
use crate::domain::oauth::{Answer, Rejection, Request};
use crate::domain::principal::Principal;
use crate::domain::report::Report;
use crate::domain::source::{AccountName, Roster, Secret, SourceName, Tls};
use crate::domain::token::{Location, StoredToken, TokenDocument};

/// How often a conditional write is tried before other writers are left to it.
pub const WRITE_ATTEMPTS: usize = 3;

/// All ports together, so that a harvest has one type parameter.
pub trait Ports {
    /// See [`Clock`].
    type Clock: Clock;
    /// See [`Random`].
    type Random: Random;
    /// See [`SecretStore`].
    type Secrets: SecretStore;
    /// See [`AuthorizationServer`].
    type Server: AuthorizationServer;
    /// See [`TokenStore`].
    type Tokens: TokenStore;
    /// See [`GrantStore`], [`LeaseStore`], [`IncidentStore`], [`ForecastStore`], [`RosterStore`] and [`ReportStore`].
    type State: GrantStore + LeaseStore + IncidentStore + ForecastStore + RosterStore + ReportStore;
    /// See [`Publisher`].
    type Publisher: Publisher;
}

/// One of each port.
pub struct World<P: Ports> {
    /// Wall clock.
    pub clock: P::Clock,
    /// Randomness.
    pub random: P::Random,
    /// Definitions.
    pub secrets: P::Secrets,
    /// Token endpoints.
    pub server: P::Server,
    /// Token documents.
    pub tokens: P::Tokens,
    /// Grant state, leases, incidents, and what else is kept from run to run.
    pub state: P::State,
    /// Messages.
    pub publisher: P::Publisher,
}

/// The wall clock. Waiting is tokio's, whose time tests can pause.
pub trait Clock {
    /// The time now.
    fn now(&self) -> DateTime<Utc>;
}

/// Randomness.
pub trait Random {
    /// Uniform in `0.0..1.0`.
    fn unit(&self) -> f64;
    /// A name that was never used before, 128 random bits.
    fn unique(&self) -> String;
    /// 256 random bits.
    fn bytes(&self) -> [u8; 32];
}

/// Where definitions are kept.
pub trait SecretStore {
    /// Every secret under the prefix. A secret that can't be had is an entry with its error.
    async fn read_all(&self) -> Reading;
}

/// A reading of all secrets.
#[derive(Debug, Default)]
pub struct Reading {
    /// Those that were read.
    pub secrets: Vec<Secret>,
    /// Why it did not come to its end.
    pub broke_off: Option<StoreError>,
}

/// An authorization server's HTTP endpoints.
pub trait AuthorizationServer {
    /// Sends one request, whatever comes of it within `timeout`. Never follows a redirect.
    async fn send(&self, request: &Request, tls: &Tls, timeout: Duration) -> Result<Answer, Rejection>;
}

/// The token bucket.
pub trait TokenStore {
    /// Where a source's document is, for messages.
    fn location(&self, source: Option<&SourceName>) -> Location;

    /// What is stored for a source, without its token; `None` if nothing is.
    async fn head(&self, source: &SourceName) -> Result<Option<StoredToken>, StoreError>;

    /// Writes the document if what is stored is still `expected`.
    async fn put(&self, document: &TokenDocument, expected: Option<&StoredToken>) -> Result<Put, StoreError>;
}

/// How a conditional write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Written.
    Written {
        /// Entity tag, for the next conditional write.
        etag: String,
        /// S3 version.
        version_id: Option<String>,
    },
    /// Something else was written in between.
    LostRace,
}

/// Something read from the state bucket, with the entity tag that its next write or deletion names.
#[derive(Debug, Clone)]
pub struct Tagged<T> {
    /// What was read or written.
    pub value: T,
    /// Its entity tag.
    pub etag: String,
}

/// Something that only advises: where it can't be understood, the value is `None`, and it may be overwritten.
pub type Advice<T> = Tagged<Option<T>>;

impl<T> Advice<T> {
    /// The same, if it can be understood.
    pub fn understood(self) -> Option<Tagged<T>> {
        let Self { value, etag } = self;
        value.map(|value| Tagged { value, etag })
    }
}

/// Grant state in the state bucket.
pub trait GrantStore {
    /// The stored state; `None` if there is none. Damaged state is an error: a seed in its place may be used up.
    async fn read_grant(&self, source: &SourceName) -> Result<Option<Tagged<GrantState>>, StoreError>;

    /// Saves state if what is stored is still `expected` (an entity tag); `None`: it is not.
    async fn save_grant(
        &self,
        source: &SourceName,
        grant: &GrantState,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<()>>, StoreError>;

    /// All accounts of a source that have a grant, sorted.
    async fn accounts(&self, source: &SourceName) -> Result<BTreeSet<AccountName>, StoreError>;
}

/// Leases in the state bucket.
pub trait LeaseStore {
    /// Who holds the lease, if anybody does.
    async fn read_lease(&self, source: &SourceName) -> Result<Option<Tagged<Lease>>, StoreError>;

    /// Takes the lease if what is stored is still `expected` (an entity tag); `None`: it is not.
    async fn take_lease(
        &self,
        source: &SourceName,
        lease: &Lease,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<Lease>>, StoreError>;

    /// Gives back a lease, unless somebody else has taken it over.
    async fn release_lease(&self, source: &SourceName, lease: &Tagged<Lease>) -> Result<(), StoreError>;
}

/// Incidents in the state bucket.
pub trait IncidentStore {
    /// Names of all sources that have one open.
    async fn open_incidents(&self) -> Result<BTreeSet<String>, StoreError>;

    /// A source's incident; `None` if it has none.
    async fn read_incident(&self, source: &str) -> Result<Option<Advice<Incident>>, StoreError>;

    /// Keeps an incident if what is stored is still `expected` (an entity tag); `None`: it is not.
    async fn keep_incident(
        &self,
        incident: &Incident,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<Incident>>, StoreError>;

    /// Deletes an incident, unless somebody else has changed it.
    async fn close_incident(&self, source: &str, expected: &str) -> Result<(), StoreError>;
}

/// What people were told about the ends of grants, in the state bucket.
pub trait ForecastStore {
    /// What was last told about a source's grant; `None` if nothing was.
    async fn read_forecast(&self, source: &SourceName) -> Result<Option<Advice<Forecast>>, StoreError>;

    /// Keeps what was told; where somebody else has told the same meanwhile, that stays.
    async fn keep_forecast(
        &self,
        source: &SourceName,
        forecast: &Forecast,
        expected: Option<&str>,
    ) -> Result<(), StoreError>;
}

/// The roster in the state bucket.
pub trait RosterStore {
    /// What earlier runs kept; `None` if none has.
    async fn read_roster(&self) -> Result<Option<Advice<Roster>>, StoreError>;

    /// Keeps it if what is stored is still `expected` (an entity tag); `None`: it is not.
    async fn keep_roster(&self, roster: &Roster, expected: Option<&str>) -> Result<Option<Tagged<Roster>>, StoreError>;
}

/// Reports in the state bucket, for people.
pub trait ReportStore {
    /// Where a run's report is kept, for messages.
    fn location(&self, report: &Report) -> String;

    /// Keeps a run's report.
    async fn keep_report(&self, report: &Report) -> Result<(), StoreError>;
}

/// The topic.
pub trait Publisher {
    /// How long it lets messages be.
    fn limits(&self) -> Limits;

    /// Publishes all messages, or says how many could not be.
    async fn publish(&self, messages: &[Message]) -> Result<(), StoreError>;
}

/// A service of AWS that refused or could not be reached: one sentence, without a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Sessions in the state bucket.
pub trait SessionStore {
    /// Keeps a new session.
    async fn make_session(&self, session: &Session) -> Result<(), StoreError>;

    /// A session; `None`: there is none, or its time was over long ago.
    async fn read_session(&self, id: &SessionId) -> Result<Option<Tagged<Session>>, StoreError>;

    /// Keeps a session if what is stored is still `expected` (an entity tag); `None`: it is not.
    async fn save_session(&self, session: &Session, expected: &str) -> Result<Option<Tagged<()>>, StoreError>;

    /// How many sessions of a principal may still be alive.
    async fn live_sessions(&self, principal: &Principal, now: DateTime<Utc>) -> Result<usize, StoreError>;
}

/// Flows, and who ends them, in the state bucket.
pub trait FlowStore {
    /// Keeps a new flow.
    async fn make_flow(&self, flow: &Flow) -> Result<(), StoreError>;

    /// A flow by the hash of its state.
    async fn read_flow(&self, state_sha256: &str) -> Result<Option<Flow>, StoreError>;

    /// Claims a flow: of all deliveries of its callback, one can; `false`: another one has.
    async fn claim(&self, state_sha256: &str, claim: &Claim) -> Result<bool, StoreError>;

    /// Who has claimed a flow.
    async fn read_claim(&self, state_sha256: &str) -> Result<Option<Claim>, StoreError>;
}

/// What providers gave and nobody has committed yet, in the state bucket.
pub trait ParkedStore {
    /// Keeps what a session's flow brought.
    async fn park(&self, parked: &Parked) -> Result<(), StoreError>;

    /// What a session's flow brought.
    async fn read_parked(&self, session: &SessionId) -> Result<Option<Parked>, StoreError>;

    /// Removes it.
    async fn drop_parked(&self, session: &SessionId) -> Result<(), StoreError>;
}

/// All that connecting keeps besides what a harvest does.
pub trait ConnectStore: SessionStore + FlowStore + ParkedStore {}

impl<S: SessionStore + FlowStore + ParkedStore> ConnectStore for S {}
