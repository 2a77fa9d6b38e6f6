//! What happens at the edges: state that is damaged, read-only or slow, secrets that can't be read, sources that are gone,
//! hosts that are down, runs that were killed. Nothing fails in silence, and nobody is told twice.

use super::*;

fn packed(sources: &[(&str, Value)]) -> Value {
    json!({"sources": sources.iter().map(|(name, definition)| ((*name).to_owned(), definition.clone())).collect::<Map<_, _>>()})
}

fn outcomes(report: &Report) -> Vec<(&str, Outcome)> {
    report.sources.iter().map(|source| (source.source.as_str(), source.outcome)).collect()
}

/// A deployment with a good token for each source of one secret, `pack`.
async fn with_a_pack() -> Bench {
    let bench = Bench::new(&[]);
    bench.define_as("pack", &packed(&[("a", client("a", "s")), ("b", client("b", "s"))]));
    for source in ["a", "b"] {
        bench.answers(source, vec![token("t1")]);
    }
    assert_eq!(bench.harvest(&Event::default()).await.refreshed, 2);
    bench.token_events();
    bench
}

#[tokio::test(start_paused = true)]
async fn sources_of_a_secret_that_is_not_handed_out_fail_under_their_own_names_warm_and_cold() {
    let warm = with_a_pack().await;
    warm.secrets.refused.borrow_mut().insert("pack".to_owned());
    for bench in [&warm, &warm.cold()] {
        minutes_pass(6).await;
        let report = bench.harvest(&Event::default()).await;
        assert_eq!(outcomes(&report), [("a", Outcome::Failed), ("b", Outcome::Failed)]);
        assert_eq!(report.sources.iter().map(code).collect::<Vec<_>>(), [Some("secret_unreadable"); 2]);
        assert!(report.sources.iter().all(|source| source.expires_at.is_some() && source.spare.is_some()));
    }
    assert_eq!(warm.state.incident("a").map(|incident| incident.consecutive_failures), Some(2));

    warm.secrets.refused.borrow_mut().clear();
    minutes_pass(6).await;
    assert_eq!(warm.harvest(&Event::default()).await.fresh, 2, "mended");
    assert_eq!(warm.state.incident("a"), None);
    assert!(warm.alerts().is_empty(), "nobody had been told");
}

#[tokio::test(start_paused = true)]
async fn a_slip_in_a_pack_is_told_at_once_and_forgets_no_incident() {
    let bench = with_a_pack().await;
    bench.answers("a", vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    bench.harvest(&Event { sources: Some(vec!["a".to_owned()]), force: true, ..Event::default() }).await;
    assert_eq!(bench.subjects().len(), 1);

    bench.secrets.stored.borrow_mut().insert("pack".to_owned(), r#"{"sources": {"a": {},}}"#.to_owned());
    for _ in 0..3 {
        minutes_pass(6).await;
        bench.harvest(&Event::default()).await;
    }
    let subjects = bench.subjects();
    assert_eq!(subjects.len(), 1, "{subjects:?}");
    assert!(subjects[0].starts_with("[test] CRITICAL b: secret_unreadable"), "{subjects:?}");
    assert!(bench.state.incident("a").is_some_and(|incident| incident.last_alert_at.is_some()));
}

#[tokio::test(start_paused = true)]
async fn who_was_told_of_a_source_that_is_removed_hears_so_after_two_readings() {
    let bench = Bench::new(&["a", "b"]);
    for source in ["a", "b"] {
        bench.answers(source, vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    }
    bench.harvest(&Event::default()).await;
    assert_eq!(bench.subjects().len(), 1);
    bench.secrets.stored.borrow_mut().remove("b");
    minutes_pass(6).await;
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(outcomes(&report)[1], ("b", Outcome::Deferred), "it does not vanish");
    assert!(bench.alerts().is_empty());

    minutes_pass(6).await;
    assert_eq!(bench.cold().harvest(&Event::default()).await.sources.len(), 1);
    let alerts = bench.alerts();
    assert_eq!(alerts[0].subject, "[test] OK b: recovered");
    assert!(alerts[0].text.contains("no secret defines the source any more"), "{}", alerts[0].text);
    assert_eq!(bench.state.incident("b"), None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_switched_off_while_failing_is_told_as_that() {
    let bench = Bench::new(&["a", "b"]);
    bench.answers("a", vec![token("t1")]);
    bench.answers("b", vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    bench.harvest(&Event::default()).await;
    bench.alerts();
    bench.define_as("b", &json!({"enabled": false}));
    minutes_pass(6).await;
    bench.harvest(&Event::default()).await;
    assert!(bench.alerts()[0].text.contains("OK: b is over: the source is switched off."));
}

#[tokio::test(start_paused = true)]
async fn no_sources_where_there_were_some_fails_the_function_until_they_are_forgotten() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    bench.secrets.stored.borrow_mut().clear();
    for _ in 0..2 {
        minutes_pass(6).await;
        let error = bench.cold().try_harvest(&Event::default()).await.expect_err("all gone");
        assert!(matches!(error, HarvestError::SourcesGone { .. }), "{error}");
    }
    minutes_pass(6).await;
    assert!(bench.harvest(&Event::default()).await.sources.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_warm_function_goes_on_with_the_definitions_that_it_knows_and_fails_at_its_end() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    for hangs in [false, true] {
        bench.secrets.is_down.set(!hangs);
        bench.secrets.hangs.set(hangs);
        minutes_pass(60).await;
        let error = bench.try_harvest(&Event::default()).await.expect_err("Secrets Manager is down");
        let HarvestError::DefinitionsUnreadable { report: Some(report), .. } = error else { panic!("{error}") };
        assert_eq!(report.refreshed, 1);
    }
    let error = bench.cold().try_harvest(&Event::default()).await.expect_err("nothing is known");
    assert!(matches!(error, HarvestError::DefinitionsUnreadable { report: None, .. }), "{error}");
}

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
async fn an_incident_of_a_name_that_nobody_remembers_is_kept_until_a_reading_is_complete() {
    let bench = Bench::new(&["a", "b"]);
    for source in ["a", "b"] {
        bench.answers(source, vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    }
    bench.harvest(&Event::default()).await;
    bench.secrets.stored.borrow_mut().remove("b");
    bench.secrets.refused.borrow_mut().insert("a".to_owned());
    // As a version had left it that kept no roster.
    bench.state.roster.take();
    bench.cold().harvest(&Event::default()).await;
    assert!(bench.state.incident("b").is_some());
    bench.secrets.refused.borrow_mut().clear();
    bench.cold().harvest(&Event::default()).await;
    assert!(bench.state.incident("b").is_none());
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
async fn a_run_answers_before_its_deadline_however_slow_the_state_bucket_is() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    bench.state.write_latency.set(Duration::from_secs(3_600));
    let began = Instant::now();
    bench.try_harvest(&Event::default()).await.expect_err("nothing could be kept");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_is_left_alone_and_keeps_no_other_waiting() {
    let bench = Bench::new(&[]);
    for number in 0..200 {
        let mut definition = client("dead", "s");
        definition["params"] = json!({"number": number.to_string()});
        bench.define_as(&format!("a-dead-{number:03}"), &definition);
    }
    let (began, answered) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
    for number in 0..10 {
        let name = format!("z-alive-{number}");
        bench.define(&name, "s");
        let answered = Rc::clone(&answered);
        let script = move |_: &Request| {
            answered.borrow_mut().push(began.elapsed().as_secs());
            Ok(token("t1"))
        };
        bench.server.scripts.borrow_mut().insert(name, Box::new(script));
    }
    let asked = Rc::new(Cell::new(0));
    let counted = Rc::clone(&asked);
    let script = move |_: &Request| {
        counted.set(counted.get() + 1);
        Err(Rejection::lost(SourceError::new(ErrorCode::EndpointTimeout, "no answer")))
    };
    bench.server.scripts.borrow_mut().insert("dead".to_owned(), Box::new(script));
    bench.server.latency.set(Duration::from_secs(1));

    let report = bench.harvest(&Event::default()).await;
    assert_eq!((report.refreshed, report.failed), (10, 200));
    assert!(asked.get() <= 32, "{} requests to a host that does not answer", asked.get());
    assert_eq!(*answered.borrow(), [1; 10], "asked at once, and answered a second later");
    assert_eq!(code(&report.sources[199]), Some("endpoint_timeout"));
    let words = &report.sources[199].error.as_ref().expect("an error").message;
    assert!(words.starts_with("dead.example.com failed 5 requests in a row in this run"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_was_just_changed_counts_at_once_for_who_asks() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    bench.define("new", "s");
    bench.answers("new", vec![token("t1")]);
    let sources = Some(vec!["new".to_owned()]);
    assert_eq!(bench.harvest(&Event { sources, ..Event::default() }).await.refreshed, 1);
    bench.harvest(&forced()).await;
    bench.harvest(&Event { retry_dead: true, ..Event::default() }).await;
    assert_eq!(bench.secrets.reads.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_changed_definition_of_a_failing_source_makes_it_due() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    bench.answers("a", vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    bench.harvest(&forced()).await;
    // A client's secret is in no published hash.
    bench.define("a", "mended");
    bench.answers("a", vec![token("t2")]);
    minutes_pass(5).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
    assert_eq!(bench.state.incident("a"), None);
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
async fn a_run_that_finds_the_lease_held_takes_nothing_from_its_holder() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_scope"}"#)]);
    bench.server.latency.set(Duration::from_secs(1));
    let (event, deadline) = (Event::default(), start() + TimeDelta::minutes(1));
    let (_, _) = tokio::join!(
        bench.harvester.harvest(&event, "one", deadline),
        bench.harvester.harvest(&event, "two", deadline),
    );
    let incident = bench.state.incident("a").expect("an incident");
    assert_eq!((incident.error.code, incident.consecutive_failures), (ErrorCode::InvalidScope, 1));
    assert_eq!(bench.subjects().len(), 1, "its failure is told");
}

#[tokio::test(start_paused = true)]
async fn a_holders_failure_counts_though_another_run_told_a_person_meanwhile() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.answers("a", vec![answer(503, "")]);
    bench.harvest_one().await;
    minutes_pass(25 * 60).await;
    bench.server.latency.set(Duration::from_secs(1));
    let (event, deadline) = (Event::default(), bench.harvester.world.clock.now() + TimeDelta::minutes(1));
    let (_, _) = tokio::join!(
        bench.harvester.harvest(&event, "one", deadline),
        bench.harvester.harvest(&event, "two", deadline),
    );
    let incident = bench.state.incident("a").expect("an incident");
    assert_eq!((incident.consecutive_failures, bench.alerts().len()), (2, 1));
    assert!(incident.last_alert_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_finds_the_lease_held_overwrites_no_incident() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.answers("a", vec![token("t1"), answer(400, r#"{"error": "invalid_scope"}"#)]);
    bench.harvest_one().await;
    minutes_pass(36).await;
    bench.harvest_one().await;
    let before = bench.state.incident("a").expect("an incident");
    bench.state.leases.borrow_mut().insert("a".to_owned(), held_until(86_400));
    bench.define_rotating("a", "r2");
    let mut milder = before.clone();
    milder.severity = crate::domain::incident::Severity::Warning;
    milder.told_severity = Some(crate::domain::incident::Severity::Warning);
    let stored = Tagged { value: Some(milder.clone()), etag: "stored".to_owned() };
    bench.state.incidents.borrow_mut().insert("a".to_owned(), stored);
    bench.outbox.refuses.set(true);
    minutes_pass(20).await;
    bench.try_harvest(&Event::default()).await.expect_err("nobody could be told that it is critical");
    assert_eq!(bench.state.incident("a"), Some(milder));
}

#[tokio::test(start_paused = true)]
async fn two_deliveries_of_one_event_are_two_holders() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    bench.server.latency.set(Duration::from_secs(1));
    let other = bench.cold();
    let (event, deadline) = (forced(), start() + TimeDelta::minutes(1));
    let (one, two) = tokio::join!(
        bench.harvester.harvest(&event, "the same id", deadline),
        other.harvester.harvest(&event, "the same id", deadline),
    );
    let (one, two) = (one.expect("a report"), two.expect("a report"));
    assert_eq!((one.refreshed + two.refreshed, one.deferred + two.deferred), (1, 1));
    assert_eq!(*seen.borrow(), ["r1"]);
}

#[tokio::test(start_paused = true)]
async fn a_forced_event_delivered_twice_refreshes_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1"), token("t2"), token("t3")]);
    bench.harvest_one().await;
    minutes_pass(1).await;
    let meant = start() + TimeDelta::seconds(30);
    let event = Event { time: Some(meant), ..forced() };
    assert_eq!(bench.harvest(&event).await.refreshed, 1);
    assert_eq!(bench.harvest(&event).await.fresh, 1);
    assert_eq!(bench.harvest(&forced()).await.refreshed, 1, "without a time nobody can tell");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_stored_by_a_run_that_was_killed_is_announced_by_the_next_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.outbox.refuses.set(true);
    bench.try_harvest(&Event::default()).await.expect_err("it stored the token and told nobody");
    bench.outbox.refuses.set(false);
    for (function, announced) in [(bench.cold(), 1), (bench.cold(), 0)] {
        minutes_pass(5).await;
        assert_eq!(function.harvest_one().await.outcome, Outcome::Fresh);
        let events = bench.token_events();
        assert_eq!(events, vec![("token.refreshed".to_owned(), "a".to_owned()); announced]);
    }
    let roster = bench.state.roster.borrow().clone();
    assert_eq!(roster.and_then(|roster| roster.value).map(|roster| roster.announced("a")), Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_another_function_has_announced_is_not_announced_again() {
    let (one, other) = {
        let bench = Bench::new(&["a"]);
        bench.answers("a", vec![token("t1"), token("t2")]);
        let other = bench.cold();
        (bench, other)
    };
    one.harvest_one().await;
    minutes_pass(1).await;
    other.harvest(&forced()).await;
    assert_eq!(one.token_events().len(), 2);
    minutes_pass(1).await;
    assert_eq!(one.harvest_one().await.generation, Some(2));
    assert_eq!(one.secrets.reads.get(), 2, "it relies on what it has read");
    assert!(one.token_events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_announced_is_kept_at_first_and_then_now_and_then() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t")]);
    let kept = || bench.state.roster.borrow().as_ref().and_then(|roster| Some(roster.value.as_ref()?.announced("a")));
    let mut seen = Vec::new();
    for _ in 0..4 {
        bench.harvest(&forced()).await;
        seen.push(kept());
        minutes_pass(5).await;
    }
    assert_eq!(seen, [1, 1, 1, 4].map(Some));
    bench.harvest(&forced()).await;
    minutes_pass(16).await;
    bench.token_events();
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Fresh);
    assert!(kept() == Some(5) && bench.token_events().is_empty(), "kept later, and not announced again");
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

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_not_given_back_lost_nothing_if_the_grant_was_saved_since() {
    let lost = |saved_after: i64| async move {
        let bench = Bench::new(&[]);
        bench.define_rotating("a", "r1");
        bench.rotates("a", &Rc::default());
        bench.harvest_one().await;
        minutes_pass(60).await;
        let taken_at = start() + TimeDelta::seconds(saved_after);
        let held = held_until(60);
        let lease = Lease { taken_at: Some(taken_at), ..held.value };
        bench.state.leases.borrow_mut().insert("a".to_owned(), Tagged { value: lease, etag: held.etag });
        bench.answers("a", vec![answer(400, r#"{"error": "invalid_grant"}"#)]);
        bench.harvest_one().await;
        bench.state.incident("a").expect("an incident").lost_with
    };
    assert_eq!(lost(-1).await, None);
    assert_eq!(lost(1).await, Some(start() + TimeDelta::seconds(55)));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_kept_of_trouble_and_now_and_then_of_what_went_well() {
    let bench = Bench::new(&["a"]);
    bench.answers(
        "a",
        vec![token("t"), token("t"), token("t"), answer(400, r#"{"error": "invalid_scope"}"#), token("t")],
    );
    let kept = || std::mem::take(&mut *bench.state.reports.borrow_mut()).into_keys().next();
    let mut seen = Vec::new();
    for _ in 0..5 {
        bench.harvest(&forced()).await;
        seen.push(kept().is_some());
        minutes_pass(8).await;
    }
    assert_eq!(seen, [true, false, true, true, false]);
    minutes_pass(20).await;
    bench.harvest_one().await;
    bench.harvest(&Event { dry_run: true, ..forced() }).await;
    assert_eq!(kept(), None, "all was fresh, or only looked at");
    bench.cold().harvest(&forced()).await;
    assert_eq!(kept().as_deref(), Some("reports/2026-11-20/230000-run.json"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_says_what_was_worked_on() {
    let bench = Bench::new(&["a"]);
    let seen = Rc::new(RefCell::new(None));
    let noted = Rc::clone(&seen);
    let script = move |_: &Request| {
        noted.replace(AtWork::now().map(|at_work| (at_work.run_id, at_work.source)));
        Ok(token("t1"))
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));
    bench.harvest_one().await;
    assert_eq!(seen.take(), Some(("run".to_owned(), "a".to_owned())));
    assert!(AtWork::now().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_stands_in_a_definition_since_a_moment_ago_is_not_used_without_a_lease() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(200, r#"{"access_token": "t1", "expires_in": 60}"#)]);
    bench.harvest_one().await;
    bench.define_rotating("a", "r1");
    let rotating = Rc::default();
    bench.rotates("a", &rotating);
    let mut rotates = bench.server.scripts.borrow_mut().remove("a").expect("a script");
    let script = move |request: &Request| {
        let body = request.body.as_ref().map(|body| body.expose_secret().to_owned()).unwrap_or_default();
        if body.contains("refresh_token") {
            rotates(request)
        } else {
            Ok(answer(401, r#"{"error": "invalid_client"}"#))
        }
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));
    assert_eq!(code(&bench.harvest_one().await), Some("invalid_client"), "read anew, but not tried");
    assert!(rotating.borrow().is_empty());
    minutes_pass(5).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed, "the next run takes a lease");
    assert_eq!(*rotating.borrow(), ["r1"]);
}
