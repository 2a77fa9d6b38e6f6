//! What is wrong with a definition, each thing with its field and reason, and no value.

use serde_json::{Value, json};

use super::{SECRET, fault, minimal, parse, refusal, with};
use crate::domain::assertion::JWT_BEARER;
use crate::domain::source::{Definition, PlainHttp};

#[test]
fn what_contradicts_itself_in_a_request_is_named() {
    for (fields, expected) in [
        (json!({"provider": "custom", "token_endpoint": null}), "`token_endpoint` is required"),
        (json!({"request": {"methd": "GET"}}), "`request.methd` is unknown; did you mean `method`?"),
        (json!({"request": []}), "`request` must be an object"),
        (json!({"request": {"method": "PUT"}}), "`request.method` must be POST or GET"),
        (
            json!({"request": {"method": "GET", "parameters_in": "body"}}),
            "`request.parameters_in` contradicts `method`: a GET request has no body",
        ),
        (
            json!({"token_endpoint_auth_method": "client_secret_post", "request": {"method": "GET", "client_in": "body"}}),
            "`request.client_in` contradicts `method`: a GET request has no body",
        ),
        (
            json!({"request": {"client_in": "query"}}),
            "`request.client_in` is for client_secret_post: the other methods put no secret there",
        ),
        (
            json!({"token_endpoint_auth_method": "client_secret_post", "request": {"client_in": ["body", "query"]}}),
            "`request.client_in` must be a string",
        ),
        (
            json!({
                "token_endpoint_auth_method": "client_secret_post",
                "token_endpoint": "https://as.example.com/token?client_secret=x",
            }),
            "`token_endpoint` holds `client_secret` in its query, which the request sends itself",
        ),
        (
            json!({"request": {"parameters_in": "query", "body": "json"}}),
            "`request.body` contradicts `parameters_in`: nothing would be in it",
        ),
        (
            json!({"request": {"credential_in": "bearer"}, "refresh_token": "r"}),
            "`request.credential_in` contradicts client_secret_basic: there is one Authorization header",
        ),
        (json!({"request": {"scope_parameter": "grant_type"}}), "`request` names two parameters `grant_type`"),
        (
            json!({"request": {"client_id_parameter": "key"}, "params": {"key": "x"}, "token_endpoint_auth_method": "none"}),
            "`params.key` is set by `request`",
        ),
    ] {
        assert_eq!(fault(&with(&fields)), expected, "{fields}");
    }
}

#[test]
fn what_contradicts_itself_in_reading_answers_is_named() {
    for (fields, expected) in [
        (
            json!({"response": {"access_token": "data.token"}}),
            "`response.access_token` must be a path such as /data/access_token (a JSON Pointer, RFC 6901)",
        ),
        (
            json!({"response": {"format": "text", "access_token": "/token"}}),
            "`response.access_token` contradicts `format`: a text has no members, its path is the empty one",
        ),
        (
            json!({"response": {"access_token": ""}}),
            "`response.access_token` must name a member: only a text is the token itself",
        ),
        (
            json!({"response": {"expires": {"form": "fortnights"}}}),
            "`response.expires.form` must be seconds, milliseconds, epoch_seconds, epoch_milliseconds, iso8601, \
             duration, jwt_exp or none",
        ),
        (
            json!({"response": {"refresh_token_expires": {"form": "iso8601"}}}),
            "`response.refresh_token_expires.path` is required",
        ),
        (json!({"errors": {}}), "`errors` must be a list of objects"),
        (json!({"errors": ["x"]}), "`errors[0]` must be an object"),
        (
            json!({"errors": [{"status": 400, "class": "fatal"}]}),
            "`errors[0].class` must be dead_grant, configuration, throttled, transient or too_early",
        ),
        (json!({"errors": [{"status": 400}]}), "`errors[0].class` is required"),
        (
            json!({"errors": [{"class": "transient"}]}),
            "`errors[0].status` is required (or `header`, or `path`): a rule without conditions would match everything",
        ),
        (
            json!({"errors": [{"equals": "x", "status": 400, "class": "transient"}]}),
            "`errors[0].path` is required (or `header`): where to look",
        ),
        (
            json!({"errors": [{"path": "/a", "matches": "(", "class": "transient"}]}),
            "`errors[0].matches` must be a regular expression",
        ),
        (
            json!({"errors": [{"path": "/a", "matches": "a", "equals": "a", "class": "transient"}]}),
            "`errors[0].matches` contradicts `equals`: give one",
        ),
        (
            json!({"errors": [{"status": "400", "class": "transient"}]}),
            "`errors[0].status` must be a status code such as 400, or a list of them",
        ),
        (
            json!({"errors": [{"status": 400, "class": "dead_grant", "error": "invalid_client"}]}),
            "`errors[0].error` is for the class configuration: the others have codes of their own",
        ),
    ] {
        assert_eq!(fault(&with(&fields)), expected, "{fields}");
    }
}

#[test]
fn what_contradicts_itself_in_grants_and_steps_is_named() {
    for (fields, expected) in [
        (
            json!({"refresh": {"rotates": false, "repeat_within": "10m"}}),
            "`refresh.repeat_within` contradicts `rotates`: what is not used up may be sent again at any time",
        ),
        (json!({"grants": {"client_credentials": 5}}), "`grants.client_credentials` must be an object"),
        (
            json!({"grants": {"client_credentials": {"then": "nothing"}}}),
            "`grants.client_credentials.then` must be another grant type of the same provider",
        ),
        (
            json!({"grants": {"client_credentials": {"required": ["params.account_id"]}}, "provider": "custom"}),
            "`params.account_id` is required by `custom`",
        ),
        (json!({"grants": {"swap": {}}}), "`grant_type` must be swap"),
        (json!({"steps": [{"grant_type": "x"}]}), "`steps[0].token_endpoint` is required"),
        (
            json!({"steps": [{"token_endpoint": "https://a.example.com", "refresh": {}}]}),
            "`steps[0].refresh` is unknown; did you mean `request`?",
        ),
        (json!({"assertion": {"scope": "yes"}}), "`assertion.scope` must be true or false"),
        (json!({"assertion": {"lifetime": "6m"}}), "`assertion.lifetime` must be at most 5m"),
        (
            json!({"assertion": {"claims": {"iss": "x"}}}),
            "`assertion.claims` can't hold `iss`, which the assertion has anyway",
        ),
        (
            json!({"assertion": {"subject": "required"}, "grant_type": JWT_BEARER}),
            "`assertion_subject` is required: for whom a token is asked; `private_key` is required for \
             urn:ietf:params:oauth:grant-type:jwt-bearer",
        ),
    ] {
        assert_eq!(fault(&with(&fields)), expected, "{fields}");
    }
}

// One table of faults, so it is long.
#[test]
fn every_fault_names_its_field_and_reason_and_no_value() {
    for (fields, expected) in [
        (json!({"client_secrt": SECRET}), "`client_secrt` is unknown; did you mean `client_secret`?"),
        (json!({"xyzzy": SECRET}), "`xyzzy` is unknown"),
        (json!({"token_endpoint": null}), "`token_endpoint` is required (or `issuer`, or `provider`)"),
        (json!({"token_endpoint": "http://as.example.com/token"}), "`token_endpoint` must begin with https://"),
        (json!({"token_endpoint": "http://127.0.0.1.example.com/token"}), "`token_endpoint` must begin with https://"),
        (
            json!({"token_endpoint": format!("https://user:{SECRET}@as.example.com/")}),
            "`token_endpoint` must not contain a user name or password",
        ),
        (json!({"token_endpoint": "https://as.example.com/#a"}), "`token_endpoint` must not contain a fragment (#)"),
        (
            json!({"token_endpoint": "https://b\u{fc}CHER.example/token"}),
            "`token_endpoint` must be a URL such as https://as.example.com/token",
        ),
        (
            json!({"token_endpoint": "https://b%C3%BCCHER.example/token"}),
            "`token_endpoint` must be a URL such as https://as.example.com/token",
        ),
        (json!({"token_endpoint": SECRET}), "`token_endpoint` must be a URL such as https://as.example.com/token"),
        (
            json!({"issuer": "https://as.example.com"}),
            "`issuer` leads to the token endpoint: give it or `token_endpoint`, not both",
        ),
        (
            json!({"token_endpoint": null, "issuer": "https://as.example.com?a=b"}),
            "`issuer` must not contain a query (?)",
        ),
        (json!({"client_id": null}), "`client_id` is required"),
        (json!({"client_id": 5}), "`client_id` must be a string"),
        (json!({"api_key": "again"}), "`api_key` is another name of `client_id`: give one"),
        (json!({"client_secret": null}), "`client_secret` is required for client_secret_basic"),
        (json!({"client_secret": ""}), "`client_secret` must not be empty"),
        (json!({"client_secret": format!("{SECRET}\n")}), "`client_secret` must not begin or end with white space"),
        (
            json!({"grant_type": "password"}),
            &format!("`grant_type` must be client_credentials or refresh_token or {JWT_BEARER}"),
        ),
        (json!({"grant_type": "refresh_token"}), "`refresh_token` is required"),
        (
            json!({"token_endpoint_auth_method": "client_secret_jwt"}),
            "`token_endpoint_auth_method` must be client_secret_basic, client_secret_post, private_key_jwt, \
             tls_client_auth, self_signed_tls_client_auth or none",
        ),
        (json!({"token_endpoint_auth_method": "private_key_jwt"}), "`private_key` is required for private_key_jwt"),
        (
            json!({"token_endpoint_auth_method": "private_key_jwt", "private_key": SECRET}),
            "`private_key` is no PEM private key (PKCS#8, PKCS#1 or SEC1)",
        ),
        (json!({"private_key": 7}), "`private_key` must be a string"),
        (json!({"assertion_algorithm": "HS256"}), "`assertion_algorithm` must be RS256, PS256 or ES256"),
        (
            json!({"token_endpoint_auth_method": "tls_client_auth"}),
            "`certificate` is required for tls_client_auth and self_signed_tls_client_auth; `private_key` is required for \
             tls_client_auth and self_signed_tls_client_auth",
        ),
        (json!({"ca_certificate": "none"}), "`ca_certificate` must be a PEM certificate"),
        (json!({"scope": 5}), "`scope` must be a string or an array of strings"),
        (json!({"scope": ["a", 5]}), "`scope` must be a string or an array of strings"),
        (json!({"params": [SECRET]}), "`params` must be an object"),
        (json!({"params": {"a": 5}}), "`params.a` must be a string or an array of strings"),
        (json!({"params": {"grant_type": "x"}}), "`params.grant_type` is set by `grant_type`"),
        (json!({"headers": {"Content-Length": "5"}}), "`headers.Content-Length` is set by the request itself"),
        (json!({"headers": {"a b": "x"}}), "`headers.a b` is no header name"),
        (json!({"headers": {"x-key": "a\nb"}}), "`headers.x-key` must be a string of printable ASCII"),
        (json!({"headers": {"authorization": "x"}}), "`headers.Authorization` is set by client_secret_basic"),
        (json!({"min_ttl": "10"}), "`min_ttl` must be a duration of at most 366d such as 90s, 15m, 12h or 7d"),
        (json!({"min_ttl": 600}), "`min_ttl` must be a string"),
        (json!({"default_expires_in": "0s"}), "`default_expires_in` must be longer"),
        (json!({"verify_url": "http://api.example.com"}), "`verify_url` must begin with https://"),
        (json!({"runbook_url": "wiki"}), "`runbook_url` must be a URL such as https://wiki.example.com/runbook"),
        (json!({"owner": ["me"]}), "`owner` must be a string"),
        (json!({"owner": "a\nb"}), "`owner` must be one line of at most 200 characters"),
        (json!({"owner": "a\u{ffff}b"}), "`owner` must be one line of at most 200 characters"),
        (json!({"enabled": "no"}), "`enabled` must be true or false"),
        (json!({"provider": "acme-crm"}), "`provider` is unknown; `custom` is for one of your own"),
        (json!({"provider": "congito"}), "`provider` is unknown; did you mean `cognito`?"),
        (json!({"base_url": "https://proxy.example.com"}), "`base_url` is for providers: give `provider` too"),
        (json!({"token_endpoint": null, "provider": "cognito"}), "`variables` `cognito` needs `domain`"),
        (
            json!({"token_endpoint": null, "provider": "cognito", "variables": {"domain": "a/b?c"}}),
            "`variables.domain` must be a string of letters, digits, `.`, `_` and `-`",
        ),
        (
            json!({"token_endpoint": null, "provider": "cognito", "variables": {"domain": ".."}}),
            "`variables.domain` must be a string of letters, digits, `.`, `_` and `-`",
        ),
    ] {
        assert_eq!(fault(&with(&fields)), expected, "{fields}");
    }
}

#[test]
fn a_fault_can_be_shown_whatever_its_field_is_named() {
    let message = fault(&with(&json!({"grants": {"a\nb\u{ffff}c\u{202e}d": 5}})));
    assert!(message.contains("`grants.a b c d` must be an object"), "{message}");
}

#[test]
fn plain_http_is_refused_in_every_url_unless_loopback_is_allowed() {
    let at_loopback = ["http://127.0.0.1:9001/2018-06-01/runtime", "http://localhost/", "http://[::1]:9/a"];
    let cognito = |fields: Value| {
        let mut definition = json!({"token_endpoint": null, "provider": "cognito"});
        definition.as_object_mut().expect("an object").extend(fields.as_object().expect("fields").clone());
        definition
    };
    let custom = |url: &str| json!({"provider": "custom", "token_endpoint": url});
    for url in at_loopback {
        for (fields, field) in [
            (json!({"token_endpoint": url}), "token_endpoint"),
            (custom(url), "token_endpoint"),
            (json!({"token_endpoint": null, "issuer": url}), "issuer"),
            (json!({"verify_url": url}), "verify_url"),
            (cognito(json!({"base_url": url, "variables": {"domain": "d"}})), "base_url"),
            (
                json!({"grants": {"client_credentials": {"token_endpoint": url}}, "token_endpoint": null}),
                "token_endpoint",
            ),
            (json!({"steps": [{"token_endpoint": url}]}), "steps[0].token_endpoint"),
            (json!({"provider": "custom", "steps": [{"token_endpoint": url}]}), "steps[0].token_endpoint"),
        ] {
            parse(&fields);
            let message = refusal(&with(&fields), PlainHttp::Refused);
            let expected = format!("`{field}` must begin with https://");
            assert!(message.split("; ").any(|fault| fault == expected), "{fields}: {message}");
        }
    }
    let filled = json!({
        "provider": "custom", "token_endpoint": "{scheme}://127.0.0.1:9001/", "variables": {"scheme": "http"},
    });
    parse(&filled);
    assert_eq!(refusal(&with(&filled), PlainHttp::Refused), "`variables` must begin with https://");
    for url in
        ["http://as.example.com/", "http://169.254.169.254/", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/"]
    {
        let message = refusal(&with(&json!({"verify_url": url})), PlainHttp::OnLoopback);
        assert_eq!(message, "`verify_url` must begin with https://", "{url}");
    }
    let link = with(&json!({"runbook_url": "http://wiki.example.com/"}));
    assert!(Definition::parse(&link, PlainHttp::Refused).is_ok(), "nothing calls it");
}

#[test]
fn all_faults_of_a_definition_are_told_at_once() {
    let message = fault(&with(&json!({"client_id": 1, "scope": 2, "min_ttl": "x"})));
    assert_eq!(message.matches("; ").count(), 2, "{message}");
}

#[test]
fn a_field_given_twice_is_a_fault() {
    let definition = minimal().to_string().replacen('{', r#"{"client_id": "other","#, 1);
    assert_eq!(fault(&definition), "`client_id` is given twice");
}

#[test]
fn a_member_given_twice_is_a_fault_at_any_depth() {
    let inserted = |members: &str| minimal().to_string().replacen('{', &format!("{{{members},"), 1);
    for (members, expected) in [
        (r#""params": {"audience": "a", "audience": "b"}"#, "`params.audience` is given twice"),
        (r#""params": {"a": "a", "\u0061": "b", "a": "c"}"#, "`params.a` is given twice"),
        (r#""scope": null, "scope": "read""#, "`scope` is given twice"),
        (
            r#""errors": [{"status": 400, "class": "transient"}, {"status": 4, "class": "throttled", "status": 429}]"#,
            "`errors[1].status` is given twice",
        ),
        (
            r#""grants": {"client_credentials": {}, "client_credentials": {"params": {"a": "x", "a": "y"}}}"#,
            "`grants.client_credentials.params.a` is given twice; `grants.client_credentials` is given twice",
        ),
        (r#""params": {"a\nb": "x", "a\nb": "y"}"#, "`params.a b` is given twice"),
        (r#""owner": "one", "owner": "two", "client_id": 5"#, "`client_id` is given twice; `owner` is given twice"),
        (r#""enabled": true, "enabled": false"#, "`enabled` is given twice"),
    ] {
        let mut told: Vec<_> = fault(&inserted(members)).split("; ").map(str::to_owned).collect();
        told.sort();
        assert_eq!(told.join("; "), expected, "{members}");
    }
    let secret = format!(r#""headers": {{"X-Key": "{SECRET}", "X-Key": "{SECRET}"}}"#);
    assert_eq!(fault(&inserted(&secret)), "`headers.X-Key` is given twice");
    let deep = "[".repeat(120) + r#"{"a": 1, "a": 2}"# + &"]".repeat(120);
    let deep = fault(&inserted(&format!(r#""params": {deep}"#)));
    assert!(deep.contains(&format!("`params{}.a` is given twice", "[0]".repeat(120))), "{deep}");
}

#[test]
fn what_is_no_json_object_says_so_without_its_text() {
    assert_eq!(fault(SECRET), "the secret is not JSON (line 1, column 1)");
    assert_eq!(fault(""), "the secret is not JSON (line 1, column 0)");
    assert_eq!(fault(&format!("[\"{SECRET}\"]")), "the secret must be a JSON object");
    assert_eq!(fault(&format!("\"{SECRET}\"")), "the secret must be a JSON object");
}
