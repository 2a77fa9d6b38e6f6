//! Flows: what a callback comes to.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_person_connects_and_a_token_is_published() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let ending = bench.connect(json!({"state": "mine"})).await;
    assert_eq!((ending.session.status, ending.code.is_none()), (Status::Connected, true));
    assert_eq!(bench.refresh_token("crm").as_deref(), Some("t1-refresh"));
    assert_eq!(bench.published_token("crm"), Some(json!("t1")));
    let message = bench.outbox.messages.take().remove(0);
    let told: Value = serde_json::from_str(&message.json).expect("JSON");
    assert_eq!((&told["event"], &told["state"]), (&json!("connection.connected"), &json!("mine")));
    assert!(bench.state.parked.borrow().is_empty() && !bench.state.is_leased());
    assert_eq!(bench.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn connect_6_another_browser_can_not_end_a_flow_and_the_rightful_one_still_can() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(json!({})).await.expect("a session");
    let browser = bench.browser(&session).await;
    let other = bench.browser(&session).await;
    for cookies in [Vec::new(), other.cookies, vec![(browser.cookies[0].0.clone(), "A".repeat(43))]] {
        let stranger = Browser { redirect: browser.redirect.clone(), cookies };
        assert_eq!(bench.failure(&stranger, "code=c-1&state=STATE").await, "browser_mismatch");
    }
    assert_eq!(bench.requests(), 0);
    assert_eq!(bench.come_back(&browser).await.session.status, Status::Connected);
    let stranger = Browser { cookies: Vec::new(), ..browser };
    assert_eq!(bench.failure(&stranger, "code=c-1&state=STATE").await, "state_used");
}

#[tokio::test(start_paused = true)]
async fn connect_7_two_flows_in_one_browser_both_end() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1"), token("t2")]);
    let (one, other) = (bench.session(json!({})).await, bench.session(json!({})).await);
    let (one, other) = (one.expect("a session"), other.expect("a session"));
    let (mut first, mut second) = (bench.browser(&one).await, bench.browser(&other).await);
    let cookies = [first.cookies.clone(), second.cookies.clone()].concat();
    (first.cookies, second.cookies) = (cookies.clone(), cookies);
    assert_eq!(bench.come_back(&second).await.session.status, Status::Connected);
    assert_eq!(bench.come_back(&first).await.session.status, Status::Connected);
}

#[tokio::test(start_paused = true)]
async fn connect_7_a_refusal_in_one_tab_says_so_there_and_leaves_the_other_tab_alone() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(json!({})).await.expect("a session");
    let (first, second) = (bench.browser(&session).await, bench.browser(&session).await);
    assert_eq!(bench.failure(&first, "error=access_denied&state=STATE").await, "access_denied");
    assert_eq!(bench.status(&session), Status::Authorizing);
    assert_eq!(bench.come_back(&second).await.session.status, Status::Connected);
}

#[tokio::test(start_paused = true)]
async fn connect_8_thirty_two_deliveries_make_one_request_and_end_alike() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    bench.server.latency.set(Duration::from_millis(300));
    let request = json!({"return_to": "https://app.example.com/done"});
    let session = bench.session(request).await.expect("a session");
    let browser = bench.browser(&session).await;
    let deliveries = (0..32).map(|_| bench.finish(&browser, "code=c-1&state=STATE"));
    let endings = futures_util::future::join_all(deliveries).await;
    assert_eq!(bench.requests(), 1);
    let told: Vec<_> = endings
        .into_iter()
        .map(|ending| ending.map_err(|failed| failed.error).expect("an ending"))
        .map(|ending| (ending.session.status, ending.code.expect("a code").sha256()))
        .collect();
    assert_eq!(told[0].0, Status::Unconfirmed);
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn connect_10_what_a_provider_refuses_is_told_without_a_token_request() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(json!({})).await.expect("a session");
    let browser = bench.browser(&session).await;
    for query in ["state=STATE", "code=a&code=b&state=STATE", "code=a&state=STATE&state=STATE"] {
        assert_eq!(bench.failure(&browser, query).await, "callback_malformed", "{query}");
        assert_eq!(bench.status(&session), Status::Authorizing);
    }
    let ending = bench.finish(&browser, "error=access_denied&error_description=No&code=c-1&state=STATE").await;
    let session = ending.map_err(|failed| failed.error).expect("an ending").session;
    let error = session.error.expect("an error");
    assert_eq!((session.status, error.code.as_str()), (Status::Failed, "access_denied"));
    assert_eq!((bench.requests(), bench.events()), (0, vec!["connection.failed".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn connect_11_a_state_that_is_nobodys_or_anothers_makes_no_request() {
    let bench = Bench::new(&crm());
    bench.secrets.stored.borrow_mut().insert("erp".to_owned(), crm().to_string());
    bench.answers(vec![token("t1")]);
    let session = bench.session(json!({})).await.expect("a session");
    let browser = bench.browser(&session).await;
    for query in [format!("code=c-1&state={}", "A".repeat(43)), "code=c-1&state=short".to_owned()] {
        assert_eq!(bench.failure(&browser, &query).await, "state_unknown", "{query}");
    }
    let query = format!("code=c-1&state={}", browser.state());
    for source in ["erp", "nobody"] {
        let failed = bench.connector.finish(&bench.invocation(), source, &query, &browser.cookies).await;
        assert_eq!(failed.err().expect("refused").error.code, "state_unknown", "{source}");
    }
    tokio::time::advance(Duration::from_secs(10 * 60)).await;
    assert_eq!(bench.come_back(&browser).await.session.error.expect("an error").code, "state_expired");
    assert_eq!(bench.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn connect_13_a_definition_that_changed_meanwhile_ends_the_flow() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(json!({})).await.expect("a session");
    let browser = bench.browser(&session).await;
    let mut changed = crm();
    changed["client_id"] = json!("another");
    bench.define(&changed);
    let ending = bench.cold().come_back(&browser).await;
    assert_eq!(ending.session.error.expect("an error").code, "definition_changed");
    assert_eq!(bench.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn connect_17_a_refused_code_is_not_sent_again() {
    let bench = Bench::new(&crm());
    bench.answers(vec![answer(400, &json!({"error": "invalid_grant"}))]);
    let ending = bench.connect(json!({})).await;
    assert_eq!(ending.session.error.expect("an error").code, "invalid_grant");
    assert_eq!((bench.requests(), bench.refresh_token("crm")), (1, None));
}

#[tokio::test(start_paused = true)]
async fn connect_18_a_grant_that_can_not_be_refreshed_is_not_kept() {
    let bench = Bench::new(&crm());
    bench.answers(vec![answer(200, &json!({"access_token": "t1", "expires_in": 3600}))]);
    let ending = bench.connect(json!({})).await;
    assert_eq!(ending.session.error.expect("an error").code, "refresh_token_missing");
    assert_eq!((bench.refresh_token("crm"), bench.published_token("crm")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn connect_19_a_required_scope_that_was_unticked_is_no_success() {
    let mut definition = crm();
    definition["required_scope"] = json!("write");
    let granted = |scope: &str| answer(200, &json!({"access_token": "t1", "refresh_token": "r", "scope": scope}));
    let bench = Bench::new(&definition);
    bench.answers(vec![granted("read"), granted("write read")]);
    assert_eq!(bench.connect(json!({})).await.session.error.expect("an error").code, "scope_missing");
    assert_eq!(bench.refresh_token("crm"), None);
    assert_eq!(bench.connect(json!({})).await.session.status, Status::Connected);
}

fn with_identity() -> Value {
    let mut definition = crm();
    definition["provider"] = json!("custom");
    definition["identity"] = json!({"from": "answer", "id": ["/user/id"]});
    definition
}

fn token_of(name: &str, id: &str) -> Answer {
    answer(200, &json!({"access_token": name, "refresh_token": format!("{name}-refresh"), "user": {"id": id}}))
}

#[tokio::test(start_paused = true)]
async fn connect_20_another_account_can_not_take_the_place_of_the_one_that_is_reconnected() {
    let bench = Bench::new(&with_identity());
    bench.answers(vec![token_of("t1", "u-1"), token_of("t2", "u-2"), token_of("t3", ""), token_of("t4", "u-1")]);
    assert_eq!(bench.connect(json!({})).await.session.identity.expect("an identity").id, "u-1");
    let before = bench.state.grants.borrow()["crm"].value.to_json().expose_secret().to_owned();

    let codes = [bench.connect(json!({"reconnect": true})).await, bench.connect(json!({"reconnect": true})).await]
        .map(|ending| ending.session.error.expect("an error").code);
    assert_eq!(codes, ["identity_mismatch", "identity_unavailable"]);
    assert_eq!(bench.state.grants.borrow()["crm"].value.to_json().expose_secret(), before);
    assert!(bench.state.parked.borrow().is_empty());

    assert_eq!(bench.connect(json!({"reconnect": true})).await.session.status, Status::Connected);
    assert_eq!(bench.refresh_token("crm").as_deref(), Some("t4-refresh"));
}

#[tokio::test(start_paused = true)]
async fn connect_21_connecting_again_replaces_the_grant_in_place_and_says_so() {
    let bench = Bench::new(&with_identity());
    bench.answers(vec![token_of("t1", "u-1"), token_of("t2", "u-1")]);
    bench.connect(json!({})).await;
    bench.connect(json!({})).await;
    assert_eq!(bench.events(), ["connection.connected", "connection.reconnected"]);
    assert_eq!(bench.refresh_token("crm").as_deref(), Some("t2-refresh"));
    assert_eq!((bench.published_token("crm"), bench.state.grants.borrow().len()), (Some(json!("t2")), 1));
}

#[tokio::test(start_paused = true)]
async fn connect_22_an_account_that_nobody_knows_is_connected_as_unknown() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    assert_eq!(bench.connect(json!({})).await.session.identity, None);
}
