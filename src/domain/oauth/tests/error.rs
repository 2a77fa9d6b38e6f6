use super::*;

#[test]
fn rfc6749_5_2_errors_keep_their_codes() {
    for (status, body, code, retryable) in [
        (400, r#"{"error": "invalid_request"}"#, ErrorCode::InvalidRequest, false),
        (401, r#"{"error": "invalid_client"}"#, ErrorCode::InvalidClient, false),
        (400, r#"{"error": "invalid_grant"}"#, ErrorCode::InvalidGrant, true),
        (400, r#"{"error": "unauthorized_client"}"#, ErrorCode::UnauthorizedClient, false),
        (400, r#"{"error": "unsupported_grant_type"}"#, ErrorCode::UnsupportedGrantType, false),
        (400, r#"{"error": "invalid_scope"}"#, ErrorCode::InvalidScope, false),
        (200, r#"{"error": "invalid_grant"}"#, ErrorCode::InvalidGrant, true),
        (200, r#"{"error": "invalid_scope", "access_token": "t"}"#, ErrorCode::InvalidScope, false),
        (400, "error=invalid_grant&error_description=gone", ErrorCode::InvalidGrant, true),
        (200, r#"{"error": "bad_refresh_token"}"#, ErrorCode::ResponseInvalid, true),
        (400, r#"{"error": {"code": 190}}"#, ErrorCode::EndpointRejected, false),
        (403, "<html>no</html>", ErrorCode::EndpointRejected, false),
        (404, "", ErrorCode::EndpointRejected, false),
        (302, "", ErrorCode::ResponseInvalid, true),
    ] {
        let rejection = rejected(status, body);
        assert_eq!(rejection.error.code, code, "{status} {body}");
        assert_eq!(rejection.error.retryable, retryable, "{status} {body}");
        assert_eq!(rejection.repeat, Repeat::Never, "{status} {body}");
    }
}

#[test]
fn what_may_pass_within_seconds_is_repeated() {
    for (status, body, code) in [
        (408, "", ErrorCode::EndpointTimeout),
        (429, r#"{"error": "invalid_request"}"#, ErrorCode::RateLimited),
        (500, "", ErrorCode::EndpointUnavailable),
        (503, r#"{"error": "invalid_grant"}"#, ErrorCode::EndpointUnavailable),
        (400, r#"{"error": "temporarily_unavailable"}"#, ErrorCode::EndpointUnavailable),
    ] {
        let rejection = rejected(status, body);
        assert_eq!(rejection.error.code, code, "{status} {body}");
        assert_eq!(rejection.repeat, Repeat::AfterBackoff(None), "{status} {body}");
    }
    let throttled = Answer { headers: vec![("retry-after".to_owned(), "17".to_owned())], ..answer(429, "") };
    let rejection = read(&throttled).expect_err("no token");
    assert_eq!(rejection.repeat, Repeat::AfterBackoff(Some(Duration::from_secs(17))));
    assert_eq!(rejection.error.message, "the token endpoint asks to wait 17 s (HTTP 429)");
}

#[test]
fn only_a_refused_client_makes_the_definition_doubtful() {
    assert!(rejected(401, r#"{"error": "unauthorized_client"}"#).client_refused);
    assert!(rejected(400, r#"{"error": "invalid_client"}"#).client_refused);
    assert!(!rejected(400, r#"{"error": "unauthorized_client"}"#).client_refused);
    assert!(!rejected(400, r#"{"error": "invalid_grant"}"#).client_refused);
}

#[test]
fn the_servers_words_are_masked_printable_and_short() {
    let basic = BASE64_STANDARD.encode("client:the+secret");
    let body = json!({
        "error": "invalid_client",
        "error_description": format!("got the secret\r\n(the+secret, {basic}) {}the secret", "x".repeat(460)),
    });
    let words = rejected(401, &body.to_string()).error.provider_error.expect("words");
    assert!(words.starts_with("invalid_client: got ***  (***, ***) xxx"), "{words}");
    assert!(words.chars().count() <= 500);
    assert!(!words.contains("the sec"), "{words}");
}

#[test]
fn what_a_server_echoes_elsewhere_is_masked_too() {
    let echo = rejected(200, r#"{"the secret": "x"}"#).error.message;
    assert!(echo.ends_with("it has *** (a string)"), "{echo}");
}

/// Longer than anything that is shown of a name.
fn long_secret() -> String {
    (0..64).map(|part| format!("s3cr3t-{part:02}~")).collect::<Vec<_>>().concat()
}

/// Fails if a text shows a part of the secret that would help to find it.
#[track_caller]
fn assert_without(secret: &str, text: &str) {
    let shown = (16..=secret.len()).map(|end| &secret[end - 16..end]).find(|piece| text.contains(piece));
    assert_eq!(shown, None, "{text}");
}

#[test]
fn a_secret_is_masked_before_it_is_cut_where_a_server_makes_a_name_of_it() {
    let secret = long_secret();
    let definition = definition(&json!({"refresh_token": secret, "response": {"format": "form"}}));
    let message =
        |body: &str| exchange(&definition).read(&answer(200, body), now(), now()).expect_err("no token").error;
    let echo = message(&secret).message;
    assert!(echo.ends_with("it has *** (an empty string)"), "{echo}");
    for encoded in [form_urlencoded::byte_serialize(secret.as_bytes()).collect(), format!("a%0Ab{secret}")] {
        assert_without(&secret, &message(&encoded).message);
    }

    let jwt = format!("{}.{}", jwt(&json!({"iss": "client", "sub": "client"})), "c2ln".repeat(20));
    let echo = rejected(200, &json!({"data": {jwt: 1}}).to_string()).error.message;
    assert!(echo.ends_with("it has data (an object of *** (a number))"), "{echo}");
}

#[test]
fn a_part_of_a_long_secret_is_masked_where_a_server_echoes_no_more() {
    let secret = long_secret();
    let definition = definition(&json!({"refresh_token": secret}));
    for description in [
        format!("token {}... is unknown", &secret[..50]),
        format!("token ...{} is unknown", &secret[600..]),
        format!("token {} is unknown", secret.replace("s3cr3t-1", "s3cr3t-1\n").replace('~', "%7e")),
        format!("{}{}", "x".repeat(480), &secret[3..]),
    ] {
        let body = json!({"error": "invalid_grant", "error_description": description}).to_string();
        let error = exchange(&definition).read(&answer(400, body), now(), now()).expect_err("no token").error;
        assert_without(&secret, &error.provider_error.expect("words"));
    }
}

#[test]
fn a_secret_is_masked_before_it_is_cut_in_the_metadata_of_an_issuer() {
    let secret = long_secret();
    let definition = definition(&json!({"refresh_token": secret}));
    let body = json!({"issuer": format!("{}{secret}", "x".repeat(170)), "token_endpoint": "https://a/"}).to_string();
    let read = exchange(&definition).read_metadata(&answer(200, body), "https://as.example.com", now());
    let message = read.expect_err("another issuer").error.message;
    assert!(message.contains("it states another issuer (xxx"), "{message}");
    assert_without(&secret, &message);
}

#[test]
fn a_redirect_names_where_to_but_not_with_what() {
    let redirect = Answer { redirects_to: Some("https://login.example.com".to_owned()), ..answer(302, "") };
    assert_eq!(
        read(&redirect).expect_err("no token").error.message,
        "the token endpoint redirects to https://login.example.com (HTTP 302), which is never followed"
    );
}
