//! A source's token: looked up, tried, and stored unless somebody else has stored a newer good one.

use std::cell::{OnceCell, RefCell};

use chrono::{DateTime, Utc};

use super::ports::{Clock as _, Ports, Put, StoreError, TokenStore as _, WRITE_ATTEMPTS, World};
use super::requester::Requester;
use crate::domain::connection::Connection;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::oauth::TokenAnswer;
use crate::domain::source::{Source, SourceName};
use crate::domain::token::{self, RefreshRule, StoredMetadata, StoredToken, TokenDocument};

/// The token of one source, as one run works with it.
pub struct Tokens<'a, P: Ports> {
    world: &'a World<P>,
    /// As it was last seen.
    stored: RefCell<Option<StoredToken>>,
    /// Generation of the first one seen; `None` in it: there was no token.
    found: OnceCell<Option<u64>>,
}

/// A token that has just been received.
pub struct NewToken {
    /// The answer that holds it.
    pub answer: TokenAnswer,
    /// When the request that brought it was sent.
    pub issued_at: DateTime<Utc>,
    /// Stated end of the grant that the next token is requested with.
    pub grant_expires_at: Option<DateTime<Utc>>,
    /// What is known of the connection, where the grant is one.
    pub connection: Option<Connection>,
}

/// Whose token is stored after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The one that was written.
    Ours,
    /// One that another run has written meanwhile, newer and good.
    Theirs,
}

impl<'a, P: Ports> Tokens<'a, P> {
    /// One that has looked up nothing yet.
    pub fn new(world: &'a World<P>) -> Self {
        Self { world, stored: RefCell::default(), found: OnceCell::new() }
    }

    /// What is stored, without the token itself.
    pub async fn look_up(&self, source: &SourceName) -> Result<Option<StoredToken>, SourceError> {
        let stored = self.world.tokens.head(source).await.map_err(store_failed)?;
        self.found.get_or_init(|| generation(stored.as_ref()));
        self.stored.replace(stored.clone());
        Ok(stored)
    }

    /// What was stored when it was last looked up or written.
    pub fn last_seen(&self) -> Option<StoredToken> {
        self.stored.borrow().clone()
    }

    /// What that says of itself.
    pub fn metadata(&self) -> Option<StoredMetadata> {
        self.stored.borrow().as_ref()?.metadata.clone()
    }

    /// Generation of the token that was stored when it was looked up first.
    pub fn found(&self) -> Option<u64> {
        self.found.get().copied().flatten()
    }

    /// Tries a new token where the definition says so, and stores it.
    pub async fn publish(
        &self,
        requester: &Requester<'_, P>,
        source: &Source,
        rule: &RefreshRule,
        new: NewToken,
    ) -> Result<Stored, SourceError> {
        verify(requester, source, &new.answer).await?;
        self.put(source, rule, new).await
    }

    /// Stores a new token that was tried before.
    pub async fn put(&self, source: &Source, rule: &RefreshRule, new: NewToken) -> Result<Stored, SourceError> {
        let stored = self.last_seen();
        let NewToken { answer, issued_at, grant_expires_at, connection } = new;
        let mut document = TokenDocument::new(source, answer, rule, issued_at, grant_expires_at, stored.as_ref());
        if let Some(connection) = connection {
            document = document.of_connection(connection);
        }
        self.store(source, rule, document, stored).await
    }

    async fn store(
        &self,
        source: &Source,
        rule: &RefreshRule,
        mut document: TokenDocument,
        mut stored: Option<StoredToken>,
    ) -> Result<Stored, SourceError> {
        for _ in 0..WRITE_ATTEMPTS {
            let put = self.world.tokens.put(&document, stored.as_ref()).await;
            match put.map_err(store_failed)? {
                Put::Written { etag, version_id } => {
                    self.stored.replace(Some(document.stored(etag, version_id)));
                    return Ok(Stored::Ours);
                }
                Put::LostRace => {}
            }
            let before = stored.map(|stored| stored.etag);
            stored = self.look_up(&source.name).await?;
            // What was refused without anybody else's writing (S3 does so while a write is under way) is tried again.
            if let Some(current) = stored.as_ref().filter(|current| Some(&current.etag) != before.as_ref()) {
                if document.is(current) {
                    return Ok(Stored::Ours);
                }
                let now = self.world.clock.now();
                let is_good = token::due(Some(current), &source.definition, rule, None, now).is_none();
                let is_newer = current.metadata.as_ref().is_some_and(|other| other.issued_at >= document.issued_at);
                if is_good && is_newer {
                    return Ok(Stored::Theirs);
                }
            }
            document.follow(stored.as_ref());
        }
        let message = format!("the token document changed under {WRITE_ATTEMPTS} writes in a row");
        Err(SourceError::new(ErrorCode::TokenStoreFailed, message))
    }
}

/// Tries a new token at the definition's `verify_url`, if it has one, before anybody is given it.
pub async fn verify<P: Ports>(
    requester: &Requester<'_, P>,
    source: &Source,
    answer: &TokenAnswer,
) -> Result<(), SourceError> {
    let Some(url) = &source.definition.verify_url else { return Ok(()) };
    requester.try_token(url, &source.definition.tls, &answer.access_token).await.map_err(|rejection| {
        let message = format!("the new token was not accepted at `verify_url`: {}", rejection.error.message);
        SourceError::new(ErrorCode::VerificationFailed, message)
    })
}

fn generation(stored: Option<&StoredToken>) -> Option<u64> {
    stored.and_then(|stored| stored.metadata.as_ref()).map(|metadata| metadata.generation)
}

fn store_failed(error: StoreError) -> SourceError {
    SourceError::new(ErrorCode::TokenStoreFailed, error.0)
}
