//! Why a session has come to nothing: stable codes, for pages, messages and logs.

use serde::{Deserialize, Serialize};

use crate::domain::error::SourceError;
use crate::domain::oauth::authorization::CallbackFault;
use crate::domain::redact;

/// Characters of a provider's own code.
const LONGEST_CODE: usize = 64;

/// Characters of a provider's words.
const LONGEST_WORDS: usize = 200;

/// What is wrong. Codes are the harvest's ([`crate::domain::error::ErrorCode`]), the provider's own (`access_denied`), and these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ConnectError {
    /// Stable.
    pub code: String,
    /// One sentence, without a secret.
    pub message: String,
    /// What the provider said, made safe to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_error: Option<String>,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $message:literal;)*) => {
        $(
            #[doc = $message]
            pub fn $name() -> Self {
                Self { code: $code.to_owned(), message: $message.to_owned(), provider_error: None }
            }
        )*
    };
}

impl ConnectError {
    codes! {
        state_unknown = "state_unknown", "the callback belongs to no flow that is known here";
        state_expired = "state_expired", "the flow's time was over before the provider sent the browser back";
        state_used = "state_used", "the callback was answered before, and this browser did not begin the flow";
        browser_mismatch = "browser_mismatch", "another browser began this flow";
        issuer_mismatch = "issuer_mismatch", "the callback comes from another authorization server";
        definition_changed = "definition_changed", "the source's definition was changed while the person was at the provider";
        refresh_token_missing = "refresh_token_missing", "the provider gave no refresh token, so the connection would soon end";
        scope_missing = "scope_missing", "the person did not grant a scope that is required";
        identity_mismatch = "identity_mismatch", "another account was connected than the one that is to be reconnected";
        identity_unavailable = "identity_unavailable", "the provider did not say whose account it is";
        confirmation_failed = "confirmation_failed", "a wrong completion code was given three times";
        abandoned = "internal", "the connection was given up after the program that made it had ended";
    }

    /// A callback that can't be understood.
    pub fn callback_malformed(reason: &CallbackFault) -> Self {
        Self { code: "callback_malformed".to_owned(), message: reason.to_string(), provider_error: None }
    }

    /// What the provider said in `error` (RFC 6749 section 4.1.2.1). What is no code of the RFC's form is `invalid_request`.
    pub fn of_provider(error: &str, description: Option<&str>) -> Self {
        let is_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
        let is_usable = error.len() <= LONGEST_CODE && error.bytes().all(is_code);
        let words = description.map(|words| redact::printable(words, LONGEST_WORDS));
        Self {
            code: if is_usable { error.to_owned() } else { "invalid_request".to_owned() },
            message: "the provider did not give the grant".to_owned(),
            provider_error: words.filter(|words| !words.is_empty()),
        }
    }

    /// Whether it ends the session; the others only say that this browser can't go on from here.
    pub fn ends_the_session(&self) -> bool {
        const ENDS_NONE: [&str; 5] =
            ["state_unknown", "state_used", "browser_mismatch", "issuer_mismatch", "callback_malformed"];
        !ENDS_NONE.contains(&self.code.as_str())
    }
}

impl From<SourceError> for ConnectError {
    fn from(error: SourceError) -> Self {
        Self { code: error.code.as_str().to_owned(), message: error.message, provider_error: error.provider_error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_24_what_a_provider_says_is_cut_and_made_printable() {
        let error = ConnectError::of_provider("access_denied", Some(&format!("no\u{202e}{}", "x".repeat(500))));
        assert_eq!(error.code, "access_denied");
        let words = error.provider_error.expect("words");
        assert_eq!((words.chars().count(), words.contains('\u{202e}')), (200, false));
        for code in ["<script>", "Access Denied", &"a".repeat(65), "a\nb"] {
            assert_eq!(ConnectError::of_provider(code, None).code, "invalid_request", "{code}");
        }
    }

    #[test]
    fn what_says_nothing_of_the_session_does_not_end_it() {
        let ends = [
            ConnectError::state_unknown(),
            ConnectError::browser_mismatch(),
            ConnectError::callback_malformed(&CallbackFault::Repeated),
            ConnectError::state_expired(),
            ConnectError::of_provider("access_denied", None),
        ]
        .map(|error| error.ends_the_session());
        assert_eq!(ends, [false, false, false, true, true]);
    }
}
