//! The use case: keep every source's token fresh, and say how it went.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable as _;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use secrecy::SecretString;
use tokio::sync::OnceCell;
use tracing::{info, warn};
use url::Url;

use crate::event::Event;
use crate::grant::{GrantState, Lease};
use crate::message::{Message, TokenEvent};
use crate::oauth::{self, Rejection, TokenAnswer};
use crate::ports::{
    AuthorizationServer as _, Clock as _, GrantStore as _, LeaseStore as _, Ports, Publisher as _, Put, Random as _,
    SecretStore as _, StoreError, Tagged, TokenStore as _, World,
};
use crate::report::{ErrorCode, Outcome, Report, SourceError, SourceReport, Warning, WarningCode, rfc3339};
use crate::retry::{self, Deadline, Repeat, RetryPolicy};
use crate::source::{Catalog, Definition, Endpoint, Grant, Source};
use crate::token::{self, RefreshRule, StoredToken, TokenDocument};

/// How long a warm function relies on definitions that it has read.
const CATALOG_AGE: TimeDelta = TimeDelta::minutes(5);

/// How long one request to an authorization server may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a lease outlasts the run that takes it.
const LEASE_GRACE: TimeDelta = TimeDelta::seconds(5);

/// How often a token document is written before other writers are left to it.
const WRITE_ATTEMPTS: usize = 3;

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
}

/// What is shared by all sources of one run.
struct Run<'a> {
    id: &'a str,
    event: &'a Event,
    deadline: Deadline,
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
}

/// How work on one source ended well.
enum Done {
    Fresh,
    WouldRefresh,
    HeldByAnotherRun,
    Refreshed,
}

/// An answer with a token, and all that it hangs on.
struct Granted {
    /// With the definition that brought it.
    source: Arc<Source>,
    answer: TokenAnswer,
    /// When the request was sent.
    issued_at: DateTime<Utc>,
    /// Stated end of the grant that the next token is requested with.
    grant_expires_at: Option<DateTime<Utc>>,
    /// Why the refresh token that came with it is not saved.
    unsaved: Option<StoreError>,
}

/// One source's part of the report and of the messages.
struct Harvested {
    report: SourceReport,
    source: Option<Arc<Source>>,
    issued_at: Option<DateTime<Utc>>,
    warnings: Vec<Warning>,
}

impl<P: Ports> Harvester<P> {
    /// A harvester that has read nothing yet.
    pub fn new(settings: Settings, world: World<P>) -> Self {
        Self { settings, world, catalog: RefCell::new(None) }
    }

    /// Harvests every source that the event asks for. `deadline`: when the caller will stop waiting.
    pub async fn harvest(&self, event: &Event, run_id: &str, deadline: DateTime<Utc>) -> Result<Report, HarvestError> {
        let started_at = self.world.clock.now();
        let run = Run {
            id: run_id,
            event,
            deadline: Deadline::new(started_at, deadline),
            reread: OnceCell::new(),
            discovered: RefCell::default(),
        };
        let catalog = self.catalog(started_at).await.map_err(HarvestError::DefinitionsUnreadable)?;
        let mut harvested: Vec<Harvested> = stream::iter(choose(&catalog, event))
            .map(|(name, source)| self.harvest_source(&run, name, source))
            .buffer_unordered(self.settings.max_concurrency)
            .collect()
            .await;
        harvested.sort_by(|one, other| one.report.source.cmp(&other.report.source));

        let now = self.world.clock.now();
        let messages = self.messages(&run, &harvested, now);
        let report = self.report(&run, harvested, started_at, now);
        info!(
            run.id = run.id,
            refreshed = report.refreshed,
            fresh = report.fresh,
            deferred = report.deferred,
            failed = report.failed,
            duration_ms = milliseconds(now - started_at),
            "harvest finished"
        );
        match self.publish(&run, &messages).await {
            Ok(()) => Ok(report),
            Err(reason) => Err(HarvestError::MessagesUnpublished { report: Box::new(report), reason }),
        }
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
        let catalog = Rc::new(Catalog::new(self.world.secrets.read_all().await?));
        self.catalog.replace(Some((now, Rc::clone(&catalog))));
        Ok(catalog)
    }

    /// Works on one source; whatever happens there, there is a line for the report.
    async fn harvest_source(&self, run: &Run<'_>, name: String, source: Result<Arc<Source>, SourceError>) -> Harvested {
        let started_at = self.world.clock.now();
        let progress = Progress::default();
        let time_left = Deadline::remaining(started_at, run.deadline.sources);
        let result = match &source {
            Ok(source) => {
                let work = AssertUnwindSafe(self.refresh_if_due(run, source, &progress)).catch_unwind();
                match tokio::time::timeout(time_left, work).await {
                    Ok(Ok(result)) => result,
                    Ok(Err(_panic)) => Err(SourceError::new(
                        ErrorCode::Internal,
                        "the harvester panicked at this source; the log says where",
                    )),
                    Err(_elapsed) => Err(out_of_time("the run's time was used up while working on this source")),
                }
            }
            Err(error) => Err(error.clone()),
        };
        if let (Ok(source), Some(lease)) = (&source, progress.lease.take()) {
            self.release_lease(run, source, &lease).await;
        }
        let duration = self.world.clock.now() - started_at;
        let harvested = self.harvested(name, source.ok(), result, &progress, duration);
        log_outcome(run, &harvested.report);
        harvested
    }

    async fn refresh_if_due(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        progress: &Progress,
    ) -> Result<Done, SourceError> {
        let stored = self.head(source, progress).await?;
        let rule = self.rule(source);
        let now = self.world.clock.now();
        let Some(due) = token::due(stored.as_ref(), &source.definition, &rule, run.event.force, now) else {
            return Ok(Done::Fresh);
        };
        info!(run.id = run.id, source.name = %source.name, due = due.as_str(), "token is due");
        if run.event.dry_run {
            return Ok(Done::WouldRefresh);
        }
        let Grant::RefreshToken(_) = source.definition.grant else {
            return self.refresh(run, source, stored, progress).await;
        };
        if !self.take_lease(run, source, progress).await? {
            return Ok(Done::HeldByAnotherRun);
        }
        // What was read before the lease may have been changed by its former holder.
        let stored = self.head(source, progress).await?;
        let now = self.world.clock.now();
        if token::due(stored.as_ref(), &source.definition, &rule, run.event.force, now).is_none() {
            return Ok(Done::Fresh);
        }
        self.refresh(run, source, stored, progress).await
    }

    /// Requests a token and stores it.
    async fn refresh(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        stored: Option<StoredToken>,
        progress: &Progress,
    ) -> Result<Done, SourceError> {
        let granted = self.request_token(run, source, progress).await?;
        let unsaved = granted.unsaved.clone();
        let source = Arc::clone(&granted.source);
        let document = TokenDocument::new(
            &source,
            granted.answer,
            &self.rule(&source),
            granted.issued_at,
            granted.grant_expires_at,
            stored.as_ref(),
        );
        let stored = self.store(&source, document, stored, progress).await?;
        match (unsaved, stored) {
            (Some(error), _) => Err(SourceError::new(
                ErrorCode::GrantStoreFailed,
                format!(
                    "the new token is stored, but the refresh token that came with it is lost, since it could not be \
                     saved ({error}): authorize anew and put the refresh token into the definition"
                ),
            )),
            (None, Stored::Ours) => Ok(Done::Refreshed),
            (None, Stored::Theirs) => Ok(Done::Fresh),
        }
    }

    /// Makes this run the one owner of the source's grant; `false`: another run is.
    ///
    /// The lease is put where grant state is, with the same key, so it also proves that the save will be allowed.
    async fn take_lease(&self, run: &Run<'_>, source: &Source, progress: &Progress) -> Result<bool, SourceError> {
        let lease = Lease { run_id: run.id.to_owned(), expires_at: run.deadline.end + LEASE_GRACE };
        let mut expected = None;
        for _ in 0..WRITE_ATTEMPTS {
            let state = &self.world.state;
            let taken =
                state.take_lease(&source.name, &lease, expected.as_deref()).await.map_err(grant_store_failed)?;
            if taken.is_some() {
                progress.lease.replace(taken);
                return Ok(true);
            }
            let Some(current) = state.read_lease(&source.name).await.map_err(grant_store_failed)? else {
                expected = None;
                continue;
            };
            if current.value == lease {
                // Our own write, whose reply was lost.
                progress.lease.replace(Some(current));
                return Ok(true);
            }
            if current.value.expires_at > self.world.clock.now() {
                return Ok(false);
            }
            expected = Some(current.etag);
        }
        Ok(false)
    }

    async fn release_lease(&self, run: &Run<'_>, source: &Source, lease: &Tagged<Lease>) {
        let time_left = Deadline::remaining(self.world.clock.now(), run.deadline.end);
        let release = self.world.state.release_lease(&source.name, lease);
        let problem = match tokio::time::timeout(time_left, release).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no time was left".to_owned(),
        };
        warn!(run.id = run.id, source.name = %source.name, error.message = problem, "lease not released, it will expire");
    }

    fn rule(&self, source: &Source) -> RefreshRule {
        RefreshRule::new(&source.definition, self.settings.schedule_interval)
    }

    async fn head(&self, source: &Source, progress: &Progress) -> Result<Option<StoredToken>, SourceError> {
        let stored = self.world.tokens.head(&source.name).await.map_err(token_store_failed)?;
        progress.stored.replace(stored.clone());
        Ok(stored)
    }

    /// A new token: where the server refuses the client, the definition is read anew and, if it was changed meanwhile,
    /// tried once more.
    async fn request_token(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        progress: &Progress,
    ) -> Result<Granted, SourceError> {
        let rejection = match self.request_with_grant(run, source, progress).await {
            Ok(granted) => return Ok(granted),
            Err(rejection) => rejection,
        };
        if rejection.client_refused
            && let Some(changed) = self.changed_definition(run, source).await
        {
            info!(run.id = run.id, source.name = %source.name, "definition has changed, trying the new one");
            return self.request_with_grant(run, &changed, progress).await.map_err(|rejection| rejection.error);
        }
        Err(rejection.error)
    }

    /// A new token with the grant that is current; a grant that moves is saved before anything else happens.
    async fn request_with_grant(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        progress: &Progress,
    ) -> Result<Granted, Rejection> {
        let granted = |(answer, issued_at): (TokenAnswer, _)| Granted {
            source: Arc::clone(source),
            grant_expires_at: answer.grant_expiry.at(),
            answer,
            issued_at,
            unsaved: None,
        };
        let Grant::RefreshToken(seed) = &source.definition.grant else {
            return self.request_with_retries(run, source, &source.definition, progress).await.map(granted);
        };
        let mut stored = self.read_grant(source).await?;
        let mut grant = self.current_grant(stored.as_ref(), seed);
        let mut definition = source.definition.with_refresh_token(&grant.refresh_token);
        let mut result = self.request_with_retries(run, source, &definition, progress).await;
        if result.as_ref().is_err_and(|rejection| rejection.error.code == ErrorCode::InvalidGrant) {
            // A lost race is not a dead grant.
            stored = self.read_grant(source).await?;
            let current = self.current_grant(stored.as_ref(), seed);
            if !current.same_token(&grant) {
                info!(run.id = run.id, source.name = %source.name, "grant has moved, trying the newer one");
                grant = current;
                definition = source.definition.with_refresh_token(&grant.refresh_token);
                result = self.request_with_retries(run, source, &definition, progress).await;
            }
        }
        let mut granted = result.map(granted)?;
        granted.grant_expires_at = grant.expires_at;
        if let Some(next) = grant.after(&granted.answer, granted.issued_at) {
            granted.grant_expires_at = next.expires_at;
            let expected = stored.map(|stored| stored.etag);
            granted.unsaved = self.save_grant(run, source, &next, expected.as_deref()).await.err();
        }
        Ok(granted)
    }

    async fn read_grant(&self, source: &Source) -> Result<Option<Tagged<GrantState>>, Rejection> {
        let grant = self.world.state.read_grant(&source.name).await;
        grant.map_err(|error| Rejection::terminal(grant_store_failed(error)))
    }

    fn current_grant(&self, stored: Option<&Tagged<GrantState>>, seed: &SecretString) -> GrantState {
        GrantState::current(stored.map(|stored| stored.value.clone()), seed, self.world.clock.now())
    }

    /// Saves a refresh token that can't be had again, trying as long as the run lasts.
    async fn save_grant(
        &self,
        run: &Run<'_>,
        source: &Source,
        next: &GrantState,
        expected: Option<&str>,
    ) -> Result<(), StoreError> {
        let attempt = || async {
            if self.world.state.save_grant(&source.name, next, expected).await?.is_none() {
                let stored = self.world.state.read_grant(&source.name).await?;
                if !stored.is_some_and(|stored| stored.value.same_token(next)) {
                    warn!(run.id = run.id, source.name = %source.name, "another run saved a newer grant, which stays");
                }
            }
            Ok(())
        };
        attempt
            .retry(RetryPolicy::save().ceilings())
            .adjust(|_: &StoreError, ceiling| {
                let remaining = Deadline::remaining(self.world.clock.now(), run.deadline.saves);
                retry::next_wait(ceiling, Repeat::AfterBackoff(None), self.world.random.unit(), remaining)
            })
            .notify(|error: &StoreError, wait: Duration| {
                warn!(
                    run.id = run.id,
                    source.name = %source.name,
                    error.message = %error,
                    retry.wait_ms = wait.as_millis(),
                    "refresh token not saved, trying again"
                );
            })
            .await
    }

    /// The source as it is defined now, if that is another definition than the one that was tried.
    async fn changed_definition(&self, run: &Run<'_>, source: &Source) -> Option<Arc<Source>> {
        let read = || async {
            match self.read_catalog(self.world.clock.now()).await {
                Ok(catalog) => Some(catalog),
                Err(error) => {
                    warn!(run.id = run.id, error.message = %error, "definitions could not be read anew");
                    None
                }
            }
        };
        let catalog = run.reread.get_or_init(read).await.as_ref()?;
        let current = catalog.find(source.name.as_str())?.as_ref().ok()?;
        (current.definition.full_sha256 != source.definition.full_sha256).then(|| Arc::clone(current))
    }

    /// The answer, and when the request that brought it was sent.
    async fn request_with_retries(
        &self,
        run: &Run<'_>,
        source: &Source,
        definition: &Definition,
        progress: &Progress,
    ) -> Result<(TokenAnswer, DateTime<Utc>), Rejection> {
        let token_endpoint = self.token_endpoint(run, source).await?;
        let attempt = || async {
            let (now, timeout) = self.time_for_request(run)?;
            // Stored in whole seconds, so counted from one: of two runs in one second, each sees the other's as newer.
            let issued_at = now.trunc_subsecs(0);
            let unique = self.world.random.unique();
            let request =
                oauth::token_request(definition, &token_endpoint, &unique, issued_at).map_err(Rejection::terminal)?;
            progress.attempts.set(progress.attempts.get() + 1);
            let answer = self.world.server.send(&request, &definition.tls, timeout).await;
            let now = self.world.clock.now();
            answer
                .and_then(|answer| oauth::read_token_answer(&answer, definition, issued_at, now))
                .map(|answer| (answer, issued_at))
                .map_err(|rejection| rejection.for_grant(&definition.grant))
        };
        self.with_retries(run, source, attempt).await
    }

    /// The token endpoint, from the issuer's metadata if need be.
    async fn token_endpoint(&self, run: &Run<'_>, source: &Source) -> Result<Url, Rejection> {
        let definition = &source.definition;
        let (identifier, url) = match &definition.endpoint {
            Endpoint::Token(url) => return Ok(url.clone()),
            Endpoint::Issuer { identifier, url } => (identifier, url),
        };
        let attempt = || async {
            let [rfc8414, openid] = oauth::metadata_urls(url);
            let mut answer = self.send_for_metadata(run, definition, rfc8414).await?;
            if (400..500).contains(&answer.status) {
                answer = self.send_for_metadata(run, definition, openid).await?;
            }
            oauth::read_metadata(&answer, identifier, definition, self.world.clock.now())
        };
        if !definition.tls.is_default() {
            return self.with_retries(run, source, attempt).await;
        }
        let discovery = Rc::clone(run.discovered.borrow_mut().entry(identifier.clone()).or_default());
        discovery.get_or_init(|| self.with_retries(run, source, attempt)).await.clone()
    }

    async fn send_for_metadata(
        &self,
        run: &Run<'_>,
        definition: &Definition,
        url: Url,
    ) -> Result<oauth::Answer, Rejection> {
        let (_, timeout) = self.time_for_request(run)?;
        self.world.server.send(&oauth::metadata_request(url), &definition.tls, timeout).await
    }

    /// The time now, and how long a request that is sent now may take.
    fn time_for_request(&self, run: &Run<'_>) -> Result<(DateTime<Utc>, Duration), Rejection> {
        let now = self.world.clock.now();
        let remaining = Deadline::remaining(now, run.deadline.requests);
        if remaining.is_zero() {
            let error = out_of_time("the run's time was used up before a request could be sent");
            return Err(Rejection::terminal(error));
        }
        Ok((now, remaining.min(ATTEMPT_TIMEOUT)))
    }

    /// Repeats what may be repeated, after waits that respect the server and fit into the run.
    async fn with_retries<T, F: Future<Output = Result<T, Rejection>>>(
        &self,
        run: &Run<'_>,
        source: &Source,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Rejection> {
        attempt
            .retry(RetryPolicy::token_endpoint().ceilings())
            .adjust(|rejection: &Rejection, ceiling| {
                let remaining = Deadline::remaining(self.world.clock.now(), run.deadline.requests);
                retry::next_wait(ceiling, rejection.repeat, self.world.random.unit(), remaining)
            })
            .notify(|rejection: &Rejection, wait: Duration| {
                info!(
                    run.id = run.id,
                    source.name = %source.name,
                    error.code = rejection.error.code.as_str(),
                    error.message = rejection.error.message,
                    retry.wait_s = wait.as_secs_f64(),
                    "request failed, trying again"
                );
            })
            .await
    }

    /// Writes the document unless somebody else has stored a newer good token meanwhile.
    async fn store(
        &self,
        source: &Source,
        mut document: TokenDocument,
        mut stored: Option<StoredToken>,
        progress: &Progress,
    ) -> Result<Stored, SourceError> {
        for _ in 0..WRITE_ATTEMPTS {
            let put = self.world.tokens.put(&document, stored.as_ref()).await;
            match put.map_err(token_store_failed)? {
                Put::Written { etag, version_id } => {
                    progress.stored.replace(Some(document.stored(etag, version_id)));
                    return Ok(Stored::Ours);
                }
                Put::LostRace => stored = self.head(source, progress).await?,
            }
            if let Some(current) = &stored {
                if document.is(current) {
                    return Ok(Stored::Ours);
                }
                let now = self.world.clock.now();
                let good = token::due(Some(current), &source.definition, &self.rule(source), false, now).is_none();
                let newer = current.metadata.as_ref().is_some_and(|other| other.issued_at >= document.issued_at);
                if good && newer {
                    return Ok(Stored::Theirs);
                }
            }
            document.follow(stored.as_ref());
        }
        Err(SourceError::new(
            ErrorCode::TokenStoreFailed,
            format!("the token document changed under {WRITE_ATTEMPTS} writes in a row"),
        ))
    }

    fn harvested(
        &self,
        name: String,
        source: Option<Arc<Source>>,
        result: Result<Done, SourceError>,
        progress: &Progress,
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
            Err(error) => (outcome_of(&error, progress), Some(error)),
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
        }
    }

    fn report(
        &self,
        run: &Run<'_>,
        harvested: Vec<Harvested>,
        started_at: DateTime<Utc>,
        finished_at: DateTime<Utc>,
    ) -> Report {
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
            started_at,
            finished_at,
            refreshed: Report::count(&sources, Outcome::Refreshed),
            fresh: Report::count(&sources, Outcome::Fresh),
            deferred: Report::count(&sources, Outcome::Deferred),
            failed: Report::count(&sources, Outcome::Failed),
            sources,
            warnings,
        }
    }

    /// A message for each source whose token changed or failed to; none in a dry run.
    fn messages(&self, run: &Run<'_>, harvested: &[Harvested], now: DateTime<Utc>) -> Vec<Message> {
        if run.event.dry_run {
            return Vec::new();
        }
        let message = |one: &Harvested| {
            let definition = one.source.as_ref().map(|source| &source.definition);
            let key = one.source.as_ref().map(|source| token::key(&source.name));
            TokenEvent {
                environment: &self.settings.environment,
                run_id: run.id,
                bucket: &self.settings.token_bucket,
                key: key.as_deref(),
                report: &one.report,
                issued_at: one.issued_at,
                owner: definition.and_then(|definition| definition.owner.as_deref()),
                runbook_url: definition.and_then(|definition| definition.runbook_url.as_ref()).map(Url::as_str),
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

/// Whose token is stored after a write.
enum Stored {
    Ours,
    Theirs,
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
        ErrorCode::OutOfTime if progress.attempts.get() == 0 => Outcome::Deferred,
        _ => Outcome::Failed,
    }
}

fn token_store_failed(error: StoreError) -> SourceError {
    SourceError::new(ErrorCode::TokenStoreFailed, error.0)
}

fn grant_store_failed(error: StoreError) -> SourceError {
    SourceError::new(ErrorCode::GrantStoreFailed, error.0)
}

fn out_of_time(message: &str) -> SourceError {
    SourceError::new(ErrorCode::OutOfTime, message)
}

fn milliseconds(duration: TimeDelta) -> u64 {
    u64::try_from(duration.num_milliseconds()).unwrap_or_default()
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
