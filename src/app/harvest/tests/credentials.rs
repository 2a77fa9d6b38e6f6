//! Access tokens that refresh themselves, exchanges in steps, and lost answers of providers that allow a repeat.

use super::*;

/// A short-lived token is exchanged at `/exchange`, long-lived ones are refreshed at `/refresh`, once a day old.
fn self_refreshing() -> Value {
    json!({
        "provider": "custom", "client_id": "c", "token_endpoint_auth_method": "none", "access_token": "short",
        "grant_type": "exchange",
        "grants": {
            "exchange": {
                "token_endpoint": "https://as.example.com/exchange", "credential": "access_token", "then": "refresh",
            },
            "refresh": {
                "token_endpoint": "https://as.example.com/refresh", "credential": "access_token",
                "refresh": {"rotates": false, "minimum_age": "24h"},
                "errors": [{"path": "/error", "equals": "too_young", "class": "too_early"}],
            },
        },
    })
}

/// An answer with a token that lives for some days.
fn long_lived(access_token: &str, days: i64) -> Answer {
    answer(200, &json!({"access_token": access_token, "expires_in": days * 86_400}).to_string())
}

impl Bench {
    /// A world with one source, `a`.
    pub(super) fn with_source(definition: &Value) -> Self {
        let bench = Self::new(&[]);
        bench.secrets.stored.borrow_mut().insert("a".to_owned(), definition.to_string());
        bench
    }

    fn published_token(&self) -> Option<String> {
        let stored = self.tokens.stored.borrow();
        let document: Value = serde_json::from_str(&stored.get("a")?.1).expect("JSON");
        document["access_token"].as_str().map(str::to_owned)
    }

    async fn harvest_forced(&self) -> SourceReport {
        self.harvest(&forced()).await.sources.remove(0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_lived_token_is_exchanged_once_and_the_long_lived_one_refreshed_when_it_is_old_enough() {
    let bench = Bench::with_source(&self_refreshing());
    bench.answers("exchange", vec![long_lived("long-1", 60)]);
    bench.answers("refresh", vec![long_lived("long-2", 60)]);

    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
    assert_eq!(bench.published_token().as_deref(), Some("long-1"));
    assert_eq!(bench.asked_at().len(), 1);

    tokio::time::advance(Duration::from_secs(23 * 3_600)).await;
    let young = bench.harvest_forced().await;
    assert_eq!((young.outcome, young.attempts, young.error), (Outcome::Fresh, 0, None));
    assert!(bench.asked_at().is_empty() && !bench.state.is_leased());

    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(bench.harvest_forced().await.outcome, Outcome::Refreshed);
    assert_eq!(bench.published_token().as_deref(), Some("long-2"));
    assert_eq!(bench.state.refresh_token().as_deref(), Some("long-2"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_saved_but_not_published_is_published_from_grant_state() {
    let bench = Bench::with_source(&self_refreshing());
    bench.answers("exchange", vec![long_lived("long-1", 60)]);
    bench.harvest_one().await;
    bench.tokens.stored.borrow_mut().clear();
    bench.asked_at();

    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.attempts, report.generation), (Outcome::Refreshed, 0, Some(1)));
    assert_eq!(report.expires_at, Some(start() + TimeDelta::days(60)));
    assert_eq!(bench.published_token().as_deref(), Some("long-1"));
}

#[tokio::test(start_paused = true)]
async fn only_a_person_can_bring_back_a_token_that_has_expired() {
    let bench = Bench::with_source(&self_refreshing());
    bench.answers("exchange", vec![long_lived("long-1", 2)]);
    bench.harvest_one().await;
    bench.asked_at();

    tokio::time::advance(Duration::from_secs(2 * 86_400)).await;
    for report in [bench.harvest_one().await, bench.harvest_forced().await] {
        assert_eq!((report.outcome, code(&report)), (Outcome::Failed, Some("reauthorization_required")));
        assert_eq!(
            report.error.expect("an error").message,
            "the access token has expired: somebody has to authorize again"
        );
    }
    assert!(bench.asked_at().is_empty());
    let mails: Vec<_> = bench.outbox.messages.take().into_iter().map(|message| message.text).collect();
    let advice = "authorize again at the provider and put the new access_token into the definition.";
    assert!(mails.iter().any(|mail| mail.contains(advice)), "{mails:#?}");

    let anew = and(self_refreshing(), "access_token", "short-2");
    bench.secrets.stored.borrow_mut().insert("a".to_owned(), anew.to_string());
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
}

/// A definition with one more field.
fn and(mut definition: Value, field: &str, value: impl Into<Value>) -> Value {
    definition[field] = value.into();
    definition
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_too_early_leaves_all_as_it_is() {
    let bench = Bench::with_source(&and(self_refreshing(), "grant_type", "refresh"));
    bench.answers("refresh", vec![answer(400, r#"{"error": "too_young"}"#)]);

    let first = bench.harvest_one().await;
    assert_eq!((first.outcome, first.expires_at, first.error), (Outcome::Refreshed, None, None));
    assert_eq!(bench.published_token().as_deref(), Some("short"), "jobs go on with the token that was brought");

    let second = bench.harvest_forced().await;
    assert_eq!((second.outcome, second.attempts, second.error), (Outcome::Fresh, 1, None));
    assert!(bench.state.incidents.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_long_lived_token_that_can_not_be_saved_is_told_and_published() {
    let bench = Bench::with_source(&self_refreshing());
    bench.answers("exchange", vec![long_lived("long-1", 60)]);
    bench.state.refusals.set(usize::MAX);

    let report = bench.harvest_one().await;

    assert_eq!(code(&report), Some("grant_store_failed"));
    let message = report.error.expect("an error").message;
    assert!(message.starts_with("the new token is stored, but the access token that came with"), "{message}");
    assert_eq!(bench.published_token().as_deref(), Some("long-1"));
}

fn with_a_step() -> Value {
    json!({
        "provider": "custom", "token_endpoint": "https://as.example.com/a", "client_id": "c", "client_secret": "hush",
        "refresh_token": "r1",
        "steps": [{
            "token_endpoint": "https://as.example.com/step", "request": {"credential_parameter": "subject_token"},
        }],
    })
}

#[tokio::test(start_paused = true)]
async fn a_step_begins_once_the_grant_is_saved_and_its_token_is_published() {
    let bench = Bench::with_source(&with_a_step());
    bench.rotates("a", &Rc::default());
    let state = Rc::clone(&bench.state);
    let script = move |request: &Request| {
        assert_eq!(state.refresh_token().as_deref(), Some("r2"), "saved before the step");
        assert_eq!(request.body.as_ref().map(SecretString::expose_secret), Some("subject_token=t2"));
        Ok(answer(200, r#"{"access_token": "exchanged", "expires_in": 900, "refresh_token": "not-ours"}"#))
    };
    bench.server.scripts.borrow_mut().insert("step".to_owned(), Box::new(script));

    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.attempts), (Outcome::Refreshed, 2));
    assert_eq!(report.expires_at, Some(start() + TimeDelta::minutes(15)));
    assert_eq!(bench.published_token().as_deref(), Some("exchanged"));
    assert_eq!(bench.state.refresh_token().as_deref(), Some("r2"));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_publishes_nothing_and_loses_nothing() {
    let bench = Bench::with_source(&with_a_step());
    bench.rotates("a", &Rc::default());
    bench.answers("step", vec![answer(400, r#"{"error": "invalid_request"}"#), token("exchanged")]);

    let report = bench.harvest_one().await;
    assert_eq!(code(&report), Some("invalid_request"));
    let message = report.error.expect("an error").message;
    assert_eq!(message, "step 1: the authorization server calls the request malformed (HTTP 400)");
    assert_eq!((bench.published_token(), bench.state.refresh_token().as_deref()), (None, Some("r2")));

    assert_eq!(bench.harvest_forced().await.outcome, Outcome::Refreshed);
    assert_eq!(bench.published_token().as_deref(), Some("exchanged"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_only_where_the_provider_allows_it() {
    for (refresh, attempts) in [
        (json!({}), 1),
        (json!({"rotates": true}), 1),
        (json!({"rotates": false}), 2),
        (json!({"repeat_within": "10m"}), 2),
        (json!({"rotates": true, "repeat_within": "10m"}), 2),
    ] {
        let definition = json!({
            "token_endpoint": "https://as.example.com/a", "client_id": "c", "client_secret": "hush", "refresh_token": "r1",
            "refresh": refresh,
        });
        let bench = Bench::with_source(&definition);
        bench.answers("a", vec![answer(502, ""), token("t1")]);
        assert_eq!(bench.harvest_one().await.attempts, attempts, "{refresh}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_comes_no_later_than_the_provider_tolerates() {
    let definition = json!({
        "token_endpoint": "https://as.example.com/a", "client_id": "c", "client_secret": "hush", "refresh_token": "r1",
        "refresh": {"repeat_within": "5s"},
    });
    let bench = Bench::with_source(&definition);
    bench.server.latency.set(Duration::from_secs(6));
    bench.answers("a", vec![answer(502, ""), token("t1")]);
    assert_eq!(bench.harvest_one().await.attempts, 1);
}
