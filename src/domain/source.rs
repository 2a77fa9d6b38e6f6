//! Sources and their definitions: what the secrets say, parsed and validated.
//!
//! A [`Catalog`] is made of secrets as they were read; one bad definition fails its own source and no other. The
//! [`Roster`] remembers which sources there were.

mod catalog;
mod client;
mod connect;
mod connect_forms;
mod connecting;
mod definition;
mod fields;
mod flow;
mod forms;
mod hash;
mod json;
mod parameters;
mod roster;
mod schema;
mod sections;

use std::fmt;
use std::sync::Arc;

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

pub use self::catalog::{Catalog, Secret};
pub use self::connect::ConnectRules;
pub use self::roster::Roster;

use crate::domain::assertion::Assertion;
use crate::domain::credential::{AuthorizationGrant, Seed, Use};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::provider::dialect::{ErrorRule, RefreshRules, RequestForm, ResponseForm};
use crate::domain::redact;

/// Default of `min_ttl`.
pub const DEFAULT_MIN_TTL: TimeDelta = schema::definition::MIN_TTL.default;
/// Default of `default_expires_in`.
pub const DEFAULT_EXPIRES_IN: TimeDelta = schema::definition::DEFAULT_EXPIRES_IN.default;

/// Parameters that are never secret (RFC 8693 section 2.1, RFC 8707 section 2); all others may be.
const PUBLIC_PARAMS: [&str; 2] = ["audience", "resource"];

/// A source's name, `[a-z0-9][a-z0-9._-]{0,63}`, or that of one account of it: `<source>/<account>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

impl SourceName {
    /// A source's own name, if it has the form.
    pub fn parse(name: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = name.len() <= 64
            && name.bytes().next().is_some_and(allowed)
            && name.bytes().all(|byte| allowed(byte) || b"._-".contains(&byte));
        valid.then(|| Self(name.to_owned()))
    }

    /// A source's name, or that of one account of it, if it has the form.
    pub fn parse_with_account(name: &str) -> Option<Self> {
        match name.split_once('/') {
            None => Self::parse(name),
            Some((source, account)) => Some(Self::parse(source)?.with_account(Some(&AccountName::parse(account)?))),
        }
    }

    /// The name of an account of the source; `None`: the source's own.
    #[must_use]
    pub fn with_account(&self, account: Option<&AccountName>) -> Self {
        match account {
            Some(account) => Self(format!("{}/{}", self.source(), account.as_str())),
            None => Self(self.source().to_owned()),
        }
    }

    /// The source's own name.
    pub fn source(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The account; `None`: it is a source's own name.
    pub fn account(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, account)| account)
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an account: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`, opaque, never an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountName(String);

impl AccountName {
    /// Checks the form.
    pub fn parse(name: &str) -> Option<Self> {
        let valid = name.len() <= 128
            && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        valid.then(|| Self(name.to_owned()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One OAuth client at one authorization server.
#[derive(Debug)]
pub struct Source {
    /// Its name; of an account of it: `<source>/<account>`.
    pub name: SourceName,
    /// How to get its token, shared by all its accounts.
    pub definition: Arc<Definition>,
}

impl Source {
    /// One account of it, with a name of its own and the same definition.
    #[must_use]
    pub fn of_account(&self, account: &AccountName) -> Self {
        Self { name: self.name.with_account(Some(account)), definition: Arc::clone(&self.definition) }
    }

    /// Whether its token document has the ID token.
    pub fn keeps_id_token(&self) -> bool {
        self.definition.connect.as_ref().is_some_and(|rules| rules.id_token)
    }

    /// Whether each of its accounts is worked on by itself.
    pub fn has_accounts(&self) -> bool {
        self.definition.connect.as_ref().is_some_and(|rules| rules.accounts)
    }
}

/// Where tokens are requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The token endpoint itself.
    Token(Url),
    /// The issuer in whose metadata it stands.
    Issuer {
        /// As written: it must match to the letter (RFC 8414 section 3.3).
        identifier: String,
        /// The same, parsed.
        url: Url,
    },
}

/// What a token request is made with, besides the client. `Credential<()>` says which one, before an assertion is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<A = Box<Assertion>> {
    /// Nothing: the client asks for itself (RFC 6749 section 4.4).
    None,
    /// The current refresh token (RFC 6749 section 6).
    RefreshToken,
    /// The current access token: it refreshes itself, or is exchanged for another.
    AccessToken,
    /// A signed assertion (RFC 7523 section 2.1).
    Assertion(A),
    /// The code that a browser was sent back with (RFC 6749 section 4.1.3).
    Code,
}

/// The value of a further request parameter. It may be a secret.
#[derive(Debug, Clone)]
pub enum ParameterValue {
    /// One.
    One(SecretString),
    /// Several: the parameter is repeated (RFC 8707 section 2), or a list in JSON.
    Many(Vec<SecretString>),
}

impl ParameterValue {
    /// One value after the other.
    pub fn iter(&self) -> impl Iterator<Item = &SecretString> {
        match self {
            Self::One(value) => std::slice::from_ref(value).iter(),
            Self::Many(values) => values.iter(),
        }
    }
}

/// How the client proves who it is at the token endpoint.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// `client_secret_basic` (RFC 6749 section 2.3.1).
    Basic(SecretString),
    /// `client_secret_post`.
    Post(SecretString),
    /// `private_key_jwt` (RFC 7523 section 2.2).
    PrivateKeyJwt(Box<Assertion>),
    /// `tls_client_auth` and `self_signed_tls_client_auth` (RFC 8705): the certificate is in [`Tls`].
    MutualTls,
    /// `none`: a public client.
    None,
}

/// One kind of token request: where it goes, what it says, and how its answer is read.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Where to.
    pub endpoint: Endpoint,
    /// `grant_type`; `None`: a step that sends none.
    pub grant_type: Option<String>,
    /// What the token is requested with.
    pub credential: Credential,
    /// RFC 6749 section 2.2; `None` where the request does without.
    pub client_id: Option<String>,
    /// How the client authenticates.
    pub client_authentication: ClientAuthentication,
    /// What the request looks like.
    pub request: RequestForm,
    /// Where the answer holds what.
    pub response: ResponseForm,
    /// Which answers are which errors.
    pub errors: Vec<ErrorRule>,
    /// The rules of refreshing with it.
    pub refresh: RefreshRules,
    /// Space-delimited; `None`: no scope is asked for.
    pub scope: Option<String>,
    /// Further request parameters.
    pub params: Vec<(String, ParameterValue)>,
    /// Further request headers; values may be API keys.
    pub headers: Vec<(String, SecretString)>,
}

impl Flow {
    /// Whether a request whose answer was lost may be sent again, so long after it was sent first.
    pub fn may_repeat_lost(&self, since_first: TimeDelta) -> bool {
        match self.credential {
            Credential::None | Credential::Assertion(_) => true,
            Credential::RefreshToken | Credential::AccessToken => self.refresh.allow_repeat(since_first),
            // RFC 6749 section 4.1.2: a code that is used twice may cost all tokens that came of it.
            Credential::Code => false,
        }
    }

    /// Everything in it that must not be shown: the client's secret, all headers, and all parameters but the two that
    /// are never secret.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let params = self.params.iter().filter(|(name, _)| !PUBLIC_PARAMS.contains(&name.as_str()));
        let params = params.flat_map(|(_, value)| value.iter());
        let headers = self.headers.iter().map(|(_, value)| value);
        self.client_secret().into_iter().chain(headers.chain(params).map(SecretString::expose_secret))
    }

    fn client_secret(&self) -> Option<&str> {
        match &self.client_authentication {
            ClientAuthentication::Basic(secret) | ClientAuthentication::Post(secret) => Some(secret.expose_secret()),
            _ => None,
        }
    }
}

/// What is special about this source's TLS connections.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM: trusted besides the usual roots.
    pub ca_certificate: Option<String>,
    /// PEM, certificate chain and private key: presented in the handshake.
    pub identity: Option<(String, SecretString)>,
}

impl Tls {
    /// Whether the usual client will do.
    pub fn is_default(&self) -> bool {
        self.ca_certificate.is_none() && self.identity.is_none()
    }
}

/// How to get a source's token. Every field of the secret is validated here, once.
#[derive(Debug, Clone)]
pub struct Definition {
    /// How a token is requested.
    pub flow: Flow,
    /// How the access token that this brings is refreshed, where that is another kind of request.
    pub then: Option<Box<Flow>>,
    /// Exchanges that follow the first answer.
    pub steps: Vec<Flow>,
    /// The first credential of a grant that moves.
    pub seed: Option<Seed>,
    /// How a person connects it; `None`: nobody has to.
    pub connect: Option<Arc<ConnectRules>>,
    /// Connection settings.
    pub tls: Tls,
    /// Validity that readers of the token document can always count on.
    pub min_ttl: TimeDelta,
    /// Lifetime to assume where the server states none.
    pub default_expires_in: TimeDelta,
    /// Where a new token is tried before it is published.
    pub verify_url: Option<Url>,
    /// Where plain `http` may go, for what an issuer's metadata names.
    pub plain_http: PlainHttp,
    /// Who is asked when this source fails.
    pub owner: Option<String>,
    /// What to do then.
    pub runbook_url: Option<Url>,
    /// SHA-256 (hex) over the fields that are no secrets and the hashes of the first credentials: of `params` only what
    /// is never secret, of `headers` nothing, nor of what is for connecting alone. Published; another value makes the
    /// token due.
    pub public_sha256: String,
    /// SHA-256 (hex) over the same and all secrets: another value means that something was changed.
    pub full_sha256: String,
}

impl Definition {
    /// Reads one definition. `Ok(None)`: it is switched off (`"enabled": false`), whatever else it says.
    pub fn parse(json: &str, plain_http: PlainHttp) -> Result<Option<Self>, SourceError> {
        let (members, twice) = json::read_object(json)?;
        definition::read(members, &twice, plain_http).map_err(|faults| {
            // Names of grants and the like are whatever the secret says.
            let message = redact::printable(&faults.joined(), usize::MAX);
            SourceError::new(ErrorCode::DefinitionInvalid, message)
        })
    }

    /// Where the grant begins that is kept in grant state; `None`: no grant is kept, so no lease is needed. What people
    /// connect comes before a credential in the definition.
    pub fn root(&self) -> Option<Root<'_>> {
        let connection = self.connect.as_deref().map(Root::Connection);
        connection.or_else(|| self.seed.as_ref().map(Root::Seed))
    }

    /// What its tokens are requested with.
    pub fn authorization_grant(&self) -> AuthorizationGrant {
        if self.connect.is_some() {
            return AuthorizationGrant::Connection;
        }
        match (&self.seed, &self.flow.credential) {
            (Some(seed), _) => AuthorizationGrant::Kept(seed.kind()),
            (None, Credential::Assertion(_)) => AuthorizationGrant::Assertion,
            (None, _) if self.flow.grant_type.as_deref() == Some("password") => AuthorizationGrant::Password,
            (None, _) => AuthorizationGrant::Client,
        }
    }

    /// Where it asks for tokens, or for where to.
    pub fn first_url(&self) -> &Url {
        let (Endpoint::Token(url) | Endpoint::Issuer { url, .. }) = &self.flow.endpoint;
        url
    }

    /// All kinds of requests that it makes.
    fn flows(&self) -> impl Iterator<Item = &Flow> {
        let connecting = self.connect.iter().flat_map(|connect| connect.flows());
        [&self.flow].into_iter().chain(self.then.as_deref()).chain(&self.steps).chain(connecting)
    }

    /// How a token is requested with a credential that is used for the first time, or later.
    pub fn flow_for(&self, next: Use) -> &Flow {
        self.then.as_deref().filter(|_| next == Use::Later).unwrap_or(&self.flow)
    }

    /// The secrets of its clients, and the first credential of its grant.
    pub fn client_and_grant_secrets(&self) -> impl Iterator<Item = &str> {
        let seed = self.seed.as_ref().map(|seed| seed.secret().expose_secret());
        self.flows().filter_map(Flow::client_secret).chain(seed)
    }

    /// What is kept out of token documents: these secrets, and headers, which may be API keys. Parameters are not:
    /// a tenant's name is part of many a URL that jobs need.
    pub fn withheld(&self) -> impl Iterator<Item = &str> {
        let headers = self.flows().flat_map(|flow| &flow.headers).map(|(_, value)| value.expose_secret());
        let further = self.connect.iter().flat_map(|connect| connect.header_values());
        self.client_and_grant_secrets().chain(headers).chain(further)
    }

    /// Everything in the definition that must not be shown, for masking what a server echoes.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let further = self.connect.iter().flat_map(|connect| connect.header_values());
        self.client_and_grant_secrets().chain(self.flows().flat_map(Flow::secrets)).chain(further)
    }
}

/// Where a grant begins that is kept in grant state.
#[derive(Debug, Clone, Copy)]
pub enum Root<'a> {
    /// With the definition's own credential.
    Seed(&'a Seed),
    /// With a person who connects an account.
    Connection(&'a ConnectRules),
}

/// Where a definition may call plain `http`.
///
/// In Lambda, loopback is the runtime's own API and those of its extensions: whoever may write one definition must not reach
/// them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Nowhere.
    #[default]
    Refused,
    /// On loopback addresses: local runs and tests.
    OnLoopback,
}

/// Checks what is called with a credential: `https`, or `http` where that is allowed.
///
/// A fragment is refused (RFC 6749 section 3.2), and so are a user name and password, which would end in logs.
pub fn parse_endpoint_url(text: &str, plain_http: PlainHttp) -> Result<Url, &'static str> {
    let url = parse_ascii_url(text).ok_or("must be a URL such as https://as.example.com/token")?;
    let loopback = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let allowed = plain_http == PlainHttp::OnLoopback && loopback;
    if !(url.scheme() == "https" || url.scheme() == "http" && allowed) {
        return Err("must begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password");
    }
    if url.fragment().is_some() {
        return Err("must not contain a fragment (#)");
    }
    Ok(url)
}

/// Parses a URL whose host is written in ASCII: a name with other letters in Punycode (RFC 3492), for which the tables
/// are left out of the binary.
fn parse_ascii_url(text: &str) -> Option<Url> {
    let (_scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '\\', '?', '#']).next()?;
    (authority.is_ascii() && !authority.contains('%')).then(|| Url::parse(text).ok())?
}

#[cfg(test)]
mod tests;
