use std::time::Duration;

use super::wait::{LONGEST_RETRY_AFTER, backoff};
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

fn judged(previous: Option<&Incident>, happened: Happened, situation: &Situation<'_>) -> (Incident, Option<Change>) {
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
    for code in
        [ErrorCode::DefinitionInvalid, ErrorCode::SecretUnreadable, ErrorCode::TokenStoreFailed, ErrorCode::OutOfTime]
    {
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
    let cooling =
        |seconds, definition| incident.cooling_down(minutes(15) - TimeDelta::seconds(seconds), INTERVAL, definition);
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
