//! The work on one source: whether its token is due and may be tried, within the run's time, whatever happens.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::join;
use tracing::info;

use super::judging::Watched;
use super::run::Run;
use super::telling::OwedForecast;
use crate::app::at_work::AtWork;
use crate::app::grants::Grants;
use crate::app::ports::{Advice, Ports, StoreError};
use crate::app::requester::Requester;
use crate::app::tokens::Tokens;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::incident::Incident;
use crate::domain::retry::Deadline;
use crate::domain::source::{Root, Source, SourceName};
use crate::domain::token::{self, Due, RefreshRule, StoredToken};

/// The work on one source in one run, and what it has shown so far: that counts also where the work is broken off.
pub(super) struct Work<'a, P: Ports> {
    pub(super) run: &'a Run<'a, P>,
    pub(super) at: &'a AtWork,
    pub(super) requester: Requester<'a, P>,
    pub(super) grants: Grants<'a, P>,
    pub(super) tokens: Tokens<'a, P>,
    pub(super) incident: RefCell<Option<Advice<Incident>>>,
    /// Whether there is an incident that could not be read.
    pub(super) incident_unread: Cell<bool>,
    /// Hash of the definition that was tried last, where it was read anew.
    pub(super) tried: RefCell<Option<String>>,
    /// When this run lost a server's answer.
    pub(super) answer_lost_at: Cell<Option<DateTime<Utc>>>,
    /// What the server asked to wait, where that outlasts the run.
    pub(super) retry_after: Cell<Option<Duration>>,
}

/// How work on one source ended well.
pub(super) enum Done {
    Fresh,
    WouldRefresh,
    HeldByAnotherRun,
    CoolingDown,
    Refreshed,
}

impl<'a, P: Ports> Work<'a, P> {
    pub(super) fn new(run: &'a Run<'a, P>, at_work: &'a AtWork) -> Self {
        Self {
            run,
            at: at_work,
            requester: Requester::new(run.world, &run.servers, at_work, run.deadline.requests),
            grants: Grants::new(run.world, at_work, &run.deadline),
            tokens: Tokens::new(run.world),
            incident: RefCell::default(),
            incident_unread: Cell::default(),
            tried: RefCell::default(),
            answer_lost_at: Cell::default(),
            retry_after: Cell::default(),
        }
    }

    /// Name of the source.
    pub(super) fn name(&self) -> &'a str {
        &self.at.source
    }

    /// Whether the definitions lack the source for the first time.
    pub(super) fn is_absent(&self) -> bool {
        self.run.catalog.is_absent(self.name())
    }

    /// Whether a token request was sent: what ends before that was not tried.
    pub(super) fn has_begun(&self) -> bool {
        self.requester.attempts() > 0
    }

    /// When a run ended, this one or the crashed holder of the lease, that could not keep a server's answer.
    pub(super) fn lost_with(&self) -> Option<DateTime<Utc>> {
        self.answer_lost_at.get().or_else(|| self.grants.lost_by_former_holder())
    }

    pub(super) fn rule(&self, source: &Source) -> RefreshRule {
        RefreshRule::new(&source.definition, self.run.settings.schedule_interval)
    }

    /// Does the work; a panic and the end of the run's time are errors like any other.
    pub(super) async fn within_its_time(&self, source: &Result<Arc<Source>, SourceError>) -> Result<Done, SourceError> {
        let time_left = Deadline::remaining(self.run.now(), self.run.deadline.sources);
        // Boxed: nested in one another, the futures would be too large for the stack.
        let work = AssertUnwindSafe(self.at.during(self.refresh_or_look(source).boxed_local()));
        match tokio::time::timeout(time_left, work.catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => {
                let message = "the harvester panicked at this source; the log says where";
                Err(SourceError::new(ErrorCode::Internal, message))
            }
            Err(_elapsed) => {
                let message = "the run's time was used up while working on this source";
                Err(SourceError::new(ErrorCode::OutOfTime, message))
            }
        }
    }

    /// Notes what a person may have to hear of the source, and ends this run's work on it.
    pub(super) async fn noted_within_its_time(
        &self,
        source: Option<&Source>,
        result: &Result<Done, SourceError>,
    ) -> (Option<OwedForecast>, Watched) {
        let time_left = Deadline::remaining(self.run.now(), self.run.deadline.notes);
        let notes = AssertUnwindSafe(self.at.during(self.note(source, result).boxed_local()));
        let problem = match tokio::time::timeout(time_left, notes.catch_unwind()).await {
            Ok(Ok(notes)) => return notes,
            Ok(Err(_panic)) => "the harvester panicked while noting how it went",
            Err(_elapsed) => "no time was left to note how it went",
        };
        self.run.note_trouble::<()>(Err(StoreError(format!("{}: {problem}", self.name()))));
        (None, Watched::default())
    }

    async fn note(
        &self,
        source: Option<&Source>,
        result: &Result<Done, SourceError>,
    ) -> (Option<OwedForecast>, Watched) {
        let forecast = self.forecast(source).await;
        let watched = self.watch(source, result).await;
        if let Some(source) = source {
            self.grants.give_back(&source.name).await;
        }
        (forecast, watched)
    }

    /// Refreshes the source's token if it is due; of a source whose definition is broken, looks at what it has.
    async fn refresh_or_look(&self, source: &Result<Arc<Source>, SourceError>) -> Result<Done, SourceError> {
        match source {
            Ok(source) => self.refresh_if_due(source).await,
            Err(error) => {
                self.read_incident().await;
                // How long the old token works decides how urgent it is to mend the definition.
                let name = SourceName::parse_with_account(self.name());
                if let Some(name) = name.filter(|_| error.code != ErrorCode::SourceUnknown) {
                    let _ = self.tokens.look_up(&name).await;
                }
                Err(error.clone())
            }
        }
    }

    async fn refresh_if_due(&self, source: &Arc<Source>) -> Result<Done, SourceError> {
        let ((), stored) = join(self.read_incident(), self.tokens.look_up(&source.name)).await;
        let stored = stored?;
        let due = match self.due(source, stored.as_ref()) {
            Ok(due) => due,
            Err(done) => return Ok(done),
        };
        info!(run.id = self.run.id, source.name = %source.name, due = due.as_str(), "token is due");
        if self.needs_no_request(source, stored.as_ref()).await? {
            return Ok(Done::Fresh);
        }
        if self.run.event.dry_run {
            return Ok(Done::WouldRefresh);
        }
        if source.definition.root().is_none() {
            return self.refresh(source).await;
        }
        if !self.grants.take_lease(&source.name).await? {
            return Ok(Done::HeldByAnotherRun);
        }
        // What was read before the lease may have been changed by its former holder.
        let stored = self.tokens.look_up(&source.name).await?;
        self.reread_incident().await;
        match self.due(source, stored.as_ref()) {
            Ok(_due) => self.refresh(source).await,
            Err(done) => Ok(done),
        }
    }

    /// Whether a due token is all that its connection has: without a refresh token, it is used as long as it works. Costs a
    /// look at the grant only where that, or that nobody has connected yet, is to be expected; neither needs a lease.
    async fn needs_no_request(&self, source: &Source, stored: Option<&StoredToken>) -> Result<bool, SourceError> {
        let Some(rules) = source.definition.connect.as_ref() else { return Ok(false) };
        if stored.is_some() && !rules.may_lack_refresh_token {
            return Ok(false);
        }
        let grant = self.grants.read(&source.name, Root::Connection(rules)).await?.state;
        let is_all = grant.lacks_refresh_token(rules) && !grant.has_expired(self.run.now());
        Ok(is_all && stored.is_some_and(|stored| stored.holds(&grant.credential)))
    }

    /// Why the source's token is to be refreshed in this run; the error: why not.
    fn due(&self, source: &Source, stored: Option<&StoredToken>) -> Result<Due, Done> {
        let (event, now) = (self.run.event, self.run.now());
        let incident = self.incident.borrow();
        let incident = incident.as_ref().and_then(|incident| incident.value.as_ref());
        let retries_dead = event.retry_dead && incident.is_some_and(Incident::needs_authorization);
        let definition_sha256 = &source.definition.full_sha256;
        let issued_at = stored.and_then(|stored| stored.metadata.as_ref()).map(|metadata| metadata.issued_at);
        let asked = if event.forces(issued_at) {
            Some(Due::Forced)
        } else if retries_dead {
            Some(Due::RetryOfDead)
        } else if incident.is_some_and(|incident| incident.failed_with_another(definition_sha256)) {
            Some(Due::FailedDefinitionChanged)
        } else {
            None
        };
        let due = token::due(stored, &source.definition, &self.rule(source), asked, now).ok_or(Done::Fresh)?;
        let interval = self.run.settings.schedule_interval;
        let cools_down = incident.is_some_and(|incident| incident.cooling_down(now, interval, Some(definition_sha256)));
        if cools_down && !event.force && !retries_dead { Err(Done::CoolingDown) } else { Ok(due) }
    }
}
