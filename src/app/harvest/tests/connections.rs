//! Grants that people gave in a browser: refreshed like any other, each account by itself.

use super::*;
use crate::domain::connection::Connection;
use crate::domain::credential::CredentialKind;
use crate::domain::grant::Origin;
use crate::domain::incident::Severity;
use crate::domain::oauth::identity::Identity;
use crate::domain::principal::Principal;

/// A source that people connect; its token endpoint's path is its name.
fn connected(source: &str) -> Value {
    json!({
        "token_endpoint": format!("https://{source}.example.com/{source}"), "client_id": "c", "client_secret": "s",
        "grant_type": "authorization_code", "authorization_endpoint": format!("https://{source}.example.com/authorize"),
    })
}

fn with_accounts(source: &str) -> Value {
    let mut definition = connected(source);
    definition["accounts"] = true.into();
    definition
}

/// What somebody connected a moment ago.
fn grant(credential: &str) -> GrantState {
    let identity = Identity { id: "9341".to_owned(), name: Some("Acme".to_owned()) };
    let mut extra = Map::new();
    extra.insert("realmId".to_owned(), "9341".into());
    let connection = Connection {
        client_id: "c".to_owned(),
        identity: Some(identity),
        scope: Some("read".to_owned()),
        owner: Principal::Iam("arn".to_owned()),
        connected_at: start(),
        extra,
    };
    GrantState {
        kind: CredentialKind::RefreshToken,
        credential: SecretString::from(credential),
        credential_issued_at: start(),
        expires_at: None,
        expiry_stated_at: None,
        extended: None,
        generation: 1,
        origin: Origin::Connection(Box::new(connection)),
        is_seed: false,
    }
}

impl Bench {
    /// A world with the source `a`.
    fn connecting(definition: &Value) -> Self {
        Self::with_source(definition)
    }

    /// Somebody connects.
    fn connect(&self, name: &str, grant: GrantState) {
        let grant = Tagged { value: grant, etag: self.state.etag() };
        self.state.grants.borrow_mut().insert(name.to_owned(), grant);
    }

    fn disconnect(&self, name: &str) {
        self.state.grants.borrow_mut().remove(name);
        self.tokens.stored.borrow_mut().remove(name);
    }

    fn credential(&self, name: &str) -> Option<String> {
        self.state.grants.borrow().get(name).map(|grant| grant.value.credential.expose_secret().to_owned())
    }

    fn document(&self, name: &str) -> Value {
        serde_json::from_str(&self.tokens.stored.borrow()[name].1).expect("JSON")
    }

    /// A server that answers each refresh token `<account>-<n>` with the next one, and one account's with a refusal.
    fn rotates_for_each(&self, source: &str, refused: &'static str) -> Rc<RefCell<Vec<String>>> {
        let seen = Rc::<RefCell<Vec<String>>>::default();
        let noted = Rc::clone(&seen);
        let script = move |request: &Request| {
            let token = sent_refresh_token(request);
            noted.borrow_mut().push(token.clone());
            let (account, number) = token.rsplit_once('-').expect("an account");
            if account == refused {
                return Ok(answer(400, r#"{"error": "invalid_scope"}"#));
            }
            let next = format!("{account}-{}", number.parse::<u32>().expect("a number") + 1);
            let body = json!({"access_token": format!("t-{next}"), "expires_in": 3600, "refresh_token": next});
            Ok(answer(200, &body.to_string()))
        };
        self.server.scripts.borrow_mut().insert(source.to_owned(), Box::new(script));
        seen
    }
}

fn named(names: &[&str]) -> Event {
    Event { sources: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..Event::default() }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_refreshed_like_any_other_grant() {
    let bench = Bench::connecting(&connected("a"));
    bench.connect("a", grant("r1"));
    let seen = Rc::default();
    bench.rotates("a", &seen);
    for generation in 1..=3 {
        let report = bench.harvest(&forced()).await.sources.remove(0);
        assert_eq!((report.outcome, report.generation), (Outcome::Refreshed, Some(generation)));
    }
    assert_eq!(*seen.borrow(), ["r1", "r2", "r3"]);
    let kept = bench.state.grants.borrow()["a"].value.clone();
    assert_eq!((kept.credential.expose_secret(), kept.generation), ("r4", 4));
    assert_eq!(kept.origin, grant("r1").origin, "what is known of the connection stays");
    assert!(!bench.state.is_leased(), "released");
    let document = bench.document("a");
    assert_eq!(document["identity"], json!({"id": "9341", "name": "Acme"}));
    assert_eq!((&document["extra"]["realmId"], &document["scope"]), (&json!("9341"), &json!("read")));
    assert!(document.get("account").is_none());
}

#[tokio::test(start_paused = true)]
async fn jobs_get_the_id_token_where_the_definition_says_so() {
    for wanted in [false, true] {
        let mut definition = connected("a");
        definition["id_token"] = wanted.into();
        let bench = Bench::connecting(&definition);
        bench.connect("a", grant("r1"));
        bench
            .answers("a", vec![answer(200, r#"{"access_token": "t", "id_token": "e30.e30.sig", "expires_in": 3600}"#)]);
        bench.harvest_one().await;
        let expected = wanted.then(|| json!("e30.e30.sig"));
        assert_eq!(bench.document("a").get("id_token"), expected.as_ref());
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_connected_is_deferred_and_a_person_is_told_after_a_day() {
    let bench = Bench::connecting(&connected("a"));
    for hour in 0..24 {
        let report = bench.harvest_one().await;
        assert_eq!((report.outcome, code(&report), report.attempts), (Outcome::Deferred, Some("not_connected"), 0));
        assert!(bench.alerts().is_empty() && bench.token_events().is_empty(), "hour {hour}");
        minutes_pass(60).await;
    }
    assert!(bench.state.leases.borrow().is_empty() && bench.state.incident("a").is_some());
    bench.harvest_one().await;
    let alerts = bench.alerts();
    assert_eq!(alerts[0].subject, "[test] WARNING a: not_connected, no token yet");
    assert!(alerts[0].text.contains("send whoever owns the account a link"), "{}", alerts[0].text);
    let incident = bench.state.incident("a").expect("an incident");
    assert_eq!((incident.consecutive_failures, incident.severity), (0, Severity::Warning));

    bench.connect("a", grant("r1"));
    bench.rotates("a", &Rc::default());
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
    assert_eq!((bench.subjects(), bench.state.incident("a")), (vec!["[test] OK a: recovered".to_owned()], None));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_that_nobody_has_connected() {
    let bench = Bench::connecting(&connected("a"));
    let report = bench.harvest(&Event { dry_run: true, ..Event::default() }).await;
    assert_eq!((report.deferred, code(&report.sources[0])), (1, Some("not_connected")));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_left_of_a_time_before_is_not_critical_for_a_day() {
    let bench = Bench::connecting(&client("a", "secret"));
    bench.answers("a", vec![token("t1")]);
    bench.harvest_one().await;
    bench.define_as("a", &connected("a"));
    minutes_pass(120).await;
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, code(&report)), (Outcome::Deferred, Some("not_connected")));
    assert!(bench.alerts().is_empty(), "whoever was sent a link has a day");
    assert_eq!(bench.state.incident("a").expect("an incident").severity, Severity::Warning);
    minutes_pass(24 * 60).await;
    bench.harvest_one().await;
    assert!(bench.subjects()[0].contains("CRITICAL a: not_connected"));
}

#[tokio::test(start_paused = true)]
async fn an_incident_of_another_kind_ends_where_nothing_is_connected_any_more() {
    let bench = Bench::connecting(&connected("a"));
    bench.connect("a", grant("r1"));
    bench.answers("a", vec![answer(401, r#"{"error": "invalid_client"}"#)]);
    bench.harvest_one().await;
    assert_eq!(bench.subjects().len(), 1);
    bench.disconnect("a");
    minutes_pass(60).await;
    bench.harvest_one().await;
    let alerts = bench.alerts();
    assert!(alerts[0].text.contains("the account is not connected any more"), "{}", alerts[0].text);
    bench.harvest_one().await;
    assert_eq!(bench.state.incident("a").map(|incident| incident.error.code), Some(ErrorCode::NotConnected));
    assert!(bench.alerts().is_empty(), "a day begins");
}

#[tokio::test(start_paused = true)]
async fn with_another_client_somebody_has_to_connect_again() {
    let bench = Bench::connecting(&connected("a"));
    bench.connect("a", grant("r1"));
    bench.rotates("a", &Rc::default());
    bench.harvest_one().await;
    bench.asked_at();
    let mut definition = connected("a");
    definition["client_id"] = "another".into();
    bench.define_as("a", &definition);
    minutes_pass(6).await;
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, code(&report)), (Outcome::Failed, Some("reauthorization_required")));
    assert!(bench.asked_at().is_empty() && !bench.state.is_leased());
    let alert = bench.alerts().remove(0);
    assert!(alert.text.contains("connect it again") && !alert.text.contains("into the definition"), "{}", alert.text);
    let of_token = bench.outbox.messages.take().pop().expect("a message");
    assert!(of_token.text.contains("Someone has to connect the account again."), "{}", of_token.text);
    assert_eq!(bench.credential("a").as_deref(), Some("r2"), "it stays for the old client");
}

#[tokio::test(start_paused = true)]
async fn a_definitions_own_grant_is_no_connection_and_the_other_way_round() {
    let bench = Bench::new(&[]);
    bench.define_rotating("a", "r1");
    let seen = Rc::default();
    bench.rotates("a", &seen);
    bench.harvest_one().await;
    bench.define_as("a", &connected("a"));
    minutes_pass(60).await;
    assert_eq!(code(&bench.harvest_one().await), Some("not_connected"));

    bench.connect("a", grant("of-a-person"));
    bench.define_rotating("a", "r2");
    minutes_pass(60).await;
    assert_eq!(bench.harvest_one().await.outcome, Outcome::Refreshed);
    assert_eq!(*seen.borrow(), ["r1", "r2"]);
}

#[tokio::test(start_paused = true)]
async fn each_account_is_worked_on_by_itself_and_one_that_fails_leaves_the_others() {
    let bench = Bench::connecting(&with_accounts("a"));
    for account in ["x", "Y", "z.9"] {
        bench.connect(&format!("a/{account}"), grant(&format!("{account}-1")));
    }
    bench.rotates_for_each("a", "x");
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(
        outcomes(&report),
        [("a/Y", Outcome::Refreshed), ("a/x", Outcome::Failed), ("a/z.9", Outcome::Refreshed)]
    );
    assert_eq!((bench.credential("a/Y"), bench.credential("a/x")), (Some("Y-2".to_owned()), Some("x-1".to_owned())));
    let document = bench.document("a/Y");
    assert_eq!((&document["source"], &document["account"]), (&json!("a/Y"), &json!("Y")));
    assert_eq!(bench.state.incidents.borrow().keys().collect::<Vec<_>>(), ["a/x"]);
    assert_eq!(bench.subjects(), ["[test] CRITICAL a/x: invalid_scope, no token yet".replace("CRITICAL", "WARNING")]);
    let mut events = bench.token_events();
    events.sort();
    let event = |event: &str, source: &str| (event.to_owned(), source.to_owned());
    assert_eq!(
        events,
        [event("token.failed", "a/x"), event("token.refreshed", "a/Y"), event("token.refreshed", "a/z.9")]
    );
    assert_eq!(bench.state.listings.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_with_accounts_of_which_none_is_connected_is_nothing_to_report() {
    let bench = Bench::connecting(&with_accounts("a"));
    for event in [Event::default(), named(&["a"])] {
        let report = bench.harvest(&event).await;
        assert_eq!((report.sources.len(), &report.warnings[..]), (0, &[][..]));
        assert_eq!(report.complete, event.sources.is_none(), "there is a source, and all is well");
    }
    assert!(bench.state.incidents.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_listed_where_no_source_has_accounts() {
    let bench = Bench::new(&["a", "b"]);
    bench.answers("a", vec![token("t")]);
    bench.answers("b", vec![token("t")]);
    bench.harvest(&Event::default()).await;
    assert_eq!(bench.state.listings.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_names_all_accounts_by_their_source_and_one_by_its_own_name() {
    let bench = Bench::connecting(&with_accounts("a"));
    bench.define("b", "secret");
    for account in ["x", "y"] {
        bench.connect(&format!("a/{account}"), grant(&format!("{account}-1")));
    }
    let seen = bench.rotates_for_each("a", "");
    let lines = |report: &Report| report.sources.iter().map(|line| line.source.clone()).collect::<Vec<_>>();
    assert_eq!(lines(&bench.harvest(&named(&["a/y"])).await), ["a/y"]);
    assert_eq!((seen.take(), bench.state.listings.get()), (vec!["y-1".to_owned()], 0));
    assert_eq!(lines(&bench.harvest(&named(&["a", "a/x"])).await), ["a/x", "a/y"]);
    assert_eq!(seen.take(), ["x-1"], "each once");

    let report = bench.harvest(&named(&["a/gone", "b/x", "c/x"])).await;
    assert_eq!(
        report.sources.iter().map(|line| (line.outcome, code(line))).collect::<Vec<_>>(),
        [
            (Outcome::Deferred, Some("not_connected")),
            (Outcome::Failed, Some("source_unknown")),
            (Outcome::Failed, Some("source_unknown")),
        ]
    );
    assert!(bench.state.incidents.borrow().is_empty(), "nobody is missed who has not connected yet");
}

#[tokio::test(start_paused = true)]
async fn each_account_has_a_lease_of_its_own() {
    let bench = Bench::connecting(&with_accounts("a"));
    for account in ["x", "y"] {
        bench.connect(&format!("a/{account}"), grant(&format!("{account}-1")));
    }
    let seen = bench.rotates_for_each("a", "");
    bench.state.leases.borrow_mut().insert("a/x".to_owned(), held_until(600));
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(outcomes(&report), [("a/x", Outcome::Deferred), ("a/y", Outcome::Refreshed)]);
    assert_eq!(*seen.borrow(), ["y-1"]);
}

#[tokio::test(start_paused = true)]
async fn two_harvests_at_once_send_one_request_for_each_account() {
    let bench = Bench::connecting(&with_accounts("a"));
    for account in ["x", "y"] {
        bench.connect(&format!("a/{account}"), grant(&format!("{account}-1")));
    }
    let seen = bench.rotates_for_each("a", "");
    bench.server.latency.set(Duration::from_secs(1));
    let (event, deadline) = (Event::default(), start() + TimeDelta::minutes(1));
    let (one, two) = tokio::join!(
        bench.harvester.harvest(&event, "one", deadline),
        bench.harvester.harvest(&event, "two", deadline),
    );
    let (one, two) = (one.expect("a report"), two.expect("a report"));
    assert_eq!((one.refreshed + two.refreshed, one.deferred + two.deferred), (2, 2));
    let mut seen = seen.take();
    seen.sort();
    assert_eq!(seen, ["x-1", "y-1"]);
}

#[tokio::test(start_paused = true)]
async fn the_refresh_token_of_an_account_is_saved_before_its_token_is_stored() {
    let bench = Bench::connecting(&with_accounts("a"));
    bench.connect("a/x", grant("x-1"));
    bench.rotates_for_each("a", "");
    bench.state.refusals.set(3);
    let (state, checked) = (Rc::clone(&bench.state), Rc::new(Cell::new(false)));
    let noted = Rc::clone(&checked);
    let saved_first = move |_: &Tokens, _: &TokenDocument| {
        assert_eq!(state.grants.borrow()["a/x"].value.credential.expose_secret(), "x-2");
        noted.set(true);
    };
    bench.tokens.before_put.borrow_mut().push_back(Box::new(saved_first));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts, checked.get()), (Outcome::Refreshed, 1, true));
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_that_races_a_refresh_is_not_undone_by_it() {
    let bench = Bench::connecting(&connected("a"));
    bench.connect("a", grant("r1"));
    let state = Rc::clone(&bench.state);
    let script = move |_: &Request| {
        state.grants.borrow_mut().clear();
        Ok(answer(200, r#"{"access_token": "t", "expires_in": 3600, "refresh_token": "r2"}"#))
    };
    bench.server.scripts.borrow_mut().insert("a".to_owned(), Box::new(script));
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, code(&report)), (Outcome::Deferred, Some("not_connected")));
    assert!(bench.state.grants.borrow().is_empty() && bench.tokens.stored.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_incident_of_an_account_that_is_gone_ends_with_a_last_word() {
    let bench = Bench::connecting(&with_accounts("a"));
    for account in ["x", "y"] {
        bench.connect(&format!("a/{account}"), grant(&format!("{account}-1")));
    }
    bench.rotates_for_each("a", "x");
    bench.harvest(&Event::default()).await;
    assert_eq!(bench.subjects().len(), 1);
    bench.disconnect("a/x");
    bench.harvest(&named(&["a"])).await;
    assert!(bench.state.incident("a/x").is_some(), "nobody looked at all");
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(outcomes(&report), [("a/y", Outcome::Fresh)]);
    let alert = bench.alerts().remove(0);
    assert_eq!(alert.subject, "[test] OK a/x: recovered");
    assert!(alert.text.contains("a/x is over: the account is not connected any more"), "{}", alert.text);
    assert!(bench.state.incidents.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn accounts_that_can_not_be_listed_are_one_failure_of_their_source_that_ends_with_the_next_list() {
    let bench = Bench::connecting(&with_accounts("a"));
    bench.connect("a/x", grant("x-1"));
    bench.rotates_for_each("a", "x");
    bench.harvest(&Event::default()).await;
    bench.state.accounts_refused.set(true);
    let report = bench.harvest(&Event::default()).await;
    assert_eq!(outcomes(&report), [("a", Outcome::Failed)]);
    assert_eq!(code(&report.sources[0]), Some("grant_store_failed"));
    assert_eq!(bench.state.incidents.borrow().keys().collect::<Vec<_>>(), ["a", "a/x"], "its own stays");
    bench.state.accounts_refused.set(false);
    bench.harvest(&Event::default()).await;
    assert_eq!(bench.state.incidents.borrow().keys().collect::<Vec<_>>(), ["a/x"]);
}

#[tokio::test(start_paused = true)]
async fn the_tokens_of_accounts_are_announced_once() {
    let bench = Bench::connecting(&with_accounts("a"));
    bench.connect("a/x", grant("x-1"));
    bench.rotates_for_each("a", "");
    bench.outbox.refuses.set(true);
    bench.try_harvest(&Event::default()).await.expect_err("it stored the token and told nobody");
    bench.outbox.refuses.set(false);
    for (function, announced) in [(bench.cold(), 1), (bench.cold(), 0)] {
        minutes_pass(5).await;
        assert_eq!(function.harvest_one().await.outcome, Outcome::Fresh);
        let events = bench.token_events();
        assert_eq!(events, vec![("token.refreshed".to_owned(), "a/x".to_owned()); announced]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_refresh_token_is_used_until_its_end_which_is_told_before() {
    let mut definition = connected("a");
    definition["refresh"] = json!({"none": true});
    let bench = Bench::connecting(&definition);
    let end = start() + TimeDelta::days(60);
    let kept = GrantState {
        kind: CredentialKind::AccessToken,
        expires_at: Some(end),
        expiry_stated_at: Some(start()),
        ..grant("only")
    };
    bench.connect("a", kept);
    let report = bench.harvest_one().await;
    assert_eq!((report.outcome, report.attempts, report.expires_at), (Outcome::Refreshed, 0, Some(end)));
    let document = bench.document("a");
    assert_eq!((&document["access_token"], &document["scope"]), (&json!("only"), &json!("read")));

    let mut told = Vec::new();
    for hour in 1..=60 * 24 {
        minutes_pass(60).await;
        let before = bench.state.writes.get();
        let report = bench.harvest_one().await;
        assert_eq!(report.attempts, 0);
        let is_due = hour / 24 == 45;
        assert!(!is_due || bench.state.writes.get() == before, "no lease is taken to find that out");
        assert!(!bench.state.is_leased());
        let expected =
            if hour < 60 * 24 { (Outcome::Fresh, None) } else { (Outcome::Failed, Some("reauthorization_required")) };
        assert_eq!((report.outcome, code(&report)), expected, "hour {hour}");
        told.extend(bench.alerts().into_iter().map(|alert| (hour / 24, alert)));
    }
    assert_eq!(told.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [30, 53, 59, 60]);
    assert!(told[0].1.subject.contains("WARNING a: connection ends in 30 d"), "{}", told[0].1.subject);
    assert!(told[0].1.text.contains("What to do: before that, connect the account again."), "{}", told[0].1.text);
    assert!(told[3].1.text.contains("connect the account again"), "{}", told[3].1.text);
    assert!(bench.asked_at().is_empty());
}
