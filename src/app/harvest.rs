//! The use case: keep every source's token fresh, and say how it went.
//!
//! A [`run`] goes like this. The [`definitions`] are read. Each source is worked on ([`work`]), several at once: is its
//! token due, and may it be tried? Then its lease is taken, a token requested, the grant saved, the token tried and stored
//! ([`refreshing`]). Whatever came of that, its incident is judged ([`judging`]). In the end jobs and people are told
//! ([`telling`]), and the [`reporting`] line of each source becomes the report.

mod definitions;
mod judging;
mod refreshing;
mod reporting;
mod run;
mod telling;
mod work;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;

use self::definitions::Known;
use self::run::Run;
use super::ports::{Clock as _, Ports, StoreError, World};
use crate::domain::event::Event;
use crate::domain::incident::Incident;
use crate::domain::report::Report;
use crate::domain::retry::Deadline;
use crate::domain::source::PlainHttp;

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
        let definitions = definitions.map_err(unreadable)?;
        let (broke_off, all_gone) = (definitions.broke_off.clone(), definitions.all_gone);

        let run = Run::new(self, event, run_id, started_at, deadline, definitions);
        let harvested = run.work_on_all().await;
        let report = run.report(&harvested);
        let told = run.tell(&harvested, &report).boxed_local().await;

        let report = Box::new(report);
        match (told, run.trouble.into_inner(), broke_off) {
            (Err(reason), _, _) => Err(HarvestError::MessagesUnpublished { report, reason }),
            (Ok(()), Some(reason), _) => Err(HarvestError::IncidentsUnkept { report, reason }),
            (Ok(()), None, Some(reason)) => Err(HarvestError::DefinitionsUnreadable { report: Some(report), reason }),
            (Ok(()), None, None) if all_gone => Err(HarvestError::SourcesGone { report }),
            (Ok(()), None, None) => Ok(*report),
        }
    }
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

#[cfg(test)]
mod tests;
