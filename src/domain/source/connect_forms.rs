//! The sections of a declaration that are about connecting: `authorize`, `identity`, `revoke`, `device`. Each is what was
//! written laid over what the provider declares; what was written but can't count is a fault, what was declared is not.

use std::collections::BTreeMap;

use url::Url;

use super::definition::Reader;
use super::fields::{Faults, Fields};
use super::parameters::{header_texts, place};
use super::schema::{
    Choices, ChoicesOrDefault, Field, Name, Object, Section, Template, Verbatim, authorize, authorize_rename,
    definition, device, device_rename, identity, revoke,
};
use super::{PlainHttp, parse_endpoint_url};
use crate::domain::provider::connecting::{
    AuthorizeForm, CallbackCheck, DeviceForm, Ends, IdentityForm, IdentityPlace, Pairs, Pkce, RevokeAuth, RevokeBody,
    RevokeForm, RevokedToken, ServerChoice,
};
use crate::domain::provider::dialect::{Pointer, RequestForm, RequestMethod};

const PKCE: ChoicesOrDefault<Pkce> = authorize::PKCE.meaning(&[
    ("optional", Pkce::Optional),
    ("required", Pkce::Required),
    ("off", Pkce::Off),
    ("hex", Pkce::Hex),
]);
/// Whether a callback is one of Shopify's.
const VERIFICATIONS: Choices<()> = authorize::VERIFY.meaning(&[("shopify", ())]);

/// What holds the identity, before its endpoint is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Answer,
    IdToken,
    Callback,
    Request,
}

const IDENTITY_FROM: Choices<From> = identity::FROM.meaning(&[
    ("answer", From::Answer),
    ("id_token", From::IdToken),
    ("callback", From::Callback),
    ("request", From::Request),
]);
const IDENTITY_METHODS: ChoicesOrDefault<RequestMethod> =
    identity::METHOD.meaning(&[("GET", RequestMethod::Get), ("POST", RequestMethod::Post)]);

const REVOKE_METHODS: ChoicesOrDefault<RequestMethod> = revoke::METHOD.meaning(&[
    ("POST", RequestMethod::Post),
    ("GET", RequestMethod::Get),
    ("DELETE", RequestMethod::Delete),
]);
const REVOKE_AUTHS: Choices<RevokeAuth> = revoke::AUTH.meaning(&[
    ("client_secret_basic", RevokeAuth::Basic),
    ("client_secret_post", RevokeAuth::Post),
    ("bearer", RevokeAuth::Bearer),
    ("none", RevokeAuth::None),
]);
const REVOKE_BODIES: Choices<RevokeBody> = revoke::BODY.meaning(&[
    ("form", RevokeBody::Form),
    ("json", RevokeBody::Json),
    ("query", RevokeBody::Query),
    ("none", RevokeBody::None),
]);
const REVOKED_TOKENS: ChoicesOrDefault<RevokedToken> = revoke::TOKEN.meaning(&[
    ("refresh_token", RevokedToken::Refresh),
    ("access_token", RevokedToken::Access),
    ("both", RevokedToken::Both),
]);
const ENDS: ChoicesOrDefault<Ends> =
    revoke::ENDS.meaning(&[("token", Ends::Token), ("grant", Ends::Grant), ("account", Ends::Account)]);

/// What the sections are read beside.
pub(super) struct Beside<'a> {
    pub(super) reader: &'a Reader,
    /// The token request's form, which has the client id's name and the scopes' delimiter; `None`: nobody knows it.
    pub(super) request: Option<&'a RequestForm>,
    /// How the client proves who it is where `revoke` does not say it.
    pub(super) auth: RevokeAuth,
}

impl Beside<'_> {
    /// The client id's name where the token request has another one than usual.
    fn client_id(&self) -> Option<(String, String)> {
        let name = self.request.and_then(|request| request.client_id_parameter.clone())?;
        (name != "client_id").then(|| ("client_id".to_owned(), name))
    }

    /// Where an endpoint leads to which an issuer's metadata may have, too: what was written goes before that, and what
    /// is declared counts without an issuer only. `None`: the metadata says it, or a fault was noted.
    fn endpoint(&self, section: &mut Fields<'_>, of: Field<Section>, field: Field<Template>) -> Option<Url> {
        let is_written = self.reader.has_written(of, field);
        if self.reader.has_issuer() && !is_written {
            return None;
        }
        section.required(field);
        // The client's id is filled in with each request.
        let template = section.get(field)?.replace("{client_id}", "%7Bclient_id%7D");
        self.reader.url_of(section, field, &template, is_written)
    }
}

/// `authorize`. `shop`: the host that the browser is sent to.
pub(super) fn authorize_form(
    of: &Fields<'_>,
    beside: &Beside<'_>,
    shop: Option<String>,
) -> Result<AuthorizeForm, Faults> {
    let mut section = of.section(definition::AUTHORIZE);
    let pkce = section.choice_or_default(&PKCE);
    if pkce == Pkce::Off && beside.reader.declares(definition::AUTHORIZE, PKCE.choices.name) == Some("required") {
        section.fault_at(PKCE.choices.name, "can't be off: the provider requires a proof key");
    }
    let rename = authorize_rename(&section, beside);
    let rename = section.keep(rename).unwrap_or_default();
    let params = texts(&mut section, authorize::PARAMS);
    let scope_delimiter = section.get(authorize::SCOPE_DELIMITER);
    let of_request = || beside.request.map(|request| request.scope_delimiter.clone());
    let verify = section.choice(&VERIFICATIONS);
    if verify.is_some() && shop.is_none() {
        section.fault_at(VERIFICATIONS.name, "needs an `authorization_endpoint`, whose host is the shop");
    }
    let form = AuthorizeForm {
        pkce,
        scope_delimiter: scope_delimiter.or_else(of_request).unwrap_or_else(|| " ".to_owned()),
        cut: section.get(authorize::CUT),
        keep: section.get(authorize::KEEP).unwrap_or_default(),
        issuer: section.get(authorize::ISSUER),
        servers: servers(&mut section, beside.reader.plain_http),
        verify: verify.and(shop).map(|shop| CallbackCheck::Shopify { shop }),
        params,
        rename,
    };
    each_once(&mut section, &form);
    section.finish(form)
}

fn authorize_rename(of: &Fields<'_>, beside: &Beside<'_>) -> Result<BTreeMap<String, String>, Faults> {
    let mut section = of.section(authorize::RENAME);
    let mut rename: BTreeMap<String, String> = beside.client_id().into_iter().collect();
    for field in [
        authorize_rename::RESPONSE_TYPE,
        authorize_rename::CLIENT_ID,
        authorize_rename::REDIRECT_URI,
        authorize_rename::SCOPE,
    ] {
        rename.extend(other_name(&mut section, field));
    }
    let in_callbacks: [Field<Verbatim>; 2] = [authorize_rename::STATE, authorize_rename::CODE];
    for field in in_callbacks {
        rename.extend(section.get(field).map(|name| (field.name.to_owned(), name)));
    }
    section.finish(rename)
}

/// Another name of a parameter, an empty one where it is not sent.
fn other_name(section: &mut Fields<'_>, field: Field<Name>) -> Option<(String, String)> {
    section.get(field).map(|name| (field.name.to_owned(), name.unwrap_or_default()))
}

/// RFC 6749 section 3.1: each parameter once.
fn each_once(section: &mut Fields<'_>, form: &AuthorizeForm) {
    let usual = usual_parameters(form);
    if (1..usual.len()).any(|index| usual[..index].contains(&usual[index])) {
        section.fault(authorize::RENAME, "gives two parameters the same name");
    }
    for (param, _) in form.params.iter().filter(|(param, _)| usual.contains(&param.as_str())) {
        section.fault_at(&place(authorize::PARAMS, param), "is set by the request itself");
    }
}

/// The names of what every authorization request sends.
pub(super) fn usual_parameters(form: &AuthorizeForm) -> Vec<&str> {
    let usual = ["response_type", "client_id", "redirect_uri", "scope", "state"];
    let usual = usual.map(|usual| form.rename.get(usual).map_or(usual, String::as_str));
    let usual = usual.into_iter().filter(|name| !name.is_empty());
    usual.chain(["code_challenge", "code_challenge_method"]).collect()
}

fn servers(section: &mut Fields<'_>, plain_http: PlainHttp) -> Option<ServerChoice> {
    let parameter = section.get(authorize::SERVER_PARAMETER);
    let servers = section.get(authorize::SERVERS);
    match (section.has(authorize::SERVER_PARAMETER), section.has(authorize::SERVERS)) {
        (true, false) => section.fault(authorize::SERVERS, "is required beside `server_parameter`"),
        (false, true) => section.fault(authorize::SERVER_PARAMETER, "is required beside `servers`"),
        _ => {}
    }
    let mut urls = Vec::new();
    for server in servers? {
        match parse_endpoint_url(&server, plain_http) {
            Ok(url) if url.path() == "/" && url.query().is_none() => urls.push(url),
            Ok(_) => section.fault(authorize::SERVERS, "must be scheme, host and port each, without a path"),
            Err(reason) => section.fault(authorize::SERVERS, reason),
        }
    }
    Some(ServerChoice { parameter: parameter?, servers: urls })
}

/// `identity`; `None`: there is no such section.
pub(super) fn identity_form(of: &Fields<'_>, beside: &Beside<'_>) -> Result<Option<IdentityForm>, Faults> {
    let Some(mut section) = of.optional_section(definition::IDENTITY)? else { return Ok(None) };
    section.required(identity::FROM);
    section.required(identity::ID);
    let from = section.choice(&IDENTITY_FROM);
    let id = places_of_ids(&mut section);
    let name = section.get(identity::NAME);
    let method = section.choice_or_default(&IDENTITY_METHODS);
    let parameter = section.get(identity::PARAMETER);
    let headers: Pairs = header_texts(&mut section, identity::HEADERS).into_iter().collect();
    let has_written = |field| beside.reader.has_written_name(definition::IDENTITY, field);
    let mut endpoint = None;
    if from == Some(From::Request) {
        section.required(identity::ENDPOINT);
        endpoint = beside.reader.url(&mut section, identity::ENDPOINT, has_written(identity::ENDPOINT.name));
    } else if from.is_some() {
        for name in [identity::ENDPOINT.name, identity::METHOD.name, identity::PARAMETER.name, identity::HEADERS.name] {
            if has_written(name) {
                section.fault_at(name, "is for `from` = `request` alone");
            }
        }
    }
    let from = from.and_then(|from| {
        Some(match from {
            From::Answer => IdentityPlace::Answer,
            From::IdToken => IdentityPlace::IdToken,
            From::Callback => IdentityPlace::Callback,
            From::Request => IdentityPlace::Request { url: endpoint?, method, parameter, headers },
        })
    });
    section.finish_some(from.map(|from| Some(IdentityForm { from, id, name })))
}

fn places_of_ids(section: &mut Fields<'_>) -> Vec<Pointer> {
    let Some(texts) = section.get(identity::ID) else { return Vec::new() };
    if texts.is_empty() {
        section.fault(identity::ID, "must name at least one place");
    }
    let mut places = Vec::new();
    for text in texts {
        let last = text.rsplit('/').next().unwrap_or_default().to_ascii_lowercase().replace(['-', '_'], "");
        if last.contains("email") || last == "mail" {
            section.fault(identity::ID, "can't be an e-mail address, which may become another person's");
        }
        match Pointer::parse(&text).filter(|pointer| !pointer.as_str().is_empty()) {
            Some(pointer) => places.push(pointer),
            None => section.fault(identity::ID, "must be paths such as /user/id (JSON Pointers, RFC 6901)"),
        }
    }
    places
}

/// `revoke`; `None`: there is no such section.
pub(super) fn revoke_form(of: &Fields<'_>, beside: &Beside<'_>) -> Result<Option<RevokeForm>, Faults> {
    let Some(mut section) = of.optional_section(definition::REVOKE)? else { return Ok(None) };
    let endpoint = beside.endpoint(&mut section, definition::REVOKE, revoke::ENDPOINT);
    let method = section.choice_or_default(&REVOKE_METHODS);
    let body = section.choice(&REVOKE_BODIES);
    if method == RequestMethod::Get && matches!(body, Some(RevokeBody::Form | RevokeBody::Json)) {
        section.fault_at(REVOKE_BODIES.name, "contradicts `method`: a GET request has no body");
    }
    let usual = if method == RequestMethod::Get { RevokeBody::Query } else { RevokeBody::Form };
    let body = body.unwrap_or(usual);
    if body == RevokeBody::None && beside.reader.has_written(definition::REVOKE, revoke::PARAMETER) {
        section.fault(revoke::PARAMETER, "contradicts `body`: the token is in no parameter");
    }
    let parameter = section.get_or_default(revoke::PARAMETER);
    let auth = section.choice(&REVOKE_AUTHS).unwrap_or(beside.auth);
    let token = section.choice_or_default(&REVOKED_TOKENS);
    let ends = section.choice_or_default(&ENDS);
    let params = texts(&mut section, revoke::PARAMS);
    if body != RevokeBody::None {
        for (name, _) in params.iter().filter(|(name, _)| *name == parameter) {
            section.fault_at(&place(revoke::PARAMS, name), "is set by `parameter`");
        }
    }
    let headers = header_texts(&mut section, revoke::HEADERS);
    let authorizes = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    if authorizes && matches!(auth, RevokeAuth::Basic | RevokeAuth::Bearer) {
        section.fault_at("headers.Authorization", "is set by `auth`");
    }
    let (params, headers) = (params.into_iter().collect(), headers.into_iter().collect());
    section.finish(Some(RevokeForm { endpoint, method, auth, body, parameter, token, ends, params, headers }))
}

/// `device`; `None`: there is no such section.
pub(super) fn device_form(of: &Fields<'_>, beside: &Beside<'_>) -> Result<Option<DeviceForm>, Faults> {
    let Some(mut section) = of.optional_section(definition::DEVICE)? else { return Ok(None) };
    let endpoint = beside.endpoint(&mut section, definition::DEVICE, device::ENDPOINT);
    let mut names = section.section(device::RENAME);
    let mut rename: BTreeMap<String, String> = beside.client_id().into_iter().collect();
    for field in [device_rename::CLIENT_ID, device_rename::SCOPE] {
        rename.extend(other_name(&mut names, field));
    }
    let rename = section.keep(names.finish(rename)).unwrap_or_default();
    section.finish(Some(DeviceForm { endpoint, rename }))
}

/// The members of an object of strings.
fn texts(section: &mut Fields<'_>, field: Field<Object>) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (name, value) in section.object(field).into_iter().flatten() {
        match value.as_str() {
            Some(text) => texts.push((name.clone(), text.to_owned())),
            None => section.fault_at(&place(field, name), "must be a string"),
        }
    }
    texts
}
