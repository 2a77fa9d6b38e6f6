//! Grants that move: saved first, worked on by one run, not taken for dead after a race.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_kept_and_used_next() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    for generation in 1..=3 {
        let report = bench.harvest(&forced()).await.sources.remove(0);
        assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(generation)));
    }
    assert_eq!(*seen.borrow(), ["r1", "r2", "r3"]);
    assert_eq!(bench.state.refresh_token().as_deref(), Some("r4"));
    assert!(!bench.state.is_leased(), "released");
}

#[tokio::test(start_paused = true)]
async fn another_refresh_token_in_the_definition_takes_over() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    bench.harvest_one().await;
    bench.define_rotating("a", "authorized-anew");
    tokio::time::advance(Duration::from_secs(300)).await;
    bench.harvest_one().await;
    assert_eq!(seen.borrow().last().map(String::as_str), Some("authorized-anew"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_saved_before_the_token_is_stored_however_often_it_takes() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.rotates("a", &Rc::default());
    bench.state.refusals.set(5);
    let saved_first = {
        let state = Rc::clone(&bench.state);
        move |_: &Tokens, _: &TokenDocument| assert_eq!(state.refresh_token().as_deref(), Some("r2"))
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(saved_first));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts), (Outcome::Refreshed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_can_not_be_saved_does_not_cost_the_token() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.rotates("a", &Rc::default());
    bench.state.refusals.set(usize::MAX);
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, code(&report)), (Outcome::Failed, Some("grant_store_failed")));
    assert_eq!(report.generation, Some(1), "the token is stored all the same");
    assert!(report.duration_ms < 50_000, "{}", report.duration_ms);
    let message = report.error.expect("an error").message;
    assert!(message.contains("authorize anew"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn two_harvests_at_once_send_one_request() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    bench.server.latency.set(Duration::from_secs(1));
    let deadline = start() + TimeDelta::minutes(1);
    let event = Event::default();
    let (one, two) = tokio::join!(
        bench.harvester.harvest(&event, "one", deadline),
        bench.harvester.harvest(&event, "two", deadline),
    );
    let (one, two) = (one.expect("a report"), two.expect("a report"));
    assert_eq!((one.refreshed + two.refreshed, one.deferred + two.deferred), (1, 1));
    assert_eq!(*seen.borrow(), ["r1"]);
}

pub(super) fn held_until(seconds: i64) -> Tagged<Lease> {
    let lease =
        Lease { run_id: "crashed".to_owned(), expires_at: start() + TimeDelta::seconds(seconds), ..Lease::ended() };
    Tagged { value: lease, etag: "theirs".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_holders_lease_is_taken_over_once_it_has_ended() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.rotates("a", &Rc::default());
    bench.state.leases.borrow_mut().insert("a".to_owned(), held_until(30));
    let held = bench.harvest_one().await;
    assert_eq!((held.outcome, code(&held), held.attempts), (Outcome::Deferred, None, 0));

    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
    assert!(!bench.state.is_leased(), "released");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_released_on_every_way_out() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    bench.answers("a", vec![answer(400, r#"{"error": "invalid_scope"}"#)]);
    assert_eq!(code(&bench.harvest_one().await), Some("invalid_scope"));
    assert!(!bench.state.is_leased(), "after a failure");

    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(|_| panic!("while it is held")));
    assert_eq!(code(&bench.harvest(&forced()).await.sources[0]), Some("internal"));
    assert!(!bench.state.is_leased(), "after a panic");
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_not_a_dead_grant() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let state = Rc::clone(&bench.state);
    let script = move |request: &Request| {
        if sent_refresh_token(request) == "theirs" {
            return Ok(token("t"));
        }
        // Somebody else refreshed and saved while this request was on its way.
        let mut theirs = GrantState::current(None, &Seed::RefreshToken(SecretString::from("r1")), start());
        theirs.credential = SecretString::from("theirs");
        let theirs = Tagged { value: theirs, etag: state.etag() };
        state.grants.borrow_mut().insert("a".to_owned(), theirs);
        Ok(answer(400, r#"{"error": "invalid_grant"}"#))
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts), (Outcome::Refreshed, 2));
}

#[tokio::test(start_paused = true)]
async fn the_fixed_end_of_a_refresh_token_is_told_at_30_7_and_1_days() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let end = start() + TimeDelta::days(60);
    let began = Instant::now();
    let script = move |_: &Request| {
        let left = end - start() - TimeDelta::from_std(began.elapsed()).expect("two months");
        let body = json!({"access_token": "t", "expires_in": 86_400, "refresh_token_expires_in": left.num_seconds()});
        Ok(answer(200, &body.to_string()))
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));
    let mut told = Vec::new();
    for hour in 0..60 * 24 - 1 {
        bench.harvest_one().await;
        let alerts = bench.outbox.messages.take().into_iter().filter(|message| message.attributes[0].1 == "alert");
        told.extend(alerts.map(|alert| (hour / 24, alert.subject)));
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    assert_eq!(told.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [30, 53, 59], "{told:#?}");
    assert!(told[1].1.contains("WARNING a"), "{told:#?}");
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
