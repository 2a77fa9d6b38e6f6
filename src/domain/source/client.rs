//! How a definition's client proves who it is: secrets, keys, certificates.

use chrono::TimeDelta;
use jsonwebtoken::Algorithm;
use secrecy::SecretString;
use serde_json::Value;

use super::fields::Fields;
use super::{ClientAuthentication, Tls};
use crate::domain::assertion::{Assertion, DEFAULT_LIFETIME, LONGEST_LIFETIME, SigningKey};

const ASSERTION: [&str; 4] = ["claims", "lifetime", "scope", "subject"];

/// Claims that an assertion has anyway.
const RESERVED_CLAIMS: [&str; 8] = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope"];

/// The methods of `token_endpoint_auth_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AuthenticationMethod {
    Basic,
    Post,
    PrivateKeyJwt,
    MutualTls,
    None,
}

/// Whom an assertion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Client,
    Nobody,
    Required,
}

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

impl Fields {
    pub(super) fn authentication_method(&mut self, default: AuthenticationMethod) -> Option<AuthenticationMethod> {
        let methods = [
            ("client_secret_basic", AuthenticationMethod::Basic),
            ("client_secret_post", AuthenticationMethod::Post),
            ("private_key_jwt", AuthenticationMethod::PrivateKeyJwt),
            ("tls_client_auth", AuthenticationMethod::MutualTls),
            ("self_signed_tls_client_auth", AuthenticationMethod::MutualTls),
            ("none", AuthenticationMethod::None),
        ];
        if self.has("token_endpoint_auth_method") {
            self.choice("token_endpoint_auth_method", &methods)
        } else {
            Some(default)
        }
    }

    pub(super) fn client_id(&mut self) -> Option<String> {
        self.either("client_id", "api_key")
    }

    /// A client id that the request can't do without.
    pub(super) fn require_client_id(&mut self) {
        if !self.has("api_key") {
            self.required("client_id");
        }
    }

    pub(super) fn client_authentication(
        &mut self,
        method: AuthenticationMethod,
        form: &AssertionForm,
        client_id: Option<&str>,
    ) -> Option<ClientAuthentication> {
        let secret = self.either("client_secret", "api_secret").map(SecretString::from);
        match method {
            AuthenticationMethod::Basic | AuthenticationMethod::Post => {
                if !self.has("api_secret") && !self.has("client_secret") {
                    let method = if method == AuthenticationMethod::Basic { "basic" } else { "post" };
                    self.fault("client_secret", format_args!("is required for client_secret_{method}"));
                }
                secret.map(match method {
                    AuthenticationMethod::Basic => ClientAuthentication::Basic,
                    _ => ClientAuthentication::Post,
                })
            }
            AuthenticationMethod::PrivateKeyJwt => {
                let assertion = self.assertion(form, client_id, None, "private_key_jwt")?;
                Some(ClientAuthentication::PrivateKeyJwt(Box::new(assertion)))
            }
            AuthenticationMethod::MutualTls => {
                for field in ["certificate", "private_key"] {
                    if !self.has(field) {
                        self.fault(field, "is required for tls_client_auth and self_signed_tls_client_auth");
                    }
                }
                Some(ClientAuthentication::MutualTls)
            }
            AuthenticationMethod::None => Some(ClientAuthentication::None),
        }
    }

    /// `assertion`: what a signed JWT says. What it is made of is checked here, whether one is made or not.
    pub(super) fn assertion_form(&mut self) -> AssertionForm {
        let mut section = self.section_or_empty("assertion", &ASSERTION);
        let subjects = [("client", Subject::Client), ("none", Subject::Nobody), ("required", Subject::Required)];
        let lifetime = section.duration("lifetime", TimeDelta::seconds(1));
        if lifetime.is_some_and(|lifetime| lifetime > LONGEST_LIFETIME) {
            section.fault("lifetime", "must be at most 5m");
        }
        let mut claims = Vec::new();
        for (name, value) in section.object("claims") {
            match value {
                _ if RESERVED_CLAIMS.contains(&name.as_str()) => {
                    section.fault("claims", format_args!("can't hold `{name}`, which the assertion has anyway"));
                }
                Value::String(value) => claims.push((name, value)),
                _ => section.fault("claims", "must be an object of strings"),
            }
        }
        let subject_rule = section.choice("subject", &subjects).unwrap_or(Subject::Client);
        let scope_is_claim = section.boolean("scope").unwrap_or(false);
        self.absorb(section);
        AssertionForm {
            subject_rule,
            scope_is_claim,
            lifetime: lifetime.unwrap_or(DEFAULT_LIFETIME),
            claims,
            key_id: self.string("key_id"),
            audience: self.string("assertion_audience"),
            subject: self.string("assertion_subject"),
            certificate: self.certificates("certificate").and_then(|chain| chain.first().map(|leaf| leaf.to_vec())),
            key: self.signing_key(),
        }
    }

    /// An assertion; `purpose` is what its key is required for.
    pub(super) fn assertion(
        &mut self,
        form: &AssertionForm,
        client_id: Option<&str>,
        scope: Option<&str>,
        purpose: &str,
    ) -> Option<Assertion> {
        if form.subject_rule == Subject::Required && !self.has("assertion_subject") {
            self.fault("assertion_subject", "is required: for whom a token is asked");
        }
        if !self.has("private_key") {
            self.fault("private_key", format_args!("is required for {purpose}"));
        }
        let of_client = if form.subject_rule == Subject::Client { client_id.map(str::to_owned) } else { None };
        Some(Assertion {
            key: form.key.clone()?,
            key_id: form.key_id.clone(),
            issuer: client_id?.to_owned(),
            subject: form.subject.clone().or(of_client),
            audience: form.audience.clone(),
            scope: scope.filter(|_| form.scope_is_claim).map(str::to_owned),
            claims: form.claims.clone(),
            lifetime: form.lifetime,
            certificate: form.certificate.clone(),
        })
    }

    fn signing_key(&mut self) -> Option<SigningKey> {
        let algorithms = [("RS256", Algorithm::RS256), ("PS256", Algorithm::PS256), ("ES256", Algorithm::ES256)];
        let algorithm = self.choice("assertion_algorithm", &algorithms);
        let pem = self.pem("private_key")?;
        SigningKey::from_pem(&pem, algorithm).map_err(|error| self.fault("private_key", error)).ok()
    }

    /// Connection settings; the certificate is presented in the handshake with a method of mutual TLS only.
    pub(super) fn tls(&mut self, mutual: bool) -> Tls {
        let identity = if mutual { self.pem("certificate").zip(self.pem("private_key")) } else { None };
        let ca_certificate = self.certificates("ca_certificate").and_then(|_| self.pem("ca_certificate"));
        Tls { ca_certificate, identity: identity.map(|(certificate, key)| (certificate, SecretString::from(key))) }
    }
}
