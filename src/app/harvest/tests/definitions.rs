//! Definitions: read, remembered, unreadable, changed, gone.

use super::*;

fn packed(sources: &[(&str, Value)]) -> Value {
    json!({"sources": sources.iter().map(|(name, definition)| ((*name).to_owned(), definition.clone())).collect::<Map<_, _>>()})
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
