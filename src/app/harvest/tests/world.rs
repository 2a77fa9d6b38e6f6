//! The world in memory: clock, secrets, servers, buckets, topic.

use super::*;

pub(super) struct Memory;

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
pub(super) struct PausedClock(pub(super) Instant);

impl Clock for PausedClock {
    fn now(&self) -> DateTime<Utc> {
        start() + TimeDelta::from_std(self.0.elapsed()).expect("a short time")
    }
}

pub(super) fn start() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

pub(super) struct Half;

impl Random for Half {
    fn unit(&self) -> f64 {
        0.5
    }

    fn unique(&self) -> String {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        format!("unique-{}", DRAWN.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Default)]
pub(super) struct Secrets {
    pub(super) stored: RefCell<BTreeMap<String, String>>,
    pub(super) reads: Cell<usize>,
    /// Secrets that Secrets Manager does not hand out.
    pub(super) refused: RefCell<BTreeSet<String>>,
    /// Whether the listing breaks off before anything is read.
    pub(super) is_down: Cell<bool>,
    pub(super) hangs: Cell<bool>,
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

pub(super) type Script = Box<dyn FnMut(&Request) -> Result<Answer, Rejection>>;

/// Answers by a script for each client secret, and notes when it was asked.
#[derive(Default)]
pub(super) struct Server {
    pub(super) scripts: RefCell<HashMap<String, Script>>,
    pub(super) asked_at: RefCell<Vec<f64>>,
    pub(super) began: Cell<Option<Instant>>,
    pub(super) latency: Cell<Duration>,
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

pub(super) type Interruption = Box<dyn FnOnce(&Tokens, &TokenDocument)>;

#[derive(Default)]
pub(super) struct Tokens {
    pub(super) stored: RefCell<BTreeMap<String, (StoredToken, String)>>,
    /// What happens just before the next writes.
    pub(super) before_put: RefCell<VecDeque<Interruption>>,
    pub(super) writes: Cell<usize>,
    pub(super) hangs: Cell<bool>,
}

impl Tokens {
    pub(super) fn write(&self, document: &TokenDocument) -> Put {
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
pub(super) struct State {
    pub(super) grants: RefCell<BTreeMap<String, Tagged<GrantState>>>,
    pub(super) leases: RefCell<BTreeMap<String, Tagged<Lease>>>,
    pub(super) incidents: RefCell<BTreeMap<String, Advice<Incident>>>,
    pub(super) incidents_refused: Cell<bool>,
    /// Whether what only advises can be read but not written.
    pub(super) is_read_only: Cell<bool>,
    /// How long a write of an incident takes.
    pub(super) write_latency: Cell<Duration>,
    pub(super) forecasts: RefCell<BTreeMap<String, Advice<Forecast>>>,
    pub(super) forecast_looks: Cell<usize>,
    pub(super) roster: RefCell<Option<Advice<Roster>>>,
    pub(super) reports: RefCell<BTreeMap<String, Report>>,
    pub(super) writes: Cell<usize>,
    /// How many saves of a grant are still to be refused.
    pub(super) refusals: Cell<usize>,
}

impl State {
    pub(super) fn etag(&self) -> String {
        self.writes.set(self.writes.get() + 1);
        format!("etag-{}", self.writes.get())
    }

    pub(super) fn refresh_token(&self) -> Option<String> {
        self.grants.borrow().get("a").map(|grant| grant.value.credential.expose_secret().to_owned())
    }

    pub(super) fn is_leased(&self) -> bool {
        !self.leases.borrow().is_empty()
    }

    /// The open incident of a source.
    pub(super) fn incident(&self, source: &str) -> Option<Incident> {
        self.incidents.borrow().get(source)?.value.clone()
    }

    pub(super) async fn write(&self) -> Result<(), StoreError> {
        tokio::time::sleep(self.write_latency.get()).await;
        if self.is_read_only.get() { Err(StoreError("S3 PutObject: AccessDenied".to_owned())) } else { Ok(()) }
    }
}

pub(super) fn is_stored<T>(stored: Option<&Tagged<T>>, expected: Option<&str>) -> bool {
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
        if !is_stored(self.leases.borrow().get(source.as_str()), expected) {
            return Ok(None);
        }
        let taken = Tagged { value: lease.clone(), etag: self.etag() };
        self.leases.borrow_mut().insert(source.to_string(), taken.clone());
        Ok(Some(taken))
    }

    async fn release_lease(&self, source: &SourceName, lease: &Tagged<Lease>) -> Result<(), StoreError> {
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
pub(super) struct Outbox {
    pub(super) messages: RefCell<Vec<Message>>,
    pub(super) refuses: Cell<bool>,
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
