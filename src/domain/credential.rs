//! The credentials that tokens are requested with: their kinds, and how people and definitions name them.

use secrecy::SecretString;

/// The first credential of a grant whose credential is replaced by refreshing, as it stands in the definition. Later ones
/// are kept in grant state.
#[derive(Debug, Clone)]
pub enum Seed {
    /// The definition's `refresh_token`.
    RefreshToken(SecretString),
    /// The definition's `access_token`, where it is itself what a refresh request is made with.
    AccessToken(SecretString),
}

impl Seed {
    /// The text of the credential, as it is sent.
    pub fn secret(&self) -> &SecretString {
        match self {
            Self::RefreshToken(secret) | Self::AccessToken(secret) => secret,
        }
    }

    /// The kind, which all later credentials of the same grant have, too.
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::RefreshToken(_) => CredentialKind::RefreshToken,
            Self::AccessToken(_) => CredentialKind::AccessToken,
        }
    }
}

/// Whether a credential is the definition's own, which nothing has come of yet, or one that a server gave since.
///
/// Some access tokens are exchanged by one kind of request and refreshed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The definition's own: it is exchanged by the definition's `flow`.
    First,
    /// One that grant state holds: it is refreshed by the definition's `then`, where it has that.
    Later,
}

/// What a grant is refreshed with, where refreshing may replace it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// A refresh token (RFC 6749 section 1.5), which most grants have.
    #[default]
    RefreshToken,
    /// The access token itself, at providers that have no refresh tokens and exchange an old access token for a new one.
    AccessToken,
}

impl CredentialKind {
    /// For mails and error messages.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh token",
            Self::AccessToken => "access token",
        }
    }

    /// The definition's field that holds it.
    pub fn field(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
        }
    }
}

/// What a source's tokens are requested with (RFC 6749 section 1.3), for what a mail advises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationGrant {
    /// A credential that is kept, and that a person brings anew once it is dead.
    Kept(CredentialKind),
    /// A grant that a person gave in a browser, and gives anew there.
    Connection,
    /// A signed assertion (RFC 7523).
    Assertion,
    /// A user's name and password (RFC 6749 section 4.3).
    Password,
    /// Nothing but the client's own credentials (RFC 6749 section 4.4), or a provider's own grant.
    Client,
}

impl AuthorizationGrant {
    /// What ends, where its end is stated: for mails.
    pub fn in_words(self) -> &'static str {
        if self == Self::Connection { "connection" } else { self.credential().in_words() }
    }

    /// What a person brings anew once the grant is dead.
    pub fn credential(self) -> CredentialKind {
        match self {
            Self::Kept(kind) => kind,
            Self::Connection | Self::Assertion | Self::Password | Self::Client => CredentialKind::default(),
        }
    }
}

impl Default for AuthorizationGrant {
    fn default() -> Self {
        Self::Kept(CredentialKind::default())
    }
}
