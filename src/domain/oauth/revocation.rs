//! Ending a grant at the provider (RFC 7009, and the providers' own ways).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::Request;
use crate::domain::assertion::CLIENT_ASSERTION_TYPE;
pub use crate::domain::provider::connecting::{Ends, RevokeAuth, RevokeBody, RevokeForm, RevokedToken};

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// The provider ended it now.
    Revoked,
    /// It had ended before.
    AlreadyInvalid,
    /// The provider has no way to end it.
    Unsupported,
    /// It was left alone, since another connection would end with it.
    Kept,
    /// It is still to be ended.
    Pending,
}

/// What the client is and has, for a revocation.
#[derive(Debug, Clone, Copy)]
pub struct Revoker<'a> {
    /// The client.
    pub client_id: &'a str,
    /// Its secret, if it has one.
    pub client_secret: Option<&'a str>,
    /// The access token, if there is one.
    pub access_token: Option<&'a str>,
    /// A signed assertion (RFC 7523 section 2.2), with [`RevokeAuth::PrivateKeyJwt`].
    pub client_assertion: Option<&'a str>,
}

impl RevokeForm {
    /// The request that ends `token`. `endpoint`: the form's own, else the one of the issuer's metadata.
    pub fn request(&self, endpoint: &Url, token: &str, revoker: &Revoker<'_>) -> Request {
        let fill = |template: &str| {
            template
                .replace("{client_id}", revoker.client_id)
                .replace("{client_secret}", revoker.client_secret.unwrap_or_default())
                .replace("{access_token}", revoker.access_token.unwrap_or_default())
        };
        let mut headers = vec![("Accept".to_owned(), SecretString::from("application/json"))];
        let mut parameters: Vec<(String, String)> = Vec::new();
        if self.body != RevokeBody::None {
            parameters.push((self.parameter.clone(), token.to_owned()));
        }
        parameters.extend(self.params.iter().map(|(name, value)| (name.to_owned(), fill(value))));
        let mut authorize = |value: String| headers.push(("Authorization".to_owned(), SecretString::from(value)));
        match (self.auth, revoker.client_secret) {
            (RevokeAuth::Bearer, _) => authorize(format!("Bearer {token}")),
            (RevokeAuth::Basic, Some(secret)) => {
                let encode = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
                let credentials = format!("{}:{}", encode(revoker.client_id), encode(secret));
                authorize(format!("Basic {}", BASE64_STANDARD.encode(credentials)));
            }
            (RevokeAuth::Post | RevokeAuth::Basic, secret) => {
                parameters.push(("client_id".to_owned(), revoker.client_id.to_owned()));
                parameters.extend(secret.map(|secret| ("client_secret".to_owned(), secret.to_owned())));
            }
            (RevokeAuth::PrivateKeyJwt, _) => {
                parameters.push(("client_id".to_owned(), revoker.client_id.to_owned()));
                if let Some(assertion) = revoker.client_assertion {
                    parameters.push(("client_assertion_type".to_owned(), CLIENT_ASSERTION_TYPE.to_owned()));
                    parameters.push(("client_assertion".to_owned(), assertion.to_owned()));
                }
            }
            (RevokeAuth::None, _) => {}
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.to_owned(), SecretString::from(fill(value)))));

        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
        let mut url = endpoint.clone();
        url.set_path(&fill(&url.path().replace("%7B", "{").replace("%7D", "}")));
        let body = match self.body {
            RevokeBody::Form => Some(("application/x-www-form-urlencoded", form)),
            RevokeBody::Json => {
                let members: Map<_, _> =
                    parameters.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
                Some(("application/json", Value::Object(members).to_string()))
            }
            RevokeBody::Query if !form.is_empty() => {
                let query = url.query().map_or(form.clone(), |query| format!("{query}&{form}"));
                url.set_query(Some(&query));
                None
            }
            RevokeBody::Query | RevokeBody::None => None,
        };
        if let Some((content_type, _)) = &body {
            headers.push(("Content-Type".to_owned(), SecretString::from(*content_type)));
        }
        Request { method: self.method, url, headers, body: body.map(|(_, body)| SecretString::from(body)) }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const REVOKER: Revoker<'_> =
        Revoker { client_id: "app", client_secret: Some("s"), access_token: Some("t"), client_assertion: Some("jwt") };

    fn request(form: &RevokeForm, endpoint: &str) -> Request {
        form.request(&endpoint.parse().expect("a URL"), "token", &REVOKER)
    }

    #[test]
    fn an_endpoint_may_hold_the_clients_id() {
        let request = request(&RevokeForm::rfc7009(RevokeAuth::Basic), "https://as.example.com/apps/{client_id}/grant");
        assert_eq!(request.url.as_str(), "https://as.example.com/apps/app/grant");
    }

    #[test]
    fn rfc7523_2_2_a_client_may_show_an_assertion() {
        let request = request(&RevokeForm::rfc7009(RevokeAuth::PrivateKeyJwt), "https://as.example.com/revoke");
        let body = request.body.expect("a body");
        assert_eq!(
            body.expose_secret(),
            "token=token&client_id=app&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3A\
             jwt-bearer&client_assertion=jwt"
        );
        assert!(request.headers.iter().all(|(name, _)| name != "Authorization"));
    }
}
