//! The use case: keep every source's token fresh, and say how it went.

mod incidents;
mod refresh;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::OnceCell;
use tracing::{info, warn};
use url::Url;

use self::incidents::{OwedForecast, Watched};
use crate::event::Event;
use crate::grant::{CredentialKind, Lease};
use crate::incident::Incident;
use crate::message::{Message, TokenEvent};
use crate::oauth::Rejection;
use crate::ports::{Clock as _, Ports, Publisher as _, SecretStore as _, StoreError, Tagged, World};
use crate::report::{ErrorCode, Outcome, Report, SourceError, SourceReport, Warning, WarningCode, rfc3339};
use crate::retry::Deadline;
use crate::source::{Catalog, PlainHttp, Source, SourceName};
use crate::token::{self, RefreshRule, StoredToken};

/// How long a warm function relies on definitions that it has read.
const CATALOG_AGE: TimeDelta = TimeDelta::minutes(5);

/// What a harvester is told once, at start-up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names the deployment.
    pub environment: String,
    /// Where token documents are, for messages.
    pub token_bucket: String,
    /// Prefix of the secrets, for hints.
    pub secret_prefix: String,
    /// Time between two harvests.
    pub schedule_interval: TimeDelta,
    /// Sources worked on at once.
    pub max_concurrency: usize,
    /// Where definitions may call plain `http`.
    pub plain_http: PlainHttp,
}

/// Harvests, again and again while the function is warm.
pub struct Harvester<P: Ports> {
    settings: Settings,
    world: World<P>,
    catalog: RefCell<Option<(DateTime<Utc>, Rc<Catalog>)>>,
}

/// Why a harvest as a whole failed: only what nobody would otherwise hear of.
#[derive(Debug, thiserror::Error)]
pub enum HarvestError {
    /// Nothing was harvested.
    #[error("the sources' definitions could not be read: {0}")]
    DefinitionsUnreadable(StoreError),
    /// Tokens were stored, but not everybody was told.
    #[error("messages could not be published: {reason}")]
    MessagesUnpublished {
        /// How the harvest went.
        report: Box<Report>,
        /// What SNS said.
        reason: StoreError,
    },
    /// Tokens were stored, but who was told of what could not be read or kept.
    #[error("incidents could not be read or kept, so alerts may be missing: {reason}")]
    IncidentsUnkept {
        /// How the harvest went.
        report: Box<Report>,
        /// What S3 said.
        reason: StoreError,
    },
}

/// What is shared by all sources of one run.
struct Run<'a> {
    id: &'a str,
    event: &'a Event,
    started_at: DateTime<Utc>,
    deadline: Deadline,
    /// Names of the sources that have an incident, listed once; `None`: they could not be, so none is judged.
    open_incidents: OnceCell<Option<BTreeSet<String>>>,
    /// The first trouble with incidents.
    trouble: RefCell<Option<StoreError>>,
    /// Definitions read anew in this run, once, after a server refused a client.
    reread: OnceCell<Option<Rc<Catalog>>>,
    /// Token endpoints by issuer, each asked for once.
    discovered: RefCell<HashMap<String, Discovery>>,
}

type Discovery = Rc<OnceCell<Result<Url, Rejection>>>;

/// What is known of one source while it is worked on, whatever comes of that.
#[derive(Default)]
struct Progress {
    attempts: Cell<u32>,
    stored: RefCell<Option<StoredToken>>,
    lease: RefCell<Option<Tagged<Lease>>>,
    incident: RefCell<Option<Tagged<Incident>>>,
    /// Whether there is an incident that could not be read.
    incident_unread: Cell<bool>,
    /// Hash of the definition that was tried last, where it was read anew.
    tried: RefCell<Option<String>>,
    /// When a run ended, this one or the crashed holder of the lease, that could not keep a server's answer.
    lost_with: Cell<Option<DateTime<Utc>>>,
    /// What the server asked to wait, where that outlasts the run.
    retry_after: Cell<Option<Duration>>,
}

impl Progress {
    /// Whether a token request was sent: what ends before that was not tried.
    fn has_begun(&self) -> bool {
        self.attempts.get() > 0
    }
}

/// How work on one source ended well.
enum Done {
    Fresh,
    WouldRefresh,
    HeldByAnotherRun,
    CoolingDown,
    Refreshed,
}

/// One source's part of the report and of the messages.
struct Harvested {
    report: SourceReport,
    source: Option<Arc<Source>>,
    issued_at: Option<DateTime<Utc>>,
    warnings: Vec<Warning>,
    watched: Watched,
    forecast: Option<OwedForecast>,
}

impl Harvested {
    /// Who is asked when this source fails.
    fn owner(&self) -> Option<&str> {
        self.source.as_ref()?.definition.owner.as_deref()
    }

    /// What a person brings anew once its grant is dead.
    fn credential(&self) -> CredentialKind {
        self.source.as_ref().map(|source| source.definition.credential()).unwrap_or_default()
    }

    /// What to do then.
    fn runbook_url(&self) -> Option<&str> {
        self.source.as_ref()?.definition.runbook_url.as_ref().map(Url::as_str)
    }
}

impl<P: Ports> Harvester<P> {
    /// A harvester that has read nothing yet.
    pub fn new(settings: Settings, world: World<P>) -> Self {
        Self { settings, world, catalog: RefCell::new(None) }
    }

    /// Harvests every source that the event asks for. `deadline`: when the caller will stop waiting.
    pub async fn harvest(&self, event: &Event, run_id: &str, deadline: DateTime<Utc>) -> Result<Report, HarvestError> {
        let started_at = self.world.clock.now();
        let catalog = self.catalog(started_at).await.map_err(HarvestError::DefinitionsUnreadable)?;
        let run = Run {
            id: run_id,
            event,
            started_at,
            deadline: Deadline::new(started_at, deadline),
            open_incidents: OnceCell::new(),
            trouble: RefCell::default(),
            reread: OnceCell::new(),
            discovered: RefCell::default(),
        };
        let mut harvested: Vec<Harvested> = stream::iter(choose(&catalog, event))
            .map(|(name, source)| self.harvest_source(&run, name, source).boxed_local())
            .buffer_unordered(self.settings.max_concurrency)
            .collect()
            .await;
        harvested.sort_by(|one, other| one.report.source.cmp(&other.report.source));

        let finished_at = self.world.clock.now();
        log_outcomes(&run, &harvested, finished_at);
        let told = self.tell(&run, &catalog, &harvested).await;
        let report = self.report(&run, harvested, finished_at);
        match (told, run.trouble.into_inner()) {
            (Err(reason), _) => Err(HarvestError::MessagesUnpublished { report: Box::new(report), reason }),
            (Ok(()), Some(reason)) => Err(HarvestError::IncidentsUnkept { report: Box::new(report), reason }),
            (Ok(()), None) => Ok(report),
        }
    }

    /// Tells people of what has changed for them, and subscribers of every token that changed or failed to.
    async fn tell(&self, run: &Run<'_>, catalog: &Catalog, harvested: &[Harvested]) -> Result<(), StoreError> {
        if run.event.dry_run {
            return Ok(());
        }
        let alerted = self.alert(run, harvested).await;
        self.forget_removed_sources(run, catalog).await;
        let published = self.publish(run, &self.messages(run, harvested, self.world.clock.now())).await;
        alerted.and(published)
    }

    /// All sources, from memory if they were read within the last minutes.
    async fn catalog(&self, now: DateTime<Utc>) -> Result<Rc<Catalog>, StoreError> {
        if let Some((read_at, catalog)) = &*self.catalog.borrow()
            && now - *read_at < CATALOG_AGE
        {
            return Ok(Rc::clone(catalog));
        }
        self.read_catalog(now).await
    }

    async fn read_catalog(&self, now: DateTime<Utc>) -> Result<Rc<Catalog>, StoreError> {
        let catalog = Rc::new(Catalog::new(self.world.secrets.read_all().await?, self.settings.plain_http));
        self.catalog.replace(Some((now, Rc::clone(&catalog))));
        Ok(catalog)
    }

    /// Works on one source; whatever happens there, there is a line for the report.
    async fn harvest_source(&self, run: &Run<'_>, name: String, source: Result<Arc<Source>, SourceError>) -> Harvested {
        let started_at = self.world.clock.now();
        let progress = Progress::default();
        let time_left = Deadline::remaining(started_at, run.deadline.sources);
        let work = AssertUnwindSafe(self.work_on(run, &name, &source, &progress)).catch_unwind();
        let result = match tokio::time::timeout(time_left, work).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => {
                let message = "the harvester panicked at this source; the log says where";
                Err(SourceError::new(ErrorCode::Internal, message))
            }
            Err(_elapsed) => Err(out_of_time("the run's time was used up while working on this source")),
        };
        let source = source.ok();
        let forecast = self.forecast(run, source.as_deref(), &progress).await;
        let watched = self.watch(run, &name, source.as_deref(), &result, &progress).await;
        if let (Some(source), Some(lease)) = (&source, progress.lease.take()) {
            self.release_lease(run, source, &lease).await;
        }
        let duration = self.world.clock.now() - started_at;
        let harvested = self.harvested(name, source, result, &progress, watched, duration);
        let harvested = Harvested { forecast, ..harvested };
        log_outcome(run, &harvested.report);
        harvested
    }

    /// Reads what is known of the source, and refreshes its token if it is due.
    async fn work_on(
        &self,
        run: &Run<'_>,
        name: &str,
        source: &Result<Arc<Source>, SourceError>,
        progress: &Progress,
    ) -> Result<Done, SourceError> {
        match source {
            Ok(source) => self.refresh_if_due(run, source, progress).await,
            Err(error) => {
                self.read_incident(run, name, progress).await;
                // How long the old token works decides how urgent it is to mend the definition.
                if let Some(name) = SourceName::parse(name).filter(|_| error.code != ErrorCode::SourceUnknown) {
                    let _ = self.head(&name, progress).await;
                }
                Err(error.clone())
            }
        }
    }

    fn rule(&self, source: &Source) -> RefreshRule {
        RefreshRule::new(&source.definition, self.settings.schedule_interval)
    }

    fn harvested(
        &self,
        name: String,
        source: Option<Arc<Source>>,
        result: Result<Done, SourceError>,
        progress: &Progress,
        watched: Watched,
        duration: TimeDelta,
    ) -> Harvested {
        let stored = progress.stored.take();
        let version_id = stored.as_ref().and_then(|stored| stored.version_id.clone());
        let metadata = stored.and_then(|stored| stored.metadata);
        let mut warnings = Vec::new();
        if let (Ok(Done::Fresh | Done::Refreshed), Some(source), Some(metadata)) = (&result, &source, &metadata)
            && let Some(arithmetic) = self.rule(source).too_slow(metadata.issued_at, metadata.expires_at)
        {
            let code = WarningCode::ScheduleTooSlow;
            warnings.push(Warning { code, source: Some(name.clone()), message: arithmetic });
        }
        let (outcome, error) = match result {
            Ok(Done::Fresh) => (Outcome::Fresh, None),
            Ok(Done::Refreshed | Done::WouldRefresh) => (Outcome::Refreshed, None),
            Ok(Done::HeldByAnotherRun) => (Outcome::Deferred, None),
            Ok(Done::CoolingDown) => (Outcome::Deferred, watched.error().cloned()),
            Err(error) => (outcome_of(&error, progress), Some(watched.error().cloned().unwrap_or(error))),
        };
        Harvested {
            report: SourceReport {
                source: name,
                outcome,
                generation: metadata.as_ref().map(|metadata| metadata.generation),
                expires_at: metadata.as_ref().and_then(|metadata| metadata.expires_at),
                version_id,
                attempts: progress.attempts.get(),
                duration_ms: milliseconds(duration),
                error,
            },
            source,
            issued_at: metadata.map(|metadata| metadata.issued_at),
            warnings,
            watched,
            forecast: None,
        }
    }

    fn report(&self, run: &Run<'_>, harvested: Vec<Harvested>, finished_at: DateTime<Utc>) -> Report {
        let mut warnings = Vec::new();
        if harvested.is_empty() {
            warnings.push(Warning {
                code: WarningCode::NoSources,
                source: None,
                message: format!(
                    "there is no source to harvest: add one by creating a secret named {}<source> that holds its \
                     definition",
                    self.settings.secret_prefix
                ),
            });
        }
        let [refreshed, fresh, deferred, failed] = counts(&harvested);
        let mut sources = Vec::with_capacity(harvested.len());
        for one in harvested {
            warnings.extend(one.warnings);
            sources.push(one.report);
        }
        for warning in &warnings {
            warn!(run.id = run.id, source.name = warning.source, warning.message = warning.message, "warning");
        }
        Report {
            run_id: run.id.to_owned(),
            environment: self.settings.environment.clone(),
            dry_run: run.event.dry_run,
            started_at: run.started_at,
            finished_at,
            refreshed,
            fresh,
            deferred,
            failed,
            sources,
            warnings,
        }
    }

    /// A message for each source whose token changed or failed to.
    fn messages(&self, run: &Run<'_>, harvested: &[Harvested], now: DateTime<Utc>) -> Vec<Message> {
        let message = |one: &Harvested| {
            let key = one.source.as_ref().map(|source| token::key(&source.name));
            TokenEvent {
                environment: &self.settings.environment,
                run_id: run.id,
                bucket: &self.settings.token_bucket,
                key: key.as_deref(),
                report: &one.report,
                issued_at: one.issued_at,
                incident: one.watched.incident(),
                owner: one.owner(),
                runbook_url: one.runbook_url(),
            }
            .message(now)
        };
        harvested.iter().filter_map(message).collect()
    }

    async fn publish(&self, run: &Run<'_>, messages: &[Message]) -> Result<(), StoreError> {
        if messages.is_empty() {
            return Ok(());
        }
        self.world.publisher.publish(messages).await?;
        info!(run.id = run.id, messages = messages.len(), "messages published");
        Ok(())
    }
}

/// The sources that the event asks for, by name.
fn choose(catalog: &Catalog, event: &Event) -> Vec<(String, Result<Arc<Source>, SourceError>)> {
    let Some(names) = &event.sources else {
        return catalog.iter().map(|(name, source)| (name.to_owned(), source.clone())).collect();
    };
    names
        .iter()
        .map(|name| {
            let source = catalog.find(name).cloned().unwrap_or_else(|| {
                let message = if catalog.is_disabled(name) {
                    "the source is switched off (`enabled` is false)"
                } else {
                    "no secret defines a source of this name"
                };
                Err(SourceError::new(ErrorCode::SourceUnknown, message))
            });
            (name.clone(), source)
        })
        .collect()
}

/// Throttled, or not begun for want of time: deferred. Everything else failed.
fn outcome_of(error: &SourceError, progress: &Progress) -> Outcome {
    match error.code {
        ErrorCode::RateLimited => Outcome::Deferred,
        ErrorCode::OutOfTime if !progress.has_begun() => Outcome::Deferred,
        _ => Outcome::Failed,
    }
}

fn out_of_time(message: &str) -> SourceError {
    SourceError::new(ErrorCode::OutOfTime, message)
}

fn milliseconds(duration: TimeDelta) -> u64 {
    u64::try_from(duration.num_milliseconds()).unwrap_or_default()
}

/// How many sources were refreshed, fresh, deferred and failed.
fn counts(harvested: &[Harvested]) -> [usize; 4] {
    [Outcome::Refreshed, Outcome::Fresh, Outcome::Deferred, Outcome::Failed]
        .map(|outcome| harvested.iter().filter(|one| one.report.outcome == outcome).count())
}

fn log_outcomes(run: &Run<'_>, harvested: &[Harvested], finished_at: DateTime<Utc>) {
    let [refreshed, fresh, deferred, failed] = counts(harvested);
    info!(
        run.id = run.id,
        refreshed,
        fresh,
        deferred,
        failed,
        duration_ms = milliseconds(finished_at - run.started_at),
        "harvest finished"
    );
}

fn log_outcome(run: &Run<'_>, report: &SourceReport) {
    match (&report.error, report.outcome) {
        (None, Outcome::Refreshed) if !run.event.dry_run => info!(
            run.id = run.id,
            source.name = report.source,
            token.generation = report.generation,
            token.expires_at = report.expires_at.map(rfc3339),
            attempts = report.attempts,
            duration_ms = report.duration_ms,
            "token refreshed"
        ),
        (None, Outcome::Deferred) => {
            info!(run.id = run.id, source.name = report.source, "source deferred, another run works on it");
        }
        (None, _) => {}
        (Some(error), outcome) => warn!(
            run.id = run.id,
            source.name = report.source,
            error.code = error.code.as_str(),
            error.message = error.message,
            error.retryable = error.retryable,
            error.provider_error = error.provider_error,
            attempts = report.attempts,
            duration_ms = report.duration_ms,
            "{}",
            if outcome == Outcome::Deferred { "source deferred" } else { "source failed" }
        ),
    }
}

#[cfg(test)]
mod tests;
