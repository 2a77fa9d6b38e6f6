//! Messages of `kind=token`: one for each source whose token changed, or failed to.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::credential::AuthorizationGrant;
use crate::domain::document;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::incident::Incident;
use crate::domain::notice::message::{Limits, Message, SCHEMA_VERSION};
use crate::domain::notice::words::{ascii_line, moment, next_attempt};
use crate::domain::report::{Outcome, SourceReport};
use crate::domain::time::{rfc3339, rfc3339_seconds_option};
use crate::domain::token::Location;

/// What a token message tells besides the report's line.
#[derive(Debug, Clone)]
pub struct TokenEvent<'a> {
    /// Name of the deployment.
    pub environment: &'a str,
    /// Request id of the run that tells it.
    pub run_id: &'a str,
    /// Where the token document is.
    pub location: Location,
    /// What the run's report says of the source.
    pub report: &'a SourceReport,
    /// When the request for the token that is stored now was sent.
    pub issued_at: Option<DateTime<Utc>>,
    /// The source's open incident; `None` where it has none, or it could not be read.
    pub incident: Option<&'a Incident>,
    /// What its tokens are requested with.
    pub grant: AuthorizationGrant,
    /// The definition's `owner`: whom to ask when this source fails.
    pub owner: Option<&'a str>,
    /// The definition's `runbook_url`: what to do then.
    pub runbook_url: Option<&'a str>,
}

impl TokenEvent<'_> {
    /// `token.refreshed`: there is a new token.
    pub fn refreshed(&self, now: DateTime<Utc>, limits: Limits) -> Message {
        let subject = ascii_line(&self.refreshed_subject(), limits);
        self.message("token.refreshed", subject, self.refreshed_text(now), None)
    }

    /// `token.failed`; `None` if the source did not fail.
    pub fn failed(&self, now: DateTime<Utc>, limits: Limits) -> Option<Message> {
        let error = self.report.error.as_ref().filter(|_| self.report.outcome == Outcome::Failed)?;
        let subject = ascii_line(&self.failed_subject(error), limits);
        Some(self.message("token.failed", subject, self.failed_text(error, now), Some(error)))
    }

    fn message(&self, event: &str, subject: String, text: String, error: Option<&SourceError>) -> Message {
        Message {
            subject,
            attributes: vec![
                ("kind", "token".to_owned()),
                ("environment", self.environment.to_owned()),
                ("event", event.to_owned()),
                ("source", self.report.source.clone()),
            ],
            json: self.json(event, error),
            text,
        }
    }

    fn json(&self, event: &str, error: Option<&SourceError>) -> String {
        #[derive(Serialize)]
        struct Json<'a> {
            schema_version: u32,
            event: &'a str,
            environment: &'a str,
            source: &'a str,
            run_id: &'a str,
            generation: Option<u64>,
            #[serde(serialize_with = "rfc3339_seconds_option")]
            issued_at: Option<DateTime<Utc>>,
            #[serde(serialize_with = "rfc3339_seconds_option")]
            expires_at: Option<DateTime<Utc>>,
            bucket: &'a str,
            key: Option<&'a str>,
            version_id: Option<&'a str>,
            #[serde(flatten)]
            failure: Option<Failure<'a>>,
        }

        #[derive(Serialize)]
        struct Failure<'a> {
            error: &'a SourceError,
            consecutive_failures: Option<u32>,
            #[serde(serialize_with = "rfc3339_seconds_option")]
            failing_since: Option<DateTime<Utc>>,
            #[serde(serialize_with = "rfc3339_seconds_option")]
            token_expires_at: Option<DateTime<Utc>>,
        }

        document::to_json(&Json {
            schema_version: SCHEMA_VERSION,
            event,
            environment: self.environment,
            source: &self.report.source,
            run_id: self.run_id,
            generation: self.report.generation,
            issued_at: self.issued_at,
            expires_at: self.report.expires_at,
            bucket: &self.location.bucket,
            key: self.location.key.as_deref(),
            version_id: self.report.version_id.as_deref(),
            failure: error.map(|error| Failure {
                error,
                consecutive_failures: self.incident.map(|incident| incident.consecutive_failures),
                failing_since: self.incident.map(|incident| incident.opened_at),
                token_expires_at: self.report.expires_at,
            }),
        })
    }

    fn refreshed_subject(&self) -> String {
        format!("[{}] {}: token refreshed", self.environment, self.report.source)
    }

    fn failed_subject(&self, error: &SourceError) -> String {
        format!("[{}] {}: token not refreshed, {}", self.environment, self.report.source, error.code.as_str())
    }

    fn refreshed_text(&self, now: DateTime<Utc>) -> String {
        let expiry = match self.report.expires_at {
            Some(time) => format!("It expires at {}.", moment(time, now)),
            None => "The server states no expiry.".to_owned(),
        };
        format!(
            "{} has a new token in s3://{}/{}{}.\n{expiry}\n",
            self.report.source,
            self.location.bucket,
            self.location.key.as_deref().unwrap_or_default(),
            self.report.generation.map(|generation| format!(" (generation {generation})")).unwrap_or_default(),
        )
    }

    fn failed_text(&self, error: &SourceError, now: DateTime<Utc>) -> String {
        let what =
            format!("{} could not be refreshed: {} ({}).", self.report.source, error.message, error.code.as_str());
        let words = error.provider_error.as_ref().map(|words| format!("The server said: {words}"));
        let token = match (self.report.generation, self.report.expires_at) {
            (None, _) => "There is no usable token.".to_owned(),
            (Some(_), None) => "The last good token stays in place; its expiry is not stated.".to_owned(),
            (Some(_), Some(end)) if end <= now => format!("The last good token expired at {}.", rfc3339(end)),
            (Some(_), Some(end)) => {
                format!("The last good token stays in place and works until {}.", moment(end, now))
            }
        };
        let help = if self.grant == AuthorizationGrant::Connection && error.code == ErrorCode::ReauthorizationRequired {
            "Someone has to connect the account again."
        } else {
            "Someone has to change the source's definition, or its client at the provider."
        };
        let help = (!error.retryable).then(|| help.to_owned());
        let next = match self.incident {
            Some(incident) => Some(next_attempt(incident.next_attempt_at, error, now)),
            None => error.retryable.then(|| "The next harvest tries again.".to_owned()),
        };
        let owner = self.owner.map(|owner| format!("Owner: {owner}"));
        let runbook = self.runbook_url.map(|url| format!("Runbook: {url}"));
        let lines = [Some(what), words, Some(token), help, next, owner, runbook];
        lines.into_iter().flatten().map(|line| line + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LIMITS: Limits = Limits { subject: 100, list: 96 * 1024 };

    fn now() -> DateTime<Utc> {
        "2026-11-20T22:00:00Z".parse().expect("a time")
    }

    fn report(outcome: Outcome, error: Option<SourceError>) -> SourceReport {
        SourceReport {
            source: "acme-crm".to_owned(),
            outcome,
            generation: Some(42),
            expires_at: Some(now() + chrono::TimeDelta::minutes(42)),
            version_id: Some("v42".to_owned()),
            attempts: 1,
            duration_ms: 5,
            error,
            spare: None,
        }
    }

    fn message(report: &SourceReport) -> Option<Message> {
        let event = TokenEvent {
            environment: "prod",
            run_id: "run",
            location: Location { bucket: "tokens".to_owned(), key: Some("tokens/acme-crm.json".to_owned()) },
            report,
            issued_at: Some(now()),
            incident: None,
            grant: AuthorizationGrant::Client,
            owner: Some("crm-team@example.com"),
            runbook_url: Some("https://wiki.example.com/crm"),
        };
        if report.outcome == Outcome::Refreshed {
            Some(event.refreshed(now(), LIMITS))
        } else {
            event.failed(now(), LIMITS)
        }
    }

    fn failure(code: ErrorCode) -> SourceReport {
        let words = Some("invalid_scope: no such scope".to_owned());
        report(Outcome::Failed, Some(SourceError::new(code, "the server refused").with_provider_error(words)))
    }

    #[test]
    fn a_refresh_is_told_to_machines_and_people() {
        let message = message(&report(Outcome::Refreshed, None)).expect("a message");
        assert_eq!(message.subject, "[prod] acme-crm: token refreshed");
        assert_eq!(
            serde_json::from_str::<Value>(&message.json).expect("JSON"),
            json!({
                "schema_version": 1, "event": "token.refreshed", "environment": "prod", "source": "acme-crm",
                "run_id": "run", "generation": 42, "issued_at": "2026-11-20T22:00:00Z",
                "expires_at": "2026-11-20T22:42:00Z", "bucket": "tokens", "key": "tokens/acme-crm.json",
                "version_id": "v42",
            })
        );
        assert_eq!(
            message.text,
            "acme-crm has a new token in s3://tokens/tokens/acme-crm.json (generation 42).\n\
             It expires at 2026-11-20T22:42:00Z (in 42 min).\n"
        );
    }

    #[test]
    fn a_failure_says_what_how_long_and_what_next() {
        let message = message(&failure(ErrorCode::InvalidScope)).expect("a message");
        assert_eq!(message.subject, "[prod] acme-crm: token not refreshed, invalid_scope");
        assert_eq!(
            message.text,
            "acme-crm could not be refreshed: the server refused (invalid_scope).\n\
             The server said: invalid_scope: no such scope\n\
             The last good token stays in place and works until 2026-11-20T22:42:00Z (in 42 min).\n\
             Someone has to change the source's definition, or its client at the provider.\n\
             Owner: crm-team@example.com\n\
             Runbook: https://wiki.example.com/crm\n"
        );
        let json: Value = serde_json::from_str(&message.json).expect("JSON");
        assert_eq!(json["error"]["code"], "invalid_scope");
        assert_eq!(json["token_expires_at"], "2026-11-20T22:42:00Z");
    }

    #[test]
    fn the_mail_follows_the_state_of_the_old_token() {
        let email = |report: &SourceReport| message(report).expect("a message").text;
        let mut report = failure(ErrorCode::EndpointTimeout);
        assert!(email(&report).contains("The next harvest tries again."));
        report.expires_at = Some(now());
        assert!(email(&report).contains("The last good token expired at 2026-11-20T22:00:00Z."));
        report.expires_at = None;
        assert!(email(&report).contains("its expiry is not stated"));
        report.generation = None;
        assert!(email(&report).contains("There is no usable token."));
    }

    #[test]
    fn what_changes_nothing_for_readers_is_not_told() {
        assert_eq!(message(&report(Outcome::Fresh, None)), None);
        let throttled = SourceError::new(ErrorCode::RateLimited, "wait");
        assert_eq!(message(&report(Outcome::Deferred, Some(throttled))), None);
    }

    #[test]
    fn a_subject_is_ascii_and_short() {
        let mut report = failure(ErrorCode::SourceUnknown);
        report.source = "ä\n".repeat(64);
        let subject = message(&report).expect("a message").subject;
        assert_eq!(subject.len(), LIMITS.subject);
        assert!(subject.starts_with("[prod] ????"), "{subject}");
    }
}
