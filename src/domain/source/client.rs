//! How a definition's client proves who it is: secrets, keys, certificates.

use chrono::TimeDelta;
use jsonwebtoken::Algorithm;
use secrecy::SecretString;
use serde_json::Value;

use super::fields::{Faults, Fields};
use super::schema::{Choices, ChoicesOrDefault, assertion, definition};
use super::{ClientAuthentication, Tls};
use crate::domain::assertion::{Assertion, LONGEST_LIFETIME, SigningKey};

/// The methods of `token_endpoint_auth_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthenticationMethod {
    Basic,
    Post,
    PrivateKeyJwt,
    MutualTls,
    None,
}

const METHODS: Choices<AuthenticationMethod> = definition::TOKEN_ENDPOINT_AUTH_METHOD.meaning(&[
    ("client_secret_basic", AuthenticationMethod::Basic),
    ("client_secret_post", AuthenticationMethod::Post),
    ("private_key_jwt", AuthenticationMethod::PrivateKeyJwt),
    ("tls_client_auth", AuthenticationMethod::MutualTls),
    ("self_signed_tls_client_auth", AuthenticationMethod::MutualTls),
    ("none", AuthenticationMethod::None),
]);

/// Whom an assertion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Client,
    Nobody,
    Required,
}

const SUBJECTS: ChoicesOrDefault<Subject> = assertion::SUBJECT.meaning(&[
    ("client", Subject::Client),
    ("none", Subject::Nobody),
    ("required", Subject::Required),
]);

const ALGORITHMS: Choices<Algorithm> = definition::ASSERTION_ALGORITHM.meaning(&[
    ("RS256", Algorithm::RS256),
    ("PS256", Algorithm::PS256),
    ("ES256", Algorithm::ES256),
]);

/// What assertions say and are signed with, read once: a key takes long to check.
pub(super) struct AssertionForm {
    subject_rule: Subject,
    scope_is_claim: bool,
    lifetime: TimeDelta,
    claims: Vec<(String, String)>,
    key_id: Option<String>,
    audience: Option<String>,
    subject: Option<String>,
    /// DER of the leaf.
    certificate: Option<Vec<u8>>,
    key: Option<SigningKey>,
}

/// `token_endpoint_auth_method`.
pub(super) fn authentication_method(
    of: &Fields<'_>,
    default: AuthenticationMethod,
) -> Result<AuthenticationMethod, Faults> {
    let mut fields = of.part();
    let method =
        if fields.has(definition::TOKEN_ENDPOINT_AUTH_METHOD) { fields.choice(&METHODS) } else { Some(default) };
    fields.finish_some(method)
}

/// `client_id`, which some requests do without.
pub(super) fn client_id(of: &Fields<'_>, is_required: bool) -> Result<Option<String>, Faults> {
    let mut fields = of.part();
    let client_id = fields.either(definition::CLIENT_ID, definition::API_KEY);
    if is_required && !fields.has(definition::API_KEY) {
        fields.required(definition::CLIENT_ID);
    }
    fields.finish(client_id)
}

/// How the client authenticates by a method; `None`: the method has a fault.
pub(super) fn authentication(
    of: &Fields<'_>,
    method: Option<AuthenticationMethod>,
    form: &AssertionForm,
    client_id: Option<&str>,
) -> Result<ClientAuthentication, Faults> {
    let mut fields = of.part();
    let secret = fields.either(definition::CLIENT_SECRET, definition::API_SECRET);
    let mut require_secret = |method| {
        if !fields.has(definition::API_SECRET) && !fields.has(definition::CLIENT_SECRET) {
            fields.fault(definition::CLIENT_SECRET, format_args!("is required for {method}"));
        }
    };
    let authentication = match method {
        None => None,
        Some(AuthenticationMethod::Basic) => {
            require_secret("client_secret_basic");
            secret.map(ClientAuthentication::Basic)
        }
        Some(AuthenticationMethod::Post) => {
            require_secret("client_secret_post");
            secret.map(ClientAuthentication::Post)
        }
        Some(AuthenticationMethod::PrivateKeyJwt) => {
            let assertion = form.assertion(of, client_id, None, "private_key_jwt");
            fields.keep(assertion).map(|assertion| ClientAuthentication::PrivateKeyJwt(Box::new(assertion)))
        }
        Some(AuthenticationMethod::MutualTls) => {
            for field in [definition::CERTIFICATE, definition::PRIVATE_KEY] {
                if !fields.has(field) {
                    fields.fault(field, "is required for tls_client_auth and self_signed_tls_client_auth");
                }
            }
            Some(ClientAuthentication::MutualTls)
        }
        Some(AuthenticationMethod::None) => Some(ClientAuthentication::None),
    };
    fields.finish_some(authentication)
}

/// `assertion`, and what it is made of: both are checked whether an assertion is made or not. `audience`: what
/// `assertion_audience` is with its placeholders filled, if it has any.
pub(super) fn assertion_form(of: &Fields<'_>, audience: Option<String>) -> (AssertionForm, Faults) {
    let mut section = of.section(definition::ASSERTION);
    let lifetime = section.get_or_default(assertion::LIFETIME);
    if lifetime > LONGEST_LIFETIME {
        section.fault(assertion::LIFETIME, "must be at most 5m");
    }
    let mut claims = Vec::new();
    for (name, value) in section.object(assertion::CLAIMS).into_iter().flatten() {
        match value {
            _ if assertion::CLAIMS.form.reserved.contains(&name.as_str()) => {
                section.fault(assertion::CLAIMS, format_args!("can't hold `{name}`, which the assertion has anyway"));
            }
            Value::String(value) => claims.push((name.clone(), value.clone())),
            _ => section.fault(assertion::CLAIMS, "must be an object of strings"),
        }
    }
    let subject_rule = section.choice_or_default(&SUBJECTS);
    let scope_is_claim = section.get_or_default(assertion::SCOPE);

    let mut fields = of.part();
    fields.keep(section.finish(()));
    let key_id = fields.get(definition::KEY_ID);
    let written_audience = fields.get(definition::ASSERTION_AUDIENCE);
    let subject = fields.get(definition::ASSERTION_SUBJECT);
    let certificate = fields.certificates(definition::CERTIFICATE);
    let form = AssertionForm {
        subject_rule,
        scope_is_claim,
        lifetime,
        claims,
        key_id,
        audience: audience.or(written_audience),
        subject,
        certificate: certificate.and_then(|chain| chain.first().map(|leaf| leaf.to_vec())),
        key: fields.signing_key(),
    };
    fields.finish_read(form)
}

impl AssertionForm {
    /// An assertion; `purpose` is what its key is required for.
    pub(super) fn assertion(
        &self,
        of: &Fields<'_>,
        client_id: Option<&str>,
        scope: Option<&str>,
        purpose: &str,
    ) -> Result<Assertion, Faults> {
        let mut fields = of.part();
        if self.subject_rule == Subject::Required && !fields.has(definition::ASSERTION_SUBJECT) {
            fields.fault(definition::ASSERTION_SUBJECT, "is required: for whom a token is asked");
        }
        if !fields.has(definition::PRIVATE_KEY) {
            fields.fault(definition::PRIVATE_KEY, format_args!("is required for {purpose}"));
        }
        let (Some(key), Some(client_id)) = (&self.key, client_id) else { return fields.finish_some(None) };
        fields.finish(())?;
        let of_client = || (self.subject_rule == Subject::Client).then(|| client_id.to_owned());
        Ok(Assertion {
            key: key.clone(),
            key_id: self.key_id.clone(),
            issuer: client_id.to_owned(),
            subject: self.subject.clone().or_else(of_client),
            audience: self.audience.clone(),
            scope: scope.filter(|_| self.scope_is_claim).map(str::to_owned),
            claims: self.claims.clone(),
            lifetime: self.lifetime,
            certificate: self.certificate.clone(),
        })
    }
}

impl Fields<'_> {
    fn signing_key(&mut self) -> Option<SigningKey> {
        let algorithm = self.choice(&ALGORITHMS);
        let pem = self.get(definition::PRIVATE_KEY)?;
        SigningKey::from_pem(&pem, algorithm).map_err(|error| self.fault(definition::PRIVATE_KEY, error)).ok()
    }

    /// Connection settings; the certificate is presented in the handshake with a method of mutual TLS only.
    pub(super) fn tls(&mut self, mutual: bool) -> Tls {
        let identity = if mutual {
            self.get(definition::CERTIFICATE).zip(self.get(definition::PRIVATE_KEY).map(SecretString::from))
        } else {
            None
        };
        let authority = self.certificates(definition::CA_CERTIFICATE);
        Tls { ca_certificate: authority.and_then(|_| self.get(definition::CA_CERTIFICATE)), identity }
    }
}
