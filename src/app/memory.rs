//! The world in memory, for tests of use cases: clock, secrets, servers, buckets, topic.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::ports::{
    Advice, AuthorizationServer, Clock, FlowStore, ForecastStore, GrantStore, IncidentStore, LeaseStore, ParkedStore,
    Ports, Publisher, Put, Random, Reading, ReportStore, RosterStore, SecretStore, SessionStore, StoreError, Tagged,
    TokenStore,
};
use crate::domain::connect::{Claim, Flow, Parked, Session, SessionId};
use crate::domain::error::{ErrorCode, SourceError};
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

pub(crate) struct Memory;

impl Ports for Memory {
    type Clock = PausedClock;
    type Random = Half;
    type Secrets = Rc<Secrets>;
    type Server = Rc<Server>;
    type Tokens = Rc<Tokens>;
    type State = Rc<State>;
    type Publisher = Rc<Outbox>;
}

/// Starts at a fixed time and goes with tokio's clock.
pub(crate) struct PausedClock(pub(crate) Instant);

impl Clock for PausedClock {
    fn now(&self) -> DateTime<Utc> {
        start() + TimeDelta::from_std(self.0.elapsed()).expect("a short time")
    }
}

pub(crate) fn start() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

pub(crate) struct Half;

impl Random for Half {
    fn unit(&self) -> f64 {
        0.5
    }

    fn unique(&self) -> String {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        format!("unique-{}", DRAWN.fetch_add(1, Ordering::Relaxed))
    }

    fn bytes(&self) -> [u8; 32] {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&DRAWN.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes
    }
}

#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) stored: RefCell<BTreeMap<String, String>>,
    pub(crate) reads: Cell<usize>,
    /// Secrets that Secrets Manager does not hand out.
    pub(crate) refused: RefCell<BTreeSet<String>>,
    /// Whether the listing breaks off before anything is read.
    pub(crate) is_down: Cell<bool>,
    pub(crate) hangs: Cell<bool>,
}

impl SecretStore for Rc<Secrets> {
    async fn read_all(&self) -> Reading {
        self.reads.set(self.reads.get() + 1);
        if self.hangs.get() {
            std::future::pending::<()>().await;
        }
        if self.is_down.get() {
            let broke_off = Some(StoreError("Secrets Manager BatchGetSecretValue: InternalServiceError".to_owned()));
            return Reading { secrets: Vec::new(), broke_off };
        }
        let secret = |(name, text): (&String, &String)| Secret {
            name: name.clone(),
            content: if self.refused.borrow().contains(name) {
                Err(SourceError::new(ErrorCode::SecretUnreadable, "AccessDeniedException"))
            } else {
                Ok(SecretString::from(text.clone()))
            },
        };
        Reading { secrets: self.stored.borrow().iter().map(secret).collect(), broke_off: None }
    }
}

pub(crate) type Script = Box<dyn FnMut(&Request) -> Result<Answer, Rejection>>;

/// Answers by a script for each client secret, and notes when it was asked.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) scripts: RefCell<HashMap<String, Script>>,
    pub(crate) asked_at: RefCell<Vec<f64>>,
    pub(crate) began: Cell<Option<Instant>>,
    pub(crate) latency: Cell<Duration>,
}

impl AuthorizationServer for Rc<Server> {
    async fn send(&self, request: &Request, _: &Tls, timeout: Duration) -> Result<Answer, Rejection> {
        let began = self.began.get().unwrap_or_else(Instant::now);
        self.began.set(Some(began));
        self.asked_at.borrow_mut().push(began.elapsed().as_secs_f64());
        let latency = self.latency.get();
        tokio::time::sleep(latency.min(timeout)).await;
        if latency > timeout {
            let error = SourceError::new(ErrorCode::EndpointTimeout, "the endpoint did not answer in time");
            return Err(Rejection::lost(error));
        }
        let client = request.url.path().trim_matches('/').to_owned();
        let mut scripts = self.scripts.borrow_mut();
        scripts.get_mut(&client).expect("a script for this source")(request)
    }
}

pub(crate) type Interruption = Box<dyn FnOnce(&Tokens, &TokenDocument)>;

#[derive(Default)]
pub(crate) struct Tokens {
    pub(crate) stored: RefCell<BTreeMap<String, (StoredToken, String)>>,
    /// What happens just before the next writes.
    pub(crate) before_put: RefCell<VecDeque<Interruption>>,
    pub(crate) writes: Cell<usize>,
    pub(crate) hangs: Cell<bool>,
}

impl Tokens {
    pub(crate) fn write(&self, document: &TokenDocument) -> Put {
        self.writes.set(self.writes.get() + 1);
        let (etag, version_id) = (format!("etag-{}", self.writes.get()), Some(format!("v{}", self.writes.get())));
        let stored = document.stored(etag.clone(), version_id.clone());
        let text = document.to_json().expose_secret().to_owned();
        self.stored.borrow_mut().insert(document.source.to_string(), (stored, text));
        Put::Written { etag, version_id }
    }
}

impl TokenStore for Rc<Tokens> {
    fn location(&self, source: Option<&SourceName>) -> Location {
        Location { bucket: "tokens".to_owned(), key: source.map(|source| format!("tokens/{source}.json")) }
    }

    async fn head(&self, source: &SourceName) -> Result<Option<StoredToken>, StoreError> {
        if self.hangs.get() {
            std::future::pending::<()>().await;
        }
        Ok(self.stored.borrow().get(source.as_str()).map(|(stored, _)| stored.clone()))
    }

    async fn put(&self, document: &TokenDocument, expected: Option<&StoredToken>) -> Result<Put, StoreError> {
        let before = self.before_put.borrow_mut().pop_front();
        if let Some(before) = before {
            before(self, document);
        }
        let current = self.stored.borrow().get(document.source.as_str()).map(|(stored, _)| stored.etag.clone());
        if current == expected.map(|stored| stored.etag.clone()) { Ok(self.write(document)) } else { Ok(Put::LostRace) }
    }
}

/// The state bucket.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) grants: RefCell<BTreeMap<String, Tagged<GrantState>>>,
    /// How often the accounts of a source were listed.
    pub(crate) listings: Cell<usize>,
    pub(crate) accounts_refused: Cell<bool>,
    pub(crate) leases: RefCell<BTreeMap<String, Tagged<Lease>>>,
    pub(crate) incidents: RefCell<BTreeMap<String, Advice<Incident>>>,
    pub(crate) incidents_refused: Cell<bool>,
    /// Whether what only advises can be read but not written.
    pub(crate) is_read_only: Cell<bool>,
    /// How long a write of an incident takes.
    pub(crate) write_latency: Cell<Duration>,
    pub(crate) forecasts: RefCell<BTreeMap<String, Advice<Forecast>>>,
    pub(crate) forecast_looks: Cell<usize>,
    pub(crate) roster: RefCell<Option<Advice<Roster>>>,
    pub(crate) reports: RefCell<BTreeMap<String, Report>>,
    pub(crate) sessions: RefCell<BTreeMap<String, Tagged<Session>>>,
    pub(crate) flows: RefCell<BTreeMap<String, Flow>>,
    pub(crate) claims: RefCell<BTreeMap<String, Claim>>,
    pub(crate) parked: RefCell<BTreeMap<String, Parked>>,
    pub(crate) writes: Cell<usize>,
    pub(crate) writes_begun: Cell<usize>,
    /// Which write never ends.
    pub(crate) hangs_at: Cell<Option<usize>>,
    /// How many saves of a grant are still to be refused.
    pub(crate) refusals: Cell<usize>,
}

impl State {
    pub(crate) fn etag(&self) -> String {
        self.writes.set(self.writes.get() + 1);
        format!("etag-{}", self.writes.get())
    }

    pub(crate) fn refresh_token(&self) -> Option<String> {
        self.grants.borrow().get("a").map(|grant| grant.value.credential.expose_secret().to_owned())
    }

    pub(crate) fn is_leased(&self) -> bool {
        !self.leases.borrow().is_empty()
    }

    /// The open incident of a source.
    pub(crate) fn incident(&self, source: &str) -> Option<Incident> {
        self.incidents.borrow().get(source)?.value.clone()
    }

    /// Counts a write, and lets the one that a test has chosen never end: the process dies there.
    async fn begin_write(&self) {
        self.writes_begun.set(self.writes_begun.get() + 1);
        if self.hangs_at.get() == Some(self.writes_begun.get()) {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) async fn write(&self) -> Result<(), StoreError> {
        self.begin_write().await;
        tokio::time::sleep(self.write_latency.get()).await;
        if self.is_read_only.get() { Err(StoreError("S3 PutObject: AccessDenied".to_owned())) } else { Ok(()) }
    }
}

pub(crate) fn is_stored<T>(stored: Option<&Tagged<T>>, expected: Option<&str>) -> bool {
    stored.map(|stored| stored.etag.as_str()) == expected
}

impl GrantStore for Rc<State> {
    async fn read_grant(&self, source: &SourceName) -> Result<Option<Tagged<GrantState>>, StoreError> {
        Ok(self.grants.borrow().get(source.as_str()).cloned())
    }

    async fn save_grant(
        &self,
        source: &SourceName,
        grant: &GrantState,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<()>>, StoreError> {
        self.begin_write().await;
        if self.refusals.get() > 0 {
            self.refusals.set(self.refusals.get() - 1);
            return Err(StoreError("S3 PutObject: SlowDown".to_owned()));
        }
        if !is_stored(self.grants.borrow().get(source.as_str()), expected) {
            return Ok(None);
        }
        let etag = self.etag();
        let saved = Tagged { value: grant.clone(), etag: etag.clone() };
        self.grants.borrow_mut().insert(source.to_string(), saved);
        Ok(Some(Tagged { value: (), etag }))
    }

    async fn accounts(&self, source: &SourceName) -> Result<BTreeSet<AccountName>, StoreError> {
        self.listings.set(self.listings.get() + 1);
        if self.accounts_refused.get() {
            return Err(StoreError("S3 ListObjectsV2: AccessDenied".to_owned()));
        }
        let prefix = format!("{source}/");
        let grants = self.grants.borrow();
        Ok(grants.keys().filter_map(|name| AccountName::parse(name.strip_prefix(&prefix)?)).collect())
    }
}

impl LeaseStore for Rc<State> {
    async fn read_lease(&self, source: &SourceName) -> Result<Option<Tagged<Lease>>, StoreError> {
        Ok(self.leases.borrow().get(source.as_str()).cloned())
    }

    async fn take_lease(
        &self,
        source: &SourceName,
        lease: &Lease,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<Lease>>, StoreError> {
        self.begin_write().await;
        if !is_stored(self.leases.borrow().get(source.as_str()), expected) {
            return Ok(None);
        }
        let taken = Tagged { value: lease.clone(), etag: self.etag() };
        self.leases.borrow_mut().insert(source.to_string(), taken.clone());
        Ok(Some(taken))
    }

    async fn release_lease(&self, source: &SourceName, lease: &Tagged<Lease>) -> Result<(), StoreError> {
        self.begin_write().await;
        if is_stored(self.leases.borrow().get(source.as_str()), Some(&lease.etag)) {
            self.leases.borrow_mut().remove(source.as_str());
        }
        Ok(())
    }
}

impl IncidentStore for Rc<State> {
    async fn open_incidents(&self) -> Result<BTreeSet<String>, StoreError> {
        if self.incidents_refused.get() {
            return Err(StoreError("S3 ListObjectsV2: AccessDenied".to_owned()));
        }
        Ok(self.incidents.borrow().keys().cloned().collect())
    }

    async fn read_incident(&self, source: &str) -> Result<Option<Advice<Incident>>, StoreError> {
        Ok(self.incidents.borrow().get(source).cloned())
    }

    async fn keep_incident(
        &self,
        incident: &Incident,
        expected: Option<&str>,
    ) -> Result<Option<Tagged<Incident>>, StoreError> {
        self.write().await?;
        if !is_stored(self.incidents.borrow().get(&incident.source), expected) {
            return Ok(None);
        }
        let kept = Tagged { value: incident.clone(), etag: self.etag() };
        let stored = Tagged { value: Some(incident.clone()), etag: kept.etag.clone() };
        self.incidents.borrow_mut().insert(incident.source.clone(), stored);
        Ok(Some(kept))
    }

    async fn close_incident(&self, source: &str, expected: &str) -> Result<(), StoreError> {
        self.write().await?;
        if is_stored(self.incidents.borrow().get(source), Some(expected)) {
            self.incidents.borrow_mut().remove(source);
        }
        Ok(())
    }
}

impl ForecastStore for Rc<State> {
    async fn read_forecast(&self, source: &SourceName) -> Result<Option<Advice<Forecast>>, StoreError> {
        self.forecast_looks.set(self.forecast_looks.get() + 1);
        Ok(self.forecasts.borrow().get(source.as_str()).cloned())
    }

    async fn keep_forecast(
        &self,
        source: &SourceName,
        forecast: &Forecast,
        expected: Option<&str>,
    ) -> Result<(), StoreError> {
        self.write().await?;
        assert!(is_stored(self.forecasts.borrow().get(source.as_str()), expected));
        let kept = Tagged { value: Some(forecast.clone()), etag: self.etag() };
        self.forecasts.borrow_mut().insert(source.to_string(), kept);
        Ok(())
    }
}

impl RosterStore for Rc<State> {
    async fn read_roster(&self) -> Result<Option<Advice<Roster>>, StoreError> {
        Ok(self.roster.borrow().clone())
    }

    async fn keep_roster(&self, roster: &Roster, expected: Option<&str>) -> Result<Option<Tagged<Roster>>, StoreError> {
        self.write().await?;
        if !is_stored(self.roster.borrow().as_ref(), expected) {
            return Ok(None);
        }
        let etag = self.etag();
        self.roster.replace(Some(Tagged { value: Some(roster.clone()), etag: etag.clone() }));
        Ok(Some(Tagged { value: roster.clone(), etag }))
    }
}

impl ReportStore for Rc<State> {
    fn location(&self, report: &Report) -> String {
        format!("reports/{}-{}.json", report.started_at.format("%Y-%m-%d/%H%M%S"), report.run_id)
    }

    async fn keep_report(&self, report: &Report) -> Result<(), StoreError> {
        self.reports.borrow_mut().insert(self.location(report), report.clone());
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) messages: RefCell<Vec<Message>>,
    pub(crate) refuses: Cell<bool>,
}

impl Publisher for Rc<Outbox> {
    fn limits(&self) -> Limits {
        Limits { subject: 100, list: 96 * 1024 }
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), StoreError> {
        if self.refuses.get() {
            return Err(StoreError("SNS PublishBatch: AuthorizationError".to_owned()));
        }
        self.messages.borrow_mut().extend_from_slice(messages);
        Ok(())
    }
}

impl SessionStore for Rc<State> {
    async fn make_session(&self, session: &Session) -> Result<(), StoreError> {
        self.write().await?;
        let made = Tagged { value: session.clone(), etag: self.etag() };
        self.sessions.borrow_mut().insert(session.id.to_string(), made);
        Ok(())
    }

    async fn read_session(&self, id: &SessionId) -> Result<Option<Tagged<Session>>, StoreError> {
        Ok(self.sessions.borrow().get(id.as_str()).cloned())
    }

    async fn save_session(&self, session: &Session, expected: &str) -> Result<Option<Tagged<()>>, StoreError> {
        self.write().await?;
        if !is_stored(self.sessions.borrow().get(session.id.as_str()), Some(expected)) {
            return Ok(None);
        }
        let etag = self.etag();
        let saved = Tagged { value: session.clone(), etag: etag.clone() };
        self.sessions.borrow_mut().insert(session.id.to_string(), saved);
        Ok(Some(Tagged { value: (), etag }))
    }

    async fn live_sessions(&self, principal: &Principal, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let sessions = self.sessions.borrow();
        let live = |stored: &&Tagged<Session>| stored.value.principal == *principal && stored.value.expires_at > now;
        Ok(sessions.values().filter(live).count())
    }
}

impl FlowStore for Rc<State> {
    async fn make_flow(&self, flow: &Flow) -> Result<(), StoreError> {
        self.write().await?;
        self.flows.borrow_mut().insert(flow.state_sha256.clone(), flow.clone());
        Ok(())
    }

    async fn read_flow(&self, state_sha256: &str) -> Result<Option<Flow>, StoreError> {
        Ok(self.flows.borrow().get(state_sha256).cloned())
    }

    async fn claim(&self, state_sha256: &str, claim: &Claim) -> Result<bool, StoreError> {
        self.write().await?;
        let mut claims = self.claims.borrow_mut();
        let is_free = !claims.contains_key(state_sha256);
        claims.entry(state_sha256.to_owned()).or_insert_with(|| claim.clone());
        Ok(is_free)
    }

    async fn read_claim(&self, state_sha256: &str) -> Result<Option<Claim>, StoreError> {
        Ok(self.claims.borrow().get(state_sha256).cloned())
    }
}

impl ParkedStore for Rc<State> {
    async fn park(&self, parked: &Parked) -> Result<(), StoreError> {
        self.write().await?;
        self.parked.borrow_mut().insert(parked.session.to_string(), parked.clone());
        Ok(())
    }

    async fn read_parked(&self, session: &SessionId) -> Result<Option<Parked>, StoreError> {
        Ok(self.parked.borrow().get(session.as_str()).cloned())
    }

    async fn drop_parked(&self, session: &SessionId) -> Result<(), StoreError> {
        self.write().await?;
        self.parked.borrow_mut().remove(session.as_str());
        Ok(())
    }
}
