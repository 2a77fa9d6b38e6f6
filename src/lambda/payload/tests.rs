use serde_json::json;

use super::*;

/// As an HTTP API sends it, with everything that a browser adds.
fn event() -> Value {
    json!({
        "version": "2.0",
        "routeKey": "GET /callback/{source}",
        "rawPath": "/callback/acme-crm",
        "rawQueryString": "code=a%2Fb&state=first&state=second",
        "cookies": ["__Host-flow-1a2b=c3VwZXItc2VjcmV0", "theme=dark", "empty="],
        "headers": {
            "accept": "text/html,application/xhtml+xml",
            "content-length": "0",
            "cookie": "__Host-flow-1a2b=c3VwZXItc2VjcmV0; theme=dark; empty=",
            "host": "connect.acme.example",
            "sec-fetch-site": "cross-site",
            "user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)",
            "x-amzn-trace-id": "Root=1-5e9f0c65-1de4d666d4dd26aced652b6c",
            "x-forwarded-for": "203.0.113.7, 198.51.100.9",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https"
        },
        "queryStringParameters": {"code": "a/b", "state": "first,second"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "aaaaaaaaaa",
            "domainName": "connect.acme.example",
            "domainPrefix": "connect",
            "http": {
                "method": "GET",
                "path": "/callback/acme-crm",
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)"
            },
            "requestId": "LV7fzho-PHcEJPw=",
            "routeKey": "GET /callback/{source}",
            "stage": "$default",
            "time": "24/Nov/2026:15:08:21 +0000",
            "timeEpoch": 1_795_532_901_067_i64
        },
        "pathParameters": {"source": "acme-crm"},
        "isBase64Encoded": false
    })
}

/// The event with other members; those of `requestContext` are added to what is there.
fn event_with(members: Value) -> Value {
    let mut event = event();
    let Value::Object(members) = members else { panic!("members are an object") };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("requestContext", Value::Object(context)) => {
                event[name].as_object_mut().expect("members").extend(context);
            }
            (_, value) => event[name] = value,
        }
    }
    event
}

fn parse(event: Value) -> Request {
    Request::parse(event, "").expect("a request")
}

#[test]
fn a_request_of_a_browser_is_read_as_it_was_sent() {
    let request = parse(event());
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/callback/acme-crm"));
    assert_eq!(request.query, "code=a%2Fb&state=first&state=second", "neither joined nor decoded");
    let cookies: Vec<_> = request.cookies.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(cookies, [("__Host-flow-1a2b", "c3VwZXItc2VjcmV0"), ("theme", "dark"), ("empty", "")]);
    assert_eq!(request.header("sec-fetch-site"), Some("cross-site"));
    assert_eq!(request.header("x-forwarded-for"), Some("203.0.113.7, 198.51.100.9"));
    assert_eq!(request.header("origin"), None);
    assert_eq!((request.body.len(), request.principal), (0, None));
}

#[test]
fn names_of_headers_count_in_lower_case() {
    let request = parse(event_with(json!({"headers": {"Sec-Fetch-Site": "same-origin"}})));
    assert_eq!(request.header("sec-fetch-site"), Some("same-origin"));
}

#[test]
fn a_cookie_may_hold_an_equals_sign_or_stand_twice_and_without_one_it_is_none() {
    let request = parse(event_with(json!({"cookies": ["a=b=c", "lonely", "a=d"]})));
    let expected = [("a", "b=c"), ("a", "d")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(request.cookies, expected);
}

#[test]
fn what_stands_in_front_of_the_path_is_taken_off_once_and_at_whole_segments() {
    for (raw, stage, prefix, expected) in [
        ("/connect/t", "$default", "", "/connect/t"),
        ("/prod/connect/t", "prod", "", "/connect/t"),
        ("/prod", "prod", "", "/"),
        ("/connect/t", "prod", "", "/connect/t"),
        ("/production/t", "prod", "", "/production/t"),
        ("/oauth/connect/t", "$default", "/oauth", "/connect/t"),
        ("/oauth/connect/t", "$default", "/oauth/", "/connect/t"),
        ("/a/b/connect/t", "$default", "/a/b", "/connect/t"),
        ("/connect/t", "$default", "/oauth", "/connect/t"),
        ("/oauth2/connect/t", "$default", "/oauth", "/oauth2/connect/t"),
        ("/prod/oauth/connect/t", "prod", "/oauth", "/connect/t"),
        ("/connect/connect/t", "connect", "/connect", "/connect/t"),
        ("/prod/prod/t", "prod", "", "/prod/t"),
        ("//prod/t", "prod", "", "//prod/t"),
        ("", "prod", "/oauth", ""),
    ] {
        let event = event_with(json!({"rawPath": raw, "requestContext": {"stage": stage}}));
        let request = Request::parse(event, prefix).expect("a request");
        assert_eq!(request.path, expected, "{raw} at stage {stage}, prefix {prefix}");
    }
}

#[test]
fn a_body_is_decoded_where_it_is_base64() {
    let plain = parse(event_with(json!({"body": "{\"source\": \"ä\"}"})));
    assert_eq!(plain.body, "{\"source\": \"ä\"}".as_bytes());
    let encoded = parse(event_with(json!({"body": "YT1iJmM9w6Q=", "isBase64Encoded": true})));
    assert_eq!(encoded.body, "a=b&c=ä".as_bytes());
    assert_eq!(refusal(json!({"body": "not base64!", "isBase64Encoded": true})), InvalidEvent::BodyNotBase64);
}

#[test]
fn a_body_is_bounded_however_it_comes() {
    let longest = "x".repeat(LONGEST_BODY);
    assert_eq!(parse(event_with(json!({"body": longest}))).body.len(), LONGEST_BODY);
    let encoded = json!({"body": STANDARD.encode(&longest), "isBase64Encoded": true});
    assert_eq!(parse(event_with(encoded)).body.len(), LONGEST_BODY);

    let longer = format!("{longest}x");
    assert_eq!(refusal(json!({"body": longer})), InvalidEvent::BodyTooLong);
    for longer in [longer, "x".repeat(LONGEST_BODY + 3)] {
        let encoded = json!({"body": STANDARD.encode(&longer), "isBase64Encoded": true});
        assert_eq!(refusal(encoded), InvalidEvent::BodyTooLong);
    }
}

#[test]
fn a_role_is_the_same_principal_in_all_its_sessions_and_others_stay_as_they_are() {
    for (user_arn, arn) in [
        ("arn:aws:sts::123456789012:assumed-role/Crm/session-1", "arn:aws:iam::123456789012:role/Crm"),
        ("arn:aws:sts::123456789012:assumed-role/Crm/ada@acme.example", "arn:aws:iam::123456789012:role/Crm"),
        ("arn:aws-cn:sts::123456789012:assumed-role/Crm/x", "arn:aws-cn:iam::123456789012:role/Crm"),
        ("arn:aws:iam::123456789012:user/team/Ada", "arn:aws:iam::123456789012:user/team/Ada"),
        ("arn:aws:sts::123456789012:federated-user/Ada", "arn:aws:sts::123456789012:federated-user/Ada"),
        ("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root"),
        ("arn:aws:sts::123456789012:assumed-role/a/b/c", "arn:aws:sts::123456789012:assumed-role/a/b/c"),
    ] {
        let authorizer = json!({"iam": {
            "accessKey": "ASIA2ZJZYVUEREEIHAKY",
            "accountId": "123456789012",
            "callerId": "AROA7ZJZYVRE7C3DUXHH6:session-1",
            "cognitoIdentity": null,
            "principalOrgId": "o-a1b2c3",
            "userArn": user_arn,
            "userId": "AROA7ZJZYVRE7C3DUXHH6:session-1"
        }});
        let request = parse(event_with(json!({"requestContext": {"authorizer": authorizer}})));
        assert_eq!(request.principal, Some(Principal::Iam(arn.to_owned())), "{user_arn}");
    }
}

#[test]
fn a_token_names_its_principal_by_issuer_and_subject() {
    let principal = |claims: Value| {
        let authorizer = json!({"jwt": {"claims": claims, "scopes": null}});
        parse(event_with(json!({"requestContext": {"authorizer": authorizer}}))).principal
    };
    let claims = json!({"iss": "https://login.acme.example", "sub": "crm", "aud": "connect", "exp": "1795536501"});
    let expected = Principal::Jwt { issuer: "https://login.acme.example".to_owned(), subject: "crm".to_owned() };
    assert_eq!(principal(claims), Some(expected));
    assert_eq!(principal(json!({"iss": "https://login.acme.example"})), None);
    assert_eq!(principal(json!({"iss": "https://login.acme.example", "sub": ""})), None);
    assert_eq!(principal(json!({"sub": "crm"})), None);
}

#[test]
fn nobody_else_is_a_principal() {
    for authorizer in [
        json!(null),
        json!({}),
        json!({"lambda": {"iam": {"userArn": "arn:aws:iam::123456789012:root"}, "principalId": "me"}}),
        json!({"iam": {"userArn": ""}}),
        json!({"iam": {"userArn": null}}),
        json!({"jwt": {"claims": null}}),
    ] {
        let request = parse(event_with(json!({"requestContext": {"authorizer": authorizer}})));
        assert_eq!(request.principal, None, "{authorizer}");
    }
    let body = json!({"requestContext": {"authorizer": {"iam": {"userArn": "arn:aws:iam::123456789012:root"}}}});
    let headers = json!({"authorization": "Bearer abc", "x-amzn-iam-user-arn": "arn:aws:iam::123456789012:root"});
    assert_eq!(parse(event_with(json!({"body": body.to_string(), "headers": headers}))).principal, None);
}

#[test]
fn a_function_url_sends_the_same_format() {
    let request = parse(json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/v1/sessions",
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "host": "id.lambda-url.eu-west-2.on.aws",
            "x-amzn-tls-version": "TLSv1.3",
            "x-amz-date": "20261124T150821Z"
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "id",
            "authentication": null,
            "authorizer": {"iam": {"userArn": "arn:aws:sts::123456789012:assumed-role/Crm/s", "cognitoIdentity": null}},
            "domainName": "id.lambda-url.eu-west-2.on.aws",
            "domainPrefix": "id",
            "http": {
                "method": "POST", "path": "/v1/sessions", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.7.1"
            },
            "requestId": "7b3e1d8c-0f4d-4b3a-9f0e-0d2f6f6f3c11",
            "routeKey": "$default",
            "stage": "$default",
            "time": "24/Nov/2026:15:08:21 +0000",
            "timeEpoch": 1_795_532_901_067_i64
        },
        "body": "eyJzb3VyY2UiOiAiYWNtZS1jcm0ifQ==",
        "isBase64Encoded": true
    }));
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/sessions"));
    assert_eq!(request.body, br#"{"source": "acme-crm"}"#);
    assert_eq!(request.principal, Some(Principal::Iam("arn:aws:iam::123456789012:role/Crm".to_owned())));
    assert_eq!((request.query.as_str(), request.cookies.len()), ("", 0));
}

#[test]
fn what_is_no_request_is_refused() {
    assert_eq!(refusal(json!({"version": "1.0"})), InvalidEvent::NotRequest);
    assert_eq!(refusal(json!({"requestContext": null})), InvalidEvent::NotRequest);
    assert_eq!(refusal(json!({"rawPath": 7})), InvalidEvent::NotRequest);
    for event in [json!({}), json!(null), json!({"source": "aws.scheduler"}), json!([])] {
        assert_eq!(Request::parse(event, "").err(), Some(InvalidEvent::NotRequest));
    }
}

fn refusal(members: Value) -> InvalidEvent {
    Request::parse(event_with(members), "").expect_err("a refusal")
}

#[test]
fn nothing_that_may_be_secret_is_shown_for_debugging() {
    let request = parse(event_with(json!({
        "rawPath": "/connect/LINK-TOKEN",
        "rawQueryString": "code=AUTHORIZATION-CODE",
        "cookies": ["__Host-flow=COOKIE-VALUE"],
        "headers": {"authorization": "Bearer ACCESS-TOKEN"},
        "body": "COMPLETION-CODE"
    })));
    let shown = format!("{request:?}");
    for secret in ["LINK-TOKEN", "AUTHORIZATION-CODE", "COOKIE-VALUE", "ACCESS-TOKEN", "COMPLETION-CODE"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("GET") && shown.contains("connect") && shown.contains("authorization"), "{shown}");

    let shown = format!("{:?}", response());
    assert!(!shown.contains("acme.example") && !shown.contains("c3VwZXI") && !shown.contains("body text"), "{shown}");
    assert!(shown.contains("303") && shown.contains("location"), "{shown}");
}

fn response() -> Response {
    Response {
        status: 303,
        headers: vec![
            ("location", "https://login.acme.example/?state=x".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ],
        cookies: vec!["__Host-flow-1a2b=c3VwZXI; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=600".to_owned()],
        body: "body text".to_owned(),
    }
}

#[test]
fn an_answer_is_written_as_the_format_wants_it() {
    let expected = json!({
        "statusCode": 303,
        "headers": {"location": "https://login.acme.example/?state=x", "cache-control": "no-store"},
        "cookies": ["__Host-flow-1a2b=c3VwZXI; Secure; HttpOnly; SameSite=Lax; Path=/; Max-Age=600"],
        "body": "body text",
        "isBase64Encoded": false
    });
    assert_eq!(serde_json::to_value(response()).expect("JSON"), expected);
}
