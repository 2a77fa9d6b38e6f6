use std::collections::HashSet;

use chrono::TimeZone as _;

use super::*;
use crate::domain::error::ErrorCode;

/// Of the contract, besides the harvest's own and what the provider says.
const CODES: [&str; 16] = [
    "access_denied",
    "state_unknown",
    "state_expired",
    "state_used",
    "browser_mismatch",
    "issuer_mismatch",
    "callback_malformed",
    "definition_changed",
    "refresh_token_missing",
    "scope_missing",
    "identity_mismatch",
    "identity_unavailable",
    "confirmation_failed",
    "link_unknown",
    "link_ended",
    "origin_mismatch",
];

fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

fn minutes(count: i64) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 24, 21, 5, 0).single().expect("a time") + TimeDelta::minutes(count)
}

/// Every page, with one text in each place that takes one from outside.
fn every_page(text: &str) -> Vec<(String, Answer)> {
    let endpoint = url("https://login.salesforce.example/services/oauth2/authorize?state=a&x=1");
    let link = url("https://connect.acme.example/connect/c3VwZXItc2VjcmV0");
    let scopes = [text.to_owned(), "refresh_token".to_owned()];
    let asked = |account, scopes, reconnect| {
        let (expires_at, now) = (minutes(28), minutes(0));
        let (application, provider, source) = (text, text, text);
        let authorization_endpoint = &endpoint;
        ask(&Ask { application, provider, authorization_endpoint, source, account, scopes, reconnect, expires_at, now })
    };
    let mut pages = vec![
        ("ask".to_owned(), asked(Some(text), &scopes, false)),
        ("ask-plain".to_owned(), asked(None, &[], true)),
        ("going".to_owned(), going(text, &endpoint)),
        ("connected".to_owned(), connected(text, Some(text))),
        ("connected-unverified".to_owned(), connected(text, None)),
        ("unconfirmed".to_owned(), unconfirmed(text, text)),
        ("at-work".to_owned(), at_work(text)),
        ("not-found".to_owned(), not_found()),
        ("method-not-allowed".to_owned(), method_not_allowed("GET, POST")),
        (
            "error-of-the-provider".to_owned(),
            failure(&Failure {
                code: text,
                provider: Some(text),
                provider_error: Some(text),
                advice: Some(text),
                missing_scopes: &scopes,
                session: Some(text),
                restart: Some(&link),
            }),
        ),
    ];
    for words in words::ALL {
        let seen = Failure { code: words.code, provider: Some(text), session: Some(text), ..Failure::default() };
        pages.push((format!("error-{}", words.code), failure(&Failure { restart: Some(&link), ..seen })));
    }
    pages.push(("error-without-more".to_owned(), failure(&Failure { code: "state_unknown", ..Failure::default() })));
    pages
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
}

/// The page with what a browser shows of it, without marks.
fn text(answer: &Answer) -> String {
    let body = answer.body.split_once("<body").expect("a body").1;
    let mut shown = String::new();
    for part in body.split('<').skip(1) {
        shown.push_str(part.split_once('>').expect("the end of a tag").1);
        shown.push(' ');
    }
    shown.split([' ', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn no_text_from_outside_becomes_markup() {
    let plain = every_page("salesforce");
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'><svg/onload=alert(1)>",
        "</title><script>alert(1)</script>",
        "</style><style>*{display:none}</style>",
        "--><!--",
        "{provider}</h1>{Provider}<b>",
        "&lt;script&gt;<!DOCTYPE html>",
        "javascript:alert(1)//\" autofocus onfocus=\"alert(1)",
    ] {
        for ((name, answer), (_, plain)) in every_page(hostile).iter().zip(&plain) {
            assert_eq!(skeleton(&answer.body), skeleton(&plain.body), "{name} with {hostile}");
            for (header, value) in &answer.headers {
                assert!(!value.contains("alert") && !value.contains('<'), "{name}, {header}: {value}");
            }
        }
    }
}

/// All tags with all their attributes, without those that only say where a word may be broken.
fn skeleton(html: &str) -> Vec<&str> {
    let tags = html.split('<').skip(1).map(|tag| tag.split_once('>').expect("the end of a tag").0);
    tags.filter(|tag| *tag != "wbr").collect()
}

#[test]
fn a_text_from_outside_is_printable_and_short() {
    let long = format!("a\u{202e}b\r\n{}", "\u{e4}".repeat(300));
    let expected = format!("a b  {}\u{2026}", "\u{e4}".repeat(LONGEST_SHOWN - 6));
    assert_eq!(expected.chars().count(), LONGEST_SHOWN);
    for (name, answer) in every_page(&long) {
        let shown = text(&answer);
        assert!(!answer.body.contains('\u{202e}') && !shown.contains(&"\u{e4}".repeat(LONGEST_SHOWN)), "{name}");
    }
    assert_eq!(shown(&long), expected);
    assert_eq!(shown(&"x".repeat(LONGEST_SHOWN)), "x".repeat(LONGEST_SHOWN));
}

#[test]
fn the_page_that_asks_says_who_asks_for_what_and_where() {
    let scopes = ["api".to_owned(), "refresh_token".to_owned()];
    let endpoint = url("https://login.salesforce.com:8443/services/oauth2/authorize");
    let answer = ask(&Ask {
        application: "Data platform <data@acme.example>",
        provider: "Salesforce",
        authorization_endpoint: &endpoint,
        source: "acme-crm",
        account: Some("berlin-7"),
        scopes: &scopes,
        reconnect: false,
        expires_at: minutes(28),
        now: minutes(0),
    });
    let shown = text(&answer);
    for part in [
        "Connect your Salesforce account?",
        "Data platform &lt;data@acme.example&gt;",
        "login.salesforce.com:8443",
        "acme-crm",
        "berlin-7",
        "api",
        "refresh_token",
        "24 November 2026, 21:33 UTC (in\u{a0}28\u{a0}minutes)",
        "Go on only if you asked for this. Whoever sent you this link will be able to use your account with these rights.",
        "Continue to Salesforce",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(answer.body.contains("<form method=\"post\"><button"), "it posts to its own address");
    assert!(!shown.contains("An account is connected already"), "{shown}");
    let policy = header(&answer, "content-security-policy").expect("a policy");
    assert!(policy.contains("; form-action 'self' https://login.salesforce.com:8443;"), "{policy}");
}

#[test]
fn the_time_that_is_left_is_told_in_words() {
    let left = |seconds| {
        text(&Answer {
            status: 200,
            headers: vec![],
            body: format!("<body>{}", until(minutes(0) + TimeDelta::seconds(seconds), minutes(0)).into_string()),
        })
    };
    assert!(left(-5).ends_with("(in less than a minute)"));
    assert!(left(59).ends_with("(in less than a minute)"));
    assert!(left(60).ends_with("(in\u{a0}a\u{a0}minute)"));
    assert!(left(120).ends_with("(in\u{a0}2\u{a0}minutes)"));
}

#[test]
fn every_page_is_whole_and_readable() {
    for (name, Answer { body, status, .. }) in every_page("Salesforce") {
        let count = |part: &str| body.matches(part).count();
        assert!(body.starts_with("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"), "{name}");
        for once in ["<title>", "<h1>", "<main>", "<style>", "name=\"viewport\""] {
            assert_eq!(count(once), 1, "{once} in {name}");
        }
        for never in ["<script", " style=", " on", "<img", "<link", "<iframe", "src=", "@import", "url("] {
            assert!(!tags(&body).contains(never), "{never} in {name}");
        }
        let heading = between(&body, "<h1>", "</h1>");
        assert_eq!(between(&body, "<title>", "</title>"), heading, "{name}");
        assert!(!heading.ends_with('.') && !body.contains("{provider}") && !body.contains("{Provider}"), "{name}");
        assert_eq!(name.starts_with("error") || name.starts_with("not") || name.starts_with("method"), status >= 400);
        assert!(status < 500, "{name}");
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).expect("both").0
}

/// The tags, and the stylesheet.
fn tags(body: &str) -> String {
    skeleton(body).join("\n") + STYLE
}

#[test]
fn every_answer_has_the_headers_that_protect_it() {
    for (name, answer) in every_page("Salesforce") {
        let style = between(&answer.body, "<style>", "</style>");
        let hash = STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes()));
        let form_action = if name.starts_with("ask") { "'self' https://login.salesforce.example" } else { "'none'" };
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action {form_action}; frame-ancestors 'none'; base-uri 'none'"
        );
        for (header_name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", &policy),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(header(&answer, header_name), Some(value), "{header_name} of {name}");
        }
        assert_eq!(answer.body.contains("<form"), name.starts_with("ask"), "{name}");
        assert_eq!(header(&answer, "refresh").is_some(), name == "going", "{name}");
        let names: HashSet<_> = answer.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), answer.headers.len(), "{name}");
    }
    assert_eq!(header(&method_not_allowed("GET, POST"), "allow"), Some("GET, POST"));
}

#[test]
fn the_way_to_the_provider_is_a_link_and_a_refresh_at_once() {
    let endpoint = url("https://login.example/authorize?state=a&scope=b c;d\"e");
    let answer = going("Example", &endpoint);
    assert_eq!(header(&answer, "refresh"), Some("0; url=https://login.example/authorize?state=a&scope=b%20c;d%22e"));
    assert!(answer.body.contains("href=\"https://login.example/authorize?state=a&amp;scope=b%20c;d%22e\""));
    for unsafe_url in ["javascript:alert(1)", "data:text/html,x"] {
        let answer = going("Example", &url(unsafe_url));
        assert!(header(&answer, "refresh").is_none() && !answer.body.contains("href"), "{unsafe_url}");
    }
}

#[test]
fn an_account_is_named_where_it_is_known() {
    assert!(text(&connected("Salesforce", Some("Ada"))).contains("The account is Ada , at Salesforce."));
    assert!(text(&connected("Salesforce", None)).contains("An account at Salesforce is connected now."));
}

#[test]
fn every_code_has_words_of_its_own() {
    let known: HashSet<_> = words::ALL.iter().map(|words| words.code).collect();
    assert_eq!(known.len(), words::ALL.len(), "each code stands once");
    for code in CODES {
        assert!(known.contains(code), "{code}");
    }
    let schema: Value = serde_json::from_str(include_str!("../../../schemas/token-message.schema.json")).expect("JSON");
    let harvest = &schema["oneOf"][1]["properties"]["error"]["properties"]["code"]["enum"];
    for code in harvest.as_array().expect("a list") {
        let code: ErrorCode = serde_json::from_value(code.clone()).expect("a code");
        // Nobody comes to a page with what nobody has connected.
        assert!(code == ErrorCode::NotConnected || known.contains(code.as_str()), "{}", code.as_str());
    }
}

#[test]
fn words_are_sentences_and_say_what_became_of_the_connection() {
    for words in words::ALL.iter().chain([words::of("a_code_of_its_own")]) {
        for sentence in [words.happened, words.outcome.text(), words.now] {
            assert!(sentence.ends_with('.') && !sentence.contains("  "), "{}: {sentence}", words.code);
        }
        let shown = text(&failure(&Failure { code: words.code, ..Failure::default() }));
        assert!(
            shown.contains("nothing was changed")
                || shown.contains("Nothing was changed")
                || shown.contains("changed nothing")
                || shown.contains("It is not certain"),
            "{shown}"
        );
        assert!(!shown.contains(". the provider") && !shown.starts_with("the provider"), "{shown}");
    }
}

#[test]
fn an_error_shows_what_support_needs_and_a_way_on() {
    let link = url("https://connect.acme.example/connect/abc");
    let missing = ["offline_access".to_owned()];
    let lives = Failure {
        code: "scope_missing",
        provider: Some("Salesforce"),
        provider_error: Some("scope: declined"),
        advice: Some("Set the box \"Offline\"."),
        missing_scopes: &missing,
        session: Some("s-7f3a"),
        restart: Some(&link),
    };
    let answer = failure(&lives);
    let shown = text(&answer);
    for part in [
        "Salesforce says: scope: declined",
        "offline_access",
        "Set the box &quot;Offline&quot;.",
        "Start again",
        "Code: scope_missing",
        "Session: s-7f3a",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert!(answer.body.contains("href=\"https://connect.acme.example/connect/abc\"") && answer.status == 422);

    let ended = failure(&Failure { restart: None, ..lives });
    assert!(!ended.body.contains("href") && text(&ended).contains(words::WITHOUT_BUTTON));

    let hostile = url("javascript:alert(1)");
    assert!(
        !failure(&Failure { code: "internal", restart: Some(&hostile), ..Failure::default() }).body.contains("href")
    );
}

#[test]
fn a_provider_without_a_name_is_called_the_provider() {
    let shown = text(&failure(&Failure { code: "endpoint_timeout", ..Failure::default() }));
    assert!(shown.contains("The provider does not answer The provider did not answer in time."), "{shown}");
}

#[test]
fn a_code_of_the_providers_own_is_shown_with_general_words() {
    let answer = failure(&Failure { code: "account_locked", provider: Some("Slack"), ..Failure::default() });
    let shown = text(&answer);
    assert!(
        shown.contains("Slack refused") && shown.contains("Code: account_locked") && answer.status == 424,
        "{shown}"
    );
}

#[test]
fn no_page_of_an_error_ends_without_a_way_on() {
    for words in words::ALL {
        let shown = text(&failure(&Failure { code: words.code, ..Failure::default() }));
        let way_on = if words.say_where_to_begin() { words.now } else { words::WITHOUT_BUTTON };
        assert!(shown.contains(way_on), "{shown}");
        assert_eq!(shown.contains(words::WITHOUT_BUTTON), !words.say_where_to_begin(), "{shown}");
    }
}

#[test]
fn what_is_no_page_is_protected_too() {
    let answer = see_other(&url("https://app.acme.example/done?session=a&status=connected"));
    assert_eq!(header(&answer, "location"), Some("https://app.acme.example/done?session=a&status=connected"));
    for (answer, status) in [(answer, 303), (empty(204), 204)] {
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
        assert_eq!(header(&answer, "referrer-policy"), Some("same-origin"));
        assert_eq!(header(&answer, "content-type"), None);
        assert_eq!(header(&answer, "content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    }
}

#[test]
fn errors_for_programs_are_json() {
    for (error, status, code) in [
        (ApiError::RequestInvalid, 400, "request_invalid"),
        (ApiError::IdentityRequired, 401, "identity_required"),
        (ApiError::NotFound, 404, "not_found"),
        (ApiError::SessionEnded, 409, "session_ended"),
        (ApiError::SourceNotConnectable, 422, "source_not_connectable"),
        (ApiError::TooManySessions, 429, "too_many_sessions"),
        (ApiError::ProviderFailed, 502, "provider_failed"),
        (ApiError::StoreUnavailable, 503, "store_unavailable"),
    ] {
        let answer = json_error(error, "it \"failed\"");
        let body: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(body, json!({"error": {"code": code, "message": "it \"failed\""}}));
        assert_eq!(answer.status, status);
        assert_eq!(header(&answer, "content-type"), Some("application/json"));
        assert_eq!(header(&answer, "content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
    }
}
