//! Judging: a source's incident is read before the work on it, judged by what came of that, and kept.

use std::collections::BTreeSet;

use super::run::Run;
use super::work::{Done, Work};
use crate::app::ports::{Advice, IncidentStore as _, Ports, Tagged, WRITE_ATTEMPTS};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::incident::{self, Change, Ended, Happened, Incident, Situation, TokenLife};
use crate::domain::source::{AccountName, Source, SourceName};
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

impl<P: Ports> Work<'_, P> {
    /// Reads the source's incident, if it has one.
    pub(super) async fn read_incident(&self) {
        if self.run.open_incidents().await.is_some_and(|open| open.contains(self.name())) {
            let read = self.run.read_incident(self.name()).await;
            self.incident_unread.set(read.is_none());
            self.incident.replace(self.run.as_remembered(self.name(), read.flatten()));
        }
    }

    /// Reads the incident again, under the lease, whose former holder may have changed it.
    pub(super) async fn reread_incident(&self) {
        if let Some(read) = self.run.read_incident(self.name()).await {
            self.incident.replace(self.run.as_remembered(self.name(), read));
        }
    }

    /// Judges the source's incident by what happened in this run, and keeps it.
    pub(super) async fn watch(&self, source: Option<&Source>, result: &Result<Done, SourceError>) -> Watched {
        let mut previous = self.incident.take();
        let is_unknown = result.as_ref().is_err_and(|error| error.code == ErrorCode::SourceUnknown);
        let is_unread = self.incident_unread.get() || self.run.open_incidents().await.is_none();
        if self.run.event.dry_run || is_unknown || is_unread {
            return Watched::unchanged(previous);
        }
        let tried = self.tried.take();
        let situation = Situation {
            source: self.name(),
            now: self.run.now(),
            run_started_at: self.run.started_at,
            schedule_interval: self.run.settings.schedule_interval,
            token: self.token_life(source),
            definition_sha256: tried.as_deref().or(source.map(|source| source.definition.full_sha256.as_str())),
            lost_with: self.lost_with(),
        };
        let happened = self.happened(result);
        let failures = |incident: &Option<Advice<Incident>>| {
            incident.as_ref().and_then(|incident| incident.value.as_ref()).map_or(0, |value| value.consecutive_failures)
        };
        let seen = failures(&previous);
        for _ in 0..WRITE_ATTEMPTS {
            if let Some(watched) = self.run.judge(previous.take(), &happened, &situation).await {
                return watched;
            }
            let read = self.run.read_incident(self.name()).await;
            previous = self.run.as_remembered(self.name(), read.flatten());
            // Another run has judged a failure meanwhile, and tells people. One that only waited, or told, has not.
            if failures(&previous) > seen {
                break;
            }
        }
        Watched::unchanged(previous)
    }

    /// What this run's result means for an incident.
    fn happened(&self, result: &Result<Done, SourceError>) -> Happened {
        let retry_after = self.retry_after.get();
        match result {
            Ok(Done::Refreshed) => Happened::Good,
            Ok(Done::Fresh) => Happened::NotDue,
            Ok(Done::WouldRefresh | Done::CoolingDown) => Happened::NotTried,
            Ok(Done::HeldByAnotherRun) => {
                let message = "another run holds the lease on the source's grant";
                Happened::Waiting { error: SourceError::new(ErrorCode::OutOfTime, message) }
            }
            Err(_) if self.is_absent() => Happened::NotTried,
            Err(error) if error.code == ErrorCode::RateLimited => {
                Happened::Throttled { error: error.clone(), retry_after }
            }
            Err(error) if error.code == ErrorCode::OutOfTime && !self.has_begun() => {
                Happened::Waiting { error: error.clone() }
            }
            // Nobody is missed who has not connected yet: an account that only an event named leaves no incident.
            Err(error) if error.code == ErrorCode::NotConnected && self.name().contains('/') => Happened::NotTried,
            Err(error) if error.code == ErrorCode::NotConnected => Happened::NotConnected { error: error.clone() },
            Err(error) => Happened::Failed { error: error.clone(), retry_after },
        }
    }

    fn token_life(&self, source: Option<&Source>) -> Option<TokenLife> {
        let metadata = self.tokens.metadata()?;
        let interval = self.run.settings.schedule_interval;
        let rule = source.map_or_else(|| RefreshRule::usual(interval), |source| self.rule(source));
        Some(TokenLife {
            issued_at: metadata.issued_at,
            expires_at: metadata.expires_at,
            assumed_expiry: rule.assumed_expiry(metadata.issued_at, metadata.expires_at),
        })
    }
}

impl<P: Ports> Run<'_, P> {
    /// Names of the sources that have an incident: the first source that asks has them listed.
    pub(super) async fn open_incidents(&self) -> Option<&BTreeSet<String>> {
        let list = || async {
            let mut names = self.note_trouble(self.world.state.open_incidents().await)?;
            names.extend(self.harvester.unkept.borrow().keys().cloned());
            Some(names)
        };
        self.open_incidents.get_or_init(list).await.as_ref()
    }

    /// A source's incident as it is stored; the outer `None`: it could not be read.
    async fn read_incident(&self, name: &str) -> Option<Option<Advice<Incident>>> {
        self.note_trouble(self.world.state.read_incident(name).await)
    }

    /// The stored incident, or the one that this process could not keep.
    fn as_remembered(&self, name: &str, stored: Option<Advice<Incident>>) -> Option<Advice<Incident>> {
        match self.harvester.unkept.borrow().get(name) {
            None => stored,
            Some(unkept) => {
                Some(Tagged { value: unkept.clone(), etag: stored.map(|stored| stored.etag).unwrap_or_default() })
            }
        }
    }

    /// One judgement, kept; `None`: the incident has been changed meanwhile.
    async fn judge(
        &self,
        previous: Option<Advice<Incident>>,
        happened: &Happened,
        situation: &Situation<'_>,
    ) -> Option<Watched> {
        let name = situation.source;
        let before = previous.as_ref().and_then(|previous| previous.value.as_ref());
        let judgement = incident::judge(before, happened.clone(), situation);
        let is_kept = !self.harvester.unkept.borrow().contains_key(name);
        let is_unchanged = is_kept && before.is_some() && before == judgement.incident.as_ref();
        let is_waiting = before.is_some() && matches!(happened, Happened::Waiting { .. });
        let etag = previous.as_ref().map(|previous| previous.etag.clone()).unwrap_or_default();
        let mut watched = Watched { previous, current: None, change: judgement.change };
        match judgement.incident {
            // A recovery that is still to be told stays on record until it is.
            None if watched.change.is_some() => {}
            None if watched.previous.is_none() => {}
            None => self.close(name, &etag).await,
            // Whoever holds the lease has the last word; only what a person is told of is noted.
            Some(incident) if is_unchanged || is_waiting => {
                watched.current = Some(Tagged { value: incident, etag });
            }
            Some(incident) => {
                let etag = self.keep(name, &incident, &etag).await?;
                watched.current = Some(Tagged { value: incident, etag });
            }
        }
        Some(watched)
    }

    /// Keeps an incident; where the state bucket refuses it, this process remembers it. `None`: it has been changed
    /// meanwhile. An empty entity tag is that of nothing.
    pub(super) async fn keep(&self, name: &str, incident: &Incident, etag: &str) -> Option<String> {
        let expected = Some(etag).filter(|etag| !etag.is_empty());
        let Some(kept) = self.note_trouble(self.world.state.keep_incident(incident, expected).await) else {
            self.harvester.unkept.borrow_mut().insert(name.to_owned(), Some(incident.clone()));
            return Some(etag.to_owned());
        };
        self.harvester.unkept.borrow_mut().remove(name);
        kept.map(|kept| kept.etag)
    }

    /// Deletes an incident that is over; where the state bucket refuses that, this process remembers that it is.
    pub(super) async fn close(&self, name: &str, etag: &str) {
        let is_closed =
            etag.is_empty() || self.note_trouble(self.world.state.close_incident(name, etag).await).is_some();
        let mut unkept = self.harvester.unkept.borrow_mut();
        if is_closed {
            unkept.remove(name);
        } else {
            unkept.insert(name.to_owned(), None);
        }
    }

    /// Ends the incidents of sources that nobody wants refreshed any more; those that a person was told of are owed a
    /// last word.
    pub(super) async fn end_incidents_of_the_gone(&self) -> Vec<(String, Watched)> {
        if self.event.sources.is_some() || self.roster.is_none() {
            return Vec::new();
        }
        let open = self.open_incidents().await.into_iter().flatten();
        let mut gone = Vec::new();
        for (name, ended) in open.filter_map(|name| Some((name, self.why_gone(name)?))) {
            let previous = self.as_remembered(name, self.read_incident(name).await.flatten());
            let told = previous.as_ref().and_then(|previous| previous.value.as_ref());
            match incident::judge_gone(told, ended) {
                None => self.close(name, previous.as_ref().map_or("", |previous| &previous.etag)).await,
                change => gone.push((name.clone(), Watched { previous, current: None, change })),
            }
        }
        gone
    }

    /// How the work on a name came to its end that has an incident; `None`: it goes on, or nobody knows.
    fn why_gone(&self, name: &str) -> Option<Ended> {
        let (catalog, listed) = (&self.catalog, self.accounts.borrow());
        if catalog.find(name).is_some() {
            // What was wrong with the source as a whole is over: each account is worked on by itself.
            return listed.contains_key(name).then_some(Ended::Mended);
        }
        let named = SourceName::parse_with_account(name);
        let account = named.as_ref().and_then(|named| Some((named.source(), AccountName::parse(named.account()?)?)));
        let source = account.as_ref().map_or(name, |(source, _)| source);
        match (catalog.find(source), account) {
            (Some(Err(_)), Some(_)) => None,
            (Some(Ok(definition)), Some((source, account))) if definition.has_accounts() => {
                let is_gone = listed.get(source).is_some_and(|accounts| !accounts.contains(&account));
                is_gone.then_some(Ended::Disconnected)
            }
            _ if catalog.is_disabled(source) => Some(Ended::SwitchedOff),
            _ if catalog.is_pack(source) => Some(Ended::Mended),
            _ => catalog.is_complete().then_some(Ended::Removed),
        }
    }
}
