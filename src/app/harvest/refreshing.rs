//! One source's refresh: a token requested with the grant that is current, the grant saved, the token stored.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tracing::info;

use super::run;
use super::work::{Done, Work};
use crate::app::grants::{CurrentGrant, Saved};
use crate::app::ports::{Ports, StoreError};
use crate::app::requester::Received;
use crate::app::tokens::{NewToken, Stored};
use crate::domain::connection::Connection;
use crate::domain::credential::CredentialKind;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::grant::GrantState;
use crate::domain::oauth::{Exchange, GrantExpiry, Rejection, TokenAnswer};
use crate::domain::retry::Repeat;
use crate::domain::source::{Root, Source};

/// An answer with a token, and all that it hangs on.
struct Granted {
    /// With the definition that brought it.
    source: Arc<Source>,
    answer: TokenAnswer,
    /// When the request was sent.
    issued_at: DateTime<Utc>,
    /// Stated end of the grant that the next token is requested with.
    grant_expires_at: Option<DateTime<Utc>>,
    /// What is known of the connection, where the grant is one.
    connection: Option<Connection>,
    /// Why the credential that came with it is not saved.
    unsaved: Option<StoreError>,
    /// Whether nothing was requested: the access token is the one in grant state, too young to be refreshed.
    held: bool,
}

impl<P: Ports> Work<'_, P> {
    /// Requests a token and stores it.
    pub(super) async fn refresh(&self, source: &Arc<Source>) -> Result<Done, SourceError> {
        let granted = match self.request_token(source).await {
            Ok(granted) => granted,
            Err(rejection) if rejection.too_early => return Ok(Done::Fresh),
            Err(rejection) => return Err(self.note_rejection(rejection)),
        };
        let is_stored = |granted: &Granted| {
            self.tokens.last_seen().is_some_and(|stored| stored.holds(&granted.answer.access_token))
        };
        if granted.held && is_stored(&granted) {
            return Ok(Done::Fresh);
        }
        let unsaved = granted.unsaved.clone();
        let published = match self.take_steps(granted).await {
            Ok(granted) => self.publish(granted).await,
            Err(rejection) => Err(self.note_rejection(rejection)),
        };
        match (unsaved, published) {
            (Some(error), published) => Err(grant_lost(source, &error, published.is_ok())),
            (None, Ok(Stored::Ours)) => Ok(Done::Refreshed),
            (None, Ok(Stored::Theirs)) => Ok(Done::Fresh),
            (None, Err(error)) => Err(error),
        }
    }

    /// Keeps what the source's incident needs to know of a rejection.
    fn note_rejection(&self, rejection: Rejection) -> SourceError {
        if let Repeat::AfterBackoff(retry_after) = rejection.repeat {
            self.retry_after.set(retry_after);
        }
        if rejection.answer_lost {
            self.answer_lost_at.set(Some(self.run.now()));
        }
        rejection.error
    }

    /// Exchanges the access token as the definition's steps say. What moves the grant is saved by now.
    async fn take_steps(&self, mut granted: Granted) -> Result<Granted, Rejection> {
        let source = Arc::clone(&granted.source);
        let definition = &source.definition;
        for (index, flow) in definition.steps.iter().enumerate() {
            let exchange = Exchange { definition, flow, credential: Some(&granted.answer.access_token), further: &[] };
            let received = self.requester.request_token(&exchange).await.map_err(|rejection| {
                let message = format!("step {}: {}", index + 1, rejection.error.message);
                let error = SourceError { message, ..rejection.error };
                Rejection { error, answer_lost: false, ..rejection }
            })?;
            let mut extra = std::mem::take(&mut granted.answer.extra);
            extra.extend(received.answer.extra);
            granted.answer = TokenAnswer { extra, ..received.answer };
            granted.issued_at = received.issued_at;
        }
        Ok(granted)
    }

    async fn publish(&self, granted: Granted) -> Result<Stored, SourceError> {
        let Granted { source, answer, issued_at, grant_expires_at, connection, .. } = granted;
        let new = NewToken { answer, issued_at, grant_expires_at, connection };
        self.tokens.publish(&self.requester, &source, &self.rule(&source), new).await
    }

    /// A new token: where the server refuses the client, the definition is read anew and, if it was changed meanwhile,
    /// tried once more.
    async fn request_token(&self, source: &Arc<Source>) -> Result<Granted, Rejection> {
        let rejection = match self.request_by_definition(source).await {
            Ok(granted) => return Ok(granted),
            Err(rejection) => rejection,
        };
        if rejection.client_refused
            && let Some(changed) = self.changed_definition(source).await
            // A grant that moves needs a lease; the next run, for which it is due, takes one.
            && (changed.definition.root().is_none() || self.grants.holds_lease())
        {
            info!(run.id = self.run.id, source.name = %source.name, "definition has changed, trying the new one");
            self.tried.replace(Some(changed.definition.full_sha256.clone()));
            return self.request_by_definition(&changed).await;
        }
        Err(rejection)
    }

    /// The source as it is defined now, if that is another definition than the one that was tried.
    async fn changed_definition(&self, source: &Source) -> Option<Arc<Source>> {
        let catalog = self.run.reread.get_or_init(|| self.run.reread()).await.as_ref()?;
        let current = run::find(catalog, source.name.as_str()).ok()?;
        (current.definition.full_sha256 != source.definition.full_sha256).then_some(current)
    }

    async fn request_by_definition(&self, source: &Arc<Source>) -> Result<Granted, Rejection> {
        let definition = &source.definition;
        if let Some(root) = definition.root() {
            return self.request_by_grant(source, root).await;
        }
        let exchange = Exchange { definition, flow: &definition.flow, credential: None, further: &[] };
        let received = self.requester.request_token(&exchange).await.map_err(Rejection::of_no_kept_grant)?;
        Ok(Granted::new(source, received))
    }

    /// A new token with the grant that is current; a grant that moves is saved before anything else happens.
    async fn request_by_grant(&self, source: &Arc<Source>, root: Root<'_>) -> Result<Granted, Rejection> {
        let mut grant = self.read_grant(source, root).await?;
        if let Root::Connection(rules) = root
            && grant.state.lacks_refresh_token(rules)
        {
            self.refuse_ended(&grant.state)?;
            return Ok(Granted::held(source, grant.state));
        }
        let mut result = self.request_with(source, &grant.state).await;
        if result.as_ref().is_err_and(|rejection| rejection.error.code == ErrorCode::InvalidGrant) {
            // A lost race is not a dead grant.
            let newer = self.read_grant(source, root).await?;
            if !newer.state.same_credential(&grant.state) {
                info!(run.id = self.run.id, source.name = %source.name, "grant has moved, trying the newer one");
                result = self.request_with(source, &newer.state).await;
                grant = newer;
            }
        }
        let is_exchanged = grant.state.is_seed && source.definition.then.is_some();
        let refreshes_itself = grant.state.kind == CredentialKind::AccessToken && !is_exchanged;
        if refreshes_itself && result.as_ref().is_err_and(|rejection| rejection.too_early) {
            return Ok(Granted::held(source, grant.state));
        }
        let mut granted = Granted::new(source, result?);
        let rules = source.definition.flow_for(grant.state.next_use()).refresh;
        let next = grant.state.after(&granted.answer, granted.issued_at, rules);
        granted.grant_expires_at = next.as_ref().unwrap_or(&grant.state).refresh_token_expires_at();
        granted.connection = grant.state.connection().cloned();
        if let Some(next) = next {
            match self.grants.save(&source.name, &next, &grant).await {
                Ok(Saved::Gone) if granted.connection.is_some() => {
                    let message = "it was disconnected while its token was refreshed";
                    return Err(Rejection::terminal(SourceError::new(ErrorCode::NotConnected, message)));
                }
                saved => granted.unsaved = saved.err(),
            }
        }
        Ok(granted)
    }

    async fn read_grant(&self, source: &Source, root: Root<'_>) -> Result<CurrentGrant, Rejection> {
        self.grants.read(&source.name, root).await.map_err(Rejection::terminal)
    }

    /// Refuses a credential that is known to have ended.
    fn refuse_ended(&self, grant: &GrantState) -> Result<(), Rejection> {
        let event = self.run.event;
        // The end of an access token is the token's own; that of a refresh token may have been stated wrongly.
        let is_believed = grant.kind == CredentialKind::AccessToken || !(event.force || event.retry_dead);
        if !is_believed || !grant.has_expired(self.run.now()) {
            return Ok(());
        }
        let again = if grant.connection().is_some() { "connect the account" } else { "authorize" };
        let message = format!("the {} has expired: somebody has to {again} again", grant.kind.in_words());
        Err(Rejection::terminal(SourceError::new(ErrorCode::ReauthorizationRequired, message)))
    }

    /// Requests a token with the credential of a grant, unless it is known to be of no use, or to be used too early.
    async fn request_with(&self, source: &Source, grant: &GrantState) -> Result<Received, Rejection> {
        self.refuse_ended(grant)?;
        let definition = &source.definition;
        let flow = definition.flow_for(grant.next_use());
        if let Some(minimum_age) = flow.refresh.minimum_age
            && !grant.is_seed
            && self.run.now() - grant.credential_issued_at < minimum_age
        {
            let message = "the credential is too young to be refreshed";
            let error = SourceError::new(ErrorCode::EndpointRejected, message);
            return Err(Rejection { too_early: true, ..Rejection::terminal(error) });
        }
        self.requester
            .request_token(&Exchange { definition, flow, credential: Some(&grant.credential), further: &[] })
            .await
    }
}

impl Granted {
    fn new(source: &Arc<Source>, received: Received) -> Self {
        let Received { answer, issued_at } = received;
        Self {
            source: Arc::clone(source),
            grant_expires_at: answer.grant_expiry.at(),
            answer,
            issued_at,
            connection: None,
            unsaved: None,
            held: false,
        }
    }

    /// An access token that refreshes itself, as it stands in grant state, for jobs to go on with.
    fn held(source: &Arc<Source>, grant: GrantState) -> Self {
        Self {
            source: Arc::clone(source),
            issued_at: grant.credential_issued_at,
            connection: grant.connection().cloned(),
            answer: TokenAnswer {
                access_token: grant.credential,
                token_type: "Bearer".to_owned(),
                scope: None,
                expires_at: grant.expires_at,
                refresh_token: None,
                grant_expiry: GrantExpiry::Unstated,
                id_token: None,
                extra: serde_json::Map::new(),
            },
            grant_expires_at: None,
            unsaved: None,
            held: true,
        }
    }
}

/// Nothing but a person can bring back a credential that was used up and whose successor could not be saved.
fn grant_lost(source: &Source, error: &StoreError, token_is_stored: bool) -> SourceError {
    let token = if token_is_stored { "the new token is stored, but " } else { "" };
    let (what, next_step) = match source.definition.root() {
        Some(Root::Connection(rules)) => (rules.keeps.in_words(), "connect the account again".to_owned()),
        Some(Root::Seed(seed)) => {
            let what = seed.kind().in_words();
            (what, format!("authorize anew and put the {what} into the definition"))
        }
        None => ("credential", "authorize anew".to_owned()),
    };
    let message = format!(
        "{token}the {what} that came with the answer is lost, since it could not be saved ({error}): {next_step}"
    );
    SourceError { retryable: false, ..SourceError::new(ErrorCode::GrantStoreFailed, message) }
}
