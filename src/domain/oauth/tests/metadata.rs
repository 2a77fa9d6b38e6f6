use super::*;

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
