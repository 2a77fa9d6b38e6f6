//! Incidents: read before a source is worked on, judged and kept after that.

use std::collections::BTreeSet;

use super::{Done, Harvester, Progress, Run, WRITE_ATTEMPTS, note_trouble};
use crate::app::ports::{Advice, Clock as _, IncidentStore as _, Ports, Tagged};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::incident::{self, Change, Ended, Happened, Incident, Situation, TokenLife};
use crate::domain::source::{Catalog, Source};
use crate::domain::token::RefreshRule;

/// What has become of a source's incident in this run.
#[derive(Default)]
pub(super) struct Watched {
    /// As it was before; its entity tag is empty if only this process knows it.
    previous: Option<Advice<Incident>>,
    /// As it is now, with the entity tag of what is stored; `None`: it is over.
    current: Option<Tagged<Incident>>,
    /// What changed for a person.
    change: Option<Change>,
}

impl Watched {
    /// An incident that this run leaves as it found it.
    fn unchanged(previous: Option<Advice<Incident>>) -> Self {
        Self { current: previous.clone().and_then(Advice::understood), previous, change: None }
    }

    /// The open incident.
    pub(super) fn incident(&self) -> Option<&Incident> {
        self.current.as_ref().map(|current| &current.value)
    }

    /// What the source fails with, as its incident sees it: a third refusal in a row is more than a refusal.
    pub(super) fn error(&self) -> Option<&SourceError> {
        self.incident().map(|incident| &incident.error)
    }

    /// What a person is told about: the incident, or the one that is over; with its entity tag.
    pub(super) fn told_about(&self) -> Option<(Change, &Incident, &str)> {
        let change = self.change?;
        if let Some(current) = &self.current {
            return Some((change, &current.value, &current.etag));
        }
        let previous = self.previous.as_ref()?;
        Some((change, previous.value.as_ref()?, &previous.etag))
    }
}

impl<P: Ports> Harvester<P> {
    /// Names of the sources that have an incident: the first source that asks has them listed.
    pub(super) async fn open_incidents<'run>(&self, run: &'run Run<'_>) -> Option<&'run BTreeSet<String>> {
        let list = || async {
            let mut names = note_trouble(run, self.world.state.open_incidents().await)?;
            names.extend(self.unkept.borrow().keys().cloned());
            Some(names)
        };
        run.open_incidents.get_or_init(list).await.as_ref()
    }

    /// Reads a source's incident into its progress.
    pub(super) async fn read_incident(&self, run: &Run<'_>, name: &str, progress: &Progress) {
        if self.open_incidents(run).await.is_some_and(|open| open.contains(name)) {
            let read = note_trouble(run, self.world.state.read_incident(name).await);
            progress.incident_unread.set(read.is_none());
            progress.incident.replace(self.as_remembered(name, read.flatten()));
        }
    }

    /// The stored incident, or the one that this process could not keep.
    fn as_remembered(&self, name: &str, stored: Option<Advice<Incident>>) -> Option<Advice<Incident>> {
        match self.unkept.borrow().get(name) {
            None => stored,
            Some(unkept) => {
                Some(Tagged { value: unkept.clone(), etag: stored.map(|stored| stored.etag).unwrap_or_default() })
            }
        }
    }

    /// Reads the incident again, under the lease, whose former holder may have changed it.
    pub(super) async fn reread_incident(&self, run: &Run<'_>, source: &Source, progress: &Progress) {
        let name = source.name.as_str();
        if let Some(read) = note_trouble(run, self.world.state.read_incident(name).await) {
            progress.incident.replace(self.as_remembered(name, read));
        }
    }

    /// Whether a failing source is not to be tried yet.
    pub(super) fn is_cooling_down(&self, run: &Run<'_>, source: &Source, progress: &Progress) -> bool {
        let now = self.world.clock.now();
        let interval = self.settings.schedule_interval;
        let definition = Some(source.definition.full_sha256.as_str());
        let incident = progress.incident.borrow();
        incident.as_ref().and_then(|incident| incident.value.as_ref()).is_some_and(|incident| {
            let is_asked_for = run.event.force || run.event.retry_dead && incident.needs_authorization();
            !is_asked_for && incident.cooling_down(now, interval, definition)
        })
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
        let mut previous = progress.incident.take();
        let unknown = result.as_ref().is_err_and(|error| error.code == ErrorCode::SourceUnknown);
        if run.event.dry_run || unknown || progress.incident_unread.get() || self.open_incidents(run).await.is_none() {
            return Watched::unchanged(previous);
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
        let happened = happened(result, progress);
        let failures = |incident: &Option<Advice<Incident>>| {
            incident.as_ref().and_then(|incident| incident.value.as_ref()).map_or(0, |value| value.consecutive_failures)
        };
        let seen = failures(&previous);
        for _ in 0..WRITE_ATTEMPTS {
            if let Some(watched) = self.judge(run, previous.take(), &happened, &situation).await {
                return watched;
            }
            let read = note_trouble(run, self.world.state.read_incident(name).await);
            previous = self.as_remembered(name, read.flatten());
            // Another run has judged a failure meanwhile, and tells people. One that only waited, or told, has not.
            if failures(&previous) > seen {
                break;
            }
        }
        Watched::unchanged(previous)
    }

    /// One judgement, kept; `None`: the incident has been changed meanwhile.
    async fn judge(
        &self,
        run: &Run<'_>,
        previous: Option<Advice<Incident>>,
        happened: &Happened,
        situation: &Situation<'_>,
    ) -> Option<Watched> {
        let name = situation.source;
        let before = previous.as_ref().and_then(|previous| previous.value.as_ref());
        let judgement = incident::judge(before, happened.clone(), situation);
        let is_kept = !self.unkept.borrow().contains_key(name);
        let is_unchanged = is_kept && before.is_some() && before == judgement.incident.as_ref();
        let is_waiting = before.is_some() && matches!(happened, Happened::Waiting { .. });
        let etag = previous.as_ref().map(|previous| previous.etag.clone()).unwrap_or_default();
        let mut watched = Watched { previous, current: None, change: judgement.change };
        match judgement.incident {
            // A recovery that is still to be told stays on record until it is.
            None if watched.change.is_some() => {}
            None if watched.previous.is_none() => {}
            None => self.close(run, name, &etag).await,
            // Whoever holds the lease has the last word; only what a person is told of is noted.
            Some(incident) if is_unchanged || is_waiting => {
                watched.current = Some(Tagged { value: incident, etag });
            }
            Some(incident) => {
                let etag = self.keep(run, name, &incident, &etag).await?;
                watched.current = Some(Tagged { value: incident, etag });
            }
        }
        Some(watched)
    }

    /// Keeps an incident; where the state bucket refuses it, this process remembers it. `None`: it has been changed
    /// meanwhile. An empty entity tag is that of nothing.
    pub(super) async fn keep(&self, run: &Run<'_>, name: &str, incident: &Incident, etag: &str) -> Option<String> {
        let expected = Some(etag).filter(|etag| !etag.is_empty());
        let Some(kept) = note_trouble(run, self.world.state.keep_incident(incident, expected).await) else {
            self.unkept.borrow_mut().insert(name.to_owned(), Some(incident.clone()));
            return Some(etag.to_owned());
        };
        self.unkept.borrow_mut().remove(name);
        kept.map(|kept| kept.etag)
    }

    /// Deletes an incident that is over; where the state bucket refuses that, this process remembers that it is.
    pub(super) async fn close(&self, run: &Run<'_>, name: &str, etag: &str) {
        let is_closed =
            etag.is_empty() || note_trouble(run, self.world.state.close_incident(name, etag).await).is_some();
        let mut unkept = self.unkept.borrow_mut();
        if is_closed {
            unkept.remove(name);
        } else {
            unkept.insert(name.to_owned(), None);
        }
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

    /// Ends the incidents of sources that nobody wants refreshed any more; those that a person was told of are owed a
    /// last word.
    pub(super) async fn end_incidents_of_the_gone(&self, run: &Run<'_>, catalog: &Catalog) -> Vec<(String, Watched)> {
        if run.event.sources.is_some() || run.roster.is_none() {
            return Vec::new();
        }
        let open = self.open_incidents(run).await.into_iter().flatten();
        let mut gone = Vec::new();
        for name in open.filter(|name| catalog.find(name).is_none()) {
            let ended = if catalog.is_disabled(name) {
                Ended::SwitchedOff
            } else if catalog.is_pack(name) {
                Ended::Mended
            } else if catalog.is_complete() {
                Ended::Removed
            } else {
                continue;
            };
            let read = note_trouble(run, self.world.state.read_incident(name).await).flatten();
            let previous = self.as_remembered(name, read);
            let told = previous.as_ref().and_then(|previous| previous.value.as_ref());
            match incident::judge_gone(told, ended) {
                None => self.close(run, name, previous.as_ref().map_or("", |previous| &previous.etag)).await,
                change => gone.push((name.clone(), Watched { previous, current: None, change })),
            }
        }
        gone
    }
}

/// What this run's result means for an incident.
fn happened(result: &Result<Done, SourceError>, progress: &Progress) -> Happened {
    let retry_after = progress.retry_after.get();
    match result {
        Ok(Done::Refreshed) => Happened::Good,
        Ok(Done::Fresh) => Happened::NotDue,
        Ok(Done::WouldRefresh | Done::CoolingDown) => Happened::NotTried,
        Ok(Done::HeldByAnotherRun) => {
            let message = "another run holds the lease on the source's grant";
            Happened::Waiting { error: SourceError::new(ErrorCode::OutOfTime, message) }
        }
        Err(_) if progress.is_absent => Happened::NotTried,
        Err(error) if error.code == ErrorCode::RateLimited => Happened::Throttled { error: error.clone(), retry_after },
        Err(error) if error.code == ErrorCode::OutOfTime && !progress.has_begun() => {
            Happened::Waiting { error: error.clone() }
        }
        Err(error) => Happened::Failed { error: error.clone(), retry_after },
    }
}
