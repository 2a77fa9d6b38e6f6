//! Authorization servers over `reqwest`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use secrecy::ExposeSecret as _;
use url::Url;

use crate::dialect::RequestMethod;
use crate::oauth::{Answer, Body, LARGEST_ANSWER_BYTES, Rejection, Request};
use crate::ports::AuthorizationServer;
use crate::report::{ErrorCode, SourceError};
use crate::source::Tls;
use crate::text;
use crate::tls::{self, ExtraRoots};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an idle connection is kept: for the other sources of a run, not for the next run, by which time the
/// server has closed it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// HTTP clients: one for everybody, and one for each source that trusts or presents certificates of its own.
#[derive(Debug)]
pub struct HttpAuthorizationServer {
    extra_roots: ExtraRoots,
    usual: Client,
    special: RefCell<HashMap<String, Client>>,
}

impl HttpAuthorizationServer {
    /// Uses `usual` wherever a definition asks for nothing else.
    pub fn new(usual: Client, extra_roots: ExtraRoots) -> Self {
        Self { extra_roots, usual, special: RefCell::default() }
    }

    fn client(&self, tls: &Tls) -> Result<Client, SourceError> {
        if tls.is_default() {
            return Ok(self.usual.clone());
        }
        let key = identity(tls);
        if let Some(client) = self.special.borrow().get(&key) {
            return Ok(client.clone());
        }
        let client = client(&self.extra_roots, tls)?;
        self.special.borrow_mut().insert(key, client.clone());
        Ok(client)
    }
}

impl AuthorizationServer for HttpAuthorizationServer {
    async fn send(&self, request: &Request, tls: &Tls, timeout: Duration) -> Result<Answer, Rejection> {
        let client = self.client(tls).map_err(Rejection::terminal)?;
        let mut builder = match request.method {
            RequestMethod::Get => client.get(request.url.clone()),
            RequestMethod::Post => client.post(request.url.clone()),
        }
        .timeout(timeout);
        for (name, value) in &request.headers {
            builder = builder.header(name, value.expose_secret());
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.expose_secret().to_owned());
        }
        let response = builder.send().await.map_err(|error| unanswered(&error))?;
        read(response).await
    }
}

/// A client for everybody: token endpoints and AWS.
pub fn usual_client(extra_roots: &ExtraRoots) -> Result<Client, SourceError> {
    client(extra_roots, &Tls::default())
}

/// A client that follows no redirect, asks no proxy, and keeps nothing but connections.
fn client(extra_roots: &ExtraRoots, tls: &Tls) -> Result<Client, SourceError> {
    Client::builder()
        .tls_backend_preconfigured(tls::client_config(extra_roots, tls)?)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| SourceError::new(ErrorCode::Internal, "the HTTP client can't be set up"))
}

/// A name for the certificates of a source, without them.
fn identity(tls: &Tls) -> String {
    let (certificate, key) = match &tls.identity {
        Some((certificate, key)) => (certificate.as_str(), key.expose_secret()),
        None => ("", ""),
    };
    let parts = [tls.ca_certificate.as_deref().unwrap_or_default(), certificate, key];
    text::sha256_hex(parts.join("\0").as_bytes())
}

/// Reads the answer up to its cap.
async fn read(mut response: Response) -> Result<Answer, Rejection> {
    let headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let redirects_to = location
        .and_then(|location| response.url().join(location).ok())
        .map(|url: Url| url.origin().ascii_serialization());

    let mut bytes = Vec::new();
    let body = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > LARGEST_ANSWER_BYTES => break Body::TooLarge,
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break Body::Whole(bytes),
            Err(error) if error.is_timeout() => return Err(unanswered(&error)),
            Err(_) => break Body::CutShort,
        }
    };
    Ok(Answer { status: response.status().as_u16(), headers, redirects_to, body })
}

/// Why there was no answer. `reqwest`'s own words name the URL, whose query may hold a secret, so they are not used.
fn unanswered(error: &reqwest::Error) -> Rejection {
    let causes: Vec<&(dyn std::error::Error + 'static)> =
        std::iter::successors(error.source(), |cause| (*cause).source()).collect();
    let detail = causes.last().map(|cause| text::printable(&cause.to_string(), 200)).unwrap_or_default();
    let tls = causes.iter().any(|cause| is_tls(*cause));

    let unreachable = |message: String| SourceError::new(ErrorCode::EndpointUnreachable, message);
    if tls {
        // A certificate does not become valid within seconds.
        Rejection::terminal(unreachable(format!("no secure connection to the endpoint: {detail}")))
    } else if error.is_connect() && error.is_timeout() {
        Rejection::transient(unreachable("no connection to the endpoint in time".to_owned()))
    } else if error.is_connect() {
        Rejection::transient(unreachable(format!("no connection to the endpoint: {detail}")))
    } else if error.is_timeout() {
        Rejection::lost(SourceError::new(ErrorCode::EndpointTimeout, "the endpoint did not answer in time"))
    } else if error.is_builder() {
        let message = "the request can't be built from the definition";
        Rejection::terminal(SourceError::new(ErrorCode::DefinitionInvalid, message))
    } else {
        Rejection::lost(unreachable(format!("the connection broke before an answer came: {detail}")))
    }
}

/// Whether this is rustls's error. I/O errors wrap it, and hide it from `source()`.
fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner))
}
