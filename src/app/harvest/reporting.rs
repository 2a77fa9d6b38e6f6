//! How it went: a line of the report, and of the log, for each source, and the report as a whole.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::{info, warn};

use super::judging::Watched;
use super::run::Run;
use super::telling::OwedForecast;
use super::work::{Done, Work};
use crate::app::ports::Ports;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::report::{Outcome, Report, SourceReport, Warning, WarningCode};
use crate::domain::source::Source;
use crate::domain::time::rfc3339;
use crate::domain::token::RefreshRule;

/// One source's part of the report and of the messages.
pub(super) struct Harvested {
    pub(super) report: SourceReport,
    pub(super) source: Option<Arc<Source>>,
    pub(super) issued_at: Option<DateTime<Utc>>,
    /// Generation of the token that this run found.
    pub(super) found: Option<u64>,
    pub(super) warnings: Vec<Warning>,
    pub(super) watched: Watched,
    pub(super) forecast: Option<OwedForecast>,
}

impl Harvested {
    /// Whether a new token was stored in this run.
    pub(super) fn is_refreshed(&self) -> bool {
        self.report.outcome == Outcome::Refreshed
    }
}

impl<P: Ports> Work<'_, P> {
    /// What became of the source.
    pub(super) fn harvested(
        &self,
        source: Option<Arc<Source>>,
        result: Result<Done, SourceError>,
        (forecast, watched): (Option<OwedForecast>, Watched),
        duration: TimeDelta,
    ) -> Harvested {
        let (outcome, error) = self.outcome(result, &watched);
        let stored = self.tokens.last_seen();
        let version_id = stored.as_ref().and_then(|stored| stored.version_id.clone());
        let metadata = stored.and_then(|stored| stored.metadata);
        let interval = self.run.settings.schedule_interval;
        let rule = source.as_ref().map_or_else(|| RefreshRule::usual(interval), |source| self.rule(source));
        let mut warnings = Vec::new();
        if let (Outcome::Fresh | Outcome::Refreshed, Some(metadata)) = (outcome, &metadata)
            && let Some(arithmetic) = rule.too_slow(metadata.issued_at, metadata.expires_at)
        {
            let source = Some(self.name().to_owned());
            warnings.push(Warning { code: WarningCode::ScheduleTooSlow, source, message: arithmetic });
        }
        let expires_at = metadata.as_ref().and_then(|metadata| metadata.expires_at);
        let spare = metadata.as_ref().zip(expires_at).map(|(metadata, expires_at)| {
            expires_at - self.run.now() - rule.kept_ttl(metadata.issued_at, metadata.expires_at)
        });
        let report = SourceReport {
            source: self.name().to_owned(),
            outcome,
            generation: metadata.as_ref().map(|metadata| metadata.generation),
            expires_at,
            version_id,
            attempts: self.requester.attempts(),
            duration_ms: milliseconds(duration),
            error,
            spare,
        };
        self.run.log_outcome(&report);
        Harvested {
            report,
            source,
            issued_at: metadata.map(|metadata| metadata.issued_at),
            found: self.tokens.found(),
            warnings,
            watched,
            forecast,
        }
    }

    /// How a result stands in the report, as its incident sees it: a third refusal in a row is more than a refusal.
    fn outcome(&self, result: Result<Done, SourceError>, watched: &Watched) -> (Outcome, Option<SourceError>) {
        match result {
            Ok(Done::Fresh) => (Outcome::Fresh, None),
            Ok(Done::Refreshed | Done::WouldRefresh) => (Outcome::Refreshed, None),
            Ok(Done::HeldByAnotherRun) => (Outcome::Deferred, None),
            Ok(Done::CoolingDown) => (Outcome::Deferred, watched.error().cloned()),
            Err(error) => (self.outcome_of(&error), Some(watched.error().cloned().unwrap_or(error))),
        }
    }

    /// Throttled, not connected yet, lacking for the first time, or not begun for want of time: deferred. Everything else failed.
    fn outcome_of(&self, error: &SourceError) -> Outcome {
        match error.code {
            _ if self.is_absent() => Outcome::Deferred,
            ErrorCode::RateLimited | ErrorCode::NotConnected => Outcome::Deferred,
            ErrorCode::OutOfTime if !self.has_begun() => Outcome::Deferred,
            _ => Outcome::Failed,
        }
    }
}

impl<P: Ports> Run<'_, P> {
    /// The report of the whole run, which is logged too.
    pub(super) fn report(&self, harvested: &[Harvested]) -> Report {
        let mut warnings = Vec::new();
        // A source with accounts of which none is connected has no line, but it is one.
        let has_sources = !harvested.is_empty() || !self.accounts.borrow().is_empty();
        if !has_sources {
            let message = format!(
                "there is no source to harvest: add one by creating a secret named {}<source> that holds its definition",
                self.settings.secret_prefix
            );
            warnings.push(Warning { code: WarningCode::NoSources, source: None, message });
        }
        warnings.extend(harvested.iter().flat_map(|one| one.warnings.iter().cloned()));
        let count = |outcome| harvested.iter().filter(|one| one.report.outcome == outcome).count();
        let report = Report {
            run_id: self.id.to_owned(),
            environment: self.settings.environment.clone(),
            dry_run: self.event.dry_run,
            complete: self.event.sources.is_none() && !self.event.dry_run && has_sources,
            started_at: self.started_at,
            finished_at: self.now(),
            refreshed: count(Outcome::Refreshed),
            fresh: count(Outcome::Fresh),
            deferred: count(Outcome::Deferred),
            failed: count(Outcome::Failed),
            sources: harvested.iter().map(|one| one.report.clone()).collect(),
            warnings,
        };
        info!(
            run.id = report.run_id,
            refreshed = report.refreshed,
            fresh = report.fresh,
            deferred = report.deferred,
            failed = report.failed,
            duration_ms = milliseconds(report.finished_at - report.started_at),
            "harvest finished"
        );
        report
    }

    fn log_outcome(&self, report: &SourceReport) {
        match (&report.error, report.outcome) {
            (None, Outcome::Refreshed) if !self.event.dry_run => info!(
                run.id = self.id,
                source.name = report.source,
                token.generation = report.generation,
                token.expires_at = report.expires_at.map(rfc3339),
                attempts = report.attempts,
                duration_ms = report.duration_ms,
                "token refreshed"
            ),
            (None, Outcome::Deferred) => {
                info!(run.id = self.id, source.name = report.source, "source deferred, another run works on it");
            }
            (None, _) => {}
            (Some(error), outcome) => warn!(
                run.id = self.id,
                source.name = report.source,
                error.code = error.code.as_str(),
                error.message = error.message,
                error.retryable = error.retryable,
                error.provider_error = error.provider_error,
                attempts = report.attempts,
                duration_ms = report.duration_ms,
                "{}",
                if outcome == Outcome::Deferred { "source deferred" } else { "source failed" }
            ),
        }
    }
}

fn milliseconds(duration: TimeDelta) -> u64 {
    u64::try_from(duration.num_milliseconds()).unwrap_or_default()
}
