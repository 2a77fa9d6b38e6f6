//! Requests to a token endpoint and what its answers mean (RFC 6749), and metadata of an issuer (RFC 8414).

use std::fmt;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use url::Url;
use url::form_urlencoded;

use crate::assertion::{AssertionClaims, CLIENT_ASSERTION_TYPE};
use crate::provider::RequestMethod;
use crate::report::{ErrorCode, SourceError};
use crate::retry::{self, Repeat};
use crate::source::{ClientAuthentication, Definition, Grant, parse_endpoint_url};
use crate::text;

/// The largest answer that is read.
pub const LARGEST_ANSWER_BYTES: usize = 1024 * 1024;

/// A stated lifetime beyond this counts as unstated: it is an error or a joke.
const LONGEST_LIFETIME: TimeDelta = TimeDelta::days(36_525);

/// Longest `provider_error`, in characters.
const LONGEST_PROVIDER_ERROR: usize = 500;

/// The names under which servers state a refresh token's lifetime, in seconds.
const REFRESH_TOKEN_LIFETIMES: [&str; 3] =
    ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"];

/// An HTTP request to an authorization server. `Debug` shows neither query, nor headers, nor body.
#[derive(Clone)]
pub struct Request {
    /// `Get` without a body, or `Post` with a form.
    pub method: RequestMethod,
    /// With the parameters in its query for `Get`.
    pub url: Url,
    /// In order.
    pub headers: Vec<(String, SecretString)>,
    /// `application/x-www-form-urlencoded`, for `Post`.
    pub body: Option<SecretString>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("path", &self.url.path())
            .finish_non_exhaustive()
    }
}

/// What came back, as far as it was read.
#[derive(Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// Scheme, host and port of `Location`.
    pub redirects_to: Option<String>,
    /// The body.
    pub body: Body,
}

/// A body, or why it is not whole.
#[derive(Clone)]
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// More than [`LARGEST_ANSWER_BYTES`]; the rest was not read.
    TooLarge,
    /// The connection ended before the body did.
    CutShort,
}

/// A request that did not lead to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// For report, messages and log.
    pub error: SourceError,
    /// Whether the same request may be sent again in this run.
    pub repeat: Repeat,
    /// Whether the server may have acted on the request, so that a refresh token that it replaces is already used up.
    pub answer_lost: bool,
    /// Whether the server refused the client itself, so that its credentials may have been changed.
    pub client_refused: bool,
}

impl Rejection {
    /// One that more requests can't help.
    pub fn terminal(error: SourceError) -> Self {
        Self { error, repeat: Repeat::Never, answer_lost: false, client_refused: false }
    }

    /// One that may pass by itself within seconds.
    pub fn transient(error: SourceError) -> Self {
        Self { repeat: Repeat::AfterBackoff(None), ..Self::terminal(error) }
    }

    /// One whose request was sent, whatever became of it.
    pub fn lost(error: SourceError) -> Self {
        Self { answer_lost: true, ..Self::transient(error) }
    }

    /// The same for a grant that a second request could destroy: what is lost is not asked for again in this run.
    #[must_use]
    pub fn for_grant(self, grant: &Grant) -> Self {
        match grant {
            Grant::RefreshToken(_) if self.answer_lost => Self { repeat: Repeat::Never, ..self },
            _ => self,
        }
    }
}

/// A successful answer (RFC 6749 section 5.1).
#[derive(Debug, Clone)]
pub struct TokenAnswer {
    /// The token.
    pub access_token: SecretString,
    /// `Bearer` in this spelling, or the server's own word.
    pub token_type: String,
    /// Space-delimited; `None` if the server states none.
    pub scope: Option<String>,
    /// `None` if unstated.
    pub expires_at: Option<DateTime<Utc>>,
    /// A new refresh token; `None`: the old one stays good.
    pub refresh_token: Option<SecretString>,
    /// What it says of the refresh token's end.
    pub grant_expiry: GrantExpiry,
    /// Every other member that is no credential.
    pub extra: Map<String, Value>,
}

/// What an answer says of the refresh token's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantExpiry {
    /// Nothing, or nothing that makes sense.
    Unstated,
    /// `0`: it has none.
    Never,
    /// A moment.
    At(DateTime<Utc>),
}

impl GrantExpiry {
    /// The moment, if there is one.
    pub fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::At(time) => Some(time),
            Self::Unstated | Self::Never => None,
        }
    }
}

/// Builds the request for a token.
///
/// `jti` identifies the assertion of `private_key_jwt`: one never used before, for each request.
pub fn token_request(
    definition: &Definition,
    token_endpoint: &Url,
    jti: &str,
    now: DateTime<Utc>,
) -> Result<Request, SourceError> {
    let mut headers = vec![("Accept".to_owned(), SecretString::from("application/json"))];
    let mut params = form_urlencoded::Serializer::new(String::new());
    match &definition.grant {
        Grant::ClientCredentials => {
            params.append_pair("grant_type", "client_credentials");
        }
        Grant::RefreshToken(refresh_token) => {
            params.append_pair("grant_type", "refresh_token");
            params.append_pair("refresh_token", refresh_token.expose_secret());
        }
    }
    if let Some(scope) = &definition.scope {
        params.append_pair("scope", scope);
    }
    for (name, value) in &definition.params {
        params.append_pair(name, value.expose_secret());
    }
    match &definition.client_authentication {
        ClientAuthentication::Basic(secret) => {
            let credentials = basic_credentials(&definition.client_id, secret);
            headers.push(("Authorization".to_owned(), SecretString::from(format!("Basic {credentials}"))));
        }
        ClientAuthentication::Post(secret) => {
            params.append_pair("client_id", &definition.client_id);
            params.append_pair("client_secret", secret.expose_secret());
        }
        ClientAuthentication::PrivateKeyJwt(assertion) => {
            let claims = AssertionClaims {
                client_id: &definition.client_id,
                audience: assertion.audience.as_deref().unwrap_or(token_endpoint.as_str()),
                subject: assertion.subject.as_deref(),
                key_id: assertion.key_id.as_deref(),
                certificate: assertion.certificate.as_deref(),
            };
            let jwt = assertion
                .key
                .client_assertion(&claims, jti, now)
                .map_err(|error| SourceError::new(ErrorCode::DefinitionInvalid, format!("`private_key` {error}")))?;
            params.append_pair("client_id", &definition.client_id);
            params.append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE);
            params.append_pair("client_assertion", &jwt);
        }
        ClientAuthentication::MutualTls | ClientAuthentication::None => {
            params.append_pair("client_id", &definition.client_id);
        }
    }
    for (name, value) in &definition.headers {
        headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        headers.push((name.clone(), value.clone()));
    }

    let params = params.finish();
    let mut url = token_endpoint.clone();
    let body = match definition.method {
        RequestMethod::Post => {
            let form = SecretString::from("application/x-www-form-urlencoded");
            headers.push(("Content-Type".to_owned(), form));
            Some(SecretString::from(params))
        }
        RequestMethod::Get => {
            let query = match url.query() {
                Some(query) if !query.is_empty() => format!("{query}&{params}"),
                _ => params,
            };
            url.set_query(Some(&query));
            None
        }
    };
    Ok(Request { method: definition.method, url, headers, body })
}

/// What follows `Basic `: each part form-encoded, then both in Base64 (RFC 6749 section 2.3.1).
fn basic_credentials(client_id: &str, client_secret: &SecretString) -> String {
    let encode = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    BASE64_STANDARD.encode(format!("{}:{}", encode(client_id), encode(client_secret.expose_secret())))
}

/// Reads the answer to a token request that was sent at `issued_at`; it is `now` when it has come.
///
/// Success is a 2xx with a non-empty `access_token` and without one of the standard errors.
pub fn read_token_answer(
    answer: &Answer,
    definition: &Definition,
    issued_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<TokenAnswer, Rejection> {
    let members = read_members(answer);
    if let Ok(members) = &members
        && (200..300).contains(&answer.status)
        && standard_error(members).is_none()
        && let Some(access_token) = access_token(members)
    {
        return Ok(token_answer(members, access_token, definition, issued_at));
    }
    Err(rejection(answer, members.as_ref(), definition, now))
}

/// RFC 6749 appendix A.12 allows visible characters only; anything else would break the header it is sent in.
fn access_token(members: &Map<String, Value>) -> Option<&str> {
    let token = members.get("access_token")?.as_str()?;
    (!token.trim().is_empty() && !token.contains(char::is_control)).then_some(token)
}

fn standard_error(members: &Map<String, Value>) -> Option<ErrorCode> {
    ErrorCode::from_rfc6749(members.get("error")?.as_str()?)
}

/// The members of a JSON or form-encoded answer, or what else it is.
fn read_members(answer: &Answer) -> Result<Map<String, Value>, String> {
    let bytes = match &answer.body {
        Body::Whole(bytes) => bytes,
        Body::TooLarge => return Err("it is larger than 1 MiB".to_owned()),
        Body::CutShort => return Err("it broke off".to_owned()),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => return Ok(members),
        Ok(other) => return Err(format!("it is JSON, but {}", type_name(&other))),
        Err(_) if text.starts_with('{') => return Err("it is broken JSON".to_owned()),
        Err(_) => {}
    }
    let html = answer.content_type.as_deref().is_some_and(|kind| kind.contains("html"));
    if html || text.starts_with('<') {
        return Err("it is a page of HTML or XML".to_owned());
    }
    let members: Map<_, _> = form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
        .collect();
    if members.contains_key("access_token") || members.contains_key("error") {
        Ok(members)
    } else {
        Err("it is neither JSON nor form-encoded".to_owned())
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Names and types of an answer's members, without any value.
fn shape(members: &Map<String, Value>) -> String {
    const MOST: usize = 20;
    let shown = members
        .iter()
        .take(MOST)
        .map(|(name, value)| format!("{} ({})", text::printable(name, 40), type_name(value)))
        .collect::<Vec<_>>()
        .join(", ");
    match members.len() {
        0 => "it has no member".to_owned(),
        1..=MOST => format!("it has {shown}"),
        more => format!("it has {shown} and {} more", more - MOST),
    }
}

/// Classifies an answer that brought no token.
fn rejection(
    answer: &Answer,
    members: Result<&Map<String, Value>, &String>,
    definition: &Definition,
    now: DateTime<Utc>,
) -> Rejection {
    let status = answer.status;
    let error = members.ok().and_then(|members| members.get("error")?.as_str());
    let retry_after = answer.retry_after.as_deref().and_then(|value| retry::parse_retry_after(value, now));
    let standard = error.and_then(ErrorCode::from_rfc6749);
    let unavailable = matches!(error, Some("temporarily_unavailable" | "server_error"));

    let (code, message) = match (status, standard) {
        (429, _) => (
            ErrorCode::RateLimited,
            match retry_after {
                Some(wait) => format!("the token endpoint asks to wait {} s (HTTP 429)", wait.as_secs()),
                None => "the token endpoint asks to wait (HTTP 429)".to_owned(),
            },
        ),
        (408, _) => (ErrorCode::EndpointTimeout, "the token endpoint gave up waiting (HTTP 408)".to_owned()),
        (500.., _) => (ErrorCode::EndpointUnavailable, format!("the token endpoint failed (HTTP {status})")),
        _ if unavailable => {
            (ErrorCode::EndpointUnavailable, format!("the authorization server is unavailable (HTTP {status})"))
        }
        (_, Some(code)) => (code, format!("{} (HTTP {status})", in_words(code))),
        (400.., None) => {
            (ErrorCode::EndpointRejected, format!("the token endpoint refused the request (HTTP {status})"))
        }
        (300.., None) => (
            ErrorCode::ResponseInvalid,
            format!(
                "the token endpoint redirects{} (HTTP {status}), which is never followed",
                answer.redirects_to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default()
            ),
        ),
        (_, None) => {
            let what = members.map_or_else(Clone::clone, shape);
            (ErrorCode::ResponseInvalid, format!("the answer holds no access token (HTTP {status}): {what}"))
        }
    };
    let passing = matches!(code, ErrorCode::RateLimited | ErrorCode::EndpointTimeout | ErrorCode::EndpointUnavailable);
    let provider_error = members.ok().and_then(provider_error).map(|words| masked(&words, definition));
    Rejection {
        error: SourceError::new(code, masked(&message, definition))
            .with_provider_error(provider_error.map(|words| words.chars().take(LONGEST_PROVIDER_ERROR).collect())),
        repeat: if passing { Repeat::AfterBackoff(retry_after) } else { Repeat::Never },
        // A gateway's errors: the server behind it may have answered.
        answer_lost: matches!(status, 502 | 504),
        client_refused: status == 401 || code == ErrorCode::InvalidClient,
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

/// `<error>: <error_description>`, as the server wrote it.
fn provider_error(members: &Map<String, Value>) -> Option<String> {
    let error = members.get("error")?.as_str()?;
    Some(match members.get("error_description").and_then(Value::as_str) {
        Some(description) => format!("{error}: {description}"),
        None => error.to_owned(),
    })
}

/// Words of a server on one line, without any secret of the source, which it may have echoed.
///
/// To be cut only afterwards, so that no half of a secret is left at the end.
fn masked(words: &str, definition: &Definition) -> String {
    let basic = match &definition.client_authentication {
        ClientAuthentication::Basic(secret) => basic_credentials(&definition.client_id, secret),
        _ => String::new(),
    };
    let secrets = || definition.secrets().chain([basic.as_str()]);
    // Twice: making it printable may join what was apart.
    let printable = text::printable(&text::masked(words, secrets()), usize::MAX);
    text::without_jwts(&text::masked(&printable, secrets()))
}

fn token_answer(
    members: &Map<String, Value>,
    access_token: &str,
    definition: &Definition,
    issued_at: DateTime<Utc>,
) -> TokenAnswer {
    let string = |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let refresh_token = string("refresh_token");
    let withheld: Vec<&str> = definition.credentials().chain(refresh_token).chain(string("id_token")).collect();
    let lifetime = members.get("expires_in").and_then(lifetime);
    TokenAnswer {
        access_token: SecretString::from(access_token),
        token_type: match string("token_type") {
            None => "Bearer".to_owned(),
            Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer".to_owned(),
            Some(kind) => kind.to_owned(),
        },
        scope: members.get("scope").and_then(scope),
        expires_at: lifetime.map(|lifetime| issued_at + lifetime).or_else(|| jwt_expiry(access_token, issued_at)),
        refresh_token: refresh_token.map(SecretString::from),
        grant_expiry: grant_expiry(members, issued_at),
        extra: extra(members, &withheld),
    }
}

fn grant_expiry(members: &Map<String, Value>, issued_at: DateTime<Utc>) -> GrantExpiry {
    let Some(stated) = REFRESH_TOKEN_LIFETIMES.iter().find_map(|name| members.get(*name)) else {
        return GrantExpiry::Unstated;
    };
    match (lifetime(stated), seconds(stated)) {
        (Some(lifetime), _) => GrantExpiry::At(issued_at + lifetime),
        (None, Some(0.0)) => GrantExpiry::Never,
        (None, _) => GrantExpiry::Unstated,
    }
}

/// Seconds as a number, a numeric string or a float.
fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// `None` where the seconds make no sense as a lifetime.
fn lifetime(value: &Value) -> Option<TimeDelta> {
    let seconds = seconds(value)?;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be a number of at most a century")]
    #[expect(clippy::cast_precision_loss, reason = "a century of seconds is exact in a double")]
    let whole = (1.0..=LONGEST_LIFETIME.num_seconds() as f64).contains(&seconds).then_some(seconds as i64);
    whole.map(TimeDelta::seconds)
}

/// The `exp` of an access token that is a JWT (RFC 7519 section 4.1.4), unverified: it is only a hint.
fn jwt_expiry(access_token: &str, issued_at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut parts = access_token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "beyond i64 is beyond any date")]
    let exp = DateTime::from_timestamp(claims.get("exp")?.as_f64()? as i64, 0)?;
    (exp > issued_at && exp - issued_at <= LONGEST_LIFETIME).then_some(exp)
}

/// Space-delimited, whatever the server's form: a string, a comma list, an array.
fn scope(value: &Value) -> Option<String> {
    let words: Vec<&str> = match value {
        Value::String(text) => text.split(|c: char| c == ',' || c.is_whitespace()).collect(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).map(str::trim).collect(),
        _ => return None,
    };
    let scope = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (!scope.is_empty()).then_some(scope)
}

/// The members that readers of the token document may need (`instance_url`, `api_domain`, ...).
fn extra(members: &Map<String, Value>, withheld: &[&str]) -> Map<String, Value> {
    const READ: [&str; 7] =
        ["access_token", "token_type", "scope", "expires_in", "error", "error_description", "error_uri"];
    members
        .iter()
        .filter(|(name, _)| !READ.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.clone(), without_credentials(name, value, withheld)?)))
        .collect()
}

/// The value without anything that refreshes or identifies; `None` if it is such a thing itself.
fn without_credentials(name: &str, value: &Value, withheld: &[&str]) -> Option<Value> {
    if describes_a_credential(name) {
        return None;
    }
    Some(match value {
        Value::String(text) if holds_any(text, withheld) => return None,
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), without_credentials(name, value, withheld)?)))
                .collect(),
        ),
        Value::Array(values) => values.iter().filter_map(|value| without_credentials("", value, withheld)).collect(),
        other => other.clone(),
    })
}

/// Whether a member's name says refresh token, ID token, session or client secret, in any spelling.
fn describes_a_credential(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    let contains = ["refresh_token", "refreshtoken", "_id_token", "client_secret", "clientsecret"];
    let begins = ["id_token", "idtoken", "refresh_expires", "refreshexpires", "session_state", "sessionstate"];
    contains.iter().any(|word| name.contains(word)) || begins.iter().any(|word| name.starts_with(word))
}

/// Short words occur by chance, so they count only as the whole value.
fn holds_any(text: &str, withheld: &[&str]) -> bool {
    const SHORTEST_TO_SEEK: usize = 8;
    withheld.iter().any(|secret| text == *secret || secret.len() >= SHORTEST_TO_SEEK && text.contains(secret))
}

/// Where an issuer's metadata stands: RFC 8414 section 3.1, then OpenID Connect Discovery section 4.
///
/// The first goes before the issuer's path, the second after it.
pub fn metadata_urls(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let with_path = |path: &str| {
        let mut url = issuer.clone();
        url.set_path(path);
        url
    };
    [
        with_path(&format!("/.well-known/oauth-authorization-server{path}")),
        with_path(&format!("{path}/.well-known/openid-configuration")),
    ]
}

/// A request for an issuer's metadata.
pub fn metadata_request(url: Url) -> Request {
    Request {
        method: RequestMethod::Get,
        url,
        headers: vec![("Accept".to_owned(), SecretString::from("application/json"))],
        body: None,
    }
}

/// A request that shows whether a resource server takes a token (RFC 6750 section 2.1).
pub fn verification_request(url: Url, access_token: &SecretString) -> Request {
    let authorization = SecretString::from(format!("Bearer {}", access_token.expose_secret()));
    Request { method: RequestMethod::Get, url, headers: vec![("Authorization".to_owned(), authorization)], body: None }
}

/// Whether the token was taken: any 2xx.
pub fn read_verification(answer: &Answer, now: DateTime<Utc>) -> Result<(), Rejection> {
    let status = answer.status;
    let error = SourceError::new(ErrorCode::VerificationFailed, format!("it answered HTTP {status}"));
    match status {
        200..300 => Ok(()),
        408 | 429 | 500.. => {
            let retry_after = answer.retry_after.as_deref().and_then(|value| retry::parse_retry_after(value, now));
            Err(Rejection { repeat: Repeat::AfterBackoff(retry_after), ..Rejection::terminal(error) })
        }
        _ => Err(Rejection::terminal(error)),
    }
}

/// The token endpoint that an issuer's metadata names.
///
/// Its `issuer` must be the same string (RFC 8414 section 3.3), or somebody else answers for it.
pub fn read_metadata(
    answer: &Answer,
    issuer: &str,
    definition: &Definition,
    now: DateTime<Utc>,
) -> Result<Url, Rejection> {
    let members = read_members(answer);
    if !(200..300).contains(&answer.status) {
        let mut rejection = rejection(answer, members.as_ref(), definition, now);
        rejection.error.message = format!("metadata of the issuer: {}", rejection.error.message);
        rejection.client_refused = false;
        return Err(rejection);
    }
    let invalid = |reason: String| {
        let message = format!("metadata of the issuer: {reason}");
        Rejection::terminal(SourceError::new(ErrorCode::ResponseInvalid, message))
    };
    let members = members.map_err(|what| invalid(format!("no usable answer: {what}")))?;
    let stated = members.get("issuer").and_then(Value::as_str);
    if stated != Some(issuer) {
        return Err(invalid(match stated {
            Some(stated) if stated.trim_end_matches('/') == issuer.trim_end_matches('/') => format!(
                "it states the issuer {} a trailing slash; write `issuer` the same way",
                if stated.ends_with('/') { "with" } else { "without" }
            ),
            Some(stated) => format!("it states another issuer ({})", text::printable(stated, 200)),
            None => "it states no issuer".to_owned(),
        }));
    }
    let token_endpoint = members
        .get("token_endpoint")
        .and_then(Value::as_str)
        .ok_or_else(|| invalid("it names no token endpoint".to_owned()))?;
    let url = parse_endpoint_url(token_endpoint).map_err(|reason| invalid(format!("its token endpoint {reason}")))?;
    if url.scheme() == "http" && issuer.starts_with("https:") {
        return Err(invalid("its token endpoint is not https".to_owned()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
