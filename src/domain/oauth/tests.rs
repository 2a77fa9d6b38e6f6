use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::*;
use crate::domain::credential::Seed;
use crate::domain::error::ErrorCode;
use crate::domain::source::PlainHttp;

fn definition(fields: &Value) -> Definition {
    let mut definition = json!({
        "token_endpoint": "https://as.example.com/token", "client_id": "client", "client_secret": "the secret"
    });
    for (name, value) in fields.as_object().expect("an object") {
        definition[name] = value.clone();
    }
    Definition::parse(&definition.to_string(), PlainHttp::Refused)
        .expect("a valid definition")
        .expect("an enabled source")
}

fn now() -> DateTime<Utc> {
    "2026-11-20T22:00:00Z".parse().expect("a time")
}

fn request(fields: &Value) -> Request {
    let endpoint: Url = "https://as.example.com/token".parse().expect("a URL");
    built(&definition(fields), &endpoint)
}

fn exchange(definition: &Definition) -> Exchange<'_> {
    let credential = definition.seed.as_ref().map(Seed::secret);
    Exchange { definition, flow: &definition.flow, credential }
}

fn built(definition: &Definition, endpoint: &Url) -> Request {
    exchange(definition).request(endpoint, "once", now()).expect("a request")
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.expose_secret())
}

fn form(request: &Request) -> Vec<(String, String)> {
    let body = request.body.as_ref().expect("a body").expose_secret();
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    Answer::new(status, AnswerBody::Whole(body.into()))
}

fn read(answer: &Answer) -> Result<TokenAnswer, Rejection> {
    exchange(&definition(&json!({}))).read(answer, now(), now())
}

fn read_json(body: &Value) -> TokenAnswer {
    read(&answer(200, body.to_string())).expect("a token")
}

fn rejected(status: u16, body: &str) -> Rejection {
    read(&answer(status, body)).expect_err("no token")
}

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

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "none"})), part(claims))
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

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic_or_bring_an_empty_token(status in 100_u16..600, body: Vec<u8>) {
        if let Ok(token) = read(&answer(status, body)) {
            prop_assert!(!token.access_token.expose_secret().is_empty());
            prop_assert!((200..300).contains(&status));
        }
    }

    #[test]
    fn any_json_is_read_without_panic_and_keeps_no_refresh_token(body in json_answer()) {
        if let Ok(token) = read(&answer(200, body.to_string())) {
            let expiry = token.expires_at;
            prop_assert!(expiry.is_none_or(|end| end > now()));
            let extra = Value::Object(token.extra).to_string();
            prop_assert!(!extra.contains("refresh_token"));
            prop_assert!(!extra.contains(REFRESH_TOKEN));
        }
    }

    #[test]
    fn provider_errors_never_show_the_secret(before in ".*", after in ".*") {
        let body = json!({"error": "invalid_client", "error_description": format!("{before}the secret{after}")});
        let words = rejected(401, &body.to_string()).error.provider_error.expect("words");
        prop_assert!(!words.contains("the secret"), "{}", words);
        prop_assert!(!words.contains(char::is_control));
        prop_assert!(words.chars().count() <= 500);
    }
}

const REFRESH_TOKEN: &str = "a-refresh-token-to-hide";

/// Objects with the members that matter, in all types, nested up to three deep.
fn json_answer() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(Value::from(REFRESH_TOKEN)),
    ];
    let value = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(name(), inner, 0..4).prop_map(|members| json!(members)),
        ]
    });
    prop::collection::hash_map(name(), value, 0..8).prop_map(|mut members| {
        members.insert("access_token".to_owned(), Value::from("t"));
        members.insert("refresh_token".to_owned(), Value::from(REFRESH_TOKEN));
        json!(members)
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,12}",
        prop::sample::select(vec!["expires_in", "scope", "token_type", "refresh_token", "error", "refresh_expires_in"])
            .prop_map(str::to_owned),
    ]
}
