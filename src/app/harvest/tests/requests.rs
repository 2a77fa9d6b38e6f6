//! Requests: repeated, waited for, given up.

use super::*;

#[tokio::test(start_paused = true)]
async fn repetitions_wait_with_exponential_jitter() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(503, "")]);
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, code(&report), report.attempts), (Outcome::Failed, Some("endpoint_unavailable"), 4));
    assert_eq!(bench.asked_at(), [0.0, 0.25, 0.75, 1.75]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_to_the_second() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![throttled("7"), throttled("Fri, 20 Nov 2026 22:00:16 GMT"), token("t1")]);
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.attempts), (Outcome::Refreshed, 3));
    assert_eq!(bench.asked_at(), [0.0, 7.0, 16.0]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_deferred_at_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![throttled("3600")]);
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, code(&report), report.attempts), (Outcome::Deferred, Some("rate_limited"), 1));
    assert_eq!(report.duration_ms, 0);
    assert!(bench.outbox.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_keep_others_waiting_is_deferred_at_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![throttled("11"), token("t1")]);
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts), (Outcome::Deferred, 1));
    minutes_pass(15).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_whose_answer_may_be_lost_is_not_repeated() {
    let bench = Bench::new(&["a"]);
    bench.define_rotating("a", "r1");
    for (status, attempts) in [(502, 1), (504, 1), (503, 4)] {
        bench.answers("a", vec![answer(status, "")]);
        assert_eq!(bench.harvest(&forced()).await.sources[0].attempts, attempts, "{status}");
    }
    bench.server.latency.set(Duration::from_secs(3_600));
    assert_eq!(bench.harvest(&forced()).await.sources[0].attempts, 1, "a timeout");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_repeated() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_scope"}"#)]);
    let report = bench.harvest_one().await;
    assert_eq!((code(&report), report.attempts), (Some("invalid_scope"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_server_holds_up_nobody_and_not_the_report() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("never")]);
    bench.server.latency.set(Duration::from_secs(3_600));
    let report = bench.harvest_one().await;

    assert_eq!((code(&report), report.outcome), (Some("endpoint_timeout"), Outcome::Failed));
    assert_eq!(report.attempts, 4);
    assert!(report.duration_ms <= 50_000, "{}", report.duration_ms);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_ends_with_the_runs_time() {
    let bench = Bench::new(&["a"]);
    bench.tokens.hangs.set(true);
    let report = bench.harvest_one().await;
    assert_eq!((code(&report), report.outcome), (Some("out_of_time"), Outcome::Deferred));
    assert_eq!(report.duration_ms, 50_000);
}

#[tokio::test(start_paused = true)]
async fn a_panic_at_one_source_leaves_the_others_alone() {
    let bench = Bench::new(&["a", "b"]);
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(|_| panic!("at one source")));
    bench.answers("b", vec![token("t1")]);
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(code(&report.sources[0]), Some("internal"));
    assert_eq!(report.sources[1].outcome, Outcome::Refreshed);
}

#[tokio::test(start_paused = true)]
async fn an_issuers_metadata_is_asked_for_once_for_all_its_sources() {
    let bench = Bench::new(&[]);
    for source in ["a", "b"] {
        let definition = json!({"issuer": "https://as.example.com", "client_id": "c", "client_secret": "s"});
        bench.secrets.stored.borrow_mut().insert(source.to_owned(), definition.to_string());
    }
    let metadata = r#"{"issuer": "https://as.example.com", "token_endpoint": "https://as.example.com/token"}"#;
    bench.answers(".well-known/oauth-authorization-server", vec![answer(404, "")]);
    bench.answers(".well-known/openid-configuration", vec![answer(200, metadata)]);
    bench.answers("token", vec![token("t1")]);
    let report = bench.harvest(&Event::default()).await;

    assert_eq!(report.refreshed, 2);
    assert_eq!(report.sources[0].attempts, 1, "metadata is no token request");
    assert_eq!(bench.asked_at().len(), 4);
}
