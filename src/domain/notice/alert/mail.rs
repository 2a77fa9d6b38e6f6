//! An alert as people read it: the subject, and the text of the mail.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};

use super::advice::advice;
use super::{Alert, Item, News};
use crate::domain::credential::AuthorizationGrant;
use crate::domain::duration;
use crate::domain::error::ErrorCode;
use crate::domain::incident::{Ended, Severity};
use crate::domain::notice::message::Limits;
use crate::domain::notice::words::{moment, next_attempt, past};
use crate::domain::time::rfc3339;

/// The mail tells so many sources in full and the others in a line each.
pub(super) const MOST_TOLD_IN_FULL: usize = 10;

impl Alert<'_> {
    /// Of one source how long its token lasts; of several as many names as fit. Sources that have recovered are named only
    /// where no other has news.
    pub(super) fn subject(&self, items: &[Item<'_>], severity: Severity, now: DateTime<Utc>, limits: Limits) -> String {
        let head = format!("[{}] {}", self.environment, word(severity));
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

    /// `items` are those that are listed, `total` is the number of all.
    pub(super) fn text(&self, items: &[Item<'_>], total: usize, now: DateTime<Utc>) -> String {
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

impl Item<'_> {
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
            (News::Forecast, Some(time), _) => end(case.grant.in_words(), time, "ends", "ended"),
            (News::Recovered, _, _) | (News::Forecast, None, _) => reason.to_owned(),
            (_, _, Some(time)) => format!("{still}{reason}, {}", end("token", time, "expires", "expired")),
            (_, _, None) if !case.has_token => format!("{still}{reason}, no token yet"),
            (_, _, None) => format!("{still}{reason}"),
        }
    }

    /// All that the mail tells of the source.
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
            let what = case.grant.in_words();
            let (unmoved, next_step) = if case.grant == AuthorizationGrant::Connection {
                ("no refresh extends it", "connect the account again".to_owned())
            } else {
                let field = case.grant.credential().field();
                let next_step = format!("authorize again and put the new {field} into the definition");
                ("the last refresh did not extend it", next_step)
            };
            let lines = vec![
                format!("{word}: the {what} of {} {when}, and {unmoved}.", case.source),
                "What it means: from then on the harvester can't get a new token.".to_owned(),
                format!("What to do: before that, {next_step}."),
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
            Some(Ended::Disconnected) => "is over: the account is not connected any more",
        };
        let first = format!("OK: {} {over}.{}{}", case.source, since.unwrap_or_default(), error.unwrap_or_default());
        let token = match case.ended {
            Some(Ended::Removed | Ended::SwitchedOff) => {
                "Its token and its grant stay until a person removes them.".to_owned()
            }
            Some(Ended::Disconnected) => "There is no grant any more: no new token comes.".to_owned(),
            _ => self.token(now),
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

/// How urgent it is, in capitals: mail programs show a subject in a narrow column.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "OK",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
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
