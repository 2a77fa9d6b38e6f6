//! The pages of the gateway, and the headers of every answer.
//!
//! HTML without script, for phones and screen readers, light and dark, with nothing from elsewhere. What `html!` is given is
//! escaped; what comes from outside goes through [`shown`] besides, so that it is printable and short.

mod words;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};
use url::Url;

use crate::domain::redact;

/// The most that is shown of a text from outside, in characters.
const LONGEST_SHOWN: usize = 200;

/// What every page looks like. Part of each page, so that a page is one request.
const STYLE: &str = include_str!("pages/style.css");

/// What the policy allows of styles: this one (CSP Level 3 section 2.3.1).
static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(hash))
});

/// The policy of what is no page.
const NOTHING_ALLOWED: &str = "default-src 'none'; frame-ancestors 'none'";

/// An answer to a browser, or to a program.
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case, each once.
    pub headers: Vec<(&'static str, String)>,
    /// HTML, JSON or nothing.
    pub body: String,
}

/// What the page says on which a person decides to go on.
pub struct Ask<'a> {
    /// Who asks: the definition's owner, say.
    pub application: &'a str,
    /// The provider's title.
    pub provider: &'a str,
    /// Where the person will be sent.
    pub authorization_endpoint: &'a Url,
    /// The connection's source.
    pub source: &'a str,
    /// The account's label, where the source has many.
    pub account: Option<&'a str>,
    /// What is asked for, in the provider's words. Empty: the provider decides.
    pub scopes: &'a [String],
    /// Only the account that is connected will do.
    pub reconnect: bool,
    /// When the link ends.
    pub expires_at: DateTime<Utc>,
    /// The time now.
    pub now: DateTime<Utc>,
}

/// Asks whether to go on to the provider. To fetch it changes nothing; its button posts to the page's own address.
pub fn ask(ask: &Ask<'_>) -> Answer {
    let (application, provider) = (shown(ask.application), shown(ask.provider));
    let host = host(ask.authorization_endpoint);
    let content = html! {
        (mark(LINK))
        h1 { "Connect your " (provider) " account?" }
        p { strong { bdi { (application) } } " asks for access to your account at " strong { (provider) } "." }
        @if ask.reconnect {
            p { "An account is connected already. Sign in with the same one: no other is accepted." }
        }
        dl {
            div { dt { "You sign in at" } dd { (host) } }
            div { dt { "Connection" } dd { bdi { (shown(ask.source)) } } }
            @if let Some(account) = ask.account {
                div { dt { "Account" } dd { bdi { (shown(account)) } } }
            }
            div {
                dt { "Rights asked for" }
                dd {
                    @if ask.scopes.is_empty() { "Those that " (provider) " shows you" } @else {
                        ul { @for scope in ask.scopes { li { (broken(&shown(scope))) } } }
                    }
                }
            }
            div { dt { "Link works until" } dd { (until(ask.expires_at, ask.now)) } }
        }
        p.warning {
            strong { "Go on only if you asked for this." }
            " Whoever sent you this link will be able to use your account with these rights."
        }
        form method="post" { button.button type="submit" { "Continue to " (provider) } }
        p.quiet { "You can still say no at " (provider) ". If you did not ask for this, close this window." }
    };
    page(200, &format!("Connect your {provider} account?"), "", &content, &html! {}, Some(ask.authorization_endpoint))
}

/// Sends the browser on to the provider, without a redirect: a `form-action` of the page with the form holds for all
/// redirects that follow its submission, in Chromium at least, and nobody knows the hosts to which a provider redirects.
///
/// A provider's address is refused (the page has no link then) unless it is `https`, or `http` for tests on loopback.
pub fn going(provider: &str, authorization_request: &Url) -> Answer {
    let provider = shown(provider);
    let content = html! {
        (mark(LINK))
        h1 { "On the way to " (provider) }
        p { "Your browser goes on by itself. If nothing happens:" }
        @if let Some(link) = link(authorization_request) { p { a.button href=(link) { "Continue to " (provider) } } }
    };
    let mut answer = page(200, &format!("On the way to {provider}"), "", &content, &html! {}, None);
    if let Some(link) = link(authorization_request) {
        answer.headers.push(("refresh", format!("0; url={link}")));
    }
    answer
}

/// Says that an account is connected.
pub fn connected(provider: &str, identity: Option<&str>) -> Answer {
    let provider = shown(provider);
    let content = html! {
        (mark(CHECK))
        h1 { (provider) " is connected" }
        p {
            @match identity {
                Some(name) => { "The account is " strong { bdi { (shown(name)) } } ", at " (provider) "." },
                None => { "An account at " (provider) " is connected now." },
            }
        }
        p { "You can close this window." }
    };
    page(200, &format!("{provider} is connected"), "good", &content, &html! {}, None)
}

/// Says that access was given and the application has still to confirm.
pub fn unconfirmed(provider: &str, application: &str) -> Answer {
    let provider = shown(provider);
    let content = html! {
        (mark(CLOCK))
        h1 { "One step is left" }
        p { "You gave access at " (provider) ". Now the application has to confirm that it was you who asked for it:" }
        p { strong { bdi { (shown(application)) } } }
        p { "Go back to the application and finish there. If it does not confirm within a few minutes, nothing is saved." }
        p { a href="" { "Look again" } }
    };
    page(200, "One step is left", "", &content, &html! {}, None)
}

/// Says that another request still works on the same thing.
pub fn at_work(provider: &str) -> Answer {
    let content = html! {
        (mark(CLOCK))
        h1 { "Still at work" }
        p { "You gave access at " (shown(provider)) ", and the connection is being made. This takes a few seconds." }
        // No page loads itself anew: that would take away the place of whoever reads with a screen reader.
        p { a.button href="" { "Look again" } }
    };
    page(200, "Still at work", "", &content, &html! {}, None)
}

/// What the page of an error says, besides its words.
#[derive(Default)]
pub struct Failure<'a> {
    /// The contract's code, or the provider's own.
    pub code: &'a str,
    /// The provider's title, where it is known.
    pub provider: Option<&'a str>,
    /// What the provider said about it, secrets masked.
    pub provider_error: Option<&'a str>,
    /// What this provider wants to have set, say, so that the next attempt succeeds.
    pub advice: Option<&'a str>,
    /// Scopes that were needed and not given.
    pub missing_scopes: &'a [String],
    /// The session's id, for support.
    pub session: Option<&'a str>,
    /// The session's link, as long as it works.
    pub restart: Option<&'a Url>,
}

/// Says what happened, that nothing was changed, and what to do now.
pub fn failure(failure: &Failure<'_>) -> Answer {
    let words = words::of(failure.code);
    let name = failure.provider.map(shown);
    let said = |text: &str| {
        let (name, at_beginning) = name.as_deref().map_or(("the provider", "The provider"), |name| (name, name));
        text.replace("{provider}", name).replace("{Provider}", at_beginning)
    };
    let heading = said(words.heading);
    let content = html! {
        (mark(BANG))
        h1 { (heading) }
        p { (said(words.happened)) }
        @if !failure.missing_scopes.is_empty() {
            p { "What is missing:" }
            ul { @for scope in failure.missing_scopes { li { (broken(&shown(scope))) } } }
        }
        @if let Some(error) = failure.provider_error {
            p { (said("{Provider} says:")) }
            blockquote { p { bdi { (shown(error)) } } }
        }
        p { (words.outcome.text()) }
        h2 { "What to do now" }
        p { (said(words.now)) }
        @if let Some(advice) = failure.advice { p { (shown(advice)) } }
        @match failure.restart.and_then(link) {
            Some(link) => { p { a.button href=(link) { "Start again" } } },
            None if words.say_where_to_begin() => {},
            None => { p { (words::WITHOUT_BUTTON) } },
        }
    };
    let support = html! {
        footer {
            p { "Code: " code { (shown(failure.code)) } }
            @if let Some(session) = failure.session { p { "Session: " code { (shown(session)) } } }
        }
    };
    page(words.status, &heading, "bad", &content, &support, None)
}

/// Says that there is no such page.
pub fn not_found() -> Answer {
    let text =
        "The address may have been copied in part. If a link was sent to you, open it from the message, in full.";
    stray(404, "There is no page here", text)
}

/// Says that the address is right and what was sent to it is not. `allow`: the methods that are, such as `GET, POST`.
pub fn method_not_allowed(allow: &str) -> Answer {
    let text = "Your browser sent something else than this page takes. If a link was sent to you, open it once more.";
    let mut answer = stray(405, "That can't be done here", text);
    answer.headers.push(("allow", allow.to_owned()));
    answer
}

fn stray(status: u16, heading: &str, text: &str) -> Answer {
    page(status, heading, "bad", &html! { (mark(BANG)) h1 { (heading) } p { (text) } }, &html! {}, None)
}

/// Errors of the gateway's interface for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiError {
    /// The request does not say what it must, or not as it must.
    RequestInvalid,
    /// Nobody is known to have sent it.
    IdentityRequired,
    /// There is no such thing, or it belongs to somebody else.
    NotFound,
    /// The session is over.
    SessionEnded,
    /// The source can't be connected.
    SourceNotConnectable,
    /// The principal has too many sessions that live.
    TooManySessions,
    /// The provider failed.
    ProviderFailed,
    /// A store can't be read or written.
    StoreUnavailable,
}

impl ApiError {
    /// The stable code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestInvalid => "request_invalid",
            Self::IdentityRequired => "identity_required",
            Self::NotFound => "not_found",
            Self::SessionEnded => "session_ended",
            Self::SourceNotConnectable => "source_not_connectable",
            Self::TooManySessions => "too_many_sessions",
            Self::ProviderFailed => "provider_failed",
            Self::StoreUnavailable => "store_unavailable",
        }
    }

    /// The answer's status.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestInvalid => 400,
            Self::IdentityRequired => 401,
            Self::NotFound => 404,
            Self::SessionEnded => 409,
            Self::SourceNotConnectable => 422,
            Self::TooManySessions => 429,
            Self::ProviderFailed => 502,
            Self::StoreUnavailable => 503,
        }
    }
}

/// An answer to a program.
pub fn json(status: u16, body: &Value) -> Answer {
    Answer { status, headers: headers(Some("application/json"), NOTHING_ALLOWED.to_owned()), body: body.to_string() }
}

/// An error, to a program.
pub fn json_error(error: ApiError, message: &str) -> Answer {
    json(error.status(), &json!({"error": {"code": error.as_str(), "message": message}}))
}

/// Sends a browser elsewhere, which then fetches it with GET.
pub fn see_other(location: &Url) -> Answer {
    let mut answer = empty(303);
    answer.headers.push(("location", location.to_string()));
    answer
}

/// An answer that says nothing, such as 204 to a browser that only fetches ahead.
pub fn empty(status: u16) -> Answer {
    Answer { status, headers: headers(None, NOTHING_ALLOWED.to_owned()), body: String::new() }
}

/// A whole page. `form_to`: where its form may lead besides its own origin; without one there is no form.
fn page(status: u16, title: &str, kind: &str, content: &Markup, footer: &Markup, form_to: Option<&Url>) -> Answer {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body class=[(!kind.is_empty()).then_some(kind)] { main { (content) } (footer) }
        }
    };
    let form_action =
        form_to.map_or("'none'".to_owned(), |url| format!("'self' {}", url.origin().ascii_serialization()));
    let policy = format!(
        "default-src 'none'; style-src {}; form-action {form_action}; frame-ancestors 'none'; base-uri 'none'",
        *STYLE_SOURCE
    );
    Answer { status, headers: headers(Some("text/html; charset=utf-8"), policy), body: document.into_string() }
}

fn headers(content_type: Option<&str>, policy: String) -> Vec<(&'static str, String)> {
    let fixed = [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // Under `no-referrer` browsers send `Origin: null` with the form.
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("strict-transport-security", "max-age=31536000"),
    ];
    let typed = content_type.map(|content_type| ("content-type", content_type));
    let headers = typed.into_iter().chain(fixed).map(|(name, value)| (name, value.to_owned()));
    headers.chain([("content-security-policy", policy)]).collect()
}

/// A text from outside, as it can be shown.
fn shown(text: &str) -> String {
    let whole = redact::printable(text, usize::MAX);
    let Some((end, _)) = whole.char_indices().nth(LONGEST_SHOWN) else { return whole };
    let last = whole[..end].char_indices().next_back().map_or(0, |(last, _)| last);
    format!("{}\u{2026}", &whole[..last])
}

/// A word that may be as long as a URL, and where it may go on in another line.
fn broken(word: &str) -> Markup {
    html! { code { @for part in word.split_inclusive(['/', ':']) { (part) wbr; } } }
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An address as a link, which runs nothing.
fn link(url: &Url) -> Option<&str> {
    matches!(url.scheme(), "https" | "http").then_some(url.as_str())
}

/// A time in the future. In UTC, since no page knows where it is read, and therefore also how long that is from now.
fn until(time: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    let minutes = (time - now).max(TimeDelta::zero()).num_minutes();
    html! {
        time datetime=(crate::domain::time::rfc3339(time)) { (time.format("%-d %B %Y, %H:%M UTC").to_string()) }
        @match minutes {
            0 => " (in less than a minute)",
            1 => " (in\u{a0}a\u{a0}minute)",
            _ => { " (in\u{a0}" (minutes) "\u{a0}minutes)" },
        }
    }
}

const LINK: &str =
    "M10 13a5 5 0 0 0 7.5.5l3-3a5 5 0 0 0-7-7l-1.7 1.7M14 11a5 5 0 0 0-7.5-.5l-3 3a5 5 0 0 0 7 7l1.7-1.7";
const CHECK: &str = "M5 12.5l4.5 4.5L19 7.5";
const CLOCK: &str = "M12 7v5l3.5 2M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18";
const BANG: &str = "M12 6v7.5M12 17.5v.01";

/// A small drawing, which says nothing that the heading does not say.
fn mark(path: &str) -> Markup {
    html! { svg.mark viewBox="0 0 24 24" aria-hidden="true" { path d=(path) {} } }
}

#[cfg(test)]
mod tests;
