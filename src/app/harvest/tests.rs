//! The use case with the world in memory and tokio's time paused: waits are measured, not waited for.

mod credentials;
mod edges;
mod month;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::SecondsFormat;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::*;
use crate::app::ports::{
    AuthorizationServer, Clock, ForecastStore, GrantStore, IncidentStore, LeaseStore, Publisher, Put, Random, Reading,
    ReportStore, RosterStore, SecretStore, TokenStore,
};
use crate::domain::credential::Seed;
use crate::domain::forecast::Forecast;
use crate::domain::grant::GrantState;
use crate::domain::lease::Lease;
use crate::domain::notice::message::{Limits, Message};
use crate::domain::oauth::{Answer, AnswerBody, Request};
use crate::domain::source::{Secret, SourceName, Tls};
use crate::domain::token::{Location, TokenDocument};

struct Memory;

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
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> DateTime<Utc> {
        start() + TimeDelta::from_std(self.0.elapsed()).expect("a short time")
    }
}

fn start() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

struct Half;

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
struct Secrets {
    stored: RefCell<BTreeMap<String, String>>,
    reads: Cell<usize>,
    /// Secrets that Secrets Manager does not hand out.
    refused: RefCell<BTreeSet<String>>,
    /// Whether the listing breaks off before anything is read.
    is_down: Cell<bool>,
    hangs: Cell<bool>,
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

type Script = Box<dyn FnMut(&Request) -> Result<Answer, Rejection>>;

/// Answers by a script for each client secret, and notes when it was asked.
#[derive(Default)]
struct Server {
    scripts: RefCell<HashMap<String, Script>>,
    asked_at: RefCell<Vec<f64>>,
    began: Cell<Option<Instant>>,
    latency: Cell<Duration>,
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

type Interruption = Box<dyn FnOnce(&Tokens, &TokenDocument)>;

#[derive(Default)]
struct Tokens {
    stored: RefCell<BTreeMap<String, (StoredToken, String)>>,
    /// What happens just before the next writes.
    before_put: RefCell<VecDeque<Interruption>>,
    writes: Cell<usize>,
    hangs: Cell<bool>,
}

impl Tokens {
    fn write(&self, document: &TokenDocument) -> Put {
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
struct State {
    grants: RefCell<BTreeMap<String, Tagged<GrantState>>>,
    leases: RefCell<BTreeMap<String, Tagged<Lease>>>,
    incidents: RefCell<BTreeMap<String, Advice<Incident>>>,
    incidents_refused: Cell<bool>,
    /// Whether what only advises can be read but not written.
    is_read_only: Cell<bool>,
    /// How long a write of an incident takes.
    write_latency: Cell<Duration>,
    forecasts: RefCell<BTreeMap<String, Advice<Forecast>>>,
    forecast_looks: Cell<usize>,
    roster: RefCell<Option<Advice<Roster>>>,
    reports: RefCell<BTreeMap<String, Report>>,
    writes: Cell<usize>,
    /// How many saves of a grant are still to be refused.
    refusals: Cell<usize>,
}

impl State {
    fn etag(&self) -> String {
        self.writes.set(self.writes.get() + 1);
        format!("etag-{}", self.writes.get())
    }

    fn refresh_token(&self) -> Option<String> {
        self.grants.borrow().get("a").map(|grant| grant.value.credential.expose_secret().to_owned())
    }

    fn is_leased(&self) -> bool {
        !self.leases.borrow().is_empty()
    }

    /// The open incident of a source.
    fn incident(&self, source: &str) -> Option<Incident> {
        self.incidents.borrow().get(source)?.value.clone()
    }

    async fn write(&self) -> Result<(), StoreError> {
        tokio::time::sleep(self.write_latency.get()).await;
        if self.is_read_only.get() { Err(StoreError("S3 PutObject: AccessDenied".to_owned())) } else { Ok(()) }
    }
}

fn is_stored<T>(stored: Option<&Tagged<T>>, expected: Option<&str>) -> bool {
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
struct Outbox {
    messages: RefCell<Vec<Message>>,
    refuses: Cell<bool>,
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

/// A harvester in a world of its own.
struct Bench {
    secrets: Rc<Secrets>,
    server: Rc<Server>,
    tokens: Rc<Tokens>,
    state: Rc<State>,
    outbox: Rc<Outbox>,
    harvester: Harvester<Memory>,
}

impl Bench {
    /// With sources whose token endpoint's path is their name.
    fn new(sources: &[&str]) -> Self {
        Self::with_interval(TimeDelta::minutes(15), sources)
    }

    /// The same, with at most that long between two runs.
    fn with_interval(schedule_interval: TimeDelta, sources: &[&str]) -> Self {
        let settings = Settings {
            environment: "test".to_owned(),
            runbook_url: "docs/runbook.md".to_owned(),
            secret_prefix: "harvest/".to_owned(),
            schedule_interval,
            max_concurrency: 32,
            plain_http: PlainHttp::Refused,
        };
        let world = World {
            clock: PausedClock(Instant::now()),
            random: Half,
            secrets: Rc::<Secrets>::default(),
            server: Rc::<Server>::default(),
            tokens: Rc::<Tokens>::default(),
            state: Rc::<State>::default(),
            publisher: Rc::<Outbox>::default(),
        };
        let bench = Self {
            secrets: Rc::clone(&world.secrets),
            server: Rc::clone(&world.server),
            tokens: Rc::clone(&world.tokens),
            state: Rc::clone(&world.state),
            outbox: Rc::clone(&world.publisher),
            harvester: Harvester::new(settings, world),
        };
        for source in sources {
            bench.define(source, "secret");
        }
        bench
    }

    /// Each source has a host of its own.
    fn define(&self, source: &str, client_secret: &str) {
        self.define_as(source, &client(source, client_secret));
    }

    fn define_rotating(&self, source: &str, refresh_token: &str) {
        let definition = json!({
            "token_endpoint": format!("https://{source}.example.com/{source}"), "client_id": "c", "client_secret": "s",
            "refresh_token": refresh_token,
        });
        self.define_as(source, &definition);
    }

    /// Puts a secret.
    fn define_as(&self, secret: &str, text: &Value) {
        self.secrets.stored.borrow_mut().insert(secret.to_owned(), text.to_string());
    }

    /// The same world, and a function that knows nothing of it yet.
    fn cold(&self) -> Self {
        let world = &self.harvester.world;
        let world = World {
            clock: PausedClock(world.clock.0),
            random: Half,
            secrets: Rc::clone(&world.secrets),
            server: Rc::clone(&world.server),
            tokens: Rc::clone(&world.tokens),
            state: Rc::clone(&world.state),
            publisher: Rc::clone(&world.publisher),
        };
        Self {
            secrets: Rc::clone(&self.secrets),
            server: Rc::clone(&self.server),
            tokens: Rc::clone(&self.tokens),
            state: Rc::clone(&self.state),
            outbox: Rc::clone(&self.outbox),
            harvester: Harvester::new(self.harvester.settings.clone(), world),
        }
    }

    /// A server that takes only the newest refresh token `r<n>`, and answers with the next; `seen` notes them all.
    fn rotates(&self, source: &str, seen: &Rc<RefCell<Vec<String>>>) {
        let (seen, mut newest) = (Rc::clone(seen), 1);
        let script = move |request: &Request| {
            let token = sent_refresh_token(request);
            seen.borrow_mut().push(token.clone());
            if token != format!("r{newest}") {
                return Ok(answer(400, r#"{"error": "invalid_grant"}"#));
            }
            newest += 1;
            let body = json!({"access_token": format!("t{newest}"), "expires_in": 3600, "refresh_token": format!("r{newest}")});
            Ok(answer(200, &body.to_string()))
        };
        self.server.scripts.borrow_mut().insert(source.to_owned(), Box::new(script));
    }

    /// The source's answers, one after the other; the last one again and again.
    fn answers(&self, source: &str, mut answers: Vec<Answer>) {
        let script = move |_: &Request| Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() });
        self.server.scripts.borrow_mut().insert(source.to_owned(), Box::new(script));
    }

    async fn harvest(&self, event: &Event) -> Report {
        self.try_harvest(event).await.expect("a report")
    }

    async fn try_harvest(&self, event: &Event) -> Result<Report, HarvestError> {
        let deadline = self.harvester.world.clock.now() + TimeDelta::minutes(1);
        self.harvester.harvest(event, "run", deadline).await
    }

    /// The alerts that were sent since the last time.
    fn alerts(&self) -> Vec<Message> {
        let is_alert = |message: &Message| message.attributes[0].1 == "alert";
        let messages = self.outbox.messages.take();
        let (alerts, others) = messages.into_iter().partition(is_alert);
        self.outbox.messages.replace(others);
        alerts
    }

    fn subjects(&self) -> Vec<String> {
        self.alerts().into_iter().map(|alert| alert.subject).collect()
    }

    /// Events and sources of the token messages that were sent since the last time.
    fn token_events(&self) -> Vec<(String, String)> {
        let of_kind = |message: Message, kind: &str| (message.attributes[0].1 == kind).then_some(message);
        let messages = self.outbox.messages.take().into_iter().filter_map(|message| of_kind(message, "token"));
        messages.map(|message| (message.attributes[2].1.clone(), message.attributes[3].1.clone())).collect()
    }

    async fn harvest_one(&self) -> SourceReport {
        self.harvest(&Event::default()).await.sources.remove(0)
    }

    fn asked_at(&self) -> Vec<f64> {
        self.server.asked_at.take()
    }
}

/// A definition whose token endpoint's path is the source's name.
fn client(source: &str, client_secret: &str) -> Value {
    json!({
        "token_endpoint": format!("https://{source}.example.com/{source}"),
        "client_id": "client",
        "client_secret": client_secret,
        "token_endpoint_auth_method": "client_secret_post",
    })
}

async fn minutes_pass(minutes: u64) {
    tokio::time::advance(Duration::from_secs(minutes * 60)).await;
}

fn token(name: &str) -> Answer {
    answer(200, &json!({"access_token": name, "expires_in": 3600}).to_string())
}

fn answer(status: u16, body: &str) -> Answer {
    Answer::new(status, AnswerBody::Whole(body.as_bytes().to_vec()))
}

fn sent_refresh_token(request: &Request) -> String {
    let body = request.body.as_ref().expect("a body").expose_secret();
    let pair = url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "refresh_token");
    pair.expect("a refresh token").1.into_owned()
}

fn forced() -> Event {
    Event { force: true, ..Event::default() }
}

fn throttled(retry_after: &str) -> Answer {
    Answer { headers: vec![("retry-after".to_owned(), retry_after.to_owned())], ..answer(429, "") }
}

fn code(report: &SourceReport) -> Option<&'static str> {
    report.error.as_ref().map(|error| error.code.as_str())
}

#[tokio::test(start_paused = true)]
async fn a_new_token_is_stored_reported_and_published() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    let report = bench.harvest(&Event::default()).await;

    assert_eq!((report.refreshed, report.fresh, report.deferred, report.failed), (1, 0, 0, 0));
    let source = &report.sources[0];
    assert_eq!(source.generation, Some(1));
    assert_eq!(source.version_id.as_deref(), Some("v1"));
    assert_eq!(source.attempts, 1);
    let expires_at = source.expires_at.expect("an expiry").to_rfc3339_opts(SecondsFormat::Secs, true);
    assert_eq!(expires_at, "2026-11-20T23:00:00Z");
    assert_eq!(bench.outbox.messages.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_costs_no_request_and_no_message_until_it_is_due() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1"), token("t2")]);
    bench.harvest_one().await;
    tokio::time::advance(Duration::from_secs(35 * 60 - 1)).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Fresh);
    assert_eq!(bench.outbox.messages.borrow().len(), 1);

    tokio::time::advance(Duration::from_secs(1)).await;
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn repetitions_wait_with_exponential_jitter() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(503, "")]);
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, code(&report), report.attempts), (Outcome::Failed, Some("endpoint_unavailable"), 4));
    assert_eq!(bench.asked_at(), [0.0, 0.25, 0.75, 1.75]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_to_the_second() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![throttled("7"), throttled("Fri, 20 Nov 2026 22:00:16 GMT"), token("t1")]);
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.attempts), (Outcome::Refreshed, 3));
    assert_eq!(bench.asked_at(), [0.0, 7.0, 16.0]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_deferred_at_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![throttled("3600")]);
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, code(&report), report.attempts), (Outcome::Deferred, Some("rate_limited"), 1));
    assert_eq!(report.duration_ms, 0);
    assert!(bench.outbox.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_keep_others_waiting_is_deferred_at_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![throttled("11"), token("t1")]);
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts), (Outcome::Deferred, 1));
    minutes_pass(15).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_whose_answer_may_be_lost_is_not_repeated() {
    let bench = Bench::new(&["a"]);
    bench.define_rotating("a", "r1");
    for (status, attempts) in [(502, 1), (504, 1), (503, 4)] {
        bench.answers("a", vec![answer(status, "")]);
        assert_eq!(bench.harvest(&forced()).await.sources[0].attempts, attempts, "{status}");
    }
    bench.server.latency.set(Duration::from_secs(3_600));
    assert_eq!(bench.harvest(&forced()).await.sources[0].attempts, 1, "a timeout");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_repeated() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_scope"}"#)]);
    let report = bench.harvest_one().await;
    assert_eq!((code(&report), report.attempts), (Some("invalid_scope"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_server_holds_up_nobody_and_not_the_report() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("never")]);
    bench.server.latency.set(Duration::from_secs(3_600));
    let report = bench.harvest_one().await;

    assert_eq!((code(&report), report.outcome), (Some("endpoint_timeout"), Outcome::Failed));
    assert_eq!(report.attempts, 4);
    assert!(report.duration_ms <= 50_000, "{}", report.duration_ms);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_ends_with_the_runs_time() {
    let bench = Bench::new(&["a"]);
    bench.tokens.hangs.set(true);
    let report = bench.harvest_one().await;
    assert_eq!((code(&report), report.outcome), (Some("out_of_time"), Outcome::Deferred));
    assert_eq!(report.duration_ms, 50_000);
}

#[tokio::test(start_paused = true)]
async fn a_panic_at_one_source_leaves_the_others_alone() {
    let bench = Bench::new(&["a", "b"]);
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(|_| panic!("at one source")));
    bench.answers("b", vec![token("t1")]);
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(code(&report.sources[0]), Some("internal"));
    assert_eq!(report.sources[1].outcome, Outcome::Refreshed);
}

#[tokio::test(start_paused = true)]
async fn definitions_are_remembered_for_five_minutes() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    tokio::time::advance(Duration::from_secs(299)).await;
    bench.harvest_one().await;
    assert_eq!(bench.secrets.reads.get(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    bench.harvest_one().await;
    assert_eq!(bench.secrets.reads.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_tried_once_more_if_its_definition_changed() {
    let bench = Bench::new(&["a"]);
    // It is due again at once, while the definitions are still known.
    bench.answers("a", vec![answer(200, r#"{"access_token": "t1", "expires_in": 60}"#)]);
    bench.harvest_one().await;
    bench.define("a", "rotated");
    let script = |request: &Request| {
        let rotated = request.body.as_ref().is_some_and(|body| body.expose_secret().contains("rotated"));
        Ok(if rotated { token("t2") } else { answer(401, r#"{"error": "invalid_client"}"#) })
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));

    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts, report.generation), (Outcome::Refreshed, 2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_whose_definition_stands_is_not_tried_again() {
    let bench = Bench::new(&["a", "b"]);
    for source in ["a", "b"] {
        bench.answers(source, vec![answer(401, r#"{"error": "unauthorized_client"}"#)]);
    }
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(report.sources.iter().map(|source| source.attempts).sum::<u32>(), 2);
    assert_eq!(bench.secrets.reads.get(), 2, "once for the run, once for both sources");
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_to_a_newer_good_token_is_fresh() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("ours")]);
    let theirs = |tokens: &Tokens, ours: &TokenDocument| {
        let mut theirs = ours.clone();
        theirs.answer.access_token = SecretString::from("theirs");
        tokens.write(&theirs);
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(theirs));
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.generation), (Outcome::Fresh, Some(1)));
    assert!(bench.tokens.stored.borrow()["a"].1.contains("theirs"));
    assert!(bench.outbox.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_to_an_older_token_is_run_again() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("ours")]);
    let older = |tokens: &Tokens, ours: &TokenDocument| {
        let mut older = ours.clone();
        older.issued_at -= TimeDelta::minutes(5);
        older.answer.access_token = SecretString::from("older");
        tokens.write(&older);
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(older));
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(2)));
    assert!(bench.tokens.stored.borrow()["a"].1.contains("ours"));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_was_lost_counts_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("ours")]);
    let already_written = |tokens: &Tokens, ours: &TokenDocument| {
        tokens.write(ours);
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(already_written));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(1)));
    assert_eq!(bench.tokens.writes.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let bench = Bench::new(&["a"]);
    let event = Event { dry_run: true, ..Event::default() };
    let report = bench.harvest(&event).await;
    assert!(report.dry_run);
    assert_eq!((report.refreshed, report.sources[0].attempts), (1, 0));
    assert_eq!(bench.tokens.writes.get(), 0);
    assert!(bench.outbox.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_that_no_secret_defines_are_reported() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.secrets.stored.borrow_mut().insert("off".to_owned(), r#"{"enabled": false}"#.to_owned());
    let sources = Some(vec!["a".to_owned(), "nobody".to_owned(), "off".to_owned()]);
    let report = bench.harvest(&Event { sources, ..Event::default() }).await;

    assert_eq!(
        report.sources.iter().map(code).collect::<Vec<_>>(),
        [None, Some("source_unknown"), Some("source_unknown")]
    );
    let words = report.sources[2].error.as_ref().expect("an error").message.clone();
    assert_eq!(words, "the source is switched off (`enabled` is false)");
}

#[tokio::test(start_paused = true)]
async fn no_source_at_all_is_a_warning_that_says_how_to_add_one() {
    let bench = Bench::new(&[]);
    let report = bench.harvest(&Event::default()).await;
    assert!(report.sources.is_empty());
    assert_eq!(report.warnings[0].code, WarningCode::NoSources);
    assert!(report.warnings[0].message.contains("harvest/<source>"), "{}", report.warnings[0].message);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_too_slow_for_the_token_is_a_warning_with_the_arithmetic() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(200, r#"{"access_token": "t", "expires_in": 1200}"#)]);
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(report.warnings[0].code, WarningCode::ScheduleTooSlow);
    assert_eq!(
        report.warnings[0].message,
        "tokens live 20 min, less than `min_ttl` (10 min) plus the schedule's interval (15 min): harvest at least \
         every 10 min, or lower `min_ttl`"
    );
}

#[tokio::test(start_paused = true)]
async fn messages_that_nobody_got_fail_the_harvest_but_not_its_work() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.outbox.refuses.set(true);
    let deadline = start() + TimeDelta::minutes(1);
    let error = bench.harvester.harvest(&Event::default(), "run", deadline).await.expect_err("unpublished");
    assert_eq!(error.to_string(), "messages could not be published: SNS PublishBatch: AuthorizationError");
    let HarvestError::MessagesUnpublished { report, .. } = error else { panic!("{error}") };
    assert_eq!(report.refreshed, 1);
    assert_eq!(bench.tokens.writes.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_issuers_metadata_is_asked_for_once_for_all_its_sources() {
    let bench = Bench::new(&[]);
    for source in ["a", "b"] {
        let definition = json!({"issuer": "https://as.example.com", "client_id": "c", "client_secret": "s"});
        bench.secrets.stored.borrow_mut().insert(source.to_owned(), definition.to_string());
    }
    let metadata = r#"{"issuer": "https://as.example.com", "token_endpoint": "https://as.example.com/token"}"#;
    bench.answers(".well-known/oauth-authorization-server", vec![answer(404, "")]);
    bench.answers(".well-known/openid-configuration", vec![answer(200, metadata)]);
    bench.answers("token", vec![token("t1")]);
    let report = bench.harvest(&Event::default()).await;

    assert_eq!(report.refreshed, 2);
    assert_eq!(report.sources[0].attempts, 1, "metadata is no token request");
    assert_eq!(bench.asked_at().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_kept_and_used_next() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    for generation in 1..=3 {
        let report = bench.harvest(&forced()).await.sources.remove(0);
        assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(generation)));
    }
    assert_eq!(*seen.borrow(), ["r1", "r2", "r3"]);
    assert_eq!(bench.state.refresh_token().as_deref(), Some("r4"));
    assert!(!bench.state.is_leased(), "released");
}

#[tokio::test(start_paused = true)]
async fn another_refresh_token_in_the_definition_takes_over() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    bench.harvest_one().await;
    bench.define_rotating("a", "authorized-anew");
    tokio::time::advance(Duration::from_secs(300)).await;
    bench.harvest_one().await;
    assert_eq!(seen.borrow().last().map(String::as_str), Some("authorized-anew"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_saved_before_the_token_is_stored_however_often_it_takes() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.rotates("a", &Rc::default());
    bench.state.refusals.set(5);
    let saved_first = {
        let state = Rc::clone(&bench.state);
        move |_: &Tokens, _: &TokenDocument| assert_eq!(state.refresh_token().as_deref(), Some("r2"))
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(saved_first));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts), (Outcome::Refreshed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_can_not_be_saved_does_not_cost_the_token() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.rotates("a", &Rc::default());
    bench.state.refusals.set(usize::MAX);
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, code(&report)), (Outcome::Failed, Some("grant_store_failed")));
    assert_eq!(report.generation, Some(1), "the token is stored all the same");
    assert!(report.duration_ms < 50_000, "{}", report.duration_ms);
    let message = report.error.expect("an error").message;
    assert!(message.contains("authorize anew"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn two_harvests_at_once_send_one_request() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    bench.server.latency.set(Duration::from_secs(1));
    let deadline = start() + TimeDelta::minutes(1);
    let event = Event::default();
    let (one, two) = tokio::join!(
        bench.harvester.harvest(&event, "one", deadline),
        bench.harvester.harvest(&event, "two", deadline),
    );
    let (one, two) = (one.expect("a report"), two.expect("a report"));
    assert_eq!((one.refreshed + two.refreshed, one.deferred + two.deferred), (1, 1));
    assert_eq!(*seen.borrow(), ["r1"]);
}

fn held_until(seconds: i64) -> Tagged<Lease> {
    let lease =
        Lease { run_id: "crashed".to_owned(), expires_at: start() + TimeDelta::seconds(seconds), ..Lease::ended() };
    Tagged { value: lease, etag: "theirs".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_holders_lease_is_taken_over_once_it_has_ended() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.rotates("a", &Rc::default());
    bench.state.leases.borrow_mut().insert("a".to_owned(), held_until(30));
    let held = bench.harvest_one().await;
    assert_eq!((held.outcome, code(&held), held.attempts), (Outcome::Deferred, None, 0));

    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
    assert!(!bench.state.is_leased(), "released");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_released_on_every_way_out() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_scope"}"#)]);
    assert_eq!(code(&bench.harvest_one().await), Some("invalid_scope"));
    assert!(!bench.state.is_leased(), "after a failure");

    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(|_| panic!("while it is held")));
    assert_eq!(code(&bench.harvest(&forced()).await.sources[0]), Some("internal"));
    assert!(!bench.state.is_leased(), "after a panic");
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_not_a_dead_grant() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let state = Rc::clone(&bench.state);
    let script = move |request: &Request| {
        if sent_refresh_token(request) == "theirs" {
            return Ok(token("t"));
        }
        // Somebody else refreshed and saved while this request was on its way.
        let mut theirs = GrantState::current(None, &Seed::RefreshToken(SecretString::from("r1")), start());
        theirs.credential = SecretString::from("theirs");
        let theirs = Tagged { value: theirs, etag: state.etag() };
        state.grants.borrow_mut().insert("a".to_owned(), theirs);
        Ok(answer(400, r#"{"error": "invalid_grant"}"#))
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts), (Outcome::Refreshed, 2));
}

#[tokio::test(start_paused = true)]
async fn the_fixed_end_of_a_refresh_token_is_told_at_30_7_and_1_days() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let end = start() + TimeDelta::days(60);
    let began = Instant::now();
    let script = move |_: &Request| {
        let left = end - start() - TimeDelta::from_std(began.elapsed()).expect("two months");
        let body = json!({"access_token": "t", "expires_in": 86_400, "refresh_token_expires_in": left.num_seconds()});
        Ok(answer(200, &body.to_string()))
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));
    let mut told = Vec::new();
    for hour in 0..60 * 24 - 1 {
        bench.harvest_one().await;
        let alerts = bench.outbox.messages.take().into_iter().filter(|message| message.attributes[0].1 == "alert");
        told.extend(alerts.map(|alert| (hour / 24, alert.subject)));
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    assert_eq!(told.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [30, 53, 59], "{told:#?}");
    assert!(told[1].1.contains("WARNING a"), "{told:#?}");
}
