//! HTTP/1.1, over TLS or not: how everything outside is reached, token endpoints and AWS alike.

use std::error::Error;
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::BoxError;
use tower::timeout::Timeout;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;

use crate::domain::error::SourceError;
use crate::domain::redact;
use crate::domain::source::Tls;
use crate::net::tls::{self, ExtraRoots};

/// How long a connection may take to be made, the handshake of TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection is kept: for the other sources of a run, not for the next run, by which time the
/// server has closed it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Who asks, where a request does not say so itself.
const PRODUCT: HeaderValue = HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));

/// What a request carries; hyper calls what an answer carries `Incoming`.
pub type Outgoing = UnsyncBoxBody<Bytes, BoxError>;

/// A pool of open connections, which clones share. It follows no redirect, asks no proxy, and keeps nothing else.
#[derive(Debug, Clone)]
pub struct Transport(Client<Connector, Outgoing>);

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// Why there was no answer. The words in it are a library's, about the connection, and quote nothing of the request.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The handshake of TLS failed, for want of a certificate that is trusted, say.
    #[error("no secure connection to the endpoint: {0}")]
    Insecure(String),
    /// No connection within the time for one, handshake included.
    #[error("no connection to the endpoint in time")]
    ConnectTimeout,
    /// No connection: the name or the address is not known, or the other side refused.
    #[error("no connection to the endpoint: {0}")]
    Unreachable(String),
    /// The connection broke after the request, or a part of it, was sent.
    #[error("the connection broke before an answer came: {0}")]
    Broken(String),
}

impl Transport {
    /// Connects to nothing yet. The error is about certificates that can't be used.
    pub fn new(extra_roots: &ExtraRoots, tls: &Tls) -> Result<Self, SourceError> {
        let tls = tls::client_config(extra_roots, tls)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        #[expect(clippy::disallowed_methods, reason = "this is the one pool")]
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(BoxCloneSyncService::new(Timeout::new(https, CONNECT_TIMEOUT)));
        Ok(Self(client))
    }

    /// Sends a request, and returns when the head of its answer is there. How long that may take is the caller's.
    pub async fn send(&self, mut request: Request<Outgoing>) -> Result<Response<Incoming>, Unanswered> {
        request.headers_mut().entry(USER_AGENT).or_insert(PRODUCT);
        self.0.request(request).await.map_err(|error| unanswered(&error))
    }
}

fn unanswered(error: &hyper_util::client::legacy::Error) -> Unanswered {
    let causes: Vec<&(dyn Error + 'static)> =
        std::iter::successors(error.source(), |cause| (*cause).source()).collect();
    let detail = causes.last().map(|cause| redact::printable(&cause.to_string(), 200)).unwrap_or_default();
    if causes.iter().any(|cause| is_tls(*cause)) {
        Unanswered::Insecure(detail)
    } else if causes.iter().any(|cause| cause.is::<Elapsed>()) {
        Unanswered::ConnectTimeout
    } else if error.is_connect() {
        Unanswered::Unreachable(detail)
    } else {
        Unanswered::Broken(detail)
    }
}

/// Whether this is rustls's error. I/O errors wrap it, and hide it from `source()`.
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner))
}
