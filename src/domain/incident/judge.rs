//! What becomes of an incident in a run: whether it opens, goes on or ends, how urgent it is, and what a person must hear.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde::Serialize;

use super::{Incident, Severity, wait};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::time::rfc3339;

/// From this many failed harvests in a row on, a retryable error matters to a person.
const FAILURES_THAT_MATTER: u32 = 3;

/// This many refusals of the same grant in a row mean that it is dead.
const REFUSALS_OF_A_DEAD_GRANT: u32 = 3;

/// A person hears of whatever has lasted that long.
const LONGEST_SILENCE: TimeDelta = TimeDelta::hours(24);

/// How long before the token's end a failure that only a person can end is critical.
const TIME_FOR_A_PERSON: TimeDelta = TimeDelta::hours(24);

/// How long after an alert a person is reminded of what is still open.
const REMINDER: TimeDelta = TimeDelta::hours(24);

/// How a harvest ended for a source, as far as its incident goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A new token was stored.
    Good,
    /// The source has no new token though it was due, or its definition or token could not be read.
    Failed {
        /// The report's.
        error: SourceError,
        /// How long the server asked to be left alone; `None`: it did not.
        retry_after: Option<Duration>,
    },
    /// Told to wait for longer than the run had time.
    Throttled {
        /// The report's.
        error: SourceError,
        /// How long the server asked to be left alone; `None`: it did not say how long.
        retry_after: Option<Duration>,
    },
    /// It was not due: definition and token were read, and there was nothing to do.
    NotDue,
    /// It is left alone for now, or only looked at.
    NotTried,
    /// Nobody has connected it yet.
    NotConnected {
        /// The report's.
        error: SourceError,
    },
    /// It was not its turn: held by another run, or out of time before the first request.
    Waiting {
        /// Which of the two it was.
        error: SourceError,
    },
}

/// What a judgement depends on besides what happened.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// When it is judged, which may be minutes after the start of the run.
    pub now: DateTime<Utc>,
    /// Start of the run, from which the next attempt is counted.
    pub run_started_at: DateTime<Utc>,
    /// The longest time between two runs.
    pub schedule_interval: TimeDelta,
    /// The token that jobs have; `None` without one, and where it could not be looked up.
    pub token: Option<TokenLife>,
    /// SHA-256 of the definition that was tried, over all its fields; `None` if there is no valid one.
    pub definition_sha256: Option<&'a str>,
    /// See [`Incident::lost_with`], as far as this run knows.
    pub lost_with: Option<DateTime<Utc>>,
}

/// From when until when a stored token works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLife {
    /// When its request was sent.
    pub issued_at: DateTime<Utc>,
    /// Its end, as the server stated it; `None`: it stated none.
    pub expires_at: Option<DateTime<Utc>>,
    /// Its stated end, else the one that the definition has it assumed to have.
    pub assumed_expiry: DateTime<Utc>,
}

/// What comes of an incident in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The incident from now on; `None`: there is none. The alert is not noted in it: see [`Incident::told`].
    pub incident: Option<Incident>,
    /// What a person must hear; `None`: nothing.
    pub change: Option<Change>,
}

/// How an incident came to its end, as alerts tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// A newer token was stored than jobs had at the last failure.
    Refreshed,
    /// Definition and token can be read again, and the token is not due.
    Mended,
    /// No secret defines the source any more.
    Removed,
    /// Its definition says that it is not to be harvested.
    SwitchedOff,
    /// The account is not connected any more.
    Disconnected,
}

/// Why a person must hear of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It matters now, and nobody has been told before.
    Opened,
    /// It has become critical since a person was told.
    Escalated,
    /// It is still open a day after a person was last told.
    Reminded,
    /// It is over, and a person had been told of it.
    Recovered(Ended),
}

/// What becomes of a source's incident in this run.
///
/// It depends on the arguments alone. A run that is killed before it has told its judgement leaves the previous incident
/// as it was, so the next run comes to the same judgement, and tells it.
pub fn judge(previous: Option<&Incident>, happened: Happened, situation: &Situation<'_>) -> Judgement {
    let incident = match (happened, previous) {
        (Happened::Good, previous) => return closed(previous, Ended::Refreshed),
        (Happened::NotDue | Happened::NotTried, None) => return Judgement { incident: None, change: None },
        // `None` is the oldest: a first token is newer than none.
        (Happened::NotDue | Happened::NotTried | Happened::Waiting { .. }, Some(previous))
            if issued_at(situation) > previous.token_issued_at =>
        {
            return closed(Some(previous), Ended::Refreshed);
        }
        (Happened::NotDue, Some(previous)) if previous.ends_with_a_look() || previous.is_passing() => {
            return closed(Some(previous), Ended::Mended);
        }
        (Happened::NotDue | Happened::NotTried | Happened::Waiting { .. }, Some(previous)) => {
            judged(previous.clone(), situation)
        }
        (Happened::NotConnected { error }, Some(previous)) if previous.error.code == ErrorCode::NotConnected => {
            judged(continued(Some(previous), error, situation), situation)
        }
        // What there was to refresh before is gone, and with it what was wrong.
        (Happened::NotConnected { .. }, Some(previous)) => {
            let is_mended = previous.ends_with_a_look() || previous.is_passing();
            return closed(Some(previous), if is_mended { Ended::Mended } else { Ended::Disconnected });
        }
        (Happened::Waiting { error } | Happened::NotConnected { error }, None) => {
            judged(continued(None, error, situation), situation)
        }
        (Happened::Failed { error, retry_after }, previous) => failed(previous, error, retry_after, situation),
        (Happened::Throttled { error, retry_after }, previous) => throttled(previous, error, retry_after, situation),
    };
    Judgement { change: incident.news(situation.now), incident: Some(incident) }
}

/// What a person must hear of the end of an incident whose source nobody wants refreshed any more.
pub fn judge_gone(previous: Option<&Incident>, ended: Ended) -> Option<Change> {
    closed(previous, ended).change
}

/// The end of an incident, of which only a person hears who was told of the incident.
fn closed(previous: Option<&Incident>, ended: Ended) -> Judgement {
    let told = previous.is_some_and(|previous| previous.last_alert_at.is_some());
    Judgement { incident: None, change: told.then_some(Change::Recovered(ended)) }
}

fn failed(
    previous: Option<&Incident>,
    error: SourceError,
    retry_after: Option<Duration>,
    situation: &Situation<'_>,
) -> Incident {
    let mut incident = continued(previous, error, situation);
    incident.consecutive_failures = incident.consecutive_failures.saturating_add(1);
    match incident.error.code {
        // Only a credential that is kept can be dead; the refusal of any other is not retryable.
        ErrorCode::InvalidGrant if incident.error.retryable => {
            incident.refused_grants = incident.refused_grants.saturating_add(1);
            if let Some(ended_at) = incident.lost_with {
                let lost = "; the server had replaced it, and the new one was lost with the run that ended at";
                incident.error.message = format!("{}{lost} {}", incident.error.message, rfc3339(ended_at));
            }
            if incident.refused_grants >= REFUSALS_OF_A_DEAD_GRANT {
                incident.error = dead_grant(incident.error);
            }
        }
        ErrorCode::ReauthorizationRequired => {}
        _ => incident.refused_grants = 0,
    }
    scheduled(incident, retry_after, situation)
}

fn throttled(
    previous: Option<&Incident>,
    error: SourceError,
    retry_after: Option<Duration>,
    situation: &Situation<'_>,
) -> Incident {
    scheduled(continued(previous, error, situation), retry_after, situation)
}

/// The previous incident, or a new one, with the error and the token of now. A dead grant stays dead under the same
/// definition; another definition has another grant, whose refusals are counted from the first.
fn continued(previous: Option<&Incident>, error: SourceError, situation: &Situation<'_>) -> Incident {
    let definition_sha256 = situation.definition_sha256.map(str::to_owned);
    let Some(previous) = previous else {
        return Incident {
            source: situation.source.to_owned(),
            opened_at: situation.now.trunc_subsecs(0),
            consecutive_failures: 0,
            refused_grants: 0,
            error,
            severity: Severity::Warning,
            token_expires_at: situation.token.and_then(|token| token.expires_at),
            token_issued_at: issued_at(situation),
            next_attempt_at: situation.run_started_at,
            last_alert_at: None,
            told_severity: None,
            definition_sha256,
            lost_with: situation.lost_with,
        };
    };
    let mut incident = previous.clone();
    // A secret that cannot be read says nothing about the definition in it.
    if error.code != ErrorCode::SecretUnreadable && incident.definition_sha256 != definition_sha256 {
        incident.definition_sha256 = definition_sha256;
        incident.refused_grants = 0;
        incident.lost_with = None;
        incident.error = error;
    } else if !incident.needs_authorization() {
        incident.error = error;
    }
    incident.lost_with = situation.lost_with.or(incident.lost_with);
    // Tokens are never deleted: one that could not be looked up is still the one known before.
    if let Some(token) = situation.token {
        incident.token_expires_at = token.expires_at;
        incident.token_issued_at = issued_at(situation);
    }
    incident
}

/// The error of a grant that was refused once too often; it keeps the words of the last refusal.
fn dead_grant(refusal: SourceError) -> SourceError {
    let message = format!(
        "{}; this was the third time in a row, so the grant is dead: somebody must authorize again and put the new \
         credential into the definition",
        refusal.message
    );
    SourceError::new(ErrorCode::ReauthorizationRequired, message).with_provider_error(refusal.provider_error)
}

/// The incident with its next attempt, counted from the start of the run: runs come at regular times, judgements do not.
fn scheduled(mut incident: Incident, retry_after: Option<Duration>, situation: &Situation<'_>) -> Incident {
    let from = situation.run_started_at.trunc_subsecs(0);
    let own = if incident.needs_authorization() {
        wait::OF_A_DEAD_GRANT
    } else {
        let time_left = token_end(&incident, situation).map(|end| end - from);
        wait::backoff(incident.consecutive_failures, situation.schedule_interval, time_left)
    };
    incident.next_attempt_at = from + wait::whole_seconds_up(own.max(wait::asked(retry_after)));
    judged(incident, situation)
}

/// The incident with its severity as of now.
fn judged(mut incident: Incident, situation: &Situation<'_>) -> Incident {
    let now = situation.now;
    // A next attempt that was due already comes with the next run.
    let helped_by = incident.next_attempt_at.max(now) + situation.schedule_interval;
    let critical = token_end(&incident, situation).is_some_and(|end| {
        end <= now || end < helped_by || (!incident.error.retryable && end - now < TIME_FOR_A_PERSON)
    });
    // Whoever was sent a link is given a day, whatever token is left of a time before.
    let has_time = incident.error.code == ErrorCode::NotConnected && now - incident.opened_at < LONGEST_SILENCE;
    let critical = critical && !has_time;
    incident.severity = if critical { Severity::Critical } else { Severity::Warning };
    incident
}

fn issued_at(situation: &Situation<'_>) -> Option<DateTime<Utc>> {
    situation.token.map(|token| token.issued_at.trunc_subsecs(0))
}

/// When jobs lose the token that they have; `None` if that is unknown, or they never had one.
fn token_end(incident: &Incident, situation: &Situation<'_>) -> Option<DateTime<Utc>> {
    situation.token.map(|token| token.assumed_expiry).or(incident.token_expires_at)
}

impl Incident {
    /// Whether it is time that a person hears: a person must act, or it has lasted long, or jobs are affected soon.
    fn matters(&self, now: DateTime<Utc>) -> bool {
        !self.error.retryable
            || self.consecutive_failures >= FAILURES_THAT_MATTER
            || self.severity == Severity::Critical
            || now - self.opened_at >= LONGEST_SILENCE
    }

    /// What a person must hear of the incident as it is now; `None`: nothing.
    fn news(&self, now: DateTime<Utc>) -> Option<Change> {
        match self.last_alert_at {
            None => self.matters(now).then_some(Change::Opened),
            Some(_) if self.severity == Severity::Critical && self.told_severity < Some(Severity::Critical) => {
                Some(Change::Escalated)
            }
            Some(told_at) => (now >= told_at + REMINDER).then_some(Change::Reminded),
        }
    }
}
