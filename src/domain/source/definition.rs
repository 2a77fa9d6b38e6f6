//! The reading of a definition: the provider's declaration, the section of its grant and what was written are laid over
//! one another, and every field of the result is checked.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use super::fields::{Fields, nearest, write_canonical};
use super::flow::{GrantCredential, Role};
use super::{
    ClientAuthentication, DEFAULT_EXPIRES_IN, DEFAULT_MIN_TTL, Definition, Endpoint, Flow, PUBLIC_PARAMS, PlainHttp,
    Seed,
};
use crate::domain::assertion::JWT_BEARER;
use crate::domain::provider::{self, CUSTOM, Declaration};
use crate::domain::redact;

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
const GRANT: [&str; 17] = [
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
    "token_endpoint_auth_method",
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

/// Fields whose values may never leave the process, not even as a hash with which they could be guessed: whoever reads a
/// token reads the published hash too, and may know all that goes into it but a password.
const SECRET_FIELDS: [&str; 4] = ["client_secret", "api_secret", "private_key", "headers"];

/// Fields that say nothing of how a token is got: another value makes nothing due, and ends no wait.
const FIELDS_FOR_PEOPLE: [&str; 2] = ["owner", "runbook_url"];

/// Secret fields whose change makes a token due, so that their hash is published.
const HASHED_FIELDS: [&str; 2] = ["access_token", "refresh_token"];

/// Reads a definition's members, some of which may have been given `twice`; `Ok(None)`: it is switched off, whatever else
/// it says. The error is all that is wrong.
pub(super) fn read(
    members: Map<String, Value>,
    twice: &[String],
    plain_http: PlainHttp,
) -> Result<Option<Definition>, Vec<String>> {
    let mut written = Fields::written(members, &FIELDS);
    if written.values().get("enabled") == Some(&Value::Bool(false)) && twice.is_empty() {
        return Ok(None);
    }
    for name in twice {
        written.fault(name, "is given twice");
    }
    written.boolean("enabled");
    let definition = Reader::new(&mut written, plain_http).definition(&mut written);
    let faults = written.into_faults();
    match definition {
        Some(definition) if faults.is_empty() => Ok(Some(definition)),
        _ => Err(faults),
    }
}

/// What is special about a grant type besides the fields that it lays over the others.
struct GrantRules {
    credential: GrantCredential,
    then: Option<String>,
    /// Fields that a definition must have: `scope`, `params.account_id`.
    required: Vec<String>,
}

/// All that the parts of one definition have in common.
pub(super) struct Reader {
    /// Name of the provider, if there is one.
    pub(super) provider: Option<String>,
    /// Whether nobody knows it.
    pub(super) provider_unknown: bool,
    /// The declaration's fields, without grants and steps.
    declared: Declaration,
    /// What was written, without grants and steps.
    pub(super) written: Map<String, Value>,
    declared_grants: Map<String, Value>,
    written_grants: Map<String, Value>,
    /// The grant type that the provider means by default.
    default_grant_type: Option<String>,
    /// Both laid over one another.
    grants: Map<String, Value>,
    steps: Option<Value>,
    /// `None`: a fault was noted.
    pub(super) variables: Option<BTreeMap<String, String>>,
    pub(super) base_url: Option<Url>,
    pub(super) issuer: Option<Endpoint>,
    pub(super) plain_http: PlainHttp,
}

impl Reader {
    fn new(written: &mut Fields, plain_http: PlainHttp) -> Self {
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
            base_url: written.base_url(provider.is_some(), plain_http),
            issuer: written.issuer(plain_http),
            plain_http,
            declared: without(&declared),
            written: without(written.values()),
            provider,
        }
    }

    /// `None` only if a fault was noted.
    fn definition(&self, written: &mut Fields) -> Option<Definition> {
        let steps = self.steps(written);
        let grant_type = self.grant_type(written);
        self.check_placeholders(written);
        let rules = self.grant_rules(written, &grant_type);
        let mut fields = Fields::new(self.values(&grant_type));
        self.check_required(&mut fields, &rules.required);
        let role = Role::Grant { grant_type: grant_type.clone(), credential: rules.credential };
        let flow = self.flow(&mut fields, &role);
        let then = rules.then.filter(|then| *then != grant_type).map(|then| self.refresh_flow(written, &then));
        let seed = match rules.credential {
            GrantCredential::RefreshToken => fields.seed("refresh_token").map(Seed::RefreshToken),
            GrantCredential::AccessToken => fields.seed("access_token").map(Seed::AccessToken),
            GrantCredential::None | GrantCredential::Assertion => None,
        };
        for field in HASHED_FIELDS {
            fields.secret(field);
        }
        let min_ttl = fields.duration("min_ttl", TimeDelta::zero());
        let default_expires_in = fields.duration("default_expires_in", TimeDelta::seconds(1));
        let verify_url = fields.endpoint_url("verify_url", self.plain_http);
        let owner = fields.line("owner");
        let runbook_url = fields.link("runbook_url");
        let mutual = |flow: &Flow| matches!(flow.client_authentication, ClientAuthentication::MutualTls);
        let uses_mutual_tls = flow.iter().chain(then.iter().flatten()).chain(steps.iter().flatten()).any(mutual);
        let tls = fields.tls(uses_mutual_tls);
        written.absorb(fields);
        Some(Definition {
            flow: flow?,
            then: match then {
                Some(then) => Some(Box::new(then?)),
                None => None,
            },
            steps: steps.into_iter().collect::<Option<_>>()?,
            seed,
            tls,
            min_ttl: min_ttl.unwrap_or(DEFAULT_MIN_TTL),
            default_expires_in: default_expires_in.unwrap_or(DEFAULT_EXPIRES_IN),
            verify_url,
            plain_http: self.plain_http,
            owner,
            runbook_url,
            public_sha256: sha256(&without_secrets(written.values())),
            full_sha256: sha256(written.values()),
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
    fn grant_type(&self, written: &mut Fields) -> String {
        let usual = ["client_credentials", "refresh_token", JWT_BEARER];
        let known: Vec<&str> =
            if self.grants.is_empty() { usual.to_vec() } else { self.grants.keys().map(String::as_str).collect() };
        let default = || self.default_grant_type.clone().unwrap_or_else(|| "client_credentials".to_owned());
        let grant_type = if written.has("grant_type") {
            let Some(grant_type) = written.string("grant_type") else { return default() };
            grant_type
        } else if written.has("refresh_token") && known.contains(&"refresh_token") {
            "refresh_token".to_owned()
        } else {
            default()
        };
        if !known.contains(&grant_type.as_str()) {
            let names = known.join(" or ");
            written.fault("grant_type", format_args!("must be {names}"));
        }
        grant_type
    }

    fn grant_rules(&self, written: &mut Fields, grant_type: &str) -> GrantRules {
        let default = match grant_type {
            "refresh_token" => GrantCredential::RefreshToken,
            JWT_BEARER => GrantCredential::Assertion,
            _ => GrantCredential::None,
        };
        let mut grants = Fields::new(Map::from_iter([("grants".to_owned(), Value::Object(self.grants.clone()))]));
        let mut rules = GrantRules { credential: default, then: None, required: Vec::new() };
        let names: Vec<&str> = self.grants.keys().map(String::as_str).collect();
        let Some(mut all) = grants.section("grants", &names) else { return rules };
        for name in &names {
            let Some(mut grant) = all.section(name, &GRANT) else { continue };
            let credentials = [
                ("none", GrantCredential::None),
                ("refresh_token", GrantCredential::RefreshToken),
                ("access_token", GrantCredential::AccessToken),
                ("assertion", GrantCredential::Assertion),
            ];
            let credential = grant.choice("credential", &credentials);
            let then = grant.string("then");
            if then.as_ref().is_some_and(|then| !self.grants.contains_key(then)) {
                grant.fault("then", "must be another grant type of the same provider");
            }
            let required = grant.strings("required");
            if *name == grant_type {
                rules = GrantRules { credential: credential.unwrap_or(default), then, required };
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
        let role = Role::Grant { grant_type: grant_type.to_owned(), credential: GrantCredential::AccessToken };
        let flow = self.flow(&mut fields, &role);
        written.absorb(fields);
        flow
    }

    /// Fields that this grant can't do without.
    fn check_required(&self, fields: &mut Fields, required: &[String]) {
        let provider = self.provider.as_deref().unwrap_or(CUSTOM);
        for path in required {
            let pointer = format!("/{}", path.replace('.', "/"));
            if Value::Object(fields.values().clone()).pointer(&pointer).is_none() {
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
                    let field = format!("variables.{}", redact::printable(&name, 64));
                    self.fault(&field, "must be a string of letters, digits, `.`, `_` and `-`");
                    return None;
                }
            }
        }
        Some(variables)
    }

    fn base_url(&mut self, has_provider: bool, plain_http: PlainHttp) -> Option<Url> {
        self.for_providers("base_url", has_provider);
        self.url_without_query("base_url", plain_http)
    }

    fn for_providers(&mut self, field: &str, has_provider: bool) {
        if self.has(field) && !has_provider && !self.has("provider") {
            self.fault(field, "is for providers: give `provider` too");
        }
    }

    fn issuer(&mut self, plain_http: PlainHttp) -> Option<Endpoint> {
        let url = self.url_without_query("issuer", plain_http)?;
        self.string("issuer").map(|identifier| Endpoint::Issuer { identifier, url })
    }

    fn url_without_query(&mut self, field: &str, plain_http: PlainHttp) -> Option<Url> {
        let url = self.endpoint_url(field, plain_http)?;
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
}

/// SHA-256 over the fields by name, hex.
fn sha256(fields: &Map<String, Value>) -> String {
    let mut canonical = String::new();
    for (name, value) in fields.iter().collect::<BTreeMap<_, _>>() {
        if FIELDS_FOR_PEOPLE.contains(&name.as_str()) {
            continue;
        }
        canonical.push_str(name);
        canonical.push('=');
        if HASHED_FIELDS.contains(&name.as_str()) {
            canonical.push_str(&redact::sha256_hex(value.as_str().unwrap_or_default().as_bytes()));
        } else {
            write_canonical(value, &mut canonical);
        }
        canonical.push('\n');
    }
    redact::sha256_hex(canonical.as_bytes())
}

/// A definition, or a section of it, without anything that may be secret.
fn without_secrets(fields: &Map<String, Value>) -> Map<String, Value> {
    let section = |value: &Value| match value {
        Value::Object(section) => Value::Object(without_secrets(section)),
        other => other.clone(),
    };
    let shown = fields.iter().filter(|(name, _)| !SECRET_FIELDS.contains(&name.as_str()));
    shown
        .filter_map(|(name, value)| {
            let value = match (name.as_str(), value) {
                ("params", Value::Object(params)) => {
                    let public = params.iter().filter(|(name, _)| PUBLIC_PARAMS.contains(&name.as_str()));
                    let public: Map<_, _> = public.map(|(name, value)| (name.clone(), value.clone())).collect();
                    // One that is left out leaves no trace.
                    (!public.is_empty()).then_some(Value::Object(public))?
                }
                ("grants", Value::Object(grants)) => {
                    grants.iter().map(|(name, grant)| (name.clone(), section(grant))).collect()
                }
                ("steps", Value::Array(steps)) => steps.iter().map(section).collect(),
                // A URL's query may hold an API key.
                (_, Value::String(url)) if url.contains("://") => url.split('?').next().unwrap_or_default().into(),
                (_, other) => other.clone(),
            };
            Some((name.clone(), value))
        })
        .collect()
}
