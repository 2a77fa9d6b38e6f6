//! Sessions: who may make one, for what, and what their links do.

use super::bench::link;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_session_leads_to_the_provider_with_a_state_and_a_proof_key_of_its_own() {
    let bench = Bench::new(&crm());
    let session = bench.session(json!({})).await.expect("a session");
    assert!(session.url.starts_with("https://connect.example.com/connect/"), "{}", session.url);
    assert_eq!(session.session.expires_at - session.session.created_at, TimeDelta::minutes(30));

    let browser = bench.browser(&session).await;
    let sent: std::collections::BTreeMap<String, String> = browser.redirect.query_pairs().into_owned().collect();
    assert_eq!(browser.redirect.host_str(), Some("as.example.com"));
    assert_eq!(sent["redirect_uri"], "https://connect.example.com/callback/crm");
    assert_eq!((sent["scope"].as_str(), sent["code_challenge_method"].as_str()), ("read write", "S256"));
    assert!(browser.cookies[0].0.starts_with("__Host-connect-"));
    assert_eq!(bench.status(&session), Status::Authorizing);
}

#[tokio::test(start_paused = true)]
async fn connect_3_looking_at_a_link_changes_nothing_however_often() {
    let bench = Bench::new(&crm());
    let session = bench.session(json!({})).await.expect("a session");
    let writes = bench.state.writes.get();
    for _ in 0..10 {
        let seen = bench.connector.linked_session(link(&session)).await.expect("readable").expect("a session");
        assert_eq!(seen.status, Status::Pending);
    }
    assert_eq!((bench.state.writes.get(), bench.state.flows.borrow().len()), (writes, 0));
    bench.browser(&session).await;
}

#[tokio::test(start_paused = true)]
async fn connect_12_a_link_whose_time_is_over_begins_nothing() {
    let bench = Bench::new(&crm());
    let session = bench.session(json!({})).await.expect("a session");
    tokio::time::advance(Duration::from_secs(30 * 60)).await;
    assert_eq!(bench.connector.begin_flow(link(&session)).await.err(), Some(Refusal::SessionEnded));
    assert_eq!(bench.status(&session), Status::Expired);
    assert_eq!(bench.connector.begin_flow(&"A".repeat(43)).await.err(), Some(Refusal::NotFound));
    assert_eq!(bench.connector.begin_flow("no token").await.err(), Some(Refusal::NotFound));
}

#[tokio::test(start_paused = true)]
async fn what_a_session_can_not_be_made_for_is_said() {
    let bench = Bench::new(&crm());
    let refused = |request: Value| {
        let bench = &bench;
        async move { bench.session(request).await.err().expect("refused").to_string() }
    };
    assert!(refused(json!({"account": "acme"})).await.contains("`account` must be left out"));
    assert!(refused(json!({"return_to": "https://evil.example/"})).await.contains("RETURN_URLS"));
    assert!(refused(json!({"confirm": true})).await.contains("`confirm` needs a `return_to`"));
    assert!(refused(json!({"state": "x".repeat(513)})).await.contains("512"));
    assert!(refused(json!({"reconnect": true})).await.contains("never made"));
    assert_eq!(bench.session(json!({"source": "nobody"})).await.err(), Some(Refusal::NotFound));

    bench.define(&json!({"token_endpoint": "https://as.example.com/crm", "client_id": "c", "client_secret": "s"}));
    let bench = bench.cold();
    assert!(matches!(bench.session(json!({})).await.err(), Some(Refusal::NotConnectable(_))));
}

#[tokio::test(start_paused = true)]
async fn a_provider_whose_callbacks_can_not_be_checked_is_not_connected() {
    let shop = json!({
        "provider": "shopify", "variables": {"shop": "acme"}, "grant_type": "authorization_code", "client_id": "app",
        "client_secret": "hush", "scope": "read_orders",
    });
    let bench = Bench::new(&shop);
    let refused = bench.session(json!({})).await.err().expect("refused").to_string();
    assert!(refused.contains("can't be checked yet"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn connect_26_a_connection_is_its_owners_and_that_of_identities_of_aws() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1"), token("t2")]);
    let session = bench.session_of(user("ann"), json!({})).await.expect("a session");
    let browser = bench.browser(&session).await;
    assert_eq!(bench.come_back(&browser).await.session.status, Status::Connected);

    let id = session.session.id.as_str();
    for stranger in [user("bob"), Principal::Jwt { issuer: "https://other".to_owned(), subject: "ann".to_owned() }] {
        assert_eq!(bench.session_of(stranger.clone(), json!({})).await.err(), Some(Refusal::NotFound));
        let looked = bench.connector.look_at_session(&bench.invocation(), &stranger, id).await;
        assert_eq!(looked.err(), Some(Refusal::NotFound));
        assert_eq!(bench.connector.look_at_connection(&stranger, "crm").await.err(), Some(Refusal::NotFound));
        let confirmed = bench.connector.confirm(&bench.invocation(), &stranger, id, &"A".repeat(43)).await;
        assert_eq!(confirmed.err(), Some(Refusal::NotFound));
    }
    for owner in [user("ann"), role()] {
        let report = bench.connector.look_at_connection(&owner, "crm").await.expect("a connection");
        let report = serde_json::to_value(report).expect("JSON");
        assert_eq!((&report["status"], &report["generation"]), (&json!("connected"), &json!(1)));
        assert!(!report.to_string().contains("t1"), "never a token: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn connect_27_a_principal_has_a_hundred_live_sessions_at_most() {
    let bench = Bench::new(&crm());
    for _ in 0..100 {
        bench.session_of(user("ann"), json!({})).await.expect("a session");
    }
    assert_eq!(bench.session_of(user("ann"), json!({})).await.err(), Some(Refusal::TooMany(100)));
    bench.session_of(user("bob"), json!({})).await.expect("another's");
    tokio::time::advance(Duration::from_secs(30 * 60)).await;
    bench.session_of(user("ann"), json!({})).await.expect("the others have ended");
}
