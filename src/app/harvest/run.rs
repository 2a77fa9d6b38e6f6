//! One run: what all its sources share, and which they are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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
use crate::app::ports::{Clock as _, GrantStore as _, Ports, StoreError, World};
use crate::app::requester::{self, Servers};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::event::Event;
use crate::domain::retry::Deadline;
use crate::domain::source::{AccountName, Catalog, Roster, Source, SourceName};

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
    /// The accounts of each source that has accounts, as far as this run has listed them.
    pub(super) accounts: RefCell<BTreeMap<String, BTreeSet<AccountName>>>,
    /// Names of the sources that have an incident, listed once; `None`: they could not be, so none is judged.
    pub(super) open_incidents: OnceCell<Option<BTreeSet<String>>>,
    /// The first trouble with what the state bucket keeps for people.
    pub(super) trouble: RefCell<Option<StoreError>>,
    /// Definitions read anew in this run, once, after a server refused a client.
    pub(super) reread: OnceCell<Option<Rc<Catalog>>>,
    pub(super) servers: Servers,
}

/// A source, or an account of one; or why it can't be worked on.
type Chosen = Result<Arc<Source>, SourceError>;

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
            accounts: RefCell::default(),
            open_incidents: OnceCell::new(),
            reread: OnceCell::new(),
            servers: Servers::default(),
        }
    }

    /// Works on every source that the event asks for, several at once; sorted by name.
    pub(super) async fn work_on_all(&self) -> Vec<Harvested> {
        let chosen = self.chosen().await.into_iter().map(|(name, source)| {
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
    async fn work_on(&self, name: String, source: Chosen) -> Harvested {
        let started_at = self.now();
        let at_work = AtWork { run_id: self.id.to_owned(), source: name };
        let work = Work::new(self, &at_work);
        let result = work.within_its_time(&source).await;
        let source = source.ok();
        let noted = work.noted_within_its_time(source.as_deref(), &result).await;
        work.harvested(source, result, noted, self.now() - started_at)
    }

    /// The sources that the event asks for, by name; of a source with accounts each account that is connected.
    async fn chosen(&self) -> Vec<(String, Chosen)> {
        let catalog = &self.catalog;
        let named: Vec<(String, Chosen)> = match &self.event.sources {
            None => catalog.iter().map(|(name, source)| (name.to_owned(), source.clone())).collect(),
            Some(names) => names.iter().map(|name| (name.clone(), find(catalog, name))).collect(),
        };
        let is_whole = |(_, source): &(String, Chosen)| {
            source.as_ref().is_ok_and(|source| source.has_accounts() && source.name.account().is_none())
        };
        if !named.iter().any(is_whole) {
            return named;
        }
        let (with_accounts, others): (Vec<_>, Vec<_>) = named.into_iter().partition(is_whole);
        let expanded: Vec<_> = stream::iter(with_accounts.into_iter().filter_map(|(_, source)| source.ok()))
            .map(|source| self.each_account(source).boxed_local())
            .buffer_unordered(self.settings.max_concurrency)
            .collect()
            .await;
        // An event may name a source and an account of it: each once.
        let each: BTreeMap<_, _> = others.into_iter().chain(expanded.into_iter().flatten()).collect();
        each.into_iter().collect()
    }

    /// All accounts of a source that are connected. Where none is, that is nothing: nobody is missed before somebody has
    /// connected, so the source has no line in the report, and no incident. Accounts that can't be listed are one failure,
    /// of the source as a whole.
    async fn each_account(&self, source: Arc<Source>) -> Vec<(String, Chosen)> {
        let time_left = Deadline::remaining(self.now(), self.deadline.sources);
        let listed = tokio::time::timeout(time_left, self.world.state.accounts(&source.name)).await;
        let no_time = || Err(StoreError("S3 did not list the accounts in time".to_owned()));
        match listed.unwrap_or_else(|_elapsed| no_time()) {
            Ok(accounts) => {
                let account = |account| {
                    let account = source.of_account(account);
                    (account.name.to_string(), Ok(Arc::new(account)))
                };
                let all = accounts.iter().map(account).collect();
                self.accounts.borrow_mut().insert(source.name.to_string(), accounts);
                all
            }
            Err(error) => {
                let error = SourceError::new(ErrorCode::GrantStoreFailed, error.0);
                vec![(source.name.to_string(), Err(error))]
            }
        }
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

/// The source of that name, or the account of a source, which may not be connected yet.
pub(super) fn find(catalog: &Catalog, name: &str) -> Chosen {
    if let Some(source) = catalog.find(name) {
        return source.clone();
    }
    let unknown = |message: &str| Err(SourceError::new(ErrorCode::SourceUnknown, message));
    if catalog.is_disabled(name) {
        return unknown("the source is switched off (`enabled` is false)");
    }
    let named = SourceName::parse_with_account(name);
    let Some((named, account)) = named.as_ref().and_then(|named| Some((named, AccountName::parse(named.account()?)?)))
    else {
        return unknown("no secret defines a source of this name");
    };
    let source = find(catalog, named.source())?;
    if source.has_accounts() {
        Ok(Arc::new(source.of_account(&account)))
    } else {
        unknown("the source has no accounts")
    }
}
