//! How a source is connected: what its definition says of the grant that a person gives in a browser.

use url::Url;

use super::{ClientAuthentication, Flow};
use crate::domain::credential::CredentialKind;
use crate::domain::provider::connecting::{
    AuthorizeForm, DeviceForm, IdentityForm, IdentityPlace, Pairs, RevokeAuth, RevokeForm,
};

/// The rules of connecting (`"grant_type": "authorization_code"`).
#[derive(Debug, Clone)]
pub struct ConnectRules {
    /// The provider's name for people; the source's own where it has none.
    pub provider: Option<String>,
    /// Whether any number of accounts may be connected, each by itself.
    pub accounts: bool,
    /// Where the browser is sent; `None`: as the issuer's metadata says.
    pub authorization_endpoint: Option<Url>,
    /// Where the provider sends it back; `None`: to the gateway.
    pub redirect_uri: Option<String>,
    /// The client.
    pub client_id: String,
    /// What is asked for, space-delimited.
    pub scope: Option<String>,
    /// How the provider wants an authorization request.
    pub authorize: AuthorizeForm,
    /// Where the identity stands; `None`: in the ID token, else in the issuer's userinfo, else nowhere.
    pub identity: Option<IdentityForm>,
    /// How a grant is ended; `None`: as RFC 7009 says, where the issuer's metadata names an endpoint for it.
    pub revoke: Option<RevokeForm>,
    /// How a device without a browser is connected; `None`: as RFC 8628 says, where the issuer's metadata names an
    /// endpoint for it.
    pub device: Option<DeviceForm>,
    /// Scopes without which a connection is refused.
    pub required_scope: Vec<String>,
    /// The exchange of the code.
    pub code: Flow,
    /// The exchange of the access token that this brings, where it is a short-lived one.
    pub exchange: Option<Flow>,
    /// What is kept, and refreshed with.
    pub keeps: CredentialKind,
    /// Whether an answer without a refresh token is no fault.
    pub may_lack_refresh_token: bool,
    /// Whether the token document has the ID token.
    pub id_token: bool,
}

impl ConnectRules {
    /// How a grant is ended, and where; `None`: not at all. `of_issuer`: the endpoint that the issuer's metadata names.
    pub fn revocation(&self, of_issuer: Option<Url>) -> Option<(Url, RevokeForm)> {
        let form = self.revoke.clone().unwrap_or_else(|| RevokeForm::rfc7009(as_at(&self.code.client_authentication)));
        let endpoint = form.endpoint.clone().or(of_issuer)?;
        Some((endpoint, form))
    }

    /// The requests that connecting makes besides those of every harvest.
    pub(super) fn flows(&self) -> impl Iterator<Item = &Flow> {
        [&self.code].into_iter().chain(&self.exchange)
    }

    /// Values of headers that no token request has. They may be API keys; those that are filled later are none.
    pub(super) fn header_values(&self) -> impl Iterator<Item = &str> {
        let of_identity = match self.identity.as_ref().map(|identity| &identity.from) {
            Some(IdentityPlace::Request { headers, .. }) => Some(headers),
            _ => None,
        };
        let of_revocation = self.revoke.as_ref().map(|revoke| &revoke.headers);
        let headers = of_identity.into_iter().chain(of_revocation).flat_map(Pairs::iter);
        headers.map(|(_, value)| value).filter(|value| !value.contains('{'))
    }
}

/// How the client proves who it is at another endpoint than the token endpoint: in the same way.
pub(super) fn as_at(token_endpoint: &ClientAuthentication) -> RevokeAuth {
    match token_endpoint {
        ClientAuthentication::Basic(_) => RevokeAuth::Basic,
        ClientAuthentication::PrivateKeyJwt(_) => RevokeAuth::PrivateKeyJwt,
        // The certificate, or nothing at all, says who the client is; its id is sent besides.
        ClientAuthentication::Post(_) | ClientAuthentication::MutualTls | ClientAuthentication::None => {
            RevokeAuth::Post
        }
    }
}
