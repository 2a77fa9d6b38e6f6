//! The reading of a definition: the provider's declaration, the section of its grant and what was written are laid over
//! one another, and every field of the result is checked.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use super::client::AuthenticationMethod;
use super::dialect::RequestDefaults;
use super::fields::{Fields, Members, nearest, write_canonical};
use super::{
    ClientAuthentication, Credential, DEFAULT_EXPIRES_IN, DEFAULT_MIN_TTL, Definition, Endpoint, Flow, ParameterValue,
    Seed, parse_endpoint_url,
};
use crate::assertion::JWT_BEARER;
use crate::dialect::{CredentialPlace, RefreshRules, RequestForm};
use crate::provider::{self, CUSTOM, Declaration};
use crate::text;

/// Every field of a definition.
const FIELDS: [&str; 36] = [
    "access_token",
    "api_key",
    "api_secret",
    "assertion",
    "assertion_algorithm",
    "assertion_audience",
    "assertion_subject",
    "base_url",
    "ca_certificate",
    "certificate",
    "client_id",
    "client_secret",
    "default_expires_in",
    "enabled",
    "errors",
    "grant_type",
    "grants",
    "headers",
    "issuer",
    "key_id",
    "min_ttl",
    "owner",
    "params",
    "private_key",
    "provider",
    "refresh",
    "refresh_token",
    "request",
    "response",
    "runbook_url",
    "scope",
    "steps",
    "token_endpoint",
    "token_endpoint_auth_method",
    "variables",
    "verify_url",
];

/// Every field of a section of `grants`.
const GRANT: [&str; 16] = [
    "assertion",
    "assertion_algorithm",
    "assertion_audience",
    "assertion_subject",
    "credential",
    "default_expires_in",
    "errors",
    "headers",
    "params",
    "refresh",
    "request",
    "required",
    "response",
    "scope",
    "then",
    "token_endpoint",
];

/// Every field of one of the `steps`.
const STEP: [&str; 9] = [
    "errors",
    "grant_type",
    "headers",
    "params",
    "request",
    "response",
    "scope",
    "token_endpoint",
    "token_endpoint_auth_method",
];

/// The fields that tell who the client is, in every step too.
const CLIENT: [&str; 11] = [
    "api_key",
    "api_secret",
    "assertion_algorithm",
    "assertion_audience",
    "assertion_subject",
    "ca_certificate",
    "certificate",
    "client_id",
    "client_secret",
    "key_id",
    "private_key",
];

/// Fields whose values may never leave the process, not even as a hash that can be looked up.
const SECRET_FIELDS: [&str; 3] = ["client_secret", "api_secret", "private_key"];

/// Secret fields whose change makes a token due, so that their hash is published.
const HASHED_FIELDS: [&str; 2] = ["access_token", "refresh_token"];

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

/// Reads a definition's members; `Ok(None)`: it is switched off, whatever else it says. The error is all that is wrong.
pub(super) fn read(members: Members<Value>) -> Result<Option<Definition>, Vec<String>> {
    let mut written = Fields::written(members, &FIELDS);
    if written.values().get("enabled") == Some(&Value::Bool(false)) {
        return Ok(None);
    }
    written.boolean("enabled");
    let definition = Reader::new(&mut written).definition(&mut written);
    let faults = written.into_faults();
    match definition {
        Some(definition) if faults.is_empty() => Ok(Some(definition)),
        _ => Err(faults),
    }
}

/// What a grant type is asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CredentialKind {
    None,
    RefreshToken,
    AccessToken,
    Assertion,
}

/// What is special about a grant type besides the fields that it lays over the others.
struct GrantRules {
    credential: CredentialKind,
    then: Option<String>,
}

/// Whose request a flow is.
enum Role {
    /// The one that brings a token, or refreshes it.
    Grant { grant_type: String, credential: CredentialKind },
    /// One that follows another.
    Step,
}

/// All that the parts of one definition have in common.
struct Reader {
    /// Name of the provider, if there is one.
    provider: Option<String>,
    /// Whether nobody knows it.
    provider_unknown: bool,
    /// The declaration's fields, without grants and steps.
    declared: Declaration,
    /// What was written, without grants and steps.
    written: Map<String, Value>,
    declared_grants: Map<String, Value>,
    written_grants: Map<String, Value>,
    /// The grant type that the provider means by default.
    default_grant_type: Option<String>,
    /// Both laid over one another.
    grants: Map<String, Value>,
    steps: Option<Value>,
    /// `None`: a fault was noted.
    variables: Option<BTreeMap<String, String>>,
    base_url: Option<Url>,
    issuer: Option<Endpoint>,
}

impl Reader {
    fn new(written: &mut Fields) -> Self {
        let provider = written.string("provider");
        let declaration = provider.as_deref().map_or_else(|| Some(Declaration::new()), provider::find);
        if declaration.is_none() {
            written.unknown_provider();
        }
        let provider_unknown = declaration.is_none();
        let declared = declaration.unwrap_or_default();
        let mut all = declared.clone();
        provider::overlay(&mut all, written.values());
        let without = |values: &Map<String, Value>| {
            let mut values = values.clone();
            values.retain(|name, _| !matches!(name.as_str(), "grants" | "steps" | "grant_type"));
            values
        };
        written.object("grants");
        let grants =
            |values: &Map<String, Value>| values.get("grants").and_then(Value::as_object).cloned().unwrap_or_default();
        Self {
            provider_unknown,
            default_grant_type: declared.get("grant_type").and_then(Value::as_str).map(str::to_owned),
            declared_grants: grants(&declared),
            written_grants: grants(written.values()),
            grants: grants(&all),
            steps: all.get("steps").cloned(),
            variables: written.variables(provider.is_some()),
            base_url: written.base_url(provider.is_some()),
            issuer: written.issuer(),
            declared: without(&declared),
            written: without(written.values()),
            provider,
        }
    }

    /// `None` only if a fault was noted.
    fn definition(&self, written: &mut Fields) -> Option<Definition> {
        let steps = self.steps(written);
        let grant_type = self.grant_type(written)?;
        self.check_placeholders(written);
        let rules = self.grant_rules(written, &grant_type);
        let mut fields = Fields::new(self.values(&grant_type));
        self.check_required(&mut fields, &grant_type);
        let role = Role::Grant { grant_type: grant_type.clone(), credential: rules.credential };
        let flow = self.flow(&mut fields, &role);
        let then = match rules.then.filter(|then| *then != grant_type) {
            Some(then) => Some(self.refresh_flow(written, &then)?),
            None => None,
        };
        let seed = match rules.credential {
            CredentialKind::RefreshToken => fields.seed("refresh_token").map(Seed::RefreshToken),
            CredentialKind::AccessToken => fields.seed("access_token").map(Seed::AccessToken),
            CredentialKind::None | CredentialKind::Assertion => None,
        };
        for field in HASHED_FIELDS {
            fields.secret(field);
        }
        let min_ttl = fields.duration("min_ttl", TimeDelta::zero());
        let default_expires_in = fields.duration("default_expires_in", TimeDelta::seconds(1));
        let verify_url = fields.endpoint_url("verify_url");
        let owner = fields.line("owner");
        let runbook_url = fields.link("runbook_url");
        let mutual = |flow: &Flow| matches!(flow.client_authentication, ClientAuthentication::MutualTls);
        let uses_mutual_tls = flow.iter().chain(&then).chain(steps.iter().flatten()).any(mutual);
        let tls = fields.tls(uses_mutual_tls);
        written.absorb(fields);
        Some(Definition {
            flow: flow?,
            then: then.map(Box::new),
            steps: steps.into_iter().collect::<Option<_>>()?,
            seed,
            tls,
            min_ttl: min_ttl.unwrap_or(DEFAULT_MIN_TTL),
            default_expires_in: default_expires_in.unwrap_or(DEFAULT_EXPIRES_IN),
            verify_url,
            owner,
            runbook_url,
            public_sha256: sha256(written.values(), Secrets::Excluded),
            full_sha256: sha256(written.values(), Secrets::Included),
        })
    }

    /// The fields that count for a grant type: the declaration's, those of its section for the grant, the definition's,
    /// those of its own section for the grant. Error rules add up, the most specific first.
    fn values(&self, grant_type: &str) -> Map<String, Value> {
        let section = |grants: &Map<String, Value>| {
            let mut section = grants.get(grant_type).and_then(Value::as_object).cloned().unwrap_or_default();
            section.retain(|name, _| !matches!(name.as_str(), "credential" | "then" | "required"));
            section
        };
        let (declared, written) = (section(&self.declared_grants), section(&self.written_grants));
        let layers = [&self.declared, &declared, &self.written, &written];
        let mut values = Map::new();
        for layer in layers {
            provider::overlay(&mut values, layer);
        }
        let rules: Vec<&Value> = layers.into_iter().rev().filter_map(|layer| layer.get("errors")).collect();
        if let Some(lists) = rules.into_iter().map(Value::as_array).collect::<Option<Vec<_>>>()
            && !lists.is_empty()
        {
            values.insert("errors".to_owned(), lists.into_iter().flatten().cloned().collect());
        }
        values
    }

    /// The grant type that is written, or the one that is meant. An unknown one is noted, and what is wrong besides is
    /// told as for a client's own.
    fn grant_type(&self, written: &mut Fields) -> Option<String> {
        let usual = ["client_credentials", "refresh_token", JWT_BEARER];
        let known: Vec<&str> =
            if self.grants.is_empty() { usual.to_vec() } else { self.grants.keys().map(String::as_str).collect() };
        let grant_type = if written.has("grant_type") {
            written.string("grant_type")?
        } else if written.has("refresh_token") && known.contains(&"refresh_token") {
            "refresh_token".to_owned()
        } else {
            self.default_grant_type.clone().unwrap_or_else(|| "client_credentials".to_owned())
        };
        if !known.contains(&grant_type.as_str()) {
            let names = known.join(" or ");
            written.fault("grant_type", format_args!("must be {names}"));
        }
        Some(grant_type)
    }

    fn grant_rules(&self, written: &mut Fields, grant_type: &str) -> GrantRules {
        let default = match grant_type {
            "refresh_token" => CredentialKind::RefreshToken,
            JWT_BEARER => CredentialKind::Assertion,
            _ => CredentialKind::None,
        };
        let mut grants = Fields::new(Map::from_iter([("grants".to_owned(), Value::Object(self.grants.clone()))]));
        let mut rules = GrantRules { credential: default, then: None };
        let names: Vec<&str> = self.grants.keys().map(String::as_str).collect();
        let Some(mut all) = grants.section("grants", &names) else { return rules };
        for name in &names {
            let mut known = GRANT.to_vec();
            known.push("token_endpoint_auth_method");
            let Some(mut grant) = all.section(name, &known) else { continue };
            let credentials = [
                ("none", CredentialKind::None),
                ("refresh_token", CredentialKind::RefreshToken),
                ("access_token", CredentialKind::AccessToken),
                ("assertion", CredentialKind::Assertion),
            ];
            let credential = grant.choice("credential", &credentials);
            let then = grant.string("then");
            if then.as_ref().is_some_and(|then| !self.grants.contains_key(then)) {
                grant.fault("then", "must be another grant type of the same provider");
            }
            if *name == grant_type {
                rules = GrantRules { credential: credential.unwrap_or(default), then };
            }
            all.absorb(grant);
        }
        grants.absorb(all);
        written.absorb(grants);
        rules
    }

    /// How an access token that refreshes itself is refreshed.
    fn refresh_flow(&self, written: &mut Fields, grant_type: &str) -> Option<Flow> {
        let mut fields = Fields::new(self.values(grant_type));
        let role = Role::Grant { grant_type: grant_type.to_owned(), credential: CredentialKind::AccessToken };
        let flow = self.flow(&mut fields, &role);
        written.absorb(fields);
        flow
    }

    /// Fields that this grant can't do without.
    fn check_required(&self, fields: &mut Fields, grant_type: &str) {
        let required = self.grants.get(grant_type).and_then(|grant| grant.get("required"));
        let provider = self.provider.as_deref().unwrap_or(CUSTOM);
        for path in required.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let found = path.split('.').try_fold(None, |found: Option<&Value>, name| {
                let members = match found {
                    None => Some(fields.values()),
                    Some(value) => value.as_object(),
                };
                members.and_then(|members| members.get(name)).map(Some)
            });
            if found.is_none() {
                fields.fault(path, format_args!("is required by `{provider}`"));
            }
        }
    }

    fn steps(&self, written: &mut Fields) -> Vec<Option<Flow>> {
        let mut all = Fields::new(self.steps.iter().map(|steps| ("steps".to_owned(), steps.clone())).collect());
        let mut flows = Vec::new();
        for mut step in all.sections("steps", &STEP) {
            let mut values = self.written.clone();
            values.retain(|name, _| CLIENT.contains(&name.as_str()));
            provider::overlay(&mut values, step.values());
            step.replace_values(values);
            flows.push(self.flow(&mut step, &Role::Step));
            all.absorb(step);
        }
        written.absorb(all);
        flows
    }

    /// One kind of token request. `None` only if a fault was noted.
    fn flow(&self, fields: &mut Fields, role: &Role) -> Option<Flow> {
        let endpoint = self.endpoint(fields, role);
        self.fill_assertion_audience(fields);
        let (credential, is_step) = match role {
            Role::Grant { credential, .. } => (*credential, false),
            Role::Step => (CredentialKind::AccessToken, true),
        };
        let has_secret = fields.has("client_secret") || fields.has("api_secret");
        let default = match credential {
            CredentialKind::Assertion if !has_secret => AuthenticationMethod::None,
            _ if is_step => AuthenticationMethod::None,
            _ => AuthenticationMethod::Basic,
        };
        let method = fields.authentication_method(default);
        let unnamed =
            method == Some(AuthenticationMethod::None) && (is_step || credential == CredentialKind::Assertion);
        let defaults = RequestDefaults {
            client_id: if unnamed { "" } else { "client_id" },
            credential: match credential {
                CredentialKind::RefreshToken => "refresh_token",
                CredentialKind::Assertion => "assertion",
                CredentialKind::None | CredentialKind::AccessToken => "access_token",
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
            _ => request.client_id_parameter.is_some() || credential == CredentialKind::Assertion,
        };
        if named {
            fields.require_client_id();
        }
        let is_assertion = credential == CredentialKind::Assertion;
        let assertion = is_assertion.then(|| fields.assertion(client_id.as_deref(), scope.as_deref(), JWT_BEARER));
        if method == Some(AuthenticationMethod::PrivateKeyJwt) && is_assertion && fields.has("assertion_subject") {
            fields.fault("token_endpoint_auth_method", format_args!("can't be private_key_jwt beside {JWT_BEARER}"));
        }
        fields.check_assertion_fields();
        let authentication = method.and_then(|method| fields.client_authentication(method, client_id.as_deref()));
        let sent = sent_parameters(&request, method, credential);
        fields.check_parameters(&sent, endpoint.as_ref());
        let params = fields.params(&sent);
        let headers = fields.headers();
        let sets_authorization = matches!(authentication, Some(ClientAuthentication::Basic(_)));
        let bearer = request.credential == CredentialPlace::Bearer && credential != CredentialKind::None;
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
                CredentialKind::None => Credential::None,
                CredentialKind::RefreshToken => Credential::RefreshToken,
                CredentialKind::AccessToken => Credential::AccessToken,
                CredentialKind::Assertion => Credential::Assertion(Box::new(assertion??)),
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
            return fields.endpoint_url("token_endpoint").map(Endpoint::Token);
        };
        let template = fields.string("token_endpoint")?;
        let base_url = self.base_url.as_ref().filter(|_| declared || provider == CUSTOM);
        let resolved = self.resolve(fields, &template, base_url)?;
        match parse_endpoint_url(&resolved) {
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

    /// Every variable must fill something.
    fn check_placeholders(&self, written: &mut Fields) {
        let Some(provider) = &self.provider else { return };
        let steps = self.steps.as_ref().and_then(Value::as_array).into_iter().flatten();
        let sections = self.grants.values().chain(steps).filter_map(Value::as_object);
        let templates: Vec<&str> = [&self.declared, &self.written]
            .into_iter()
            .chain(sections)
            .flat_map(|section| [section.get("token_endpoint"), section.get("assertion_audience")])
            .filter_map(|template| template?.as_str())
            .collect();
        let unknown = self.variables.iter().flat_map(BTreeMap::keys).find(|name| {
            !templates.iter().any(|template| provider::placeholders(template).any(|known| known == **name))
        });
        if let Some(unknown) = unknown {
            written.fault("variables", format_args!("`{provider}` has no placeholder {{{unknown}}}"));
        }
    }
}

/// The names of the parameters that a request sends by itself.
fn sent_parameters(
    request: &RequestForm,
    method: Option<AuthenticationMethod>,
    credential: CredentialKind,
) -> Vec<&str> {
    let credential = match &request.credential {
        CredentialPlace::Parameter(name) if credential != CredentialKind::None => Some(name),
        _ => None,
    };
    let secret = Some(&request.client_secret_parameter).filter(|_| method == Some(AuthenticationMethod::Post));
    let client_id = request.client_id_parameter.as_ref().filter(|_| method != Some(AuthenticationMethod::Basic));
    let further = [&request.grant_type_parameter, &request.scope_parameter].into_iter().flatten();
    further.chain(client_id).chain(credential).chain(secret).map(String::as_str).collect()
}

/// The fields that only a definition itself has.
impl Fields {
    fn unknown_provider(&mut self) {
        let name = self.values().get("provider").and_then(Value::as_str).unwrap_or_default().to_owned();
        match nearest(&name, provider::names()) {
            Some(known) => self.fault("provider", format_args!("is unknown; did you mean `{known}`?")),
            None => self.fault("provider", format_args!("is unknown; `{CUSTOM}` is for one of your own")),
        }
    }

    /// Values go into host names and paths, so they can't hold anything that changes a URL's shape.
    fn variables(&mut self, has_provider: bool) -> Option<BTreeMap<String, String>> {
        self.for_providers("variables", has_provider);
        let mut variables = BTreeMap::new();
        for (name, value) in self.object("variables") {
            let allowed = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                    && !text.bytes().all(|byte| byte == b'.')
            };
            match value {
                Value::String(text) if allowed(&text) => {
                    variables.insert(name, text);
                }
                _ => {
                    let field = format!("variables.{}", text::printable(&name, 64));
                    self.fault(&field, "must be a string of letters, digits, `.`, `_` and `-`");
                    return None;
                }
            }
        }
        Some(variables)
    }

    fn base_url(&mut self, has_provider: bool) -> Option<Url> {
        self.for_providers("base_url", has_provider);
        self.url_without_query("base_url")
    }

    fn for_providers(&mut self, field: &str, has_provider: bool) {
        if self.has(field) && !has_provider && !self.has("provider") {
            self.fault(field, "is for providers: give `provider` too");
        }
    }

    fn issuer(&mut self) -> Option<Endpoint> {
        let url = self.url_without_query("issuer")?;
        self.string("issuer").map(|identifier| Endpoint::Issuer { identifier, url })
    }

    fn url_without_query(&mut self, field: &str) -> Option<Url> {
        let url = self.endpoint_url(field)?;
        if url.query().is_some() {
            self.fault(field, "must not contain a query (?)");
            return None;
        }
        Some(url)
    }

    /// The first credential of a grant.
    fn seed(&mut self, field: &str) -> Option<SecretString> {
        self.required(field);
        self.secret(field)
    }

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
                self.fault("request", format_args!("names two parameters `{}`", text::printable(name, 64)));
            }
        }
        let Some(Endpoint::Token(url)) = endpoint else { return };
        // Some vendors write `?grant_type=client_credentials` into the endpoint that they document, and mean no harm.
        let twice = |name: &str| name != "grant_type" && sent.contains(&name);
        if let Some((name, _)) = url.query_pairs().find(|(name, _)| twice(name)) {
            let name = text::printable(&name, 64);
            self.fault("token_endpoint", format_args!("holds `{name}` in its query, which the request sends itself"));
        }
    }

    /// Further parameters, none of which is sent anyway.
    fn params(&mut self, sent: &[&str]) -> Vec<(String, ParameterValue)> {
        let mut params = Vec::new();
        for (name, value) in self.object("params") {
            let field = format!("params.{}", text::printable(&name, 64));
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
            let field = format!("headers.{}", text::printable(&name, 64));
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Included,
    Excluded,
}

/// SHA-256 over the fields by name, hex.
fn sha256(written: &Map<String, Value>, secrets: Secrets) -> String {
    let mut canonical = String::new();
    for (name, value) in written.iter().collect::<BTreeMap<_, _>>() {
        if secrets == Secrets::Excluded && SECRET_FIELDS.contains(&name.as_str()) {
            continue;
        }
        canonical.push_str(name);
        canonical.push('=');
        if HASHED_FIELDS.contains(&name.as_str()) {
            canonical.push_str(&text::sha256_hex(value.as_str().unwrap_or_default().as_bytes()));
        } else {
            write_canonical(value, &mut canonical);
        }
        canonical.push('\n');
    }
    text::sha256_hex(canonical.as_bytes())
}
