//! Reading the answer to a token request.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::expiry::{self, REFRESH_TOKEN_LIFETIMES};
use super::{Answer, Exchange, Rejection, TokenAnswer, format};
use crate::domain::provider::dialect::Pointer;
use crate::domain::redact::Echoes;

impl Exchange<'_> {
    /// Reads the answer to the request that was sent at `issued_at`; it is `now` when it has come.
    ///
    /// Success is a 2xx with a non-empty access token that is neither by the provider's rules nor by RFC 6749
    /// section 5.2 an error.
    pub fn read(
        &self,
        answer: &Answer,
        issued_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<TokenAnswer, Rejection> {
        let document = format::read(answer, self.flow.response.format);
        if let Some(rejection) = self.claimed_by_rule(answer, document.as_ref(), now) {
            return Err(rejection);
        }
        if let Ok(document) = &document
            && (200..300).contains(&answer.status)
            && self.standard_error(document).is_none()
            && let Some(access_token) = self.access_token(document)
        {
            return Ok(self.token_answer(document, access_token, issued_at));
        }
        Err(self.rejection(answer, document.as_ref(), now))
    }

    /// RFC 6749 appendix A.12 allows visible characters only; anything else would break the header it is sent in.
    fn access_token<'a>(&self, document: &'a Value) -> Option<&'a str> {
        let token = self.flow.response.access_token.find(document)?.as_str()?;
        (!token.trim().is_empty() && !token.contains(char::is_control)).then_some(token)
    }

    fn token_answer(&self, document: &Value, access_token: &str, issued_at: DateTime<Utc>) -> TokenAnswer {
        let response = &self.flow.response;
        let string = |path: &Pointer| path.find(document).and_then(Value::as_str).filter(|text| !text.is_empty());
        let refresh_token = string(&response.refresh_token);
        let id_token = document.get("id_token").and_then(Value::as_str).filter(|text| !text.is_empty());
        let current = self.credential.map(SecretString::expose_secret);
        let secrets = Echoes::of(self.definition.withheld().chain(current).chain(refresh_token).chain(id_token));
        TokenAnswer {
            access_token: SecretString::from(access_token),
            token_type: match string(&response.token_type) {
                None => "Bearer".to_owned(),
                Some(kind) if kind.eq_ignore_ascii_case("bearer") => "Bearer".to_owned(),
                Some(kind) => kind.to_owned(),
            },
            scope: response.scope.find(document).and_then(scope),
            expires_at: expiry::access_token_expiry(document, access_token, response, issued_at),
            refresh_token: refresh_token.map(SecretString::from),
            grant_expiry: expiry::grant_expiry(document, response, issued_at),
            id_token: id_token.map(SecretString::from),
            extra: self.extra(document, &secrets),
        }
    }

    /// The members that readers of the token document may need (`instance_url`, `api_domain`, ...).
    fn extra(&self, document: &Value, secrets: &Echoes<'_>) -> Map<String, Value> {
        const READ: [&str; 4] = ["/expires_in", "/error", "/error_description", "/error_uri"];
        let response = &self.flow.response;
        let tokens = [&response.access_token, &response.token_type, &response.refresh_token, &response.scope];
        let expiries = [&response.expires, &response.refresh_token_expires].into_iter().flatten();
        let usual_expiries = REFRESH_TOKEN_LIFETIMES.map(|name| format!("/{name}"));
        let read: Vec<&str> = tokens
            .into_iter()
            .chain(expiries.map(|expiry| &expiry.path))
            .map(Pointer::as_str)
            .chain(READ)
            .chain(usual_expiries.iter().map(String::as_str))
            .collect();
        match without_credentials("", "", document, &Withheld { secrets, read: &read }) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        }
    }
}

/// What `extra` leaves out.
struct Withheld<'a> {
    /// Values that are credentials.
    secrets: &'a Echoes<'a>,
    /// Places (RFC 6901) whose values the token document holds already, or that are about an error.
    read: &'a [&'a str],
}

/// The value at a place without anything that refreshes or identifies; `None` if it is such a thing itself.
fn without_credentials(place: &str, name: &str, value: &Value, withheld: &Withheld<'_>) -> Option<Value> {
    let secrets = withheld.secrets;
    if describes_a_credential(name) || secrets.occur_in(name) || !place.is_empty() && withheld.read.contains(&place) {
        return None;
    }
    match value {
        Value::String(text) if secrets.occur_in(text) => None,
        Value::Number(number) if secrets.occur_in(&number.to_string()) => None,
        Value::Object(members) => {
            let kept: Map<_, _> = members
                .iter()
                .filter_map(|(name, value)| {
                    let place = format!("{place}{}", Pointer::member(name).as_str());
                    Some((name.clone(), without_credentials(&place, name, value, withheld)?))
                })
                .collect();
            let is_item = name.is_empty();
            (!kept.is_empty() || members.is_empty() || is_item).then_some(Value::Object(kept))
        }
        Value::Array(values) => {
            let kept = values
                .iter()
                .enumerate()
                .filter_map(|(index, value)| without_credentials(&format!("{place}/{index}"), "", value, withheld));
            Some(Value::Array(kept.collect()))
        }
        other => Some(other.clone()),
    }
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

/// Whether a member's name says refresh token, ID token, session or client secret, in any spelling.
fn describes_a_credential(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    let contains = ["refresh_token", "refreshtoken", "_id_token", "client_secret", "clientsecret"];
    let begins = ["id_token", "idtoken", "refresh_expires", "refreshexpires", "session_state", "sessionstate"];
    contains.iter().any(|word| name.contains(word)) || begins.iter().any(|word| name.starts_with(word))
}
