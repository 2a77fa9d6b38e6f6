//! Against an authorization server that nobody here wrote: `oidc-provider`, certified by the OpenID Foundation.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use token_harvester::domain::error::ErrorCode;

use crate::support::deployment::Deployment;
use crate::support::process::{ROOT, Server};
use crate::support::token_endpoint::and;
use crate::support::{assert_failed, assert_refreshed, line};

/// What the server says about itself. One process serves all tests.
pub(crate) fn server() -> &'static Value {
    static SERVER: LazyLock<Result<(Server, Value), String>> = LazyLock::new(|| {
        let folder = Path::new(ROOT).join("tests/oidc-provider");
        if !folder.join("node_modules/oidc-provider").exists() {
            return Err("oidc-provider is not installed in tests/oidc-provider: `make test` installs it".to_owned());
        }
        let script = folder.join("server.mjs");
        let server = Server::start("oidc-provider", &["node", &script.to_string_lossy()], true)?;
        let about = serde_json::from_str(&server.first_line).map_err(|error| error.to_string())?;
        Ok((server, about))
    });
    match &*SERVER {
        Ok((_, about)) => about,
        Err(reason) => panic!("{reason}"),
    }
}

/// A client that finds the token endpoint by the issuer.
fn discovering(client_id: &str, fields: Value) -> Value {
    and(json!({"issuer": server()["issuer"], "client_id": client_id, "scope": "read"}), fields)
}

#[tokio::test]
async fn clients_with_a_secret_are_let_in_by_both_methods() {
    let deployment = Deployment::new().await;
    let secret = json!({"client_secret": server()["clientSecret"]});
    deployment.define("basic", discovering("basic client:1", secret.clone())).await;
    let post = and(secret, json!({"token_endpoint_auth_method": "client_secret_post"}));
    deployment.define("post", discovering("post", post)).await;

    let report = deployment.harvest_due().await;

    for name in ["basic", "post"] {
        assert_refreshed(&report, name, 1);
        let document = deployment.document(name).await;
        assert_eq!((&document["token_type"], &document["scope"]), (&json!("Bearer"), &json!("read")));
        let lifetime = line(&report, name).expires_at.expect("an expiry") - report.started_at;
        assert!((599..=601).contains(&lifetime.num_seconds()), "{lifetime}");
    }
}

#[tokio::test]
async fn clients_with_a_key_are_let_in_with_every_algorithm_and_form_of_key() {
    let deployment = Deployment::new().await;
    // By discovery and as the endpoint itself: the audience is the token endpoint either way.
    let endpoint =
        json!({"issuer": null, "token_endpoint": format!("{}/token", server()["issuer"].as_str().expect("a URL"))});
    for algorithm in ["RS256", "PS256", "ES256"] {
        let key = &server()["privateKeys"][algorithm];
        let fields = json!({
            "token_endpoint_auth_method": "private_key_jwt", "private_key": key, "key_id": algorithm,
            "assertion_algorithm": algorithm,
        });
        let definition = discovering(&format!("jwt-{algorithm}"), fields);
        let name = algorithm.to_lowercase();
        deployment.define(&name, definition.clone()).await;
        deployment.define(&format!("{name}-direct"), and(definition, endpoint.clone())).await;
    }

    let report = deployment.harvest_due().await;
    let again = deployment.harvest(json!({"force": true})).await;

    for name in ["es256", "es256-direct", "ps256", "ps256-direct", "rs256", "rs256-direct"] {
        assert_refreshed(&report, name, 1);
        assert_refreshed(&again, name, 2);
    }
}

#[tokio::test]
async fn a_refresh_token_brings_access_tokens_and_its_successors_are_kept() {
    let deployment = Deployment::new().await;
    let fields = json!({
        "client_secret": server()["clientSecret"], "refresh_token": server()["refreshToken"], "scope": null,
    });
    deployment.define("refreshing", discovering("refreshing", fields)).await;

    let report = deployment.harvest_due().await;

    assert_refreshed(&report, "refreshing", 1);
    let document = deployment.document("refreshing").await;
    assert_eq!(document["scope"], "openid offline_access");
    assert_eq!(document["extra"], json!({}));

    // The server revokes the whole grant where a refresh token is used twice.
    for generation in 2..=5 {
        assert_refreshed(&deployment.harvest(json!({"force": true})).await, "refreshing", generation);
    }
}

#[tokio::test]
async fn what_the_server_refuses_has_its_own_code() {
    let deployment = Deployment::new().await;
    let secret = |secret: &str| json!({"client_secret": secret});
    let right = server()["clientSecret"].as_str().expect("a secret");
    deployment.define("secret", discovering("basic client:1", secret("wrong"))).await;
    deployment.define("client", discovering("nobody", secret(right))).await;
    deployment.define("scope", and(discovering("basic client:1", secret(right)), json!({"scope": "write"}))).await;
    let grant = and(secret(right), json!({"refresh_token": "made-up", "scope": null}));
    deployment.define("grant", discovering("refreshing", grant)).await;
    deployment.define("grant-type", discovering("refreshing", secret(right))).await;

    let report = deployment.harvest_due().await;

    for (name, code) in [
        ("secret", ErrorCode::InvalidClient),
        ("client", ErrorCode::InvalidClient),
        ("scope", ErrorCode::InvalidScope),
        ("grant", ErrorCode::InvalidGrant),
        ("grant-type", ErrorCode::InvalidRequest),
    ] {
        assert_failed(&report, name, code);
        assert_eq!(line(&report, name).attempts, 1);
    }
}

#[tokio::test]
async fn an_issuer_with_a_slash_too_many_is_told_so() {
    let deployment = Deployment::new().await;
    let issuer = format!("{}/", server()["issuer"].as_str().expect("a URL"));
    let fields = json!({"client_secret": server()["clientSecret"], "issuer": issuer});
    deployment.define("acme", discovering("basic client:1", fields)).await;

    let report = deployment.harvest_due().await;

    let message = assert_failed(&report, "acme", ErrorCode::ResponseInvalid);
    assert_eq!(
        message,
        "metadata of the issuer: it states the issuer without a trailing slash; write `issuer` the same way"
    );
    assert_eq!(line(&report, "acme").attempts, 0);
}
