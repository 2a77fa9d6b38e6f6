//! One run: what all its sources share, and which they are.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::OnceCell;
use tracing::warn;

use super::definitions::Definitions;
use super::reporting::Harvested;
use super::work::Work;
use super::{Harvester, Settings};
use crate::app::at_work::AtWork;
use crate::app::ports::{Clock as _, Ports, StoreError, World};
use crate::app::requester::{self, Servers};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::event::Event;
use crate::domain::retry::Deadline;
use crate::domain::source::{Catalog, Roster, Source};

/// What is shared by all sources of one run.
pub(super) struct Run<'a, P: Ports> {
    pub(super) harvester: &'a Harvester<P>,
    pub(super) world: &'a World<P>,
    pub(super) settings: &'a Settings,
    pub(super) id: &'a str,
    pub(super) event: &'a Event,
    pub(super) started_at: DateTime<Utc>,
    pub(super) deadline: Deadline,
    pub(super) catalog: Rc<Catalog>,
    /// What earlier runs remembered of the sources; `None`: it could not be read.
    pub(super) roster: Option<Roster>,
    /// Names of the sources that have an incident, listed once; `None`: they could not be, so none is judged.
    pub(super) open_incidents: OnceCell<Option<BTreeSet<String>>>,
    /// The first trouble with what the state bucket keeps for people.
    pub(super) trouble: RefCell<Option<StoreError>>,
    /// Definitions read anew in this run, once, after a server refused a client.
    pub(super) reread: OnceCell<Option<Rc<Catalog>>>,
    pub(super) servers: Servers,
}

impl<'a, P: Ports> Run<'a, P> {
    pub(super) fn new(
        harvester: &'a Harvester<P>,
        event: &'a Event,
        id: &'a str,
        started_at: DateTime<Utc>,
        deadline: Deadline,
        definitions: Definitions,
    ) -> Self {
        let Definitions { catalog, roster, .. } = definitions;
        let no_roster = || StoreError("the roster of the sources could not be read".to_owned());
        Self {
            harvester,
            world: &harvester.world,
            settings: &harvester.settings,
            id,
            event,
            started_at,
            deadline,
            catalog,
            trouble: RefCell::new(roster.is_none().then(no_roster)),
            roster,
            open_incidents: OnceCell::new(),
            reread: OnceCell::new(),
            servers: Servers::default(),
        }
    }

    /// Works on every source that the event asks for, several at once; sorted by name.
    pub(super) async fn work_on_all(&self) -> Vec<Harvested> {
        let chosen = self.chosen().into_iter().map(|(name, source)| {
            let host = source.as_ref().map(|source| requester::host(source.definition.first_url()).to_owned());
            (host.unwrap_or_default(), (name, source))
        });
        let mut harvested: Vec<Harvested> = stream::iter(requester::in_turn(chosen))
            .map(|(name, source)| self.work_on(name, source).boxed_local())
            .buffer_unordered(self.settings.max_concurrency)
            .collect()
            .await;
        harvested.sort_by(|one, other| one.report.source.cmp(&other.report.source));
        harvested
    }

    /// Works on one source; whatever happens there, there is a line for the report.
    async fn work_on(&self, name: String, source: Result<Arc<Source>, SourceError>) -> Harvested {
        let started_at = self.now();
        let at_work = AtWork { run_id: self.id.to_owned(), source: name };
        let work = Work::new(self, &at_work);
        let result = work.within_its_time(&source).await;
        let source = source.ok();
        let noted = work.noted_within_its_time(source.as_deref(), &result).await;
        work.harvested(source, result, noted, self.now() - started_at)
    }

    /// The sources that the event asks for, by name.
    fn chosen(&self) -> Vec<(String, Result<Arc<Source>, SourceError>)> {
        let catalog = &self.catalog;
        let Some(names) = &self.event.sources else {
            return catalog.iter().map(|(name, source)| (name.to_owned(), source.clone())).collect();
        };
        let find = |name: &String| {
            let source = catalog.find(name).cloned().unwrap_or_else(|| {
                let message = if catalog.is_disabled(name) {
                    "the source is switched off (`enabled` is false)"
                } else {
                    "no secret defines a source of this name"
                };
                Err(SourceError::new(ErrorCode::SourceUnknown, message))
            });
            (name.clone(), source)
        };
        names.iter().map(find).collect()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    /// Remembers the first trouble with what the state bucket keeps for people; it fails the function, since nobody else
    /// would hear of it.
    pub(super) fn note_trouble<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        result
            .map_err(|error| {
                warn!(run.id = self.id, error.message = %error, "incident could not be read or kept");
                self.trouble.borrow_mut().get_or_insert(error);
            })
            .ok()
    }
}
