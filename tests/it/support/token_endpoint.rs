//! Token endpoints that say what a test wants.

use serde_json::{Value, json};
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// The secret of every client that a test does not give another.
pub(crate) const CLIENT_SECRET: &str = "correct-horse-battery-staple";

/// A server whose `/token` answers every request the same way.
pub(crate) async fn token_endpoint(answer: impl Respond + 'static) -> MockServer {
    let server = MockServer::start().await;
    answer_at(&server, "/token", answer).await;
    server
}

/// A server whose `/token` gives an hour's token to everybody.
pub(crate) async fn granting() -> MockServer {
    token_endpoint(granted("access-token")).await
}

/// Answers every request to a path that no earlier answer takes.
pub(crate) async fn answer_at(server: &MockServer, at: &str, answer: impl Respond + 'static) {
    Mock::given(path(at)).respond_with(answer).mount(server).await;
}

/// Answers the next `times` requests to a path, before all other answers.
pub(crate) async fn answer_next(server: &MockServer, at: &str, times: u64, answer: impl Respond + 'static) {
    Mock::given(path(at)).respond_with(answer).up_to_n_times(times).with_priority(1).mount(server).await;
}

/// Answers everything else.
pub(crate) async fn answer_rest(server: &MockServer, answer: impl Respond + 'static) {
    Mock::given(any()).respond_with(answer).with_priority(250).mount(server).await;
}

/// A token for an hour.
pub(crate) fn granted(token: &str) -> ResponseTemplate {
    answered(200, json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}))
}

/// A JSON answer.
pub(crate) fn answered(status: u16, body: Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

/// An error answer of RFC 6749 section 5.2.
pub(crate) fn refused(status: u16, error: &str) -> ResponseTemplate {
    answered(status, json!({"error": error, "error_description": "because"}))
}

/// A client of the server's `/token`.
pub(crate) fn client_of(server: &MockServer) -> Value {
    client_at(&format!("{}/token", server.uri()))
}

/// A client of any token endpoint.
pub(crate) fn client_at(token_endpoint: &str) -> Value {
    json!({"token_endpoint": token_endpoint, "client_id": "client", "client_secret": CLIENT_SECRET})
}

/// A definition with further fields.
pub(crate) fn and(mut definition: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    definition.as_object_mut().expect("an object").extend(fields);
    definition
}

/// All requests that a server has got, in order.
pub(crate) async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.expect("recorded requests")
}

/// How many requests to a path a server has got.
pub(crate) async fn count(server: &MockServer, at: &str) -> usize {
    requests(server).await.iter().filter(|request| request.url.path() == at).count()
}

/// The parameters of a form body.
pub(crate) fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

/// The value of a form parameter.
pub(crate) fn parameter(request: &Request, name: &str) -> Option<String> {
    form(request).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}
