//! The definitions: read in time, or as they were known; and the roster, which remembers them from run to run.

use std::rc::Rc;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join;
use tracing::warn;

use super::Harvester;
use super::reporting::Harvested;
use super::run::Run;
use crate::app::ports::{Ports, Reading, RosterStore as _, SecretStore as _, StoreError, WRITE_ATTEMPTS};
use crate::domain::event::Event;
use crate::domain::retry::Deadline;
use crate::domain::source::{Catalog, Roster, Secret};

/// How long a warm function relies on definitions that it has read.
const CATALOG_AGE: TimeDelta = TimeDelta::minutes(5);

/// How often a warm function keeps what it has announced. A cold start may announce again what came after that, which
/// does no harm: consumers go by the generation.
const ROSTER_AGE: TimeDelta = TimeDelta::minutes(15);

/// What a warm function knows of the definitions.
#[derive(Default)]
pub(super) struct Known {
    /// The last reading, and when it was.
    catalog: Option<(DateTime<Utc>, Rc<Catalog>)>,
    /// As it is kept; `None`: it has not been read yet.
    roster: Option<KeptRoster>,
}

/// The roster as this process knows it.
#[derive(Debug, Clone, Default)]
struct KeptRoster {
    roster: Roster,
    /// Whether the state bucket has it like this.
    is_kept: bool,
    /// Entity tag of what the state bucket has; `None`: nothing.
    etag: Option<String>,
    /// When this process kept it last; `None`: it has not yet.
    kept_at: Option<DateTime<Utc>>,
}

/// The definitions that a run works with.
pub(super) struct Definitions {
    pub(super) catalog: Rc<Catalog>,
    /// What earlier runs remembered; `None`: it could not be read.
    pub(super) roster: Option<Roster>,
    /// Why the reading broke off, or was not begun.
    pub(super) broke_off: Option<StoreError>,
    /// Whether this reading held no source and the one before had some.
    pub(super) all_gone: bool,
}

impl<P: Ports> Harvester<P> {
    /// The definitions, from memory if they were read within the last minutes and nobody asks for certain work: then
    /// somebody may just have changed them.
    ///
    /// The error: nothing could be read, and nothing is known.
    pub(super) async fn definitions(
        &self,
        event: &Event,
        now: DateTime<Utc>,
        deadline: &Deadline,
    ) -> Result<Definitions, StoreError> {
        let cached = self.known.borrow().catalog.clone();
        if let Some((read_at, catalog)) = &cached
            && !event.is_asked_for()
            && now - *read_at < CATALOG_AGE
        {
            let roster = self.roster().await.ok();
            return Ok(Definitions { catalog: Rc::clone(catalog), roster, broke_off: None, all_gone: false });
        }
        let (reading, roster) = join(self.read_secrets(now, deadline.definitions), self.read_roster()).await;
        let Reading { secrets, broke_off } = reading;
        if let Some(error) = broke_off.clone().filter(|_| secrets.is_empty() && cached.is_none()) {
            return Err(error);
        }
        let roster = match roster {
            Ok(roster) => Some(roster),
            Err(_logged) => self.roster().await.ok(),
        };
        let catalog = self.take_in(secrets, broke_off.is_none(), roster.as_ref(), now);
        let had_some = roster.as_ref().is_some_and(|roster| !roster.is_empty());
        let all_gone = broke_off.is_none() && catalog.is_empty() && had_some;
        Ok(Definitions { catalog, roster, broke_off, all_gone })
    }

    async fn read_secrets(&self, now: DateTime<Utc>, until: DateTime<Utc>) -> Reading {
        let time_left = Deadline::remaining(now, until);
        let reading = tokio::time::timeout(time_left, self.world.secrets.read_all()).await;
        reading.unwrap_or_else(|_elapsed| Reading {
            secrets: Vec::new(),
            broke_off: Some(StoreError("Secrets Manager did not answer in time".to_owned())),
        })
    }

    fn take_in(
        &self,
        secrets: Vec<Secret>,
        is_whole: bool,
        roster: Option<&Roster>,
        now: DateTime<Utc>,
    ) -> Rc<Catalog> {
        let mut known = self.known.borrow_mut();
        let last = known.catalog.as_ref().map(|(_, catalog)| Rc::clone(catalog));
        let nobody = Roster::default();
        let catalog = Rc::new(Catalog::after(
            roster.unwrap_or(&nobody),
            last.as_deref(),
            secrets,
            is_whole,
            self.settings.plain_http,
        ));
        // What broke off is read again in the next run.
        if is_whole {
            known.catalog = Some((now, Rc::clone(&catalog)));
        }
        catalog
    }

    /// The roster, from memory if it was read before. Trouble is logged here.
    async fn roster(&self) -> Result<Roster, StoreError> {
        if let Some(kept) = &self.known.borrow().roster {
            return Ok(kept.roster.clone());
        }
        self.read_roster().await
    }

    async fn read_roster(&self) -> Result<Roster, StoreError> {
        let read = self.world.state.read_roster().await;
        let read =
            read.inspect_err(|error| warn!(error.message = %error, "the roster of the sources could not be read"))?;
        let known = self.known.borrow().roster.clone().unwrap_or_default();
        let (stored, etag) =
            read.map_or_else(Default::default, |read| (read.value.unwrap_or_default(), Some(read.etag)));
        let roster = stored.clone().with_announcements_of(&known.roster);
        let is_kept = roster == stored;
        let kept = KeptRoster { roster: roster.clone(), is_kept, etag, kept_at: known.kept_at };
        self.known.borrow_mut().roster = Some(kept);
        Ok(roster)
    }
}

impl<P: Ports> Run<'_, P> {
    /// The definitions as they are now, in the middle of a run; `None`: they could not be read.
    pub(super) async fn reread(&self) -> Option<Rc<Catalog>> {
        let now = self.now();
        let reading = self.harvester.read_secrets(now, self.deadline.requests).await;
        if let Some(error) = &reading.broke_off {
            warn!(run.id = self.id, error.message = %error, "definitions could not be read anew");
            return None;
        }
        Some(self.harvester.take_in(reading.secrets, true, self.roster.as_ref(), now))
    }

    /// Generations that nobody was told of: a run ended between storing the token and publishing it.
    ///
    /// A warm function may remember less than another one has kept, so it looks again before it believes so. What was
    /// stored during this run is left to the run that stored it.
    pub(super) async fn unannounced<'h>(&self, harvested: &'h [Harvested]) -> Vec<&'h Harvested> {
        let owed = |roster: &Roster| {
            let is_owed = |one: &&Harvested| {
                let is_found = one.found.is_some() && one.found == one.report.generation;
                one.source.is_some() && is_found && one.found > Some(roster.announced(&one.report.source))
            };
            harvested.iter().filter(is_owed).collect::<Vec<_>>()
        };
        let Some(roster) = &self.roster else { return Vec::new() };
        if owed(roster).is_empty() {
            return Vec::new();
        }
        match self.harvester.read_roster().await {
            Ok(roster) => owed(&roster),
            Err(_logged) => Vec::new(),
        }
    }

    /// Keeps the roster after this run, with the reading and what was announced: at once where other sources are
    /// defined, else now and then.
    pub(super) async fn keep_roster(&self, announced: &[(&str, u64)]) {
        let now = self.now();
        for _ in 0..WRITE_ATTEMPTS {
            let Some(kept) = self.harvester.known.borrow().roster.clone() else { return };
            let mut after = kept.roster.after(&self.catalog, announced.iter().copied());
            for (source, connected) in &*self.accounts.borrow() {
                after = after.with_accounts(source, connected);
            }
            if kept.is_kept && after == kept.roster {
                return;
            }
            let is_recent = kept.kept_at.is_some_and(|kept_at| now - kept_at < ROSTER_AGE);
            if is_recent && after.names_the_same(&kept.roster) {
                self.harvester.known.borrow_mut().roster = Some(KeptRoster { roster: after, is_kept: false, ..kept });
                return;
            }
            let written = self.world.state.keep_roster(&after, kept.etag.as_deref()).await;
            match self.note_trouble(written) {
                Some(Some(written)) => {
                    let kept =
                        KeptRoster { roster: after, is_kept: true, etag: Some(written.etag), kept_at: Some(now) };
                    self.harvester.known.borrow_mut().roster = Some(kept);
                    return;
                }
                // Another run has kept its own: both count.
                Some(None) => {
                    if self.harvester.read_roster().await.is_err() {
                        return;
                    }
                }
                None => return,
            }
        }
    }
}
