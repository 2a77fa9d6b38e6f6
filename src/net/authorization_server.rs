//! Authorization servers over HTTP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use http::header::LOCATION;
use http::{Method, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::app::ports::AuthorizationServer;
use crate::domain::error::{ErrorCode, SourceError};
use crate::domain::oauth::{Answer, AnswerBody, LARGEST_ANSWER_BYTES, Rejection, Request};
use crate::domain::provider::dialect::RequestMethod;
use crate::domain::redact;
use crate::domain::source::Tls;
use crate::net::tls::ExtraRoots;
use crate::net::transport::{Outgoing, Transport, Unanswered};

/// The transport for everybody, and that of each source that trusts or presents certificates of its own.
#[derive(Debug)]
pub struct HttpAuthorizationServer {
    extra_roots: ExtraRoots,
    usual: Transport,
    special: RefCell<HashMap<String, Transport>>,
}

impl HttpAuthorizationServer {
    /// Uses `usual` wherever a definition asks for nothing else.
    pub fn new(usual: Transport, extra_roots: ExtraRoots) -> Self {
        Self { extra_roots, usual, special: RefCell::default() }
    }

    fn transport(&self, tls: &Tls) -> Result<Transport, SourceError> {
        if tls.is_default() {
            return Ok(self.usual.clone());
        }
        let key = identity(tls);
        if let Some(transport) = self.special.borrow().get(&key) {
            return Ok(transport.clone());
        }
        let transport = Transport::new(&self.extra_roots, tls)?;
        self.special.borrow_mut().insert(key, transport.clone());
        Ok(transport)
    }
}

impl AuthorizationServer for HttpAuthorizationServer {
    async fn send(&self, request: &Request, tls: &Tls, timeout: Duration) -> Result<Answer, Rejection> {
        let transport = self.transport(tls).map_err(Rejection::terminal)?;
        let built = build(request).map_err(|_| {
            let message = "the request can't be built from the definition";
            Rejection::terminal(SourceError::new(ErrorCode::DefinitionInvalid, message))
        })?;
        let answer = async {
            let response = transport.send(built).await.map_err(|unanswered| rejection(&unanswered))?;
            Ok(read(response, &request.url).await)
        };
        tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_elapsed| {
            let message = "the endpoint did not answer in time";
            Err(Rejection::lost(SourceError::new(ErrorCode::EndpointTimeout, message)))
        })
    }
}

/// The request in hyper's types. The error is about a header or a URL that HTTP does not allow.
fn build(request: &Request) -> Result<http::Request<Outgoing>, http::Error> {
    let method = match request.method {
        RequestMethod::Get => Method::GET,
        RequestMethod::Post => Method::POST,
        RequestMethod::Delete => Method::DELETE,
    };
    let mut builder = http::Request::builder().method(method).uri(request.url.as_str());
    for (name, value) in &request.headers {
        builder = builder.header(name, value.expose_secret());
    }
    let body = request.body.as_ref().map(|body| body.expose_secret().to_owned()).unwrap_or_default();
    builder.body(Full::from(body).map_err(|never| match never {}).boxed_unsync())
}

/// A name for the certificates of a source, without them.
fn identity(tls: &Tls) -> String {
    let (certificate, key) = match &tls.identity {
        Some((certificate, key)) => (certificate.as_str(), key.expose_secret()),
        None => ("", ""),
    };
    let parts = [tls.ca_certificate.as_deref().unwrap_or_default(), certificate, key];
    redact::sha256_hex(parts.join("\0").as_bytes())
}

/// Reads an answer, up to the size that one may have.
async fn read(response: Response<Incoming>, url: &Url) -> Answer {
    let (head, body) = response.into_parts();
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let location = head.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let redirects_to =
        location.and_then(|location| url.join(location).ok()).map(|url| url.origin().ascii_serialization());

    let body = match Limited::new(body, LARGEST_ANSWER_BYTES).collect().await {
        Ok(collected) => AnswerBody::Whole(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => AnswerBody::TooLarge,
        Err(_) => AnswerBody::CutShort,
    };
    Answer { status: head.status.as_u16(), headers, redirects_to, body }
}

/// Whether a request that had no answer is worth another try.
fn rejection(unanswered: &Unanswered) -> Rejection {
    let error = SourceError::new(ErrorCode::EndpointUnreachable, unanswered.to_string());
    match unanswered {
        // A certificate does not become valid within seconds.
        Unanswered::Insecure(_) => Rejection::terminal(error),
        Unanswered::ConnectTimeout | Unanswered::Unreachable(_) => Rejection::transient(error),
        Unanswered::Broken(_) => Rejection::lost(error),
    }
}
