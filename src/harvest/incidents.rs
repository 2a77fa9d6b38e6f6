//! Incidents: read before a source is worked on, judged and kept after that, told to people once per run.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::{Done, Harvested, Harvester, Progress, Run};
use crate::alert::{Alert, Entry};
use crate::grant::Forecast;
use crate::incident::{self, Change, Happened, Incident, Severity, Situation, TokenLife};
use crate::ports::{
    Clock as _, ForecastStore as _, GrantStore as _, IncidentStore as _, Ports, Publisher as _, StoreError, Tagged,
};
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

/// The end of a grant that a person is to be told of.
pub(super) struct OwedForecast {
    forecast: Forecast,
    /// Entity tag of what was told before.
    expected: Option<String>,
}

impl<P: Ports> Harvester<P> {
    /// Whether the end of a source's grant comes near and no refresh moves it. Costs a look at the state bucket only
    /// where the token document names an end within a month.
    pub(super) async fn forecast(
        &self,
        run: &Run<'_>,
        source: Option<&Source>,
        progress: &Progress,
    ) -> Option<OwedForecast> {
        let source = source?;
        let grant_expires_at = progress.stored.borrow().as_ref()?.metadata.as_ref()?.grant_expires_at?;
        let now = self.world.clock.now();
        if run.event.dry_run || !incident::ends_soon(grant_expires_at, now) {
            return None;
        }
        // Grant state that can't be read fails the source's next refresh, and is told then.
        let grant = self.world.state.read_grant(&source.name).await.ok()??.value;
        let told = note_trouble(run, self.world.state.read_forecast(&source.name).await)?;
        let told_days = told.as_ref().filter(|told| told.value.is_about(grant_expires_at)).map(|told| told.value.days);
        let days = incident::forecast_step(grant.expires_at, grant.extended, told_days, now)?;
        let expected = told.map(|told| told.etag);
        Some(OwedForecast { forecast: Forecast { grant_expires_at, days }, expected })
    }

    /// Names of the sources that have an incident: the first source that asks has them listed.
    async fn open_incidents<'run>(&self, run: &'run Run<'_>) -> Option<&'run BTreeSet<String>> {
        let list = || async { note_trouble(run, self.world.state.open_incidents().await) };
        run.open_incidents.get_or_init(list).await.as_ref()
    }

    /// Reads a source's incident into its progress.
    pub(super) async fn read_incident(&self, run: &Run<'_>, name: &str, progress: &Progress) {
        if self.open_incidents(run).await.is_some_and(|open| open.contains(name)) {
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
        if run.event.dry_run || unknown || progress.incident_unread.get() || self.open_incidents(run).await.is_none() {
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
            lost_with: progress.lost_with.get(),
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
            let entry = Entry {
                source: &one.report.source,
                severity: Severity::Warning,
                error: None,
                opened_at: None,
                token_expires_at: one.report.expires_at,
                has_token: one.report.generation.is_some(),
                credential: one.credential(),
                grant_expires_at: None,
                next_attempt_at: None,
                owner: one.owner(),
                runbook_url: one.runbook_url(),
            };
            if let Some(owed) = &one.forecast {
                alert.forecast.push(Entry { grant_expires_at: Some(owed.forecast.grant_expires_at), ..entry });
            }
            let Some((change, incident)) = one.watched.told_about() else { continue };
            let list = match change {
                Change::Opened => &mut alert.opened,
                Change::Escalated => &mut alert.escalated,
                Change::Reminded => &mut alert.reminded,
                Change::Recovered => &mut alert.recovered,
            };
            list.push(Entry {
                severity: incident.value.severity,
                error: Some(&incident.value.error),
                opened_at: Some(incident.value.opened_at),
                next_attempt_at: Some(incident.value.next_attempt_at),
                ..entry
            });
        }
        let Some(message) = alert.message(now) else { return Ok(()) };
        self.world.publisher.publish(&[message]).await?;
        info!(run.id = run.id, "alert sent");
        for one in harvested {
            if let (Some(owed), Some(source)) = (&one.forecast, &one.source) {
                let state = &self.world.state;
                let noted = state.keep_forecast(&source.name, &owed.forecast, owed.expected.as_deref()).await;
                note_trouble(run, noted);
            }
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
        let open = self.open_incidents(run).await;
        for name in open.into_iter().flatten().filter(|name| catalog.find(name).is_none()) {
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
        Err(error) if error.code == ErrorCode::OutOfTime && !progress.has_begun() => Happened::NotTried,
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
