//! Incidents: one source's open failure, when it is tried again, how bad it is, and whether a person must hear.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::document;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::time::{rfc3339, rfc3339_seconds, rfc3339_seconds_option};

/// Version of the layout of incidents.
const SCHEMA_VERSION: u32 = 1;

/// The first wait of the backoff, unless runs come oftener.
const FIRST_WAIT: TimeDelta = TimeDelta::minutes(15);

/// The longest wait of the backoff; a server's `Retry-After` may be longer.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(6);

/// How often a dead grant is tried all the same: a server may have refused it by mistake.
const WAIT_OF_A_DEAD_GRANT: TimeDelta = TimeDelta::hours(24);

/// The longest `Retry-After` that is believed.
const LONGEST_RETRY_AFTER: TimeDelta = TimeDelta::days(366);

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

/// How early a run may come and still count as the one that was meant: schedulers are not exact.
const LONGEST_TOLERANCE: TimeDelta = TimeDelta::seconds(60);

/// How soon something hurts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing to do.
    Info,
    /// Something to do, in daylight.
    #[default]
    Warning,
    /// Jobs fail, or soon will.
    Critical,
}

impl Severity {
    /// As it stands in messages and incidents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An open failure of one source, from its first failed harvest to its first good one. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Name of the source; also one that is no valid source name, where an event asked for it.
    pub source: String,
    /// When the first failed harvest was judged.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub opened_at: DateTime<Utc>,
    /// Failed harvests in a row; throttled ones do not count.
    pub consecutive_failures: u32,
    /// Harvests in a row that ended with `invalid_grant` for the same definition.
    pub refused_grants: u32,
    /// The last error.
    pub error: SourceError,
    /// As of the last judgement.
    pub severity: Severity,
    /// Stated end of the token that jobs have; `None` if unstated, or without a token.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub token_expires_at: Option<DateTime<Utc>>,
    /// Which token jobs had at the last failure: when it was issued. A newer one means that another run refreshed.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub token_issued_at: Option<DateTime<Utc>>,
    /// No harvest tries before, unless forced or with another definition.
    #[serde(serialize_with = "rfc3339_seconds")]
    pub next_attempt_at: DateTime<Utc>,
    /// When a person was last told; `None`: never.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub last_alert_at: Option<DateTime<Utc>>,
    /// The severity that the person was told then.
    pub told_severity: Option<Severity>,
    /// Of the definition that failed, over all fields; `None` if there was none.
    pub definition_sha256: Option<String>,
    /// When a run ended that sent a refresh token and could not keep what the server answered; `None`: none did.
    #[serde(serialize_with = "rfc3339_seconds_option")]
    pub lost_with: Option<DateTime<Utc>>,
}

#[derive(Serialize, Deserialize)]
struct Json<T> {
    schema_version: u32,
    #[serde(flatten)]
    incident: T,
}

impl Incident {
    /// The JSON text.
    pub fn to_json(&self) -> String {
        document::to_json(&Json { schema_version: SCHEMA_VERSION, incident: self })
    }

    /// Reads the JSON text; `None` if it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let json: Json<Self> = serde_json::from_str(json).ok()?;
        (json.schema_version == SCHEMA_VERSION).then_some(json.incident)
    }

    /// The incident after its alert has been sent.
    #[must_use]
    pub fn told(&self, now: DateTime<Utc>) -> Self {
        Self { last_alert_at: Some(now.trunc_subsecs(0)), told_severity: Some(self.severity), ..self.clone() }
    }

    /// Whether a harvest leaves the source alone for now.
    pub fn cooling_down(&self, now: DateTime<Utc>, interval: TimeDelta, definition_sha256: Option<&str>) -> bool {
        let tolerance = (interval / 20).min(LONGEST_TOLERANCE);
        self.definition_sha256.as_deref() == definition_sha256 && now < self.next_attempt_at - tolerance
    }

    /// Whether its grant counts as dead.
    pub fn needs_authorization(&self) -> bool {
        self.error.code == ErrorCode::ReauthorizationRequired
    }

    /// Whether a refresh failed, and with another definition than this one.
    pub fn failed_with_another(&self, definition_sha256: &str) -> bool {
        !self.ends_with_a_look() && self.definition_sha256.as_deref().is_some_and(|failed| failed != definition_sha256)
    }

    /// Whether it was not about the refresh, so that it is over once definition and token can be read.
    fn ends_with_a_look(&self) -> bool {
        matches!(
            self.error.code,
            ErrorCode::DefinitionInvalid
                | ErrorCode::SecretUnreadable
                | ErrorCode::TokenStoreFailed
                | ErrorCode::OutOfTime
        )
    }

    /// Whether it may have passed by itself, and nobody was told: while the token is not due, it does not hurt. Such an
    /// incident is of a forced refresh, or of a definition that was changed back.
    fn is_passing(&self) -> bool {
        self.error.retryable && self.last_alert_at.is_none()
    }

    /// Whether it is time that a person hears: nobody else can help, it has lasted, or it hurts.
    fn matters(&self, now: DateTime<Utc>) -> bool {
        !self.error.retryable
            || self.consecutive_failures >= FAILURES_THAT_MATTER
            || self.severity == Severity::Critical
            || now - self.opened_at >= LONGEST_SILENCE
    }

    /// What a person must hear of the incident as it is now.
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

/// How a harvest ended for a source, as far as its incident goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A new token was stored.
    Good,
    /// It failed.
    Failed {
        /// Why.
        error: SourceError,
        /// The server's wish.
        retry_after: Option<Duration>,
    },
    /// Told to wait for longer than the run had time.
    Throttled {
        /// The server's words.
        error: SourceError,
        /// The server's wish.
        retry_after: Option<Duration>,
    },
    /// It was not due: definition and token were read, and there was nothing to do.
    NotDue,
    /// It is left alone for now, or only looked at.
    NotTried,
    /// It was not its turn: held by another run, or out of time before the first request.
    Waiting {
        /// What it waited for.
        error: SourceError,
    },
}

/// What a judgement depends on besides what happened.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// The time of the judgement.
    pub now: DateTime<Utc>,
    /// Start of the run, from which the next attempt is counted.
    pub run_started_at: DateTime<Utc>,
    /// The longest time between two runs.
    pub schedule_interval: TimeDelta,
    /// The token that jobs have; `None` without one, and where it could not be looked up.
    pub token: Option<TokenLife>,
    /// Of the definition, over all fields; `None` if there is no valid one.
    pub definition_sha256: Option<&'a str>,
    /// See [`Incident::lost_with`], as far as this run knows.
    pub lost_with: Option<DateTime<Utc>>,
}

/// From when until when a stored token works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLife {
    /// When its request was sent.
    pub issued_at: DateTime<Utc>,
    /// Its stated end.
    pub expires_at: Option<DateTime<Utc>>,
    /// Its stated end, else the one that the definition has it assumed to have.
    pub assumed_expiry: DateTime<Utc>,
}

/// What comes of an incident in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The incident from now on; `None`: there is none. The alert is not noted in it: see [`Incident::told`].
    pub incident: Option<Incident>,
    /// What a person must hear.
    pub change: Option<Change>,
}

/// How an incident came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// There is a new token.
    Refreshed,
    /// Definition and token can be read again.
    Mended,
    /// The source is not defined any more.
    Removed,
    /// The source is switched off.
    SwitchedOff,
}

/// Something that a person must hear of.
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

/// Judges a source's incident after a harvest.
///
/// The same judgement comes again from the same previous incident, so what a killed run could not tell stays owed.
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
        (Happened::Waiting { error }, None) => judged(continued(None, error, situation), situation),
        (Happened::Failed { error, retry_after }, previous) => failed(previous, error, retry_after, situation),
        (Happened::Throttled { error, retry_after }, previous) => throttled(previous, error, retry_after, situation),
    };
    Judgement { change: incident.news(situation.now), incident: Some(incident) }
}

/// What a person must hear of the end of an incident whose source nobody wants refreshed any more.
pub fn judge_gone(previous: Option<&Incident>, ended: Ended) -> Option<Change> {
    closed(previous, ended).change
}

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

fn scheduled(mut incident: Incident, retry_after: Option<Duration>, situation: &Situation<'_>) -> Incident {
    let from = situation.run_started_at.trunc_subsecs(0);
    let wait = if incident.needs_authorization() {
        WAIT_OF_A_DEAD_GRANT
    } else {
        let time_left = token_end(&incident, situation).map(|end| end - from);
        backoff(incident.consecutive_failures, situation.schedule_interval, time_left)
    };
    let asked = retry_after.map_or(TimeDelta::zero(), |wait| {
        TimeDelta::from_std(wait).unwrap_or(LONGEST_RETRY_AFTER).min(LONGEST_RETRY_AFTER)
    });
    incident.next_attempt_at = from + whole_seconds_up(wait.max(asked));
    judged(incident, situation)
}

/// How long to leave a source alone: the more often it has failed the longer, but never so long that the time that
/// its token still works (`time_left`) passes untried. Once that is over, there is nothing to be in time for.
///
/// The interval between two runs is no floor: a run that comes before the wait is over finds out by itself.
fn backoff(failures: u32, interval: TimeDelta, time_left: Option<TimeDelta>) -> TimeDelta {
    // 2^20 of the shortest interval, a second, is more than the longest wait.
    let doubled = interval.min(FIRST_WAIT) * (1 << failures.saturating_sub(1).min(20));
    let backoff = doubled.min(LONGEST_WAIT);
    let time_left = time_left.filter(|time_left| *time_left > TimeDelta::zero());
    time_left.map_or(backoff, |time_left| backoff.min(time_left / 4))
}

/// A server that was asked a fraction of a second too early would refuse again.
fn whole_seconds_up(duration: TimeDelta) -> TimeDelta {
    let seconds = TimeDelta::seconds(duration.num_seconds());
    if seconds < duration { seconds + TimeDelta::seconds(1) } else { seconds }
}

/// The incident with its severity as of now.
fn judged(mut incident: Incident, situation: &Situation<'_>) -> Incident {
    let now = situation.now;
    // A next attempt that was due already comes with the next run.
    let helped_by = incident.next_attempt_at.max(now) + situation.schedule_interval;
    let critical = token_end(&incident, situation).is_some_and(|end| {
        end <= now || end < helped_by || (!incident.error.retryable && end - now < TIME_FOR_A_PERSON)
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: TimeDelta = TimeDelta::minutes(15);

    /// The end of a token that is no worry: in January 2027.
    const FAR: Option<DateTime<Utc>> = DateTime::from_timestamp(1_800_000_000, 0);

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    fn minutes(minutes: i64) -> DateTime<Utc> {
        now() + TimeDelta::minutes(minutes)
    }

    /// A run at that time, and a token issued an hour before `now` that works until `end`.
    fn at(time: DateTime<Utc>, end: Option<DateTime<Utc>>) -> Situation<'static> {
        let issued_at = now() - TimeDelta::hours(1);
        Situation {
            source: "acme-crm",
            now: time,
            run_started_at: time,
            schedule_interval: INTERVAL,
            token: end.map(|end| TokenLife { issued_at, expires_at: Some(end), assumed_expiry: end }),
            definition_sha256: Some("d1"),
            lost_with: None,
        }
    }

    fn failure(code: ErrorCode) -> Happened {
        let words = Some("the server's words".to_owned());
        let error = SourceError::new(code, "it did not work").with_provider_error(words);
        Happened::Failed { error, retry_after: None }
    }

    fn throttle(retry_after: Option<u64>) -> Happened {
        let error = SourceError::new(ErrorCode::RateLimited, "wait");
        Happened::Throttled { error, retry_after: retry_after.map(Duration::from_secs) }
    }

    fn judged(
        previous: Option<&Incident>,
        happened: Happened,
        situation: &Situation<'_>,
    ) -> (Incident, Option<Change>) {
        let judgement = judge(previous, happened, situation);
        (judgement.incident.expect("an incident"), judgement.change)
    }

    fn opened(code: ErrorCode, end: Option<DateTime<Utc>>) -> (Incident, Option<Change>) {
        judged(None, failure(code), &at(now(), end))
    }

    /// So many failures in a row, an interval apart.
    fn failing(code: ErrorCode, times: i32) -> (Incident, Option<Change>) {
        (1..times).fold(opened(code, FAR), |(incident, _), n| {
            judged(Some(&incident), failure(code), &at(now() + INTERVAL * n, FAR))
        })
    }

    #[test]
    fn an_incident_is_read_as_it_was_written_and_damage_counts_as_none() {
        let incident = opened(ErrorCode::InvalidClient, FAR).0.told(now());
        let json = incident.to_json();
        assert_eq!(Incident::parse(&json), Some(incident));
        assert!(json.starts_with(r#"{"schema_version":1,"source":"acme-crm","opened_at":"2026-11-20T22:00:00Z""#));
        assert!(json.contains(r#""severity":"warning""#), "{json}");
        assert_eq!(Incident::parse("{}"), None);
        assert_eq!(Incident::parse(&json.replace(r#""schema_version":1"#, r#""schema_version":2"#)), None);
        assert_eq!(Incident::parse(&json.replace("invalid_client", "no_such_code")), None);
    }

    #[test]
    fn what_is_judged_between_seconds_is_read_as_it_was_written() {
        let odd = now() + TimeDelta::milliseconds(1_234);
        let mut situation = at(odd, FAR);
        situation.token = situation.token.map(|token| TokenLife { issued_at: odd, ..token });
        let happened = Happened::Failed {
            error: SourceError::new(ErrorCode::Internal, "panicked"),
            retry_after: Some(Duration::from_millis(3_600_001)),
        };
        let incident = judged(None, happened, &situation).0.told(odd);
        assert_eq!(Incident::parse(&incident.to_json()), Some(incident.clone()));
        assert_eq!(incident.next_attempt_at, now() + TimeDelta::seconds(3_602));
        let judgement = judge(Some(&incident), Happened::NotTried, &situation);
        assert_eq!(judgement, Judgement { incident: Some(incident), change: None });
    }

    #[test]
    fn without_a_failure_there_is_no_incident() {
        for happened in [Happened::Good, Happened::NotDue, Happened::NotTried] {
            let judgement = judge(None, happened, &at(now(), None));
            assert_eq!(judgement, Judgement { incident: None, change: None });
        }
    }

    #[test]
    fn a_first_retryable_failure_opens_quietly() {
        let (incident, change) = opened(ErrorCode::EndpointTimeout, FAR);
        assert_eq!(change, None);
        assert_eq!((incident.consecutive_failures, incident.severity), (1, Severity::Warning));
        assert_eq!((incident.opened_at, incident.next_attempt_at), (now(), minutes(15)));
        assert_eq!(incident.token_expires_at, FAR);
    }

    #[test]
    fn a_person_hears_once_it_matters() {
        assert_eq!(opened(ErrorCode::InvalidClient, FAR).1, Some(Change::Opened));
        assert_eq!(failing(ErrorCode::EndpointTimeout, 2).1, None);
        assert_eq!(failing(ErrorCode::EndpointTimeout, 3).1, Some(Change::Opened));
        assert_eq!(opened(ErrorCode::EndpointTimeout, Some(minutes(5))).1, Some(Change::Opened));
    }

    #[test]
    fn an_alert_stays_owed_until_it_is_told_and_is_told_once() {
        let (incident, change) = opened(ErrorCode::InvalidClient, FAR);
        assert_eq!(change, Some(Change::Opened));
        let (again, change) = judged(Some(&incident), Happened::NotTried, &at(minutes(15), FAR));
        assert_eq!((again, change), (incident.clone(), Some(Change::Opened)));
        let told = incident.told(minutes(15));
        let (told, change) = judged(Some(&told), Happened::NotTried, &at(minutes(30), FAR));
        assert_eq!((told.last_alert_at, change), (Some(minutes(15)), None));
    }

    #[test]
    fn a_good_harvest_ends_it_and_only_who_was_told_hears() {
        let (incident, _) = opened(ErrorCode::InvalidClient, FAR);
        let untold = judge(Some(&incident), Happened::Good, &at(minutes(15), FAR));
        assert_eq!(untold, Judgement { incident: None, change: None });
        let told = judge(Some(&incident.told(now())), Happened::Good, &at(minutes(15), FAR));
        assert_eq!(told, Judgement { incident: None, change: Some(Change::Recovered(Ended::Refreshed)) });
    }

    #[test]
    fn another_runs_new_token_ends_it() {
        let (incident, _) = opened(ErrorCode::InvalidClient, FAR);
        let mut situation = at(minutes(15), FAR);
        assert!(judge(Some(&incident), Happened::NotTried, &situation).incident.is_some());
        situation.token = situation.token.map(|token| TokenLife { issued_at: minutes(1), ..token });
        let judgement = judge(Some(&incident.told(now())), Happened::NotTried, &situation);
        assert_eq!(judgement, Judgement { incident: None, change: Some(Change::Recovered(Ended::Refreshed)) });
    }

    #[test]
    fn what_was_not_about_the_refresh_is_over_once_it_is_mended() {
        for code in [
            ErrorCode::DefinitionInvalid,
            ErrorCode::SecretUnreadable,
            ErrorCode::TokenStoreFailed,
            ErrorCode::OutOfTime,
        ] {
            let incident = opened(code, FAR).0.told(now());
            let judgement = judge(Some(&incident), Happened::NotDue, &at(minutes(15), FAR));
            assert_eq!(judgement, Judgement { incident: None, change: Some(Change::Recovered(Ended::Mended)) });
            assert!(judge(Some(&incident), Happened::NotTried, &at(minutes(15), FAR)).incident.is_some(), "{code:?}");
        }
        let still_open =
            |incident: &Incident| judge(Some(incident), Happened::NotDue, &at(minutes(15), FAR)).incident.is_some();
        assert!(still_open(&opened(ErrorCode::InvalidClient, FAR).0));
        let (passing, _) = opened(ErrorCode::EndpointTimeout, FAR);
        assert!(!still_open(&passing), "a forced refresh failed, and the token is fresh");
        assert!(still_open(&passing.told(now())));
    }

    #[test]
    fn who_was_told_hears_that_a_source_is_gone() {
        let (incident, _) = opened(ErrorCode::InvalidClient, FAR);
        assert_eq!(judge_gone(Some(&incident), Ended::Removed), None);
        for ended in [Ended::Removed, Ended::SwitchedOff] {
            assert_eq!(judge_gone(Some(&incident.told(now())), ended), Some(Change::Recovered(ended)));
        }
    }

    #[test]
    fn a_person_hears_of_whatever_has_lasted_a_day() {
        let waiting = || Happened::Waiting { error: SourceError::new(ErrorCode::OutOfTime, "another run holds it") };
        for happened in [|| throttle(Some(86_400)), waiting] {
            let (incident, change) = judged(None, happened(), &at(now(), None));
            assert_eq!((incident.consecutive_failures, change), (0, None));
            let (incident, change) = judged(Some(&incident), happened(), &at(minutes(24 * 60 - 1), None));
            assert_eq!((incident.severity, change), (Severity::Warning, None));
            let (_, change) = judged(Some(&incident), happened(), &at(minutes(24 * 60), None));
            assert_eq!(change, Some(Change::Opened));
        }
    }

    #[test]
    fn waiting_for_ones_turn_delays_nothing_and_changes_no_incident() {
        let waiting = Happened::Waiting { error: SourceError::new(ErrorCode::OutOfTime, "another run holds it") };
        let (incident, _) = judged(None, waiting.clone(), &at(now(), FAR));
        assert!(!incident.cooling_down(now(), INTERVAL, Some("d1")));
        let (failed, _) = opened(ErrorCode::InvalidGrant, FAR);
        assert_eq!(judged(Some(&failed), waiting, &at(minutes(15), FAR)).0, failed);
    }

    #[test]
    fn an_assertion_or_a_password_is_never_dead() {
        let refusal = || {
            let error = SourceError { retryable: false, ..SourceError::new(ErrorCode::InvalidGrant, "refused") };
            Happened::Failed { error, retry_after: None }
        };
        let (mut incident, change) = judged(None, refusal(), &at(now(), FAR));
        assert_eq!(change, Some(Change::Opened), "told at once");
        for n in 1..5 {
            incident = judged(Some(&incident), refusal(), &at(now() + INTERVAL * n, FAR)).0;
        }
        assert_eq!((incident.error.code, incident.refused_grants), (ErrorCode::InvalidGrant, 0));
        assert_eq!(incident.next_attempt_at, minutes(60 + 240), "the backoff of the fifth failure");
    }

    #[test]
    fn a_changed_definition_is_told_from_the_one_that_failed() {
        let (refused, _) = opened(ErrorCode::InvalidClient, FAR);
        assert!(refused.failed_with_another("d2") && !refused.failed_with_another("d1"));
        let (unreadable, _) = opened(ErrorCode::DefinitionInvalid, FAR);
        assert!(!unreadable.failed_with_another("d2"), "mended without a refresh");
    }

    #[test]
    fn a_first_token_ends_the_incident_of_a_source_that_had_none() {
        let (incident, _) = opened(ErrorCode::EndpointTimeout, None);
        assert_eq!(judge(Some(&incident), Happened::NotTried, &at(minutes(15), FAR)).incident, None);
    }

    #[test]
    fn a_token_that_came_with_the_failure_does_not_end_it() {
        // The token was stored but not the refresh token that came with it, in this harvest and in the next.
        let (mut incident, mut situation) = (None, at(now(), FAR));
        for minute in [0, 60] {
            situation.now = minutes(minute + 1);
            situation.token = situation.token.map(|token| TokenLife { issued_at: minutes(minute), ..token });
            incident = judge(incident.as_ref(), failure(ErrorCode::GrantStoreFailed), &situation).incident;
        }
        situation.now = minutes(75);
        assert!(judge(incident.as_ref(), Happened::NotTried, &situation).incident.is_some());
    }

    #[test]
    fn a_token_that_could_not_be_looked_up_is_the_one_known_before() {
        let (incident, _) = opened(ErrorCode::EndpointTimeout, Some(minutes(60)));
        let (incident, _) = judged(Some(&incident), failure(ErrorCode::TokenStoreFailed), &at(minutes(15), None));
        assert_eq!(incident.token_expires_at, Some(minutes(60)));
        let (incident, _) = judged(Some(&incident), Happened::NotTried, &at(minutes(60), None));
        assert_eq!(incident.severity, Severity::Critical);
    }

    #[test]
    fn the_third_refusal_in_a_row_is_a_dead_grant() {
        let (second, change) = failing(ErrorCode::InvalidGrant, 2);
        assert_eq!((second.error.code, second.refused_grants, change), (ErrorCode::InvalidGrant, 2, None));
        let (third, change) = failing(ErrorCode::InvalidGrant, 3);
        assert_eq!((third.error.code, change), (ErrorCode::ReauthorizationRequired, Some(Change::Opened)));
        assert!(!third.error.retryable);
        assert_eq!(
            third.error.message,
            "it did not work; this was the third time in a row, so the grant is dead: somebody must authorize again \
             and put the new credential into the definition"
        );
        assert_eq!(third.error.provider_error.as_deref(), Some("the server's words"));
    }

    #[test]
    fn refusals_count_in_a_row_only() {
        let (incident, _) = failing(ErrorCode::InvalidGrant, 2);
        let (incident, _) = judged(Some(&incident), failure(ErrorCode::EndpointTimeout), &at(minutes(30), FAR));
        assert_eq!((incident.refused_grants, incident.consecutive_failures), (0, 3));
        let (incident, _) = judged(Some(&incident), failure(ErrorCode::InvalidGrant), &at(minutes(45), FAR));
        assert_eq!((incident.refused_grants, incident.error.code), (1, ErrorCode::InvalidGrant));
        // Throttling says nothing about the grant.
        let (incident, _) = judged(Some(&incident), throttle(None), &at(minutes(60), FAR));
        assert_eq!(incident.refused_grants, 1);
    }

    #[test]
    fn a_dead_grant_stays_dead_until_the_definition_changes() {
        let (dead, _) = failing(ErrorCode::InvalidGrant, 3);
        for happened in [failure(ErrorCode::EndpointTimeout), failure(ErrorCode::InvalidGrant), throttle(None)] {
            let (incident, _) = judged(Some(&dead), happened, &at(minutes(60), FAR));
            assert_eq!(incident.error, dead.error);
        }
        let changed = Situation { definition_sha256: Some("d2"), ..at(minutes(60), FAR) };
        let (incident, _) = judged(Some(&dead), failure(ErrorCode::InvalidGrant), &changed);
        assert_eq!((incident.error.code, incident.refused_grants), (ErrorCode::InvalidGrant, 1));
        assert_eq!(incident.definition_sha256.as_deref(), Some("d2"));
        assert_eq!((incident.opened_at, incident.consecutive_failures), (now(), 4));
    }

    #[test]
    fn a_secret_that_cannot_be_read_does_not_revive_a_dead_grant() {
        let (dead, _) = failing(ErrorCode::InvalidGrant, 3);
        let unknown = Situation { definition_sha256: None, ..at(minutes(60), FAR) };
        let (incident, _) = judged(Some(&dead), failure(ErrorCode::SecretUnreadable), &unknown);
        assert_eq!((incident.error, incident.definition_sha256.as_deref()), (dead.error.clone(), Some("d1")));
        let (incident, _) = judged(Some(&dead), failure(ErrorCode::DefinitionInvalid), &unknown);
        assert_eq!((incident.error.code, incident.definition_sha256), (ErrorCode::DefinitionInvalid, None));
    }

    #[test]
    fn throttling_is_an_incident_that_counts_no_failures() {
        let (incident, change) = judged(None, throttle(Some(7_200)), &at(now(), FAR));
        assert_eq!((incident.consecutive_failures, change), (0, None));
        assert_eq!(incident.next_attempt_at, minutes(120));
        let (incident, _) = judged(Some(&incident), throttle(None), &at(minutes(120), FAR));
        assert_eq!((incident.consecutive_failures, incident.next_attempt_at), (0, minutes(135)));
        let (incident, change) = judged(Some(&incident), throttle(None), &at(minutes(135), Some(minutes(130))));
        assert_eq!((incident.severity, change), (Severity::Critical, Some(Change::Opened)));
    }

    #[test]
    fn the_backoff_doubles_up_to_six_hours() {
        let waits: Vec<_> =
            (0..9).chain([u32::MAX]).map(|failures| backoff(failures, INTERVAL, None).num_minutes()).collect();
        assert_eq!(waits, [15, 15, 30, 60, 120, 240, 360, 360, 360, 360]);
    }

    #[test]
    fn a_token_is_never_waited_to_its_end() {
        let wait = |failures, interval, left: i64| {
            backoff(failures, TimeDelta::minutes(interval), Some(TimeDelta::minutes(left))).num_minutes()
        };
        assert_eq!(wait(6, 15, 240), 60);
        assert_eq!(wait(6, 15, 20), 5);
        assert_eq!(wait(6, 15, -500), 360, "its end has passed");
        assert_eq!(wait(1, 5, 240), 5, "runs come oftener");
        assert_eq!(wait(1, 480, 45), 11, "runs come more seldom, for all that is known");
        assert_eq!(wait(1, 480, 10_000), 15);
    }

    #[test]
    fn a_server_that_asks_for_longer_is_heeded() {
        let next = |seconds| {
            let happened = Happened::Failed {
                error: SourceError::new(ErrorCode::EndpointUnavailable, "down"),
                retry_after: Some(Duration::from_secs(seconds)),
            };
            judged(None, happened, &at(now(), FAR)).0.next_attempt_at - now()
        };
        assert_eq!(next(60), TimeDelta::minutes(15));
        assert_eq!(next(36_000), TimeDelta::minutes(600));
        assert_eq!(next(u64::MAX), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn the_next_attempt_is_counted_from_the_runs_start() {
        let situation =
            Situation { now: minutes(3), run_started_at: now() + TimeDelta::milliseconds(900), ..at(now(), FAR) };
        assert_eq!(judged(None, failure(ErrorCode::Internal), &situation).0.next_attempt_at, minutes(15));
    }

    #[test]
    fn severity_is_the_time_to_impact() {
        let severity = |code, end| opened(code, end).0.severity;
        for (code, end, expected) in [
            (ErrorCode::EndpointTimeout, minutes(0), Severity::Critical),
            (ErrorCode::EndpointTimeout, minutes(19), Severity::Critical),
            (ErrorCode::EndpointTimeout, minutes(20), Severity::Warning),
            (ErrorCode::InvalidClient, minutes(24 * 60 - 1), Severity::Critical),
            (ErrorCode::InvalidClient, minutes(24 * 60), Severity::Warning),
        ] {
            assert_eq!(severity(code, Some(end)), expected, "{code:?} {end}");
        }
        assert_eq!(severity(ErrorCode::InvalidClient, None), Severity::Warning);
    }

    #[test]
    fn an_unstated_end_is_judged_by_the_assumed_one() {
        let mut situation = at(now(), Some(minutes(5)));
        situation.token = situation.token.map(|token| TokenLife { expires_at: None, ..token });
        let (incident, _) = judged(None, failure(ErrorCode::Internal), &situation);
        assert_eq!((incident.severity, incident.token_expires_at), (Severity::Critical, None));
    }

    #[test]
    fn time_alone_escalates_and_is_told_once() {
        let end = Some(minutes(120));
        let incident = (0..3).fold(None, |previous: Option<Incident>, n| {
            judge(previous.as_ref(), failure(ErrorCode::EndpointTimeout), &at(minutes(n * 15), end)).incident
        });
        let told = incident.expect("an incident").told(minutes(30));
        assert_eq!(told.told_severity, Some(Severity::Warning));
        let (later, change) = judged(Some(&told), Happened::NotTried, &at(minutes(45), end));
        assert_eq!((later.severity, change), (Severity::Warning, None));
        let (later, change) = judged(Some(&later), Happened::NotTried, &at(minutes(110), end));
        assert_eq!((later.severity, change), (Severity::Critical, Some(Change::Escalated)));
        assert_eq!(later.next_attempt_at, told.next_attempt_at);
        let (_, change) = judged(Some(&later.told(minutes(110))), Happened::NotTried, &at(minutes(130), end));
        assert_eq!(change, None);
    }

    #[test]
    fn what_stays_open_is_reminded_of_once_a_day() {
        let told = opened(ErrorCode::InvalidClient, FAR).0.told(now());
        let change =
            |incident: &Incident, minute| judge(Some(incident), Happened::NotTried, &at(minutes(minute), FAR)).change;
        assert_eq!(change(&told, 24 * 60 - 1), None);
        assert_eq!(change(&told, 24 * 60), Some(Change::Reminded));
        assert_eq!(change(&told.told(minutes(24 * 60)), 24 * 60 + 15), None);
    }

    #[test]
    fn a_source_cools_down_until_its_next_attempt() {
        let (incident, _) = opened(ErrorCode::EndpointTimeout, FAR);
        let cooling = |seconds, definition| {
            incident.cooling_down(minutes(15) - TimeDelta::seconds(seconds), INTERVAL, definition)
        };
        assert!(cooling(46, Some("d1")));
        assert!(!cooling(45, Some("d1")), "schedulers are not exact to the second");
        assert!(!cooling(46, Some("d2")));
        assert!(!cooling(46, None));
        let hourly = TimeDelta::hours(1);
        assert!(incident.cooling_down(minutes(14) - TimeDelta::seconds(1), hourly, Some("d1")));
        assert!(!incident.cooling_down(minutes(14), hourly, Some("d1")));
    }

    #[test]
    fn a_dead_grant_is_tried_once_a_day_under_the_same_definition() {
        let (dead, _) = failing(ErrorCode::InvalidGrant, 3);
        assert!(dead.needs_authorization());
        assert_eq!(dead.next_attempt_at, minutes(30) + TimeDelta::hours(24));
        assert!(!dead.cooling_down(minutes(45), INTERVAL, Some("d2")));
        let tomorrow = minutes(30) + TimeDelta::hours(24);
        let (still, _) = judged(Some(&dead), failure(ErrorCode::EndpointTimeout), &at(tomorrow, FAR));
        assert_eq!(still.next_attempt_at, tomorrow + TimeDelta::hours(24));
    }
}
