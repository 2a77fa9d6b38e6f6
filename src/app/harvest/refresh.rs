//! One source's refresh: lease, grant, token request with retries, and the token document.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable as _;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use futures_util::future::join;
use tracing::{info, warn};
use url::Url;

use super::{Done, Harvester, Progress, Run, WRITE_ATTEMPTS, out_of_time};
use crate::app::ports::{
    AuthorizationServer as _, Clock as _, GrantStore as _, LeaseStore as _, Ports, Put, Random as _, StoreError,
    Tagged, TokenStore as _,
};
use crate::domain::credential::{CredentialKind, Seed};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::grant::GrantState;
use crate::domain::incident::Incident;
use crate::domain::lease::Lease;
use crate::domain::oauth::{self, Exchange, GrantExpiry, Rejection, TokenAnswer};
use crate::domain::retry::{self, Deadline, Repeat, RetryPolicy};
use crate::domain::source::{Definition, Endpoint, Source, SourceName, Tls};
use crate::domain::token::{self, Due, StoredToken, TokenDocument};

/// How long one request to an authorization server may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a lease outlasts the run that takes it.
const LEASE_GRACE: TimeDelta = TimeDelta::seconds(5);

/// An answer with a token, and all that it hangs on.
struct Granted {
    /// With the definition that brought it.
    source: Arc<Source>,
    answer: TokenAnswer,
    /// When the request was sent.
    issued_at: DateTime<Utc>,
    /// Stated end of the grant that the next token is requested with.
    grant_expires_at: Option<DateTime<Utc>>,
    /// Why the credential that came with it is not saved.
    unsaved: Option<StoreError>,
    /// Whether nothing was requested: the access token is the one in grant state, too young to be refreshed.
    held: bool,
}

impl<P: Ports> Harvester<P> {
    /// Refreshes a source's token if it is due and may be tried.
    pub(super) async fn refresh_if_due(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        progress: &Progress,
    ) -> Result<Done, SourceError> {
        let incident = self.read_incident(run, source.name.as_str(), progress);
        let ((), stored) = join(incident, self.head(&source.name, progress)).await;
        let stored = stored?;
        let Some(due) = self.due(run, source, stored.as_ref(), progress) else {
            return Ok(Done::Fresh);
        };
        if self.is_cooling_down(run, source, progress) {
            return Ok(Done::CoolingDown);
        }
        info!(run.id = run.id, source.name = %source.name, due = due.as_str(), "token is due");
        if run.event.dry_run {
            return Ok(Done::WouldRefresh);
        }
        if source.definition.seed.is_none() {
            return self.refresh(run, source, stored, progress).await;
        }
        if !self.take_lease(run, source, progress).await? {
            return Ok(Done::HeldByAnotherRun);
        }
        // What was read before the lease may have been changed by its former holder.
        let stored = self.head(&source.name, progress).await?;
        self.reread_incident(run, source, progress).await;
        if self.due(run, source, stored.as_ref(), progress).is_none() {
            return Ok(Done::Fresh);
        }
        if self.is_cooling_down(run, source, progress) {
            return Ok(Done::CoolingDown);
        }
        self.refresh(run, source, stored, progress).await
    }

    /// Whether, and why, the source's token is to be refreshed in this run.
    fn due(&self, run: &Run<'_>, source: &Source, stored: Option<&StoredToken>, progress: &Progress) -> Option<Due> {
        let incident = progress.incident.borrow();
        let incident = incident.as_ref().and_then(|incident| incident.value.as_ref());
        let issued_at = stored.and_then(|stored| stored.metadata.as_ref()).map(|metadata| metadata.issued_at);
        let asked = if run.event.forces(issued_at) {
            Some(Due::Forced)
        } else if run.event.retry_dead && incident.is_some_and(Incident::needs_authorization) {
            Some(Due::RetryOfDead)
        } else if incident.is_some_and(|incident| incident.failed_with_another(&source.definition.full_sha256)) {
            Some(Due::FailedDefinitionChanged)
        } else {
            None
        };
        token::due(stored, &source.definition, &self.rule(source), asked, self.world.clock.now())
    }

    /// Requests a token and stores it.
    async fn refresh(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        stored: Option<StoredToken>,
        progress: &Progress,
    ) -> Result<Done, SourceError> {
        let granted = match self.request_token(run, source, progress).await {
            Ok(granted) => granted,
            Err(rejection) if rejection.too_early => return Ok(Done::Fresh),
            Err(rejection) => return Err(self.note_rejection(rejection, progress)),
        };
        if granted.held && stored.as_ref().is_some_and(|stored| stored.holds(&granted.answer.access_token)) {
            return Ok(Done::Fresh);
        }
        let unsaved = granted.unsaved.clone();
        let published = match self.take_steps(run, granted, progress).await {
            Ok(granted) => self.publish_token(run, granted, stored, progress).await,
            Err(rejection) => Err(self.note_rejection(rejection, progress)),
        };
        match (unsaved, published) {
            (Some(error), published) => Err(grant_lost(source, &error, published.is_ok())),
            (None, Ok(Stored::Ours)) => Ok(Done::Refreshed),
            (None, Ok(Stored::Theirs)) => Ok(Done::Fresh),
            (None, Err(error)) => Err(error),
        }
    }

    /// Keeps what the source's incident needs to know of a rejection.
    fn note_rejection(&self, rejection: Rejection, progress: &Progress) -> SourceError {
        if let Repeat::AfterBackoff(retry_after) = rejection.repeat {
            progress.retry_after.set(retry_after);
        }
        if rejection.answer_lost {
            progress.lost_with.set(Some(self.world.clock.now()));
        }
        rejection.error
    }

    /// Exchanges the access token as the definition's steps say. What moves the grant is saved by now.
    async fn take_steps(&self, run: &Run<'_>, mut granted: Granted, progress: &Progress) -> Result<Granted, Rejection> {
        let source = Arc::clone(&granted.source);
        let definition = &source.definition;
        for (index, flow) in definition.steps.iter().enumerate() {
            let exchange = Exchange { definition, flow, credential: Some(&granted.answer.access_token) };
            let (answer, issued_at) =
                self.request_with_retries(run, &source, &exchange, progress).await.map_err(|rejection| {
                    let message = format!("step {}: {}", index + 1, rejection.error.message);
                    let error = SourceError { message, ..rejection.error };
                    Rejection { error, answer_lost: false, ..rejection }
                })?;
            let mut extra = std::mem::take(&mut granted.answer.extra);
            extra.extend(answer.extra);
            granted.answer = TokenAnswer { extra, ..answer };
            granted.issued_at = issued_at;
        }
        Ok(granted)
    }

    /// Tries the new token where the definition says so, and stores it.
    async fn publish_token(
        &self,
        run: &Run<'_>,
        granted: Granted,
        stored: Option<StoredToken>,
        progress: &Progress,
    ) -> Result<Stored, SourceError> {
        let Granted { source, answer, issued_at, grant_expires_at, .. } = granted;
        self.verify(run, &source, &answer).await?;
        let rule = self.rule(&source);
        let document = TokenDocument::new(&source, answer, &rule, issued_at, grant_expires_at, stored.as_ref());
        self.store(&source, document, stored, progress).await
    }

    /// Makes this run the one owner of the source's grant; `false`: another run is.
    ///
    /// The lease is put where grant state is, with the same key, so it also proves that the save will be allowed.
    async fn take_lease(&self, run: &Run<'_>, source: &Source, progress: &Progress) -> Result<bool, SourceError> {
        let lease = Lease {
            run_id: run.id.to_owned(),
            nonce: self.world.random.unique(),
            taken_at: Some(self.world.clock.now().trunc_subsecs(0)),
            expires_at: (run.deadline.end + LEASE_GRACE).trunc_subsecs(0),
        };
        let mut expected = None;
        for _ in 0..WRITE_ATTEMPTS {
            let state = &self.world.state;
            let taken =
                state.take_lease(&source.name, &lease, expected.as_deref()).await.map_err(grant_store_failed)?;
            if taken.is_some() {
                progress.lease.replace(taken);
                return Ok(true);
            }
            let Some(current) = state.read_lease(&source.name).await.map_err(grant_store_failed)? else {
                expected = None;
                continue;
            };
            if current.value == lease {
                // Our own write, whose reply was lost.
                progress.lease.replace(Some(current));
                return Ok(true);
            }
            if current.value.expires_at > self.world.clock.now() {
                return Ok(false);
            }
            // Its holder crashed, perhaps with an answer that it had no time to save.
            progress.lost_with.set(Some(current.value.expires_at - LEASE_GRACE));
            progress.overtaken.set(current.value.taken_at);
            expected = Some(current.etag);
        }
        Ok(false)
    }

    pub(super) async fn release_lease(&self, run: &Run<'_>, source: &Source, lease: &Tagged<Lease>) {
        let time_left = Deadline::remaining(self.world.clock.now(), run.deadline.end);
        let release = self.world.state.release_lease(&source.name, lease);
        let problem = match tokio::time::timeout(time_left, release).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no time was left".to_owned(),
        };
        warn!(run.id = run.id, source.name = %source.name, error.message = problem, "lease not released, it will expire");
    }

    pub(super) async fn head(
        &self,
        source: &SourceName,
        progress: &Progress,
    ) -> Result<Option<StoredToken>, SourceError> {
        let stored = self.world.tokens.head(source).await.map_err(token_store_failed)?;
        let generation =
            stored.as_ref().and_then(|stored| stored.metadata.as_ref()).map(|metadata| metadata.generation);
        progress.found.get_or_init(|| generation);
        progress.stored.replace(stored.clone());
        Ok(stored)
    }

    /// A new token: where the server refuses the client, the definition is read anew and, if it was changed meanwhile,
    /// tried once more.
    async fn request_token(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        progress: &Progress,
    ) -> Result<Granted, Rejection> {
        let rejection = match self.request_with_grant(run, source, progress).await {
            Ok(granted) => return Ok(granted),
            Err(rejection) => rejection,
        };
        if rejection.client_refused
            && let Some(changed) = self.changed_definition(run, source).await
            // A grant that moves needs a lease; the next run, for which it is due, takes one.
            && (changed.definition.seed.is_none() || progress.lease.borrow().is_some())
        {
            info!(run.id = run.id, source.name = %source.name, "definition has changed, trying the new one");
            progress.tried.replace(Some(changed.definition.full_sha256.clone()));
            return self.request_with_grant(run, &changed, progress).await;
        }
        Err(rejection)
    }

    /// A new token with the grant that is current; a grant that moves is saved before anything else happens.
    async fn request_with_grant(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        progress: &Progress,
    ) -> Result<Granted, Rejection> {
        let definition = &source.definition;
        let granted = |(answer, issued_at): (TokenAnswer, _)| Granted {
            source: Arc::clone(source),
            grant_expires_at: answer.grant_expiry.at(),
            answer,
            issued_at,
            unsaved: None,
            held: false,
        };
        let Some(seed) = &definition.seed else {
            let exchange = Exchange { definition, flow: &definition.flow, credential: None };
            let result = self.request_with_retries(run, source, &exchange, progress).await;
            return result.map(granted).map_err(Rejection::of_no_kept_grant);
        };
        let mut stored = self.read_grant(source).await?;
        let mut grant = self.current_grant(stored.as_ref(), seed);
        // A holder that saved its answer lost nothing, though it could not give back the lease.
        if progress.overtaken.get().is_some_and(|taken_at| !grant.is_seed && grant.credential_issued_at >= taken_at) {
            progress.lost_with.set(None);
        }
        let mut result = self.refresh_grant(run, source, &grant, progress).await;
        if result.as_ref().is_err_and(|rejection| rejection.error.code == ErrorCode::InvalidGrant) {
            // A lost race is not a dead grant.
            stored = self.read_grant(source).await?;
            let current = self.current_grant(stored.as_ref(), seed);
            if !current.same_credential(&grant) {
                info!(run.id = run.id, source.name = %source.name, "grant has moved, trying the newer one");
                grant = current;
                result = self.refresh_grant(run, source, &grant, progress).await;
            }
        }
        let flow = definition.flow_for(grant.next_use());
        let is_exchanged = grant.is_seed && definition.then.is_some();
        if grant.kind == CredentialKind::AccessToken && !is_exchanged && result.as_ref().is_err_and(|e| e.too_early) {
            return Ok(held(source, grant));
        }
        let mut granted = result.map(granted)?;
        let next = grant.after(&granted.answer, granted.issued_at, flow.refresh);
        granted.grant_expires_at = next.as_ref().unwrap_or(&grant).refresh_token_expires_at();
        if let Some(next) = next {
            let expected = stored.map(|stored| stored.etag);
            granted.unsaved = self.save_grant(run, source, &next, expected.as_deref()).await.err();
        }
        Ok(granted)
    }

    /// Requests a token with the credential of a grant, unless it is known to be of no use, or to be used too early.
    async fn refresh_grant(
        &self,
        run: &Run<'_>,
        source: &Arc<Source>,
        grant: &GrantState,
        progress: &Progress,
    ) -> Result<(TokenAnswer, DateTime<Utc>), Rejection> {
        let now = self.world.clock.now();
        // The end of an access token is the token's own; that of a refresh token may have been stated wrongly.
        let believed = grant.kind == CredentialKind::AccessToken || !(run.event.force || run.event.retry_dead);
        if believed && grant.has_expired(now) {
            let message = format!("the {} has expired: somebody has to authorize again", grant.kind.in_words());
            return Err(Rejection::terminal(SourceError::new(ErrorCode::ReauthorizationRequired, message)));
        }
        let definition = &source.definition;
        let flow = definition.flow_for(grant.next_use());
        if let Some(minimum_age) = flow.refresh.minimum_age
            && !grant.is_seed
            && now - grant.credential_issued_at < minimum_age
        {
            let message = "the credential is too young to be refreshed";
            let error = SourceError::new(ErrorCode::EndpointRejected, message);
            return Err(Rejection { too_early: true, ..Rejection::terminal(error) });
        }
        let exchange = Exchange { definition, flow, credential: Some(&grant.credential) };
        self.request_with_retries(run, source, &exchange, progress).await
    }

    async fn read_grant(&self, source: &Source) -> Result<Option<Tagged<GrantState>>, Rejection> {
        let grant = self.world.state.read_grant(&source.name).await;
        grant.map_err(|error| Rejection::terminal(grant_store_failed(error)))
    }

    fn current_grant(&self, stored: Option<&Tagged<GrantState>>, seed: &Seed) -> GrantState {
        GrantState::current(stored.map(|stored| stored.value.clone()), seed, self.world.clock.now())
    }

    /// Saves a credential that can't be had again, trying as long as the run lasts.
    async fn save_grant(
        &self,
        run: &Run<'_>,
        source: &Source,
        next: &GrantState,
        expected: Option<&str>,
    ) -> Result<(), StoreError> {
        let attempt = || async {
            let time_left = Deadline::remaining(self.world.clock.now(), run.deadline.saves);
            let save = async {
                if self.world.state.save_grant(&source.name, next, expected).await?.is_some() {
                    return Ok(());
                }
                let stored = self.world.state.read_grant(&source.name).await?;
                if stored.as_ref().is_some_and(|stored| stored.value.same_credential(next)) {
                    return Ok(());
                }
                if stored.as_ref().map(|stored| stored.etag.as_str()) == expected {
                    return Err(StoreError("S3 PutObject: it was refused, but nobody else has written".to_owned()));
                }
                warn!(run.id = run.id, source.name = %source.name, "another run saved a newer grant, which stays");
                Ok(())
            };
            tokio::time::timeout(time_left, save)
                .await
                .unwrap_or_else(|_elapsed| Err(StoreError("no time was left".to_owned())))
        };
        attempt
            .retry(RetryPolicy::save().ceilings())
            .adjust(|_: &StoreError, ceiling| {
                let remaining = Deadline::remaining(self.world.clock.now(), run.deadline.saves);
                retry::next_wait(ceiling, Repeat::AfterBackoff(None), self.world.random.unit(), remaining)
            })
            .notify(|error: &StoreError, wait: Duration| {
                warn!(
                    run.id = run.id,
                    source.name = %source.name,
                    error.message = %error,
                    retry.wait_ms = wait.as_millis(),
                    "refresh token not saved, trying again"
                );
            })
            .await
    }

    /// Tries a new token at the definition's `verify_url`, if it has one, before anybody is given it.
    async fn verify(&self, run: &Run<'_>, source: &Source, answer: &TokenAnswer) -> Result<(), SourceError> {
        let Some(url) = &source.definition.verify_url else { return Ok(()) };
        let attempt = || async {
            let (_, timeout) = self.time_for_request(run)?;
            let request = oauth::verification_request(url.clone(), &answer.access_token);
            let answer = self.send(run, &request, &source.definition.tls, timeout).await?;
            oauth::read_verification(&answer, self.world.clock.now())
        };
        self.with_retries(run, source, attempt).await.map_err(|rejection| {
            let message = format!("the new token was not accepted at `verify_url`: {}", rejection.error.message);
            SourceError::new(ErrorCode::VerificationFailed, message)
        })
    }

    /// The source as it is defined now, if that is another definition than the one that was tried.
    async fn changed_definition(&self, run: &Run<'_>, source: &Source) -> Option<Arc<Source>> {
        let catalog = run.reread.get_or_init(|| self.reread(run)).await.as_ref()?;
        let current = catalog.find(source.name.as_str())?.as_ref().ok()?;
        (current.definition.full_sha256 != source.definition.full_sha256).then(|| Arc::clone(current))
    }

    /// The answer, and when the request that brought it was sent.
    async fn request_with_retries(
        &self,
        run: &Run<'_>,
        source: &Source,
        exchange: &Exchange<'_>,
        progress: &Progress,
    ) -> Result<(TokenAnswer, DateTime<Utc>), Rejection> {
        let token_endpoint = self.token_endpoint(run, source, exchange).await?;
        let first_sent = Cell::new(None);
        let attempt = || async {
            let (now, timeout) = self.time_for_request(run)?;
            // Asked here too, before what is not sent counts as an attempt.
            run.hosts.allow(&token_endpoint)?;
            // Stored in whole seconds, so counted from one: of two runs in one second, each sees the other's as newer.
            let issued_at = now.trunc_subsecs(0);
            let unique = self.world.random.unique();
            let request = exchange.request(&token_endpoint, &unique, issued_at).map_err(Rejection::terminal)?;
            progress.attempts.set(progress.attempts.get() + 1);
            first_sent.set(first_sent.get().or(Some(now)));
            let answer = self.send(run, &request, &exchange.definition.tls, timeout).await;
            let now = self.world.clock.now();
            answer.and_then(|answer| exchange.read(&answer, issued_at, now)).map(|answer| (answer, issued_at)).map_err(
                |rejection| {
                    let since_first = now - first_sent.get().unwrap_or(now);
                    if exchange.flow.may_repeat_lost(since_first) {
                        rejection
                    } else {
                        rejection.without_repeat_of_lost()
                    }
                },
            )
        };
        self.with_retries(run, source, attempt).await
    }

    /// The token endpoint, from the issuer's metadata if need be.
    async fn token_endpoint(&self, run: &Run<'_>, source: &Source, exchange: &Exchange<'_>) -> Result<Url, Rejection> {
        let definition = exchange.definition;
        let (identifier, url) = match &exchange.flow.endpoint {
            Endpoint::Token(url) => return Ok(url.clone()),
            Endpoint::Issuer { identifier, url } => (identifier, url),
        };
        let attempt = || async {
            let [rfc8414, openid] = oauth::metadata_urls(url);
            let mut answer = self.send_for_metadata(run, definition, rfc8414).await?;
            if (400..500).contains(&answer.status) {
                answer = self.send_for_metadata(run, definition, openid).await?;
            }
            exchange.read_metadata(&answer, identifier, self.world.clock.now())
        };
        // No credential was sent, so none is lost with the answer.
        let discover = || async {
            let found = self.with_retries(run, source, attempt).await;
            found.map_err(|rejection| Rejection { answer_lost: false, ..rejection })
        };
        if !definition.tls.is_default() {
            return discover().await;
        }
        let discovery = Rc::clone(run.discovered.borrow_mut().entry(identifier.clone()).or_default());
        discovery.get_or_init(discover).await.clone()
    }

    async fn send_for_metadata(
        &self,
        run: &Run<'_>,
        definition: &Definition,
        url: Url,
    ) -> Result<oauth::Answer, Rejection> {
        let (_, timeout) = self.time_for_request(run)?;
        self.send(run, &oauth::metadata_request(url), &definition.tls, timeout).await
    }

    /// Sends a request, unless its host has failed too often in this run.
    async fn send(
        &self,
        run: &Run<'_>,
        request: &oauth::Request,
        tls: &Tls,
        timeout: Duration,
    ) -> Result<oauth::Answer, Rejection> {
        run.hosts.allow(&request.url)?;
        let result = self.world.server.send(request, tls, timeout).await;
        run.hosts.note(&request.url, &result);
        result
    }

    /// The time now, and how long a request that is sent now may take.
    fn time_for_request(&self, run: &Run<'_>) -> Result<(DateTime<Utc>, Duration), Rejection> {
        let now = self.world.clock.now();
        let remaining = Deadline::remaining(now, run.deadline.requests);
        if remaining.is_zero() {
            let error = out_of_time("the run's time was used up before a request could be sent");
            return Err(Rejection::terminal(error));
        }
        Ok((now, remaining.min(ATTEMPT_TIMEOUT)))
    }

    /// Repeats what may be repeated, after waits that respect the server and fit into the run.
    async fn with_retries<T, F: Future<Output = Result<T, Rejection>>>(
        &self,
        run: &Run<'_>,
        source: &Source,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Rejection> {
        attempt
            .retry(RetryPolicy::token_endpoint().ceilings())
            .adjust(|rejection: &Rejection, ceiling| {
                let remaining = Deadline::remaining(self.world.clock.now(), run.deadline.requests);
                retry::next_wait(ceiling, rejection.repeat, self.world.random.unit(), remaining)
            })
            .notify(|rejection: &Rejection, wait: Duration| {
                info!(
                    run.id = run.id,
                    source.name = %source.name,
                    error.code = rejection.error.code.as_str(),
                    error.message = rejection.error.message,
                    retry.wait_s = wait.as_secs_f64(),
                    "request failed, trying again"
                );
            })
            .await
    }

    /// Writes the document unless somebody else has stored a newer good token meanwhile.
    async fn store(
        &self,
        source: &Source,
        mut document: TokenDocument,
        mut stored: Option<StoredToken>,
        progress: &Progress,
    ) -> Result<Stored, SourceError> {
        for _ in 0..WRITE_ATTEMPTS {
            let put = self.world.tokens.put(&document, stored.as_ref()).await;
            match put.map_err(token_store_failed)? {
                Put::Written { etag, version_id } => {
                    progress.stored.replace(Some(document.stored(etag, version_id)));
                    return Ok(Stored::Ours);
                }
                Put::LostRace => {}
            }
            let before = stored.map(|stored| stored.etag);
            stored = self.head(&source.name, progress).await?;
            // What was refused without anybody else's writing (S3 does so while a write is under way) is tried again.
            if let Some(current) = stored.as_ref().filter(|current| Some(&current.etag) != before.as_ref()) {
                if document.is(current) {
                    return Ok(Stored::Ours);
                }
                let now = self.world.clock.now();
                let good = token::due(Some(current), &source.definition, &self.rule(source), None, now).is_none();
                let newer = current.metadata.as_ref().is_some_and(|other| other.issued_at >= document.issued_at);
                if good && newer {
                    return Ok(Stored::Theirs);
                }
            }
            document.follow(stored.as_ref());
        }
        Err(SourceError::new(
            ErrorCode::TokenStoreFailed,
            format!("the token document changed under {WRITE_ATTEMPTS} writes in a row"),
        ))
    }
}

/// Whose token is stored after a write.
enum Stored {
    Ours,
    Theirs,
}

fn token_store_failed(error: StoreError) -> SourceError {
    SourceError::new(ErrorCode::TokenStoreFailed, error.0)
}

/// An access token that refreshes itself, as it stands in grant state, for jobs to go on with.
fn held(source: &Arc<Source>, grant: GrantState) -> Granted {
    Granted {
        source: Arc::clone(source),
        issued_at: grant.credential_issued_at,
        answer: TokenAnswer {
            access_token: grant.credential,
            token_type: "Bearer".to_owned(),
            scope: None,
            expires_at: grant.expires_at,
            refresh_token: None,
            grant_expiry: GrantExpiry::Unstated,
            extra: serde_json::Map::new(),
        },
        grant_expires_at: None,
        unsaved: None,
        held: true,
    }
}

/// Nothing but a person can bring back a credential that was used up and whose successor could not be saved.
fn grant_lost(source: &Source, error: &StoreError, token_is_stored: bool) -> SourceError {
    let token = if token_is_stored { "the new token is stored, but " } else { "" };
    let what = source.definition.seed.as_ref().map(Seed::kind).unwrap_or_default().in_words();
    let message = format!(
        "{token}the {what} that came with the answer is lost, since it could not be saved ({error}): authorize anew and \
         put the {what} into the definition"
    );
    SourceError { retryable: false, ..SourceError::new(ErrorCode::GrantStoreFailed, message) }
}

fn grant_store_failed(error: StoreError) -> SourceError {
    SourceError::new(ErrorCode::GrantStoreFailed, error.0)
}
