//! HTTP requests and answers as API Gateway's HTTP APIs and Lambda's function URLs hand them over: payload format 2.0.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{SerializeMap as _, SerializeStruct as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::domain::principal::Principal;

/// The longest body that is read, in bytes.
pub const LONGEST_BODY: usize = 64 * 1024;

/// What the gateway's own paths begin with, so that no prefix may.
pub const ROUTES: [&str; 5] = ["callback", "connect", "done", "health", "v1"];

/// What every stage but this one has in front of the path.
const DEFAULT_STAGE: &str = "$default";

/// A request. Its `Debug` tells nothing that may hold a link, a code or a token.
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// The path, without the stage and without the prefix at which the service stands. An HTTP API decodes it, a function
    /// URL doesn't, and nothing is decoded here: what this service serves needs no percent sign.
    pub path: String,
    /// What follows the `?`, as it was sent, with repeated parameters apart.
    pub query: String,
    /// Who calls, where API Gateway or the function URL checked that.
    pub principal: Option<Principal>,
    /// Names and values, in the browser's order; a name may stand twice.
    pub cookies: Vec<(String, String)>,
    /// Up to [`LONGEST_BODY`].
    pub body: Vec<u8>,
    /// By names in lower case. Values of a repeated header are joined by commas.
    headers: BTreeMap<String, String>,
}

/// An event that is no request, or one that can't be read. No message repeats a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// Something other than HTTP invoked the function, or HTTP in another format.
    #[error("the event is no request in payload format 2.0")]
    NotRequest,
    /// The request is too large.
    #[error("the request's body is longer than {LONGEST_BODY} bytes")]
    BodyTooLong,
    /// The body says that it is base64, and is not.
    #[error("the request's body is no base64")]
    BodyNotBase64,
}

impl Request {
    /// Reads an event; members that are not used are ignored.
    ///
    /// `prefix` is the path of the service's public URL, such as `/oauth`, or empty. Some ways through API Gateway leave it
    /// in the path, others don't.
    pub fn parse(event: Value, prefix: &str) -> Result<Self, InvalidEvent> {
        let event: Event = serde_json::from_value(event).map_err(|_| InvalidEvent::NotRequest)?;
        if event.version != "2.0" {
            return Err(InvalidEvent::NotRequest);
        }
        let RequestContext { http, stage, authorizer } = event.request_context;
        Ok(Self {
            method: http.method,
            path: path(&event.raw_path, stage.as_deref(), prefix).to_owned(),
            query: event.raw_query_string.unwrap_or_default(),
            principal: authorizer.and_then(Authorizer::principal),
            cookies: event.cookies.unwrap_or_default().iter().filter_map(|cookie| name_and_value(cookie)).collect(),
            body: body(event.body.unwrap_or_default(), event.is_base64_encoded.unwrap_or_default())?,
            headers: event.headers.unwrap_or_default().into_iter().map(lower_case).collect(),
        })
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What follows may be a link's token.
        let folder = self.path.split('/').nth(1).unwrap_or_default();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("folder", &folder)
            .field("principal", &self.principal)
            .field("headers", &self.headers.keys())
            .field("cookies", &self.cookies.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The path without what stands in front of it at this deployment.
fn path<'a>(raw: &'a str, stage: Option<&str>, prefix: &str) -> &'a str {
    let prefix = prefix.trim_matches('/');
    let stage = stage.filter(|stage| *stage != DEFAULT_STAGE).unwrap_or_default();
    let path = without(raw, stage);
    // A public URL that ends in the stage has both in one segment.
    if path.len() != raw.len() && stage == prefix { path } else { without(path, prefix) }
}

/// A path without its first segments, if these are they.
fn without<'a>(path: &'a str, segments: &str) -> &'a str {
    if segments.is_empty() {
        return path;
    }
    let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(segments));
    match rest {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// RFC 6265 section 5.2: a cookie without `=` has no name and is ignored.
fn name_and_value(cookie: &str) -> Option<(String, String)> {
    let (name, value) = cookie.split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

fn lower_case((name, value): (String, String)) -> (String, String) {
    (name.to_ascii_lowercase(), value)
}

fn body(body: String, is_base64: bool) -> Result<Vec<u8>, InvalidEvent> {
    const LONGEST_BASE64: usize = LONGEST_BODY.div_ceil(3) * 4;
    if body.len() > if is_base64 { LONGEST_BASE64 } else { LONGEST_BODY } {
        return Err(InvalidEvent::BodyTooLong);
    }
    let body =
        if is_base64 { STANDARD.decode(body).map_err(|_| InvalidEvent::BodyNotBase64)? } else { body.into_bytes() };
    if body.len() > LONGEST_BODY { Err(InvalidEvent::BodyTooLong) } else { Ok(body) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    version: String,
    raw_path: String,
    raw_query_string: Option<String>,
    cookies: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
    request_context: RequestContext,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
struct RequestContext {
    http: Http,
    stage: Option<String>,
    authorizer: Option<Authorizer>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

/// Only what these two hold counts: a Lambda authorizer says what it likes.
#[derive(Deserialize)]
struct Authorizer {
    iam: Option<Iam>,
    jwt: Option<Jwt>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Iam {
    user_arn: Option<String>,
}

#[derive(Deserialize)]
struct Jwt {
    claims: Option<Claims>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
}

impl Authorizer {
    fn principal(self) -> Option<Principal> {
        let said = |text: &String| !text.is_empty();
        if let Some(iam) = self.iam {
            let arn = iam.user_arn.filter(said)?;
            return Some(Principal::Iam(role_arn(&arn).unwrap_or(arn)));
        }
        let Claims { iss, sub } = self.jwt?.claims?;
        Some(Principal::Jwt { issuer: iss.filter(said)?, subject: sub.filter(said)? })
    }
}

/// The role whose session this is: `arn:aws:sts::123456789012:assumed-role/Name/session` is
/// `arn:aws:iam::123456789012:role/Name`. A role's path is not in its sessions' ARNs; its name is unique without.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>
fn role_arn(session_arn: &str) -> Option<String> {
    let parts: Vec<&str> = session_arn.split(':').collect();
    let ["arn", partition, "sts", "", account, resource] = parts[..] else { return None };
    let resource: Vec<&str> = resource.split('/').collect();
    let ["assumed-role", name, _session] = resource[..] else { return None };
    Some(format!("arn:{partition}:iam::{account}:role/{name}"))
}

/// An answer. Its `Debug` tells nothing that may hold a code, a cookie or a link.
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case, each once.
    pub headers: Vec<(&'static str, String)>,
    /// Values of `Set-Cookie`.
    pub cookies: Vec<String>,
    /// Text: this program sends nothing else.
    pub body: String,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("cookies", &self.cookies.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut response = serializer.serialize_struct("Response", 5)?;
        response.serialize_field("statusCode", &self.status)?;
        response.serialize_field("headers", &Headers(&self.headers))?;
        response.serialize_field("cookies", &self.cookies)?;
        response.serialize_field("body", &self.body)?;
        response.serialize_field("isBase64Encoded", &false)?;
        response.end()
    }
}

struct Headers<'a>(&'a [(&'static str, String)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut headers = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            headers.serialize_entry(name, value)?;
        }
        headers.end()
    }
}

#[cfg(test)]
mod tests;
