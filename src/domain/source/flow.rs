//! One kind of token request, put together of parts: its endpoint, its client, its form, its parameters. A part that
//! depends on another is checked against what could be read of it, so that all faults are told at once.

use url::Url;

use super::client::{self, AssertionForm, AuthenticationMethod};
use super::definition::Reader;
use super::fields::{Faults, Fields};
use super::parameters;
use super::schema::{Field, Template, definition, request};
use super::sections::{self, RequestDefaults};
use super::{Credential, Endpoint, Flow, parse_endpoint_url};
use crate::domain::assertion::JWT_BEARER;
use crate::domain::provider::dialect::{CredentialPlace, RefreshRules, RequestForm};
use crate::domain::provider::{self, CUSTOM};

/// Whose request a flow is.
pub(super) enum Role {
    /// The one that brings a token, or refreshes it.
    Grant { grant_type: String, credential: Credential<()> },
    /// One that follows another, and exchanges its access token.
    Step,
}

impl Role {
    fn is_step(&self) -> bool {
        matches!(self, Self::Step)
    }

    fn credential(&self) -> Credential<()> {
        match self {
            Self::Grant { credential, .. } => *credential,
            Self::Step => Credential::AccessToken,
        }
    }

    fn is_assertion(&self) -> bool {
        self.credential() == Credential::Assertion(())
    }
}

impl Reader {
    /// One kind of token request.
    pub(super) fn flow(&self, fields: &Fields<'_>, role: &Role) -> Result<Flow, Faults> {
        let mut faults = Faults::default();
        let endpoint = faults.keep(self.endpoint(fields, role));
        let method = faults.keep(authentication_method(fields, role));
        let request = faults.keep_read(request_form(fields, role, method));
        let response = faults.keep(sections::response_form(fields));
        let errors = faults.keep(sections::error_rules(fields));
        let refresh = faults.keep(refresh_rules(fields, role));
        let scope = faults.keep(parameters::scope(fields)).flatten();
        let client_id = faults.keep(client::client_id(fields, needs_client_id(role, method, &request))).flatten();
        let assertions = faults.keep_read(self.assertion_form(fields, role, method));
        let credential = credential(fields, role, &assertions, client_id.as_deref(), scope.as_deref());
        let credential = faults.keep(credential);
        let authentication = client::authentication(fields, method, &assertions, client_id.as_deref());
        let authentication = faults.keep(authentication);
        let mut sent = parameters::sent_by_itself(&request, method, role.credential());
        if role.credential() == Credential::Code {
            sent.extend(["redirect_uri", "code_verifier"]);
        }
        let params = faults.keep(parameters::params(fields, &sent, endpoint.as_ref()));
        let basic = method == Some(AuthenticationMethod::Basic);
        let bearer = request.credential == CredentialPlace::Bearer && role.credential() != Credential::None;
        let headers = faults.keep(parameters::headers(fields, basic, bearer));
        let grant_type = faults.keep(grant_type(fields, role)).flatten();
        let flow = || {
            Some(Flow {
                endpoint: endpoint?,
                grant_type,
                credential: credential?,
                client_id,
                client_authentication: authentication?,
                request,
                response: response?,
                errors: errors?,
                refresh: refresh?,
                scope,
                params: params?,
                headers: headers?,
            })
        };
        faults.finish(flow())
    }

    fn endpoint(&self, of: &Fields<'_>, role: &Role) -> Result<Endpoint, Faults> {
        let mut fields = of.part();
        let is_written = |field| self.written.contains_key(field);
        if !role.is_step()
            && let Some(issuer) = &self.issuer
        {
            if is_written(definition::TOKEN_ENDPOINT.name) {
                fields.fault(definition::ISSUER, "leads to the token endpoint: give it or `token_endpoint`, not both");
            }
            return fields.finish(issuer.clone());
        }
        if !role.is_step() && is_written(definition::ISSUER.name) {
            return fields.finish_some(None);
        }
        if !fields.has(definition::TOKEN_ENDPOINT) {
            if !role.is_step() && self.provider.is_none() && !is_written(definition::PROVIDER.name) {
                fields.fault(definition::TOKEN_ENDPOINT, "is required (or `issuer`, or `provider`)");
            } else if !self.provider_unknown {
                fields.required(definition::TOKEN_ENDPOINT);
            }
            return fields.finish_some(None);
        }
        let is_written = !role.is_step() && is_written(definition::TOKEN_ENDPOINT.name);
        let url = self.url(&mut fields, definition::TOKEN_ENDPOINT, is_written);
        fields.finish_some(url.map(Endpoint::Token))
    }

    /// What an endpoint leads to, with its placeholders filled; `None` only if it is not there, or a fault was noted.
    /// `is_written`: it is the definition's own, which stays where it is whatever `base_url` says.
    pub(super) fn url(&self, fields: &mut Fields<'_>, field: Field<Template>, is_written: bool) -> Option<Url> {
        let template = fields.get(field)?;
        self.url_of(fields, field, &template, is_written)
    }

    /// The same for a template that is not quite what the field says.
    pub(super) fn url_of(
        &self,
        fields: &mut Fields<'_>,
        field: Field<Template>,
        template: &str,
        is_written: bool,
    ) -> Option<Url> {
        let mut variables = Fields::new(&self.written);
        let resolved = match &self.provider {
            Some(provider) => {
                let resolved = self.resolve(&variables, template, !is_written || provider == CUSTOM);
                fields.keep(resolved)?
            }
            None => template.to_owned(),
        };
        match parse_endpoint_url(&resolved, self.plain_http) {
            Ok(url) => return Some(url),
            Err(reason) if resolved == template => fields.fault(field, reason),
            Err(reason) => {
                variables.fault(definition::VARIABLES, reason);
                fields.keep(variables.finish(()));
            }
        }
        None
    }

    /// Fills the placeholders of a template, and moves it to `base_url` where that is for it too.
    pub(super) fn resolve(&self, of: &Fields<'_>, template: &str, is_moved: bool) -> Result<String, Faults> {
        let mut fields = of.part();
        let Some(variables) = &self.variables else { return fields.finish_some(None) };
        let provider = self.provider.as_deref().unwrap_or(CUSTOM);
        let base_url = self.base_url.as_ref().filter(|_| is_moved);
        let resolved = provider::resolve_endpoint(template, variables, base_url)
            .map_err(|missing| fields.fault(definition::VARIABLES, format_args!("`{provider}` needs `{missing}`")));
        fields.finish_some(resolved.ok())
    }

    /// What assertions say, for a credential or for the client.
    fn assertion_form(
        &self,
        of: &Fields<'_>,
        role: &Role,
        method: Option<AuthenticationMethod>,
    ) -> (AssertionForm, Faults) {
        let mut fields = of.part();
        let authenticates = method == Some(AuthenticationMethod::PrivateKeyJwt);
        // An audience may name the provider's own address, `https://{domain}/`.
        let template = of.unchecked_text(definition::ASSERTION_AUDIENCE).filter(|template| {
            (role.is_assertion() || authenticates)
                && self.provider.is_some()
                && provider::placeholders(template).next().is_some()
        });
        let audience = template.and_then(|template| fields.keep(self.resolve(of, template, true)));
        if role.is_assertion() && authenticates && fields.has(definition::ASSERTION_SUBJECT) {
            let reason = format_args!("can't be private_key_jwt beside {JWT_BEARER}");
            fields.fault(definition::TOKEN_ENDPOINT_AUTH_METHOD, reason);
        }
        let form = fields.keep_read(client::assertion_form(of, audience));
        fields.finish_read(form)
    }
}

/// How the client authenticates where nothing is written: by its secret, but beside an assertion only if it has one.
fn authentication_method(fields: &Fields<'_>, role: &Role) -> Result<AuthenticationMethod, Faults> {
    let has_secret = fields.has(definition::CLIENT_SECRET) || fields.has(definition::API_SECRET);
    let default = if role.is_step() || role.is_assertion() && !has_secret {
        AuthenticationMethod::None
    } else {
        AuthenticationMethod::Basic
    };
    client::authentication_method(fields, default)
}

fn request_form(fields: &Fields<'_>, role: &Role, method: Option<AuthenticationMethod>) -> (RequestForm, Faults) {
    let is_unnamed = method == Some(AuthenticationMethod::None) && (role.is_step() || role.is_assertion());
    let defaults = RequestDefaults {
        client_id: (!is_unnamed).then_some(request::CLIENT_ID_PARAMETER.default),
        credential: match role.credential() {
            Credential::RefreshToken => "refresh_token",
            Credential::Assertion(()) => "assertion",
            Credential::None | Credential::AccessToken => "access_token",
            Credential::Code => "code",
        },
    };
    sections::request_form(fields, &defaults, method == Some(AuthenticationMethod::Post))
}

/// The rules of refreshing. What a step exchanges stays good: another try brings another token.
fn refresh_rules(fields: &Fields<'_>, role: &Role) -> Result<RefreshRules, Faults> {
    match role {
        Role::Grant { .. } => sections::refresh_rules(fields),
        Role::Step => Ok(RefreshRules { rotates: Some(false), ..RefreshRules::default() }),
    }
}

fn needs_client_id(role: &Role, method: Option<AuthenticationMethod>, request: &RequestForm) -> bool {
    match method {
        Some(AuthenticationMethod::Basic | AuthenticationMethod::PrivateKeyJwt) => true,
        _ => request.client_id_parameter.is_some() || role.is_assertion() || role.credential() == Credential::Code,
    }
}

/// What the token is requested with: the assertion is made here, the other credentials come with each request.
fn credential(
    fields: &Fields<'_>,
    role: &Role,
    form: &AssertionForm,
    client_id: Option<&str>,
    scope: Option<&str>,
) -> Result<Credential, Faults> {
    Ok(match role.credential() {
        Credential::None => Credential::None,
        Credential::RefreshToken => Credential::RefreshToken,
        Credential::AccessToken => Credential::AccessToken,
        Credential::Code => Credential::Code,
        Credential::Assertion(()) => {
            Credential::Assertion(Box::new(form.assertion(fields, client_id, scope, JWT_BEARER)?))
        }
    })
}

fn grant_type(of: &Fields<'_>, role: &Role) -> Result<Option<String>, Faults> {
    match role {
        Role::Grant { grant_type, .. } => Ok(Some(grant_type.clone())),
        Role::Step => {
            let mut fields = of.part();
            let grant_type = fields.get(definition::GRANT_TYPE);
            fields.finish(grant_type)
        }
    }
}
