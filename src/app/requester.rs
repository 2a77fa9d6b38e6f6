//! Requests to authorization servers, for whatever needs a token: within a deadline, repeated where that is safe, to a
//! token endpoint that may first have to be discovered, and to no host that has just failed again and again.

mod hosts;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use backon::Retryable as _;
use chrono::{DateTime, SubsecRound as _, Utc};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::OnceCell;
use tracing::info;
use url::Url;

use self::hosts::Hosts;
pub use self::hosts::{host, in_turn};
use super::at_work::AtWork;
use super::ports::{AuthorizationServer as _, Clock as _, Ports, Random as _, World};
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::oauth::identity::IdentityForm;
use crate::domain::oauth::{self, Exchange, Metadata, Rejection, TokenAnswer};
use crate::domain::retry::{self, Deadline, RetryPolicy};
use crate::domain::source::{Definition, Endpoint, Tls};

/// How long one request to an authorization server may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// What one run has learnt of the servers outside, shared by the requesters of all its sources.
#[derive(Default)]
pub struct Servers {
    hosts: Hosts,
    /// Metadata by issuer, each asked for once.
    discovered: RefCell<HashMap<String, Rc<Discovery>>>,
}

/// The one request for an issuer's metadata, which all that need it wait for.
type Discovery = OnceCell<Result<Discovered, Rejection>>;

/// What an issuer's metadata says, as far as every request needs it, and the answer for whatever needs more.
#[derive(Clone)]
struct Discovered {
    token_endpoint: Url,
    answer: Rc<oauth::Answer>,
}

/// Sends the requests of one source.
pub struct Requester<'a, P: Ports> {
    world: &'a World<P>,
    servers: &'a Servers,
    at_work: &'a AtWork,
    /// No request is sent after this.
    until: DateTime<Utc>,
    attempts: Cell<u32>,
}

/// A token, as it was received.
pub struct Received {
    /// The answer that holds it.
    pub answer: TokenAnswer,
    /// When the request that brought it was sent, in whole seconds.
    pub issued_at: DateTime<Utc>,
}

impl<'a, P: Ports> Requester<'a, P> {
    /// One that has sent nothing yet.
    pub fn new(world: &'a World<P>, servers: &'a Servers, at_work: &'a AtWork, until: DateTime<Utc>) -> Self {
        Self { world, servers, at_work, until, attempts: Cell::default() }
    }

    /// Token requests that were sent, repetitions included.
    pub fn attempts(&self) -> u32 {
        self.attempts.get()
    }

    /// Requests a token. A request whose answer was lost is repeated only where the server is known to allow that.
    pub async fn request_token(&self, exchange: &Exchange<'_>) -> Result<Received, Rejection> {
        let token_endpoint = self.token_endpoint(exchange).await?;
        let first_sent = Cell::new(None);
        let attempt = || async {
            let (now, timeout) = self.time_for_request()?;
            // Asked here too, before what is not sent counts as an attempt.
            self.servers.hosts.allow(&token_endpoint)?;
            // Stored in whole seconds, so counted from one: of two runs in one second, each sees the other's as newer.
            let issued_at = now.trunc_subsecs(0);
            let unique = self.world.random.unique();
            let request = exchange.request(&token_endpoint, &unique, issued_at).map_err(Rejection::terminal)?;
            self.attempts.set(self.attempts.get() + 1);
            first_sent.set(first_sent.get().or(Some(now)));
            let answer = self.send(&request, &exchange.definition.tls, timeout).await;
            let now = self.world.clock.now();
            let read = answer.and_then(|answer| exchange.read(&answer, issued_at, now));
            read.map(|answer| Received { answer, issued_at }).map_err(|rejection| {
                let since_first = now - first_sent.get().unwrap_or(now);
                let may_repeat = exchange.flow.may_repeat_lost(since_first);
                if may_repeat { rejection } else { rejection.without_repeat_of_lost() }
            })
        };
        self.with_retries(attempt).await
    }

    /// Calls a URL with a token, to see whether it works.
    pub async fn try_token(&self, url: &Url, tls: &Tls, access_token: &SecretString) -> Result<(), Rejection> {
        let attempt = || async {
            let (_, timeout) = self.time_for_request()?;
            let request = oauth::verification_request(url.clone(), access_token);
            let answer = self.send(&request, tls, timeout).await?;
            oauth::read_verification(&answer, self.world.clock.now())
        };
        self.with_retries(attempt).await
    }

    /// All that an issuer's metadata says; `None`: the flow has no issuer.
    pub async fn issuer_metadata(&self, exchange: &Exchange<'_>) -> Result<Option<Metadata>, Rejection> {
        let Endpoint::Issuer { identifier, url } = &exchange.flow.endpoint else { return Ok(None) };
        let Discovered { answer, .. } = self.discovered(exchange, identifier, url).await?;
        exchange.read_all_metadata(&answer, identifier, self.world.clock.now()).map(Some)
    }

    /// Asks whose account a token is for, as a provider's declaration says; the answer is JSON.
    pub async fn ask_identity(
        &self,
        form: &IdentityForm,
        client_id: &str,
        tls: &Tls,
        access_token: &SecretString,
    ) -> Result<Value, Rejection> {
        let attempt = || async {
            let (_, timeout) = self.time_for_request()?;
            let request = form.request(client_id, access_token).map_err(Rejection::terminal)?;
            let answer = self.send(&request, tls, timeout).await?;
            oauth::read_identity(&answer, self.world.clock.now())
        };
        self.with_retries(attempt).await
    }

    /// The token endpoint, from the issuer's metadata if need be.
    async fn token_endpoint(&self, exchange: &Exchange<'_>) -> Result<Url, Rejection> {
        match &exchange.flow.endpoint {
            Endpoint::Token(url) => Ok(url.clone()),
            Endpoint::Issuer { identifier, url } => {
                self.discovered(exchange, identifier, url).await.map(|discovered| discovered.token_endpoint)
            }
        }
    }

    /// An issuer's metadata, asked for once in a run.
    async fn discovered(&self, exchange: &Exchange<'_>, identifier: &str, url: &Url) -> Result<Discovered, Rejection> {
        let definition = exchange.definition;
        let attempt = || async {
            let answer = self.ask_for_metadata(definition, url).await?;
            let token_endpoint = exchange.read_metadata(&answer, identifier, self.world.clock.now())?;
            Ok(Discovered { token_endpoint, answer: Rc::new(answer) })
        };
        // No credential was sent, so none is lost with the answer.
        let discover = || async {
            let found = self.with_retries(attempt).await;
            found.map_err(|rejection| Rejection { answer_lost: false, ..rejection })
        };
        // With certificates of its own, a source may be shown another server than others are.
        if !definition.tls.is_default() {
            return discover().await;
        }
        let discovery = Rc::clone(self.servers.discovered.borrow_mut().entry(identifier.to_owned()).or_default());
        discovery.get_or_init(discover).await.clone()
    }

    /// RFC 8414's place, or OpenID Connect's where there is nothing.
    async fn ask_for_metadata(&self, definition: &Definition, issuer: &Url) -> Result<oauth::Answer, Rejection> {
        let [rfc8414, openid] = oauth::metadata_urls(issuer);
        let answer = self.send_for_metadata(definition, rfc8414).await?;
        if (400..500).contains(&answer.status) {
            return self.send_for_metadata(definition, openid).await;
        }
        Ok(answer)
    }

    async fn send_for_metadata(&self, definition: &Definition, url: Url) -> Result<oauth::Answer, Rejection> {
        let (_, timeout) = self.time_for_request()?;
        self.send(&oauth::metadata_request(url), &definition.tls, timeout).await
    }

    /// Sends a request, unless its host has failed too often in this run.
    async fn send(&self, request: &oauth::Request, tls: &Tls, timeout: Duration) -> Result<oauth::Answer, Rejection> {
        self.servers.hosts.allow(&request.url)?;
        let result = self.world.server.send(request, tls, timeout).await;
        self.servers.hosts.note(&request.url, &result);
        result
    }

    /// The time now, and how long a request that is sent now may take.
    fn time_for_request(&self) -> Result<(DateTime<Utc>, Duration), Rejection> {
        let now = self.world.clock.now();
        let remaining = Deadline::remaining(now, self.until);
        if remaining.is_zero() {
            let message = "the run's time was used up before a request could be sent";
            return Err(Rejection::terminal(SourceError::new(ErrorCode::OutOfTime, message)));
        }
        Ok((now, remaining.min(ATTEMPT_TIMEOUT)))
    }

    /// Repeats what may be repeated, after waits that respect the server and end before the deadline.
    async fn with_retries<T, F: Future<Output = Result<T, Rejection>>>(
        &self,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Rejection> {
        attempt
            .retry(RetryPolicy::token_endpoint().ceilings())
            .adjust(|rejection: &Rejection, ceiling| {
                let remaining = Deadline::remaining(self.world.clock.now(), self.until);
                retry::next_wait(ceiling, rejection.repeat, self.world.random.unit(), remaining)
            })
            .notify(|rejection: &Rejection, wait: Duration| {
                info!(
                    run.id = self.at_work.run_id,
                    source.name = self.at_work.source,
                    error.code = rejection.error.code.as_str(),
                    error.message = rejection.error.message,
                    retry.wait_s = wait.as_secs_f64(),
                    "request failed, trying again"
                );
            })
            .await
    }
}
