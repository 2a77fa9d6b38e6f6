//! What a request sends besides: its scope, further parameters, further headers.

use secrecy::SecretString;
use serde_json::Value;

use super::client::AuthenticationMethod;
use super::fields::{Faults, Fields, LONGEST_NAME};
use super::schema::{Field, Mixed, Object, definition};
use super::{Credential, Endpoint, ParameterValue};
use crate::domain::provider::dialect::{CredentialPlace, RequestForm};
use crate::domain::redact;

/// Headers that belong to the connection or to the body.
const RESERVED_HEADERS: [&str; 6] = ["connection", "content-length", "content-type", "host", "te", "transfer-encoding"];

/// RFC 6749 section 3.3: space-delimited.
pub(super) fn scope(of: &Fields<'_>) -> Result<Option<String>, Faults> {
    scopes(of, definition::SCOPE)
}

/// Scopes, in a field of either form.
pub(super) fn scopes(of: &Fields<'_>, field: Field<Mixed>) -> Result<Option<String>, Faults> {
    let mut fields = of.part();
    let scope = match fields.mixed(field) {
        None => return Ok(None),
        Some(Value::String(scope)) => Some(scope.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
        Some(Value::Array(scopes)) => {
            scopes.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|scopes| scopes.join(" "))
        }
        Some(_) => None,
    };
    if scope.is_none() {
        fields.fault(field, "must be a string or an array of strings");
    }
    fields.finish(scope.filter(|scope| !scope.is_empty()))
}

/// The names of the parameters that a request sends by itself.
pub(super) fn sent_by_itself(
    request: &RequestForm,
    method: Option<AuthenticationMethod>,
    credential: Credential<()>,
) -> Vec<&str> {
    let credential = match &request.credential {
        CredentialPlace::Parameter(name) if credential != Credential::None => Some(name),
        _ => None,
    };
    let secret = Some(&request.client_secret_parameter).filter(|_| method == Some(AuthenticationMethod::Post));
    let client_id = request.client_id_parameter.as_ref().filter(|_| method != Some(AuthenticationMethod::Basic));
    let further = [&request.grant_type_parameter, &request.scope_parameter].into_iter().flatten();
    further.chain(client_id).chain(credential).chain(secret).map(String::as_str).collect()
}

/// `params`. What the request sends by itself stands neither among them, nor twice, nor in the endpoint's own query (RFC
/// 6749 section 3.2: each parameter once).
pub(super) fn params(
    of: &Fields<'_>,
    sent: &[&str],
    endpoint: Option<&Endpoint>,
) -> Result<Vec<(String, ParameterValue)>, Faults> {
    let mut fields = of.part();
    for (index, name) in sent.iter().enumerate() {
        if sent[..index].contains(name) {
            let name = redact::printable(name, LONGEST_NAME);
            fields.fault(definition::REQUEST, format_args!("names two parameters `{name}`"));
        }
    }
    if let Some(Endpoint::Token(url)) = endpoint {
        // Some vendors write `?grant_type=client_credentials` into the endpoint that they document, and mean no harm.
        let twice = |name: &str| name != "grant_type" && sent.contains(&name);
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| twice(name)) {
            let name = redact::printable(&name, LONGEST_NAME);
            let reason = format_args!("holds `{name}` in its query, which the request sends itself");
            fields.fault(definition::TOKEN_ENDPOINT, reason);
        }
    }
    let mut params = Vec::new();
    for (name, value) in fields.object(definition::PARAMS).into_iter().flatten() {
        let place = place(definition::PARAMS, name);
        if let Some(setter) = setter(name, sent) {
            fields.fault_at(&place, format_args!("is set by `{setter}`"));
            continue;
        }
        let text = |value: &Value| value.as_str().map(SecretString::from);
        let value = match value {
            Value::Array(values) => values.iter().map(text).collect::<Option<_>>().map(ParameterValue::Many),
            value => text(value).map(ParameterValue::One),
        };
        match value {
            Some(value) => params.push((name.clone(), value)),
            None => fields.fault_at(&place, "must be a string or an array of strings"),
        }
    }
    fields.finish(params)
}

/// The field that sets a parameter already: the one of the same name, or that of the client's assertion.
fn setter<'a>(name: &'a str, sent: &[&str]) -> Option<&'a str> {
    match name {
        _ if name == definition::REDIRECT_URI.name && sent.contains(&name) => Some(name),
        _ if !definition::PARAMS.form.reserved.contains(&name) => {
            sent.contains(&name).then_some(definition::REQUEST.name)
        }
        _ if definition::NAMES.contains(&name) => Some(name),
        _ => Some(definition::TOKEN_ENDPOINT_AUTH_METHOD.name),
    }
}

/// `headers`. `basic`: the client authenticates in a header; `bearer`: the credential is sent in the same one.
pub(super) fn headers(of: &Fields<'_>, basic: bool, bearer: bool) -> Result<Vec<(String, SecretString)>, Faults> {
    let mut fields = of.part();
    let headers: Vec<(String, SecretString)> = header_texts(&mut fields, definition::HEADERS)
        .into_iter()
        .map(|(name, text)| (name, SecretString::from(text)))
        .collect();
    let credential_in = "request.credential_in";
    if basic && bearer {
        fields.fault_at(credential_in, "contradicts client_secret_basic: there is one Authorization header");
    }
    if (basic || bearer) && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
        let by = if bearer { credential_in } else { "client_secret_basic" };
        fields.fault_at("headers.Authorization", format_args!("is set by {by}"));
    }
    fields.finish(headers)
}

/// Names and values of headers.
pub(super) fn header_texts(fields: &mut Fields<'_>, field: Field<Object>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in fields.object(field).into_iter().flatten() {
        let place = place(field, name);
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) {
            fields.fault_at(&place, "is no header name");
        } else if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            fields.fault_at(&place, "is set by the request itself");
        } else {
            match value {
                Value::String(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                    headers.push((name.clone(), text.clone()));
                }
                _ => fields.fault_at(&place, "must be a string of printable ASCII"),
            }
        }
    }
    headers
}

/// Where a member of an object is told to be.
pub(super) fn place<F: Copy>(field: Field<F>, name: &str) -> String {
    format!("{}.{}", field.name, redact::printable(name, LONGEST_NAME))
}
