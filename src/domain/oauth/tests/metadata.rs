use super::*;
use crate::domain::source::ClientAuthentication;

#[test]
fn rfc8414_3_1_the_well_known_path_goes_before_the_issuers_path() {
    let urls = |issuer: &str| metadata_urls(&issuer.parse().expect("a URL")).map(|url| url.to_string());
    assert_eq!(
        urls("https://as.example.com/tenant/"),
        [
            "https://as.example.com/.well-known/oauth-authorization-server/tenant",
            "https://as.example.com/tenant/.well-known/openid-configuration",
        ]
    );
    assert_eq!(
        urls("https://as.example.com"),
        [
            "https://as.example.com/.well-known/oauth-authorization-server",
            "https://as.example.com/.well-known/openid-configuration",
        ]
    );
}

#[test]
fn rfc8414_3_3_the_issuer_must_be_the_same_string() {
    let metadata = |body: &Value| {
        let definition = definition(&json!({}));
        exchange(&definition)
            .read_metadata(&answer(200, body.to_string()), "https://as.example.com", now())
            .map(|url| url.to_string())
            .map_err(|rejection| rejection.error.message)
    };
    let endpoint = "https://as.example.com/token";
    assert_eq!(
        metadata(&json!({"issuer": "https://as.example.com", "token_endpoint": endpoint})).as_deref(),
        Ok(endpoint)
    );
    for (body, message) in [
        (
            json!({"issuer": "https://as.example.com/", "token_endpoint": endpoint}),
            "it states the issuer with a trailing slash; write `issuer` the same way",
        ),
        (
            json!({"issuer": "https://evil.example.com", "token_endpoint": endpoint}),
            "it states another issuer (https://evil.example.com)",
        ),
        (json!({"token_endpoint": endpoint}), "it states no issuer"),
        (json!({"issuer": "https://as.example.com"}), "it names no token endpoint"),
        (
            json!({"issuer": "https://as.example.com", "token_endpoint": "http://127.0.0.1/token"}),
            "its token endpoint must begin with https://",
        ),
    ] {
        assert_eq!(metadata(&body), Err(format!("metadata of the issuer: {message}")));
    }
}

#[test]
fn what_metadata_names_may_be_plain_http_where_the_definition_may() {
    let issuer = "http://127.0.0.1:9";
    let body = json!({"issuer": issuer, "token_endpoint": "http://127.0.0.1:9/token"}).to_string();
    let read = |plain_http: PlainHttp| {
        let definition = Definition { plain_http, ..definition(&json!({})) };
        exchange(&definition).read_metadata(&answer(200, body.as_str()), issuer, now()).map_err(|e| e.error.message)
    };
    assert_eq!(read(PlainHttp::OnLoopback).map(String::from).as_deref(), Ok("http://127.0.0.1:9/token"));
    let refusal = "metadata of the issuer: its token endpoint must begin with https://";
    assert_eq!(read(PlainHttp::Refused).map_err(|message| message == refusal), Err(true));

    let body = json!({"issuer": "https://as.example.com", "token_endpoint": "http://127.0.0.1/token"}).to_string();
    let definition = Definition { plain_http: PlainHttp::OnLoopback, ..definition(&json!({})) };
    let read = exchange(&definition).read_metadata(&answer(200, body), "https://as.example.com", now());
    assert_eq!(read.expect_err("a fault").error.message, "metadata of the issuer: its token endpoint is not https");
}

#[test]
fn all_endpoints_that_metadata_name_are_read_and_each_is_checked() {
    let issuer = "https://as.example.com";
    let metadata = json!({
        "issuer": issuer, "token_endpoint": "https://as.example.com/token",
        "authorization_endpoint": "https://as.example.com/authorize",
        "revocation_endpoint": "https://as.example.com/revoke",
        "userinfo_endpoint": "https://as.example.com/me",
        "device_authorization_endpoint": "https://as.example.com/device",
    });
    let definition = definition(&json!({}));
    let read = |metadata: &Value| {
        let read = exchange(&definition).read_all_metadata(&answer(200, metadata.to_string()), issuer, now());
        read.map_err(|rejection| rejection.error.message)
    };
    let url = |path: &str| Some(format!("https://as.example.com/{path}").parse().expect("a URL"));
    assert_eq!(
        read(&metadata),
        Ok(Metadata {
            issuer: issuer.to_owned(),
            token_endpoint: url("token").expect("a URL"),
            authorization_endpoint: url("authorize"),
            revocation_endpoint: url("revoke"),
            userinfo_endpoint: url("me"),
            device_authorization_endpoint: url("device"),
        })
    );
    let with = |member: &str, value: Value| {
        let mut metadata = metadata.clone();
        metadata[member] = value;
        read(&metadata)
    };
    assert_eq!(with("revocation_endpoint", Value::Null).expect("metadata").revocation_endpoint, None);
    for (member, value, message) in [
        ("token_endpoint", Value::Null, "it names no token endpoint"),
        (
            "issuer",
            json!("https://as.example.com/"),
            "it states the issuer with a trailing slash; write `issuer` the same way",
        ),
        (
            "authorization_endpoint",
            json!("http://as.example.com/"),
            "its authorization endpoint must begin with https://",
        ),
        (
            "revocation_endpoint",
            json!("https://a:b@as.example.com/"),
            "its revocation endpoint must not contain a user name or password",
        ),
        ("userinfo_endpoint", json!("me"), "its userinfo endpoint must be a URL such as https://as.example.com/token"),
        (
            "device_authorization_endpoint",
            json!("ftp://as.example.com"),
            "its device authorization endpoint must begin with https://",
        ),
    ] {
        assert_eq!(with(member, value), Err(format!("metadata of the issuer: {message}")));
    }
    // A harvest needs the token endpoint alone.
    let mut odd = metadata.clone();
    odd["userinfo_endpoint"] = json!("me");
    let token_endpoint = exchange(&definition).read_metadata(&answer(200, odd.to_string()), issuer, now());
    assert_eq!(
        token_endpoint.map(String::from).map_err(|rejection| rejection.error.message),
        Ok("https://as.example.com/token".to_owned())
    );
}

#[test]
fn rfc8705_5_a_client_of_mutual_tls_is_told_its_own_endpoints_but_a_browser_is_not() {
    let issuer = "https://as.example.com";
    let at = |host: &str, name: &str| format!("https://{host}.example.com/{name}");
    let names = ["token_endpoint", "authorization_endpoint", "revocation_endpoint"];
    let endpoints = |host: &str| names.map(|name| (name.to_owned(), json!(at(host, name)))).into_iter().collect();
    let mut metadata: serde_json::Map<String, Value> = endpoints("as");
    metadata.insert("issuer".to_owned(), json!(issuer));
    metadata.insert("mtls_endpoint_aliases".to_owned(), Value::Object(endpoints("mtls")));
    let mut definition = definition(&json!({}));
    definition.flow.client_authentication = ClientAuthentication::MutualTls;
    let answer = answer(200, Value::Object(metadata).to_string());
    let read = exchange(&definition).read_all_metadata(&answer, issuer, now()).expect("metadata");
    assert_eq!(read.token_endpoint.as_str(), at("mtls", "token_endpoint"));
    assert_eq!(read.revocation_endpoint.map(String::from), Some(at("mtls", "revocation_endpoint")));
    assert_eq!(read.authorization_endpoint.map(String::from), Some(at("as", "authorization_endpoint")));
}
