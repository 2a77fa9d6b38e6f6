//! How a provider departs from RFC 6749 section 4.1 where a person connects an account in a browser: how the browser is
//! sent there, whose account it is, how the grant is ended. `docs/declarations.md` describes it for people.

use std::collections::BTreeMap;
use std::fmt;

use url::Url;

use super::dialect::{Pointer, RequestMethod};

/// How a provider wants an authorization request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizeForm {
    /// Whether, and how, a proof key is sent.
    pub pkce: Pkce,
    /// Further parameters, as the provider documents them.
    pub params: Vec<(String, String)>,
    /// Other names of the usual parameters: `client_id` to `client_key`. An empty one: it is not sent. `state` and `code`
    /// are renamed in the callback too, and never to an empty one.
    pub rename: BTreeMap<String, String>,
    /// What stands between scopes.
    pub scope_delimiter: String,
    /// What to take off the end of a code.
    pub cut: Option<String>,
    /// Parameters of the callback that go into the token document's `extra`.
    pub keep: Vec<String>,
    /// What `iss` of a callback must be (RFC 9207); `None`: it is not looked at.
    pub issuer: Option<String>,
    /// Where the callback may name the server of the account.
    pub servers: Option<ServerChoice>,
    /// What else must be right of a callback.
    pub verify: Option<CallbackCheck>,
}

impl Default for AuthorizeForm {
    fn default() -> Self {
        Self {
            pkce: Pkce::Optional,
            params: Vec::new(),
            rename: BTreeMap::new(),
            scope_delimiter: " ".to_owned(),
            cut: None,
            keep: Vec::new(),
            issuer: None,
            servers: None,
            verify: None,
        }
    }
}

/// How a proof key (RFC 7636) is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pkce {
    /// S256, which servers that don't know it must ignore (RFC 6749 section 3.1).
    #[default]
    Optional,
    /// S256, without which the server refuses.
    Required,
    /// None, for servers that refuse it or mean another kind of client by it.
    Off,
    /// The SHA-256 in hex instead of base64url, said to be S256: the form of `TikTok`'s desktop apps.
    Hex,
}

/// The servers of a provider that has several, each with accounts of its own. The one that a callback names takes the
/// place of the token endpoint's, there and in all other endpoints on the same server, for this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerChoice {
    /// The callback's parameter that names it.
    pub parameter: String,
    /// Those that it may name: scheme, host and port. Any other is refused.
    pub servers: Vec<Url>,
}

/// What a provider adds to a callback so that it can be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackCheck {
    /// `hmac`: HMAC-SHA-256 in hex over the other parameters, sorted, with the client's secret as its key; and `shop`,
    /// which must be this one.
    Shopify {
        /// The host that the browser is sent to, whatever `base_url` says: `acme.myshopify.com`.
        shop: String,
    },
}

/// Where the identity stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityForm {
    /// In what.
    pub from: IdentityPlace,
    /// Places of the ids in it, at least one.
    pub id: Vec<Pointer>,
    /// Place of the name.
    pub name: Option<Pointer>,
}

/// What holds the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityPlace {
    /// The answer to the token request.
    Answer,
    /// The claims of the ID token (OpenID Connect Core section 2).
    IdToken,
    /// The parameters of the callback.
    Callback,
    /// The answer to a request that is made with the access token.
    Request {
        /// Where to.
        url: Url,
        /// How.
        method: RequestMethod,
        /// The query parameter that carries the access token; `None`: it is sent as `Authorization: Bearer`.
        parameter: Option<String>,
        /// Further headers; they hold `{access_token}` and `{client_id}`. An `Authorization` among them takes the place
        /// of the usual one.
        headers: Pairs,
    },
}

/// How a provider wants a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeForm {
    /// Where; its path may hold `{client_id}`, written `%7Bclient_id%7D`. `None`: where the issuer's metadata says.
    pub endpoint: Option<Url>,
    /// HTTP method.
    pub method: RequestMethod,
    /// How the client proves who it is.
    pub auth: RevokeAuth,
    /// Where the parameters go.
    pub body: RevokeBody,
    /// Name of the token.
    pub parameter: String,
    /// Which token is sent.
    pub token: RevokedToken,
    /// What else ends with it.
    pub ends: Ends,
    /// Further parameters; they hold `{client_id}`, `{client_secret}` and `{access_token}`.
    pub params: Pairs,
    /// Further headers; likewise.
    pub headers: Pairs,
}

impl RevokeForm {
    /// RFC 7009's own, at the endpoint that an issuer's metadata names.
    pub fn rfc7009(auth: RevokeAuth) -> Self {
        Self {
            endpoint: None,
            method: RequestMethod::Post,
            auth,
            body: RevokeBody::Form,
            parameter: "token".to_owned(),
            token: RevokedToken::Refresh,
            ends: Ends::Token,
            params: Pairs::default(),
            headers: Pairs::default(),
        }
    }
}

/// How the client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeAuth {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`; of a client without a secret its id alone.
    Post,
    /// `private_key_jwt`: by an assertion, as at the token endpoint.
    PrivateKeyJwt,
    /// By the token itself (RFC 6750 section 2.1).
    Bearer,
    /// Not at all: whoever has the token may end it.
    None,
}

/// Where the parameters go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeBody {
    /// A form.
    Form,
    /// One JSON object.
    Json,
    /// The query.
    Query,
    /// Nowhere: nothing is sent.
    None,
}

/// Which token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokedToken {
    /// The refresh token, where there is one.
    Refresh,
    /// The access token.
    Access,
    /// First the refresh token, then the other.
    Both,
}

/// What else ends with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// The tokens that come from it.
    Token,
    /// All that this client has of this person.
    Grant,
    /// All that this client has of the account, which is the first part of the identity's id.
    Account,
}

/// How a provider wants a device authorization request (RFC 8628 section 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceForm {
    /// Where; `None`: where the issuer's metadata says.
    pub endpoint: Option<Url>,
    /// Other names of `client_id` and `scope`. An empty one: it is not sent.
    pub rename: BTreeMap<String, String>,
}

/// Names and values of parameters or headers. `Debug` shows the names alone: a value may be an API key.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
