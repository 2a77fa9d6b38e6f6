//! The SDK's HTTP over the same transport as the token endpoints': one TLS set-up, one pool, one HTTP stack in the
//! binary.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;

use crate::net::transport::{Transport, Unanswered};

/// What the SDK's clients send their requests with. Timeouts are theirs, but for the one of connecting.
pub(super) fn http_client(transport: Transport) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Http(transport));
    http_client_fn(move |_settings, _components| connector.clone())
}

#[derive(Debug)]
struct Http(Transport);

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = transport.send(request.map(SdkBody::boxed_unsync)).await.map_err(unanswered)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Sorts an error into the kinds by which the SDK decides whether to try again.
fn unanswered(error: Unanswered) -> ConnectorError {
    match error {
        Unanswered::ConnectTimeout => ConnectorError::timeout(error.into()),
        Unanswered::Insecure(_) | Unanswered::Unreachable(_) | Unanswered::Broken(_) => {
            ConnectorError::io(error.into())
        }
    }
}
