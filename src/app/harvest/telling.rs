//! Telling: people of what has changed for them, once per run; subscribers of every token that changed or failed to.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join;
use futures_util::{StreamExt as _, stream};
use tracing::{info, warn};
use url::Url;

use super::judging::Watched;
use super::reporting::Harvested;
use super::run::Run;
use super::work::Work;
use crate::app::ports::{
    ForecastStore as _, GrantStore as _, Ports, Publisher as _, ReportStore as _, StoreError, TokenStore as _,
};
use crate::domain::credential::AuthorizationGrant;
use crate::domain::forecast::{self, Forecast, GrantForecast};
use crate::domain::grant::GrantState;
use crate::domain::incident::{Change, Severity};
use crate::domain::notice::alert::{Alert, Case};
use crate::domain::notice::message::Message;
use crate::domain::notice::token_event::TokenEvent;
use crate::domain::report::Report;
use crate::domain::retry::Deadline;
use crate::domain::source::Source;
use crate::domain::token::StoredMetadata;

/// How often a warm function keeps the report of a run in which all went well.
const REPORT_AGE: TimeDelta = TimeDelta::minutes(15);

/// Tokens that are refreshed seldom live longer.
const LONGEST_USUAL_LIFE: TimeDelta = TimeDelta::days(2);

/// What a person is to be told of a source though it does not fail.
pub(super) struct OwedForecast {
    /// The end of its grant.
    grant: Option<GrantForecast>,
    /// Why its schedule is too slow.
    too_slow: Option<String>,
    /// What will have been told then.
    after: Forecast,
    /// Entity tag of what was told before.
    expected: Option<String>,
}

impl<P: Ports> Work<'_, P> {
    /// Whether a person must hear that the end of a source's grant comes near and no refresh moves it, or that its token
    /// ends before the next run can come. Costs a look at the state bucket only where either may be so.
    pub(super) async fn forecast(&self, source: Option<&Source>) -> Option<OwedForecast> {
        let (run, source) = (self.run, source?);
        let metadata = self.tokens.metadata()?;
        let now = run.now();
        let rule = self.rule(source);
        let too_slow = rule
            .too_slow(metadata.issued_at, metadata.expires_at)
            .filter(|_| rule.ends_between_runs(metadata.issued_at, metadata.expires_at))
            .filter(|_| !run.harvester.told_too_slow.borrow().contains(source.name.as_str()));
        let grant_expires_at = grant_end(source, &metadata).filter(|end| forecast::ends_soon(*end, now));
        if run.event.dry_run || too_slow.is_none() && grant_expires_at.is_none() {
            return None;
        }
        let told = run.note_trouble(run.world.state.read_forecast(&source.name).await)?;
        let expected = told.as_ref().map(|told| told.etag.clone());
        let told = told.and_then(|told| told.value).unwrap_or_default();
        let too_slow = too_slow.filter(|_| !told.schedule_too_slow);
        let grant = match grant_expires_at {
            None => None,
            Some(end) => {
                // Grant state that can't be read fails the source's next refresh, and is told then.
                let grant = run.world.state.read_grant(&source.name).await.ok().flatten();
                let told_days = told.grant.filter(|told| told.is_about(end)).map(|told| told.days);
                grant
                    .and_then(|grant| {
                        let extended = extended(source, &grant.value);
                        forecast::step(grant.value.expires_at, extended, told_days, now)
                    })
                    .map(|days| GrantForecast { grant_expires_at: end, days })
            }
        };
        if told.schedule_too_slow {
            run.harvester.told_too_slow.borrow_mut().insert(source.name.to_string());
        }
        let after =
            Forecast { grant: grant.or(told.grant), schedule_too_slow: told.schedule_too_slow || too_slow.is_some() };
        (grant.is_some() || too_slow.is_some()).then_some(OwedForecast { grant, too_slow, after, expected })
    }
}

impl<P: Ports> Run<'_, P> {
    /// Sends what is owed, keeps what was told, and the report.
    pub(super) async fn tell(&self, harvested: &[Harvested], report: &Report) -> Result<(), StoreError> {
        if self.event.dry_run {
            return Ok(());
        }
        let work = async {
            // Subscribers first: nobody else remembers what they are owed, while an alert stays owed until it is noted.
            let published = self.publish_tokens(harvested).await;
            let gone = self.end_incidents_of_the_gone().await;
            published.and(self.alert(harvested, &gone, report).await)
        };
        let work = async { join(work, self.keep_report(report)).await.0 };
        let time_left = Deadline::remaining(self.now(), self.deadline.messages);
        let no_time = || StoreError("no time was left to send them all".to_owned());
        tokio::time::timeout(time_left, work).await.unwrap_or_else(|_elapsed| Err(no_time()))
    }

    /// Sends one alert about everything that changed for a person, and only then notes that it was sent: a kill in
    /// between repeats an alert, but none is ever swallowed.
    async fn alert(
        &self,
        harvested: &[Harvested],
        gone: &[(String, Watched)],
        report: &Report,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let mut alert = Alert {
            environment: &self.settings.environment,
            runbook_url: &self.settings.runbook_url,
            report: self.world.state.location(report),
            ..Alert::default()
        };
        for one in harvested {
            let case = case(one);
            if let Some(owed) = &one.forecast {
                if let Some(grant) = &owed.grant {
                    alert.forecast.push(Case { grant_expires_at: Some(grant.grant_expires_at), ..case });
                }
                if let Some(too_slow) = &owed.too_slow {
                    alert.forecast.push(Case { warning: Some(too_slow), ..case });
                }
            }
            add(&mut alert, &one.watched, case);
        }
        for (name, watched) in gone {
            let token_expires_at = watched.told_about().and_then(|(_, incident, _)| incident.token_expires_at);
            add(&mut alert, watched, Case { source: name, token_expires_at, ..Case::default() });
        }
        let Some(message) = alert.message(now, self.world.publisher.limits()) else { return Ok(()) };
        self.world.publisher.publish(&[message]).await?;
        info!(run.id = self.id, "alert sent");
        let incidents = harvested.iter().map(|one| (one.report.source.as_str(), &one.watched));
        let incidents = incidents.chain(gone.iter().map(|(name, watched)| (name.as_str(), watched)));
        // Side by side: there may be hundreds, and what is not noted is told again.
        stream::iter(incidents)
            .for_each_concurrent(self.settings.max_concurrency, |(name, watched)| async move {
                match watched.told_about() {
                    Some((Change::Recovered(_), _, etag)) => self.close(name, etag).await,
                    Some((_, incident, etag)) => {
                        self.keep(name, &incident.told(now), etag).await;
                    }
                    None => {}
                }
            })
            .await;
        stream::iter(harvested).for_each_concurrent(self.settings.max_concurrency, |one| self.note_forecast(one)).await;
        Ok(())
    }

    /// Notes that a person was told of what is to come.
    async fn note_forecast(&self, one: &Harvested) {
        let (Some(owed), Some(source)) = (&one.forecast, &one.source) else { return };
        if owed.too_slow.is_some() {
            self.harvester.told_too_slow.borrow_mut().insert(source.name.to_string());
        }
        let kept = self.world.state.keep_forecast(&source.name, &owed.after, owed.expected.as_deref()).await;
        self.note_trouble(kept);
    }

    /// A message for each source whose token changed, or failed to, and for what an earlier run had no time to announce;
    /// then notes what was announced.
    async fn publish_tokens(&self, harvested: &[Harvested]) -> Result<(), StoreError> {
        let (now, limits) = (self.now(), self.world.publisher.limits());
        let owed = self.unannounced(harvested).await;
        let refreshed: Vec<_> = harvested.iter().filter(|one| one.is_refreshed()).chain(owed).collect();
        let announcements = refreshed.iter().map(|one| self.token_event(one).refreshed(now, limits));
        let failures = harvested.iter().filter_map(|one| self.token_event(one).failed(now, limits));
        let messages: Vec<Message> = announcements.chain(failures).collect();
        if !messages.is_empty() {
            self.world.publisher.publish(&messages).await?;
            info!(run.id = self.id, messages = messages.len(), "messages published");
        }
        let announced: Vec<_> =
            refreshed.iter().filter_map(|one| Some((one.report.source.as_str(), one.report.generation?))).collect();
        self.keep_roster(&announced).await;
        Ok(())
    }

    fn token_event<'a>(&'a self, one: &'a Harvested) -> TokenEvent<'a> {
        TokenEvent {
            environment: &self.settings.environment,
            run_id: self.id,
            location: self.world.tokens.location(one.source.as_ref().map(|source| &source.name)),
            report: &one.report,
            issued_at: one.issued_at,
            incident: one.watched.incident(),
            grant: grant(one),
            owner: owner(one),
            runbook_url: runbook_url(one),
        }
    }

    /// Keeps the report of a run in which something went other than planned, and now and then one of a run that only
    /// refreshed: a write costs as much as a fifth of a refresh. Nobody waits for it, so trouble is only logged.
    async fn keep_report(&self, report: &Report) {
        let is_recent =
            self.harvester.report_kept_at.get().is_some_and(|kept_at| self.started_at - kept_at < REPORT_AGE);
        if !report.tells_of_trouble() && (report.refreshed == 0 || is_recent) {
            return;
        }
        match self.world.state.keep_report(report).await {
            Ok(()) => self.harvester.report_kept_at.set(Some(self.started_at)),
            Err(error) => warn!(run.id = self.id, error.message = %error, "the report could not be kept"),
        }
    }
}

/// The stated end of what the next token is requested with. A connection without a refresh token ends with its token:
/// that is looked into where the token lives longer than one that is refreshed usually does.
fn grant_end(source: &Source, metadata: &StoredMetadata) -> Option<DateTime<Utc>> {
    let may_end = source.definition.connect.as_ref().is_some_and(|rules| rules.may_lack_refresh_token);
    let token_end = metadata.expires_at.filter(|end| may_end && *end - metadata.issued_at > LONGEST_USUAL_LIFE);
    metadata.grant_expires_at.or(token_end)
}

/// Whether the last refresh moved the end of a grant. Nothing moves that of a connection without a refresh token.
fn extended(source: &Source, grant: &GrantState) -> Option<bool> {
    let rules = source.definition.connect.as_ref();
    if rules.is_some_and(|rules| grant.lacks_refresh_token(rules)) { Some(false) } else { grant.extended }
}

/// What an alert says of a source, whatever the news.
fn case(one: &Harvested) -> Case<'_> {
    Case {
        source: &one.report.source,
        severity: Severity::Warning,
        token_expires_at: one.report.expires_at,
        has_token: one.report.generation.is_some(),
        grant: grant(one),
        owner: owner(one),
        runbook_url: runbook_url(one),
        ..Case::default()
    }
}

/// Puts what changed into the list where it belongs.
fn add<'a>(alert: &mut Alert<'a>, watched: &'a Watched, case: Case<'a>) {
    let Some((change, incident, _)) = watched.told_about() else { return };
    let ended = if let Change::Recovered(ended) = change { Some(ended) } else { None };
    let list = match change {
        Change::Opened => &mut alert.opened,
        Change::Escalated => &mut alert.escalated,
        Change::Reminded => &mut alert.reminded,
        Change::Recovered(_) => &mut alert.recovered,
    };
    list.push(Case {
        severity: incident.severity,
        error: Some(&incident.error),
        opened_at: Some(incident.opened_at),
        next_attempt_at: Some(incident.next_attempt_at),
        ended,
        ..case
    });
}

/// What the source's tokens are requested with.
fn grant(one: &Harvested) -> AuthorizationGrant {
    one.source.as_ref().map(|source| source.definition.authorization_grant()).unwrap_or_default()
}

/// Who is asked when this source fails.
fn owner(one: &Harvested) -> Option<&str> {
    one.source.as_ref()?.definition.owner.as_deref()
}

/// What to do then.
fn runbook_url(one: &Harvested) -> Option<&str> {
    one.source.as_ref()?.definition.runbook_url.as_ref().map(Url::as_str)
}
