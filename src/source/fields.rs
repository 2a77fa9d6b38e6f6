//! The fields of a definition, one by one: types, forms, and what contradicts what.

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;
use jsonwebtoken::Algorithm;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use url::Url;

use super::{ClientAssertion, ClientAuthentication, Endpoint, Grant, Tls, parse_endpoint_url};
use crate::assertion::SigningKey;
use crate::duration;
use crate::provider::{self, Provider};
use crate::report::{ErrorCode, SourceError};
use crate::text;

/// Every field of a definition.
const FIELDS: [&str; 29] = [
    "access_token",
    "api_key",
    "api_secret",
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
    "grant_type",
    "headers",
    "issuer",
    "key_id",
    "min_ttl",
    "owner",
    "params",
    "private_key",
    "provider",
    "refresh_token",
    "runbook_url",
    "scope",
    "token_endpoint",
    "token_endpoint_auth_method",
    "variables",
    "verify_url",
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

/// Longest text that is shown to people as it is.
const LONGEST_LINE: usize = 200;

/// Headers that belong to the connection or to the form body.
const RESERVED_HEADERS: [&str; 6] = ["connection", "content-length", "content-type", "host", "te", "transfer-encoding"];

/// The members of a JSON object in their order, repeated names included.
pub(super) struct Members<T>(pub(super) Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(map.size_hint().unwrap_or_default());
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor(std::marker::PhantomData))
    }
}

/// Says why a text is no JSON object. serde's words for type errors repeat the value, so they are not used.
pub(super) fn not_an_object(error: &serde_json::Error) -> SourceError {
    let reason = match error.classify() {
        serde_json::error::Category::Data => "must be a JSON object".to_owned(),
        _ => format!("is not JSON (line {}, column {})", error.line(), error.column()),
    };
    SourceError::new(ErrorCode::DefinitionInvalid, format!("the secret {reason}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    Included,
    Excluded,
}

/// The fields of one definition, and all that is wrong with them.
pub(super) struct Fields {
    values: BTreeMap<String, Value>,
    faults: Vec<String>,
}

impl Fields {
    /// Sorts the members; a `null` counts as absent.
    pub(super) fn new(members: Members<Value>) -> Self {
        let mut fields = Self { values: BTreeMap::new(), faults: Vec::new() };
        for (name, value) in members.0 {
            if !FIELDS.contains(&name.as_str()) {
                fields.unknown(&name);
            } else if !value.is_null() && fields.values.insert(name.clone(), value).is_some() {
                fields.fault(&name, "is given twice");
            }
        }
        fields
    }

    /// Whether the definition is switched off, whatever else it says.
    pub(super) fn switched_off(&self) -> bool {
        self.values.get("enabled") == Some(&Value::Bool(false))
    }

    /// All that was found wrong.
    pub(super) fn into_faults(self) -> Vec<String> {
        self.faults
    }

    pub(super) fn fault(&mut self, field: &str, reason: impl fmt::Display) {
        self.faults.push(format!("`{field}` {reason}"));
    }

    pub(super) fn required(&mut self, field: &str) {
        // A fault with its value was told already.
        if !self.values.contains_key(field) {
            self.fault(field, "is required");
        }
    }

    fn unknown(&mut self, name: &str) {
        let nearest = FIELDS
            .into_iter()
            .map(|field| (strsim::osa_distance(&name.to_lowercase(), field), field))
            .min()
            .filter(|(distance, field)| *distance <= field.len() / 2);
        let shown = text::printable(name, 64);
        match nearest {
            Some((_, field)) => self.fault(&shown, format_args!("is unknown; did you mean `{field}`?")),
            None => self.fault(&shown, "is unknown"),
        }
    }

    pub(super) fn check_type(&mut self, field: &str, is: impl Fn(&Value) -> bool, reason: &str) {
        if self.values.get(field).is_some_and(|value| !is(value)) {
            self.fault(field, reason);
        }
    }

    /// A non-empty string without stray white space, which copying leaves behind and servers refuse.
    pub(super) fn string(&mut self, field: &str) -> Option<String> {
        let reason = match self.values.get(field)? {
            Value::String(text) if text.is_empty() => "must not be empty",
            Value::String(text) if text.trim() != text => "must not begin or end with white space",
            Value::String(text) => return Some(text.clone()),
            _ => "must be a string",
        };
        self.fault(field, reason);
        None
    }

    /// A string that is shown to people.
    pub(super) fn line(&mut self, field: &str) -> Option<String> {
        let line = self.string(field)?;
        if line.contains(char::is_control) || line.chars().count() > LONGEST_LINE {
            self.fault(field, format_args!("must be one line of at most {LONGEST_LINE} characters"));
            return None;
        }
        Some(line)
    }

    pub(super) fn secret(&mut self, field: &str) -> Option<SecretString> {
        self.string(field).map(SecretString::from)
    }

    /// A PEM text; `\n` written out (a frequent slip of copying into JSON) is read as a line end.
    fn pem(&mut self, field: &str) -> Option<String> {
        let pem = self.values.get(field)?.as_str().map(|pem| pem.replace("\\n", "\n"));
        if pem.is_none() {
            self.fault(field, "must be a string");
        }
        pem
    }

    /// A field under either of its two names.
    pub(super) fn either(&mut self, field: &str, alias: &str) -> Option<String> {
        if self.values.contains_key(field) && self.values.contains_key(alias) {
            self.fault(alias, format_args!("is another name of `{field}`: give one"));
        }
        if self.values.contains_key(field) { self.string(field) } else { self.string(alias) }
    }

    pub(super) fn duration(&mut self, field: &str, least: TimeDelta) -> Option<TimeDelta> {
        let text = self.string(field)?;
        match duration::parse(&text) {
            Ok(duration) if duration >= least => return Some(duration),
            Ok(_) => self.fault(field, "must be longer"),
            Err(error) => self.fault(field, error),
        }
        None
    }

    pub(super) fn endpoint_url(&mut self, field: &str) -> Option<Url> {
        let text = self.string(field)?;
        match parse_endpoint_url(&text) {
            Ok(url) => Some(url),
            Err(reason) => {
                self.fault(field, reason);
                None
            }
        }
    }

    /// A URL for people to follow.
    pub(super) fn link(&mut self, field: &str) -> Option<Url> {
        let url = Url::parse(&self.string(field)?).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
        if url.is_none() {
            self.fault(field, "must be a URL such as https://wiki.example.com/runbook");
        }
        url
    }

    pub(super) fn provider(&mut self) -> Option<&'static Provider> {
        let name = self.string("provider")?;
        let found = provider::find(&name);
        if found.is_none() {
            let known = provider::PROVIDERS.map(|provider| provider.name).join(", ");
            self.fault("provider", format_args!("must be one of {known}"));
        }
        found
    }

    pub(super) fn endpoint(&mut self, provider: Option<&Provider>) -> Option<Endpoint> {
        let token_endpoint = self.endpoint_url("token_endpoint");
        let issuer = self.endpoint_url("issuer");
        let base_url = self.endpoint_url("base_url");
        let variables = self.variables();

        if provider.is_none() && !self.values.contains_key("provider") {
            for field in ["base_url", "variables"] {
                if self.values.contains_key(field) {
                    self.fault(field, "is for built-in providers: give `provider` too");
                }
            }
        }
        if base_url.as_ref().is_some_and(|url| url.query().is_some()) {
            self.fault("base_url", "must not contain a query (?)");
        }
        let written = |fields: &Self, field: &str| fields.values.contains_key(field);
        if written(self, "token_endpoint") && written(self, "issuer") {
            self.fault("issuer", "leads to the token endpoint: give it or `token_endpoint`, not both");
            return None;
        }
        if written(self, "token_endpoint") {
            return token_endpoint.map(Endpoint::Token);
        }
        if written(self, "issuer") {
            let url = issuer?;
            if url.query().is_some() {
                self.fault("issuer", "must not contain a query (?)");
            }
            return self.string("issuer").map(|identifier| Endpoint::Issuer { identifier, url });
        }
        let Some(provider) = provider else {
            if !written(self, "provider") {
                self.fault("token_endpoint", "is required (or `issuer`, or `provider`)");
            }
            return None;
        };
        match provider.resolve_token_endpoint(&variables?, base_url.as_ref()) {
            Ok(url) => match parse_endpoint_url(&url) {
                Ok(url) => return Some(Endpoint::Token(url)),
                Err(reason) => self.fault("variables", reason),
            },
            Err(reason) => self.fault("variables", reason),
        }
        None
    }

    /// Values go into host names and paths, so they can't hold anything that changes a URL's shape.
    fn variables(&mut self) -> Option<BTreeMap<String, String>> {
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

    fn object(&mut self, field: &str) -> Vec<(String, Value)> {
        match self.values.get(field) {
            None => Vec::new(),
            Some(Value::Object(members)) => members.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            Some(_) => {
                self.fault(field, "must be an object");
                Vec::new()
            }
        }
    }

    fn authentication_method(&mut self, provider: Option<&Provider>) -> Option<String> {
        if self.values.contains_key("token_endpoint_auth_method") {
            return self.string("token_endpoint_auth_method");
        }
        Some(provider.map_or("client_secret_basic", |provider| provider.token_endpoint_auth_method).to_owned())
    }

    pub(super) fn client_authentication(&mut self, provider: Option<&Provider>) -> Option<ClientAuthentication> {
        let method = self.authentication_method(provider)?;
        let algorithm = self.assertion_algorithm();
        let key_id = self.string("key_id");
        let audience = self.string("assertion_audience");
        let subject = self.string("assertion_subject");
        let secret = self.either("client_secret", "api_secret").map(SecretString::from);
        let key = self.signing_key(algorithm);
        let certificate = self.certificates("certificate").and_then(|chain| chain.into_iter().next());
        match method.as_str() {
            "client_secret_basic" | "client_secret_post" => {
                if secret.is_none() && !self.values.contains_key("api_secret") {
                    if !self.values.contains_key("client_secret") {
                        self.fault("client_secret", format_args!("is required for {method}"));
                    }
                    return None;
                }
                let secret = secret?;
                Some(if method == "client_secret_basic" {
                    ClientAuthentication::Basic(secret)
                } else {
                    ClientAuthentication::Post(secret)
                })
            }
            "private_key_jwt" => {
                if !self.values.contains_key("private_key") {
                    self.fault("private_key", "is required for private_key_jwt");
                }
                Some(ClientAuthentication::PrivateKeyJwt(ClientAssertion {
                    key_id,
                    audience,
                    subject,
                    certificate: certificate.map(|certificate| certificate.to_vec()),
                    key: key?,
                }))
            }
            "tls_client_auth" | "self_signed_tls_client_auth" => {
                for field in ["certificate", "private_key"] {
                    if !self.values.contains_key(field) {
                        self.fault(field, format_args!("is required for {method}"));
                    }
                }
                Some(ClientAuthentication::MutualTls)
            }
            "none" => Some(ClientAuthentication::None),
            _ => {
                self.fault(
                    "token_endpoint_auth_method",
                    "must be client_secret_basic, client_secret_post, private_key_jwt, tls_client_auth, \
                     self_signed_tls_client_auth or none",
                );
                None
            }
        }
    }

    fn assertion_algorithm(&mut self) -> Option<Algorithm> {
        match self.string("assertion_algorithm")?.as_str() {
            "RS256" => Some(Algorithm::RS256),
            "PS256" => Some(Algorithm::PS256),
            "ES256" => Some(Algorithm::ES256),
            _ => {
                self.fault("assertion_algorithm", "must be RS256, PS256 or ES256");
                None
            }
        }
    }

    fn signing_key(&mut self, algorithm: Option<Algorithm>) -> Option<SigningKey> {
        let pem = self.pem("private_key")?;
        SigningKey::from_pem(&pem, algorithm).map_err(|error| self.fault("private_key", error)).ok()
    }

    /// The certificates of a PEM text, DER, at least one.
    fn certificates(&mut self, field: &str) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.pem(field)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Some(chain),
            _ => {
                self.fault(field, "must be a PEM certificate");
                None
            }
        }
    }

    pub(super) fn tls(&mut self, provider: Option<&Provider>) -> Tls {
        let mutual = self.authentication_method(provider).is_some_and(|method| method.ends_with("tls_client_auth"));
        let identity = if mutual { self.pem("certificate").zip(self.pem("private_key")) } else { None };
        let ca_certificate = self.certificates("ca_certificate").and_then(|_| self.pem("ca_certificate"));
        Tls { ca_certificate, identity: identity.map(|(certificate, key)| (certificate, SecretString::from(key))) }
    }

    pub(super) fn grant(&mut self, provider: Option<&Provider>) -> Option<Grant> {
        let refresh_token = self.secret("refresh_token");
        let grant_type = match (self.values.contains_key("grant_type"), provider) {
            (true, _) => self.string("grant_type")?,
            (false, Some(Provider { grant_type: Some(grant_type), .. })) => (*grant_type).to_owned(),
            (false, _) if self.values.contains_key("refresh_token") => "refresh_token".to_owned(),
            (false, _) => "client_credentials".to_owned(),
        };
        match grant_type.as_str() {
            "client_credentials" => Some(Grant::ClientCredentials),
            "refresh_token" => {
                self.required("refresh_token");
                refresh_token.map(Grant::RefreshToken)
            }
            _ => {
                self.fault("grant_type", "must be client_credentials or refresh_token");
                None
            }
        }
    }

    /// RFC 6749 section 3.3: space-delimited.
    pub(super) fn scope(&mut self) -> Option<String> {
        let scope = match self.values.get("scope")? {
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

    pub(super) fn params(&mut self) -> Vec<(String, SecretString)> {
        let mut params = Vec::new();
        for (name, value) in self.object("params") {
            let field = format!("params.{}", text::printable(&name, 64));
            if let Some((_, owner)) = RESERVED_PARAMS.iter().find(|(reserved, _)| *reserved == name) {
                self.fault(&field, format_args!("is set by `{owner}`"));
                continue;
            }
            let values = match value {
                Value::String(text) => Some(vec![text]),
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| if let Value::String(text) = value { Some(text) } else { None })
                    .collect(),
                _ => None,
            };
            match values {
                Some(values) => params.extend(values.into_iter().map(|value| (name.clone(), value.into()))),
                None => self.fault(&field, "must be a string or an array of strings"),
            }
        }
        params
    }

    pub(super) fn headers(&mut self) -> Vec<(String, SecretString)> {
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

    /// SHA-256 over the fields by name, hex.
    pub(super) fn sha256(&self, secrets: Secrets) -> String {
        let mut canonical = String::new();
        for (name, value) in &self.values {
            let hashed = HASHED_FIELDS.contains(&name.as_str());
            if secrets == Secrets::Excluded && SECRET_FIELDS.contains(&name.as_str()) {
                continue;
            }
            canonical.push_str(name);
            canonical.push('=');
            if hashed {
                canonical.push_str(&text::sha256_hex(value.as_str().unwrap_or_default().as_bytes()));
            } else {
                write_canonical(value, &mut canonical);
            }
            canonical.push('\n');
        }
        text::sha256_hex(canonical.as_bytes())
    }
}

/// JSON with the members of every object sorted, so that equal values have equal hashes.
fn write_canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            into.push('{');
            for (name, value) in members.iter().collect::<BTreeMap<_, _>>() {
                into.push_str(&Value::from(name.as_str()).to_string());
                into.push(':');
                write_canonical(value, into);
                into.push(',');
            }
            into.push('}');
        }
        other => into.push_str(&other.to_string()),
    }
}
