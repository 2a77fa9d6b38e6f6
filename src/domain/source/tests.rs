use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Catalog, ClientAuthentication, Credential, Definition, Endpoint, Flow, PlainHttp, Secret, Seed, SourceName,
};
use crate::domain::assertion::JWT_BEARER;
use crate::domain::provider;
use crate::domain::provider::dialect::RequestMethod;
use crate::domain::redact;

const SECRET: &str = "hunter2-do-not-show";

fn minimal() -> Value {
    json!({"token_endpoint": "https://as.example.com/token", "client_id": "client", "client_secret": SECRET})
}

/// The minimal definition with some fields replaced, added, or (by null) left out.
fn with(fields: &Value) -> String {
    let mut definition = minimal();
    for (name, value) in fields.as_object().expect("an object") {
        definition[name] = value.clone();
    }
    definition.to_string()
}

fn parse(fields: &Value) -> Definition {
    Definition::parse(&with(fields), PlainHttp::OnLoopback).expect("a valid definition").expect("an enabled source")
}

fn fault(definition: &str) -> String {
    refusal(definition, PlainHttp::OnLoopback)
}

fn refusal(definition: &str, plain_http: PlainHttp) -> String {
    let error = Definition::parse(definition, plain_http).expect_err("a fault");
    assert_eq!(error.code.as_str(), "definition_invalid");
    assert!(!error.message.contains(SECRET), "{}", error.message);
    error.message
}

#[test]
fn a_name_has_one_form() {
    for name in ["a", "0", "acme-crm.eu_1", &"a".repeat(64)] {
        assert!(SourceName::parse(name).is_some(), "{name}");
    }
    for name in ["", "-a", ".a", "A", "a/b", "ä", "a b", "../a", &"a".repeat(65)] {
        assert!(SourceName::parse(name).is_none(), "{name}");
    }
}

#[test]
fn a_minimal_definition_gets_the_documented_defaults() {
    let definition = parse(&json!({}));
    assert_eq!(definition.flow.endpoint, Endpoint::Token("https://as.example.com/token".parse().unwrap()));
    assert_eq!(definition.flow.request.method, RequestMethod::Post);
    assert!(matches!(definition.flow.client_authentication, ClientAuthentication::Basic(_)));
    assert!(matches!(definition.flow.credential, Credential::None));
    assert_eq!(definition.flow.grant_type.as_deref(), Some("client_credentials"));
    assert_eq!(definition.min_ttl, TimeDelta::minutes(10));
    assert_eq!(definition.default_expires_in, TimeDelta::hours(1));
    assert_eq!(definition.flow.scope, None);
}

#[test]
fn an_audience_is_filled_only_where_something_is_signed() {
    let auth0 = json!({"token_endpoint": null, "provider": "auth0", "issuer": "https://login.example.com/"});
    assert!(matches!(parse(&auth0).flow.endpoint, Endpoint::Issuer { .. }));
}

#[test]
fn a_host_name_with_other_letters_is_written_in_punycode() {
    let definition = parse(&json!({"token_endpoint": "https://xn--bcher-kva.example/token"}));
    let Endpoint::Token(url) = definition.flow.endpoint else { panic!("a token endpoint") };
    assert_eq!(url.host_str(), Some("xn--bcher-kva.example"));
}

#[test]
fn a_refresh_token_makes_the_grant_a_refresh() {
    let definition = parse(&json!({"refresh_token": "first"}));
    let Some(Seed::RefreshToken(token)) = &definition.seed else { panic!("{:?}", definition.seed) };
    assert_eq!(token.expose_secret(), "first");
}

#[test]
fn api_key_and_api_secret_are_other_names() {
    let definition = parse(&json!({
        "client_id": null, "client_secret": null, "api_key": "key", "api_secret": SECRET
    }));
    assert_eq!(definition.flow.client_id.as_deref(), Some("key"));
    assert_eq!(definition.credentials().collect::<Vec<_>>(), [SECRET]);
}

#[test]
fn scope_is_a_string_or_an_array_and_an_empty_one_is_not_sent() {
    assert_eq!(parse(&json!({"scope": "a  b"})).flow.scope.as_deref(), Some("a b"));
    assert_eq!(parse(&json!({"scope": ["a", "b"]})).flow.scope.as_deref(), Some("a b"));
    assert_eq!(parse(&json!({"scope": ""})).flow.scope, None);
    assert_eq!(parse(&json!({"scope": []})).flow.scope, None);
}

#[test]
fn a_param_may_repeat() {
    let definition = parse(&json!({"params": {"resource": ["https://a", "https://b"], "tenant": "t"}}));
    let params: Vec<_> = definition
        .flow
        .params
        .iter()
        .map(|(name, value)| (name.as_str(), value.iter().map(SecretString::expose_secret).collect::<Vec<_>>()))
        .collect();
    assert_eq!(params, [("resource", vec!["https://a", "https://b"]), ("tenant", vec!["t"])]);
}

#[test]
fn a_provider_brings_endpoint_method_and_authentication() {
    let definition = parse(&json!({"token_endpoint": null, "provider": "onegov-nsw"}));
    assert_eq!(definition.flow.request.method, RequestMethod::Get);
    let moved = parse(&json!({
        "token_endpoint": null, "provider": "cognito", "base_url": "http://127.0.0.1:9/x"
    }));
    assert_eq!(moved.flow.endpoint, Endpoint::Token("http://127.0.0.1:9/x/oauth2/token".parse().unwrap()));
}

/// A definition that brings its own declaration, parsed.
fn custom(fields: &Value) -> Definition {
    let mut definition = json!({"provider": "custom", "token_endpoint": "https://as.example.com/token"});
    for (name, value) in fields.as_object().expect("an object") {
        definition[name] = value.clone();
    }
    parse(&definition)
}

#[test]
fn a_definition_overrides_any_part_of_a_provider_and_keeps_the_rest() {
    let definition = parse(&json!({
        "token_endpoint": null, "provider": "tiktok", "refresh_token": "first",
        "request": {"scope_delimiter": null, "basic_encoding": "none"}, "response": {"scope": "/granted"},
    }));
    let Flow { request, response, .. } = &definition.flow;
    assert_eq!(request.client_id_parameter.as_deref(), Some("client_key"), "the provider's");
    assert_eq!((request.scope_delimiter.as_str(), request.basic_encoded), (" ", false), "removed, and overridden");
    assert_eq!((response.scope.as_str(), response.access_token.as_str()), ("/granted", "/access_token"));
}

#[test]
fn a_definitions_error_rules_go_before_its_grants_and_its_providers() {
    let rule = |status: u16| json!([{"status": status, "class": "transient"}]);
    let definition = custom(&json!({
        "errors": rule(401), "grants": {"client_credentials": {"errors": rule(402)}},
    }));
    assert_eq!(definition.flow.errors.iter().map(|rule| rule.status[0]).collect::<Vec<_>>(), [402, 401]);

    let provider = provider::find("threads").expect("a provider")["errors"].as_array().expect("rules").len();
    let threads = json!({
        "token_endpoint": null, "provider": "threads", "access_token": "t", "errors": rule(403), "client_id": null,
    });
    assert_eq!(parse(&threads).flow.errors.len(), provider + 1);
}

#[test]
fn the_grant_type_is_the_one_that_is_written_or_meant() {
    let meant = |fields: &Value| {
        let mut definition = json!({"token_endpoint": null});
        for (name, value) in fields.as_object().expect("an object") {
            definition[name] = value.clone();
        }
        parse(&definition).flow.grant_type
    };
    for (fields, grant_type) in [
        (json!({"provider": "tiktok", "refresh_token": "r"}), "refresh_token"),
        (json!({"provider": "tiktok", "grant_type": "client_credentials"}), "client_credentials"),
        (json!({"provider": "zoom", "params": {"account_id": "a"}}), "account_credentials"),
        (json!({"provider": "zoom", "refresh_token": "r"}), "refresh_token"),
        (json!({"provider": "onegov-nsw", "refresh_token": "r"}), "client_credentials"),
        (json!({"provider": "threads", "access_token": "t"}), "th_exchange_token"),
    ] {
        assert_eq!(meant(&fields).as_deref(), Some(grant_type), "{fields}");
    }
}

#[test]
fn an_access_token_that_refreshes_itself_has_a_second_kind_of_request() {
    let definition = parse(&json!({
        "token_endpoint": null, "client_id": null, "provider": "threads", "access_token": "short",
        "base_url": "http://127.0.0.1:9",
    }));
    assert!(matches!(&definition.seed, Some(Seed::AccessToken(token)) if token.expose_secret() == "short"));
    let then = definition.then.expect("a second kind");
    assert_eq!(then.grant_type.as_deref(), Some("th_refresh_token"));
    assert_eq!(then.endpoint, Endpoint::Token("http://127.0.0.1:9/refresh_access_token".parse().unwrap()));
    assert!(matches!(then.client_authentication, ClientAuthentication::None));
    assert_eq!(then.refresh.minimum_age, Some(TimeDelta::hours(24)));

    let long_lived = parse(&json!({
        "token_endpoint": null, "client_id": null, "client_secret": null, "provider": "threads", "access_token": "long",
        "grant_type": "th_refresh_token",
    }));
    assert!(long_lived.then.is_none());
}

#[test]
fn placeholders_are_filled_wherever_a_provider_has_them() {
    let definition = custom(&json!({
        "token_endpoint": "https://{shop}.example.com/token", "variables": {"shop": "north", "region": "eu"},
        "steps": [{"token_endpoint": "https://{region}.example.com/exchange"}],
    }));
    let hosts: Vec<_> = definition
        .flows()
        .map(|flow| match &flow.endpoint {
            Endpoint::Token(url) => url.host_str().expect("a host").to_owned(),
            Endpoint::Issuer { .. } => panic!("no issuer"),
        })
        .collect();
    assert_eq!(hosts, ["north.example.com", "eu.example.com"]);
}

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

#[test]
fn a_disabled_definition_is_left_out_whatever_else_it_says() {
    assert!(
        Definition::parse(r#"{"enabled": false, "tokn_endpoint": 1}"#, PlainHttp::Refused).expect("no fault").is_none()
    );
}

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

#[test]
fn the_query_of_a_url_is_in_no_published_hash() {
    let with_key = |key: &str| {
        hashes(&json!({
            "token_endpoint": format!("https://as.example.com/token?key={key}"),
            "verify_url": format!("https://api.example.com/me?key={key}"),
        }))
    };
    let (one, other) = (with_key("guessable"), with_key("another"));
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_ne!(one.0, hashes(&json!({"token_endpoint": "https://as.example.com/other"})).0);
}

/// A definition's hashes: what everybody may read, and what stays in the state bucket.
fn hashes(fields: &Value) -> (String, String) {
    let definition = parse(fields);
    (definition.public_sha256, definition.full_sha256)
}

#[test]
fn the_published_hash_ignores_secrets_but_follows_the_first_credential() {
    let (public, full) = hashes(&json!({}));
    let (other_secret_public, other_secret_full) = hashes(&json!({"client_secret": "another"}));
    assert_eq!(public, other_secret_public);
    assert_ne!(full, other_secret_full);

    assert_ne!(public, hashes(&json!({"scope": "read"})).0);
    assert_ne!(hashes(&json!({"refresh_token": "one"})).0, hashes(&json!({"refresh_token": "two"})).0);
}

#[test]
fn the_published_hash_holds_nothing_that_could_be_guessed_with_it() {
    let step = |fields: Value| {
        let mut step = json!({"token_endpoint": "https://as.example.com/exchange"});
        step.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        json!({"steps": [step]})
    };
    let grant = |fields: Value| json!({"grants": {"client_credentials": fields}});
    for (before, after) in [
        (json!({}), json!({"params": {"password": "Summer2026!"}})),
        (json!({"params": {"password": "a"}}), json!({"params": {"password": "b"}})),
        (
            json!({"params": {"audience": "x", "username": "a"}}),
            json!({"params": {"audience": "x", "username": "b", "password": "c"}}),
        ),
        (json!({}), json!({"headers": {"X-Api-Key": "a"}})),
        (grant(json!({})), grant(json!({"params": {"password": "a"}, "headers": {"X-Api-Key": "a"}}))),
        (step(json!({})), step(json!({"params": {"password": "a"}, "headers": {"X-Api-Key": "a"}}))),
    ] {
        let ((public, full), (public_after, full_after)) = (hashes(&before), hashes(&after));
        assert_eq!(public, public_after, "{before} {after}");
        assert_ne!(full, full_after, "{before} {after}");
    }
    for (before, after) in [
        (json!({}), json!({"params": {"audience": "x"}})),
        (json!({"params": {"resource": "x"}}), json!({"params": {"resource": ["x", "y"]}})),
        (grant(json!({})), grant(json!({"params": {"audience": "x"}}))),
        (grant(json!({})), grant(json!({"scope": "read"}))),
        (step(json!({})), step(json!({"params": {"resource": "x"}}))),
        (step(json!({})), step(json!({"scope": "read"}))),
    ] {
        assert_ne!(hashes(&before).0, hashes(&after).0, "{before} {after}");
    }
}

#[test]
fn whom_to_ask_and_what_to_do_is_in_no_hash() {
    let hashes_before = hashes(&json!({}));
    assert_eq!(hashes_before, hashes(&json!({"owner": "crm-team", "runbook_url": "https://wiki.example.com/"})));
}

/// Another form would make every token of every deployment due at once.
#[test]
fn the_published_hash_has_the_form_that_tokens_were_stored_with() {
    let canonical = "client_id=\"client\"\nparams={\"audience\":\"x\",}\nrefresh_token=\
                     7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed\n\
                     token_endpoint=\"https://as.example.com/token\"\n";
    let (public, _) = hashes(&json!({"refresh_token": "one", "params": {"audience": "x"}}));
    assert_eq!(public, redact::sha256_hex(canonical.as_bytes()));
}

#[test]
fn the_hashes_do_not_depend_on_the_order_of_members() {
    let parse = |text: &str| Definition::parse(text, PlainHttp::Refused).unwrap().unwrap();
    let one = parse(
        r#"{"token_endpoint":"https://a/","client_id":"c","client_secret":"s","params":{"audience":"1","b":"2"},
            "grants":{"client_credentials":{"params":{"audience":"1","b":"2"},"scope":"x"}},
            "steps":[{"token_endpoint":"https://b/","params":{"audience":"1","b":"2"}}]}"#,
    );
    let other = parse(
        r#"{"steps":[{"params":{"b":"2","audience":"1"},"token_endpoint":"https://b/"}],"grants":{"client_credentials":{"scope":"x","params":{"b":"2","audience":"1"}}},
            "params":{"b":"2","audience":"1"},"client_secret":"s","client_id":"c","token_endpoint":"https://a/"}"#,
    );
    assert_eq!((one.public_sha256, one.full_sha256), (other.public_sha256, other.full_sha256));
}

#[test]
fn debug_shows_no_secret() {
    let definition = parse(&json!({
        "refresh_token": SECRET, "access_token": SECRET, "headers": {"x-key": SECRET}
    }));
    assert!(!format!("{definition:?}").contains(SECRET));
}

fn catalog(secrets: &[(&str, String)]) -> Catalog {
    Catalog::new(
        secrets
            .iter()
            .map(|(name, text)| Secret { name: (*name).to_owned(), content: Ok(SecretString::from(text.clone())) })
            .collect(),
        PlainHttp::Refused,
    )
}

/// Each name with `ok`, or the message of its fault.
fn entries(catalog: &Catalog) -> Vec<(&str, &str)> {
    catalog
        .iter()
        .map(|(name, entry)| (name, entry.as_ref().map_or_else(|error| error.message.as_str(), |_| "ok")))
        .collect()
}

#[test]
fn a_secret_holds_one_definition_or_several() {
    let packed = json!({"sources": {"b": minimal(), "c": minimal()}}).to_string();
    let catalog = catalog(&[("a", minimal().to_string()), ("Team/Packed", packed)]);
    assert_eq!(entries(&catalog), [("a", "ok"), ("b", "ok"), ("c", "ok")]);
}

#[test]
fn a_bad_definition_fails_alone() {
    let packed = json!({"sources": {"bad": {"client_id": 5}, "Bad Name": minimal(), "": minimal(), "good": minimal()}})
        .to_string();
    let catalog = catalog(&[("pack", packed), ("broken", "{".to_owned())]);
    let entries = entries(&catalog);
    assert_eq!(
        entries.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["(no name)", "Bad Name", "bad", "broken", "good"]
    );
    assert_eq!(entries[4].1, "ok");
    assert!(entries[0].1.starts_with("a source's name must be"), "{}", entries[0].1);
}

#[test]
fn a_name_defined_twice_is_a_fault_wherever_it_stands() {
    let twice = format!(r#"{{"sources": {{"a": {0}, "a": {0}, "b": {0}}}}}"#, minimal());
    let catalog = catalog(&[("pack", twice), ("b", minimal().to_string())]);
    assert_eq!(
        entries(&catalog),
        [("a", "defined twice in the secret `pack`"), ("b", "defined twice: in the secrets `pack` and `b`")]
    );
}

#[test]
fn what_stands_beside_packed_sources_is_a_fault_of_the_secret_alone() {
    let packed = json!({"sources": {"a": minimal()}, "client_id": "c"}).to_string();
    assert_eq!(
        entries(&catalog(&[("pack", packed)])),
        [("a", "ok"), ("pack", "`client_id` can't stand beside `sources`")]
    );
    let no_object = catalog(&[("pack", r#"{"sources": ["a"]}"#.to_owned())]);
    assert_eq!(entries(&no_object), [("pack", "`sources` must be an object of names and definitions")]);
}

#[test]
fn packed_sources_given_twice_are_a_fault_of_the_secret_and_no_source_vanishes() {
    let twice = format!(r#"{{"sources": {{"a": {0}}}, "sources": {{"b": {0}, "a": {0}}}, "x": 1}}"#, minimal());
    assert_eq!(
        entries(&catalog(&[("pack", twice)])),
        [
            ("a", "defined twice in the secret `pack`"),
            ("b", "ok"),
            ("pack", "`sources` is given twice; `x` can't stand beside `sources`"),
        ]
    );
    let nested = json!({"sources": {"a": minimal(), "b": {}}}).to_string();
    let nested = nested.replace("{}", &minimal().to_string().replacen('{', r#"{"params": {"p": "1", "p": "2"},"#, 1));
    assert_eq!(
        entries(&catalog(&[("pack", nested)])),
        [("a", "ok"), ("b", "`params.p` is given twice")],
        "one source's trouble is its own"
    );
}

#[test]
fn a_disabled_source_is_known_but_left_out() {
    let catalog = catalog(&[("a", with(&json!({"enabled": false})))]);
    assert!(entries(&catalog).is_empty());
    assert!(catalog.is_disabled("a"));
}
