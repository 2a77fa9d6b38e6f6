//! Why a source has no new token: stable codes, for reports, messages and logs.

use serde::{Deserialize, Serialize, Serializer};

/// Stable codes of everything that can go wrong with one source.
///
/// The first six are the authorization server's own (RFC 6749 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request lacks a parameter or is otherwise malformed.
    InvalidRequest,
    /// Client authentication failed: unknown client, wrong secret, or a method that the server does not take.
    InvalidClient,
    /// The grant (a refresh token, say) is invalid, expired or revoked.
    InvalidGrant,
    /// The client may not use this grant type.
    UnauthorizedClient,
    /// The server does not support the grant type.
    UnsupportedGrantType,
    /// The scope is invalid, unknown or exceeds what was granted.
    InvalidScope,
    /// No connection: DNS, TCP or TLS failed, or it broke before an answer.
    EndpointUnreachable,
    /// No whole answer in time, or the server says so itself (408).
    EndpointTimeout,
    /// The server failed (5xx, `temporarily_unavailable`).
    EndpointUnavailable,
    /// A 4xx without a standard error.
    EndpointRejected,
    /// Throttled (429).
    RateLimited,
    /// An answer, but without a token that could be read: a page, a redirect, another form than the declared one.
    ResponseInvalid,
    /// The definition does not parse or contradicts itself.
    DefinitionInvalid,
    /// The event names a source that no secret defines.
    SourceUnknown,
    /// The secret that holds the definition could not be had, or not read.
    SecretUnreadable,
    /// The token bucket refused a read or a write.
    TokenStoreFailed,
    /// The state bucket refused a lease, a read or a save; after the first two no request was made.
    GrantStoreFailed,
    /// The new token did not pass `verify_url`; the old one stays.
    VerificationFailed,
    /// The grant is dead: only a person can authorize again.
    ReauthorizationRequired,
    /// Nobody has connected it yet: there is no grant to refresh with.
    NotConnected,
    /// The run's time was used up before this source's turn or end.
    OutOfTime,
    /// A fault of the harvester itself: it panicked.
    Internal,
}

impl ErrorCode {
    /// The codes that servers send and this program repeats verbatim (RFC 6749 section 5.2).
    const RFC6749: [Self; 6] = [
        Self::InvalidRequest,
        Self::InvalidClient,
        Self::InvalidGrant,
        Self::UnauthorizedClient,
        Self::UnsupportedGrantType,
        Self::InvalidScope,
    ];

    /// The code of a server's `error` member; `None` unless the RFC defines it.
    pub fn from_rfc6749(error: &str) -> Option<Self> {
        Self::RFC6749.into_iter().find(|code| code.as_str() == error)
    }

    /// Whether a later harvest may succeed without anybody's help.
    ///
    /// `invalid_grant` is: what looks like a dead grant may be a lost race. So is `not_connected`: whoever was sent a link
    /// may follow it any time, and nobody has to mend anything.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::InvalidGrant
            | Self::EndpointUnreachable
            | Self::EndpointTimeout
            | Self::EndpointUnavailable
            | Self::RateLimited
            | Self::ResponseInvalid
            | Self::SecretUnreadable
            | Self::TokenStoreFailed
            | Self::GrantStoreFailed
            | Self::VerificationFailed
            | Self::NotConnected
            | Self::OutOfTime
            | Self::Internal => true,
            Self::InvalidRequest
            | Self::InvalidClient
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::EndpointRejected
            | Self::DefinitionInvalid
            | Self::SourceUnknown
            | Self::ReauthorizationRequired => false,
        }
    }

    /// The code as it stands in reports, messages and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::EndpointUnreachable => "endpoint_unreachable",
            Self::EndpointTimeout => "endpoint_timeout",
            Self::EndpointUnavailable => "endpoint_unavailable",
            Self::EndpointRejected => "endpoint_rejected",
            Self::RateLimited => "rate_limited",
            Self::ResponseInvalid => "response_invalid",
            Self::DefinitionInvalid => "definition_invalid",
            Self::SourceUnknown => "source_unknown",
            Self::SecretUnreadable => "secret_unreadable",
            Self::TokenStoreFailed => "token_store_failed",
            Self::GrantStoreFailed => "grant_store_failed",
            Self::VerificationFailed => "verification_failed",
            Self::ReauthorizationRequired => "reauthorization_required",
            Self::NotConnected => "not_connected",
            Self::OutOfTime => "out_of_time",
            Self::Internal => "internal",
        }
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Why a source has no new token. Holds no secret; safe to log, store and mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct SourceError {
    /// What programs go by.
    pub code: ErrorCode,
    /// What happened, for people: one sentence in lower case without a full stop.
    pub message: String,
    /// Whether a later harvest may succeed without anybody's help.
    pub retryable: bool,
    /// What the authorization server said, printable, at most 500 characters, secrets masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_error: Option<String>,
}

impl SourceError {
    /// An error that is as retryable as its code usually is, without words of a server.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: code.is_retryable(), provider_error: None }
    }

    /// With what the server said, already without secrets and cut.
    #[must_use]
    pub fn with_provider_error(mut self, provider_error: Option<String>) -> Self {
        self.provider_error = provider_error;
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_code_of_the_schema_is_read_as_it_is_written() {
        let schema: Value =
            serde_json::from_str(include_str!("../../schemas/token-message.schema.json")).expect("JSON");
        let codes = &schema["oneOf"][1]["properties"]["error"]["properties"]["code"]["enum"];
        for name in codes.as_array().expect("a list") {
            let code: ErrorCode = serde_json::from_value(name.clone()).expect("a code");
            assert_eq!(json!(code), *name);
        }
        assert!(serde_json::from_value::<ErrorCode>(json!("no_such_code")).is_err());
    }

    #[test]
    fn an_error_is_read_as_it_was_written() {
        let plain = SourceError::new(ErrorCode::VerificationFailed, "the verify_url answered 403");
        for error in [plain.clone(), plain.with_provider_error(Some("forbidden".to_owned()))] {
            let json = serde_json::to_string(&error).expect("JSON");
            assert_eq!(serde_json::from_str::<SourceError>(&json).expect("an error"), error);
        }
    }
}
