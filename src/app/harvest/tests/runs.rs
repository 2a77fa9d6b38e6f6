//! Whole runs: what is stored, reported, told.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_new_token_is_stored_reported_and_published() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    let report = bench.harvest(&Event::default()).await;

    assert_eq!((report.refreshed, report.fresh, report.deferred, report.failed), (1, 0, 0, 0));
    let source = &report.sources[0];
    assert_eq!(source.generation, Some(1));
    assert_eq!(source.version_id.as_deref(), Some("v1"));
    assert_eq!(source.attempts, 1);
    let expires_at = source.expires_at.expect("an expiry").to_rfc3339_opts(SecondsFormat::Secs, true);
    assert_eq!(expires_at, "2026-11-20T23:00:00Z");
    assert_eq!(bench.outbox.messages.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_costs_no_request_and_no_message_until_it_is_due() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1"), token("t2")]);
    bench.harvest_one().await;
    tokio::time::advance(Duration::from_secs(35 * 60 - 1)).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Fresh);
    assert_eq!(bench.outbox.messages.borrow().len(), 1);

    tokio::time::advance(Duration::from_secs(1)).await;
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let bench = Bench::new(&["a"]);
    let event = Event { dry_run: true, ..Event::default() };
    let report = bench.harvest(&event).await;
    assert!(report.dry_run);
    assert_eq!((report.refreshed, report.sources[0].attempts), (1, 0));
    assert_eq!(bench.tokens.writes.get(), 0);
    assert!(bench.outbox.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_that_no_secret_defines_are_reported() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.secrets.stored.borrow_mut().insert("off".to_owned(), r#"{"enabled": false}"#.to_owned());
    let sources = Some(vec!["a".to_owned(), "nobody".to_owned(), "off".to_owned()]);
    let report = bench.harvest(&Event { sources, ..Event::default() }).await;

    assert_eq!(
        report.sources.iter().map(code).collect::<Vec<_>>(),
        [None, Some("source_unknown"), Some("source_unknown")]
    );
    let words = report.sources[2].error.as_ref().expect("an error").message.clone();
    assert_eq!(words, "the source is switched off (`enabled` is false)");
}

#[tokio::test(start_paused = true)]
async fn no_source_at_all_is_a_warning_that_says_how_to_add_one() {
    let bench = Bench::new(&[]);
    let report = bench.harvest(&Event::default()).await;
    assert!(report.sources.is_empty());
    assert_eq!(report.warnings[0].code, WarningCode::NoSources);
    assert!(report.warnings[0].message.contains("harvest/<source>"), "{}", report.warnings[0].message);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_too_slow_for_the_token_is_a_warning_with_the_arithmetic() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(200, r#"{"access_token": "t", "expires_in": 1200}"#)]);
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(report.warnings[0].code, WarningCode::ScheduleTooSlow);
    assert_eq!(
        report.warnings[0].message,
        "tokens live 20 min, less than `min_ttl` (10 min) plus the schedule's interval (15 min): harvest at least \
         every 10 min, or lower `min_ttl`"
    );
}

#[tokio::test(start_paused = true)]
async fn messages_that_nobody_got_fail_the_harvest_but_not_its_work() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.outbox.refuses.set(true);
    let deadline = start() + TimeDelta::minutes(1);
    let error = bench.harvester.harvest(&Event::default(), "run", deadline).await.expect_err("unpublished");
    assert_eq!(error.to_string(), "messages could not be published: SNS PublishBatch: AuthorizationError");
    let HarvestError::MessagesUnpublished { report, .. } = error else { panic!("{error}") };
    assert_eq!(report.refreshed, 1);
    assert_eq!(bench.tokens.writes.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn definitions_are_remembered_for_five_minutes() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    tokio::time::advance(Duration::from_secs(299)).await;
    bench.harvest_one().await;
    assert_eq!(bench.secrets.reads.get(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    bench.harvest_one().await;
    assert_eq!(bench.secrets.reads.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_is_tried_once_more_if_its_definition_changed() {
    let bench = Bench::new(&["a"]);
    // It is due again at once, while the definitions are still known.
    bench.answers("a", vec![answer(200, r#"{"access_token": "t1", "expires_in": 60}"#)]);
    bench.harvest_one().await;
    bench.define("a", "rotated");
    let script = |request: &Request| {
        let rotated = request.body.as_ref().is_some_and(|body| body.expose_secret().contains("rotated"));
        Ok(if rotated { token("t2") } else { answer(401, r#"{"error": "invalid_client"}"#) })
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));

    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts, report.generation), (Outcome::Refreshed, 2, Some(2)));
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_whose_definition_stands_is_not_tried_again() {
    let bench = Bench::new(&["a", "b"]);
    for source in ["a", "b"] {
        bench.answers(source, vec![answer(401, r#"{"error": "unauthorized_client"}"#)]);
    }
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(report.sources.iter().map(|source| source.attempts).sum::<u32>(), 2);
    assert_eq!(bench.secrets.reads.get(), 2, "once for the run, once for both sources");
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_to_a_newer_good_token_is_fresh() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("ours")]);
    let theirs = |tokens: &Tokens, ours: &TokenDocument| {
        let mut theirs = ours.clone();
        theirs.answer.access_token = SecretString::from("theirs");
        tokens.write(&theirs);
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(theirs));
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.generation), (Outcome::Fresh, Some(1)));
    assert!(bench.tokens.stored.borrow()["a"].1.contains("theirs"));
    assert!(bench.outbox.messages.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_to_an_older_token_is_run_again() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("ours")]);
    let older = |tokens: &Tokens, ours: &TokenDocument| {
        let mut older = ours.clone();
        older.issued_at -= TimeDelta::minutes(5);
        older.answer.access_token = SecretString::from("older");
        tokens.write(&older);
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(older));
    let report = bench.harvest_one().await;

    assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(2)));
    assert!(bench.tokens.stored.borrow()["a"].1.contains("ours"));
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_was_lost_counts_once() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![token("ours")]);
    let already_written = |tokens: &Tokens, ours: &TokenDocument| {
        tokens.write(ours);
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(already_written));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(1)));
    assert_eq!(bench.tokens.writes.get(), 1);
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
async fn a_run_answers_before_its_deadline_however_slow_the_state_bucket_is() {
    let bench = Bench::new(&["a"]);
    bench.answers("a", vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    bench.state.write_latency.set(Duration::from_secs(3_600));
    let began = Instant::now();
    bench.try_harvest(&Event::default()).await.expect_err("nothing could be kept");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
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
