//! Kills: an invocation that ends anywhere leaves no half-saved grant, and a session that comes to an end.

use super::*;

/// Runs one callback whose invocation dies at the write of that number; then the browser comes again, and the application
/// asks until the session has ended.
async fn killed_at(write: usize) -> (Bench, Status, bool) {
    let bench = Bench::new(&crm());
    bench.answers(vec![token("t1")]);
    let session = bench.session(json!({})).await.expect("a session");
    let browser = bench.browser(&session).await;
    bench.state.hangs_at.set(Some(bench.state.writes_begun.get() + write));
    let died =
        tokio::time::timeout(Duration::from_secs(3), bench.finish(&browser, "code=c-1&state=STATE")).await.is_err();
    bench.state.hangs_at.set(None);

    // The browser, which got no answer, comes again; whoever comes then waits for a claim that may still be alive.
    let cold = bench.cold();
    let _ = cold.finish(&browser, "code=c-1&state=STATE").await;
    let id = session.session.id.as_str();
    for _ in 0..60 {
        let report = cold.connector.look_at_session(&cold.invocation(), &role(), id).await.expect("a session");
        let status = serde_json::to_value(report).expect("JSON")["status"].clone();
        if status == json!("connected") || status == json!("failed") {
            break;
        }
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    let status = cold.status(&session);
    (bench, status, died)
}

#[tokio::test(start_paused = true)]
async fn connect_9_killed_at_any_write_the_connection_stands_whole_or_not_at_all() {
    let mut statuses = Vec::new();
    for write in 1..40 {
        let (bench, status, died) = killed_at(write).await;
        let (grant, published) = (bench.refresh_token("crm"), bench.published_token("crm"));
        match status {
            Status::Connected => {
                assert_eq!((grant.as_deref(), published), (Some("t1-refresh"), Some(json!("t1"))), "write {write}");
            }
            Status::Failed => assert_eq!((grant, published), (None, None), "write {write}"),
            other => panic!("write {write}: the session did not end: {other:?}"),
        }
        assert!(bench.requests() <= 1, "write {write}: the code was sent twice");
        statuses.push(status);
        if !died {
            break;
        }
    }
    assert!(statuses.len() > 5, "the kills reach into the commit: {statuses:?}");
    assert!(statuses.contains(&Status::Failed) && statuses.ends_with(&[Status::Connected]), "{statuses:?}");
}
