//! The use case: let a person give a grant in a browser.
//!
//! A session is made for somebody whose identity was checked ([`begin`]). Its link shows a page; whoever goes on from
//! there gets a flow of their own and is sent to the provider. The provider sends the browser back, and the flow is ended
//! ([`finish`]): claimed once, its code exchanged once, what came parked, the identity read. Where the application must say
//! whose browser it was, it confirms ([`confirm`]); then the grant is committed under the source's lease, the token
//! published, and the application told ([`commit`]). From then on the harvest refreshes it like any other. [`look`] tells how
//! sessions and connections stand.

mod about;
mod begin;
mod commit;
mod confirm;
mod finish;
mod look;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use url::Url;

pub use self::about::About;
pub use self::begin::{Began, NewSession, SessionRequest};
pub use self::finish::{Ending, Outcome};
pub use self::look::{ConnectionReport, ConnectionStatus, SessionReport};
use super::at_work::AtWork;
use super::ports::{Clock as _, ConnectStore, Ports, Random as _, SecretStore as _, StoreError, World};
use super::requester::Servers;
use crate::domain::connect::{ConnectError, Handle, ReturnUrls, SessionId};
use crate::domain::oauth::Exchange;
use crate::domain::retry::Deadline;
use crate::domain::source::{AccountName, Catalog, ConnectRules, PlainHttp, Roster, Source, SourceName};

/// How long a warm gateway relies on definitions that it has read.
const CATALOG_AGE: TimeDelta = TimeDelta::minutes(5);

/// What a connector is told once, at start-up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names the deployment.
    pub environment: String,
    /// Where browsers and applications reach the gateway.
    pub public_url: Url,
    /// Where browsers may be sent in the end.
    pub return_urls: ReturnUrls,
    /// The longest time between two harvests.
    pub schedule_interval: TimeDelta,
    /// Where definitions may call plain `http`.
    pub plain_http: PlainHttp,
}

/// Connects, again and again while the gateway is warm.
pub struct Connector<P: Ports> {
    settings: Settings,
    world: World<P>,
    known: RefCell<Option<(DateTime<Utc>, Rc<Catalog>)>>,
}

/// One invocation of the gateway.
pub struct Invocation<'a> {
    /// Its request id.
    pub id: &'a str,
    /// When its work must be done.
    pub deadline: Deadline,
    /// What it has learnt of the servers outside.
    servers: Servers,
}

impl<'a> Invocation<'a> {
    /// One that begins now. `deadline`: when the caller will stop waiting.
    pub fn new(id: &'a str, now: DateTime<Utc>, deadline: DateTime<Utc>) -> Self {
        Self { id, deadline: Deadline::new(now, deadline), servers: Servers::default() }
    }
}

/// Why a request of an application is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something in it is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing of that name, or it belongs to somebody else.
    #[error("there is nothing here of that name")]
    NotFound,
    /// The session is over.
    #[error("the session has ended")]
    SessionEnded,
    /// The source can't be connected by a person.
    #[error("{0}")]
    NotConnectable(String),
    /// The principal has as many live sessions as it may.
    #[error("there are {0} live sessions already: wait until some have ended")]
    TooMany(usize),
    /// The provider did not do what was needed.
    #[error("{0}")]
    ProviderFailed(String),
    /// Secrets Manager or S3 did not.
    #[error("{0}")]
    StoreUnavailable(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::StoreUnavailable(error.0)
    }
}

impl From<Refusal> for ConnectError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::ProviderFailed(_) => "endpoint_unavailable",
            Refusal::NotFound | Refusal::NotConnectable(_) | Refusal::Invalid(_) => "definition_changed",
            Refusal::SessionEnded | Refusal::TooMany(_) => "state_expired",
            Refusal::StoreUnavailable(_) => "internal",
        };
        Self { code: code.to_owned(), message: refusal.to_string(), provider_error: None }
    }
}

impl From<StoreError> for ConnectError {
    fn from(error: StoreError) -> Self {
        Refusal::from(error).into()
    }
}

/// A source that can be connected, and how.
struct Connectable {
    source: Arc<Source>,
    rules: Arc<ConnectRules>,
}

impl Connectable {
    /// The name of the source's connection, or of that of one account.
    fn connection(&self, account: Option<&str>) -> SourceName {
        self.source.name.with_account(account.and_then(AccountName::parse).as_ref())
    }
}

impl<P: Ports> Connector<P>
where
    P::State: ConnectStore,
{
    /// A connector that has read nothing yet.
    pub fn new(settings: Settings, world: World<P>) -> Self {
        Self { settings, world, known: RefCell::default() }
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    /// A new secret that nobody can guess.
    fn handle(&self) -> Handle {
        Handle::of(self.world.random.bytes())
    }

    /// A source that a person can connect. What is not known is read anew: somebody may just have added it.
    async fn connectable(&self, name: &str) -> Result<Connectable, Refusal> {
        let known = self.known.borrow().clone().filter(|(read_at, _)| self.now() - *read_at < CATALOG_AGE);
        let catalog = match known.map(|(_, catalog)| catalog).filter(|catalog| catalog.find(name).is_some()) {
            Some(catalog) => catalog,
            None => self.read_catalog().await?,
        };
        let source = match catalog.find(name) {
            None => return Err(Refusal::NotFound),
            Some(Err(error)) => return Err(Refusal::NotConnectable(error.message.clone())),
            Some(Ok(source)) => Arc::clone(source),
        };
        let Some(rules) = source.definition.connect.clone() else {
            let message = "the source's tokens need nobody to connect (its grant_type is not authorization_code)";
            return Err(Refusal::NotConnectable(message.to_owned()));
        };
        if rules.authorize.verify.is_some() || rules.authorize.servers.is_some() {
            // Their callbacks must be checked in ways of their own, or anybody could write one.
            let message = "this provider's callbacks can't be checked yet, so its accounts can't be connected";
            return Err(Refusal::NotConnectable(message.to_owned()));
        }
        Ok(Connectable { source, rules })
    }

    async fn read_catalog(&self) -> Result<Rc<Catalog>, Refusal> {
        let reading = self.world.secrets.read_all().await;
        if let Some(error) = reading.broke_off {
            return Err(error.into());
        }
        let catalog = Catalog::after(&Roster::default(), None, reading.secrets, true, self.settings.plain_http);
        let catalog = Rc::new(catalog);
        self.known.replace(Some((self.now(), Rc::clone(&catalog))));
        Ok(catalog)
    }

    /// Where the browser is sent to, from the issuer's metadata if need be.
    async fn authorization_endpoint(
        &self,
        invocation: &Invocation<'_>,
        Connectable { source, rules }: &Connectable,
    ) -> Result<Url, Refusal> {
        if let Some(endpoint) = &rules.authorization_endpoint {
            return Ok(endpoint.clone());
        }
        let at_work = AtWork { run_id: invocation.id.to_owned(), source: source.name.to_string() };
        let requester = self.requester(invocation, &at_work);
        let exchange = Exchange { definition: &source.definition, flow: &rules.code, credential: None, further: &[] };
        let metadata = requester.issuer_metadata(&exchange).await;
        let metadata = metadata.map_err(|rejection| Refusal::ProviderFailed(rejection.error.message))?;
        let missing = || Refusal::NotConnectable("nothing says where the browser is to be sent".to_owned());
        metadata.and_then(|metadata| metadata.authorization_endpoint).ok_or_else(missing)
    }

    /// Where the provider sends the browser back.
    fn redirect_uri(&self, source: &Source, rules: &ConnectRules) -> String {
        let default = || format!("{}/callback/{}", self.public_url(), source.name.source());
        rules.redirect_uri.clone().unwrap_or_else(default)
    }

    /// The gateway's address without a slash at its end.
    fn public_url(&self) -> &str {
        self.settings.public_url.as_str().trim_end_matches('/')
    }
}

/// What a browser is given to remember a flow by: it can be read by the gateway alone.
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its value; `None`: it is to be forgotten.
    pub value: Option<SecretString>,
}

/// A flow that can't go on.
#[derive(Debug)]
pub struct FlowFailed {
    /// Why.
    pub error: ConnectError,
    /// The session, where it is known: its link may still be good.
    pub session: Option<SessionId>,
}

#[cfg(test)]
mod tests;
