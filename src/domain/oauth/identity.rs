//! Whose account a connection is, as the provider's declaration says where to read it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Request;
use crate::domain::error::{ErrorCode, SourceError};
pub use crate::domain::provider::connecting::{IdentityForm, IdentityPlace};
use crate::domain::provider::dialect::Pointer;
use crate::domain::redact;

/// Characters of an id; a longer one is none.
const LONGEST_ID: usize = 256;

/// Characters of a name that are kept.
const LONGEST_NAME: usize = 200;

/// How far another clock may be off.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Whose account it is at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What stays the same for the account, never an e-mail address. Several ids are joined by `/`.
    pub id: String,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl IdentityForm {
    /// OpenID Connect's own: the subject of an ID token or of the userinfo endpoint.
    pub fn of_subject(from: IdentityPlace) -> Self {
        Self { from, id: vec![Pointer::member("sub")], name: Some(Pointer::member("name")) }
    }

    /// The request for it, where one is made: with the access token, and without a body.
    pub fn request(&self, client_id: &str, access_token: &SecretString) -> Result<Request, SourceError> {
        let IdentityPlace::Request { url, method, parameter, headers } = &self.from else {
            return Err(SourceError::new(ErrorCode::Internal, "the account's identity is not asked for"));
        };
        let token = access_token.expose_secret();
        let mut url = url.clone();
        let mut all = vec![("Accept".to_owned(), SecretString::from("application/json"))];
        match parameter {
            Some(parameter) => drop(url.query_pairs_mut().append_pair(parameter, token)),
            None => all.push(("Authorization".to_owned(), SecretString::from(format!("Bearer {token}")))),
        }
        for (name, value) in headers.iter() {
            let value = value.replace("{client_id}", client_id).replace("{access_token}", token);
            all.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
            all.push((name.to_owned(), SecretString::from(value)));
        }
        Ok(Request { method: *method, url, headers: all, body: None })
    }

    /// The identity in a document; `None`: an id is missing, or is none.
    pub fn read(&self, document: &Value) -> Option<Identity> {
        let ids: Option<Vec<String>> = self.id.iter().map(|place| id(place.find(document)?)).collect();
        let id = ids.filter(|ids| !ids.is_empty())?.join("/");
        let name = self.name.as_ref().and_then(|place| place.find(document)).and_then(Value::as_str);
        let name = name.map(|name| redact::printable(name, LONGEST_NAME)).filter(|name| !name.is_empty());
        Some(Identity { id, name })
    }

    /// The identity in a callback's parameters, which count as a document of strings.
    pub fn read_callback(&self, parameters: &BTreeMap<String, String>) -> Option<Identity> {
        self.read(&parameters.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect())
    }
}

/// A string or a whole number; what else a server might say there identifies nothing.
fn id(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return None,
    };
    let is_usable = !id.is_empty() && id.chars().count() <= LONGEST_ID && id == redact::printable(&id, LONGEST_ID);
    is_usable.then_some(id)
}

/// Why an ID token says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenFault {
    /// It is no JWT.
    #[error("the ID token can't be read")]
    Unreadable,
    /// It is for another client.
    #[error("the ID token is for another client")]
    Audience,
    /// It comes from another issuer.
    #[error("the ID token is of another issuer")]
    Issuer,
    /// Its time is over.
    #[error("the ID token has expired")]
    Expired,
}

/// The claims of an ID token that came over TLS from the token endpoint, so that its signature need not be checked
/// (OpenID Connect Core section 3.1.3.7, item 6). `issuer`: `None` where none is known.
pub fn id_token_claims(
    id_token: &str,
    client_id: &str,
    issuer: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Value, IdTokenFault> {
    let payload = id_token.split('.').nth(1).ok_or(IdTokenFault::Unreadable)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map_err(|_| IdTokenFault::Unreadable)?;
    let claims: Value = serde_json::from_slice(&payload).map_err(|_| IdTokenFault::Unreadable)?;
    let is_for_us = match claims.get("aud") {
        Some(Value::String(audience)) => audience == client_id,
        Some(Value::Array(audiences)) => audiences.iter().any(|audience| audience.as_str() == Some(client_id)),
        _ => false,
    };
    if !is_for_us {
        return Err(IdTokenFault::Audience);
    }
    if issuer.is_some_and(|issuer| claims.get("iss").and_then(Value::as_str) != Some(issuer)) {
        return Err(IdTokenFault::Issuer);
    }
    let expires_at = claims.get("exp").and_then(Value::as_i64).and_then(|exp| DateTime::from_timestamp(exp, 0));
    if expires_at.is_none_or(|expires_at| expires_at + CLOCK_SKEW <= now) {
        return Err(IdTokenFault::Expired);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(ids: &[&str], name: &str) -> IdentityForm {
        let pointer = |text: &&str| Pointer::parse(text).expect("a pointer");
        IdentityForm { from: IdentityPlace::Answer, id: ids.iter().map(pointer).collect(), name: Some(pointer(&name)) }
    }

    #[test]
    fn several_ids_are_joined_and_numbers_count() {
        let document = json!({"team": {"id": "T1", "name": "Acme"}, "user": {"id": 42}});
        let identity = form(&["/team/id", "/user/id"], "/team/name").read(&document).expect("an identity");
        assert_eq!((identity.id.as_str(), identity.name.as_deref()), ("T1/42", Some("Acme")));
    }

    #[test]
    fn what_is_missing_empty_or_no_id_identifies_nothing() {
        for value in
            [json!(null), json!(""), json!(1.5), json!(true), json!({"a": 1}), json!("a\nb"), json!("x".repeat(257))]
        {
            assert_eq!(form(&["/id"], "/name").read(&json!({"id": value, "name": "Acme"})), None, "{value}");
        }
        assert_eq!(form(&["/id", "/other"], "/name").read(&json!({"id": "1"})), None);
    }

    #[test]
    fn a_name_is_made_printable_and_short_and_may_be_missing() {
        let identity =
            form(&["/id"], "/name").read(&json!({"id": "1", "name": format!("A\u{202e}{}", "b".repeat(300))}));
        let name = identity.expect("an identity").name.expect("a name");
        assert_eq!((name.chars().count(), name.contains('\u{202e}')), (200, false));
        assert_eq!(form(&["/id"], "/name").read(&json!({"id": "1", "name": 7})).expect("an identity").name, None);
    }

    #[test]
    fn oidc_core_3_1_3_7_an_id_token_is_for_this_client_of_this_issuer_and_not_over() {
        let now = DateTime::from_timestamp(1_000, 0).expect("a time");
        let token = |claims: Value| format!("e30.{}.sig", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let claims = |token: &str| id_token_claims(token, "app", Some("https://as.example.com"), now);
        let good = json!({"iss": "https://as.example.com", "aud": ["x", "app"], "exp": 1_001, "sub": "1"});
        assert_eq!(claims(&token(good.clone())).map(|claims| claims["sub"].clone()), Ok(json!("1")));
        let with = |member: &str, value: Value| {
            let mut claims = good.clone();
            claims[member] = value;
            token(claims)
        };
        assert_eq!(claims(&with("aud", json!("other"))), Err(IdTokenFault::Audience));
        assert_eq!(claims(&with("iss", json!("https://evil.example.com"))), Err(IdTokenFault::Issuer));
        assert_eq!(claims(&with("exp", json!(600))), Err(IdTokenFault::Expired));
        assert_eq!(claims(&with("exp", json!("soon"))), Err(IdTokenFault::Expired));
        for broken in ["", "a.b", "a.!.c", "a.e30"] {
            assert!(claims(broken).is_err(), "{broken}");
        }
    }
}
