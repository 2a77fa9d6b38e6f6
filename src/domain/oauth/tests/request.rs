use super::*;

#[test]
fn rfc6749_2_3_1_basic_credentials_are_form_encoded_first() {
    let request = request(&json!({"client_id": "a:b", "client_secret": "s p+%ä"}));
    let expected = BASE64_STANDARD.encode("a%3Ab:s+p%2B%25%C3%A4");
    assert_eq!(header(&request, "Authorization"), Some(format!("Basic {expected}").as_str()));
    assert!(form(&request).iter().all(|(name, _)| name != "client_secret"));
}

#[test]
fn rfc6749_4_4_2_a_client_credentials_request() {
    let request = request(&json!({
        "token_endpoint_auth_method": "client_secret_post", "scope": "a b", "params": {"audience": "https://api"}
    }));
    assert_eq!(header(&request, "Content-Type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header(&request, "Accept"), Some("application/json"));
    let form = form(&request);
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        form,
        [
            ("grant_type", "client_credentials"),
            ("scope", "a b"),
            ("audience", "https://api"),
            ("client_id", "client"),
            ("client_secret", "the secret"),
        ]
    );
}

#[test]
fn rfc6749_6_a_refresh_request_of_a_public_client() {
    let request = request(&json!({
        "refresh_token": "r/1", "token_endpoint_auth_method": "none", "client_secret": null
    }));
    let form = form(&request);
    let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(form, [("grant_type", "refresh_token"), ("refresh_token", "r/1"), ("client_id", "client")]);
    assert_eq!(header(&request, "Authorization"), None);
}

#[test]
fn own_headers_replace_and_add() {
    let request = request(&json!({"headers": {"accept": "application/x", "X-Key": "k"}}));
    assert_eq!(header(&request, "Accept"), None);
    assert_eq!(header(&request, "accept"), Some("application/x"));
    assert_eq!(header(&request, "X-Key"), Some("k"));
}

#[test]
fn a_get_request_keeps_the_endpoints_own_query() {
    let definition = definition(&json!({"token_endpoint": null, "provider": "onegov-nsw"}));
    let endpoint: Url = "https://as.example.com/token?v=1".parse().expect("a URL");
    let request = built(&definition, &endpoint);
    assert_eq!(request.url.as_str(), "https://as.example.com/token?v=1&grant_type=client_credentials");
    assert!(request.body.is_none());
}

#[test]
fn debug_of_a_request_shows_neither_query_nor_body() {
    let definition = definition(&json!({
        "token_endpoint": null, "provider": "onegov-nsw", "token_endpoint_auth_method": "client_secret_post"
    }));
    let endpoint: Url = "https://as.example.com/token".parse().expect("a URL");
    let request = built(&definition, &endpoint);
    assert!(request.url.as_str().contains("secret"));
    assert!(!format!("{request:?}").contains("secret"));
}
