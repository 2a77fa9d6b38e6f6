//! The reading of a definition: the provider's declaration, the section of its grant and what was written are laid over
//! one another, and every field of the result is checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use super::connecting::{AUTHORIZATION_CODE, REFRESH_TOKEN, refreshing_grant};
use super::fields::{Faults, Fields, LONGEST_NAME, known_members, nearest};
use super::flow::Role;
use super::schema::{Choices, Field, Section, Template, Url as UrlForm, definition, device, grant, identity, revoke};
use super::{ClientAuthentication, Credential, Definition, Endpoint, Flow, PlainHttp, Seed, hash};
use crate::domain::assertion::JWT_BEARER;
use crate::domain::provider::{self, CUSTOM, Declaration};
use crate::domain::redact;

const CREDENTIALS: Choices<Credential<()>> = grant::CREDENTIAL.meaning(&[
    ("none", Credential::None),
    ("refresh_token", Credential::RefreshToken),
    ("access_token", Credential::AccessToken),
    ("assertion", Credential::Assertion(())),
]);

/// Reads a definition's members, some of which may have been given `twice`; `Ok(None)`: it is switched off, whatever else
/// it says. The error is all that is wrong.
pub(super) fn read(
    members: Map<String, Value>,
    twice: &[String],
    plain_http: PlainHttp,
) -> Result<Option<Definition>, Faults> {
    let (values, unknown) = known_members(members, definition::NAMES);
    if values.get(definition::ENABLED.name) == Some(&Value::Bool(false)) && twice.is_empty() {
        return Ok(None);
    }
    let mut written = Fields::new(&values);
    for name in twice {
        written.fault_at(name, "is given twice");
    }
    written.get(definition::ENABLED);
    let mut faults = unknown;
    faults.keep(written.finish(()));
    let reader = faults.keep_read(Reader::new(&values, plain_http));
    let definition = faults.keep(reader.definition(&values));
    faults.finish(definition).map(Some)
}

/// What is special about a grant type besides the fields that it lays over the others.
#[derive(Clone)]
pub(super) struct GrantRules {
    pub(super) credential: Credential<()>,
    pub(super) exchange: Option<String>,
    pub(super) then: Option<String>,
    /// Fields that a definition must have: `scope`, `params.account_id`.
    pub(super) required: Vec<String>,
}

impl GrantRules {
    /// The rules of a grant type, of which there may be none of its own.
    pub(super) fn of(rules: &BTreeMap<String, Self>, grant_type: &str) -> Self {
        let default = || Self {
            credential: Self::default_credential(grant_type),
            exchange: None,
            then: None,
            required: Vec::new(),
        };
        rules.get(grant_type).cloned().unwrap_or_else(default)
    }

    fn default_credential(grant_type: &str) -> Credential<()> {
        match grant_type {
            REFRESH_TOKEN => Credential::RefreshToken,
            JWT_BEARER => Credential::Assertion(()),
            AUTHORIZATION_CODE => Credential::Code,
            _ => Credential::None,
        }
    }
}

/// All that the parts of one definition have in common.
pub(super) struct Reader {
    /// Name of the provider, if there is one.
    pub(super) provider: Option<String>,
    /// Whether nobody knows it.
    pub(super) provider_unknown: bool,
    /// The declaration's fields, without grants, steps, and what follows.
    declared: Declaration,
    /// What the declaration says of connecting.
    declared_connecting: Declaration,
    /// What was written, without grants and steps.
    pub(super) written: Map<String, Value>,
    declared_grants: Map<String, Value>,
    written_grants: Map<String, Value>,
    /// The grant type that the provider means by default.
    default_grant_type: Option<String>,
    /// Grants and steps, with what was written laid over the declaration's.
    grants_and_steps: Map<String, Value>,
    /// `None`: a fault was noted.
    pub(super) variables: Option<BTreeMap<String, String>>,
    pub(super) base_url: Option<Url>,
    pub(super) issuer: Option<Endpoint>,
    pub(super) plain_http: PlainHttp,
}

impl Reader {
    /// The faults are those of what was read for all parts.
    fn new(values: &Map<String, Value>, plain_http: PlainHttp) -> (Self, Faults) {
        let mut written = Fields::new(values);
        let provider = written.word(definition::PROVIDER);
        let declaration = provider.as_deref().map_or_else(|| Some(Declaration::new()), provider::find);
        if declaration.is_none() {
            written.unknown_provider();
        }
        let provider_unknown = declaration.is_none();
        let declared = declaration.unwrap_or_default();
        let written_grants = written.object(definition::GRANTS).cloned();
        let declared_grants = declared.get(definition::GRANTS.name).and_then(Value::as_object).cloned();
        let parts = [definition::GRANTS.name, definition::STEPS.name];
        let some = |values: &Map<String, Value>, wanted: &dyn Fn(&str) -> bool| {
            let mut values = values.clone();
            values.retain(|name, _| wanted(name));
            values
        };
        let only_parts = |values: &Map<String, Value>| some(values, &|name| parts.contains(&name));
        let is_connecting = |name: &str| definition::CONNECTING.contains(&name);
        let is_whole = |name: &str| !parts.contains(&name) && name != definition::GRANT_TYPE.name;
        let default_grant_type = declared.get(definition::GRANT_TYPE.name).and_then(Value::as_str).map(str::to_owned);
        let mut merged = only_parts(&declared);
        provider::overlay(&mut merged, &only_parts(values));
        let reader = Self {
            provider_unknown,
            default_grant_type,
            declared_grants: declared_grants.unwrap_or_default(),
            written_grants: written_grants.unwrap_or_default(),
            grants_and_steps: merged,
            variables: written.variables(provider.is_some()),
            base_url: written.base_url(provider.is_some(), plain_http),
            issuer: written.issuer(plain_http),
            plain_http,
            declared: some(&declared, &|name| is_whole(name) && !is_connecting(name)),
            declared_connecting: some(&declared, &is_connecting),
            written: some(values, &is_whole),
            provider,
        };
        written.finish_read(reader)
    }

    fn definition(&self, written: &Map<String, Value>) -> Result<Definition, Faults> {
        let mut faults = Faults::default();
        let steps = faults.keep(self.steps());
        let (grant_type, grant_type_faults) = self.grant_type(written);
        let is_connected = grant_type == AUTHORIZATION_CODE && grant_type_faults.is_empty();
        let grant_type = faults.keep_read((grant_type, grant_type_faults));
        faults.keep(self.check_placeholders());
        let all_rules = faults.keep_read(self.grant_rules());
        // A harvest refreshes what somebody has connected.
        let (grant_type, values) = if is_connected {
            let refreshing = refreshing_grant(&all_rules);
            let values = self.values_without_scope(&refreshing);
            (refreshing, values)
        } else {
            let values = self.values(&grant_type);
            (grant_type, values)
        };
        let rules = GrantRules::of(&all_rules, &grant_type);
        let then = if is_connected { Ok(None) } else { self.refresh_flow(&rules, &grant_type) };
        let then = faults.keep(then).flatten();
        let mut fields = Fields::new(&values);
        self.check_required(&mut fields, &rules.required);
        let flow =
            fields.keep(self.flow(&Fields::new(&values), &Role::Grant { grant_type, credential: rules.credential }));
        let seed = if is_connected { fields.no_seed() } else { fields.seed(rules.credential) };
        let min_ttl = fields.get_or_default(definition::MIN_TTL);
        let default_expires_in = fields.get_or_default(definition::DEFAULT_EXPIRES_IN);
        let verify_url = fields.endpoint_url(definition::VERIFY_URL, self.plain_http);
        let owner = fields.get(definition::OWNER);
        let runbook_url = fields.get(definition::RUNBOOK_URL);
        let mutual = |flow: &Flow| matches!(flow.client_authentication, ClientAuthentication::MutualTls);
        let uses_mutual_tls = flow.iter().chain(&then).chain(steps.iter().flatten()).any(mutual);
        let tls = fields.tls(uses_mutual_tls);
        faults.keep(fields.finish(()));
        let connect = faults.keep(self.connect_rules(is_connected, &all_rules)).flatten();
        let (Some(flow), Some(steps)) = (flow, steps) else { return faults.finish(None) };
        faults.finish(Some(()))?;
        Ok(Definition {
            flow,
            then: then.map(Box::new),
            steps,
            seed,
            connect: connect.map(Arc::new),
            tls,
            min_ttl,
            default_expires_in,
            verify_url,
            plain_http: self.plain_http,
            owner,
            runbook_url,
            public_sha256: hash::public_sha256(written),
            full_sha256: hash::full_sha256(written),
        })
    }

    /// The fields that count for a grant type: the declaration's, those of its section for the grant, the definition's,
    /// those of its own section for the grant, of both sections without the grant's rules. Error rules add up, the most
    /// specific first.
    pub(super) fn values(&self, grant_type: &str) -> Map<String, Value> {
        let section = |grants: &Map<String, Value>| {
            let mut section = grants.get(grant_type).and_then(Value::as_object).cloned().unwrap_or_default();
            section.retain(|name, _| definition::NAMES.contains(&name.as_str()));
            section
        };
        let (declared, written) = (section(&self.declared_grants), section(&self.written_grants));
        let layers = [&self.declared, &declared, &self.written, &written];
        let connects = grant_type == AUTHORIZATION_CODE;
        let mut values = if connects { self.declared_connecting.clone() } else { Map::new() };
        for layer in layers {
            provider::overlay(&mut values, layer);
        }
        let errors = definition::ERRORS.name;
        let rules: Vec<&Value> = layers.into_iter().rev().filter_map(|layer| layer.get(errors)).collect();
        if let Some(lists) = rules.into_iter().map(Value::as_array).collect::<Option<Vec<_>>>()
            && !lists.is_empty()
        {
            values.insert(errors.to_owned(), lists.into_iter().flatten().cloned().collect());
        }
        values
    }

    /// Whether a grant type's own section names a scope.
    pub(super) fn has_scope_of_its_own(&self, grant_type: &str) -> bool {
        let sections = [&self.declared_grants, &self.written_grants];
        let scope = |grants: &Map<String, Value>| {
            grants.get(grant_type).and_then(|section| section.get(definition::SCOPE.name)).is_some_and(|v| !v.is_null())
        };
        sections.into_iter().any(scope)
    }

    /// Whether the definition names an issuer, whatever its form.
    pub(super) fn has_issuer(&self) -> bool {
        self.written.contains_key(definition::ISSUER.name)
    }

    /// Whether a field of a section is the definition's own.
    pub(super) fn has_written<F: Copy, D: Copy>(&self, section: Field<Section>, field: Field<F, D>) -> bool {
        self.has_written_name(section, field.name)
    }

    /// The same by its name.
    pub(super) fn has_written_name(&self, section: Field<Section>, field: &str) -> bool {
        self.written.get(section.name).and_then(|section| section.get(field)).is_some_and(|value| !value.is_null())
    }

    /// The word that a provider declares for a field of a section.
    pub(super) fn declares(&self, section: Field<Section>, field: &str) -> Option<&str> {
        self.declared_connecting.get(section.name)?.get(field)?.as_str()
    }

    fn grants(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.grants_and_steps.get(definition::GRANTS.name).and_then(Value::as_object).into_iter().flatten()
    }

    /// The grant type that is written, or the one that is meant. An unknown one has a fault, and what is wrong besides is
    /// told as for a client's own.
    fn grant_type(&self, written: &Map<String, Value>) -> (String, Faults) {
        let mut written = Fields::new(written);
        let mut known: Vec<&str> = self.grants().map(|(name, _)| name.as_str()).collect();
        if known.is_empty() {
            known = vec!["client_credentials", "refresh_token", JWT_BEARER];
        }
        let default = || self.default_grant_type.clone().unwrap_or_else(|| "client_credentials".to_owned());
        let grant_type = if written.has(definition::GRANT_TYPE) {
            let Some(grant_type) = written.get(definition::GRANT_TYPE) else { return written.finish_read(default()) };
            grant_type
        } else if written.has(definition::REFRESH_TOKEN) && known.contains(&"refresh_token") {
            "refresh_token".to_owned()
        } else {
            default()
        };
        let may_connect = known.contains(&AUTHORIZATION_CODE) || self.may_connect();
        let is_known = known.contains(&grant_type.as_str()) || may_connect && grant_type == AUTHORIZATION_CODE;
        if !is_known {
            let names = known.join(" or ");
            let is_slip = may_connect && nearest(&grant_type, [AUTHORIZATION_CODE].into_iter()).is_some();
            if is_slip {
                let reason = format_args!("must be {names}; did you mean `{AUTHORIZATION_CODE}`?");
                written.fault(definition::GRANT_TYPE, reason);
            } else {
                written.fault(definition::GRANT_TYPE, format_args!("must be {names}"));
            }
        }
        written.finish_read(grant_type)
    }

    /// Whether people can connect without a provider that declares it.
    fn may_connect(&self) -> bool {
        match self.provider.as_deref() {
            None => true,
            Some(CUSTOM) => self.grants().next().is_none(),
            Some(_) => false,
        }
    }

    /// The rules of all grant types that have some.
    fn grant_rules(&self) -> (BTreeMap<String, GrantRules>, Faults) {
        let mut parts = Fields::new(&self.grants_and_steps);
        let mut rules = BTreeMap::new();
        for (name, section) in self.grants() {
            let place = format!("{}.{name}", definition::GRANTS.name);
            let Some(mut grant) = parts.member(&place, section, grant::NAMES) else { continue };
            let credential = grant.choice(&CREDENTIALS);
            let (exchange, then) = (grant.get(grant::EXCHANGE), grant.get(grant::THEN));
            if exchange.is_some() && name != AUTHORIZATION_CODE {
                grant.fault(grant::EXCHANGE, format_args!("is for {AUTHORIZATION_CODE}"));
            }
            let is_usual = |other: &str| name == AUTHORIZATION_CODE && other == REFRESH_TOKEN;
            for (field, other) in [(grant::EXCHANGE, &exchange), (grant::THEN, &then)] {
                let is_known = |other: &String| is_usual(other) || self.grants().any(|(known, _)| known == other);
                if other.as_ref().is_some_and(|other| !is_known(other)) {
                    grant.fault(field, "must be another grant type of the same provider");
                }
            }
            let required = grant.get(grant::REQUIRED).unwrap_or_default();
            let credential = credential.unwrap_or_else(|| GrantRules::default_credential(name));
            rules.insert(name.clone(), GrantRules { credential, exchange, then, required });
            parts.keep(grant.finish(()));
        }
        parts.finish_read(rules)
    }

    /// How an access token that refreshes itself is refreshed, where that is another kind of request.
    fn refresh_flow(&self, rules: &GrantRules, grant_type: &str) -> Result<Option<Flow>, Faults> {
        let Some(then) = rules.then.as_ref().filter(|then| *then != grant_type) else { return Ok(None) };
        let role = Role::Grant { grant_type: then.clone(), credential: Credential::AccessToken };
        self.flow(&Fields::new(&self.values(then)), &role).map(Some)
    }

    /// Fields that this grant can't do without.
    pub(super) fn check_required(&self, fields: &mut Fields<'_>, required: &[String]) {
        let provider = self.provider.as_deref().unwrap_or(CUSTOM);
        for path in required {
            if !fields.has_path(path) {
                fields.fault_at(path, format_args!("is required by `{provider}`"));
            }
        }
    }

    fn steps(&self) -> Result<Vec<Flow>, Faults> {
        let mut parts = Fields::new(&self.grants_and_steps);
        let mut flows = Vec::new();
        for step in parts.sections(definition::STEPS) {
            let mut values = self.written.clone();
            values.retain(|name, _| definition::CLIENT.contains(&name.as_str()));
            if let Some(over) = step.values() {
                provider::overlay(&mut values, over);
            }
            let mut step = step.with_values(&values);
            let flow = self.flow(&step, &Role::Step);
            let flow = step.keep(flow);
            flows.extend(parts.keep(step.finish_some(flow)));
        }
        parts.finish(flows)
    }

    /// Every variable must fill something.
    fn check_placeholders(&self) -> Result<(), Faults> {
        let mut fields = Fields::new(&self.written);
        let Some(provider) = &self.provider else { return Ok(()) };
        let steps = self.grants_and_steps.get(definition::STEPS.name).and_then(Value::as_array).into_iter().flatten();
        let sections = self.grants().map(|(_, grant)| grant).chain(steps).filter_map(Value::as_object);
        let whole = [&self.declared, &self.declared_connecting, &self.written];
        let connecting = whole.into_iter().flat_map(|fields| {
            let endpoints: [(Field<Section>, Field<Template>); 3] = [
                (definition::IDENTITY, identity::ENDPOINT),
                (definition::REVOKE, revoke::ENDPOINT),
                (definition::DEVICE, device::ENDPOINT),
            ];
            endpoints.map(|(section, field)| fields.get(section.name)?.get(field.name))
        });
        let templates: Vec<&str> = whole
            .into_iter()
            .chain(sections)
            .flat_map(|section| {
                [definition::TOKEN_ENDPOINT, definition::AUTHORIZATION_ENDPOINT, definition::ASSERTION_AUDIENCE]
                    .map(|field| section.get(field.name))
            })
            .chain(connecting)
            .filter_map(|template| template?.as_str())
            .collect();
        let unknown = self.variables.iter().flat_map(BTreeMap::keys).find(|name| {
            !templates.iter().any(|template| provider::placeholders(template).any(|known| known == **name))
        });
        if let Some(unknown) = unknown {
            fields.fault(definition::VARIABLES, format_args!("`{provider}` has no placeholder {{{unknown}}}"));
        }
        fields.finish(())
    }
}

/// The fields that only a definition itself has.
impl Fields<'_> {
    fn unknown_provider(&mut self) {
        let name = self.values().and_then(|values| values.get(definition::PROVIDER.name)?.as_str()).unwrap_or_default();
        match nearest(name, provider::names()) {
            Some(known) => self.fault(definition::PROVIDER, format_args!("is unknown; did you mean `{known}`?")),
            None => self.fault(definition::PROVIDER, format_args!("is unknown; `{CUSTOM}` is for one of your own")),
        }
    }

    /// Values go into host names and paths, so they can't hold anything that changes a URL's shape.
    fn variables(&mut self, has_provider: bool) -> Option<BTreeMap<String, String>> {
        self.for_providers(definition::VARIABLES, has_provider);
        let mut variables = BTreeMap::new();
        for (name, value) in self.object(definition::VARIABLES).into_iter().flatten() {
            let allowed = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                    && !text.bytes().all(|byte| byte == b'.')
            };
            match value {
                Value::String(text) if allowed(text) => {
                    variables.insert(name.clone(), text.clone());
                }
                _ => {
                    let place = format!("{}.{}", definition::VARIABLES.name, redact::printable(name, LONGEST_NAME));
                    self.fault_at(&place, "must be a string of letters, digits, `.`, `_` and `-`");
                    return None;
                }
            }
        }
        Some(variables)
    }

    fn base_url(&mut self, has_provider: bool, plain_http: PlainHttp) -> Option<Url> {
        self.for_providers(definition::BASE_URL, has_provider);
        self.url_without_query(definition::BASE_URL, plain_http)
    }

    fn for_providers<F: Copy>(&mut self, field: Field<F>, has_provider: bool) {
        if self.has(field) && !has_provider && !self.has(definition::PROVIDER) {
            self.fault(field, "is for providers: give `provider` too");
        }
    }

    fn issuer(&mut self, plain_http: PlainHttp) -> Option<Endpoint> {
        let url = self.url_without_query(definition::ISSUER, plain_http)?;
        self.get(definition::ISSUER).map(|identifier| Endpoint::Issuer { identifier, url })
    }

    fn url_without_query(&mut self, field: Field<UrlForm>, plain_http: PlainHttp) -> Option<Url> {
        let url = self.endpoint_url(field, plain_http)?;
        if url.query().is_some() {
            self.fault(field, "must not contain a query (?)");
            return None;
        }
        Some(url)
    }

    /// The first credential of a grant comes from connecting.
    fn no_seed(&mut self) -> Option<Seed> {
        for field in [definition::REFRESH_TOKEN, definition::ACCESS_TOKEN] {
            if self.has(field) {
                self.fault(field, format_args!("must be left out: with {AUTHORIZATION_CODE}, connecting brings it"));
            }
        }
        None
    }

    /// The first credential of a grant. The one that this grant does without is checked too.
    fn seed(&mut self, credential: Credential<()>) -> Option<Seed> {
        let seed = match credential {
            Credential::RefreshToken => {
                self.required(definition::REFRESH_TOKEN);
                self.get(definition::REFRESH_TOKEN).map(Seed::RefreshToken)
            }
            Credential::AccessToken => {
                self.required(definition::ACCESS_TOKEN);
                self.get(definition::ACCESS_TOKEN).map(Seed::AccessToken)
            }
            Credential::None | Credential::Assertion(()) | Credential::Code => None,
        };
        self.get(definition::ACCESS_TOKEN);
        self.get(definition::REFRESH_TOKEN);
        seed
    }
}
