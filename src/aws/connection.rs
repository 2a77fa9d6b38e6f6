//! The SDK's HTTP over the same `reqwest` client that token endpoints are called with: one TLS set-up, one pool of
//! connections, one HTTP stack in the binary.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use reqwest::{Body, Client, Request};

/// What the SDK's clients send their requests with. Timeouts are theirs, but for the one of connecting.
pub(super) fn http_client(client: Client) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connection(client));
    http_client_fn(move |_settings, _components| connector.clone())
}

#[derive(Debug)]
struct Connection(Client);

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let request =
                Request::try_from(request.map(Body::wrap)).map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.execute(request).await.map_err(unanswered)?;
            let response = http::Response::<Body>::from(response).map(SdkBody::from_body_1_x);
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Sorts an error into the kinds by which the SDK decides whether to try again.
fn unanswered(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
