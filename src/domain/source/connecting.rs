//! The reading of a definition that people connect in a browser (`"grant_type": "authorization_code"`): its token requests
//! and the sections that are about connecting. Other definitions may have such sections too; they are checked and count
//! for nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use super::connect::as_at;
use super::connect_forms::{self as forms, Beside};
use super::definition::{GrantRules, Reader};
use super::fields::{Faults, Fields};
use super::flow::Role;
use super::parameters;
use super::schema::{Field, Section, definition, grant, refresh};
use super::{ConnectRules, Credential, Endpoint, Flow, parse_endpoint_url};
use crate::domain::credential::CredentialKind;
use crate::domain::provider::connecting::{AuthorizeForm, DeviceForm, IdentityForm, RevokeAuth, RevokeForm};
use crate::domain::provider::{self, CUSTOM};

/// The grant type of a definition that people connect.
pub(super) const AUTHORIZATION_CODE: &str = "authorization_code";

/// The grant type that refreshes a connection where nothing else is declared.
pub(super) const REFRESH_TOKEN: &str = "refresh_token";

/// The grant type that refreshes what a connection has.
pub(super) fn refreshing_grant(rules: &BTreeMap<String, GrantRules>) -> String {
    let then = rules.get(AUTHORIZATION_CODE).and_then(|rules| rules.then.clone());
    then.unwrap_or_else(|| REFRESH_TOKEN.to_owned())
}

impl Reader {
    /// How a source is connected; `None`: nobody connects it.
    pub(super) fn connect_rules(
        &self,
        is_connected: bool,
        rules: &BTreeMap<String, GrantRules>,
    ) -> Result<Option<ConnectRules>, Faults> {
        let names = definition::CONNECTING.iter().chain([&definition::ID_TOKEN.name]);
        if !is_connected && !names.into_iter().any(|name| self.written.contains_key(*name)) {
            return Ok(None);
        }
        let values = self.values(AUTHORIZATION_CODE);
        let fields = Fields::new(&values);
        let mut faults = Faults::default();
        let endpoint = faults.keep(self.authorization_endpoint(&fields, is_connected)).flatten();
        let (code, exchange, keeps) = if is_connected {
            let code = faults.keep(self.code_flow(&fields, rules));
            (code, faults.keep(self.exchange_flow(rules)), faults.keep(self.kept(rules)))
        } else {
            (None, None, None)
        };
        let beside = Beside {
            reader: self,
            request: code.as_ref().map(|code| &code.request),
            auth: code.as_ref().map_or(RevokeAuth::Basic, |code| as_at(&code.client_authentication)),
        };
        let sections = faults.keep(self.connect_sections(&fields, &beside, is_connected, endpoint.as_ref()));
        let plain = faults.keep(plain_fields(&fields));
        let rules = || {
            let (mut code, sections, plain) = (code?, sections?, plain?);
            Some(ConnectRules {
                provider: self.provider.as_deref().and_then(provider::title).map(str::to_owned),
                accounts: plain.accounts,
                authorization_endpoint: endpoint,
                redirect_uri: plain.redirect_uri,
                client_id: code.client_id.clone().unwrap_or_default(),
                // It was asked for in the browser: no token request repeats it.
                scope: code.scope.take(),
                authorize: sections.authorize,
                identity: sections.identity,
                revoke: sections.revoke,
                device: sections.device,
                required_scope: plain.required_scope,
                exchange: exchange?,
                keeps: keeps?,
                may_lack_refresh_token: plain.may_lack_refresh_token,
                id_token: plain.id_token,
                code,
            })
        };
        if is_connected { faults.finish(rules()).map(Some) } else { faults.finish(Some(None)) }
    }

    /// The sections: all of them, or only what was written where nobody connects.
    fn connect_sections(
        &self,
        of: &Fields<'_>,
        beside: &Beside<'_>,
        is_connected: bool,
        endpoint: Option<&Url>,
    ) -> Result<Sections, Faults> {
        let reads = |section: Field<Section>| is_connected || self.written.contains_key(section.name);
        let authorize = if reads(definition::AUTHORIZE) {
            self.authorize(of, beside, endpoint)
        } else {
            Ok(AuthorizeForm::default())
        };
        let identity = if reads(definition::IDENTITY) { forms::identity_form(of, beside) } else { Ok(None) };
        let revoke = if reads(definition::REVOKE) { forms::revoke_form(of, beside) } else { Ok(None) };
        let device = if reads(definition::DEVICE) { forms::device_form(of, beside) } else { Ok(None) };
        let mut faults = Faults::default();
        let authorize = faults.keep(authorize);
        let (identity, revoke, device) = (faults.keep(identity), faults.keep(revoke), faults.keep(device));
        let sections =
            || Some(Sections { authorize: authorize?, identity: identity?, revoke: revoke?, device: device? });
        faults.finish(sections())
    }

    /// The fields that count for a token request of a connection. No such request repeats the scope that was asked for in
    /// the browser, of which a person may have granted less (RFC 6749 section 6).
    pub(super) fn values_without_scope(&self, grant_type: &str) -> Map<String, Value> {
        let mut values = self.values(grant_type);
        if !self.has_scope_of_its_own(grant_type) {
            values.remove(definition::SCOPE.name);
        }
        values
    }

    /// The exchange of the code.
    fn code_flow(&self, of: &Fields<'_>, rules: &BTreeMap<String, GrantRules>) -> Result<Flow, Faults> {
        let mut fields = of.part();
        if let Some(rules) = rules.get(AUTHORIZATION_CODE) {
            self.check_required(&mut fields, &rules.required);
        }
        let role = Role::Grant { grant_type: AUTHORIZATION_CODE.to_owned(), credential: Credential::Code };
        let flow = self.flow(of, &role);
        let flow = fields.keep(flow);
        fields.finish_some(flow)
    }

    /// The exchange of the access token that a code brings, where it is a short-lived one.
    fn exchange_flow(&self, rules: &BTreeMap<String, GrantRules>) -> Result<Option<Flow>, Faults> {
        let exchange = rules.get(AUTHORIZATION_CODE).and_then(|rules| rules.exchange.as_ref());
        let Some(exchange) = exchange else { return Ok(None) };
        let values = self.values_without_scope(exchange);
        let mut fields = Fields::new(&values);
        let credential = GrantRules::of(rules, exchange).credential;
        if credential != Credential::AccessToken && rules.contains_key(exchange) {
            let place = format!("{}.{AUTHORIZATION_CODE}.{}", definition::GRANTS.name, grant::EXCHANGE.name);
            fields.fault_at(&place, "must be a grant type whose `credential` is an access token");
        }
        self.check_required(&mut fields, &GrantRules::of(rules, exchange).required);
        let role = Role::Grant { grant_type: exchange.clone(), credential: Credential::AccessToken };
        let flow = self.flow(&fields.part(), &role);
        let flow = fields.keep(flow);
        fields.finish_some(flow.map(Some))
    }

    /// What a connection keeps, and is refreshed with.
    fn kept(&self, rules: &BTreeMap<String, GrantRules>) -> Result<CredentialKind, Faults> {
        let refreshing = refreshing_grant(rules);
        let mut fields = Fields::new(&self.written);
        let kept = match GrantRules::of(rules, &refreshing).credential {
            Credential::RefreshToken => Some(CredentialKind::RefreshToken),
            Credential::AccessToken => Some(CredentialKind::AccessToken),
            Credential::None | Credential::Assertion(()) | Credential::Code => None,
        };
        // One that nobody knows was told already.
        if kept.is_none() && rules.contains_key(&refreshing) {
            let place = format!("{}.{AUTHORIZATION_CODE}.{}", definition::GRANTS.name, grant::THEN.name);
            fields.fault_at(&place, "must be a grant type whose `credential` is a refresh token or an access token");
        }
        fields.finish(kept.unwrap_or_default())
    }

    /// Where the browser is sent; `None`: where the issuer's metadata says.
    fn authorization_endpoint(&self, of: &Fields<'_>, is_connected: bool) -> Result<Option<Url>, Faults> {
        let field = definition::AUTHORIZATION_ENDPOINT;
        let is_written = self.written.contains_key(field.name);
        let mut fields = of.part();
        if !is_written && (self.has_issuer() || !is_connected) {
            return fields.finish(None);
        }
        if !fields.has(field) && !self.provider_unknown {
            match self.provider.as_deref().filter(|provider| *provider != CUSTOM) {
                Some(provider) => {
                    fields.fault(field, format_args!("is required (or `issuer`): `{provider}` declares none"));
                }
                None => fields.fault(field, "is required (or `issuer`)"),
            }
        }
        let url = self.url(&mut fields, field, is_written);
        fields.finish_some(url.map(Some))
    }

    fn authorize(&self, of: &Fields<'_>, beside: &Beside<'_>, endpoint: Option<&Url>) -> Result<AuthorizeForm, Faults> {
        let mut fields = of.part();
        let form = forms::authorize_form(of, beside, self.authorization_host(of));
        let mut form = fields.keep(form);
        if let Some(form) = &mut form {
            let sent = forms::usual_parameters(form);
            let is_sent = |name: &str| sent.contains(&name) || form.params.iter().any(|(param, _)| param == name);
            if endpoint.is_some_and(|endpoint| endpoint.query_pairs().any(|(name, _)| is_sent(&name))) {
                let reason = "holds a parameter in its query that the request sends itself";
                fields.fault(definition::AUTHORIZATION_ENDPOINT, reason);
            }
            // What was written there goes before the issuer, and that before what is declared.
            if let Some(Endpoint::Issuer { identifier, .. }) = &self.issuer
                && !self.has_written_name(definition::AUTHORIZE, super::schema::authorize::ISSUER.name)
            {
                form.issuer = Some(identifier.clone());
            }
        }
        fields.finish_some(form)
    }

    /// The host of the authorization endpoint, whatever `base_url` says; `None`: nobody knows it.
    fn authorization_host(&self, of: &Fields<'_>) -> Option<String> {
        let template = of.unchecked_text(definition::AUTHORIZATION_ENDPOINT)?;
        let resolved = self.resolve(of, template, false).ok()?;
        let url = parse_endpoint_url(&resolved, self.plain_http).ok()?;
        url.host_str().map(str::to_owned)
    }
}

/// What the sections say.
struct Sections {
    authorize: AuthorizeForm,
    identity: Option<IdentityForm>,
    revoke: Option<RevokeForm>,
    device: Option<DeviceForm>,
}

/// The fields that are no sections.
struct PlainFields {
    accounts: bool,
    redirect_uri: Option<String>,
    required_scope: Vec<String>,
    id_token: bool,
    may_lack_refresh_token: bool,
}

fn plain_fields(of: &Fields<'_>) -> Result<PlainFields, Faults> {
    let mut fields = of.part();
    let redirect_uri = fields.get(definition::REDIRECT_URI);
    if redirect_uri.as_ref().is_some_and(|uri| uri.contains("://") && uri.contains('#')) {
        fields.fault(definition::REDIRECT_URI, "must not contain a fragment (#)");
    }
    let required_scope = parameters::scopes(of, definition::REQUIRED_SCOPE);
    let required_scope = fields.keep(required_scope).flatten().unwrap_or_default();
    let mut rules = of.section(definition::REFRESH);
    let may_lack_refresh_token = rules.get_or_default(refresh::NONE);
    fields.keep(rules.finish(()));
    let plain = PlainFields {
        accounts: fields.get_or_default(definition::ACCOUNTS),
        redirect_uri,
        required_scope: required_scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        id_token: fields.get_or_default(definition::ID_TOKEN),
        may_lack_refresh_token,
    };
    fields.finish(plain)
}
