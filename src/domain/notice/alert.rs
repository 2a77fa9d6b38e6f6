//! Messages of `kind=alert`: what changed for a person, most urgent first.

mod advice;
mod mail;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::credential::{AuthorizationGrant, CredentialKind};
use crate::domain::document;
use crate::domain::error::SourceError;
use crate::domain::incident::{Ended, Severity};
use crate::domain::notice::message::{Limits, Message, SCHEMA_VERSION};
use crate::domain::notice::words::ascii_line;
use crate::domain::time::rfc3339_seconds_option;

/// An alert lists so many sources and gives the number of all.
const MOST_LISTED: usize = 100;

/// One source's part of an alert. What is empty is left out of the mail.
#[derive(Debug, Default, Clone, Copy)]
pub struct Case<'a> {
    /// Name of the source.
    pub source: &'a str,
    /// How urgent it is. Not read where the source has recovered.
    pub severity: Severity,
    /// The last error; `None` in a forecast.
    pub error: Option<&'a SourceError>,
    /// What a person should change though nothing failed, in a forecast.
    pub warning: Option<&'a str>,
    /// How it ended; `None` unless the source has recovered.
    pub ended: Option<Ended>,
    /// Since when it fails; `None` in a forecast.
    pub opened_at: Option<DateTime<Utc>>,
    /// Stated end of the token that jobs have.
    pub token_expires_at: Option<DateTime<Utc>>,
    /// Whether a token was ever stored for the source.
    pub has_token: bool,
    /// What its tokens are requested with.
    pub grant: AuthorizationGrant,
    /// Stated end of that grant; `None` unless this is a forecast of it.
    pub grant_expires_at: Option<DateTime<Utc>>,
    /// When the harvester tries again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The definition's `owner`: whom to ask.
    pub owner: Option<&'a str>,
    /// The definition's `runbook_url`: what to do when this source fails.
    pub runbook_url: Option<&'a str>,
}

/// All that a person must hear of one run.
#[derive(Debug, Clone, Default)]
pub struct Alert<'a> {
    /// Name of the deployment.
    pub environment: &'a str,
    /// The page that mails link to; its anchors are error codes.
    pub runbook_url: &'a str,
    /// Where the run's report is kept, which names all sources.
    pub report: String,
    /// Failures that nobody has been told of before.
    pub opened: Vec<Case<'a>>,
    /// Failures that have become critical since a person was told.
    pub escalated: Vec<Case<'a>>,
    /// Failures that are over, of which a person had been told.
    pub recovered: Vec<Case<'a>>,
    /// Failures that are still open a day after the last alert.
    pub reminded: Vec<Case<'a>>,
    /// Grants that end soon, and schedules that are too slow.
    pub forecast: Vec<Case<'a>>,
}

/// Which of the alert's lists a source is in.
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

/// A case and the list that it is in, for sorting all lists together.
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

    /// In a word or three, for subjects.
    fn reason(&self) -> &'static str {
        match (self.news, self.case.error) {
            (News::Recovered, _) => "recovered",
            (_, Some(error)) => error.code.as_str(),
            (News::Forecast, None) if self.case.warning.is_some() => "schedule_too_slow",
            (News::Forecast, None) => match self.case.grant {
                AuthorizationGrant::Kept(CredentialKind::AccessToken) => "access token ends",
                AuthorizationGrant::Connection => "connection ends",
                _ => "refresh token ends",
            },
            (_, None) => "failing",
        }
    }
}
