//! What the RFCs ask of a client, one test for each passage, against servers that hold it to the letter.

mod answer;
mod assertion;
mod metadata;
mod mutual_tls;
mod token_request;

use serde_json::{Value, json};
use wiremock::{MockServer, Request};

use crate::support::token_endpoint::{CLIENT_SECRET, and, answer_at, answered, form};

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The names of a form's parameters, sorted.
fn names(request: &Request) -> Vec<String> {
    let mut names: Vec<_> = form(request).into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

/// A client that finds the token endpoint by the issuer.
fn discovering(issuer: &str) -> Value {
    json!({"issuer": issuer, "client_id": "client", "client_secret": CLIENT_SECRET})
}

/// Serves metadata of an issuer at the server's `path`, and returns the issuer.
async fn serve_metadata(server: &MockServer, path: &str, fields: Value) -> String {
    let issuer = format!("{}{path}", server.uri());
    let metadata = and(json!({"issuer": issuer, "token_endpoint": format!("{}/token", server.uri())}), fields);
    answer_at(server, &format!("/.well-known/oauth-authorization-server{path}"), answered(200, metadata)).await;
    issuer
}
