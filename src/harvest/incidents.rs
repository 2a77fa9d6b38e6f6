//! Incidents: read before a source is worked on, judged and kept after that, told to people once per run.

use tracing::{info, warn};
use url::Url;

use super::{Done, Harvested, Harvester, Progress, Run};
use crate::alert::{Alert, Entry};
use crate::incident::{self, Change, Happened, Incident, Situation, TokenLife};
use crate::ports::{Clock as _, IncidentStore as _, Ports, Publisher as _, StoreError, Tagged};
use crate::report::{ErrorCode, SourceError};
use crate::source::{Catalog, Source};
use crate::token::RefreshRule;

/// What has become of a source's incident in this run.
#[derive(Default)]
pub(super) struct Watched {
    /// As it was before.
    previous: Option<Tagged<Incident>>,
    /// As it is kept now; `None`: it is over.
    current: Option<Tagged<Incident>>,
    /// What changed for a person.
    change: Option<Change>,
}

impl Watched {
    /// The open incident.
    pub(super) fn incident(&self) -> Option<&Incident> {
        self.current.as_ref().map(|current| &current.value)
    }

    /// What the source fails with, as its incident sees it: a third refusal in a row is more than a refusal.
    pub(super) fn error(&self) -> Option<&SourceError> {
        self.incident().map(|incident| &incident.error)
    }

    /// What a person is told about: the incident, or the one that is over.
    fn told_about(&self) -> Option<(Change, &Tagged<Incident>)> {
        Some((self.change?, self.current.as_ref().or(self.previous.as_ref())?))
    }
}

impl<P: Ports> Harvester<P> {
    /// Reads a source's incident into its progress.
    pub(super) async fn read_incident(&self, run: &Run<'_>, name: &str, progress: &Progress) {
        if run.open_incidents.as_ref().is_some_and(|open| open.contains(name)) {
            let read = note_trouble(run, self.world.state.read_incident(name).await);
            progress.incident_unread.set(read.is_none());
            progress.incident.replace(read.flatten());
        }
    }

    /// Whether a failing source is not to be tried yet. Read anew under a lease, whose former holder may have tried.
    pub(super) async fn is_cooling_down(
        &self,
        run: &Run<'_>,
        source: &Source,
        progress: &Progress,
    ) -> Result<bool, SourceError> {
        if run.event.force {
            return Ok(false);
        }
        if progress.lease.borrow().is_some() {
            let read = self.world.state.read_incident(source.name.as_str()).await;
            let incident = read.map_err(|error| SourceError::new(ErrorCode::GrantStoreFailed, error.0))?;
            progress.incident.replace(incident);
        }
        let now = self.world.clock.now();
        let interval = self.settings.schedule_interval;
        let definition = Some(source.definition.full_sha256.as_str());
        Ok(progress
            .incident
            .borrow()
            .as_ref()
            .is_some_and(|incident| incident.value.cooling_down(now, interval, definition)))
    }

    /// Judges a source's incident by what happened in this run, and keeps it.
    pub(super) async fn watch(
        &self,
        run: &Run<'_>,
        name: &str,
        source: Option<&Source>,
        result: &Result<Done, SourceError>,
        progress: &Progress,
    ) -> Watched {
        let previous = progress.incident.take();
        let unknown = result.as_ref().is_err_and(|error| error.code == ErrorCode::SourceUnknown);
        if run.event.dry_run || unknown || run.open_incidents.is_none() || progress.incident_unread.get() {
            return Watched { current: previous.clone(), previous, change: None };
        }
        let tried = progress.tried.take();
        let situation = Situation {
            source: name,
            now: self.world.clock.now(),
            run_started_at: run.started_at,
            schedule_interval: self.settings.schedule_interval,
            token: self.token_life(source, progress),
            definition_sha256: tried.as_deref().or(source.map(|source| source.definition.full_sha256.as_str())),
        };
        let judgement =
            incident::judge(previous.as_ref().map(|previous| &previous.value), happened(result, progress), &situation);
        let mut watched = Watched { previous, current: None, change: judgement.change };
        match (judgement.incident, &watched.previous) {
            // A recovery that is still to be told stays on record until it is.
            (None, _) if watched.change.is_some() => {}
            (None, previous) => self.close(run, previous.as_ref()).await,
            (Some(incident), Some(previous)) if previous.value == incident => {
                watched.current = Some(previous.clone());
            }
            (Some(incident), previous) => {
                let expected = previous.as_ref().map(|previous| previous.etag.as_str());
                let kept = note_trouble(run, self.world.state.keep_incident(&incident, expected).await);
                if matches!(kept, Some(None)) {
                    // Another run has judged meanwhile, and tells people.
                    watched.change = None;
                }
                let etag = kept.flatten().map(|kept| kept.etag).unwrap_or_default();
                watched.current = Some(Tagged { value: incident, etag });
            }
        }
        watched
    }

    fn token_life(&self, source: Option<&Source>, progress: &Progress) -> Option<TokenLife> {
        let stored = progress.stored.borrow();
        let metadata = stored.as_ref()?.metadata.as_ref()?;
        let rule =
            source.map_or_else(|| RefreshRule::usual(self.settings.schedule_interval), |source| self.rule(source));
        Some(TokenLife {
            issued_at: metadata.issued_at,
            expires_at: metadata.expires_at,
            assumed_expiry: rule.assumed_expiry(metadata.issued_at, metadata.expires_at),
        })
    }

    async fn close(&self, run: &Run<'_>, incident: Option<&Tagged<Incident>>) {
        if let Some(incident) = incident {
            let closed = self.world.state.close_incident(&incident.value.source, &incident.etag).await;
            note_trouble(run, closed);
        }
    }

    /// Sends one alert about everything that changed for a person, and only then notes that it was sent: a kill in
    /// between repeats an alert, but none is ever swallowed.
    pub(super) async fn alert(&self, run: &Run<'_>, harvested: &[Harvested]) -> Result<(), StoreError> {
        let now = self.world.clock.now();
        let mut alert = Alert { environment: &self.settings.environment, ..Alert::default() };
        for one in harvested {
            let Some((change, incident)) = one.watched.told_about() else { continue };
            let definition = one.source.as_ref().map(|source| &source.definition);
            let list = match change {
                Change::Opened => &mut alert.opened,
                Change::Escalated => &mut alert.escalated,
                Change::Reminded => &mut alert.reminded,
                Change::Recovered => &mut alert.recovered,
            };
            list.push(Entry {
                source: &one.report.source,
                severity: incident.value.severity,
                error: Some(&incident.value.error),
                opened_at: Some(incident.value.opened_at),
                token_expires_at: one.report.expires_at,
                has_token: one.report.generation.is_some(),
                grant_expires_at: None,
                next_attempt_at: Some(incident.value.next_attempt_at),
                owner: definition.and_then(|definition| definition.owner.as_deref()),
                runbook_url: definition.and_then(|definition| definition.runbook_url.as_ref()).map(Url::as_str),
            });
        }
        let Some(message) = alert.message(now) else { return Ok(()) };
        self.world.publisher.publish(&[message]).await?;
        info!(run.id = run.id, "alert sent");
        for one in harvested {
            match one.watched.told_about() {
                Some((Change::Recovered, incident)) => self.close(run, Some(incident)).await,
                Some((_, incident)) => {
                    let noted = self.world.state.keep_incident(&incident.value.told(now), Some(&incident.etag)).await;
                    note_trouble(run, noted);
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Closes incidents of sources that nobody defines any more.
    pub(super) async fn forget_removed_sources(&self, run: &Run<'_>, catalog: &Catalog) {
        if run.event.sources.is_some() {
            return;
        }
        for name in run.open_incidents.iter().flatten().filter(|name| catalog.find(name).is_none()) {
            let read = self.world.state.read_incident(name).await;
            self.close(run, note_trouble(run, read).flatten().as_ref()).await;
        }
    }
}

/// What this run's result means for an incident.
fn happened(result: &Result<Done, SourceError>, progress: &Progress) -> Happened {
    let retry_after = progress.retry_after.get();
    match result {
        Ok(Done::Refreshed) => Happened::Good,
        Ok(Done::Fresh | Done::WouldRefresh | Done::HeldByAnotherRun | Done::CoolingDown) => Happened::NotTried,
        Err(error) if error.code == ErrorCode::RateLimited => Happened::Throttled { error: error.clone(), retry_after },
        Err(error) if error.code == ErrorCode::OutOfTime && progress.attempts.get() == 0 => Happened::NotTried,
        Err(error) => Happened::Failed { error: error.clone(), retry_after },
    }
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
