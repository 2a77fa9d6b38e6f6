//! Confirming: whose browser it was, only the application can say.

use super::*;

fn with_return() -> Value {
    json!({"return_to": "https://app.example.com/done"})
}

#[tokio::test(start_paused = true)]
async fn connect_16_a_grant_is_of_no_use_until_the_application_has_confirmed_it() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(with_return()).await.expect("a session");
    let browser = bench.browser(&session).await;
    let ending = bench.come_back(&browser).await;
    assert_eq!(ending.session.status, Status::Unconfirmed);
    assert_eq!((bench.refresh_token("crm"), bench.published_token("crm"), bench.events()), (None, None, Vec::new()));

    let (id, code) = (session.session.id.as_str(), ending.code.expect("a code"));
    let code = code.secret().expose_secret();
    let wrong = bench.connector.confirm(&bench.invocation(), &role(), id, &"A".repeat(43)).await;
    assert!(matches!(wrong, Err(Refusal::Invalid(_))));
    for _ in 0..2 {
        let confirmed = bench.connector.confirm(&bench.invocation(), &role(), id, code).await.expect("confirmed");
        assert_eq!(confirmed.status, Status::Connected);
    }
    assert_eq!(bench.refresh_token("crm").as_deref(), Some("t1-refresh"));
    assert_eq!(
        (bench.published_token("crm"), bench.events()),
        (Some(json!("t1")), vec!["connection.connected".to_owned()])
    );
    assert_eq!(bench.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn connect_16_the_third_wrong_code_ends_the_session_and_drops_the_grant() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(with_return()).await.expect("a session");
    let browser = bench.browser(&session).await;
    let code = bench.come_back(&browser).await.code.expect("a code");
    let id = session.session.id.as_str();
    let confirm = |code: String| {
        let bench = &bench;
        async move { bench.connector.confirm(&bench.invocation(), &role(), id, &code).await }
    };
    for _ in 0..2 {
        assert!(matches!(confirm("A".repeat(43)).await, Err(Refusal::Invalid(_))));
    }
    assert_eq!(confirm("not even a code".to_owned()).await.err(), Some(Refusal::SessionEnded));
    assert_eq!(confirm(code.secret().expose_secret().to_owned()).await.err(), Some(Refusal::SessionEnded));
    assert_eq!(bench.status(&session), Status::Failed);
    assert_eq!((bench.refresh_token("crm"), bench.state.parked.borrow().len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn connect_12_a_grant_that_is_confirmed_too_late_is_dropped() {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(with_return()).await.expect("a session");
    let browser = bench.browser(&session).await;
    let code = bench.come_back(&browser).await.code.expect("a code");
    tokio::time::advance(Duration::from_secs(10 * 60)).await;
    let id = session.session.id.as_str();
    let late = bench.connector.confirm(&bench.invocation(), &role(), id, code.secret().expose_secret()).await;
    assert_eq!(late.err(), Some(Refusal::SessionEnded));
    assert_eq!((bench.status(&session), bench.refresh_token("crm")), (Status::Failed, None));
}
