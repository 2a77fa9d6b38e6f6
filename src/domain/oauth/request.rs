//! Building a token request.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{Exchange, Request};
use crate::domain::assertion::{Assertion, CLIENT_ASSERTION_TYPE};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::provider::dialect::{BodyForm, CredentialPlace, Place, RequestForm, RequestMethod};
use crate::domain::source::{ClientAuthentication, Credential, ParameterValue};

/// Names and values, in the order in which they are sent.
#[derive(Default)]
struct Parameters(Vec<(String, ParameterValue)>);

impl Parameters {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), ParameterValue::One(SecretString::from(value))));
    }

    /// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
    fn form(&self) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            for value in value.iter() {
                form.append_pair(name, value.expose_secret());
            }
        }
        form.finish()
    }

    /// One JSON object.
    fn json(&self) -> String {
        let text = |value: &SecretString| Value::from(value.expose_secret());
        let members = self.0.iter().map(|(name, value)| {
            let value = match value {
                ParameterValue::One(value) => text(value),
                ParameterValue::Many(values) => values.iter().map(text).collect(),
            };
            (name.clone(), value)
        });
        Value::Object(members.collect()).to_string()
    }
}

/// A request while it is built.
struct Draft {
    headers: Vec<(String, SecretString)>,
    body: Parameters,
    query: Parameters,
}

impl Draft {
    fn new() -> Self {
        Self {
            headers: vec![("Accept".to_owned(), SecretString::from("application/json"))],
            body: Parameters::default(),
            query: Parameters::default(),
        }
    }

    fn at(&mut self, place: Place) -> &mut Parameters {
        match place {
            Place::Body => &mut self.body,
            Place::Query => &mut self.query,
        }
    }

    fn authorize(&mut self, scheme: &str, credentials: &str) {
        self.headers.push(("Authorization".to_owned(), SecretString::from(format!("{scheme} {credentials}"))));
    }

    /// The definition's own headers replace those of the same name.
    fn add_headers(&mut self, headers: &[(String, SecretString)]) {
        for (name, value) in headers {
            self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
            self.headers.push((name.clone(), value.clone()));
        }
    }

    fn finish(mut self, token_endpoint: &Url, form: &RequestForm) -> Request {
        let mut url = token_endpoint.clone();
        if !self.query.0.is_empty() {
            let query = match url.query() {
                Some(query) if !query.is_empty() => format!("{query}&{}", self.query.form()),
                _ => self.query.form(),
            };
            url.set_query(Some(&query));
        }
        let body = match (form.method, form.body) {
            (RequestMethod::Get | RequestMethod::Delete, _) => None,
            (RequestMethod::Post, BodyForm::Form) => Some(("application/x-www-form-urlencoded", self.body.form())),
            (RequestMethod::Post, BodyForm::Json) => Some(("application/json", self.body.json())),
        };
        if let Some((content_type, _)) = &body {
            self.headers.push(("Content-Type".to_owned(), SecretString::from(*content_type)));
        }
        let body = body.map(|(_, body)| SecretString::from(body));
        Request { method: form.method, url, headers: self.headers, body }
    }
}

impl Exchange<'_> {
    /// The request, as it is sent once.
    ///
    /// `jti` identifies a signed assertion (RFC 7523 section 3), so it must be another one for each request.
    pub fn request(&self, token_endpoint: &Url, jti: &str, now: DateTime<Utc>) -> Result<Request, SourceError> {
        let sign = |assertion: &Assertion| sign(assertion, token_endpoint, jti, now);
        let mut draft = Draft::new();
        self.add_grant(&mut draft, sign)?;
        self.add_client(&mut draft, sign)?;
        draft.add_headers(&self.flow.headers);
        Ok(draft.finish(token_endpoint, &self.flow.request))
    }

    /// What is asked for, and by which grant (RFC 6749 section 4).
    fn add_grant(
        &self,
        draft: &mut Draft,
        sign: impl Fn(&Assertion) -> Result<String, SourceError>,
    ) -> Result<(), SourceError> {
        let flow = self.flow;
        let form = &flow.request;
        if let (Some(name), Some(grant_type)) = (&form.grant_type_parameter, &flow.grant_type) {
            draft.at(form.parameters_in).add(name, grant_type);
        }
        let signed;
        let credential = match &flow.credential {
            Credential::None => None,
            Credential::RefreshToken | Credential::AccessToken | Credential::Code => {
                self.credential.map(SecretString::expose_secret)
            }
            Credential::Assertion(assertion) => {
                signed = sign(assertion)?;
                Some(signed.as_str())
            }
        };
        match (&form.credential, credential) {
            (_, None) => {}
            (CredentialPlace::Parameter(name), Some(credential)) => draft.at(form.parameters_in).add(name, credential),
            (CredentialPlace::Bearer, Some(credential)) => draft.authorize("Bearer", credential),
        }
        let scope_is_said = match &flow.credential {
            Credential::Assertion(assertion) => assertion.scope.is_some(),
            Credential::Code => true,
            _ => false,
        };
        let parameters = draft.at(form.parameters_in);
        for (name, value) in self.further {
            parameters.add(name, value);
        }
        if let (Some(name), Some(scope), false) = (&form.scope_parameter, &flow.scope, scope_is_said) {
            parameters.add(name, &scope.replace(' ', &form.scope_delimiter));
        }
        parameters.0.extend(flow.params.iter().cloned());
        Ok(())
    }

    /// Who asks, and the proof of it (RFC 6749 section 2.3).
    fn add_client(
        &self,
        draft: &mut Draft,
        sign: impl Fn(&Assertion) -> Result<String, SourceError>,
    ) -> Result<(), SourceError> {
        let flow = self.flow;
        let form = &flow.request;
        let parameters = draft.at(form.client_in);
        let client_id = form.client_id_parameter.as_deref().zip(flow.client_id.as_deref());
        if let (Some((name, client_id)), false) =
            (client_id, matches!(flow.client_authentication, ClientAuthentication::Basic(_)))
        {
            parameters.add(name, client_id);
        }
        match &flow.client_authentication {
            ClientAuthentication::Basic(_) => draft.authorize("Basic", &self.basic_credentials()),
            ClientAuthentication::Post(secret) => {
                parameters.add(&form.client_secret_parameter, secret.expose_secret());
            }
            ClientAuthentication::PrivateKeyJwt(assertion) => {
                parameters.add("client_assertion_type", CLIENT_ASSERTION_TYPE);
                parameters.add("client_assertion", &sign(assertion)?);
            }
            ClientAuthentication::MutualTls | ClientAuthentication::None => {}
        }
        Ok(())
    }

    /// What follows `Basic `: id and secret, form-encoded first (RFC 6749 section 2.3.1) unless the server wants them
    /// as they are; empty where the client does not authenticate so.
    pub(super) fn basic_credentials(&self) -> String {
        let ClientAuthentication::Basic(secret) = &self.flow.client_authentication else { return String::new() };
        let encode = |part: &str| {
            if self.flow.request.basic_encoded {
                form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>()
            } else {
                part.to_owned()
            }
        };
        let client_id = self.flow.client_id.as_deref().unwrap_or_default();
        BASE64_STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret.expose_secret())))
    }
}

fn sign(assertion: &Assertion, token_endpoint: &Url, jti: &str, now: DateTime<Utc>) -> Result<String, SourceError> {
    assertion
        .sign(token_endpoint.as_str(), jti, now)
        .map_err(|error| SourceError::new(ErrorCode::DefinitionInvalid, format!("`private_key` {error}")))
}
