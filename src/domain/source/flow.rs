//! One kind of token request: its endpoint, its client, its parameters, each checked against the others.

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::client::AuthenticationMethod;
use super::definition::Reader;
use super::dialect::RequestDefaults;
use super::fields::Fields;
use super::{ClientAuthentication, Credential, Endpoint, Flow, ParameterValue, parse_endpoint_url};
use crate::domain::assertion::JWT_BEARER;
use crate::domain::provider::dialect::{CredentialPlace, RefreshRules, RequestForm};
use crate::domain::provider::{self, CUSTOM};
use crate::domain::redact;

/// Parameters that other fields set; RFC 6749 section 3.2 allows each once.
const RESERVED_PARAMS: [(&str, &str); 7] = [
    ("grant_type", "grant_type"),
    ("client_id", "client_id"),
    ("client_secret", "client_secret"),
    ("refresh_token", "refresh_token"),
    ("scope", "scope"),
    ("client_assertion", "token_endpoint_auth_method"),
    ("client_assertion_type", "token_endpoint_auth_method"),
];

/// Headers that belong to the connection or to the body.
const RESERVED_HEADERS: [&str; 6] = ["connection", "content-length", "content-type", "host", "te", "transfer-encoding"];

/// What a grant type is asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantCredential {
    None,
    RefreshToken,
    AccessToken,
    Assertion,
}

/// Whose request a flow is.
pub(super) enum Role {
    /// The one that brings a token, or refreshes it.
    Grant { grant_type: String, credential: GrantCredential },
    /// One that follows another.
    Step,
}

impl Reader {
    /// One kind of token request. `None` only if a fault was noted.
    pub(super) fn flow(&self, fields: &mut Fields, role: &Role) -> Option<Flow> {
        let endpoint = self.endpoint(fields, role);
        let (credential, is_step) = match role {
            Role::Grant { credential, .. } => (*credential, false),
            Role::Step => (GrantCredential::AccessToken, true),
        };
        let has_secret = fields.has("client_secret") || fields.has("api_secret");
        let default = match credential {
            GrantCredential::Assertion if !has_secret => AuthenticationMethod::None,
            _ if is_step => AuthenticationMethod::None,
            _ => AuthenticationMethod::Basic,
        };
        let method = fields.authentication_method(default);
        let unnamed =
            method == Some(AuthenticationMethod::None) && (is_step || credential == GrantCredential::Assertion);
        let defaults = RequestDefaults {
            client_id: if unnamed { "" } else { "client_id" },
            credential: match credential {
                GrantCredential::RefreshToken => "refresh_token",
                GrantCredential::Assertion => "assertion",
                GrantCredential::None | GrantCredential::AccessToken => "access_token",
            },
        };
        let request = fields.request_form(&defaults, method == Some(AuthenticationMethod::Post));
        let response = fields.response_form();
        let errors = fields.error_rules();
        // What a step exchanges stays good: another try brings another token.
        let refresh = match role {
            Role::Grant { .. } => fields.refresh_rules(),
            Role::Step => RefreshRules { rotates: Some(false), ..RefreshRules::default() },
        };
        let scope = fields.scope();

        let client_id = fields.client_id();
        let named = match method {
            Some(AuthenticationMethod::Basic | AuthenticationMethod::PrivateKeyJwt) => true,
            _ => request.client_id_parameter.is_some() || credential == GrantCredential::Assertion,
        };
        if named {
            fields.require_client_id();
        }
        let is_assertion = credential == GrantCredential::Assertion;
        let authenticates_by_assertion = method == Some(AuthenticationMethod::PrivateKeyJwt);
        if is_assertion || authenticates_by_assertion {
            self.fill_assertion_audience(fields);
        }
        if is_assertion && authenticates_by_assertion && fields.has("assertion_subject") {
            fields.fault("token_endpoint_auth_method", format_args!("can't be private_key_jwt beside {JWT_BEARER}"));
        }
        let form = fields.assertion_form();
        let assertion =
            is_assertion.then(|| fields.assertion(&form, client_id.as_deref(), scope.as_deref(), JWT_BEARER));
        let authentication =
            method.and_then(|method| fields.client_authentication(method, &form, client_id.as_deref()));
        let sent = sent_parameters(&request, method, credential);
        fields.check_parameters(&sent, endpoint.as_ref());
        let params = fields.params(&sent);
        let headers = fields.headers();
        let sets_authorization = matches!(authentication, Some(ClientAuthentication::Basic(_)));
        let bearer = request.credential == CredentialPlace::Bearer && credential != GrantCredential::None;
        if sets_authorization && bearer {
            fields.fault("request.credential_in", "contradicts client_secret_basic: there is one Authorization header");
        }
        if (sets_authorization || bearer) && headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            let by = if bearer { "request.credential_in" } else { "client_secret_basic" };
            fields.fault("headers.Authorization", format_args!("is set by {by}"));
        }
        Some(Flow {
            endpoint: endpoint?,
            grant_type: match role {
                Role::Grant { grant_type, .. } => Some(grant_type.clone()),
                Role::Step => fields.string("grant_type"),
            },
            credential: match credential {
                GrantCredential::None => Credential::None,
                GrantCredential::RefreshToken => Credential::RefreshToken,
                GrantCredential::AccessToken => Credential::AccessToken,
                GrantCredential::Assertion => Credential::Assertion(Box::new(assertion??)),
            },
            client_id,
            client_authentication: authentication?,
            request,
            response,
            errors,
            refresh,
            scope,
            params,
            headers,
        })
    }

    fn endpoint(&self, fields: &mut Fields, role: &Role) -> Option<Endpoint> {
        let is_step = matches!(role, Role::Step);
        if !is_step && let Some(issuer) = &self.issuer {
            if self.written.contains_key("token_endpoint") {
                fields.fault("issuer", "leads to the token endpoint: give it or `token_endpoint`, not both");
            }
            return Some(issuer.clone());
        }
        if !is_step && self.written.contains_key("issuer") {
            return None;
        }
        if !fields.has("token_endpoint") {
            if self.provider.is_none() && !is_step && !self.written.contains_key("provider") {
                fields.fault("token_endpoint", "is required (or `issuer`, or `provider`)");
            } else if !self.provider_unknown {
                fields.required("token_endpoint");
            }
            return None;
        }
        let declared = is_step || !self.written.contains_key("token_endpoint");
        let Some(provider) = &self.provider else {
            return fields.endpoint_url("token_endpoint", self.plain_http).map(Endpoint::Token);
        };
        let template = fields.string("token_endpoint")?;
        let base_url = self.base_url.as_ref().filter(|_| declared || provider == CUSTOM);
        let resolved = self.resolve(fields, &template, base_url)?;
        match parse_endpoint_url(&resolved, self.plain_http) {
            Ok(url) => Some(Endpoint::Token(url)),
            Err(reason) => {
                fields.fault(if resolved == template { "token_endpoint" } else { "variables" }, reason);
                None
            }
        }
    }

    /// Fills the placeholders of a template. `None` only if a fault was noted.
    fn resolve(&self, fields: &mut Fields, template: &str, base_url: Option<&Url>) -> Option<String> {
        let provider = self.provider.as_deref().unwrap_or(CUSTOM);
        provider::resolve_endpoint(template, self.variables.as_ref()?, base_url)
            .map_err(|missing| fields.fault("variables", format_args!("`{provider}` needs `{missing}`")))
            .ok()
    }

    /// An audience that names the provider's own address, `https://{domain}/`.
    fn fill_assertion_audience(&self, fields: &mut Fields) {
        let Some(audience) = fields.values().get("assertion_audience").and_then(Value::as_str) else { return };
        let audience = audience.to_owned();
        if self.provider.is_some()
            && provider::placeholders(&audience).next().is_some()
            && let Some(resolved) = self.resolve(fields, &audience, self.base_url.as_ref())
        {
            fields.replace("assertion_audience", resolved);
        }
    }
}

/// The names of the parameters that a request sends by itself.
fn sent_parameters(
    request: &RequestForm,
    method: Option<AuthenticationMethod>,
    credential: GrantCredential,
) -> Vec<&str> {
    let credential = match &request.credential {
        CredentialPlace::Parameter(name) if credential != GrantCredential::None => Some(name),
        _ => None,
    };
    let secret = Some(&request.client_secret_parameter).filter(|_| method == Some(AuthenticationMethod::Post));
    let client_id = request.client_id_parameter.as_ref().filter(|_| method != Some(AuthenticationMethod::Basic));
    let further = [&request.grant_type_parameter, &request.scope_parameter].into_iter().flatten();
    further.chain(client_id).chain(credential).chain(secret).map(String::as_str).collect()
}

impl Fields {
    /// RFC 6749 section 3.3: space-delimited.
    fn scope(&mut self) -> Option<String> {
        let scope = match self.values().get("scope")? {
            Value::String(scope) => Some(scope.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
            Value::Array(scopes) => {
                scopes.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|scopes| scopes.join(" "))
            }
            _ => None,
        };
        if scope.is_none() {
            self.fault("scope", "must be a string or an array of strings");
        }
        scope.filter(|scope| !scope.is_empty())
    }

    /// What the request sends by itself must stand neither twice in it nor in the endpoint's own query.
    fn check_parameters(&mut self, sent: &[&str], endpoint: Option<&Endpoint>) {
        for (index, name) in sent.iter().enumerate() {
            if sent[..index].contains(name) {
                self.fault("request", format_args!("names two parameters `{}`", redact::printable(name, 64)));
            }
        }
        let Some(Endpoint::Token(url)) = endpoint else { return };
        // Some vendors write `?grant_type=client_credentials` into the endpoint that they document, and mean no harm.
        let twice = |name: &str| name != "grant_type" && sent.contains(&name);
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| twice(name)) {
            let name = redact::printable(&name, 64);
            self.fault("token_endpoint", format_args!("holds `{name}` in its query, which the request sends itself"));
        }
    }

    /// Further parameters, none of which is sent anyway.
    fn params(&mut self, sent: &[&str]) -> Vec<(String, ParameterValue)> {
        let mut params = Vec::new();
        for (name, value) in self.object("params") {
            let field = format!("params.{}", redact::printable(&name, 64));
            let reserved = RESERVED_PARAMS.iter().find(|(reserved, _)| *reserved == name).map(|(_, owner)| *owner);
            if let Some(owner) = reserved.or(sent.contains(&name.as_str()).then_some("request")) {
                self.fault(&field, format_args!("is set by `{owner}`"));
                continue;
            }
            let text =
                |value: Value| if let Value::String(text) = value { Some(SecretString::from(text)) } else { None };
            let value = match value {
                Value::Array(values) => values.into_iter().map(text).collect::<Option<_>>().map(ParameterValue::Many),
                value => text(value).map(ParameterValue::One),
            };
            match value {
                Some(value) => params.push((name, value)),
                None => self.fault(&field, "must be a string or an array of strings"),
            }
        }
        params
    }

    fn headers(&mut self) -> Vec<(String, SecretString)> {
        let mut headers = Vec::new();
        for (name, value) in self.object("headers") {
            let field = format!("headers.{}", redact::printable(&name, 64));
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) {
                self.fault(&field, "is no header name");
            } else if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                self.fault(&field, "is set by the request itself");
            } else {
                match value {
                    Value::String(text) if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
                        headers.push((name, SecretString::from(text)));
                    }
                    _ => self.fault(&field, "must be a string of printable ASCII"),
                }
            }
        }
        headers
    }
}
