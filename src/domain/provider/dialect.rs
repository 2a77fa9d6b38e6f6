//! How a provider departs from RFC 6749: what its requests look like, where its answers hold what, which answers are
//! which errors, and the rules of refreshing. `docs/declarations.md` describes it for people.

use chrono::TimeDelta;
use regex_lite::Regex;
use serde_json::Value;

use crate::domain::error::ErrorCode;

/// How a token request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMethod {
    /// RFC 6749 section 3.2.
    Post,
    /// All parameters in the query, for the few that want it so.
    Get,
    /// For the few to whom a grant is a resource that a revocation deletes.
    Delete,
}

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
    Form,
    /// One JSON object.
    Json,
}

/// Where parameters go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into the body.
    Body,
    /// Into the query.
    Query,
}

/// How a refresh token, access token or assertion is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialPlace {
    /// As a parameter of that name.
    Parameter(String),
    /// As `Authorization: Bearer` (RFC 6750 section 2.1).
    Bearer,
}

/// What a token request looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestForm {
    /// HTTP method.
    pub method: RequestMethod,
    /// Form of the body, if there is one.
    pub body: BodyForm,
    /// Where parameters go.
    pub parameters_in: Place,
    /// Where client id and secret go with `client_secret_post`.
    pub client_in: Place,
    /// Whether id and secret are form-encoded before Base64 (RFC 6749 section 2.3.1).
    pub basic_encoded: bool,
    /// Name of the client id; `None`: it is not sent.
    pub client_id_parameter: Option<String>,
    /// Name of the client secret.
    pub client_secret_parameter: String,
    /// Name of the grant type; `None`: it is not sent.
    pub grant_type_parameter: Option<String>,
    /// Name of the scope; `None`: it is not sent.
    pub scope_parameter: Option<String>,
    /// What stands between scopes.
    pub scope_delimiter: String,
    /// Where the grant's credential goes.
    pub credential: CredentialPlace,
}

/// A place in a JSON document (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(String);

impl Pointer {
    /// Checks the form: empty, or parts that each begin with `/`, in which `~` is `~0` and `/` is `~1`.
    pub fn parse(text: &str) -> Option<Self> {
        let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        (escaped && (text.is_empty() || text.starts_with('/'))).then(|| Self(text.to_owned()))
    }

    /// The member of that name of the whole document.
    pub fn member(name: &str) -> Self {
        Self(format!("/{}", name.replace('~', "~0").replace('/', "~1")))
    }

    /// The whole document.
    pub fn whole() -> Self {
        Self(String::new())
    }

    /// What is there.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        document.pointer(&self.0)
    }

    /// The pointer itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the body of an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFormat {
    /// JSON, or else a form.
    Auto,
    /// JSON.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// XML: elements and attributes as members.
    Xml,
    /// Text, all of it.
    Text,
}

/// How an expiry is stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryForm {
    /// Seconds from the request.
    Seconds,
    /// Milliseconds from the request.
    Milliseconds,
    /// Seconds since 1970.
    EpochSeconds,
    /// Milliseconds since 1970.
    EpochMilliseconds,
    /// A date and time of ISO 8601; UTC where it names no zone.
    Iso8601,
    /// A text such as `1d 2h 30m`.
    Duration,
    /// The `exp` of a JWT (RFC 7519 section 4.1.4).
    JwtExp,
    /// What is stated means nothing.
    None,
}

/// Where an expiry stands, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Where.
    pub path: Pointer,
    /// How.
    pub form: ExpiryForm,
}

/// Where an answer holds what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseForm {
    /// How the body is read.
    pub format: BodyFormat,
    /// The access token.
    pub access_token: Pointer,
    /// Its type.
    pub token_type: Pointer,
    /// The refresh token.
    pub refresh_token: Pointer,
    /// The granted scope.
    pub scope: Pointer,
    /// The access token's end; `None`: `expires_in`, in seconds.
    pub expires: Option<Expiry>,
    /// The refresh token's end; `None`: in seconds, under the usual names.
    pub refresh_token_expires: Option<Expiry>,
    /// What went wrong.
    pub error: Pointer,
    /// More about it.
    pub error_description: Pointer,
}

/// What kind of error an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Only a new authorization helps.
    DeadGrant,
    /// Somebody has to mend the definition or the client. With the code to report; `None`: what the server said.
    Configuration(Option<ErrorCode>),
    /// Too many requests.
    Throttled,
    /// It may pass by itself.
    Transient,
    /// The credential can't be refreshed yet; nothing is wrong.
    TooEarly,
}

/// Where an error rule looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// At a response header.
    Header(String),
    /// At a place in the answer; the empty one is the body as text.
    Path(Pointer),
}

/// What an error rule wants to find.
#[derive(Debug, Clone)]
pub enum Test {
    /// Anything but null.
    Present,
    /// One of these, compared as text.
    Equals(Vec<String>),
    /// Something that this matches anywhere.
    Matches(Regex),
}

/// A rule that tells which answers are which errors.
#[derive(Debug, Clone)]
pub struct ErrorRule {
    /// Any of these status codes; empty: any at all.
    pub status: Vec<u16>,
    /// What must be found besides.
    pub finding: Option<(Evidence, Test)>,
    /// What it is then.
    pub class: ErrorClass,
    /// How long to wait where the answer does not say.
    pub retry_after: Option<TimeDelta>,
}

impl Test {
    /// Whether this text is what is wanted; `None`: there is nothing.
    pub fn holds(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (_, None) => false,
            (Self::Present, Some(_)) => true,
            (Self::Equals(wanted), Some(text)) => wanted.iter().any(|wanted| wanted == text),
            (Self::Matches(pattern), Some(text)) => pattern.is_match(text),
        }
    }
}

/// A string, number or boolean as text, in which form rules and messages see them.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The rules of refreshing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefreshRules {
    /// Whether a refresh token is used up by its use; `None`: unknown, so it is taken for used up.
    pub rotates: Option<bool>,
    /// For how long one that is used up may be used again.
    pub repeat_within: Option<TimeDelta>,
    /// A credential younger than that is not refreshed.
    pub minimum_age: Option<TimeDelta>,
    /// Whether no refresh moves the end of the grant.
    pub fixed_lifetime: bool,
}

impl RefreshRules {
    /// Whether a refresh whose answer was lost may be sent again, so long after it was sent first.
    pub fn allow_repeat(&self, since_first: TimeDelta) -> bool {
        self.rotates == Some(false) || self.repeat_within.is_some_and(|within| since_first < within)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rfc6901_3_a_pointer_is_empty_or_begins_with_a_slash() {
        for text in ["", "/a", "/a/0/b", "/a~1b~0c", "/"] {
            assert!(Pointer::parse(text).is_some(), "{text}");
        }
        for text in ["a", "data.token", "$.token", "/a~2", "/a~"] {
            assert!(Pointer::parse(text).is_none(), "{text}");
        }
        let document = json!({"a": {"b/c": ["x", "y"]}});
        assert_eq!(Pointer::parse("/a/b~1c/1").expect("a pointer").find(&document), Some(&json!("y")));
    }

    #[test]
    fn a_used_up_refresh_token_is_repeated_only_within_what_the_provider_tolerates() {
        let rules = RefreshRules::default();
        assert!(!rules.allow_repeat(TimeDelta::zero()));
        assert!(!RefreshRules { rotates: Some(true), ..rules }.allow_repeat(TimeDelta::zero()));
        assert!(RefreshRules { rotates: Some(false), ..rules }.allow_repeat(TimeDelta::days(1)));
        let tolerant = RefreshRules { repeat_within: Some(TimeDelta::minutes(10)), ..rules };
        assert!(tolerant.allow_repeat(TimeDelta::minutes(9)));
        assert!(!tolerant.allow_repeat(TimeDelta::minutes(10)));
    }
}
