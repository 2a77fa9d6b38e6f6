use super::*;

#[test]
fn rfc6749_5_1_a_successful_answer() {
    let token = read_json(&json!({
        "access_token": "t", "token_type": "bearer", "expires_in": 3600, "scope": "a b", "refresh_token": "r",
        "example_parameter": "example_value"
    }));
    assert_eq!(token.access_token.expose_secret(), "t");
    assert_eq!(token.token_type, "Bearer");
    assert_eq!(token.expires_at, Some(now() + TimeDelta::hours(1)));
    assert_eq!(token.scope.as_deref(), Some("a b"));
    assert_eq!(token.refresh_token.expect("one").expose_secret(), "r");
    assert_eq!(Value::Object(token.extra), json!({"example_parameter": "example_value"}));
}

#[test]
fn expires_in_is_read_in_any_form_and_nonsense_counts_as_unstated() {
    for (stated, seconds) in [
        (json!(3600), Some(3_600)),
        (json!("3599"), Some(3_599)),
        (json!(" 43199 "), Some(43_199)),
        (json!(3599.9), Some(3_599)),
        (json!("3600.5"), Some(3_600)),
        (json!(3_155_760_000_u64), Some(3_155_760_000)),
        (json!(3_155_760_001_u64), None),
        (json!(0), None),
        (json!(-1), None),
        (json!(0.4), None),
        (json!("soon"), None),
        (json!("NaN"), None),
        (json!("inf"), None),
        (json!(true), None),
        (json!(null), None),
        (json!([3600]), None),
        (json!(1e300), None),
    ] {
        let token = read_json(&json!({"access_token": "t", "expires_in": stated}));
        assert_eq!(token.expires_at, seconds.map(|seconds| now() + TimeDelta::seconds(seconds)), "{stated}");
    }
}

#[test]
fn rfc7519_4_1_4_the_exp_of_a_jwt_stands_in_for_an_unstated_expiry() {
    let exp = (now() + TimeDelta::hours(2)).timestamp();
    let expiry = |body: &Value| read_json(body).expires_at;
    assert_eq!(expiry(&json!({"access_token": jwt(&json!({"exp": exp}))})), Some(now() + TimeDelta::hours(2)));
    assert_eq!(
        expiry(&json!({"access_token": jwt(&json!({"exp": exp})), "expires_in": 60})),
        Some(now() + TimeDelta::minutes(1))
    );
    for claims in [json!({"exp": now().timestamp()}), json!({"exp": "x"}), json!({"exp": 1e18}), json!({}), json!([])] {
        assert_eq!(expiry(&json!({"access_token": jwt(&claims)})), None, "{claims}");
    }
}

#[test]
fn a_duration_that_fills_the_largest_answer_counts_as_unstated() {
    let definition = definition(&json!({"response": {"expires": {"path": "/ttl", "form": "duration"}}}));
    let expiry = |ttl: String| {
        let answer = answer(200, json!({"access_token": "t", "ttl": ttl}).to_string());
        exchange(&definition).read(&answer, now(), now()).expect("a token").expires_at
    };
    assert_eq!(expiry("1h 30m".to_owned()), Some(now() + TimeDelta::minutes(90)));
    assert_eq!(expiry("366d".repeat((LARGEST_ANSWER_BYTES - 100) / 4)), None);
}

#[test]
fn token_type_is_bearer_unless_the_server_has_a_word_of_its_own() {
    for (stated, read) in [
        (json!("BEARER"), "Bearer"),
        (json!(null), "Bearer"),
        (json!(""), "Bearer"),
        (json!("Application Access Token"), "Application Access Token"),
    ] {
        assert_eq!(read_json(&json!({"access_token": "t", "token_type": stated})).token_type, read);
    }
    assert_eq!(read_json(&json!({"access_token": "t"})).token_type, "Bearer");
}

#[test]
fn scope_is_space_delimited_whatever_the_servers_form() {
    for (stated, read) in [
        (json!("a b"), Some("a b")),
        (json!("a,b, c"), Some("a b c")),
        (json!(["a", "b"]), Some("a b")),
        (json!(""), None),
        (json!(null), None),
        (json!(5), None),
    ] {
        assert_eq!(read_json(&json!({"access_token": "t", "scope": stated})).scope.as_deref(), read, "{stated}");
    }
}

#[test]
fn extra_keeps_what_jobs_need_and_nothing_that_refreshes() {
    let token = read_json(&json!({
        "access_token": "t", "refresh_token": "the-refresh-token", "id_token": "the.id.token",
        "instance_url": "https://eu12.example.com", "api_domain": "https://api", "valid_token": true,
        "refresh_expires_in": 5, "x_refresh_token_expires_in": 5, "session_state": "s", "RefreshToken": "x",
        "idToken": "x", "client_secret": "x", "copy": "=the-refresh-token=", "echo": "the secret",
        "encoded": "the%20secret", "the secret": 1,
        "nested": {"refresh_token": "x", "user": "u", "deep": [{"id_token": "x", "team": 1}, "the.id.token"]},
    }));
    assert_eq!(
        Value::Object(token.extra),
        json!({
            "instance_url": "https://eu12.example.com", "api_domain": "https://api", "valid_token": true,
            "nested": {"user": "u", "deep": [{"team": 1}]},
        })
    );
}

#[test]
fn a_refresh_tokens_stated_end_is_read_under_its_three_names() {
    for name in ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"] {
        let token = read_json(&json!({"access_token": "t", name: 60}));
        assert_eq!(token.grant_expiry, GrantExpiry::At(now() + TimeDelta::minutes(1)), "{name}");
    }
    for (stated, expiry) in
        [(json!(0), GrantExpiry::Never), (json!("0"), GrantExpiry::Never), (json!(-1), GrantExpiry::Unstated)]
    {
        assert_eq!(read_json(&json!({"access_token": "t", "refresh_expires_in": stated})).grant_expiry, expiry);
    }
    assert_eq!(read_json(&json!({"access_token": "t"})).grant_expiry, GrantExpiry::Unstated);
}

#[test]
fn a_form_encoded_answer_is_read_too() {
    let token =
        read(&answer(200, "access_token=a%2Fb&scope=repo%2Cgist&token_type=bearer&expires_in=60")).expect("a token");
    assert_eq!(token.access_token.expose_secret(), "a/b");
    assert_eq!(token.scope.as_deref(), Some("repo gist"));
    assert_eq!(token.expires_at, Some(now() + TimeDelta::minutes(1)));
}

#[test]
fn a_byte_order_mark_and_white_space_do_no_harm() {
    assert!(read(&answer(200, "\u{feff}\r\n {\"access_token\": \"t\"}\n")).is_ok());
}

#[test]
fn success_needs_a_token_whatever_the_status() {
    for (status, body) in [
        (200, r#"{"access_token": ""}"#),
        (200, r#"{"access_token": "  "}"#),
        (200, r#"{"access_token": "a\nb"}"#),
        (200, r#"{"access_token": 5}"#),
        (200, r#"{"access_token": null}"#),
        (200, "{}"),
        (200, "[]"),
        (200, "\"t\""),
        (200, ""),
        (200, "<html>access_token=t</html>"),
        (200, "access granted"),
        (200, r#"{"access_token": "t""#),
        (204, ""),
    ] {
        assert_eq!(rejected(status, body).error.code, ErrorCode::ResponseInvalid, "{status} {body}");
    }
    assert_eq!(rejected(400, r#"{"access_token": "t"}"#).error.code, ErrorCode::EndpointRejected);
    assert!(read(&answer(201, r#"{"access_token": "t"}"#)).is_ok());
    assert!(read(&answer(200, r#"{"access_token": "t", "error": null}"#)).is_ok());
}

#[test]
fn an_unreadable_answer_says_what_it_is_without_its_values() {
    let message = rejected(200, r#"{"token": "hunter2", "expires": 5, "data": {}}"#).error.message;
    assert_eq!(
        message,
        "the answer holds no access token (HTTP 200): it has data (an object), expires (a number), token (a string)"
    );
    let bytes = read(&answer(200, [b'{', 0xff, b'}'])).expect_err("no token").error.message;
    assert_eq!(bytes, "the answer holds no access token (HTTP 200): it is not UTF-8");
    for (body, what) in [(AnswerBody::TooLarge, "it is larger than 128 KiB"), (AnswerBody::CutShort, "it broke off")] {
        let error = read(&Answer { body, ..answer(200, "") }).expect_err("no token").error;
        assert_eq!((error.code, error.message.ends_with(what)), (ErrorCode::ResponseInvalid, true), "{error}");
    }
}

#[test]
fn a_success_whose_body_breaks_off_is_a_lost_answer() {
    let cut = |status: u16| read(&Answer::new(status, AnswerBody::CutShort)).expect_err("no token");
    for status in [200, 201, 299] {
        assert_eq!((cut(status).answer_lost, cut(status).repeat), (true, Repeat::AfterBackoff(None)), "{status}");
        assert_eq!(cut(status).without_repeat_of_lost().repeat, Repeat::Never);
    }
    for status in [302, 400, 401] {
        assert_eq!((cut(status).answer_lost, cut(status).repeat), (false, Repeat::Never), "{status}");
    }
    assert!(!read(&Answer::new(200, AnswerBody::TooLarge)).expect_err("no token").answer_lost);
}

#[test]
fn metadata_that_breaks_off_is_asked_for_again_and_costs_no_grant() {
    let definition = definition(&json!({"refresh_token": "first"}));
    for status in [200, 502] {
        let cut = Answer::new(status, AnswerBody::CutShort);
        let rejection = exchange(&definition).read_metadata(&cut, "https://as.example.com", now()).expect_err("no URL");
        assert_eq!((rejection.answer_lost, rejection.repeat), (false, Repeat::AfterBackoff(None)), "{status}");
    }
}
