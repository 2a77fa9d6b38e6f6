//! Clients that prove who they are by a certificate.

use rcgen::KeyPair;
use serde_json::{Value, json};

use token_harvester::domain::error::ErrorCode;

use super::{discovering, serve_metadata};
use crate::support::deployment::Deployment;
use crate::support::sockets::{self, Authority, Reply, Scripted};
use crate::support::token_endpoint::{and, client_at, count, granting};
use crate::support::{assert_failed, assert_refreshed};

#[tokio::test]
async fn rfc8705_2_mutual_tls_presents_the_certificate_and_names_the_client_in_the_body() {
    let deployment = Deployment::new().await;
    let authority = Authority::new();
    let server = Scripted::tls(authority.server(true), vec![Reply::Send(sockets::granted("token"))]).await;
    deployment.define("known", presenting(&server, &authority, &authority, "tls_client_auth")).await;
    let self_signed = presenting(&server, &authority, &authority, "self_signed_tls_client_auth");
    deployment.define("self-signed", self_signed).await;
    deployment.define("stranger", presenting(&server, &authority, &Authority::new(), "tls_client_auth")).await;
    let anonymous = and(client_at(&server.url), json!({"ca_certificate": authority.pem()}));
    deployment.define("anonymous", anonymous).await;

    let report = deployment.harvest_due().await;

    for source in ["known", "self-signed"] {
        assert_refreshed(&report, source, 1);
    }
    for source in ["stranger", "anonymous"] {
        assert_failed(&report, source, ErrorCode::EndpointUnreachable);
    }
    assert_eq!(server.requests().len(), 2);
    for request in server.requests() {
        assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&client_id=the+client"), "{request}");
        assert!(!request.to_lowercase().contains("authorization"), "{request}");
    }
}

/// A client of a server that `authority` vouches for, with a certificate that `issuer` has issued.
fn presenting(server: &Scripted, authority: &Authority, issuer: &Authority, method: &str) -> Value {
    let (certificate, private_key) = issuer.issue("client.example.com");
    json!({
        "token_endpoint": server.url, "client_id": "the client", "token_endpoint_auth_method": method,
        "certificate": certificate, "private_key": private_key, "ca_certificate": authority.pem(),
    })
}

#[tokio::test]
async fn rfc8705_5_the_alias_of_the_token_endpoint_is_for_clients_with_mutual_tls_only() {
    let deployment = Deployment::new().await;
    let authority = Authority::new();
    let alias = Scripted::tls(authority.server(true), vec![Reply::Send(sockets::granted("token"))]).await;
    let server = granting().await;
    let aliases = json!({"mtls_endpoint_aliases": {"token_endpoint": alias.url}});
    let issuer = serve_metadata(&server, "", aliases).await;
    let found = json!({"issuer": issuer, "token_endpoint": null});
    let mutual = |method: &str| and(presenting(&alias, &authority, &authority, method), found.clone());
    let plain = |fields: Value| and(discovering(&issuer), fields);
    let key = KeyPair::generate().expect("a key").serialize_pem();
    deployment.define("tls", mutual("tls_client_auth")).await;
    deployment.define("self-signed-tls", mutual("self_signed_tls_client_auth")).await;
    deployment.define("basic", plain(json!({}))).await;
    deployment.define("post", plain(json!({"token_endpoint_auth_method": "client_secret_post"}))).await;
    deployment.define("jwt", plain(json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": key}))).await;
    deployment.define("none", plain(json!({"token_endpoint_auth_method": "none"}))).await;

    let report = deployment.harvest_due().await;

    for source in ["tls", "self-signed-tls", "basic", "post", "jwt", "none"] {
        assert_refreshed(&report, source, 1);
    }
    assert_eq!((alias.requests().len(), count(&server, "/token").await), (2, 4));
}
