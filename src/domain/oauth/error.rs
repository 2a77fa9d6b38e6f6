//! Answers that brought no token: whose fault, and in which words.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{Answer, AnswerBody, Exchange, Rejection, format};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::provider::dialect::{ErrorClass, ErrorRule, Evidence, scalar_text};
use crate::domain::redact::Echoes;
use crate::domain::retry::{self, Repeat};

/// Longest `provider_error`, in characters.
const LONGEST_PROVIDER_ERROR: usize = 500;

/// A body as it was read, or what else it is.
type Document<'a> = Result<&'a Value, &'a String>;

impl Exchange<'_> {
    /// What the first of the provider's rules that matches makes of an answer.
    pub(super) fn claimed_by_rule(
        &self,
        answer: &Answer,
        document: Document<'_>,
        now: DateTime<Utc>,
    ) -> Option<Rejection> {
        let rule = self.flow.errors.iter().find(|rule| matches(rule, answer, document.ok()))?;
        let code = match rule.class {
            ErrorClass::DeadGrant => ErrorCode::InvalidGrant,
            ErrorClass::Throttled => ErrorCode::RateLimited,
            ErrorClass::Transient => ErrorCode::EndpointUnavailable,
            ErrorClass::TooEarly => ErrorCode::EndpointRejected,
            ErrorClass::Configuration(Some(code)) => code,
            ErrorClass::Configuration(None) => document
                .ok()
                .and_then(|document| self.standard_error(document))
                .filter(|code| *code != ErrorCode::InvalidGrant)
                .unwrap_or(ErrorCode::EndpointRejected),
        };
        let wait = rule.retry_after.and_then(|wait| wait.to_std().ok());
        let rejection = self.rejection_with(code, answer, document, wait, now);
        Some(Rejection { too_early: rule.class == ErrorClass::TooEarly, ..rejection })
    }

    /// The error of RFC 6749 section 5.2 that an answer names.
    pub(super) fn standard_error(&self, document: &Value) -> Option<ErrorCode> {
        let declared = self.flow.response.error.find(document);
        [document.get("error"), declared]
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find_map(ErrorCode::from_rfc6749)
    }

    /// Classifies an answer that no rule claims: by the error that it names, else by its status. A server that says with
    /// its status that it is in trouble or overrun is believed first, since its words about the request then mean little.
    pub(super) fn rejection(&self, answer: &Answer, document: Document<'_>, now: DateTime<Utc>) -> Rejection {
        let error = document.ok().and_then(|document| document.get("error")?.as_str());
        let code = match (answer.status, document.ok().and_then(|document| self.standard_error(document))) {
            (429, _) => ErrorCode::RateLimited,
            (408, _) => ErrorCode::EndpointTimeout,
            (500.., _) => ErrorCode::EndpointUnavailable,
            _ if matches!(error, Some("temporarily_unavailable" | "server_error")) => ErrorCode::EndpointUnavailable,
            (_, Some(code)) => code,
            (400.., None) => ErrorCode::EndpointRejected,
            (_, None) => ErrorCode::ResponseInvalid,
        };
        self.rejection_with(code, answer, document, None, now)
    }

    fn rejection_with(
        &self,
        code: ErrorCode,
        answer: &Answer,
        document: Document<'_>,
        usual_wait: Option<Duration>,
        now: DateTime<Utc>,
    ) -> Rejection {
        let status = answer.status;
        let stated = answer.header("retry-after").and_then(|value| retry::parse_retry_after(value, now));
        let retry_after = stated.or(usual_wait);
        let basic = self.basic_credentials();
        let secrets = self.secrets(&basic);
        let message = match code {
            ErrorCode::RateLimited => match stated {
                Some(wait) => format!("the token endpoint asks to wait {} s (HTTP {status})", wait.as_secs()),
                None => format!("the token endpoint asks to wait (HTTP {status})"),
            },
            ErrorCode::EndpointTimeout => format!("the token endpoint gave up waiting (HTTP {status})"),
            ErrorCode::EndpointUnavailable if status >= 500 => format!("the token endpoint failed (HTTP {status})"),
            ErrorCode::EndpointUnavailable => format!("the authorization server is unavailable (HTTP {status})"),
            ErrorCode::EndpointRejected => format!("the token endpoint refused the request (HTTP {status})"),
            ErrorCode::ResponseInvalid if status >= 300 => format!(
                "the token endpoint redirects{} (HTTP {status}), which is never followed",
                answer.redirects_to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default()
            ),
            ErrorCode::ResponseInvalid => {
                let what = document.map_or_else(Clone::clone, |document| format::shape(document, &secrets));
                format!("the answer holds no access token (HTTP {status}): {what}")
            }
            code => format!("{} (HTTP {status})", in_words(code)),
        };
        let passing =
            matches!(code, ErrorCode::RateLimited | ErrorCode::EndpointTimeout | ErrorCode::EndpointUnavailable);
        // The server did what it was asked for, but nobody can read what came of it.
        let broke_off = code == ErrorCode::ResponseInvalid
            && (200..300).contains(&status)
            && matches!(answer.body, AnswerBody::CutShort);
        let provider_error = document.ok().and_then(|document| self.provider_error(document));
        let provider_error = provider_error.map(|words| secrets.shown(&words, LONGEST_PROVIDER_ERROR));
        Rejection {
            repeat: if passing || broke_off { Repeat::AfterBackoff(retry_after) } else { Repeat::Never },
            // The first two are a gateway's: the server behind it may have answered.
            answer_lost: matches!(status, 502 | 504) || broke_off,
            client_refused: code == ErrorCode::InvalidClient
                || status == 401 && !matches!(code, ErrorCode::InvalidGrant | ErrorCode::RateLimited),
            ..Rejection::terminal(
                SourceError::new(code, secrets.shown(&message, usize::MAX)).with_provider_error(provider_error),
            )
        }
    }

    /// `<error>: <error_description>`, as the server wrote it.
    fn provider_error(&self, document: &Value) -> Option<String> {
        let text = |found: Option<&Value>| found.and_then(scalar_text).filter(|text| !text.is_empty());
        let response = &self.flow.response;
        let error = text(response.error.find(document)).or_else(|| text(document.get("error")));
        let description =
            text(response.error_description.find(document)).or_else(|| text(document.get("error_description")));
        match (error, description) {
            (Some(error), Some(description)) => Some(format!("{error}: {description}")),
            (error, description) => error.or(description),
        }
    }

    /// All that a server may echo; `basic`: this exchange's [`basic_credentials`](Self::basic_credentials).
    pub(super) fn secrets<'a>(&'a self, basic: &'a str) -> Echoes<'a> {
        let current = self.credential.map(SecretString::expose_secret);
        Echoes::of(self.definition.secrets().chain(current).chain([basic]))
    }
}

/// Whether all conditions of a rule hold.
fn matches(rule: &ErrorRule, answer: &Answer, document: Option<&Value>) -> bool {
    if !rule.status.is_empty() && !rule.status.contains(&answer.status) {
        return false;
    }
    match &rule.finding {
        None => true,
        Some((Evidence::Header(name), test)) => test.holds(answer.header(name)),
        Some((Evidence::Path(path), test)) if path.as_str().is_empty() => test.holds(format::text(answer).ok()),
        Some((Evidence::Path(path), test)) => {
            let found = document.and_then(|document| path.find(document)).filter(|value| !value.is_null());
            test.holds(found.map(|value| scalar_text(value).unwrap_or_else(|| value.to_string())).as_deref())
        }
    }
}

/// A standard error as a sentence.
fn in_words(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => "the authorization server calls the request malformed",
        ErrorCode::InvalidClient => "the authorization server refused the client's id, secret or key",
        ErrorCode::InvalidGrant => "the authorization server refused the refresh token or other grant",
        ErrorCode::UnauthorizedClient => "the authorization server refused the client, or this grant type to it",
        ErrorCode::UnsupportedGrantType => "the authorization server does not support the grant type",
        ErrorCode::InvalidScope => "the authorization server refused the scope",
        _ => "the authorization server refused",
    }
}
