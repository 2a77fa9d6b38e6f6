//! Messages of `kind=alert`: what changed for a person, most urgent first, and the words for it.

use std::cmp::Reverse;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::domain::credential::{AuthorizationGrant, CredentialKind};
use crate::domain::document;
use crate::domain::duration;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::incident::{Ended, Severity};
use crate::domain::notice::message::{Limits, Message, SCHEMA_VERSION, ascii_line, moment, next_attempt};
use crate::domain::time::{rfc3339, rfc3339_seconds_option};

/// An alert lists so many sources and gives the number of all.
const MOST_LISTED: usize = 100;

/// The mail tells so many sources in full and the others in a line each.
const MOST_TOLD_IN_FULL: usize = 10;

/// What an alert says of one source.
#[derive(Debug, Default, Clone, Copy)]
pub struct Case<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// How urgent it is; of no matter for what has recovered.
    pub severity: Severity,
    /// The last error; `None` in a forecast.
    pub error: Option<&'a SourceError>,
    /// What a person should change though nothing failed, in a forecast.
    pub warning: Option<&'a str>,
    /// How it ended, of what has recovered.
    pub ended: Option<Ended>,
    /// Since when it fails; `None` in a forecast.
    pub opened_at: Option<DateTime<Utc>>,
    /// Stated end of the token that jobs have.
    pub token_expires_at: Option<DateTime<Utc>>,
    /// Whether jobs have a token at all.
    pub has_token: bool,
    /// What its tokens are requested with.
    pub grant: AuthorizationGrant,
    /// Stated end of that grant, in a forecast.
    pub grant_expires_at: Option<DateTime<Utc>>,
    /// When the harvester tries again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Who is asked.
    pub owner: Option<&'a str>,
    /// What the owner has written down for this case.
    pub runbook_url: Option<&'a str>,
}

/// All that a person must hear of one run.
#[derive(Debug, Clone, Default)]
pub struct Alert<'a> {
    /// The deployment.
    pub environment: &'a str,
    /// The page whose anchors are error codes.
    pub runbook_url: &'a str,
    /// Where the run's report is kept, which names all sources.
    pub report: String,
    /// Failures that nobody has been told of before.
    pub opened: Vec<Case<'a>>,
    /// Failures that have become critical since.
    pub escalated: Vec<Case<'a>>,
    /// Failures that are over.
    pub recovered: Vec<Case<'a>>,
    /// Failures that are still open a day after the last alert.
    pub reminded: Vec<Case<'a>>,
    /// Grants that end soon, and schedules that are too slow.
    pub forecast: Vec<Case<'a>>,
}

/// Why a source is in an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Opened,
    Escalated,
    Reminded,
    Forecast,
    Recovered,
}

impl Alert<'_> {
    /// The message; `None` if there is nothing to tell.
    pub fn message(&self, now: DateTime<Utc>, limits: Limits) -> Option<Message> {
        let items = self.most_urgent_first();
        let severity = items.iter().map(Item::severity).max()?;
        let listed = &items[..listed(&items, limits)];
        Some(Message {
            subject: ascii_line(&self.subject(&items, severity, now, limits), limits),
            attributes: vec![
                ("kind", "alert".to_owned()),
                ("environment", self.environment.to_owned()),
                ("severity", severity.as_str().to_owned()),
            ],
            json: self.json(listed, severity, items.len()),
            text: self.text(listed, items.len(), now),
        })
    }

    fn most_urgent_first(&self) -> Vec<Item<'_>> {
        let lists = [
            (News::Opened, &self.opened),
            (News::Escalated, &self.escalated),
            (News::Reminded, &self.reminded),
            (News::Forecast, &self.forecast),
            (News::Recovered, &self.recovered),
        ];
        let mut items: Vec<_> =
            lists.into_iter().flat_map(|(news, list)| list.iter().map(move |case| Item { news, case })).collect();
        items.sort_by_key(|item| {
            let end = item.case.grant_expires_at.or(item.case.token_expires_at);
            (Reverse(item.severity()), end.is_none(), end, item.case.source)
        });
        items
    }

    fn json(&self, items: &[Item<'_>], severity: Severity, total: usize) -> String {
        #[derive(Serialize)]
        struct Json<'a> {
            schema_version: u32,
            environment: &'a str,
            severity: Severity,
            total: usize,
            opened: Vec<JsonCase<'a>>,
            escalated: Vec<JsonCase<'a>>,
            recovered: Vec<JsonCase<'a>>,
            reminded: Vec<JsonCase<'a>>,
            forecast: Vec<JsonCase<'a>>,
        }

        let list = |news| items.iter().filter(|item| item.news == news).map(Item::json).collect();
        document::to_json(&Json {
            schema_version: SCHEMA_VERSION,
            environment: self.environment,
            severity,
            total,
            opened: list(News::Opened),
            escalated: list(News::Escalated),
            recovered: list(News::Recovered),
            reminded: list(News::Reminded),
            forecast: list(News::Forecast),
        })
    }

    /// What wakes: the source and how long its token lasts, or as many sources as fit. What has recovered is left to
    /// the mail where something else has not.
    fn subject(&self, items: &[Item<'_>], severity: Severity, now: DateTime<Utc>, limits: Limits) -> String {
        let word = if severity == Severity::Info { "OK" } else { word(severity) };
        let head = format!("[{}] {word}", self.environment);
        let open: Vec<_> = items.iter().filter(|item| item.news != News::Recovered).collect();
        match (open.as_slice(), items) {
            ([item], _) => format!("{head} {}: {}", item.case.source, item.in_short(now)),
            ([], [item]) => format!("{head} {}: recovered", item.case.source),
            ([], _) => {
                let head = format!("{head} {} sources recovered: ", items.len());
                enumeration(head, items.iter().map(|item| item.case.source.to_owned()), limits)
            }
            (open, _) => {
                let head = format!("{head} {} sources: ", open.len());
                enumeration(head, open.iter().map(|item| format!("{} ({})", item.case.source, item.reason())), limits)
            }
        }
    }

    fn text(&self, items: &[Item<'_>], total: usize, now: DateTime<Utc>) -> String {
        let mut text = format!("Token harvester, deployment {}, {}", self.environment, rfc3339(now));
        if total > 1 {
            let _ = write!(text, ": {total} sources, the most urgent first");
        }
        text.push_str(".\n");
        let (in_full, in_short) = items.split_at(items.len().min(MOST_TOLD_IN_FULL));
        for item in in_full {
            text.push('\n');
            for line in item.lines(now, self.runbook_url) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        if !in_short.is_empty() {
            text.push_str("\nIn short:\n");
        }
        for item in in_short {
            let _ = writeln!(text, "- {} {}: {}", word(item.severity()), item.case.source, item.in_short(now));
        }
        if total > items.len() {
            let _ = writeln!(text, "- and {} more, see the report: {}", total - items.len(), self.report);
        }
        text
    }
}

/// How many of the most urgent fit into a message.
fn listed(items: &[Item<'_>], limits: Limits) -> usize {
    let mut bytes = 0;
    let fit = items.iter().take(MOST_LISTED).take_while(|item| {
        bytes += document::to_json(&item.json()).len();
        bytes <= limits.list
    });
    fit.count().max(1)
}

/// One source of an alert.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    news: News,
    case: &'a Case<'a>,
}

#[derive(Serialize)]
struct JsonCase<'a> {
    source: &'a str,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a SourceError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "rfc3339_seconds_option")]
    grant_expires_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    opened_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "rfc3339_seconds_option")]
    token_expires_at: Option<DateTime<Utc>>,
}

impl<'a> Item<'a> {
    fn severity(&self) -> Severity {
        if self.news == News::Recovered { Severity::Info } else { self.case.severity }
    }

    fn json(&self) -> JsonCase<'a> {
        JsonCase {
            source: self.case.source,
            severity: self.severity(),
            error: self.case.error,
            warning: self.case.warning,
            ended: self.case.ended,
            grant_expires_at: self.case.grant_expires_at,
            opened_at: self.case.opened_at,
            token_expires_at: self.case.token_expires_at,
        }
    }

    fn reason(&self) -> &'static str {
        match (self.news, self.case.error) {
            (News::Recovered, _) => "recovered",
            (_, Some(error)) => error.code.as_str(),
            (News::Forecast, None) if self.case.warning.is_some() => "schedule_too_slow",
            (News::Forecast, None) => match self.case.grant {
                AuthorizationGrant::Kept(CredentialKind::AccessToken) => "access token ends",
                _ => "refresh token ends",
            },
            (_, None) => "failing",
        }
    }

    /// For a subject or a line: `invalid_grant, token expires in 12 min`.
    fn in_short(&self, now: DateTime<Utc>) -> String {
        let (reason, case) = (self.reason(), self.case);
        let still = if self.news == News::Reminded { "still " } else { "" };
        let end = |what, end: DateTime<Utc>, ends, ended| {
            if end <= now {
                format!("{what} {ended} {} ago", duration::for_people(now - end))
            } else {
                format!("{what} {ends} in {}", duration::for_people(end - now))
            }
        };
        match (self.news, case.grant_expires_at, case.token_expires_at) {
            (News::Forecast, Some(time), _) => end(self.credential().in_words(), time, "ends", "ended"),
            (News::Recovered, _, _) | (News::Forecast, None, _) => reason.to_owned(),
            (_, _, Some(time)) => format!("{still}{reason}, {}", end("token", time, "expires", "expired")),
            (_, _, None) if !case.has_token => format!("{still}{reason}, no token yet"),
            (_, _, None) => format!("{still}{reason}"),
        }
    }

    /// What a person brings anew once the grant is dead.
    fn credential(&self) -> CredentialKind {
        match self.case.grant {
            AuthorizationGrant::Kept(kind) => kind,
            _ => CredentialKind::default(),
        }
    }

    /// For a mail.
    fn lines(&self, now: DateTime<Utc>, runbook_url: &str) -> Vec<String> {
        let (mut lines, look_up) = match self.news {
            News::Recovered => (self.recovery(now), None),
            News::Forecast => self.forecast(now),
            News::Opened | News::Escalated | News::Reminded => {
                (self.failure(now), self.case.error.map(|error| error.code.as_str()))
            }
        };
        lines.extend(look_up.map(|anchor| format!("Look up: {runbook_url}#{anchor}")));
        lines.extend(self.case.owner.map(|owner| format!("Owner: {owner}")));
        lines.extend(self.case.runbook_url.map(|url| format!("Runbook: {url}")));
        lines
    }

    fn failure(&self, now: DateTime<Utc>) -> Vec<String> {
        let case = self.case;
        let news = match self.news {
            News::Escalated => "has become critical",
            News::Reminded => "is still failing",
            _ => "is failing",
        };
        let since = case.opened_at.map(|time| format!(", since {}", past(time, now))).unwrap_or_default();
        let mut lines = vec![format!("{}: {} {news}{since}.", word(self.severity()), case.source), self.token(now)];
        if let Some(error) = case.error {
            let (meaning, next_step) = advice(error.code, case.grant);
            lines.push(format!("What happened: {} ({}).", error.message, error.code.as_str()));
            lines.extend(error.provider_error.as_ref().map(|words| format!("The server said: {words}")));
            lines.push(format!("What it means: {meaning}"));
            lines.push(format!("What to do: {next_step}"));
        }
        lines.extend(case.next_attempt_at.zip(case.error).map(|(time, error)| next_attempt(time, error, now)));
        lines
    }

    /// The lines, and the anchor to look up.
    fn forecast(&self, now: DateTime<Utc>) -> (Vec<String>, Option<&'static str>) {
        let case = self.case;
        let word = word(self.severity());
        if let Some(end) = case.grant_expires_at {
            let when = if end <= now {
                format!("ended at {}", past(end, now))
            } else {
                format!("ends at {}", moment(end, now))
            };
            let lines = vec![
                format!(
                    "{word}: the {} of {} {when}, and the last refresh did not extend it.",
                    self.credential().in_words(),
                    case.source
                ),
                "What it means: from then on the harvester can't get a new token.".to_owned(),
                format!(
                    "What to do: before that, authorize again and put the new {} into the definition.",
                    self.credential().field()
                ),
            ];
            (lines, Some(ErrorCode::ReauthorizationRequired.as_str()))
        } else {
            let lines = vec![
                format!("{word}: {}: {}.", case.source, case.warning.unwrap_or("something will need a person")),
                "What it means: unless a further schedule harvests it oftener, jobs find the token expired before each \
                 refresh."
                    .to_owned(),
                "What to do: let the schedule run oftener, at least for this source. This is told once.".to_owned(),
            ];
            (lines, Some("schedule_too_slow"))
        }
    }

    fn recovery(&self, now: DateTime<Utc>) -> Vec<String> {
        let case = self.case;
        let since = case.opened_at.map(|time| format!(" It had been failing since {}.", past(time, now)));
        let error = case.error.map(|error| format!(" The last error was {}.", error.code.as_str()));
        let over = match case.ended {
            None | Some(Ended::Refreshed) => "has recovered",
            Some(Ended::Mended) => "has recovered: what was wrong is mended, no refresh was needed",
            Some(Ended::Removed) => "is over: no secret defines the source any more",
            Some(Ended::SwitchedOff) => "is over: the source is switched off",
        };
        let first = format!("OK: {} {over}.{}{}", case.source, since.unwrap_or_default(), error.unwrap_or_default());
        let is_gone = matches!(case.ended, Some(Ended::Removed | Ended::SwitchedOff));
        let token = if is_gone {
            "Its token and its grant stay until a person removes them.".to_owned()
        } else {
            self.token(now)
        };
        vec![first, token, "What to do: nothing.".to_owned()]
    }

    /// How long jobs can go on.
    fn token(&self, now: DateTime<Utc>) -> String {
        match (self.case.has_token, self.case.token_expires_at) {
            (false, _) => "There is no token yet: jobs that need it can't run.".to_owned(),
            (true, None) => "The last good token stays in place; its expiry is not stated.".to_owned(),
            (true, Some(end)) if end <= now => {
                format!("The token expired at {}: jobs that need it fail.", past(end, now))
            }
            (true, Some(end)) => format!("The token works until {}.", moment(end, now)),
        }
    }
}

/// For each code what it means and the one next step, in plain words, about what the source has.
fn advice(code: ErrorCode, grant: AuthorizationGrant) -> (String, String) {
    let credential = match grant {
        AuthorizationGrant::Kept(kind) => kind,
        _ => CredentialKind::default(),
    };
    let (meaning, next_step) = match code {
        ErrorCode::InvalidGrant => advice_on_a_refusal(grant),
        ErrorCode::InvalidRequest => (
            "the server finds the request malformed or misses a parameter.",
            "compare the definition's params, headers and grant_type with the provider's documentation.",
        ),
        ErrorCode::InvalidClient => (
            "the server does not accept the client's id, secret or key.",
            "look up the client at the provider and put its current credentials into the definition.",
        ),
        ErrorCode::UnauthorizedClient => (
            "the server knows the client but does not let it use this grant type, or its secret is wrong.",
            "check the client's secret and its allowed grant types at the provider.",
        ),
        ErrorCode::UnsupportedGrantType => (
            "the server does not know the grant type.",
            "put a grant_type that the provider documents into the definition.",
        ),
        ErrorCode::InvalidScope => (
            "the server does not grant the scope to this client.",
            "grant the scope at the provider, or take it out of the definition.",
        ),
        ErrorCode::EndpointUnreachable => (
            "no connection to the server: its name, its network, its certificate, or our way out.",
            "see whether other sources fail too: if so, check the function's network; if not, the provider's status \
             page.",
        ),
        ErrorCode::EndpointTimeout => {
            ("the server did not answer in time.", "look at the provider's status page; the harvester goes on trying.")
        }
        ErrorCode::EndpointUnavailable => {
            ("the server is in trouble itself.", "look at the provider's status page; the harvester goes on trying.")
        }
        ErrorCode::EndpointRejected => (
            "the server refused the request without a standard reason.",
            "read the server's own words, then check the endpoint and the client in the definition.",
        ),
        ErrorCode::RateLimited => (
            "the server asks us to wait: too many requests.",
            "find out what else uses this client's quota, or have it raised at the provider.",
        ),
        ErrorCode::ResponseInvalid => (
            "the server answered, but not with a token.",
            "check the endpoint in the definition, and for a login or maintenance page in its place.",
        ),
        ErrorCode::DefinitionInvalid => (
            "the definition does not parse or contradicts itself.",
            "correct the field that is named above in the secret.",
        ),
        ErrorCode::SourceUnknown => (
            "a harvest was asked for a source that no secret defines, or that is switched off.",
            "correct the name in the event, or add the definition.",
        ),
        ErrorCode::SecretUnreadable => (
            "the secret that holds the definition can't be read.",
            "read the secret as the message says: check its JSON, or the function's rights to it and to its KMS key.",
        ),
        ErrorCode::TokenStoreFailed => (
            "the token bucket refused a read or a write.",
            "check the function's rights to the token bucket and to its KMS key.",
        ),
        ErrorCode::GrantStoreFailed => (
            "the state bucket refused a lease, a read or a save; what happened says whether a credential was lost.",
            "check the function's rights to the state bucket and to its KMS key; if a credential was lost, authorize \
             again and put the new {credential} into the definition.",
        ),
        ErrorCode::VerificationFailed => (
            "the server gave a new token, but verify_url does not accept it; jobs keep the old one.",
            "call verify_url yourself, and check the token's scope and the API's status.",
        ),
        ErrorCode::ReauthorizationRequired => (
            "the grant is dead: no new token comes until a person authorizes again.",
            "authorize again at the provider and put the new {credential} into the definition.",
        ),
        ErrorCode::OutOfTime => (
            "the run's time was used up before this source was done, or another run held it.",
            "look for a server that answers slowly or a run that holds the source, or raise the function's timeout or \
             MAX_CONCURRENCY.",
        ),
        ErrorCode::Internal => (
            "a fault of the harvester itself.",
            "look for \"panicked\" with the source's name in the function's log, and report it to who maintains the \
             harvester.",
        ),
    };
    (meaning.replace("{in_words}", credential.in_words()), next_step.replace("{credential}", credential.field()))
}

/// The same where the server refused the grant itself.
fn advice_on_a_refusal(grant: AuthorizationGrant) -> (&'static str, &'static str) {
    match grant {
        AuthorizationGrant::Kept(_) => (
            "the server refused the {in_words}: it has expired, was revoked or was used before.",
            "nothing at the first refusal; after the third in a row, or if the token ends sooner, authorize again \
             and put the new {credential} into the definition.",
        ),
        AuthorizationGrant::Assertion => (
            "the server refused the signed assertion: its key is not registered, its subject or audience is wrong, \
             or the consent is missing.",
            "see at the provider that the key is registered and that the subject has approved the client; then \
             correct private_key, key_id, assertion_subject or assertion_audience.",
        ),
        AuthorizationGrant::Password => (
            "the server refused the user's name or password: it was changed, or the user is locked.",
            "unlock the user at the provider, or put the current password into params.",
        ),
        AuthorizationGrant::Client => (
            "the server refuses this grant to the client.",
            "see at the provider what the client may request, and compare it with grant_type and params.",
        ),
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "OK",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    }
}

/// A time that has passed, for people: `2026-11-20T21:00:00Z (1 h ago)`.
fn past(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match now - time {
        ago if ago < TimeDelta::minutes(1) => format!("{} (just now)", rfc3339(time)),
        ago => format!("{} ({} ago)", rfc3339(time), duration::for_people(ago)),
    }
}

/// The head and as many names as fit into a subject.
fn enumeration(head: String, names: impl Iterator<Item = String>, limits: Limits) -> String {
    const MORE: &str = ", ...";
    let mut names = names.enumerate().peekable();
    let mut line = head;
    while let Some((index, name)) = names.next() {
        let comma = if index == 0 { "" } else { ", " };
        let reserve = if names.peek().is_some() { MORE.len() } else { 0 };
        if index > 0 && line.len() + comma.len() + name.len() + reserve > limits.subject {
            return line + MORE;
        }
        line = line + comma + &name;
    }
    line
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::*;

    const LIMITS: Limits = Limits { subject: 100, list: 96 * 1024 };

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    fn minutes(minutes: i64) -> DateTime<Utc> {
        now() + TimeDelta::minutes(minutes)
    }

    fn error(code: ErrorCode) -> SourceError {
        SourceError::new(code, "the server refused").with_provider_error(Some("the server's words".to_owned()))
    }

    /// A failure since an hour ago, of a source whose token works for so many minutes more.
    fn failing<'a>(source: &'a str, error: &'a SourceError, minutes_left: i64) -> Case<'a> {
        Case {
            source,
            severity: if minutes_left < 60 { Severity::Critical } else { Severity::Warning },
            error: Some(error),
            opened_at: Some(minutes(-60)),
            token_expires_at: Some(minutes(minutes_left)),
            has_token: true,
            next_attempt_at: Some(minutes(15)),
            ..Case::default()
        }
    }

    fn ending(source: &str, days: i64) -> Case<'_> {
        Case {
            source,
            severity: Severity::Warning,
            token_expires_at: Some(minutes(120)),
            has_token: true,
            grant_expires_at: Some(now() + TimeDelta::days(days)),
            ..Case::default()
        }
    }

    fn nothing() -> Alert<'static> {
        Alert {
            environment: "prod",
            runbook_url: "docs/runbook.md",
            report: "s3://state/reports/2026-11-20/220000-run.json".to_owned(),
            ..Alert::default()
        }
    }

    fn message(alert: &Alert<'_>) -> Message {
        alert.message(now(), LIMITS).expect("a message")
    }

    fn json(alert: &Alert<'_>) -> Value {
        serde_json::from_str(&message(alert).json).expect("JSON")
    }

    #[test]
    fn nothing_new_is_not_told() {
        assert_eq!(nothing().message(now(), LIMITS), None);
    }

    #[test]
    fn a_failure_is_told_to_machines_and_people() {
        let error = error(ErrorCode::InvalidGrant);
        let mut case = failing("acme-crm", &error, 12);
        case.owner = Some("crm-team@example.com");
        case.runbook_url = Some("https://wiki.example.com/crm");
        let alert = Alert { opened: vec![case], ..nothing() };
        let message = message(&alert);
        assert_eq!(message.subject, "[prod] CRITICAL acme-crm: invalid_grant, token expires in 12 min");
        assert_eq!(
            message.attributes,
            [("kind", "alert"), ("environment", "prod"), ("severity", "critical")]
                .map(|(name, value)| (name, value.to_owned()))
        );
        assert_eq!(
            message.text,
            "Token harvester, deployment prod, 2026-11-20T22:00:00Z.\n\
             \n\
             CRITICAL: acme-crm is failing, since 2026-11-20T21:00:00Z (1 h ago).\n\
             The token works until 2026-11-20T22:12:00Z (in 12 min).\n\
             What happened: the server refused (invalid_grant).\n\
             The server said: the server's words\n\
             What it means: the server refused the refresh token: it has expired, was revoked or was used before.\n\
             What to do: nothing at the first refusal; after the third in a row, or if the token ends sooner, \
             authorize again and put the new refresh_token into the definition.\n\
             The harvester tries again in its first run after 2026-11-20T22:15:00Z (in 15 min).\n\
             Look up: docs/runbook.md#invalid_grant\n\
             Owner: crm-team@example.com\n\
             Runbook: https://wiki.example.com/crm\n"
        );
        assert_eq!(
            json(&alert),
            json!({
                "schema_version": 1, "environment": "prod", "severity": "critical", "total": 1,
                "opened": [{
                    "source": "acme-crm", "severity": "critical",
                    "error": {
                        "code": "invalid_grant", "message": "the server refused", "retryable": true,
                        "provider_error": "the server's words",
                    },
                    "opened_at": "2026-11-20T21:00:00Z", "token_expires_at": "2026-11-20T22:12:00Z",
                }],
                "escalated": [], "recovered": [], "reminded": [], "forecast": [],
            })
        );
    }

    #[test]
    fn what_has_recovered_is_good_news() {
        let error = error(ErrorCode::EndpointTimeout);
        let mut alert = Alert { recovered: vec![failing("acme-crm", &error, 12)], ..nothing() };
        let one = message(&alert);
        assert_eq!(one.subject, "[prod] OK acme-crm: recovered");
        assert_eq!(one.attributes[2], ("severity", "info".to_owned()));
        assert_eq!(
            one.text,
            "Token harvester, deployment prod, 2026-11-20T22:00:00Z.\n\
             \n\
             OK: acme-crm has recovered. It had been failing since 2026-11-20T21:00:00Z (1 h ago). The last error was \
             endpoint_timeout.\n\
             The token works until 2026-11-20T22:12:00Z (in 12 min).\n\
             What to do: nothing.\n"
        );
        assert_eq!(json(&alert)["recovered"][0]["severity"], "info");
        alert.recovered.push(failing("b", &error, 100));
        assert_eq!(message(&alert).subject, "[prod] OK 2 sources recovered: acme-crm, b");
        alert.reminded.push(failing("c", &error, 100));
        assert_eq!(message(&alert).subject, "[prod] WARNING c: still endpoint_timeout, token expires in 1 h 40 min");
        assert_eq!(json(&alert)["severity"], "warning");
    }

    #[test]
    fn a_forecast_says_the_one_thing_to_do() {
        let mut alert = Alert { forecast: vec![ending("acme-crm", 7)], ..nothing() };
        let message = message(&alert);
        assert_eq!(message.subject, "[prod] WARNING acme-crm: refresh token ends in 7 d");
        assert_eq!(
            message.text,
            "Token harvester, deployment prod, 2026-11-20T22:00:00Z.\n\
             \n\
             WARNING: the refresh token of acme-crm ends at 2026-11-27T22:00:00Z (in 7 d), and the last refresh did \
             not extend it.\n\
             What it means: from then on the harvester can't get a new token.\n\
             What to do: before that, authorize again and put the new refresh_token into the definition.\n\
             Look up: docs/runbook.md#reauthorization_required\n"
        );
        assert_eq!(
            json(&alert)["forecast"][0],
            json!({
                "source": "acme-crm", "severity": "warning", "grant_expires_at": "2026-11-27T22:00:00Z",
                "opened_at": null, "token_expires_at": "2026-11-21T00:00:00Z",
            })
        );
        alert.forecast = vec![ending("acme-crm", -1)];
        assert_eq!(super::tests::message(&alert).subject, "[prod] WARNING acme-crm: refresh token ended 1 d ago");
    }

    #[test]
    fn the_words_follow_the_state_of_the_token() {
        let error = error(ErrorCode::InvalidClient);
        let told = |case: Case<'_>| {
            let message = message(&Alert { escalated: vec![case], ..nothing() });
            (message.subject, message.text)
        };
        let case = failing("a", &error, 0);
        let (subject, email) = told(Case { token_expires_at: Some(minutes(-5)), ..case });
        assert_eq!(subject, "[prod] CRITICAL a: invalid_client, token expired 5 min ago");
        assert!(email.contains("The token expired at 2026-11-20T21:55:00Z (5 min ago): jobs that need it fail.\n"));
        assert!(email.contains("CRITICAL: a has become critical, since"));
        let (subject, email) = told(Case { token_expires_at: None, ..case });
        assert_eq!(subject, "[prod] CRITICAL a: invalid_client");
        assert!(email.contains("its expiry is not stated"));
        let (subject, email) = told(Case { token_expires_at: None, has_token: false, ..case });
        assert_eq!(subject, "[prod] CRITICAL a: invalid_client, no token yet");
        assert!(email.contains("There is no token yet"));
    }

    #[test]
    fn the_mail_says_when_the_harvester_tries_again() {
        let told = |code, next_attempt_at| {
            let error = error(code);
            let case = Case { next_attempt_at, ..failing("a", &error, 12) };
            message(&Alert { reminded: vec![case], ..nothing() }).text
        };
        let email = told(ErrorCode::Internal, Some(now()));
        assert!(email.contains("The harvester tries again in its next run.\n"), "{email}");
        let email = told(ErrorCode::ReauthorizationRequired, Some(minutes(15)));
        assert!(email.contains("(in 15 min), or as soon as the definition has changed.\n"), "{email}");
        assert!(!told(ErrorCode::Internal, None).contains("tries again"));
    }

    #[test]
    fn the_most_urgent_come_first() {
        let error = error(ErrorCode::InvalidClient);
        let alert = Alert {
            opened: vec![failing("later", &error, 30), failing("no-hurry", &error, 90)],
            escalated: vec![failing("first", &error, 5)],
            recovered: vec![failing("done", &error, 1)],
            reminded: vec![Case { token_expires_at: None, ..failing("unknown", &error, 90) }],
            forecast: vec![ending("ending", 30)],
            ..nothing()
        };
        let message = message(&alert);
        assert_eq!(message.subject, "[prod] CRITICAL 5 sources: first (invalid_client), later (invalid_client), ...");
        let places: Vec<_> = ["first", "later", "no-hurry", "ending", "unknown", "done"]
            .map(|source| message.text.find(&format!(" {source} ")).expect("a place"))
            .into();
        assert!(places.is_sorted(), "{}", message.text);
        assert!(message.text.starts_with(
            "Token harvester, deployment prod, 2026-11-20T22:00:00Z: 6 sources, the most urgent first.\n"
        ));
    }

    #[test]
    fn a_hundred_are_listed_and_all_are_counted() {
        let error = error(ErrorCode::InvalidClient);
        let names: Vec<_> = (0..150).map(|n| format!("source-{n:03}")).collect();
        let mut opened: Vec<_> = names.iter().zip(100..).map(|(name, left)| failing(name, &error, left)).collect();
        opened.reverse();
        let alert = Alert { opened, ..nothing() };
        let (message, json) = (message(&alert), json(&alert));
        assert_eq!(json["total"], 150);
        let listed = json["opened"].as_array().expect("a list");
        assert_eq!((listed.len(), &listed[99]["source"]), (MOST_LISTED, &json!("source-099")));
        assert_eq!(message.text.matches("What to do:").count(), MOST_TOLD_IN_FULL);
        assert!(
            message.text.contains("\nIn short:\n- WARNING source-010: invalid_client, token expires in 1 h 50 min\n")
        );
        let report = "s3://state/reports/2026-11-20/220000-run.json";
        assert!(message.text.ends_with(&format!("- and 50 more, see the report: {report}\n")), "{}", message.text);
    }

    #[test]
    fn a_subject_is_ascii_and_short() {
        let error = error(ErrorCode::ReauthorizationRequired);
        let name = "ä\n".repeat(64);
        let mut alert = Alert { opened: vec![failing(&name, &error, 5)], ..nothing() };
        let subject = message(&alert).subject;
        assert_eq!(subject.len(), LIMITS.subject);
        assert!(subject.starts_with("[prod] CRITICAL ????"), "{subject}");
        let names: Vec<_> = (10..99).map(|n| format!("source-{n}")).collect();
        alert.opened = names.iter().map(|name| failing(name, &error, 5)).collect();
        let subject = message(&alert).subject;
        assert!(subject.len() <= LIMITS.subject && subject.ends_with("), ..."), "{subject}");
    }

    #[test]
    fn a_mail_names_the_credential_that_a_person_brings_anew() {
        let error = error(ErrorCode::ReauthorizationRequired);
        for (credential, words, field) in [
            (CredentialKind::RefreshToken, "refresh token", "refresh_token"),
            (CredentialKind::AccessToken, "access token", "access_token"),
        ] {
            let grant = AuthorizationGrant::Kept(credential);
            let dead = Case { grant, ..failing("a", &error, 5) };
            let ends = Case { grant, ..ending("b", 7) };
            let told = message(&Alert { opened: vec![dead], forecast: vec![ends], ..nothing() }).text;
            assert_eq!(told.matches(&format!("put the new {field} into the definition.")).count(), 2, "{told}");
            assert!(told.contains(&format!("the {words} of b ends at")), "{told}");
        }
    }

    #[test]
    fn a_refused_grant_is_told_by_what_the_source_has() {
        let error = error(ErrorCode::InvalidGrant);
        for (grant, words) in [
            (AuthorizationGrant::Kept(CredentialKind::AccessToken), "put the new access_token into the definition."),
            (AuthorizationGrant::Assertion, "that the subject has approved the client"),
            (AuthorizationGrant::Password, "put the current password into params."),
            (AuthorizationGrant::Client, "compare it with grant_type and params."),
        ] {
            let email = message(&Alert { opened: vec![Case { grant, ..failing("a", &error, 5) }], ..nothing() }).text;
            assert!(email.contains(words), "{email}");
            assert_eq!(email.contains("authorize again"), matches!(grant, AuthorizationGrant::Kept(_)), "{email}");
        }
    }

    #[test]
    fn what_is_over_without_a_refresh_says_how() {
        let error = error(ErrorCode::DefinitionInvalid);
        let told = |ended| {
            let case = Case { ended: Some(ended), ..failing("a", &error, 100) };
            let alert = Alert { recovered: vec![case], ..nothing() };
            (message(&alert).text, json(&alert)["recovered"][0]["ended"].clone())
        };
        let (email, ended) = told(Ended::Removed);
        assert!(email.contains("OK: a is over: no secret defines the source any more. It had been failing"), "{email}");
        assert!(email.contains("Its token and its grant stay until a person removes them.\n"), "{email}");
        assert_eq!(ended, "removed");
        let (email, ended) = told(Ended::Mended);
        assert!(email.contains("OK: a has recovered: what was wrong is mended, no refresh was needed."), "{email}");
        assert!(email.contains("The token works until"), "{email}");
        assert_eq!(ended, "mended");
    }

    #[test]
    fn a_schedule_that_is_too_slow_is_told_with_its_arithmetic() {
        let warning = "tokens live 5 min, less than `min_ttl` (10 min) plus the schedule's interval (15 min)";
        let case = Case { warning: Some(warning), grant_expires_at: None, ..ending("a", 7) };
        let alert = Alert { forecast: vec![case], ..nothing() };
        let message = message(&alert);
        assert_eq!(message.subject, "[prod] WARNING a: schedule_too_slow");
        assert!(message.text.contains(&format!("WARNING: a: {warning}.\n")), "{}", message.text);
        assert!(message.text.contains("Look up: docs/runbook.md#schedule_too_slow\n"), "{}", message.text);
        assert_eq!(json(&alert)["forecast"][0]["warning"], warning);
    }

    #[test]
    fn every_code_has_its_sentences_and_its_section() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../schemas/alert-message.schema.json")).expect("JSON");
        for code in schema["$defs"]["error"]["properties"]["code"]["enum"].as_array().expect("a list") {
            let code: ErrorCode = serde_json::from_value(code.clone()).expect("a code");
            let (meaning, next_step) = advice(code, AuthorizationGrant::default());
            assert!(meaning.ends_with('.') && next_step.ends_with('.'), "{code:?}");
            assert!(!meaning.contains('{') && !next_step.contains('{'), "{code:?}");
            let error = error(code);
            let email = message(&Alert { opened: vec![failing("a", &error, 5)], ..nothing() }).text;
            assert!(email.contains(&format!("Look up: docs/runbook.md#{}\n", code.as_str())), "{email}");
        }
    }
}
