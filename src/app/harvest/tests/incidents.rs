//! Incidents: kept, judged, told, over.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_damaged_incident_stops_no_refresh_and_is_overwritten() {
    let damaged = || Tagged { value: None, etag: "damaged".to_owned() };
    let bench = Bench::new(&["a"]);
    bench.define_rotating("b", "r1");
    for source in ["a", "b"] {
        bench.state.incidents.borrow_mut().insert(source.to_owned(), damaged());
        bench.answers(source, vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    }
    bench.harvest(&Event::default()).await;
    for source in ["a", "b"] {
        assert_eq!(bench.state.incident(source).map(|incident| incident.consecutive_failures), Some(1), "{source}");
        bench.state.incidents.borrow_mut().insert(source.to_owned(), damaged());
        bench.answers(source, vec![token("t1")]);
    }
    assert_eq!(bench.harvest(&Event::default()).await.refreshed, 2);
    assert!(bench.state.incidents.borrow().is_empty(), "deleted");
}

#[tokio::test(start_paused = true)]
async fn a_state_bucket_that_is_read_only_mails_once_for_each_change_and_not_every_run() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    bench.state.is_read_only.set(true);
    bench.answers("a", vec![answer(503, "")]);
    minutes_pass(35).await;
    let mut told = Vec::new();
    for _ in 0..16 {
        let error = bench.try_harvest(&Event::default()).await.expect_err("incidents refused");
        assert!(matches!(error, HarvestError::IncidentsUnkept { .. }), "{error}");
        told.extend(bench.subjects());
        minutes_pass(5).await;
    }
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("CRITICAL a: endpoint_unavailable"), "{told:#?}");

    bench.answers("a", vec![token("t2")]);
    minutes_pass(6 * 60).await;
    bench.try_harvest(&Event::default()).await.expect_err("its end can't be noted");
    assert_eq!(bench.subjects(), ["[test] OK a: recovered"]);
    bench.state.is_read_only.set(false);
    bench.harvest(&Event::default()).await;
    assert!(bench.alerts().is_empty() && bench.state.incident("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_can_not_be_noted_is_told_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    bench.harvest_one().await;
    assert_eq!(bench.alerts().len(), 1);
    bench.state.is_read_only.set(true);
    bench.answers("a", vec![token("t1")]);
    let mut told = Vec::new();
    for _ in 0..4 {
        minutes_pass(20).await;
        bench.try_harvest(&Event::default()).await.expect_err("the incident can't be deleted");
        told.extend(bench.subjects());
    }
    assert_eq!(told, ["[test] OK a: recovered"]);
    bench.state.is_read_only.set(false);
    minutes_pass(1).await;
    bench.harvest(&Event::default()).await;
    assert!(bench.state.incidents.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_failures_are_told_once_however_slow_the_notes_are() {
    let names: Vec<_> = (0..380).map(|number| format!("s{number:03}")).collect();
    let bench = Bench::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        bench.answers(name, vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    }
    // One after the other they would take 17 s, more than the run has.
    bench.state.write_latency.set(Duration::from_millis(45));
    let deadline = start() + TimeDelta::seconds(12);
    bench.harvester.harvest(&Event::default(), "run", deadline).await.expect("a report");
    assert_eq!(bench.alerts().len(), 1);
    assert_eq!(bench.token_events().len(), names.len());
    let bench = bench.cold();
    minutes_pass(5).await;
    bench.harvest(&Event::default()).await;
    assert!(bench.alerts().is_empty(), "every one was noted");
}

#[tokio::test(start_paused = true)]
async fn a_dead_grant_is_tried_once_a_day_and_on_request() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_grant"}"#)]);
    for _ in 0..3 {
        bench.harvest_one().await;
        minutes_pass(60).await;
    }
    assert_eq!(bench.asked_at().len(), 3);
    let deferred = bench.harvest_one().await;
    assert_eq!((deferred.outcome, code(&deferred)), (Outcome::Deferred, Some("reauthorization_required")));
    bench.harvest(&Event { retry_dead: true, ..Event::default() }).await;
    assert_eq!(bench.asked_at().len(), 1, "on request");
    minutes_pass(24 * 60).await;
    bench.harvest_one().await;
    assert_eq!(bench.asked_at().len(), 1, "after a day");
    bench.answers("a", vec![token("t1")]);
    minutes_pass(24 * 60).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed, "it was not dead after all");
}

#[tokio::test(start_paused = true)]
async fn a_dead_grant_is_tried_on_request_though_its_token_is_fresh() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.answers("a", vec![answer(200, r#"{"access_token": "t", "expires_in": 5184000}"#)]);
    bench.harvest_one().await;
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_grant"}"#)]);
    for _ in 0..3 {
        bench.harvest(&forced()).await;
    }
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Fresh);
    bench.answers("a", vec![token("t2")]);
    let report = bench.harvest(&Event { retry_dead: true, ..Event::default() }).await;
    assert_eq!(outcomes(&report), [("a", Outcome::Refreshed)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_told_at_once_and_tried_again_after_the_backoff() {
    let bench = Bench::with_source(&json!({
        "provider": "custom", "token_endpoint": "https://a.example.com/a", "client_id": "c", "client_secret": "s",
        "grant_type": "password", "grants": {"password": {}}, "params": {"username": "u", "password": "p"},
    }));
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_grant"}"#)]);
    let mut asked = Vec::new();
    for minute in 0..=105 {
        if bench.harvest_one().await.attempts > 0 {
            asked.push(minute);
        }
        minutes_pass(1).await;
    }
    assert_eq!(asked, [0, 15, 45, 105]);
    let alerts = bench.alerts();
    assert_eq!(alerts.len(), 1);
    assert!(alerts[0].text.contains("put the current password into params."), "{}", alerts[0].text);
    assert!(!alerts[0].text.contains("refresh_token"), "{}", alerts[0].text);
}

#[tokio::test(start_paused = true)]
async fn throttled_from_its_first_run_on_is_told_after_a_day() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![throttled("86400")]);
    let mut told = Vec::new();
    for hour in 0..49 {
        bench.harvest_one().await;
        told.extend(bench.subjects().into_iter().map(|subject| (hour, subject)));
        minutes_pass(60).await;
    }
    assert_eq!(told.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), [24, 48], "{told:#?}");
    assert_eq!(told[0].1, "[test] WARNING a: rate_limited, no token yet");
}

#[tokio::test(start_paused = true)]
async fn held_or_never_reached_for_a_day_is_told() {
    let bench = Bench::new(&[]);
    bench.define_rotating("held", "r1");
    bench.state.leases.borrow_mut().insert("held".to_owned(), held_until(3 * 86_400));
    let mut told = Vec::new();
    for hour in 0..26 {
        bench.harvest_one().await;
        told.extend(bench.subjects().into_iter().map(|subject| (hour, subject)));
        minutes_pass(60).await;
    }
    assert_eq!(told, [(24, "[test] WARNING held: out_of_time, no token yet".to_owned())]);

    let bench = Bench::new(&["never"]);
    bench.tokens.hangs.set(true);
    for _ in 0..25 {
        bench.harvest_one().await;
        minutes_pass(60).await;
    }
    assert_eq!(bench.subjects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_too_slow_for_a_token_is_told_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(200, r#"{"access_token": "t", "expires_in": 300}"#)]);
    let looks = || bench.state.forecast_looks.get();
    let mut told = bench.harvest(&Event::default()).await.warnings.len();
    assert_eq!((told, bench.subjects()), (1, vec!["[test] WARNING a: schedule_too_slow".to_owned()]));
    for function in [&bench, &bench.cold(), &bench] {
        minutes_pass(15).await;
        told += function.harvest(&Event::default()).await.warnings.len();
        assert!(bench.alerts().is_empty());
    }
    assert_eq!(told, 4, "every report says so");
    assert_eq!(looks(), 2, "a warm function remembers what it told");
}
