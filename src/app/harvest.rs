//! The use case: keep every source's token fresh, and say how it went.

mod definitions;
mod hosts;
mod incidents;
mod refresh;
mod telling;

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

use self::definitions::{Definitions, Known};
use self::hosts::Hosts;
use self::incidents::Watched;
use self::telling::OwedForecast;
use crate::app::ports::{Advice, Clock as _, Ports, StoreError, Tagged, World};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::event::Event;
use crate::domain::incident::Incident;
use crate::domain::lease::Lease;
use crate::domain::oauth::Rejection;
use crate::domain::report::{Outcome, Report, SourceReport, Warning, WarningCode};
use crate::domain::retry::Deadline;
use crate::domain::source::{Catalog, PlainHttp, Roster, Source, SourceName};
use crate::domain::time::rfc3339;
use crate::domain::token::{RefreshRule, StoredToken};

/// How often something is written before other writers are left to it.
const WRITE_ATTEMPTS: usize = 3;

tokio::task_local! {
    /// What is worked on, for the log line of a panic.
    static AT_WORK: AtWork;
}

/// The run, and the source that it is at.
#[derive(Debug, Clone)]
pub struct AtWork {
    /// The invocation's request id.
    pub run_id: String,
    /// Name of the source.
    pub source: String,
}

impl AtWork {
    /// What the current task works on; `None` outside the work on a source.
    pub fn now() -> Option<Self> {
        AT_WORK.try_with(Clone::clone).ok()
    }
}

/// What a harvester is told once, at start-up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names the deployment.
    pub environment: String,
    /// The page whose anchors are error codes, for mails.
    pub runbook_url: String,
    /// Prefix of the secrets, for hints.
    pub secret_prefix: String,
    /// The longest time between two runs.
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
    known: RefCell<Known>,
    /// Incidents as they would be kept, if the state bucket took them; `None`: it is over. So that what can't be noted is
    /// not told again in each run.
    unkept: RefCell<HashMap<String, Option<Incident>>>,
    /// Sources of which a person was told by this process that their schedule is too slow.
    told_too_slow: RefCell<BTreeSet<String>>,
    /// When this process last kept a report.
    report_kept_at: Cell<Option<DateTime<Utc>>>,
}

/// Why a harvest as a whole failed: only what nobody would otherwise hear of.
#[derive(Debug, thiserror::Error)]
pub enum HarvestError {
    /// The definitions could not be read, or not to the end.
    #[error("the sources' definitions could not be read: {reason}")]
    DefinitionsUnreadable {
        /// How the harvest went with the definitions that were known; `None`: none were, and nothing was harvested.
        report: Option<Box<Report>>,
        /// What Secrets Manager said.
        reason: StoreError,
    },
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
    /// There are no sources any more.
    #[error(
        "no secret under the prefix defines a source any more, where there were some before: see whether they were \
         deleted, or the prefix or the region was changed"
    )]
    SourcesGone {
        /// How the harvest went.
        report: Box<Report>,
    },
}

impl HarvestError {
    /// How the harvest went; `None`: nothing was harvested.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::DefinitionsUnreadable { report, .. } => report.as_deref(),
            Self::MessagesUnpublished { report, .. }
            | Self::IncidentsUnkept { report, .. }
            | Self::SourcesGone { report } => Some(report),
        }
    }
}

/// What is shared by all sources of one run.
struct Run<'a> {
    id: &'a str,
    event: &'a Event,
    started_at: DateTime<Utc>,
    deadline: Deadline,
    /// What earlier runs remembered of the sources; `None`: it could not be read.
    roster: Option<Roster>,
    /// Names of the sources that have an incident, listed once; `None`: they could not be, so none is judged.
    open_incidents: OnceCell<Option<BTreeSet<String>>>,
    /// The first trouble with incidents.
    trouble: RefCell<Option<StoreError>>,
    /// Definitions read anew in this run, once, after a server refused a client.
    reread: OnceCell<Option<Rc<Catalog>>>,
    /// Token endpoints by issuer, each asked for once.
    discovered: RefCell<HashMap<String, Discovery>>,
    hosts: Hosts,
}

type Discovery = Rc<OnceCell<Result<Url, Rejection>>>;

/// Set by the first look; `None` in it: there was no token.
type FoundGeneration = std::cell::OnceCell<Option<u64>>;

/// What is known of one source while it is worked on, whatever comes of that.
#[derive(Default)]
struct Progress {
    attempts: Cell<u32>,
    /// Whether the definitions lack it for the first time.
    is_absent: bool,
    stored: RefCell<Option<StoredToken>>,
    /// Generation of the token that was stored when it was looked up first.
    found: FoundGeneration,
    lease: RefCell<Option<Tagged<Lease>>>,
    incident: RefCell<Option<Advice<Incident>>>,
    /// Whether there is an incident that could not be read.
    incident_unread: Cell<bool>,
    /// Hash of the definition that was tried last, where it was read anew.
    tried: RefCell<Option<String>>,
    /// When a run ended, this one or the crashed holder of the lease, that could not keep a server's answer.
    lost_with: Cell<Option<DateTime<Utc>>>,
    /// When the lease was taken that was taken over.
    overtaken: Cell<Option<DateTime<Utc>>>,
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
    /// Generation of the token that this run found.
    found: Option<u64>,
    warnings: Vec<Warning>,
    watched: Watched,
    forecast: Option<OwedForecast>,
}

impl Harvested {
    /// Whether a new token was stored in this run.
    fn is_refreshed(&self) -> bool {
        self.report.outcome == Outcome::Refreshed
    }
}

impl<P: Ports> Harvester<P> {
    /// A harvester that has read nothing yet.
    pub fn new(settings: Settings, world: World<P>) -> Self {
        Self {
            settings,
            world,
            known: RefCell::default(),
            unkept: RefCell::default(),
            told_too_slow: RefCell::default(),
            report_kept_at: Cell::default(),
        }
    }

    /// Harvests every source that the event asks for. `deadline`: when the caller will stop waiting.
    pub async fn harvest(&self, event: &Event, run_id: &str, deadline: DateTime<Utc>) -> Result<Report, HarvestError> {
        let started_at = self.world.clock.now();
        let deadline = Deadline::new(started_at, deadline);
        let definitions = self.definitions(event, started_at, &deadline).boxed_local().await;
        let unreadable = |reason| HarvestError::DefinitionsUnreadable { report: None, reason };
        let Definitions { catalog, roster, broke_off, all_gone } = definitions.map_err(unreadable)?;
        let run = Run {
            id: run_id,
            event,
            started_at,
            deadline,
            trouble: RefCell::new(match roster {
                Some(_) => None,
                None => Some(StoreError("the roster of the sources could not be read".to_owned())),
            }),
            roster,
            open_incidents: OnceCell::new(),
            reread: OnceCell::new(),
            discovered: RefCell::default(),
            hosts: Hosts::default(),
        };
        let chosen = choose(&catalog, event).into_iter().map(|(name, source)| {
            let host = source.as_ref().map(|source| hosts::host(source.definition.first_url()).to_owned());
            (host.unwrap_or_default(), (name, source))
        });
        let mut harvested: Vec<Harvested> = stream::iter(hosts::in_turn(chosen))
            .map(|(name, source)| self.harvest_source(&run, &catalog, name, source).boxed_local())
            .buffer_unordered(self.settings.max_concurrency)
            .collect()
            .await;
        harvested.sort_by(|one, other| one.report.source.cmp(&other.report.source));

        let report = self.report(&run, &harvested, self.world.clock.now());
        log_report(&report);
        let told = self.tell(&run, &catalog, &harvested, &report).boxed_local().await;
        let report = Box::new(report);
        match (told, run.trouble.into_inner(), broke_off) {
            (Err(reason), _, _) => Err(HarvestError::MessagesUnpublished { report, reason }),
            (Ok(()), Some(reason), _) => Err(HarvestError::IncidentsUnkept { report, reason }),
            (Ok(()), None, Some(reason)) => Err(HarvestError::DefinitionsUnreadable { report: Some(report), reason }),
            (Ok(()), None, None) if all_gone => Err(HarvestError::SourcesGone { report }),
            (Ok(()), None, None) => Ok(*report),
        }
    }

    /// Works on one source; whatever happens there, there is a line for the report.
    async fn harvest_source(
        &self,
        run: &Run<'_>,
        catalog: &Catalog,
        name: String,
        source: Result<Arc<Source>, SourceError>,
    ) -> Harvested {
        let started_at = self.world.clock.now();
        let at_work = AtWork { run_id: run.id.to_owned(), source: name.clone() };
        let progress = Progress { is_absent: catalog.is_absent(&name), ..Progress::default() };
        let time_left = Deadline::remaining(started_at, run.deadline.sources);
        // Boxed: nested in one another, the futures would be too large for the stack.
        let work = self.work_on(run, &name, &source, &progress).boxed_local();
        let work = AssertUnwindSafe(AT_WORK.scope(at_work.clone(), work));
        let result = match tokio::time::timeout(time_left, work.catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => {
                let message = "the harvester panicked at this source; the log says where";
                Err(SourceError::new(ErrorCode::Internal, message))
            }
            Err(_elapsed) => Err(out_of_time("the run's time was used up while working on this source")),
        };
        let source = source.ok();
        let time_left = Deadline::remaining(self.world.clock.now(), run.deadline.notes);
        let notes = self.note(run, &name, source.as_deref(), &result, &progress).boxed_local();
        let notes = AssertUnwindSafe(AT_WORK.scope(at_work, notes));
        let (forecast, watched) = match tokio::time::timeout(time_left, notes.catch_unwind()).await {
            Ok(Ok(notes)) => notes,
            Ok(Err(_panic)) => unnoted(run, &name, "the harvester panicked while noting how it went"),
            Err(_elapsed) => unnoted(run, &name, "no time was left to note how it went"),
        };
        let duration = self.world.clock.now() - started_at;
        let result = told_as(result, &watched, &progress);
        let harvested = self.harvested(name, source, result, &progress, duration);
        let harvested = Harvested { watched, forecast, ..harvested };
        log_outcome(run, &harvested.report);
        harvested
    }

    /// What a person may have to hear of the source, and the end of this run's work on it.
    async fn note(
        &self,
        run: &Run<'_>,
        name: &str,
        source: Option<&Source>,
        result: &Result<Done, SourceError>,
        progress: &Progress,
    ) -> (Option<OwedForecast>, Watched) {
        let forecast = self.forecast(run, source, progress).await;
        let watched = self.watch(run, name, source, result, progress).await;
        let lease = progress.lease.take();
        if let (Some(source), Some(lease)) = (source, lease) {
            self.release_lease(run, source, &lease).await;
        }
        (forecast, watched)
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
        (outcome, error): (Outcome, Option<SourceError>),
        progress: &Progress,
        duration: TimeDelta,
    ) -> Harvested {
        let stored = progress.stored.take();
        let version_id = stored.as_ref().and_then(|stored| stored.version_id.clone());
        let metadata = stored.and_then(|stored| stored.metadata);
        let interval = self.settings.schedule_interval;
        let rule = source.as_ref().map_or_else(|| RefreshRule::usual(interval), |source| self.rule(source));
        let mut warnings = Vec::new();
        if let (Outcome::Fresh | Outcome::Refreshed, Some(metadata)) = (outcome, &metadata)
            && let Some(arithmetic) = rule.too_slow(metadata.issued_at, metadata.expires_at)
        {
            let code = WarningCode::ScheduleTooSlow;
            warnings.push(Warning { code, source: Some(name.clone()), message: arithmetic });
        }
        let expires_at = metadata.as_ref().and_then(|metadata| metadata.expires_at);
        let now = self.world.clock.now();
        let spare = metadata
            .as_ref()
            .zip(expires_at)
            .map(|(metadata, expires_at)| expires_at - now - rule.kept_ttl(metadata.issued_at, metadata.expires_at));
        Harvested {
            report: SourceReport {
                source: name,
                outcome,
                generation: metadata.as_ref().map(|metadata| metadata.generation),
                expires_at,
                version_id,
                attempts: progress.attempts.get(),
                duration_ms: milliseconds(duration),
                error,
                spare,
            },
            source,
            issued_at: metadata.map(|metadata| metadata.issued_at),
            found: progress.found.get().copied().flatten(),
            warnings,
            watched: Watched::default(),
            forecast: None,
        }
    }

    fn report(&self, run: &Run<'_>, harvested: &[Harvested], finished_at: DateTime<Utc>) -> Report {
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
        warnings.extend(harvested.iter().flat_map(|one| one.warnings.iter().cloned()));
        let count = |outcome| harvested.iter().filter(|one| one.report.outcome == outcome).count();
        Report {
            run_id: run.id.to_owned(),
            environment: self.settings.environment.clone(),
            dry_run: run.event.dry_run,
            complete: run.event.sources.is_none() && !run.event.dry_run && !harvested.is_empty(),
            started_at: run.started_at,
            finished_at,
            refreshed: count(Outcome::Refreshed),
            fresh: count(Outcome::Fresh),
            deferred: count(Outcome::Deferred),
            failed: count(Outcome::Failed),
            sources: harvested.iter().map(|one| one.report.clone()).collect(),
            warnings,
        }
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

/// How a result stands in the report, as its incident sees it: a third refusal in a row is more than a refusal.
fn told_as(
    result: Result<Done, SourceError>,
    watched: &Watched,
    progress: &Progress,
) -> (Outcome, Option<SourceError>) {
    match result {
        Ok(Done::Fresh) => (Outcome::Fresh, None),
        Ok(Done::Refreshed | Done::WouldRefresh) => (Outcome::Refreshed, None),
        Ok(Done::HeldByAnotherRun) => (Outcome::Deferred, None),
        Ok(Done::CoolingDown) => (Outcome::Deferred, watched.error().cloned()),
        Err(error) => (outcome_of(&error, progress), Some(watched.error().cloned().unwrap_or(error))),
    }
}

/// Throttled, lacking for the first time, or not begun for want of time: deferred. Everything else failed.
fn outcome_of(error: &SourceError, progress: &Progress) -> Outcome {
    match error.code {
        _ if progress.is_absent => Outcome::Deferred,
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

/// What is known of a source whose incident could not be judged in this run.
fn unnoted(run: &Run<'_>, name: &str, what: &str) -> (Option<OwedForecast>, Watched) {
    note_trouble::<()>(run, Err(StoreError(format!("{name}: {what}"))));
    (None, Watched::default())
}

/// Remembers the first trouble with incidents, which fails the function: nobody else would hear of it.
fn note_trouble<T>(run: &Run<'_>, result: Result<T, StoreError>) -> Option<T> {
    result
        .map_err(|error| {
            warn!(run.id = run.id, error.message = %error, "incident could not be read or kept");
            run.trouble.borrow_mut().get_or_insert(error);
        })
        .ok()
}

fn log_report(report: &Report) {
    info!(
        run.id = report.run_id,
        refreshed = report.refreshed,
        fresh = report.fresh,
        deferred = report.deferred,
        failed = report.failed,
        duration_ms = milliseconds(report.finished_at - report.started_at),
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
